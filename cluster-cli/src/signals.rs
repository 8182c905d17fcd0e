//! What people and other programs ask for by signals.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use cluster_primary::{Primary, Signal, WatchId};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR2};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use crate::init::FORWARDED;

/// What a signal means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To end; who asks again means it.
    End,
    Reload,
    /// One worker more.
    More,
    /// One worker fewer.
    Fewer,
    Upgrade,
    /// A process has ended, which may be a stranger's.
    Reap,
    /// It is for the workers.
    Forward(Signal),
}

/// What a cluster that keeps its workers takes for itself.
const SUPERVISED: [i32; 7] = [SIGINT, SIGTERM, SIGHUP, SIGTTIN, SIGTTOU, SIGUSR2, SIGCHLD];
/// What one takes that is driven by others. The last three would stop or kill it, if somebody took it
/// for one that keeps its workers.
const DRIVEN: [i32; 6] = [SIGINT, SIGTERM, SIGHUP, SIGTTIN, SIGTTOU, SIGUSR2];

/// Signals that have come.
pub(crate) struct Signals {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
    watch: WatchId,
    supervised: bool,
}

impl Signals {
    /// Takes them from here on, in the primary's own wait.
    pub(crate) fn take(primary: &mut Primary, supervised: bool) -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        write.set_nonblocking(true)?;
        let watch = primary.watch(read.as_raw_fd())?;
        let forwarded = FORWARDED.iter().map(|signal| signal.number());
        let signals: Vec<_> = match supervised {
            true => SUPERVISED.into_iter().chain(forwarded).collect(),
            false => DRIVEN.to_vec(),
        };
        let delivery = SignalDelivery::with_pipe(read, write, SignalOnly, signals)?;
        Ok(Self { delivery, watch, supervised })
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
        let supervised = self.supervised;
        self.delivery.pending().map(|signal| meaning(signal, supervised)).collect()
    }
}

fn meaning(signal: i32, supervised: bool) -> Asked {
    match signal {
        SIGHUP if supervised => Asked::Reload,
        SIGTTIN => Asked::More,
        SIGTTOU => Asked::Fewer,
        SIGUSR2 => Asked::Upgrade,
        SIGCHLD => Asked::Reap,
        SIGINT | SIGTERM | SIGHUP => Asked::End,
        other => Asked::Forward(Signal::from_number(other)),
    }
}
