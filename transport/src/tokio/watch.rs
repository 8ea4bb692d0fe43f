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

use crate::driver::Sent;
use crate::listener::Acceptor;
use crate::readiness::Edge;
use crate::socket::{SystemSocket, unsupported};

/// See the interest of the readiness driver: a receive stops at urgent data.
#[cfg(target_os = "linux")]
const INTEREST: Interest = BOTH_WAYS.add(Interest::PRIORITY);
#[cfg(not(target_os = "linux"))]
const INTEREST: Interest = BOTH_WAYS;
const BOTH_WAYS: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// Times that a write is tried in one go because there might be room by now.
const TRIES: usize = 3;

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
    /// There may be room that nothing was written to, and nobody will say so again.
    has_untried_room: bool,
}

/// What the runtime knows of the room to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// There was some, and nobody has heard of it before.
    Some,
    /// A write fails, or the runtime shuts down: nothing will be heard of any more.
    Moot,
    /// None that was not heard of. The bell rings when there is.
    None,
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
            has_untried_room: false,
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
        if self.wants_room {
            edge.writable = std::mem::take(&mut self.has_untried_room) || self.has_room();
        }
        // The read side has nothing more to tell; of a reset behind the end the other one does, once it
        // has told what it knows.
        while edge.closed {
            let room = self.poll_room();
            edge.writable |= room != Room::None;
            if room != Room::Some {
                break;
            }
        }
        edge
    }

    /// Calls `write` until it is done, or has said last that there is no room. The bell rings when there
    /// may be some.
    pub(crate) fn write(
        &mut self,
        mut write: impl FnMut(&Self) -> io::Result<Sent>,
    ) -> io::Result<Sent> {
        for _ in 0..TRIES {
            if write(self)? == Sent::Done {
                self.wants_room = false;
                self.has_untried_room = false;
                return Ok(Sent::Done);
            }
            // What the runtime heard before this write says nothing of the room behind it.
            if !self.has_room() {
                return Ok(Sent::Pending);
            }
        }
        self.has_untried_room = true;
        self.waker.wake_by_ref();
        Ok(Sent::Pending)
    }

    /// Whether there may be room to write. If not, the bell rings when there is.
    fn has_room(&mut self) -> bool {
        self.wants_room = true;
        self.poll_room() != Room::None
    }

    fn poll_room(&self) -> Room {
        let mut cx = Context::from_waker(&self.waker);
        match self.descriptor.poll_write_ready(&mut cx) {
            Poll::Ready(Ok(mut guard)) => {
                let is_closed = guard.ready().is_write_closed();
                guard.clear_ready();
                if is_closed { Room::Moot } else { Room::Some }
            }
            Poll::Ready(Err(_)) => Room::Moot,
            Poll::Pending => Room::None,
        }
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use tokio::runtime::Builder;
    use tokio::task::yield_now;

    use super::*;
    use crate::socket::{Socket, StdStream};

    #[derive(Default)]
    struct Bell(AtomicBool);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    fn fill(mut near: &UnixStream) {
        while near.write(&[0; 4096]).is_ok() {}
    }

    fn empty(mut far: &UnixStream) {
        while far.read(&mut [0; 4096]).is_ok() {}
    }

    /// The last of the tries finds room behind it that will not be told of again.
    #[test]
    fn room_that_was_not_tried_is_told() {
        let runtime = Builder::new_current_thread().enable_io().build().unwrap();
        let _entered = runtime.enter();
        let (near, far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let shared = near.try_clone().unwrap();
        let socket = Socket::from_std(StdStream::Unix(near)).unwrap();
        let bell = Arc::new(Bell::default());
        let waker = Arc::clone(&bell).into();
        let mut watch = Watch::new(socket.into_system().unwrap(), waker).unwrap();
        let written = watch.write(|watch| {
            fill(&shared);
            empty(&far);
            // As a runtime of several threads may, it hears of the room meanwhile.
            let mut cx = Context::from_waker(Waker::noop());
            while watch.descriptor.poll_write_ready(&mut cx).is_pending() {
                runtime.block_on(yield_now());
            }
            Ok(Sent::Pending)
        });
        assert_eq!(written.unwrap(), Sent::Pending);
        assert!(bell.0.load(Ordering::SeqCst), "somebody is to look at it");
        assert!(watch.edge().writable);
    }
}
