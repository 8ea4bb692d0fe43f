//! Peers that do not read: what each overflow policy does, and that nothing is lost unsaid.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::time::Duration;

use throng::{Cause, Config, Counts, Overflow, Receipt};
use throng_tests::engine::{Client, Happening, Heard, Served, config, gap, serve};

/// Bytes of each message of a flood: enough of them fill what the system holds.
const SIZE: usize = 16 * 1024;
/// Messages that may wait.
const QUEUE: usize = 20;
/// More bytes than the system holds for one connection of small buffers.
const FLOOD: usize = 1500;

fn policy(overflow: Overflow) -> Config {
    let config = config().overflow(overflow).send_queue_messages(QUEUE);
    config.send_queue_bytes(64 << 20)
}

/// A client that reads nothing yet, the one that has a flood published to it, and the receipts.
fn flooded(served: &Served) -> (Client, Client, Vec<Receipt>) {
    let mut slow = Client::connect_small(served.address());
    assert_eq!(slow.ask("!join tea"), "Ok(())");
    let mut publisher = served.connect();
    let mut receipts = Vec::new();
    for number in 0..FLOOD {
        publisher.text(&format!("!pad tea {number} {SIZE}"));
        receipts.push(published(served));
        if receipts.last().is_some_and(|r| r.evicted > 0) {
            break;
        }
    }
    (slow, publisher, receipts)
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

/// The numbers of the flood's messages that arrive, up to the answer to a last question; what is told
/// of gaps aside.
fn numbers(slow: &mut Client) -> Vec<usize> {
    slow.text("the end");
    let mut numbers = Vec::new();
    loop {
        match slow.hear() {
            Heard::Text(text) if text == "the end" => return numbers,
            Heard::Text(text) if gap(&text).is_some() => {}
            Heard::Text(text) => numbers.push(text[..8].parse().unwrap()),
            other => panic!("{other:?} after {} messages", numbers.len()),
        }
    }
}

fn counts(served: &Served) -> Counts {
    served.next_close().1.counts
}

#[test]
fn disconnect_gives_a_slow_consumer_up() {
    let served = serve(policy(Overflow::Disconnect));
    let (mut slow, _publisher, receipts) = flooded(&served);
    let (last, before) = receipts.split_last().unwrap();
    assert_eq!((last.evicted, last.queued), (1, 0), "{last:?}");
    assert!(before.iter().all(|r| r.queued == 1 && r.dropped == 0));
    let close = served.next_close().1;
    assert_eq!(close.cause, Cause::SlowConsumer);
    assert_eq!(
        close.counts.dropped as usize, QUEUE,
        "what waited, less what was in flight, and the one too many"
    );
    let mut heard = 0;
    loop {
        match slow.hear() {
            Heard::Text(text) if text.starts_with("Ok") => {}
            Heard::Text(text) => {
                assert_eq!(text[..8].parse(), Ok(heard), "in order and without a hole");
                heard += 1;
            }
            other => {
                assert_eq!(other, Heard::Close(Some(1008), "slow consumer".into()));
                break;
            }
        }
    }
    assert_eq!(
        heard + close.counts.dropped as usize,
        receipts.len(),
        "nothing is lost uncounted"
    );
}

#[test]
fn refuse_newest_loses_what_comes_too_late() {
    let served = serve(policy(Overflow::RefuseNewest));
    let (mut slow, _publisher, receipts) = flooded(&served);
    let refused = receipts
        .iter()
        .filter(|r| r.dropped == 1 && r.queued == 0)
        .count();
    let queued: Vec<usize> = receipts
        .iter()
        .enumerate()
        .filter(|(_, r)| r.queued == 1)
        .map(|(n, _)| n)
        .collect();
    assert_eq!(refused + queued.len(), FLOOD);
    assert!(refused > 0 && queued.len() > QUEUE);
    assert_eq!(numbers(&mut slow), queued, "exactly what the receipts say");
    drop(slow);
    assert_eq!(counts(&served).dropped as usize, refused);
}

#[test]
fn drop_oldest_keeps_the_newest() {
    let served = serve(policy(Overflow::DropOldest));
    let (mut slow, _publisher, receipts) = flooded(&served);
    let dropped: usize = receipts.iter().map(|r| r.displaced).sum();
    assert!(
        receipts.iter().all(|r| r.queued == 1),
        "every message is taken"
    );
    let numbers = numbers(&mut slow);
    assert_eq!(numbers.len() + dropped, FLOOD);
    assert!(dropped > 0);
    assert!(numbers.is_sorted_by(|a, b| a < b));
    let newest: Vec<usize> = (FLOOD - 10..FLOOD).collect();
    assert_eq!(numbers[numbers.len() - 10..], newest, "the newest arrive");
    drop(slow);
    assert_eq!(counts(&served).dropped as usize, dropped);
}

#[test]
fn bytes_are_bounded_as_messages_are() {
    let config = policy(Overflow::RefuseNewest).send_queue_messages(100_000);
    let served = serve(
        config
            .max_message_size(64 * 1024)
            .send_queue_bytes(10 * (SIZE + 100)),
    );
    let (mut slow, _publisher, receipts) = flooded(&served);
    let refused = receipts.iter().filter(|r| r.dropped == 1).count();
    assert!(refused > 0);
    assert_eq!(numbers(&mut slow).len() + refused, FLOOD);
}

/// A message that fits beside what is in flight under no circumstances displaces nothing.
#[test]
fn what_cannot_fit_displaces_nothing() {
    const MIB: usize = 1 << 20;
    let served = serve(
        config()
            .overflow(Overflow::DropOldest)
            .send_queue_bytes(64 * MIB),
    );
    let mut slow = Client::connect_small(served.address());
    assert_eq!(slow.ask("!join tea"), "Ok(())");
    let mut publisher = served.connect();
    let mut publish = |number: usize, size: usize| {
        publisher.text(&format!("!pad tea {number} {size}"));
        published(&served)
    };
    // More than the system takes: it stays in flight.
    assert_eq!(publish(0, 40 * MIB).queued, 1);
    for number in 1..=3 {
        assert_eq!(publish(number, MIB).queued, 1);
    }
    let receipt = publish(4, 30 * MIB);
    assert_eq!((receipt.queued, receipt.dropped), (0, 1), "{receipt:?}");
    let receipt = publish(5, 23 * MIB);
    assert_eq!((receipt.queued, receipt.displaced), (1, 3), "{receipt:?}");
    assert_eq!(numbers(&mut slow), [0, 5]);
    drop(slow);
    assert_eq!(counts(&served).dropped, 4);
}

#[test]
fn others_are_served_meanwhile() {
    let served = serve(policy(Overflow::DropOldest));
    let mut bystander = served.connect();
    let (_slow, _publisher, _) = flooded(&served);
    assert_eq!(bystander.ask("hello"), "hello");
}

#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    let served = serve(policy(Overflow::DropOldest).write_timeout(Duration::from_millis(300)));
    let (mut slow, _publisher, receipts) = flooded(&served);
    let close = served.next_close().1;
    assert_eq!(close.cause, Cause::SlowConsumer);
    let dropped: usize = receipts.iter().map(|r| r.displaced).sum();
    let waited = close.counts.dropped as usize - dropped;
    // The system may have made room for some more meanwhile.
    assert!((1..=QUEUE).contains(&waited), "{waited} waited");
    // The answer to `!join` is one more.
    let accounted = close.counts.messages_out + close.counts.dropped - close.counts.notices;
    assert_eq!(accounted as usize, 1 + FLOOD, "nothing is lost uncounted");
    assert!(slow.hear_all().len() < FLOOD);
}

/// Slow is not stuck: who takes something is not given up, however long a message takes.
#[test]
fn who_takes_a_large_message_slowly_gets_it() {
    // Far more than the system holds.
    const SIZE: usize = 64 << 20;
    const STEPS: usize = 64;
    let timeout = Duration::from_secs(1);
    let served = serve(config().write_timeout(timeout));
    let mut slow = Client::connect_small(served.address());
    slow.text(&format!("!flood 1 {SIZE}"));
    let mut bytes = Vec::new();
    for step in 1..=STEPS {
        std::thread::sleep(timeout * 3 / STEPS as u32);
        while bytes.len() < SIZE / STEPS * step {
            slow.read_some(&mut bytes, 64 * 1024);
        }
    }
    slow.text("the end");
    while !bytes.ends_with(b"the end") {
        slow.read_some(&mut bytes, 64 * 1024);
    }
    let header = 10;
    assert_eq!(bytes.len(), header + SIZE + 2 + b"the end".len());
}

/// Who vanishes while messages wait for it has not got them.
#[test]
fn what_waits_for_who_vanishes_is_counted() {
    let served = serve(policy(Overflow::RefuseNewest));
    let (slow, _publisher, receipts) = flooded(&served);
    slow.reset();
    let counts = counts(&served);
    let accounted = counts.messages_out + counts.dropped - counts.notices;
    assert_eq!(accounted, 1 + FLOOD as u64);
    let refused = receipts.iter().filter(|r| r.dropped == 1).count();
    assert!(counts.dropped as usize > refused);
}

/// Whoever is fed faster than it reads stays, and is heard all the same.
#[test]
fn who_is_behind_for_ever_is_heard() {
    for overflow in [Overflow::DropOldest, Overflow::RefuseNewest] {
        // More waits than the system takes at once, so that it never catches up.
        let served = serve(policy(overflow).send_queue_messages(20 * QUEUE));
        let (mut slow, mut publisher, _) = flooded(&served);
        slow.text("!leave tea");
        let mut bytes = Vec::new();
        let has_left = (0..1_000_000).any(|number| {
            publisher.text(&format!("!pad tea {number} {SIZE}"));
            bytes.clear();
            slow.read_some(&mut bytes, SIZE / 4);
            published(&served) == Receipt::default()
        });
        assert!(has_left, "{overflow}");
    }
}

#[test]
fn high_goes_before_normal() {
    let served = serve(policy(Overflow::DropOldest));
    let (mut slow, mut publisher, _) = flooded(&served);
    publisher.text("!high tea 99999999 first");
    assert_eq!(published(&served).queued, 1);
    let numbers = numbers(&mut slow);
    let place = numbers
        .iter()
        .position(|number| *number == 99_999_999)
        .expect("it arrives");
    // Before what waited on the normal lane, behind what was with the system.
    assert!(
        (QUEUE / 2..QUEUE).contains(&(numbers.len() - place - 1)),
        "{place} of {}",
        numbers.len()
    );
}
