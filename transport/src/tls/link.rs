//! What a [`TlsDriver`](super::TlsDriver) knows of its sockets.

use std::io;

use super::session::{MAX_RECORD, Session};
use crate::buffer::SendQueue;
use crate::driver::{Detached, Service, SocketKey};
use crate::memory::Charge;
use crate::socket::Socket;
use crate::table::{self, Table};

/// What an idle session takes besides its entry: `tests/tests/tls_memory.rs` measures it.
const IDLE_SESSION: usize = 3584;

/// A socket that speaks TLS.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) generation: u32,
    pub(super) session: Session,
    /// Plain bytes received and not delivered; those before `delivered` were.
    plain: Vec<u8>,
    delivered: usize,
    /// What is left of the service's send and not encrypted yet.
    pub(super) rest: SendQueue,
    /// Records that the session answers with.
    pub(super) outgoing: SendQueue,
    /// What the inner driver was given last.
    pub(super) given: Given,
    /// Why the connection is over; told once what was received before has been delivered.
    pub(super) failure: Option<io::Error>,
    /// The wait that last delivered bytes, and how many.
    pub(super) delivered_in: (u32, usize),
    pub(super) flags: Flags,
    charge: Charge,
}

/// What is under way, has been said, or was asked for.
#[derive(Debug, Default)]
pub(super) struct Flags {
    /// Its handshake is not done yet.
    pub(super) is_new: bool,
    /// Counts as one of the handshakes under way: there was something to compute for it.
    pub(super) is_counted: bool,
    /// The service waits to be told that its send is done.
    pub(super) is_sending: bool,
    /// The inner driver keeps some of what it was given.
    pub(super) is_held: bool,
    /// The service wants no bytes.
    pub(super) is_paused: bool,
    /// The inner driver was told to deliver none.
    pub(super) is_inner_paused: bool,
    /// The peer has ended its side of the stream of records.
    pub(super) has_stream_ended: bool,
    /// The peer sends no more, which is told behind the bytes before it.
    pub(super) has_ended: bool,
    pub(super) is_end_told: bool,
    /// Our side is to end.
    pub(super) is_finishing: bool,
    /// The peer was told that nothing more comes from us.
    pub(super) is_finished: bool,
    /// So was the inner driver.
    pub(super) is_inner_finished: bool,
    /// The inner driver has the socket no more.
    pub(super) is_lost: bool,
    /// In the list of those to be delivered to, to be helped with their handshakes, or to be looked at.
    pub(super) is_due: bool,
    pub(super) is_stepping: bool,
    pub(super) is_touched: bool,
}

/// A send of the inner driver's: plain bytes of the service's in it, and bytes in all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Batch {
    pub(super) plain: usize,
    pub(super) sealed: usize,
}

/// What the inner driver was given since its last wait, or was given last and keeps. Even of what it said
/// to be done it may keep some after all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Given {
    /// The wait before it.
    wait: u32,
    /// All but the last two.
    older: Batch,
    before: Batch,
    last: Batch,
}

impl Batch {
    /// Plain bytes in it of which the system has none when it lacks the last `unsent` bytes: one at least
    /// of a record that is not whole, and fewer with every byte beyond what a record adds to them.
    fn plain_of(self, unsent: usize) -> usize {
        if self.plain == 0 || unsent >= self.sealed {
            return self.plain;
        }
        if unsent == 0 {
            return 0;
        }
        // All records but the last are full.
        let records = self.plain.div_ceil(MAX_RECORD);
        let added = (self.sealed - self.plain) / records;
        let taken = self.sealed - unsent;
        let whole = taken / (MAX_RECORD + added);
        let begun = (taken % (MAX_RECORD + added)).saturating_sub(added);
        self.plain.saturating_sub(whole * MAX_RECORD + begun)
    }
}

impl Given {
    /// Takes note of a send after the wait of that number.
    pub(super) fn note(&mut self, batch: Batch, wait: u32) {
        if self.wait != wait {
            *self = Given {
                wait,
                ..Given::default()
            };
        }
        self.older.plain += self.before.plain;
        self.older.sealed += self.before.sealed;
        self.before = std::mem::replace(&mut self.last, batch);
    }

    /// Whether there are plain bytes in it.
    pub(super) fn has_plain(&self) -> bool {
        self.older.plain + self.before.plain + self.last.plain > 0
    }

    /// Whether plain bytes were given after the wait of that number, so that the next one may say that
    /// they have stalled.
    pub(super) fn is_undecided(&self, wait: u32) -> bool {
        self.wait == wait && self.has_plain()
    }

    /// Plain bytes that the system has not when it lacks the last `unsent` bytes.
    pub(super) fn plain_of(&self, unsent: usize) -> usize {
        let before = unsent.saturating_sub(self.last.sealed);
        let older = before.saturating_sub(self.before.sealed);
        // A driver that decides a send before it takes the next one keeps nothing that old.
        self.last.plain_of(unsent) + self.before.plain_of(before) + self.older.plain.min(older)
    }
}

impl Link {
    pub(super) fn new(generation: u32, session: Session) -> Link {
        Link {
            generation,
            session,
            plain: Vec::new(),
            delivered: 0,
            rest: SendQueue::new(),
            outgoing: SendQueue::new(),
            given: Given::default(),
            failure: None,
            delivered_in: (0, 0),
            flags: Flags::default(),
            charge: Charge::new(IDLE_SESSION),
        }
    }

    /// Bytes that wait to be delivered.
    pub(super) fn undelivered(&self) -> usize {
        self.plain.len() - self.delivered
    }

    /// Keeps plain bytes until they can be delivered.
    pub(super) fn put_by(&mut self, bytes: &[u8]) {
        self.plain.extend_from_slice(bytes);
    }

    /// Takes up to `most` of the bytes that wait.
    pub(super) fn take_undelivered(&mut self, most: usize) -> &mut [u8] {
        let from = self.delivered;
        self.delivered += most.min(self.plain.len() - from);
        &mut self.plain[from..self.delivered]
    }

    /// Tells the service, unless it waits for its send anyway, that bytes of it are among the `unsent` ones
    /// of what the inner driver was given.
    pub(super) fn tell_stall(&mut self, key: SocketKey, unsent: usize, service: &mut impl Service) {
        let plain = self.given.plain_of(unsent);
        if plain > 0 && self.failure.is_none() && !self.flags.is_sending {
            self.flags.is_sending = true;
            service.stalled(key, plain);
        }
    }

    /// Gives back what holds nothing more, and has what is held counted.
    pub(super) fn tidy(&mut self) {
        if self.undelivered() == 0 {
            (self.plain, self.delivered) = (Vec::new(), 0);
        }
        let held = self.session.held() + self.plain.capacity();
        self.charge.set(IDLE_SESSION + held);
    }

    /// Takes note of what the peer has ended. An end amid a record, or before there could be any, is a
    /// failure; without the alert that belongs before it (RFC 8446 §6.1) it is as good as with it, since
    /// what is said within knows its own ends.
    pub(super) fn judge_end(&mut self) {
        let flags = &mut self.flags;
        if self.session.is_peer_done() {
            flags.has_ended = true;
        } else if flags.has_stream_ended && !flags.is_stepping && self.failure.is_none() {
            if self.session.is_handshaking() || self.session.kept() > 0 {
                self.failure = Some(io::ErrorKind::UnexpectedEof.into());
            } else {
                flags.has_ended = true;
            }
        }
    }

    /// Whether the inner driver is to deliver what it receives.
    pub(super) fn wants_bytes(&self) -> bool {
        let flags = &self.flags;
        let is_busy = if self.session.is_handshaking() {
            flags.is_stepping
        } else {
            flags.is_paused || self.undelivered() > 0
        };
        !is_busy && !self.session.is_peer_done() && self.failure.is_none()
    }

    /// Whether there is something to deliver or to tell.
    pub(super) fn has_news(&self) -> bool {
        self.undelivered() > 0 || (self.flags.has_ended && !self.flags.is_end_told)
    }

    /// What is to be given away: the stream, over its socket, and the plain bytes not delivered.
    pub(super) fn into_detached(mut self, under: Detached) -> Detached {
        let stream = TlsStream {
            socket: under.socket,
            session: self.session,
            records: under.undelivered,
            is_finished: self.flags.is_finished,
        };
        Detached {
            socket: Socket::foreign(stream),
            undelivered: self.plain.split_off(self.delivered),
        }
    }
}

/// A socket and the TLS connection over it, on their way to whoever adopts them: within
/// [`Socket::foreign`](crate::Socket::foreign), where a [`TlsDriver`](super::TlsDriver) gave them away.
#[derive(Debug)]
pub struct TlsStream {
    pub(super) socket: Socket,
    pub(super) session: Session,
    /// Received and not decrypted.
    pub(super) records: Vec<u8>,
    pub(super) is_finished: bool,
}

impl table::Entry for Option<Box<Link>> {
    fn is_open(&self) -> bool {
        self.is_some()
    }

    fn generation(&self) -> u32 {
        self.as_ref().map_or(0, |link| link.generation)
    }
}

/// The links, by the service's slots.
#[derive(Debug)]
pub(super) struct Links(Table<Option<Box<Link>>>);

impl Links {
    pub(super) fn with_capacity(expected: usize) -> Links {
        Links(Table::with_capacity(expected))
    }

    #[inline]
    pub(super) fn get(&mut self, key: SocketKey) -> Option<&mut Link> {
        self.0.get(key)?.as_deref_mut()
    }

    pub(super) fn is_taken(&self, slot: u32) -> bool {
        self.0.is_taken(slot)
    }

    pub(super) fn insert(&mut self, slot: u32, link: Link) {
        self.0.insert(slot, Some(Box::new(link)));
    }

    pub(super) fn remove(&mut self, key: SocketKey) -> Option<Box<Link>> {
        self.0.remove(key)?
    }
}

#[cfg(test)]
mod tests {
    use super::{Batch, Given, MAX_RECORD};

    /// What a record takes besides its plain bytes.
    const OVERHEAD: usize = 22;

    fn batch(plain: usize) -> Batch {
        let sealed = plain + plain.div_ceil(MAX_RECORD) * OVERHEAD;
        Batch { plain, sealed }
    }

    #[test]
    fn every_byte_taken_shows_and_a_record_that_is_not_whole_is_unsent() {
        let mut given = Given::default();
        given.note(batch(40_000), 1);
        given.note(batch(1000), 1);
        assert_eq!(given.plain_of(0), 0);
        assert_eq!(given.plain_of(1), 1);
        assert_eq!(given.plain_of(999), 999);
        assert_eq!(given.plain_of(1000), 1000);
        assert_eq!(given.plain_of(1000 + OVERHEAD), 1000);
        assert_eq!(given.plain_of(1001 + OVERHEAD), 1001);
        let last_of_three = 40_000 - 2 * MAX_RECORD;
        let last_two = 1000 + last_of_three + 2 * OVERHEAD;
        assert_eq!(given.plain_of(last_two), 1000 + last_of_three);
        assert_eq!(given.plain_of(last_two + 7), 1000 + last_of_three + 7);
        assert_eq!(given.plain_of(usize::MAX), 41_000);
    }

    #[test]
    fn what_is_no_plain_byte_is_none_unsent() {
        let mut given = Given::default();
        given.note(batch(500), 1);
        let notify = Batch {
            plain: 0,
            sealed: 24,
        };
        given.note(notify, 1);
        assert_eq!(given.plain_of(24), 0);
        assert_eq!(given.plain_of(25), 1);
        assert_eq!(given.plain_of(24 + 500), 500);
    }

    #[test]
    fn a_wait_decides_what_was_given_before() {
        let mut given = Given::default();
        given.note(batch(500), 1);
        assert!(given.is_undecided(1));
        assert!(!given.is_undecided(2));
        given.note(batch(30), 2);
        assert_eq!(given.plain_of(usize::MAX), 30);
    }
}
