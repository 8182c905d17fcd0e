//! Opens what is to be listened on.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use cluster_primary::SocketAccess;

use super::address::{At, Listen};
use super::advice::{Place, advice};
use super::inherited::Inherited;
use super::{Socket, UNNAMED, unix};

/// Connections that may wait in the kernel. (It takes no more than `somaxconn`.)
const BACKLOG: i32 = 4096;

pub(super) fn all(wanted: &[Listen], access: &SocketAccess) -> Result<Vec<Socket>, OpenError> {
    let passed = wanted.iter().any(|w| matches!(w.at, At::Number(_) | At::Named(_)));
    let mut inherited = match passed {
        true => Inherited::look().map_err(|error| OpenError::Passed { error })?,
        false => Inherited::default(),
    };
    let mut sockets = Vec::new();
    for listen in wanted {
        let failed = |error| OpenError::Socket { at: listen.at.clone(), error };
        match &listen.at {
            At::Tcp(host, port) => {
                let resolved = (host.as_str(), *port).to_socket_addrs();
                let addresses: Vec<_> = resolved.map_err(failed)?.collect();
                sockets.push(tcp(listen, &addresses).map_err(failed)?);
            }
            At::Everywhere(port) => {
                // Where there is no IPv6 the other has to do.
                let first = tcp(listen, &[(Ipv6Addr::UNSPECIFIED, *port).into()]);
                let socket = match first {
                    Err(error) if lacks_family(&error) => {
                        tcp(listen, &[(Ipv4Addr::UNSPECIFIED, *port).into()])
                    }
                    socket => socket,
                };
                sockets.push(socket.map_err(failed)?);
            }
            At::Unix(path) => {
                let (fd, file) = unix::bind(path, access).map_err(failed)?;
                let socket = socket(listen, listen.at.to_string(), fd);
                let mut socket = socket.map_err(failed)?;
                socket.file = Some(file);
                sockets.push(socket);
            }
            At::Number(_) | At::Named(_) => {
                let found = inherited.take(&listen.at);
                if found.is_empty() {
                    let there = inherited.describe();
                    return Err(OpenError::NotPassed { at: listen.at.clone(), there });
                }
                sockets.extend(found.into_iter().map(|(name, number, fd)| Socket {
                    name: listen.name.clone().unwrap_or(name),
                    at: format!("fd:{number}"),
                    fd: Arc::new(fd),
                    file: None,
                }));
            }
        }
    }
    Ok(sockets)
}

fn lacks_family(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL].contains(&errno))
}

/// Of the addresses of a name the first that can be.
fn tcp(listen: &Listen, addresses: &[SocketAddr]) -> io::Result<Socket> {
    let listener = TcpListener::bind(addresses)?;
    let address = listener.local_addr()?;
    let at = match listen.at {
        At::Everywhere(_) => format!("*:{}", address.port()),
        _ => address.to_string(),
    };
    socket(listen, at, listener.into())
}

fn socket(listen: &Listen, at: String, fd: OwnedFd) -> io::Result<Socket> {
    // One that listens already may have more wait from here on.
    rustix::net::listen(&fd, BACKLOG)?;
    let name = listen.name.clone().unwrap_or_else(|| UNNAMED.into());
    Ok(Socket { name, at, fd: Arc::new(fd), file: None })
}

/// Why a socket is not there.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// It cannot be opened.
    Socket { at: At, error: io::Error },
    /// No such socket was passed to this process; which ones were.
    NotPassed { at: At, there: String },
    /// What the environment says of sockets that were passed is not so.
    Passed { error: io::Error },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { at, error } => {
                let place = match at {
                    At::Tcp(_, port) | At::Everywhere(port) => Place::Port(*port),
                    At::Unix(path) => Place::Path(path),
                    At::Number(_) | At::Named(_) => Place::Descriptor,
                };
                write!(f, "cannot listen on {at}: {error}{}", advice(place, error))
            }
            Self::NotPassed { at, there } => write!(
                f,
                "cannot listen on {at}: {there} (systemd passes sockets to a service that has a \
                 .socket unit; FileDescriptorName= is their name)"
            ),
            Self::Passed { error } => {
                write!(
                    f,
                    "LISTEN_FDS says that sockets were passed to this process, but they cannot be used: \
                     {error}"
                )
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Socket { error, .. } | Self::Passed { error } => Some(error),
            Self::NotPassed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(text: &str) -> String {
        let listen: Listen = text.parse().expect("it is an address");
        all(&[listen], &SocketAccess::default()).map(|_| ()).expect_err(text).to_string()
    }

    #[test]
    fn sockets_listen_where_they_say() {
        let wanted = ["web=127.0.0.1:0", "*:0", "localhost:0"].map(|t| t.parse().unwrap());
        let sockets = all(&wanted, &SocketAccess::default()).expect("there are ports");
        let names: Vec<_> = sockets.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["web", UNNAMED, UNNAMED]);
        for socket in &sockets {
            let at = socket.at.replace('*', "127.0.0.1");
            std::net::TcpStream::connect(&at).unwrap_or_else(|e| panic!("{at}: {e}"));
        }
    }

    #[test]
    fn each_mistake_has_its_advice() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = taken.local_addr().unwrap().to_string();
        let said = fails(&at);
        assert!(said.contains(&at) && said.contains("ss -lp"), "{said}");
        let said = fails("192.0.2.1:0");
        assert!(
            said.contains("192.0.2.1:0") && said.contains("does not have that address"),
            "{said}"
        );
        let said = fails("host.invalid:80");
        assert!(said.contains("host.invalid:80"), "{said}");
        let said = fails("unix:/nowhere/at/all/socket");
        assert!(said.contains("the folder /nowhere/at/all does not exist"), "{said}");
        let said = fails(&format!("unix:/tmp/{}", "x".repeat(200)));
        assert!(said.contains("about 100 bytes"), "{said}");
        let said = fails("unix:/etc/passwd");
        assert!(said.contains("not a socket of this user"), "{said}");
        let said = fails("fd:web");
        assert!(said.contains("no socket was passed") && said.contains(".socket unit"), "{said}");
    }
}
