//! Opening handshakes that another server has read, and that come to no shard.

use std::net::IpAddr;

use throng_transport::Peer;

use crate::event::{ErrorKind, Rejection};
use crate::events::{Event, EventKinds, Told};
use crate::metrics::ShardCounters;
use crate::shared::Shared;

impl Shared {
    /// One was decided about elsewhere, and did not end in a connection.
    pub(crate) fn note_rejected_elsewhere(
        &self,
        peer: Peer,
        client: Option<IpAddr>,
        rejection: Rejection,
        status: Option<u16>,
    ) {
        self.count_elsewhere(|it| {
            it.accepted.add(1);
            it.rejected.add(rejection, 1);
        });
        self.tell_elsewhere(EventKinds::HANDSHAKE_REJECTED, || {
            Event::HandshakeRejected {
                peer,
                client,
                rejection,
                status,
            }
        });
    }

    /// Something went wrong in one.
    pub(crate) fn note_error_elsewhere(&self, error: ErrorKind) {
        self.count_elsewhere(|it| it.errors.add(error, 1));
        self.tell_elsewhere(EventKinds::ERROR, || Event::Error {
            connection: None,
            error,
        });
    }

    fn count_elsewhere(&self, count: impl FnOnce(&ShardCounters)) {
        if self.config.metrics {
            self.counters.count_elsewhere(count);
        }
    }

    fn tell_elsewhere(&self, kind: EventKinds, event: impl FnOnce() -> Event) {
        if self.bus.wants(kind) {
            self.bus.tell(&event(), &mut Told::default());
        }
    }
}
