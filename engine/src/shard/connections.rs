//! The connections of a shard: a slab whose slots carry generations, and the list of those
//! that have something to be sent.

use std::ops::{Index, IndexMut};

use roaring::RoaringBitmap;
use slab::Slab;
use throng_transport::{ChunkPool, Peer, Slice, SocketKey};

use super::compress::Encoding;
use super::connection::Connection;
use super::dirty::{Dirty, Due, Listed};
use super::frames::Outgoing;
use super::gap::Missed;
use super::outbox::{LaneStock, Notice, OutboxLimits, Pushed, RunLabels};
use super::timer::Tick;
use crate::event::Loss;
use crate::id::{GENERATIONS, MAX_SLOTS};
use crate::metrics::Meter;

/// Connections by slot.
pub(crate) struct Connections {
    slots: Slab<Connection>,
    next_generation: u32,
    pub(super) dirty: Dirty,
    stock: LaneStock,
    /// Slots of connections that are behind ([`Outbox::is_behind`](super::outbox::Outbox::is_behind)).
    behind: RoaringBitmap,
    /// Connections that messages may be compressed for.
    compressing: usize,
    pub(crate) limits: OutboxLimits,
    meter: Meter,
}

impl Connections {
    pub(crate) fn new(expected: usize, limits: OutboxLimits, meter: Meter) -> Connections {
        Connections {
            slots: Slab::with_capacity(expected),
            next_generation: 0,
            dirty: Dirty::new(),
            stock: LaneStock::default(),
            behind: RoaringBitmap::new(),
            compressing: 0,
            limits,
            meter,
        }
    }

    /// The connection, unless the key is stale.
    #[inline]
    pub(crate) fn get(&mut self, key: SocketKey) -> Option<&mut Connection> {
        self.slots
            .get_mut(key.slot as usize)
            .filter(|connection| connection.generation == key.generation)
    }

    /// The same to be looked at.
    pub(crate) fn peek(&self, key: SocketKey) -> Option<&Connection> {
        self.slots
            .get(key.slot as usize)
            .filter(|connection| connection.generation == key.generation)
    }

    /// The connection, if it is open.
    #[inline]
    pub(crate) fn open(&mut self, key: SocketKey) -> Option<&mut Connection> {
        self.get(key).filter(|connection| connection.is_open())
    }

    /// The key of whatever holds the slot now.
    pub(crate) fn key(&self, slot: u32) -> Option<SocketKey> {
        let connection = self.slots.get(slot as usize)?;
        Some(SocketKey {
            slot,
            generation: connection.generation,
        })
    }

    /// A slot for a new connection; `None` when the shard has no more.
    pub(crate) fn insert(&mut self, peer: Peer, now: Tick) -> Option<SocketKey> {
        if self.slots.len() >= MAX_SLOTS {
            return None;
        }
        let generation = self.next_generation;
        self.next_generation = (generation + 1) % GENERATIONS;
        let slot = self.slots.insert(Connection::new(generation, peer, now));
        Some(SocketKey {
            slot: u32::try_from(slot).ok()?,
            generation,
        })
    }

    pub(crate) fn remove(&mut self, key: SocketKey) -> Option<Connection> {
        self.get(key)?;
        let mut connection = self.slots.remove(key.slot as usize);
        if connection.outbox.is_behind() {
            self.behind.remove(key.slot);
        }
        self.compressing -= usize::from(connection.encoding.compresses());
        connection.outbox.release(&mut self.stock);
        Some(connection)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// All connections with their keys, in slot order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SocketKey, &Connection)> {
        self.slots.iter().filter_map(|(slot, connection)| {
            let slot = u32::try_from(slot).ok()?;
            let generation = connection.generation;
            Some((SocketKey { slot, generation }, connection))
        })
    }

    /// The keys of those in this slot and the ones behind it, in slot order.
    pub(crate) fn keys_from(&self, slot: u32) -> impl Iterator<Item = SocketKey> {
        let end = u32::try_from(self.slots.capacity()).unwrap_or(u32::MAX);
        (slot..end).filter_map(|slot| self.key(slot))
    }

    /// Frees what is spare.
    pub(crate) fn trim(&mut self) {
        self.stock.trim();
    }

    /// The keys of all connections, in slot order.
    pub(crate) fn keys(&self) -> Vec<SocketKey> {
        self.iter().map(|(key, _)| key).collect()
    }

    /// Lists a connection for the flush that ends the turn.
    #[inline]
    pub(crate) fn mark_dirty(&mut self, slot: u32) {
        let connection = &mut self.slots[slot as usize];
        self.dirty.list(slot, Due::Now, &mut connection.listed);
    }

    /// The slot of the first in line that has something to be sent. Unless there is time, only one
    /// that must not wait longer.
    #[inline]
    pub(super) fn next_in_line(&mut self, has_time: bool) -> Option<u32> {
        loop {
            let slot = self.dirty.next_in_line(has_time)?;
            let Some(connection) = self.slots.get_mut(slot as usize) else {
                continue;
            };
            let is_again = connection.listed == Listed::InLineAgain;
            if !connection.listed.leave_line() {
                continue;
            }
            if has_time || !is_again {
                return Some(slot);
            }
            self.dirty.list(slot, Due::InLine, &mut connection.listed);
        }
    }

    /// The connection in the slot, to be flushed, with the stock and the slots of those behind.
    #[inline]
    pub(crate) fn flushing(
        &mut self,
        slot: u32,
    ) -> (&mut Connection, &mut LaneStock, &mut RoaringBitmap) {
        (
            &mut self.slots[slot as usize],
            &mut self.stock,
            &mut self.behind,
        )
    }

    /// Queues a frame for the connection in the slot if it is open and `wanted`, given its
    /// generation; counts what is lost.
    #[inline]
    pub(crate) fn push(
        &mut self,
        slot: u32,
        message: &mut Outgoing<'_>,
        wanted: impl FnOnce(u32) -> bool,
    ) -> Option<Pushed> {
        let connection = self.slots.get_mut(slot as usize)?;
        if !connection.is_open() || !wanted(connection.generation) {
            return None;
        }
        let outbox = &mut connection.outbox;
        let lane = message.lane();
        let (frame, label) = message.frame(slot, connection.encoding, outbox.is_behind());
        let pushed = outbox.push(frame, label, lane, &self.limits, &mut self.stock);
        if pushed != Pushed::Queued {
            connection.count_overflow(pushed);
            note_overflow(&self.meter, pushed);
        }
        self.dirty.list(slot, message.due, &mut connection.listed);
        Some(pushed)
    }

    /// Queues data frames for the open connection in the slot, which is not behind.
    #[inline]
    pub(super) fn push_run(
        &mut self,
        slot: u32,
        frames: &Slice,
        messages: u32,
        labels: &RunLabels,
        due: Due,
    ) {
        let connection = &mut self.slots[slot as usize];
        debug_assert!(connection.is_open() && !connection.outbox.is_behind());
        connection
            .outbox
            .push_run(frames, messages, labels, &mut self.stock);
        self.dirty.list(slot, due, &mut connection.listed);
    }

    /// Takes note that what the driver kept is sent. Its peer counts as behind until what waits is sent
    /// too.
    pub(super) fn sent(&mut self, key: SocketKey) -> Option<&mut Connection> {
        let outbox = &mut self.get(key)?.outbox;
        outbox.sent();
        if !outbox.is_behind() {
            self.behind.remove(key.slot);
        }
        self.mark_dirty(key.slot);
        self.get(key)
    }

    /// Takes note that the system did not take all of the batch that was sent last. The flush does what
    /// follows from that.
    #[cold]
    pub(super) fn stalled(&mut self, key: SocketKey, unsent: usize, tick: Tick) {
        let Some(connection) = self.get(key) else {
            return;
        };
        connection.unsent = u32::try_from(unsent).unwrap_or(u32::MAX);
        connection.outbox.stalled();
        connection.outbox.compact();
        connection.since.sending = tick;
        self.behind.insert(key.slot);
        self.mark_dirty(key.slot);
    }

    /// Slots of connections that are behind.
    #[inline]
    pub(super) fn behind(&self) -> &RoaringBitmap {
        &self.behind
    }

    /// Whether a frame will be queued for an open connection, and nothing dropped for it.
    pub(crate) fn has_room(&mut self, key: SocketKey, frame: &Slice) -> bool {
        let limits = self.limits;
        self.open(key)
            .is_some_and(|connection| connection.outbox.takes(frame, &limits))
    }

    /// Takes note of how a connection's messages are encoded.
    pub(crate) fn set_encoding(&mut self, slot: u32, encoding: Encoding) {
        self.compressing += usize::from(encoding.compresses());
        self.slots[slot as usize].encoding = encoding;
    }

    /// Whether messages may be compressed for an open connection.
    pub(crate) fn compresses(&mut self, key: SocketKey) -> bool {
        self.open(key)
            .is_some_and(|connection| connection.encoding.compresses())
    }

    /// Connections that messages may be compressed for.
    #[inline]
    pub(crate) fn compressing(&self) -> usize {
        self.compressing
    }

    /// Writes a data frame behind the last one of an open connection, if that is possible.
    #[inline]
    pub(crate) fn write(
        &mut self,
        key: SocketKey,
        chunks: &mut ChunkPool,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> bool {
        let connection = self.slots.get_mut(key.slot as usize);
        let open = connection.filter(|it| it.generation == key.generation && it.is_open());
        let Some(connection) = open else {
            return false;
        };
        let written = connection.outbox.write(chunks, len, fill);
        if written {
            self.dirty.list(key.slot, Due::Now, &mut connection.listed);
        }
        written
    }
}

/// Counts what a message given to an outbox came to, where it did not just wait.
#[cold]
fn note_overflow(meter: &Meter, pushed: Pushed) {
    let Some(counters) = meter.counters() else {
        return;
    };
    let loss = match pushed {
        Pushed::Queued => return,
        Pushed::DroppedOldest(_) | Pushed::Conflated(_) => Loss::Displaced,
        Pushed::Refused => Loss::Refused,
        Pushed::Overflow => Loss::Overflow,
    };
    counters.dropped.add(loss, u64::from(pushed.dropped()));
    counters
        .conflated
        .add(u64::from(matches!(pushed, Pushed::Conflated(_))));
}

impl Connections {
    /// Counts messages that waited for a connection that was given up.
    pub(super) fn note_given_up(&self, messages: u32) {
        if let Some(counters) = self.meter.counters() {
            counters.dropped.add(Loss::GivenUp, u64::from(messages));
        }
    }

    /// Queues a pong.
    pub(crate) fn push_pong(&mut self, slot: u32, frame: &Slice) {
        self.slots[slot as usize]
            .outbox
            .push_pong(frame, &mut self.stock);
        self.mark_dirty(slot);
    }

    /// Takes what a connection has missed and was not told.
    #[inline]
    pub(super) fn take_missed(&mut self, key: SocketKey) -> Option<Missed> {
        let connection = self
            .slots
            .get_mut(key.slot as usize)
            .filter(|connection| connection.generation == key.generation)?;
        let (missed, notices) = connection.outbox.take_missed(&mut self.stock)?;
        connection.count_notices(-i64::from(notices));
        Some(missed)
    }

    /// Queues what tells a connection of a gap.
    pub(super) fn push_notice(&mut self, slot: u32, notice: Notice) {
        let connection = &mut self.slots[slot as usize];
        let outbox = &mut connection.outbox;
        outbox.push_notice(notice, &self.limits, &mut self.stock);
        connection.count_notices(1);
        self.mark_dirty(slot);
    }

    /// Queues bytes that go before every message.
    pub(crate) fn push_control(&mut self, slot: u32, frame: &Slice) {
        self.slots[slot as usize]
            .outbox
            .push_control(frame, &mut self.stock);
        self.mark_dirty(slot);
    }

    /// Queues bytes behind everything else.
    pub(crate) fn push_last(&mut self, slot: u32, frame: &Slice) {
        self.slots[slot as usize]
            .outbox
            .push_last(frame, &mut self.stock);
        self.mark_dirty(slot);
    }
}

impl Index<u32> for Connections {
    type Output = Connection;

    fn index(&self, slot: u32) -> &Connection {
        &self.slots[slot as usize]
    }
}

impl IndexMut<u32> for Connections {
    fn index_mut(&mut self, slot: u32) -> &mut Connection {
        &mut self.slots[slot as usize]
    }
}
