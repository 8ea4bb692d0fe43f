//! What the log is told: spans around the service's code, and, by the debug switch of one connection, all
//! that it says and is sent, and how it changes.

use throng_transport::{SendQueue, SocketKey};
use tracing::Level;
use tracing::level_filters::{LevelFilter, STATIC_MAX_LEVEL};
use tracing::span::EnteredSpan;

use super::core::Core;
use super::outbox::Lane;
use crate::id::ConnectionId;
use crate::protocol::frame::{OpCode, RSV1, server_frame_len, server_header_len};
use crate::protocol::message::Message;

/// How much of a connection is logged, at level debug and under the target `throng::wire`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trace {
    /// Nothing.
    #[default]
    Off,
    /// Each message and control frame by its opcode, size and lane, and what becomes of the connection.
    Frames,
    /// The same with payloads, as much as 1 KiB of each: what the peer says and is told stands in the
    /// log.
    Payloads,
}

impl From<bool> for Trace {
    /// `true` is [`Trace::Frames`].
    fn from(on: bool) -> Trace {
        if on { Trace::Frames } else { Trace::Off }
    }
}

/// Bytes of a payload that are logged.
const MOST: usize = 1024;
/// The first bit of a frame that is the last of its message, as all are that a server sends.
const FIN: u8 = 0x80;

impl Core {
    /// The span of a call of the handler, where anybody looks at such details.
    #[inline]
    pub(super) fn span_of_call(&self, key: SocketKey) -> Option<EnteredSpan> {
        let is_seen = STATIC_MAX_LEVEL >= Level::TRACE && LevelFilter::current() >= Level::TRACE;
        is_seen.then(|| self.enter_call(key))
    }

    #[cold]
    fn enter_call(&self, key: SocketKey) -> EnteredSpan {
        tracing::trace_span!("handler", connection = %self.id(key)).entered()
    }

    /// The span of an opening handshake.
    pub(super) fn span_of_upgrade(&self, key: SocketKey) -> EnteredSpan {
        let peer = self.connections[key.slot].peer();
        tracing::debug_span!("upgrade", connection = %self.id(key), ?peer).entered()
    }

    /// Sets how much of a connection is logged; returns whether it is there.
    pub(crate) fn trace(&mut self, key: SocketKey, trace: Trace) -> bool {
        let id = self.id(key);
        let Some(connection) = self.connections.get(key) else {
            return false;
        };
        if connection.marks.traced() != trace {
            connection.marks.set_traced(trace);
            tracing::debug!(target: "throng::wire", connection = %id, ?trace, "from now on");
        }
        true
    }

    /// Logs a message that has arrived, if its connection is traced.
    #[cold]
    pub(super) fn trace_message(&self, key: SocketKey, message: Message<'_>) {
        let opcode = match message {
            Message::Text(_) => OpCode::Text,
            Message::Binary(_) => OpCode::Binary,
        };
        self.trace_received(key, opcode, message.as_bytes());
    }

    /// Logs what has arrived, if its connection is traced.
    pub(super) fn trace_received(&self, key: SocketKey, opcode: OpCode, payload: &[u8]) {
        let traced = self.connections[key.slot].marks.traced();
        if traced == Trace::Off {
            return;
        }
        let (id, bytes) = (self.id(key), payload.len());
        let payload = traced.shown(payload);
        tracing::debug!(target: "throng::wire", connection = %id, ?opcode, bytes, payload, "received");
    }

    /// Logs what becomes of a connection, if it is traced.
    pub(super) fn trace_change(&self, key: SocketKey, what: &str, size: u32) {
        if self.connections[key.slot].marks.is_traced() {
            let id = self.id(key);
            tracing::debug!(target: "throng::wire", connection = %id, what, size, "change");
        }
    }
}

impl Trace {
    /// What of a payload is logged.
    fn shown(self, payload: &[u8]) -> Option<String> {
        let shown = &payload[..payload.len().min(MOST)];
        (self == Trace::Payloads).then(|| shown.escape_ascii().to_string())
    }

    /// Logs a batch that is about to be sent. Of its messages, so many bytes are of the high lane: they
    /// are the first.
    #[cold]
    pub(super) fn show_batch(self, id: ConnectionId, batch: &SendQueue, mut high: usize) {
        for slice in batch.iter() {
            let mut bytes = slice.as_bytes();
            while !bytes.is_empty() {
                let len = server_frame_len(bytes).filter(|_| bytes[0] & FIN != 0);
                let Some(len) = len.filter(|len| *len <= bytes.len()) else {
                    let bytes = bytes.len();
                    tracing::debug!(target: "throng::wire", connection = %id, bytes, "sent the response");
                    break;
                };
                let (frame, rest) = bytes.split_at(len);
                bytes = rest;
                self.show_frame(id, frame, &mut high);
            }
        }
    }

    fn show_frame(self, id: ConnectionId, frame: &[u8], high: &mut usize) {
        let Ok(opcode) = OpCode::try_from(frame[0] & 0x0f) else {
            return;
        };
        let lane = if opcode.is_control() {
            None
        } else if *high > 0 {
            *high = high.saturating_sub(frame.len());
            Some(Lane::High)
        } else {
            Some(Lane::Normal)
        };
        let payload = payload_of(frame);
        let (bytes, is_compressed) = (payload.len(), frame[0] & RSV1 != 0);
        let payload = self.shown(payload);
        tracing::debug!(
            target: "throng::wire",
            connection = %id,
            ?opcode,
            bytes,
            lane = lane.map(tracing::field::debug),
            is_compressed,
            payload,
            "sent"
        );
    }
}

/// The payload of a whole frame of a server.
fn payload_of(frame: &[u8]) -> &[u8] {
    let lengths = [2, 4, 10].into_iter();
    let header = lengths
        .filter(|header| *header <= frame.len())
        .find(|header| server_header_len(frame.len() - header) == *header);
    &frame[header.unwrap_or(frame.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::encode_detached;

    #[test]
    fn a_payload_is_found_behind_its_header() {
        for size in [0, 1, 125, 126, 127, 65_535, 65_536] {
            let payload = vec![7; size];
            let frame = encode_detached(OpCode::Binary, &payload);
            assert_eq!(payload_of(frame.as_bytes()), payload, "{size}");
        }
    }

    #[test]
    fn little_of_a_payload_is_shown_and_only_if_wanted() {
        assert_eq!(Trace::Frames.shown(b"secret"), None);
        let shown = Trace::Payloads.shown(b"a\"\n\xff");
        assert_eq!(shown.as_deref(), Some("a\\\"\\n\\xff"));
        let long = Trace::Payloads.shown(&[b'x'; 5000]);
        assert_eq!(long.map(|text| text.len()), Some(MOST));
    }
}
