//! The buffers that the system receives into: a ring of them, shared by all sockets.
//!
//! This file is a leaf of unsafe code. The memory is divided between the system and us at any moment:
//! what lies in the ring is the system's to write, from where it last stopped in the first buffer; what
//! a completion has told of is ours, until the buffer has gone back. The system writes only while it is
//! entered, since the ring defers all work to that ([`Ring`](super::ring::Ring)).

#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// The group of buffers that receives choose from; there is one.
pub(super) const GROUP: u16 = 0;

/// Buffers where one holds what several sockets have received, one behind the other (Linux 6.12).
const SHARED_BUFFERS: u16 = 4;
/// Bytes of a buffer where each holds what one socket has received.
const OWN_BUFFER: usize = 4096;
/// Buffers of a ring, at most: the system's bound.
const MAX_BUFFERS: u16 = 1 << 15;
/// `IOU_PBUF_RING_INC`: a buffer is filled by as many receives as fit in it.
const INCREMENTAL: u16 = 2;
/// What the system asks for is a page of its own, which has as much at most.
const ALIGNMENT: usize = 64 * 1024;

/// A ring of buffers that lie side by side.
#[derive(Debug)]
pub(super) struct BufferRing {
    /// The ring's entries, then the buffers.
    memory: NonNull<u8>,
    layout: Layout,
    /// A buffer holds what several sockets have received.
    is_shared: bool,
    /// A power of two.
    count: u16,
    size: u32,
    /// Offset of the first buffer.
    first: usize,
    /// Entries added since the beginning, wrapping.
    tail: u16,
    /// Bytes of each buffer that completions have told of.
    told: Box<[u32]>,
    /// Buffers that the system has filled.
    spent: Vec<u16>,
}

/// Where bytes are that have been received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Received(Range<u32>);

impl Received {
    /// Grows by what lies directly behind; gives back what lies elsewhere.
    pub(super) fn try_extend(&mut self, next: Received) -> Result<(), Received> {
        if self.0.end != next.0.start {
            return Err(next);
        }
        self.0.end = next.0.end;
        Ok(())
    }
}

// SAFETY: the memory is owned, like a box; nothing else refers to it but the system.
unsafe impl Send for BufferRing {}

impl BufferRing {
    /// Registers buffers of `total` bytes in all with a ring that has none.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn register(submitter: &Submitter<'_>, total: usize) -> io::Result<BufferRing> {
        let mut shared = BufferRing::divided(total, SHARED_BUFFERS);
        shared.is_shared = true;
        match shared.register_as(submitter, INCREMENTAL) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            result => return result.map(|()| shared),
        }
        let count = u16::try_from(total / OWN_BUFFER).unwrap_or(MAX_BUFFERS);
        let own = BufferRing::divided(total, count);
        own.register_as(submitter, 0)?;
        Ok(own)
    }

    /// `total` bytes in so many buffers or somewhat fewer, a power of two.
    fn divided(total: usize, count: u16) -> BufferRing {
        let total = total.max(1);
        let most = u16::try_from(total).unwrap_or(u16::MAX);
        let count = 1 << count.clamp(1, most.min(MAX_BUFFERS)).ilog2();
        BufferRing::allocate(count, total / usize::from(count))
    }

    fn allocate(count: u16, size: usize) -> BufferRing {
        let first = usize::from(count) * size_of::<BufRingEntry>();
        let bytes = first + usize::from(count) * size;
        let Ok(layout) = Layout::from_size_align(bytes, ALIGNMENT) else {
            unreachable!("{bytes} bytes are more than there can be")
        };
        // SAFETY: the layout has a size: there is at least one entry.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(memory) = NonNull::new(memory) else {
            handle_alloc_error(layout)
        };
        let mut ring = BufferRing {
            memory,
            layout,
            is_shared: false,
            count,
            #[expect(clippy::cast_possible_truncation, reason = "of a setting of 32 bits")]
            size: size as u32,
            first,
            tail: 0,
            told: vec![0; usize::from(count)].into_boxed_slice(),
            spent: Vec::with_capacity(usize::from(count)),
        };
        (0..count).for_each(|buffer| ring.give(buffer));
        ring.publish();
        ring
    }

    fn register_as(&self, submitter: &Submitter<'_>, flags: u16) -> io::Result<()> {
        let address = self.memory.as_ptr() as u64;
        // SAFETY: the memory begins with as many entries, is aligned to a page, and outlives the
        // ring: `Ring` drops that first, after cancelling what is under way.
        unsafe { submitter.register_buf_ring_with_flags(address, self.count, GROUP, flags) }
    }

    /// Whether a buffer holds what several sockets have received (Linux 6.12).
    pub(super) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Where the bytes are that a completion has told of: `len` of them, in the buffer of that number,
    /// behind those that were told before. So completions must be told of in the order in which they
    /// came. `is_spent`: no more receives will fill the buffer.
    ///
    /// Buffers lie side by side and are filled one after another, so what a socket has received in
    /// several portions often is one.
    pub(super) fn tell(&mut self, buffer: u16, len: u32, is_spent: bool) -> Received {
        let told = &mut self.told[usize::from(buffer)];
        let begin = u32::from(buffer) * self.size + *told;
        *told += len;
        assert!(*told <= self.size, "more than a buffer holds");
        if is_spent {
            self.spent.push(buffer);
        }
        Received(begin..begin + len)
    }

    /// The bytes that completions have told of. They last until their buffer goes
    /// [back](BufferRing::give_back).
    pub(super) fn bytes(&mut self, received: &Received) -> &mut [u8] {
        let Received(range) = received;
        // SAFETY: within the memory: only `tell` makes ranges, within buffers that lie side by side.
        let bytes = unsafe { self.memory.add(self.first + range.start as usize) };
        // SAFETY: in bounds and initialised (zeroed at first); the ring is borrowed for as long as the
        // bytes are, and the system writes only while it is entered.
        unsafe { std::slice::from_raw_parts_mut(bytes.as_ptr(), range.len()) }
    }

    /// Gives back all buffers that are spent, with the next [`BufferRing::publish`]. What they held is
    /// ours until then.
    pub(super) fn give_back(&mut self) {
        let mut spent = std::mem::take(&mut self.spent);
        spent.drain(..).for_each(|buffer| self.give(buffer));
        self.spent = spent;
    }

    fn give(&mut self, buffer: u16) {
        self.told[usize::from(buffer)] = 0;
        let offset = self.first + usize::from(buffer) * self.size as usize;
        // SAFETY: within the memory: the number was an index.
        let address = unsafe { self.memory.add(offset) };
        let place = usize::from(self.tail & (self.count - 1));
        let entries = self.memory.cast::<BufRingEntry>();
        // SAFETY: there are `count` entries at the beginning, aligned by the page.
        let mut entry = unsafe { entries.add(place) };
        // SAFETY: initialised (zeroed at first); the system reads entries below the tail only, and
        // this one is above until `publish`: no more buffers are given than there are entries.
        let entry = unsafe { entry.as_mut() };
        entry.set_addr(address.as_ptr() as u64);
        entry.set_len(self.size);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the system have the buffers that were given back.
    pub(super) fn publish(&mut self) {
        let base = self.memory.as_ptr().cast::<BufRingEntry>();
        // SAFETY: the base of an aligned ring whose first entry is initialised.
        let tail = unsafe { BufRingEntry::tail(base) };
        // SAFETY: valid and aligned, in memory of ours; only we write it, the system reads it.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: allocated by `alloc_zeroed` with this layout; the system is done with it.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) };
    }
}
