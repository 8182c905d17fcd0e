//! HTTP/2 without TLS, one stream at a time: the part of it that GET needs.

use std::net::SocketAddrV4;
use std::sync::atomic::AtomicBool;

use super::connection::{Connection, Failure};
use super::wire::Wire;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// No dynamic table (`HEADER_TABLE_SIZE` 0), so that each header block can be read alone, and no server
/// push (`ENABLE_PUSH` 0).
const OUR_SETTINGS: &[u8] = &[0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0];
/// `:method: GET`, `:scheme: http`, and the name of `:path`, from the static table.
const GET: &[u8] = &[0x82, 0x86, 0x04];
/// The name of `:authority`.
const AUTHORITY: u8 = 0x01;
/// `:status: 200`
const OK: u8 = 0x88;
const REFUSED_STREAM: u32 = 7;

pub(super) struct Http2 {
    wire: Wire,
    path: &'static str,
    /// The next stream's number.
    next: u32,
    /// The last stream that the server will serve, once it goes away.
    last: Option<u32>,
}

impl Http2 {
    pub(super) fn open(address: SocketAddrV4, path: &'static str) -> Result<Self, Failure> {
        let mut wire = Wire::connect(address)?;
        wire.send(&[PREFACE, &frame(SETTINGS, 0, 0, OUR_SETTINGS)].concat());
        Ok(Self { wire, path, next: 1, last: None })
    }

    /// Handles a frame. Whether it ends the response on that stream.
    fn handle(&mut self, frame: &Frame, stream: u32) -> Result<bool, Failure> {
        let ours = frame.stream == stream;
        match frame.kind {
            HEADERS if ours && !is_ok(&frame.payload) => {
                return Err(Failure::Lost("not status 200".to_owned()));
            }
            HEADERS if ours => return Ok(frame.flags & END_STREAM != 0),
            DATA => {
                if !frame.payload.is_empty() {
                    let length = u32::try_from(frame.payload.len()).expect("24 bits");
                    self.wire.send(&self::frame(WINDOW_UPDATE, 0, 0, &length.to_be_bytes()));
                }
                return Ok(ours && frame.flags & END_STREAM != 0);
            }
            RST_STREAM if ours => {
                return Err(match number(&frame.payload) {
                    Some(REFUSED_STREAM) => Failure::Closed,
                    code => Failure::Lost(format!("stream reset: {code:?}")),
                });
            }
            SETTINGS if frame.flags & ACK == 0 => {
                self.wire.send(&self::frame(SETTINGS, ACK, 0, &[]));
            }
            PING if frame.flags & ACK == 0 => {
                self.wire.send(&self::frame(PING, ACK, 0, &frame.payload));
            }
            GOAWAY => self.last = number(&frame.payload),
            _ => {}
        }
        match self.last {
            Some(last) if last < stream => Err(Failure::Closed),
            _ => Ok(false),
        }
    }
}

impl Connection for Http2 {
    fn ask(&mut self, last: bool) -> Result<bool, Failure> {
        let stream = self.next;
        self.next += 2;
        let block = [GET, &text(self.path), &[AUTHORITY], &text("localhost")].concat();
        self.wire.send(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &block));
        loop {
            while let Some(frame) = Frame::take(&mut self.wire.buffer) {
                if self.handle(&frame, stream)? {
                    return Ok(self.last.is_none() && !last);
                }
            }
            if let Err(error) = self.wire.fill() {
                // A GOAWAY that includes the stream promised a response.
                let kept = stream > 1 && self.last.is_none();
                if kept && self.wire.was_not_read(&error) {
                    return Err(Failure::Closed);
                }
                return Err(Failure::Lost(format!("no whole response: {error}")));
            }
        }
    }

    fn wait_for_close(&mut self, over: &AtomicBool) -> bool {
        while self.wire.wait(over).is_ok() {
            while let Some(frame) = Frame::take(&mut self.wire.buffer) {
                // Its pings are answered; no stream is open that could fail.
                let _ = self.handle(&frame, 0);
            }
        }
        true
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// The first, if all of it is there.
    fn take(buffer: &mut Vec<u8>) -> Option<Self> {
        let head = buffer.first_chunk::<HEAD>()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let length = usize::try_from(length).expect("24 bits");
        let (kind, flags) = (head[3], head[4]);
        let stream = number(&head[5..])? & (u32::MAX >> 1);
        if buffer.len() < HEAD + length {
            return None;
        }
        let payload = buffer[HEAD..HEAD + length].to_vec();
        buffer.drain(..HEAD + length);
        Some(Self { kind, flags, stream, payload })
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short frames").to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head, &stream.to_be_bytes()[..], payload].concat()
}

/// A string of a header block, without Huffman coding.
fn text(value: &str) -> Vec<u8> {
    let length = u8::try_from(value.len()).ok().filter(|length| *length < 127);
    [&[length.expect("short strings")], value.as_bytes()].concat()
}

/// Whether the status in a response's header block is 200. It is the first field; only changes of the
/// table's size may precede it.
fn is_ok(block: &[u8]) -> bool {
    block.iter().find(|byte| *byte & 0xe0 != 0x20) == Some(&OK)
}

/// The number at the beginning.
fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
    use std::thread;

    use super::*;

    #[test]
    fn a_frame_is_taken_once_it_is_whole() {
        let whole = frame(HEADERS, END_HEADERS, 5, b"block");
        for length in 0..whole.len() {
            let mut part = whole[..length].to_vec();
            assert_eq!(Frame::take(&mut part), None);
            assert_eq!(part.len(), length);
        }
        let mut more = [&whole[..], b"rest"].concat();
        let taken =
            Frame { kind: HEADERS, flags: END_HEADERS, stream: 5, payload: b"block".into() };
        assert_eq!(Frame::take(&mut more), Some(taken));
        assert_eq!(more, b"rest");
    }

    #[test]
    fn the_status_is_read_behind_a_change_of_the_table() {
        assert!(is_ok(&[0x88, 1]) && is_ok(&[0x20, 0x88]));
        assert!(!is_ok(&[0x8d]) && !is_ok(&[0x20]) && !is_ok(&[]));
    }

    /// What a client gets from a server that sends this after the second request.
    fn second(answer: &[Vec<u8>]) -> Result<bool, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!() };
        let answer = answer.concat();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = vec![0; PREFACE.len()];
            stream.read_exact(&mut buffer).unwrap();
            let mut buffer = Vec::new();
            read_until(&mut stream, &mut buffer, HEADERS);
            let good = [frame(HEADERS, END_HEADERS, 1, &[OK]), frame(DATA, END_STREAM, 1, b"ok")];
            stream.write_all(&[frame(SETTINGS, 0, 0, &[]), good.concat()].concat()).unwrap();
            read_until(&mut stream, &mut buffer, HEADERS);
            stream.write_all(&answer).unwrap();
        });
        let mut client = Http2::open(address, "/").unwrap();
        assert!(client.ask(false).unwrap());
        let outcome = client.ask(false);
        server.join().unwrap();
        outcome
    }

    fn read_until(stream: &mut TcpStream, buffer: &mut Vec<u8>, kind: u8) {
        loop {
            while let Some(frame) = Frame::take(buffer) {
                if frame.kind == kind {
                    return;
                }
            }
            let mut chunk = [0; 1024];
            let length = stream.read(&mut chunk).unwrap();
            assert!(length > 0);
            buffer.extend_from_slice(&chunk[..length]);
        }
    }

    fn goaway(last: u32) -> Vec<u8> {
        frame(GOAWAY, 0, 0, &[last.to_be_bytes(), 0_u32.to_be_bytes()].concat())
    }

    #[test]
    fn a_stream_that_the_server_will_not_serve_is_sent_again() {
        assert!(matches!(second(&[goaway(1)]), Err(Failure::Closed)));
        let refused = frame(RST_STREAM, 0, 3, &REFUSED_STREAM.to_be_bytes());
        assert!(matches!(second(&[refused]), Err(Failure::Closed)));
    }

    #[test]
    fn a_stream_that_the_server_has_taken_is_lost_without_its_end() {
        assert!(matches!(second(&[goaway(3)]), Err(Failure::Lost(_))));
        let begun = frame(HEADERS, END_HEADERS, 3, &[OK]);
        assert!(matches!(second(std::slice::from_ref(&begun)), Err(Failure::Lost(_))));
        let reset = frame(RST_STREAM, 0, 3, &2_u32.to_be_bytes());
        assert!(matches!(second(&[begun, reset]), Err(Failure::Lost(_))));
        let error = frame(HEADERS, END_HEADERS | END_STREAM, 3, &[0x8e]);
        assert!(matches!(second(&[error]), Err(Failure::Lost(_))));
    }

    #[test]
    fn a_server_that_goes_away_answers_what_it_has_taken() {
        let answer = frame(HEADERS, END_HEADERS | END_STREAM, 3, &[OK]);
        assert!(second(std::slice::from_ref(&answer)).unwrap());
        assert!(!second(&[goaway(3), answer]).unwrap());
    }
}
