//! The fan-out pool: whatever goes through it and whatever does not, each member hears everything once
//! and in the order sent; nothing that was accepted is lost when the engine drains.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use serde::{Serialize, Serializer};
use throng::{
    Accept, Compression, Config, Conn, ConnectionId, Engine, EngineHandle, Handler, Message,
    PublishError, Receipt, ReceiptError, Reject, Upgrade,
};
use throng_tests::engine::{Client, Heard, PATIENCE, config, serve_with, until};

/// More than the threshold of what is heavy.
const LARGE: usize = 16 * 1024;
const OFFERS: [&str; 3] = [
    "permessage-deflate; server_no_context_takeover",
    "permessage-deflate; server_max_window_bits=9",
    "permessage-deflate",
];

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Whom {
    Tea,
    Milk,
    Either,
    All,
    /// The member of that number, from outside only.
    One(usize),
}

/// The message of that number of a sender: whom it is for, and how long it is.
fn plan(sender: usize, number: usize) -> (Whom, usize) {
    let mut random = fastrand::Rng::with_seed((sender * 1_000_000 + number) as u64);
    let whom = match random.usize(..10) {
        0..4 => Whom::Tea,
        4..6 => Whom::Milk,
        6..8 => Whom::Either,
        8 => Whom::All,
        _ if sender < OUTSIDE => Whom::One(random.usize(..MEMBERS)),
        _ => Whom::Tea,
    };
    let length = if random.u8(..4) == 0 { LARGE } else { 40 };
    (whom, length)
}

/// Tells who sent it and its number, and compresses well.
fn text(sender: usize, number: usize, length: usize) -> String {
    let head = format!("{sender} {number} ");
    head.clone() + &".".repeat(length - head.len())
}

/// Joins members to the rooms that the path names, echoes, and obeys `!` commands.
struct Service {
    outcomes: Mutex<Sender<Result<Receipt, ReceiptError>>>,
    held: Mutex<Sender<()>>,
    go_on: Mutex<Receiver<()>>,
}

/// The test's side of it.
struct Strings {
    outcomes: Receiver<Result<Receipt, ReceiptError>>,
    held: Receiver<()>,
    go_on: Sender<()>,
}

impl Handler for Service {
    type State = ();

    fn on_upgrade(&self, _: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        let text = message.as_text().unwrap();
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        match verb {
            "!id" => drop(conn.send(&*conn.id().to_u64().to_string())),
            "!join" => {
                conn.join(rest).unwrap();
                conn.send("joined");
            }
            "!publish" => {
                let (sender, number) = rest.split_once(' ').unwrap();
                publish_inside(conn, sender.parse().unwrap(), number.parse().unwrap());
            }
            "!later" => {
                let outcomes = self.outcomes.lock().unwrap().clone();
                let tell = move |outcome| outcomes.send(outcome).unwrap();
                let board = vec![rest.to_owned(); 1000];
                conn.to("tea").json_later(board).publish_then(tell);
                conn.to("tea").text("behind it").publish();
            }
            "!hold" => {
                self.held.lock().unwrap().send(()).unwrap();
                self.go_on.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            }
            _ => drop(conn.send(message)),
        }
    }
}

fn publish_inside(conn: &mut Conn<'_, ()>, sender: usize, number: usize) {
    let (whom, length) = plan(sender, number);
    let to = match whom {
        Whom::Tea => conn.to("tea"),
        Whom::Milk => conn.to("milk"),
        Whom::Either => conn.to("tea").and_to("milk"),
        Whom::All => conn.to_all(),
        Whom::One(_) => panic!("not from a handler"),
    };
    let receipt = to.text(text(sender, number, length)).publish();
    assert_eq!(receipt.refused, 0);
}

fn publish_outside(engine: &EngineHandle, ids: &[ConnectionId], sender: usize, number: usize) {
    let (whom, length) = plan(sender, number);
    let text = text(sender, number, length);
    let to = match whom {
        Whom::Tea => engine.to("tea"),
        Whom::Milk => engine.to("milk"),
        Whom::Either => engine.to("tea").and_to("milk"),
        Whom::All => engine.to_all(),
        Whom::One(member) => return engine.connection(ids[member]).send(&*text).unwrap(),
    };
    if number.is_multiple_of(7) {
        return to.json_later(text).publish().unwrap();
    }
    to.text(text).publish().unwrap();
}

/// Settings with compression, a pool, and queues that hold whatever these tests send.
fn compressing(workers: usize) -> Config {
    config()
        .shards(3)
        .compression(Compression::default().server_context_takeover(true))
        .fanout_workers(workers)
        .send_queue_messages(1 << 20)
        .send_queue_bytes(1 << 30)
        .write_timeout(Duration::from_secs(3600))
}

fn serve(config: Config) -> (Engine, Strings) {
    let ((outcomes, told), (held, holds), (go_on, goes_on)) = (channel(), channel(), channel());
    let service = Service {
        outcomes: Mutex::new(outcomes),
        held: Mutex::new(held),
        go_on: Mutex::new(goes_on),
    };
    let strings = Strings {
        outcomes: told,
        held: holds,
        go_on,
    };
    (serve_with(config, service), strings)
}

/// The connection of that number: one in four does not compress, the others differ in how.
fn connect(engine: &Engine, number: usize, rooms: &[&str]) -> (Client, ConnectionId) {
    let address = engine.local_addr().unwrap();
    let mut client = match number % 4 {
        0 => Client::connect(address),
        offer => Client::connect_compressed(address, OFFERS[offer - 1]),
    };
    for room in rooms {
        assert_eq!(client.ask(&format!("!join {room}")), "joined");
    }
    let id = client.ask("!id").parse().unwrap();
    (client, ConnectionId::from_u64(id))
}

const MEMBERS: usize = 12;
/// Threads outside that publish, and connections whose handlers do.
const OUTSIDE: usize = 3;
const INSIDE: usize = 4;
const SENDERS: usize = OUTSIDE + INSIDE;
const EACH: usize = 150;

/// The rooms of a member.
fn rooms_of(member: usize) -> &'static [&'static str] {
    [&["tea"][..], &["milk"], &["tea", "milk"]][member % 3]
}

/// The numbers of a sender's messages that are for a member.
fn expected(sender: usize, member: usize) -> Vec<usize> {
    let rooms = rooms_of(member);
    let is_for = |number: &usize| match plan(sender, *number).0 {
        Whom::Tea => rooms.contains(&"tea"),
        Whom::Milk => rooms.contains(&"milk"),
        Whom::Either | Whom::All => true,
        Whom::One(other) => other == member,
    };
    (0..EACH).filter(is_for).collect()
}

/// The numbers that a member hears, by sender, until it has heard as many as that.
fn hear_numbers(client: &mut Client, count: usize) -> BTreeMap<usize, Vec<usize>> {
    let mut heard: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for _ in 0..count {
        let Heard::Text(said) = client.hear() else {
            panic!("no text")
        };
        let said = said.trim_matches('"');
        let mut words = said.split(' ').map(str::parse::<usize>);
        let (sender, number) = (
            words.next().unwrap().unwrap(),
            words.next().unwrap().unwrap(),
        );
        assert_eq!(said, text(sender, number, said.len()));
        heard.entry(sender).or_default().push(number);
    }
    assert_eq!(client.ask("and nothing else"), "and nothing else");
    heard
}

fn order_holds(workers: usize) {
    let (engine, _strings) = serve(compressing(workers));
    let members = (0..MEMBERS).map(|member| connect(&engine, member, rooms_of(member)));
    let (members, ids): (Vec<Client>, Vec<ConnectionId>) = members.unzip();
    let publishers = (OUTSIDE..SENDERS).map(|sender| connect(&engine, sender, &[]).0);
    let mut publishers: Vec<Client> = publishers.collect();
    thread::scope(|scope| {
        for (member, mut client) in members.into_iter().enumerate() {
            scope.spawn(move || {
                let expected: BTreeMap<usize, Vec<usize>> = (0..SENDERS)
                    .map(|sender| (sender, expected(sender, member)))
                    .collect();
                let count = expected.values().map(Vec::len).sum();
                assert_eq!(hear_numbers(&mut client, count), expected);
            });
        }
        for sender in 0..OUTSIDE {
            let (engine, ids) = (engine.handle(), &ids);
            scope.spawn(move || {
                (0..EACH).for_each(|number| publish_outside(&engine, ids, sender, number));
            });
        }
        for (sender, client) in (OUTSIDE..).zip(&mut publishers) {
            (0..EACH).for_each(|number| client.text(&format!("!publish {sender} {number}")));
        }
        // They stay until their handlers have published everything.
        for mut client in publishers {
            client.text("the end");
            while client.hear() != Heard::Text("the end".into()) {}
        }
    });
}

#[test]
fn order_holds_without_a_pool() {
    order_holds(0);
}

#[test]
fn order_holds_with_one_worker() {
    order_holds(1);
}

#[test]
fn order_holds_with_three_workers() {
    order_holds(3);
}

#[test]
fn a_drain_waits_for_what_the_pool_has_accepted() {
    const COUNT: usize = 40;
    let (engine, _strings) = serve(compressing(2));
    let (mut client, id) = connect(&engine, 1, &["tea"]);
    for number in 0..COUNT {
        let publication = engine.to("tea").text(text(0, number, LARGE));
        publication.publish().unwrap();
    }
    engine.connection(id).send("the last").unwrap();
    let draining = thread::spawn(move || engine.drain(Duration::ZERO));
    for number in 0..COUNT {
        assert_eq!(client.hear(), Heard::Text(text(0, number, LARGE)));
    }
    assert_eq!(client.hear(), Heard::Text("the last".into()));
    client.expect_close(1012);
    assert_eq!(draining.join().unwrap().flushed, 1);
}

#[test]
fn closing_a_connection_does_not_overtake_what_was_sent_to_it() {
    let (engine, _strings) = serve(compressing(2));
    let (mut client, id) = connect(&engine, 1, &[]);
    let handle = engine.connection(id);
    handle.send(&*text(0, 0, LARGE)).unwrap();
    handle.send("bye").unwrap();
    handle.close(4000.into(), "done").unwrap();
    assert_eq!(client.hear(), Heard::Text(text(0, 0, LARGE)));
    assert_eq!(client.hear(), Heard::Text("bye".into()));
    assert_eq!(client.expect_close(4000), "done");
}

#[test]
fn receipts_resolve_when_the_engine_stops_with_a_full_pool() {
    // The clients read nothing, and need not be waited for.
    let hasty = compressing(2).close_timeout(Duration::from_millis(100));
    let (engine, _strings) = serve(hasty);
    let clients: Vec<_> = (1..4).map(|n| connect(&engine, n, &["tea"])).collect();
    let handle = engine.handle();
    let (begun, has_begun) = channel();
    let publishing = thread::spawn(move || {
        let mut pending = Vec::new();
        loop {
            let publication = handle.to("tea").text(text(0, 0, LARGE));
            pending.push(publication.publish_with_receipt());
            // Only the first is waited for.
            let _ = begun.send(());
            if handle.to_all().text("hello").publish() == Err(PublishError::Stopped) {
                return pending;
            }
        }
    });
    has_begun.recv_timeout(PATIENCE).unwrap();
    drop(engine);
    for pending in publishing.join().unwrap() {
        match pending.wait() {
            Ok(receipt) => assert!(receipt.audience() + receipt.refused <= 6, "{receipt:?}"),
            Err(ReceiptError::Publish(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    drop(clients);
}

#[test]
fn threads_outside_are_told_that_the_pool_is_full() {
    const CAPACITY: usize = 4;
    /// In the mailbox, in line, and between the two.
    const MOST: usize = CAPACITY + CAPACITY + 1;
    let (engine, strings) = serve(compressing(2).shards(1).mailbox_capacity(CAPACITY));
    let (mut client, _) = connect(&engine, 1, &["tea"]);
    client.text("!hold");
    strings.held.recv_timeout(PATIENCE).unwrap();
    let mut accepted = Vec::new();
    let refused = loop {
        let number = accepted.len();
        let publication = engine.to("tea").text(text(0, number, LARGE));
        match publication.publish() {
            Ok(()) => accepted.push(number),
            Err(error) => break error,
        }
        assert!(accepted.len() <= MOST);
    };
    assert_eq!(refused, PublishError::FanoutFull);
    strings.go_on.send(()).unwrap();
    for number in accepted {
        assert_eq!(client.hear(), Heard::Text(text(0, number, LARGE)));
    }
    assert_eq!(client.ask("and nothing else"), "and nothing else");
}

/// Cannot be represented as JSON, or panics when tried.
enum Spoilt {
    Fails,
    Panics,
}

impl Serialize for Spoilt {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        match self {
            Spoilt::Fails => Err(serde::ser::Error::custom("as told")),
            Spoilt::Panics => panic!("as told"),
        }
    }
}

fn values_are_made_later(workers: usize) {
    let (engine, strings) = serve(compressing(workers));
    let (mut client, _) = connect(&engine, 1, &["tea"]);
    let to_tea = || engine.to("tea");
    let spoilt = |value| to_tea().json_later(value).publish_with_receipt().wait();
    assert!(matches!(spoilt(Spoilt::Fails), Err(ReceiptError::Json(_))));
    let panicked = spoilt(Spoilt::Panics);
    assert!(matches!(panicked, Err(ReceiptError::Panicked)));
    to_tea().json_later(Spoilt::Panics).publish().unwrap();
    let numbers: Vec<u32> = (0..10_000).collect();
    let pending = to_tea().json_later(numbers.clone()).publish_with_receipt();
    to_tea().text("behind it").publish().unwrap();
    assert_eq!(pending.wait().unwrap().queued, 1);
    let json = serde_json::to_string(&numbers).unwrap();
    assert_eq!(client.hear(), Heard::Text(json));
    assert_eq!(client.hear(), Heard::Text("behind it".into()));

    client.text("!later abc");
    let outcome = strings.outcomes.recv_timeout(PATIENCE).unwrap();
    assert_eq!(outcome.unwrap().queued, 1, "from a handler");
    let json = serde_json::to_string(&vec!["abc"; 1000]).unwrap();
    assert_eq!(client.hear(), Heard::Text(json));
    assert_eq!(client.hear(), Heard::Text("behind it".into()));
}

#[test]
fn values_are_made_later_by_the_pool() {
    values_are_made_later(1);
}

#[test]
fn values_are_made_at_once_without_a_pool() {
    values_are_made_later(0);
}

/// The handler goes on at once, and learns of all deliveries by the receipt.
#[test]
fn the_whole_receipt_counts_what_goes_through_the_pool() {
    let (engine, _strings) = serve(compressing(1));
    let clients: Vec<_> = (0..6).map(|n| connect(&engine, n, &["tea"])).collect();
    until("everybody is there", || engine.room_len("tea") == 6);
    let large = engine.to("tea").text(text(0, 0, LARGE));
    let receipt = large.publish_with_receipt().wait().unwrap();
    assert_eq!((receipt.queued, receipt.audience()), (6, 6));
    drop(clients);
}
