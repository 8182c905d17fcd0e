//! Where processes have no descriptors, and sockets do not tell who connects.

use std::io;
use std::os::unix::net::UnixListener;

use cluster_primary::{Event, Primary};

pub(crate) const LONGEST_MESSAGE: usize = 1 << 30;

/// There is none.
pub(crate) enum Script {}

impl Script {
    pub(crate) fn new(_: &mut Primary, _: u32, _: UnixListener, _: bool) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "cluster exec needs Linux"))
    }

    pub(crate) fn terminate(&self) {
        match *self {}
    }

    pub(crate) fn workers(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn has_pending(&self) -> bool {
        match *self {}
    }

    pub(crate) fn process(&mut self, _: &mut Primary) -> io::Result<bool> {
        match *self {}
    }

    pub(crate) fn event(&mut self, _: &mut Primary, _: Event) {
        match *self {}
    }
}
