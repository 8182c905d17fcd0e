//! One pass of the loop: waits, takes what is ready, and does what follows from it.

use std::io;
use std::time::Duration;

use super::base::{EVENTS, Primary, Write};
use super::call_timer;
use super::child::Child;
use super::tokens::Source;
use crate::event::Event;
use crate::machine::Input;

/// How long the first gathered message waits for others while there are events to take.
pub(super) const GATHER_TIME: Duration = Duration::from_micros(100);

impl Primary {
    /// Performs the machine's outputs and writes queued messages. No other function takes outputs, and no function that
    /// is called from here calls this one: performing an output can only produce inputs.
    pub(super) fn settle(&mut self, write: Write) {
        let _bounded = call_timer::bounded();
        loop {
            while let Some(output) = self.machine.poll_output() {
                self.apply(output);
            }
            // A failure at this point is an input.
            self.begin_delegated();
            if self.machine.has_output() {
                continue;
            }
            if self.writes.is_empty() || !self.is_due(write) {
                return;
            }
            // Channels that close once they are flushed, and reports of written messages, may produce more outputs.
            self.flush();
        }
    }

    fn is_due(&self, write: Write) -> bool {
        let due = |since| self.now() >= since + GATHER_TIME;
        match write {
            Write::Now => true,
            Write::Gathered => {
                self.told.is_empty() || self.writes.gathering_since().is_some_and(due)
            }
            Write::Later => false,
        }
    }

    pub(super) fn input(&mut self, input: Input) {
        self.tell(input);
        self.settle(Write::Now);
    }

    /// Reads from a source, up to a limit; if there may be more it stays pending.
    fn service(&mut self, now: Duration, source: Source) {
        let more = match source {
            Source::Calls => {
                for call in self.calls.take() {
                    call(self);
                }
                false
            }
            Source::Channel(worker) => self.read_channel(now, worker),
            Source::Process(worker) => {
                self.reap(now, worker);
                false
            }
            Source::Pipe(worker, fd) => self.read_pipe(worker, fd),
            Source::Agent(worker) => self.read_agent(now, worker),
            Source::Listener(server) => self.accept(now, server),
            Source::Start(worker) => {
                self.read_start(worker);
                false
            }
            Source::Binder(id) => {
                self.read_binder(id);
                false
            }
            Source::BinderEnd(id) => {
                self.reap_binder(id);
                false
            }
            Source::Watched(id) => {
                self.watches.note_readable(id);
                false
            }
        };
        if more {
            self.pending.insert(source);
        }
    }

    /// One pass: waits, then does a bounded amount of work.
    pub(super) fn turn(&mut self, patience: Option<Duration>) -> io::Result<()> {
        self.writes.begin_turn();
        let timeout = [patience, self.poll_timeout()].into_iter().flatten().min();
        match self.poll.poll(&mut self.ready, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        let _bounded = call_timer::bounded();
        self.full_wake = self.ready.iter().count() == EVENTS;
        for event in &self.ready {
            if let Some(source) = self.tokens.source(event.token()) {
                if let Source::Channel(worker) = source {
                    // A refused write makes it writable, too.
                    if event.is_writable() && !self.stalled.has(worker) {
                        self.writes.add(worker);
                    }
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        let closed = event.is_read_closed() || event.is_error();
                        let channel = self.children.get_mut(&worker).and_then(Child::channel);
                        channel.into_iter().for_each(|channel| channel.note_readable(closed));
                    }
                }
                self.pending.insert(source);
            }
        }
        let now = self.now();
        self.writes.end_holds(now);
        let sources = self.pending.take();
        for source in &sources {
            self.service(now, *source);
        }
        self.pending.give_back(sources);
        self.retry_stalled(now);
        self.close_due(now);
        self.end_late_jobs(now);
        self.end_late_starts(now);
        // What was read in this pass arrived in time.
        self.machine.handle_timeout(self.now());
        self.look_after_agent_folder(now);
        self.look_after_trees(now);
        self.settle(Write::Now);
        self.note_no_longer_stalled();
        self.blocking.note_wake(self.now().saturating_sub(now));
        Ok(())
    }

    /// Whether a pending source can be read now.
    fn has_pending(&self) -> bool {
        self.pending.iter().any(|source| match source {
            Source::Listener(server) => self.may_accept(*server),
            Source::Channel(worker) => !self.is_held(*worker),
            _ => true,
        })
    }

    /// How long a program's own loop may wait at most before it calls [`try_event`](Self::try_event); `None`
    /// means without limit.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let unwritten = !self.writes.is_empty();
        let untold = self.machine.has_output() || !self.told.is_empty();
        if self.full_wake || self.has_pending() || unwritten || untold {
            return Some(Duration::ZERO);
        }
        let paused = self.listeners.values().filter_map(|l| l.paused_until).min();
        let closing = self.closing.values().map(|closing| closing.again).min();
        let trees = self.trees.poll_timeout();
        let (binder, starts) = (self.binder.poll_timeout(), self.starts_due());
        let due = [self.machine.poll_timeout(), paused, closing, self.writes.look_again(), trees];
        let due = due.into_iter().chain([self.stalled.again(), binder, starts]);
        let at = due.flatten().min()?;
        Some(self.clock.until(at))
    }

    /// Whether no worker is left, and only the owner could fork one.
    pub fn is_over(&self) -> bool {
        let over = self.machine.is_empty() && self.closing.is_empty() && self.trees.is_idle();
        let over = over && self.binder.is_idle();
        over && !self.calls.has_remotes()
    }

    pub(super) fn take_event(&mut self) -> Option<Event> {
        let _bounded = call_timer::bounded();
        // Answers to events are gathered and written together, for a limited time.
        self.settle(Write::Gathered);
        let event = self.told.take();
        if let Some(
            Event::Message { handle: Some(_), .. } | Event::Request { handle: Some(_), .. },
        ) = event
        {
            self.handles.note_event_taken();
        }
        event
    }

    /// Tells the machine once everything that was refused has been written.
    pub(super) fn note_no_longer_stalled(&mut self) {
        if self.stalled.active && self.stalled.workers.is_empty() {
            self.stalled.active = false;
            // Its result would be out of date the next time.
            self.stalled.look_up = None;
            self.input(Input::HandOffsPaused { paused: false });
        }
    }
}
