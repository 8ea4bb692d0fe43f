//! One message to its compressed payload and back (RFC 7692 §7.2).

use std::fmt;

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush, Status};

use super::{DEFLATE_WINDOW_BITS, WINDOW_BITS};
use crate::protocol::fault::Fault;

/// How a flush ends: taken off what is sent (RFC 7692 §7.2.1), put back on what is received
/// (§7.2.2).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// An empty message (RFC 7692 §7.2.3.6).
const EMPTY: u8 = 0;
/// Room for a flush; with less left over, zlib would begin another.
const MIN_ROOM: usize = 64;
/// The part of a deflater that is always the same.
const HASH_TABLE: usize = 128 * 1024;

/// How much a [`Deflater`] puts into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Strength {
    /// From 1, the fastest, to 9, the smallest results.
    pub level: u8,
    /// From 1, the least memory, to 9.
    pub memory_level: u8,
}

/// Compresses messages, one after the other.
///
/// It owns hundreds of KiB, most of them whatever its window and memory level.
pub struct Deflater {
    deflate: Deflate,
    keeps_context: bool,
    /// It has compressed nothing that the next message could refer to.
    is_fresh: bool,
}

impl Deflater {
    /// A deflater with a window of 2 to the power of `window_bits`, forced into
    /// [`DEFLATE_WINDOW_BITS`], as `strength` is into 1 to 9.
    ///
    /// Without `no_context_takeover` messages may refer to those before them.
    pub fn new(strength: Strength, window_bits: u8, no_context_takeover: bool) -> Deflater {
        let (least, most) = DEFLATE_WINDOW_BITS.into_inner();
        let config = DeflateConfig {
            // Negative: no header and no checksum around the blocks.
            window_bits: -i32::from(window_bits.clamp(least, most)),
            mem_level: i32::from(strength.memory_level.clamp(1, 9)),
            ..DeflateConfig::new(i32::from(strength.level.clamp(1, 9)))
        };
        Deflater {
            deflate: Deflate::new_with_config(config),
            keeps_context: !no_context_takeover,
            is_fresh: true,
        }
    }

    /// Bytes that a deflater made so takes, to within some KiB.
    pub fn memory(strength: Strength, window_bits: u8) -> usize {
        let (least, most) = DEFLATE_WINDOW_BITS.into_inner();
        let window = 4 << window_bits.clamp(least, most);
        let lists = 448 << strength.memory_level.clamp(1, 9);
        window + lists + HASH_TABLE
    }

    /// Appends the payload of a compressed message (RFC 7692 §7.2.1) and returns its length. Where
    /// that is no gain, the message may be sent as it is, but see [`Deflater::forget`].
    ///
    /// `out` grows to less than twice what it needs; it is best one that is used again.
    pub fn deflate(&mut self, message: &[u8], out: &mut Vec<u8>) -> usize {
        if message.is_empty() {
            out.push(EMPTY);
            return 1;
        }
        self.is_fresh = false;
        let start = out.len();
        let mut end = start;
        let mut rest = message;
        loop {
            let room = (message.len() / 2).max(end - start).max(MIN_ROOM);
            out.resize(end + room, 0);
            let (consumed, produced) = self.step(rest, &mut out[end..]);
            rest = &rest[consumed..];
            end += produced;
            if produced < room {
                break;
            }
        }
        debug_assert!(rest.is_empty() && out[start..end].ends_with(&TAIL));
        out.truncate(end - TAIL.len());
        if !self.keeps_context {
            self.forget();
        }
        out.len() - start
    }

    /// Makes the next message one that refers to none before it.
    ///
    /// With context takeover this must be called when the peer will not receive what was
    /// compressed last, or received something compressed by another deflater since. The peer's
    /// window then holds other bytes than ours, but nothing that it is sent refers to them.
    pub fn forget(&mut self) {
        // It writes hundreds of KiB.
        if !self.is_fresh {
            self.deflate.reset();
            self.is_fresh = true;
        }
    }

    /// How much was taken of `input`, and how much put into `out`.
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> (usize, usize) {
        let before = (self.deflate.total_in(), self.deflate.total_out());
        let status = self.deflate.compress(input, out, DeflateFlush::SyncFlush);
        debug_assert!(status.is_ok(), "{status:?}");
        (
            since(before.0, self.deflate.total_in()),
            since(before.1, self.deflate.total_out()),
        )
    }
}

/// Inflates messages, piece by piece. It owns some 46 KiB, whatever the peer's window is: the
/// largest one holds what any smaller one would.
pub struct Inflater {
    inflate: Inflate,
    /// Something of the message was not the end of a stream: its flush is to come.
    awaits_tail: bool,
}

impl Inflater {
    /// Bytes that an inflater takes, to within some KiB.
    pub const MEMORY: usize = 46 * 1024;

    /// An inflater at the beginning of a first message.
    pub fn new() -> Inflater {
        Inflater {
            inflate: Inflate::new(false, *WINDOW_BITS.end()),
            awaits_tail: false,
        }
    }

    /// Inflates the next piece of a message and passes on what it yields, in parts of at most the
    /// length of `scratch`. An error of `sink` ends it at once: that is where a bound belongs.
    ///
    /// # Errors
    ///
    /// [`Fault::InvalidDeflate`] for what is not compressed data, and the errors of `sink`. After
    /// an error only [`Inflater::forget`] may follow.
    pub fn push(
        &mut self,
        piece: &[u8],
        scratch: &mut [u8],
        mut sink: impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut rest = piece;
        self.awaits_tail |= !piece.is_empty();
        loop {
            let before = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(rest, scratch, InflateFlush::SyncFlush);
            rest = &rest[since(before.0, self.inflate.total_in())..];
            let produced = since(before.1, self.inflate.total_out());
            // Before the error, so that the fault told does not depend on how the data was split.
            sink(&scratch[..produced])?;
            let status = status.map_err(|_| Fault::InvalidDeflate)?;
            if status == Status::StreamEnd {
                // A block with BFINAL ends a stream, not the message (RFC 7692 §7.2.3.4), and
                // nothing behind it refers to what came before (RFC 1951 §2).
                self.forget();
                if rest.is_empty() {
                    return Ok(());
                }
                self.awaits_tail = true;
            } else if produced < scratch.len() {
                debug_assert!(rest.is_empty());
                return Ok(());
            }
        }
    }

    /// Ends a message: inflates what its sender took off (RFC 7692 §7.2.2), which holds nothing.
    /// Behind a message of no bytes, or one that ends with a stream (without the byte that §7.2.3.4 asks
    /// for), nothing was taken off.
    ///
    /// # Errors
    ///
    /// [`Fault::InvalidDeflate`] where it was taken for a part of what came before: the message was
    /// cut. After an error only [`Inflater::forget`] may follow.
    pub fn finish(&mut self, scratch: &mut [u8]) -> Result<(), Fault> {
        /// What is taken off, and another block of no bytes: where the first is taken for the length
        /// of a block, the second is what it holds.
        const TAIL_AND_PROOF: [u8; 9] = [0, 0, 0xff, 0xff, 0, 0, 0, 0xff, 0xff];
        if !self.awaits_tail {
            return Ok(());
        }
        let ended = self.push(&TAIL_AND_PROOF, scratch, |inflated| {
            if inflated.is_empty() {
                Ok(())
            } else {
                Err(Fault::InvalidDeflate)
            }
        });
        self.awaits_tail = false;
        ended
    }

    /// Begins anew: the next message refers to none before it.
    pub fn forget(&mut self) {
        self.inflate.reset(false);
        self.awaits_tail = false;
    }
}

impl Default for Inflater {
    fn default() -> Inflater {
        Inflater::new()
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater")
            .field("keeps_context", &self.keeps_context)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").finish_non_exhaustive()
    }
}

/// A step's share of a total: never more than the slice that it was given.
fn since(before: u64, after: u64) -> usize {
    usize::try_from(after - before).unwrap_or(usize::MAX)
}
