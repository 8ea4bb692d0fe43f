//! Whole receipts: every one that is asked for comes, its counts add up to the audience, and they agree
//! with what the clients saw.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use throng::protocol::frame::OpCode;
use throng::{
    Accept, Cause, Close, Config, Conn, ConnectionHandle, ConnectionId, Engine, Handler, Message,
    Overflow, PublishError, Receipt, ReceiptError, Reject, Upgrade,
};
use throng_tests::engine::{Client, Heard, PATIENCE, config, frame, serve_with, until};

type Outcome = Result<Receipt, ReceiptError>;

/// Receipts cannot be made outside of the crate but by changing the default.
trait DefaultWith {
    fn default_with(change: impl FnOnce(&mut Self)) -> Self;
}

impl DefaultWith for Receipt {
    fn default_with(change: impl FnOnce(&mut Receipt)) -> Receipt {
        let mut receipt = Receipt::default();
        change(&mut receipt);
        receipt
    }
}

/// Joins everybody to one room, echoes, and obeys `!` commands.
struct Service {
    outcomes: Mutex<Sender<Outcome>>,
    closes: Mutex<Sender<Close>>,
    held: Mutex<Sender<()>>,
    go_on: Mutex<Receiver<()>>,
}

/// The test's side of it.
struct Strings {
    outcomes: Receiver<Outcome>,
    closes: Receiver<Close>,
    held: Receiver<()>,
    go_on: Sender<()>,
}

impl Strings {
    fn receipt(&self) -> Receipt {
        self.outcomes.recv_timeout(PATIENCE).unwrap().unwrap()
    }
}

impl Handler for Service {
    type State = ();

    fn on_upgrade(&self, _: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_open(&self, conn: &mut Conn<'_, ()>) {
        conn.join("room").unwrap();
        conn.send(&conn.id().to_u64().to_be_bytes());
    }

    fn on_message(&self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        let outcomes = self.outcomes.lock().unwrap().clone();
        let tell = move |outcome| outcomes.send(outcome).unwrap();
        let text = message.as_text().unwrap();
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        match verb {
            "!others" => {
                let receipt = conn.to("room").except_self().text(rest).publish_then(tell);
                conn.send(&*format!("{}+{}", receipt.audience(), receipt.forwarded));
            }
            "!one" => {
                let id = ConnectionId::from_u64(rest.parse().unwrap());
                conn.to_connection(id).send_then("hello", tell);
            }
            "!wait" => {
                let engine = conn.engine();
                let pending = engine.to("room").text("late").publish_with_receipt();
                tell(pending.wait());
            }
            "!hold" => {
                self.held.lock().unwrap().send(()).unwrap();
                self.go_on.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            }
            _ => drop(conn.send(message)),
        }
    }

    fn on_close(&self, _: &mut Conn<'_, ()>, close: &Close) {
        // The test may have seen enough.
        let _ = self.closes.lock().unwrap().send(close.clone());
    }
}

fn serve(config: Config) -> (Engine, Strings) {
    let ((outcomes, told), (closes, closed)) = (channel(), channel());
    let ((held, holds), (go_on, goes_on)) = (channel(), channel());
    let service = Service {
        outcomes: Mutex::new(outcomes),
        closes: Mutex::new(closes),
        held: Mutex::new(held),
        go_on: Mutex::new(goes_on),
    };
    let strings = Strings {
        outcomes: told,
        closes: closed,
        held: holds,
        go_on,
    };
    (serve_with(config, service), strings)
}

/// What the service says first: the connection's id.
fn id(client: &mut Client) -> ConnectionId {
    let Heard::Binary(id) = client.hear() else {
        panic!("no id")
    };
    ConnectionId::from_u64(u64::from_be_bytes(id.try_into().unwrap()))
}

fn shard(id: ConnectionId) -> u64 {
    id.to_u64() >> 55
}

/// Connections of `make`, as many on each shard; the system deals them out as it likes.
fn on_each_shard(
    engine: &Engine,
    each: usize,
    make: impl Fn(SocketAddr) -> Client,
) -> Vec<(Client, ConnectionId)> {
    let (shards, before) = (engine.config().shards, engine.room_len("room"));
    let mut taken = vec![0; shards];
    let mut clients = Vec::new();
    while clients.len() < shards * each {
        let mut client = make(engine.local_addr().unwrap());
        let id = id(&mut client);
        let count = &mut taken[usize::try_from(shard(id)).unwrap()];
        if *count < each {
            *count += 1;
            clients.push((client, id));
        } else {
            client.close(1000, "");
            while !matches!(client.hear(), Heard::End | Heard::Reset) {}
        }
    }
    until("the others have left", || {
        engine.room_len("room") == before + clients.len()
    });
    clients
}

#[test]
fn a_receipt_has_the_counts_of_all_shards() {
    let (engine, strings) = serve(config().shards(3));
    let mut clients = on_each_shard(&engine, 2, Client::connect);
    let all = Receipt::default_with(|r| r.queued = 6);
    let to_room = || engine.to("room").text("hello");
    assert_eq!(to_room().publish_with_receipt().wait().unwrap(), all);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let awaited = runtime.block_on(async { to_room().publish_with_receipt().await });
    assert_eq!(awaited.unwrap(), all);
    let (tell, told) = channel();
    to_room()
        .publish_then(move |outcome| tell.send(outcome).unwrap())
        .unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().unwrap(), all);

    let (excepted, id) = &mut clients[0];
    let others = engine.to("room").except(*id).text("hello");
    assert_eq!(others.publish_with_receipt().wait().unwrap().audience(), 5);
    for _ in 0..3 {
        assert_eq!(excepted.hear(), Heard::Text("hello".into()));
    }
    assert_eq!(excepted.ask("!others hello"), "1+2");
    assert_eq!(strings.receipt(), Receipt::default_with(|r| r.queued = 5));
    let nobody = engine.to("nowhere").text("hello").publish_with_receipt();
    assert_eq!(nobody.wait().unwrap(), Receipt::default());
}

#[test]
fn sending_to_one_connection_tells_whether_it_was_there() {
    let (engine, strings) = serve(config().shards(2));
    let mut clients = on_each_shard(&engine, 1, Client::connect);
    drop(strings.closes.try_iter().collect::<Vec<_>>());
    let (mut gone, id) = clients.pop().unwrap();
    let (here, _) = &mut clients[0];
    let handle: ConnectionHandle = engine.connection(id);
    let one = Receipt::default_with(|r| r.queued = 1);
    assert_eq!(handle.send_with_receipt("hello").wait().unwrap(), one);
    here.text(&format!("!one {}", id.to_u64()));
    assert_eq!(strings.receipt(), one, "from a handler of another shard");
    let (tell, told) = channel();
    handle
        .send_then("hello", move |outcome| tell.send(outcome).unwrap())
        .unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().unwrap(), one);
    gone.close(1000, "");
    strings.closes.recv_timeout(PATIENCE).unwrap();
    let nobody = handle.send_with_receipt("hello").wait().unwrap();
    assert_eq!(nobody, Receipt::default());
    here.text(&format!("!one {}", id.to_u64()));
    assert_eq!(strings.receipt(), Receipt::default());
}

#[test]
fn a_shard_does_not_wait_for_itself() {
    let (engine, strings) = serve(config());
    let mut client = on_each_shard(&engine, 1, Client::connect).remove(0).0;
    client.text("!wait");
    let outcome = strings.outcomes.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(outcome, Err(ReceiptError::OnShard)), "{outcome:?}");
    assert_eq!(client.hear(), Heard::Text("late".into()));
}

#[test]
fn a_panic_in_what_is_called_costs_nothing_else() {
    let (engine, _strings) = serve(config());
    let mut client = on_each_shard(&engine, 1, Client::connect).remove(0).0;
    let panicking = engine.to("room").text("hello");
    panicking.publish_then(|_| panic!("as told")).unwrap();
    assert_eq!(client.hear(), Heard::Text("hello".into()));
    assert_eq!(client.ask("still there?"), "still there?");
}

#[test]
fn a_full_mailbox_is_counted_as_refused() {
    let (engine, strings) = serve(config().mailbox_capacity(1));
    let (mut client, id) = on_each_shard(&engine, 1, Client::connect).remove(0);
    client.text("!hold");
    strings.held.recv_timeout(PATIENCE).unwrap();
    let taken = engine.to("room").text("taken").publish_with_receipt();
    let refused = Receipt::default_with(|r| r.refused = 1);
    let refusing = engine.to("room").text("refused").publish_with_receipt();
    assert_eq!(refusing.wait().unwrap(), refused);
    let (tell, told) = channel();
    let outcome = engine
        .connection(id)
        .send_then("refused", move |outcome| tell.send(outcome).unwrap());
    assert!(matches!(outcome, Err(PublishError::MailboxFull { .. })));
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().unwrap(), refused);
    strings.go_on.send(()).unwrap();
    assert_eq!(taken.wait().unwrap().queued, 1);
    assert_eq!(client.hear(), Heard::Text("taken".into()));
    assert_eq!(client.ask("and nothing else"), "and nothing else");
}

const PUBLISHERS: usize = 4;
const EACH: usize = 500;
/// Enough of these fill what the system holds for one connection of small buffers.
const SIZE: usize = 16 * 1024;
/// Messages that may wait.
const QUEUE: usize = 20;

/// Several threads publish to a room whose members read fast or not at all; returns their receipts.
fn publish_from_threads(engine: &Engine) -> Vec<Receipt> {
    let publish = || -> Vec<Receipt> {
        let message = vec![b'x'; SIZE];
        let pending = (0..EACH).map(|_| engine.to("room").binary(&message).publish_with_receipt());
        let pending: Vec<_> = pending.collect();
        pending.into_iter().map(|p| p.wait().unwrap()).collect()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..PUBLISHERS).map(|_| scope.spawn(publish)).collect();
        let receipts = threads.into_iter().flat_map(|t| t.join().unwrap());
        receipts.collect()
    })
}

/// Asks the last question. A client that was given up cannot.
fn ask_last(client: &mut impl Write) {
    let _ = client.write_all(&frame(true, OpCode::Text, b"the end"));
}

/// Messages heard up to the answer to the last question, or to being given up.
fn count_heard(client: &mut Client) -> usize {
    let mut count = 0;
    loop {
        match client.hear() {
            Heard::Binary(_) => count += 1,
            Heard::Text(text) if text.contains(r#""event":"gap""#) => {}
            Heard::Text(_) | Heard::Close(Some(1008), _) => return count,
            other => panic!("{other:?} after {count} messages"),
        }
    }
}

/// What a load came to.
struct Load {
    receipts: Vec<Receipt>,
    members: usize,
    /// Messages that the clients heard, all together.
    heard: usize,
    /// Messages that were lost to connections which were given up, and how many these were.
    cut: usize,
    given_up: usize,
}

impl Load {
    /// Nobody was given up, so that each message was for all members.
    fn check_audiences(&self) {
        for (index, receipt) in self.receipts.iter().enumerate() {
            assert_eq!(receipt.audience(), self.members, "{index}: {receipt:?}");
        }
    }

    fn sum(&self, count: impl Fn(&Receipt) -> usize) -> usize {
        self.receipts.iter().map(count).sum()
    }
}

/// Publishes to fast and slow members on two shards.
fn load(overflow: Overflow) -> Load {
    let patient = Duration::from_secs(3600);
    let config = config().shards(2).overflow(overflow);
    let config = config.write_timeout(patient).close_timeout(patient);
    let (engine, strings) = serve(config.send_queue_messages(QUEUE).send_queue_bytes(64 << 20));
    let fast = on_each_shard(&engine, 2, Client::connect);
    let slow = on_each_shard(&engine, 1, Client::connect_small);
    let members = fast.len() + slow.len();
    let mut writers: Vec<_> = fast.iter().map(|(client, _)| client.writer()).collect();
    let reading = fast
        .into_iter()
        .map(|(mut client, _)| thread::spawn(move || count_heard(&mut client)));
    let reading: Vec<_> = reading.collect();
    let receipts = publish_from_threads(&engine);
    writers.iter_mut().for_each(ask_last);
    let mut heard: usize = reading.into_iter().map(|t| t.join().unwrap()).sum();
    for (mut client, _) in slow {
        ask_last(&mut client.writer());
        heard += count_heard(&mut client);
    }
    drop(engine);
    let given_up = |close: &Close| close.cause == Cause::SlowConsumer;
    let closes: Vec<Close> = strings.closes.try_iter().filter(given_up).collect();
    let dropped = closes.iter().map(|close| close.counts.dropped);
    Load {
        receipts,
        members,
        heard,
        cut: usize::try_from(dropped.sum::<u64>()).unwrap(),
        given_up: closes.len(),
    }
}

#[test]
fn receipts_under_load_agree_with_what_clients_saw_refuse_newest() {
    let load = load(Overflow::RefuseNewest);
    assert_eq!(load.receipts.len(), PUBLISHERS * EACH);
    load.check_audiences();
    assert!(load.sum(|r| r.dropped) > 0, "the slow are slow");
    assert_eq!(load.sum(|r| r.queued), load.heard);
    assert_eq!(
        load.sum(|r| r.evicted + r.displaced + r.forwarded + r.refused),
        0
    );
}

#[test]
fn receipts_under_load_agree_with_what_clients_saw_drop_oldest() {
    let load = load(Overflow::DropOldest);
    assert_eq!(load.receipts.len(), PUBLISHERS * EACH);
    load.check_audiences();
    assert!(load.sum(|r| r.displaced) > 0, "the slow are slow");
    assert_eq!(
        load.sum(|r| r.queued) - load.sum(|r| r.displaced),
        load.heard
    );
    assert_eq!(load.sum(|r| r.evicted + r.forwarded + r.refused), 0);
}

#[test]
fn receipts_under_load_agree_with_what_clients_saw_disconnect() {
    let load = load(Overflow::Disconnect);
    assert_eq!(load.receipts.len(), PUBLISHERS * EACH);
    let evicted = load.sum(|r| r.evicted);
    assert!(evicted >= 2, "the slow are slow");
    assert_eq!(evicted, load.given_up);
    let audience = load.members - evicted..=load.members;
    assert!(
        load.receipts
            .iter()
            .all(|r| audience.contains(&r.audience()))
    );
    assert_eq!(load.sum(|r| r.queued + r.evicted), load.heard + load.cut);
    assert_eq!(
        load.sum(|r| r.dropped + r.displaced + r.forwarded + r.refused),
        0
    );
}

#[test]
fn every_receipt_resolves_when_the_engine_stops_meanwhile() {
    let (engine, _strings) = serve(config().shards(2).mailbox_capacity(64));
    let clients = on_each_shard(&engine, 1, Client::connect);
    let handle = engine.handle();
    let (begun, has_begun) = channel();
    let publishing = thread::spawn(move || {
        let mut outcomes = Vec::new();
        loop {
            let pending = handle.to("room").text("hello").publish_with_receipt();
            let (tell, told) = channel();
            let _ = handle
                .to_all()
                .text("hello")
                .publish_then(move |outcome| tell.send(outcome).unwrap());
            outcomes.push((pending, told));
            // Only the first is waited for.
            let _ = begun.send(());
            if handle.to_all().text("hello").publish() == Err(PublishError::Stopped) {
                return outcomes;
            }
        }
    });
    has_begun.recv_timeout(PATIENCE).unwrap();
    drop(engine);
    for (pending, told) in publishing.join().unwrap() {
        let told = told.recv_timeout(PATIENCE).unwrap();
        for outcome in [pending.wait(), told] {
            match outcome {
                Ok(receipt) => assert!(receipt.audience() + receipt.refused <= 2, "{receipt:?}"),
                Err(ReceiptError::Publish(PublishError::Stopped)) => {}
                Err(other) => panic!("{other}"),
            }
        }
    }
    drop(clients);
}
