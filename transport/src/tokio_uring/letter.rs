//! Requests to the runtime's ring, and the memory that they name.
//!
//! This file is a leaf like those of unsafe code, though the word does not occur in it: tokio-uring
//! takes a request with whatever addresses it holds, and trusts the value that comes along to keep them
//! valid. That value is the [`Letter`], on the heap:
//!
//! - The bytes are those of [slices](crate::buffer::Slice), which nobody writes while there is one; the
//!   letter has them.
//! - Header and vectors are the letter's own. They are written before the request is made and not
//!   touched, and the box not opened, until it comes back.
//! - The descriptor is that of a socket which the letter shares, so its number is nobody else's.
//!
//! Whoever drops a [`Request`] leaves its letter to the runtime, which keeps it until the system has
//! let go of it, if that is at the runtime's own end.

use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::ptr;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio_uring::{InFlightOneshot, OneshotOutputTransform, UnsubmittedOneshot};
use tokio_uring_requests::types::Fd;
use tokio_uring_requests::{cqueue, opcode};

use crate::buffer::SendQueue;
use crate::socket::{GATHERED, SystemSocket};

/// A send never waits: what the system has no room for is told at once.
const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// What one request sends.
pub(super) struct Letter {
    /// What is to be sent.
    pub(super) queue: SendQueue,
    socket: Option<Rc<SystemSocket>>,
    vectors: Vec<libc::iovec>,
    header: libc::msghdr,
}

/// A letter that the runtime has.
pub(super) struct Request(InFlightOneshot<Box<Letter>, Answer>);

impl Letter {
    /// An empty one.
    pub(super) fn new() -> Box<Letter> {
        Box::new(Letter {
            queue: SendQueue::new(),
            socket: None,
            vectors: Vec::new(),
            header: libc::msghdr {
                msg_name: ptr::null_mut(),
                msg_namelen: 0,
                msg_iov: ptr::null_mut(),
                msg_iovlen: 0,
                msg_control: ptr::null_mut(),
                msg_controllen: 0,
                msg_flags: 0,
            },
        })
    }

    /// Has the runtime send on `socket` what the queue holds, up to [`GATHERED`] slices of it.
    ///
    /// # Panics
    /// Outside a tokio-uring runtime.
    pub(super) fn submit(mut self: Box<Letter>, socket: Rc<SystemSocket>) -> Request {
        let descriptor = Fd(socket.as_raw_fd());
        self.socket = Some(socket);
        let entry = match self.queue.single() {
            Some(slice) => {
                let bytes = slice.as_bytes();
                // A slice's length has 32 bits.
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                opcode::Send::new(descriptor, bytes.as_ptr(), length)
                    .flags(SEND_FLAGS)
                    .build()
            }
            None => {
                self.gather();
                opcode::SendMsg::new(descriptor, &raw const self.header)
                    .flags(SEND_FLAGS.cast_unsigned())
                    .build()
            }
        };
        Request(UnsubmittedOneshot::new(self, Answer, entry).submit())
    }

    fn gather(&mut self) {
        let slices = self.queue.iter().take(GATHERED);
        self.vectors.clear();
        self.vectors.extend(slices.map(|slice| libc::iovec {
            iov_base: slice.as_bytes().as_ptr().cast_mut().cast(),
            iov_len: slice.len(),
        }));
        self.header.msg_iov = self.vectors.as_mut_ptr();
        self.header.msg_iovlen = self.vectors.len();
    }
}

impl Request {
    /// The letter, and how many bytes of it were sent. The task is woken when they are known.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<usize>, Box<Letter>)> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// Reads what the system answers to a letter.
struct Answer;

impl OneshotOutputTransform for Answer {
    type Output = (io::Result<usize>, Box<Letter>);
    type StoredData = Box<Letter>;

    fn transform_oneshot_output(
        self,
        mut letter: Box<Letter>,
        answer: cqueue::Entry,
    ) -> Self::Output {
        letter.socket = None;
        let sent = usize::try_from(answer.result());
        let sent = sent.map_err(|_| io::Error::from_raw_os_error(-answer.result()));
        (sent, letter)
    }
}

/// Puts a request that does nothing into the runtime's ring.
///
/// # Panics
/// Outside a tokio-uring runtime.
pub(super) fn submit_nothing() {
    let entry = opcode::Nop::new().build();
    drop(UnsubmittedOneshot::new((), Nothing, entry).submit());
}

struct Nothing;

impl OneshotOutputTransform for Nothing {
    type Output = ();
    type StoredData = ();

    fn transform_oneshot_output(self, (): (), _: cqueue::Entry) {}
}
