//! What the owner of the primary has it do with workers and servers.

use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use cluster_sched::PolicyName;

use super::base::{Primary, Write};
use super::closer::PausedClosing;
use super::process::Process;
use super::tokens::Source;
use super::{runtime, signals};
use crate::error::KillError;
use crate::event::EventHandle;
use crate::id::WorkerId;
use crate::machine::{Config, Input};
use crate::settings::{Placement, Settings};
use crate::signal::Signal;

impl Primary {
    /// Changes the settings for future forks: Node's `cluster.setupPrimary()`. Settings that `change` does
    /// not touch stay; placement and policy are fixed by the first call and by the first fork.
    pub fn setup(&mut self, change: impl FnOnce(&mut Settings)) {
        change(Arc::make_mut(&mut self.settings));
        let config = Config::from(&*self.settings);
        self.input(Input::Setup { config });
    }

    /// Sets placement and policy, before the first
    /// [`setup`](Self::setup) or fork; after that it changes nothing (Node's
    /// `cluster.schedulingPolicy`).
    pub fn schedule(&mut self, placement: Placement, policy: PolicyName) {
        self.input(Input::Schedule { placement, policy });
        self.take_config(self.machine.config());
    }

    /// Sends a signal: Node's `worker.kill()`, which does nothing else in the primary. Returns `false` if the
    /// process has exited.
    ///
    /// # Errors [`KillError`] for a signal that does not exist on this system, or if the system refuses.
    pub fn kill(&mut self, worker: WorkerId, signal: Signal) -> Result<bool, KillError> {
        self.trace_tree(worker);
        match self.child(worker).and_then(|c| c.process.as_ref()) {
            Some(process) => process.signal(worker, signal),
            None => Ok(false),
        }
    }

    /// Takes a worker out of rotation: it gets no more connections, but is not told to disconnect. This is
    /// the first step for workers whose programs do more at their end than `disconnect` makes them do;
    /// [`LeaveProgress::OutOfRotation`](crate::LeaveProgress::OutOfRotation) reports that the worker has
    /// answered for all connections in flight to it. [`disconnect_worker`](Self::disconnect_worker) is the
    /// last step. The last worker of a server serves the connections that have come so far, and the server
    /// closes (unless [`Settings::keep_listeners`] keeps it).
    pub fn take_out_of_rotation(&mut self, worker: WorkerId) {
        self.input(Input::TakeOutOfRotation { worker });
    }

    /// Takes all workers out of rotation, as [`take_out_of_rotation`](Self::take_out_of_rotation) does, and
    /// closes every server after the connections that have come so far are served. When all workers have
    /// disconnected, [`Event::Disconnected`](crate::Event::Disconnected) follows.
    pub fn take_all_out_of_rotation(&mut self) {
        self.input(Input::TakeAllOutOfRotation);
        self.end_all_trees();
    }

    /// Asks a worker to finish its HTTP work: its responses now carry `Connection: close`, idle connections
    /// are closed, and HTTP/2 sessions end. [`LeaveProgress::Work`](crate::LeaveProgress::Work) reports what
    /// is left; for a worker without an [agent](crate::agent) that is nothing.
    pub fn finish_work(&mut self, worker: WorkerId) {
        self.input(Input::FinishWork { worker });
    }

    /// Finds out how a worker is to be asked to stop;
    /// [`LeaveProgress::Stop`](crate::LeaveProgress::Stop) answers:
    /// - by `signal`, if its program handles it, or if it has never said anything on its channel, or
    ///   has closed it. A Node program with an [agent](crate::agent) handles a signal if `process` has
    ///   a listener for it; of Python and Bun the system tells. Of others it is not known.
    ///   A Bun or Deno program that has never listened through its channel gets the signal too: what
    ///   it serves (`Bun.serve`, `Deno.serve`) `disconnect` would not close;
    /// - by a message of the user's, if `message` says that there is one;
    /// - else by `disconnect`.
    pub fn ask_stop(&mut self, worker: WorkerId, signal: Option<Signal>, message: bool) {
        self.trace_tree(worker);
        let pid = self.child(worker).and_then(|c| c.process.as_ref()).map(Process::pid);
        let catches = pid.zip(signal).and_then(|(pid, signal)| signals::catches(pid, signal));
        let serves_aside = pid.is_some_and(runtime::serves_aside);
        self.input(Input::AskStop { worker, signal, message, catches, serves_aside });
    }

    /// Tells a worker to close its servers, wait for its connections to end, and exit: Node's
    /// `worker.disconnect()`. It gets no more connections, and is told once it has answered for those in
    /// flight to it.
    pub fn disconnect_worker(&mut self, worker: WorkerId) {
        self.trace_tree(worker);
        self.input(Input::Disconnect { worker });
    }

    /// Closes a worker's channel: Node's `worker.process.disconnect()`. The worker then exits. It gets no
    /// more connections; before the channel closes, queued messages are written, and connections in flight
    /// are answered for.
    pub fn close_channel(&mut self, worker: WorkerId) {
        if let Some(child) = self.child_mut(worker) {
            child.closing = true;
            self.wants_write(worker);
        }
        self.input(Input::CloseChannel { worker });
    }

    /// Reads no further messages from a worker, or reads them again. Meanwhile they wait in its channel, and in the
    /// worker once that is full; nothing that it says reaches the primary, so it may be found
    /// [unresponsive](crate::Event::Unresponsive). For a program that passes them on and cannot keep up.
    pub fn hold_messages(&mut self, worker: WorkerId, hold: bool) {
        if let Some(child) = self.child_mut(worker) {
            child.held = hold;
            self.pending.insert(Source::Channel(worker));
        }
    }

    /// Disconnects every worker: Node's `cluster.disconnect()`. [`Event::Disconnected`](crate::Event::Disconnected) follows when all have
    /// disconnected and every listening socket is closed. Until then, and after that until a worker is
    /// forked, another call does nothing.
    pub fn disconnect(&mut self) {
        if !self.machine.is_disconnected() {
            self.disconnect_anew();
        }
    }

    /// As [`disconnect`](Self::disconnect), but [`Event::Disconnected`](crate::Event::Disconnected) follows even if nothing is left to
    /// do: Node calls the callback of every `cluster.disconnect()`.
    pub fn disconnect_anew(&mut self) {
        self.input(Input::DisconnectAll);
        self.end_all_trees();
    }

    /// Lends a socket of this program to the workers, which listen on it by the number that is returned:
    /// Node's `listen({fd})`. It stays open until it is [taken back](Self::take_back), or the primary is
    /// dropped.
    ///
    /// Without this call, workers may name only descriptors that this process has inherited, for example from
    /// a service manager. A number of any other descriptor, such as the control socket's, is `EINVAL`.
    /// (Close-on-exec descriptors count as opened here.)
    pub fn lend(&mut self, socket: impl Into<OwnedFd>) -> RawFd {
        let socket = socket.into();
        let number = socket.as_raw_fd();
        self.lent.insert(number, socket);
        number
    }

    /// Has the numbers that workers name ([`lend`](Self::lend)) stand for descriptors of another process: `lender`
    /// returns a duplicate of the one with that number. It is called in the loop, and must not block. An in-place
    /// upgrade does not keep it.
    pub fn lend_from(&mut self, lender: impl Fn(RawFd) -> io::Result<OwnedFd> + Send + 'static) {
        self.lender = Some(Box::new(lender));
    }

    /// Takes back a socket that was [lent](Self::lend): later listens do not get it. Servers that use it
    /// already continue.
    pub fn take_back(&mut self, number: RawFd) -> Option<OwnedFd> {
        self.lent.remove(&number)
    }

    /// Closes listening sockets that no worker serves, and that [`Settings::keep_listeners`] has kept open
    /// for future workers.
    pub fn release_unused(&mut self) {
        self.input(Input::ReleaseUnused);
    }

    /// Closes a descriptor of an [event](crate::Event::Message) that the program has no use for, in the
    /// background: its sender can make that take long. It counts among the
    /// [unexpected](crate::Stats::unexpected_handles) ones.
    pub fn refuse_handle(&mut self, worker: WorkerId, handle: EventHandle) {
        self.discard_handle(worker, handle.handle);
        self.settle(Write::Now);
    }

    /// Closes a descriptor of an [event](crate::Event::Message), in the background, without holding it against
    /// its worker: for a program that could not take the event in time.
    pub fn close_handle(&mut self, worker: WorkerId, handle: EventHandle) {
        self.closer.close_from(worker, handle.handle);
        self.check_stuck_closes(worker);
        self.settle(Write::Now);
    }

    /// Has the primary close none of the descriptors that workers made, for as long as that exists, up to
    /// a second. For a program that forks: the child has copies, closes them when it executes its
    /// program, and would be blocked by them if it were the last to have them. (A primary does it itself
    /// when it starts a worker.)
    pub fn pause_closing(&self) -> PausedClosing {
        self.closer.pause()
    }

    /// Waits until descriptors are closed that workers sent and nothing uses, but no longer than that;
    /// how many are left. For a process that is about to execute another program: it would wait for
    /// each to close, without bound.
    pub fn finish_closing(&self, patience: Duration) -> usize {
        self.closer.finish(patience)
    }
}
