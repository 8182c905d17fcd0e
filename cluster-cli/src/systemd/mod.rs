//! What a service manager is told: that this service is ready, reloads, stops, and lives (sd_notify).
//!
//! Without a manager, which names its socket in `NOTIFY_SOCKET`, nothing is said and nothing fails.

mod credentials;
pub(crate) mod notified;
pub(crate) mod reader;

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use cluster_primary::printable::one_line;
use cluster_primary::{Mono, Settings};
use sd_notify::NotifyState;

/// For how long the manager is asked to wait on, each time, and how often.
const EXTENSION: Duration = Duration::from_secs(15);
const EXTEND_EVERY: Duration = Duration::from_secs(5);

/// How long it is until a message is sent again for which the manager's queue (`net.unix.max_dgram_qlen`,
/// ten messages on many systems) had no room.
const RETRY: Duration = Duration::from_millis(100);

/// Messages that wait for such a manager at most; beyond, the oldest are dropped.
const MAX_UNSENT: usize = 32;

const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// What a service manager says to the primary alone.
const VARIABLES: [&str; 6] =
    [NOTIFY_SOCKET, "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Keeps from workers what was said to the primary. What the settings say themselves stays.
pub(crate) fn keep_from_workers(settings: &mut Settings) {
    let names = VARIABLES.into_iter().chain(crate::upgrade::VARIABLES);
    settings.env.splice(0..0, names.map(|name| (name.into(), None)));
}

/// The service manager, if there is one.
#[derive(Debug)]
pub(crate) struct Systemd {
    socket: Option<OsString>,
    watchdog: Option<Watchdog>,
    /// When the manager is to be asked again to wait on, while a change takes long.
    extend_at: Option<Mono>,
    status: String,
    /// What the manager's queue had no room for, in order.
    unsent: VecDeque<String>,
    /// When that was last tried.
    tried_at: Mono,
}

/// It wants to hear that this process lives.
#[derive(Debug)]
struct Watchdog {
    every: Duration,
    due: Mono,
}

impl Systemd {
    /// The one that the environment names.
    pub(crate) fn from_env(now: Mono) -> Self {
        Self::new(std::env::var_os(NOTIFY_SOCKET), sd_notify::watchdog_enabled(), now)
    }

    /// One that listens there, and takes this process for dead if it hears nothing for so long.
    pub(crate) fn new(socket: Option<OsString>, patience: Option<Duration>, now: Mono) -> Self {
        let socket = socket.filter(|socket| !socket.is_empty());
        // Twice as often, as is recommended: one that is late does no harm.
        let every = patience.map(|patience| patience / 2).filter(|every| !every.is_zero());
        let every = every.filter(|_| socket.is_some());
        let watchdog = every.map(|every| Watchdog { every, due: now + every });
        let unsent = VecDeque::new();
        Self { socket, watchdog, extend_at: None, status: String::new(), unsent, tried_at: now }
    }

    /// Whether there is one.
    pub(crate) fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// The service starts, reloads or stops, and is still within its own time (`takes_long`): asks the
    /// manager not to give up on it (`TimeoutStartSec=`, `TimeoutStopSec=`), as often as is needed.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    pub(crate) fn extend(&mut self, now: Mono, takes_long: bool) -> io::Result<()> {
        if !takes_long {
            self.extend_at = None;
            return Ok(());
        }
        if self.socket.is_none() || self.extend_at.is_some_and(|at| at > now) {
            return Ok(());
        }
        self.extend_at = Some(now + EXTEND_EVERY);
        let micros = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
        self.notify(&[NotifyState::ExtendTimeoutUsec(micros)])
    }

    /// The service serves, for the first time or after a reload.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    pub(crate) fn ready(&mut self) -> io::Result<()> {
        self.notify(&[NotifyState::Ready, NotifyState::MainPid(std::process::id())])
    }

    /// The service reloads, until it is [`ready`](Self::ready) again.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    pub(crate) fn reloading(&mut self) -> io::Result<()> {
        // The manager sets another timeout: it is to hear of that again.
        self.extend_at = None;
        self.notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?])
    }

    /// The service ends.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    pub(crate) fn stopping(&mut self) -> io::Result<()> {
        self.extend_at = None;
        self.notify(&[NotifyState::Stopping])
    }

    /// What `systemctl status` shows. The same is not said twice.
    ///
    /// # Errors
    /// If the manager cannot be told. It was not waited for: to serve is more important. A manager whose
    /// queue is full is told later.
    pub(crate) fn status(&mut self, status: &str) -> io::Result<()> {
        if self.status == status {
            return Ok(());
        }
        // An older one is of no use any more.
        self.unsent.retain(|text| !text.starts_with("STATUS="));
        // A line is a field.
        let line = status.replace('\n', " ");
        self.notify(&[NotifyState::Status(&one_line(&line))])?;
        status.clone_into(&mut self.status);
        Ok(())
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`extend`](Self::extend) is wanted.
    pub(crate) fn poll_timeout(&self) -> Option<Mono> {
        let watchdog = self.watchdog.as_ref().map(|watchdog| watchdog.due);
        let retry = (!self.unsent.is_empty()).then(|| self.tried_at + RETRY);
        watchdog.into_iter().chain(self.extend_at).chain(retry).min()
    }

    /// Tells the watchdog that this process lives, if that is due.
    ///
    /// # Errors
    /// As [`status`](Self::status); it is tried again when it is next due.
    pub(crate) fn handle_timeout(&mut self, now: Mono) -> io::Result<()> {
        if !self.unsent.is_empty() && now >= self.tried_at + RETRY {
            self.tried_at = now;
            self.send_unsent()?;
        }
        let Some(watchdog) = self.watchdog.as_mut().filter(|watchdog| watchdog.due <= now) else {
            return Ok(());
        };
        watchdog.due = now + watchdog.every;
        self.notify(&[NotifyState::Watchdog])
    }

    fn notify(&mut self, states: &[NotifyState<'_>]) -> io::Result<()> {
        if self.socket.is_none() {
            return Ok(());
        }
        if self.unsent.len() == MAX_UNSENT {
            self.unsent.pop_front();
        }
        self.unsent.push_back(states.iter().map(|state| format!("{state}\n")).collect());
        self.send_unsent()
    }

    fn send_unsent(&mut self) -> io::Result<()> {
        let Some(address) = &self.socket else { return Ok(()) };
        let mut send = || -> io::Result<()> {
            let socket = UnixDatagram::unbound()?;
            // A manager that is stuck must not have us stuck too.
            socket.set_nonblocking(true)?;
            connect(&socket, address)?;
            while let Some(text) = self.unsent.front() {
                socket.send(text.as_bytes())?;
                self.unsent.pop_front();
            }
            Ok(())
        };
        match send() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => {
                // It does not listen, and will not later either.
                self.unsent.clear();
                Err(error)
            }
            sent => sent,
        }
    }
}

/// A path; with an `@` before it, a name that is no file's.
fn connect(socket: &UnixDatagram, address: &OsStr) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if let Some(name) = address.as_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::SocketAddr;
        return socket.connect_addr(&SocketAddr::from_abstract_name(name)?);
    }
    if !address.as_bytes().starts_with(b"/") {
        let what = format!("NOTIFY_SOCKET says {}, which is no path", address.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    socket
        .connect(address)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", address.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono::from_secs(1000);

    /// A manager that listens on a path.
    struct Manager {
        path: std::path::PathBuf,
        socket: UnixDatagram,
    }

    impl Manager {
        fn new(name: &str) -> Self {
            let file = format!("cluster-systemd-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(file);
            let socket = UnixDatagram::bind(&path).expect("there is room");
            // What was sent is there.
            socket.set_nonblocking(true).expect("a socket");
            Self { path, socket }
        }

        fn service(&self, patience: Option<Duration>) -> Systemd {
            Systemd::new(Some(self.path.clone().into()), patience, NOW)
        }

        fn heard(&self) -> Option<Vec<String>> {
            let mut buffer = [0; 1000];
            let length = self.socket.recv(&mut buffer).ok()?;
            let text = std::str::from_utf8(&buffer[..length]).expect("it is text");
            Some(text.lines().map(str::to_owned).collect())
        }
    }

    impl Drop for Manager {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    #[test]
    fn a_manager_is_told_how_the_service_is() {
        let manager = Manager::new("states");
        let mut service = manager.service(None);
        service.ready().expect("it listens");
        let pid = format!("MAINPID={}", std::process::id());
        assert_eq!(manager.heard(), Some(vec!["READY=1".into(), pid]));
        service.status("two\nlines").expect("it listens");
        service.status("two\nlines").expect("it listens");
        assert_eq!(manager.heard(), Some(vec!["STATUS=two lines".into()]));
        assert_eq!(manager.heard(), None, "the same is not said twice");
        service.reloading().expect("it listens");
        let said = manager.heard().expect("it was told");
        assert_eq!(said[0], "RELOADING=1");
        let at = said[1].strip_prefix("MONOTONIC_USEC=").and_then(|usec| usec.parse().ok());
        let clock = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let at: i64 = at.unwrap_or_else(|| panic!("{said:?}"));
        assert!((0..10).contains(&(clock.tv_sec - at / 1_000_000)), "{said:?}, {clock:?}");
        service.stopping().expect("it listens");
        assert_eq!(manager.heard(), Some(vec!["STOPPING=1".into()]));
        assert_eq!(service.poll_timeout(), None, "there is no watchdog");
        service.handle_timeout(NOW * 2).expect("nothing is to be said");
        assert_eq!(manager.heard(), None);
    }

    #[test]
    fn a_watchdog_is_told_twice_as_often_as_it_wants() {
        let manager = Manager::new("watchdog");
        let mut service = manager.service(Some(Duration::from_secs(10)));
        let half = Duration::from_secs(5);
        assert_eq!(service.poll_timeout(), Some(NOW + half));
        service.handle_timeout(NOW + half / 2).expect("it listens");
        assert_eq!(manager.heard(), None, "it is not due");
        let late = NOW + half + Duration::from_secs(1);
        service.handle_timeout(late).expect("it listens");
        assert_eq!(manager.heard(), Some(vec!["WATCHDOG=1".into()]));
        assert_eq!(service.poll_timeout(), Some(late + half));
    }

    #[test]
    fn a_manager_is_asked_to_wait_on_for_as_long_as_a_change_takes() {
        let manager = Manager::new("extend");
        let mut service = manager.service(None);
        let asked = Some(vec!["EXTEND_TIMEOUT_USEC=15000000".to_owned()]);
        service.extend(NOW, true).expect("it listens");
        assert_eq!(manager.heard(), asked, "at once");
        assert_eq!(service.poll_timeout(), Some(NOW + EXTEND_EVERY));
        service.extend(NOW + EXTEND_EVERY / 2, true).expect("it listens");
        assert_eq!(manager.heard(), None, "it is not due");
        service.extend(NOW + EXTEND_EVERY, true).expect("it listens");
        assert_eq!(manager.heard(), asked);
        service.extend(NOW + EXTEND_EVERY * 2, false).expect("nothing is to be said");
        assert_eq!((manager.heard(), service.poll_timeout()), (None, None));
    }

    #[test]
    fn without_a_manager_nothing_is_said_and_nothing_fails() {
        for socket in [None, Some(OsString::new())] {
            let mut service = Systemd::new(socket, Some(Duration::from_secs(1)), NOW);
            assert_eq!(service.poll_timeout(), None);
            service.ready().expect("nothing is said");
            service.status("fine").expect("nothing is said");
            service.extend(NOW, true).expect("nothing is said");
            assert_eq!(service.poll_timeout(), None);
            service.handle_timeout(NOW * 2).expect("nothing is said");
        }
    }

    #[test]
    fn a_manager_that_cannot_be_told_is_an_error_and_not_waited_for() {
        let manager = Manager::new("full");
        let mut service = manager.service(None);
        assert_eq!(service.poll_timeout(), None);
        let full = (0..100_000).find(|n| {
            service.status(&n.to_string()).expect("it is told now or later");
            service.poll_timeout().is_some()
        });
        let last = full.expect("its queue has an end");
        // Of the status the last one matters; nothing else is lost.
        service.status("the last").expect("it is told later");
        service.ready().expect("it is told later");
        let due = service.poll_timeout().expect("it is tried again");
        service.handle_timeout(due).expect("there is no room yet");
        let heard: Vec<_> = std::iter::from_fn(|| manager.heard()).collect();
        assert_eq!(heard.last(), Some(&vec![format!("STATUS={}", last - 1)]));
        let due = service.poll_timeout().expect("it is tried again");
        service.handle_timeout(due).expect("there is room again");
        assert_eq!(manager.heard(), Some(vec!["STATUS=the last".to_owned()]));
        assert_eq!(manager.heard().expect("that as well")[0], "READY=1");
        assert_eq!((manager.heard(), service.poll_timeout()), (None, None));
        let mut gone = manager.service(None);
        drop(manager);
        gone.ready().expect_err("no process listens");
        let mut odd = Systemd::new(Some("vsock:2:1234".into()), None, NOW);
        assert!(odd.ready().expect_err("that is no path").to_string().contains("vsock:2:1234"));
    }

    #[test]
    fn workers_are_not_told_what_is_the_primarys() {
        let mut settings = Settings::new("x").env(NOTIFY_SOCKET, "of its own");
        keep_from_workers(&mut settings);
        let env = |wanted: &str| {
            let found = settings.env.iter().rev().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone())
        };
        assert_eq!(env(NOTIFY_SOCKET), Some(Some("of its own".into())));
        for name in VARIABLES[1..].iter().chain(&crate::upgrade::VARIABLES) {
            assert_eq!(env(name), Some(None), "{name}");
        }
    }
}
