//! The bare loop: the least that a primary can do that hands connections out.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;
use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, accept_with, sendmsg,
};

/// Accepts connections until nobody waits, and sends each to the next worker: one `accept4`, one
/// `sendmsg` and one `close` a connection, and nothing else.
pub(super) fn hand_out(listener: &OwnedFd, workers: &[OwnedFd]) -> io::Result<Infallible> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1);
    let mut source = SourceFd(&listener.as_raw_fd());
    poll.registry().register(&mut source, Token(0), Interest::READABLE)?;
    let mut turns = workers.iter().cycle();
    loop {
        poll.poll(&mut events, None)?;
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let connection = match accept_with(listener, flags) {
                Ok(connection) => connection,
                Err(Errno::WOULDBLOCK) => break,
                Err(error) => return Err(error.into()),
            };
            let worker = turns.next().expect("there are workers");
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let handles = [connection.as_fd()];
            control.push(SendAncillaryMessage::ScmRights(&handles));
            // The channel blocks: a worker whose channel is full is waited for.
            sendmsg(worker, &[IoSlice::new(b"c")], &mut control, SendFlags::empty())?;
        }
    }
}
