//! The socket of the control API: for this user alone.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cluster_ipc::shortest_path;
#[cfg(target_os = "linux")]
use nix::sys::socket::sockopt::PeerCredentials;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType};

use super::listen::make_socket;
use super::socket_file::{self, SocketFile};
use crate::SocketAccess;

/// Clients that may wait to be taken in.
const BACKLOG: i32 = 128;

/// A listening socket, and its file.
pub(crate) struct ControlSocket {
    pub(crate) fd: OwnedFd,
    pub(crate) file: SocketFile,
}

impl ControlSocket {
    /// Binds, sets the mode, and listens only then: before that nobody can connect.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let address = SocketAddrUnix::new(shortest_path(path).as_path())?;
        let fd = make_socket(AddressFamily::UNIX, SocketType::STREAM)?;
        match net::bind(&fd, &address) {
            Err(Errno::ADDRINUSE)
                if socket_file::remove_stale(path, &address, &SocketAccess::default()) =>
            {
                net::bind(&fd, &address)?;
            }
            bound => bound?,
        }
        let file = SocketFile::new(path)?;
        let listen = || -> io::Result<()> {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
            Ok(net::listen(&fd, BACKLOG)?)
        };
        match listen() {
            Ok(()) => Ok(Self { fd, file }),
            Err(error) => {
                let _gone = file.remove();
                Err(error)
            }
        }
    }
}

/// Whether the client is this user's, or root's.
#[cfg(target_os = "linux")]
pub(crate) fn is_trusted(client: impl AsFd) -> bool {
    let own = rustix::process::geteuid().as_raw();
    // Not by rustix, whose process ids are never 0: that of a client outside our PID namespace is.
    let peer = nix::sys::socket::getsockopt(&client, PeerCredentials);
    peer.is_ok_and(|peer| [own, 0].contains(&peer.uid()))
}

/// The process that has connected; `None` where it is not known, as outside our PID namespace.
#[cfg(target_os = "linux")]
pub(crate) fn peer_pid(client: impl AsFd) -> Option<u32> {
    let peer = nix::sys::socket::getsockopt(&client, PeerCredentials).ok()?;
    u32::try_from(peer.pid()).ok().filter(|pid| *pid != 0)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn peer_pid(_client: impl AsFd) -> Option<u32> {
    None
}

/// Elsewhere the file's mode has to do.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_trusted(_client: impl AsFd) -> bool {
    true
}
