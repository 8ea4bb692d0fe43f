//! Many publishers on several shards, members who come and go: all see one order without holes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a test fails by panicking and tells its seed, and its numbers are small"
)]

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::thread;

use throng::{EngineHandle, PublishError};
use throng_tests::engine::config;
use throng_tests::engine::trades::{Market, ROOM, Trade, Trader};

const TRADERS: usize = 8;
const OUTSIDERS: usize = 3;
const STEPS: u32 = 150;
/// Says that nothing follows.
const END: &str = "end";

/// What is said once: sender and number.
type Name = (String, u32);

/// What a publisher has seen.
#[derive(Debug, Default)]
struct Story {
    /// For each time it was a member, what it received.
    memberships: Vec<Vec<Trade>>,
    /// What was taken, and its offset where that was told.
    published: Vec<(Name, Option<u64>)>,
    /// What was refused.
    refused: Vec<Name>,
}

/// One way to run it.
#[derive(Clone, Copy, Debug)]
struct Scene {
    shards: usize,
    mailbox: usize,
    /// Whether members who stay are on every shard, or on one: then others' terms come and go.
    stay_everywhere: bool,
}

/// A client that joins, leaves, publishes, vanishes and comes back. Each of its connections is a sender
/// of its own: the next one may be on another shard, which knows nothing of what the last one said.
fn trade(address: SocketAddr, name: &str, mut random: fastrand::Rng) -> Story {
    let mut story = Story::default();
    let mut trader = Trader::connect(address);
    let mut membership: Option<Vec<Trade>> = None;
    let mut sender = format!("{name}.0");
    for number in 0..STEPS {
        match random.u32(..10) {
            0 if membership.is_some() => {
                let mut heard = membership.take().unwrap();
                trader.leave(&mut heard);
                story.memberships.push(heard);
            }
            1 if random.bool() => {
                story.memberships.extend(membership.take());
                if random.bool() {
                    trader.client.reset();
                }
                trader = Trader::connect(address);
                sender = format!("{name}.{number}");
            }
            0..5 if membership.is_none() => {
                trader.join();
                membership = Some(Vec::new());
            }
            _ => {
                let how = if random.bool() { "numbered" } else { "plain" };
                speak(
                    &mut trader,
                    (&sender, number),
                    how,
                    &mut membership,
                    &mut story,
                );
            }
        }
    }
    story.memberships.extend(membership);
    story
}

/// Publishes, and as a member waits until it has come back.
fn speak(
    trader: &mut Trader,
    (name, number): (&str, u32),
    how: &str,
    membership: &mut Option<Vec<Trade>>,
    story: &mut Story,
) {
    let mut rest = Vec::new();
    let heard = membership.as_mut().unwrap_or(&mut rest);
    let told = trader.say(name, number, how, heard);
    if told.refused > 0 {
        story.refused.push((name.to_owned(), number));
        return;
    }
    let offset = (told.offset > 0).then_some(told.offset);
    story.published.push(((name.to_owned(), number), offset));
    let is_it = |trade: &Trade| trade.sender == name && trade.number == number;
    if let Some(heard) = membership {
        while !heard.iter().any(is_it) {
            heard.push(trader.hear());
        }
    } else {
        assert_eq!(rest, [], "it is no member");
    }
}

/// A thread that publishes as fast as it can.
fn shout(engine: &EngineHandle, name: &str, mut random: fastrand::Rng) -> Story {
    let mut story = Story::default();
    for number in 0..STEPS * 4 {
        let sender = name.to_owned();
        let to = engine.to(ROOM);
        let published = if random.bool() {
            to.text(Trade::text(name, number, None)).publish()
        } else {
            to.numbered(move |at| Trade::text(&sender, number, Some(at)))
                .publish()
        };
        let what = (name.to_owned(), number);
        match published {
            Ok(()) => story.published.push((what, None)),
            Err(PublishError::MailboxFull { .. }) => story.refused.push(what),
            Err(error) => panic!("{error}"),
        }
        if random.u32(..8) == 0 {
            thread::yield_now();
        }
    }
    story
}

/// Members who stay from the beginning, on all shards or on one.
fn staying(market: &Market, scene: Scene) -> Vec<Trader> {
    let mut traders: Vec<Trader> = Vec::new();
    let wanted = if scene.stay_everywhere {
        scene.shards
    } else {
        1
    };
    while traders.len() < wanted {
        let mut trader =
            market.connect_where(|trader| traders.iter().all(|other| other.shard != trader.shard));
        trader.join();
        traders.push(trader);
    }
    traders
}

/// Everything up to the end.
fn hear_all(mut trader: Trader) -> Vec<Trade> {
    let mut all = Vec::new();
    loop {
        let trade = trader.hear();
        if trade.sender == END {
            return all;
        }
        all.push(trade);
    }
}

fn run(scene: Scene) -> usize {
    let seed = fastrand::u64(..);
    println!("{scene:?}, seed {seed}");
    let settings = config()
        .shards(scene.shards)
        .mailbox_capacity(scene.mailbox)
        .send_queue_messages(1_000_000)
        .send_queue_bytes(1 << 30);
    let market = Market::open(settings);
    let address = market.engine.local_addr().unwrap();
    let witnesses = staying(&market, scene);
    let witnesses: Vec<_> = witnesses
        .into_iter()
        .map(|trader| thread::spawn(move || hear_all(trader)))
        .collect();
    let random = |number: usize| fastrand::Rng::with_seed(seed.wrapping_add(number as u64));
    let mut stories = Vec::new();
    for number in 0..TRADERS {
        let random = random(number);
        let story = move || trade(address, &format!("trader-{number}"), random);
        stories.push(thread::spawn(story));
    }
    for number in 0..OUTSIDERS {
        let (engine, random) = (market.engine.handle(), random(TRADERS + number));
        let story = move || shout(&engine, &format!("outsider-{number}"), random);
        stories.push(thread::spawn(story));
    }
    let stories: Vec<Story> = stories.into_iter().map(|s| s.join().unwrap()).collect();
    // Full mailboxes are emptied in time.
    while market
        .engine
        .to(ROOM)
        .text(Trade::text(END, 0, None))
        .publish()
        .is_err()
    {
        thread::yield_now();
    }
    let seen: Vec<Vec<Trade>> = witnesses.into_iter().map(|w| w.join().unwrap()).collect();
    for other in &seen[1..] {
        assert!(*other == seen[0], "two members saw two orders");
    }
    check_order(&seen[0], &stories);
    for membership in stories.iter().flat_map(|story| &story.memberships) {
        check_membership(&seen[0], membership);
    }
    stories.iter().map(|story| story.refused.len()).sum()
}

/// `order` is everything that was published, once, numbered from 1, each sender's in order.
fn check_order(order: &[Trade], stories: &[Story]) {
    let mut last: HashMap<&str, u32> = HashMap::new();
    for trade in order {
        let before = last.insert(&trade.sender, trade.number);
        assert!(before < Some(trade.number), "{trade:?} behind {before:?}");
    }
    let epochs: HashSet<u64> = order
        .iter()
        .filter_map(|trade| Some(trade.position?.epoch))
        .collect();
    assert_eq!(epochs.len(), 1);
    let mut places: HashMap<Name, u64> = HashMap::new();
    for (trade, place) in order.iter().zip(1..) {
        let told = trade.position.map_or(place, |position| position.offset);
        assert_eq!(told, place, "{trade:?}");
        places.insert((trade.sender.clone(), trade.number), place);
    }
    for (name, offset) in stories.iter().flat_map(|story| &story.published) {
        let place = places.remove(name);
        assert!(place.is_some(), "{name:?} was taken and is lost");
        assert!(
            offset.is_none() || *offset == place,
            "{name:?} at {place:?}"
        );
    }
    assert!(places.is_empty(), "nobody published {places:?}");
}

/// What a member received is a part of the whole without holes.
fn check_membership(order: &[Trade], received: &[Trade]) {
    let Some(first) = received.first() else {
        return;
    };
    let end = |trade: &Trade| trade.sender == END;
    let received = match received.iter().position(end) {
        Some(at) => &received[..at],
        None => received,
    };
    let begin = order
        .iter()
        .position(|trade| trade == first)
        .expect("it was published");
    let expected = &order[begin..begin + received.len()];
    assert_eq!(received, expected);
}

#[test]
fn all_members_see_one_order_without_holes() {
    for shards in 1..=4 {
        for stay_everywhere in [true, false] {
            run(Scene {
                shards,
                mailbox: 16_384,
                stay_everywhere,
            });
        }
    }
}

#[test]
fn what_small_mailboxes_refuse_leaves_no_hole() {
    let mut refused = 0;
    for shards in [1, 2, 3] {
        for stay_everywhere in [true, false] {
            refused += run(Scene {
                shards,
                mailbox: 4,
                stay_everywhere,
            });
        }
    }
    assert!(refused > 0, "the mailboxes were large enough");
}
