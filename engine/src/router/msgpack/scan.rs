//! Looking a message over before it is read: whatever reads it may recurse with it, and trusts its lengths.

use smallvec::SmallVec;

/// Levels that maps and lists may be nested in: as many as JSON may have.
const MAX_DEPTH: usize = 128;

/// What is wrong with bytes that are to be one value, if anything is.
pub(super) fn check(bytes: &[u8]) -> Result<(), &'static str> {
    let mut rest = bytes;
    // Values that each map or list still has, the innermost last.
    let mut open: SmallVec<[u64; 16]> = SmallVec::new();
    loop {
        let values = skip_head(&mut rest)?;
        if values > 0 {
            if open.len() == MAX_DEPTH {
                return Err("it is nested in more than 128 levels");
            }
            open.push(values);
        }
        while open.last() == Some(&0) {
            open.pop();
        }
        match open.last_mut() {
            Some(left) => *left -= 1,
            None if rest.is_empty() => return Ok(()),
            None => return Err("bytes follow the message"),
        }
    }
}

/// Skips one value, but for the values within it; returns how many those are.
fn skip_head(rest: &mut &[u8]) -> Result<u64, &'static str> {
    let marker = number(rest, 1)?;
    let (bytes, values) = match marker {
        // Numbers in the marker itself, nil, booleans.
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, 0),
        0x80..=0x8f => (0, 2 * (marker & 0x0f)),
        0x90..=0x9f => (0, marker & 0x0f),
        0xa0..=0xbf => (marker & 0x1f, 0),
        // Binary, and strings.
        0xc4 | 0xd9 => (number(rest, 1)?, 0),
        0xc5 | 0xda => (number(rest, 2)?, 0),
        0xc6 | 0xdb => (number(rest, 4)?, 0),
        // Extensions, which have a type in front.
        0xc7 => (number(rest, 1)? + 1, 0),
        0xc8 => (number(rest, 2)? + 1, 0),
        0xc9 => (number(rest, 4)? + 1, 0),
        0xd4..=0xd8 => ((1 << (marker - 0xd4)) + 1, 0),
        // Numbers of 1, 2, 4 and 8 bytes.
        0xca => (4, 0),
        0xcb => (8, 0),
        0xcc..=0xcf => (1 << (marker - 0xcc), 0),
        0xd0..=0xd3 => (1 << (marker - 0xd0), 0),
        0xdc => (0, number(rest, 2)?),
        0xdd => (0, number(rest, 4)?),
        0xde => (0, 2 * number(rest, 2)?),
        0xdf => (0, 2 * number(rest, 4)?),
        _ => return Err("there is a byte that means nothing"),
    };
    let bytes = usize::try_from(bytes).map_err(|_| INCOMPLETE)?;
    *rest = rest.get(bytes..).ok_or(INCOMPLETE)?;
    Ok(values)
}

/// Takes a number of so many bytes.
fn number(rest: &mut &[u8], bytes: usize) -> Result<u64, &'static str> {
    let (number, after) = rest.split_at_checked(bytes).ok_or(INCOMPLETE)?;
    *rest = after;
    let digits = number.iter();
    Ok(digits.fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

const INCOMPLETE: &str = "it is incomplete";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn nested(levels: usize) -> Vec<u8> {
        let mut message = vec![0x91; levels];
        message.push(0xc0);
        message
    }

    #[test]
    fn depth_is_bounded() {
        assert_eq!(check(&nested(128)), Ok(()));
        let deep = Err("it is nested in more than 128 levels");
        assert_eq!(check(&nested(129)), deep);
        assert_eq!(check(&nested(10_000_000)), deep);
        let wide = [&[0xdc, 0x01, 0x00][..], &[0x91, 0xc0].repeat(256)].concat();
        assert_eq!(check(&wide), Ok(()), "one beside the other");
        assert_eq!(check(&[0x90]), Ok(()));
        assert_eq!(check(&[0x92, 0x90, 0x80]), Ok(()));
    }

    #[test]
    fn every_kind_of_value_has_its_length() {
        let heads: [(&[u8], usize); 26] = [
            (&[0x7f], 0),
            (&[0xff], 0),
            (&[0xa3], 3),
            (&[0xc0], 0),
            (&[0xc2], 0),
            (&[0xc4, 2], 2),
            (&[0xc5, 1, 0], 256),
            (&[0xc6, 0, 1, 0, 0], 65_536),
            (&[0xc7, 2], 3),
            (&[0xc8, 1, 0], 257),
            (&[0xc9, 0, 1, 0, 0], 65_537),
            (&[0xca], 4),
            (&[0xcb], 8),
            (&[0xcc], 1),
            (&[0xcd], 2),
            (&[0xce], 4),
            (&[0xcf], 8),
            (&[0xd0], 1),
            (&[0xd3], 8),
            (&[0xd4], 2),
            (&[0xd6], 5),
            (&[0xd8], 17),
            (&[0xd9, 2], 2),
            (&[0xda, 1, 0], 256),
            (&[0xdb, 0, 1, 0, 0], 65_536),
            (&[0xdb, 0, 0, 0, 0], 0),
        ];
        for (head, length) in heads {
            let mut value = head.to_vec();
            value.resize(head.len() + length, 0);
            assert_eq!(check(&value), Ok(()), "{head:x?}");
            value.push(0);
            assert_eq!(check(&value), Err("bytes follow the message"), "{head:x?}");
            value.truncate(head.len() + length - 1);
            assert_eq!(check(&value), Err(INCOMPLETE), "{head:x?}");
        }
        assert!(check(&[0xc1]).is_err());
        assert_eq!(check(&[0xdf, 0xff, 0xff, 0xff, 0xff, 0]), Err(INCOMPLETE));
        assert_eq!(check(&[0xdd, 0xff, 0xff, 0xff, 0xff]), Err(INCOMPLETE));
    }

    #[test]
    fn what_is_written_is_whole() {
        let value = json!({
            "a": [1, -1, 70_000, 1.5, null, true], "b": {"c": "x".repeat(300)}, "d": vec![0; 70_000],
        });
        let bytes = rmp_serde::to_vec_named(&value).unwrap();
        assert_eq!(check(&bytes), Ok(()));
        assert_eq!(rmp_serde::from_slice::<Value>(&bytes).unwrap(), value);
    }

    proptest! {
        /// Whatever is taken for whole, another reader takes for whole.
        #[test]
        fn any_bytes_are_whole_or_not(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if check(&bytes).is_ok() {
                let mut reader = rmp_serde::Deserializer::from_read_ref(&bytes[..]);
                let read = serde::Deserialize::deserialize(&mut reader);
                prop_assert!(read.map(|serde::de::IgnoredAny| ()).is_ok());
            }
        }
    }
}
