//! How much memory this process holds for its sockets, counted where it is allocated.
//!
//! Whoever allocates for sockets holds a [`Charge`] beside what it allocated; the sum of all is
//! [`charged`]. Chunks and the queues of pending sends are charged here, by [`buffer`](crate::buffer);
//! services charge what they keep. A chunk that ten thousand queues refer to is charged once.
//!
//! The sum is one of the process, whatever number of drivers and services there are in it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Alone in its cache lines: shards that read it must not wait for what lies beside it.
#[repr(align(128))]
struct Sum(AtomicUsize);

static SUM: Sum = Sum(AtomicUsize::new(0));

/// Bytes charged in this process.
///
/// While other threads allocate it is what it was a moment ago.
pub fn charged() -> usize {
    SUM.0.load(Ordering::Relaxed)
}

/// Bytes of memory that are held, counted in [`charged`] until this is dropped.
///
/// ```
/// use throng_transport::memory::{Charge, charged};
///
/// let before = charged();
/// let mut charge = Charge::new(1000);
/// charge.set(300);
/// assert_eq!(charged() - before, 300);
/// drop(charge);
/// assert_eq!(charged(), before);
/// ```
#[derive(Debug, Default)]
pub struct Charge {
    bytes: usize,
}

impl Charge {
    /// A charge of so many bytes.
    pub fn new(bytes: usize) -> Charge {
        let mut charge = Charge::default();
        charge.set(bytes);
        charge
    }

    /// Changes how many bytes are held. Where they are what they were, nothing is shared with other
    /// threads.
    #[inline]
    pub fn set(&mut self, bytes: usize) {
        if bytes != self.bytes {
            self.change(bytes);
        }
    }

    #[cold]
    fn change(&mut self, bytes: usize) {
        // Each charge is in the sum before it is taken off, so the sum never wraps.
        if bytes > self.bytes {
            SUM.0.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            SUM.0.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}
