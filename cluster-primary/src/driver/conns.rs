//! Connections that the primary has accepted and no worker has taken yet.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;

use crate::id::ConnId;

#[derive(Debug, Default)]
pub(super) struct Conns {
    open: HashMap<ConnId, OwnedFd>,
    last: u64,
}

impl Conns {
    /// Takes over the connections of an earlier image of this process.
    pub(super) fn of(open: HashMap<ConnId, OwnedFd>, last: u64) -> Self {
        Self { open, last }
    }

    /// Adds one and returns its id.
    pub(super) fn add(&mut self, connection: OwnedFd) -> ConnId {
        self.last += 1;
        let conn = ConnId(self.last);
        self.open.insert(conn, connection);
        conn
    }

    pub(super) fn get(&self, conn: ConnId) -> Option<&OwnedFd> {
        self.open.get(&conn)
    }

    pub(super) fn remove(&mut self, conn: ConnId) -> Option<OwnedFd> {
        self.open.remove(&conn)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The last id that was given.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// All of them, sorted, so that equal states are written alike.
    pub(super) fn in_order(&self) -> BTreeMap<ConnId, &OwnedFd> {
        self.open.iter().map(|(id, connection)| (*id, connection)).collect()
    }
}
