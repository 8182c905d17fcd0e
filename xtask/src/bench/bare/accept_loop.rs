//! The bare loop: the least that a primary can do that hands connections out.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, accept_with, sendmsg,
};

/// Accepts connections until none waits, and sends each to the next worker: one `accept4`, one
/// `sendmsg` and one `close` a connection, and nothing else, but what `turn` does after each wait.
pub(super) fn hand_out<T>(
    listener: &OwnedFd,
    workers: &[OwnedFd],
    turn: impl Fn() -> T,
) -> io::Result<Infallible> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1);
    let mut source = SourceFd(&listener.as_raw_fd());
    poll.registry().register(&mut source, Token(0), Interest::READABLE)?;
    let mut turns = workers.iter().cycle();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let _turn = turn();
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let connection = match accept_with(listener, flags) {
                Ok(connection) => connection,
                Err(Errno::WOULDBLOCK | Errno::INTR) => break,
                Err(error) => return Err(error.into()),
            };
            let worker = turns.next().expect("there are workers");
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let handles = [connection.as_fd()];
            control.push(SendAncillaryMessage::ScmRights(&handles));
            // The channel blocks: a worker whose channel is full is waited for.
            let parts = [IoSlice::new(b"c")];
            retry_on_intr(|| sendmsg(worker, &parts, &mut control, SendFlags::empty()))?;
        }
    }
}
