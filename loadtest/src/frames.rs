//! Frames as a client writes and reads them (RFC 6455 §5.2).

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn bits(self) -> u8 {
        match self {
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }
}

/// A whole, unfragmented frame of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) opcode: Opcode,
    pub(crate) payload: &'a [u8],
}

/// What the start of a buffer holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed<'a> {
    /// A frame, and the bytes it takes up.
    Whole(Frame<'a>, usize),
    /// Only a part of one; its total size if the header is complete.
    Part(Option<usize>),
}

/// Why bytes are not a frame this client takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a reserved bit is set though no extension was agreed on (RFC 6455 §5.2)")]
    Reserved,
    #[error("the server masked a frame (RFC 6455 §5.1)")]
    Masked,
    #[error("unknown opcode {0:#x} (RFC 6455 §5.2)")]
    Opcode(u8),
    #[error("a fragmented message, which the load test does not support")]
    Fragment,
    #[error("a control frame that is fragmented or longer than 125 bytes (RFC 6455 §5.5)")]
    Control,
    #[error("a close frame with half a code (RFC 6455 §5.5.1)")]
    Close,
    #[error("a length that is not in its shortest form (RFC 6455 §5.2)")]
    Length,
    #[error("a frame of {0} bytes, more than the load test takes")]
    TooLong(u64),
}

/// Parses the frame at the start of `bytes`; payloads may have up to `limit` bytes.
#[inline]
pub(crate) fn parse(bytes: &[u8], limit: usize) -> Result<Parsed<'_>, FrameError> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(Parsed::Part(None));
    };
    let opcode = opcode(*first, *second)?;
    let (header, len) = match *second {
        short @ 0..=125 => (2, u64::from(short)),
        126 => match rest.first_chunk() {
            Some(bytes) => (4, u64::from(u16::from_be_bytes(*bytes))),
            None => return Ok(Parsed::Part(None)),
        },
        _ => match rest.first_chunk() {
            Some(bytes) => (10, u64::from_be_bytes(*bytes)),
            None => return Ok(Parsed::Part(None)),
        },
    };
    if (header == 4 && len < 126) || (header == 10 && len <= 0xFFFF) {
        return Err(FrameError::Length);
    }
    let len = usize::try_from(len)
        .ok()
        .filter(|&len| len <= limit.max(125))
        .ok_or(FrameError::TooLong(len))?;
    let total = header + len;
    Ok(match bytes.get(header..total) {
        Some(payload) => Parsed::Whole(Frame { opcode, payload }, total),
        None => Parsed::Part(Some(total)),
    })
}

#[inline]
fn opcode(first: u8, second: u8) -> Result<Opcode, FrameError> {
    let opcode = match first {
        0x81 => Opcode::Text,
        0x82 => Opcode::Binary,
        0x88 => Opcode::Close,
        0x89 => Opcode::Ping,
        0x8A => Opcode::Pong,
        _ => return Err(refused(first)),
    };
    if second & 0x80 != 0 {
        return Err(FrameError::Masked);
    }
    if first & 0x08 != 0 && second > 125 {
        return Err(FrameError::Control);
    }
    Ok(opcode)
}

#[cold]
fn refused(first: u8) -> FrameError {
    if first & 0x70 != 0 {
        return FrameError::Reserved;
    }
    match first & 0x0F {
        0x0..=0x2 => FrameError::Fragment,
        0x8..=0xA => FrameError::Control,
        other => FrameError::Opcode(other),
    }
}

/// The masking keys of a connection, a fresh one for each frame (RFC 6455 §5.3). They are drawn fast
/// and from the run's seed: whoever knows it can predict them.
#[derive(Debug)]
pub(crate) struct Keys(fastrand::Rng);

impl Keys {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    #[inline]
    pub(crate) fn draw(&mut self) -> [u8; 4] {
        self.0.u32(..).to_ne_bytes()
    }
}

/// Appends a frame masked with `key`; `write` appends its payload, of exactly `len` bytes.
#[inline]
pub(crate) fn encode(
    out: &mut Vec<u8>,
    opcode: Opcode,
    key: [u8; 4],
    len: usize,
    write: impl FnOnce(&mut Vec<u8>),
) {
    out.push(0x80 | opcode.bits());
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short @ 0..=125), _) => out.push(0x80 | short),
        (_, Ok(medium)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&key);
    let start = out.len();
    write(out);
    debug_assert_eq!(
        out.len() - start,
        len,
        "the header has promised another length"
    );
    if let Some(payload) = out.get_mut(start..) {
        mask(payload, key);
    }
}

/// Applies `key` to `payload` (RFC 6455 §5.3), sixteen bytes at a time.
#[inline]
fn mask(payload: &mut [u8], key: [u8; 4]) {
    let four = u128::from(u32::from_ne_bytes(key));
    let wide = four | four << 32 | four << 64 | four << 96;
    let (blocks, rest) = payload.as_chunks_mut::<16>();
    for block in blocks {
        *block = (u128::from_ne_bytes(*block) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

    #[test]
    fn encodes_the_masked_hello_of_the_rfc() {
        // RFC 6455 §5.7
        let mut out = Vec::new();
        encode(&mut out, Opcode::Text, KEY, 5, |out| {
            out.extend_from_slice(b"Hello");
        });
        let expected = [
            0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58,
        ];
        assert_eq!(out, expected);
    }

    #[test]
    fn every_length_form_reads_back_unmasked() {
        for len in [0, 1, 15, 16, 17, 125, 126, 65_535, 65_536] {
            let plain: Vec<u8> = (0..=250).cycle().take(len).collect();
            let mut out = Vec::new();
            encode(&mut out, Opcode::Binary, KEY, len, |out| {
                out.extend_from_slice(&plain);
            });
            let header = out.len() - len;
            mask(&mut out[header..], KEY);
            // As the server would write it: no mask bit, no key.
            out.drain(header - 4..header);
            out[1] &= 0x7F;
            let total = out.len();
            let frame = Frame {
                opcode: Opcode::Binary,
                payload: &plain,
            };
            assert_eq!(parse(&out, 1 << 20), Ok(Parsed::Whole(frame, total)));
            for cut in [0, 1, header - 5, total.saturating_sub(1)] {
                assert!(cut == total || matches!(parse(&out[..cut], 1 << 20), Ok(Parsed::Part(_))));
            }
        }
    }

    #[test]
    fn masking_is_byte_wise_at_any_length() {
        for len in 0..50 {
            let mut fast: Vec<u8> = (0..len).collect();
            let keys = KEY.iter().cycle();
            let slow: Vec<u8> = fast
                .iter()
                .zip(keys)
                .map(|(byte, key)| byte ^ key)
                .collect();
            mask(&mut fast, KEY);
            assert_eq!(fast, slow);
        }
    }

    #[test]
    fn refuses_what_a_server_must_not_send() {
        let refusal = |bytes: &[u8]| parse(bytes, 1000).unwrap_err();
        assert_eq!(refusal(&[0xC2, 0]), FrameError::Reserved);
        assert_eq!(refusal(&[0x82, 0x80]), FrameError::Masked);
        assert_eq!(refusal(&[0x83, 0]), FrameError::Opcode(3));
        assert_eq!(refusal(&[0x02, 0]), FrameError::Fragment);
        assert_eq!(refusal(&[0x80, 0]), FrameError::Fragment);
        assert_eq!(refusal(&[0x09, 0]), FrameError::Control);
        assert_eq!(refusal(&[0x89, 126, 0, 200]), FrameError::Control);
        assert_eq!(refusal(&[0x82, 126, 0, 125]), FrameError::Length);
        assert_eq!(refusal(&[0x82, 126, 0x10, 0]), FrameError::TooLong(4096));
        assert_eq!(
            refusal(&[0x82, 127, 255, 0, 0, 0, 0, 0, 0, 0]),
            FrameError::TooLong(255 << 56)
        );
    }
}
