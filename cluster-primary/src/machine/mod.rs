//! The primary without I/O: workers, servers, and what is sent to each.
//!
//! The machine sees ids only; the [driver](crate::Primary) owns processes, sockets and the clock.
//! Inputs may follow each other without outputs being drained in between; what comes out is the
//! same.
//!
//! It is public for simulations, fuzzing and custom drivers. Its inputs and outputs grow with
//! what the primary can do: code that uses this module directly may have to follow with any
//! release.

mod agent;
mod base;
mod closing;
mod config;
mod disconnecting;
mod dispatching;
mod event;
mod faults;
mod health;
mod io;
mod latency;
mod leaving;
mod listening;
mod open_sockets;
mod port_reuse;
mod probes;
mod replies;
mod reply_data;
mod requests;
mod rotation;
mod sends;
mod server;
mod slots;
mod socket_limits;
mod sockets;
mod state;
mod view;
mod worker;

use cluster_proto::{ClusterBody, ClusterMessage, Message, native};
use cluster_sched::{DispatchInput as Place, Mono, PolicyName};

use base::dispatch_limits;
use view::lowest_free;
use worker::Worker;

use crate::error::WorkerError;
use crate::event::Address;
use crate::id::WorkerId;
use crate::settings::Placement;

pub use base::{LAST_CONNECTIONS, Machine};
pub use config::Config;
pub use event::Event;
pub use io::{Bound, ConnOutcome, Handle, Input, Origin, Output, Queue, SendHandle, Sending};
pub use latency::AckLatency;
pub use state::MachineState;
pub use worker::WorkerState;

pub(crate) use worker::Sends;

impl Machine {
    /// Takes one input.
    pub fn handle_input(&mut self, now: Mono, input: Input) {
        match input {
            Input::Setup { config } => self.setup(config),
            Input::Schedule { placement, policy } => self.schedule(placement, policy),
            Input::Forked { worker, pid, slot } => self.forked(now, worker, pid, slot),
            Input::Received { worker, message, handle, arrived } => {
                self.received(now, worker, message, handle, arrived);
            }
            Input::TooDeep { worker } => self.too_deep(now, worker),
            Input::Send { worker, sending, handle } => self.send(now, worker, sending, handle),
            Input::NotSent { worker, origin, error } => self.not_sent(now, worker, origin, &error),
            Input::HighWater { worker } => self.high_water(worker),
            Input::Drained { worker } => self.drained(worker),
            Input::Sent { worker, id, delivered } => self.sent(worker, id, delivered),
            Input::SocketClosed { worker, key } => self.socket_closed(worker, &key),
            Input::AskSockets { worker, key, when_closed } => {
                self.ask_sockets(worker, key, when_closed);
            }
            Input::Undelivered { worker, seq } => self.undelivered(now, worker, seq),
            Input::Probed { worker } => self.probed(now, worker),
            Input::AnswersProbes { worker } => self.answers_probes(worker),
            Input::ProbeLooked { worker, read } => self.probe_looked(now, worker, read),
            Input::CannotListen { worker, runtime } => self.cannot_listen(worker, runtime),
            Input::ChannelFailed { worker, error } => self.fail_channel(worker, error),
            Input::Unwanted { worker } => self.unwanted(worker),
            Input::Blocked { worker, call } => self.blocked(worker, call),
            Input::Failed { worker, error } => {
                self.event(crate::event::Event::Error { worker, error });
            }
            Input::NoAgent { worker, reason } => {
                self.event(crate::event::Event::NoAgent { worker, reason });
            }
            Input::Stdio { worker, fd, data } => {
                self.event(crate::event::Event::Stdio { worker, fd, data });
            }
            Input::Leftovers { worker, progress } => {
                self.event(crate::event::Event::Leftovers { worker, progress });
            }
            Input::ChannelClosed { worker } => self.channel_closed(now, worker),
            Input::Exited { worker, status } => self.exited(now, worker, status),
            Input::Bound { server, result } => self.bound(now, server, result),
            Input::Closed { server } => self.closed(now, server),
            Input::HandOffsPaused { paused } => self.pause_hand_offs(now, paused),
            Input::FellBack { server, instead, reason } => self.fell_back(server, instead, reason),
            Input::SlotOpened { server, slot, result } => {
                self.slot_opened(now, server, slot, result);
            }
            Input::Queues { server, queues } => self.queues(now, server, &queues),
            Input::Accepted { server, conn, client } => self.accepted(now, server, conn, client),
            Input::TakeOutOfRotation { worker } => self.take_out_of_rotation(now, worker),
            Input::TakeAllOutOfRotation => self.take_all_out_of_rotation(now),
            Input::FinishWork { worker } => self.finish_work(worker),
            Input::AskStop { worker, signal, message, catches, serves_aside } => {
                self.ask_stop(worker, signal, message, catches, serves_aside);
            }
            Input::AgentMessage { worker, message } => self.agent_message(now, worker, message),
            Input::AgentLost { worker } => self.agent_lost(worker),
            Input::Disconnect { worker } => self.disconnect(now, worker),
            Input::CloseChannel { worker } => self.close_channel(now, worker),
            Input::DisconnectAll => self.disconnect_all(now),
            Input::ReleaseUnused => self.release_unused(now),
        }
        self.finish_disconnecting();
    }

    /// Takes notice of the time.
    pub fn handle_timeout(&mut self, now: Mono) {
        self.end_overdue_requests(now);
        self.look_after_workers(now);
        self.probing_due(now);
        self.slots_due(now);
        self.dispatcher.handle_timeout(now);
        self.carry_out(now);
    }

    /// Whether [`poll_output`](Self::poll_output) has something.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let due = [
            self.dispatcher.poll_timeout(),
            self.requests.poll_timeout(),
            self.health_timeout(),
            self.slots_timeout(),
        ];
        due.into_iter().flatten().chain(self.probing_timeout()).min()
    }

    fn setup(&mut self, mut config: Config) {
        if self.frozen {
            config.placement = self.config.placement;
            config.policy = self.config.policy;
            config.custom_policy = self.config.custom_policy.clone();
        }
        self.frozen = true;
        self.dispatcher.set_limits(dispatch_limits(&config, self.dispatcher.limits()));
        self.config = config.clone();
        self.event(Event::Setup { config });
    }

    fn schedule(&mut self, placement: Placement, policy: PolicyName) {
        if !self.frozen {
            self.config.placement = placement;
            self.config.policy = policy;
            self.config.custom_policy = None;
        }
    }

    fn forked(&mut self, now: Mono, worker: WorkerId, pid: u32, slot: Option<u32>) {
        // Node's fork calls setupPrimary().
        self.setup(self.config.clone());
        let slot = slot.unwrap_or_else(|| self.next_slot());
        let seat = lowest_free(self.workers.values().map(|worker| worker.seat));
        let serialization = self.config.serialization;
        self.workers.insert(worker, Worker::new(pid, slot, seat, serialization));
        self.disconnected = false;
        self.dispatch(now, Place::Enter { worker });
        self.event(crate::event::Event::Fork { worker, pid });
    }

    fn received(
        &mut self,
        now: Mono,
        worker: WorkerId,
        message: Message,
        handle: Option<Handle>,
        arrived: bool,
    ) {
        if !self.hears(worker) {
            self.close_handle(handle);
            return;
        }
        self.heard(now, worker);
        match message {
            Message::User(value) => self.users_message(worker, value.into(), handle),
            Message::Encoded(message) => self.users_message(worker, message, handle),
            Message::Cluster(message) => {
                self.close_handle(handle);
                self.cluster_message(now, worker, message, arrived);
            }
            Message::SocketList(message) => {
                self.close_handle(handle);
                self.socket_list(worker, message);
            }
            message => {
                self.close_handle(handle);
                if let Some(held) = native::said_held(&message) {
                    self.dispatch(now, Place::Held { worker, held });
                }
                // Nothing else that a primary would have to answer.
            }
        }
    }

    /// A worker sent a message that cannot be read, which is a sign of life as any other.
    fn too_deep(&mut self, now: Mono, worker: WorkerId) {
        if self.hears(worker) {
            self.heard(now, worker);
            self.event(crate::event::Event::Error { worker, error: WorkerError::TooDeep });
        }
    }

    fn cluster_message(
        &mut self,
        now: Mono,
        worker: WorkerId,
        message: ClusterMessage,
        arrived: bool,
    ) {
        let offered = native::offered(&message);
        let ClusterMessage { seq, ack, body, .. } = message;
        match body {
            ClusterBody::Online => {
                if let (Some(speaker), Some(offered)) = (self.known_mut(worker), offered) {
                    speaker.native = true;
                    self.put(Output::Negotiate { worker, offered });
                    if self.config.counts_connections() {
                        let (message, handle) = (native::ask_held(), None);
                        self.put(Output::Send { worker, message, handle });
                    }
                }
                self.set_state(worker, "online");
                self.event(crate::event::Event::Online { worker });
            }
            ClusterBody::QueryServer(query) => self.query_server(now, worker, seq, *query),
            ClusterBody::Listening(query) => {
                self.set_state(worker, "listening");
                let address = Address::of(&query);
                self.slot_listens(now, worker, &address);
                self.check_agent(worker);
                self.event(crate::event::Event::Listening { worker, address });
            }
            ClusterBody::Close { key } => self.close(now, worker, &key),
            ClusterBody::ExitedAfterDisconnect => {
                if let Some(worker) = self.known_mut(worker) {
                    worker.exited_after_disconnect = Some(true);
                }
                self.send_internal(worker, Some(seq), ClusterBody::Ack);
            }
            ClusterBody::Accepted(_) | ClusterBody::Ack
                if self.is_too_soon(worker, ack, arrived) =>
            {
                self.answered_too_soon(worker);
            }
            ClusterBody::Accepted(accepted) => self.answered(now, worker, ack, accepted),
            // As in Node: an answer that does not say that it took the connection refused it.
            ClusterBody::Ack => self.answered(now, worker, ack, false),
            _ => {}
        }
    }
}
