//! What a worker asks for when it wants to listen, and what it is told.

use alloc::string::String;
use core::fmt;

use crate::field::Field;
use crate::key::ServerKey;
use crate::value::{Object, Value};

/// The address family of a listen, as Node names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum AddressType {
    /// TCP over IPv4 (`4`); with an address of null, TCP over whatever there is.
    Tcp4,
    /// TCP over IPv6 (`6`).
    Tcp6,
    /// A Unix-domain path (`-1`).
    Pipe,
    /// UDP over IPv4 (`"udp4"`).
    Udp4,
    /// UDP over IPv6 (`"udp6"`).
    Udp6,
}

impl AddressType {
    /// Whether datagrams are meant: UDP is always shared, never handed out by round-robin.
    pub fn is_udp(self) -> bool {
        matches!(self, Self::Udp4 | Self::Udp6)
    }

    pub(crate) fn to_value(self) -> Value {
        match self {
            Self::Tcp4 => 4.into(),
            Self::Tcp6 => 6.into(),
            Self::Pipe => Value::from(-1),
            Self::Udp4 => "udp4".into(),
            Self::Udp6 => "udp6".into(),
        }
    }

    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        match (value.as_i64(), value.as_str()) {
            (Some(4), _) => Some(Self::Tcp4),
            (Some(6), _) => Some(Self::Tcp6),
            (Some(-1), _) => Some(Self::Pipe),
            (_, Some("udp4")) => Some(Self::Udp4),
            (_, Some("udp6")) => Some(Self::Udp6),
            _ => None,
        }
    }
}

/// As it stands in a server's key.
impl fmt::Display for AddressType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp4 => "4",
            Self::Tcp6 => "6",
            Self::Pipe => "-1",
            Self::Udp4 => "udp4",
            Self::Udp6 => "udp6",
        })
    }
}

/// Bits of [`ListenQuery::flags`]; TCP and UDP count them differently.
pub mod flags {
    /// TCP: take IPv6 connections only.
    pub const TCP_IPV6_ONLY: u32 = 1;
    /// TCP: `SO_REUSEPORT`.
    pub const TCP_REUSE_PORT: u32 = 2;
    /// UDP: take IPv6 datagrams only.
    pub const UDP_IPV6_ONLY: u32 = 1;
    /// UDP: `SO_REUSEADDR`.
    pub const UDP_REUSE_ADDR: u32 = 4;
    /// UDP: `SO_REUSEPORT`.
    pub const UDP_REUSE_PORT: u32 = 64;
}

/// The length of the accept queue that Node uses where none is asked for.
pub const DEFAULT_BACKLOG: i32 = 511;

/// The length of a server's accept queue as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Backlog {
    /// That many connections; 0 and less mean the default.
    Length(i32),
    /// JavaScript's `false`: the default.
    Off,
}

/// The name that a Unix-domain path means in Linux's abstract namespace, if it means one: of
/// `listen('\0name')`. As a worker resolves every path, its working directory may stand before it:
/// `/app/\0name`. (No file has such a name.)
///
/// ```
/// use cluster_proto::abstract_name;
///
/// assert_eq!(abstract_name("/app/\0name"), Some("name"));
/// assert_eq!(abstract_name("/app/name"), None);
/// ```
pub fn abstract_name(path: &str) -> Option<&str> {
    match path.strip_prefix('\0') {
        Some(name) => Some(name),
        None => path.split_once("/\0").map(|(_, name)| name),
    }
}

/// What a worker asks of its primary when a server of its is to listen (`queryServer`), and says
/// again when it does (`listening`).
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ListenQuery {
    /// An IP address or an absolute path; null binds every address.
    pub address: Field<String>,
    /// 0 asks for any free port; −1 goes with a path. In `listening`, the bound one.
    pub port: Field<i32>,
    /// The family; null with an `fd`.
    pub address_type: Field<AddressType>,
    /// A descriptor of the primary's to listen on, if 0 or more.
    pub fd: Field<i32>,
    /// Bits of [`flags`].
    pub flags: Field<u32>,
    /// The length of the accept queue.
    pub backlog: Field<Backlog>,
    /// Counts this worker's listens on the same address, so that two `listen(0)` of one worker
    /// get two ports, and the same `listen(0)` of every worker gets one.
    pub index: u32,
    /// Data of the server's own (TLS ticket keys): the first worker's goes to all.
    pub data: Value,
    /// Unix-domain: let every user connect.
    pub readable_all: Field<bool>,
    /// Unix-domain: let every user write.
    pub writable_all: Field<bool>,
    /// What else the message held.
    pub extra: Object,
}

impl ListenQuery {
    /// How long the accept queue shall be: the number asked for, else [`DEFAULT_BACKLOG`].
    pub fn backlog_length(&self) -> i32 {
        match self.backlog {
            Field::Is(Backlog::Length(n)) if n > 0 => n,
            _ => DEFAULT_BACKLOG,
        }
    }

    /// The name in Linux's abstract namespace, if the socket is to have one instead of a file.
    pub fn abstract_name(&self) -> Option<&str> {
        match (&self.address, &self.address_type) {
            (Field::Is(path), Field::Is(AddressType::Pipe)) => abstract_name(path),
            _ => None,
        }
    }

    /// The flags, none where none were given.
    pub fn flag_bits(&self) -> u32 {
        self.flags.value().unwrap_or(0)
    }

    /// The descriptor of the primary's that is asked for, if one is.
    pub fn primary_fd(&self) -> Option<i32> {
        self.fd.value().filter(|fd| *fd >= 0)
    }
}

/// The primary's answer to a [`ListenQuery`].
///
/// Without a descriptor beside it connections will come one by one (`newconn`); with one the
/// worker accepts from that socket itself.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ListenReply {
    /// `None` and 0 for success, else the negated `errno`, as libuv has it.
    pub errno: Option<i32>,
    /// The server's key, to be given back as it is.
    pub key: ServerKey,
    /// The data of the first worker that had any.
    pub data: Value,
    /// The address that is bound; none for a path, nor for a shared socket.
    pub sockname: Option<SockName>,
}

impl ListenReply {
    /// The `errno` (positive, as in `errno.h`) if the listen failed.
    pub fn error(&self) -> Option<i32> {
        self.errno.filter(|e| *e != 0).map(i32::wrapping_neg)
    }
}

/// A bound address as libuv's `getsockname` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SockName {
    /// The IP address.
    pub address: String,
    /// Its family.
    pub family: Family,
    /// The port.
    pub port: u16,
}

/// The family of a [`SockName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Family {
    /// `"IPv4"`
    Ipv4,
    /// `"IPv6"`
    Ipv6,
}
