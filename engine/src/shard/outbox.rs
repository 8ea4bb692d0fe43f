//! What a connection still has to be sent: three lanes, bounded, mostly one slice.
//!
//! While a peer keeps up, everything a turn has for it lies side by side in the shard's chunk
//! and is one [`Slice`], held inline. Only what does not fit that (several runs, other lanes)
//! takes a boxed [`Lanes`], which goes back to the shard's stock when empty.
//!
//! The slices of the high and normal lanes hold whole frames, each a message, so messages can
//! be counted and dropped by stepping over frame headers.

use std::collections::VecDeque;

use throng_transport::memory::Charge;
use throng_transport::{ChunkPool, SendQueue, Slice};

use crate::config::Overflow;
use crate::limits::{MAX_PENDING_PONGS, MAX_SPARE_LANES, SEND_BATCH_BYTES};
use crate::protocol::frame::server_frame_len;

/// Which of a connection's messages go first. Control frames precede both lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lane {
    /// Before everything on the normal lane.
    High,
    /// In the order sent.
    #[default]
    Normal,
}

/// Bounds of an outbox and what happens at them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutboxLimits {
    /// Messages waiting.
    pub messages: u32,
    /// Bytes waiting, headers included.
    pub bytes: u32,
    /// What happens to a message beyond the bounds.
    pub overflow: Overflow,
}

/// What became of a message given to an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It waits.
    Queued,
    /// It waits, and that many older ones were dropped for it.
    DroppedOldest(u32),
    /// It was dropped.
    Refused,
    /// The policy is to give the connection up.
    Overflow,
}

impl Pushed {
    /// Messages that were lost.
    pub(crate) fn dropped(self) -> u32 {
        match self {
            Pushed::Queued => 0,
            Pushed::DroppedOldest(count) => count,
            Pushed::Refused | Pushed::Overflow => 1,
        }
    }
}

/// The data frames of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) messages: u32,
    pub(crate) bytes: u32,
}

/// The messages that wait for one connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// The normal lane while it is one run and the other lanes are empty.
    run: Option<Slice>,
    lanes: Option<Box<Lanes>>,
    bytes: u32,
    messages: u32,
    /// What the driver has taken but not finished sending.
    in_flight_bytes: u32,
    in_flight_messages: u32,
}

/// The lanes of an outbox that holds more than one run.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    control: VecDeque<Control>,
    high: VecDeque<Slice>,
    normal: VecDeque<Slice>,
    charge: Charge,
}

#[derive(Debug)]
struct Control {
    frame: Slice,
    is_pong: bool,
}

/// A shard's stock of empty [`Lanes`], so that using them allocates nothing in the long run.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "the boxes themselves are what is kept")]
pub(crate) struct LaneStock(Vec<Box<Lanes>>);

impl LaneStock {
    fn take(&mut self) -> Box<Lanes> {
        self.0.pop().unwrap_or_default()
    }

    fn give(&mut self, mut lanes: Box<Lanes>) {
        if self.0.len() < MAX_SPARE_LANES {
            lanes.clear();
            self.0.push(lanes);
        }
    }

    /// Frees what is spare.
    pub(crate) fn trim(&mut self) {
        self.0 = Vec::new();
    }
}

impl Lanes {
    fn is_empty(&self) -> bool {
        self.control.is_empty() && self.high.is_empty() && self.normal.is_empty()
    }

    fn first_data_lane(&mut self) -> Option<&mut VecDeque<Slice>> {
        [&mut self.high, &mut self.normal]
            .into_iter()
            .find(|lane| !lane.is_empty())
    }

    /// Counts what the entries take, after some were added.
    fn recharge(&mut self) {
        let slices = self.high.capacity() + self.normal.capacity();
        let control = self.control.capacity() * size_of::<Control>();
        self.charge
            .set(size_of::<Lanes>() + control + slices * size_of::<Slice>());
    }

    fn clear(&mut self) {
        self.control.clear();
        self.high.clear();
        self.normal.clear();
    }
}

fn length(slice: &Slice) -> u32 {
    u32::try_from(slice.len()).unwrap_or(u32::MAX)
}

/// Appends to a lane, to its last run where the bytes touch.
fn append(lane: &mut VecDeque<Slice>, frame: &Slice) {
    if !lane.back_mut().is_some_and(|last| last.try_extend(frame)) {
        lane.push_back(frame.clone());
    }
}

/// Length of the frame that a run begins with.
fn first_frame(run: &Slice) -> usize {
    server_frame_len(run.as_bytes())
        .unwrap_or(run.len())
        .min(run.len())
}

/// Takes the first frame off a run, and the run if that was all. Returns the frame's length.
fn drop_first(run: &mut Option<Slice>) -> Option<u32> {
    let slice = run.as_mut()?;
    let frame = first_frame(slice);
    slice.advance(frame);
    if slice.is_empty() {
        *run = None;
    }
    u32::try_from(frame).ok()
}

/// The same for a lane.
fn drop_first_of(lane: &mut VecDeque<Slice>) -> Option<u32> {
    let mut run = lane.pop_front();
    let dropped = drop_first(&mut run);
    if let Some(rest) = run {
        lane.push_front(rest);
    }
    dropped
}

/// Frames in a run.
fn count_frames(run: &Slice) -> u32 {
    let (mut run, mut count) = (run.clone(), 0);
    while !run.is_empty() {
        run.advance(first_frame(&run));
        count += 1;
    }
    count
}

impl Outbox {
    /// Appends a whole data frame, in a lane, unless the peer is behind and the bounds are met.
    ///
    /// The bounds hold for what could not be sent: they are enforced while a send is in flight.
    /// A peer that keeps up may be sent any amount in one turn.
    #[inline]
    pub(crate) fn push(
        &mut self,
        frame: &Slice,
        lane: Lane,
        limits: &OutboxLimits,
        stock: &mut LaneStock,
    ) -> Pushed {
        let mut pushed = Pushed::Queued;
        if !self.takes(frame, limits) {
            pushed = self.overflow(frame, limits);
            if matches!(pushed, Pushed::Refused | Pushed::Overflow) {
                return pushed;
            }
        }
        self.count(frame.len());
        self.append(frame, lane, stock);
        pushed
    }

    /// Appends several data frames, which lie one behind the other, to the normal lane of a peer
    /// that is not behind.
    #[inline]
    pub(crate) fn push_run(&mut self, frames: &Slice, messages: u32, stock: &mut LaneStock) {
        self.bytes = self.bytes.saturating_add(length(frames));
        self.messages = self.messages.saturating_add(messages);
        self.append(frames, Lane::Normal, stock);
    }

    /// Writes a data frame of `len` bytes behind the last one, in the normal lane, where nothing
    /// stands in the way; otherwise returns false and has done nothing.
    #[inline]
    pub(crate) fn write(
        &mut self,
        chunks: &mut ChunkPool,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> bool {
        let Some(run) = &mut self.run else {
            return false;
        };
        let written = self.in_flight_bytes == 0 && chunks.write_behind(run, len, fill);
        if written {
            self.count(len);
        }
        written
    }

    #[inline]
    fn count(&mut self, len: usize) {
        self.bytes = self
            .bytes
            .saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
        self.messages = self.messages.saturating_add(1);
    }

    #[inline]
    fn append(&mut self, frame: &Slice, lane: Lane, stock: &mut LaneStock) {
        if lane == Lane::Normal && self.lanes.is_none() {
            match &mut self.run {
                None => {
                    self.run = Some(frame.clone());
                    return;
                }
                Some(run) => {
                    if run.try_extend(frame) {
                        return;
                    }
                }
            }
        }
        self.append_to_lane(frame, lane, stock);
    }

    #[cold]
    fn append_to_lane(&mut self, frame: &Slice, lane: Lane, stock: &mut LaneStock) {
        let lanes = self.lanes(stock);
        append(
            if lane == Lane::High {
                &mut lanes.high
            } else {
                &mut lanes.normal
            },
            frame,
        );
        lanes.recharge();
    }

    /// The boxed lanes, with the inline run moved into them.
    fn lanes(&mut self, stock: &mut LaneStock) -> &mut Lanes {
        let lanes = self.lanes.get_or_insert_with(|| stock.take());
        lanes.normal.extend(self.run.take());
        lanes
    }

    /// Appends behind everything else, whatever the bounds: the close frame that follows the
    /// last message.
    pub(crate) fn push_last(&mut self, frame: &Slice, stock: &mut LaneStock) {
        self.count(frame.len());
        self.append(frame, Lane::Normal, stock);
    }

    /// Appends to the control lane, whatever the bounds.
    pub(crate) fn push_control(&mut self, frame: &Slice, stock: &mut LaneStock) {
        let control = Control {
            frame: frame.clone(),
            is_pong: false,
        };
        let lanes = self.lanes(stock);
        lanes.control.push_back(control);
        lanes.recharge();
    }

    /// Appends a pong to the control lane. Of too many, the oldest is dropped: a peer must be
    /// answered its latest ping only (RFC 6455 §5.5.3).
    pub(crate) fn push_pong(&mut self, frame: &Slice, stock: &mut LaneStock) {
        let lanes = self.lanes(stock);
        let control = &mut lanes.control;
        if control.iter().filter(|entry| entry.is_pong).count() >= MAX_PENDING_PONGS
            && let Some(oldest) = control.iter().position(|entry| entry.is_pong)
        {
            control.remove(oldest);
        }
        control.push_back(Control {
            frame: frame.clone(),
            is_pong: true,
        });
        lanes.recharge();
    }

    /// Drops every message that waits, and returns how many messages and bytes that were. What is
    /// in flight or on the control lane stays.
    pub(crate) fn discard(&mut self) -> (u32, u32) {
        self.run = None;
        if let Some(lanes) = &mut self.lanes {
            lanes.high.clear();
            lanes.normal.clear();
        }
        (
            std::mem::take(&mut self.messages),
            std::mem::take(&mut self.bytes),
        )
    }

    /// Gives the memory back; for a connection that is gone.
    pub(crate) fn release(&mut self, stock: &mut LaneStock) {
        self.run = None;
        if let Some(lanes) = self.lanes.take() {
            stock.give(lanes);
        }
    }

    /// Moves the next batch into `queue`: control, high, normal; at most [`SEND_BATCH_BYTES`]
    /// unless a single run is longer. What is moved counts as in flight until [`Outbox::sent`].
    #[inline]
    pub(crate) fn next_batch(&mut self, queue: &mut SendQueue, stock: &mut LaneStock) -> Batch {
        if let Some(lanes) = self.lanes.take() {
            return self.batch_of_lanes(lanes, queue, stock);
        }
        if let Some(run) = self.run.take() {
            queue.push(run);
        }
        self.take_all(0)
    }

    #[cold]
    fn batch_of_lanes(
        &mut self,
        mut lanes: Box<Lanes>,
        queue: &mut SendQueue,
        stock: &mut LaneStock,
    ) -> Batch {
        for control in lanes.control.drain(..) {
            queue.push(control.frame);
        }
        let (control, control_bytes) = (queue.len(), queue.bytes());
        while let Some(lane) = lanes.first_data_lane()
            && let Some(run) = lane.front()
            && (queue.is_empty() || queue.bytes() + run.len() <= SEND_BATCH_BYTES)
        {
            queue.push(run.clone());
            lane.pop_front();
        }
        // What control frames weigh is bounded; they count so that they too are in flight.
        let control_bytes = u32::try_from(control_bytes).unwrap_or(u32::MAX);
        if lanes.is_empty() {
            stock.give(lanes);
            return self.take_all(control_bytes);
        }
        let bytes: u32 = queue.iter().skip(control).map(length).sum();
        let messages: u32 = queue.iter().skip(control).map(count_frames).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        self.messages = self.messages.saturating_sub(messages);
        self.in_flight_bytes = bytes.saturating_add(control_bytes);
        self.in_flight_messages = messages;
        self.lanes = Some(lanes);
        Batch { messages, bytes }
    }

    /// Everything that waits is in flight now.
    #[inline]
    fn take_all(&mut self, control_bytes: u32) -> Batch {
        let (messages, bytes) = (
            std::mem::take(&mut self.messages),
            std::mem::take(&mut self.bytes),
        );
        self.in_flight_bytes = bytes.saturating_add(control_bytes);
        self.in_flight_messages = messages;
        Batch { messages, bytes }
    }

    /// The batch taken last is with the system.
    #[inline]
    pub(crate) fn sent(&mut self) {
        self.in_flight_bytes = 0;
        self.in_flight_messages = 0;
    }

    /// Has what waits keep no memory but its own: it may wait for long.
    #[cold]
    pub(crate) fn compact(&mut self) {
        self.run.iter_mut().for_each(Slice::compact);
        if let Some(lanes) = &mut self.lanes {
            let data = lanes.high.iter_mut().chain(&mut lanes.normal);
            data.for_each(Slice::compact);
        }
    }

    /// Whether a batch is in flight.
    #[inline]
    pub(crate) fn is_in_flight(&self) -> bool {
        self.in_flight_bytes > 0
    }

    /// Bytes of the batch in flight.
    pub(crate) fn in_flight_bytes(&self) -> u32 {
        self.in_flight_bytes
    }

    /// Whether nothing waits (what is in flight aside).
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.run.is_none() && self.lanes.is_none()
    }

    /// Messages that wait, those in flight aside.
    pub(crate) fn waiting(&self) -> u32 {
        self.messages
    }

    /// Messages not yet with the system.
    pub(crate) fn messages(&self) -> u32 {
        self.messages.saturating_add(self.in_flight_messages)
    }

    /// Bytes not yet with the system, waiting control frames aside.
    pub(crate) fn bytes(&self) -> u32 {
        self.bytes.saturating_add(self.in_flight_bytes)
    }

    /// Whether a data frame is appended without anything being dropped.
    #[inline]
    pub(crate) fn takes(&self, frame: &Slice, limits: &OutboxLimits) -> bool {
        !self.is_in_flight() || self.has_room(frame, limits)
    }

    fn has_room(&self, frame: &Slice, limits: &OutboxLimits) -> bool {
        self.messages() < limits.messages
            && self.bytes().saturating_add(length(frame)) <= limits.bytes
    }

    #[cold]
    fn overflow(&mut self, frame: &Slice, limits: &OutboxLimits) -> Pushed {
        match limits.overflow {
            Overflow::RefuseNewest => Pushed::Refused,
            Overflow::DropOldest => self.drop_oldest(frame, limits),
            _ => Pushed::Overflow,
        }
    }

    /// Drops waiting messages, oldest first, normal lane before high, until the frame fits. When it
    /// would not fit if all were dropped, none is.
    fn drop_oldest(&mut self, frame: &Slice, limits: &OutboxLimits) -> Pushed {
        let would_fit = self.in_flight_messages < limits.messages
            && self.in_flight_bytes.saturating_add(length(frame)) <= limits.bytes;
        if !would_fit {
            return Pushed::Refused;
        }
        let mut dropped = 0;
        while !self.has_room(frame, limits) {
            let Some(length) = self.drop_one() else {
                return Pushed::Refused;
            };
            self.bytes = self.bytes.saturating_sub(length);
            self.messages = self.messages.saturating_sub(1);
            dropped += 1;
        }
        Pushed::DroppedOldest(dropped)
    }

    fn drop_one(&mut self) -> Option<u32> {
        let Some(lanes) = self.lanes.as_mut() else {
            return drop_first(&mut self.run);
        };
        drop_first_of(&mut lanes.normal).or_else(|| drop_first_of(&mut lanes.high))
    }
}

#[cfg(test)]
mod tests;
