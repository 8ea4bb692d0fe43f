//! Compressing what is sent (RFC 7692), where a connection agreed on it.
//!
//! Without context takeover one compressor for each window size serves all connections of the
//! shard, and a publication is compressed once for each. A connection with context takeover has a
//! compressor of its own for what it alone is sent; see [`Encoding::has_context`].

use hashbrown::HashMap;
use throng_transport::{Slice, SocketKey};

use super::core::Core;
use super::frames::Frames;
use super::outbox::Lane;
use super::publish::Receipt;
use crate::protocol::deflate::{DEFLATE_WINDOW_BITS, Deflater, Params, Strength};
use crate::protocol::frame::{
    OpCode, server_header_len, server_payload, write_compressed_server_header,
};

/// Window sizes that are compressed with.
pub(super) const WAYS: usize = (*DEFLATE_WINDOW_BITS.end() - SMALLEST + 1) as usize;
const SMALLEST: u8 = *DEFLATE_WINDOW_BITS.start();

/// How a connection's messages are encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Encoding(u8);

impl Encoding {
    const CONTEXT: u8 = 0x80;

    /// As agreed on.
    pub(crate) fn agreed(params: &Params) -> Encoding {
        let bits = params.server_max_window_bits.max(SMALLEST);
        let context = if params.server_no_context_takeover {
            0
        } else {
            Encoding::CONTEXT
        };
        Encoding(bits | context)
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
        self.0 & !Encoding::CONTEXT
    }

    /// Its place among the window sizes.
    pub(super) fn way(self) -> usize {
        usize::from(self.window_bits() - SMALLEST)
    }
}

/// The compressors of a shard, made when first needed.
#[derive(Debug)]
pub(crate) struct Compressors {
    strength: Strength,
    shared: [Option<Box<Deflater>>; WAYS],
    /// By slot: those of connections with context takeover.
    own: HashMap<u32, Box<Deflater>>,
    scratch: Vec<u8>,
}

impl Compressors {
    pub(crate) fn new(strength: Strength) -> Compressors {
        Compressors {
            strength,
            shared: Default::default(),
            own: HashMap::new(),
            scratch: Vec::new(),
        }
    }

    /// A frame's message compressed, for any connection of that window size; `None` where that is
    /// no smaller.
    pub(super) fn compress_frame(&mut self, plain: &Slice, encoding: Encoding) -> Option<Slice> {
        let strength = self.strength;
        let deflater = self.shared[encoding.way()]
            .get_or_insert_with(|| Box::new(Deflater::new(strength, encoding.window_bits(), true)));
        compress(deflater, plain, &mut self.scratch)
    }

    /// A frame's message compressed with reference to what the connection in the slot was sent
    /// before; `None` where that is no smaller.
    fn compress_own(&mut self, slot: u32, bits: u8, plain: &Slice) -> Option<Slice> {
        let strength = self.strength;
        let own = self.own.entry(slot);
        let deflater = own.or_insert_with(|| Box::new(Deflater::new(strength, bits, false)));
        let made = compress(deflater, plain, &mut self.scratch);
        if made.is_none() {
            // It is sent as it is, and is nothing that could be referred to.
            deflater.forget();
        }
        made
    }

    /// What the connection in the slot is sent next must not refer to what it was sent before.
    pub(super) fn forget(&mut self, slot: u32) {
        if let Some(own) = self.own.get_mut(&slot) {
            own.forget();
        }
    }

    /// The connection in the slot has ended.
    #[inline]
    pub(super) fn remove(&mut self, slot: u32) {
        if !self.own.is_empty() {
            self.own.remove(&slot);
        }
    }
}

/// A frame with the other's message compressed, unless that is no smaller.
fn compress(deflater: &mut Deflater, plain: &Slice, scratch: &mut Vec<u8>) -> Option<Slice> {
    let (opcode, payload) = server_payload(plain.as_bytes())?;
    scratch.clear();
    deflater.deflate(payload, scratch);
    if scratch.len() >= payload.len() {
        return None;
    }
    let len = server_header_len(scratch.len()) + scratch.len();
    Some(Slice::with_len(len, |out| {
        let header = write_compressed_server_header(out, opcode, scratch.len());
        out[header..].copy_from_slice(scratch);
    }))
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
    ) -> Receipt {
        let mut receipt = Receipt::default();
        let plain = self.encode(opcode, payload);
        let frame = self.compress_for(key, &plain, lane).unwrap_or(plain);
        self.deliver(key, &Frames::plain(frame), lane, &mut receipt);
        receipt
    }

    /// A frame's message compressed for one connection, unless it is to be sent as it is.
    fn compress_for(&mut self, key: SocketKey, plain: &Slice, lane: Lane) -> Option<Slice> {
        let encoding = self.connections.open(key)?.encoding;
        if !encoding.has_context() {
            return self.compressors.compress_frame(plain, encoding);
        }
        let arrives_in_order = lane == Lane::Normal && self.connections.has_room(key, plain);
        arrives_in_order.then(|| {
            let bits = encoding.window_bits();
            self.compressors.compress_own(key.slot, bits, plain)
        })?
    }
}
