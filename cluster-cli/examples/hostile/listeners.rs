//! Listeners that a worker shares with its primary, made blocking; and what listens by hand.

use std::error::Error;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::OwnedFd;

use rustix::io::{ioctl_fionbio, retry_on_intr};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::Outcome;
use crate::channel::RawChannel;

/// Asks for the listener of the well-behaved worker, and makes it blocking, over and over. It accepts
/// nothing.
pub(crate) fn blocking(channel: &RawChannel) -> Outcome {
    let mut lines = Lines::of(channel);
    query(channel, 0)?;
    let listener = loop {
        let (line, descriptor) = lines.next()?;
        if let Some(descriptor) = descriptor {
            channel.send("{\"cmd\":\"NODE_HANDLE_ACK\"}")?;
            let listener = TcpListener::from(descriptor);
            let port = number(&line, "\"port\":").unwrap_or_default();
            listening(channel, port.max(listener.local_addr()?.port().into()))?;
            break listener;
        }
    };
    std::thread::spawn(move || {
        loop {
            let _ = ioctl_fionbio(&listener, false);
        }
    });
    // The tests wait for it.
    println!("the listener is blocking");
    channel.read_to_end()
}

/// Listens on a port that no other worker has; the port.
pub(crate) fn listen(lines: &mut Lines<'_>) -> Result<u16, Box<dyn Error>> {
    query(lines.channel, 77)?;
    loop {
        let (line, _) = lines.next()?;
        if let Some(port) = number(&line, "\"port\":") {
            listening(lines.channel, port)?;
            return Ok(u16::try_from(port)?);
        }
    }
}

/// Asks for a server of `127.0.0.1`: the number 0 is that of the well-behaved worker.
fn query(channel: &RawChannel, index: u32) -> Outcome {
    let query = r#"{"cmd":"NODE_CLUSTER","act":"queryServer","address":"127.0.0.1","port":0,"addressType":4,"flags":0,"data":null,"seq":1,"index":"#;
    Ok(channel.send(&format!("{query}{index}}}"))?)
}

fn listening(channel: &RawChannel, port: u64) -> Outcome {
    let listening = r#"{"cmd":"NODE_CLUSTER","act":"listening","address":"127.0.0.1","addressType":4,"seq":2,"port":"#;
    Ok(channel.send(&format!("{listening}{port}}}"))?)
}

/// The number that stands behind that.
pub(crate) fn number(line: &str, behind: &str) -> Option<u64> {
    let (_, after) = line.split_once(behind)?;
    let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    after[..digits].parse().ok()
}

/// What the primary says, line by line.
pub(crate) struct Lines<'a> {
    channel: &'a RawChannel,
    received: Vec<u8>,
    descriptor: Option<OwnedFd>,
}

impl<'a> Lines<'a> {
    pub(crate) fn of(channel: &'a RawChannel) -> Self {
        Self { channel, received: Vec::new(), descriptor: None }
    }

    /// The next line, and the descriptor that came with it: a read ends behind the line that brought
    /// one.
    pub(crate) fn next(&mut self) -> io::Result<(String, Option<OwnedFd>)> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).into_owned();
                let has_one = line.contains("NODE_HANDLE\"");
                let descriptor = if has_one { self.descriptor.take() } else { None };
                return Ok((line, descriptor));
            }
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut buffer = [0; 4096];
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let received = || recvmsg(self.channel, &mut parts, &mut control, flags);
            let length = retry_on_intr(received)?.bytes;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
                    self.descriptor = descriptors.next().or(self.descriptor.take());
                }
            }
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.received.extend_from_slice(&buffer[..length]);
        }
    }
}
