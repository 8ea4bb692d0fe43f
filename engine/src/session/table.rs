//! Sessions whose connections have ended.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;

use crate::attributes::Attributes;
use crate::shard::Foreign;

/// What a session is found by. Only its client knows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Token(u128);

impl Token {
    pub(super) fn new(bytes: [u8; 16]) -> Token {
        Token(u128::from_be_bytes(bytes))
    }

    pub(super) fn parse(text: &str) -> Option<Token> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u128::from_str_radix(text, 16)
            .ok()
            .filter(|_| is_hex)
            .map(Token)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Token {
    /// Tells nobody.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// What belonged to a connection.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) user: Option<String>,
    pub(crate) rooms: Vec<String>,
    pub(crate) attributes: Attributes,
    /// When it is given up, since the engine's epoch.
    pub(crate) until: Duration,
}

#[derive(Debug)]
pub(crate) struct Table {
    capacity: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    sessions: HashMap<Token, Parked>,
    /// Those that end first come first.
    ends: BTreeSet<(Duration, Token)>,
}

impl Kept {
    fn remove(&mut self, token: Token) -> Option<Parked> {
        let parked = self.sessions.remove(&token)?;
        self.ends.remove(&(parked.until, token));
        Some(parked)
    }

    /// The one that ends first, if it does by `now`.
    fn remove_first(&mut self, now: Duration) -> Option<Parked> {
        let &(until, token) = self.ends.first()?;
        (until <= now).then(|| self.remove(token)).flatten()
    }
}

impl Table {
    pub(super) fn new(capacity: usize) -> Table {
        Table {
            capacity,
            kept: Mutex::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.kept().sessions.len()
    }

    /// Keeps a session; those that are over go, and where there are too many the one that ends first.
    pub(super) fn insert(&self, token: Token, parked: Parked, now: Duration) {
        let mut over = Vec::new();
        {
            let mut kept = self.kept();
            while let Some(parked) = kept.remove_first(now) {
                over.push(parked);
            }
            kept.ends.insert((parked.until, token));
            over.extend(kept.sessions.insert(token, parked));
            if kept.sessions.len() > self.capacity {
                over.extend(kept.remove_first(Duration::MAX));
            }
        }
        // Attributes are the service's, and so is what their `Drop` does: not under the lock, and each by itself.
        over.into_iter().map(Foreign::new).for_each(drop);
    }

    pub(super) fn take(&self, token: Token, now: Duration) -> Option<Parked> {
        let parked = self.kept().remove(token);
        parked.filter(|parked| parked.until > now)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parked(until: u64) -> Parked {
        Parked {
            user: Some(until.to_string()),
            rooms: Vec::new(),
            attributes: Attributes::default(),
            until: Duration::from_secs(until),
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_session_is_taken_once_and_in_time() {
        let table = Table::new(10);
        table.insert(Token(1), parked(30), at(0));
        table.insert(Token(2), parked(40), at(10));
        assert_eq!(
            table.take(Token(1), at(29)).unwrap().user.as_deref(),
            Some("30")
        );
        assert!(table.take(Token(1), at(29)).is_none());
        assert!(table.take(Token(2), at(40)).is_none(), "its time is over");
        assert!(table.take(Token(3), at(0)).is_none());
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_what_is_over() {
        let table = Table::new(2);
        for number in 1..=3_u32 {
            table.insert(Token(number.into()), parked(30 + u64::from(number)), at(0));
        }
        assert_eq!(table.len(), 2);
        assert!(
            table.take(Token(1), at(0)).is_none(),
            "it would have ended first"
        );
        table.insert(Token(4), parked(100), at(60));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn attributes_that_panic_when_they_are_dropped_cost_nobody_a_session() {
        struct Panicking;
        impl Drop for Panicking {
            fn drop(&mut self) {
                panic!("as told");
            }
        }
        let table = Table::new(10);
        for number in 1..=3_u32 {
            let mut parked = parked(30);
            parked.attributes.insert(Panicking);
            table.insert(Token(number.into()), parked, at(0));
        }
        table.insert(Token(4), parked(100), at(60));
        assert_eq!(table.len(), 1);
        assert!(table.take(Token(4), at(60)).is_some());
    }

    #[test]
    fn tokens_are_text() {
        let token = Token::new([0xab; 16]);
        assert_eq!(Token::parse(&token.to_string()), Some(token));
        for wrong in ["", "ab", &"x".repeat(32), &"+".repeat(32), &"ab".repeat(17)] {
            assert_eq!(Token::parse(wrong), None);
        }
        assert!(!format!("{token:?}").contains("ab"));
    }
}
