//! What a message is about, as far as it matters while it waits.

use std::sync::Arc;

use throng_transport::Slice;

use super::first_frame;

/// Decides which unsent message another one replaces, and for which room a lost one counts.
///
/// Only what waits behind a batch is labelled: a peer that keeps up costs none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Label {
    /// The room, where the message was published to a single one.
    pub(crate) room: Option<Arc<str>>,
    /// The publisher's key. Those of one room are apart from those of another.
    pub(crate) key: Option<Arc<str>>,
}

impl Label {
    /// Whether it says nothing, as on what one connection alone is sent without a key.
    pub(super) fn is_blank(&self) -> bool {
        self.room.is_none() && self.key.is_none()
    }
}

/// The labels of a run: frames that were published to one room and lie one behind the other.
#[derive(Debug, Default)]
pub(crate) struct RunLabels {
    room: Option<Arc<str>>,
    /// Where in memory a frame with a key begins, ascending, since a run lies in one chunk.
    keys: Vec<(usize, Arc<str>)>,
}

impl RunLabels {
    /// For a run that is published to `room`.
    pub(crate) fn new(room: Option<&Arc<str>>) -> RunLabels {
        RunLabels {
            room: room.cloned(),
            keys: Vec::new(),
        }
    }

    /// Takes note of a frame that is added to the run.
    #[inline]
    pub(crate) fn note(&mut self, frame: &Slice, key: Option<&Arc<str>>) {
        if let Some(key) = key {
            self.keys.push((address(frame), Arc::clone(key)));
        }
    }

    /// Takes the run, or a part of it in whole frames, apart: each frame with a key is a piece, and
    /// so is what lies between two of them.
    pub(super) fn pieces(&self, frames: &Slice) -> impl Iterator<Item = (Slice, Label)> {
        let mut rest = frames.clone();
        std::iter::from_fn(move || {
            let start = address(&rest);
            let next = self.keys.partition_point(|(begin, _)| *begin < start);
            let (len, key) = match self.keys.get(next) {
                Some((begin, key)) if *begin == start => (first_frame(&rest), Some(key)),
                Some((begin, _)) => (rest.len().min(begin - start), None),
                None => (rest.len(), None),
            };
            let label = Label {
                room: self.room.clone(),
                key: key.cloned(),
            };
            (!rest.is_empty()).then(|| (rest.split_to(len), label))
        })
    }
}

fn address(frame: &Slice) -> usize {
    frame.as_bytes().as_ptr().addr()
}

#[cfg(test)]
mod tests {
    use throng_transport::ChunkPool;

    use super::*;

    #[test]
    fn a_run_comes_apart_at_its_keys() {
        let mut chunks = ChunkPool::new();
        let mut labels = RunLabels::new(Some(&Arc::from("tea")));
        let keys = [None, None, Some("a"), Some("b"), None, Some("a")];
        let mut run: Option<Slice> = None;
        for key in keys.map(|key| key.map(Arc::from)) {
            let frame = chunks.write(3, |out| out.copy_from_slice(&[0x82, 1, 7]));
            labels.note(&frame, key.as_ref());
            match &mut run {
                Some(run) => assert!(run.try_extend(&frame)),
                None => run = Some(frame),
            }
        }
        let mut run = run.unwrap();
        let apart = |run: &Slice| -> Vec<(usize, Option<String>)> {
            let pieces = labels.pieces(run).inspect(|(_, label)| {
                assert_eq!(label.room.as_deref(), Some("tea"));
            });
            let key = |label: Label| label.key.map(|key| key.to_string());
            pieces
                .map(|(piece, label)| (piece.len(), key(label)))
                .collect()
        };
        let key = |name: &str| Some(name.to_owned());
        let whole = [
            (6, None),
            (3, key("a")),
            (3, key("b")),
            (3, None),
            (3, key("a")),
        ];
        assert_eq!(apart(&run), whole);
        run.advance(9);
        assert_eq!(apart(&run), whole[2..], "a part of it too");
        assert_eq!(apart(&run.split_to(3)), whole[2..3]);
    }
}
