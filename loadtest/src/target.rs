//! The address of a server.

use std::net::{SocketAddr, ToSocketAddrs};

use crate::Error;

/// A parsed `ws://` address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The first address the host resolves to, with the port.
    pub addr: SocketAddr,
    /// Host and port as written.
    pub host: String,
    /// Path and query; `/` if there is none.
    pub path: String,
}

impl Target {
    /// Parses `ws://host[:port][/path]` and resolves the host. The port is 80 if there is
    /// none (RFC 6455 §3).
    ///
    /// # Errors
    /// [`Error::Setting`] when it is no such address or the host does not resolve.
    pub fn resolve(url: &str) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::setting("url", &url, reason);
        let rest = url
            .strip_prefix("ws://")
            .ok_or_else(|| wrong("must begin with ws://"))?;
        let (host, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if path.contains('#') || host.contains(['#', '@']) {
            return Err(wrong("must have no fragment and no user (RFC 6455 §3)"));
        }
        let has_port = host.rfind(':') > host.rfind(']');
        let full = if has_port {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let mut addrs = full
            .to_socket_addrs()
            .map_err(|error| wrong(&error.to_string()))?;
        let addr = addrs
            .next()
            .ok_or_else(|| wrong("the host has no address"))?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            addr,
            host: host.to_owned(),
            path: format!("{slash}{path}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_resolve() {
        let target = Target::resolve("ws://127.0.0.1:9001/room?name=a").unwrap();
        assert_eq!(target.addr, "127.0.0.1:9001".parse().unwrap());
        assert_eq!(
            (target.host.as_str(), target.path.as_str()),
            ("127.0.0.1:9001", "/room?name=a")
        );
        assert_eq!(
            Target::resolve("ws://[::1]").unwrap().addr,
            "[::1]:80".parse().unwrap()
        );
        assert_eq!(
            Target::resolve("ws://[::1]:7").unwrap().addr,
            "[::1]:7".parse().unwrap()
        );
        assert_eq!(Target::resolve("ws://127.0.0.1?x").unwrap().path, "/?x");
    }

    #[test]
    fn wrong_targets_are_refused_by_name() {
        for url in [
            "wss://127.0.0.1",
            "127.0.0.1:1",
            "ws://127.0.0.1:x",
            "ws://127.0.0.1/#a",
        ] {
            let error = Target::resolve(url).unwrap_err().to_string();
            assert!(error.starts_with(&format!("url {url}: ")), "{error}");
        }
    }
}
