//! Messages out of bytes (RFC 6455 §5, §6.2).

mod assembly;
#[cfg(test)]
mod compressed_tests;
mod pool;
#[cfg(test)]
mod split_tests;
#[cfg(test)]
mod tests;

use super::Role;
use super::close::{CloseFrame, parse_close};
use super::deflate::Params;
use super::fault::Fault;
use super::frame::{Header, OpCode};
use super::mask;
use assembly::{Assembly, Step};
pub use pool::{
    INFLATED_AT_ONCE, MAX_BUFFER, MAX_SPARE_ASSEMBLIES, MAX_SPARE_BYTES, MAX_SPARE_INFLATERS,
    MIN_BUFFER, Pool,
};

/// A whole message, all fragments of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Text.
    Text(&'a str),
    /// Anything.
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// The payload, whatever its type.
    #[inline]
    pub fn as_bytes(&self) -> &'a [u8] {
        match *self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// The text of a text message.
    #[inline]
    pub fn as_text(&self) -> Option<&'a str> {
        match *self {
            Message::Text(text) => Some(text),
            Message::Binary(_) => None,
        }
    }

    /// Payload bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether the payload is empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }
}

impl<'a> From<&'a str> for Message<'a> {
    #[inline]
    fn from(text: &'a str) -> Message<'a> {
        Message::Text(text)
    }
}

impl<'a> From<&'a String> for Message<'a> {
    fn from(text: &'a String) -> Message<'a> {
        Message::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    #[inline]
    fn from(bytes: &'a [u8]) -> Message<'a> {
        Message::Binary(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Message<'a> {
    fn from(bytes: &'a Vec<u8>) -> Message<'a> {
        Message::Binary(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Message<'a> {
    fn from(bytes: &'a [u8; N]) -> Message<'a> {
        Message::Binary(bytes)
    }
}

/// What a peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'e> {
    /// A message.
    Message(Message<'e>),
    /// A ping with its payload of at most 125 bytes, to be answered with the same (RFC 6455 §5.5.2).
    Ping(&'e [u8]),
    /// A pong with its payload of at most 125 bytes.
    Pong(&'e [u8]),
    /// A close frame: the peer sends nothing after it (RFC 6455 §5.5.1).
    Close(Option<CloseFrame<'e>>),
    /// A compressed message is so long that only a part of it ([`INFLATED_AT_ONCE`]) was inflated; the
    /// following call goes on, whether or not there is input. Others may come first.
    Unfinished,
}

/// How much a peer may send at once. Control frames have their own bound of 125 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// Payload bytes of a message, all its fragments together and inflated.
    pub max_message_size: usize,
    /// Payload bytes of a frame.
    ///
    /// Of a compressed message both bounds hold for what has arrived too, with what deflate may add to
    /// bytes that do not shrink: a quarter and 64 bytes. Flushes behind many fragments of a few bytes
    /// each may add more.
    pub max_frame_size: usize,
}

impl MessageLimits {
    /// The length of a data frame that follows `kept` bytes of its message, if it is allowed.
    #[inline]
    fn check(&self, len: u64, kept: usize) -> Result<usize, Fault> {
        let frame = self.check_frame(len)?;
        self.check_message(kept, frame)?;
        Ok(frame)
    }

    /// The length of a data frame, if it is allowed.
    #[inline]
    fn check_frame(&self, len: u64) -> Result<usize, Fault> {
        within(self.max_frame_size, len)
    }

    /// The length of a frame of a compressed message that follows `kept` bytes of it, if it is
    /// allowed. How long the message is shows only when it is inflated.
    fn check_compressed(&self, len: u64, kept: usize) -> Result<usize, Fault> {
        let frame = within(max_compressed(self.max_frame_size), len)?;
        let max = self.max_message_size;
        if kept.saturating_add(frame) > max_compressed(max) {
            return Err(Fault::MessageTooBig { max });
        }
        Ok(frame)
    }

    /// Whether `kept` bytes of a message may be followed by `more`.
    #[inline]
    fn check_message(&self, kept: usize, more: usize) -> Result<(), Fault> {
        let max = self.max_message_size;
        match kept.checked_add(more) {
            Some(message) if message <= max => Ok(()),
            _ => Err(Fault::MessageTooBig { max }),
        }
    }
}

/// What the headers of deflate's blocks and its flushes may take in a frame, however short.
const MAX_DEFLATE_HEADERS: usize = 64;

/// The longest that deflate should make of `len` bytes.
fn max_compressed(len: usize) -> usize {
    len.saturating_add(len / 4 + MAX_DEFLATE_HEADERS)
}

#[inline]
fn within(max: usize, len: u64) -> Result<usize, Fault> {
    let frame = usize::try_from(len).ok().filter(|len| *len <= max);
    frame.ok_or(Fault::FrameTooBig { len, max })
}

/// Bytes received that a [`Decoder`] has yet to take. It unmasks them where they are.
#[derive(Debug)]
pub struct Input<'b> {
    unread: &'b mut [u8],
}

impl<'b> Input<'b> {
    /// Input of the bytes of one read, in the order received.
    #[inline]
    pub fn new(bytes: &'b mut [u8]) -> Input<'b> {
        Input { unread: bytes }
    }

    /// Whether every byte was taken.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.unread.is_empty()
    }

    /// Bytes not taken.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.unread.len()
    }

    #[inline]
    fn unread(&self) -> &[u8] {
        self.unread
    }

    /// The next `len` bytes, or none at all when there are fewer.
    #[inline]
    fn take(&mut self, len: usize) -> Option<&'b mut [u8]> {
        self.unread.split_off_mut(..len)
    }
}

/// Turns what one connection receives into events.
///
/// While nothing is incomplete it owns nothing. What is incomplete at the end of an input is
/// kept in buffers of a [`Pool`] that grow with what has arrived, to less than twice as much
/// (at least [`MIN_BUFFER`]) whatever length a header declares.
///
/// A compressed message is inflated when it has arrived whole, by an inflater of the pool that goes
/// back then. Only a peer that may refer from one message to those before it (context
/// takeover) makes the decoder keep one, from the first such message on.
#[derive(Debug, Default)]
pub struct Decoder {
    assembly: Option<Box<Assembly>>,
    rules: Rules,
}

/// What the handshake settled.
#[derive(Clone, Copy, Debug, Default)]
struct Rules {
    role: Role,
    compression: Compression,
    /// Messages are passed over.
    discards: bool,
}

/// What the peer may do about compressing messages (RFC 7692).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Compression {
    /// It was not agreed on.
    #[default]
    Off,
    /// Each message on its own.
    Alone,
    /// With reference to the messages before.
    InContext,
}

impl Rules {
    #[inline]
    fn parse(self, bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
        Header::parse(bytes, self.role, self.compression != Compression::Off)
    }
}

/// Events by name: an [`OpCode`] with continuations resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Decoder {
    /// A decoder at the first byte after the handshake. `role` is our side.
    pub fn new(role: Role) -> Decoder {
        Decoder {
            assembly: None,
            rules: Rules {
                role,
                ..Rules::default()
            },
        }
    }

    /// As [`Decoder::new`], where the handshake agreed on compression.
    pub fn with_compression(role: Role, params: &Params) -> Decoder {
        let alone = match role {
            Role::Server => params.client_no_context_takeover,
            Role::Client => params.server_no_context_takeover,
        };
        let compression = if alone {
            Compression::Alone
        } else {
            Compression::InContext
        };
        Decoder {
            assembly: None,
            rules: Rules {
                role,
                compression,
                discards: false,
            },
        }
    }

    /// The next event of `input`, or `None` when it is used up; what is incomplete was kept.
    ///
    /// A message that lies whole in `input`, in one frame, is unmasked in place and borrowed
    /// from it. A message that arrived in parts, or compressed, is borrowed from this decoder, and its
    /// buffer goes back to `pool` at the following call, at [`Decoder::forget_delivered`] or at
    /// [`Decoder::release`].
    ///
    /// # Errors
    ///
    /// The [`Fault`] as soon as it shows: lengths at the header, text at the byte that is no
    /// UTF-8 even when the frame has not arrived whole, compressed messages once they have arrived,
    /// while they are inflated. No call may follow an error, nor
    /// [`Event::Close`] (RFC 6455 §5.5.1).
    #[inline(always)]
    pub fn next<'e, 'b: 'e>(
        &'e mut self,
        input: &mut Input<'b>,
        limits: &MessageLimits,
        pool: &mut Pool,
    ) -> Result<Option<Event<'e>>, Fault> {
        if self.assembly.is_none() && !self.rules.discards {
            if input.is_empty() {
                return Ok(None);
            }
            if let Some((kind, payload)) = take_whole_message(input, self.rules.role, limits)? {
                return kind.event(payload).map(Some);
            }
        }
        self.next_in_parts(input, limits, pool)
    }

    /// Gives the message that the last call delivered back to the pool, as the following call would:
    /// for where that call may be long in coming.
    pub fn forget_delivered(&mut self, pool: &mut Pool) {
        if let Some(mut assembly) = self.assembly.take() {
            assembly.forget_delivered(pool);
            self.keep(assembly, pool);
        }
    }

    /// Passes over messages from now on, the incomplete one included, without looking into them:
    /// after a close frame of ours nobody wants them (RFC 6455 §1.4). Frames still obey the rules, and
    /// control frames still arrive.
    pub fn discard_messages(&mut self, pool: &mut Pool) {
        self.rules.discards = true;
        if let Some(assembly) = &mut self.assembly {
            assembly.discard(pool);
        }
    }

    /// Gives everything kept back to the pool: the connection is at its end.
    pub fn release(&mut self, pool: &mut Pool) {
        if let Some(assembly) = self.assembly.take() {
            pool.give_assembly(assembly);
        }
    }

    /// Whether nothing is kept: no part of a message, no message delivered by the last call, and
    /// no inflater.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.assembly.is_none()
    }

    /// Whether a message is inflated in part: the last call gave [`Event::Unfinished`].
    pub fn is_inflating(&self) -> bool {
        let assembly = self.assembly.as_ref();
        assembly.is_some_and(|assembly| assembly.is_inflating())
    }

    /// Capacity held for the message that is incomplete, or that the last call delivered.
    pub fn kept_bytes(&self) -> usize {
        self.assembly
            .as_ref()
            .map_or(0, |assembly| assembly.kept_bytes())
    }

    /// Bytes of memory held in all, an inflater among them.
    pub fn memory(&self) -> usize {
        self.assembly
            .as_ref()
            .map_or(0, |assembly| assembly.memory())
    }

    /// Everything but a whole message: fragments, control frames, what is cut by a read's end.
    #[cold]
    fn next_in_parts<'e, 'b: 'e>(
        &'e mut self,
        input: &mut Input<'b>,
        limits: &MessageLimits,
        pool: &mut Pool,
    ) -> Result<Option<Event<'e>>, Fault> {
        let mut assembly = self.assembly.take().unwrap_or_else(|| pool.take_assembly());
        match assembly.advance(input, self.rules, limits, pool) {
            Ok(Step::Kept(kind)) => {
                let assembly = self.assembly.insert(assembly);
                kind.event(assembly.payload(kind)).map(Some)
            }
            Ok(Step::Whole(kind, payload)) => {
                self.keep(assembly, pool);
                kind.event(payload).map(Some)
            }
            Ok(Step::Hungry) => {
                self.keep(assembly, pool);
                Ok(None)
            }
            Ok(Step::Unfinished) => {
                self.assembly = Some(assembly);
                Ok(Some(Event::Unfinished))
            }
            Err(fault) => {
                pool.give_assembly(assembly);
                Err(fault)
            }
        }
    }

    fn keep(&mut self, assembly: Box<Assembly>, pool: &mut Pool) {
        if assembly.is_idle() {
            pool.give_assembly(assembly);
        } else {
            self.assembly = Some(assembly);
        }
    }
}

impl Kind {
    fn is_control(self) -> bool {
        matches!(self, Kind::Close | Kind::Ping | Kind::Pong)
    }

    #[inline]
    fn event(self, payload: &[u8]) -> Result<Event<'_>, Fault> {
        match self {
            Kind::Text => match simdutf8::basic::from_utf8(payload) {
                Ok(text) => Ok(Event::Message(Message::Text(text))),
                Err(_) => Err(Fault::InvalidUtf8),
            },
            Kind::Binary => Ok(Event::Message(Message::Binary(payload))),
            Kind::Close => parse_close(payload).map(Event::Close),
            Kind::Ping => Ok(Event::Ping(payload)),
            Kind::Pong => Ok(Event::Pong(payload)),
        }
    }
}

/// The message that `input` begins with, if all of it is there in one frame, not compressed.
#[inline(always)]
fn take_whole_message<'b>(
    input: &mut Input<'b>,
    role: Role,
    limits: &MessageLimits,
) -> Result<Option<(Kind, &'b [u8])>, Fault> {
    let (header, header_len) = match Header::parse(input.unread(), role, false) {
        Ok(Some(parsed)) => parsed,
        // RSV1 may mark a compressed message; whether it does is not asked on this path.
        Ok(None) | Err(Fault::ReservedBits) => return Ok(None),
        Err(fault) => return Err(fault),
    };
    let kind = match header.opcode {
        OpCode::Text if header.fin => Kind::Text,
        OpCode::Binary if header.fin => Kind::Binary,
        _ => return Ok(None),
    };
    let len = limits.check(header.len, 0)?;
    let Some(frame) = input.take(header_len.saturating_add(len)) else {
        return Ok(None);
    };
    let payload = &mut frame[header_len..];
    if let Some(key) = header.mask {
        mask::apply(payload, key, 0);
    }
    Ok(Some((kind, payload)))
}
