//! The lanes of an outbox, and a shard's stock of them.

use std::collections::VecDeque;
use std::sync::Arc;

use throng_transport::Slice;
use throng_transport::buffer::CHUNK_SIZE;
use throng_transport::memory::Charge;

use super::Lane;
use super::label::Label;
use super::line::Line;
use crate::limits::{MAX_PENDING_PONGS, MAX_SPARE_LANES, SEND_BATCH_BYTES};
use crate::shard::gap::Missed;

// A run lies in one chunk: what is longer than a batch is a single frame, so that a control frame
// never waits for more than a batch or a frame.
const _: () = assert!(CHUNK_SIZE <= SEND_BATCH_BYTES);

/// What waits for a connection, where that is more than one run.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    pub(super) control: VecDeque<Control>,
    pub(super) high: Line,
    /// What is told of messages lost before everything on the normal lane.
    pub(super) notices: VecDeque<Notice>,
    pub(super) normal: Line,
    /// What was lost and is not told yet.
    pub(super) missed: Missed,
    charge: Charge,
}

#[derive(Debug)]
pub(super) struct Control {
    pub(super) frame: Slice,
    is_pong: bool,
}

/// A message that tells of a gap.
#[derive(Debug)]
pub(crate) struct Notice {
    pub(crate) frame: Slice,
    pub(crate) room: Option<Arc<str>>,
    pub(crate) missed: u64,
}

impl Lanes {
    /// Whether nothing waits to be sent.
    pub(super) fn is_empty(&self) -> bool {
        let is_silent = self.control.is_empty() && self.notices.is_empty();
        is_silent && self.high.is_empty() && self.normal.is_empty()
    }

    pub(super) fn line(&mut self, lane: Lane) -> &mut Line {
        match lane {
            Lane::High => &mut self.high,
            Lane::Normal => &mut self.normal,
        }
    }

    /// Appends frames to a lane.
    pub(super) fn push(&mut self, lane: Lane, frames: &Slice, label: &Label) {
        self.line(lane).push(frames, label);
        self.recharge();
    }

    pub(super) fn push_notice(&mut self, notice: Notice) {
        self.notices.push_back(notice);
        self.recharge();
    }

    pub(super) fn push_control(&mut self, frame: &Slice) {
        self.control.push_back(Control {
            frame: frame.clone(),
            is_pong: false,
        });
        self.recharge();
    }

    /// Of too many pongs, the oldest is dropped.
    pub(super) fn push_pong(&mut self, frame: &Slice) {
        let control = &mut self.control;
        if control.iter().filter(|entry| entry.is_pong).count() >= MAX_PENDING_PONGS
            && let Some(oldest) = control.iter().position(|entry| entry.is_pong)
        {
            control.remove(oldest);
        }
        control.push_back(Control {
            frame: frame.clone(),
            is_pong: true,
        });
        self.recharge();
    }

    /// Charges what the entries take, after some were added or their memory was given back.
    fn recharge(&mut self) {
        let memory = self.memory();
        self.charge.set(memory);
    }

    /// Bytes that the entries take, what they refer to aside.
    pub(super) fn memory(&self) -> usize {
        let control = self.control.capacity() * size_of::<Control>();
        let notices = self.notices.capacity() * size_of::<Notice>();
        size_of::<Lanes>() + control + notices + self.high.memory() + self.normal.memory()
    }

    /// Takes the next data frames to be sent, if they fit in a batch that holds `taken` bytes of them.
    pub(super) fn next_data(&mut self, taken: usize) -> Option<Slice> {
        let fits = |frames: &Slice| taken == 0 || taken + frames.len() <= SEND_BATCH_BYTES;
        if let Some(run) = self.high.front() {
            return fits(&run.frames)
                .then(|| self.high.pop_front())?
                .map(|run| run.frames);
        }
        if let Some(notice) = self.notices.front() {
            return fits(&notice.frame)
                .then(|| self.notices.pop_front())?
                .map(|it| it.frame);
        }
        let run = self.normal.front()?;
        fits(&run.frames)
            .then(|| self.normal.pop_front())?
            .map(|run| run.frames)
    }

    /// Drops every message.
    pub(super) fn discard(&mut self) {
        self.high.clear();
        self.notices.clear();
        self.normal.clear();
        self.missed.clear();
        self.recharge();
    }

    pub(super) fn compact(&mut self) {
        self.high.compact();
        self.notices
            .iter_mut()
            .for_each(|notice| notice.frame.compact());
        self.normal.compact();
    }
}

/// A shard's stock of empty [`Lanes`], so that using them allocates nothing in the long run.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "the boxes themselves are what is kept")]
pub(crate) struct LaneStock(pub(super) Vec<Box<Lanes>>);

impl LaneStock {
    pub(super) fn take(&mut self) -> Box<Lanes> {
        self.0.pop().unwrap_or_default()
    }

    pub(super) fn give(&mut self, mut lanes: Box<Lanes>) {
        if self.0.len() < MAX_SPARE_LANES {
            lanes.control.clear();
            lanes.discard();
            self.0.push(lanes);
        }
    }

    /// Frees what is spare.
    pub(crate) fn trim(&mut self) {
        self.0 = Vec::new();
    }
}
