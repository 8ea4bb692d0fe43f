//! Connections that ask for what another engine of the process serves: sockets, with what was received on them,
//! move to its shard.

use std::sync::Arc;

use throng_transport::{Driver, Peer, Secured, Service, Socket};

use super::Shard;
use super::mailbox::{Mail, MailSender};
use crate::handler::Handler;

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
    pub(super) received: Vec<u8>,
    /// What TLS knows of it.
    pub(super) secured: Option<Secured>,
}

impl Annex {
    /// Moves a connection there. Where there is no room for it, it is dropped.
    pub(super) fn take(&self, referred: Referred) {
        if self.mail.try_post(Mail::Refer(Box::new(referred))).is_err() {
            tracing::warn!(path = %self.path, "a connection was dropped: who serves it has no room for more");
        }
    }
}

impl<H: Handler> Shard<H> {
    /// Serves a connection that came to another engine.
    pub(super) fn serve_referred(&mut self, referred: Referred, driver: &mut impl Driver) {
        let Referred {
            socket,
            peer,
            mut received,
            secured,
        } = referred;
        let Some(key) = self.adopt(socket, peer, driver) else {
            return;
        };
        if let Some(secured) = secured {
            self.secured.insert(key, secured);
        }
        self.received(key, &mut received);
    }
}
