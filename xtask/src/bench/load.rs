//! Clients that ask for one page each, over and over, in one event loop.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::step;

/// How many ask at the same time.
pub(crate) const CLIENTS: usize = 64;

/// Loopback addresses to connect to. A closed connection blocks its pair of ports for a minute;
/// with one address a few runs would use all of them up.
const DESTINATIONS: u8 = 16;

/// A server that says nothing for so long has lost a connection.
const PATIENCE: Duration = Duration::from_secs(10);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\n";

/// A number of connections, one request each.
pub(crate) struct Load {
    pub(crate) port: u16,
    pub(crate) connections: u32,
}

impl Load {
    /// Makes them, and says how long that took.
    ///
    /// # Errors
    /// If one is not answered well: a cluster that loses connections is not to be measured.
    pub(crate) fn run(&self) -> io::Result<Duration> {
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(CLIENTS);
        let mut clients = Vec::with_capacity(CLIENTS);
        let (mut begun, mut done) = (0, 0);
        let start = step::now();
        while clients.len() < CLIENTS && begun < self.connections {
            let client = self.connect(&poll, clients.len(), begun)?;
            clients.push(Some(client));
            begun += 1;
        }
        while done < self.connections {
            match poll.poll(&mut events, Some(PATIENCE)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome?,
            }
            if events.is_empty() {
                return Err(io::Error::other(format!(
                    "no answer for {PATIENCE:?}, after {done} of {} connections",
                    self.connections
                )));
            }
            for event in &events {
                let Token(index) = event.token();
                let Some(client) = &mut clients[index] else { continue };
                if !client.advance().map_err(|error| self.lost(begun, error))? {
                    continue;
                }
                done += 1;
                // The old one is closed, and with that deregistered, before the next is made.
                clients[index] = None;
                if begun < self.connections {
                    clients[index] = Some(self.connect(&poll, index, begun)?);
                    begun += 1;
                }
            }
        }
        Ok(start.elapsed())
    }

    fn connect(&self, poll: &Poll, index: usize, nth: u32) -> io::Result<Client> {
        let last = 1 + (nth % u32::from(DESTINATIONS)) as u8;
        let address = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), self.port));
        let mut stream = TcpStream::connect(address).map_err(|error| self.lost(nth, error))?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(index), interest)?;
        Ok(Client { stream, asked: false, answer: Vec::with_capacity(256) })
    }

    fn lost(&self, nth: u32, error: io::Error) -> io::Error {
        let (port, all) = (self.port, self.connections);
        io::Error::new(
            error.kind(),
            format!("port {port}, about connection {nth} of {all}: {error}"),
        )
    }
}

struct Client {
    stream: TcpStream,
    asked: bool,
    answer: Vec<u8>,
}

impl Client {
    /// Goes on as far as it can; whether that was to the end.
    fn advance(&mut self) -> io::Result<bool> {
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
                Ok(0) if self.answer.starts_with(GOOD) => return Ok(true),
                Ok(0) => {
                    let said = String::from_utf8_lossy(&self.answer);
                    return Err(io::Error::other(format!("a bad answer: {said:?}")));
                }
                Ok(read) => self.answer.extend_from_slice(&buffer[..read]),
                Err(error) => return not_yet(error),
            }
        }
    }
}

/// Whether an error only says that there will be another event.
fn not_yet(error: io::Error) -> io::Result<bool> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected => Ok(false),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::Load;

    /// Runs a load against a server that gives that answer to so many connections.
    fn against(answer: &'static str, connections: u32) -> std::io::Result<()> {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            for _ in 0..connections {
                let (mut stream, _) = listener.accept().unwrap();
                let _request = stream.read(&mut [0; 1024]).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let outcome = Load { port, connections }.run();
        server.join().unwrap();
        outcome.map(drop)
    }

    #[test]
    fn every_connection_is_made() {
        against("HTTP/1.1 200 OK\r\n\r\n", 200).unwrap();
    }

    #[test]
    fn a_bad_answer_is_an_error() {
        let error = against("HTTP/1.1 500 No\r\n\r\n", 1).unwrap_err();
        assert!(error.to_string().contains("500 No"), "{error}");
    }
}
