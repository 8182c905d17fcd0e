//! Logs what the primary counts while it cannot serve as it should.

use std::io;
use std::time::Duration;

use super::base::Runner;
use crate::listen::advice::exhausted;
use crate::warnings::Counts;

impl Runner {
    pub(super) fn counts(&self) -> Counts {
        self.warnings.with_other_pauses(self.primary().stats().into())
    }

    /// Counts clients of the control socket and of `--http` that have to wait, too.
    fn count_pauses(&mut self) -> Option<io::Error> {
        let control =
            self.control_mut().and_then(cluster_control::ControlServer::take_accept_pauses);
        let http = self.http.as_ref().and_then(|(it, _)| it.take_accept_pauses());
        let mut last = self.primary().accept_error();
        for (count, error) in control.into_iter().chain(http) {
            self.warnings.count_other_pauses(count);
            last = Some(error);
        }
        last
    }

    /// Warns of what is due; how long until something else is.
    pub(super) fn warn(&mut self) -> Option<Duration> {
        let last = self.count_pauses();
        let (now, counts) = (self.now(), self.counts());
        if let Some(pauses) = self.warnings.pauses(now, counts) {
            let times = if pauses == 1 { "once".into() } else { format!("{pauses} times") };
            let why = match last {
                Some(error) => format!("{error}{}", exhausted(&error)),
                None => "the system has no descriptors or memory left".into(),
            };
            self.warning(&format!(
                "accepting connections paused {times}; clients wait in the kernel's queue: {why}"
            ));
        }
        if let Some(pauses) = self.warnings.hand_off_pauses(now, counts) {
            let times = if pauses == 1 { "once".into() } else { format!("{pauses} times") };
            let why = match self.primary().hand_offs_paused() {
                Some(paused) => paused.to_string(),
                None => "processes of this user had too many descriptors in flight between Unix sockets \
                         (ETOOMANYREFS)"
                    .into(),
            };
            self.warning(&format!(
                "handing connections to workers paused {times}; they wait: {why}"
            ));
        }
        if let Some(stuck) = self.warnings.stuck_closes(now, counts) {
            let closes =
                if stuck == 1 { "1 close has".into() } else { format!("{stuck} closes have") };
            let waiting = self.primary().stats().closing;
            self.warning(&format!(
                "{closes} taken longer than a second; {waiting} descriptors wait to be closed, and stay \
                 open until then: they are files of a file system that does not answer (FUSE, a network \
                 mount), and came from workers"
            ));
        }
        if let Some(shed) = self.warnings.shed(now, counts) {
            let connections = match shed.all() {
                1 => "1 connection was".into(),
                count => format!("{count} connections were"),
            };
            self.warning(&format!(
                "{connections} closed before a worker took them: {}",
                shed.reasons()
            ));
        }
        let next = self.warnings.poll_timeout(counts)?;
        Some(next.saturating_sub(now))
    }

    /// Warns of all that has not been warned of, at the end.
    pub(super) fn warn_of_the_rest(&mut self) {
        self.warnings.end();
        self.warn();
    }
}
