//! The ring: requests go in, completions come out.
//!
//! This file is a leaf of unsafe code: what it offers is safe to call in any order. Whatever a request
//! points to is owned here until the system has let go of it:
//!
//! - A send is made not to wait ([`SEND_FLAGS`]), so it is over when [`Ring::enter`] has taken it; its
//!   bytes, and what describes them, are kept in [`Batch`] until then.
//! - A receive points to nothing: the system chooses a buffer of [`BufferRing`], which lives as long.
//!
//! Requests name descriptors by number. Whoever closes one that a request names which was not taken yet
//! must [enter](Ring::enter) before, or the request meets whatever has that number next.

#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Submitter, cqueue, opcode, squeue};

use super::buffers::{BufferRing, GROUP, Received};
use super::gathering::Gathering;
use super::token::Token;
use crate::buffer::{SendQueue, Slice};
use crate::driver::SocketKey;

/// Slices of one send.
pub(super) const GATHERED: usize = 64;
/// Slices of all sends of a batch that have more than one.
const GATHERED_IN_BATCH: usize = 4096;

/// A send never waits: what the system has no room for comes back as a failure, at once. And a send of
/// which it takes a part only is a failure, too, or nobody would hear of it: of success it says nothing.
const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// How long [`Ring::enter`] waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parking {
    /// Not at all, and work that was deferred is left so: it only submits.
    No,
    /// Not at all, but what has happened is told.
    Look,
    /// Until something happened, for at most that long.
    Until(Option<Duration>),
}

/// What became of a request.
#[derive(Debug)]
pub(super) struct Completion {
    pub(super) token: Token,
    /// What a receive has brought.
    pub(super) received: Received,
    /// As a system call returns it: the negative is an error's number.
    pub(super) result: i32,
    flags: u32,
}

impl Completion {
    /// Whether the request goes on and will have more completions.
    pub(super) fn goes_on(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// The result as a number of bytes.
    pub(super) fn bytes(&self) -> io::Result<usize> {
        usize::try_from(self.result).map_err(|_| self.error())
    }

    /// The error that the result stands for.
    pub(super) fn error(&self) -> io::Error {
        io::Error::from_raw_os_error(self.result.wrapping_neg())
    }
}

/// What was handed over to be sent since the ring was last entered.
struct Batch {
    sends: Vec<Send>,
    slices: Vec<Slice>,
    /// What sends of several slices are described by. Neither grows: the system is told addresses.
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::msghdr>,
}

/// Where the slices of a send are.
#[derive(Clone, Copy, Debug)]
struct Send {
    key: SocketKey,
    first: usize,
}

/// A ring of one thread.
pub(super) struct Ring {
    /// Dropped before the memory that the system was told of.
    ring: ManuallyDrop<IoUring>,
    buffers: ManuallyDrop<BufferRing>,
    batch: Batch,
    /// How many completions a wait is for, where it may be for more than one.
    gathering: Option<Gathering>,
    /// How the system is told that a wait is no wait for a disk. It would have this thread's idleness
    /// count as one, otherwise.
    idle: EnterFlags,
    /// The ring was made on some thread and belongs to the first that enters it.
    is_enabled: bool,
    /// The system takes nothing any more: no more requests are made.
    is_broken: bool,
    /// The number of the batch, wrapping.
    pub(super) submission: u16,
}

/// Microseconds that a wait gathers completions for; then one is enough. (Linux 6.12)
const GATHERING_TIME: u32 = 50;

/// A wait that gathers and has no end spins in the system: one without a limit has this one.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

// SAFETY: the addresses in `batch` point into what it owns; requests are made and taken by one thread
// at a time, which the system checks.
unsafe impl std::marker::Send for Ring {}

impl Ring {
    /// A ring with `receive_buffer` bytes to receive into, and room for so many requests and
    /// completions.
    ///
    /// It is made on a thread of its own: when a ring ends, the system interrupts the thread that
    /// made it, whose system calls would fail (EINTR) for a reason that its owner cannot know.
    ///
    /// # Errors
    /// What the system says: it has no such rings, or not for us.
    pub(super) fn new(receive_buffer: usize, requests: u32, completions: u32) -> io::Result<Ring> {
        let make = move || Ring::make(receive_buffer, requests, completions);
        let thread = std::thread::Builder::new().spawn(make)?;
        match thread.join() {
            Ok(ring) => ring,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn make(receive_buffer: usize, requests: u32, completions: u32) -> io::Result<Ring> {
        let ring = IoUring::builder()
            .setup_r_disabled()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(completions)
            .build(requests)?;
        let params = ring.params();
        if !params.is_feature_skip_cqe_on_success() || !params.is_feature_nodrop() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let gathering = params.is_feature_min_timeout().then(Gathering::default);
        let idle = match params.is_feature_no_iowait() {
            true => EnterFlags::NO_IOWAIT,
            false => EnterFlags::empty(),
        };
        may_be_entered(&ring.submitter())?;
        let buffers = BufferRing::register(&ring.submitter(), receive_buffer)?;
        let requests = ring.params().sq_entries() as usize;
        Ok(Ring {
            ring: ManuallyDrop::new(ring),
            buffers: ManuallyDrop::new(buffers),
            batch: Batch {
                sends: Vec::with_capacity(requests),
                slices: Vec::with_capacity(requests),
                vectors: Vec::with_capacity(GATHERED_IN_BATCH),
                headers: Vec::with_capacity(requests),
            },
            gathering,
            idle,
            is_enabled: false,
            is_broken: false,
            submission: 0,
        })
    }

    /// Whether the system has all that there is use for here.
    pub(super) fn has_everything(&self) -> bool {
        self.gathering.is_some() && self.buffers.is_shared()
    }

    /// Whether the ring must be entered before another send of so many slices, or another request.
    pub(super) fn is_full(&mut self, slices: usize) -> bool {
        let vectors = self.batch.vectors.len() + slices;
        !self.is_broken && (self.ring.submission().is_full() || vectors > GATHERED_IN_BATCH)
    }

    /// Sends what is in the queue, at most [`GATHERED`] slices; it is empty afterwards. A completion
    /// comes only if the system does not take all: see [`Ring::unsuccessful`].
    ///
    /// # Panics
    /// When the ring is [full](Ring::is_full).
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>, queue: &mut SendQueue, key: SocketKey) {
        if self.is_broken {
            return queue.clear();
        }
        let descriptor = Fd(socket.as_raw_fd());
        let Batch {
            sends,
            slices,
            vectors,
            headers,
        } = &mut self.batch;
        let position = u32::try_from(sends.len()).unwrap_or(u32::MAX);
        let first = slices.len();
        sends.push(Send { key, first });
        slices.extend(queue.drain());
        let request = if let [slice] = &slices[first..] {
            let bytes = slice.as_bytes();
            #[expect(clippy::cast_possible_truncation, reason = "a slice's length is u32")]
            opcode::Send::new(descriptor, bytes.as_ptr(), bytes.len() as u32)
                .flags(SEND_FLAGS)
                .build()
        } else {
            let begin = vectors.len();
            let many = slices[first..].iter().map(|slice| libc::iovec {
                iov_base: slice.as_bytes().as_ptr().cast_mut().cast(),
                iov_len: slice.len(),
            });
            vectors.extend(many);
            assert!(
                vectors.len() <= GATHERED_IN_BATCH,
                "addresses of vectors do not change"
            );
            assert!(
                headers.len() < headers.capacity(),
                "addresses of headers do not change"
            );
            headers.push(libc::msghdr {
                msg_name: std::ptr::null_mut(),
                msg_namelen: 0,
                msg_iov: vectors[begin..].as_mut_ptr(),
                msg_iovlen: vectors.len() - begin,
                msg_control: std::ptr::null_mut(),
                msg_controllen: 0,
                msg_flags: 0,
            });
            let header = headers.last().map_or(std::ptr::null(), std::ptr::from_ref);
            opcode::SendMsg::new(descriptor, header)
                .flags(SEND_FLAGS.cast_unsigned())
                .build()
        };
        self.push(
            &request
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data(Token::Send(position).to_bits()),
        );
    }

    /// Whose the send at that position is, and its slices.
    pub(super) fn unsuccessful(&self, position: u32) -> Option<(SocketKey, &[Slice])> {
        let Batch { sends, slices, .. } = &self.batch;
        let position = position as usize;
        let Send { key, first } = *sends.get(position)?;
        let end = sends
            .get(position + 1)
            .map_or(slices.len(), |next| next.first);
        Some((key, &slices[first..end]))
    }

    /// Lets go of what was sent. The completions of the sends must have been taken: see
    /// [`Ring::unsuccessful`].
    pub(super) fn forget_sent(&mut self) {
        assert!(
            self.ring.submission().is_empty(),
            "the system has not taken all requests"
        );
        self.batch.sends.clear();
        self.batch.slices.clear();
        self.batch.vectors.clear();
        self.batch.headers.clear();
    }

    /// Receives for as long as nothing goes wrong: a completion for each portion.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>, token: Token) {
        if let Some(gathering) = &mut self.gathering {
            gathering.hurry();
        }
        let request = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), GROUP).build();
        self.push(&request.user_data(token.to_bits()));
    }

    /// Watches a descriptor, once or for as long as it is there.
    pub(super) fn watch(
        &mut self,
        watched: BorrowedFd<'_>,
        events: i16,
        is_multi: bool,
        token: Token,
    ) {
        #[expect(clippy::cast_sign_loss, reason = "a set of bits")]
        let request = opcode::PollAdd::new(Fd(watched.as_raw_fd()), events as u32)
            .multi(is_multi)
            .build();
        self.push(&request.user_data(token.to_bits()));
    }

    /// Ends the request of that token.
    pub(super) fn cancel(&mut self, token: Token) {
        let request = opcode::AsyncCancel::new(token.to_bits()).build();
        self.push(
            &request
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data(Token::Ignored.to_bits()),
        );
    }

    /// # Panics
    /// When the ring is full.
    fn push(&mut self, request: &squeue::Entry) {
        if self.is_broken {
            return;
        }
        let mut requests = self.ring.submission();
        // SAFETY: what requests point to is owned by `batch` and `buffers` for as long as the system
        // may use it (see the top of this file); the rest is numbers.
        let pushed = unsafe { requests.push(request) };
        assert!(pushed.is_ok(), "there is room for a request");
    }

    /// Whether a number of requests can be made before the ring must be entered.
    pub(super) fn has_room(&mut self, requests: usize) -> bool {
        let queue = self.ring.submission();
        self.is_broken || queue.capacity() - queue.len() >= requests
    }

    /// Has the system take all requests, and waits.
    ///
    /// # Errors
    /// What makes the ring unusable. Requests that are made then are dropped.
    pub(super) fn enter(&mut self, parking: Parking) -> io::Result<()> {
        let entered = self.try_enter(parking);
        self.is_broken = entered.is_err();
        entered
    }

    fn try_enter(&mut self, parking: Parking) -> io::Result<()> {
        if !self.is_enabled {
            self.ring.submitter().register_enable_rings()?;
            self.is_enabled = true;
        }
        self.buffers.publish();
        self.submission = self.submission.wrapping_add(1);
        let mut parking = parking;
        loop {
            match self.enter_once(parking) {
                Err(error) if error.raw_os_error() == Some(libc::ETIME) => {}
                // A signal, or completions that wait for room in the ring.
                Err(error)
                    if matches!(
                        error.raw_os_error(),
                        Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)
                    ) => {}
                result => result?,
            }
            if self.ring.submission().is_empty() {
                return Ok(());
            }
            parking = Parking::Look;
        }
    }

    fn enter_once(&mut self, parking: Parking) -> io::Result<()> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a ring holds fewer than 2³²"
        )]
        let requests = self.ring.submission().len() as u32;
        let mut arguments = SubmitArgs::new();
        let mut wanted = 0;
        let mut flags = EnterFlags::EXT_ARG;
        let until;
        if parking != Parking::No {
            flags |= EnterFlags::GETEVENTS;
        }
        if let Parking::Until(timeout) = parking {
            wanted = self.gathering.as_mut().map_or(1, Gathering::decide);
            if wanted > 1 {
                arguments = arguments.min_wait_usec(GATHERING_TIME);
            }
            flags |= self.idle;
            until = Timespec::from(timeout.unwrap_or(LONGEST_WAIT));
            arguments = arguments.timespec(&until);
        }
        let submitter = self.ring.submitter();
        // SAFETY: the arguments are of the kind that EXT_ARG says, and live until the call returns.
        unsafe { submitter.enter(requests, wanted, flags.bits(), Some(&arguments)) }?;
        Ok(())
    }

    /// The bytes of what was received since [`Ring::give_back`].
    #[inline]
    pub(super) fn bytes(&mut self, received: &Received) -> &mut [u8] {
        self.buffers.bytes(received)
    }

    /// Lets the system have all buffers that it has filled, from the next [`Ring::enter`] on. What
    /// completions have brought so far is lost.
    pub(super) fn give_back(&mut self) {
        self.buffers.give_back();
    }

    /// Whether completions wait for room among those that [`Ring::completion`] takes. They come
    /// with the next [`Ring::enter`].
    pub(super) fn has_overflown(&mut self) -> bool {
        self.ring.submission().cq_overflow()
    }

    /// The next completion.
    #[inline]
    pub(super) fn completion(&mut self) -> Option<Completion> {
        let entry = self.ring.completion().next()?;
        if let Some(gathering) = &mut self.gathering {
            gathering.count(entry.user_data());
        }
        let (result, flags) = (entry.result(), entry.flags());
        let received = match cqueue::buffer_select(flags) {
            Some(buffer) => {
                let len = u32::try_from(result).unwrap_or(0);
                self.buffers.tell(buffer, len, !cqueue::buffer_more(flags))
            }
            None => Received::default(),
        };
        Some(Completion {
            token: Token::from_bits(entry.user_data()),
            received,
            result,
            flags,
        })
    }
}

/// Whether we may enter a ring. This one is not enabled yet, which is what the system must say.
fn may_be_entered(submitter: &Submitter<'_>) -> io::Result<()> {
    // SAFETY: nothing is submitted, and there is no argument.
    match unsafe { submitter.enter::<libc::sigset_t>(0, 0, 0, None) } {
        Err(error) if error.raw_os_error() != Some(libc::EBADFD) => Err(error),
        _ => Ok(()),
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // What is under way is over before the memory that it uses is given back. Only the thread
        // that the ring belongs to can see to that: on another one the memory stays.
        let everything = CancelBuilder::any().all();
        let is_over = match self.ring.submitter().register_sync_cancel(None, everything) {
            Ok(()) => true,
            Err(error) => error.raw_os_error() == Some(libc::ENOENT) || !self.is_enabled,
        };
        // SAFETY: dropped here, once, and not used any more.
        unsafe { ManuallyDrop::drop(&mut self.ring) };
        if is_over {
            // SAFETY: dropped here, once, and not used any more, by the system neither.
            unsafe { ManuallyDrop::drop(&mut self.buffers) };
        }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("is_enabled", &self.is_enabled)
            .field("submission", &self.submission)
            .finish_non_exhaustive()
    }
}
