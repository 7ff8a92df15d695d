//! Where a gateway listens and forwards to.

use crate::args::{ArgError, wrong};
use std::net::SocketAddr;
use std::time::Duration;

/// A service to forward to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) prefix: String,
    /// Host and port, to connect to and for the `host` header.
    pub(crate) authority: String,
    pub(crate) name: String,
}

/// A gateway for somebody's services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) address: SocketAddr,
    pub(crate) targets: Vec<Target>,
    pub(crate) length: Option<Duration>,
}

/// Gives those of one name names of their own.
pub(crate) fn told_apart(mut targets: Vec<Target>) -> Vec<Target> {
    for at in 1..targets.len() {
        let (before, rest) = targets.split_at_mut(at);
        let is_taken = |name: &str| before.iter().any(|other| other.name == name);
        let target = &mut rest[0];
        if is_taken(&target.name) {
            target.name.push_str(&target.prefix);
        }
        let name = target.name.clone();
        for number in 2.. {
            if !is_taken(&target.name) {
                break;
            }
            target.name = format!("{name} #{number}");
        }
    }
    targets
}

/// Reads `[/PREFIX=]URL`.
pub(crate) fn target(name: &str, value: &str) -> Result<Target, ArgError> {
    let (prefix, url) = match value.split_once('=') {
        Some((prefix, url)) if prefix.starts_with('/') => (prefix, url),
        Some((prefix, _)) if !prefix.contains("://") => {
            return Err(wrong(name, value, "the prefix must begin with /"));
        }
        _ => ("/", value),
    };
    let uri: hyper::Uri =
        url.parse().map_err(|_| wrong(name, value, "must be a URL, as http://127.0.0.1:9000"))?;
    if uri.scheme_str() != Some("http") {
        return Err(wrong(name, value, "must begin with http:// (there is no TLS here)"));
    }
    if uri.path() != "/" || uri.query().is_some() {
        return Err(wrong(name, value, "must have no path: a request's own path is passed on"));
    }
    let authority = match uri.authority() {
        Some(authority) if !authority.as_str().contains('@') => authority,
        _ => return Err(wrong(name, value, "must name a host, without user or password")),
    };
    let authority = match authority.as_str().strip_prefix(authority.host()) {
        Some("") => format!("{authority}:80"),
        Some(port) if port[1..].parse().is_ok_and(|port: u16| port > 0) => authority.to_string(),
        _ => return Err(wrong(name, value, "the port must be a number, 1..=65535")),
    };
    // "/api/" and "/api" are the same prefix.
    let prefix = prefix.trim_end_matches('/').to_owned();
    Ok(Target { prefix, name: authority.clone(), authority })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_behind_several_prefixes_has_several_names() {
        let urls = ["http://a", "/x=http://a", "http://a", "http://b"];
        let targets = urls.iter().map(|url| target("--upstream", url).unwrap()).collect();
        let names: Vec<_> = told_apart(targets).into_iter().map(|target| target.name).collect();
        assert_eq!(names, ["a:80", "a:80/x", "a:80 #2", "b:80"]);
    }
}
