//! Sockets of the worker's own, of which the primary knows nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cluster_ipc::shortest_path;
use cluster_proto::{AddressType, Field, ListenQuery, flags};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType, sockopt};

/// A socket that was bound here, and the file that goes with it.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) fd: OwnedFd,
    pub(crate) file: Option<OwnFile>,
}

/// The file of a Unix-domain socket, which goes with the server.
#[derive(Debug)]
pub(crate) struct OwnFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl OwnFile {
    fn new(path: &Path) -> Option<Self> {
        Some(Self { path: path.into(), identity: identity(path)? })
    }
}

/// Another file of that name is left alone.
impl Drop for OwnFile {
    fn drop(&mut self) {
        if identity(&self.path) == Some(self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Device and inode of a socket's file.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::symlink_metadata(path).ok()?;
    found.file_type().is_socket().then(|| (found.dev(), found.ino()))
}

/// Binds what the query asks for, in this process.
pub(crate) fn bind(query: &ListenQuery) -> Result<Own, Errno> {
    // That number is the primary's.
    if query.fd.value().is_some_and(|fd| fd >= 0) {
        return Err(Errno::INVAL);
    }
    let kind = query.address_type.value();
    if kind == Some(AddressType::Pipe) {
        return bind_path(query);
    }
    let udp = kind.is_some_and(AddressType::is_udp);
    let bits = query.flag_bits();
    let port = query.port.value().and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
    let bind_to = |ip: IpAddr| {
        let family = if ip.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let fd = socket(family, if udp { SocketType::DGRAM } else { SocketType::STREAM })?;
        let (only, reuse_port) = if udp {
            (flags::UDP_IPV6_ONLY, flags::UDP_REUSE_PORT)
        } else {
            (flags::TCP_IPV6_ONLY, flags::TCP_REUSE_PORT)
        };
        if !udp || bits & flags::UDP_REUSE_ADDR != 0 {
            sockopt::set_socket_reuseaddr(&fd, true)?;
        }
        if bits & reuse_port != 0 {
            sockopt::set_socket_reuseport(&fd, true)?;
        }
        if ip.is_ipv6() {
            sockopt::set_ipv6_v6only(&fd, bits & only != 0)?;
        }
        net::bind(&fd, &SocketAddr::new(ip, port))?;
        Ok(Own { fd, file: None })
    };
    match &query.address {
        Field::Is(address) => {
            let ip: IpAddr = address.parse().map_err(|_| Errno::INVAL)?;
            match kind {
                Some(AddressType::Udp4) if ip.is_ipv6() => Err(Errno::INVAL),
                Some(AddressType::Udp6) if ip.is_ipv4() => Err(Errno::INVAL),
                _ => bind_to(ip),
            }
        }
        _ => match bind_to(Ipv6Addr::UNSPECIFIED.into()) {
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => bind_to(Ipv4Addr::UNSPECIFIED.into()),
            done => done,
        },
    }
}

fn bind_path(query: &ListenQuery) -> Result<Own, Errno> {
    let Field::Is(path) = &query.address else { return Err(Errno::INVAL) };
    let fd = socket(AddressFamily::UNIX, SocketType::STREAM)?;
    if let Some(name) = query.abstract_name() {
        net::bind(&fd, &abstract_address(name)?)?;
        return Ok(Own { fd, file: None });
    }
    net::bind(&fd, &SocketAddrUnix::new(shortest_path(Path::new(path)).as_path())?)?;
    let file = OwnFile::new(Path::new(path));
    open_to_all(path, access(query))?;
    Ok(Own { fd, file })
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &str) -> Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new_abstract_name(name.as_bytes())
}

/// Only Linux has such names.
#[cfg(not(target_os = "linux"))]
fn abstract_address(_name: &str) -> Result<SocketAddrUnix, Errno> {
    Err(Errno::INVAL)
}

/// What all users may do with a socket's file, as bits of its mode.
pub(super) fn access(query: &ListenQuery) -> u32 {
    let readable = if query.readable_all == Field::Is(true) { 0o444 } else { 0 };
    let writable = if query.writable_all == Field::Is(true) { 0o222 } else { 0 };
    readable | writable
}

/// Gives all users that access. A Node primary leaves it to the workers if they share the socket;
/// where it is given already nothing is changed, for a worker may not be the file's owner.
pub(super) fn open_to_all(path: &str, access: u32) -> Result<(), Errno> {
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    if access == 0 {
        return Ok(());
    }
    let mode = std::fs::symlink_metadata(path).map_err(errno)?.permissions().mode();
    if mode & access == access {
        return Ok(());
    }
    let mode = std::fs::Permissions::from_mode(mode | access);
    std::fs::set_permissions(path, mode).map_err(errno)
}

fn socket(family: AddressFamily, kind: SocketType) -> Result<OwnedFd, Errno> {
    #[cfg(not(target_vendor = "apple"))]
    {
        net::socket_with(family, kind, net::SocketFlags::CLOEXEC, None)
    }
    #[cfg(target_vendor = "apple")]
    {
        let fd = net::socket(family, kind, None)?;
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
        Ok(fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UnixOptions;

    #[test]
    fn a_path_too_long_for_a_socket_is_reached_from_where_the_worker_is() {
        // Cargo runs tests in the package's folder.
        let here = std::env::current_dir().expect("a folder");
        let depth = 108usize.saturating_sub(here.as_os_str().len());
        let name = format!("long-{}-{}", std::process::id(), "x".repeat(depth.max(20)));
        let path = here.join(&name);
        if path.as_os_str().len() <= 107 || name.len() >= 107 {
            println!("skipped: no such path from {}", here.display());
            return;
        }
        for given in [Path::new(&name), &path] {
            let own = bind(&UnixOptions::new(given).query().expect("a path")).expect("it is bound");
            assert!(path.exists(), "{}", given.display());
            drop(own);
            assert!(!path.exists(), "it goes with its server");
        }
    }
}
