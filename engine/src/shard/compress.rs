//! Compressing what is sent (RFC 7692), where a connection agreed on it.
//!
//! Without context takeover one compressor for each window size serves all connections of the
//! shard, and a publication is compressed once for each. A connection with context takeover has a
//! compressor of its own for what it alone is sent; see [`Encoding::has_context`].

use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashMap;
use throng_transport::{Slice, SocketKey};

use super::core::Core;
use super::frames::Dispatch;
use super::outbox::{Lane, Pushed};
use crate::protocol::deflate::{Deflater, Params, Strength};
use crate::protocol::frame::{
    OpCode, server_header_len, server_payload, write_compressed_server_header,
};

/// Windows that are compressed with, in bits. Who agreed on another is sent what the next smaller one
/// makes, so that peers who agree on all of them do not have everything compressed for each.
const WINDOWS: [u8; 3] = [9, 12, 15];
pub(super) const WAYS: usize = WINDOWS.len();
/// The buffer that messages are compressed in is kept up to this size.
const MAX_SCRATCH: usize = 1024 * 1024;

/// How a connection's messages are encoded: 0 as they are, else by the window's place in
/// [`WINDOWS`], counted from 1, and [`Encoding::CONTEXT`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Encoding(u8);

impl Encoding {
    const CONTEXT: u8 = 0x80;

    /// As agreed on.
    pub(crate) fn agreed(params: &Params) -> Encoding {
        let places = (1..).zip(WINDOWS);
        let allowed = places.filter(|(_, bits)| *bits <= params.server_max_window_bits);
        let place = allowed.last().map_or(1, |(place, _)| place);
        let context = if params.server_no_context_takeover {
            0
        } else {
            Encoding::CONTEXT
        };
        Encoding(place | context)
    }

    /// Whether messages may be compressed.
    #[inline]
    pub(crate) fn compresses(self) -> bool {
        self.0 != 0
    }

    /// Whether messages may refer to those before. Then everything compressed must arrive in the
    /// order in which it was: nothing that overtakes is compressed, and what many are sent, which
    /// refers to nothing, makes the connection's own compressor begin anew.
    pub(crate) fn has_context(self) -> bool {
        self.0 & Encoding::CONTEXT != 0
    }

    fn window_bits(self) -> u8 {
        WINDOWS[self.way()]
    }

    /// The window's place among all; of an encoding that compresses.
    pub(super) fn way(self) -> usize {
        usize::from((self.0 & !Encoding::CONTEXT) - 1)
    }
}

/// How many open connections compress with each window.
#[derive(Debug, Default)]
pub(crate) struct WindowsInUse([AtomicUsize; WAYS]);

impl WindowsInUse {
    /// Counts a connection in, if it compresses.
    pub(crate) fn enter(&self, encoding: Encoding) {
        if encoding.compresses() {
            self.0[encoding.way()].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts it out.
    pub(crate) fn exit(&self, encoding: Encoding) {
        if encoding.compresses() {
            self.0[encoding.way()].fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// An encoding for each window that somebody compresses with.
    pub(crate) fn in_use(&self) -> impl Iterator<Item = Encoding> {
        let used = (1..).zip(&self.0);
        used.filter(|(_, count)| count.load(Ordering::Relaxed) > 0)
            .map(|(place, _)| Encoding(place))
    }
}

/// The compressors of a thread, made when first needed.
#[derive(Debug)]
pub(crate) struct Compressors {
    strength: Strength,
    shared: [Option<Box<Deflater>>; WAYS],
    /// By slot: those of connections with context takeover.
    own: HashMap<u32, Own>,
    scratch: Vec<u8>,
    /// Bytes of the compressors.
    allocated: usize,
}

/// A connection's own compressor.
#[derive(Debug)]
struct Own {
    deflater: Box<Deflater>,
    /// Bytes that it takes.
    memory: usize,
    /// Since [`Compressors::rest`] last asked.
    was_used: bool,
}

impl Compressors {
    pub(crate) fn new(strength: Strength) -> Compressors {
        Compressors {
            strength,
            shared: Default::default(),
            own: HashMap::new(),
            scratch: Vec::new(),
            allocated: 0,
        }
    }

    /// Bytes of memory held.
    pub(super) fn allocated(&self) -> usize {
        self.allocated + self.scratch.capacity()
    }

    /// Gives up all compressors. What is compressed next refers to nothing.
    pub(super) fn trim(&mut self) {
        *self = Compressors::new(self.strength);
    }

    /// A frame's message compressed, for any connection of that window size; `None` where that is
    /// no smaller.
    pub(super) fn compress_frame(&mut self, plain: &Slice, encoding: Encoding) -> Option<Slice> {
        let strength = self.strength;
        let bits = encoding.window_bits();
        let deflater = self.shared[encoding.way()].get_or_insert_with(|| {
            self.allocated += Deflater::memory(strength, bits);
            Box::new(Deflater::new(strength, bits, true))
        });
        compress(deflater, plain, &mut self.scratch)
    }

    /// A frame's message compressed with reference to what the connection in the slot was sent
    /// before; `None` where that is no smaller.
    fn compress_own(&mut self, slot: u32, bits: u8, plain: &Slice) -> Option<Slice> {
        let strength = self.strength;
        let own = self.own.entry(slot).or_insert_with(|| {
            let memory = Deflater::memory(strength, bits);
            self.allocated += memory;
            Own {
                deflater: Box::new(Deflater::new(strength, bits, false)),
                memory,
                was_used: true,
            }
        });
        own.was_used = true;
        let made = compress(&mut own.deflater, plain, &mut self.scratch);
        if made.is_none() {
            // It is sent as it is, and is nothing that could be referred to.
            own.deflater.forget();
        }
        made
    }

    /// What the connection in the slot is sent next must not refer to what it was sent before.
    pub(super) fn forget(&mut self, slot: u32) {
        if let Some(own) = self.own.get_mut(&slot) {
            own.deflater.forget();
        }
    }

    /// Asked now and then: gives up the compressor of a connection that was sent nothing by it since.
    /// The next one refers to nothing.
    pub(super) fn rest(&mut self, slot: u32) {
        if let Some(own) = self.own.get_mut(&slot)
            && !std::mem::take(&mut own.was_used)
        {
            self.remove(slot);
        }
    }

    /// The connection in the slot has ended.
    #[inline]
    pub(super) fn remove(&mut self, slot: u32) {
        if !self.own.is_empty()
            && let Some(own) = self.own.remove(&slot)
        {
            self.allocated -= own.memory;
        }
    }
}

/// A frame with the other's message compressed, unless that is no smaller.
fn compress(deflater: &mut Deflater, plain: &Slice, scratch: &mut Vec<u8>) -> Option<Slice> {
    let (opcode, payload) = server_payload(plain.as_bytes())?;
    scratch.clear();
    deflater.deflate(payload, scratch);
    let is_smaller = scratch.len() < payload.len();
    let made = is_smaller.then(|| {
        let len = server_header_len(scratch.len()) + scratch.len();
        Slice::with_len(len, |out| {
            let header = write_compressed_server_header(out, opcode, scratch.len());
            out[header..].copy_from_slice(scratch);
        })
    });
    if scratch.capacity() > MAX_SCRATCH {
        *scratch = Vec::new();
    }
    made
}

impl Core {
    /// Sends a message that is worth it compressed to a connection that agreed on that.
    #[cold]
    pub(super) fn send_compressed(
        &mut self,
        key: SocketKey,
        opcode: OpCode,
        payload: &[u8],
        lane: Lane,
    ) -> Option<Pushed> {
        let plain = self.encode(opcode, payload);
        let frame = self.compress_for(key, &plain, lane).unwrap_or(plain);
        self.deliver(key, &Dispatch::plain(frame, lane))
    }

    /// A frame's message compressed for one connection, unless it is to be sent as it is.
    fn compress_for(&mut self, key: SocketKey, plain: &Slice, lane: Lane) -> Option<Slice> {
        let encoding = self.connections.open(key)?.encoding;
        if !encoding.has_context() {
            return self.compressors.compress_frame(plain, encoding);
        }
        if lane == Lane::High {
            return None;
        }
        if self.connections.has_room(key, plain) && !self.has_taken_enough() {
            let bits = encoding.window_bits();
            return self.compressors.compress_own(key.slot, bits, plain);
        }
        // There may be room for it compressed, and may be not: then nothing must refer to it. Nor must
        // one turn make many compressors where memory is short.
        self.compressors.forget(key.slot);
        self.compressors.compress_frame(plain, encoding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::encode_detached;

    fn agreed(bits: u8, no_context: bool) -> Encoding {
        Encoding::agreed(&Params {
            server_max_window_bits: bits,
            server_no_context_takeover: no_context,
            ..Params::default()
        })
    }

    fn compressors() -> Compressors {
        Compressors::new(Strength {
            level: 3,
            memory_level: 8,
        })
    }

    /// The frame of a message that compresses well.
    fn frame() -> Slice {
        encode_detached(OpCode::Binary, &[7; 1000])
    }

    #[test]
    fn no_window_is_larger_than_agreed() {
        let used = (9..=15).map(|bits| agreed(bits, true).window_bits());
        assert_eq!(used.collect::<Vec<_>>(), [9, 9, 9, 12, 12, 12, 15]);
        for encoding in [agreed(12, true), agreed(12, false)] {
            assert!(encoding.compresses() && encoding.way() == 1);
        }
        assert!(agreed(12, false).has_context() && !agreed(12, true).has_context());
        assert!(!Encoding::default().compresses());
    }

    #[test]
    fn a_compressor_that_rests_for_long_is_given_up() {
        let mut compressors = compressors();
        assert!(compressors.compress_own(3, 15, &frame()).is_some());
        compressors.rest(3);
        assert_eq!(compressors.own.len(), 1, "used since");
        assert!(compressors.compress_own(3, 15, &frame()).is_some());
        compressors.rest(3);
        compressors.rest(3);
        assert!(compressors.own.is_empty());
    }

    #[test]
    fn compressors_count_until_they_are_given_up() {
        let mut compressors = compressors();
        assert!(compressors.compress_own(3, 15, &frame()).is_some());
        assert!(compressors.compress_own(4, 9, &frame()).is_some());
        let encoding = agreed(12, true);
        assert!(compressors.compress_frame(&frame(), encoding).is_some());
        let own = Deflater::memory(compressors.strength, 15);
        let before = compressors.allocated();
        compressors.remove(3);
        assert_eq!(before - compressors.allocated(), own);
        compressors.remove(3);
        assert!(compressors.allocated() > own / 2);
        compressors.trim();
        assert_eq!(compressors.allocated(), 0);
    }

    #[test]
    fn a_large_message_leaves_no_large_buffer() {
        let mut compressors = compressors();
        let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
            .take(4 * MAX_SCRATCH)
            .collect();
        let plain = encode_detached(OpCode::Binary, &noise);
        assert!(
            compressors
                .compress_frame(&plain, agreed(15, true))
                .is_none()
        );
        assert!(compressors.scratch.capacity() <= MAX_SCRATCH);
    }
}
