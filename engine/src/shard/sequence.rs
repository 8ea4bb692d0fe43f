//! Sequenced rooms: every message goes by way of the room's home shard, which numbers it.
//!
//! A message on its way to the home is [`Unnumbered`]; what the home hands to the other shards is
//! [`Numbered`]. Both travel in order ([`Forwarding`](super::forward::Forwarding)), so all members
//! see the home's order. The home gives an offset only to what every shard concerned can
//! take, now or later: beyond that point nothing is refused, and no hole can arise.

use std::sync::Arc;

use super::Foreign;
use super::core::Core;
use super::frames::{Dispatch, Frames};
use super::mailbox::Mail;
use super::outbox::Lane;
use super::publish::Receipt;
use super::tally::TallyShare;
use crate::event::ErrorKind;
use crate::fanout::{self, Later};
use crate::limits::MAX_REPACKED;
use crate::owned::OwnedMessage;
use crate::publish::{opcode, sealed};
use crate::room::{
    Audience, Kept, LocalRooms, Position, RoomIndex, Sequence, SharedAudience, SharedRoom, Target,
};
use crate::shared::{ShardSet, Shared};

/// A sequenced room, found by a publisher.
#[derive(Clone, Debug)]
pub(crate) struct SequencedRoom {
    room: Arc<SharedRoom>,
    sequence: Arc<Sequence>,
}

/// A message for a sequenced room, before it has its place.
#[derive(Debug)]
pub(crate) struct Unnumbered {
    sequence: Arc<Sequence>,
    audience: SharedAudience,
    content: Content,
    tally: Option<TallyShare>,
}

/// A message that has its place, for one shard.
#[derive(Debug)]
pub(crate) struct Numbered {
    sequence: Arc<Sequence>,
    audience: SharedAudience,
    dispatch: Dispatch,
    offset: u64,
    /// The shard's term that the home found ([`Sequence`]).
    term: u64,
    tally: Option<TallyShare>,
}

/// What is in a message.
#[derive(Debug)]
pub(crate) enum Content {
    /// The message.
    Frames(Frames),
    /// How to make it.
    Make(Make),
}

/// Makes a message that carries its place; it is called on the room's home.
#[derive(Debug)]
pub(crate) struct Make(Foreign<MakeMessage>);

type MakeMessage = Box<dyn FnOnce(Position) -> OwnedMessage + Send>;

impl Make {
    pub(crate) fn new<M: Into<OwnedMessage>>(
        make: impl FnOnce(Position) -> M + Send + 'static,
    ) -> Make {
        Make(Foreign::new(Box::new(move |position| {
            make(position).into()
        })))
    }
}

impl Unnumbered {
    pub(crate) fn new(
        room: &SequencedRoom,
        audience: &Audience<'_>,
        content: Content,
        tally: Option<&TallyShare>,
    ) -> Unnumbered {
        Unnumbered {
            sequence: Arc::clone(&room.sequence),
            audience: audience.to_shared(Some(&room.room)),
            content,
            tally: tally.cloned(),
        }
    }

    /// The shard that it is for.
    pub(crate) fn home(&self) -> u8 {
        self.sequence.home()
    }
}

impl Shared {
    /// The first sequenced room that a message is for. `local` spares the directory's lock for
    /// rooms that the asking shard has members of.
    pub(crate) fn sequenced(
        &self,
        audience: &Audience<'_>,
        local: Option<&LocalRooms>,
    ) -> Option<SequencedRoom> {
        let Target::Rooms(names) = &audience.target else {
            return None;
        };
        if !self.directory.has_sequenced() {
            return None;
        }
        names.iter().find_map(|name| {
            let local = local.and_then(|rooms| rooms.shared(name)).cloned();
            let room = local.or_else(|| self.directory.get(name))?;
            let sequence = Arc::clone(room.sequence()?);
            Some(SequencedRoom { room, sequence })
        })
    }
}

/// For handlers.
impl Core {
    /// Publishes a message for a sequenced room, encoded here.
    pub(crate) fn publish_sequenced(
        &mut self,
        room: &SequencedRoom,
        outgoing: &sealed::Outgoing<'_, '_>,
    ) -> Receipt {
        let frames = self.encode_publication(outgoing.opcode, outgoing.payload);
        let content = Content::Frames(frames);
        self.submit(room, outgoing.audience, content, outgoing.tally)
    }

    /// Publishes what `later` makes to a sequenced room. It is made here: what the home is sent has its
    /// place in the order already.
    pub(crate) fn publish_later_sequenced(
        &mut self,
        room: &SequencedRoom,
        outgoing: &sealed::Outgoing<'_, '_>,
        later: Later,
    ) -> Receipt {
        match later.make() {
            Ok(text) => self.publish_sequenced(
                room,
                &sealed::Outgoing {
                    payload: &text,
                    ..*outgoing
                },
            ),
            Err(error) => {
                fanout::fail(error, outgoing.tally);
                Receipt::default()
            }
        }
    }

    /// Publishes a message that is made when it has its place. Without a sequenced room that is
    /// refused.
    pub(crate) fn publish_numbered(&mut self, numbered: sealed::Numbered<'_, '_>) -> Receipt {
        let sealed::Numbered {
            audience,
            make,
            tally,
        } = numbered;
        match self.shared.sequenced(audience, Some(&self.rooms)) {
            Some(room) => self.submit(&room, audience, Content::Make(make), tally),
            None => {
                count_refused(tally);
                refused()
            }
        }
    }

    fn submit(
        &mut self,
        room: &SequencedRoom,
        audience: &Audience<'_>,
        content: Content,
        tally: Option<&TallyShare>,
    ) -> Receipt {
        let home = room.sequence.home();
        if home == self.shard {
            let travelling = || audience.to_shared(Some(&room.room));
            let receipt = self.number(&room.sequence, audience, travelling, content, tally);
            if receipt.refused > 0 {
                count_refused(tally);
            }
            return receipt;
        }
        let unnumbered = Unnumbered::new(room, audience, content, tally);
        let mail = Mail::Unnumbered(Box::new(unnumbered));
        match self.post(home, mail) {
            Ok(()) => Receipt {
                forwarded: 1,
                ..Receipt::default()
            },
            Err(_) => refused(),
        }
    }
}

/// For the mailbox.
impl Core {
    /// Numbers what was published elsewhere.
    pub(super) fn handle_unnumbered(&mut self, unnumbered: Unnumbered) {
        let Unnumbered {
            sequence,
            audience: travelling,
            mut content,
            tally,
        } = unnumbered;
        if let Content::Frames(frames) = &mut content {
            self.repack(frames);
        }
        let (again, shares) = (|| travelling.clone(), tally.as_ref());
        let audience = travelling.seen_by(&self.rooms);
        let receipt = self.number(&sequence, &audience, again, content, shares);
        // A share that is dropped counts as refused.
        if let Some(tally) = tally.filter(|_| receipt.refused == 0) {
            tally.report(&receipt);
        }
    }

    /// Delivers what the home has numbered.
    pub(super) fn handle_numbered(&mut self, numbered: Numbered) {
        let Numbered {
            sequence,
            audience,
            dispatch,
            offset,
            term,
            tally,
        } = numbered;
        let audience = audience.seen_by(&self.rooms);
        let receipt = self.deliver_numbered(&sequence, (term, offset), &audience, &dispatch);
        if let Some(tally) = tally {
            tally.report(&receipt);
        }
    }
}

impl Core {
    /// Gives a message the next offset of its room, of which this shard is the home, and hands it to
    /// everybody, or refuses it without an offset.
    fn number(
        &mut self,
        sequence: &Arc<Sequence>,
        audience: &Audience<'_>,
        travelling: impl Fn() -> SharedAudience,
        content: Content,
        tally: Option<&TallyShare>,
    ) -> Receipt {
        let shards = self.shards_of_sequenced(sequence, audience);
        let has_room = |shard| self.forwarding.has_room(usize::from(shard));
        if sequence.is_closed() || !{ shards }.all(has_room) {
            return refused();
        }
        let Some(frames) = self.make(content, sequence.next()) else {
            return refused();
        };
        let Some((position, shards)) = self.give(sequence, audience, &frames, shards) else {
            return refused();
        };
        let dispatch = Dispatch {
            frames,
            lane: Lane::Normal,
            key: None,
        };
        let offset = position.offset;
        let here = (sequence.term(self.shard), offset);
        let mut receipt = self.deliver_numbered(sequence, here, audience, &dispatch);
        receipt.position = Some(position);
        for shard in shards {
            let numbered = Numbered {
                sequence: Arc::clone(sequence),
                audience: travelling(),
                dispatch: dispatch.clone(),
                offset,
                term: sequence.term(shard),
                tally: tally.cloned(),
            };
            let mail = Mail::Numbered(Box::new(numbered));
            // A shard that has stopped has nobody left; there is room with all others.
            receipt.forwarded += usize::from(self.post(shard, mail).is_ok());
        }
        receipt
    }

    /// Gives a message the next offset, and keeps it where the room has a history. `shards` can take it;
    /// returned with the offset are those that are to. `None`: one that has members only now cannot.
    fn give(
        &self,
        sequence: &Sequence,
        audience: &Audience<'_>,
        frames: &Frames,
        shards: ShardSet,
    ) -> Option<(Position, ShardSet)> {
        if !sequence.has_history() {
            return Some((sequence.give(), shards));
        }
        let is_compressible = !frames.is_plain();
        let kept = Kept::new(&frames.plain, is_compressible, &audience.except, self.now);
        let mut history = sequence.history()?;
        // Who joined after the first look, and has read the history, expects this message.
        let shards = self.shards_of_sequenced(sequence, audience);
        let has_room = |shard| self.forwarding.has_room(usize::from(shard));
        if !{ shards }.all(has_room) {
            return None;
        }
        history.append(kept);
        Some((sequence.give(), shards))
    }

    /// The other shards that may have somebody of the audience.
    fn shards_of_sequenced(&self, sequence: &Sequence, audience: &Audience<'_>) -> ShardSet {
        let mut shards = if audience.is_one_room() {
            ShardSet::default()
        } else {
            self.shared.shards_of(audience, Some(&self.rooms))
        };
        sequence.shards().for_each(|shard| shards.insert(shard));
        shards.remove(self.shard);
        shards
    }

    /// Queues a message for those here whom it is for. Members who joined in a later term than the
    /// one it was sent for, or another room of the same name, are not among them, nor are newcomers who
    /// have had it.
    fn deliver_numbered(
        &mut self,
        sequence: &Arc<Sequence>,
        (term, offset): (u64, u64),
        audience: &Audience<'_>,
        dispatch: &Dispatch,
    ) -> Receipt {
        let is_its = |index: &RoomIndex| {
            let known = self.rooms.at(*index).and_then(|room| room.sequence());
            known.is_some_and(|known| Arc::ptr_eq(known, sequence))
        };
        let place = self.rooms.held(&sequence.room).filter(is_its);
        let left_out = place.map_or(Vec::new(), |index| self.rooms.left_out(index, offset));
        let members = place.filter(|_| sequence.term(self.shard) == term);
        let narrowed;
        let audience = match members {
            // Deleted or not, it is this room that the message has its place in.
            Some(index) if audience.is_one_room() => {
                narrowed = audience.at(index);
                &narrowed
            }
            Some(_) => audience,
            None if audience.is_one_room() => return Receipt::default(),
            None => {
                narrowed = audience.without(|name| *name == *sequence.room);
                &narrowed
            }
        };
        if left_out.is_empty() {
            return self.deliver_to(audience, dispatch);
        }
        self.deliver_batches_of(audience);
        self.deliver_one_by_one(audience, dispatch, &left_out)
    }

    /// Delivers what has no place in a room's order. A sequenced room that it names was created after it
    /// was sent, and is not meant.
    pub(super) fn deliver_unordered(
        &mut self,
        audience: &Audience<'_>,
        dispatch: &Dispatch,
    ) -> Receipt {
        let is_sequenced = |name: &str| {
            let room = self.rooms.shared(name);
            room.is_some_and(|room| room.sequence().is_some())
        };
        if self.shared.directory.has_sequenced()
            && let Target::Rooms(names) = &audience.target
            && names.iter().any(|name| is_sequenced(name))
        {
            let others = audience.without(is_sequenced);
            return self.deliver_to(&others, dispatch);
        }
        self.deliver_to(audience, dispatch)
    }

    /// The frames of a message. `None`: the service's code panicked.
    fn make(&mut self, content: Content, position: Position) -> Option<Frames> {
        let make = match content {
            Content::Frames(frames) => return Some(frames),
            Content::Make(make) => make.0,
        };
        let Some(made) = make.call(|make| make(position)) else {
            tracing::error!(
                ?position,
                "a numbered message could not be made: its function panicked"
            );
            self.note_error(ErrorKind::Panic, None);
            return None;
        };
        let message = made.as_message();
        Some(self.encode_publication(opcode(message), message.as_bytes()))
    }

    /// Copies a small frame from elsewhere beside others, so that they go out as one.
    pub(super) fn repack(&mut self, frames: &mut Frames) {
        if frames.plain.len() <= MAX_REPACKED {
            let bytes = frames.plain.as_bytes();
            let packed = self
                .publications
                .write(bytes.len(), |out| out.copy_from_slice(bytes));
            frames.plain = packed;
        }
    }
}

/// Counts a shard that refuses a message, where the whole receipt was asked for.
#[cold]
fn count_refused(tally: Option<&TallyShare>) {
    drop(tally.cloned());
}

/// The receipt of a message that nobody gets.
fn refused() -> Receipt {
    Receipt {
        refused: 1,
        ..Receipt::default()
    }
}
