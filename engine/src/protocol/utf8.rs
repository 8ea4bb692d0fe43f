//! UTF-8 that arrives in pieces (RFC 6455 §8.1).

use super::fault::Fault;

/// The longest character.
const MAX_CHAR: usize = 4;

/// Checks text piece by piece and fails at the first byte that cannot continue it, so that a
/// peer is refused without waiting for the message's end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8Validator {
    /// A character's first bytes, at the end of the pieces so far.
    carry: [u8; MAX_CHAR],
    carried: usize,
}

impl Utf8Validator {
    /// Takes the next piece of the text, of any length.
    ///
    /// # Errors
    ///
    /// [`Fault::InvalidUtf8`] when no text begins with the pieces so far. What later calls
    /// answer is then without meaning.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Fault> {
        let piece = self.complete(piece)?;
        match simdutf8::compat::from_utf8(piece) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_some() => Err(Fault::InvalidUtf8),
            Err(error) => {
                let incomplete = &piece[error.valid_up_to()..];
                self.carry[..incomplete.len()].copy_from_slice(incomplete);
                self.carried = incomplete.len();
                Ok(())
            }
        }
    }

    /// Ends the text; the validator is then ready for another.
    ///
    /// # Errors
    ///
    /// [`Fault::InvalidUtf8`] when the text ends inside a character.
    pub fn finish(&mut self) -> Result<(), Fault> {
        match std::mem::take(&mut self.carried) {
            0 => Ok(()),
            _ => Err(Fault::InvalidUtf8),
        }
    }

    /// Ends the character carried over, if there is one, and returns what follows it.
    fn complete<'p>(&mut self, piece: &'p [u8]) -> Result<&'p [u8], Fault> {
        let mut rest = piece;
        while self.carried > 0
            && let Some((&byte, after)) = rest.split_first()
        {
            self.carry[self.carried] = byte;
            self.carried = match std::str::from_utf8(&self.carry[..=self.carried]) {
                Ok(_) => 0,
                Err(error) if error.error_len().is_none() => self.carried + 1,
                Err(_) => return Err(Fault::InvalidUtf8),
            };
            rest = after;
        }
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many bytes may pass before it is certain that this is no text; `None` when it is one,
    /// whole or cut short. By std's rules, asked of every prefix.
    fn fails_at(bytes: &[u8]) -> Option<usize> {
        (0..bytes.len()).find(|&last| match std::str::from_utf8(&bytes[..=last]) {
            Ok(_) => false,
            Err(error) => error.error_len().is_some(),
        })
    }

    fn push_bytes(bytes: &[u8]) -> (Utf8Validator, Option<usize>) {
        let mut validator = Utf8Validator::default();
        let failed = (0..bytes.len()).find(|&i| validator.push(&bytes[i..=i]).is_err());
        (validator, failed)
    }

    #[test]
    fn it_fails_at_the_first_byte_that_cannot_continue_rfc_6455_8_1() {
        let cases: [(&[u8], Option<usize>); 14] = [
            (b"plain", None),
            ("κόσμε € 🦀".as_bytes(), None),
            (b"\x80", Some(0)),
            (b"\xc0\x80", Some(0)),
            (b"\xc1", Some(0)),
            (b"ab\xc3(", Some(3)),
            (b"\xe0\x80\x80", Some(1)),
            (b"\xed\xa0\x80", Some(1)),
            (b"\xe2\x82(", Some(2)),
            (b"\xf0\x80", Some(1)),
            (b"\xf0\x9f\xa6(", Some(3)),
            (b"\xf4\x90\x80\x80", Some(1)),
            (b"\xf5", Some(0)),
            (b"ok\xff", Some(2)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(push_bytes(bytes).1, expected, "{bytes:x?}");
            assert_eq!(fails_at(bytes), expected, "std and {bytes:x?}");
        }
    }

    #[test]
    fn text_that_ends_inside_a_character_is_refused_at_the_end() {
        for text in ["é", "€", "🦀"] {
            for cut in 1..text.len() {
                let (mut validator, failed) = push_bytes(&text.as_bytes()[..cut]);
                assert_eq!(failed, None);
                assert_eq!(validator.finish(), Err(Fault::InvalidUtf8));
                assert_eq!(
                    validator.push(text.as_bytes()),
                    Ok(()),
                    "ready for another text"
                );
                assert_eq!(validator.finish(), Ok(()));
            }
        }
    }

    /// Text in which the bytes that are hard to cut right are frequent.
    fn nearly_text() -> impl Strategy<Value = Vec<u8>> {
        let good = prop::sample::select(vec!["a", "é", "€", "\u{d7ff}", "\u{10ffff}", "🦀"])
            .prop_map(|text| text.as_bytes().to_vec());
        let edge = prop::sample::select(vec![
            0x7f, 0x80, 0xbf, 0xc0, 0xc2, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5,
        ])
        .prop_map(|byte| vec![byte]);
        prop::collection::vec(prop_oneof![12 => good, 1 => edge], 0..60)
            .prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn one_byte_at_a_time_it_fails_where_std_does(bytes in nearly_text()) {
            prop_assert_eq!(push_bytes(&bytes).1, fails_at(&bytes));
        }

        #[test]
        fn at_every_split_it_agrees_with_std(bytes in nearly_text()) {
            let failing = fails_at(&bytes);
            for cut in 0..=bytes.len() {
                let mut validator = Utf8Validator::default();
                let first = validator.push(&bytes[..cut]);
                prop_assert_eq!(first.is_err(), failing.is_some_and(|at| at < cut));
                if first.is_ok() {
                    let whole = validator.push(&bytes[cut..]).and_then(|()| validator.finish());
                    prop_assert_eq!(whole.is_ok(), std::str::from_utf8(&bytes).is_ok());
                }
            }
        }
    }
}
