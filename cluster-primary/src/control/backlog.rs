//! Lines queued for clients, and the memory that they take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes queued for all clients of a server. A line that several clients share counts once.
#[derive(Clone, Debug, Default)]
pub(super) struct Backlog(Arc<AtomicUsize>);

impl Backlog {
    /// A line to be queued, counted from now until the last client has dropped it.
    pub(super) fn line(&self, bytes: Vec<u8>) -> Arc<Line> {
        self.0.fetch_add(bytes.len(), Ordering::Relaxed);
        Arc::new(Line { bytes: bytes.into_boxed_slice(), backlog: self.clone() })
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// One line, with its newline.
#[derive(Debug)]
pub(super) struct Line {
    bytes: Box<[u8]>,
    backlog: Backlog,
}

impl std::ops::Deref for Line {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.backlog.0.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}
