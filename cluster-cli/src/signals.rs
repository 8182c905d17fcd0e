//! What people and other programs ask for by signals.

mod hangup;
mod origin;

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use cluster_primary::{Primary, Signal, WatchId};
use signal_hook::consts::{
    SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::WithRawSiginfo;

use crate::init::FORWARDED;
use hangup::HangUps;
use origin::Sender;
pub(crate) use origin::Stopped;

/// What a signal means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To stop; at the second signal at once.
    End,
    /// The terminal was closed: to end.
    HangUp,
    /// To replace all workers; the pid of the process that asked, if it is known.
    Reload {
        by: Option<u32>,
    },
    /// One worker more.
    More,
    /// One worker fewer.
    Fewer {
        by: Option<u32>,
    },
    Upgrade,
    /// A process has ended, which may be a stranger's.
    Reap,
    /// A child was stopped.
    Stopped(Stopped),
    /// It is for the workers: this is process 1.
    Forward(Signal),
    /// It has a meaning elsewhere, and none here.
    Explain(Signal),
}

/// What is handled, with and without a supervisor. Without a handler most of these would end or stop this
/// process at once, and its workers with it.
const HANDLED: [i32; 10] =
    [SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH, SIGCHLD];

/// Signals that have come.
pub(crate) struct Signals {
    delivery: SignalDelivery<UnixStream, WithRawSiginfo>,
    watch: WatchId,
    meanings: Meanings,
}

impl Signals {
    /// Takes them from here on, in the primary's own wait. (`hang_ups_ignored`: what the image before this
    /// one was started with.)
    pub(crate) fn take(
        primary: &mut Primary,
        supervised: bool,
        hang_ups_ignored: Option<bool>,
    ) -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        write.set_nonblocking(true)?;
        let watch = primary.watch(read.as_raw_fd())?;
        let meanings = Meanings {
            supervised,
            // (A sub-reaper may have a terminal, and operators who know it by its number.)
            forwards: supervised && std::process::id() == 1,
            hang_ups: HangUps::new(hang_ups_ignored),
        };
        let forwarded = FORWARDED.iter().map(|signal| signal.number());
        let forwarded = forwarded.filter(|_| meanings.forwards);
        let signals: Vec<_> = HANDLED.into_iter().chain(forwarded).collect();
        let delivery = SignalDelivery::with_pipe(read, write, WithRawSiginfo, signals)?;
        Ok(Self { delivery, watch, meanings })
    }

    /// What was asked for since the last call.
    pub(crate) fn asked(&mut self, primary: &mut Primary) -> Vec<Asked> {
        if !primary.take_ready(self.watch) {
            return Vec::new();
        }
        self.rest()
    }

    /// What has come, whether the primary's wait has seen it or not.
    pub(crate) fn rest(&mut self) -> Vec<Asked> {
        let meanings = &self.meanings;
        let mut asked = Vec::new();
        for info in self.delivery.pending() {
            asked.extend(Stopped::of(&info).map(Asked::Stopped));
            asked.extend(meanings.of(info.si_signo, Sender::of(&info)));
        }
        asked
    }

    /// Whether this process was started to ignore the terminal's hang-up, for the next image.
    pub(crate) fn hang_ups_ignored(&self) -> bool {
        self.meanings.hang_ups.ignored
    }
}

/// What signals mean to this process.
struct Meanings {
    supervised: bool,
    forwards: bool,
    hang_ups: HangUps,
}

impl Meanings {
    fn of(&self, signal: i32, sender: Sender) -> Option<Asked> {
        let from_kernel = sender == Sender::Kernel;
        if self.forwards && FORWARDED.iter().any(|forwarded| forwarded.number() == signal) {
            return Some(Asked::Forward(Signal::from_number(signal)));
        }
        Some(match signal {
            SIGHUP if self.hang_ups.is_one(sender) => {
                return (!self.hang_ups.ignored).then_some(Asked::HangUp);
            }
            SIGHUP if self.supervised => Asked::Reload { by: sender.pid() },
            // A job in the background that used the terminal, and a window that was resized.
            SIGTTIN | SIGTTOU | SIGWINCH if from_kernel => return None,
            SIGTTIN => Asked::More,
            SIGTTOU => Asked::Fewer { by: sender.pid() },
            SIGUSR2 => Asked::Upgrade,
            SIGCHLD => Asked::Reap,
            SIGINT | SIGTERM | SIGHUP | SIGQUIT => Asked::End,
            other => Asked::Explain(Signal::from_number(other)),
        })
    }
}

/// What is said of a signal that has no meaning here.
pub(crate) fn explanation(signal: Signal) -> String {
    let instead = match signal.number() {
        SIGUSR1 => {
            "cluster writes its log, and what workers write, to its own output, and has no log file to open \
             anew. One worker is signalled by: cluster ctl kill WORKER SIGUSR1"
        }
        _ => {
            "cluster drain ends the cluster gracefully, cluster scale changes the number of workers"
        }
    };
    format!("{signal} is ignored, and is not forwarded to workers: {instead}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERSON: Sender = Sender::Process(None);

    fn meanings(supervised: bool, forwards: bool) -> Meanings {
        Meanings { supervised, forwards, hang_ups: HangUps::new(Some(false)) }
    }

    #[test]
    fn only_process_1_forwards() {
        let (usual, first) = (meanings(true, false), meanings(true, true));
        for signal in FORWARDED {
            let forwarded = Some(Asked::Forward(signal));
            assert_eq!(first.of(signal.number(), PERSON), forwarded);
            assert_ne!(usual.of(signal.number(), PERSON), forwarded);
        }
        assert_eq!(usual.of(SIGQUIT, PERSON), Some(Asked::End));
        assert_eq!(usual.of(SIGUSR1, PERSON), Some(Asked::Explain(Signal::from_number(SIGUSR1))));
    }

    #[test]
    fn what_the_terminal_does_is_no_request_for_workers() {
        let meanings = meanings(true, false);
        for signal in [SIGTTIN, SIGTTOU, SIGWINCH] {
            assert_eq!(meanings.of(signal, Sender::Kernel), None);
        }
        assert_eq!(meanings.of(SIGTTIN, PERSON), Some(Asked::More));
        assert_eq!(meanings.of(SIGTTOU, PERSON), Some(Asked::Fewer { by: None }));
    }

    #[test]
    fn a_hang_up_ends_and_a_request_reloads() {
        let kept = meanings(true, false);
        assert_eq!(kept.of(SIGHUP, Sender::Kernel), Some(Asked::HangUp));
        assert_eq!(kept.of(SIGHUP, PERSON), Some(Asked::Reload { by: None }));
        let driven = meanings(false, false);
        assert_eq!(driven.of(SIGHUP, PERSON), Some(Asked::End));
        let hang_ups = HangUps::new(Some(true));
        let under_nohup = Meanings { supervised: true, forwards: false, hang_ups };
        assert_eq!(under_nohup.of(SIGHUP, Sender::Kernel), None);
        assert_eq!(under_nohup.of(SIGHUP, PERSON), Some(Asked::Reload { by: None }));
    }
}
