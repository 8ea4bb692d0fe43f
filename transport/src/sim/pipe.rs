//! One direction of a connection: bytes on their way, and those that have arrived and wait.

use std::collections::VecDeque;
use std::time::Duration;

/// Something on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// So many bytes.
    Bytes(usize),
    /// The end of the stream.
    End,
    /// A reset.
    Reset,
}

/// What one end of a connection is sent.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// Unread, then on their way.
    bytes: VecDeque<u8>,
    /// How many of the bytes can be read.
    arrived: usize,
    segments: VecDeque<Segment>,
    /// When the last segment arrives: none overtakes another.
    last: Duration,
    /// The end of the stream has arrived.
    pub(super) has_ended: bool,
    /// Nobody takes what is written any more: it stays with the writer's system.
    pub(super) is_cut: bool,
}

impl Pipe {
    /// Bytes that fit.
    pub(super) fn room(&self, capacity: usize) -> usize {
        capacity.saturating_sub(self.bytes.len())
    }

    /// Takes bytes over from the writer. Their segments follow.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// Sends a segment off at `now`; returns when it arrives.
    pub(super) fn send(&mut self, segment: Segment, now: Duration, latency: Duration) -> Duration {
        self.segments.push_back(segment);
        self.last = self.last.max(now + latency);
        self.last
    }

    /// The next segment arrives.
    pub(super) fn arrive(&mut self) -> Option<Segment> {
        let segment = self.segments.pop_front()?;
        match segment {
            Segment::Bytes(count) => self.arrived += count,
            Segment::End => self.has_ended = true,
            Segment::Reset => {}
        }
        Some(segment)
    }

    /// Bytes that can be read.
    pub(super) fn unread(&self) -> usize {
        self.arrived
    }

    /// Reads what has arrived.
    pub(super) fn read(&mut self, out: &mut [u8]) -> usize {
        let count = out.len().min(self.arrived);
        let (front, back) = self.bytes.as_slices();
        let first = count.min(front.len());
        out[..first].copy_from_slice(&front[..first]);
        out[first..count].copy_from_slice(&back[..count - first]);
        self.bytes.drain(..count);
        self.arrived -= count;
        count
    }

    /// Drops what can be read.
    pub(super) fn discard(&mut self) {
        self.bytes.drain(..self.arrived);
        self.arrived = 0;
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        (self.bytes, self.arrived) = (VecDeque::new(), 0);
    }

    /// Drops what is on its way; the segments' arrivals find nothing.
    pub(super) fn drop_in_flight(&mut self) {
        self.bytes.truncate(self.arrived);
        self.segments.clear();
    }

    /// Drops the last bytes that were pushed and for which no segment was sent.
    pub(super) fn unpush(&mut self, count: usize) {
        self.bytes.truncate(self.bytes.len() - count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_can_be_read_once_they_have_arrived() {
        let mut pipe = Pipe::default();
        pipe.push(b"hello");
        let first = pipe.send(Segment::Bytes(2), Duration::ZERO, Duration::from_secs(2));
        let second = pipe.send(Segment::Bytes(3), Duration::ZERO, Duration::from_secs(1));
        assert_eq!((first, second), (Duration::from_secs(2), first));
        let mut out = [0; 8];
        assert_eq!((pipe.read(&mut out), pipe.room(6)), (0, 1));
        assert_eq!(pipe.arrive(), Some(Segment::Bytes(2)));
        assert_eq!((pipe.read(&mut out), &out[..2]), (2, &b"he"[..]));
        pipe.drop_in_flight();
        assert_eq!(pipe.arrive(), None);
        assert_eq!((pipe.unread(), pipe.room(6)), (0, 6));
    }
}
