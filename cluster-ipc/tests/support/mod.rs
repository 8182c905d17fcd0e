//! What several test files need.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use cluster_ipc::proto::{HandleKind, Message, Value};
use cluster_ipc::{Channel, ChannelConfig, Flush, Outgoing, Received, Recv, Transport};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// Two channels on a socket pair.
pub(crate) fn channels(config: ChannelConfig) -> (Channel, Channel) {
    let (a, b) = Channel::pair(config.clone()).unwrap();
    (a, Channel::from_fd(b, config).unwrap())
}

/// A channel, and the bare other end of it (blocking).
pub(crate) fn channel_and_raw(config: ChannelConfig) -> (Channel, UnixStream) {
    let (channel, raw) = Channel::pair(config).unwrap();
    (channel, raw.into())
}

pub(crate) fn user(value: impl Into<Value>) -> Message {
    Message::User(value.into())
}

/// The next message, of which the test knows that it comes: waits for it.
pub(crate) fn next(channel: &mut Channel) -> Received<OwnedFd> {
    loop {
        match channel.recv().expect("the stream is sound") {
            Recv::Message(received) => return received,
            Recv::WouldBlock => wait_readable(&*channel),
            Recv::Closed => panic!("the channel closed"),
        }
    }
}

/// What arrives without waiting.
pub(crate) fn drain<T: Transport>(channel: &mut Channel<T>) -> Vec<Received<T::Handle>> {
    let mut all = Vec::new();
    while let Recv::Message(received) = channel.recv().expect("the stream is sound") {
        all.push(received);
    }
    all
}

/// Reads up to the close, and panics if that is none.
pub(crate) fn assert_closed(channel: &mut Channel) {
    loop {
        match channel.recv().expect("the stream is sound") {
            Recv::Message(received) => panic!("{received:?}"),
            Recv::WouldBlock => wait_readable(&*channel),
            Recv::Closed => return,
        }
    }
}

pub(crate) fn flush_all(channel: &mut Channel) {
    while channel.flush().unwrap() == Flush::Blocked {
        wait(&*channel, PollFlags::OUT);
    }
}

pub(crate) fn wait_readable(fd: impl AsFd) {
    wait(fd, PollFlags::IN);
}

pub(crate) fn wait(fd: impl AsFd, flags: PollFlags) {
    poll(&mut [PollFd::new(&fd, flags)], None).unwrap();
}

/// A pipe, by whose reading end one sees when every copy of the writing end is closed.
pub(crate) fn tracer() -> (std::io::PipeReader, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader, writer.into())
}

/// Whether no process holds the writing end any more.
pub(crate) fn is_closed(reader: &mut std::io::PipeReader) -> bool {
    let flags = rustix::fs::fcntl_getfl(&*reader).unwrap();
    rustix::fs::fcntl_setfl(&*reader, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    match reader.read(&mut [0]) {
        Ok(n) => n == 0,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn native(fd: OwnedFd) -> Option<Outgoing<OwnedFd>> {
    Some(Outgoing::new(HandleKind::NetNative, fd))
}

/// Whether the two are the same open file.
pub(crate) fn same_file(a: impl AsFd, b: impl AsFd) -> bool {
    let (a, b) = (rustix::fs::fstat(a).unwrap(), rustix::fs::fstat(b).unwrap());
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

/// One `sendmsg` of a bare peer.
pub(crate) fn raw_send(socket: &UnixStream, bytes: &[u8], fds: &[&OwnedFd]) {
    let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let mut none = SendAncillaryBuffer::default();
    let control = if fds.is_empty() { &mut none } else { &mut control };
    let sent =
        rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], control, SendFlags::NOSIGNAL).unwrap();
    assert_eq!(sent, bytes.len());
}

/// One `recvmsg` of a bare peer: what is there, without waiting.
pub(crate) fn raw_recv(socket: &UnixStream) -> (Vec<u8>, Vec<OwnedFd>) {
    let mut buf = vec![0; 64 << 10];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let iov = &mut [IoSliceMut::new(&mut buf)];
    let bytes = match rustix::net::recvmsg(socket, iov, &mut control, flags) {
        Ok(received) => received.bytes,
        Err(rustix::io::Errno::AGAIN) => 0,
        Err(error) => panic!("{error}"),
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    buf.truncate(bytes);
    (buf, fds)
}

/// All that is there as text, and how many descriptors came with it.
pub(crate) fn raw_text(socket: &UnixStream) -> (String, usize) {
    let (mut text, mut count) = (String::new(), 0);
    loop {
        let (bytes, fds) = raw_recv(socket);
        if bytes.is_empty() {
            return (text, count);
        }
        text.push_str(std::str::from_utf8(&bytes).unwrap());
        count += fds.len();
    }
}

pub(crate) const ACK: &str = "{\"cmd\":\"NODE_HANDLE_ACK\"}\n";
pub(crate) const NACK: &str = "{\"cmd\":\"NODE_HANDLE_NACK\"}\n";

/// A handle frame as Node writes it.
pub(crate) fn handle_frame(kind: &str, message: &str) -> String {
    format!("{{\"cmd\":\"NODE_HANDLE\",\"type\":\"{kind}\",\"msg\":{message}}}\n")
}
