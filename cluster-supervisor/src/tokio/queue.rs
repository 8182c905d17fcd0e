//! Events that wait for the program, up to a limit.

use std::collections::VecDeque;
use std::io;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::driver::ClusterEvent;
use cluster_primary::Event;

/// How much may wait in the queue of an [`AsyncSupervised`](super::AsyncSupervised) for a program that is slow to take it.
///
/// An event that would exceed a limit is lost; [`ClusterEvent::Lost`] takes the place of those that were, and says how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    events: usize,
    bytes: usize,
    handles: usize,
}

impl QueueLimits {
    /// The defaults.
    pub fn new() -> Self {
        Self { events: 16_384, bytes: 64 << 20, handles: 256 }
    }

    /// How many events may wait. Default: 16,384.
    #[must_use]
    pub fn events(mut self, events: usize) -> Self {
        self.events = events;
        self
    }

    /// How many bytes of messages and of workers' output may wait; a single event may have more if no other waits. Default:
    /// 64 MiB.
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// How many messages with a descriptor may wait. Default: 256.
    #[must_use]
    pub fn handles(mut self, handles: usize) -> Self {
        self.handles = handles;
        self
    }
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self::new()
    }
}

/// Between the task that drives the cluster and the program.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug)]
struct State {
    limits: QueueLimits,
    waiting: VecDeque<ClusterEvent>,
    size: Size,
    lost: u64,
    /// Nothing more will come; or that error.
    end: Option<io::Result<()>>,
    /// The program takes no more.
    closed: bool,
}

/// What events hold.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    bytes: usize,
    handles: usize,
}

impl Size {
    fn of(happening: &ClusterEvent) -> Self {
        let (bytes, handle) = match happening {
            ClusterEvent::Event(Event::Message { message, handle, .. }) => {
                (message.encoded_len(), handle)
            }
            ClusterEvent::Event(Event::Request { body, handle, .. }) => {
                (body.encoded_len(), handle)
            }
            ClusterEvent::Event(Event::Stdio { data, .. }) => (Some(data.len()), &None),
            _ => (None, &None),
        };
        Self { bytes: bytes.unwrap_or(0), handles: handle.is_some().into() }
    }
}

impl Queue {
    pub(super) fn new(limits: QueueLimits) -> Self {
        let state = State {
            limits,
            waiting: VecDeque::new(),
            size: Size::default(),
            lost: 0,
            end: None,
            closed: false,
        };
        Self { state: Mutex::new(state), news: Notify::new() }
    }

    /// Queues an event; returns it if there is no room for it or the program takes none.
    pub(super) fn push(&self, happening: ClusterEvent) -> Option<ClusterEvent> {
        let refused = self.state.lock().push(happening);
        self.news.notify_one();
        refused
    }

    /// Nothing more will come.
    pub(super) fn end(&self, end: io::Result<()>) {
        self.state.lock().end.get_or_insert(end);
        self.news.notify_one();
    }

    /// The next event; none if no more will come.
    pub(super) async fn next(&self) -> io::Result<Option<ClusterEvent>> {
        loop {
            if let Some(next) = self.state.lock().pop() {
                return next;
            }
            self.news.notified().await;
        }
    }

    /// The program takes no more.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
    }

    /// What waits for a program that takes no more.
    pub(super) fn abandoned(&self) -> VecDeque<ClusterEvent> {
        let mut state = self.state.lock();
        if state.closed { std::mem::take(&mut state.waiting) } else { VecDeque::new() }
    }
}

impl State {
    fn push(&mut self, happening: ClusterEvent) -> Option<ClusterEvent> {
        if self.closed {
            return Some(happening);
        }
        let size = Size::of(&happening);
        let (bytes, handles) = (self.size.bytes + size.bytes, self.size.handles + size.handles);
        let is_full = self.waiting.len() >= self.limits.events
            || (bytes > self.limits.bytes && !self.waiting.is_empty())
            || (handles > self.limits.handles && size.handles > 0);
        if is_full {
            self.lost += 1;
            return Some(happening);
        }
        self.note_lost();
        self.size = Size { bytes, handles };
        self.waiting.push_back(happening);
        None
    }

    /// Puts the number of the events that were lost in their place.
    fn note_lost(&mut self) {
        if self.lost > 0 {
            let events = std::mem::take(&mut self.lost);
            self.waiting.push_back(ClusterEvent::Lost { events });
        }
    }

    fn pop(&mut self) -> Option<io::Result<Option<ClusterEvent>>> {
        if self.waiting.is_empty() {
            self.note_lost();
        }
        if let Some(happening) = self.waiting.pop_front() {
            let size = Size::of(&happening);
            self.size.bytes -= size.bytes;
            self.size.handles -= size.handles;
            return Some(Ok(Some(happening)));
        }
        // An error is reported once.
        let end = self.end.replace(Ok(()));
        if end.is_none() {
            self.end = None;
        }
        end.map(|end| end.map(|()| None))
    }
}

#[cfg(test)]
mod tests {
    use std::string::String;
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;
    use cluster_primary::WorkerId;

    fn output(length: usize) -> ClusterEvent {
        let data = vec![0; length];
        ClusterEvent::Event(Event::Stdio { worker: WorkerId(1), fd: 1, data })
    }

    fn kinds(queue: &Queue) -> Vec<String> {
        let mut kinds = Vec::new();
        while let Some(Ok(Some(happening))) = queue.state.lock().pop() {
            kinds.push(match happening {
                ClusterEvent::Event(Event::Stdio { data, .. }) => data.len().to_string(),
                ClusterEvent::Lost { events } => format!("{events} lost"),
                other => format!("{other:?}"),
            });
        }
        kinds
    }

    #[test]
    fn what_exceeds_a_limit_is_counted_in_its_place() {
        let queue = Queue::new(QueueLimits::new().events(2).bytes(100));
        assert!(queue.push(output(1)).is_none());
        assert!(queue.push(output(100)).is_some(), "more bytes than the limit");
        assert!(queue.push(output(99)).is_none());
        assert!(queue.push(output(0)).is_some(), "more events than the limit");
        assert!(queue.push(output(0)).is_some());
        assert_eq!(kinds(&queue), ["1", "1 lost", "99", "2 lost"]);
        // One that waits for nothing may be larger than the limit.
        assert!(queue.push(output(1000)).is_none());
        assert_eq!(kinds(&queue), ["1000"]);
    }

    #[tokio::test]
    async fn the_end_comes_after_everything_else_and_an_error_once() {
        let queue = Queue::new(QueueLimits::new());
        assert!(queue.push(output(1)).is_none());
        queue.end(Err(io::Error::other("no poll")));
        assert!(matches!(queue.next().await, Ok(Some(_))));
        assert_eq!(queue.next().await.unwrap_err().to_string(), "no poll");
        assert!(matches!(queue.next().await, Ok(None)));
        assert!(matches!(queue.next().await, Ok(None)));
    }

    #[test]
    fn a_program_that_takes_no_more_gets_no_more() {
        let queue = Queue::new(QueueLimits::new());
        assert!(queue.push(output(1)).is_none());
        assert!(queue.abandoned().is_empty());
        queue.close();
        assert!(queue.push(output(2)).is_some());
        assert_eq!(queue.abandoned().len(), 1);
    }
}
