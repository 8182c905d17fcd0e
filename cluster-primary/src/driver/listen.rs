//! Creates the sockets that workers ask for.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::Path;

use cluster_ipc::shortest_path;
use cluster_proto::{AddressType, Family, Field, HandleKind, ListenQuery, SockName, flags};
use cluster_sched::sticky::client_of;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType, sockopt};

use crate::machine::Bound;
use crate::socket_access::SocketAccess;

use super::inherited;
use super::socket_file::{self, SocketFile};

/// A server's socket.
pub(super) struct Bind {
    pub(super) fd: OwnedFd,
    pub(super) bound: Bound,
    /// The file of a Unix-domain socket, which goes when the server does.
    pub(super) file: Option<SocketFile>,
}

/// Where descriptors that workers name by number come from, if they belong to another process
/// ([`Primary::lend_from`](crate::Primary::lend_from)).
pub(super) type Lender = Box<dyn Fn(RawFd) -> io::Result<OwnedFd> + Send>;

/// Binds what the worker asked for and, unless workers accept from it themselves, listens. Of
/// descriptors that it names by their number it gets what was inherited and what is in `lent`.
///
/// # Errors
/// The negated `errno`, as libuv has it.
#[allow(unexpected_cfgs, reason = "cargo-fuzz sets it")]
pub(super) fn bind(
    query: &ListenQuery,
    shared: bool,
    lent: &BTreeMap<RawFd, OwnedFd>,
    lender: Option<&Lender>,
    access: &SocketAccess,
) -> Result<Bind, i32> {
    if cfg!(fuzzing) && !is_private(query) {
        return Err(-Errno::ACCESS.raw_os_error());
    }
    if let (Some(number), Some(lender)) = (query.primary_fd(), lender) {
        let is_udp = matches!(query.address_type, Field::Is(kind) if kind.is_udp());
        // Node says EINVAL of a number that nothing is open under.
        let bound = lender(number).map_err(|_| Errno::INVAL);
        let bound = bound.and_then(|fd| bind_socket(fd, query, shared, is_udp));
        return bound.map_err(|errno| -errno.raw_os_error());
    }
    let bound = match (query.primary_fd(), query.address_type) {
        // The sockets of the control API, of other servers and of slots: a worker that got one could take over
        // connections that are not meant for it.
        (Some(fd), _) if !lent.contains_key(&fd) && !inherited::is_inherited(fd) => {
            Err(Errno::INVAL)
        }
        (Some(fd), Field::Is(kind)) => bind_inherited(fd, query, shared, kind.is_udp()),
        (Some(fd), _) => bind_inherited(fd, query, shared, false),
        (None, Field::Is(AddressType::Udp4 | AddressType::Udp6)) => bind_udp(query),
        (None, Field::Is(AddressType::Pipe)) => bind_path(query, shared, access),
        (None, _) => bind_tcp(query, shared),
    };
    bound.map_err(|errno| -errno.raw_os_error())
}

/// Whether the socket cannot be noticed outside this process: a fuzzer's worker asks for any.
fn is_private(query: &ListenQuery) -> bool {
    let Field::Is(address) = &query.address else { return query.primary_fd().is_some() };
    match query.address_type {
        Field::Is(AddressType::Pipe) => address.starts_with("\0cluster-fuzz"),
        _ => address.starts_with("127.") && query.port == Field::Is(0),
    }
}

fn bind_tcp(query: &ListenQuery, shared: bool) -> Result<Bind, Errno> {
    let backlog = (!shared).then(|| query.backlog_length());
    let fd = Addresses::of(query)?.bind(|address| tcp(address, query.flag_bits(), backlog))?;
    Ok(Bind::tcp(fd))
}

/// A bound TCP socket with the flags of a listen; it listens if there is a backlog.
pub(super) fn tcp(address: SocketAddr, bits: u32, backlog: Option<i32>) -> Result<OwnedFd, Errno> {
    let fd = socket(address, SocketType::STREAM)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    if bits & flags::TCP_REUSE_PORT != 0 {
        sockopt::set_socket_reuseport(&fd, true)?;
    }
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, bits & flags::TCP_IPV6_ONLY != 0)?;
    }
    net::bind(&fd, &address)?;
    if let Some(backlog) = backlog {
        net::listen(&fd, backlog)?;
    }
    Ok(fd)
}

fn bind_udp(query: &ListenQuery) -> Result<Bind, Errno> {
    let fd = Addresses::of(query)?.bind(|address| udp(address, query.flag_bits()))?;
    Ok(Bind::udp(fd))
}

/// A bound UDP socket with the flags of a listen.
pub(super) fn udp(address: SocketAddr, bits: u32) -> Result<OwnedFd, Errno> {
    let fd = socket(address, SocketType::DGRAM)?;
    if bits & flags::UDP_REUSE_ADDR != 0 {
        sockopt::set_socket_reuseaddr(&fd, true)?;
    }
    if bits & flags::UDP_REUSE_PORT != 0 {
        sockopt::set_socket_reuseport(&fd, true)?;
    }
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, bits & flags::UDP_IPV6_ONLY != 0)?;
    }
    net::bind(&fd, &address)?;
    Ok(fd)
}

impl Bind {
    pub(super) fn tcp(fd: OwnedFd) -> Self {
        let bound = Bound { sockname: sockname(&fd), kind: HandleKind::NetNative };
        Self { fd, bound, file: None }
    }

    pub(super) fn udp(fd: OwnedFd) -> Self {
        let bound = Bound { sockname: sockname(&fd), kind: HandleKind::DgramNative };
        Self { fd, bound, file: None }
    }

    /// A Unix-domain socket, with its file if it has one.
    pub(super) fn unix(fd: OwnedFd, file: Option<SocketFile>) -> Self {
        Self { fd, bound: Bound { sockname: None, kind: HandleKind::NetNative }, file }
    }
}

/// The addresses to try for a listen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    first: SocketAddr,
    /// Tried if this system does not have the family of the first.
    instead: Option<SocketAddr>,
}

impl Addresses {
    /// The one address that was named; without one every IPv6 and IPv4 address, or every IPv4
    /// one where there is no IPv6.
    pub(super) fn of(query: &ListenQuery) -> Result<Self, Errno> {
        let port = match query.port {
            Field::Is(port) => u16::try_from(port).map_err(|_| Errno::INVAL)?,
            Field::Absent | Field::Null => 0,
        };
        let v4_any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        let v6_any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        let (first, instead) = match &query.address {
            Field::Is(address) => {
                let address = parse_ip(address, port).ok_or(Errno::INVAL)?;
                // A `dgram.Socket` is of the one family or the other, whatever it is bound to.
                match query.address_type {
                    Field::Is(AddressType::Udp4) if address.is_ipv6() => return Err(Errno::INVAL),
                    Field::Is(AddressType::Udp6) if address.is_ipv4() => return Err(Errno::INVAL),
                    _ => (address, None),
                }
            }
            _ if query.address_type == Field::Is(AddressType::Udp4) => (v4_any, None),
            _ => (v6_any, Some(v4_any)),
        };
        Ok(Self { first, instead })
    }

    /// Makes system calls only, if `bind_to` does.
    pub(super) fn bind<T>(
        &self,
        bind_to: impl Fn(SocketAddr) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        match (bind_to(self.first), self.instead) {
            (Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL), Some(instead)) => bind_to(instead),
            (done, _) => done,
        }
    }
}

/// An IP address, perhaps with an IPv6 zone (`fe80::1%eth0`). Names are for the worker to look up.
fn parse_ip(text: &str, port: u16) -> Option<SocketAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, port));
    }
    let (ip, zone) = text.split_once('%')?;
    let scope = zone.parse().ok().or_else(|| interface_index(zone))?;
    Some(SocketAddrV6::new(ip.parse().ok()?, port, 0, scope).into())
}

#[cfg(target_os = "linux")]
fn interface_index(name: &str) -> Option<u32> {
    let any = net::socket(AddressFamily::UNIX, SocketType::DGRAM, None).ok()?;
    net::netdevice::name_to_index(any, name).ok()
}

#[cfg(not(target_os = "linux"))]
fn interface_index(_name: &str) -> Option<u32> {
    None
}

fn bind_path(query: &ListenQuery, shared: bool, access: &SocketAccess) -> Result<Bind, Errno> {
    let Field::Is(path) = &query.address else { return Err(Errno::INVAL) };
    if let Some(name) = query.abstract_name() {
        return bind_abstract(name, query, shared);
    }
    let path = Path::new(path);
    let address = SocketAddrUnix::new(shortest_path(path).as_path())?;
    let fd = make_socket(AddressFamily::UNIX, SocketType::STREAM)?;
    access.before_bind(&fd);
    match net::bind(&fd, &address) {
        // A socket file that a killed primary left would keep every later one from the path.
        Err(Errno::ADDRINUSE) if socket_file::remove_stale(path, &address, access) => {
            net::bind(&fd, &address)?;
        }
        bound => bound?,
    }
    let errno = |e: io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
    let file = SocketFile::new(path).map_err(errno)?;
    let finish = || {
        open_to_all(path, query, access).and_then(|()| access.apply(path)).map_err(errno)?;
        if !shared {
            net::listen(&fd, query.backlog_length())?;
        }
        Ok(())
    };
    finish().inspect_err(|_| {
        let _ = file.remove();
    })?;
    Ok(Bind::unix(fd, Some(file)))
}

/// A socket without a file: its name is free again once it is closed. The name is just these bytes, as
/// libuv has it since 1.47 (Node 22); before, it was padded with zeros.
#[cfg(target_os = "linux")]
fn bind_abstract(name: &str, query: &ListenQuery, shared: bool) -> Result<Bind, Errno> {
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
    let fd = abstract_socket(&address, (!shared).then(|| query.backlog_length()))?;
    Ok(Bind::unix(fd, None))
}

/// A Unix-domain socket bound to a name; it listens if there is a backlog.
#[cfg(target_os = "linux")]
pub(super) fn abstract_socket(
    address: &SocketAddrUnix,
    backlog: Option<i32>,
) -> Result<OwnedFd, Errno> {
    let fd = make_socket(AddressFamily::UNIX, SocketType::STREAM)?;
    net::bind(&fd, address)?;
    if let Some(backlog) = backlog {
        net::listen(&fd, backlog)?;
    }
    Ok(fd)
}

#[cfg(not(target_os = "linux"))]
fn bind_abstract(_name: &str, _query: &ListenQuery, _shared: bool) -> Result<Bind, Errno> {
    Err(Errno::INVAL)
}

/// `readableAll` and `writableAll`, unless the settings say the mode.
fn open_to_all(path: &Path, query: &ListenQuery, access: &SocketAccess) -> io::Result<()> {
    match wanted_by_all(query) {
        0 => Ok(()),
        _ if access.mode.is_some() => Ok(()),
        permissions => SocketAccess::add(path, permissions),
    }
}

/// The permissions that `readableAll` and `writableAll` add.
pub(super) fn wanted_by_all(query: &ListenQuery) -> u32 {
    let readable = if query.readable_all == Field::Is(true) { 0o444 } else { 0 };
    let writable = if query.writable_all == Field::Is(true) { 0o222 } else { 0 };
    readable | writable
}

fn bind_inherited(
    number: i32,
    query: &ListenQuery,
    shared: bool,
    udp: bool,
) -> Result<Bind, Errno> {
    bind_socket(inherited::duplicate(number)?, query, shared, udp)
}

/// Listens on a socket that someone else has bound.
fn bind_socket(fd: OwnedFd, query: &ListenQuery, shared: bool, udp: bool) -> Result<Bind, Errno> {
    let wanted = if udp { SocketType::DGRAM } else { SocketType::STREAM };
    if sockopt::socket_type(&fd)? != wanted {
        return Err(Errno::INVAL);
    }
    // A connected one is a client's connection, a worker's channel or a connection to a logger: no program
    // can listen on it, and with shared sockets the worker would be sent it.
    if matches!(net::getpeername(&fd), Ok(Some(_))) {
        return Err(Errno::INVAL);
    }
    let named = SocketAddr::try_from(net::getsockname(&fd)?).is_ok();
    if udp && !named {
        return Err(Errno::INVAL);
    }
    if !udp && !shared {
        net::listen(&fd, query.backlog_length())?;
    }
    rustix::io::ioctl_fionbio(&fd, true)?;
    let kind = if udp { HandleKind::DgramNative } else { HandleKind::NetNative };
    Ok(Bind { bound: Bound { sockname: sockname(&fd), kind }, fd, file: None })
}

pub(super) fn socket(address: SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    make_socket(if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET }, kind)
}

/// A socket that does not block, and does not survive an exec.
pub(super) fn make_socket(family: AddressFamily, kind: SocketType) -> Result<OwnedFd, Errno> {
    #[cfg(not(target_vendor = "apple"))]
    {
        let flags = net::SocketFlags::CLOEXEC | net::SocketFlags::NONBLOCK;
        net::socket_with(family, kind, flags, None)
    }
    #[cfg(target_vendor = "apple")]
    {
        let fd = net::socket(family, kind, None)?;
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(fd)
    }
}

/// Whether a connection waits, or an error that accepting will return.
pub(super) fn waits(listener: impl AsFd) -> bool {
    let mut listener = [PollFd::new(&listener, PollFlags::IN)];
    !matches!(poll(&mut listener, Some(&Timespec::default())), Ok(0))
}

/// Accepts one connection, non-blocking and close-on-exec. Returns it with the hash
/// of its client's address, if it has one.
pub(super) fn accept(listener: impl AsFd) -> Result<(OwnedFd, Option<u32>), Errno> {
    #[cfg(not(target_vendor = "apple"))]
    let (fd, peer) = {
        let flags = net::SocketFlags::CLOEXEC | net::SocketFlags::NONBLOCK;
        net::acceptfrom_with(listener, flags)?
    };
    #[cfg(target_vendor = "apple")]
    let (fd, peer) = {
        let (fd, peer) = net::acceptfrom(listener)?;
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&fd, true)?;
        (fd, peer)
    };
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    Ok((fd, peer.map(|peer| client_of(peer.ip()))))
}

pub(super) fn sockname(fd: &OwnedFd) -> Option<SockName> {
    let address = SocketAddr::try_from(net::getsockname(fd).ok()?).ok()?;
    let (address, family, port) = match address {
        SocketAddr::V4(v4) => (SocketAddrV4::ip(&v4).to_string(), Family::Ipv4, v4.port()),
        SocketAddr::V6(v6) => (v6.ip().to_string(), Family::Ipv6, v6.port()),
    };
    Some(SockName { address, family, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_understood_and_names_are_not_looked_up() {
        let address = parse_ip("fe80::1%7", 80).expect("an address");
        assert_eq!(address, SocketAddrV6::new("fe80::1".parse().unwrap(), 80, 0, 7).into());
        assert_eq!(parse_ip("localhost", 80), None);
        assert_eq!(parse_ip("", 80), None);
    }

    #[test]
    fn what_can_be_accepted_is_known_without_accepting() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        assert!(!waits(&listener));
        let _client = std::net::TcpStream::connect(address).expect("it listens");
        assert!(waits(&listener));
        accept(&listener).expect("one waits");
        assert!(!waits(&listener));
        // Accepting returns the error.
        net::shutdown(&listener, net::Shutdown::Both).expect("it listens");
        assert!(waits(&listener));
        assert_eq!(accept(&listener).expect_err("it does not listen"), Errno::INVAL);
    }
}
