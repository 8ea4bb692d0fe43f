//! What a driver over readiness knows of a socket.

use std::io;

use crate::buffer::SendQueue;
use crate::table;

/// What is known of a socket. Half a cache line where the socket is a descriptor, since every message
/// touches it twice.
#[derive(Debug)]
#[repr(align(32))]
pub(super) struct Entry<S> {
    pub(super) socket: Option<S>,
    /// Why there is nothing to be sent now.
    pub(super) held: Option<Box<Held>>,
    pub(super) generation: u32,
    /// The wait that last received from the socket.
    pub(super) received_in: u32,
    pub(super) paused: bool,
    /// There may be bytes that no further event will announce.
    pub(super) readable: bool,
    /// The end of the stream or an error waits behind the bytes.
    pub(super) hung_up: bool,
    /// A receive may stop short of bytes that are there: urgent data lies between.
    pub(super) urgent: bool,
    /// The socket is on the `again` list.
    pub(super) again: bool,
    /// Our side ends once what is held is sent.
    pub(super) finishing: bool,
    /// The end of the stream has been reported.
    pub(super) ended: bool,
}

/// What a send left behind.
#[derive(Debug)]
pub(super) enum Held {
    /// What the stream did not take yet, or did not pass on.
    Rest {
        queue: SendQueue,
        /// The wait in or after which the stream last refused more.
        refused_in: u32,
    },
    /// The send is done; that is to be reported.
    Sent,
    /// The send failed; reported once the bytes received before are delivered.
    Failure(io::Error),
}

impl<S> Default for Entry<S> {
    fn default() -> Entry<S> {
        Entry {
            socket: None,
            held: None,
            generation: 0,
            received_in: 0,
            paused: false,
            readable: false,
            hung_up: false,
            urgent: false,
            again: false,
            finishing: false,
            ended: false,
        }
    }
}

impl<S> Entry<S> {
    /// Whether a send has failed and that was not reported.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.held.as_deref(), Some(Held::Failure(_)))
    }

    /// Whether a send is done and that was not reported.
    pub(super) fn has_sent(&self) -> bool {
        matches!(self.held.as_deref(), Some(Held::Sent))
    }

    /// Takes the failure of a send.
    pub(super) fn take_failure(&mut self) -> Option<io::Error> {
        match *self
            .held
            .take_if(|held| matches!(**held, Held::Failure(_)))?
        {
            Held::Failure(error) => Some(error),
            Held::Rest { .. } | Held::Sent => None,
        }
    }
}

impl<S> table::Entry for Entry<S> {
    #[inline]
    fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    #[inline]
    fn generation(&self) -> u32 {
        self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::SystemSocket;

    // Sockets are a descriptor each in release builds; debug builds of mio add a check.
    #[cfg(all(target_os = "linux", not(debug_assertions)))]
    #[test]
    fn an_entry_is_half_a_cache_line() {
        assert_eq!(size_of::<Entry<SystemSocket>>(), 32);
    }

    #[test]
    fn only_a_failure_is_taken() {
        let mut entry = Entry::<SystemSocket> {
            held: Some(Box::new(Held::Rest {
                queue: SendQueue::new(),
                refused_in: 0,
            })),
            ..Entry::default()
        };
        assert!(!entry.has_failed() && entry.take_failure().is_none() && entry.held.is_some());
        entry.held = Some(Box::new(Held::Failure(io::ErrorKind::BrokenPipe.into())));
        assert!(entry.has_failed() && entry.take_failure().is_some() && entry.held.is_none());
    }
}
