//! Clients that never rest: some with a new connection for each request, some that keep theirs.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of it")]

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::{Cluster, PATIENCE, cluster, eventually, example, no_trial, now};

/// Where the server is.
#[derive(Clone, Debug)]
pub enum Target {
    /// On every address of loopback.
    Tcp(u16),
    Unix(PathBuf),
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests on connections of their own that were answered.
    pub fresh: u64,
    /// Requests on connections that had been used before.
    pub kept: u64,
    /// Those of them that were made again, once, because the connection closed before any byte of an
    /// answer came: HTTP's own race.
    pub retried: u64,
    /// For how long the connections of those had been idle, at the least.
    pub shortest_idle: Option<Duration>,
    /// The client's port (0 on a path), and what went wrong.
    pub failures: Vec<(u16, String)>,
    /// Answers, by what they said.
    pub answers: BTreeMap<String, u64>,
}

/// Where the workers of that cluster listen, once both do.
pub fn tcp(cluster: &Cluster) -> Target {
    Target::Tcp(cluster.listening(2).port())
}

/// `cluster run` of two workers that keep connections.
pub fn rust_worker(options: &[&str], at: &str) -> Command {
    let mut command = cluster();
    let worker = example("cluster-worker", "keep_alive");
    command.args(["run", "-n", "2"]).args(options).args(no_trial(options)).arg(worker).arg(at);
    command
}

pub struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    fresh: Arc<AtomicU64>,
    tally: Arc<Mutex<Tally>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts so many clients of either kind.
    pub fn start(target: &Target, fresh: u8, kept: u8) -> Self {
        let load = Self {
            stop: Arc::default(),
            served: Arc::default(),
            fresh: Arc::default(),
            tally: Arc::default(),
            clients: Vec::new(),
        };
        let clients = (0..fresh).map(|n| (n, false)).chain((0..kept).map(|n| (n + fresh, true)));
        let start = |(number, keeps)| {
            let target = target.clone();
            let (stop, served) = (Arc::clone(&load.stop), Arc::clone(&load.served));
            let fresh = Arc::clone(&load.fresh);
            let tally = Arc::clone(&load.tally);
            std::thread::spawn(move || {
                let mut client = Client::new(target, number);
                while !stop.load(Ordering::Relaxed) {
                    if keeps {
                        client.keep();
                    } else {
                        client.ask_once();
                        fresh.fetch_add(1, Ordering::Relaxed);
                    }
                    served.fetch_add(1, Ordering::Relaxed);
                }
                tally.lock().unwrap().add(client.tally);
            })
        };
        let clients = clients.map(start).collect();
        Self { clients, ..load }
    }

    /// Requests so far, answered or not.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Those of them that were made on connections of their own.
    pub fn fresh(&self) -> u64 {
        self.fresh.load(Ordering::Relaxed)
    }

    /// Waits until so many more requests were made.
    #[track_caller]
    pub fn more(&self, requests: u64) {
        let until = self.served() + requests;
        eventually("requests are made", || (self.served() >= until).then_some(()));
    }

    pub fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("no client panics");
        }
        std::mem::take(&mut self.tally.lock().unwrap())
    }
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.fresh += other.fresh;
        self.kept += other.kept;
        self.retried += other.retried;
        self.shortest_idle = self.shortest_idle.into_iter().chain(other.shortest_idle).min();
        self.failures.extend(other.failures);
        for (answer, count) in other.answers {
            *self.answers.entry(answer).or_default() += count;
        }
    }
}

struct Client {
    target: Target,
    /// An address of its own to connect to: so many short connections would use up the ports of one
    /// pair of addresses.
    number: u8,
    connection: Option<Connection>,
    /// When the last response on that connection was complete.
    idle_since: Option<Instant>,
    tally: Tally,
}

enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Client {
    fn new(target: Target, number: u8) -> Self {
        Self { target, number, connection: None, idle_since: None, tally: Tally::default() }
    }

    fn connect(&self) -> io::Result<Connection> {
        Ok(match &self.target {
            Target::Tcp(port) => {
                let address = Ipv4Addr::new(127, 0, 0, self.number + 2);
                let stream = TcpStream::connect(SocketAddr::from((address, *port)))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Connection::Tcp(stream)
            }
            Target::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Connection::Unix(stream)
            }
        })
    }

    fn ask_once(&mut self) {
        let mut port = 0;
        let outcome = self.connect().and_then(|mut connection| {
            port = connection.port();
            let (body, _) = connection.ask(true).map_err(|(_, error)| error)?;
            // What comes after it must be the end.
            match connection.read(&mut [0; 1])? {
                0 => Ok(body),
                _ => Err(io::Error::other("more came than the answer")),
            }
        });
        match outcome {
            Ok(body) => {
                self.tally.fresh += 1;
                *self.tally.answers.entry(body).or_default() += 1;
            }
            Err(error) => self.tally.failures.push((port, error.to_string())),
        }
    }

    fn keep(&mut self) {
        for attempt in 0.. {
            let used = self.connection.is_some();
            let connection = match self.connection.take().map_or_else(|| self.connect(), Ok) {
                Ok(connection) => self.connection.insert(connection),
                Err(error) => return self.tally.failures.push((0, error.to_string())),
            };
            let port = connection.port();
            let idle = self.idle_since.take().map(|since| since.elapsed());
            match connection.ask(false) {
                Ok((body, stays)) => {
                    self.idle_since = Some(now());
                    if !stays {
                        self.connection = None;
                    }
                    *(if used { &mut self.tally.kept } else { &mut self.tally.fresh }) += 1;
                    *self.tally.answers.entry(body).or_default() += 1;
                    return;
                }
                Err((0, _)) if used && attempt == 0 => {
                    self.connection = None;
                    self.tally.retried += 1;
                    self.tally.shortest_idle =
                        self.tally.shortest_idle.into_iter().chain(idle).min();
                }
                Err((bytes, error)) => {
                    self.connection = None;
                    let what = format!("{error}, after {bytes} bytes, used before: {used}");
                    return self.tally.failures.push((port, what));
                }
            }
        }
    }
}

impl Connection {
    fn port(&self) -> u16 {
        match self {
            Self::Tcp(stream) => stream.local_addr().map_or(0, |address| address.port()),
            Self::Unix(_) => 0,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }

    /// Asks, and reads the whole answer: its body, and whether the connection stays. If it fails, how
    /// many bytes of an answer had come.
    fn ask(&mut self, close: bool) -> Result<(String, bool), (usize, io::Error)> {
        let wish = if close { "Connection: close\r\n" } else { "" };
        let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{wish}\r\n");
        let mut answer = Vec::new();
        let sent = self.write(request.as_bytes());
        let mut buffer = [0; 4096];
        loop {
            if let Some((body, stays)) = whole(&answer) {
                return Ok((body, stays && !close));
            }
            match self.read(&mut buffer) {
                Ok(0) => {
                    let what = sent.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                    return Err((answer.len(), what));
                }
                Ok(length) => answer.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((answer.len(), error)),
            }
        }
    }
}

/// The body of a whole answer, and whether the connection stays.
fn whole(answer: &[u8]) -> Option<(String, bool)> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200 "), "no good answer: {text:?}");
    let field = |name: &str| {
        head.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim().to_ascii_lowercase())
        })
    };
    let length: usize = field("content-length")?.parse().ok()?;
    (body.len() >= length)
        .then(|| (body.to_owned(), field("connection").as_deref() != Some("close")))
}
