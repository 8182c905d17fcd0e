//! Lines of JSON whose reader is waited for (`--json`).

use std::os::fd::AsFd;
use std::time::Instant;

use cluster_primary::Object;
use rustix::io::Errno;

use super::format::line;
use super::sink::{AT_MOST_EVERY, lost, may_pass, now, write_all};

/// Writes whole lines. Where the system cannot take more (the disk is full) they are counted, and once there
/// is space a line in their place says how many are missing, at most once a minute.
#[derive(Debug)]
pub(crate) struct Events<W: AsFd> {
    to: W,
    /// The rest of a line that was written in part.
    rest: Vec<u8>,
    lost: u64,
    failure: Option<Errno>,
    told_at: Option<Instant>,
}

impl<W: AsFd> Events<W> {
    pub(crate) fn new(to: W) -> Self {
        Self { to, rest: Vec::new(), lost: 0, failure: None, told_at: None }
    }

    /// Writes a line, given in parts and with its end, or counts it. Without a reader nothing is done.
    pub(crate) fn write(&mut self, text: &[&[u8]]) {
        let due = self.told_at.is_none_or(|at| now().duration_since(at) >= AT_MOST_EVERY);
        let goes_on = self.flush() && (!due || self.report_lost()) && self.flush();
        if !goes_on || !self.begin(text) {
            self.lost += 1;
        }
    }

    /// Says how many lines are missing, if any are; whether that is done.
    fn report_lost(&mut self) -> bool {
        if self.lost == 0 {
            return true;
        }
        let what = lost(self.lost, self.failure);
        let told = Object::new().with("type", "warning").with("message", what);
        let begun = self.begin(&[(line(told) + "\n").as_bytes()]);
        if begun {
            (self.lost, self.told_at) = (0, Some(now()));
        }
        begun
    }

    /// Writes a line, or begins it and keeps the rest. If not even that is possible, it is not written.
    fn begin(&mut self, text: &[&[u8]]) -> bool {
        for (at, part) in text.iter().enumerate() {
            match write_all(&self.to, part) {
                Err((written, error)) if may_pass(&self.to, error) => {
                    self.failure = Some(error);
                    let is_begun = written > 0 || text[..at].iter().any(|part| !part.is_empty());
                    if is_begun {
                        self.rest = part[written..].to_vec();
                        self.rest.extend(text[at + 1..].concat());
                    }
                    return is_begun;
                }
                // There is no reader.
                Err(_) => return true,
                Ok(()) => {}
            }
        }
        true
    }

    /// Writes the rest of the line that was begun; whether it is written.
    fn flush(&mut self) -> bool {
        match write_all(&self.to, &self.rest) {
            Err((written, error)) if may_pass(&self.to, error) => {
                self.failure = Some(error);
                self.rest.drain(..written);
            }
            _ => self.rest.clear(),
        }
        self.rest.is_empty()
    }
}

/// What is missing is told at the end, if it can be.
impl<W: AsFd> Drop for Events<W> {
    fn drop(&mut self) {
        let _ = self.flush() && self.report_lost();
    }
}
