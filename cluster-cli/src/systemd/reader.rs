//! Reads a [`NotifySocket`] in a thread of its own.
//!
//! A datagram can carry descriptors, which the system drops where it is read, and that can block for
//! as long as their sender likes (connections with `SO_LINGER` and unsent data). So it is not the
//! primary's loop that reads.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use cluster_primary::embed::spawn_without_signals;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::notified::{Heard, NotifySocket, admit};
use crate::hex::Hex;

/// Notifications that wait for the loop; what comes beyond is dropped.
const MAX_WAITING: usize = 1024;

pub(crate) struct NotifyReader {
    socket: Arc<NotifySocket>,
    waiting: Arc<Mutex<VecDeque<Heard>>>,
    /// Readable when something waits.
    bell: PipeReader,
    rope: Arc<PipeWriter>,
    thread: Option<Thread>,
    /// It could not be started the last time.
    failed: bool,
}

struct Thread {
    handle: JoinHandle<()>,
    /// When it is closed the thread ends.
    _stop: PipeWriter,
}

impl NotifyReader {
    /// Reads nothing before it is [started](Self::start).
    ///
    /// # Errors
    /// If the system gives no pipe.
    pub(crate) fn new(socket: NotifySocket) -> io::Result<Self> {
        let (bell, rope) = io::pipe()?;
        rustix::io::ioctl_fionbio(&bell, true)?;
        rustix::io::ioctl_fionbio(&rope, true)?;
        let (socket, rope) = (Arc::new(socket), Arc::new(rope));
        Ok(Self { socket, waiting: Arc::default(), bell, rope, thread: None, failed: false })
    }

    /// Starts to read, unless it does.
    ///
    /// # Errors
    /// If the system gives no thread, or no pipe; that is said once until it does.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        if self.thread.is_some() {
            return Ok(());
        }
        let started = self.try_start();
        match std::mem::replace(&mut self.failed, started.is_err()) {
            true => Ok(()),
            false => started,
        }
    }

    fn try_start(&mut self) -> io::Result<()> {
        let (stopped, stop) = io::pipe()?;
        let (socket, rope) = (Arc::clone(&self.socket), Arc::clone(&self.rope));
        let waiting = Arc::clone(&self.waiting);
        let read = move || read_all(&socket, &waiting, &rope, &stopped);
        let handle = spawn_without_signals("notify", read)?;
        self.thread = Some(Thread { handle, _stop: stop });
        Ok(())
    }

    /// Reads nothing more; what was read can be [taken](Self::take).
    pub(crate) fn stop(&mut self) {
        if let Some(Thread { handle, _stop }) = self.thread.take() {
            drop(_stop);
            // A panic of its is in the log.
            let _ = handle.join();
        }
    }

    /// The oldest notifications that were read; whether more wait.
    pub(crate) fn take(&mut self, most: usize) -> (Vec<Heard>, bool) {
        let mut rings = [0; 64];
        while let Ok(1..) = self.bell.read(&mut rings) {}
        let mut waiting = lock(&self.waiting);
        let count = most.min(waiting.len());
        let taken = waiting.drain(..count).collect();
        (taken, !waiting.is_empty())
    }

    /// What workers are to find in `NOTIFY_SOCKET`.
    pub(crate) fn address(&self) -> &OsStr {
        self.socket.address()
    }

    /// Has workers of that user write to it; without one, of our own.
    pub(crate) fn admit(&self, user: Option<u32>) {
        if let Some(file) = self.socket.file() {
            // The user stays whom it was given to; root, who may give it away, may write anyway.
            let _ = admit(file, user);
        }
    }

    /// What an image of this program hands over to the next.
    pub(crate) fn handed(&self) -> (RawFd, Hex) {
        self.socket.handed()
    }
}

/// Readable when there is something to take.
impl AsRawFd for NotifyReader {
    fn as_raw_fd(&self) -> RawFd {
        self.bell.as_raw_fd()
    }
}

impl Drop for NotifyReader {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock(waiting: &Mutex<VecDeque<Heard>>) -> MutexGuard<'_, VecDeque<Heard>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread does, until the other end of `stopped` is closed.
fn read_all(
    socket: &NotifySocket,
    waiting: &Mutex<VecDeque<Heard>>,
    mut rope: &PipeWriter,
    stopped: &PipeReader,
) {
    loop {
        // A worker that floods the socket waits for the loop, as the others do: the system queues no more.
        if lock(waiting).len() >= MAX_WAITING {
            if pauses(stopped) {
                continue;
            }
            return;
        }
        let mut ready = [
            PollFd::new(socket, PollFlags::IN),
            PollFd::from_borrowed_fd(stopped.as_fd(), PollFlags::IN),
        ];
        // An interruption is as good as readiness: reading does not wait.
        let _ = poll(&mut ready, None);
        if !ready[1].revents().is_empty() {
            return;
        }
        // While it reads what must not be waited for.
        let heard = {
            let _bounded = cluster_primary::embed::bounded_calls();
            socket.receive()
        };
        match heard {
            Ok(Heard::Nothing) => {}
            Ok(heard) => {
                let mut waiting = lock(waiting);
                waiting.push_back(heard);
                drop(waiting);
                // A full pipe rings already.
                let _ = rope.write(&[1]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Out of memory or descriptors, say.
            Err(_) if pauses(stopped) => {}
            Err(_) => return,
        }
    }
}

/// Waits a moment; false if the thread is to end.
fn pauses(stopped: &PipeReader) -> bool {
    let mut stop = [PollFd::from_borrowed_fd(stopped.as_fd(), PollFlags::IN)];
    let pause = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    // An interruption only makes the pause shorter.
    let _ = poll(&mut stop, Some(&pause));
    stop[0].revents().is_empty()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::super::connect;
    use super::*;

    #[test]
    fn what_comes_is_read_and_taken_in_parts() {
        let socket = NotifySocket::bind(None).expect("a socket");
        let sender = UnixDatagram::unbound().expect("a socket");
        connect(&sender, socket.address()).expect("it listens");
        let mut reader = NotifyReader::new(socket).expect("a pipe");
        for _ in 0..2 {
            // It can be stopped, and started again.
            reader.start().expect("a thread");
            for text in ["READY=1", "nonsense", "STATUS=fine"] {
                sender.send(text.as_bytes()).expect("it listens");
            }
            let mut taken = Vec::new();
            while taken.len() < 3 {
                let mut ready = [PollFd::new(&reader.bell, PollFlags::IN)];
                poll(&mut ready, None).expect("it waits");
                loop {
                    let (some, more) = reader.take(1);
                    taken.extend(some);
                    if !more {
                        break;
                    }
                }
            }
            assert!(matches!(&taken[0], Heard::Told(said) if said.is_ready()));
            assert_eq!(taken[1], Heard::Ignored);
            reader.stop();
        }
    }
}
