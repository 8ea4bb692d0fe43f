//! What the service makes of gaps, and which rooms are named.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use throng::{
    Accept, Cause, Close, Conn, Gap, Handler, Message, Overflow, OwnedMessage, Reject, Upgrade,
};
use throng_tests::engine::{Client, Heard, PATIENCE, config, gap, request, serve_with};

const SIZE: usize = 16 * 1024;
/// Messages of a flood at least: more than the system holds for one connection of small buffers.
const FLOOD: usize = 1000;
const QUEUE: usize = 10;

/// Whoever comes with the header `slow` is in all rooms; others have something published to each,
/// and to everybody else, over and over.
struct Rooms {
    rooms: Vec<String>,
    told: Telling,
    closed: Mutex<Sender<Close>>,
}

/// What is made of gaps.
#[derive(Clone, Copy, PartialEq)]
enum Telling {
    Default,
    Words,
    Nothing,
    Panic,
}

impl Handler for Rooms {
    type State = bool;

    fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<bool>, Reject> {
        Ok(Accept::new(request.header("slow").is_some()))
    }

    fn on_open(&self, conn: &mut Conn<'_, bool>) {
        if *conn.state() {
            self.rooms.iter().for_each(|room| conn.join(room).unwrap());
        }
    }

    fn on_message(&self, conn: &mut Conn<'_, bool>, message: Message<'_>) {
        if *conn.state() {
            conn.send(message);
            return;
        }
        let padding = ".".repeat(SIZE);
        for _ in 0..rounds(self.rooms.len()) {
            for room in &self.rooms {
                let _ = conn.to(room).text(&padding).publish();
            }
            let _ = conn.to_all().except_self().text(&padding).publish();
        }
        conn.send("flooded");
    }

    fn gap_notice(&self, conn: &Conn<'_, bool>, gap: &Gap<'_>) -> Option<OwnedMessage> {
        assert!(*conn.state(), "it is the slow one's");
        match self.told {
            Telling::Default => Some(gap.to_json()),
            Telling::Words => Some(format!("{:?} lost {}", gap.room, gap.missed).into()),
            Telling::Nothing => None,
            Telling::Panic => panic!("as told"),
        }
    }

    fn on_close(&self, conn: &mut Conn<'_, bool>, close: &Close) {
        if *conn.state() {
            let _ = self.closed.lock().unwrap().send(close.clone());
        }
    }
}

/// How often a flood comes to each of so many rooms.
fn rounds(rooms: usize) -> usize {
    FLOOD.div_ceil(rooms + 1)
}

/// What a slow reader of so many rooms hears, the padding aside, and how it ended.
fn heard(rooms: usize, told: Telling) -> (Vec<Heard>, usize, Close) {
    let (sender, closed) = channel();
    let service = Rooms {
        rooms: (0..rooms).map(|room| format!("room {room}")).collect(),
        told,
        closed: Mutex::new(sender),
    };
    let config = config()
        .overflow(Overflow::DropOldest)
        .send_queue_bytes(64 << 20)
        .send_queue_messages(QUEUE);
    let engine = serve_with(config, service);
    let address = engine.local_addr().unwrap();
    let mut slow = Client::silent_small(address);
    slow.upgrade(&request("slow: yes\r\n"));
    let mut loud = Client::connect(address);
    // What one turn makes meets no bounds; the second time it is behind.
    for _ in 0..2 {
        loud.text("flood");
        assert_eq!(loud.hear(), Heard::Text("flooded".into()));
    }
    slow.text("the end");
    let (mut heard, mut padding) = (Vec::new(), 0);
    loop {
        match slow.hear() {
            Heard::Text(text) if text.len() == SIZE => padding += 1,
            Heard::Text(text) if text == "the end" => break,
            Heard::Close(code, reason) => {
                heard.push(Heard::Close(code, reason));
                break;
            }
            other => heard.push(other),
        }
    }
    drop(slow);
    (heard, padding, closed.recv_timeout(PATIENCE).unwrap())
}

#[test]
fn few_rooms_are_named_and_the_rest_is_one_sum() {
    const ROOMS: usize = 18;
    let (heard, padding, close) = heard(ROOMS, Telling::Default);
    let mut missed = BTreeMap::new();
    for notice in &heard {
        let Heard::Text(text) = notice else {
            panic!("{notice:?}")
        };
        let (room, count) = gap(text).expect("a notice");
        *missed.entry(room).or_insert(0) += count;
    }
    assert!(
        missed.contains_key(&None) && missed.len() > 16,
        "{missed:?}"
    );
    let missed: usize = missed.values().sum();
    assert_eq!(padding + missed, 2 * rounds(ROOMS) * (ROOMS + 1));
    assert_eq!(close.counts.dropped, missed as u64);
    assert_eq!(close.counts.notices, heard.len() as u64);
}

#[test]
fn the_service_finds_its_own_words() {
    let (heard, padding, _) = heard(1, Telling::Words);
    let text = |heard: &Heard| match heard {
        Heard::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    let missed = |text: String| text.rsplit(' ').next().unwrap().parse::<usize>().unwrap();
    assert!(
        heard
            .iter()
            .map(text)
            .any(|text| text.starts_with("Some(\"room 0\") lost "))
    );
    let missed: usize = heard.iter().map(text).map(missed).sum();
    assert_eq!(padding + missed, 2 * 2 * rounds(1));
}

#[test]
fn the_service_may_tell_nothing() {
    let (heard, padding, close) = heard(1, Telling::Nothing);
    assert_eq!(heard, []);
    assert_eq!(close.counts.notices, 0);
    assert_eq!(padding + close.counts.dropped as usize, 2 * 2 * rounds(1));
}

#[test]
fn a_panic_ends_that_connection_only() {
    let (heard, _, close) = heard(1, Telling::Panic);
    assert_eq!(close.cause, Cause::HandlerPanicked);
    assert_eq!(heard, [Heard::Close(Some(1011), "internal error".into())]);
}
