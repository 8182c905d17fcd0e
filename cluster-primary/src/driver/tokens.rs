//! The sources of readiness events.

use std::collections::{BTreeMap, HashMap};

use mio::Token;

use super::watches::WatchId;
use crate::id::{ServerId, WorkerId};

/// Something that can become ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// Calls of other threads.
    Calls,
    /// A worker's channel.
    Channel(WorkerId),
    /// The pipes of a worker's agent.
    Agent(WorkerId),
    /// A worker's pipe, by its number in the worker.
    Pipe(WorkerId, u32),
    /// The pipe by which a worker says that it could not execute its program: served before its process, so
    /// that the reason comes before the end.
    Start(WorkerId),
    /// A worker's process: served after its channel, so that its last words come before its end.
    Process(WorkerId),
    /// A server's socket.
    Listener(ServerId),
    /// The answer of a child that makes sockets, by the child's number.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "there are no such children"))]
    Binder(u32),
    /// The process of such a child.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "there are no such children"))]
    BinderEnd(u32),
    /// A descriptor that the owner watches.
    Watched(WatchId),
}

/// The tokens of sources; a token is never used twice.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    last: usize,
    sources: HashMap<usize, Source>,
    tokens: BTreeMap<Source, usize>,
}

impl Tokens {
    pub(super) fn token(&mut self, source: Source) -> Token {
        let token = *self.tokens.entry(source).or_insert_with(|| {
            self.last += 1;
            self.last
        });
        self.sources.insert(token, source);
        Token(token)
    }

    pub(super) fn source(&self, token: Token) -> Option<Source> {
        self.sources.get(&token.0).copied()
    }

    /// All sources that have a token.
    pub(super) fn sources(&self) -> impl Iterator<Item = Source> {
        self.tokens.keys().copied()
    }

    pub(super) fn forget(&mut self, source: Source) {
        if let Some(token) = self.tokens.remove(&source) {
            self.sources.remove(&token);
        }
    }
}
