//! Waits for the primary, for signals, and for time.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use cluster_primary::control::ControlServer;
use cluster_primary::{Mono, Primary};
use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

const PRIMARY: Token = Token(0);
const SIGNALS: Token = Token(1);
const CONTROL: Token = Token(2);

/// The loop's one place to wait.
pub(crate) struct Wake {
    poll: Poll,
    events: Events,
    signals: UnixStream,
    start: Instant,
}

impl Wake {
    /// Watches the primary's descriptor, that of the control API, and the signals that ask for the
    /// end.
    pub(crate) fn new(primary: &Primary, control: Option<&ControlServer>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        let mut signals = UnixStream::from_std(ours);
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::low_level::pipe::register(signal, theirs.try_clone()?)?;
        }
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
        let fd = primary.as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), PRIMARY, Interest::READABLE)?;
        if let Some(control) = control {
            let fd = control.as_raw_fd();
            poll.registry().register(&mut SourceFd(&fd), CONTROL, Interest::READABLE)?;
        }
        Ok(Self { poll, events: Events::with_capacity(8), signals, start: start() })
    }

    /// The time since the start.
    pub(crate) fn now(&self) -> Mono {
        self.start.elapsed()
    }

    /// Waits until there is something to do, no longer than that.
    pub(crate) fn wait(&mut self, patience: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, patience) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// How often the end was asked for since the last call.
    pub(crate) fn signals(&mut self) -> usize {
        let mut bytes = [0; 64];
        let mut count = 0;
        while let Ok(length @ 1..) = self.signals.read(&mut bytes) {
            count += length;
        }
        count
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the program's clock")]
fn start() -> Instant {
    Instant::now()
}
