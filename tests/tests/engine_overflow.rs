//! Slow readers: under every policy each publication is received, replaced or told as missed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::collections::HashMap;
use std::time::Duration;

use throng::protocol::frame::OpCode;
use throng::{Cause, Config, Overflow, Receipt};
use throng_tests::engine::{Client, Happening, Heard, Served, config, gap, serve};

/// Bytes of each message: enough of them fill what the system holds.
const SIZE: usize = 16 * 1024;
/// Messages that may wait.
const QUEUE: usize = 20;
/// More of them than the system holds for one connection of small buffers.
const FLOOD: usize = 1500;

fn policy(overflow: Overflow) -> Config {
    let config = config().overflow(overflow).send_queue_messages(QUEUE);
    config.send_queue_bytes(64 << 20)
}

/// A member of `tea` that reads nothing yet, and somebody to publish there.
fn slow_member(served: &Served) -> (Client, Client) {
    let mut slow = Client::connect_small(served.address());
    assert_eq!(slow.ask("!join tea"), "Ok(())");
    (slow, served.connect())
}

fn published(served: &Served) -> Receipt {
    loop {
        match served.next() {
            Happening::Published(receipt) => return receipt,
            Happening::Closed { close, .. } => panic!("closed for {:?}", close.cause),
            _ => {}
        }
    }
}

/// Has one publish a message of [`SIZE`].
fn publish(served: &Served, publisher: &mut Client, key: Option<&str>, number: usize) -> Receipt {
    publisher.text(&match key {
        Some(key) => format!("!keyed tea {key} {number} {SIZE}"),
        None => format!("!pad tea {number} {SIZE}"),
    });
    published(served)
}

/// Puts a member behind for good: publishes what it does not read until something waits, and the
/// system makes no more room. Returns how many messages that took.
fn fall_behind(served: &Served, publisher: &mut Client) -> usize {
    const FOR_GOOD: usize = 200;
    let mut in_a_row = 0;
    let is_stuck = |number| {
        let receipt = publish(served, publisher, Some("wait"), number);
        in_a_row = if receipt.conflated == 1 {
            in_a_row + 1
        } else {
            0
        };
        in_a_row == FOR_GOOD
    };
    (0..2 * FLOOD).position(is_stuck).expect("it falls behind") + 1
}

/// What a client heard.
#[derive(Debug, Default)]
struct Told {
    /// The numbers of messages, each with the key behind it.
    messages: Vec<(usize, String)>,
    /// How many of them had come when a gap was told, its room, and how many were missed.
    gaps: Vec<(usize, Option<String>, usize)>,
}

impl Told {
    /// Hears everything up to the answer to a last question.
    fn hear(client: &mut Client) -> Told {
        let mut told = Told::default();
        client.text("the end");
        loop {
            match client.hear() {
                Heard::Text(text) if text == "the end" => return told,
                Heard::Text(text) => told.note(&text),
                other => panic!("{other:?} after {} messages", told.messages.len()),
            }
        }
    }

    fn note(&mut self, text: &str) {
        if let Some((room, missed)) = gap(text) {
            let room = room.map(str::to_owned);
            return self.gaps.push((self.messages.len(), room, missed));
        }
        let key = text[8..].trim_end_matches('.').to_owned();
        self.messages.push((text[..8].parse().unwrap(), key));
    }

    fn numbers(&self) -> Vec<usize> {
        self.messages.iter().map(|(number, _)| *number).collect()
    }

    fn missed(&self) -> usize {
        self.gaps.iter().map(|(.., missed)| missed).sum()
    }
}

/// Floods a slow reader, of every four messages `keyed` with a key, and checks every count.
fn everything_adds_up(overflow: Overflow, keyed: usize) -> Told {
    const KEYS: [&str; 4] = ["BTC", "ETH", "XMR", "DOGE"];
    let served = serve(policy(overflow));
    let (mut slow, mut publisher) = slow_member(&served);
    let mut sum = Receipt::default();
    let mut last = HashMap::new();
    for number in 0..FLOOD {
        let key = (number % 4 < keyed).then(|| KEYS[number % 3]);
        let receipt = publish(&served, &mut publisher, key, number);
        assert_eq!(receipt.audience(), 1, "{receipt:?}");
        if receipt.dropped == 0 {
            last.insert(key, number);
        }
        sum.queued += receipt.queued;
        sum.conflated += receipt.conflated;
        sum.dropped += receipt.dropped;
        sum.displaced += receipt.displaced;
    }
    let told = Told::hear(&mut slow);
    let received = told.messages.len();
    assert_eq!(told.missed(), sum.dropped + sum.displaced);
    assert_eq!(received + sum.conflated + told.missed(), FLOOD, "{sum:?}");
    for (key, number) in last {
        let of_key = |(_, named): &&(usize, String)| named == key.unwrap_or("");
        let newest = told.messages.iter().rfind(of_key);
        let is_last = newest.is_some_and(|(newest, _)| *newest == number);
        // What takes the place of an old one is dropped as one.
        let may_lack = overflow == Overflow::DropOldest && key.is_some();
        assert!(is_last || may_lack, "{key:?}: {newest:?}, not {number}");
    }
    for key in KEYS.into_iter().chain([""]) {
        let of_key = told.messages.iter().filter(|(_, named)| named == key);
        assert!(of_key.is_sorted_by(|a, b| a < b), "{key:?} in order");
    }
    assert!(
        told.gaps
            .iter()
            .all(|(_, room, _)| room.as_deref() == Some("tea"))
    );
    slow.close(1000, "");
    let counts = served.next_close().1.counts;
    assert_eq!(counts.conflated as usize, sum.conflated);
    assert_eq!(counts.dropped as usize, told.missed());
    assert_eq!(counts.notices as usize, told.gaps.len());
    // The answers to `!join` and to the last question are two more.
    assert_eq!(counts.messages_out as usize, 2 + received + told.gaps.len());
    told
}

#[test]
fn refusing_the_newest_adds_up() {
    let told = everything_adds_up(Overflow::RefuseNewest, 0);
    assert!(told.missed() > 0);
    let told = everything_adds_up(Overflow::RefuseNewest, 2);
    assert!(told.missed() > 0);
}

#[test]
fn dropping_the_oldest_adds_up() {
    let told = everything_adds_up(Overflow::DropOldest, 0);
    assert!(told.missed() > 0);
    let told = everything_adds_up(Overflow::DropOldest, 2);
    assert!(told.missed() > 0);
}

/// Of few keys one message each waits, so that no bound is met under any policy.
#[test]
fn who_is_sent_few_keys_misses_nothing() {
    for overflow in [Overflow::Disconnect, Overflow::Conflate] {
        let told = everything_adds_up(overflow, 4);
        assert!(told.gaps.is_empty());
        assert!(told.messages.len() < FLOOD, "some were replaced");
    }
}

/// Messages with keys make room, oldest first; others are never dropped.
#[test]
fn conflate_drops_by_key_only() {
    let served = serve(policy(Overflow::Conflate));
    let (mut slow, mut publisher) = slow_member(&served);
    let begun = fall_behind(&served, &mut publisher);
    let mut displaced = 0;
    for number in 0..FLOOD {
        // Ten without a key, and keys without end.
        let key = (number >= 10).then(|| format!("key-{number}"));
        let receipt = publish(&served, &mut publisher, key.as_deref(), begun + number);
        assert_eq!(receipt.queued, 1, "{receipt:?}");
        displaced += receipt.displaced;
    }
    let told = Told::hear(&mut slow);
    assert!(displaced > FLOOD / 2);
    assert_eq!(told.missed(), displaced);
    let without: Vec<usize> = (begun..begun + 10).collect();
    let blank = told.messages.iter().filter(|(_, key)| key.is_empty());
    let blank: Vec<usize> = blank.map(|(number, _)| *number).collect();
    assert_eq!(blank, without);
    let numbers = told.numbers();
    assert_eq!(numbers[numbers.len() - 1], begun + FLOOD - 1);
    assert!(numbers[numbers.len() - 5..].is_sorted_by(|a, b| a + 1 == *b));
}

#[test]
fn conflate_gives_up_whom_nothing_with_a_key_waits_for() {
    let served = serve(policy(Overflow::Conflate));
    let (mut slow, mut publisher) = slow_member(&served);
    let evicted = |number| publish(&served, &mut publisher, None, number).evicted == 1;
    assert!((0..FLOOD).any(evicted));
    let close = served.next_close().1;
    assert_eq!(close.cause, Cause::SlowConsumer);
    assert_eq!(close.counts.dropped as usize, QUEUE);
    let heard = slow.hear_all();
    let told = Heard::Close(Some(1008), "slow consumer".into());
    assert!(heard.contains(&told));
}

/// A message with a key takes the place of the one that waits, and so may overtake others.
#[test]
fn replacing_is_done_in_place() {
    let served = serve(policy(Overflow::Disconnect));
    let (mut slow, mut publisher) = slow_member(&served);
    let begun = fall_behind(&served, &mut publisher);
    let mut publish = |key, number| publish(&served, &mut publisher, key, begun + number);
    assert_eq!(publish(Some("a"), 0).queued, 1);
    assert_eq!(publish(None, 1).queued, 1);
    assert_eq!(publish(Some("b"), 2).queued, 1);
    assert_eq!(publish(Some("a"), 3).conflated, 1);
    assert_eq!(publish(Some("a"), 4).conflated, 1);
    let numbers = Told::hear(&mut slow).numbers();
    assert_eq!(
        numbers[numbers.len() - 3..],
        [begun + 4, begun + 1, begun + 2]
    );
}

#[test]
fn keys_of_two_rooms_are_two() {
    let served = serve(policy(Overflow::Disconnect));
    let (mut slow, mut publisher) = slow_member(&served);
    let begun = fall_behind(&served, &mut publisher);
    let id = served.engine.handle().members("tea").unwrap()[0];
    let mut member = served.connect();
    assert_eq!(member.ask("!join milk"), "Ok(())");
    let engine = served.engine.handle();
    let one = engine.connection(id).key("a");
    let number = |more: usize| format!("{:08}", begun + more);
    one.send(&*number(0)).unwrap();
    one.send(&*number(1)).unwrap();
    let tea = || engine.to("tea").key("a");
    tea().text(number(2)).publish().unwrap();
    tea().high().text(number(3)).publish().unwrap();
    tea().and_to("milk").text(number(4)).publish().unwrap();
    engine.to_all().key("b").text(number(5)).publish().unwrap();
    assert_eq!(publisher.hear(), Heard::Text(number(5)), "all is handled");
    let numbers = Told::hear(&mut slow).numbers();
    // Before what waited on the normal lane; the one of no single room was replaced twice.
    let place = numbers.iter().position(|number| *number == begun + 3);
    assert!(place.is_some_and(|place| place < numbers.len() - 3));
    let last = [begun + 4, begun + 2, begun + 5];
    assert_eq!(numbers[numbers.len() - 3..], last);
}

/// What is told takes the place of what was lost.
#[test]
fn a_gap_is_told_where_it_is() {
    for overflow in [Overflow::RefuseNewest, Overflow::DropOldest] {
        let served = serve(policy(overflow));
        let (mut slow, mut publisher) = slow_member(&served);
        for number in 0..FLOOD {
            publish(&served, &mut publisher, None, number);
        }
        let told = Told::hear(&mut slow);
        let numbers = told.numbers();
        assert!(!told.gaps.is_empty());
        for (place, _, missed) in told.gaps {
            let next = numbers.get(place).copied().unwrap_or(FLOOD);
            assert_eq!(
                next - numbers[place - 1] - 1,
                missed,
                "{overflow} at {place}"
            );
        }
    }
}

/// Whoever asks is answered before everything that waits for it.
#[test]
fn a_pong_goes_before_the_backlog() {
    // Far more waits than the system takes.
    const BACKLOG: usize = 2000;
    let config = policy(Overflow::DropOldest).send_queue_messages(BACKLOG);
    let served = serve(config);
    let (mut slow, mut publisher) = slow_member(&served);
    for number in 0..2 * BACKLOG {
        publish(&served, &mut publisher, None, number);
    }
    slow.frame(true, OpCode::Ping, b"now");
    // Who is behind is heard about once a second.
    std::thread::sleep(Duration::from_millis(1500));
    let mut place = None;
    let mut told = Told::default();
    slow.text("the end");
    loop {
        match slow.hear() {
            Heard::Pong(payload) if payload == b"now" => place = Some(told.messages.len()),
            Heard::Text(text) if text == "the end" => break,
            Heard::Text(text) => told.note(&text),
            other => panic!("{other:?}"),
        }
    }
    let behind = told.messages.len() - place.expect("it is answered");
    assert!(behind > BACKLOG / 2, "{behind} of {BACKLOG} came later");
}
