//! What is kept of a message, a control frame or a header that has not arrived whole.

use std::mem;

use super::pool::Pool;
use super::{Compression, Input, Kind, MessageLimits, Rules};
use crate::protocol::deflate::Inflater;
use crate::protocol::fault::Fault;
use crate::protocol::frame::{Header, MAX_CONTROL_PAYLOAD, MAX_HEADER_LEN, OpCode};
use crate::protocol::mask;
use crate::protocol::utf8::Utf8Validator;

/// The parts of what is incomplete. While a message is open between its fragments, a control
/// frame may pass through in parts of its own (RFC 6455 §5.4).
#[derive(Debug)]
pub(super) struct Assembly {
    /// The message whose last fragment is yet to begin or to arrive.
    open: Option<Kind>,
    /// The frame whose payload has not arrived whole.
    frame: Option<Frame>,
    /// The first bytes of the next frame's header.
    header: [u8; MAX_HEADER_LEN],
    header_len: usize,
    control: [u8; MAX_CONTROL_PAYLOAD],
    control_len: usize,
    /// The message's bytes so far, unmasked and inflated.
    data: Vec<u8>,
    utf8: Utf8Validator,
    /// The message is compressed: its first frame said so.
    compressed: bool,
    /// While a compressed message is arriving; with context takeover ever after the first.
    pub(super) inflater: Option<Inflater>,
}

/// A frame's header as far as its payload needs it.
#[derive(Debug)]
struct Frame {
    kind: Kind,
    fin: bool,
    compressed: bool,
    key: Option<[u8; 4]>,
    len: usize,
    /// Payload bytes that have arrived.
    done: usize,
}

/// What [`Assembly::advance`] came to.
pub(super) enum Step<'b> {
    /// The input is used up.
    Hungry,
    /// An event whose payload lies whole in the input, unmasked.
    Whole(Kind, &'b mut [u8]),
    /// An event whose payload is [`Assembly::payload`].
    Kept(Kind),
}

impl Default for Assembly {
    fn default() -> Assembly {
        Assembly {
            open: None,
            frame: None,
            header: [0; MAX_HEADER_LEN],
            header_len: 0,
            control: [0; MAX_CONTROL_PAYLOAD],
            control_len: 0,
            data: Vec::new(),
            utf8: Utf8Validator::default(),
            compressed: false,
            inflater: None,
        }
    }
}

impl Assembly {
    /// Takes input up to the next event.
    pub(super) fn advance<'b>(
        &mut self,
        input: &mut Input<'b>,
        rules: Rules,
        limits: &MessageLimits,
        pool: &mut Pool,
    ) -> Result<Step<'b>, Fault> {
        self.forget_delivered(pool);
        loop {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.read_header(input, rules)? {
                    Some(header) => self.begin(&header, limits)?,
                    None => return Ok(Step::Hungry),
                },
            };
            if frame.done == 0
                && !frame.compressed
                && (frame.kind.is_control() || (frame.fin && self.open.is_none()))
                && let Some(payload) = input.take(frame.len)
            {
                frame.unmask(payload);
                return Ok(Step::Whole(frame.kind, payload));
            }
            self.store(&mut frame, input, limits, pool)?;
            if frame.done < frame.len {
                self.frame = Some(frame);
                return Ok(Step::Hungry);
            }
            if !frame.kind.is_control() {
                self.open = if frame.fin { None } else { Some(frame.kind) };
            }
            if frame.fin {
                if frame.compressed {
                    self.finish_inflating(&frame, rules, limits, pool)?;
                }
                if frame.kind == Kind::Text {
                    self.utf8.finish()?;
                }
                return Ok(Step::Kept(frame.kind));
            }
        }
    }

    /// The payload of the event that [`Step::Kept`] announced.
    pub(super) fn payload(&self, kind: Kind) -> &[u8] {
        if kind.is_control() {
            &self.control[..self.control_len]
        } else {
            &self.data
        }
    }

    /// Whether nothing incomplete is kept, nor the context of compressed messages.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_none()
            && self.frame.is_none()
            && self.header_len == 0
            && self.inflater.is_none()
    }

    /// Capacity held for the message.
    pub(super) fn kept_bytes(&self) -> usize {
        self.data.capacity()
    }

    /// Drops what is kept and hands out the buffer it was in.
    pub(super) fn clear(&mut self) -> Vec<u8> {
        self.open = None;
        self.frame = None;
        self.header_len = 0;
        self.control_len = 0;
        self.utf8 = Utf8Validator::default();
        mem::take(&mut self.data)
    }

    /// A message that is neither open nor arriving was delivered by the step before.
    fn forget_delivered(&mut self, pool: &mut Pool) {
        if self.open.is_none() && self.frame.is_none() {
            pool.give_buffer(mem::take(&mut self.data));
        }
    }

    fn read_header(
        &mut self,
        input: &mut Input<'_>,
        rules: Rules,
    ) -> Result<Option<Header>, Fault> {
        let kept = self.header_len;
        let unread = input.unread();
        let added = unread.len().min(MAX_HEADER_LEN - kept);
        self.header[kept..kept + added].copy_from_slice(&unread[..added]);
        match rules.parse(&self.header[..kept + added])? {
            Some((header, len)) => {
                input.take(len - kept);
                self.header_len = 0;
                Ok(Some(header))
            }
            None => {
                input.take(added);
                self.header_len = kept + added;
                Ok(None)
            }
        }
    }

    /// The order of frames (RFC 6455 §5.4) and their sizes, checked before any payload is kept.
    fn begin(&mut self, header: &Header, limits: &MessageLimits) -> Result<Frame, Fault> {
        let kind = match (header.opcode, self.open) {
            (OpCode::Continuation, Some(kind)) => kind,
            (OpCode::Continuation, None) => return Err(Fault::UnexpectedContinuation),
            (OpCode::Text | OpCode::Binary, Some(_)) => return Err(Fault::ExpectedContinuation),
            (OpCode::Text, None) => Kind::Text,
            (OpCode::Binary, None) => Kind::Binary,
            (OpCode::Close, _) => Kind::Close,
            (OpCode::Ping, _) => Kind::Ping,
            (OpCode::Pong, _) => Kind::Pong,
        };
        if matches!(header.opcode, OpCode::Text | OpCode::Binary) {
            self.compressed = header.rsv != 0;
        }
        let compressed = self.compressed && !kind.is_control();
        let len = if kind.is_control() {
            self.control_len = 0;
            // At most 125: the header was parsed.
            usize::try_from(header.len).unwrap_or(MAX_CONTROL_PAYLOAD)
        } else if compressed {
            // How long the message is shows when it is inflated.
            limits.check_frame(header.len)?
        } else {
            limits.check(header.len, self.data.len())?
        };
        Ok(Frame {
            kind,
            fin: header.fin,
            compressed,
            key: header.mask,
            len,
            done: 0,
        })
    }

    /// Keeps what has arrived of the frame's payload.
    fn store(
        &mut self,
        frame: &mut Frame,
        input: &mut Input<'_>,
        limits: &MessageLimits,
        pool: &mut Pool,
    ) -> Result<(), Fault> {
        let Some(piece) = input.take((frame.len - frame.done).min(input.remaining())) else {
            return Ok(());
        };
        frame.unmask(piece);
        frame.done += piece.len();
        if frame.kind.is_control() {
            self.control[self.control_len..frame.done].copy_from_slice(piece);
            self.control_len = frame.done;
            return Ok(());
        }
        if frame.compressed {
            self.inflating(pool, |inflater, scratch, message, pool| {
                let keep = |part: &[u8]| message.keep_inflated(frame.kind, part, limits, pool);
                inflater.push(piece, scratch, keep)
            })
        } else {
            self.keep(frame.kind, piece, pool)
        }
    }

    /// Keeps the next bytes of the message.
    fn keep(&mut self, kind: Kind, piece: &[u8], pool: &mut Pool) -> Result<(), Fault> {
        if kind == Kind::Text {
            self.utf8.push(piece)?;
        }
        self.make_room(piece.len(), pool);
        self.data.extend_from_slice(piece);
        Ok(())
    }

    /// As [`Assembly::keep`], bounded here because no header tells the length. What fits of a text
    /// is judged first, so that the fault told does not depend on how the data was split.
    fn keep_inflated(
        &mut self,
        kind: Kind,
        piece: &[u8],
        limits: &MessageLimits,
        pool: &mut Pool,
    ) -> Result<(), Fault> {
        if let Err(too_big) = limits.check_message(self.data.len(), piece.len()) {
            if kind == Kind::Text {
                let room = limits.max_message_size.saturating_sub(self.data.len());
                self.utf8.push(&piece[..room.min(piece.len())])?;
            }
            return Err(too_big);
        }
        self.keep(kind, piece, pool)
    }

    /// Inflates the end of a compressed message. The inflater stays only where the next message
    /// may refer to this one.
    fn finish_inflating(
        &mut self,
        frame: &Frame,
        rules: Rules,
        limits: &MessageLimits,
        pool: &mut Pool,
    ) -> Result<(), Fault> {
        self.inflating(pool, |inflater, scratch, message, pool| {
            inflater.finish(scratch, |part| {
                message.keep_inflated(frame.kind, part, limits, pool)
            })
        })?;
        if rules.compression != Compression::InContext
            && let Some(inflater) = self.inflater.take()
        {
            pool.give_inflater(inflater);
        }
        Ok(())
    }

    /// Has `work` done with the message's inflater and the pool's scratch space.
    fn inflating(
        &mut self,
        pool: &mut Pool,
        work: impl FnOnce(&mut Inflater, &mut [u8], &mut Assembly, &mut Pool) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let inflater = self.inflater.take();
        let mut inflater = inflater.unwrap_or_else(|| pool.take_inflater());
        let mut scratch = pool.take_scratch();
        let result = work(&mut inflater, &mut scratch, self, pool);
        pool.give_scratch(scratch);
        self.inflater = Some(inflater);
        result
    }

    /// Grows with what has arrived, never with what a header declares: a peer's promise of a
    /// large message must not cost memory.
    fn make_room(&mut self, arrived: usize, pool: &mut Pool) {
        let needed = self.data.len() + arrived;
        if needed > self.data.capacity() {
            let mut larger = pool.take_buffer(needed);
            larger.extend_from_slice(&self.data);
            pool.give_buffer(mem::replace(&mut self.data, larger));
        }
    }
}

impl Frame {
    /// Unmasks the payload's next piece.
    fn unmask(&self, piece: &mut [u8]) {
        if let Some(key) = self.key {
            mask::apply(piece, key, self.done);
        }
    }
}
