//! Descriptors that the runtime watches (unsafe leaf).
//!
//! The one unsafe operation registers a descriptor, which must stay open and the same until it is
//! deregistered. It is that of a [`Descriptor`], which owns it, and which lies inside the
//! [`AsyncFd`] from its registration to its deregistration; nobody is given it in a way that could
//! replace it, but for `get_mut` in this crate, whose callers leave it in its place.

#![expect(unsafe_code, reason = "one operation, argued above")]

use std::io;
use std::os::fd::AsRawFd;
use std::task::{Context, Poll, Waker};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::listener::Acceptor;
use crate::readiness::Edge;
use crate::socket::{SystemSocket, unsupported};

/// See the interest of the readiness driver: a receive stops at urgent data.
#[cfg(target_os = "linux")]
const INTEREST: Interest = BOTH_WAYS.add(Interest::PRIORITY);
#[cfg(not(target_os = "linux"))]
const INTEREST: Interest = BOTH_WAYS;
const BOTH_WAYS: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// What owns a descriptor, the same from its making to its end; a negative number where it has none.
pub(crate) trait Descriptor: AsRawFd {}

impl Descriptor for SystemSocket {}

impl Descriptor for Acceptor {}

#[cfg(all(target_os = "linux", feature = "tokio-uring"))]
impl<T: Descriptor> Descriptor for std::rc::Rc<T> {}

/// A descriptor whose edges ring a bell.
///
/// The runtime keeps what it heard of a descriptor until it is told to forget that. Here it is
/// forgotten when it is read, so that it is heard of once, as an edge.
#[derive(Debug)]
pub(crate) struct Watch<T: Descriptor> {
    descriptor: AsyncFd<T>,
    waker: Waker,
    wants_room: bool,
}

impl<T: Descriptor> Watch<T> {
    /// Watches a descriptor, in the runtime that the caller is in.
    pub(crate) fn new(descriptor: T, waker: Waker) -> io::Result<Watch<T>> {
        if descriptor.as_raw_fd() < 0 {
            return Err(unsupported());
        }
        // SAFETY: open and the same for as long as the value is, which the `AsyncFd` owns.
        let registered = unsafe { AsyncFd::register_with_interest(descriptor, INTEREST) };
        Ok(Watch {
            descriptor: registered?,
            waker,
            wants_room: false,
        })
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.descriptor.get_mut()
    }

    pub(crate) fn get_ref(&self) -> &T {
        self.descriptor.get_ref()
    }

    /// Watches it no longer.
    pub(crate) fn into_inner(self) -> T {
        self.descriptor.into_inner()
    }

    /// What happened since the last call. The bell rings when there is more.
    pub(crate) fn edge(&mut self) -> Edge {
        let mut edge = Edge::default();
        let mut cx = Context::from_waker(&self.waker);
        while !edge.closed {
            match self.descriptor.poll_read_ready(&mut cx) {
                Poll::Ready(Ok(mut guard)) => {
                    edge.readable = true;
                    edge.closed = guard.ready().is_read_closed();
                    guard.clear_ready();
                }
                // The runtime shuts down: there is nobody who would ring.
                Poll::Ready(Err(_)) => edge.closed = true,
                Poll::Pending => break,
            }
        }
        edge.urgent = self.is_urgent();
        // The read side has nothing more to tell; of a reset behind the end the other one does.
        if self.wants_room || edge.closed {
            edge.writable = self.has_room();
        }
        edge
    }

    /// Whether there may be room to write. If not, the bell rings when there is.
    pub(crate) fn has_room(&mut self) -> bool {
        let mut cx = Context::from_waker(&self.waker);
        self.wants_room = true;
        match self.descriptor.poll_write_ready(&mut cx) {
            Poll::Ready(Ok(mut guard)) => {
                guard.clear_ready();
                true
            }
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        }
    }

    /// All was written.
    pub(crate) fn forget_room(&mut self) {
        self.wants_room = false;
    }

    #[cfg(target_os = "linux")]
    fn is_urgent(&self) -> bool {
        let mut is_urgent = false;
        let _ = self.descriptor.try_io(Interest::PRIORITY, |_| {
            is_urgent = true;
            // Has the runtime forget it.
            Err::<(), _>(io::ErrorKind::WouldBlock.into())
        });
        is_urgent
    }

    #[cfg(not(target_os = "linux"))]
    fn is_urgent(&self) -> bool {
        false
    }
}
