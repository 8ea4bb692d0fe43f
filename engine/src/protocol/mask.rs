//! Masking of payloads, and the keys for it (RFC 6455 §5.3).

use std::fmt;

use thiserror::Error;

/// Bytes that [`Masks`] draws at once: the price of a system call is spread over 256 keys.
const DRAWN_AT_ONCE: usize = 1024;

/// A source of randomness has none to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no randomness is to be had")]
pub struct NoEntropy;

/// Masking keys: a fresh one for every frame that a client sends (RFC 6455 §5.3, §10.3).
///
/// They are bytes of `source`, each used once and in its order, drawn [in bulk](Masks::next). A
/// key is as hard to predict as the source is: it fills what it is given with the output of a
/// cryptographically secure generator ([`system_entropy`](crate::system_entropy) is one), or
/// fails. One `Masks` serves any number of connections; a copy of the process made by `fork`
/// needs one of its own.
pub struct Masks<F> {
    source: F,
    drawn: Box<[u8; DRAWN_AT_ONCE]>,
    used: usize,
}

impl<F: FnMut(&mut [u8]) -> Result<(), NoEntropy>> Masks<F> {
    /// Keys out of what `source` fills; nothing is drawn before the first is asked for.
    pub fn new(source: F) -> Masks<F> {
        Masks {
            source,
            drawn: Box::new([0; DRAWN_AT_ONCE]),
            used: DRAWN_AT_ONCE,
        }
    }

    /// A key that was not given out before. Draws 1 KiB when all that was drawn is used.
    ///
    /// # Errors
    ///
    /// When the source fails: a frame must not be sent. A later call asks it again.
    #[inline]
    #[expect(
        clippy::should_implement_trait,
        reason = "no iterator: it never ends, but may fail"
    )]
    pub fn next(&mut self) -> Result<[u8; 4], NoEntropy> {
        if let Some(key) = self.drawn[self.used..].first_chunk() {
            self.used += key.len();
            return Ok(*key);
        }
        self.draw()
    }

    #[cold]
    fn draw(&mut self) -> Result<[u8; 4], NoEntropy> {
        (self.source)(&mut self.drawn[..])?;
        let [a, b, c, d, ..] = *self.drawn;
        self.used = 4;
        Ok([a, b, c, d])
    }
}

/// What is to come stays secret.
impl<F> fmt::Debug for Masks<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masks").finish_non_exhaustive()
    }
}

/// One block is two or more vector registers on every platform, so that the compiler emits
/// vector code for the loop over blocks.
const BLOCK: usize = 32;

/// Masks or unmasks `payload` in place; both are the same operation.
///
/// `offset` is the number of payload bytes of the same frame that went before: a frame may be
/// unmasked piece by piece.
#[inline]
pub fn apply(payload: &mut [u8], key: [u8; 4], offset: usize) {
    let key = rotated(key, offset);
    let rest = if payload.len() < BLOCK {
        payload
    } else {
        apply_blocks(payload, key)
    };
    let word_key = u32::from_ne_bytes(key);
    let (pairs, rest) = rest.as_chunks_mut::<8>();
    let pair_key = u64::from(word_key) << 32 | u64::from(word_key);
    for pair in pairs {
        *pair = (u64::from_ne_bytes(*pair) ^ pair_key).to_ne_bytes();
    }
    let (words, tail) = rest.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ word_key).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// The key as it applies from `offset` on.
fn rotated(mut key: [u8; 4], offset: usize) -> [u8; 4] {
    key.rotate_left(offset % 4);
    key
}

/// Masks whole blocks and returns the rest, which begins in the key's first phase.
fn apply_blocks(payload: &mut [u8], key: [u8; 4]) -> &mut [u8] {
    let mut block_key = [0; BLOCK];
    for (index, byte) in block_key.iter_mut().enumerate() {
        *byte = key[index % 4];
    }
    let (blocks, rest) = payload.as_chunks_mut::<BLOCK>();
    for block in blocks {
        for (byte, key) in block.iter_mut().zip(block_key) {
            *byte ^= key;
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_rfc_6455_5_7() {
        let mut payload = *b"\x7f\x9f\x4d\x51\x58";
        apply(&mut payload, [0x37, 0xfa, 0x21, 0x3d], 0);
        assert_eq!(&payload, b"Hello");
    }

    /// Bytes that count, and how often they were asked for.
    fn counting(calls: &mut usize) -> impl FnMut(&mut [u8]) -> Result<(), NoEntropy> {
        let mut count = 0_u32;
        move |bytes| {
            *calls += 1;
            for key in bytes.as_chunks_mut().0 {
                *key = count.to_be_bytes();
                count += 1;
            }
            Ok(())
        }
    }

    #[test]
    fn every_key_is_fresh_and_drawn_in_bulk_rfc_6455_5_3() {
        let mut calls = 0;
        let mut masks = Masks::new(counting(&mut calls));
        for expected in 0..1000_u32 {
            assert_eq!(masks.next(), Ok(expected.to_be_bytes()));
        }
        drop(masks);
        assert_eq!(calls, 4);
    }

    #[test]
    fn without_randomness_there_is_no_key() {
        let mut answers = [Err(NoEntropy), Ok(()), Err(NoEntropy), Ok(())].into_iter();
        let mut masks = Masks::new(|bytes: &mut [u8]| {
            bytes.fill(7);
            answers.next().unwrap()
        });
        assert_eq!(masks.next(), Err(NoEntropy));
        for _ in 0..DRAWN_AT_ONCE / 4 {
            assert_eq!(masks.next(), Ok([7; 4]));
        }
        assert_eq!(
            masks.next(),
            Err(NoEntropy),
            "what was used is not used again"
        );
        assert_eq!(masks.next(), Ok([7; 4]));
    }

    #[test]
    fn keys_to_come_are_not_shown() {
        let mut masks = Masks::new(|bytes: &mut [u8]| {
            bytes.fill(123);
            Ok(())
        });
        masks.next().unwrap();
        assert!(!format!("{masks:?}").contains("123"));
    }

    proptest! {
        #[test]
        fn every_byte_meets_the_key_byte_of_its_index_rfc_6455_5_3(
            payload in prop::collection::vec(any::<u8>(), 0..200),
            key: [u8; 4],
            offset in 0_usize..1000,
        ) {
            let byte_by_byte: Vec<u8> =
                payload.iter().enumerate().map(|(i, byte)| byte ^ key[(offset + i) % 4]).collect();
            let mut masked = payload;
            apply(&mut masked, key, offset);
            prop_assert_eq!(masked, byte_by_byte);
        }

        #[test]
        fn pieces_give_the_same_as_the_whole(
            payload in prop::collection::vec(any::<u8>(), 0..200),
            key: [u8; 4],
            cut in 0_usize..200,
        ) {
            let cut = cut.min(payload.len());
            let (mut whole, mut pieces) = (payload.clone(), payload);
            apply(&mut whole, key, 0);
            let (first, second) = pieces.split_at_mut(cut);
            apply(first, key, 0);
            apply(second, key, cut);
            prop_assert_eq!(whole, pieces);
        }
    }
}
