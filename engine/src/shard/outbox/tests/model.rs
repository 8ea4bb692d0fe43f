//! What an outbox should do, said with plain lists.

use std::sync::Arc;

use super::super::*;

/// A message that waits.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) bytes: Vec<u8>,
    pub(super) label: Label,
}

/// Everything that waits, oldest first.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// Whether each is a pong.
    pub(super) control: Vec<(Vec<u8>, bool)>,
    pub(super) high: Vec<Item>,
    /// Notices before the normal lane, with what each tells.
    pub(super) notices: Vec<(Vec<u8>, Option<Arc<str>>, u64)>,
    pub(super) normal: Vec<Item>,
    pub(super) missed: Vec<(Option<Arc<str>>, u64)>,
    /// Messages and bytes, control frames included.
    pub(super) in_flight: Option<(usize, usize)>,
    /// A batch was sent, and what still waited then is not.
    pub(super) is_between_sends: bool,
}

impl Model {
    pub(super) fn line(&mut self, lane: Lane) -> &mut Vec<Item> {
        match lane {
            Lane::High => &mut self.high,
            Lane::Normal => &mut self.normal,
        }
    }

    /// Messages and bytes that wait.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let items = self
            .high
            .iter()
            .chain(&self.normal)
            .map(|item| item.bytes.len());
        let all = items.chain(self.notices.iter().map(|(bytes, ..)| bytes.len()));
        all.fold((0, 0), |(count, sum), len| (count + 1, sum + len))
    }

    pub(super) fn is_behind(&self) -> bool {
        self.in_flight.is_some() || self.is_between_sends
    }

    pub(super) fn push(&mut self, item: Item, lane: Lane, limits: &OutboxLimits) -> Pushed {
        let mut pushed = Pushed::Queued;
        if self.is_behind() {
            let same = |other: &Item| item.label.key.is_some() && other.label == item.label;
            let place = self.line(lane).iter().rposition(same);
            let old = place.map_or(0, |place| self.line(lane)[place].bytes.len());
            if let Some(place) = place
                && (item.bytes.len() <= old || self.fits(0, item.bytes.len() - old, limits))
            {
                self.line(lane)[place] = item;
                return Pushed::Conflated(0);
            }
            if !self.fits(1, item.bytes.len(), limits) {
                match self.make_room(&item, place.map(|place| (lane, place)), limits) {
                    Ok(dropped) if place.is_some() => pushed = Pushed::Conflated(dropped),
                    Ok(dropped) => pushed = Pushed::DroppedOldest(dropped),
                    Err(lost) => return lost,
                }
            }
        }
        self.append(item, lane);
        pushed
    }

    /// Appends; what goes in the next batch anyhow has no label.
    fn append(&mut self, mut item: Item, lane: Lane) {
        let bytes = self.waiting().1;
        let is_soon = bytes == 0 || bytes + item.bytes.len() <= SEND_BATCH_BYTES;
        if !self.is_behind() && is_soon {
            item.label = Label::default();
        }
        self.line(lane).push(item);
    }

    fn fits(&self, messages: usize, bytes: usize, limits: &OutboxLimits) -> bool {
        let (waiting, flying) = (self.waiting(), self.in_flight.unwrap_or_default());
        let has_place = messages == 0 || waiting.0 + flying.0 < limits.messages as usize;
        has_place && waiting.1 + flying.1 + bytes <= limits.bytes as usize
    }

    fn make_room(
        &mut self,
        item: &Item,
        superseded: Option<(Lane, usize)>,
        limits: &OutboxLimits,
    ) -> Result<u32, Pushed> {
        let by_key = limits.overflow == Overflow::Conflate;
        let goes = |item: &Item| !by_key || item.label.key.is_some();
        let before = (self.high.clone(), self.normal.clone());
        if let Some((lane, place)) = superseded {
            self.line(lane).remove(place);
        }
        let mut lost = Vec::new();
        let may_drop = matches!(limits.overflow, Overflow::DropOldest | Overflow::Conflate);
        while may_drop && !self.fits(1, item.bytes.len(), limits) {
            let in_normal = self.normal.iter().position(goes);
            let dropped = match (in_normal, self.high.iter().position(goes)) {
                (Some(place), _) => self.normal.remove(place),
                (None, Some(place)) => self.high.remove(place),
                (None, None) => break,
            };
            lost.push(dropped.label.room);
        }
        if may_drop && self.fits(1, item.bytes.len(), limits) {
            let count = lost.len() as u32;
            lost.into_iter().for_each(|room| self.miss(room, 1));
            return Ok(count);
        }
        (self.high, self.normal) = before;
        if matches!(
            limits.overflow,
            Overflow::RefuseNewest | Overflow::DropOldest
        ) {
            self.miss(item.label.room.clone(), 1);
            return Err(Pushed::Refused);
        }
        Err(Pushed::Overflow)
    }

    pub(super) fn miss(&mut self, room: Option<Arc<str>>, count: u64) {
        match self.missed.iter_mut().find(|(known, _)| *known == room) {
            Some((_, missed)) => *missed += count,
            None => self.missed.push((room, count)),
        }
    }

    /// What is to be told now: what was lost, behind what was to be told already.
    pub(super) fn take_missed(&mut self) -> Vec<(Option<Arc<str>>, u64)> {
        if self.missed.is_empty() {
            return Vec::new();
        }
        let later = std::mem::take(&mut self.missed);
        for (_, room, count) in std::mem::take(&mut self.notices) {
            self.miss(room, count);
        }
        later
            .into_iter()
            .for_each(|(room, count)| self.miss(room, count));
        std::mem::take(&mut self.missed)
    }

    /// Takes the first message to be sent, those of the control lane aside.
    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        if !self.high.is_empty() {
            return Some(self.high.remove(0).bytes);
        }
        if !self.notices.is_empty() {
            return Some(self.notices.remove(0).0);
        }
        (!self.normal.is_empty()).then(|| self.normal.remove(0).bytes)
    }
}
