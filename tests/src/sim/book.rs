//! What the service did and was told, in order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use throng::{Close, ConnectionId, Receipt, ReceiptError};

use super::client::Heard;

/// Moments of a run, counted: of two things on one thread one comes first.
pub(super) type Tick = u64;

/// Who published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Sender {
    /// A client, by the handler of its connection.
    Client(usize),
    /// A thread outside.
    Outside,
}

/// A message, from its publication on. Its number in the book is what its text begins with.
#[derive(Debug)]
pub(super) struct Publication {
    /// `None` for what goes to its sender alone.
    pub(super) room: Option<usize>,
    pub(super) sender: Sender,
    pub(super) is_urgent: bool,
    pub(super) has_key: bool,
    pub(super) excepts_sender: bool,
    pub(super) published: Tick,
    /// When its receipt was whole, and in which turn.
    pub(super) resolved: Option<(Tick, u64)>,
    pub(super) receipt: Option<Receipt>,
    pub(super) offset: Option<u64>,
    pub(super) length: usize,
}

/// A connection's being in a room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Membership {
    pub(super) room: usize,
    pub(super) joined: Tick,
    pub(super) left: Option<Tick>,
}

/// A connection's joining a room from a place in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resumption {
    pub(super) room: usize,
    pub(super) since: u64,
    pub(super) recovered: bool,
    /// The last offset when it joined.
    pub(super) until: u64,
}

/// A connection as its handler knows it.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) id: Option<ConnectionId>,
    pub(super) opened: u32,
    pub(super) closed: Vec<Close>,
    /// When it was told, and in which turn.
    pub(super) ended: Option<(Tick, u64)>,
    pub(super) memberships: Vec<Membership>,
    pub(super) kicks: Vec<u16>,
    pub(super) resumptions: Vec<Resumption>,
}

impl Page {
    /// The membership that has not ended.
    pub(super) fn membership(&mut self, room: usize) -> Option<&mut Membership> {
        let mut memberships = self.memberships.iter_mut();
        memberships.find(|it| it.room == room && it.left.is_none())
    }

    /// How it joined a room from a place in it, if it did.
    pub(super) fn resumption(&self, room: usize) -> Option<&Resumption> {
        self.resumptions.iter().find(|it| it.room == room)
    }

    /// Whether it was to be sent a message because it had missed it.
    pub(super) fn recovers(&self, publication: &Publication) -> bool {
        let resumption = publication.room.and_then(|room| self.resumption(room));
        resumption.is_some_and(|it| {
            let missed = it.since + 1..=it.until;
            it.recovered && publication.offset.is_some_and(|at| missed.contains(&at))
        })
    }

    /// Ends a membership; returns whether there was one.
    pub(super) fn leave(&mut self, room: usize, tick: Tick) -> bool {
        let membership = self.membership(room);
        membership.map(|it| it.left = Some(tick)).is_some()
    }
}

/// Everything that happened.
#[derive(Debug, Default)]
pub(super) struct Book {
    tick: Tick,
    /// The number of the shards' turn under way.
    pub(super) turn: u64,
    pub(super) pages: HashMap<usize, Page>,
    pub(super) publications: Vec<Publication>,
    /// The epochs of sequenced rooms that have numbered something.
    pub(super) epochs: HashMap<usize, u64>,
    /// What was found wrong at once.
    pub(super) wrongs: Vec<String>,
}

impl Book {
    pub(super) fn tick(&mut self) -> Tick {
        self.tick += 1;
        self.tick
    }

    pub(super) fn page(&mut self, client: usize) -> &mut Page {
        self.pages.entry(client).or_default()
    }

    /// Enters a publication; returns its number.
    pub(super) fn publish(&mut self, mut publication: Publication) -> usize {
        publication.published = self.tick();
        self.publications.push(publication);
        self.publications.len() - 1
    }

    /// The last offset of a room.
    pub(super) fn last_offset(&self, room: usize) -> u64 {
        let own = self.publications.iter().filter(|it| it.room == Some(room));
        own.filter_map(|it| it.offset).max().unwrap_or_default()
    }

    /// The offset of what was heard, if it was published to that room.
    pub(super) fn offset_in(&self, room: usize, heard: &Heard) -> Option<u64> {
        let Heard::Text(text) = heard else {
            return None;
        };
        let number: usize = text.strip_prefix("m ")?.split(' ').next()?.parse().ok()?;
        let publication = self.publications.get(number)?;
        publication
            .offset
            .filter(|_| publication.room == Some(room))
    }

    /// A receipt is whole.
    pub(super) fn resolve(&mut self, number: usize, receipt: Result<Receipt, ReceiptError>) {
        let resolved = (self.tick(), self.turn);
        let publication = &mut self.publications[number];
        if publication.resolved.replace(resolved).is_some() {
            let twice = format!("the receipt of message {number} was told twice");
            self.wrongs.push(twice);
        }
        publication.receipt = receipt.ok();
    }
}

/// The book, as handlers and clients share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf(Arc<Mutex<Book>>);

impl Shelf {
    // A panic elsewhere ends the run.
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text of a message: its number, its offset where it knows it, and padding that follows from
/// the number.
pub(super) fn text(number: usize, offset: u64, length: usize) -> String {
    let mut text = format!("m {number} {offset} ");
    let mut random = fastrand::Rng::with_seed(number as u64);
    // Letters of which some are frequent, so that compressing has something to do.
    text.extend((0..length).map(|_| char::from(b'a' + random.u8(0..16) % 11)));
    text
}
