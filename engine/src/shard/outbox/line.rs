//! The runs that wait on one lane, in order; those with keys can be found, replaced and taken out.
//!
//! A run keeps its position for as long as it waits. What is taken out of the middle leaves a hole;
//! there are never more holes than runs, give or take a few, so every operation is O(1) over time.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use throng_transport::Slice;

use super::label::Label;
use super::{first_frame, length};

/// Holes that are left alone, and runs that an empty line keeps memory for.
const FEW: usize = 32;

/// Frames that are about the same: one with a key, or any number without.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) frames: Slice,
    label: Label,
}

/// A message that was taken out to be lost.
#[derive(Debug)]
pub(super) struct Dropped {
    pub(super) bytes: u32,
    pub(super) room: Option<Arc<str>>,
}

/// What waits on a lane.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Does not begin with a hole.
    runs: VecDeque<Option<Run>>,
    holes: usize,
    /// The position of the first run; positions wrap around.
    first: u32,
    keyed: Keyed,
}

/// Where the runs with keys are.
#[derive(Debug, Default)]
struct Keyed {
    /// Their positions, oldest first. Some may be void, the first is not.
    order: VecDeque<u32>,
    /// The newest of each label.
    newest: HashMap<Label, u32>,
    messages: u32,
    bytes: u32,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Bytes of all that waits.
    pub(super) fn bytes(&self) -> usize {
        let runs = self.runs.iter().flatten();
        runs.map(|run| run.frames.len()).sum()
    }

    /// Messages with keys, and their bytes.
    pub(super) fn keyed(&self) -> (u32, u32) {
        (self.keyed.messages, self.keyed.bytes)
    }

    /// Appends frames, to the last run where they touch it and are about the same.
    pub(super) fn push(&mut self, frames: &Slice, label: &Label) {
        let is_keyed = label.key.is_some();
        if !is_keyed
            && let Some(Some(last)) = self.runs.back_mut()
            && last.label == *label
            && last.frames.try_extend(frames)
        {
            return;
        }
        if is_keyed {
            let position = self.first.wrapping_add(to_u32(self.runs.len()));
            self.keyed.insert(position, label, length(frames));
        }
        self.runs.push_back(Some(Run {
            frames: frames.clone(),
            label: label.clone(),
        }));
    }

    /// The first run.
    pub(super) fn front(&self) -> Option<&Run> {
        self.runs.front()?.as_ref()
    }

    /// Takes the first run.
    pub(super) fn pop_front(&mut self) -> Option<Run> {
        self.take_out(self.first)
    }

    /// Bytes of the newest waiting message of that label, if it has a key.
    pub(super) fn length_of(&self, label: &Label) -> Option<u32> {
        let run = self.at(*self.keyed.newest.get(label)?)?;
        Some(length(&run.frames))
    }

    /// Puts a frame in the place of the newest waiting message of its label.
    pub(super) fn replace(&mut self, label: &Label, frame: &Slice) {
        if let Some(&position) = self.keyed.newest.get(label)
            && let Some(Some(run)) = self.runs.get_mut(index(self.first, position))
        {
            let others = self.keyed.bytes.saturating_sub(length(&run.frames));
            self.keyed.bytes = others.saturating_add(length(frame));
            run.frames = frame.clone();
        }
    }

    /// Takes the newest waiting message of a label out.
    pub(super) fn remove(&mut self, label: &Label) {
        if let Some(&position) = self.keyed.newest.get(label) {
            self.take_out(position);
        }
    }

    /// Takes the oldest message out.
    pub(super) fn drop_oldest(&mut self) -> Option<Dropped> {
        let run = self.runs.front_mut()?.as_mut()?;
        let len = first_frame(&run.frames);
        let dropped = Dropped {
            bytes: to_u32(len),
            room: run.label.room.clone(),
        };
        if len < run.frames.len() {
            run.frames.advance(len);
        } else {
            self.pop_front();
        }
        Some(dropped)
    }

    /// Takes the oldest message that has a key out.
    pub(super) fn drop_oldest_keyed(&mut self) -> Option<Dropped> {
        let run = self.take_out(*self.keyed.order.front()?)?;
        Some(Dropped {
            bytes: length(&run.frames),
            room: run.label.room,
        })
    }

    /// Bytes that the entries take, what they refer to aside.
    pub(super) fn memory(&self) -> usize {
        let keyed = size_of::<u32>() * self.keyed.order.capacity()
            + size_of::<(Label, u32)>() * self.keyed.newest.capacity();
        size_of::<Option<Run>>() * self.runs.capacity() + keyed
    }

    /// Has what waits keep no memory but its own.
    pub(super) fn compact(&mut self) {
        let runs = self.runs.iter_mut().flatten();
        runs.for_each(|run| run.frames.compact());
    }

    /// Forgets everything, and all memory beyond what a few runs need.
    pub(super) fn clear(&mut self) {
        if self.runs.capacity() > FEW || self.keyed.order.capacity() > FEW {
            *self = Line::default();
        } else {
            self.runs.clear();
            self.holes = 0;
            self.keyed.clear();
        }
    }

    fn at(&self, position: u32) -> Option<&Run> {
        self.runs.get(index(self.first, position))?.as_ref()
    }

    fn take_out(&mut self, position: u32) -> Option<Run> {
        let run = self.runs.get_mut(index(self.first, position))?.take()?;
        self.holes += 1;
        if run.label.key.is_some() {
            self.keyed.remove(position, &run);
        }
        self.trim();
        Some(run)
    }

    /// Restores what holds between any two calls.
    fn trim(&mut self) {
        while self.runs.pop_front_if(|run| run.is_none()).is_some() {
            self.holes -= 1;
            self.first = self.first.wrapping_add(1);
        }
        if self.holes > FEW && self.holes > self.runs.len() / 2 {
            self.close_up();
        }
        while let Some(&position) = self.keyed.order.front()
            && self.at(position).is_none_or(|run| run.label.key.is_none())
        {
            self.keyed.order.pop_front();
        }
    }

    /// Gives the runs new positions, without holes.
    #[cold]
    fn close_up(&mut self) {
        self.runs.retain(Option::is_some);
        self.holes = 0;
        self.keyed.clear();
        for (run, offset) in self.runs.iter().flatten().zip(0..) {
            if run.label.key.is_some() {
                let position = self.first.wrapping_add(offset);
                self.keyed.insert(position, &run.label, length(&run.frames));
            }
        }
    }
}

impl Keyed {
    fn insert(&mut self, position: u32, label: &Label, bytes: u32) {
        self.order.push_back(position);
        self.newest.insert(label.clone(), position);
        self.messages += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn remove(&mut self, position: u32, run: &Run) {
        self.messages -= 1;
        self.bytes = self.bytes.saturating_sub(length(&run.frames));
        if self.newest.get(&run.label) == Some(&position) {
            self.newest.remove(&run.label);
        }
    }

    fn clear(&mut self) {
        self.order.clear();
        self.newest.clear();
        (self.messages, self.bytes) = (0, 0);
    }
}

fn index(first: u32, position: u32) -> usize {
    position.wrapping_sub(first) as usize
}

fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(byte: u8) -> Slice {
        Slice::with_len(3, |out| out.copy_from_slice(&[0x82, 1, byte]))
    }

    fn about(key: usize) -> Label {
        Label {
            room: None,
            key: Some(key.to_string().into()),
        }
    }

    /// What can never be sent must not let what is taken out behind it pile up.
    #[test]
    fn holes_are_closed() {
        let mut line = Line::default();
        line.push(&frame(0), &Label::default());
        for key in 0..1000 {
            line.push(&frame(1), &about(key));
            line.push(&frame(2), &about(key + 1));
            line.replace(&about(key + 1), &frame(3));
            assert!(line.drop_oldest_keyed().is_some());
            if key % 7 == 0 {
                line.remove(&about(key + 1));
            }
            while line.keyed().0 > 50 {
                assert!(line.drop_oldest_keyed().is_some());
            }
            let most = 2 * (51 + FEW);
            assert!(line.runs.len() <= most && line.keyed.order.len() <= most);
            assert!(line.keyed.newest.len() <= 51);
        }
        let mut sent = Vec::new();
        while let Some(run) = line.pop_front() {
            sent.push(run.frames.as_bytes()[2]);
        }
        assert_eq!((sent[0], sent.len()), (0, 51));
        assert_eq!(line.keyed(), (0, 0));
        assert!(line.keyed.order.is_empty() && line.keyed.newest.is_empty());
    }

    #[test]
    fn a_cleared_line_keeps_little_memory() {
        let mut line = Line::default();
        for key in 0..100 {
            line.push(&frame(1), &about(key));
        }
        line.clear();
        assert!(line.is_empty() && line.keyed() == (0, 0));
        assert!(line.runs.capacity() <= FEW && line.keyed.newest.capacity() <= FEW);
        line.push(&frame(1), &about(7));
        assert_eq!(line.length_of(&about(7)), Some(3));
    }
}
