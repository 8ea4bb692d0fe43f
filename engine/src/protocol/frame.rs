//! Frame headers (RFC 6455 §5.2).

use super::Role;
use super::fault::Fault;

/// The longest header: two bytes, a 64-bit length and a masking key.
pub const MAX_HEADER_LEN: usize = 14;
/// The longest header of a frame that is not masked.
pub const MAX_SERVER_HEADER_LEN: usize = 10;
/// The longest payload of a control frame (RFC 6455 §5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

const FIN: u8 = 0x80;
const RSV: u8 = 0x70;
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
    /// needed. `role` is ours: the frame is the other side's.
    ///
    /// # Errors
    ///
    /// What RFC 6455 forbids: reserved bits, opcodes that are not defined, a length that is not
    /// minimal or has its top bit set (§5.2), control frames over 125 bytes or fragmented (§5.5),
    /// frames of a client that are not masked or of a server that are (§5.1).
    #[inline]
    pub fn parse(bytes: &[u8], role: Role) -> Result<Option<(Header, usize)>, Fault> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let fin = first & FIN != 0;
        let rsv = (first & RSV) >> 4;
        // The one place where a negotiated extension lets a bit of its own pass.
        if rsv != 0 {
            return Err(Fault::ReservedBits);
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
        let first = u8::from(self.fin) << 7 | (self.rsv << 4 & RSV) | self.opcode as u8;
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
        Header::parse(bytes, Role::Server)
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
            Header::parse(&masked, Role::Client),
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
        assert_eq!(Header::parse(&plain, Role::Client), Ok(Some((header, 2))));
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
            let (parsed, len) = Header::parse(&out, Role::Client).unwrap().unwrap();
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
            prop::sample::select(vec![OpCode::Continuation, OpCode::Text, OpCode::Binary]),
            prop_oneof![0..300_u64, 65_000..66_000_u64, 0..=i64::MAX as u64],
        );
        let control = (
            Just(true),
            prop::sample::select(vec![OpCode::Close, OpCode::Ping, OpCode::Pong]),
            0..=MAX_LEN_7,
        );
        (prop_oneof![data, control], any::<Option<[u8; 4]>>()).prop_map(
            |((fin, opcode, len), mask)| Header {
                fin,
                rsv: 0,
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
            let mut out = [0; MAX_HEADER_LEN];
            let len = header.encode(&mut out);
            prop_assert_eq!(Header::parse(&out, role), Ok(Some((header, len))));
            for cut in 0..len {
                prop_assert_eq!(Header::parse(&out[..cut], role), Ok(None));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            for role in [Role::Server, Role::Client] {
                if let Ok(Some((header, len))) = Header::parse(&bytes, role) {
                    let mut out = [0; MAX_HEADER_LEN];
                    let written = header.encode(&mut out);
                    prop_assert_eq!(&out[..written], &bytes[..len]);
                }
            }
            let _ = server_frame_len(&bytes);
        }
    }
}
