//! Peers that do not read: what each overflow policy does, and that nothing is lost unsaid.

use std::time::Duration;

use throng::protocol::frame::OpCode;
use throng::{Cause, Config, Counts, Overflow, Receipt};
use throng_tests::engine::{Client, Happening, Heard, Served, config, frame, serve};

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

/// The numbers of the flood's messages that arrive, up to the answer to a last question.
fn numbers(slow: &mut Client) -> Vec<usize> {
    slow.text("the end");
    let mut numbers = Vec::new();
    loop {
        match slow.hear() {
            Heard::Text(text) if text == "the end" => return numbers,
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
    let dropped: usize = receipts.iter().map(|r| r.dropped).sum();
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
    let (mut slow, _publisher, _) = flooded(&served);
    assert_eq!(served.next_cause(), Cause::SlowConsumer);
    let heard = slow.hear_all();
    assert!(heard.len() < FLOOD, "{}", heard.len());
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

/// A peer that writes without reading its echoes is asked for no more, rather than buffered
/// without bound or cut; when it reads, nothing is missing.
#[test]
fn who_does_not_read_its_answers_is_not_listened_to() {
    let served = serve(config().max_message_size(SIZE));
    let mut client = Client::connect_small(served.address());
    let message = frame(true, OpCode::Binary, &[7; SIZE]);
    let mut written = 0;
    let mut stalled_for = 0;
    // Stalled for good when the system on both sides is full.
    while stalled_for < 100 {
        match client.write_some(&message[written % message.len()..]) {
            0 => {
                stalled_for += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            count => {
                stalled_for = 0;
                written += count;
            }
        }
        assert!(written < 256 << 20, "it is read without limit");
    }
    assert!(
        served
            .rest()
            .iter()
            .all(|h| !matches!(h, Happening::Closed { .. })),
        "it is not cut"
    );
    let whole = written / message.len();
    for _ in 0..whole {
        assert!(client.hear() == Heard::Binary(vec![7; SIZE]));
    }
    let rest = message.len() - written % message.len();
    if rest < message.len() {
        client.write(&message[message.len() - rest..]);
        assert!(client.hear() == Heard::Binary(vec![7; SIZE]));
    }
    assert_eq!(client.ask("and now?"), "and now?");
}
