//! Frames out of messages (RFC 6455 §5.4, §5.5, §6.1), for either side.
//!
//! The engine's shards write whole messages with
//! [`write_server_header`](super::frame::write_server_header), which needs no state. An
//! [`Encoder`] is for clients, whose frames are masked, and for messages sent in fragments.

use thiserror::Error;

use super::close::{CloseCode, write_close};
use super::frame::{Header, MAX_CONTROL_PAYLOAD, MAX_HEADER_LEN, OpCode};
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

/// The bit of [`Header::rsv`] that marks a compressed message (RFC 7692 §6).
const RSV1: u8 = 4;

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::Role;
    use crate::protocol::message::{Decoder, Event, Input, MessageLimits, Pool};

    const LIMITS: MessageLimits = MessageLimits {
        max_message_size: 1 << 20,
        max_frame_size: 1 << 20,
    };

    fn masks() -> impl Masking {
        let mut next = fastrand::Rng::with_seed(7);
        Masks::new(move |bytes: &mut [u8]| {
            next.fill(bytes);
            Ok(())
        })
    }

    /// The key of the RFC's examples, for all frames.
    struct Example;

    impl Masking for Example {
        fn next_key(&mut self) -> Result<Option<[u8; 4]>, NoEntropy> {
            Ok(Some([0x37, 0xfa, 0x21, 0x3d]))
        }
    }

    fn written(write: impl FnOnce(&mut Encoder, &mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut Encoder::new(), &mut out);
        out
    }

    #[test]
    fn the_examples_of_rfc_6455_5_7() {
        let hello = Message::Text("Hello");
        let plain = written(|encoder, out| encoder.message(out, &mut Unmasked, hello).unwrap());
        assert_eq!(plain, *b"\x81\x05Hello");
        let masked = written(|encoder, out| encoder.message(out, &mut Example, hello).unwrap());
        assert_eq!(masked, *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        let fragments = written(|encoder, out| {
            let (first, last) = (Message::Text("Hel"), Message::Text("lo"));
            encoder.fragment(out, &mut Unmasked, first, false).unwrap();
            encoder.fragment(out, &mut Unmasked, last, true).unwrap();
        });
        assert_eq!(fragments, *b"\x01\x03Hel\x80\x02lo");
        let ping = written(|encoder, out| encoder.ping(out, &mut Unmasked, b"Hello").unwrap());
        assert_eq!(ping, *b"\x89\x05Hello");
        let pong = written(|encoder, out| encoder.pong(out, &mut Example, b"Hello").unwrap());
        assert_eq!(pong, *b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        for (len, header) in [
            (256, &b"\x82\x7e\x01\x00"[..]),
            (65_536, b"\x82\x7f\0\0\0\0\0\x01\0\0"),
        ] {
            let bytes = vec![7; len];
            let frame = written(|encoder, out| {
                let message = Message::Binary(&bytes);
                encoder.message(out, &mut Unmasked, message).unwrap();
            });
            assert_eq!(frame, [header, &bytes].concat());
        }
    }

    #[test]
    fn every_frame_of_a_client_has_a_key_of_its_own_rfc_6455_5_3() {
        let mut masks = masks();
        let frames = written(|encoder, out| {
            let masks = &mut masks;
            encoder
                .fragment(out, masks, Message::Text(""), false)
                .unwrap();
            encoder.ping(out, masks, b"").unwrap();
            encoder
                .fragment(out, masks, Message::Text(""), true)
                .unwrap();
            encoder.message(out, masks, Message::Binary(b"")).unwrap();
            encoder.pong(out, masks, b"").unwrap();
            encoder.close(out, masks, CloseCode::NO_STATUS, "").unwrap();
        });
        let (frames, rest) = frames.as_chunks::<6>();
        assert!(rest.is_empty() && frames.len() == 6);
        for (index, frame) in frames.iter().enumerate() {
            assert_eq!(frame[1], 0x80, "masked, and empty");
            assert!(!frames[..index].iter().any(|other| other[2..] == frame[2..]));
        }
    }

    #[test]
    fn fragments_are_of_one_message_rfc_6455_5_4() {
        let (mut encoder, mut out, server) = (Encoder::new(), Vec::new(), &mut Unmasked);
        let (text, bytes) = (Message::Text("a"), Message::Binary(b"b"));
        encoder.fragment(&mut out, server, text, false).unwrap();
        assert!(encoder.is_within_message());
        let before = out.clone();
        for refused in [
            encoder.message(&mut out, server, text),
            encoder.fragment(&mut out, server, bytes, false),
            encoder.fragment(&mut out, server, bytes, true),
        ] {
            assert_eq!(refused, Err(SendError::MessageOpen));
        }
        assert_eq!(out, before, "nothing was written");
        encoder.fragment(&mut out, server, text, true).unwrap();
        assert!(!encoder.is_within_message());
        encoder.message(&mut out, server, bytes).unwrap();
        assert_eq!(out, *b"\x01\x01a\x80\x01a\x82\x01b");
    }

    #[test]
    fn rsv1_is_set_on_the_first_frame_of_a_compressed_message_rfc_7692_6_1() {
        let (mut encoder, mut out, server) = (Encoder::new(), Vec::new(), &mut Unmasked);
        let (text, binary) = (OpCode::Text, OpCode::Binary);
        encoder
            .compressed(&mut out, server, text, b"a", false)
            .unwrap();
        encoder.ping(&mut out, server, b"").unwrap();
        let within = [
            encoder.fragment(&mut out, server, Message::Text("b"), true),
            encoder.compressed(&mut out, server, binary, b"b", true),
        ];
        assert_eq!(within, [Err(SendError::MessageOpen); 2]);
        encoder
            .compressed(&mut out, server, text, b"b", true)
            .unwrap();
        encoder
            .compressed(&mut out, server, binary, b"c", true)
            .unwrap();
        assert_eq!(out, *b"\x41\x01a\x89\0\x80\x01b\xc2\x01c");
        for opcode in [OpCode::Continuation, OpCode::Ping, OpCode::Close] {
            let refused = encoder.compressed(&mut out, server, opcode, b"", true);
            assert_eq!(refused, Err(SendError::NotData));
        }
    }

    #[test]
    fn control_frames_have_at_most_125_bytes_rfc_6455_5_5() {
        let (mut encoder, mut out) = (Encoder::new(), Vec::new());
        let too_long = Err(SendError::ControlTooLong);
        assert_eq!(encoder.ping(&mut out, &mut Unmasked, &[0; 126]), too_long);
        assert_eq!(encoder.pong(&mut out, &mut Unmasked, &[0; 126]), too_long);
        assert!(out.is_empty());
        assert_eq!(encoder.ping(&mut out, &mut Unmasked, &[0; 125]), Ok(()));
        let reason = "x".repeat(200);
        encoder
            .close(&mut out, &mut Unmasked, CloseCode::NORMAL, &reason)
            .unwrap();
        assert_eq!(out.len(), 127 + 127);
        assert_eq!(out[127..131], [0x88, 125, 0x03, 0xe8]);
    }

    #[test]
    fn nothing_follows_a_close_frame_rfc_6455_5_5_1() {
        let (mut encoder, mut out, server) = (Encoder::new(), Vec::new(), &mut Unmasked);
        encoder
            .fragment(&mut out, server, Message::Text("a"), false)
            .unwrap();
        encoder
            .close(&mut out, server, CloseCode::GOING_AWAY, "")
            .unwrap();
        assert_eq!(out, *b"\x01\x01a\x88\x02\x03\xe9");
        let message = Message::Text("b");
        for refused in [
            encoder.message(&mut out, server, message),
            encoder.fragment(&mut out, server, message, true),
            encoder.ping(&mut out, server, b""),
            encoder.pong(&mut out, server, b""),
            encoder.close(&mut out, server, CloseCode::NORMAL, ""),
        ] {
            assert_eq!(refused, Err(SendError::Closed));
        }
        assert_eq!(out.len(), 7);
    }

    #[test]
    fn without_a_key_nothing_is_sent_and_nothing_changes() {
        let mut keyless = Masks::new(|_: &mut [u8]| Err(NoEntropy));
        let (mut encoder, mut out) = (Encoder::new(), Vec::new());
        let refused = Err(SendError::NoEntropy(NoEntropy));
        let text = Message::Text("a");
        assert_eq!(
            encoder.fragment(&mut out, &mut keyless, text, false),
            refused
        );
        assert_eq!(
            encoder.close(&mut out, &mut keyless, CloseCode::NORMAL, ""),
            refused
        );
        assert!(out.is_empty());
        assert_eq!(encoder, Encoder::new());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_either_side_writes_the_other_reads_at_any_split(
            messages in prop::collection::vec(
                (any::<bool>(), prop::collection::vec("\\PC{0,200}", 1..4), 0..=125_usize),
                1..5,
            ),
            long in 65_000..66_000_usize,
            role in prop::sample::select(vec![Role::Server, Role::Client]),
            read in prop_oneof![1..20_usize, 1..100_000_usize],
        ) {
            let (mut stream, mut expected) = (Vec::new(), Vec::new());
            match role {
                Role::Client => write_all(&mut stream, &mut expected, &messages, long, &mut masks()),
                Role::Server => write_all(&mut stream, &mut expected, &messages, long, &mut Unmasked),
            }
            let other = if role == Role::Client { Role::Server } else { Role::Client };
            let (mut decoder, mut pool) = (Decoder::new(other), Pool::new());
            let mut heard = Vec::new();
            for piece in stream.chunks_mut(read) {
                let mut input = Input::new(piece);
                while let Some(event) = decoder.next(&mut input, &LIMITS, &mut pool).unwrap() {
                    heard.push(format!("{event:?}"));
                }
            }
            prop_assert_eq!(heard, expected);
            prop_assert!(decoder.is_idle());
        }
    }

    /// Messages in fragments with a ping behind each, a long one, and the close frame; what the
    /// other side is to hear of them.
    fn write_all(
        out: &mut Vec<u8>,
        expected: &mut Vec<String>,
        messages: &[(bool, Vec<String>, usize)],
        long: usize,
        masking: &mut impl Masking,
    ) {
        let mut encoder = Encoder::new();
        for (is_text, fragments, ping) in messages {
            let as_message = |text| match is_text {
                true => Message::Text(text),
                false => Message::Binary(str::as_bytes(text)),
            };
            for (index, fragment) in fragments.iter().enumerate() {
                let fin = index + 1 == fragments.len();
                encoder
                    .fragment(out, masking, as_message(fragment), fin)
                    .unwrap();
                if !fin {
                    let payload = vec![1; *ping];
                    encoder.ping(out, masking, &payload).unwrap();
                    expected.push(format!("{:?}", Event::Ping(&payload)));
                }
            }
            let whole = fragments.concat();
            expected.push(format!("{:?}", Event::Message(as_message(&whole))));
        }
        let bytes = vec![9; long];
        let message = Message::Binary(&bytes);
        encoder.message(out, masking, message).unwrap();
        expected.push(format!("{:?}", Event::Message(message)));
        encoder
            .close(out, masking, CloseCode::NORMAL, "bye")
            .unwrap();
        let close = crate::protocol::close::CloseFrame {
            code: CloseCode::NORMAL,
            reason: "bye",
        };
        expected.push(format!("{:?}", Event::Close(Some(close))));
    }
}
