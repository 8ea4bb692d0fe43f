//! What is kept of a message, a control frame or a header that has not arrived whole.

use std::mem;

use super::pool::{INFLATED_AT_ONCE, Pool};
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
    /// The message's bytes so far, unmasked; of a compressed one as they arrive, then inflated.
    data: Vec<u8>,
    utf8: Utf8Validator,
    /// The message is compressed: its first frame said so.
    compressed: bool,
    /// The compressed message that has arrived whole.
    inflation: Option<Inflation>,
    /// While a message is inflated; with context takeover ever after the first.
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

/// A compressed message on its way to [`Assembly::data`]. It is inflated when all of it is here: a
/// small part of it could stand for a large message, which nothing obliges the peer to end.
#[derive(Debug)]
struct Inflation {
    kind: Kind,
    compressed: Vec<u8>,
    /// How many of these bytes have been inflated.
    done: usize,
}

/// What [`Assembly::advance`] came to.
pub(super) enum Step<'b> {
    /// The input is used up.
    Hungry,
    /// A message is inflated in part.
    Unfinished,
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
            inflation: None,
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
        if self.inflation.is_some() {
            return self.inflate(rules, limits, pool);
        }
        loop {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.read_header(input, rules)? {
                    Some(header) => self.begin(&header, limits)?,
                    None => return Ok(Step::Hungry),
                },
            };
            let is_whole = frame.fin && self.open.is_none() && !frame.compressed && !rules.discards;
            if frame.done == 0
                && (frame.kind.is_control() || is_whole)
                && let Some(payload) = input.take(frame.len)
            {
                frame.unmask(payload);
                return Ok(Step::Whole(frame.kind, payload));
            }
            self.store(&mut frame, input, rules, pool)?;
            if frame.done < frame.len {
                self.frame = Some(frame);
                return Ok(Step::Hungry);
            }
            if !frame.kind.is_control() {
                self.open = if frame.fin { None } else { Some(frame.kind) };
            }
            if frame.fin && (frame.kind.is_control() || !rules.discards) {
                if frame.compressed {
                    self.inflation = Some(Inflation {
                        kind: frame.kind,
                        compressed: mem::take(&mut self.data),
                        done: 0,
                    });
                    return self.inflate(rules, limits, pool);
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
            && self.inflation.is_none()
            && self.inflater.is_none()
    }

    /// Whether a message is inflated in part.
    pub(super) fn is_inflating(&self) -> bool {
        self.inflation.is_some()
    }

    /// Capacity held for the message.
    pub(super) fn kept_bytes(&self) -> usize {
        let inflation = self.inflation.as_ref();
        self.data.capacity() + inflation.map_or(0, |inflation| inflation.compressed.capacity())
    }

    /// Bytes of memory held in all.
    pub(super) fn memory(&self) -> usize {
        let inflater = self.inflater.as_ref().map_or(0, |_| Inflater::MEMORY);
        size_of::<Assembly>() + self.kept_bytes() + inflater
    }

    /// Gives back what is kept of messages.
    pub(super) fn discard(&mut self, pool: &mut Pool) {
        pool.give_buffer(mem::take(&mut self.data));
        if let Some(inflation) = self.inflation.take() {
            pool.give_buffer(inflation.compressed);
        }
        if let Some(inflater) = self.inflater.take() {
            pool.give_inflater(inflater);
        }
    }

    /// Gives back everything.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        self.discard(pool);
        self.open = None;
        self.frame = None;
        self.header_len = 0;
        self.control_len = 0;
        self.utf8 = Utf8Validator::default();
    }

    /// A message that is neither open nor arriving was delivered by the step before.
    pub(super) fn forget_delivered(&mut self, pool: &mut Pool) {
        if self.open.is_none() && self.frame.is_none() && self.inflation.is_none() {
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
            limits.check_compressed(header.len, self.data.len())?
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
        rules: Rules,
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
        if rules.discards {
            return Ok(());
        }
        // Whether an inflated message is text is seen when it is whole.
        if frame.kind == Kind::Text && !frame.compressed {
            self.utf8.push(piece)?;
        }
        self.keep(piece, pool);
        Ok(())
    }

    /// Keeps the next bytes of the message.
    fn keep(&mut self, piece: &[u8], pool: &mut Pool) {
        self.make_room(piece.len(), pool);
        self.data.extend_from_slice(piece);
    }

    /// Inflates the next part of the message that has arrived, and its end. The inflater stays only
    /// where the next message may refer to this one.
    fn inflate<'b>(
        &mut self,
        rules: Rules,
        limits: &MessageLimits,
        pool: &mut Pool,
    ) -> Result<Step<'b>, Fault> {
        let Some(mut inflation) = self.inflation.take() else {
            return Ok(Step::Hungry);
        };
        let rest = &inflation.compressed[inflation.done..];
        let part = &rest[..rest.len().min(INFLATED_AT_ONCE)];
        let is_last = part.len() == rest.len();
        let mut inflater = self.inflater.take().unwrap_or_else(|| pool.take_inflater());
        let mut scratch = pool.take_scratch();
        let inflated_before = self.data.len();
        let mut result = inflater.push(part, &mut scratch, |piece| {
            limits.check_message(self.data.len(), piece.len())?;
            self.keep(piece, pool);
            Ok(())
        });
        if is_last && result.is_ok() {
            result = inflater.finish(&mut scratch);
        }
        pool.give_scratch(scratch);
        pool.charge(part.len(), self.data.len() - inflated_before);
        self.inflater = Some(inflater);
        result?;
        inflation.done += part.len();
        if !is_last {
            self.inflation = Some(inflation);
            return Ok(Step::Unfinished);
        }
        pool.give_buffer(inflation.compressed);
        if rules.compression != Compression::InContext
            && let Some(inflater) = self.inflater.take()
        {
            pool.give_inflater(inflater);
        }
        Ok(Step::Kept(inflation.kind))
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
