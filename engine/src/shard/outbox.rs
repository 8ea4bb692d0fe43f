//! What a connection still has to be sent: three lanes, bounded, mostly one slice.
//!
//! While a peer keeps up, everything a turn has for it lies side by side in the shard's chunk
//! and is one [`Slice`], held inline. Only what does not fit that (several runs, other lanes)
//! takes a boxed [`Lanes`], which goes back to the shard's stock when empty.
//!
//! The slices of the high and normal lanes hold whole frames, each a message, so messages can
//! be counted and dropped by stepping over frame headers. What a message is about, its [`Label`],
//! is kept only of what waits for more than the next batch: with it, messages are replaced by key,
//! and losses counted by room ([`behind`]).

mod behind;
mod label;
mod lanes;
mod line;

use throng_transport::{ChunkPool, SendQueue, Slice};

pub(crate) use label::{Label, RunLabels};
use lanes::Lanes;
pub(crate) use lanes::{LaneStock, Notice};

use crate::config::Overflow;
use crate::limits::SEND_BATCH_BYTES;
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
    /// It waits in place of one of the same key, and that many others were dropped for it.
    Conflated(u32),
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
            Pushed::DroppedOldest(count) | Pushed::Conflated(count) => count,
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
    /// The batch that was taken last.
    taken: Taken,
}

/// The batch that was taken last, and how it stands. What it was is known even after it was sent: a
/// driver may find that it was not, after all ([`Outbox::stalled`]).
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    bytes: u32,
    /// Messages, below a flag that says how the batch stands.
    messages: u32,
}

/// The driver has not finished sending the batch.
const IN_FLIGHT: u32 = 1 << 31;
/// It has, and more waits.
const BETWEEN_SENDS: u32 = 1 << 30;
/// It seemed to have, and nothing was done yet about that it has not.
const STALLED: u32 = 1 << 29;
/// The bits that count messages.
const MESSAGES: u32 = STALLED - 1;

impl Taken {
    fn in_flight(bytes: u32, messages: u32) -> Taken {
        Taken {
            bytes,
            messages: messages.min(MESSAGES) | IN_FLIGHT,
        }
    }
}

fn length(slice: &Slice) -> u32 {
    u32::try_from(slice.len()).unwrap_or(u32::MAX)
}

/// Length of the frame that a run begins with.
fn first_frame(run: &Slice) -> usize {
    server_frame_len(run.as_bytes())
        .unwrap_or(run.len())
        .min(run.len())
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
    /// Appends a whole data frame, in a lane, unless the peer is behind: then it may replace one of
    /// the same key, and the policy decides where the bounds are met.
    ///
    /// The bounds hold for what could not be sent: they are enforced while the peer is behind.
    /// A peer that keeps up may be sent any amount in one turn.
    #[inline]
    pub(crate) fn push(
        &mut self,
        frame: &Slice,
        label: &Label,
        lane: Lane,
        limits: &OutboxLimits,
        stock: &mut LaneStock,
    ) -> Pushed {
        if self.is_behind() || self.exceeds_batch(frame) {
            return self.push_behind(frame, label, lane, limits, stock);
        }
        self.count(frame.len());
        self.append(frame, lane, stock);
        Pushed::Queued
    }

    /// Appends several data frames, which lie one behind the other, to the normal lane of a peer
    /// that is not behind.
    #[inline]
    pub(crate) fn push_run(
        &mut self,
        frames: &Slice,
        messages: u32,
        labels: &RunLabels,
        stock: &mut LaneStock,
    ) {
        let exceeds_batch = self.exceeds_batch(frames);
        self.bytes = self.bytes.saturating_add(length(frames));
        self.messages = self.messages.saturating_add(messages);
        if exceeds_batch {
            return self.append_pieces(frames, labels, stock);
        }
        self.append(frames, Lane::Normal, stock);
    }

    /// Whether what waits and these frames are too much for one batch, so that some may wait long.
    #[inline]
    fn exceeds_batch(&self, frames: &Slice) -> bool {
        self.bytes > 0 && self.bytes as usize + frames.len() > SEND_BATCH_BYTES
    }

    #[cold]
    fn append_pieces(&mut self, frames: &Slice, labels: &RunLabels, stock: &mut LaneStock) {
        let lanes = self.lanes(stock);
        for (piece, label) in labels.pieces(frames) {
            lanes.push(Lane::Normal, &piece, &label);
        }
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
        let is_behind = self.is_behind();
        let Some(run) = &mut self.run else {
            return false;
        };
        let written = !is_behind && chunks.write_behind(run, len, fill);
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
        self.lanes(stock).push(lane, frame, &Label::default());
    }

    /// The boxed lanes, with the inline run moved into them.
    fn lanes(&mut self, stock: &mut LaneStock) -> &mut Lanes {
        let lanes = self.lanes.get_or_insert_with(|| stock.take());
        if let Some(run) = self.run.take() {
            lanes.push(Lane::Normal, &run, &Label::default());
        }
        lanes
    }

    /// Gives the boxed lanes back if nothing is in them.
    fn give_empty(&mut self, stock: &mut LaneStock) {
        if let Some(lanes) = self
            .lanes
            .take_if(|lanes| lanes.is_empty() && lanes.missed.is_empty())
        {
            stock.give(lanes);
        }
    }

    /// Appends behind everything else, whatever the bounds: the close frame that follows the
    /// last message.
    pub(crate) fn push_last(&mut self, frame: &Slice, stock: &mut LaneStock) {
        self.count(frame.len());
        self.append(frame, Lane::Normal, stock);
    }

    /// Appends to the control lane, whatever the bounds.
    pub(crate) fn push_control(&mut self, frame: &Slice, stock: &mut LaneStock) {
        self.lanes(stock).push_control(frame);
    }

    /// Appends a pong to the control lane. Of too many, the oldest is dropped: a peer must be
    /// answered its latest ping only (RFC 6455 §5.5.3).
    pub(crate) fn push_pong(&mut self, frame: &Slice, stock: &mut LaneStock) {
        self.lanes(stock).push_pong(frame);
    }

    /// Drops every message that waits, and returns how many messages and bytes that were. What is
    /// in flight or on the control lane stays.
    pub(crate) fn discard(&mut self) -> (u32, u32) {
        self.run = None;
        if let Some(lanes) = &mut self.lanes {
            lanes.discard();
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

    /// Moves the next batch into `queue`: control, high, normal; of the latter two at most
    /// [`SEND_BATCH_BYTES`] unless a single frame is longer. What is moved counts as in flight until [`Outbox::sent`].
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
        while let Some(frames) = lanes.next_data(queue.bytes() - control_bytes) {
            queue.push(frames);
        }
        // What control frames weigh is bounded; they count so that they too are in flight.
        let control_bytes = u32::try_from(control_bytes).unwrap_or(u32::MAX);
        if lanes.is_empty() {
            if lanes.missed.is_empty() {
                stock.give(lanes);
            } else {
                self.lanes = Some(lanes);
            }
            return self.take_all(control_bytes);
        }
        let bytes: u32 = queue.iter().skip(control).map(length).sum();
        let messages: u32 = queue.iter().skip(control).map(count_frames).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        self.messages = self.messages.saturating_sub(messages);
        self.taken = Taken::in_flight(bytes.saturating_add(control_bytes), messages);
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
        self.taken = Taken::in_flight(bytes.saturating_add(control_bytes), messages);
        Batch { messages, bytes }
    }

    /// The batch taken last is with the system. Where more waits, the peer counts as behind until that
    /// is sent too, or the bounds would not hold between two sends.
    #[inline]
    pub(crate) fn sent(&mut self) {
        self.taken.messages &= MESSAGES;
        if !self.is_empty() {
            self.taken.messages |= BETWEEN_SENDS;
        }
    }

    /// The batch taken last is not with the system after all: it is in flight again.
    #[cold]
    pub(crate) fn stalled(&mut self) {
        self.taken.messages = self.taken.messages & MESSAGES | IN_FLIGHT | STALLED;
    }

    /// Whether the batch taken last has stalled, and the peer is still read from as one that keeps up.
    #[inline]
    pub(crate) fn has_stalled(&self) -> bool {
        self.taken.messages & STALLED != 0
    }

    /// What follows from a stall is being done.
    pub(crate) fn face_stall(&mut self) {
        self.taken.messages &= !STALLED;
    }

    /// The flush has sent everything.
    pub(crate) fn caught_up(&mut self) {
        self.taken.messages &= !BETWEEN_SENDS;
    }

    /// Has what waits keep no memory but its own: it may wait for long.
    #[cold]
    pub(crate) fn compact(&mut self) {
        self.run.iter_mut().for_each(Slice::compact);
        if let Some(lanes) = &mut self.lanes {
            lanes.compact();
        }
    }

    /// Whether a batch is in flight.
    #[inline]
    pub(crate) fn is_in_flight(&self) -> bool {
        self.taken.messages & IN_FLIGHT != 0
    }

    /// Whether the bounds hold: a batch is in flight, or was and more waits.
    #[inline]
    pub(crate) fn is_behind(&self) -> bool {
        self.taken.messages & !MESSAGES != 0
    }

    fn in_flight_messages(&self) -> u32 {
        if self.is_in_flight() {
            self.taken.messages & MESSAGES
        } else {
            0
        }
    }

    /// Bytes of the batch in flight.
    pub(crate) fn in_flight_bytes(&self) -> u32 {
        if self.is_in_flight() {
            self.taken.bytes
        } else {
            0
        }
    }

    /// Whether nothing waits (what is in flight aside).
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.run.is_none() && self.lanes.as_ref().is_none_or(|lanes| lanes.is_empty())
    }

    /// Bytes that wait on the high lane.
    pub(crate) fn high_bytes(&self) -> usize {
        self.lanes.as_ref().map_or(0, |lanes| lanes.high.bytes())
    }

    /// Messages that wait, those in flight aside.
    pub(crate) fn waiting(&self) -> u32 {
        self.messages
    }

    /// Messages not yet with the system.
    pub(crate) fn messages(&self) -> u32 {
        self.messages.saturating_add(self.in_flight_messages())
    }

    /// Bytes of memory that the entries of its lanes take, what they refer to aside.
    pub(crate) fn overhead(&self) -> usize {
        self.lanes.as_ref().map_or(0, |lanes| lanes.memory())
    }

    /// Bytes not yet with the system, waiting control frames aside.
    pub(crate) fn bytes(&self) -> u32 {
        self.bytes.saturating_add(self.in_flight_bytes())
    }
}

#[cfg(test)]
mod tests;
