//! A worker's process, channel and pipes.

mod state;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use cluster_ipc::{Channel, Flush, Received, Recv, RecvError};
use cluster_proto::env::Serialization;
use cluster_proto::{ClusterBody, ClusterMessage, Message};
use cluster_sched::Mono;
use mio::Interest;
use mio::unix::SourceFd;

use super::agent::AgentPipes;
use super::bound::Call;
use super::frame_tokens;
use super::process::Process;
use super::rights::Rights;
use super::starting::Start;
use super::tokens::Source;
use super::untaken::Untaken;
use super::{Primary, runtime, unread};
use crate::error::WorkerError;
use crate::id::WorkerId;
use crate::machine::{Handle, Input};

pub(super) use state::ChildState;

/// Messages that are taken from one worker, and bytes that are read and looked at, before the others have
/// their turn: a long message takes many turns.
const MESSAGES_PER_WAKE: usize = 256;
const BYTES_PER_WAKE: usize = 256 << 10;

/// Messages that are taken at most from a worker that has ended.
const LAST_MESSAGES: usize = 65_536;

/// Bytes that are taken from one pipe before others have their turn.
const PIPE_CHUNK: usize = 64 << 10;

/// Chunks that are taken from each pipe of a worker that has ended: a pipe can be made to hold a
/// megabyte, and what a stranger that inherited it writes is not bounded.
const LAST_CHUNKS: usize = 16;

/// How soon it is looked again whether a worker has read what a handle waits for: at first, and at the
/// most, as each pause is twice the one before it.
const READ_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_READ_PAUSE: Duration = Duration::from_millis(50);

/// What the driver holds of one worker.
pub(super) struct Child {
    channel: Option<Channel>,
    pub(super) serialization: Serialization,
    /// Until it has been waited for.
    pub(super) process: Option<Process>,
    pipes: BTreeMap<u32, File>,
    pub(super) agent: Option<AgentPipes>,
    /// The channel is to close once all is written.
    pub(super) closing: bool,
    /// Its channel takes nothing more until it is writable.
    pub(super) blocked: bool,
    /// What a handle waits for is not read yet.
    unread: Option<Unread>,
    /// It holds descriptors that it has not read, and too many of them: when that is looked at again.
    pub(super) look_again: Option<Unread>,
    /// Descriptors that it may have left unread.
    pub(super) untaken: Untaken,
    /// What runtime its program is has been looked at.
    is_recognised: bool,
    /// It made a call of the primary block.
    blocks: bool,
    /// Until it is known that it executes its program.
    pub(super) start: Option<Start>,
    /// What it was started with; unknown of one that an earlier version has started.
    pub(super) rights: Option<Rights>,
}

/// When it is looked again whether a worker has read what it was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unread {
    at: Mono,
    pause: Duration,
}

impl Unread {
    /// It was looked at that time, in vain: when it is looked again.
    fn again(before: Option<Self>, now: Mono) -> Self {
        match before {
            // Something else made it be looked at earlier.
            Some(before) if now < before.at => before,
            before => {
                let double = |before: Self| (before.pause * 2).min(LONGEST_READ_PAUSE);
                let pause = before.map_or(READ_PAUSE, double);
                Self { at: now + pause, pause }
            }
        }
    }
}

impl Child {
    pub(super) fn new(
        channel: Channel,
        process: Process,
        serialization: Serialization,
        rights: Rights,
    ) -> Self {
        Self {
            start: None,
            rights: Some(rights),
            serialization,
            channel: Some(channel),
            process: Some(process),
            pipes: BTreeMap::new(),
            agent: None,
            closing: false,
            blocked: false,
            unread: None,
            look_again: None,
            untaken: Untaken::default(),
            is_recognised: false,
            blocks: false,
        }
    }

    /// Descriptors that came with no message that has one.
    pub(super) fn unexpected_handles(&self) -> u64 {
        self.channel.as_ref().map_or(0, |channel| channel.stats().unexpected_handles)
    }

    /// It made a call of the primary block.
    pub(super) fn note_blocks(&mut self) {
        self.blocks = true;
    }

    /// Whether it ever did.
    pub(super) fn blocks(&self) -> bool {
        self.blocks
    }

    /// The channel as long as it is there.
    pub(super) fn channel(&mut self) -> Option<&mut Channel> {
        self.channel.as_mut()
    }

    /// Whether there is a channel that is not about to close.
    pub(super) fn has_open_channel(&self) -> bool {
        self.channel.is_some() && !self.closing
    }
}

/// The hand-off that this message answers, if it is such an answer.
fn answered(message: &Message) -> Option<u64> {
    match message {
        Message::Cluster(ClusterMessage {
            ack,
            body: ClusterBody::Accepted(_) | ClusterBody::Ack,
            ..
        }) => *ack,
        _ => None,
    }
}

impl Primary {
    /// Reads what a worker has to say, up to a limit; whether there may be more.
    pub(super) fn read_channel(&mut self, now: Duration, worker: WorkerId) -> bool {
        self.read_messages(now, worker, MESSAGES_PER_WAKE, BYTES_PER_WAKE)
    }

    /// A worker has said something, so its process executes its program by now: what runtime is that?
    fn recognise(&mut self, now: Duration, worker: WorkerId) {
        let Some(child) = self.children.get_mut(&worker) else { return };
        if std::mem::replace(&mut child.is_recognised, true) {
            return;
        }
        let Some(pid) = child.process.as_ref().map(Process::pid) else { return };
        if let Some(runtime) = runtime::that_cannot_listen(pid, &self.settings) {
            let child = self.children.get_mut(&worker);
            if let Some(channel) = child.and_then(Child::channel) {
                channel.keep_handles_apart();
            }
            let runtime = runtime.to_owned();
            self.machine.handle_input(now, Input::CannotListen { worker, runtime });
        }
        if runtime::answers_probes(pid, &self.settings) {
            self.machine.handle_input(now, Input::AnswersProbes { worker });
        }
    }

    fn read_messages(
        &mut self,
        now: Duration,
        worker: WorkerId,
        most: usize,
        bytes: usize,
    ) -> bool {
        let channel = self.children.get_mut(&worker).and_then(|child| child.channel.as_mut());
        let sent_unexpected =
            channel.as_ref().is_some_and(|channel| channel.stats().unexpected_handles > 0);
        channel.into_iter().for_each(|channel| channel.allow(bytes));
        if sent_unexpected && self.check_stuck_closes(worker) {
            return false;
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let mut until = None;
        for _ in 0..most {
            let Some(child) = self.children.get_mut(&worker) else { return false };
            let Some(channel) = &mut child.channel else { return false };
            // The program takes these first; of a worker that has ended everything is read now.
            if bytes != u64::MAX && self.handles.is_full() {
                return true;
            }
            let received = channel.received_bytes();
            if received >= *until.get_or_insert(received.saturating_add(bytes)) {
                return true;
            }
            // Reading may have something to answer, or free what was held back.
            self.writes.add(worker);
            let (received, interrupted) = self.blocking.calls.time(|| channel.recv());
            for handle in channel.take_unexpected() {
                self.closer.close_from(worker, handle);
            }
            while let Some(answer) = channel.poll_answer() {
                match frame_tokens::of(answer.token) {
                    frame_tokens::Token::Probe => {
                        self.machine.handle_input(now, Input::Probed { worker });
                    }
                    frame_tokens::Token::User(id) => {
                        let delivered = answer.delivered;
                        self.machine.handle_input(now, Input::Sent { worker, id, delivered });
                    }
                    frame_tokens::Token::HandOff(seq) if !answer.delivered => {
                        self.machine.handle_input(now, Input::Undelivered { worker, seq });
                    }
                    frame_tokens::Token::HandOff(_) => {}
                }
            }
            let can_send = channel.can_send();
            let is_used_up = channel.is_used_up();
            let arrived = match &received {
                Ok(Recv::Message(Received { message, .. })) => {
                    answered(message).is_none_or(|seq| channel.has_arrived(seq))
                }
                _ => true,
            };
            if interrupted {
                self.blame(worker, Call::Receive);
            }
            if matches!(received, Ok(Recv::Message(_))) {
                self.recognise(now, worker);
            }
            match received {
                Ok(Recv::WouldBlock) if is_used_up => return true,
                // Nothing can be written to it any more, and this was the last of its words.
                Ok(Recv::WouldBlock) if !can_send => {
                    self.close_now(now, worker);
                    return false;
                }
                Ok(Recv::WouldBlock) => return false,
                Ok(Recv::Message(received)) => {
                    let handle = received.handle.map(|h| {
                        let id = self.handles.receive(worker, h.handle);
                        Handle { id, kind: h.kind, key: h.key }
                    });
                    let message = received.message;
                    let input = Input::Received { worker, message, handle, arrived };
                    self.machine.handle_input(now, input);
                }
                Ok(Recv::Closed) => {
                    self.close_now(now, worker);
                    return false;
                }
                Err(RecvError::TooDeep) => {
                    self.machine.handle_input(now, Input::TooDeep { worker });
                }
                Err(error) => {
                    self.fail_channel(worker, WorkerError::Channel { what: error.to_string() });
                    return false;
                }
            }
            if interrupted && !self.machine.hears(worker) {
                return false;
            }
        }
        true
    }

    /// Something is so wrong with a worker's channel that the machine is to have it closed.
    pub(super) fn fail_channel(&mut self, worker: WorkerId, error: WorkerError) {
        let now = self.clock.now();
        self.machine.handle_input(now, Input::ChannelFailed { worker, error });
    }

    pub(super) fn close_now(&mut self, now: Duration, worker: WorkerId) {
        let Some(child) = self.children.get_mut(&worker) else { return };
        let Some(mut channel) = child.channel.take() else { return };
        let _ = self.poll.registry().deregister(&mut channel);
        self.tokens.forget(Source::Channel(worker));
        self.stalled.forget(worker);
        self.handles.note_unexpected(channel.stats().unexpected_handles);
        // Its peer sees the end at once, and what is still in it may take long to close.
        let _ = rustix::net::shutdown(&channel, rustix::net::Shutdown::Both);
        self.closer.discard_from(worker, channel);
        self.machine.handle_input(now, Input::ChannelClosed { worker });
        self.forget_if_over(worker);
    }

    /// The process may have ended: hears its last words, then says so.
    pub(super) fn reap(&mut self, now: Duration, worker: WorkerId) {
        self.before_reaping(worker);
        self.read_start(worker);
        let Some(child) = self.children.get_mut(&worker) else { return };
        let Some(process) = &mut child.process else { return };
        let status = match process.try_wait() {
            Ok(Some(status)) => status,
            // Not yet.
            Ok(None) => return,
            // Other code has waited for it: nothing more can be learned.
            Err(_) => crate::event::ExitStatus::Unknown,
        };
        process.deregister(self.poll.registry());
        let process = child.process.take();
        self.tokens.forget(Source::Process(worker));
        // A stranger that inherited the channel could hold it open forever, and write forever.
        #[cfg(target_os = "linux")]
        if let Some(channel) = self.children.get_mut(&worker).and_then(|c| c.channel.as_mut()) {
            channel.note_readable(true);
            // What was written remains to be read; nothing more can be. (Elsewhere it would be lost.)
            let _ = rustix::net::shutdown(&*channel, rustix::net::Shutdown::Read);
        }
        self.read_messages(now, worker, LAST_MESSAGES, usize::MAX);
        self.close_agent(now, worker);
        let pipes: Vec<_> =
            self.children.get(&worker).map_or_else(Vec::new, |c| c.pipes.keys().copied().collect());
        for fd in pipes {
            self.read_last(worker, fd);
        }
        let child = self.children.get_mut(&worker);
        let pipes = child.map(|child| std::mem::take(&mut child.pipes)).unwrap_or_default();
        self.close_now(now, worker);
        self.machine.handle_input(now, Input::Exited { worker, status });
        if let Some(process) = process {
            self.end_tree(worker, process, pipes);
        }
        self.forget_if_over(worker);
    }

    fn forget_if_over(&mut self, worker: WorkerId) {
        if self.children.get(&worker).is_some_and(|c| c.channel.is_none() && c.process.is_none()) {
            if let Some(child) = self.children.remove(&worker) {
                self.told.note_departed(worker, child.serialization);
            }
            self.writes.forget(worker);
            self.stalled.forget(worker);
            self.without_agent.remove(&worker);
        }
    }

    /// Takes the primary's end of a worker's pipe.
    pub(super) fn add_pipe(&mut self, worker: WorkerId, fd: u32, pipe: OwnedFd) -> io::Result<()> {
        // Into descriptor 0 nothing is written; its end is kept so that the worker sees no end.
        if fd != 0 {
            let source = Source::Pipe(worker, fd);
            let token = self.tokens.token(source);
            let interest = Interest::READABLE;
            self.poll.registry().register(&mut SourceFd(&pipe.as_raw_fd()), token, interest)?;
            self.pending.insert(source);
        }
        if let Some(child) = self.children.get_mut(&worker) {
            child.pipes.insert(fd, pipe.into());
        }
        Ok(())
    }

    /// Reads from a worker's pipe; whether there may be more.
    pub(super) fn read_pipe(&mut self, worker: WorkerId, fd: u32) -> bool {
        let child = self.children.get_mut(&worker);
        let pipe = child.and_then(|c| c.pipes.get_mut(&fd));
        let pipe = pipe.or_else(|| self.trees.pipe(worker, fd));
        let Some(pipe) = pipe.filter(|_| fd != 0) else { return false };
        let mut data = vec![0; PIPE_CHUNK];
        match pipe.read(&mut data) {
            Ok(0) => {
                self.close_pipe(worker, fd);
                false
            }
            Ok(length) => {
                data.truncate(length);
                self.machine.handle_input(self.clock.now(), Input::Stdio { worker, fd, data });
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Err(_) => {
                self.close_pipe(worker, fd);
                false
            }
        }
    }

    /// Reads what is left in the pipe of a worker that has ended, up to a limit.
    pub(super) fn read_last(&mut self, worker: WorkerId, fd: u32) {
        let mut chunks = LAST_CHUNKS;
        while chunks > 0 && self.read_pipe(worker, fd) {
            chunks -= 1;
        }
        // There may be more, if something is left that writes.
        self.pending.insert(Source::Pipe(worker, fd));
    }

    pub(super) fn close_pipe(&mut self, worker: WorkerId, fd: u32) {
        let pipe = self.children.get_mut(&worker).and_then(|c| c.pipes.remove(&fd));
        if let Some(pipe) = pipe.or_else(|| self.trees.take_pipe(worker, fd)) {
            let _ = self.poll.registry().deregister(&mut SourceFd(&pipe.as_raw_fd()));
            self.tokens.forget(Source::Pipe(worker, fd));
        }
    }

    /// Writes what waits for workers.
    pub(super) fn flush(&mut self) {
        let workers = self.writes.take();
        for &worker in &workers {
            if self.stalled.has(worker) || self.holds_back(worker) {
                continue;
            }
            let Some(child) = self.children.get_mut(&worker) else { continue };
            let Some(channel) = &mut child.channel else { continue };
            let (machine, conns) = (&self.machine, &self.conns);
            let lend = |seq| conns.get(machine.handed(worker, seq)?);
            let mut flushed = channel.flush_with(lend);
            while channel.waits_to_be_read() && flushed.is_ok() {
                if unread::is_all_read(&*channel) == Some(false) {
                    let unread = Unread::again(child.unread, self.clock.now());
                    child.unread = Some(unread);
                    self.writes.hold(worker, unread.at);
                    break;
                }
                child.unread = None;
                channel.note_all_read();
                flushed = channel.flush_with(lend);
            }
            child.untaken.note(channel.written());
            while let Some(mark) = channel.poll_mark() {
                let input = match mark {
                    frame_tokens::DRAINED => Input::Drained { worker },
                    mark => match frame_tokens::of(mark) {
                        frame_tokens::Token::User(id) => {
                            Input::Sent { worker, id, delivered: true }
                        }
                        // Nothing else is marked.
                        _ => continue,
                    },
                };
                self.machine.handle_input(self.clock.now(), input);
            }
            let (can_send, is_idle, closing) =
                (channel.can_send(), channel.is_idle(), child.closing);
            if !can_send {
                // It does not read any more: once its last words are read its channel goes.
                self.pending.insert(Source::Channel(worker));
            }
            match flushed {
                Ok(Flush::Done) if closing && is_idle && !self.machine.is_serving(worker) => {
                    let now = self.clock.now();
                    self.close_now(now, worker);
                }
                // The rest when its channel becomes writable.
                Ok(flushed) => {
                    if let Some(child) = self.children.get_mut(&worker) {
                        child.blocked = flushed == Flush::Blocked;
                    }
                }
                // Too many descriptors in flight, say: nothing is lost.
                Err(error) => self.stall(worker, &error),
            }
        }
        self.writes.give_back(workers);
    }

    /// It is looked again later whether a worker has read what it has.
    pub(super) fn look_later(&mut self, worker: WorkerId) {
        let now = self.clock.now();
        let Some(child) = self.children.get_mut(&worker) else { return };
        let next = Unread::again(child.look_again, now);
        child.look_again = Some(next);
        self.writes.hold(worker, next.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_does_not_read_is_looked_at_less_and_less_often() {
        let (mut now, mut unread) = (Mono::ZERO, None);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let next = Unread::again(unread, now);
            // Looking early changes nothing.
            assert_eq!(Unread::again(Some(next), now).at, next.at);
            pauses.push((next.at - now).as_millis());
            (now, unread) = (next.at, Some(next));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 50, 50]);
    }
}
