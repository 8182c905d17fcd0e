//! What a user says that is to be listened on.

use std::fmt;
use std::net::Ipv6Addr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::str::FromStr;

/// One `--listen`: an address, `NAME=` before it if the socket is to have a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) name: Option<String>,
    pub(crate) at: At,
}

/// Where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// `HOST:PORT`, `[IPV6]:PORT`. 0 is any port that is free.
    Tcp(String, u16),
    /// `PORT`, `*:PORT`: every address, of both families.
    Everywhere(u16),
    /// `unix:PATH`
    Unix(PathBuf),
    /// `fd:NUMBER`: a socket that was passed to this process, by its number.
    Number(RawFd),
    /// `fd:NAME`: those that were passed to this process under that name.
    Named(String),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Everywhere(port) => write!(f, "*:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Number(number) => write!(f, "fd:{number}"),
            Self::Named(name) => write!(f, "fd:{name}"),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}=")?;
        }
        self.at.fmt(f)
    }
}

impl FromStr for Listen {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        // A path may hold such a sign too, but what is before a path's is no name.
        let (name, rest) = match text.split_once('=') {
            Some((name, rest)) if is_name(name) => (Some(name.to_owned()), rest),
            _ => (None, text),
        };
        Ok(Self { name, at: at(rest)? })
    }
}

/// Names stand between colons, and are read by people.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    (1..=255).contains(&name.len()) && name.chars().all(plain)
}

fn at(text: &str) -> Result<At, NoAddress> {
    if let Some(path) = text.strip_prefix("unix:") {
        let fits = !path.is_empty() && !path.contains('\0');
        return fits.then(|| At::Unix(path.into())).ok_or(NoAddress::Path);
    }
    if let Some(passed) = text.strip_prefix("fd:") {
        return match passed.parse() {
            Ok(number @ 3..) => Ok(At::Number(number)),
            Ok(_) => Err(NoAddress::Number),
            Err(_) if is_name(passed) => Ok(At::Named(passed.into())),
            Err(_) => Err(NoAddress::Name),
        };
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return match text.parse() {
            Ok(port) => Ok(At::Everywhere(port)),
            Err(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                Err(NoAddress::Port)
            }
            Err(_) => Err(NoAddress::Form),
        };
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if host.contains(':') && bracketed.is_none() {
        return Err(NoAddress::Brackets);
    }
    let port = port.parse().map_err(|_| NoAddress::Port)?;
    match (host, bracketed) {
        ("", _) => Err(NoAddress::Form),
        ("*", _) => Ok(At::Everywhere(port)),
        (_, Some(inner)) if inner.parse::<Ipv6Addr>().is_err() => Err(NoAddress::Brackets),
        (host, inner) => Ok(At::Tcp(inner.unwrap_or(host).into(), port)),
    }
}

/// Why it is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAddress {
    Form,
    Port,
    Brackets,
    Path,
    Number,
    Name,
}

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "say PORT, HOST:PORT, [IPV6]:PORT, unix:PATH or fd:NAME",
            Self::Port => "a port is a number up to 65535",
            Self::Brackets => "an IPv6 address stands in brackets: [::1]:8000",
            Self::Path => "a path follows unix:",
            Self::Number => "sockets are passed from descriptor 3 on",
            Self::Name => "a name is made of letters, digits, -, _, . and @",
        })
    }
}

impl std::error::Error for NoAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written_the_same() {
        let tcp = |host: &str, port| At::Tcp(host.into(), port);
        for (text, at) in [
            ("127.0.0.1:80", tcp("127.0.0.1", 80)),
            ("localhost:0", tcp("localhost", 0)),
            ("[::1]:8000", tcp("::1", 8000)),
            ("[::]:8000", tcp("::", 8000)),
            ("*:8000", At::Everywhere(8000)),
            ("unix:/run/app=1.sock", At::Unix("/run/app=1.sock".into())),
            ("unix:rel.sock", At::Unix("rel.sock".into())),
            ("fd:3", At::Number(3)),
            ("fd:web", At::Named("web".into())),
        ] {
            let listen = Listen { name: None, at };
            assert_eq!(text.parse(), Ok(listen.clone()), "{text}");
            assert_eq!(listen.to_string(), text);
            let named = Listen { name: Some("a-name.1".into()), ..listen };
            assert_eq!(format!("a-name.1={text}").parse(), Ok(named.clone()), "{text}");
            assert_eq!(named.to_string().parse(), Ok(named));
        }
        assert_eq!("80".parse(), Ok(Listen { name: None, at: At::Everywhere(80) }));
    }

    #[test]
    fn what_is_no_address_is_told_why() {
        for (text, why) in [
            ("", NoAddress::Form),
            ("host", NoAddress::Form),
            (":80", NoAddress::Form),
            ("65536", NoAddress::Port),
            ("a b=80", NoAddress::Form),
            ("host:http", NoAddress::Port),
            ("host:65536", NoAddress::Port),
            ("::1:80", NoAddress::Brackets),
            ("[::1:80", NoAddress::Brackets),
            ("[::x]:80", NoAddress::Brackets),
            ("unix:", NoAddress::Path),
            ("fd:0", NoAddress::Number),
            ("fd:-1", NoAddress::Number),
            ("fd:", NoAddress::Name),
            ("fd:a:b", NoAddress::Name),
        ] {
            assert_eq!(text.parse::<Listen>(), Err(why), "{text:?}");
        }
    }
}
