//! Lines queued for clients, and the memory that they take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::text::Text;

/// Bytes queued for all clients of a server, and those of lines that clients have begun. A queued line that
/// several clients share counts once.
#[derive(Clone, Debug, Default)]
pub(super) struct Backlog {
    queued: Arc<AtomicUsize>,
    unfinished: Arc<AtomicUsize>,
}

impl Backlog {
    /// A line to be queued, counted from now until the last client has dropped it.
    pub(super) fn line(&self, text: impl Into<Text>) -> Arc<Line> {
        let text = text.into();
        self.queued.fetch_add(text.len(), Ordering::Relaxed);
        Arc::new(Line { text, backlog: self.clone() })
    }

    pub(super) fn bytes(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// What clients have said of lines that are not at their end yet.
    pub(super) fn unfinished(&self) -> usize {
        self.unfinished.load(Ordering::Relaxed)
    }

    /// What one client has, to be counted.
    pub(super) fn unfinished_line(&self) -> Unfinished {
        Unfinished { bytes: 0, all: Arc::clone(&self.unfinished) }
    }
}

/// The bytes of one client's unfinished line, counted among all.
#[derive(Debug)]
pub(super) struct Unfinished {
    bytes: usize,
    all: Arc<AtomicUsize>,
}

impl Unfinished {
    pub(super) fn set(&mut self, bytes: usize) {
        self.all.fetch_add(bytes, Ordering::Relaxed);
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// One line, with its newline.
#[derive(Debug)]
pub(super) struct Line {
    text: Text,
    backlog: Backlog,
}

impl std::ops::Deref for Line {
    type Target = Text;

    fn deref(&self) -> &Text {
        &self.text
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.backlog.queued.fetch_sub(self.text.len(), Ordering::Relaxed);
    }
}
