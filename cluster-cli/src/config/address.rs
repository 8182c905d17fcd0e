//! Addresses to listen on.

use std::fmt;
use std::str::FromStr;

use super::http_address::HttpAddress;
use super::http_hosts::AllowedHost;
use super::written::{Written, wanted};
use crate::listen::Listen;
use crate::listen::address::NoAddress;

impl Written for HttpAddress {
    const NUMBERS: bool = true;

    fn takes() -> String {
        "a port, or HOST:PORT, such as \"0.0.0.0:9090\" or \"[::1]:9090\"".into()
    }
}

impl Written for AllowedHost {
    fn takes() -> String {
        "a host name without a port, such as \"app.internal\", \"*.internal\" or \"*\"".into()
    }
}

/// A socket for programs that know no channel: what [`Listen`] takes, or a path alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenAddress(pub(crate) Listen);

impl Written for ListenAddress {
    const NUMBERS: bool = true;

    fn takes() -> String {
        "a port, HOST:PORT, [IPV6]:PORT, unix:PATH or fd:NAME (a socket that cluster was given), with \
         NAME= before it if the socket is to have a name"
            .into()
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_path = text.contains('/') && !text.contains(':');
        let read = if is_path { format!("unix:{text}").parse() } else { text.parse() };
        read.map(Self).map_err(|error| match error {
            NoAddress::Form => wanted::<Self>(),
            error => error.to_string(),
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::address::At;

    #[test]
    fn a_port_alone_is_on_loopback_for_http_and_everywhere_for_listen() {
        let http: HttpAddress = "9090".parse().unwrap();
        assert_eq!(http.to_string(), "127.0.0.1:9090");
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
