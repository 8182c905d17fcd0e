//! Where to listen, and how.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Component, Path, PathBuf};

use cluster_proto::{AddressType, Backlog, Field, ListenQuery, Value, flags};

use crate::error::ListenError;

/// Where a TCP server listens (`server.listen(options)`).
///
/// A port alone, an address, a `"host:port"`, or a `(host, port)` become options by themselves:
///
/// ```
/// use cluster_worker::ListenOptions;
///
/// for options in [8080.into(), "127.0.0.1:8080".into(), ListenOptions::new().host("::1").port(0)] {
///     let options: ListenOptions = options;
///     println!("{:?}", options.query()?);
/// }
/// # Ok::<(), cluster_worker::ListenError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ListenOptions {
    host: Option<String>,
    port: Port,
    primary_fd: Option<i32>,
    ipv6_only: bool,
    reuse_port: bool,
    backlog: Option<u32>,
    data: Value,
    pub(crate) exclusive: bool,
    pub(crate) max_connections: Option<usize>,
}

/// Port as given; text is read when the query is made, where an error can be told.
#[derive(Clone, Debug)]
enum Port {
    Number(u16),
    /// All of `host:port`.
    InText(String),
}

impl Default for Port {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl ListenOptions {
    /// Any address (IPv6 and IPv4 alike), any free port.
    pub fn new() -> Self {
        Self::default()
    }

    /// An IP address, or a name, which is resolved when the server is to listen. Default: every
    /// address, `::` (dual stack) where there is IPv6, else `0.0.0.0`.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// The port. Default: 0, any free one, the same for this listen of every worker.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Port::Number(port);
        self
    }

    /// A descriptor of the *primary's*, instead of an address: of a Node primary any that it has open,
    /// of a Rust one what it has inherited or lent.
    #[must_use]
    pub fn primary_fd(mut self, fd: u32) -> Self {
        self.primary_fd = Some(i32::try_from(fd).unwrap_or(i32::MAX));
        self
    }

    /// Takes no IPv4 connections on an IPv6 address (`ipv6Only`). Default: false.
    #[must_use]
    pub fn ipv6_only(mut self, only: bool) -> Self {
        self.ipv6_only = only;
        self
    }

    /// Asks for `SO_REUSEPORT` (`reusePort`). Such a socket is [exclusive](Self::exclusive), as in
    /// Node: workers that listen on the same port share it by the kernel's choice. Default: false.
    #[must_use]
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = reuse;
        self
    }

    /// The length of the accept queue, in connections. Default: 511.
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = Some(connections);
        self
    }

    /// Whether the socket is this worker's own (`exclusive`): it is bound here, the primary is not
    /// asked and knows nothing of it, and no other worker shares it. Default: false.
    #[must_use]
    pub fn exclusive(mut self, exclusive: bool) -> Self {
        self.exclusive = exclusive;
        self
    }

    /// Custom data for the primary, which keeps that of the first worker to listen there and gives
    /// it to all: see [`Listener::data`](crate::Listener::data). Node shares the key of TLS session
    /// tickets so. Default: none.
    #[must_use]
    pub fn data(mut self, data: impl Into<Value>) -> Self {
        self.data = data.into();
        self
    }

    /// Refuses connections while that many tracked ones are open (`server.maxConnections`): the
    /// primary gives them to another worker. Default: no limit.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = Some(connections);
        self
    }

    /// Whether the primary is not asked.
    pub(crate) fn is_exclusive(&self) -> bool {
        self.exclusive || self.reuse_port
    }

    /// What the primary is asked. Resolves the host, if it is a name.
    ///
    /// # Errors
    /// [`ListenError::Address`] if the address cannot be read or resolved.
    pub fn query(&self) -> Result<ListenQuery, ListenError> {
        let backlog = backlog(self.backlog);
        if let Some(fd) = self.primary_fd {
            return Ok(ListenQuery {
                address: Field::Null,
                port: Field::Null,
                address_type: Field::Null,
                fd: Field::Is(fd),
                backlog,
                data: self.data.clone(),
                ..ListenQuery::default()
            });
        }
        let (address, port) = match (&self.port, &self.host) {
            (Port::Number(port), None) => (None, *port),
            (Port::Number(port), Some(host)) => {
                let address = match parse_ip(host) {
                    Some(address) => address,
                    None => resolve((host.as_str(), *port), host)?.ip(),
                };
                (Some(address), *port)
            }
            (Port::InText(text), _) => {
                let address = resolve(text.as_str(), text)?;
                (Some(address.ip()), address.port())
            }
        };
        let mut bits = 0;
        if self.ipv6_only {
            bits |= flags::TCP_IPV6_ONLY;
        }
        if self.reuse_port {
            bits |= flags::TCP_REUSE_PORT;
        }
        Ok(ListenQuery {
            address_type: Field::Is(match address {
                Some(IpAddr::V6(_)) => AddressType::Tcp6,
                Some(IpAddr::V4(_)) | None => AddressType::Tcp4,
            }),
            address: address.map_or(Field::Null, |ip| Field::Is(ip.to_string())),
            port: Field::Is(port.into()),
            flags: Field::Is(bits),
            backlog,
            data: self.data.clone(),
            ..ListenQuery::default()
        })
    }
}

fn backlog(length: Option<u32>) -> Field<Backlog> {
    // 0 is what Node's net.Server sends where none is asked for.
    Field::Is(Backlog::Length(length.map_or(0, |n| i32::try_from(n).unwrap_or(i32::MAX))))
}

fn parse_ip(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host).parse().ok()
}

fn resolve(address: impl ToSocketAddrs, text: &str) -> Result<SocketAddr, ListenError> {
    let unusable = |source| ListenError::Address { address: text.into(), source };
    address
        .to_socket_addrs()
        .map_err(unusable)?
        .next()
        .ok_or_else(|| unusable(io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

impl From<u16> for ListenOptions {
    fn from(port: u16) -> Self {
        Self::new().port(port)
    }
}

impl From<SocketAddr> for ListenOptions {
    fn from(address: SocketAddr) -> Self {
        Self::new().host(address.ip().to_string()).port(address.port())
    }
}

impl From<(&str, u16)> for ListenOptions {
    fn from((host, port): (&str, u16)) -> Self {
        Self::new().host(host).port(port)
    }
}

/// `host:port`; read when the server is to listen.
impl From<&str> for ListenOptions {
    fn from(text: &str) -> Self {
        Self { port: Port::InText(text.into()), ..Self::default() }
    }
}

/// Where a Unix-domain server listens (`server.listen({path})`).
#[derive(Clone, Debug)]
pub struct UnixOptions {
    path: PathBuf,
    readable_all: bool,
    writable_all: bool,
    backlog: Option<u32>,
    pub(crate) exclusive: bool,
    pub(crate) max_connections: Option<usize>,
}

impl UnixOptions {
    /// At that path, made absolute by this process's working directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            readable_all: false,
            writable_all: false,
            backlog: None,
            exclusive: false,
            max_connections: None,
        }
    }

    /// Lets every user connect (`readableAll`). Default: false.
    #[must_use]
    pub fn readable_all(mut self, all: bool) -> Self {
        self.readable_all = all;
        self
    }

    /// Lets every user write (`writableAll`). Default: false.
    #[must_use]
    pub fn writable_all(mut self, all: bool) -> Self {
        self.writable_all = all;
        self
    }

    /// The length of the accept queue, in connections. Default: 511.
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = Some(connections);
        self
    }

    /// Whether the socket is this worker's own (`exclusive`): it is bound here, the primary is not
    /// asked and knows nothing of it, and no other worker shares it. Default: false.
    #[must_use]
    pub fn exclusive(mut self, exclusive: bool) -> Self {
        self.exclusive = exclusive;
        self
    }

    /// As [`ListenOptions::max_connections`].
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = Some(connections);
        self
    }

    /// What the primary is asked.
    ///
    /// # Errors
    /// [`ListenError::Address`] if the path is no UTF-8, or there is no working directory.
    pub fn query(&self) -> Result<ListenQuery, ListenError> {
        let unusable =
            |source| ListenError::Address { address: self.path.display().to_string(), source };
        let path = normal(&std::path::absolute(&self.path).map_err(unusable)?);
        let path = path.into_os_string().into_string().map_err(|_| {
            unusable(io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8"))
        })?;
        let if_set = |set: bool| if set { Field::Is(true) } else { Field::Absent };
        Ok(ListenQuery {
            address: Field::Is(path),
            port: Field::Is(-1),
            address_type: Field::Is(AddressType::Pipe),
            backlog: backlog(self.backlog),
            readable_all: if_set(self.readable_all),
            writable_all: if_set(self.writable_all),
            ..ListenQuery::default()
        })
    }
}

/// The path without `.` and `..`, as Node's `path.resolve` has it: workers of either language that
/// mean one path must name it alike to share it.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

impl From<&str> for UnixOptions {
    fn from(path: &str) -> Self {
        Self::new(path)
    }
}

impl From<&Path> for UnixOptions {
    fn from(path: &Path) -> Self {
        Self::new(path)
    }
}

impl From<PathBuf> for UnixOptions {
    fn from(path: PathBuf) -> Self {
        Self::new(path)
    }
}

/// Where a UDP socket is bound (`socket.bind(options)`).
#[derive(Clone, Debug)]
pub struct UdpOptions {
    host: Option<String>,
    port: Port,
    v6: bool,
    ipv6_only: bool,
    reuse_addr: bool,
    reuse_port: bool,
    pub(crate) exclusive: bool,
}

impl UdpOptions {
    /// Every IPv4 address, any free port (`'udp4'`).
    pub fn new() -> Self {
        Self {
            host: None,
            port: Port::default(),
            v6: false,
            ipv6_only: false,
            reuse_addr: false,
            reuse_port: false,
            exclusive: false,
        }
    }

    /// Every IPv6 address, any free port (`'udp6'`).
    pub fn v6() -> Self {
        Self { v6: true, ..Self::new() }
    }

    /// An IP address, or a name, which is resolved when the socket is bound.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// The port. Default: 0, any free one, the same for this bind of every worker.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Port::Number(port);
        self
    }

    /// Takes no IPv4 datagrams on an IPv6 address (`ipv6Only`). Default: false.
    #[must_use]
    pub fn ipv6_only(mut self, only: bool) -> Self {
        self.ipv6_only = only;
        self
    }

    /// Asks for `SO_REUSEADDR` (`reuseAddr`). Default: false.
    #[must_use]
    pub fn reuse_addr(mut self, reuse: bool) -> Self {
        self.reuse_addr = reuse;
        self
    }

    /// Asks for `SO_REUSEPORT` (`reusePort`). Such a socket is [exclusive](Self::exclusive), as in
    /// Node: workers that bind the same port share it by the kernel's choice. Default: false.
    #[must_use]
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = reuse;
        self
    }

    /// Whether the socket is this worker's own (`exclusive`): it is bound here, the primary is not
    /// asked and knows nothing of it, and no other worker shares it. Default: false.
    #[must_use]
    pub fn exclusive(mut self, exclusive: bool) -> Self {
        self.exclusive = exclusive;
        self
    }

    /// Whether the primary is not asked.
    pub(crate) fn is_exclusive(&self) -> bool {
        self.exclusive || self.reuse_port
    }

    /// What the primary is asked. Resolves the host, if it is a name.
    ///
    /// # Errors
    /// [`ListenError::Address`] if the address cannot be read or resolved.
    pub fn query(&self) -> Result<ListenQuery, ListenError> {
        let any = if self.v6 { "::" } else { "0.0.0.0" };
        let host = self.host.as_deref().unwrap_or(any);
        let address = match &self.port {
            Port::Number(port) => match parse_ip(host) {
                Some(ip) => SocketAddr::new(ip, *port),
                None => resolve((host, *port), host)?,
            },
            Port::InText(text) => resolve(text.as_str(), text)?,
        };
        let mut bits = 0;
        for (set, bit) in [
            (self.ipv6_only, flags::UDP_IPV6_ONLY),
            (self.reuse_addr, flags::UDP_REUSE_ADDR),
            (self.reuse_port, flags::UDP_REUSE_PORT),
        ] {
            bits |= if set { bit } else { 0 };
        }
        Ok(ListenQuery {
            address: Field::Is(address.ip().to_string()),
            port: Field::Is(address.port().into()),
            address_type: Field::Is(match address {
                SocketAddr::V4(_) => AddressType::Udp4,
                SocketAddr::V6(_) => AddressType::Udp6,
            }),
            // Node's dgram always sends it.
            fd: Field::Is(-1),
            flags: Field::Is(bits),
            ..ListenQuery::default()
        })
    }
}

impl Default for UdpOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl From<u16> for UdpOptions {
    fn from(port: u16) -> Self {
        Self::new().port(port)
    }
}

impl From<SocketAddr> for UdpOptions {
    fn from(address: SocketAddr) -> Self {
        Self::new().host(address.ip().to_string()).port(address.port())
    }
}

impl From<(&str, u16)> for UdpOptions {
    fn from((host, port): (&str, u16)) -> Self {
        Self::new().host(host).port(port)
    }
}

/// `host:port`; read when the socket is bound.
impl From<&str> for UdpOptions {
    fn from(text: &str) -> Self {
        Self { port: Port::InText(text.into()), ..Self::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_proto::{ClusterBody, Message};

    fn text(query: ListenQuery) -> String {
        use cluster_proto::{Codec, Json};
        let mut out = Vec::new();
        let body = ClusterBody::QueryServer(Box::new(query));
        Json.encode(&Message::cluster(0, None, body), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let from = text.find("\"address\"").unwrap();
        text[from..text.find(",\"seq\"").unwrap()].to_owned()
    }

    #[test]
    fn queries_have_the_members_that_nodes_have() {
        for (options, expected) in [
            (
                ListenOptions::from(0),
                r#""address":null,"port":0,"addressType":4,"flags":0,"backlog":0"#,
            ),
            (
                "127.0.0.1:80".into(),
                r#""address":"127.0.0.1","port":80,"addressType":4,"flags":0,"backlog":0"#,
            ),
            (
                ListenOptions::new().host("[::1]").port(7).ipv6_only(true).backlog(9),
                r#""address":"::1","port":7,"addressType":6,"flags":1,"backlog":9"#,
            ),
            (
                ListenOptions::new().primary_fd(5),
                r#""address":null,"port":null,"addressType":null,"fd":5,"backlog":0"#,
            ),
        ] {
            assert_eq!(text(options.query().unwrap()), expected);
        }
        assert_eq!(
            text(UnixOptions::new("/run/a/../s").readable_all(true).query().unwrap()),
            r#""address":"/run/s","port":-1,"addressType":-1,"backlog":0,"readableAll":true"#
        );
        assert_eq!(
            text(UdpOptions::new().query().unwrap()),
            r#""address":"0.0.0.0","port":0,"addressType":"udp4","fd":-1,"flags":0"#
        );
        assert_eq!(
            text(UdpOptions::from("[::1]:9").reuse_addr(true).query().unwrap()),
            r#""address":"::1","port":9,"addressType":"udp6","fd":-1,"flags":4"#
        );
    }

    #[test]
    fn a_relative_path_becomes_absolute() {
        let Field::Is(path) = UnixOptions::new("s.sock").query().unwrap().address else { panic!() };
        assert!(Path::new(&path).is_absolute() && path.ends_with("/s.sock"), "{path}");
    }

    #[test]
    fn an_address_that_makes_no_sense_is_named() {
        let error = ListenOptions::from("no port here").query().unwrap_err();
        assert!(error.to_string().contains("no port here"), "{error}");
    }
}
