//! Messages that the service found invalid, counted for each connection.

use std::time::Duration;

use throng_transport::SocketKey;

use super::core::{Core, Farewell};
use super::timer::Tick;
use crate::event::{Cause, ErrorKind};
use crate::protocol::close::CloseCode;

/// What [`Config::invalid_messages_per_minute`](crate::Config) counts over.
const MINUTE: Duration = Duration::from_secs(60);

/// The invalid messages of a connection's current minute, which began with the first of them.
#[derive(Debug, Default)]
pub(crate) struct InvalidMessages {
    since: Tick,
    count: u32,
}

impl InvalidMessages {
    /// Counts one more; returns how many there are in its minute.
    fn add(&mut self, now: Tick) -> u32 {
        if self.count == 0 || now.since(self.since) >= MINUTE {
            *self = InvalidMessages {
                since: now,
                count: 0,
            };
        }
        self.count = self.count.saturating_add(1);
        self.count
    }
}

impl Core {
    /// Counts an invalid message of an open connection, which ends with one too many.
    pub(crate) fn report_invalid(&mut self, key: SocketKey) {
        self.note_error(ErrorKind::InvalidMessage, Some(key));
        let Some(most) = self.shared.config.invalid_messages_per_minute else {
            return;
        };
        let now = self.tick;
        let Some(connection) = self.connections.open(key) else {
            return;
        };
        let particulars = connection.particulars.get_or_insert_default();
        if particulars.invalid.add(now) > most {
            let farewell = Farewell::Last(CloseCode::POLICY, "too many invalid messages");
            self.part(key.slot, Cause::Policy, &farewell);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_begins_with_the_first_message_after_the_last_minute() {
        let second = |seconds| Tick::at(Duration::from_secs(seconds));
        let mut invalid = InvalidMessages::default();
        for (at, count) in [(100, 1), (101, 2), (159, 3), (160, 1), (219, 2), (500, 1)] {
            assert_eq!(invalid.add(second(at)), count, "at second {at}");
        }
    }
}
