//! Waiting for an event, with a limit.

use std::io;
use std::time::Duration;

use super::Primary;
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
    /// Waits for the next event, but no longer than that. What can be done without waiting is done however short that is.
    ///
    /// # Errors
    /// If the system's poll fails.
    pub fn next_event_within(&mut self, patience: Duration) -> io::Result<Next> {
        let deadline = self.clock.now() + patience;
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
