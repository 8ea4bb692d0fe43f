//! What a [`UringDriver`](super::UringDriver) knows of a socket.

use std::io;

use crate::buffer::SendQueue;
use crate::socket::SystemSocket;
use crate::table;

/// What is known of a socket. Half a cache line, since every message touches it twice.
#[derive(Debug, Default)]
#[repr(align(32))]
pub(super) struct Entry {
    pub(super) socket: Option<SystemSocket>,
    /// What only a socket has that is behind, paused or in trouble.
    pub(super) trouble: Option<Box<Trouble>>,
    pub(super) generation: u32,
    /// The batch of its last send. Once that was submitted the number says nothing.
    pub(super) sent_in: u16,
    /// The wait that last received from the socket. As it wraps, it may seem to be this one.
    pub(super) received_in: u16,
    pub(super) receiving: Receiving,
    pub(super) paused: bool,
    /// The end of the stream has been reported.
    pub(super) ended: bool,
    /// The receive is on its way to be made again.
    pub(super) awaits_receive: bool,
    /// The socket is on the `again` list.
    pub(super) again: bool,
}

/// Where the request that receives is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Receiving {
    /// There is none.
    #[default]
    No,
    /// It is with the system.
    Yes,
    /// It was told to end, and has not yet.
    Ending,
}

/// Whether a socket is watched for room and failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Watched {
    /// It is not.
    #[default]
    No,
    /// It is.
    Yes,
    /// The watch was told to end, and has not yet.
    Ending,
}

/// What seldom is.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// What the system did not take yet of a pending send.
    pub(super) rest: SendQueue,
    /// A send is pending; nothing of it may be left, once all there is to do is to report it.
    pub(super) pending: bool,
    /// The service does not know yet that the send is pending.
    pub(super) untold: bool,
    /// The wait in or after which the system last refused more.
    pub(super) refused_in: u32,
    /// Our side ends once what is pending is sent.
    pub(super) finishing: bool,
    /// The send failed; reported once the bytes received before are delivered.
    pub(super) failure: Option<io::Error>,
    pub(super) watched: Watched,
    /// The watch is on its way to be made.
    pub(super) awaits_watch: bool,
    /// Received while the socket was paused.
    pub(super) undelivered: Vec<u8>,
    /// The stream has ended behind that.
    pub(super) ends: bool,
    /// The wait that last delivered of it.
    pub(super) delivered_in: u32,
}

impl table::Entry for Entry {
    fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    fn generation(&self) -> u32 {
        self.generation
    }
}

impl Entry {
    pub(super) fn trouble(&mut self) -> &mut Trouble {
        self.trouble.get_or_insert_default()
    }

    /// Does without what a socket has no need of that is well.
    pub(super) fn settle(&mut self) {
        self.trouble.take_if(|trouble| {
            let is_quiet = trouble.watched == Watched::No && !trouble.awaits_watch;
            let is_sent = !trouble.pending && trouble.failure.is_none();
            is_quiet && is_sent && trouble.undelivered.is_empty() && !trouble.ends
        });
    }

    /// The socket and its trouble, if it has any.
    pub(super) fn in_trouble(&mut self) -> Option<(&mut SystemSocket, &mut Trouble)> {
        self.socket.as_mut().zip(self.trouble.as_deref_mut())
    }

    /// Whether a send is pending.
    pub(super) fn is_sending(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.pending)
    }

    /// Whether a send has failed and that was not reported.
    pub(super) fn has_failed(&self) -> bool {
        self.trouble
            .as_ref()
            .is_some_and(|trouble| trouble.failure.is_some())
    }

    /// Whether what is received in that wait must be kept, for now.
    pub(super) fn must_keep(&self, turn: u32) -> bool {
        self.paused
            || self.trouble.as_ref().is_some_and(|trouble| {
                !trouble.undelivered.is_empty() || trouble.delivered_in == turn
            })
    }

    /// Whether a receive is missing.
    pub(super) fn lacks_receive(&self) -> bool {
        self.receiving == Receiving::No && !self.paused && !self.ended && !self.has_failed()
    }
}
