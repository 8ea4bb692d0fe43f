//! Frames out of messages (RFC 6455 §5.4, §5.5, §6.1), for either side.
//!
//! The engine's shards write whole messages with
//! [`write_server_header`](super::frame::write_server_header), which needs no state. An
//! [`Encoder`] is for clients, whose frames are masked, and for messages sent in fragments.

#[cfg(test)]
mod tests;

use thiserror::Error;

use super::close::{CloseCode, write_close};
use super::frame::{Header, MAX_CONTROL_PAYLOAD, MAX_HEADER_LEN, OpCode, RSV1};
use super::mask::{self, Masks, NoEntropy};
use super::message::Message;

/// How the frames of a side are masked (RFC 6455 §5.1).
pub trait Masking {
    /// The key of the next frame: a fresh one on a client's side, none on a server's.
    ///
    /// # Errors
    ///
    /// When there is no randomness to be had.
    fn next_key(&mut self) -> Result<Option<[u8; 4]>, NoEntropy>;
}

/// A server masks no frame (RFC 6455 §5.1).
#[derive(Clone, Copy, Debug, Default)]
pub struct Unmasked;

impl Masking for Unmasked {
    #[inline]
    fn next_key(&mut self) -> Result<Option<[u8; 4]>, NoEntropy> {
        Ok(None)
    }
}

/// A client masks every frame with a key of its own (RFC 6455 §5.3).
impl<F: FnMut(&mut [u8]) -> Result<(), NoEntropy>> Masking for Masks<F> {
    #[inline]
    fn next_key(&mut self) -> Result<Option<[u8; 4]>, NoEntropy> {
        self.next().map(Some)
    }
}

/// Why nothing was written: the caller's fault, but for [`SendError::NoEntropy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// A close frame is the last frame of its sender (RFC 6455 §5.5.1).
    #[error("a close frame was sent")]
    Closed,
    /// A whole message inside a fragmented one, or a fragment of another type than the first or
    /// compressed as the first is not (RFC 6455 §5.4).
    #[error("a fragmented message is open")]
    MessageOpen,
    /// The opcode of a compressed message is neither text nor binary (RFC 7692 §6.1).
    #[error("only data messages are compressed")]
    NotData,
    /// A ping or pong of over 125 bytes (RFC 6455 §5.5).
    #[error("a control frame's payload has over 125 bytes")]
    ControlTooLong,
    /// The frame has no masking key.
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
}

/// Writes the frames of one connection in an order that RFC 6455 allows.
///
/// Every method appends one frame to `out`, or nothing when it fails, and takes the side's
/// [`Masking`], which many connections may share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encoder {
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Anything may follow.
    #[default]
    Between,
    /// In a fragmented message that began with this opcode and these reserved bits.
    Within(OpCode, u8),
    /// After the close frame.
    Closed,
}

impl Encoder {
    /// An encoder at the first byte after the handshake.
    pub fn new() -> Encoder {
        Encoder::default()
    }

    /// Whether a fragmented message waits for its last fragment.
    pub fn is_within_message(&self) -> bool {
        matches!(self.phase, Phase::Within(..))
    }

    /// Writes a whole message in one frame.
    ///
    /// # Errors
    ///
    /// Before the last fragment of another message, after a close frame, without a key.
    #[inline]
    pub fn message(
        &mut self,
        out: &mut Vec<u8>,
        masking: &mut impl Masking,
        message: Message<'_>,
    ) -> Result<(), SendError> {
        if self.is_within_message() {
            return Err(SendError::MessageOpen);
        }
        self.fragment(out, masking, message, true)
    }

    /// Writes the next fragment of a message: the first begins it, and the one with `fin` ends it.
    /// All are of the first one's type; text is cut between characters. Control frames may be
    /// written in between.
    ///
    /// # Errors
    ///
    /// For a fragment of another type, after a close frame, without a key.
    #[inline]
    pub fn fragment(
        &mut self,
        out: &mut Vec<u8>,
        masking: &mut impl Masking,
        fragment: Message<'_>,
        fin: bool,
    ) -> Result<(), SendError> {
        let opcode = match fragment {
            Message::Text(_) => OpCode::Text,
            Message::Binary(_) => OpCode::Binary,
        };
        self.data(out, masking, (opcode, 0), fragment.as_bytes(), fin)
    }

    /// Writes the next fragment of a message that was compressed as permessage-deflate says, which
    /// both sides have agreed on: RSV1 is set on the first (RFC 7692 §6.1). `opcode` is that of the
    /// message, text or binary, and `fragment` any part of its compressed bytes.
    ///
    /// # Errors
    ///
    /// For another opcode, inside a message that is none of these, after a close frame, without a
    /// key.
    #[inline]
    pub fn compressed(
        &mut self,
        out: &mut Vec<u8>,
        masking: &mut impl Masking,
        opcode: OpCode,
        fragment: &[u8],
        fin: bool,
    ) -> Result<(), SendError> {
        match opcode {
            OpCode::Text | OpCode::Binary => self.data(out, masking, (opcode, RSV1), fragment, fin),
            _ => Err(SendError::NotData),
        }
    }

    /// Writes a ping, at any time before a close frame (RFC 6455 §5.5.2).
    ///
    /// # Errors
    ///
    /// For over 125 bytes, after a close frame, without a key.
    pub fn ping(
        &mut self,
        out: &mut Vec<u8>,
        masking: &mut impl Masking,
        payload: &[u8],
    ) -> Result<(), SendError> {
        self.control(out, masking, OpCode::Ping, payload)
    }

    /// Writes a pong: the answer to a ping has its payload (RFC 6455 §5.5.3).
    ///
    /// # Errors
    ///
    /// For over 125 bytes, after a close frame, without a key.
    pub fn pong(
        &mut self,
        out: &mut Vec<u8>,
        masking: &mut impl Masking,
        payload: &[u8],
    ) -> Result<(), SendError> {
        self.control(out, masking, OpCode::Pong, payload)
    }

    /// Writes the close frame, the last of all, also inside a fragmented message. The payload is
    /// that of [`write_close`]: none for a code that may not be sent, a reason cut to 123 bytes.
    ///
    /// # Errors
    ///
    /// After a close frame, without a key.
    pub fn close(
        &mut self,
        out: &mut Vec<u8>,
        masking: &mut impl Masking,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), SendError> {
        let mut payload = [0; MAX_CONTROL_PAYLOAD];
        let len = write_close(&mut payload, code, reason);
        self.control(out, masking, OpCode::Close, &payload[..len])?;
        self.phase = Phase::Closed;
        Ok(())
    }

    #[inline]
    fn data(
        &mut self,
        out: &mut Vec<u8>,
        masking: &mut impl Masking,
        (opcode, rsv): (OpCode, u8),
        payload: &[u8],
        fin: bool,
    ) -> Result<(), SendError> {
        let begin = match self.phase {
            Phase::Between => (opcode, rsv),
            Phase::Within(..) if self.phase == Phase::Within(opcode, rsv) => {
                (OpCode::Continuation, 0)
            }
            Phase::Within(..) => return Err(SendError::MessageOpen),
            Phase::Closed => return Err(SendError::Closed),
        };
        write_frame(out, masking, begin, payload, fin)?;
        self.phase = if fin {
            Phase::Between
        } else {
            Phase::Within(opcode, rsv)
        };
        Ok(())
    }

    fn control(
        &self,
        out: &mut Vec<u8>,
        masking: &mut impl Masking,
        opcode: OpCode,
        payload: &[u8],
    ) -> Result<(), SendError> {
        if self.phase == Phase::Closed {
            return Err(SendError::Closed);
        }
        if payload.len() > MAX_CONTROL_PAYLOAD {
            return Err(SendError::ControlTooLong);
        }
        write_frame(out, masking, (opcode, 0), payload, true)
    }
}

#[inline]
fn write_frame(
    out: &mut Vec<u8>,
    masking: &mut impl Masking,
    (opcode, rsv): (OpCode, u8),
    payload: &[u8],
    fin: bool,
) -> Result<(), SendError> {
    let header = Header {
        fin,
        rsv,
        opcode,
        mask: masking.next_key()?,
        len: payload.len() as u64,
    };
    let mut bytes = [0; MAX_HEADER_LEN];
    let len = header.encode(&mut bytes);
    out.reserve(len + payload.len());
    out.extend_from_slice(&bytes[..len]);
    let begin = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = header.mask {
        mask::apply(&mut out[begin..], key, 0);
    }
    Ok(())
}
