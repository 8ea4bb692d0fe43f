//! What the engine allocates, counted.

#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering};

/// Bytes allocated and not freed by threads that count.
static LIVE: AtomicIsize = AtomicIsize::new(0);
/// The most they have been.
static PEAK: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    static COUNTS: Cell<bool> = const { Cell::new(true) };
}

/// The system's allocator, counting. A thread counts unless it plays clients; what one that counts
/// allocates and another frees stays counted.
#[derive(Debug)]
pub struct Counting;

fn add(bytes: usize) {
    if COUNTS.get() {
        let live = LIVE.fetch_add(bytes.cast_signed(), Ordering::Relaxed) + bytes.cast_signed();
        PEAK.fetch_max(live, Ordering::Relaxed);
    }
}

fn subtract(bytes: usize) {
    if COUNTS.get() {
        LIVE.fetch_sub(bytes.cast_signed(), Ordering::Relaxed);
    }
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        subtract(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Where it moves, both are there for a moment.
        add(size);
        subtract(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Has this thread not count from now on: it plays clients.
pub(super) fn count_no_more_here() {
    COUNTS.set(false);
}

/// Measures what is allocated beyond what was at its beginning.
#[derive(Debug)]
pub struct Watch {
    before: isize,
}

impl Watch {
    /// Begins to measure.
    pub fn begin() -> Watch {
        let before = LIVE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        Watch { before }
    }

    /// Bytes allocated now, beyond those at the beginning.
    pub fn held(&self) -> usize {
        let held = LIVE.load(Ordering::Relaxed) - self.before;
        held.max(0).cast_unsigned()
    }

    /// Bytes allocated at the highest, beyond those at the beginning.
    pub fn peak(&self) -> usize {
        let peak = PEAK.load(Ordering::Relaxed) - self.before;
        peak.max(0).cast_unsigned()
    }
}
