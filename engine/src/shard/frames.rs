//! A message on its way to outboxes: encoded once, compressed once for each way of compressing.
//!
//! [`Frames`] are its encodings, a [`Dispatch`] is how it travels between threads, [`Outgoing`] how it
//! is handed to the outboxes of one shard.

use std::sync::{Arc, OnceLock};

use throng_transport::Slice;

use super::compress::{Compressors, Encoding, WAYS};
use super::dirty::Due;
use super::outbox::{Label, Lane};

/// A message as a frame, and compressed for those that agreed on it. Cloning copies no bytes, and
/// what one clone has compressed all others have too, on whichever shard.
#[derive(Clone, Debug)]
pub(crate) struct Frames {
    pub(crate) plain: Slice,
    /// By window size; none where it is not to be compressed.
    compressed: Option<Arc<[OnceLock<Option<Slice>>; WAYS]>>,
}

impl Frames {
    /// A message that goes to everybody as it is.
    pub(crate) fn plain(frame: Slice) -> Frames {
        Frames {
            plain: frame,
            compressed: None,
        }
    }

    /// A message that is compressed for those that agreed on it, if that is worth it.
    pub(crate) fn new(frame: Slice, is_compressible: bool) -> Frames {
        Frames {
            plain: frame,
            compressed: is_compressible.then(Arc::default),
        }
    }

    /// Compresses it for connections of that encoding, if it is to be compressed at all, before
    /// somebody needs that.
    pub(crate) fn prepare(&self, encoding: Encoding, compressors: &mut Compressors) {
        if let Some(ways) = &self.compressed {
            ways[encoding.way()].get_or_init(|| compressors.compress_frame(&self.plain, encoding));
        }
    }

    /// Whether it is the same for everybody.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.compressed.is_none()
    }
}

/// A message and how it is to be sent. Cloning copies no bytes.
#[derive(Clone, Debug)]
pub(crate) struct Dispatch {
    pub(crate) frames: Frames,
    pub(crate) lane: Lane,
    /// Names what the message is about: it takes the place of an unsent one about the same.
    pub(crate) key: Option<Arc<str>>,
}

impl Dispatch {
    /// A message that goes as it is, about nothing in particular.
    pub(crate) fn plain(frame: Slice, lane: Lane) -> Dispatch {
        Dispatch {
            frames: Frames::plain(frame),
            lane,
            key: None,
        }
    }

    /// Whether it is the same for everybody and may go in a run with others.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.frames.is_plain()
    }
}

/// A message while it is handed to the outboxes of one shard.
pub(crate) struct Outgoing<'f> {
    dispatch: &'f Dispatch,
    compressors: &'f mut Compressors,
    /// When those who get it are flushed.
    pub(super) due: Due,
    label: Label,
    /// The plain frame in memory of its own, once somebody needs it.
    kept: Option<Slice>,
}

impl<'f> Outgoing<'f> {
    pub(crate) fn new(
        dispatch: &'f Dispatch,
        compressors: &'f mut Compressors,
        due: Due,
    ) -> Outgoing<'f> {
        Outgoing {
            dispatch,
            compressors,
            due,
            label: Label {
                room: None,
                key: dispatch.key.clone(),
            },
            kept: None,
        }
    }

    /// Says to which single room it is published.
    pub(crate) fn in_room(mut self, room: Option<Arc<str>>) -> Outgoing<'f> {
        self.label.room = room;
        self
    }

    /// The lane that it goes on.
    pub(crate) fn lane(&self) -> Lane {
        self.dispatch.lane
    }

    /// The frame for a connection of that encoding, and what it is about. One that is behind may keep
    /// it for long, and a whole chunk must not wait with it.
    #[inline]
    pub(crate) fn frame(
        &mut self,
        slot: u32,
        encoding: Encoding,
        is_behind: bool,
    ) -> (&Slice, &Label) {
        if encoding.compresses()
            && let Some(compressed) = self.compressed(slot, encoding)
        {
            return (compressed, &self.label);
        }
        if is_behind {
            return self.keepsake();
        }
        (&self.dispatch.frames.plain, &self.label)
    }

    #[cold]
    fn keepsake(&mut self) -> (&Slice, &Label) {
        let kept = self.kept.get_or_insert_with(|| {
            let mut kept = self.dispatch.frames.plain.clone();
            kept.compact();
            kept
        });
        (kept, &self.label)
    }

    /// The compressed frame, if that is what the connection in the slot is sent.
    fn compressed(&mut self, slot: u32, encoding: Encoding) -> Option<&'f Slice> {
        let frames = &self.dispatch.frames;
        let ways = frames.compressed.as_ref()?;
        if encoding.has_context() {
            if self.lane() == Lane::High {
                return None;
            }
            self.compressors.forget(slot);
        }
        let (plain, compressors) = (&frames.plain, &mut *self.compressors);
        let made = ways[encoding.way()].get_or_init(|| compressors.compress_frame(plain, encoding));
        made.as_ref()
    }
}
