//! Histories of sequenced rooms over real sockets: all that was missed, once and in order, or nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use throng::{Compression, CreateRoomError, Engine, History, Overflow, RoomOptions};
use throng_tests::engine::hall::{Guest, Hall};
use throng_tests::engine::{Client, Heard, config, until};

const ROOM: &str = "trades";

fn with_history(history: History) -> RoomOptions {
    RoomOptions::new().sequenced().history(history)
}

/// A hall with the room, and a guest on each shard.
fn hall(shards: usize, history: History) -> (Hall, Vec<Guest>) {
    let hall = Hall::open(config().shards(shards));
    hall.engine
        .create_room(ROOM, with_history(history))
        .unwrap();
    let guests = hall.enter_each(shards);
    (hall, guests)
}

/// Publishes messages that carry their offsets, and returns when the home has numbered them.
fn publish(engine: &Engine, count: u64) {
    for _ in 0..count {
        let numbered = |at: throng::Position| at.offset.to_string();
        let receipt = engine.to(ROOM).numbered(numbered).publish_with_receipt();
        assert_eq!(receipt.wait().unwrap().refused, 0);
    }
}

fn numbers(texts: &[String]) -> Vec<u64> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// What came of joining from a place: whether it recovered, the room's epoch and last offset, and how
/// many messages were queued; what was queued.
fn join(guest: &mut Guest, how: &str) -> ((bool, u64, u64, u64), Vec<u64>) {
    assert!(guest.heard.is_empty());
    let answer = guest.ask(how);
    let words: Vec<&str> = answer.split(' ').collect();
    let number = |at: usize| words[at].parse().expect(&answer);
    let told = (words[0] == "true", number(1), number(2), number(3));
    (told, numbers(&std::mem::take(&mut guest.heard)))
}

fn join_from(guest: &mut Guest, epoch: u64, offset: u64) -> ((bool, u64, u64, u64), Vec<u64>) {
    join(guest, &format!("from {ROOM} {epoch} {offset}"))
}

#[test]
fn who_returns_is_sent_what_was_missed_and_then_what_is_new() {
    for shards in [1, 3] {
        let (hall, mut guests) = hall(shards, History::messages(5));
        assert!(hall.engine.room(ROOM).unwrap().has_history);
        publish(&hall.engine, 8);
        let (_, epoch, ..) = join(&mut guests[0], &format!("last {ROOM} 0")).0;
        guests[0].ask(&format!("leave {ROOM}"));
        let mut last = 8;
        for guest in &mut guests {
            let told = join_from(guest, epoch, last - 3);
            let missed: Vec<u64> = (last - 2..=last).collect();
            assert_eq!(told, ((true, epoch, last, 3), missed));
            publish(&hall.engine, 2);
            assert_eq!(numbers(&[guest.hear(), guest.hear()]), [last + 1, last + 2]);
            assert_eq!(guest.ask(&format!("leave {ROOM}")), "true");
            last += 2;
            let told = join_from(guest, epoch, last);
            assert_eq!(told, ((true, epoch, last, 0), vec![]), "nothing was missed");
            assert_eq!(guest.ask(&format!("leave {ROOM}")), "true");
        }
    }
}

#[test]
fn what_is_not_all_there_is_not_sent() {
    let (hall, mut guests) = hall(2, History::messages(3));
    publish(&hall.engine, 5);
    for guest in &mut guests {
        let ((_, epoch, ..), _) = join(guest, &format!("last {ROOM} 0"));
        guest.ask(&format!("leave {ROOM}"));
        for (epoch, offset) in [(epoch, 1), (epoch, 6), (epoch, u64::MAX), (epoch ^ 1, 5)] {
            let ((recovered, _, last, messages), heard) = join_from(guest, epoch, offset);
            assert_eq!((recovered, last, messages), (false, 5, 0));
            assert!(heard.is_empty());
            let leave = guest.ask(&format!("leave {ROOM}"));
            assert_eq!(leave, "true", "it is a member all the same");
        }
        assert_eq!(join_from(guest, epoch, 2).1, [3, 4, 5]);
    }
    publish(&hall.engine, 1);
    for guest in &mut guests {
        assert_eq!(guest.hear(), "6", "and it hears what is new");
    }
}

#[test]
fn rooms_without_history_have_nothing_to_recover() {
    let hall = Hall::open(config());
    let mut ann = hall.enter();
    assert_eq!(ann.ask("from tea 1 1"), "false 0 0 0");
    assert_eq!(ann.ask("rooms"), "tea");
    let sequenced = RoomOptions::new().sequenced();
    hall.engine.create_room(ROOM, sequenced).unwrap();
    publish(&hall.engine, 2);
    let ((recovered, epoch, last, messages), _) = join_from(&mut ann, 0, 0);
    assert_eq!((recovered, last, messages), (false, 2, 0));
    assert_eq!(ann.ask(&format!("leave {ROOM}")), "true");
    assert!(!join_from(&mut ann, epoch, 2).0.0, "it cannot know");
    ann.ask(&format!("leave {ROOM}"));
    assert!(!join(&mut ann, &format!("last {ROOM} 9")).0.0);
}

#[test]
fn a_history_needs_a_sequenced_room_and_bounds() {
    let hall = Hall::open(config());
    let create = |options| hall.engine.create_room(ROOM, options).unwrap_err();
    let unnumbered = create(RoomOptions::new().history(History::messages(1)));
    let told = "history needs sequenced: a history is of messages that are numbered";
    assert_eq!(unnumbered.to_string(), told);
    let hour = Duration::from_secs(3600);
    for (history, told) in [
        (
            History::messages(0),
            "history.messages must be from 1 to 65,536",
        ),
        (
            History::messages(1).max_bytes(1),
            "history.max_bytes must be from 1 KiB to 256 MiB",
        ),
        (
            History::messages(1).max_age(hour * 24 * 8),
            "history.max_age must be from 10 ms to 7 days",
        ),
    ] {
        let error = create(with_history(history));
        assert!(matches!(error, CreateRoomError::Invalid { .. }));
        assert_eq!(error.to_string(), told);
    }
    assert_eq!(hall.engine.room_count(), 0);
}

/// Those who may not join, and those who are there already, are told so and sent nothing.
#[test]
fn joining_with_history_is_joining() {
    let (hall, _) = hall(1, History::messages(3));
    let limited = with_history(History::messages(3)).max_members(1);
    hall.engine.create_room("small", limited).unwrap();
    publish(&hall.engine, 3);
    let (mut ann, mut bob) = (hall.enter(), hall.enter());
    ann.join("small");
    assert_eq!(bob.ask("from small 0 0"), "RoomFull { max: 1 }");
    assert_eq!(bob.ask("rooms"), "");
    bob.join(ROOM);
    assert_eq!(bob.ask(&format!("from {ROOM} 0 0")), "AlreadyMember");
    assert_eq!(bob.ask(&format!("last {ROOM} 3")), "AlreadyMember");
    publish(&hall.engine, 1);
    assert_eq!(bob.all_heard(), ["4"], "it is a member as it was");
    assert_eq!(hall.engine.room_len(ROOM), 1);
}

#[test]
fn who_joins_sees_the_last_messages() {
    let (hall, mut guests) = hall(2, History::messages(4));
    for guest in &mut guests {
        assert!(join(guest, &format!("last {ROOM} 3")).1.is_empty());
        guest.ask(&format!("leave {ROOM}"));
    }
    publish(&hall.engine, 6);
    for guest in &mut guests {
        for (count, expected) in [(3, vec![4, 5, 6]), (9, vec![3, 4, 5, 6]), (0, vec![])] {
            let (told, heard) = join(guest, &format!("last {ROOM} {count}"));
            assert_eq!((told.0, told.2, told.3), (true, 6, expected.len() as u64));
            assert_eq!(heard, expected);
            guest.ask(&format!("leave {ROOM}"));
        }
    }
}

#[test]
fn what_is_too_old_is_forgotten() {
    let age = Duration::from_millis(10);
    let (hall, mut guests) = hall(2, History::messages(9).max_age(age));
    publish(&hall.engine, 3);
    let ((_, epoch, ..), _) = join(&mut guests[0], &format!("last {ROOM} 0"));
    for guest in &mut guests {
        until("it is forgotten", || {
            guest.ask(&format!("leave {ROOM}"));
            guest.heard.clear();
            !join_from(guest, epoch, 0).0.0
        });
    }
    let mut late = hall.enter();
    assert!(join_from(&mut late, epoch, 3).0.0, "nothing was missed");
}

/// Who was excepted is not sent it later; who was not, is.
#[test]
fn a_history_excepts_whom_the_message_excepted() {
    let (_hall, mut guests) = hall(2, History::messages(9));
    let ((_, epoch, ..), _) = join(&mut guests[0], &format!("last {ROOM} 0"));
    guests[0].ask(&format!("others {ROOM} 77"));
    guests[0].ask(&format!("say {ROOM} 78"));
    until("it was heard", || {
        guests[0].ask("rooms");
        guests[0].heard == ["78"]
    });
    guests[0].heard.clear();
    guests[0].ask(&format!("leave {ROOM}"));
    let expected = [(1, vec![78]), (2, vec![77, 78])];
    for (guest, (messages, heard)) in guests.iter_mut().zip(expected) {
        let told = join_from(guest, epoch, 0);
        assert_eq!(told, ((true, epoch, 2, messages), heard));
    }
}

/// A client that compresses is sent what was kept as what is new, whichever way it compresses.
#[test]
fn what_was_kept_is_compressed_for_who_is_sent_it() {
    let compression = Compression::default().threshold(1);
    for takeover in [false, true] {
        let compression = compression.clone().server_context_takeover(takeover);
        let hall = Hall::open(config().compression(compression));
        let options = with_history(History::messages(9));
        hall.engine.create_room(ROOM, options).unwrap();
        publish(&hall.engine, 2);
        hall.engine
            .to(ROOM)
            .text("0".repeat(5000))
            .publish()
            .unwrap();
        let address = hall.engine.local_addr().unwrap();
        let offer = "permessage-deflate; client_no_context_takeover";
        let mut ann = Guest::over(Client::connect_compressed(address, offer));
        let told = join(&mut ann, &format!("last {ROOM} 3"));
        assert_eq!((told.0.3, told.1), (3, vec![1, 2, 0]));
        hall.engine.to(ROOM).text("4").publish().unwrap();
        assert_eq!(ann.hear(), "4");
    }
}

/// Of a connection that is behind, what was missed must not overflow the queue.
#[test]
fn who_is_behind_recovers_what_its_queue_takes() {
    let settings = config().overflow(Overflow::RefuseNewest);
    let hall = Hall::open(settings);
    let options = with_history(History::messages(300));
    hall.engine.create_room(ROOM, options).unwrap();
    publish(&hall.engine, 300);
    let address = hall.engine.local_addr().unwrap();
    let mut slow = Guest::over(Client::connect_small(address));
    slow.client.text("flood 200 65536");
    slow.client.until_readable();
    slow.client.text(&format!("last {ROOM} 300"));
    let recovery = hall.recoveries.recv().unwrap();
    assert_eq!((recovery.recovered, recovery.messages), (false, 0));
    assert_eq!(hall.engine.room_len(ROOM), 1, "it is a member");
    let mut floods = 0;
    while floods < 200 {
        match slow.client.hear() {
            Heard::Binary(_) => floods += 1,
            other => assert_eq!(other, Heard::Text("= ".into())),
        }
    }
}

/// Members leave and return from where they were, on all shards, while everybody publishes: each sees every
/// offset once.
#[test]
fn nothing_is_missed_or_comes_twice_whenever_somebody_returns() {
    const ROUNDS: usize = 150;
    const KEPT: u16 = 60_000;
    for shards in [1, 3] {
        let kept = History::messages(usize::from(KEPT)).max_bytes(64 << 20);
        let (hall, mut guests) = hall(shards, kept);
        guests.extend(hall.enter_each(shards));
        let ((_, epoch, ..), _) = join(&mut guests[0], &format!("last {ROOM} 0"));
        guests[0].ask(&format!("leave {ROOM}"));
        let seen: Vec<_> = guests.iter().map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            let returning: Vec<_> = guests
                .iter_mut()
                .zip(&seen)
                .map(|(guest, seen)| scope.spawn(move || returns(guest, epoch, ROUNDS, seen)))
                .collect();
            let mut published = 0;
            while !returning.iter().all(ScopedJoinHandle::is_finished) {
                // Nobody returns so late that it is not kept any more.
                let slowest = seen.iter().map(|seen| seen.load(Ordering::Relaxed)).min();
                if published < slowest.unwrap() + u64::from(KEPT / 2) {
                    publish(&hall.engine, 1);
                    published += 1;
                } else {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            for guest in returning {
                guest.join().unwrap();
            }
        });
    }
}

fn returns(guest: &mut Guest, epoch: u64, rounds: usize, seen: &AtomicU64) {
    let mut last = 0;
    for round in 0..rounds {
        seen.store(last, Ordering::Relaxed);
        let answer = guest.ask(&format!("from {ROOM} {epoch} {last}"));
        assert!(answer.starts_with("true "), "{answer}");
        let position: u64 = answer.split(' ').nth(2).unwrap().parse().unwrap();
        let recovered = numbers(&std::mem::take(&mut guest.heard));
        assert!(
            recovered.iter().copied().eq(last + 1..=position),
            "round {round}"
        );
        last = position;
        for _ in 0..round % 4 {
            guest.ask("rooms");
        }
        assert_eq!(guest.ask(&format!("leave {ROOM}")), "true");
        for heard in numbers(&std::mem::take(&mut guest.heard)) {
            assert_eq!(heard, last + 1, "round {round}");
            last = heard;
        }
    }
    seen.store(u64::MAX / 2, Ordering::Relaxed);
}

/// What a client asks of a history in a loop is made at the pace at which it is taken.
#[test]
fn a_loop_of_joining_is_held_back() {
    const LOOPS: usize = 400;
    let hall = Hall::open(config());
    let kept = with_history(History::messages(16).max_bytes(2 << 20));
    hall.engine.create_room(ROOM, kept).unwrap();
    for _ in 0..16 {
        let large = hall.engine.to(ROOM).text("0".repeat(64 << 10));
        assert_eq!(large.publish_with_receipt().wait().unwrap().refused, 0);
    }
    let mut bystander = hall.enter();
    let mut greedy = Guest::over(Client::connect_small(hall.engine.local_addr().unwrap()));
    hall.hold(&mut bystander);
    for _ in 0..LOOPS {
        greedy.client.text(&format!("last {ROOM} 16"));
        greedy.client.text(&format!("leave {ROOM}"));
    }
    hall.go_on();
    greedy.client.until_readable();
    for _ in 0..3 {
        bystander.ask("rooms");
    }
    let made = hall.recoveries.try_iter().count();
    assert!((1..LOOPS / 4).contains(&made), "{made}");
}
