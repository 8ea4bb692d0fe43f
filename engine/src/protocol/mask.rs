//! Masking of payloads (RFC 6455 §5.3).

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
    let (words, tail) = if payload.len() < BLOCK {
        payload.as_chunks_mut::<4>()
    } else {
        apply_blocks(payload, key).as_chunks_mut::<4>()
    };
    let word_key = u32::from_ne_bytes(key);
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
