//! What a completion is of, as the 64 bits that pass through the ring with its request.

use crate::driver::SocketKey;

/// Slots of keys are below this: a token has so much room for them.
pub(super) const SLOTS: u32 = 1 << 31;

const KIND_SHIFT: u32 = 62;
const GENERATION_SHIFT: u32 = 31;
const LOW: u64 = (1 << GENERATION_SHIFT) - 1;

const RECEIVE: u64 = 0;
const WATCH: u64 = 1;
const SEND: u64 = 2;
const OTHER: u64 = 3;

/// The wake-up and what nobody waits for: above the places of listeners.
const WAKE: u64 = LOW - 1;
const IGNORED: u64 = LOW;

/// The request that a completion is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// The receive of a socket.
    Receive(SocketKey),
    /// The watch for room or trouble on a socket.
    Watch(SocketKey),
    /// The send at a position of the batch that was submitted last.
    Send(u32),
    /// The watch of the listener in a place.
    Listener(u32),
    /// The watch for wake-ups.
    Wake,
    /// Something that needs no answer.
    Ignored,
}

impl Token {
    pub(super) fn to_bits(self) -> u64 {
        let keyed = |kind: u64, key: SocketKey| {
            kind << KIND_SHIFT | u64::from(key.generation) << GENERATION_SHIFT | u64::from(key.slot)
        };
        match self {
            Token::Receive(key) => keyed(RECEIVE, key),
            Token::Watch(key) => keyed(WATCH, key),
            Token::Send(position) => SEND << KIND_SHIFT | u64::from(position),
            Token::Listener(place) => OTHER << KIND_SHIFT | u64::from(place),
            Token::Wake => OTHER << KIND_SHIFT | WAKE,
            Token::Ignored => OTHER << KIND_SHIFT | IGNORED,
        }
    }

    pub(super) fn from_bits(bits: u64) -> Token {
        let low = bits & LOW;
        let key = SocketKey {
            slot: low as u32,
            generation: (bits >> GENERATION_SHIFT & LOW) as u32,
        };
        match bits >> KIND_SHIFT {
            RECEIVE => Token::Receive(key),
            WATCH => Token::Watch(key),
            SEND => Token::Send(low as u32),
            _ if low == WAKE => Token::Wake,
            _ if low == IGNORED => Token::Ignored,
            _ => Token::Listener(low as u32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::GENERATIONS;

    #[test]
    fn tokens_keep_all_bits() {
        let mut tokens = vec![Token::Wake, Token::Ignored];
        for number in [0, 1, 1023, SLOTS - 1] {
            tokens.push(Token::Send(number));
            if number < 1024 {
                tokens.push(Token::Listener(number));
            }
            for generation in [0, 1, GENERATIONS - 1] {
                let key = SocketKey {
                    slot: number,
                    generation,
                };
                tokens.extend([Token::Receive(key), Token::Watch(key)]);
            }
        }
        for token in tokens {
            assert_eq!(Token::from_bits(token.to_bits()), token);
        }
    }
}
