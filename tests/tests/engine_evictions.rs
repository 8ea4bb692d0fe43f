//! What one connection's end brings about for others: each is ended once, and nobody gets what is not
//! for it.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use throng::{Accept, Conn, Engine, Handler, Message, Reject, Upgrade};
use throng_tests::engine::{Client, Heard, config, serve_with};

/// Does what it is told by the first word of a message.
struct Square {
    /// Told when the shard is held, and asked when it may go on.
    holds: Sender<()>,
    goes_on: Arc<Mutex<Receiver<()>>>,
}

impl Handler for Square {
    type State = ();

    fn on_upgrade(&self, _: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        let text = message.as_text().unwrap().to_owned();
        let mut words = text.split(' ');
        match words.next() {
            Some("join") => {
                words.for_each(|room| conn.join(room).unwrap());
                conn.send("joined");
            }
            Some("publish") => {
                let room = words.next().unwrap();
                conn.to(room).text(words.next().unwrap()).publish();
            }
            Some("large") => {
                conn.to("all").binary(vec![7; 8 << 20]).publish();
            }
            Some("each") => {
                let rooms = words.next().unwrap().parse().unwrap();
                (0..rooms).for_each(|room: usize| {
                    conn.to(&room.to_string()).text("x").publish();
                });
            }
            Some("hold") => {
                self.holds.send(()).unwrap();
                self.goes_on.lock().unwrap().recv().unwrap();
            }
            _ => drop(conn.send(message)),
        }
    }
}

struct World {
    engine: Engine,
    held: Receiver<()>,
    go_on: Sender<()>,
}

fn world(config: throng::Config) -> World {
    let ((holds, held), (go_on, goes_on)) = (channel(), channel());
    let goes_on = Arc::new(Mutex::new(goes_on));
    World {
        engine: serve_with(config, Square { holds, goes_on }),
        held,
        go_on,
    }
}

impl World {
    fn connect(&self) -> Client {
        Client::connect(self.engine.local_addr().unwrap())
    }

    /// One that takes little unless it reads.
    fn connect_small(&self, rooms: &str) -> Client {
        let mut client = Client::connect_small(self.engine.local_addr().unwrap());
        assert_eq!(client.ask(&format!("join {rooms}")), "joined");
        client
    }

    /// Waits until so many connections are open, and no other number for a while.
    fn until_open(&self, asking: &mut Client, count: usize) {
        while self.engine.handle().connections() != count {
            assert_eq!(asking.ask("?"), "?");
        }
        assert_eq!(asking.ask("?"), "?");
        assert_eq!(self.engine.handle().connections(), count);
    }
}

/// Those who end while messages for a room gather, and are not in it, do not count.
#[test]
fn who_ends_beside_a_run_is_no_member() {
    let world = world(config());
    let mut holder = world.connect();
    let mut member = world.connect();
    assert_eq!(member.ask("join solo"), "joined");
    let (one, two) = (world.connect(), world.connect());
    let mut publisher = world.connect();
    world.until_open(&mut holder, 5);
    holder.text("hold");
    world.held.recv().unwrap();
    member.text("publish solo 1");
    drop((one, two));
    publisher.text("publish solo 2");
    world.go_on.send(()).unwrap();
    assert_eq!([(); 2].map(|()| member.hear()), ["1", "2"].map(text));
    assert_eq!(publisher.ask("still here?"), "still here?");
    world.until_open(&mut publisher, 3);
}

fn text(text: &str) -> Heard {
    Heard::Text(text.to_owned())
}

/// Of two who are behind, one overflows by its room's batch: the other, in another room, goes on
/// getting what is its own.
#[test]
fn a_batch_that_is_too_much_for_one_goes_to_no_other_room() {
    let window = Duration::from_millis(300);
    let settings = config().batch_window(window).send_queue_messages(30);
    let world = world(settings.send_queue_bytes(64 << 20));
    let _overflows = world.connect_small("all its ours");
    let mut slow = world.connect_small("all ours");
    let mut publisher = world.connect();
    publisher.text("large");
    assert_eq!(publisher.ask("sent?"), "sent?");
    for _ in 0..40 {
        publisher.text("publish its secret");
    }
    publisher.text("publish ours hello");
    world.until_open(&mut publisher, 2);
    slow.text("done");
    let mut texts = Vec::new();
    loop {
        match slow.hear() {
            Heard::Binary(bytes) => assert_eq!(bytes.len(), 8 << 20),
            Heard::Text(text) if text == "done" => break,
            Heard::Text(text) => texts.push(text),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(texts, ["hello"]);
}

/// Each one that is given up has another room's batch go out, which is too much for the next one.
#[test]
fn ends_that_bring_about_ends_come_one_after_another() {
    const SLOW: usize = 6000;
    let window = Duration::from_secs(1);
    let settings = config().batch_window(window).send_queue_messages(1);
    let world = world(settings.send_queue_bytes(64 << 20));
    let rooms = (0..SLOW).map(|room| format!("all {room} {}", room + 1));
    let _slow: Vec<Client> = rooms.map(|rooms| world.connect_small(&rooms)).collect();
    let mut publisher = world.connect();
    publisher.text("large");
    publisher.text(&format!("each {SLOW}"));
    world.until_open(&mut publisher, 1);
}
