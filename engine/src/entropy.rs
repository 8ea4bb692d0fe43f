//! The one place that draws randomness which nobody may predict.

use crate::protocol::mask::NoEntropy;

/// Fills `bytes` from the operating system's cryptographically secure generator: the standard
/// source for [`Masks`](crate::protocol::mask::Masks) and for the key of a
/// [`ClientRequest`](crate::protocol::handshake::ClientRequest).
///
/// # Errors
///
/// When the system refuses, as in a sandbox that has none.
pub fn system_entropy(bytes: &mut [u8]) -> Result<(), NoEntropy> {
    getrandom::fill(bytes).map_err(|_| NoEntropy)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::protocol::mask::Masks;

    #[test]
    fn keys_of_the_system_do_not_repeat() {
        let mut masks = Masks::new(system_entropy);
        let keys: HashSet<[u8; 4]> = (0..1000).map(|_| masks.next().unwrap()).collect();
        // Three of a thousand draws out of 2³² meet by chance once in 10¹⁰ runs or so.
        assert!(keys.len() > 997, "{} of 1000 differ", keys.len());
    }
}
