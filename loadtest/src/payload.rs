//! What the messages say, so that any change on their way shows.
//!
//! A payload is a header and a filler. The header of an echo is the connection's number
//! (u32) and the message's sequence number (u64), that of a broadcast has the time of
//! sending (u64, nanoseconds) behind them; all little-endian. The filler is a slice of one
//! pseudo-random pad, at an offset that follows from the header. As text, each header
//! field is spread over printable characters of six bits, and the pad is printable too.
//!
//! An echo shorter than its header carries the low bytes of the sequence number, then
//! those of the connection's number, as far as they fit.

use crate::frames::{Frame, Opcode};

/// Distinct filler offsets; a power of two.
const OFFSETS: usize = 1024;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Head {
    /// The connection that sent it (echo), or the sender's number (broadcast).
    pub(crate) source: u32,
    /// The message's number among those of its source, from 0.
    pub(crate) sequence: u64,
    /// When it was sent; 0 in an echo.
    pub(crate) stamp: u64,
}

/// Writes and checks the payloads of one run.
#[derive(Debug)]
pub(crate) struct Payloads {
    size: usize,
    stamped: bool,
    text: bool,
    pad: Vec<u8>,
}

impl Payloads {
    /// Payloads of `size` bytes; `stamped` if they carry the time of sending.
    pub(crate) fn new(size: usize, stamped: bool, text: bool, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut draw = || {
            if text {
                random.u8(b'0'..=b'z')
            } else {
                random.u8(..)
            }
        };
        Self {
            size,
            stamped,
            text,
            pad: (0..size + OFFSETS).map(|_| draw()).collect(),
        }
    }

    /// Bytes of a whole header.
    pub(crate) const fn header_size(stamped: bool, text: bool) -> usize {
        match (stamped, text) {
            (false, false) => 12,
            (true, false) => 20,
            (false, true) => 17,
            (true, true) => 28,
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Whether a payload tells which message it is; if not, only [`Self::matches`] and
    /// [`Self::nearest`] can be asked.
    pub(crate) fn is_whole(&self) -> bool {
        self.size >= Self::header_size(self.stamped, self.text)
    }

    /// Appends the payload that belongs to `head`.
    #[inline]
    pub(crate) fn write(&self, head: Head, out: &mut Vec<u8>) {
        let header = self.header(head);
        let header = header.get(..self.header_len()).unwrap_or_default();
        out.extend_from_slice(header);
        out.extend_from_slice(self.filler(head));
    }

    /// Whether `payload` is exactly what belongs to `head`.
    #[inline]
    pub(crate) fn matches(&self, head: Head, payload: &[u8]) -> bool {
        if payload.len() != self.size {
            return false;
        }
        if self.text || !self.is_whole() {
            let header = self.header(head);
            let split = payload.split_at_checked(self.header_len());
            return split.is_some_and(|(start, rest)| {
                header.starts_with(start) && rest == self.filler(head)
            });
        }
        // The hot path: the same in a few comparisons of whole numbers.
        match split_plain(payload, self.stamped) {
            Some((found, rest)) => found == head && rest == self.filler(head),
            None => false,
        }
    }

    /// What a whole header says, be the filler as it may; `None` if it is too short or no
    /// header at all.
    #[inline]
    pub(crate) fn claim(&self, payload: &[u8]) -> Option<Head> {
        if !self.text {
            return split_plain(payload, self.stamped).map(|(head, _)| head);
        }
        let field = |from: usize, to: usize| from_letters(payload.get(from..to)?);
        Some(Head {
            source: u32::try_from(field(0, 6)?).ok()?,
            sequence: field(6, 17)?,
            stamp: if self.stamped { field(17, 28)? } else { 0 },
        })
    }

    /// The sequence number closest to `expected` that a payload with less than a whole
    /// header may mean, other than that; `None` if it can mean none. An empty one can mean
    /// any, so it is taken for the one before.
    pub(crate) fn nearest(&self, expected: Head, payload: &[u8]) -> Option<u64> {
        let (unit, field) = if self.text { (6, 11) } else { (8, 8) };
        let len = payload.len().min(field);
        if payload.len() != self.size {
            return None;
        }
        if len == 0 {
            return expected.sequence.checked_sub(1);
        }
        let low = if self.text {
            from_letters(payload.get(..len)?)?
        } else {
            from_bytes(payload.get(..len)?)?
        };
        let bits = (unit * u32::try_from(len).ok()?).min(64);
        let shift = 64 - bits;
        // The difference of the low bits, sign-extended, is the shortest way round.
        let ahead = (low.wrapping_sub(expected.sequence) << shift).cast_signed() >> shift;
        let sequence = expected.sequence.checked_add_signed(ahead)?;
        let meant = Head {
            sequence,
            ..expected
        };
        self.matches(meant, payload).then_some(sequence)
    }

    /// What kind of message this run expects, for people to read.
    pub(crate) fn describe(&self, opcode: Opcode) -> String {
        format!("{opcode:?} of {} bytes", self.size).to_lowercase()
    }

    /// How a message differs from the one that belongs to `head`, for people to read.
    pub(crate) fn difference(&self, head: Head, frame: &Frame<'_>) -> String {
        let kind = format!("{:?} of {} bytes", frame.opcode, frame.payload.len()).to_lowercase();
        if frame.payload.len() != self.size {
            return kind;
        }
        if let Some(claim) = self.claim(frame.payload).filter(|_| self.is_whole())
            && (claim.source, claim.sequence) != (head.source, head.sequence)
            && self.matches(claim, frame.payload)
        {
            return format!("{kind}: message {} of {}", claim.sequence, claim.source);
        }
        let mut wanted = Vec::with_capacity(self.size);
        self.write(head, &mut wanted);
        let mut pairs = wanted.iter().zip(frame.payload).enumerate();
        match pairs.find(|(_, (wanted, got))| wanted != got) {
            Some((at, (wanted, got))) => {
                format!("{kind} with {got:#04x} for {wanted:#04x} at byte {at}")
            }
            None => kind,
        }
    }

    fn header_len(&self) -> usize {
        Self::header_size(self.stamped, self.text).min(self.size)
    }

    /// The header's bytes; those beyond [`Self::header_len`] mean nothing.
    #[inline]
    fn header(&self, head: Head) -> [u8; 28] {
        let mut bytes = [0; 28];
        let (source, sequence, stamp) = (u64::from(head.source), head.sequence, head.stamp);
        match (self.is_whole(), self.text) {
            (true, false) => {
                bytes[..4].copy_from_slice(&head.source.to_le_bytes());
                bytes[4..12].copy_from_slice(&sequence.to_le_bytes());
                bytes[12..20].copy_from_slice(&stamp.to_le_bytes());
            }
            (true, true) => {
                to_letters(source, &mut bytes[..6]);
                to_letters(sequence, &mut bytes[6..17]);
                to_letters(stamp, &mut bytes[17..28]);
            }
            (false, false) => {
                bytes[..8].copy_from_slice(&sequence.to_le_bytes());
                bytes[8..12].copy_from_slice(&head.source.to_le_bytes());
            }
            (false, true) => {
                to_letters(sequence, &mut bytes[..11]);
                to_letters(source, &mut bytes[11..17]);
            }
        }
        bytes
    }

    #[inline]
    fn filler(&self, head: Head) -> &[u8] {
        // Fibonacci hashing: neighbours in any field land far apart.
        let mixed = head
            .sequence
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .wrapping_add(u64::from(head.source).wrapping_mul(0xC2B2_AE3D_27D4_EB4F))
            .wrapping_add(head.stamp.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        let offset = usize::try_from(mixed >> 54).unwrap_or(0) % OFFSETS;
        let len = self.size - self.header_len();
        self.pad.get(offset..offset + len).unwrap_or_default()
    }
}

/// What a whole binary header says, and the filler behind it.
#[inline]
fn split_plain(payload: &[u8], stamped: bool) -> Option<(Head, &[u8])> {
    let (source, rest) = payload.split_first_chunk()?;
    let (sequence, rest) = rest.split_first_chunk()?;
    let (stamp, rest) = if stamped {
        rest.split_first_chunk()?
    } else {
        (&[0; 8], rest)
    };
    let head = Head {
        source: u32::from_le_bytes(*source),
        sequence: u64::from_le_bytes(*sequence),
        stamp: u64::from_le_bytes(*stamp),
    };
    Some((head, rest))
}

fn from_bytes(bytes: &[u8]) -> Option<u64> {
    let mut whole = [0; 8];
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(u64::from_le_bytes(whole))
}

/// Six bits a letter, lowest first, from `0` on.
fn to_letters(value: u64, letters: &mut [u8]) {
    let mut rest = value;
    for letter in letters {
        *letter = b'0' + (rest & 63) as u8;
        rest >>= 6;
    }
}

fn from_letters(letters: &[u8]) -> Option<u64> {
    letters.iter().rev().try_fold(0_u64, |value, letter| {
        let bits = letter.checked_sub(b'0').filter(|&bits| bits < 64)?;
        // The last of eleven letters holds the top four bits only.
        (value >> 58 == 0).then_some(value << 6 | u64::from(bits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head {
        source: 70_000,
        sequence: u64::MAX - 5,
        stamp: 1_234_567_890_123,
    };

    fn written(payloads: &Payloads, head: Head) -> Vec<u8> {
        let mut bytes = Vec::new();
        payloads.write(head, &mut bytes);
        bytes
    }

    #[test]
    fn whole_headers_read_back() {
        for text in [false, true] {
            for size in [28, 29, 64, 5000] {
                let payloads = Payloads::new(size, true, text, 1);
                let bytes = written(&payloads, HEAD);
                assert_eq!(bytes.len(), size);
                assert_eq!(payloads.claim(&bytes), Some(HEAD));
                assert!(payloads.matches(HEAD, &bytes));
                assert!(!text || bytes.is_ascii());
            }
        }
    }

    #[test]
    fn any_flipped_byte_shows() {
        for (size, stamped, text) in [(1, false, false), (12, false, false), (40, true, true)] {
            let payloads = Payloads::new(size, stamped, text, 1);
            let bytes = written(&payloads, HEAD);
            for at in 0..size {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1;
                assert!(!payloads.matches(HEAD, &wrong), "size {size}, byte {at}");
            }
            assert!(!payloads.matches(HEAD, &bytes[..size - 1]));
        }
    }

    #[test]
    fn short_payloads_tell_the_nearest_message() {
        for (text, size) in [(false, 1), (false, 3), (false, 11), (true, 1), (true, 16)] {
            let payloads = Payloads::new(size, false, text, 1);
            let expected = Head {
                source: 9,
                sequence: 1000,
                stamp: 0,
            };
            for sequence in [998, 999, 1000, 1001, 1005] {
                let bytes = written(
                    &payloads,
                    Head {
                        sequence,
                        ..expected
                    },
                );
                assert_eq!(
                    payloads.nearest(expected, &bytes),
                    Some(sequence),
                    "{text} {size}"
                );
            }
            assert!(!payloads.is_whole());
        }
    }

    #[test]
    fn no_negative_sequence_is_guessed() {
        let payloads = Payloads::new(1, false, false, 1);
        assert_eq!(payloads.nearest(Head::default(), &[0xFF]), None);
    }

    #[test]
    fn empty_payloads_match_anything_expected() {
        let payloads = Payloads::new(0, false, false, 1);
        assert!(payloads.matches(HEAD, &[]));
        assert!(!payloads.matches(HEAD, &[0]));
    }

    #[test]
    fn neighbours_differ_in_their_filler() {
        let payloads = Payloads::new(64, false, false, 1);
        let next = Head {
            sequence: HEAD.sequence + 1,
            ..HEAD
        };
        assert_ne!(
            written(&payloads, HEAD)[12..],
            written(&payloads, next)[12..]
        );
    }
}
