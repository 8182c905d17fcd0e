//! The limits of listening sockets, as errors name them.

use std::fmt;

/// Which limit a worker has reached that wanted to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenLimit {
    /// Whose sockets are counted.
    pub scope: ListenScope,
    /// How many there may be.
    pub limit: usize,
    /// It is lower than the settings allow, because this process may have few descriptors
    /// (`RLIMIT_NOFILE`).
    pub by_descriptors: bool,
}

/// Whose server sockets a [`ListenLimit`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenScope {
    /// The servers of this worker ([`Limits::max_servers`](crate::Limits::max_servers)).
    Worker,
    /// The sockets that all workers of its slot had opened and that are still open
    /// ([`Limits::max_sockets_per_slot`](crate::Limits::max_sockets_per_slot)).
    Slot(u32),
    /// The sockets of all servers ([`Limits::max_sockets`](crate::Limits::max_sockets)).
    Cluster,
}

impl fmt::Display for ListenLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope, limit, by_descriptors } = self;
        match scope {
            ListenScope::Worker => write!(f, "a worker may have {limit} servers at most")?,
            ListenScope::Slot(slot) => {
                write!(
                    f,
                    "the workers of slot {slot} may have {limit} server sockets open at most"
                )?;
            }
            ListenScope::Cluster => {
                write!(f, "all workers together may have {limit} server sockets open at most")?;
            }
        }
        if *by_descriptors {
            f.write_str(
                ", as this process may have few descriptors (raise ulimit -n, or LimitNOFILE= of its unit)",
            )?;
        }
        Ok(())
    }
}
