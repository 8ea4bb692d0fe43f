//! Many publishers and readers of different speeds on two shards: everything published is accounted
//! for, by receipts and by every reader.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use throng::{Config, Overflow, Receipt};
use throng_tests::engine::{Client, Happening, Heard, PATIENCE, Served, config, gap, serve};

const READERS: usize = 10;
const PUBLISHERS: usize = 6;
/// Messages of each publisher.
const EACH: usize = 400;
const SIZE: usize = 8 * 1024;

fn settings(overflow: Overflow) -> Config {
    let config = config()
        .shards(2)
        .overflow(overflow)
        .send_queue_messages(16);
    config.write_timeout(Duration::from_secs(3600))
}

/// What one reader has got.
#[derive(Debug, Default)]
struct Book {
    received: usize,
    missed: usize,
    conflated: usize,
}

impl Book {
    fn total(&self) -> usize {
        self.received + self.missed + self.conflated
    }

    /// Asks how much was conflated, hearing everything up to the answer. An answer that is lost is
    /// told as missed in no room.
    fn settle(&mut self, reader: &mut Client) {
        reader.text("!counts");
        let answer = loop {
            let Heard::Text(text) = reader.hear() else {
                panic!("{self:?}");
            };
            match gap(&text) {
                Some((None, 1)) => reader.text("!counts"),
                Some((room, missed)) => {
                    assert_eq!(room, Some("tea"));
                    self.missed += missed;
                }
                None if text.len() == SIZE => self.received += 1,
                None => break text,
            }
        };
        let conflated = answer.split(' ').nth(2).map(str::parse);
        self.conflated = conflated.expect(&answer).expect(&answer);
    }
}

/// Reads slowly, each reader at its own speed, until all is published, and then all of it.
fn read(reader: &mut Client, number: usize, is_over: &AtomicBool) -> Book {
    let mut book = Book::default();
    while !is_over.load(Relaxed) {
        reader.sip(4096);
        thread::sleep(Duration::from_millis(1 + number as u64));
    }
    let begun = Instant::now();
    while book.total() < PUBLISHERS * EACH {
        assert!(begun.elapsed() < PATIENCE, "some are lost: {book:?}");
        book.settle(reader);
    }
    book
}

/// Publishes, every other message with a key at least.
fn publish(mut publisher: Client, number: usize, all_keyed: bool) {
    for message in 0..EACH {
        let is_keyed = all_keyed || message % 2 == 0;
        publisher.text(&if is_keyed {
            let key = message % 5;
            format!("!keyed tea {number}-{key} {message} {SIZE}")
        } else {
            format!("!pad tea {message} {SIZE}")
        });
    }
    assert_eq!(publisher.ask("done?"), "done?");
}

fn receipts(served: &Served) -> Vec<Receipt> {
    let receipts = served.rest().into_iter().filter_map(|what| match what {
        Happening::Published(receipt) => Some(receipt),
        _ => None,
    });
    receipts.collect()
}

fn adds_up(overflow: Overflow) {
    let served = serve(settings(overflow));
    let mut readers: Vec<Client> = (0..READERS)
        .map(|_| {
            let mut reader = Client::connect_small(served.address());
            assert_eq!(reader.ask("!join tea"), "Ok(())");
            reader
        })
        .collect();
    let publishers: Vec<Client> = (0..PUBLISHERS).map(|_| served.connect()).collect();
    let is_over = AtomicBool::new(false);
    let books: Vec<Book> = thread::scope(|threads| {
        let reading = readers.iter_mut().enumerate().map(|(number, reader)| {
            let is_over = &is_over;
            threads.spawn(move || read(reader, number, is_over))
        });
        let reading: Vec<_> = reading.collect();
        let publishing = publishers
            .into_iter()
            .enumerate()
            .map(|(number, publisher)| {
                let all_keyed = overflow == Overflow::Conflate;
                threads.spawn(move || publish(publisher, number, all_keyed))
            });
        let publishing: Vec<_> = publishing.collect();
        publishing.into_iter().for_each(|it| it.join().unwrap());
        is_over.store(true, Relaxed);
        reading.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let receipts = receipts(&served);
    assert_eq!(receipts.len(), PUBLISHERS * EACH);
    assert!(receipts.iter().all(|r| r.refused == 0 && r.evicted == 0));
    // A receipt is of the publisher's shard; each shard has the same members all the time.
    let audiences: BTreeSet<usize> = receipts.iter().map(Receipt::audience).collect();
    let is_of_both = audiences.iter().sum::<usize>() == READERS;
    assert!(
        audiences.len() == 1 || audiences.len() == 2 && is_of_both,
        "{audiences:?}"
    );
    for book in &books {
        assert_eq!(book.total(), PUBLISHERS * EACH, "{book:?}");
    }
    let of_books = |count: fn(&Book) -> usize| books.iter().map(count).sum::<usize>();
    let of_receipts = |count: fn(&Receipt) -> usize| receipts.iter().map(count).sum::<usize>();
    assert!(of_books(|it| it.conflated) >= of_receipts(|it| it.conflated));
    assert!(of_books(|it| it.missed) >= of_receipts(|it| it.dropped + it.displaced));
    let unsent = of_books(|it| it.conflated + it.missed);
    assert!(unsent > 0, "somebody was behind");
}

#[test]
fn all_is_accounted_for_where_the_oldest_are_dropped() {
    adds_up(Overflow::DropOldest);
}

#[test]
fn all_is_accounted_for_where_the_newest_are_refused() {
    adds_up(Overflow::RefuseNewest);
}

#[test]
fn all_is_accounted_for_where_keys_make_room() {
    adds_up(Overflow::Conflate);
}
