//! HTTP/1.1: the part of it that GET needs.

use std::net::SocketAddrV4;
use std::sync::atomic::AtomicBool;

use super::connection::{Connection, Failure};
use super::wire::Wire;

pub(super) struct Http1 {
    wire: Wire,
    path: &'static str,
    used: bool,
}

impl Http1 {
    pub(super) fn open(address: SocketAddrV4, path: &'static str) -> Result<Self, Failure> {
        Ok(Self { wire: Wire::connect(address)?, path, used: false })
    }
}

impl Connection for Http1 {
    fn ask(&mut self, last: bool) -> Result<bool, Failure> {
        let used = std::mem::replace(&mut self.used, true);
        let wish = if last { "Connection: close\r\n" } else { "" };
        let path = self.path;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{wish}\r\n");
        self.wire.send(request.as_bytes());
        loop {
            if let Some(response) = parse(&self.wire.buffer).map_err(Failure::Lost)? {
                self.wire.buffer.drain(..response.length);
                return match response.status {
                    200 => Ok(response.stays),
                    status => Err(Failure::Lost(format!("status {status}"))),
                };
            }
            if let Err(error) = self.wire.fill() {
                let bytes = self.wire.buffer.len();
                if bytes == 0 && used && self.wire.was_not_read(&error) {
                    return Err(Failure::Closed);
                }
                let kind = if used { "kept" } else { "fresh" };
                let cut = if bytes == 0 { "no response" } else { "response cut off" };
                return Err(Failure::Lost(format!("{cut} on a {kind} connection: {error}")));
            }
        }
    }

    fn wait_for_close(&mut self, over: &AtomicBool) -> bool {
        while self.wire.wait(over).is_ok() {}
        true
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Response {
    status: u16,
    /// Of all of it.
    length: usize,
    stays: bool,
}

/// A whole response; none if there is more to come.
fn parse(bytes: &[u8]) -> Result<Option<Response>, String> {
    let Some(end) = position(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.ok_or_else(|| format!("not a response: {head:?}"))?;
    let field = |name: &str| {
        head.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim().to_ascii_lowercase())
        })
    };
    let body = &bytes[end + 4..];
    let length = if field("transfer-encoding").as_deref() == Some("chunked") {
        chunked(body)?
    } else {
        let length = field("content-length").and_then(|value| value.parse().ok());
        let length: usize = length.ok_or_else(|| format!("no length: {head:?}"))?;
        (body.len() >= length).then_some(length)
    };
    let stays = field("connection").as_deref() != Some("close");
    Ok(length.map(|length| Response { status, length: end + 4 + length, stays }))
}

/// The length of a chunked body without trailers; none if there is more to come.
fn chunked(body: &[u8]) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        let Some(line) = position(&body[at..], b"\r\n") else { return Ok(None) };
        let size = String::from_utf8_lossy(&body[at..at + line]);
        let size = usize::from_str_radix(size.trim(), 16)
            .map_err(|error| format!("no chunk size: {size:?}: {error}"))?;
        at += line + 2 + size + 2;
        if at > body.len() {
            return Ok(None);
        }
        if size == 0 {
            return Ok(Some(at));
        }
    }
}

fn position(bytes: &[u8], of: &[u8]) -> Option<usize> {
    bytes.windows(of.len()).position(|window| window == of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_whole_at_its_last_byte_and_not_before() {
        let kept = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok";
        let last = "HTTP/1.1 503 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nB\r\n01234567890\r\n0\r\n\r\n";
        for (text, status, stays) in [(kept, 200, true), (last, 503, false), (chunks, 200, true)] {
            for length in 0..text.len() {
                assert_eq!(parse(&text.as_bytes()[..length]), Ok(None), "{length} of {text:?}");
            }
            let whole = Response { status, length: text.len(), stays };
            assert_eq!(parse(text.as_bytes()).unwrap().as_ref(), Some(&whole));
            // What follows belongs to the next.
            assert_eq!(parse(format!("{text}HTTP").as_bytes()), Ok(Some(whole)));
        }
    }

    #[test]
    fn anything_else_is_an_error() {
        for text in [
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
