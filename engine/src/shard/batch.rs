//! Packing what is published to a room within a moment (`Config::batch_window`; off by default).
//!
//! With batching on, a room's messages gather over a window of time instead of a turn; when it is
//! over, or when there are enough of them, they go to the members as one run. Whatever cannot be
//! packed, and whatever changes a room's members, has the room's batch go out first: the order within
//! a room is that without batching.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use hashbrown::HashMap;
use throng_transport::Slice;

use super::core::Core;
use super::frames::Dispatch;
use super::outbox::Lane;
use super::publish::Receipt;
use crate::id::ConnectionId;
use crate::limits::{MAX_BATCH_BYTES, MAX_BATCHED_BYTES, MAX_RUN_EXCEPTIONS};
use crate::protocol::frame::server_frame_len;
use crate::room::{Audience, Circle, RoomIndex, RoomSet, Target};

/// The batches of a shard's rooms.
#[derive(Debug, Default)]
pub(super) struct Batches {
    open: HashMap<RoomIndex, Batch>,
    /// When each batch that was begun is due, the earliest first. Those that have gone out before
    /// their time are found by their numbers.
    due: VecDeque<Due>,
    begun: u64,
    /// Bytes that all batches take.
    bytes: usize,
}

#[derive(Debug)]
struct Batch {
    number: u64,
    frames: Vec<u8>,
    messages: u32,
    /// The parts that a connection is not sent.
    exceptions: Vec<(ConnectionId, Range<usize>)>,
}

#[derive(Debug)]
struct Due {
    at: Duration,
    room: RoomIndex,
    number: u64,
}

impl Batches {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The room's batch, begun now if there is none.
    fn of(&mut self, room: RoomIndex, due: Duration) -> &mut Batch {
        let Batches {
            open,
            due: all_due,
            begun,
            ..
        } = self;
        open.entry(room).or_insert_with(|| {
            *begun += 1;
            all_due.push_back(Due {
                at: due,
                room,
                number: *begun,
            });
            Batch {
                number: *begun,
                frames: Vec::new(),
                messages: 0,
                exceptions: Vec::new(),
            }
        })
    }

    /// Bytes of memory held.
    pub(super) fn memory(&self) -> usize {
        self.bytes
            + self.open.capacity() * size_of::<(RoomIndex, Batch)>()
            + self.due.capacity() * size_of::<Due>()
    }

    /// Messages and bytes that wait in batches for one who is in those rooms.
    pub(super) fn waiting_for(&self, member: ConnectionId, rooms: &RoomSet) -> (usize, usize) {
        let batches = self.open.iter().filter(|(room, _)| rooms.contains(**room));
        batches.fold((0, 0), |(messages, bytes), (_, batch)| {
            let excepted = batch.exceptions.iter().filter(|(id, _)| *id == member);
            let all = (
                messages + batch.messages as usize,
                bytes + batch.frames.len(),
            );
            excepted.fold(all, |(messages, bytes), (_, part)| {
                (messages - 1, bytes - part.len())
            })
        })
    }

    fn take(&mut self, room: RoomIndex) -> Option<Batch> {
        let batch = self.open.remove(&room)?;
        self.bytes -= batch.memory();
        Some(batch)
    }

    /// The next room whose window is over.
    fn next_due(&mut self, now: Duration) -> Option<RoomIndex> {
        loop {
            let due = self.due.pop_front_if(|due| due.at <= now)?;
            let batch = self.open.get(&due.room);
            if batch.is_some_and(|batch| batch.number == due.number) {
                return Some(due.room);
            }
        }
    }

    /// How long until the first window is over.
    pub(super) fn wait(&self, now: Duration) -> Option<Duration> {
        // It may have gone out before its time; then the shard wakes for nothing, once.
        let first = self.due.front().filter(|_| !self.is_empty())?;
        Some(first.at.saturating_sub(now))
    }
}

impl Batch {
    /// Bytes of memory held.
    fn memory(&self) -> usize {
        let exceptions = self.exceptions.capacity();
        self.frames.capacity() + exceptions * size_of::<(ConnectionId, Range<usize>)>()
    }

    fn is_full(&self, max_messages: u32) -> bool {
        self.messages >= max_messages
            || self.frames.len() >= MAX_BATCH_BYTES
            || self.exceptions.len() >= MAX_RUN_EXCEPTIONS
    }
}

impl Core {
    /// Puts a publication into its room's batch, where batching is on and it can be packed.
    pub(super) fn pack(&mut self, audience: &Audience<'_>, dispatch: &Dispatch) -> Option<Receipt> {
        let window = self.shared.config.batch_window?;
        if !self.may_gather(audience, dispatch) || dispatch.key.is_some() {
            return None;
        }
        let Circle::Room(room) = self.rooms.circle(audience)? else {
            return None;
        };
        let frame = dispatch.frames.plain.as_bytes();
        if frame.len() > MAX_BATCH_BYTES {
            return None;
        }
        let circle = Circle::Room(room);
        let absent = self.unsettled.iter();
        let absent = absent.filter(|&&slot| self.rooms.contains(circle, slot));
        let mut queued = self.rooms.members_of(circle) - absent.count();
        let batch = self.batches.of(room, self.now + window);
        let (start, memory) = (batch.frames.len(), batch.memory());
        batch.frames.extend_from_slice(frame);
        batch.messages += 1;
        for (index, &id) in audience.except.iter().enumerate() {
            let is_first = !audience.except[..index].contains(&id);
            let is_here = id.shard() == self.shard && self.connections.open(id.key()).is_some();
            if is_first && is_here && self.rooms.contains(circle, id.key().slot) {
                batch.exceptions.push((id, start..batch.frames.len()));
                queued -= 1;
            }
        }
        let is_full = batch.is_full(self.shared.config.batch_messages);
        let more = batch.memory() - memory;
        self.batches.bytes += more;
        if is_full {
            self.deliver_batch(room);
        } else if self.batches.bytes >= MAX_BATCHED_BYTES {
            self.deliver_batches();
        }
        Some(Receipt {
            queued,
            ..Receipt::default()
        })
    }

    /// Sends out the batches of those rooms of the audience that have one, before something that is
    /// not packed.
    pub(super) fn deliver_batches_of(&mut self, audience: &Audience<'_>) {
        if self.batches.is_empty() {
            return;
        }
        match &audience.target {
            Target::All => self.deliver_batches(),
            Target::Rooms(rooms) => {
                for name in rooms {
                    if let Some(room) = self.rooms.index_of(name) {
                        self.deliver_batch(room);
                    }
                }
            }
            Target::Here(room) => room.iter().for_each(|room| self.deliver_batch(*room)),
            Target::Connection(_) | Target::User(_) => {}
        }
    }

    /// Sends out the batches of the rooms that the connection in the slot, which ends, is in.
    pub(super) fn deliver_batches_to(&mut self, slot: u32) {
        if self.batches.is_empty() {
            return;
        }
        let mut place = 0;
        while let Some(room) = self.connections[slot].rooms.get(place) {
            self.deliver_batch(room);
            place += 1;
        }
    }

    /// Sends out the batches whose windows are over.
    pub(super) fn deliver_due_batches(&mut self) {
        while let Some(room) = self.batches.next_due(self.now) {
            self.deliver_batch(room);
        }
    }

    fn deliver_batches(&mut self) {
        let rooms: Vec<RoomIndex> = self.batches.open.keys().copied().collect();
        rooms.into_iter().for_each(|room| self.deliver_batch(room));
    }

    /// Sends out a room's batch, if it has one.
    #[inline]
    pub(super) fn deliver_batch(&mut self, room: RoomIndex) {
        if !self.batches.is_empty()
            && let Some(batch) = self.batches.take(room)
        {
            // Whoever is evicted has batches sent out too, after this one.
            let is_deferring = std::mem::replace(&mut self.defers_evictions, true);
            self.send_out(room, &batch);
            self.defers_evictions = is_deferring;
            self.evict_pending();
        }
    }

    #[cold]
    fn send_out(&mut self, room: RoomIndex, batch: &Batch) {
        let bytes = batch.frames.len();
        let frames = self
            .publications
            .write(bytes, |out| out.copy_from_slice(&batch.frames));
        let circle = Circle::Room(room);
        let from = self.extend_run(circle, &frames, batch.messages, None);
        for (id, part) in &batch.exceptions {
            if self.connections.open(id.key()).is_some() {
                self.except_in_run(id.key().slot, from + part.start..from + part.end);
            }
        }
        self.hand_batch_to_passed_over(batch, frames);
    }

    /// Those who are behind are handed one message after the other.
    fn hand_batch_to_passed_over(&mut self, batch: &Batch, mut frames: Slice) {
        let mut start = 0;
        while self.run_passes_over_any() && !frames.is_empty() {
            let frame = split_frame(&mut frames);
            let end = start + frame.len();
            let mut audience = Audience::new(Target::All);
            let excepted = batch
                .exceptions
                .iter()
                .filter(|(_, part)| *part == (start..end));
            audience.except.extend(excepted.map(|(id, _)| *id));
            let dispatch = Dispatch::plain(frame, Lane::Normal);
            self.hand_to_passed_over(&audience, &dispatch, &mut Receipt::default());
            start = end;
        }
    }
}

/// Splits off the first frame.
fn split_frame(frames: &mut Slice) -> Slice {
    let bytes = frames.as_bytes();
    let first = server_frame_len(bytes).unwrap_or(bytes.len());
    frames.split_to(first.min(bytes.len()))
}
