//! The primary with I/O: a thin loop around the [machine](crate::machine).
//!
//! From the bottom up: parts that own their state (`child`, `listener`, `handles`, `writes`, …); `base`, the primary
//! that holds them; files that do one thing each with it (`reading`, `writing`, `accepting`, `opening`, …); `apply`,
//! which does what the machine wants; `turn`, one pass of the loop; and the methods that the primary's owner calls.

mod accepting;
#[cfg(target_os = "linux")]
mod affinity;
mod agent;
mod agents;
mod apply;
mod aside;
mod base;
mod before_exec;
#[cfg(target_os = "linux")]
mod binder;
#[cfg(not(target_os = "linux"))]
#[path = "binder/elsewhere.rs"]
mod binder;
mod blocking;
mod call_timer;
mod calls;
mod child;
mod clock;
mod closer;
mod closing;
mod commands;
mod conns;
#[cfg(target_os = "linux")]
mod credentials;
mod delegating;
mod descriptor;
mod discarding;
mod drop;
mod exec;
mod faults;
mod fork;
mod forking;
mod frame_tokens;
#[cfg(feature = "machine")]
mod fuzz;
mod handles;
mod inherited;
mod inspect;
#[cfg(target_os = "linux")]
mod jobs;
#[cfg(not(target_os = "linux"))]
#[path = "jobs/elsewhere.rs"]
mod jobs;
mod kernel;
mod limits;
mod listen;
mod listener;
mod next;
mod opening;
mod pipes;
mod private_socket;
#[cfg(target_os = "linux")]
mod privileges;
mod process;
mod program;
mod publish;
mod queries;
mod reading;
mod reaping;
mod remote;
mod requests;
mod rights;
mod runtime;
mod send;
mod shortage;
mod signals;
mod socket_file;
mod sorted;
mod spawn;
mod stalled;
mod stalling;
mod starting;
mod starts;
mod state;
mod step;
mod thread;
mod tokens;
mod told;
mod tree;
mod trees;
mod turn;
mod unread;
mod untaken;
pub mod usage;
mod view;
mod watch;
mod watches;
mod writes;
mod writing;

use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use crate::id::WorkerId;

pub use base::Primary;
pub use call_timer::{Bounded, bounded_calls};
pub use clock::Clock;
pub use closer::{Closer, PausedClosing};
pub use forking::Adopted;
pub use limits::for_clients;
pub use next::Next;
pub use private_socket::PrivateSocket;
pub use remote::{Gone, Remote};
pub use requests::Broadcast;
pub use socket_file::SocketFile;
pub use stalled::HandOffsPaused;
pub use state::PrimaryState;
pub use thread::spawn_without_signals;
pub use view::Worker;
pub use watches::WatchId;

/// A duplicate of this process's descriptor of that number, close-on-exec; `None` if it is not open.
pub fn duplicate(number: RawFd) -> Option<OwnedFd> {
    inherited::duplicate(number).ok()
}

impl std::fmt::Debug for Primary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Primary").field("machine", &self.machine).finish_non_exhaustive()
    }
}

impl Primary {
    /// A handle with which other threads call this primary.
    pub fn remote(&self) -> Remote {
        Remote::new(Arc::clone(&self.calls))
    }

    /// A worker, as long as its process or its channel exists.
    pub fn worker(&mut self, id: WorkerId) -> Option<Worker<'_>> {
        self.machine.worker(id).map(|state| Worker::new(self, id, state))
    }
}
