//! Where the HTTP server listens, as it is written on a command line.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::str::FromStr;

use super::http_hosts::AllowedHost;

/// An address to listen on: `9100` (on the loopback address), `0.0.0.0:9100`, `[::1]:9100`,
/// `localhost:9100`, `app.internal:9100`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpAddress {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Ip(IpAddr),
    Name(String),
}

impl HttpAddress {
    /// Listens there. A name is looked up, and its first address that can be had is taken.
    ///
    /// # Errors
    /// If the name has no address, or none of them can be listened on.
    pub(crate) fn bind(&self) -> io::Result<TcpListener> {
        match &self.host {
            Host::Ip(ip) => TcpListener::bind(SocketAddr::new(*ip, self.port)),
            Host::Name(name) => TcpListener::bind((name.as_str(), self.port)),
        }
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The name that it was given, by which clients may call it.
    pub(crate) fn name(&self) -> Option<AllowedHost> {
        match &self.host {
            Host::Ip(_) => None,
            Host::Name(name) => Some(AllowedHost::name(name)),
        }
    }
}

impl fmt::Display for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl FromStr for HttpAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let loopback = Host::Ip(Ipv4Addr::LOCALHOST.into());
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { host: Host::Ip(address.ip()), port: address.port() });
        }
        let (host, port) = match text.rsplit_once(':') {
            None => (loopback, text),
            Some((name, port)) if is_name(name) => (Host::Name(name.to_ascii_lowercase()), port),
            Some(_) => return Err("an address is PORT, IP:PORT, [IPV6]:PORT or NAME:PORT".into()),
        };
        // Rust reads a sign as well.
        let digits = port.bytes().all(|byte| byte.is_ascii_digit()).then_some(port);
        let number = digits.and_then(|digits| digits.parse().ok());
        let port =
            number.ok_or_else(|| format!("{port:?} is no port (0 to 65535), and no HOST:PORT"))?;
        Ok(Self { host, port })
    }
}

pub(super) fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    // What is all numbers was meant as an IP address.
    !text.is_empty() && text.chars().all(plain) && text.chars().any(|c| c.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (text, meant, name) in [
            ("9100", "127.0.0.1:9100", None),
            ("0", "127.0.0.1:0", None),
            ("0.0.0.0:80", "0.0.0.0:80", None),
            ("[::1]:80", "[::1]:80", None),
            ("LocalHost:80", "localhost:80", Some("localhost")),
            ("app.internal:9100", "app.internal:9100", Some("app.internal")),
        ] {
            let address: HttpAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), meant);
            assert_eq!(address.name(), name.map(AllowedHost::name));
        }
        for text in [
            "",
            "x",
            ":80",
            "65536",
            "1.2.3:80",
            "::1:80",
            "a b:80",
            "host:",
            "host:x",
            "http://x:1",
        ] {
            assert!(text.parse::<HttpAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn it_is_bound_to_what_is_said() {
        let bound =
            |text: &str| text.parse::<HttpAddress>().unwrap().bind().unwrap().local_addr().unwrap();
        assert!(bound("0").ip().is_loopback());
        assert!(bound("localhost:0").ip().is_loopback());
    }
}
