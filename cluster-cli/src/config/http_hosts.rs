//! By which names the server lets itself be called.
//!
//! A page from anywhere can make a browser ask a server on the browser's own machine, but may not
//! read the answer, as that is of another origin. Unless its name's address changes to this
//! machine's meanwhile (DNS rebinding): then both are of one origin. What does not change is the
//! name, which the browser sends along; so only names that no one else can own are answered.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::http::uri::{Authority, Uri};

use super::http_address::is_name;

/// A host name that is allowed: `app.internal`, `*.app.internal` for every name below it, or `*` for every
/// name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AllowedHost(String);

impl AllowedHost {
    /// That name.
    pub(super) fn name(name: &str) -> Self {
        Self(name.to_ascii_lowercase())
    }

    fn allows(&self, host: &str) -> bool {
        match self.0.strip_prefix('*') {
            Some(domain) => {
                host.strip_suffix(domain).is_some_and(|name| domain.is_empty() || !name.is_empty())
            }
            None => self.0 == host,
        }
    }
}

impl FromStr for AllowedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        let good = text == "*" || is_name(name) && !name.ends_with('.');
        good.then(|| Self::name(text)).ok_or_else(|| "a host name without a port, or *".into())
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The names that are meant for the server, beside every IP address and `localhost`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts {
    names: Vec<AllowedHost>,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// It does not say, as it must, or says so twice, or what is no host.
    Unnamed,
    /// It is addressed to another host.
    Other,
}

impl Hosts {
    pub(crate) fn new(names: impl IntoIterator<Item = AllowedHost>) -> Self {
        Self { names: names.into_iter().collect() }
    }

    /// Checks for whom a request is. Only HTTP/1.0 may leave that out: browsers do not speak it.
    pub(crate) fn check(
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
            || self.names.iter().any(|name| name.allows(host));
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
        let ours = Hosts::new([AllowedHost::name("App.internal")]);
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
    fn patterns_allow_all_names_below_a_domain_or_all() {
        let allows =
            |pattern: &str, host: &str| pattern.parse::<AllowedHost>().unwrap().allows(host);
        for host in ["evil.example", "app", "a.b.c"] {
            assert!(allows("*", host), "{host}");
        }
        assert!(allows("*.App.internal", "web.app.internal"));
        assert!(allows("*.app.internal", "a.b.app.internal"));
        for host in ["app.internal", ".app.internal", "xapp.internal", "app.internal.evil.example"]
        {
            assert!(!allows("*.app.internal", host), "{host}");
        }
        for text in ["", "*.", "**", "a*", "*.*", "app:80", "http://app", "app.", "10.0.0.1", "a b"]
        {
            assert!(text.parse::<AllowedHost>().is_err(), "{text:?}");
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
