//! Listening sockets for programs that know nothing of clusters.
//!
//! The primary opens each once, or takes it over from systemd, and every worker is started with all
//! of them, by the protocol that systemd passes sockets by: they are its descriptors from 3 on,
//! `LISTEN_FDS` says how many, `LISTEN_FDNAMES` what they are called, and `LISTEN_PID` that they are
//! meant for that very process. As a process's number is not known before it exists, it is said by
//! the [shim], which the worker is first.

pub(crate) mod address;
pub(crate) mod advice;
mod inherited;
mod open;
pub(crate) mod shim;
mod unix;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use cluster_primary::{Settings, SocketAccess, Stdio};

pub(crate) use address::Listen;
pub(crate) use open::OpenError;

pub(crate) use unix::SocketFile;

/// How many sockets are passed.
const LISTEN_FDS: &str = "LISTEN_FDS";
/// What they are called, with colons in between.
const LISTEN_FDNAMES: &str = "LISTEN_FDNAMES";

/// What a socket is called that was given no name: as systemd's own library has it.
const UNNAMED: &str = "unknown";

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) name: String,
    /// Where it listens, with the port that is bound.
    pub(crate) at: String,
    pub(crate) fd: Arc<OwnedFd>,
    /// Its file, if it made one; it goes with it.
    file: Option<SocketFile>,
}

impl Socket {
    /// One that is open already, with its file, if it has one.
    pub(crate) fn open_already(
        name: String,
        at: String,
        fd: OwnedFd,
        file: Option<SocketFile>,
    ) -> Self {
        Self { name, at, fd: Arc::new(fd), file }
    }

    pub(crate) fn file(&self) -> Option<&SocketFile> {
        self.file.as_ref()
    }

    /// Its file, if it made one.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(SocketFile::path)
    }
}

/// The sockets of all workers, in the order of their descriptors.
#[derive(Debug, Default)]
pub(crate) struct Sockets(pub(crate) Vec<Socket>);

impl Sockets {
    /// Opens them, or takes them over.
    ///
    /// # Errors
    /// [`OpenError`] for the first that cannot be; the others are closed again.
    pub(crate) fn open(wanted: &[Listen], access: &SocketAccess) -> Result<Self, OpenError> {
        open::all(wanted, access).map(Self)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Socket> {
        self.0.iter()
    }

    /// Has every worker that is forked from here on find them, through that program, which has the
    /// verb of the [shim]: this one, that is. The channel comes after them.
    pub(crate) fn give(&self, settings: &mut Settings, program: &Path) {
        if self.0.is_empty() {
            return;
        }
        let first = if settings.silent { Stdio::Pipe } else { Stdio::Inherit };
        let mut stdio = settings.stdio.take().unwrap_or_else(|| vec![first; 3]);
        stdio.retain(|entry| !matches!(entry, Stdio::Ipc));
        stdio.resize(3, Stdio::Ignore);
        stdio.extend(self.iter().map(|socket| Stdio::Fd(Arc::clone(&socket.fd))));
        stdio.push(Stdio::Ipc);
        settings.stdio = Some(stdio);

        let names: Vec<_> = self.iter().map(|socket| socket.name.as_str()).collect();
        settings.env.extend([
            (LISTEN_FDS.into(), Some(self.0.len().to_string().into())),
            (LISTEN_FDNAMES.into(), Some(names.join(":").into())),
            // The shim says it.
            (shim::LISTEN_PID.into(), None),
        ]);
        settings.launcher = shim::command(program);
    }
}

/// This program, for [`Sockets::give`]: as it was when it was started, whatever has become of its
/// file, and every user that may not enter its folder.
pub(crate) fn this_program() -> OsString {
    if cfg!(target_os = "linux") {
        return "/proc/self/exe".into();
    }
    std::env::current_exe().map_or_else(|_| "cluster".into(), Into::into)
}
