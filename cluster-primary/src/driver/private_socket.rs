//! A Unix-domain socket for this user alone, as the control API has it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cluster_ipc::shortest_path;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType};

use super::listen::make_socket;
use super::socket_file::{self, SocketFile};
use crate::socket_access::SocketAccess;

/// Clients that may wait to be taken in.
const BACKLOG: i32 = 128;

/// A listening Unix-domain socket with mode 0600, and its file.
#[derive(Debug)]
pub struct PrivateSocket {
    /// The socket.
    pub fd: OwnedFd,
    /// Its file.
    pub file: SocketFile,
}

impl PrivateSocket {
    /// Binds, sets the mode, and only then listens: before that, connections are refused. The file of a
    /// socket that no process has open any more is replaced.
    ///
    /// # Errors
    /// If the address is in use, or the file cannot be created.
    pub fn bind(path: &Path) -> io::Result<Self> {
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
                file.remove();
                Err(error)
            }
        }
    }
}
