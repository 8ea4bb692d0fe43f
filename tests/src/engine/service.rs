//! A service that does as its clients tell it, and reports what happens.

use std::sync::Mutex;
use std::sync::mpsc::Sender;

use throng::{
    Accept, Close, CloseCode, Conn, ConnectionId, Handler, Message, Receipt, Reject, Upgrade,
};

/// What happened on a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// It was opened.
    Opened(ConnectionId),
    /// It was told to publish or to send; this is the receipt.
    Published(Receipt),
    /// It was closed, while in these rooms.
    Closed {
        /// Which one.
        id: ConnectionId,
        /// Why.
        close: Close,
        /// Its rooms, in the order joined.
        rooms: Vec<String>,
    },
    /// Its state was dropped.
    Forgotten,
}

/// Echoes messages, and obeys those texts that begin with `!`:
///
/// | command | what it does |
/// |---|---|
/// | `!id`, `!peer` | answers with the connection's id as a number, with who is at its other end |
/// | `!join R`, `!leave R`, `!leave_all` | answers with the outcome |
/// | `!rooms`, `!len R`, `!members R` | answers with what it finds |
/// | `!to R TEXT`, `!others R TEXT`, `!high R TEXT` | publishes to a room, all but itself, on the high lane |
/// | `!union R S TEXT`, `!minus R S TEXT` | publishes to both, or to R less S |
/// | `!all TEXT` | publishes to everybody |
/// | `!one ID TEXT` | sends to one connection |
/// | `!pad R NUMBER BYTES` | publishes to a room: the number in eight digits, and dots up to the size |
/// | `!keyed R KEY NUMBER BYTES` | the same with a key, which follows the number |
/// | `!counts` | answers how many messages went out, were dropped, were conflated, and were notices |
/// | `!flood N BYTES` | sends itself N binary messages, each beginning with its number |
/// | `!noise N BYTES` | sends itself N binary messages that do not shrink |
/// | `!urgent TEXT` | sends itself a text on the high lane |
/// | `!ping TEXT` | sends itself a ping |
/// | `!close CODE REASON` | closes the connection |
/// | `!invalid` | reports the message as invalid, and answers |
/// | `!panic` | panics |
/// | `!panic_at_close` | panics when the connection closes |
///
/// What happens before a connection's first message depends on the path asked for.
#[derive(Debug)]
pub struct Obedient {
    reports: Mutex<Sender<Happening>>,
}

/// The state of a connection.
#[derive(Debug)]
pub struct State {
    reports: Sender<Happening>,
    at_open: AtOpen,
    panics_at_close: bool,
}

/// What is done when the connection is opened, by the path that was asked for.
#[derive(Clone, Copy, Debug)]
enum AtOpen {
    Nothing,
    Greet,
    Close,
    Panic,
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = self.reports.send(Happening::Forgotten);
    }
}

impl Obedient {
    /// A service that reports to `reports`.
    pub fn new(reports: Sender<Happening>) -> Obedient {
        Obedient {
            reports: Mutex::new(reports),
        }
    }
}

impl Handler for Obedient {
    type State = State;

    fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<State>, Reject> {
        let state = State {
            reports: self.reports.lock().unwrap().clone(),
            at_open: match request.path() {
                "/greeted" => AtOpen::Greet,
                "/closed-at-open" => AtOpen::Close,
                "/panic-at-open" => AtOpen::Panic,
                _ => AtOpen::Nothing,
            },
            panics_at_close: false,
        };
        let accept = Accept::new(state);
        match request.path() {
            "/panic" => panic!("as told"),
            "/reject" => Err(Reject::new(418).text("no").header("X-Why", "told so")),
            "/reject-badly" => Err(Reject::new(418).header("X-Why", "line\r\nbreak")),
            "/reject-with-200" => Err(Reject::new(200)),
            "/accept" => Ok(accept
                .user_id("ann")
                .metadata("device", "phone")
                .header("X-Served-By", "throng")),
            "/subprotocol" => Ok(accept.subprotocol("chosen")),
            "/inject" => Ok(accept.header("X", "a\r\nSet-Cookie: b")),
            _ => Ok(accept),
        }
    }

    fn on_open(&self, conn: &mut Conn<'_, State>) {
        let report = Happening::Opened(conn.id());
        let _ = conn.state().reports.send(report);
        match conn.state().at_open {
            AtOpen::Nothing => {}
            AtOpen::Greet => answer(conn, "welcome"),
            AtOpen::Close => conn.close(CloseCode::from(4000), "not today"),
            AtOpen::Panic => panic!("as told"),
        }
    }

    fn on_message(&self, conn: &mut Conn<'_, State>, message: Message<'_>) {
        match message.as_text().and_then(|text| text.strip_prefix('!')) {
            Some(command) => obey(conn, command),
            None => {
                conn.send(message);
            }
        }
    }

    fn on_close(&self, conn: &mut Conn<'_, State>, close: &Close) {
        let rooms: Vec<String> = conn.rooms().map(str::to_owned).collect();
        for room in &rooms {
            let receipt = conn.to(room).text(format!("gone from {room}")).publish();
            report(conn, receipt);
        }
        let report = Happening::Closed {
            id: conn.id(),
            close: close.clone(),
            rooms,
        };
        let _ = conn.state().reports.send(report);
        assert!(!conn.state().panics_at_close, "as told");
    }
}

fn obey(conn: &mut Conn<'_, State>, command: &str) {
    let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
    let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
    match verb {
        "id" => answer(conn, &conn.id().to_u64().to_string()),
        "user" => answer(
            conn,
            &format!("{:?} {:?}", conn.user_id(), conn.metadata("device")),
        ),
        "subprotocol" => answer(conn, &format!("{:?}", conn.subprotocol())),
        "invalid" => {
            conn.report_invalid();
            answer(conn, "not understood");
        }
        "join" => {
            let joined = conn.join(first);
            answer(conn, &format!("{joined:?}"));
        }
        "leave" => {
            let was_member = conn.leave(first);
            answer(conn, &was_member.to_string());
        }
        "leave_all" => {
            conn.leave_all();
            answer(conn, "left");
        }
        "rooms" => {
            let rooms: Vec<&str> = conn.rooms().collect();
            let rooms = rooms.join(",");
            answer(conn, &rooms);
        }
        "len" => answer(conn, &conn.room_len(first).to_string()),
        "members" => answer(conn, &format!("{:?}", conn.engine().members(first))),
        "counts" => {
            let counts = conn.counts();
            let (out, dropped) = (counts.messages_out, counts.dropped);
            let (conflated, notices) = (counts.conflated, counts.notices);
            answer(conn, &format!("{out} {dropped} {conflated} {notices}"));
        }
        "peer" => answer(conn, &format!("{:?}", conn.peer())),
        "panic" => panic!("as told"),
        "panic_at_close" => conn.state_mut().panics_at_close = true,
        "ping" => conn.ping(rest.as_bytes()),
        "close" => conn.close(CloseCode::from(first.parse::<u16>().unwrap()), second),
        _ => publish(conn, verb, first, second, rest),
    }
}

fn publish(conn: &mut Conn<'_, State>, verb: &str, first: &str, second: &str, rest: &str) {
    let receipt = match verb {
        "to" => conn.to(first).text(second).publish(),
        "others" => conn.to(first).except_self().text(second).publish(),
        "high" => conn.to(first).high().text(second).publish(),
        "union" | "minus" => {
            let (other, text) = second.split_once(' ').unwrap();
            let to = conn.to(first);
            let to = if verb == "union" {
                to.and_to(other)
            } else {
                to.except_room(other)
            };
            to.text(text).publish()
        }
        "all" => conn.to_all().text(rest).publish(),
        "one" => {
            let id = ConnectionId::from_u64(first.parse().unwrap());
            conn.to_connection(id).send(second)
        }
        "pad" => {
            let (number, size) = second.split_once(' ').unwrap();
            let padding = ".".repeat(size.parse::<usize>().unwrap() - 8);
            conn.to(first)
                .text(format!("{number:0>8}{padding}"))
                .publish()
        }
        "keyed" => {
            let mut words = second.splitn(3, ' ');
            let mut word = || words.next().unwrap();
            let (key, number, size) = (word(), word(), word().parse::<usize>().unwrap());
            let text = format!("{number:0>8}{key}");
            conn.to(first)
                .key(key)
                .text(format!("{text:.<size$}"))
                .publish()
        }
        "urgent" => conn.high().send(rest),
        "flood" => return flood(conn, first.parse().unwrap(), second.parse().unwrap()),
        "noise" => return noise(conn, first.parse().unwrap(), second.parse().unwrap()),
        _ => panic!("what is !{verb}?"),
    };
    report(conn, receipt);
}

fn noise(conn: &mut Conn<'_, State>, count: usize, size: usize) {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..count {
        let words = std::iter::repeat_with(|| random.u64(..).to_ne_bytes());
        let payload: Vec<u8> = words.flatten().take(size).collect();
        let receipt = conn.send(&payload);
        report(conn, receipt);
    }
}

fn flood(conn: &mut Conn<'_, State>, count: u32, size: usize) {
    for number in 0..count {
        let mut payload = vec![0; size];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        let receipt = conn.send(&payload);
        report(conn, receipt);
    }
}

fn report(conn: &Conn<'_, State>, receipt: Receipt) {
    let _ = conn.state().reports.send(Happening::Published(receipt));
}

fn answer(conn: &mut Conn<'_, State>, text: &str) {
    conn.send(text);
}
