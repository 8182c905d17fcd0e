//! The sockets that were passed to this process, by systemd most likely.
#![allow(unsafe_code, reason = "they are numbers in the environment")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use super::address::At;

/// Whether the environment was looked at: what it names can be owned once.
static LOOKED: AtomicBool = AtomicBool::new(false);

/// Sockets that have not been taken. Those stay open, for workers that listen on a
/// descriptor of the primary's.
#[derive(Debug, Default)]
pub(super) struct Inherited(Vec<(RawFd, String)>);

impl Inherited {
    /// Finds them, the first time; there are none after that.
    ///
    /// # Errors
    /// If the environment names what is not there.
    pub(super) fn look() -> io::Result<Self> {
        if LOOKED.swap(true, Ordering::AcqRel) {
            return Ok(Self::default());
        }
        Ok(Self(sd_notify::listen_fds_with_names()?.collect()))
    }

    /// Takes that one, or all of that name: their names and numbers too.
    pub(super) fn take(&mut self, at: &At) -> Vec<(String, RawFd, OwnedFd)> {
        let taken = self.0.extract_if(.., |(number, name)| match at {
            At::Number(wanted) => number == wanted,
            At::Named(wanted) => name == wanted,
            _ => false,
        });
        taken
            .map(|(number, name)| {
                // SAFETY: the environment says that the descriptor was passed to this very process,
                // for this purpose, and `look` has found it open. So nothing else here owns it; and
                // as the list is made once, and an entry leaves it here, it is owned once.
                let fd = unsafe { OwnedFd::from_raw_fd(number) };
                (name, number, fd)
            })
            .collect()
    }

    /// Which ones there are.
    pub(super) fn describe(&self) -> String {
        let names: Vec<_> =
            self.0.iter().map(|(number, name)| format!("{name} (fd:{number})")).collect();
        match &names[..] {
            [] => "no socket was passed to this process, or none is left".into(),
            _ => format!("these were passed: {}", names.join(", ")),
        }
    }
}
