//! Waiting for an event, with a limit.

use std::io;
use std::time::Duration;

use super::base::Primary;
use crate::event::Event;

/// How a wait for the next event has ended.
#[derive(Debug)]
pub enum Next {
    /// With that event.
    Event(Event),
    /// The time is over. Events may still come.
    TimedOut,
    /// Nothing more can happen: no worker is left, and no [`Remote`](crate::Remote) that could fork one.
    Over,
}

impl Next {
    /// The event, if there was one.
    pub fn event(self) -> Option<Event> {
        match self {
            Self::Event(event) => Some(event),
            Self::TimedOut | Self::Over => None,
        }
    }
}

impl Primary {
    /// Waits for the next event; `None` when nothing more can happen: no worker is left, and no [`Remote`](crate::Remote)
    /// that could fork one.
    ///
    /// # Errors If the system's poll fails.
    pub fn next_event(&mut self) -> io::Result<Option<Event>> {
        loop {
            if let Some(event) = self.take_event() {
                return Ok(Some(event));
            }
            if self.is_over() {
                return Ok(None);
            }
            self.turn(None)?;
        }
    }

    /// The next event, if there is one, without waiting, and with a bounded amount of work.
    ///
    /// A program with its own event loop calls it until it returns `None`, but no more often than the rest of
    /// the loop may wait (a worker may send messages without end). Then it waits for the descriptor, for no
    /// longer than [`poll_timeout`](Self::poll_timeout).
    ///
    /// # Errors If the system's poll fails.
    pub fn try_event(&mut self) -> io::Result<Option<Event>> {
        if let Some(event) = self.take_event() {
            return Ok(Some(event));
        }
        self.turn(Some(Duration::ZERO))?;
        Ok(self.take_event())
    }

    /// Waits for the next event, but no longer than that. What can be done without waiting is done however short that is.
    ///
    /// # Errors
    /// If the system's poll fails.
    pub fn next_event_within(&mut self, patience: Duration) -> io::Result<Next> {
        let deadline = self.now() + patience;
        loop {
            if let Some(event) = self.take_event() {
                return Ok(Next::Event(event));
            }
            let is_over = self.is_over();
            let left = if is_over { Duration::ZERO } else { self.clock.until(deadline) };
            self.turn(Some(left))?;
            if left.is_zero() {
                let none = if is_over { Next::Over } else { Next::TimedOut };
                return Ok(self.take_event().map_or(none, Next::Event));
            }
        }
    }
}
