//! What comes before the opening handshake of a connection through a proxy: the PROXY protocol's header, before
//! TLS where that is spoken.

use throng_transport::{Driver, Peer, Socket, SocketKey};

use super::Shard;
use super::connection::{Phase, Unhandled};
use super::core::{Core, Release};
use crate::address::{Announced, read_announcement};
use crate::event::Rejection;
use crate::handler::Handler;
use crate::opening::Denial;

impl Core {
    /// Whether a socket that a listener accepted begins with a header, and is not to be secured before that.
    pub(super) fn expects_announcement(&self, socket: &Socket) -> bool {
        self.shared.proxies.announce && !socket.is_foreign()
    }

    /// Counts a handshake in flight of a client's, where that is known already; returns whether there are not too
    /// many.
    pub(super) fn count_asking(&mut self, key: SocketKey) -> bool {
        let Some(table) = &self.shared.handshakes_per_address else {
            return true;
        };
        let connection = &mut self.connections[key.slot];
        let announced = connection.particulars.as_ref().and_then(|it| it.client);
        let asking = self.shared.proxies.asking(connection.peer(), announced);
        let Some(client) = asking else {
            return true;
        };
        let counted = table.count(client);
        let has_room = counted.is_some();
        connection.particulars.get_or_insert_default().counted = counted;
        has_room
    }

    /// Whether TLS follows the header of a connection.
    pub(super) fn is_to_be_secured(&self, peer: Peer) -> bool {
        #[cfg(feature = "tls")]
        return self.shared.tls.is_some() && peer != Peer::Unix;
        #[cfg(not(feature = "tls"))]
        {
            let _ = peer;
            false
        }
    }
}

impl<H: Handler> Shard<H> {
    /// Handles the first bytes of a connection whose header is not whole yet.
    #[cold]
    pub(super) fn handle_announcement(&mut self, key: SocketKey, bytes: &[u8]) {
        let core = &mut self.core;
        let connection = &mut core.connections[key.slot];
        let peer = connection.peer();
        let mut unhandled = match connection.unhandled.take() {
            Some(mut unhandled) => {
                unhandled.extend(bytes);
                unhandled
            }
            None => Unhandled::new(bytes, 0),
        };
        match read_announcement(&unhandled.bytes) {
            Announced::Incomplete => connection.unhandled = Some(unhandled),
            Announced::Malformed => {
                tracing::debug!(?peer, "no header of the PROXY protocol");
                core.drop_for(key, Release::Close, Rejection::ProxyHeader);
            }
            Announced::Client { address, length } => {
                connection.marks.set_announced();
                if address.is_some() {
                    connection.particulars.get_or_insert_default().client = address;
                }
                if !core.count_asking(key) {
                    return core.deny(key, &Denial::too_many_of_one());
                }
                let rest = unhandled.bytes.split_off(length);
                if core.is_to_be_secured(peer) {
                    // Until then it can be told nothing.
                    return self.to_secure.push((key, rest));
                }
                core.unannounced.remove(&key);
                if !rest.is_empty() {
                    self.handle_request(key, &rest);
                }
            }
        }
    }

    /// A wait has brought more of a connection whose header is whole, and whose TLS has not begun. Returns
    /// whether it is such a one.
    pub(super) fn keep_for_tls(&mut self, key: SocketKey, bytes: &[u8]) -> bool {
        let waiting = self
            .to_secure
            .iter_mut()
            .find(|(waiting, _)| *waiting == key);
        let Some((_, rest)) = waiting else {
            return false;
        };
        rest.extend_from_slice(bytes);
        true
    }

    /// Has TLS begin on connections whose headers were read in this turn.
    pub(super) fn secure_announced(&mut self, driver: &mut impl Driver) {
        for (key, rest) in std::mem::take(&mut self.to_secure) {
            let connection = self.core.connections.get(key);
            if connection.is_none_or(|it| it.phase != Phase::Handshake) {
                continue;
            }
            self.core.unannounced.remove(&key);
            if let Err(error) = driver.secure(key, rest) {
                tracing::warn!(%error, "TLS could not begin");
                self.core.drop_connection(key, Release::Close);
            }
        }
    }
}
