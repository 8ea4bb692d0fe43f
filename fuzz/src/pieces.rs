//! Bytes as they arrive: in pieces of any length.

use std::iter;

/// Pieces before the rest comes at once, see [`Pieces::ends`].
const FEW: usize = 40;

/// How a stream is cut, told by the input: a byte for each piece, over and over.
///
/// A byte's lower half is added to 2 to the power of its upper half: a piece has 1 to 32,783 bytes,
/// and short ones of any length are to be had.
#[derive(Clone, Copy, Debug)]
pub struct Pieces<'s>(&'s [u8]);

impl<'s> Pieces<'s> {
    /// Without lengths, everything arrives at once.
    pub fn new(lengths: &'s [u8]) -> Pieces<'s> {
        Pieces(lengths)
    }

    /// The lengths, without end.
    pub fn lengths(self) -> impl Iterator<Item = usize> + 's {
        let lengths: &[u8] = if self.0.is_empty() { &[0] } else { self.0 };
        let all_at_once = self.0.is_empty();
        lengths.iter().cycle().map(move |byte| match all_at_once {
            true => usize::MAX,
            false => (1 << (byte >> 4)) + usize::from(byte & 0x0f),
        })
    }

    /// The pieces of `bytes`.
    pub fn of_mut<'b>(self, bytes: &'b mut [u8]) -> impl Iterator<Item = &'b mut [u8]>
    where
        's: 'b,
    {
        let mut rest = bytes;
        let mut lengths = self.lengths();
        iter::from_fn(move || {
            let len = lengths.next()?.min(rest.len());
            rest.split_off_mut(..len).filter(|piece| !piece.is_empty())
        })
    }

    /// Where the pieces of a stream of `len` bytes end. There are few: what is looked at from the
    /// beginning with each piece would take long otherwise.
    pub fn ends(self, len: usize) -> impl Iterator<Item = usize> + 's {
        let mut end = 0;
        let mut lengths = self.lengths().take(FEW).chain(iter::once(usize::MAX));
        iter::from_fn(move || {
            if end == len {
                return None;
            }
            end += lengths.next()?.min(len - end);
            Some(end)
        })
    }
}

/// The first line of an input, which tells how the rest is cut, and that rest. So seeds of text
/// stay text; an empty line leaves them whole.
pub fn split_line(input: &[u8]) -> (Pieces<'_>, &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n');
    match end {
        Some(end) => (Pieces(&input[..end]), &input[end + 1..]),
        None => (Pieces(&[]), input),
    }
}
