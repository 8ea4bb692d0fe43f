//! Mailboxes that are full: what is refused is told, what is taken arrives in order.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use throng::{
    Accept, Config, Conn, ConnectionId, Engine, Handler, Message, PublishError, Receipt, Reject,
    Upgrade,
};
use throng_tests::engine::{Client, Heard, PATIENCE, config, serve_with};

const CAPACITY: usize = 4;

/// Joins everybody to one room; holds its shard up when told to, and publishes to the room.
struct Service {
    held: Sender<ConnectionId>,
    go_on: Mutex<Receiver<()>>,
    receipts: Sender<Receipt>,
}

/// The test's side of it.
struct Strings {
    held: Receiver<ConnectionId>,
    go_on: Sender<()>,
    receipts: Receiver<Receipt>,
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
        match message.as_text() {
            Some("hold") => {
                self.held.send(conn.id()).unwrap();
                self.go_on.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            }
            Some("ask") => {
                conn.send("answer");
            }
            _ => {
                let receipt = conn.to("room").message(message).publish();
                self.receipts.send(receipt).unwrap();
            }
        }
    }
}

fn serve(config: Config) -> (Engine, Strings) {
    let ((held, holds), (go_on, goes_on), (receipts, received)) = (channel(), channel(), channel());
    let service = Service {
        held,
        go_on: Mutex::new(goes_on),
        receipts,
    };
    let strings = Strings {
        held: holds,
        go_on,
        receipts: received,
    };
    (serve_with(config, service), strings)
}

/// A connection and its id.
fn connect(engine: &Engine) -> (Client, ConnectionId) {
    let mut client = Client::connect(engine.local_addr().unwrap());
    let Heard::Binary(id) = client.hear() else {
        panic!("no id")
    };
    let id = ConnectionId::from_u64(u64::from_be_bytes(id.try_into().unwrap()));
    (client, id)
}

/// Has the shard of the client wait in its handler.
fn hold(client: &mut Client, strings: &Strings) {
    client.text("hold");
    strings.held.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn other_threads_are_told_that_a_mailbox_is_full() {
    let (engine, strings) = serve(config().mailbox_capacity(CAPACITY));
    let (mut client, id) = connect(&engine);
    hold(&mut client, &strings);
    let full = Err(PublishError::MailboxFull {
        refused: 1,
        addressed: 1,
    });
    for number in 0..CAPACITY {
        engine
            .to("room")
            .text(number.to_string())
            .publish()
            .unwrap();
    }
    assert_eq!(engine.to("room").text("one more").publish(), full);
    assert_eq!(engine.to_all().text("one more").publish(), full);
    assert_eq!(engine.connection(id).send("one more"), full);
    assert_eq!(engine.connection(id).close(1000.into(), ""), full);
    strings.go_on.send(()).unwrap();
    for number in 0..CAPACITY {
        assert_eq!(client.hear(), Heard::Text(number.to_string()));
    }
    assert_eq!(client.ask("ask"), "answer", "and nothing else");
    engine
        .to("room")
        .text("there is room again")
        .publish()
        .unwrap();
    assert_eq!(client.hear(), Heard::Text("there is room again".into()));
}

/// What a shard publishes waits for another that is busy, up to a bound; beyond it the receipt
/// says so, and what arrives is exactly what was handed on.
#[test]
fn shards_wait_for_one_another_without_blocking() {
    let (engine, strings) = serve(config().shards(2).mailbox_capacity(CAPACITY));
    let (mut busy, id) = connect(&engine);
    // The system deals out connections as it likes.
    let mut others = Vec::new();
    let mut publisher = loop {
        let (client, other) = connect(&engine);
        if other.to_u64() >> 55 != id.to_u64() >> 55 {
            break client;
        }
        others.push(client);
        assert!(others.len() < 1000, "all connections are on one shard");
    };
    hold(&mut busy, &strings);
    let mut handed_on = Vec::new();
    let mut refused = 0;
    for number in 0.. {
        publisher.text(&number.to_string());
        let receipt = strings.receipts.recv_timeout(PATIENCE).unwrap();
        assert_eq!(receipt.queued, 1, "it receives its own");
        assert_eq!(publisher.hear(), Heard::Text(number.to_string()));
        match (receipt.forwarded, receipt.refused) {
            (1, 0) => handed_on.push(number),
            (0, 1) => refused += 1,
            _ => panic!("{receipt:?}"),
        }
        assert!(number < 100_000, "it waits without limit");
        if refused == 3 {
            break;
        }
    }
    assert!(handed_on.len() > CAPACITY);
    strings.go_on.send(()).unwrap();
    for number in handed_on {
        assert_eq!(busy.hear(), Heard::Text(number.to_string()));
    }
    assert_eq!(busy.ask("ask"), "answer", "and nothing else");
}
