//! Who a client is behind proxies, and how many connections it has.
//!
//! A socket tells who is at its other end: the **peer**. Where that is a proxy which is trusted, it says who
//! the **client** is: in a header of the PROXY protocol before everything else, or in `X-Forwarded-For`. What
//! anybody else says of that is ignored.
//!
//! Who announces a connection by a header of the PROXY protocol passes on what lies behind it, and writes nothing into
//! the request. So where the header names nobody (`UNKNOWN`, `LOCAL`) the client is the peer, and
//! `X-Forwarded-For` may be anybody's; where it names a proxy that is trusted, it is that proxy's.

mod announced;
mod counts;

use std::net::IpAddr;

use ipnet::IpNet;
use throng_transport::Peer;

use crate::config::{Config, ProxyProtocol};

pub(crate) use announced::{Announced, read_announcement};
pub(crate) use counts::{Counted, PerAddress, household};

/// What stands for Unix sockets among the networks.
pub(crate) const UNIX: &str = "unix";

/// Who is believed.
#[derive(Debug, Default)]
pub(crate) struct Proxies {
    networks: Vec<IpNet>,
    trusts_unix: bool,
    /// Whether connections begin with a header of the PROXY protocol.
    pub(crate) announce: bool,
}

impl Proxies {
    /// What the settings say, which have been checked.
    pub(crate) fn new(config: &Config) -> Proxies {
        let trusted = &config.trusted_proxies;
        Proxies {
            networks: trusted.iter().filter_map(|it| read_network(it)).collect(),
            trusts_unix: trusted.iter().any(|it| it == UNIX),
            announce: config.proxy_protocol == ProxyProtocol::Required,
        }
    }

    /// Whether a peer may say who the client is in a header of the PROXY protocol. Without a list of networks
    /// all may: then nobody else reaches the listeners.
    pub(crate) fn may_announce(&self, peer: Peer) -> bool {
        let has_list = self.trusts_unix || !self.networks.is_empty();
        !has_list || self.trusts_peer(peer)
    }

    /// The client's address before its request is read; `None` where that may name another.
    pub(crate) fn asking(&self, peer: Peer, announced: Option<IpAddr>) -> Option<IpAddr> {
        let nearest = announced.or(peer.address().map(|it| it.ip().to_canonical()));
        nearest.filter(|address| !self.trusts(*address))
    }

    fn trusts_peer(&self, peer: Peer) -> bool {
        match peer {
            Peer::Tcp(address) => self.trusts(address.ip().to_canonical()),
            Peer::Unix => self.trusts_unix,
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|it| it.contains(&address))
    }

    /// The client's address: of who is at the other end, or `announced` by that, the last one in
    /// `forwarded` (the lines of `X-Forwarded-For`, in their order) that is no trusted proxy's. Nobody trusts
    /// a peer that is not known.
    pub(crate) fn client<'h>(
        &self,
        peer: Option<Peer>,
        announced: Option<IpAddr>,
        forwarded: impl DoubleEndedIterator<Item = &'h [u8]>,
    ) -> Option<IpAddr> {
        let address = peer.and_then(Peer::address);
        let nearest = announced.or(address.map(|it| it.ip().to_canonical()));
        let is_proxy = match nearest {
            Some(address) => self.trusts(address),
            None => peer.is_some_and(|peer| self.trusts_peer(peer)),
        };
        if !is_proxy {
            return nearest;
        }
        let mut client = nearest;
        for line in forwarded.rev() {
            for element in line.rsplit(|byte| *byte == b',') {
                // What is beyond an element that says nothing, nobody who is trusted has written.
                let Some(address) = read_address(element) else {
                    return client;
                };
                client = Some(address);
                if !self.trusts(address) {
                    return client;
                }
            }
        }
        client
    }
}

/// A network, or a single address.
pub(crate) fn read_network(text: &str) -> Option<IpNet> {
    let network = text.parse().ok();
    network.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// An address as proxies write it: alone, with a port, in brackets.
fn read_address(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?.trim();
    let address = match text.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => match text.parse::<std::net::SocketAddr>() {
            Ok(address) => address.ip(),
            Err(_) => {
                let inner = text.strip_prefix('[')?.strip_suffix(']')?;
                IpAddr::V6(inner.parse().ok()?)
            }
        },
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests;
