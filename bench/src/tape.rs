//! What a floor sends: one frame over and over, encoded before the first byte arrives.

/// Bytes of a tape, unless that is less than two frames.
const TAPE: usize = 256 * 1024;

/// The FIN bit and the opcode of a binary message (RFC 6455 §5.2).
const BINARY: u8 = 0x82;

/// Many copies of one server frame, back to back. As the content is periodic, what remains to
/// be sent to a connection is told by a phase and a count.
#[derive(Debug)]
pub(crate) struct Tape {
    bytes: Box<[u8]>,
    frame: usize,
}

impl Tape {
    /// A tape of unmasked binary frames with `payload` bytes each.
    pub(crate) fn new(payload: usize) -> Self {
        let mut frame = header(payload);
        frame.resize(frame.len() + payload, b'.');
        let copies = (TAPE / frame.len()).max(2);
        Self {
            bytes: frame.repeat(copies).into(),
            frame: frame.len(),
        }
    }

    /// Bytes of one frame, header included.
    pub(crate) fn frame(&self) -> usize {
        self.frame
    }

    /// As much of the next `len` bytes as lies in one piece, at least one frame's worth if
    /// `len` allows. `phase` tells how much of the first frame has been sent.
    #[inline]
    pub(crate) fn next(&self, phase: usize, len: usize) -> &[u8] {
        let end = self.bytes.len().min(phase.saturating_add(len));
        &self.bytes[phase..end]
    }
}

/// Bytes of a masked client frame with `payload` bytes (RFC 6455 §5.2).
pub(crate) fn client_frame(payload: usize) -> usize {
    const MASK: usize = 4;
    header(payload).len() + MASK + payload
}

fn header(payload: usize) -> Vec<u8> {
    let mut bytes = vec![BINARY];
    match (u8::try_from(payload), u16::try_from(payload)) {
        (Ok(short @ 0..=125), _) => bytes.push(short),
        (_, Ok(medium)) => {
            bytes.push(126);
            bytes.extend(medium.to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend((payload as u64).to_be_bytes());
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_the_three_lengths() {
        for (payload, client, server) in [
            (0, 6, 2),
            (125, 131, 127),
            (126, 134, 130),
            (65_535, 65_543, 65_539),
            (65_536, 65_550, 65_546),
        ] {
            assert_eq!(client_frame(payload), client);
            assert_eq!(Tape::new(payload).frame(), server);
        }
        assert_eq!(header(300), [0x82, 126, 1, 44]);
        assert_eq!(header(65_536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn pieces_join_to_whole_frames_from_any_phase() {
        let tape = Tape::new(200_000);
        let (mut sent, mut phase, mut left) = (Vec::new(), 0, 3 * tape.frame());
        while left > 0 {
            let piece = tape.next(phase, left);
            // As a socket may do: take a part only.
            let taken = &piece[..piece.len().min(70_001)];
            sent.extend_from_slice(taken);
            left -= taken.len();
            phase = (phase + taken.len()) % tape.frame();
        }
        let frame = &tape.bytes[..tape.frame()];
        assert_eq!(sent, frame.repeat(3));
    }
}
