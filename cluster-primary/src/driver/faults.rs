//! Workers that make calls of the primary block, and channels that fail.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::base::Primary;
use super::blocking::Call;
use super::listen;
use crate::error::WorkerError;
use crate::id::WorkerId;
use crate::machine::Input;

impl Primary {
    /// A worker's channel has an error for which the machine will close it.
    pub(super) fn fail_channel(&mut self, worker: WorkerId, error: WorkerError) {
        self.tell(Input::ChannelFailed { worker, error });
    }

    /// A worker has made a call block.
    pub(super) fn blame(&mut self, worker: WorkerId, call: Call) {
        if let Some(child) = self.child_mut(worker) {
            child.note_blocks();
            let input = Input::Blocked { worker, call: call.name() };
            self.tell(input);
        }
    }

    /// Accepts a connection; `INTR` if the call blocked.
    pub(super) fn accept_one(
        &mut self,
        listener: &OwnedFd,
    ) -> Result<(OwnedFd, Option<u32>), Errno> {
        let accept = || listen::accept(listener);
        let was_interrupted = |result: &Result<_, _>| matches!(result, Err(Errno::INTR));
        let (accepted, interrupted) = self.blocking.calls.time_if(accept, was_interrupted);
        if interrupted {
            self.blocking.accepts += 1;
            // A process that shares the socket has made it blocking.
            let _ = rustix::io::ioctl_fionbio(listener, true);
        }
        accepted
    }

    /// How often accepting was interrupted.
    pub(super) fn interrupted_accepts(&self) -> u64 {
        self.blocking.accepts
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::TcpListener;

    use rustix::fs::{OFlags, fcntl_getfl};

    use super::super::call_timer;
    use super::*;
    use crate::Settings;

    /// A worker takes the connection between the poll of the queue and the `accept4`.
    #[test]
    fn to_accept_from_a_listener_that_was_made_blocking_does_not_block() {
        let mut primary = Primary::new(Settings::new("/bin/true")).expect("a poll");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let listener = OwnedFd::from(listener);
        let _bounded = call_timer::bounded();
        let accepted = primary.accept_one(&listener);
        assert_eq!(accepted.map(|_| ()), Err(Errno::INTR));
        assert_eq!(primary.interrupted_accepts(), 1);
        assert_eq!(primary.stats().interrupted_calls, 1);
        let flags = fcntl_getfl(&listener).expect("it is open");
        assert!(flags.contains(OFlags::NONBLOCK), "it does not block again by itself: {flags:?}");
        let _client = std::net::TcpStream::connect(address).expect("it listens");
        assert!(primary.accept_one(&listener).is_ok());
    }
}
