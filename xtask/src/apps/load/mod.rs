//! Clients that never pause: some open a connection for each request, some keep theirs.

mod connection;
mod http1;
mod http2;
mod websocket;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::bench::interrupt;
use crate::step;
use connection::{Connection, Failure};
use http1::Http1;
use http2::Http2;
use websocket::{Kind, WebSocket};

/// How often a request is sent again whose connection was closed before the server took it.
const RETRIES: u32 = 3;

/// After a failure: a server that refuses everything is not asked in a busy loop.
const PAUSE: Duration = Duration::from_millis(10);

/// How long a number of requests may take, and how long the last ones may.
const PATIENCE: Duration = Duration::from_secs(60);

const SLICE: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    /// Without TLS, with prior knowledge.
    Http2,
    /// A request is a message that is echoed.
    WebSocket,
    /// The same by an event that is acknowledged.
    SocketIo,
}

impl Protocol {
    /// Whether a server has to tell a client that it closes the connection.
    fn has_closing_handshake(self) -> bool {
        matches!(self, Self::WebSocket | Self::SocketIo)
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    pub(crate) path: &'static str,
}

impl Target {
    fn open(&self, address: Ipv4Addr) -> Result<Box<dyn Connection>, Failure> {
        let (at, path) = (SocketAddrV4::new(address, self.port), self.path);
        Ok(match self.protocol {
            Protocol::Http1 => Box::new(Http1::open(at, path)?),
            Protocol::Http2 => Box::new(Http2::open(at, path)?),
            Protocol::WebSocket => Box::new(WebSocket::open(at, path, Kind::Plain)?),
            Protocol::SocketIo => Box::new(WebSocket::open(at, path, Kind::SocketIo)?),
        })
    }
}

/// What came of the requests of one kind of client.
#[derive(Debug, Default)]
pub(crate) struct Count {
    pub(crate) answered: u64,
    /// Sent again because the connection had been closed.
    pub(crate) retried: u64,
    /// How many were lost for which reason.
    pub(crate) reasons: BTreeMap<String, u64>,
}

impl Count {
    pub(crate) fn lost(&self) -> u64 {
        self.reasons.values().sum()
    }

    fn lose(&mut self, why: String) {
        *self.reasons.entry(why).or_default() += 1;
    }

    fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.retried += other.retried;
        for (why, count) in other.reasons {
            *self.reasons.entry(why).or_default() += count;
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Of clients that open a connection for each request.
    pub(crate) fresh: Count,
    /// Of clients that keep theirs.
    pub(crate) kept: Count,
    /// Kept WebSocket connections that ended without the server having closed them.
    pub(crate) unclosed: u64,
}

/// What the clients share with their owner.
#[derive(Default)]
struct Shared {
    /// Send no more requests.
    quiesce: AtomicBool,
    /// The server has left: all that it sent has arrived.
    over: AtomicBool,
    requests: AtomicU64,
    /// Clients that send no more.
    idle: AtomicUsize,
}

/// Clients that send requests.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Client>>,
}

/// Clients that send no more requests, and keep their connections until the server closes them.
pub(crate) struct IdleClients(Load);

impl Load {
    /// Starts this many clients of either kind.
    pub(crate) fn start(target: Target, fresh: u8, kept: u8) -> Self {
        let shared = Arc::new(Shared::default());
        let clients = (0..fresh + kept).map(|number| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut client = Client::new(target, number, number >= fresh);
                client.run(&shared);
                client
            })
        });
        Self { clients: clients.collect(), shared }
    }

    /// Waits for this many more requests.
    ///
    /// # Errors
    /// If interrupted, or if they take too long.
    pub(crate) fn wait_for(&self, requests: u64) -> io::Result<()> {
        let until = self.shared.requests.load(Ordering::Relaxed) + requests;
        wait("no requests are answered", || self.shared.requests.load(Ordering::Relaxed) >= until)
    }

    /// Sends no more requests, and waits until none is under way.
    ///
    /// # Errors
    /// If interrupted, or if a request takes too long.
    pub(crate) fn quiesce(self) -> io::Result<IdleClients> {
        self.shared.quiesce.store(true, Ordering::Relaxed);
        wait("a request does not end", || {
            self.shared.idle.load(Ordering::Relaxed) == self.clients.len()
        })?;
        Ok(IdleClients(self))
    }
}

impl Drop for Load {
    /// Ends clients that are not waited for.
    fn drop(&mut self) {
        self.shared.quiesce.store(true, Ordering::Relaxed);
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

impl IdleClients {
    /// What came of all requests, once the server has left.
    pub(crate) fn finish(mut self) -> Tally {
        self.0.shared.over.store(true, Ordering::Relaxed);
        let mut tally = Tally::default();
        for client in std::mem::take(&mut self.0.clients) {
            let client = client.join().expect("no client panics");
            tally.unclosed += client.unclosed;
            let count = if client.keeps { &mut tally.kept } else { &mut tally.fresh };
            count.add(client.count);
        }
        tally
    }
}

fn wait(what: &str, mut condition: impl FnMut() -> bool) -> io::Result<()> {
    let deadline = step::now() + PATIENCE;
    while !condition() {
        interrupt::check()?;
        if step::now() > deadline {
            return Err(io::Error::other(format!("{what} within {PATIENCE:?}")));
        }
        thread::sleep(SLICE);
    }
    Ok(())
}

struct Client {
    target: Target,
    /// Its own to connect to: many short connections would use up the ports of one pair of addresses.
    address: Ipv4Addr,
    keeps: bool,
    connection: Option<Box<dyn Connection>>,
    count: Count,
    unclosed: u64,
}

impl Client {
    fn new(target: Target, number: u8, keeps: bool) -> Self {
        let address = Ipv4Addr::new(127, 0, 0, number + 1);
        Self { target, address, keeps, connection: None, count: Count::default(), unclosed: 0 }
    }

    fn run(&mut self, shared: &Shared) {
        while !shared.quiesce.load(Ordering::Relaxed) {
            self.request();
            shared.requests.fetch_add(1, Ordering::Relaxed);
        }
        shared.idle.fetch_add(1, Ordering::Relaxed);
        if let Some(mut connection) = self.connection.take()
            && !connection.wait_for_close(&shared.over)
        {
            self.unclosed += 1;
        }
    }

    /// One request, which is sent again if its connection turns out to be closed.
    fn request(&mut self) {
        for _ in 0..=RETRIES {
            match self.attempt() {
                Ok(()) => {
                    self.count.answered += 1;
                    return;
                }
                Err(Failure::Closed) => self.count.retried += 1,
                Err(Failure::Lost(why)) => return self.lost(why),
            }
        }
        self.lost("closed before the request was taken, each time".to_owned());
    }

    fn lost(&mut self, why: String) {
        self.count.lose(why);
        thread::sleep(PAUSE);
    }

    fn attempt(&mut self) -> Result<(), Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.target.open(self.address)?,
        };
        match connection.ask(!self.keeps) {
            Ok(stays) => {
                self.connection = (stays && self.keeps).then_some(connection);
                Ok(())
            }
            Err(failure) => {
                let abandoned = self.keeps
                    && self.target.protocol.has_closing_handshake()
                    && matches!(failure, Failure::Lost(_));
                self.unclosed += u64::from(abandoned);
                Err(failure)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Reads one request's head.
    fn head(stream: &mut TcpStream) -> bool {
        let mut seen = Vec::new();
        let mut byte = [0];
        while !seen.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => seen.push(byte[0]),
                _ => return false,
            }
        }
        true
    }

    const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    /// Runs a load for some requests against a server that does this with each connection.
    fn against(
        fresh: u8,
        kept: u8,
        requests: u64,
        serve: impl Fn(TcpStream) + Send + Copy + 'static,
    ) -> Tally {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || serve(connection));
            }
        });
        let load = Load::start(Target { port, protocol: Protocol::Http1, path: "/" }, fresh, kept);
        load.wait_for(requests).unwrap();
        load.quiesce().unwrap().finish()
    }

    #[test]
    fn answers_are_counted_by_kind_of_client() {
        let tally =
            against(
                2,
                2,
                100,
                |mut stream| {
                    while head(&mut stream) && stream.write_all(GOOD).is_ok() {}
                },
            );
        assert!(tally.fresh.answered > 0 && tally.kept.answered > 0, "{tally:?}");
        assert_eq!((tally.fresh.lost(), tally.kept.lost(), tally.unclosed), (0, 0, 0), "{tally:?}");
        assert_eq!((tally.fresh.retried, tally.kept.retried), (0, 0), "{tally:?}");
    }

    #[test]
    fn a_kept_connection_that_closes_between_requests_is_retried() {
        // One request each, though the server does not say so.
        let tally = against(0, 1, 10, |mut stream| {
            head(&mut stream);
            let _ = stream.write_all(GOOD);
        });
        assert_eq!(tally.kept.lost(), 0, "{tally:?}");
        assert!(tally.kept.retried > 0, "{tally:?}");
    }

    #[test]
    fn a_request_that_the_server_took_is_lost_without_its_answer() {
        let tally = against(0, 1, 10, |mut stream| {
            head(&mut stream);
            let _ = stream.write_all(GOOD);
            head(&mut stream);
        });
        assert!(tally.kept.lost() > 0, "{tally:?}");
        assert_eq!(tally.kept.retried, 0, "{tally:?}");
    }

    #[test]
    fn whatever_a_fresh_connection_does_not_answer_is_lost() {
        let closed = against(1, 0, 5, drop);
        assert!(closed.fresh.lost() >= 5 && closed.fresh.retried == 0, "{closed:?}");
        let cut_off = against(1, 0, 5, |mut stream| {
            head(&mut stream);
            let _ = stream.write_all(&GOOD[..GOOD.len() - 1]);
        });
        assert!(cut_off.fresh.lost() >= 5 && cut_off.fresh.answered == 0, "{cut_off:?}");
    }

    #[test]
    fn an_error_status_is_a_loss() {
        let tally = against(1, 0, 5, |mut stream| {
            head(&mut stream);
            let bad = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
            let _ = stream.write_all(bad);
        });
        assert!(tally.fresh.reasons.keys().all(|why| why.contains("503")), "{tally:?}");
        assert!(tally.fresh.lost() >= 5, "{tally:?}");
    }
}
