//! Who may turn the knobs: somebody on this machine, or with the token; and no page of another site that somebody on this
//! machine happens to look at.
//!
//! Such a page can make a browser send requests here, but not with a header of its own choice unless this server agrees to
//! that, which it never does. And a site that has its own name point to this machine gives itself away in `host`.
//!
//! Behind a proxy on this machine everybody comes from this machine: then it is for the proxy to ask who they are.

use hyper::header::{self, HeaderMap, HeaderName};
use std::fmt;
use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

/// Where the admin server listens, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdminAt {
    pub(crate) address: SocketAddr,
    pub(crate) token: Option<Token>,
    /// How long the self-contained run stays for those who look.
    pub(crate) linger: Duration,
}

/// What makes a stranger a friend. Not to be printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(Vec<u8>);

impl Token {
    /// `None` if it is too short, or cannot stand in a header.
    pub(crate) fn new(token: &str) -> Option<Self> {
        let fits = (8..=128).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(token.as_bytes().to_vec()))
    }

    /// Takes as long whatever the token is, and however much of `given` is right.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        let own = self.0.iter().cycle();
        let differences = given.iter().zip(own).fold(0, |all, (a, b)| black_box(all | (a ^ b)));
        differences == 0 && given.len() == self.0.len()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// A page of another site cannot send it.
const CONTROL: HeaderName = HeaderName::from_static("x-gateway-control");

pub(super) struct Access {
    address: IpAddr,
    port: OnceLock<u16>,
    token: Option<Token>,
}

impl Access {
    pub(super) fn new(address: IpAddr, token: Option<Token>) -> Self {
        Self { address, port: OnceLock::new(), token }
    }

    pub(super) fn listens_on(&self, port: u16) {
        let _ = self.port.set(port);
    }

    /// Whether a request with these headers, from this peer, may turn knobs; else why not.
    pub(super) fn check(&self, peer: IpAddr, headers: &HeaderMap) -> Result<(), &'static str> {
        if headers.get(CONTROL).is_none_or(|value| value != "1") {
            return Err("needs the header x-gateway-control: 1");
        }
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(header::HOST).unwrap_or_default();
        if !self.is_own(host) {
            return Err("the header host must be this server's address, or localhost, with its port");
        }
        if headers.contains_key(header::ORIGIN)
            && text(header::ORIGIN).and_then(|origin| origin.strip_prefix("http://")) != Some(host)
        {
            return Err("the header origin is another site's");
        }
        if peer.to_canonical().is_loopback() || self.is_token(headers) {
            return Ok(());
        }
        Err(match self.token {
            Some(_) => {
                "from another machine it needs the header authorization: Bearer TOKEN, with the right token"
            }
            None => "only from this machine (there is no --admin-token)",
        })
    }

    fn is_token(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let given = given.and_then(|value| value.strip_prefix(b"Bearer "));
        self.token.as_ref().zip(given).is_some_and(|(token, given)| token.is(given))
    }

    /// Whether a `host` means this server, and is not a name that somebody has pointed here.
    fn is_own(&self, host: &str) -> bool {
        let Some(port) = self.port.get() else { return false };
        if host.strip_prefix("localhost:").is_some_and(|text| text == port.to_string()) {
            return true;
        }
        host.parse::<SocketAddr>().is_ok_and(|host| {
            // Of a server that listens on all of its addresses, any address is.
            let is_address =
                self.address.is_unspecified() || host.ip() == self.address || host.ip().is_loopback();
            host.port() == *port && is_address
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    const HOME: &str = "127.0.0.1";
    const ABROAD: &str = "192.0.2.7";

    fn access(address: &str, token: Option<&str>) -> Access {
        let access = Access::new(address.parse().unwrap(), token.map(|token| Token::new(token).unwrap()));
        access.listens_on(9100);
        access
    }

    fn check(access: &Access, peer: &str, lines: &[&str]) -> Result<(), &'static str> {
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            headers.insert(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        access.check(peer.parse().unwrap(), &headers)
    }

    const OWN: [&str; 2] = ["x-gateway-control: 1", "host: 127.0.0.1:9100"];

    #[test]
    fn somebody_on_this_machine_may_if_he_means_it() {
        let access = access(HOME, None);
        assert_eq!(check(&access, HOME, &OWN), Ok(()));
        assert_eq!(check(&access, "::ffff:127.0.0.1", &OWN), Ok(()));
        let without = "needs the header x-gateway-control: 1";
        assert_eq!(check(&access, HOME, &OWN[1..]), Err(without));
        assert_eq!(check(&access, HOME, &[OWN[1], "x-gateway-control: yes"]), Err(without));
    }

    #[test]
    fn somebody_else_may_with_the_token_if_there_is_one() {
        let none = "only from this machine (there is no --admin-token)";
        assert_eq!(check(&access("0.0.0.0", None), ABROAD, &OWN), Err(none));
        let access = access("0.0.0.0", Some("drawbridge"));
        let with = |token: &str| check(&access, ABROAD, &[OWN[0], OWN[1], token]);
        assert_eq!(with("authorization: Bearer drawbridge"), Ok(()));
        for token in
            ["drawbridg", "drawbridge2", "drawbridgedrawbridge", "Drawbridge", "", "drawbridge, drawbridge"]
        {
            let refused = with(&format!("authorization: Bearer {token}")).unwrap_err();
            assert!(refused.contains("with the right token"), "{token}");
        }
        assert!(with("authorization: drawbridge").is_err());
        assert_eq!(check(&access, HOME, &OWN), Ok(()), "on this machine it takes none");
    }

    #[test]
    fn a_token_does_not_excuse_from_the_header_and_the_host() {
        let access = access("0.0.0.0", Some("drawbridge"));
        let token = "authorization: Bearer drawbridge";
        assert!(check(&access, ABROAD, &[OWN[1], token]).is_err());
        assert!(check(&access, ABROAD, &[OWN[0], "host: evil.example:9100", token]).is_err());
    }

    #[test]
    fn the_host_is_this_servers_address_and_no_name_that_points_here() {
        let here = access(HOME, None);
        let with =
            |access: &Access, host: &str| check(access, HOME, &[OWN[0], &format!("host: {host}")]).is_ok();
        for host in ["127.0.0.1:9100", "localhost:9100", "[::1]:9100"] {
            assert!(with(&here, host), "{host}");
        }
        for host in ["evil.example:9100", "127.0.0.1:9101", "127.0.0.1", "localhost", "192.0.2.1:9100", ""] {
            assert!(!with(&here, host), "{host}");
        }
        assert!(with(&access("192.0.2.1", None), "192.0.2.1:9100"));
        assert!(with(&access("0.0.0.0", None), "192.0.2.1:9100"), "one of all its addresses");
        assert!(!with(&access("0.0.0.0", None), "evil.example:9100"));
        let early = Access::new(HOME.parse().unwrap(), None);
        assert!(!with(&early, "127.0.0.1:9100"), "it does not listen yet");
    }

    #[test]
    fn another_sites_origin_is_refused() {
        let access = access(HOME, None);
        let with = |origin: &str| check(&access, HOME, &[OWN[0], OWN[1], &format!("origin: {origin}")]);
        assert_eq!(with("http://127.0.0.1:9100"), Ok(()));
        for origin in ["http://evil.example", "https://127.0.0.1:9100", "null"] {
            assert_eq!(with(origin), Err("the header origin is another site's"));
        }
    }
}
