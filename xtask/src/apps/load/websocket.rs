//! WebSocket, and Socket.IO on it: a request is a message that is echoed.

use std::net::SocketAddrV4;
use std::sync::atomic::AtomicBool;

use super::connection::{Connection, Failure};
use super::wire::Wire;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const DONE: u16 = 1000;
const GOING_AWAY: u16 = 1001;

const MESSAGE: &str = "hello";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    SocketIo,
}

pub(super) struct WebSocket {
    wire: Wire,
    kind: Kind,
}

/// What a server sends.
#[derive(Debug, PartialEq, Eq)]
enum Received {
    /// The connection is ready for events (Socket.IO).
    Ready,
    Echo,
    /// The server closes the connection.
    Close(Option<u16>),
    Other,
}

impl WebSocket {
    pub(super) fn open(
        address: SocketAddrV4,
        path: &'static str,
        kind: Kind,
    ) -> Result<Self, Failure> {
        let mut wire = Wire::connect(address)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        wire.send(request.as_bytes());
        let end = loop {
            let end = wire.buffer.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                break end;
            }
            let filled = wire.fill();
            filled.map_err(|error| Failure::Lost(format!("no handshake: {error}")))?;
        };
        let head = String::from_utf8_lossy(&wire.buffer[..end]).into_owned();
        if !head.starts_with("HTTP/1.1 101 ") {
            let status = head.lines().next().unwrap_or_default();
            return Err(Failure::Lost(format!("no handshake: {status}")));
        }
        wire.buffer.drain(..end + 4);
        let mut socket = Self { wire, kind };
        if kind == Kind::SocketIo {
            socket.wait_until(&Received::Ready)?;
        }
        Ok(socket)
    }

    /// Waits for the server to send that.
    fn wait_until(&mut self, what: &Received) -> Result<(), Failure> {
        loop {
            while let Some(frame) = Frame::take(&mut self.wire.buffer) {
                match self.handle(&frame) {
                    Received::Close(code) if self.is_orderly(code) => return Err(Failure::Closed),
                    Received::Close(code) => {
                        let code = code.map_or("none".to_owned(), |code| code.to_string());
                        return Err(Failure::Lost(format!("close code {code}, not {GOING_AWAY}")));
                    }
                    received if received == *what => return Ok(()),
                    _ => {}
                }
            }
            let filled = self.wire.fill();
            filled.map_err(|error| Failure::Lost(format!("no close frame: {error}")))?;
        }
    }

    /// Socket.IO has no close code of its own: it closes by a packet, or by any close frame.
    fn is_orderly(&self, code: Option<u16>) -> bool {
        self.kind == Kind::SocketIo || code == Some(GOING_AWAY)
    }

    fn handle(&mut self, frame: &Frame) -> Received {
        match (frame.opcode, self.kind) {
            (CLOSE, _) => {
                self.wire.send(&masked(CLOSE, &frame.payload));
                Received::Close(frame.payload.first_chunk().map(|code| u16::from_be_bytes(*code)))
            }
            (PING, _) => {
                self.wire.send(&masked(PONG, &frame.payload));
                Received::Other
            }
            (TEXT, Kind::Plain) => Received::Echo,
            (TEXT, Kind::SocketIo) => self.packet(&String::from_utf8_lossy(&frame.payload)),
            _ => Received::Other,
        }
    }

    /// A packet of Engine.IO: its kind, and with 4 (a message) one of Socket.IO.
    fn packet(&mut self, packet: &str) -> Received {
        let answer = match packet.get(..1) {
            Some("0") => "40",
            Some("2") => "3",
            _ => "",
        };
        if !answer.is_empty() {
            self.wire.send(&masked(TEXT, answer.as_bytes()));
        }
        match packet.get(..2) {
            Some("40") => Received::Ready,
            Some("43") => Received::Echo,
            Some("41") => Received::Close(None),
            _ if packet == "1" => Received::Close(None),
            _ => Received::Other,
        }
    }
}

impl Connection for WebSocket {
    fn ask(&mut self, last: bool) -> Result<bool, Failure> {
        let message = match self.kind {
            Kind::Plain => MESSAGE.to_owned(),
            Kind::SocketIo => format!("420[\"echo\",\"{MESSAGE}\"]"),
        };
        self.wire.send(&masked(TEXT, message.as_bytes()));
        self.wait_until(&Received::Echo)?;
        if last {
            self.wire.send(&masked(CLOSE, &DONE.to_be_bytes()));
        }
        Ok(!last)
    }

    fn wait_for_close(&mut self, over: &AtomicBool) -> bool {
        loop {
            while let Some(frame) = Frame::take(&mut self.wire.buffer) {
                if let Received::Close(code) = self.handle(&frame) {
                    return self.is_orderly(code);
                }
            }
            if self.wire.wait(over).is_err() {
                return false;
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Frame {
    opcode: u8,
    payload: Vec<u8>,
}

impl Frame {
    /// The first of a server's, if all of it is there. Its messages are short, and in one frame each.
    fn take(buffer: &mut Vec<u8>) -> Option<Self> {
        let [first, second] = *buffer.first_chunk()?;
        let (head, length) = match second {
            126 => (4, usize::from(u16::from_be_bytes(*buffer.get(2..)?.first_chunk()?))),
            short => (2, usize::from(short)),
        };
        let payload = buffer.get(head..head + length)?.to_vec();
        buffer.drain(..head + length);
        Some(Self { opcode: first & 0xf, payload })
    }
}

/// A client's frame. The mask is zero, which leaves the payload as it is.
fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126);
    let length = length.expect("clients send short frames");
    [&[0x80 | opcode, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};
    use std::thread;

    use super::*;

    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0x80 | opcode, length], payload].concat()
    }

    #[test]
    fn a_frame_is_taken_once_it_is_whole() {
        let long = [&[0x81, 126, 1, 0][..], &[b'x'; 256]].concat();
        for (whole, length) in [(frame(TEXT, b"hello"), 5), (long, 256)] {
            for part in 0..whole.len() {
                assert_eq!(Frame::take(&mut whole[..part].to_vec()), None);
            }
            let mut buffer = [&whole[..], b"rest"].concat();
            assert_eq!(Frame::take(&mut buffer).unwrap().payload.len(), length);
            assert_eq!(buffer, b"rest");
        }
    }

    /// A client of a server that sends this after the handshake.
    fn client(kind: Kind, sent: &[Vec<u8>]) -> Result<WebSocket, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!() };
        let sent = sent.concat();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").unwrap();
            stream.write_all(&sent).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        WebSocket::open(address, "/", kind)
    }

    fn close(code: u16) -> Vec<u8> {
        frame(CLOSE, &code.to_be_bytes())
    }

    #[test]
    fn a_client_that_is_closed_by_1001_sends_again_and_any_other_has_lost() {
        let ask = |sent: &[Vec<u8>]| client(Kind::Plain, sent).and_then(|mut it| it.ask(false));
        assert!(ask(&[frame(PING, b"x"), frame(TEXT, b"hello")]).unwrap());
        assert!(matches!(ask(&[close(GOING_AWAY)]), Err(Failure::Closed)));
        assert!(matches!(ask(&[close(1011)]), Err(Failure::Lost(_))));
        assert!(matches!(ask(&[]), Err(Failure::Lost(_))));
    }

    #[test]
    fn socket_io_closes_by_a_packet_or_a_close_frame() {
        let greeting =
            [frame(TEXT, b"0{\"sid\":\"x\"}"), frame(TEXT, b"40{\"sid\":\"y\"}")].concat();
        let ask = |sent: &[Vec<u8>]| {
            client(Kind::SocketIo, &[std::slice::from_ref(&greeting), sent].concat())
                .and_then(|mut it| it.ask(false))
        };
        assert!(ask(&[frame(TEXT, b"2"), frame(TEXT, b"430[\"hello\"]")]).unwrap());
        assert!(matches!(ask(&[frame(TEXT, b"41")]), Err(Failure::Closed)));
        assert!(matches!(ask(&[frame(CLOSE, b"")]), Err(Failure::Closed)));
        assert!(matches!(ask(&[]), Err(Failure::Lost(_))));
    }

    #[test]
    fn an_idle_client_sees_how_it_is_closed() {
        let over = AtomicBool::new(true);
        let closed = |sent: &[Vec<u8>]| {
            client(Kind::Plain, sent).map(|mut it| it.wait_for_close(&over)).unwrap()
        };
        assert!(closed(&[frame(PING, b""), close(GOING_AWAY)]));
        assert!(!closed(&[close(1005)]));
        assert!(!closed(&[]));
    }
}
