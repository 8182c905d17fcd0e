//! Being the first process of a container (or a subreaper): orphans become its children, and it has to
//! wait for them when they end.
//!
//! Workers are waited for by the primary, which learns from that how they ended: here they must be
//! left alone. So a process is not waited for until it is known which one it is.

mod ended;

use std::collections::BTreeSet;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use signal_hook::consts::{SIGCONT, SIGQUIT, SIGUSR1, SIGWINCH};

use cluster_primary::Signal;

/// What process 1 of a container forwards to the workers: signals that are sent to the container and are
/// meant for the program. (The primary has a use of its own for `SIGINT`, `SIGTERM`, `SIGHUP`, `SIGUSR2`,
/// `SIGTTIN`, `SIGTTOU` and `SIGCHLD`.) Outside of the container the workers are not known, and the kernel delivers to
/// process 1 only what it has a handler for.
///
/// Not among them: what a process is told of its own doings (`SIGPIPE`, `SIGALRM`, `SIGSEGV`, …), what
/// would stop workers that are then taken for stuck (`SIGTSTP`), and real-time signals, which no two
/// programs mean the same by.
pub(crate) const FORWARDED: [Signal; 4] = [
    // The program's own, by its name: Node.js opens its inspector; servers open their logs again.
    Signal::from_number(SIGUSR1),
    // Many images name it as the signal that ends the container (STOPSIGNAL); servers leave gracefully.
    Signal::from_number(SIGQUIT),
    // A terminal's size.
    Signal::from_number(SIGWINCH),
    // For processes that were stopped: it may be sent to the container's first process alone.
    Signal::from_number(SIGCONT),
];

/// So many children are waited for at once, and so many are looked at behind a worker that has ended: the
/// primary has more to do.
const WAITED_FOR: usize = 64;
const EXAMINED: usize = if cfg!(test) { 40 } else { 1024 };

/// That orphans come to this process.
#[derive(Debug)]
pub(crate) struct Init {
    /// The last child that was examined; there are more.
    examined: u32,
}

/// What [`Init::reap`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reaped {
    /// Children that it waited for.
    pub(crate) count: usize,
    /// There may be more: it is to be called again.
    pub(crate) more: bool,
}

impl Init {
    /// If it is so.
    pub(crate) fn new() -> Option<Self> {
        (std::process::id() == 1 || is_subreaper()).then_some(Self { examined: 0 })
    }

    /// Waits for children that have ended and are no workers, up to a limit, without waiting for any to
    /// end.
    ///
    /// It is to be called when `SIGCHLD` came, and once the primary has taken notice of its workers'
    /// ends: where the system does not list a process's children, a worker that has ended stands
    /// before those that ended after it.
    pub(crate) fn reap(&mut self, is_worker: impl Fn(u32) -> bool) -> Reaped {
        let mut count = 0;
        while count < WAITED_FOR {
            match ended::any() {
                Some(child) if is_worker(child) => return self.reap_behind(count, is_worker),
                Some(child) if wait_for(child) => count += 1,
                // A thread has waited for it meanwhile; there may be more behind it.
                Some(_) => return Reaped { count, more: true },
                None => return Reaped { count, more: false },
            }
        }
        Reaped { count, more: true }
    }

    /// The same where a worker that has ended is always the first one found.
    fn reap_behind(&mut self, mut count: usize, is_worker: impl Fn(u32) -> bool) -> Reaped {
        let children: BTreeSet<_> = ended::children().filter(|child| !is_worker(*child)).collect();
        let mut more = false;
        let first = std::mem::take(&mut self.examined);
        for (examined, child) in children.range(first + 1..).copied().enumerate() {
            if examined == EXAMINED || count >= WAITED_FOR {
                more = true;
                break;
            }
            count += usize::from(wait_for(child));
            self.examined = child;
        }
        if !more {
            self.examined = 0;
        }
        Reaped { count, more }
    }
}

/// Whether that child had ended; now it has been waited for.
fn wait_for(child: u32) -> bool {
    let Some(pid) = i32::try_from(child).ok().and_then(Pid::from_raw) else { return false };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    matches!(waitid(WaitId::Pid(pid), options), Ok(Some(_)))
}

#[cfg(target_os = "linux")]
fn is_subreaper() -> bool {
    rustix::process::child_subreaper().is_ok_and(|subreaper| subreaper.is_some())
}

#[cfg(not(target_os = "linux"))]
fn is_subreaper() -> bool {
    false
}
