//! Signals, clients of the control API, and time.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use cluster_primary::control::ControlServer;
use cluster_primary::{Mono, Primary, WatchId};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// What the primary's wait ends for, beside its own business.
pub(crate) struct Wake {
    signals: UnixStream,
    asked: WatchId,
    control: Option<WatchId>,
    start: Instant,
}

impl Wake {
    /// Watches the descriptor of the control API, and the signals that ask for the end.
    pub(crate) fn new(primary: &mut Primary, control: Option<&ControlServer>) -> io::Result<Self> {
        let (signals, theirs) = UnixStream::pair()?;
        signals.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::low_level::pipe::register(signal, theirs.try_clone()?)?;
        }
        let asked = primary.watch(signals.as_raw_fd())?;
        let control = control.map(|control| primary.watch(control.as_raw_fd())).transpose()?;
        Ok(Self { signals, asked, control, start: start() })
    }

    /// The time since the start.
    pub(crate) fn now(&self) -> Mono {
        self.start.elapsed()
    }

    /// Whether a client of the control API has something to say.
    pub(crate) fn control(&self, primary: &mut Primary) -> bool {
        self.control.is_some_and(|control| primary.take_ready(control))
    }

    /// How often the end was asked for since the last call.
    pub(crate) fn signals(&mut self, primary: &mut Primary) -> usize {
        let mut count = 0;
        if primary.take_ready(self.asked) {
            let mut bytes = [0; 64];
            while let Ok(length @ 1..) = self.signals.read(&mut bytes) {
                count += length;
            }
        }
        count
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the program's clock")]
fn start() -> Instant {
    Instant::now()
}
