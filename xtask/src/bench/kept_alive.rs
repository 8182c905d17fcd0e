//! A client with a few kept-alive connections to one worker.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use super::interrupt;
use super::load::{BODY, worker};

/// Connections of a client.
pub(crate) const CONNECTIONS: u32 = 16;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A server that sends nothing for so long is broken.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Client(Vec<TcpStream>);

impl Client {
    /// Connects, and has each connection answer once: the worker has accepted all of them.
    pub(crate) fn connect(port: u16) -> io::Result<Self> {
        let connect = |_| {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        let mut client = Self((0..CONNECTIONS).map(connect).collect::<io::Result<_>>()?);
        client.ask(CONNECTIONS)?;
        Ok(client)
    }

    /// Sends so many requests, one at a time per connection, and reads the answers. A number that is
    /// not a multiple of [`CONNECTIONS`] is rounded down.
    pub(crate) fn ask(&mut self, requests: u32) -> io::Result<()> {
        for _ in 0..requests / CONNECTIONS {
            interrupt::check()?;
            for stream in &mut self.0 {
                stream.write_all(REQUEST)?;
            }
            for stream in &mut self.0 {
                answer(stream)?;
            }
        }
        Ok(())
    }
}

/// Reads one answer to its end.
fn answer(stream: &mut impl Read) -> io::Result<()> {
    let (mut buffer, mut length) = ([0; 1024], 0);
    loop {
        let read = match stream.read(&mut buffer[length..]) {
            Ok(0) => return Err(io::Error::other("the answer is cut off, or too long")),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        length += read;
        let answer = &buffer[..length];
        let head = answer.windows(4).position(|end| end == b"\r\n\r\n");
        if head.is_some_and(|head| length >= head + 4 + BODY) {
            return worker(answer).map(drop);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::answer;

    #[test]
    fn an_answer_is_read_to_its_end_however_it_is_split() {
        let whole: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n          7\n";
        for at in 1..whole.len() {
            let mut parts = std::io::Read::chain(&whole[..at], &whole[at..]);
            answer(&mut parts).unwrap();
        }
        assert!(answer(&mut &whole[..whole.len() - 1]).is_err());
        assert!(answer(&mut &b"HTTP/1.1 500 No\r\n\r\n          7\n"[..]).is_err());
    }
}
