//! What each shard counts: one table of rows, from which everything else follows.

use serde::Serialize;

use super::cell::{Cell, Counter, CountersBy, Level, LongTimes, ShortTimes, Sizes};
use super::family::{Family, Told};
use super::reading::{ByLabel, HistogramSnapshot, Reading};
use crate::event::{CauseKind, ErrorKind, Loss, Rejection};

/// Declares what a shard counts, one row for each:
///
/// ```text
/// /// Documentation, which is also the metric's help.
/// name: Cell => reading, "metric's name", its label, how it is told;
/// ```
///
/// How: `summed` over the shards, or for `each`.
macro_rules! shard_metrics {
    ($(
        #[doc = $help:literal]
        $name:ident: $Cell:ty => $Reading:ty, $metric:literal, $label:literal, $told:ident;
    )*) => {
        /// What a shard counts. Only the shard's thread changes it.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(crate) struct ShardCounters {
            $(pub(crate) $name: $Cell,)*
        }

        /// What one shard has counted since the engine was started, or all of them together.
        #[derive(Clone, Debug, Default, PartialEq, Serialize)]
        #[non_exhaustive]
        pub struct ShardSnapshot {
            $(#[doc = $help] pub $name: $Reading,)*
        }

        impl ShardCounters {
            /// What was counted. In the order of the rows: what ends is read before what begins, so that
            /// no more seems to have ended than begun.
            pub(crate) fn read(&self) -> ShardSnapshot {
                ShardSnapshot {
                    $($name: self.$name.read(),)*
                }
            }
        }

        impl ShardSnapshot {
            /// Adds another shard's.
            pub(super) fn add(&mut self, other: &ShardSnapshot) {
                $(self.$name.add(&other.$name);)*
            }

            /// All as metrics; of those that are told for each shard, without samples.
            pub(super) fn families(&self) -> Vec<Family> {
                let mut families = Vec::new();
                $(
                    let mut family = Family::new($metric, $help);
                    if shard_metrics!(@is_summed $told) {
                        self.$name.tell(&mut family, $label, None);
                    }
                    families.push(family);
                )*
                families
            }

            /// Adds what is told for each shard to the families.
            pub(super) fn tell_each(&self, families: &mut [Family], shard: usize) {
                let mut families = families.iter_mut();
                $(
                    if let Some(family) = families.next()
                        && !shard_metrics!(@is_summed $told)
                    {
                        self.$name.tell(family, $label, Some(shard));
                    }
                )*
            }
        }
    };
    (@is_summed summed) => { true };
    (@is_summed each) => { false };
}

shard_metrics! {
    /// Opening handshakes that did not end in a connection.
    rejected: CountersBy<Rejection> => ByLabel<Rejection>, "throng_connections_rejected_total", "cause", summed;
    /// Connections that have ended.
    closed: CountersBy<CauseKind> => ByLabel<CauseKind>, "throng_connections_closed_total", "cause", summed;
    /// Connections that were opened.
    opened: Counter => u64, "throng_connections_opened_total", "", summed;
    /// Requests that went elsewhere than to the service: to the side door, or to the admin page.
    visitors: Counter => u64, "throng_http_requests_total", "", summed;
    /// Sockets that were taken on, to do the opening handshake.
    accepted: Counter => u64, "throng_sockets_accepted_total", "", summed;
    /// Payload bytes of messages received; how many there were is the histogram's count.
    message_size: Sizes => HistogramSnapshot, "throng_message_size_bytes", "", summed;
    /// Messages handed to the system.
    messages_out: Counter => u64, "throng_messages_sent_total", "", summed;
    /// Bytes of these messages, frame headers included.
    bytes_out: Counter => u64, "throng_sent_bytes_total", "", summed;
    /// Publications to rooms, to all, or to one connection by its id, counted by each shard that has somebody they are for.
    publications: Counter => u64, "throng_publications_total", "", summed;
    /// Connections that publications were queued for.
    deliveries: Counter => u64, "throng_deliveries_total", "", summed;
    /// Messages whose place was taken by a later one of the same key.
    conflated: Counter => u64, "throng_messages_conflated_total", "", summed;
    /// Messages lost to connections that are behind.
    dropped: CountersBy<Loss> => ByLabel<Loss>, "throng_messages_dropped_total", "cause", summed;
    /// What went wrong.
    errors: CountersBy<ErrorKind> => ByLabel<ErrorKind>, "throng_errors_total", "kind", summed;
    /// Memberships of rooms that have ended.
    leaves: Counter => u64, "throng_room_leaves_total", "", summed;
    /// Memberships of rooms that were begun.
    joins: Counter => u64, "throng_room_joins_total", "", summed;
    /// Time to handle a message: to parse it and call the handler. One receive in 16 is timed, and its messages share the time.
    handling_time: ShortTimes => HistogramSnapshot, "throng_message_handling_seconds", "", summed;
    /// How long connections were open.
    connection_duration: LongTimes => HistogramSnapshot, "throng_connection_duration_seconds", "", summed;
    /// Time that a shard worked between two waits; the sum is the time that it was busy.
    turn_time: ShortTimes => HistogramSnapshot, "throng_shard_turn_seconds", "", each;
    /// Connections of which something was received and is held back.
    held_back: Level => u64, "throng_shard_held_back", "", each;
    /// Connections that do not take what they are sent at once.
    behind: Level => u64, "throng_shard_connections_behind", "", each;
    /// Messages that wait for connections that are behind, those in flight included.
    waiting_messages: Level => u64, "throng_shard_outbox_messages", "", each;
    /// Bytes of these messages.
    waiting_bytes: Level => u64, "throng_shard_outbox_bytes", "", each;
}

impl ShardSnapshot {
    /// Connections that are open.
    pub fn active(&self) -> u64 {
        self.opened.saturating_sub(self.closed.total())
    }

    /// Opening handshakes that are under way.
    pub fn handshaking(&self) -> u64 {
        let over = self.opened + self.rejected.total() + self.visitors;
        self.accepted.saturating_sub(over)
    }

    /// Messages received.
    pub fn messages_in(&self) -> u64 {
        self.message_size.count()
    }

    /// Payload bytes of the messages received.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the sum is a whole number, exact up to 2^53"
    )]
    pub fn bytes_in(&self) -> u64 {
        self.message_size.sum as u64
    }

    /// Memberships of rooms: a connection counts once for each room that it is in.
    pub fn members(&self) -> u64 {
        self.joins.saturating_sub(self.leaves)
    }
}
