//! Clients that ask for one page each, over and over, in one event loop.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream as StdStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use super::interrupt;
use super::statistics::{imbalance, percentile};
use crate::step;

/// How many ask at the same time.
pub(crate) const CLIENTS: usize = 64;

/// Loopback addresses to connect to. A closed connection blocks its pair of ports for a minute;
/// with one address a few runs would use all of them up.
const DESTINATIONS: u32 = 16;

/// A server that says nothing for so long has lost a connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same of one that may lose some.
const LESS_PATIENCE: Duration = Duration::from_secs(2);

pub(crate) const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\n";
/// The length of a good answer's body: the worker's process id, right-aligned, and a line feed.
pub(crate) const BODY: usize = 12;

/// A number of connections, one request each.
pub(crate) struct Load {
    pub(crate) port: u16,
    pub(crate) connections: u32,
    pub(crate) clients: usize,
    /// How many addresses the clients come from. Of one all come as they are; a policy that looks at
    /// addresses needs several.
    pub(crate) sources: u8,
    /// Whether connections that fail are counted, instead of ending it all.
    pub(crate) forgiving: bool,
}

/// What became of them.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// From the first connection to the last answer.
    pub(crate) took: Duration,
    /// Of each that was answered, from connect to the end of the answer, in microseconds.
    latencies: Vec<f64>,
    /// How many each worker answered.
    pub(crate) by_worker: BTreeMap<u32, u32>,
    pub(crate) failed: u32,
}

impl Outcome {
    pub(crate) fn answered(&self) -> u32 {
        self.by_worker.values().sum()
    }

    /// The latency that so many of a hundred do not exceed, in microseconds.
    pub(crate) fn latency(&mut self, of_a_hundred: usize) -> Option<f64> {
        percentile(&mut self.latencies, of_a_hundred)
    }

    /// How many times its share the busiest of so many workers had.
    pub(crate) fn imbalance(&self, workers: usize) -> Option<f64> {
        let idle = workers.saturating_sub(self.by_worker.len());
        imbalance(self.by_worker.values().copied().chain(std::iter::repeat_n(0, idle)))
    }
}

impl Load {
    /// Makes them, and says what became of them.
    ///
    /// # Errors
    /// If one is not answered well, unless that is forgiven: a cluster that loses connections is not
    /// to be measured. If more than a tenth is not, in any case.
    pub(crate) fn run(&self) -> io::Result<Outcome> {
        Run::new(self)?.finish()
    }
}

/// A load under way.
struct Run<'a> {
    load: &'a Load,
    poll: Poll,
    clients: Vec<Option<Client>>,
    begun: u32,
    start: Instant,
    outcome: Outcome,
}

impl<'a> Run<'a> {
    fn new(load: &'a Load) -> io::Result<Self> {
        let latencies = Vec::with_capacity(load.connections as usize);
        let outcome =
            Outcome { took: Duration::ZERO, latencies, by_worker: BTreeMap::new(), failed: 0 };
        let clients = (0..load.clients).map(|_| None).collect();
        Ok(Self { load, poll: Poll::new()?, clients, begun: 0, start: step::now(), outcome })
    }

    fn finish(mut self) -> io::Result<Outcome> {
        let mut events = Events::with_capacity(CLIENTS);
        let patience = if self.load.forgiving { LESS_PATIENCE } else { PATIENCE };
        for index in 0..self.clients.len() {
            self.begin(index)?;
        }
        while self.outcome.answered_or_failed() < self.load.connections {
            interrupt::check()?;
            match self.poll.poll(&mut events, Some(patience)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome?,
            }
            if events.is_empty() {
                self.silence(patience)?;
            }
            for event in &events {
                let Token(index) = event.token();
                let Some(client) = &mut self.clients[index] else { continue };
                match client.advance() {
                    Ok(None) => continue,
                    Ok(Some(worker)) => {
                        let now = step::now();
                        let latency = now.duration_since(client.since).as_secs_f64() * 1e6;
                        self.outcome.latencies.push(latency);
                        *self.outcome.by_worker.entry(worker).or_default() += 1;
                        self.outcome.took = now.duration_since(self.start);
                    }
                    Err(error) => self.lost(error)?,
                }
                self.begin(index)?;
            }
        }
        Ok(self.outcome)
    }

    /// The next connection, if there is one to make, in the place of that client.
    fn begin(&mut self, index: usize) -> io::Result<()> {
        // The old one is closed, and with that deregistered, before the next is made.
        self.clients[index] = None;
        while self.begun < self.load.connections {
            let nth = self.begun;
            self.begun += 1;
            let registry = self.poll.registry();
            let since = step::now();
            let client = self.load.connect(nth).and_then(|mut stream| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                mio::Registry::register(registry, &mut stream, Token(index), interest)?;
                Ok(Client { stream, since, asked: false, answer: Vec::new() })
            });
            match client {
                Ok(client) => {
                    self.clients[index] = Some(client);
                    return Ok(());
                }
                Err(error) => self.lost(error)?,
            }
        }
        Ok(())
    }

    fn lost(&mut self, error: io::Error) -> io::Result<()> {
        self.outcome.failed += 1;
        let Load { port, connections: all, forgiving, .. } = *self.load;
        if forgiving && self.outcome.failed <= all / 10 {
            return Ok(());
        }
        let (nth, failed) = (self.begun, self.outcome.failed);
        let what = format!("port {port}, about connection {nth} of {all}, {failed} lost: {error}");
        Err(io::Error::new(error.kind(), what))
    }

    /// Nothing happens any more: those that wait are lost.
    fn silence(&mut self, patience: Duration) -> io::Result<()> {
        for index in 0..self.clients.len() {
            if self.clients[index].is_some() {
                self.lost(io::Error::other(format!("no answer for {patience:?}")))?;
                self.begin(index)?;
            }
        }
        Ok(())
    }
}

impl Outcome {
    fn answered_or_failed(&self) -> u32 {
        u32::try_from(self.latencies.len()).unwrap_or(u32::MAX) + self.failed
    }
}

impl Load {
    fn connect(&self, nth: u32) -> io::Result<TcpStream> {
        let last = 1 + (nth % DESTINATIONS) as u8;
        let to = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last), self.port);
        if self.sources == 1 {
            return TcpStream::connect(to.into());
        }
        // Each in its turn, whatever their number has in common with that of the destinations.
        let source = 1 + (nth / DESTINATIONS % u32::from(self.sources)) as u8;
        from(SocketAddrV4::new(Ipv4Addr::new(127, 0, 1, source), 0), to)
    }
}

/// Connects from that address.
fn from(source: SocketAddrV4, to: SocketAddrV4) -> io::Result<TcpStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket: OwnedFd = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    bind(&socket, &source)?;
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(TcpStream::from_std(StdStream::from(socket))),
        Err(error) => Err(error.into()),
    }
}

struct Client {
    stream: TcpStream,
    since: Instant,
    asked: bool,
    answer: Vec<u8>,
}

impl Client {
    /// Continues as far as it can; returns the worker that answered, if it came to the end.
    fn advance(&mut self) -> io::Result<Option<u32>> {
        if !self.asked {
            match self.stream.write(REQUEST) {
                Ok(written) if written == REQUEST.len() => self.asked = true,
                Ok(_) => return Err(io::Error::other("the request was cut off")),
                Err(error) => return not_yet(error),
            }
        }
        let mut buffer = [0; 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return worker(&self.answer).map(Some),
                Ok(read) => self.answer.extend_from_slice(&buffer[..read]),
                Err(error) => return not_yet(error),
            }
        }
    }
}

/// Who gave that answer.
pub(crate) fn worker(answer: &[u8]) -> io::Result<u32> {
    let body = answer.strip_prefix(GOOD).and_then(|rest| rest.last_chunk::<BODY>());
    let body = body.and_then(|body| str::from_utf8(body).ok());
    body.and_then(|body| body.trim().parse().ok()).ok_or_else(|| {
        io::Error::other(format!("a bad answer: {:?}", String::from_utf8_lossy(answer)))
    })
}

/// Whether an error only says that there will be another event.
fn not_yet(error: io::Error) -> io::Result<Option<u32>> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected => Ok(None),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::{Load, Outcome};

    /// Runs a load against a server that gives these answers in turn.
    fn against(answers: &[&'static str], connections: u32, forgiving: bool) -> io::Result<Outcome> {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = answers.to_vec();
        thread::spawn(move || {
            for nth in 0..connections as usize {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 1024]).unwrap();
                // The server has closed the connection.
                let _ = stream.write_all(answers[nth % answers.len()].as_bytes());
            }
        });
        Load { port, connections, clients: 8, sources: 1, forgiving }.run()
    }

    const FIRST: &str = "HTTP/1.1 200 OK\r\n\r\n          7\n";
    const SECOND: &str = "HTTP/1.1 200 OK\r\n\r\n          8\n";
    const BAD: &str = "HTTP/1.1 500 No\r\n\r\n";

    #[test]
    fn every_connection_is_made_and_who_answered_is_counted() {
        let mut outcome = against(&[FIRST, FIRST, SECOND, FIRST], 200, false).unwrap();
        assert_eq!(outcome.by_worker.into_iter().collect::<Vec<_>>(), [(7, 150), (8, 50)]);
        outcome.by_worker = [(7, 150), (8, 50)].into();
        assert_eq!(outcome.imbalance(2), Some(1.5));
        assert_eq!(outcome.imbalance(4), Some(3.0));
        assert_eq!((outcome.answered(), outcome.failed), (200, 0));
        assert!(outcome.latency(50).unwrap() <= outcome.latency(99).unwrap());
    }

    #[test]
    fn a_bad_answer_is_an_error() {
        let error = against(&[BAD], 1, false).unwrap_err();
        assert!(error.to_string().contains("500 No"), "{error}");
    }

    #[test]
    fn bad_answers_are_counted_where_they_are_forgiven_but_not_without_end() {
        let outcome = against(&[FIRST; 19].map(|good| good), 19, true).unwrap();
        assert_eq!(outcome.failed, 0);
        let mut mostly = [FIRST; 20];
        mostly[7] = BAD;
        let outcome = against(&mostly, 100, true).unwrap();
        assert_eq!((outcome.answered(), outcome.failed), (95, 5));
        assert!(against(&[FIRST, BAD], 100, true).is_err());
    }

    #[test]
    fn clients_come_from_as_many_addresses_as_they_should() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let mut sources = std::collections::BTreeSet::new();
            for _ in 0..64 {
                let (mut stream, from) = listener.accept().unwrap();
                sources.insert(from.ip());
                let _ = stream.read(&mut [0; 1024]).unwrap();
                stream.write_all(FIRST.as_bytes()).unwrap();
            }
            sources.len()
        });
        Load { port, connections: 64, clients: 8, sources: 4, forgiving: false }.run().unwrap();
        assert_eq!(server.join().unwrap(), 4);
    }
}
