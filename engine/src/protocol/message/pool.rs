//! Buffers for what arrives in parts.

use std::mem;

use super::assembly::Assembly;
use crate::protocol::deflate::Inflater;

/// Assemblies without a message that a pool keeps.
pub const MAX_SPARE_ASSEMBLIES: usize = 256;
/// Bytes in buffers without a message that a pool keeps.
pub const MAX_SPARE_BYTES: usize = 4 * 1024 * 1024;
/// Inflaters without a message that a pool keeps, of some 46 KiB each.
pub const MAX_SPARE_INFLATERS: usize = 16;
/// The smallest buffer; each class holds twice as much as the one below.
pub const MIN_BUFFER: usize = 256;
/// The largest buffer that is kept; larger ones go back to the allocator.
pub const MAX_BUFFER: usize = 1024 * 1024;

/// Compressed bytes inflated by one call of [`Decoder::next`](super::Decoder::next). What they hold
/// may be nothing, and still take 160 ns each.
pub const INFLATED_AT_ONCE: usize = 32 * 1024;
/// What inflating a byte may cost, in bytes inflated at their fastest.
const WORK_PER_COMPRESSED_BYTE: usize = 64;
/// What is inflated in one step: by how much a message may pass its bound before it is refused.
const SCRATCH: usize = 16 * 1024;
const CLASSES: usize = (MAX_BUFFER.ilog2() - MIN_BUFFER.ilog2()) as usize + 1;

/// Spare buffers that the decoders of one shard take and give back, so that a message arriving
/// in parts allocates only when the pool has nothing left.
#[derive(Debug, Default)]
pub struct Pool {
    #[expect(
        clippy::vec_box,
        reason = "boxes move between the pool and decoders unchanged"
    )]
    assemblies: Vec<Box<Assembly>>,
    buffers: [Vec<Vec<u8>>; CLASSES],
    spare_bytes: usize,
    inflaters: Vec<Inflater>,
    /// Empty while it is taken, and until a first compressed message arrives.
    scratch: Box<[u8]>,
    inflated: usize,
    /// Bytes of all that was made here and not freed, whoever has it now.
    allocated: usize,
}

impl Pool {
    /// A pool with nothing in it.
    pub fn new() -> Pool {
        Pool::default()
    }

    /// Bytes in spare buffers, at most [`MAX_SPARE_BYTES`].
    pub fn spare_bytes(&self) -> usize {
        self.spare_bytes
    }

    /// Bytes of memory that the pool and the decoders that took from it hold.
    pub fn allocated(&self) -> usize {
        self.allocated
    }

    /// Frees what is spare.
    pub fn trim(&mut self) {
        let assemblies = self.assemblies.len() * size_of::<Assembly>();
        let inflaters = self.inflaters.len() * Inflater::MEMORY;
        self.freed(self.spare_bytes + assemblies + inflaters + self.scratch.len());
        *self = Pool {
            inflated: self.inflated,
            allocated: self.allocated,
            ..Pool::default()
        };
    }

    /// The work of inflating since this was last set to zero, in bytes inflated; compressed bytes
    /// that hold little are charged too.
    pub fn inflated(&self) -> usize {
        self.inflated
    }

    /// Sets [`inflated`](Pool::inflated) to zero.
    pub fn reset_inflated(&mut self) {
        self.inflated = 0;
    }

    /// `compressed` bytes were inflated to `inflated` bytes.
    pub(super) fn charge(&mut self, compressed: usize, inflated: usize) {
        self.inflated += inflated.max(compressed * WORK_PER_COMPRESSED_BYTE);
    }

    pub(super) fn take_assembly(&mut self) -> Box<Assembly> {
        self.assemblies.pop().unwrap_or_else(|| {
            self.allocated += size_of::<Assembly>();
            Box::default()
        })
    }

    pub(super) fn give_assembly(&mut self, mut assembly: Box<Assembly>) {
        assembly.clear(self);
        if self.assemblies.len() < MAX_SPARE_ASSEMBLIES {
            self.assemblies.push(assembly);
        } else {
            self.freed(size_of::<Assembly>());
        }
    }

    /// An inflater at the beginning of a first message.
    pub(super) fn take_inflater(&mut self) -> Inflater {
        self.inflaters.pop().unwrap_or_else(|| {
            self.allocated += Inflater::MEMORY;
            Inflater::new()
        })
    }

    pub(super) fn give_inflater(&mut self, mut inflater: Inflater) {
        if self.inflaters.len() < MAX_SPARE_INFLATERS {
            inflater.forget();
            self.inflaters.push(inflater);
        } else {
            self.freed(Inflater::MEMORY);
        }
    }

    /// Where an inflater puts what it yields, to be given back.
    pub(super) fn take_scratch(&mut self) -> Box<[u8]> {
        if self.scratch.is_empty() {
            self.scratch = vec![0; SCRATCH].into();
            self.allocated += SCRATCH;
        }
        mem::take(&mut self.scratch)
    }

    pub(super) fn give_scratch(&mut self, scratch: Box<[u8]>) {
        self.scratch = scratch;
    }

    /// An empty buffer for `len` bytes, of less than twice as many above [`MIN_BUFFER`].
    pub(super) fn take_buffer(&mut self, len: usize) -> Vec<u8> {
        let capacity = len.max(MIN_BUFFER).next_power_of_two();
        match self.buffers.get_mut(class(capacity)).and_then(Vec::pop) {
            Some(buffer) => {
                self.spare_bytes -= buffer.capacity();
                buffer
            }
            None => {
                let buffer = Vec::with_capacity(capacity);
                self.allocated += buffer.capacity();
                buffer
            }
        }
    }

    pub(super) fn give_buffer(&mut self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        if capacity < MIN_BUFFER {
            return;
        }
        let has_room = capacity <= MAX_SPARE_BYTES - self.spare_bytes;
        let spare = self.buffers.get_mut(class(capacity));
        let Some(spare) = spare.filter(|_| has_room) else {
            return self.freed(capacity);
        };
        buffer.clear();
        spare.push(buffer);
        self.spare_bytes += capacity;
    }

    /// What was made elsewhere may be given too.
    fn freed(&mut self, bytes: usize) {
        self.allocated = self.allocated.saturating_sub(bytes);
    }
}

/// The class whose buffers all hold what a buffer of `capacity`, at least [`MIN_BUFFER`], does.
fn class(capacity: usize) -> usize {
    (capacity.ilog2() - MIN_BUFFER.ilog2()) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_given_back_is_taken_again() {
        let mut pool = Pool::new();
        let mut buffer = pool.take_buffer(5000);
        buffer.extend_from_slice(b"left over");
        let address = buffer.as_ptr();
        pool.give_buffer(buffer);
        assert!(pool.spare_bytes() >= 5000);
        let again = pool.take_buffer(8192);
        assert_eq!((again.as_ptr(), again.len()), (address, 0));
        assert_eq!(pool.spare_bytes(), 0);
    }

    #[test]
    fn buffers_hold_what_was_asked_for_and_less_than_twice_as_much() {
        let mut pool = Pool::new();
        for len in [0, 1, 256, 257, 4096, 4097, 1 << 20, (1 << 20) + 1] {
            let capacity = pool.take_buffer(len).capacity();
            assert!(
                capacity >= len && capacity < 2 * len.max(MIN_BUFFER),
                "{len}: {capacity}"
            );
        }
    }

    #[test]
    fn what_was_made_counts_until_it_is_freed() {
        let mut pool = Pool::new();
        let taken: Vec<_> = (0..10).map(|_| pool.take_buffer(MAX_BUFFER)).collect();
        let assembly = pool.take_assembly();
        let inflater = pool.take_inflater();
        let scratch = pool.take_scratch();
        let all = 10 * MAX_BUFFER + size_of::<Assembly>() + Inflater::MEMORY + scratch.len();
        assert_eq!(pool.allocated(), all);
        pool.trim();
        assert_eq!(pool.allocated(), all, "nothing is spare");
        taken
            .into_iter()
            .for_each(|buffer| pool.give_buffer(buffer));
        let freed = 10 * MAX_BUFFER - MAX_SPARE_BYTES;
        assert_eq!(pool.allocated(), all - freed, "beyond what is kept");
        pool.give_assembly(assembly);
        pool.give_inflater(inflater);
        pool.give_scratch(scratch);
        pool.trim();
        assert_eq!((pool.allocated(), pool.spare_bytes()), (0, 0));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut pool = Pool::new();
        for len in [100, MAX_BUFFER, MAX_BUFFER * 2] {
            for _ in 0..10 {
                pool.give_buffer(Vec::with_capacity(len));
            }
        }
        assert_eq!(pool.spare_bytes(), MAX_SPARE_BYTES);
        for _ in 0..2 * MAX_SPARE_ASSEMBLIES {
            pool.give_assembly(Box::default());
        }
        assert_eq!(pool.assemblies.len(), MAX_SPARE_ASSEMBLIES);
        for _ in 0..2 * MAX_SPARE_INFLATERS {
            pool.give_inflater(Inflater::new());
        }
        assert_eq!(pool.inflaters.len(), MAX_SPARE_INFLATERS);
    }
}
