//! Flight records: what the recorder remembers of a connection that was closed in error.

use throng_transport::SocketKey;

use crate::event::Close;
use crate::flight::{FlightEntry, FlightRecord};
use crate::limits::FLIGHT_RECORDS_PER_TURN;
use crate::shard::core::Core;

impl Core {
    /// Keeps what came last on a connection that was closed in error.
    #[cold]
    pub(super) fn record_flight(&mut self, key: SocketKey, close: &Close) {
        self.observer.records += 1;
        if self.observer.records > FLIGHT_RECORDS_PER_TURN {
            return;
        }
        let Some(connection) = self.subject(key) else {
            return;
        };
        let noted = self.observer.recorder.of(key);
        let entries = noted.iter().map(|noted| FlightEntry {
            at: self.system_time(noted.tick),
            kind: noted.kind,
            size: noted.size,
        });
        let opened = self.connections[key.slot].since.opened;
        let record = FlightRecord {
            connection,
            cause: close.cause.clone(),
            opened: self.system_time(opened),
            closed: self.system_time(self.tick),
            counts: close.counts,
            entries: entries.collect(),
        };
        tracing::debug!(target: "throng::flight", ?record, "a connection was closed in error");
        self.shared.flights.keep(record);
    }
}
