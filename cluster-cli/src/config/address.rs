//! Addresses to listen on.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::written::{Written, wanted};
use crate::listen::Listen;

/// Where the HTTP listener listens: `9090` (on loopback), `0.0.0.0:9090`, `[::]:9090`,
/// `localhost:9090`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpAddress {
    /// An IP address, or a name.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Written for HttpAddress {
    const NUMBERS: bool = true;

    fn takes() -> String {
        "a port, or HOST:PORT, such as \"0.0.0.0:9090\" or \"[::1]:9090\"".into()
    }
}

impl FromStr for HttpAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = host_and_port(text).ok_or_else(wanted::<Self>)?;
        Ok(Self { host: host.unwrap_or_else(|| "127.0.0.1".into()), port })
    }
}

impl fmt::Display for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_address(f, &self.host, self.port)
    }
}

/// A socket for programs that know no channel: what [`Listen`] takes, or a path alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenAddress(pub(crate) Listen);

impl Written for ListenAddress {
    const NUMBERS: bool = true;

    fn takes() -> String {
        "a port, HOST:PORT, unix:PATH or fd:NAME (a socket that cluster was given), with NAME= before \
         it if the socket is to have a name"
            .into()
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_path = text.contains('/') && !text.contains(':');
        let read = if is_path { format!("unix:{text}").parse() } else { text.parse() };
        read.map(Self).map_err(|error| format!("{}: {error}", wanted::<Self>()))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn write_address(f: &mut fmt::Formatter<'_>, host: &str, port: u16) -> fmt::Result {
    match host.contains(':') {
        true => write!(f, "[{host}]:{port}"),
        false => write!(f, "{host}:{port}"),
    }
}

/// `PORT`, or `HOST:PORT`.
fn host_and_port(text: &str) -> Option<(Option<String>, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        None => (None, text),
        Some((host, port)) => {
            let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let good = match in_brackets {
                Some(ip) => ip.parse::<Ipv6Addr>().is_ok(),
                None => is_name(host),
            };
            (Some(good.then(|| in_brackets.unwrap_or(host).to_owned())?), port)
        }
    };
    let plain = port.bytes().all(|byte| byte.is_ascii_digit());
    Some((host, port.parse().ok().filter(|_| plain)?))
}

/// An IPv4 address or the name of a host, as far as one can see.
fn is_name(host: &str) -> bool {
    !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::At;

    #[test]
    fn a_port_alone_is_on_loopback_for_http_and_everywhere_for_listen() {
        let http: HttpAddress = "9090".parse().unwrap();
        assert_eq!(http, HttpAddress { host: "127.0.0.1".into(), port: 9090 });
        let listen: ListenAddress = "8000".parse().unwrap();
        assert_eq!(listen.0.at, At::Everywhere(8000));
    }

    #[test]
    fn what_is_shown_is_read_as_the_same() {
        for text in ["127.0.0.1:0", "[::1]:9090", "localhost:65535", "a-b.example:1"] {
            let http: HttpAddress = text.parse().unwrap();
            assert_eq!(http.to_string(), text);
            let listen: ListenAddress = text.parse().unwrap();
            assert_eq!(listen.to_string(), text);
        }
        for (text, shown) in [
            ("8000", "*:8000"),
            ("web=80", "web=*:80"),
            ("fd:web", "fd:web"),
            ("/run/a.sock", "unix:/run/a.sock"),
            ("unix:a", "unix:a"),
            ("./a", "unix:./a"),
        ] {
            let listen: ListenAddress = text.parse().unwrap();
            assert_eq!(listen.to_string(), shown);
            assert_eq!(shown.parse(), Ok(listen));
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in
            ["", ":", ":80", "80:", "*:80", "::1:80", "[::1]", "[foo]:80", "65536", "+80", "a b:1"]
        {
            assert!(text.parse::<HttpAddress>().is_err(), "{text:?}");
        }
        for text in ["", ":", "80:", "::1:80", "[::1]", "65536", "fd:", "unix:"] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text:?}");
        }
    }
}
