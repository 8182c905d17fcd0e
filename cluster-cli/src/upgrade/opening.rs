//! The new program's file is opened in a thread: its file system may not answer.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use cluster_primary::embed::spawn_without_signals;

use super::candidate::Candidate;

/// So many threads may wait for file systems that do not answer.
const MOST: usize = 4;

static WAITING: AtomicUsize = AtomicUsize::new(0);

/// One of them.
struct Waiting;

impl Waiting {
    fn new() -> Option<Self> {
        let one_more = |count: usize| (count < MOST).then_some(count + 1);
        let counted = WAITING.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        counted.is_ok().then_some(Self)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A file that is being opened.
#[derive(Debug)]
pub(super) struct Opening {
    /// Closes when it has been opened, or could not be.
    bell: OwnedFd,
    opened: Receiver<io::Result<Candidate>>,
}

impl Opening {
    /// # Errors
    /// If no thread can be had, or too many still wait.
    pub(super) fn begin(path: PathBuf) -> io::Result<Self> {
        let Some(waiting) = Waiting::new() else {
            return Err(io::Error::other("earlier attempts still wait for a file system"));
        };
        let (bell, ringer) = io::pipe()?;
        let (sender, opened) = sync_channel(1);
        let open = move || {
            // If it takes too long, the result is dropped here.
            let _ = sender.send(Candidate::open(&path));
            drop(waiting);
            drop(ringer);
        };
        spawn_without_signals("upgrade", open)?;
        Ok(Self { bell: bell.into(), opened })
    }

    /// The file, if there is an answer.
    pub(super) fn poll(&self) -> Option<io::Result<Candidate>> {
        match self.opened.try_recv() {
            Ok(opened) => Some(opened),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                Some(Err(io::Error::other("the thread that opens it has ended")))
            }
        }
    }
}

impl AsRawFd for Opening {
    fn as_raw_fd(&self) -> RawFd {
        self.bell.as_raw_fd()
    }
}
