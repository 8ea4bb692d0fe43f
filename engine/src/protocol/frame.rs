//! Frame headers (RFC 6455 §5.2; RFC 7692 §6 for RSV1).

use super::Role;
use super::fault::Fault;

/// The longest header: two bytes, a 64-bit length and a masking key.
pub const MAX_HEADER_LEN: usize = 14;
/// The longest header of a frame that is not masked.
pub const MAX_SERVER_HEADER_LEN: usize = 10;
/// The longest payload of a control frame (RFC 6455 §5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// The bit of [`Header::rsv`] that marks a compressed message, on its first frame (RFC 7692 §6).
pub const RSV1: u8 = 4;

const FIN: u8 = 0x80;
const RSV: u8 = 0x70;
const RSV_SHIFT: u32 = 4;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LEN: u8 = 0x7f;
/// The largest length in the header's second byte; above it, the byte tells how many follow.
const MAX_LEN_7: u64 = 125;
const MIN_LEN_16: u64 = MAX_LEN_7 + 1;
const MAX_LEN_16: u64 = u16::MAX as u64;
const MIN_LEN_64: u64 = MAX_LEN_16 + 1;
const LEN_IS_16: u8 = 126;
const LEN_IS_64: u8 = 127;

/// What a frame is for (RFC 6455 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OpCode {
    /// Another fragment of the message begun before.
    Continuation = 0x0,
    /// A text message, or its first fragment.
    Text = 0x1,
    /// A binary message, or its first fragment.
    Binary = 0x2,
    /// The last frame of its sender.
    Close = 0x8,
    /// Asks for a pong with the same payload.
    Ping = 0x9,
    /// Answers a ping.
    Pong = 0xA,
}

impl OpCode {
    /// Whether this is a control frame: at most 125 bytes, never fragmented (RFC 6455 §5.5).
    #[inline]
    pub const fn is_control(self) -> bool {
        self as u8 >= OpCode::Close as u8
    }
}

impl TryFrom<u8> for OpCode {
    type Error = Fault;

    #[inline]
    fn try_from(bits: u8) -> Result<OpCode, Fault> {
        match bits {
            0x0 => Ok(OpCode::Continuation),
            0x1 => Ok(OpCode::Text),
            0x2 => Ok(OpCode::Binary),
            0x8 => Ok(OpCode::Close),
            0x9 => Ok(OpCode::Ping),
            0xA => Ok(OpCode::Pong),
            _ => Err(Fault::UnknownOpCode(bits)),
        }
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether this is the message's last frame.
    pub fin: bool,
    /// The bits RSV1 (4), RSV2 (2) and RSV3 (1), which extensions define.
    pub rsv: u8,
    /// What the frame is for.
    pub opcode: OpCode,
    /// The masking key, in frames of clients.
    pub mask: Option<[u8; 4]>,
    /// Payload bytes that follow, below 2⁶³.
    pub len: u64,
}

impl Header {
    /// Reads the header at the start of `bytes`, and its length. `None` while more bytes are
    /// needed. `role` is ours: the frame is the other side's. `compression` tells whether RSV1 was
    /// agreed on to mark the first frame of a compressed message (RFC 7692 §6).
    ///
    /// # Errors
    ///
    /// What RFC 6455 forbids: reserved bits without a meaning, opcodes that are not defined, a length that is not
    /// minimal or has its top bit set (§5.2), control frames over 125 bytes or fragmented (§5.5),
    /// frames of a client that are not masked or of a server that are (§5.1).
    #[inline]
    pub fn parse(
        bytes: &[u8],
        role: Role,
        compression: bool,
    ) -> Result<Option<(Header, usize)>, Fault> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let fin = first & FIN != 0;
        let rsv = (first & RSV) >> RSV_SHIFT;
        if rsv != 0 {
            check_rsv(rsv, first & OPCODE, compression)?;
        }
        let opcode = OpCode::try_from(first & OPCODE)?;
        let short = second & LEN;
        if opcode.is_control() {
            check_control(fin, short)?;
        }
        let (len, rest) = match short {
            LEN_IS_16.. => match long_length(short, rest)? {
                Some(long) => long,
                None => return Ok(None),
            },
            _ => (u64::from(short), rest),
        };
        let (mask, rest) = match (role, second & MASKED != 0) {
            (Role::Server, true) => match rest.split_first_chunk() {
                Some((key, rest)) => (Some(*key), rest),
                None => return Ok(None),
            },
            (Role::Client, false) => (None, rest),
            (Role::Server, false) => return Err(Fault::MaskMissing),
            (Role::Client, true) => return Err(Fault::MaskUnexpected),
        };
        Ok(Some((
            Header {
                fin,
                rsv,
                opcode,
                mask,
                len,
            },
            bytes.len() - rest.len(),
        )))
    }

    /// Writes the header and returns its length.
    pub fn encode(&self, out: &mut [u8; MAX_HEADER_LEN]) -> usize {
        let first = u8::from(self.fin) << 7 | (self.rsv << RSV_SHIFT & RSV) | self.opcode as u8;
        let len = write_first_and_length(out, first, self.len);
        match self.mask {
            None => len,
            Some(key) => {
                out[1] |= MASKED;
                out[len..len + key.len()].copy_from_slice(&key);
                len + key.len()
            }
        }
    }
}

/// Length of the header of a frame of ours as a server: 2, 4 or 10 bytes.
#[inline]
pub const fn server_header_len(payload: usize) -> usize {
    match payload as u64 {
        0..=MAX_LEN_7 => 2,
        MIN_LEN_16..=MAX_LEN_16 => 4,
        _ => MAX_SERVER_HEADER_LEN,
    }
}

/// Writes the header of an unfragmented frame that is not masked, and returns its length.
///
/// # Panics
///
/// When `out` is shorter than [`server_header_len`] of the payload.
#[inline]
pub fn write_server_header(out: &mut [u8], opcode: OpCode, payload: usize) -> usize {
    write_first_and_length(out, FIN | opcode as u8, payload as u64)
}

/// As [`write_server_header`], of a frame that is a whole compressed message (RFC 7692 §6).
///
/// # Panics
///
/// When `out` is shorter than [`server_header_len`] of the payload.
#[inline]
pub fn write_compressed_server_header(out: &mut [u8], opcode: OpCode, payload: usize) -> usize {
    let first = FIN | RSV1 << RSV_SHIFT | opcode as u8;
    write_first_and_length(out, first, payload as u64)
}

/// Length, header included, of the frame of ours that `bytes` begin with; `None` when too little
/// of it is there to tell. Steps over frames of our own outbox.
#[inline]
pub fn server_frame_len(bytes: &[u8]) -> Option<usize> {
    let [_, second, rest @ ..] = bytes else {
        return None;
    };
    let payload = match second & LEN {
        LEN_IS_16 => u64::from(u16::from_be_bytes(*rest.first_chunk()?)),
        LEN_IS_64 => u64::from_be_bytes(*rest.first_chunk()?),
        short => u64::from(short),
    };
    let payload = usize::try_from(payload).ok()?;
    payload.checked_add(server_header_len(payload))
}

/// RSV1 marks the first frame of a compressed message; continuations and control frames never
/// carry it (RFC 7692 §6.1).
#[cold]
fn check_rsv(rsv: u8, opcode: u8, compression: bool) -> Result<(), Fault> {
    let begins_message = opcode == OpCode::Text as u8 || opcode == OpCode::Binary as u8;
    if compression && rsv == RSV1 && begins_message {
        Ok(())
    } else {
        Err(Fault::ReservedBits)
    }
}

/// The opcode and the payload of a whole frame of ours.
pub fn server_payload(frame: &[u8]) -> Option<(OpCode, &[u8])> {
    let (first, second) = (frame.first()?, frame.get(1)?);
    let header = match second & LEN {
        LEN_IS_16 => 4,
        LEN_IS_64 => 10,
        _ => 2,
    };
    let opcode = OpCode::try_from(first & OPCODE).ok()?;
    Some((opcode, frame.get(header..)?))
}

fn check_control(fin: bool, short: u8) -> Result<(), Fault> {
    if short >= LEN_IS_16 {
        return Err(Fault::ControlTooLong);
    }
    if fin {
        Ok(())
    } else {
        Err(Fault::ControlFragmented)
    }
}

/// A length of 16 or 64 bits at the start of `bytes`, and what follows it.
fn long_length(short: u8, bytes: &[u8]) -> Result<Option<(u64, &[u8])>, Fault> {
    let (len, min, rest) = if short == LEN_IS_16 {
        let Some((len, rest)) = bytes.split_first_chunk() else {
            return Ok(None);
        };
        (u64::from(u16::from_be_bytes(*len)), MIN_LEN_16, rest)
    } else {
        let Some((len, rest)) = bytes.split_first_chunk() else {
            return Ok(None);
        };
        (u64::from_be_bytes(*len), MIN_LEN_64, rest)
    };
    if len > i64::MAX as u64 {
        return Err(Fault::LengthTopBit);
    }
    if len < min {
        return Err(Fault::NonMinimalLength);
    }
    Ok(Some((len, rest)))
}

#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "each arm's range fits its width"
)]
fn write_first_and_length(out: &mut [u8], first: u8, len: u64) -> usize {
    match len {
        0..=MAX_LEN_7 => {
            out[..2].copy_from_slice(&[first, len as u8]);
            2
        }
        MIN_LEN_16..=MAX_LEN_16 => {
            let [high, low] = (len as u16).to_be_bytes();
            out[..4].copy_from_slice(&[first, LEN_IS_16, high, low]);
            4
        }
        _ => {
            out[..2].copy_from_slice(&[first, LEN_IS_64]);
            out[2..10].copy_from_slice(&len.to_be_bytes());
            10
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: [u8; 4] = [1, 2, 3, 4];

    fn server(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
        Header::parse(bytes, Role::Server, false)
    }

    #[test]
    fn what_rfc_6455_5_2_and_5_5_forbid_is_refused() {
        let cases: [(&[u8], Fault); 15] = [
            (&[0xc1, 0x80], Fault::ReservedBits),
            (&[0xa1, 0x80], Fault::ReservedBits),
            (&[0x91, 0x80], Fault::ReservedBits),
            (&[0x83, 0x80], Fault::UnknownOpCode(3)),
            (&[0x87, 0x80], Fault::UnknownOpCode(7)),
            (&[0x8b, 0x80], Fault::UnknownOpCode(11)),
            (&[0x8f, 0x80], Fault::UnknownOpCode(15)),
            (&[0x89, 0xfe], Fault::ControlTooLong),
            (&[0x88, 0xff], Fault::ControlTooLong),
            (&[0x09, 0x80], Fault::ControlFragmented),
            (&[0x82, 0xfe, 0, 125], Fault::NonMinimalLength),
            (
                &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 0],
                Fault::NonMinimalLength,
            ),
            (
                &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
                Fault::NonMinimalLength,
            ),
            (
                &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0],
                Fault::LengthTopBit,
            ),
            (
                &[0x82, 0xff, 0xff, 255, 255, 255, 255, 255, 255, 255],
                Fault::LengthTopBit,
            ),
        ];
        for (bytes, fault) in cases {
            assert_eq!(server(bytes), Err(fault), "{bytes:x?}");
        }
    }

    #[test]
    fn clients_mask_and_servers_do_not_rfc_6455_5_1() {
        let (masked, plain) = ([0x81, 0x81, 1, 2, 3, 4, 0], [0x81, 0x01, b'a']);
        assert_eq!(server(&plain), Err(Fault::MaskMissing));
        assert_eq!(
            Header::parse(&masked, Role::Client, false),
            Err(Fault::MaskUnexpected)
        );
        let header = Header {
            fin: true,
            rsv: 0,
            opcode: OpCode::Text,
            mask: Some(KEY),
            len: 1,
        };
        assert_eq!(server(&masked), Ok(Some((header, 6))));
        let header = Header {
            mask: None,
            ..header
        };
        assert_eq!(
            Header::parse(&plain, Role::Client, false),
            Ok(Some((header, 2)))
        );
    }

    #[test]
    fn rsv1_marks_the_first_frame_of_a_message_where_agreed_on_rfc_7692_6() {
        let compressed = |first| Header::parse(&[first, 0x80, 1, 2, 3, 4], Role::Server, true);
        for first in [0xc1, 0xc2, 0x41, 0x42] {
            let (header, _) = compressed(first).unwrap().unwrap();
            assert_eq!(header.rsv, RSV1, "{first:x}");
        }
        for first in [0xc0, 0x40, 0xc8, 0xc9, 0xca, 0xa1, 0x91, 0xe1, 0xd2, 0xf1] {
            assert_eq!(compressed(first), Err(Fault::ReservedBits), "{first:x}");
        }
        assert_eq!(compressed(0x81).unwrap().unwrap().0.rsv, 0);
    }

    #[test]
    fn compressed_server_headers_differ_in_rsv1_alone() {
        for payload in [0, 125, 126, 65_535, 65_536] {
            let (mut out, mut plain) = ([0; MAX_SERVER_HEADER_LEN], [0; MAX_SERVER_HEADER_LEN]);
            let len = write_compressed_server_header(&mut out, OpCode::Text, payload);
            assert_eq!(write_server_header(&mut plain, OpCode::Text, payload), len);
            let stepped = server_frame_len(&out[..len]);
            assert_eq!(stepped, Some(len + payload));
            out[0] ^= 0x40;
            assert_eq!(out, plain);
            let whole = [&plain[..len], &vec![7; payload]].concat();
            assert_eq!(server_payload(&whole), Some((OpCode::Text, &whole[len..])));
        }
    }

    #[test]
    fn server_headers_step_over_their_frames() {
        for (payload, header) in [
            (0, 2),
            (125, 2),
            (126, 4),
            (65_535, 4),
            (65_536, 10),
            (1 << 40, 10),
        ] {
            let mut out = [0; MAX_SERVER_HEADER_LEN];
            assert_eq!(server_header_len(payload), header);
            assert_eq!(
                write_server_header(&mut out[..header], OpCode::Binary, payload),
                header
            );
            assert_eq!(server_frame_len(&out[..header]), Some(header + payload));
            let (parsed, len) = Header::parse(&out, Role::Client, false).unwrap().unwrap();
            assert_eq!(
                (parsed.fin, parsed.opcode, len),
                (true, OpCode::Binary, header)
            );
            assert_eq!(parsed.len, payload as u64);
            for cut in 0..header {
                assert_eq!(server_frame_len(&out[..cut]), None);
            }
        }
    }

    fn any_header() -> impl Strategy<Value = Header> {
        let data = (
            any::<bool>(),
            prop::sample::select(vec![
                (OpCode::Continuation, 0),
                (OpCode::Text, 0),
                (OpCode::Text, RSV1),
                (OpCode::Binary, RSV1),
            ]),
            prop_oneof![0..300_u64, 65_000..66_000_u64, 0..=i64::MAX as u64],
        );
        let control = (
            Just(true),
            prop::sample::select(vec![
                (OpCode::Close, 0),
                (OpCode::Ping, 0),
                (OpCode::Pong, 0),
            ]),
            0..=MAX_LEN_7,
        );
        (prop_oneof![data, control], any::<Option<[u8; 4]>>()).prop_map(
            |((fin, (opcode, rsv), len), mask)| Header {
                fin,
                rsv,
                opcode,
                mask,
                len,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_encoded_parses_back_and_no_prefix_of_it_does(header in any_header()) {
            let role = if header.mask.is_some() { Role::Server } else { Role::Client };
            let compression = header.rsv != 0;
            let mut out = [0; MAX_HEADER_LEN];
            let len = header.encode(&mut out);
            prop_assert_eq!(Header::parse(&out, role, compression), Ok(Some((header, len))));
            for cut in 0..len {
                prop_assert_eq!(Header::parse(&out[..cut], role, compression), Ok(None));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let sides = [(Role::Server, true), (Role::Server, false), (Role::Client, true)];
            for (role, compression) in sides {
                if let Ok(Some((header, len))) = Header::parse(&bytes, role, compression) {
                    let mut out = [0; MAX_HEADER_LEN];
                    let written = header.encode(&mut out);
                    prop_assert_eq!(&out[..written], &bytes[..len]);
                }
            }
            let _ = server_frame_len(&bytes);
        }
    }
}
