//! By which names the server lets itself be called.
//!
//! A page from anywhere can make a browser ask a server on the browser's own machine, but may not
//! read the answer, as that is of another origin. Unless its name's address changes to this
//! machine's meanwhile (DNS rebinding): then both are of one origin. What does not change is the
//! name, which the browser sends along; so only names are answered to that nobody else can own.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::http::uri::{Authority, Uri};

/// The names that are meant for the server, beside every IP address and `localhost`.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts {
    names: Vec<String>,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    /// It does not say, as it must, or says so twice, or what is no host.
    Unnamed,
    /// It is for somebody else.
    Other,
}

impl Hosts {
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self { names: names.into_iter().map(|name| name.to_ascii_lowercase()).collect() }
    }

    /// Checks for whom a request is. Only HTTP/1.0 may leave that out: browsers do not speak it.
    pub(super) fn check(
        &self,
        target: &Uri,
        headers: &HeaderMap,
        may_be_silent: bool,
    ) -> Result<(), Stranger> {
        if let Some(authority) = target.authority() {
            self.known(authority)?;
        }
        let mut hosts = headers.get_all(HOST).iter();
        match (hosts.next(), hosts.next()) {
            (Some(host), None) => self.known(&parse(host)?),
            (None, _) if may_be_silent => Ok(()),
            _ => Err(Stranger::Unnamed),
        }
    }

    fn known(&self, authority: &Authority) -> Result<(), Stranger> {
        if authority.as_str().contains('@') {
            return Err(Stranger::Unnamed);
        }
        let host = authority.host().to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let ipv6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let known = host == "localhost"
            || host.parse::<Ipv4Addr>().is_ok()
            || ipv6.is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok())
            || self.names.iter().any(|name| name == host);
        if known { Ok(()) } else { Err(Stranger::Other) }
    }
}

fn parse(host: &HeaderValue) -> Result<Authority, Stranger> {
    Authority::try_from(host.as_bytes()).map_err(|_| Stranger::Unnamed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: &str, hosts: &[&str]) -> Result<(), Stranger> {
        let ours = Hosts::new(["App.internal".to_owned()]);
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_str(host).unwrap());
        }
        ours.check(&target.parse().unwrap(), &headers, false)
    }

    #[test]
    fn addresses_localhost_and_the_names_given_are_answered_to() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9100",
            "10.1.2.3:9100",
            "[::1]",
            "[::1]:9100",
            "[fe80::1]:1",
            "localhost",
            "LOCALHOST:80",
            "localhost.:80",
            "app.internal",
            "APP.internal:9100",
        ] {
            assert_eq!(check("/", &[host]), Ok(()), "{host}");
        }
        assert_eq!(check("http://127.0.0.1:9100/status", &["127.0.0.1:9100"]), Ok(()));
    }

    #[test]
    fn others_are_not() {
        for host in [
            "evil.example",
            "evil.example:9100",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "xlocalhost",
            "2130706433",
            "0x7f.1",
            "127.1",
            "[evil]",
            "app.internal.evil.example",
        ] {
            assert!(check("/", &[host]).is_err(), "{host}");
        }
        assert_eq!(check("/", &["evil.example"]), Err(Stranger::Other));
        assert_eq!(check("http://evil.example/", &["localhost"]), Err(Stranger::Other));
        for hosts in [&[][..], &["localhost", "localhost"], &["evil@localhost"], &["a b"], &[""]] {
            assert_eq!(check("/", hosts), Err(Stranger::Unnamed), "{hosts:?}");
        }
    }

    #[test]
    fn only_where_none_is_needed_may_it_be_left_out() {
        let none = HeaderMap::new();
        assert_eq!(Hosts::default().check(&Uri::from_static("/"), &none, true), Ok(()));
        let mut evil = HeaderMap::new();
        evil.insert(HOST, HeaderValue::from_static("evil.example"));
        assert!(Hosts::default().check(&Uri::from_static("/"), &evil, true).is_err());
    }
}
