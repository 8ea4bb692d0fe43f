//! Sequenced rooms over real sockets: who numbers, what is refused, what a member may rely on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::collections::HashSet;
use std::time::Duration;

use throng::protocol::frame::OpCode;
use throng::{CreateRoomError, PublishError, RoomOptions};
use throng_tests::engine::trades::{Market, ROOM, Told, Trade, Trader};
use throng_tests::engine::{Heard, config, frame, until};

/// A connection to the room's home, and one to another shard, neither of them members. What they
/// publish to find that out nobody else receives, but it takes offsets; returns how many.
fn at_home_and_elsewhere(market: &Market) -> (Trader, Trader, u64) {
    let mut taken = 0;
    let mut is_home = |trader: &mut Trader| {
        taken += 1;
        trader.say("probe", 0, "plain", &mut Vec::new()).offset > 0
    };
    let mut home = market.connect_where(&mut is_home);
    let mut elsewhere = market.connect_where(|trader| !is_home(trader));
    home.join();
    elsewhere.say("last", 0, "plain", &mut Vec::new());
    let mut heard = home.hear();
    while heard.sender == "probe" {
        heard = home.hear();
    }
    home.leave(&mut Vec::new());
    (home, elsewhere, taken + 1)
}

fn offsets(trades: &[Trade]) -> Vec<u64> {
    let offset = |trade: &Trade| trade.position.expect("numbered").offset;
    trades.iter().map(offset).collect()
}

#[test]
fn a_created_room_stays_until_it_is_forgotten() {
    let market = Market::open(config().max_rooms(2));
    let engine = &market.engine;
    let options = RoomOptions::new;
    let exists = Err(CreateRoomError::Exists);
    assert_eq!(engine.create_room(ROOM, options()), exists);
    engine.create_room("kept", options()).unwrap();
    let full = Err(CreateRoomError::TooManyRooms { max: 2 });
    assert_eq!(engine.create_room("one more", options()), full);
    let mut rooms: Vec<_> = engine
        .rooms()
        .into_iter()
        .map(|room| (room.name.to_string(), room.members, room.sequenced))
        .collect();
    rooms.sort();
    let kept = ("kept".to_owned(), 0, false);
    assert_eq!(rooms, [kept, (ROOM.to_owned(), 0, true)]);
    let mut ann = market.connect();
    ann.join();
    ann.leave(&mut Vec::new());
    assert_eq!(engine.room_count(), 2, "it stays without members");
    assert_eq!(engine.members(ROOM), Ok(Vec::new()));
    ann.join();
    assert!(engine.forget_room(ROOM) && engine.forget_room("kept"));
    assert!(!engine.forget_room(ROOM), "it is kept no longer");
    assert_eq!(engine.room_count(), 1, "it has a member");
    assert_eq!(engine.create_room(ROOM, options()), exists);
    ann.leave(&mut Vec::new());
    assert_eq!(engine.room_count(), 0);
    engine.create_room(ROOM, options().sequenced()).unwrap();
}

/// An epoch begins with offset 1 and is another one for the next room of the name.
#[test]
fn every_room_has_an_epoch_of_its_own() {
    let market = Market::open(config());
    let mut ann = market.connect();
    let mut epochs = HashSet::new();
    for _ in 0..3 {
        ann.join();
        let mut heard = Vec::new();
        for number in 1..=2 {
            let told = ann.say("ann", number, "numbered", &mut heard);
            assert_eq!((told.queued, told.offset), (1, u64::from(number)));
        }
        assert_eq!(offsets(&heard), [1, 2]);
        epochs.extend(heard.iter().map(|trade| trade.position.unwrap().epoch));
        market.engine.forget_room(ROOM);
        ann.leave(&mut Vec::new());
        let options = RoomOptions::new().sequenced();
        market.engine.create_room(ROOM, options).unwrap();
    }
    assert_eq!(epochs.len(), 3);
}

/// What is not published takes no offset: where the function panics, and where nobody numbers.
#[test]
fn a_message_that_cannot_be_made_leaves_no_hole() {
    for shards in [1, 2] {
        let market = Market::open(config().shards(shards));
        let mut ann = market.connect();
        ann.join();
        let to = || market.engine.to(ROOM);
        let panics = |_| -> String { panic!("as told") };
        to().numbered(|at| at.offset.to_string()).publish().unwrap();
        to().numbered(panics).publish().unwrap();
        to().numbered(|at| at.offset.to_be_bytes().to_vec())
            .publish()
            .unwrap();
        assert_eq!(ann.client.hear(), Heard::Text("1".into()));
        let two = 2u64.to_be_bytes().to_vec();
        assert_eq!(ann.client.hear(), Heard::Binary(two));
        let nowhere = market.engine.to("nowhere").numbered(panics).publish();
        assert_eq!(nowhere, Err(PublishError::NotSequenced));
        assert!(market.engine.forget_room(ROOM));
        ann.leave(&mut Vec::new());
        let told = ann.say("ann", 1, "numbered", &mut Vec::new());
        let refused = Told {
            queued: 0,
            forwarded: 0,
            refused: 1,
            offset: 0,
        };
        assert_eq!(told, refused, "there is no such room any more");
    }
}

/// The high lane would overtake; who is excepted misses an offset; of several rooms each member
/// hears once.
#[test]
fn the_order_is_the_offsets() {
    let market = Market::open(config());
    let (mut ann, mut bob) = (market.connect(), market.connect());
    ann.join();
    bob.join();
    let mut heard = Vec::new();
    for (number, how) in [(1, "numbered"), (2, "high"), (3, "others"), (4, "numbered")] {
        ann.say("ann", number, how, &mut heard);
    }
    let numbers: Vec<u32> = heard.iter().map(|trade| trade.number).collect();
    assert_eq!(
        numbers,
        [1, 2, 4],
        "all but the one it excepted itself from"
    );
    for number in 1..=4 {
        assert_eq!(bob.hear().number, number);
    }
    let other = RoomOptions::new().sequenced();
    market.engine.create_room("other", other).unwrap();
    let both = market.engine.to(ROOM).and_to("other");
    both.numbered(|at| at.offset.to_string()).publish().unwrap();
    let both = market.engine.to("other").and_to(ROOM);
    both.numbered(|at| at.offset.to_string()).publish().unwrap();
    for client in [&mut ann.client, &mut bob.client] {
        assert_eq!(client.hear(), Heard::Text("5".into()));
        assert_eq!(
            client.hear(),
            Heard::Text("1".into()),
            "the first one named"
        );
    }
}

/// Mail that waits for a shard is for those who were members when it was sent. Somebody who joins
/// before the shard takes it, after the home has found nobody there, would see a hole behind it.
#[test]
fn what_was_sent_for_former_members_is_for_nobody() {
    let market = Market::open(config().shards(2));
    let (mut home, mut elsewhere, taken) = at_home_and_elsewhere(&market);
    elsewhere.join();
    // In one segment: one turn of the shard handles all, and takes no mail in between.
    let words = ["hold", "leave", "hold", "join"];
    let frames = words.map(|word| frame(true, OpCode::Text, word.as_bytes()));
    elsewhere.client.write(&frames.concat());
    market.until_held();
    let told = home.say("home", 1, "numbered", &mut Vec::new());
    assert_eq!((told.offset, told.forwarded), (taken + 1, 1));
    market.go_on();
    market.until_held();
    let told = home.say("home", 2, "numbered", &mut Vec::new());
    assert_eq!((told.offset, told.forwarded), (taken + 2, 0));
    market.go_on();
    let mut heard = Vec::new();
    assert_eq!(elsewhere.answer(&mut heard), "left true");
    assert_eq!(elsewhere.answer(&mut heard), "joined Ok(())");
    let told = home.say("home", 3, "numbered", &mut Vec::new());
    assert_eq!((told.offset, told.forwarded), (taken + 3, 1));
    heard.push(elsewhere.hear());
    assert_eq!(offsets(&heard), [taken + 3]);
}

/// Beyond what waits for a shard that is busy nothing is published at all: the members there would
/// miss it.
#[test]
fn what_one_shard_cannot_take_nobody_gets() {
    let market = Market::open(config().shards(2).mailbox_capacity(4));
    let (mut home, mut elsewhere, taken) = at_home_and_elsewhere(&market);
    home.join();
    elsewhere.join();
    elsewhere.client.text("hold");
    market.until_held();
    let mut heard = Vec::new();
    let mut last = taken;
    let mut refused = 0;
    while refused < 3 {
        let told = home.say("home", 0, "numbered", &mut heard);
        match told.refused {
            0 => last += 1,
            _ => refused += 1,
        }
        let expected = if told.refused == 0 { last } else { 0 };
        assert_eq!(told.offset, expected);
        assert!(last < 100_000, "it waits without limit");
    }
    market.go_on();
    let all: Vec<u64> = (taken + 1..=last).collect();
    assert_eq!(offsets(&heard), all);
    let elsewhere_heard: Vec<Trade> = all.iter().map(|_| elsewhere.hear()).collect();
    assert_eq!(elsewhere_heard, heard);
    // What waited is gone, so there is room again.
    let told = home.say("home", 1, "numbered", &mut heard);
    assert_eq!((told.offset, elsewhere.hear().number), (last + 1, 1));
}

/// Publishers elsewhere are told when the home takes nothing.
#[test]
fn a_home_that_is_busy_refuses() {
    const CAPACITY: u64 = 4;
    let capacity = usize::try_from(CAPACITY).unwrap();
    let market = Market::open(config().shards(2).mailbox_capacity(capacity));
    let (mut home, mut elsewhere, taken) = at_home_and_elsewhere(&market);
    elsewhere.join();
    home.client.text("hold");
    market.until_held();
    let publish = || {
        let to = market.engine.to(ROOM);
        to.numbered(|at| Trade::text("outside", 0, Some(at)))
            .publish()
    };
    for _ in 0..CAPACITY {
        publish().unwrap();
    }
    let full = PublishError::MailboxFull {
        refused: 1,
        addressed: 1,
    };
    assert_eq!(publish(), Err(full));
    let mut waiting = 0;
    let mut heard = Vec::new();
    let refused = loop {
        let told = elsewhere.say("elsewhere", 0, "numbered", &mut heard);
        if told.refused > 0 {
            break told;
        }
        assert_eq!((told.forwarded, told.offset), (1, 0));
        waiting += 1;
        assert!(waiting < 100_000, "it waits without limit");
    };
    assert_eq!((refused.refused, refused.forwarded), (1, 0));
    market.go_on();
    let all: Vec<u64> = (taken + 1..=taken + CAPACITY + waiting).collect();
    heard.extend(all[heard.len()..].iter().map(|_| elsewhere.hear()));
    assert_eq!(offsets(&heard), all);
}

/// A home that has nobody left in a drain goes on numbering for the other shards.
#[test]
fn a_room_lives_through_a_drain() {
    let market = Market::open(config().shards(2));
    let (home, elsewhere, taken) = at_home_and_elsewhere(&market);
    let shard = elsewhere.shard;
    let mut traders = vec![elsewhere];
    while traders.len() < 10 {
        traders.push(market.connect_where(|trader| trader.shard == shard));
    }
    drop(home);
    let expected = traders.len();
    until("the home has nobody", || {
        market.engine.connections() == expected
    });
    traders.iter_mut().for_each(Trader::join);
    let handle = market.engine.handle();
    let draining = std::thread::spawn(move || market.engine.drain(Duration::from_secs(1)));
    let mut offset = taken;
    while !traders.is_empty() {
        let trader = &mut traders[0];
        trader.client.text("say ann 0 numbered");
        let mut heard = Vec::new();
        loop {
            match trader.client.hear() {
                Heard::Text(text) if text.starts_with("said") => {
                    assert_eq!(text, "said 0 1 0 0", "it was handed to the home");
                }
                Heard::Text(text) => {
                    heard.push(text);
                    break;
                }
                Heard::Close(code, _) => {
                    assert_eq!(code, Some(1012));
                    traders.remove(0);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        offset += 1;
    }
    assert!(offset > taken + 10, "nothing was published");
    assert_eq!(handle.connections(), 0);
    draining.join().unwrap();
}
