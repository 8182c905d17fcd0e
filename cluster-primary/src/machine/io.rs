//! What goes into the machine, and what comes out.

use std::time::Duration;

use cluster_proto::{HandleKind, ListenQuery, Message, SockName, Value};
use cluster_sched::ShedReason;
use cluster_sched::kernel::Choice;

use super::config::Config;
use super::event::Event;
use crate::agent::{AgentCommand, AgentMessage};
use crate::error::{SendError, WorkerError};
use crate::event::ExitStatus;
use crate::id::{ConnId, HandleId, SendId, ServerId, WorkerId};
use crate::placement::Fallback;
use crate::request::RequestId;
use crate::settings::Placement;
use crate::signal::Signal;
use crate::tree::LeftoverProgress;
use cluster_sched::PolicyName;
use serde::{Deserialize, Serialize};

/// What the driver tells the machine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Input {
    /// The user set the settings.
    Setup {
        /// What concerns the machine of them. Placement and policy may be frozen.
        config: Config,
    },
    /// The user set placement and policy, unless they are frozen.
    Schedule {
        /// Who accepts connections.
        placement: Placement,
        /// Which worker gets the next one.
        policy: PolicyName,
    },
    /// A process was started under the id of [`next_worker`](super::Machine::next_worker).
    Forked {
        /// The worker.
        worker: WorkerId,
        /// Its process id.
        pid: u32,
        /// The slot that it is for; none for the lowest that is free.
        slot: Option<u32>,
    },
    /// A worker's channel brought a message.
    Received {
        /// The worker.
        worker: WorkerId,
        /// The message, out of its handle frame if it came in one.
        message: Message,
        /// The descriptor that came with it.
        handle: Option<Handle>,
        /// If the message answers for a hand-off: whether that has arrived there, as far as the channel knows.
        arrived: bool,
    },
    /// A worker's channel brought a message that nests too deep to be read, without harm to the channel.
    TooDeep {
        /// The worker.
        worker: WorkerId,
    },
    /// The user sends something to a worker: [`Output::Submit`], unless its channel is closed or about to be.
    Send {
        /// The worker.
        worker: WorkerId,
        /// What is sent.
        sending: Sending,
        /// Whether the driver has a descriptor to go with it.
        handle: bool,
    },
    /// The channel did not take what [`Output::Submit`] had it send.
    NotSent {
        /// The worker.
        worker: WorkerId,
        /// As that output has it.
        origin: Origin,
        /// Why, as the user is told.
        error: SendError,
    },
    /// More than the high-water mark waits for a worker.
    HighWater {
        /// The worker.
        worker: WorkerId,
    },
    /// All is written that waited when [`Output::MarkDrained`] was carried out.
    Drained {
        /// The worker.
        worker: WorkerId,
    },
    /// A user's message is written or, if there is a descriptor with it, answered for.
    Sent {
        /// The worker.
        worker: WorkerId,
        /// Which one.
        id: SendId,
        /// Whether the descriptor arrived, if there was one.
        delivered: bool,
    },
    /// A connection that a worker counts, for it had sent it with that key, is closed.
    SocketClosed {
        /// The worker.
        worker: WorkerId,
        /// The key.
        key: String,
    },
    /// The user wants to know of connections that were sent to a worker with a key.
    AskSockets {
        /// The worker.
        worker: WorkerId,
        /// The key.
        key: String,
        /// When the last has closed; else how many are open.
        when_closed: bool,
    },
    /// The connection sent with that message did not arrive, and will not be sent again.
    Undelivered {
        /// The worker.
        worker: WorkerId,
        /// The message's `seq`.
        seq: u64,
    },
    /// A worker's event loop has answered, as [`Output::Probe`] wanted.
    Probed {
        /// The worker.
        worker: WorkerId,
    },
    /// A worker's runtime is known to answer probes, though perhaps late (Node, Bun).
    AnswersProbes {
        /// The worker.
        worker: WorkerId,
    },
    /// The answer to [`Output::LookAtProbe`].
    ProbeLooked {
        /// The worker.
        worker: WorkerId,
        /// Whether it has read the probe; none if this system does not tell.
        read: Option<bool>,
    },
    /// A worker's runtime cannot serve a socket that it is sent, whatever it says then (Deno): its
    /// servers are to be served by hand-off.
    CannotListen {
        /// The worker.
        worker: WorkerId,
        /// The runtime's name, for people.
        runtime: String,
    },
    /// A worker's channel is broken: [`Output::AbortChannel`].
    ChannelFailed {
        /// The worker.
        worker: WorkerId,
        /// Why.
        error: WorkerError,
    },
    /// A worker sent a descriptor that nothing uses, with one of its messages.
    Unwanted {
        /// The worker.
        worker: WorkerId,
    },
    /// A worker made a system call of the primary block, until that was interrupted.
    Blocked {
        /// The worker.
        worker: WorkerId,
        /// Which call.
        call: &'static str,
    },
    /// Something else went wrong with a worker; its channel stays as it is.
    Failed {
        /// The worker.
        worker: WorkerId,
        /// What.
        error: WorkerError,
    },
    /// A worker starts, or runs, without the agent that the settings want it to have.
    NoAgent {
        /// The worker.
        worker: WorkerId,
        /// Why.
        reason: String,
    },
    /// A worker wrote to a pipe of its own to the primary.
    Stdio {
        /// The worker.
        worker: WorkerId,
        /// Which of its descriptors.
        fd: u32,
        /// The bytes.
        data: Vec<u8>,
    },
    /// Something was done about processes that a worker left behind.
    Leftovers {
        /// The worker.
        worker: WorkerId,
        /// What.
        progress: LeftoverProgress,
    },
    /// A worker's channel has closed.
    ChannelClosed {
        /// The worker.
        worker: WorkerId,
    },
    /// A worker's process has ended.
    Exited {
        /// The worker.
        worker: WorkerId,
        /// How.
        status: ExitStatus,
    },
    /// The answer to [`Output::Bind`]: the bound socket, or the negated `errno`.
    Bound {
        /// The server.
        server: ServerId,
        /// What became of it.
        result: Result<Bound, i32>,
    },
    /// The kernel does not choose as was wanted; what [`Output::BindSlots`] wanted may still be
    /// done.
    FellBack {
        /// The server.
        server: ServerId,
        /// What is done instead.
        instead: Fallback,
        /// Why.
        reason: String,
    },
    /// The answer to [`Output::OpenSlot`]: the socket is there, or the negated `errno`.
    SlotOpened {
        /// The server.
        server: ServerId,
        /// The slot.
        slot: u32,
        /// What became of it.
        result: Result<(), i32>,
    },
    /// The answer to [`Output::Look`].
    Queues {
        /// The server.
        server: ServerId,
        /// Every socket that it has.
        queues: Vec<Queue>,
    },
    /// A server's socket was closed, as [`Output::CloseServer`] wanted.
    Closed {
        /// The server.
        server: ServerId,
    },
    /// The system has begun to refuse to pass descriptors on to workers (`ETOOMANYREFS`), or passes them on
    /// again. What workers do not answer meanwhile is not their fault.
    HandOffsPaused {
        /// Whether it refuses.
        paused: bool,
    },
    /// A connection was accepted.
    Accepted {
        /// The server.
        server: ServerId,
        /// The connection, kept by the driver until [`Output::DropConn`].
        conn: ConnId,
        /// The hash of the client's address ([`client_of`](cluster_sched::sticky::client_of)); none if
        /// it has none, as on a Unix-domain socket.
        client: Option<u32>,
    },
    /// A worker is to be taken out of rotation: it gets no more connections, but is not told to
    /// disconnect. [`LeaveProgress::OutOfRotation`](crate::LeaveProgress::OutOfRotation) follows.
    TakeOutOfRotation {
        /// The worker.
        worker: WorkerId,
    },
    /// As [`TakeOutOfRotation`](Self::TakeOutOfRotation), of all workers; servers close.
    TakeAllOutOfRotation,
    /// A worker is to finish its HTTP work;
    /// [`LeaveProgress::Work`](crate::LeaveProgress::Work) tells what is left.
    FinishWork {
        /// The worker.
        worker: WorkerId,
    },
    /// How is a worker to be asked to stop? [`LeaveProgress::Stop`](crate::LeaveProgress::Stop)
    /// answers.
    AskStop {
        /// The worker.
        worker: WorkerId,
        /// The stop signal, if there is one.
        signal: Option<Signal>,
        /// Whether the user has set a stop message.
        message: bool,
        /// Whether the process catches the signal, if that shows whether the program handles it.
        catches: Option<bool>,
        /// Whether its runtime has servers of its own, of which its channel knows nothing (`Bun.serve`,
        /// `Deno.serve`).
        serves_aside: bool,
    },
    /// A worker's agent said something.
    AgentMessage {
        /// The worker.
        worker: WorkerId,
        /// What.
        message: AgentMessage,
    },
    /// The pipe of a worker's agent has closed.
    AgentLost {
        /// The worker.
        worker: WorkerId,
    },
    /// The user disconnects a worker.
    Disconnect {
        /// The worker.
        worker: WorkerId,
    },
    /// The user closes a worker's channel: it is to get nothing more, and the channel closes when
    /// it serves nothing any more ([`is_serving`](super::Machine::is_serving)).
    CloseChannel {
        /// The worker.
        worker: WorkerId,
    },
    /// The user disconnects all workers.
    DisconnectAll,
    /// The user lets go of servers that no worker serves
    /// ([`Settings::keep_listeners`](crate::Settings::keep_listeners)).
    ReleaseUnused,
}

/// What the user sends to a worker.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Sending {
    /// A message.
    Message(Message),
    /// A message whose end [`Event::Sent`](crate::Event::Sent) reports.
    Reported(Message),
    /// A request; [`Event::Answered`](crate::Event::Answered) reports its outcome.
    Request {
        /// What is asked.
        body: Value,
        /// How long the answer is awaited.
        timeout: Duration,
    },
    /// The answer to a worker's request, or why there is none.
    Answer {
        /// The worker's number of the request.
        id: u64,
        /// The answer.
        answer: Result<Value, String>,
    },
}

/// What a message is to the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A message of which nothing is reported.
    Message,
    /// One whose end is reported.
    Reported(SendId),
    /// A request.
    Request(RequestId),
    /// The answer to a worker's request of that number.
    Answer(u64),
}

/// How many connections wait at a socket of a server with slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// The worker of the socket; none for the waiting room.
    pub slot: Option<u32>,
    /// How many have not been accepted.
    pub length: u32,
}

/// A descriptor that came with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle {
    /// Kept by the driver until an event or [`Output::CloseHandle`] names it.
    pub id: HandleId,
    /// What it is, as its sender said.
    pub kind: HandleKind,
    /// The key of the sender's server that a connection came from.
    pub key: Option<String>,
}

/// What the machine wants done.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// Send that message.
    Send {
        /// To whom. If its channel is closed by now the message is dropped.
        worker: WorkerId,
        /// What.
        message: Message,
        /// The descriptor that goes with it.
        handle: Option<SendHandle>,
    },
    /// Send a message of the user's. If the channel does not take it, say so by [`Input::NotSent`]; if more than the
    /// high-water mark waits after that, by [`Input::HighWater`].
    Submit {
        /// To whom.
        worker: WorkerId,
        /// What.
        message: Message,
        /// Whether the descriptor goes with it that came with [`Input::Send`].
        handle: bool,
        /// What it is to the user. [`Input::Sent`] says when one that is to be reported is written.
        origin: Origin,
    },
    /// Say by [`Input::Drained`] when all is written that waits for the worker now.
    MarkDrained {
        /// The worker. If its channel is closed by now there is nothing to say.
        worker: WorkerId,
    },
    /// Close the worker's channel at once, and say so by [`Input::ChannelClosed`].
    AbortChannel {
        /// The worker. If its channel is closed by now there is nothing to do.
        worker: WorkerId,
    },
    /// Have the worker's event loop answer, and say so by [`Input::Probed`].
    Probe {
        /// The worker. If its channel is closed by now there is nothing to say.
        worker: WorkerId,
    },
    /// Look whether the worker has read a probe that it has not answered, and say so by
    /// [`Input::ProbeLooked`].
    LookAtProbe {
        /// The worker. If its channel is closed by now there is nothing to say.
        worker: WorkerId,
    },
    /// Stop waiting for the worker's answer to a probe: it has read it and seems never to answer. If it
    /// does all the same, that is to be said by [`Input::Probed`].
    AbandonProbe {
        /// The worker. If its channel is closed by now there is nothing to do.
        worker: WorkerId,
    },
    /// Tell a worker's agent something.
    NotifyAgent {
        /// The worker. If the agent's pipe has closed the command is dropped.
        worker: WorkerId,
        /// What.
        command: AgentCommand,
    },
    /// Change to the native wire, which the worker has said that it speaks.
    Negotiate {
        /// The worker. If its channel is closed by now there is nothing to change.
        worker: WorkerId,
        /// The version that it offered, which may be newer than ours.
        offered: u32,
    },
    /// Make a socket, and say what became of it.
    Bind {
        /// Its name from now on.
        server: ServerId,
        /// What the worker asked for.
        query: Box<ListenQuery>,
        /// Whether workers accept from it themselves: then it is bound, not listening.
        shared: bool,
        /// Who asked first: the socket may be made with that worker's rights.
        worker: WorkerId,
    },
    /// Make a server whose workers have a socket each, among which the kernel chooses, and say what
    /// became of it by [`Input::Bound`]. No slot is on yet: connections wait in the waiting room.
    BindSlots {
        /// Its name from now on.
        server: ServerId,
        /// What the worker asked for.
        query: Box<ListenQuery>,
        /// How the kernel is to choose.
        choice: Choice,
        /// Who asked first: the sockets may be made with that worker's rights.
        worker: WorkerId,
    },
    /// Make the socket of that number if there is none, and say so by [`Input::SlotOpened`].
    OpenSlot {
        /// The server.
        server: ServerId,
        /// The socket's number, from 0.
        slot: u32,
    },
    /// Have the kernel choose that socket at the position of a slot of the cluster, in place of the one
    /// that had the position before; or no longer.
    Slot {
        /// The server.
        server: ServerId,
        /// The socket's number.
        slot: u32,
        /// The position: a slot of the cluster ([`WorkerState::slot`](super::WorkerState::slot)). Two sockets have the
        /// same one while a successor takes over, and the kernel chooses the later one.
        position: u32,
        /// Whether it is to be chosen.
        on: bool,
    },
    /// Look how many connections wait at the sockets of a server with slots, and say so by
    /// [`Input::Queues`].
    Look {
        /// The server.
        server: ServerId,
    },
    /// Accept what waits at a slot's socket, each as [`Input::Accepted`].
    Rescue {
        /// The server.
        server: ServerId,
        /// The slot; none for the waiting room.
        slot: Option<u32>,
        /// How many at most.
        most: usize,
    },
    /// Close the socket, and say so by [`Input::Closed`].
    CloseServer {
        /// The server.
        server: ServerId,
        /// Whether to accept what waits in the kernel first, up to
        /// [`LAST_CONNECTIONS`](super::LAST_CONNECTIONS).
        accept_rest: bool,
    },
    /// Let go of the connection.
    DropConn {
        /// The connection.
        conn: ConnId,
        /// What became of it.
        why: ConnOutcome,
    },
    /// Let go of a received descriptor.
    CloseHandle {
        /// The descriptor.
        handle: HandleId,
    },
    /// Tell the user.
    Event(Event),
}

/// A descriptor to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendHandle {
    /// A connection (`net.Native`).
    Conn {
        /// The connection.
        conn: ConnId,
    },
    /// A server's own socket.
    Server {
        /// The server.
        server: ServerId,
        /// `net.Native` or `dgram.Native`.
        kind: HandleKind,
    },
    /// The socket of a slot.
    Slot {
        /// The server.
        server: ServerId,
        /// The slot.
        slot: u32,
        /// `net.Native`.
        kind: HandleKind,
    },
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnOutcome {
    /// A worker has it.
    HandedOver {
        /// The worker.
        worker: WorkerId,
    },
    /// No worker has it.
    Shed(ShedReason),
}

/// A bound socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Where; none for a path.
    pub sockname: Option<SockName>,
    /// `net.Native` or `dgram.Native`.
    pub kind: HandleKind,
}
