//! What the floor on completions needs of an io_uring, and all of its unsafe code.
//!
//! The kernel works on memory after a call has returned, so this is the argument for every block:
//! it reads the tape and writes to the receive buffers, both of which the ring owns, at addresses
//! that never change; what it has received it does not touch again before the buffer is given back,
//! and what was lent of it has been returned by then; and the memory is freed when the kernel has
//! confirmed that no request is left, otherwise never.
#![allow(unsafe_code)]

use std::io;
use std::mem::ManuallyDrop;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::{BufRingEntry, CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::tape::Tape;

/// Requests that are handed over at once; a greater turn takes several calls.
const REQUESTS: u32 = 4096;
/// Completions there is room for: more than a turn yields, at one send and a few receives for each
/// connection that a process may have.
const COMPLETIONS: u32 = 65_536;
/// Receive buffers; a power of two. Few and large, as bytes are packed into them: what is
/// received soon after is in the core's cache then.
const BUFFERS: u16 = 16;
/// Bytes of a receive buffer.
const BUFFER: u32 = 64 * 1024;
/// The one group of buffers.
const GROUP: u16 = 0;
/// Lets the kernel fill a buffer by several receives (`IOU_PBUF_RING_INC`, Linux 6.12).
const INCREMENTAL: u16 = 2;
/// The completion's buffer stays the kernel's, behind what was received (`IORING_CQE_F_BUF_MORE`).
const BUFFER_GOES_ON: u32 = 1 << 4;
/// The kind of a request, beside the key that its owner has given it.
const KIND: u64 = 3 << 62;
const ACCEPT: u64 = 1 << 62;
const RECEIVE: u64 = 2 << 62;
const SEND: u64 = 3 << 62;
/// A wait is for as many completions as the last one has brought,
/// and after so many microseconds one is enough.
const SOON: u32 = 50;
/// Where there were that many, it is
const MANY: u32 = 16;
/// for as many as these, since the kernel does not look for more than it is asked for, or for twenty.
const ENOUGH: u32 = 128;
/// The limit of a wait that has none: without any, the kernel would take `SOON` for the limit and
/// return with nothing.
const LONG: Duration = Duration::from_secs(3600);

/// A ring with the tape that it sends from and the buffers that it receives into.
pub(super) struct Ring {
    ring: ManuallyDrop<IoUring>,
    tape: ManuallyDrop<Box<Tape>>,
    buffers: Buffers,
    /// Completions since the last wait.
    completed: u32,
    /// The buffer of the last completion, if it was its last.
    spent: Option<u16>,
    /// A thread has taken it.
    enabled: bool,
}

/// Some bytes of the tape.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    /// Bytes of the first frame to leave out; less than a frame.
    pub(super) phase: usize,
    /// Bytes that follow; more than lie in one piece of the tape are not sent.
    pub(super) len: usize,
}

/// What the kernel has done.
#[derive(Debug)]
pub(super) enum Completion<'a> {
    /// A connection was accepted, or accepting failed.
    Accepted {
        stream: io::Result<TcpStream>,
        /// The request goes on: others will follow.
        more: bool,
    },
    /// Bytes were received, or (no bytes) the stream has ended or failed.
    Received {
        key: u64,
        /// Without bytes, zero at the end of the stream, or a negated error number.
        result: i32,
        bytes: &'a [u8],
        more: bool,
    },
    /// So many bytes were sent, or failed to be (a negated error number).
    Sent { key: u64, result: i32 },
}

impl Ring {
    /// A ring that nothing has been asked of. Whichever thread waits first is the only one that
    /// may use it from then on.
    ///
    /// # Errors
    /// When the system refuses, or it is older than Linux 6.12.
    pub(super) fn new(tape: Tape) -> io::Result<Self> {
        let ring: IoUring = IoUring::builder()
            .setup_cqsize(COMPLETIONS)
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_r_disabled()
            .build(REQUESTS)?;
        if !ring.params().is_feature_min_timeout() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let buffers = Buffers::new(&ring)?;
        Ok(Self {
            ring: ManuallyDrop::new(ring),
            tape: ManuallyDrop::new(Box::new(tape)),
            buffers,
            completed: 0,
            spent: None,
            enabled: false,
        })
    }

    /// What is sent.
    pub(super) fn tape(&self) -> &Tape {
        &self.tape
    }

    // Keys of requests are less than 2⁶².

    /// Accepts connections until a completion says that there is no more.
    ///
    /// # Errors
    /// When there is no room for another request, and the system takes none.
    pub(super) fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        let accept = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build();
        self.push(&accept.user_data(ACCEPT))
    }

    /// Receives until a completion says that there is no more.
    ///
    /// # Errors
    /// As [`Ring::accept`].
    pub(super) fn receive(&mut self, stream: &TcpStream, key: u64) -> io::Result<()> {
        let receive = opcode::RecvMulti::new(Fd(stream.as_raw_fd()), GROUP).build();
        self.push(&receive.user_data(RECEIVE | key))
    }

    /// Sends a piece of the tape, if the socket has room for all of it. Otherwise a completion tells
    /// before the next wait ends how much of it was sent, none being `EAGAIN`.
    ///
    /// # Errors
    /// As [`Ring::accept`].
    #[inline]
    pub(super) fn offer(&mut self, stream: &TcpStream, piece: Piece, key: u64) -> io::Result<()> {
        let send = self.tape_to(stream, piece, libc::MSG_DONTWAIT);
        let send = send
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(SEND | key);
        self.push(&send)
    }

    /// Sends a piece of the tape, when there is room. A completion tells when it is all sent.
    ///
    /// # Errors
    /// As [`Ring::accept`].
    pub(super) fn send(&mut self, stream: &TcpStream, piece: Piece, key: u64) -> io::Result<()> {
        let send = self.tape_to(stream, piece, 0).user_data(SEND | key);
        self.push(&send)
    }

    #[inline]
    fn tape_to(&self, stream: &TcpStream, piece: Piece, flags: i32) -> squeue::Entry {
        let bytes = self.tape.next(piece.phase, piece.len);
        // A tape is far shorter than this.
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        opcode::Send::new(Fd(stream.as_raw_fd()), bytes.as_ptr(), len)
            .flags(flags | libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build()
    }

    #[inline]
    fn push(&mut self, request: &squeue::Entry) -> io::Result<()> {
        // SAFETY: the memory that a request names is the tape, which lives as long as the kernel
        // may read it. A descriptor that is closed before it is looked at is an error, no more.
        while unsafe { self.ring.submission().push(request) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }

    /// Hands over what was asked for, and waits: for a few completions that come soon, if the last wait
    /// brought several; otherwise for the first one, at most for `timeout`.
    ///
    /// # Errors
    /// When the system refuses, or another thread has waited before.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if !self.enabled {
            self.ring.submitter().register_enable_rings()?;
            self.enabled = true;
        }
        let limit = Timespec::from(timeout.unwrap_or(LONG));
        let enough = match std::mem::take(&mut self.completed) {
            0 => 1,
            MANY.. => ENOUGH,
            completed => completed,
        };
        let mut wait = SubmitArgs::new().timespec(&limit);
        if enough > 1 {
            wait = wait.min_wait_usec(SOON);
        }
        match self
            .ring
            .submitter()
            .submit_with_args(enough as usize, &wait)
        {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR)) => Ok(()),
            waited => waited.map(drop),
        }
    }

    /// The next completion, if there is one.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Completion<'_>> {
        if let Some(buffer) = self.spent.take() {
            self.buffers.give(buffer);
        }
        let entry = self.ring.completion().next()?;
        self.completed += 1;
        let (result, flags) = (entry.result(), entry.flags());
        let (kind, key) = (entry.user_data() & KIND, entry.user_data() & !KIND);
        let more = cqueue::more(flags);
        Some(match kind {
            ACCEPT => Completion::Accepted {
                stream: accepted(result),
                more,
            },
            RECEIVE => {
                let buffer = cqueue::buffer_select(flags);
                self.spent = buffer.filter(|_| flags & BUFFER_GOES_ON == 0);
                let len = usize::try_from(result).unwrap_or_default();
                Completion::Received {
                    key,
                    result,
                    bytes: buffer.map_or(&[], |buffer| self.buffers.received(buffer, len)),
                    more,
                }
            }
            _ => Completion::Sent { key, result },
        })
    }
}

/// The connection that a completion tells of.
fn accepted(result: i32) -> io::Result<TcpStream> {
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    // SAFETY: the kernel has just made this descriptor, and tells of it once.
    Ok(unsafe { TcpStream::from_raw_fd(result) })
}

impl Drop for Ring {
    fn drop(&mut self) {
        let all = CancelBuilder::any().all();
        let idle = match self.ring.submitter().register_sync_cancel(None, all) {
            Err(error) => error.raw_os_error() == Some(libc::ENOENT),
            Ok(()) => true,
        };
        // SAFETY: not used again, here or below.
        unsafe { ManuallyDrop::drop(&mut self.ring) };
        if idle {
            // SAFETY: as above; and no request is left that reads it.
            unsafe { ManuallyDrop::drop(&mut self.tape) };
            self.buffers.free();
        }
    }
}

/// The receive buffers, and the ring by which the kernel takes them.
struct Buffers {
    /// A page whose first bytes are the entries.
    entries: *mut Page,
    memory: *mut [u8],
    /// Bytes of each buffer that have been received into.
    filled: [usize; BUFFERS as usize],
    /// Buffers ever given, as the kernel counts them.
    tail: u16,
}

/// The entries must begin at a page.
#[repr(align(4096))]
struct Page(#[expect(dead_code, reason = "the kernel and we access it by pointers")] [u8; 4096]);

const _: () = assert!(size_of::<Page>() >= BUFFERS as usize * size_of::<BufRingEntry>());

// SAFETY: the memory behind the pointers is its own, and nothing in it belongs to a thread.
unsafe impl Send for Buffers {}

impl Buffers {
    /// Registers the buffers with a ring.
    fn new(ring: &IoUring) -> io::Result<Self> {
        let mut buffers = Self {
            entries: Box::into_raw(Box::new(Page([0; 4096]))),
            memory: Box::into_raw(
                vec![0; usize::from(BUFFERS) * BUFFER as usize].into_boxed_slice(),
            ),
            filled: [0; BUFFERS as usize],
            tail: 0,
        };
        let (submitter, entries) = (ring.submitter(), buffers.entries as u64);
        // SAFETY: the entries are aligned and long enough, and stay as long as the ring.
        let registered =
            unsafe { submitter.register_buf_ring_with_flags(entries, BUFFERS, GROUP, INCREMENTAL) };
        if let Err(error) = registered {
            buffers.free();
            return Err(error);
        }
        (0..BUFFERS).for_each(|buffer| buffers.give(buffer));
        Ok(buffers)
    }

    /// The next bytes that the kernel has received into a buffer.
    ///
    /// # Panics
    /// When they lie outside it.
    #[inline]
    fn received(&mut self, buffer: u16, len: usize) -> &[u8] {
        let filled = &mut self.filled[usize::from(buffer)];
        let start = usize::from(buffer) * BUFFER as usize + *filled;
        *filled += len;
        assert!(*filled <= BUFFER as usize, "a buffer has {BUFFER} bytes");
        let bytes = self.memory.cast::<u8>().wrapping_add(start);
        // SAFETY: they lie in the buffer, in memory that was initialised; the kernel is done with
        // them, and gets the buffer again by `give`, for which the borrow must have ended.
        unsafe { std::slice::from_raw_parts(bytes, len) }
    }

    /// Gives a buffer to the kernel, all of it.
    fn give(&mut self, buffer: u16) {
        self.filled[usize::from(buffer)] = 0;
        let memory = self.memory.cast::<u8>();
        let memory = memory.wrapping_add(usize::from(buffer) * BUFFER as usize);
        let entries = self.entries.cast::<BufRingEntry>();
        let entry = entries.wrapping_add(usize::from(self.tail % BUFFERS));
        // SAFETY: it lies in the page; the kernel does not look at it before the tail has passed it.
        let entry = unsafe { &mut *entry };
        entry.set_addr(memory as u64);
        entry.set_len(BUFFER);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the first entry is in the page.
        let tail = unsafe { BufRingEntry::tail(entries) };
        // SAFETY: aligned, in the page, and from now on only accessed atomically, by us and the
        // kernel; setting an entry leaves it alone.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// Frees the memory; it is not used again, by the kernel either.
    fn free(&mut self) {
        // SAFETY: from `Box::into_raw`, and freed once.
        drop(unsafe { Box::from_raw(self.entries) });
        // SAFETY: as above.
        drop(unsafe { Box::from_raw(self.memory) });
    }
}
