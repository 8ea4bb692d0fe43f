//! What a peer did wrong.

use thiserror::Error;

use super::close::CloseCode;

/// A breach of RFC 6455 by the peer, or of our limits. Always the peer's fault; the scope is the
/// one connection, which ends with [`Fault::close_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// RSV1, RSV2 or RSV3 set where no extension defines it (RFC 6455 §5.2, RFC 7692 §6).
    #[error("reserved bits are set")]
    ReservedBits,
    /// An opcode that RFC 6455 §5.2 reserves.
    #[error("unknown opcode {0:#x}")]
    UnknownOpCode(u8),
    /// A payload length in more bytes than it needs (RFC 6455 §5.2).
    #[error("payload length is not minimally encoded")]
    NonMinimalLength,
    /// A 64-bit payload length with its top bit set (RFC 6455 §5.2).
    #[error("top bit of the payload length is set")]
    LengthTopBit,
    /// A control frame of over 125 bytes (RFC 6455 §5.5).
    #[error("control frame is longer than 125 bytes")]
    ControlTooLong,
    /// A control frame without FIN (RFC 6455 §5.5).
    #[error("control frame is fragmented")]
    ControlFragmented,
    /// A client's frame that is not masked (RFC 6455 §5.1).
    #[error("frame is not masked")]
    MaskMissing,
    /// A server's frame that is masked (RFC 6455 §5.1).
    #[error("frame is masked")]
    MaskUnexpected,
    /// A continuation with no message to continue (RFC 6455 §5.4).
    #[error("continuation frame without a message")]
    UnexpectedContinuation,
    /// A new message before the last fragment of the one before (RFC 6455 §5.4).
    #[error("new message inside a fragmented one")]
    ExpectedContinuation,
    /// Text or a close reason that is not UTF-8 (RFC 6455 §8.1).
    #[error("text is not UTF-8")]
    InvalidUtf8,
    /// A message marked as compressed that is not (RFC 7692 §7.2.2).
    #[error("compressed data is malformed")]
    InvalidDeflate,
    /// A close frame with a payload of one byte (RFC 6455 §5.5.1).
    #[error("close frame has half a code")]
    InvalidClosePayload,
    /// A close code that may not be sent (RFC 6455 §7.4).
    #[error("close code {0} may not be sent")]
    InvalidCloseCode(u16),
    /// A frame longer than `max_frame_size`.
    #[error("frame of {len} bytes is over the limit of {max}")]
    FrameTooBig {
        /// Payload bytes declared in its header.
        len: u64,
        /// Payload bytes allowed.
        max: usize,
    },
    /// A message longer than `max_message_size`, all its fragments together, inflated.
    #[error("message is over the limit of {max} bytes")]
    MessageTooBig {
        /// Bytes allowed.
        max: usize,
    },
}

impl Fault {
    /// The code that the connection is closed with (RFC 6455 §7.4.1): 1002, 1007 or 1009.
    pub fn close_code(self) -> CloseCode {
        match self {
            Fault::InvalidUtf8 | Fault::InvalidDeflate => CloseCode::INVALID_PAYLOAD,
            Fault::FrameTooBig { .. } | Fault::MessageTooBig { .. } => CloseCode::TOO_BIG,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// The reason given in the close frame, at most 123 bytes.
    pub fn reason(self) -> &'static str {
        match self {
            Fault::ReservedBits => "reserved bits set",
            Fault::UnknownOpCode(_) => "unknown opcode",
            Fault::NonMinimalLength => "length not minimal",
            Fault::LengthTopBit => "length out of range",
            Fault::ControlTooLong => "control frame too long",
            Fault::ControlFragmented => "control frame fragmented",
            Fault::MaskMissing => "frame not masked",
            Fault::MaskUnexpected => "frame masked",
            Fault::UnexpectedContinuation => "nothing to continue",
            Fault::ExpectedContinuation => "continuation expected",
            Fault::InvalidUtf8 => "invalid UTF-8",
            Fault::InvalidDeflate => "invalid compressed data",
            Fault::InvalidClosePayload => "invalid close payload",
            Fault::InvalidCloseCode(_) => "invalid close code",
            Fault::FrameTooBig { .. } => "frame too big",
            Fault::MessageTooBig { .. } => "message too big",
        }
    }

    /// Whether a limit of ours was passed, as opposed to a rule of the protocol.
    pub fn is_too_big(self) -> bool {
        matches!(
            self,
            Fault::FrameTooBig { .. } | Fault::MessageTooBig { .. }
        )
    }
}
