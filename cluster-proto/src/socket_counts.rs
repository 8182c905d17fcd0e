//! The receiver's side of `NODE_SOCKET_*`: how many of a peer's connections are open here.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::message::SocketList;

/// Keys that are counted at a time: a peer makes them up.
const MAX_KEYS: usize = 4096;
/// Node's are `4:[2001:db8::1]:8000` or so, or a path.
const MAX_KEY: usize = 1024;

/// Counts the connections that a peer sent away from its `net.Server`s (`net.Socket` with a `key`),
/// and answers its questions about them, so that its `server.getConnections()` and `server.close()`
/// hold for those too.
///
/// ```
/// use cluster_proto::{SocketCounts, SocketList};
///
/// let mut counts = SocketCounts::default();
/// let key = || "4:127.0.0.1:8000".to_string();
/// assert!(counts.opened(&key()));
/// let ask = SocketList::GetCount { key: key() };
/// assert_eq!(counts.asked(&ask), Some(SocketList::Count { key: key(), count: 1 }));
/// // The peer's server closes: it waits until we say that the last one has.
/// assert_eq!(counts.asked(&SocketList::NotifyClose { key: key() }), None);
/// assert_eq!(counts.closed(&key()), Some(SocketList::AllClosed { key: key() }));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SocketCounts {
    keys: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Entry {
    open: u64,
    /// The peer wants to know when none is.
    awaited: bool,
}

impl SocketCounts {
    /// A connection with that key came. False if it is not counted, since there are 4,096 other
    /// keys already, or this one is longer than 1,024 bytes: then do not say
    /// [`closed`](Self::closed) for it.
    pub fn opened(&mut self, key: &str) -> bool {
        if key.len() > MAX_KEY {
            return false;
        }
        if self.keys.len() >= MAX_KEYS && !self.keys.contains_key(key) {
            self.keys.retain(|_, entry| entry.open > 0 || entry.awaited);
            if self.keys.len() >= MAX_KEYS {
                return false;
            }
        }
        self.keys.entry(key.to_string()).or_default().open += 1;
        true
    }

    /// One of that key has closed: what to tell the peer.
    pub fn closed(&mut self, key: &str) -> Option<SocketList> {
        let entry = self.keys.get_mut(key)?;
        entry.open = entry.open.saturating_sub(1);
        let told = entry.open == 0 && core::mem::take(&mut entry.awaited);
        told.then(|| SocketList::AllClosed { key: key.to_string() })
    }

    /// All have closed, whatever their keys: what to tell the peer.
    pub fn close_all(&mut self) -> Vec<SocketList> {
        let mut told = Vec::new();
        for (key, entry) in &mut self.keys {
            entry.open = 0;
            if core::mem::take(&mut entry.awaited) {
                told.push(SocketList::AllClosed { key: key.clone() });
            }
        }
        told
    }

    /// The peer asks: what to answer at once. Of keys that never came Node says nothing, nor do we.
    pub fn asked(&mut self, question: &SocketList) -> Option<SocketList> {
        match question {
            SocketList::GetCount { key } => {
                let count = self.keys.get(key)?.open;
                Some(SocketList::Count { key: key.clone(), count })
            }
            SocketList::NotifyClose { key } => {
                let entry = self.keys.get_mut(key)?;
                if entry.open == 0 {
                    return Some(SocketList::AllClosed { key: key.clone() });
                }
                entry.awaited = true;
                None
            }
            SocketList::AllClosed { .. } | SocketList::Count { .. } => None,
        }
    }

    /// How many of that key are open.
    pub fn open(&self, key: &str) -> u64 {
        self.keys.get(key).map_or(0, |entry| entry.open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> String {
        "4:127.0.0.1:80".to_string()
    }

    #[test]
    fn the_peer_is_told_once_and_only_if_it_asked() {
        let mut counts = SocketCounts::default();
        assert!(counts.opened(&key()) && counts.opened(&key()));
        assert_eq!(counts.closed(&key()), None);
        assert_eq!(counts.asked(&SocketList::NotifyClose { key: key() }), None);
        assert_eq!(counts.closed(&key()), Some(SocketList::AllClosed { key: key() }));
        assert!(counts.opened(&key()));
        assert_eq!(counts.closed(&key()), None);
        // None is open: it need not wait.
        let now = counts.asked(&SocketList::NotifyClose { key: key() });
        assert_eq!(now, Some(SocketList::AllClosed { key: key() }));
    }

    #[test]
    fn a_key_that_never_came_is_not_answered_for() {
        let mut counts = SocketCounts::default();
        assert_eq!(counts.asked(&SocketList::GetCount { key: key() }), None);
        assert_eq!(counts.asked(&SocketList::NotifyClose { key: key() }), None);
        assert_eq!(counts.closed(&key()), None);
    }

    #[test]
    fn keys_without_end_are_not_counted_without_end() {
        let mut counts = SocketCounts::default();
        for n in 0..MAX_KEYS {
            assert!(counts.opened(&n.to_string()));
        }
        assert!(!counts.opened("one more"));
        assert!(counts.opened("7"), "one that is known is counted on");
        let _ = counts.closed("8");
        assert!(counts.opened("one more"), "it takes the place of one that is over");
    }
}
