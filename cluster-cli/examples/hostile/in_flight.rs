//! Keeps descriptors in flight between Unix sockets, of which a user who is not root may have only so many.

use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::Outcome;
use crate::channel::{MAX_DESCRIPTORS, RawChannel, send_with};
use crate::listens;

/// Looks at what comes without taking it, and answers for each connection all the same.
pub(crate) fn peek(channel: &RawChannel) -> Outcome {
    channel.send(&listens::query(77))?;
    let mut port = None;
    channel.each_line(|line| {
        let found = line.split_once(r#""port":"#).map(|(_, rest)| rest);
        let digits = found.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        port = digits.and_then(|digits| digits.parse::<u16>().ok());
        port.is_none()
    })?;
    let port = port.ok_or("it does not listen")?;
    std::thread::spawn(move || {
        // It ends with the listener.
        while TcpStream::connect(("127.0.0.1", port)).is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    look_past_what_was_seen(channel)?;
    let (mut seen, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        match recv(channel, &mut buffer, RecvFlags::PEEK) {
            Ok((_, 0)) | Err(Errno::CONNRESET) => return Ok(()),
            Ok((_, length)) => seen.extend_from_slice(&buffer[..length]),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        while let Some(end) = seen.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = seen.drain(..=end).collect();
            answer(channel, &String::from_utf8_lossy(&line))?;
        }
    }
}

/// Takes a connection, as it says.
fn answer(channel: &RawChannel, line: &str) -> io::Result<()> {
    if !line.contains("newconn") {
        return Ok(());
    }
    let seq = line.split_once(r#""seq":"#).map(|(_, rest)| rest);
    let seq = seq.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()).unwrap_or("0");
    channel.send(r#"{"cmd":"NODE_HANDLE_ACK"}"#)?;
    channel.send(&format!(r#"{{"cmd":"NODE_CLUSTER","ack":{seq},"accepted":true,"seq":1000}}"#))
}

/// From now on what was looked at is not looked at again.
#[allow(unsafe_code, reason = "rustix has no function for this option")]
fn look_past_what_was_seen(channel: &RawChannel) -> io::Result<()> {
    let (fd, start): (_, libc::c_int) = (channel.as_fd().as_raw_fd(), 0);
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option's value is an `int`, of which the address and the length are given.
    let set = unsafe {
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, (&raw const start).cast(), length)
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends descriptors from one socket of its own to the other until the system refuses, and keeps them there until
/// that file is gone.
pub(crate) fn own_sockets(channel: &RawChannel, until: &Path) -> Outcome {
    let file = File::open("/dev/null")?;
    let descriptors = vec![file.as_fd(); MAX_DESCRIPTORS];
    let mut pairs = Vec::new();
    loop {
        let (ours, theirs) = UnixStream::pair()?;
        let sent = send_with(&ours, b"x", &descriptors);
        pairs.push((ours, theirs));
        match sent {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ETOOMANYREFS) => break,
            Err(error) => return Err(error.into()),
        }
    }
    println!("hostile: {} sockets are full", pairs.len() - 1);
    while until.exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(pairs);
    channel.read_to_end()
}
