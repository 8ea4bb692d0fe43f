//! Sessions whose connections have ended.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use throng_transport::memory::Charge;

use crate::attributes::Attributes;
use crate::limits::GIVEN_UP_PER_PARKED;
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
    /// What it is charged as.
    pub(super) memory: usize,
}

impl Parked {
    /// Bytes that it takes, without what attributes point to.
    pub(super) fn memory(&self) -> usize {
        let rooms = self
            .rooms
            .iter()
            .map(|room| room.len() + size_of::<String>());
        let user = self.user.as_ref().map_or(0, String::len);
        let entry = size_of::<(Token, Parked)>() + size_of::<(Duration, Token)>();
        entry + user + rooms.sum::<usize>() + self.attributes.memory()
    }
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
    /// What they take together.
    bytes: usize,
    charge: Charge,
}

impl Kept {
    fn insert(&mut self, token: Token, parked: Parked) -> Option<Parked> {
        let before = self.remove(token);
        self.bytes += parked.memory;
        self.charge.set(self.bytes);
        self.ends.insert((parked.until, token));
        self.sessions.insert(token, parked);
        before
    }

    fn remove(&mut self, token: Token) -> Option<Parked> {
        let parked = self.sessions.remove(&token)?;
        self.ends.remove(&(parked.until, token));
        self.bytes -= parked.memory;
        self.charge.set(self.bytes);
        Some(parked)
    }

    /// How many of those that end first must go before one that needs so much can be kept; `None` where more than
    /// `limit` would have to, or all were not enough.
    fn in_the_way_of(
        &self,
        needed: usize,
        most: usize,
        capacity: usize,
        limit: usize,
    ) -> Option<usize> {
        let (mut count, mut bytes) = (self.sessions.len(), self.bytes.saturating_add(needed));
        let mut first = self.ends.iter();
        let mut gone = 0;
        while count >= capacity || bytes > most {
            let (_, token) = first.next().filter(|_| gone < limit)?;
            bytes -= self.sessions.get(token)?.memory;
            count -= 1;
            gone += 1;
        }
        Some(gone)
    }

    /// The one that ends first, if it does by `now`.
    fn remove_first(&mut self, now: Duration) -> Option<Parked> {
        let &(until, token) = self.ends.first()?;
        (until <= now).then(|| self.remove(token)).flatten()
    }
}

/// Attributes are the service's, and so is what their `Drop` does: not under the lock, and each by itself.
fn drop_each(over: Vec<Parked>) {
    over.into_iter().map(Foreign::new).for_each(drop);
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

    /// Keeps a session, where all then take `most` bytes at most. Some of those that are over go, and where there is no
    /// room those that end first, or the new one itself: how many is bounded, since many end in one turn.
    pub(super) fn insert(&self, token: Token, parked: Parked, now: Duration, most: usize) {
        let mut over = Vec::new();
        {
            let mut kept = self.kept();
            let first = std::iter::from_fn(|| kept.remove_first(now));
            over.extend(first.take(GIVEN_UP_PER_PARKED));
            let more = GIVEN_UP_PER_PARKED - over.len();
            match kept.in_the_way_of(parked.memory, most, self.capacity, more) {
                Some(in_the_way) => {
                    let first = std::iter::from_fn(|| kept.remove_first(Duration::MAX));
                    over.extend(first.take(in_the_way));
                    over.extend(kept.insert(token, parked));
                }
                None => over.push(parked),
            }
        }
        drop_each(over);
    }

    /// Gives up some of the sessions that are over.
    pub(super) fn give_up(&self, now: Duration) {
        let over: Vec<Parked> = {
            let mut kept = self.kept();
            let first = std::iter::from_fn(|| kept.remove_first(now));
            first.take(GIVEN_UP_PER_PARKED).collect()
        };
        drop_each(over);
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
            memory: 100,
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_session_is_taken_once_and_in_time() {
        let table = Table::new(10);
        table.insert(Token(1), parked(30), at(0), usize::MAX);
        table.insert(Token(2), parked(40), at(10), usize::MAX);
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
            table.insert(
                Token(number.into()),
                parked(30 + u64::from(number)),
                at(0),
                usize::MAX,
            );
        }
        assert_eq!(table.len(), 2);
        assert!(
            table.take(Token(1), at(0)).is_none(),
            "it would have ended first"
        );
        table.insert(Token(4), parked(100), at(60), usize::MAX);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn what_they_take_is_bounded() {
        let table = Table::new(100);
        for number in 1..=5_u32 {
            table.insert(
                Token(number.into()),
                parked(30 + u64::from(number)),
                at(0),
                350,
            );
        }
        assert_eq!((table.len(), table.kept().bytes), (3, 300));
        let mut large = parked(90);
        large.memory = 351;
        table.insert(Token(6), large, at(0), 350);
        assert!(
            table.take(Token(6), at(0)).is_none(),
            "larger than all may be"
        );
        assert_eq!(
            (table.len(), table.kept().bytes),
            (3, 300),
            "and nobody else has lost anything for it"
        );
    }

    #[test]
    fn those_that_are_over_go_though_none_follows() {
        let table = Table::new(100);
        for number in 0..20_u32 {
            table.insert(Token(number.into()), parked(30), at(0), usize::MAX);
        }
        table.give_up(at(29));
        assert_eq!(table.len(), 20);
        table.give_up(at(30));
        assert_eq!(table.len(), 20 - GIVEN_UP_PER_PARKED);
        table.give_up(at(30));
        assert_eq!((table.len(), table.kept().bytes), (0, 0));
    }

    #[test]
    fn many_that_end_at_once_go_one_after_another() {
        let table = Table::new(1000);
        for number in 0..100_u32 {
            table.insert(Token(number.into()), parked(30), at(0), usize::MAX);
        }
        table.insert(Token(1000), parked(90), at(60), usize::MAX);
        assert_eq!(table.len(), 101 - GIVEN_UP_PER_PARKED);
        assert!(
            table.take(Token(99), at(60)).is_none(),
            "over, though it is there"
        );
        for number in 1001..1010_u32 {
            table.insert(Token(number.into()), parked(90), at(60), usize::MAX);
        }
        assert_eq!(table.len(), 10);
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
            table.insert(Token(number.into()), parked, at(0), usize::MAX);
        }
        table.insert(Token(4), parked(100), at(60), usize::MAX);
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
