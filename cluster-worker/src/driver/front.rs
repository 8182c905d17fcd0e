//! Who is behind the core: threads, an event loop, or tasks.

use std::collections::VecDeque;

use crate::machine::ServerId;

/// What the evented front-end tells.
#[derive(Debug)]
pub(crate) enum News {
    Listening(ServerId),
    ListenFailed(ServerId),
    Closed(ServerId),
    /// All is written that waited when the pressure was high.
    Drained,
    SocketCount(String, u64),
    SocketsClosed(String),
}

/// Who waits for what happens.
#[derive(Debug)]
pub(crate) enum Front {
    /// Threads of the application, which do the worker's business meanwhile.
    Threads,
    /// An event loop of the application's, which is told.
    Loop(VecDeque<News>),
    /// Tasks of a runtime's, which waits for sockets itself.
    #[cfg(feature = "tokio")]
    Tasks,
}

impl Front {
    /// Whether sockets of the application's block.
    pub(super) fn blocks(&self) -> bool {
        matches!(self, Self::Threads)
    }

    /// Whether the runtime waits for what comes to sockets that the primary lends.
    pub(super) fn waits_itself(&self, udp: bool) -> bool {
        match self {
            Self::Threads => false,
            Self::Loop(_) => udp,
            #[cfg(feature = "tokio")]
            Self::Tasks => true,
        }
    }

    /// Whether it is told what happens, and does not wait for it.
    pub(super) fn is_told(&self) -> bool {
        matches!(self, Self::Loop(_))
    }

    pub(super) fn notify(&mut self, news: News) {
        if let Self::Loop(queue) = self {
            queue.push_back(news);
        }
    }

    pub(super) fn next(&mut self) -> Option<News> {
        match self {
            Self::Loop(queue) => queue.pop_front(),
            _ => None,
        }
    }
}
