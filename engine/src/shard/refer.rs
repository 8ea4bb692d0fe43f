//! Connections that ask for what another engine of the process serves: sockets, with what was received on them,
//! move to its shard.

use std::net::IpAddr;
use std::sync::Arc;

use throng_transport::{Driver, Peer, Secured, Service, Socket};

use super::Shard;
use super::mailbox::{Mail, MailSender};
use crate::address::Counted;
use crate::handler::Handler;
use crate::shared::HeldSeat;

/// What another engine serves, and where its shard is reached.
#[derive(Clone, Debug)]
pub(crate) struct Annex {
    /// Requests for an upgrade of this path go there.
    pub(crate) path: Arc<str>,
    pub(crate) mail: MailSender,
}

/// A connection that has sent a whole request and was not answered.
#[derive(Debug)]
pub(crate) struct Referred {
    pub(super) socket: Socket,
    pub(super) peer: Peer,
    /// What a header of the PROXY protocol told of it, if it began with one.
    pub(super) announced: Option<Option<IpAddr>>,
    /// What TLS knows of it.
    pub(super) secured: Option<Secured>,
    pub(super) received: Vec<u8>,
    /// What it counts as where it came from, for as long as it is open.
    pub(super) seat: ReferredSeat,
}

/// A connection's seat in the engine that it came to, and its place among those of its address.
pub(super) type ReferredSeat = (HeldSeat, Option<Counted>);

impl Annex {
    /// Whether nothing more is taken for now.
    pub(super) fn is_full(&self) -> bool {
        self.mail.is_full()
    }

    /// Moves a connection there. Where there is no room for it after all, it is dropped.
    pub(super) fn take(&self, referred: Referred) {
        if self.mail.try_post(Mail::Refer(Box::new(referred))).is_err() {
            tracing::debug!(path = %self.path, "a connection was dropped: who serves it has no room for more");
        }
    }
}

impl<H: Handler> Shard<H> {
    /// Serves a connection that came to another engine.
    pub(super) fn serve_referred(&mut self, referred: Referred, driver: &mut impl Driver) {
        let Referred {
            socket,
            peer,
            announced,
            secured,
            mut received,
            seat,
        } = referred;
        let Some(key) = self.adopt(socket, peer, driver) else {
            return;
        };
        self.referred.insert(key, seat);
        if let Some(secured) = secured {
            self.secured.insert(key, secured);
        }
        if let Some(client) = announced {
            let connection = &mut self.core.connections[key.slot];
            connection.marks.set_announced();
            if client.is_some() {
                connection.particulars.get_or_insert_default().client = client;
            }
        }
        self.received(key, &mut received);
    }
}
