//! How connections, shards and engines end when something else happens at the same moment.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use throng::protocol::frame::OpCode;
use throng::{
    Accept, Cause, Close, CloseCode, Config, Conn, ConnectionId, Engine, Handler, Message,
    PublishError, Reject, Upgrade,
};
use throng_tests::engine::{Client, Heard, PATIENCE, config, frame, serve, serve_with};

/// Has everybody in one room; holds its shard up when told to; reports what it hears.
struct Service {
    told: Mutex<Sender<Told>>,
    go_on: Mutex<Receiver<()>>,
}

#[derive(Debug, PartialEq)]
enum Told {
    Held,
    Heard(String),
    Closed(String, Cause),
}

impl Service {
    fn tell(&self, told: Told) {
        self.told.lock().unwrap().send(told).unwrap();
    }
}

impl Handler for Service {
    type State = String;

    fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<String>, Reject> {
        let name = request.header("x-name").unwrap_or_default();
        Ok(Accept::new(name.to_owned()))
    }

    fn on_open(&self, conn: &mut Conn<'_, String>) {
        conn.join("room").unwrap();
        conn.send(&conn.id().to_u64().to_be_bytes());
    }

    fn on_message(&self, conn: &mut Conn<'_, String>, message: Message<'_>) {
        match message.as_text().unwrap() {
            "hold" => {
                self.tell(Told::Held);
                self.go_on.lock().unwrap().recv_timeout(PATIENCE).unwrap();
                conn.to("room").text("news").publish();
            }
            text => self.tell(Told::Heard(text.to_owned())),
        }
    }

    fn on_close(&self, conn: &mut Conn<'_, String>, close: &Close) {
        self.tell(Told::Closed(conn.state().clone(), close.cause.clone()));
    }
}

/// The test's side of it.
struct Strings {
    told: Receiver<Told>,
    go_on: Sender<()>,
}

impl Strings {
    fn next(&self) -> Told {
        self.told.recv_timeout(PATIENCE).expect("nothing is told")
    }
}

fn serve_held(config: Config) -> (Engine, Strings) {
    let ((told, tells), (go_on, goes_on)) = (channel(), channel());
    let service = Service {
        told: Mutex::new(told),
        go_on: Mutex::new(goes_on),
    };
    let strings = Strings { told: tells, go_on };
    (serve_with(config, service), strings)
}

/// A connection of that name, and its id.
fn connect(engine: &Engine, name: &str) -> (Client, ConnectionId) {
    let address = engine.local_addr().unwrap();
    let mut client = Client::connect_with(address, &format!("X-Name: {name}\r\n"));
    let Heard::Binary(id) = client.hear() else {
        panic!("its id")
    };
    let id = u64::from_be_bytes(id.try_into().unwrap());
    (client, ConnectionId::from_u64(id))
}

/// A send may fail before what the peer said last was received.
#[test]
fn last_words_are_heard_though_a_send_has_failed() {
    let (engine, strings) = serve_held(config());
    let (mut holder, _) = connect(&engine, "holder");
    let (mut leaver, _) = connect(&engine, "leaver");
    holder.text("hold");
    assert_eq!(strings.next(), Told::Held);
    let words = frame(true, OpCode::Text, b"last words");
    let close = frame(true, OpCode::Close, &1000u16.to_be_bytes());
    leaver.write(&[words, close].concat());
    leaver.reset();
    strings.go_on.send(()).unwrap();
    assert_eq!(strings.next(), Told::Heard("last words".into()));
    let cause = Cause::PeerClosed {
        code: Some(CloseCode::NORMAL),
        reason: String::new(),
    };
    assert_eq!(strings.next(), Told::Closed("leaver".into(), cause));
}

#[test]
fn ends_are_told_in_their_order() {
    let (engine, strings) = serve_held(config());
    let (mut holder, _) = connect(&engine, "holder");
    let leavers = ["Ann", "Ben", "Cem"].map(|name| connect(&engine, name));
    holder.text("hold");
    assert_eq!(strings.next(), Told::Held);
    // The turn that goes on takes note of all of them.
    for (_, id) in leavers.iter().rev() {
        let leaver = engine.connection(*id);
        leaver.close(CloseCode::NORMAL, "").unwrap();
    }
    strings.go_on.send(()).unwrap();
    let code = CloseCode::NORMAL;
    for name in ["Cem", "Ben", "Ann"] {
        let told = Told::Closed(name.into(), Cause::Kicked { code });
        assert_eq!(strings.next(), told);
    }
}

/// Whoever asks a shard that stops is answered or told, never left waiting.
#[test]
fn nobody_waits_for_a_shard_that_stops() {
    for _ in 0..20 {
        let served = serve(config().shards(2));
        let mut member = served.connect();
        assert_eq!(member.ask("!join tea"), "Ok(())");
        let handle = served.engine.handle();
        for _ in 0..2000 {
            handle.to("tea").text("news").publish().unwrap();
        }
        let asking = std::thread::spawn(move || {
            while handle
                .members("tea")
                .is_ok_and(|members| members.len() == 1)
            {}
        });
        served.engine.shutdown();
        let report = served.engine.drain(Duration::ZERO);
        assert_eq!(report.flushed, 0, "{report:?}");
        asking.join().unwrap();
    }
}

/// Shards that have emptied already keep nothing from those that have not.
#[test]
fn who_is_still_there_in_a_drain_is_published_to() {
    let served = serve(config().shards(8));
    let mut client = served.connect();
    assert_eq!(client.ask("!join tea"), "Ok(())");
    let handle = served.engine.handle();
    let draining = std::thread::spawn(move || served.engine.drain(Duration::from_secs(1)));
    let mut heard = 0;
    loop {
        let published = handle.to_all().text("news").publish();
        if published == Err(PublishError::Stopped) {
            break;
        }
        published.unwrap();
        heard += usize::from(client.hear() == Heard::Text("news".into()));
    }
    assert!(heard > 0);
    draining.join().unwrap();
}
