//! Attacks by ending: resets at every stage, storms of closes, connecting for nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use throng::Cause;
use throng::protocol::close::CloseCode;
use throng::protocol::frame::OpCode;
use throng_tests::engine::{Client, Heard, config, frame, request, until};
use throng_tests::hostile::{BYSTANDERS, CONNECTION, Counting, NOISE, Siege, asking, in_parallel};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes of a message that comes in parts.
const MESSAGE: usize = 30_000;

/// Waits until there is room where only so few may be at once: no place was lost.
fn expect_room(siege: &Siege, places: usize) {
    let mut clients: Vec<Client> = Vec::new();
    until("a place for each", || {
        let mut client = Client::silent(siege.address());
        client.write(request("").as_bytes());
        if client.read_head().starts_with("HTTP/1.1 101 ") {
            clients.push(client);
        }
        clients.len() == places
    });
    for client in &mut clients {
        assert_eq!(client.ask("hello"), "hello");
    }
}

/// How far a client goes before it resets the connection, and whether it is let in for certain.
type Stage = (&'static str, bool, fn(&mut Client));

const STAGES: [Stage; 11] = [
    ("connected", false, |_| {}),
    ("half of a request", false, |client| {
        client.write(&request("").as_bytes()[..60]);
    }),
    ("a request unanswered", false, |client| {
        client.write(request("").as_bytes());
    }),
    ("a request for a page", false, |client| {
        client.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    }),
    ("a request refused", false, |client| {
        client.write(b"GET / HTTP/0.1\r\n\r\n");
        client.read_head();
    }),
    ("open", true, |client| client.upgrade(&request(""))),
    ("half of a header", true, |client| {
        client.upgrade(&request(""));
        client.write(&[0x82]);
    }),
    ("half of a message", true, |client| {
        client.upgrade(&request(""));
        client.write(&frame(true, OpCode::Binary, &[7; 1000])[..500]);
    }),
    ("between fragments", true, |client| {
        client.upgrade(&request(""));
        client.frame(false, OpCode::Text, b"half of a");
    }),
    ("an echo unread", true, |client| {
        client.upgrade(&request(""));
        client.binary(&[7; MESSAGE]);
    }),
    ("a listener", true, |client| client.upgrade(&asking(NOISE))),
];

#[test]
fn resets_at_every_stage_cost_nobody_else_anything() {
    const EACH: usize = 50;
    const PLACES: usize = EACH + 10;
    let siege = Siege::begin(config().max_connections(BYSTANDERS + PLACES));
    let mut let_in = 0;
    for (what, is_let_in, go) in STAGES {
        let mut clients: Vec<Client> = (0..EACH).map(|_| Client::silent(siege.address())).collect();
        clients.iter_mut().for_each(go);
        clients.into_iter().for_each(Client::reset);
        let_in += if is_let_in { EACH } else { 0 };
        siege.live_on();
        siege.until_alone();
        // Those of one stage give their places back before the next is at it.
        expect_room(&siege, PLACES);
        let_in += PLACES;
        siege.until_alone();
        assert!(siege.tally().opened() >= let_in, "{what}");
    }
    until("each end to be told", || {
        siege.tally().ended(&Cause::PeerVanished) == siege.tally().opened()
    });
    // The message, in a buffer of less than twice its size, and its echo.
    let bound = EACH * (3 * MESSAGE + CONNECTION);
    let attack = format!("resets at {} stages × {EACH}", STAGES.len());
    siege.withstood(&attack, "vanished", bound);
}

#[test]
fn a_reset_instead_of_the_answer_to_a_close() {
    const EACH: usize = 200;
    let siege = Siege::begin(config());
    let address = siege.address();
    siege.beside(|| {
        for _ in 0..EACH {
            let mut client = Client::connect(address);
            client.close(3000, "and gone");
            client.reset();
        }
    });
    until("each end to be told", || {
        let causes = siege.tally().causes();
        causes.iter().map(|(_, count)| count).sum::<usize>() == EACH
    });
    siege.live_on();
    siege.withstood(
        "close, then reset × 200",
        "whichever came first",
        EACH * CONNECTION,
    );
}

/// Ends them all: closing with a code, closing without, ending the stream, resetting. Hears the
/// answers when all have been asked for.
fn close_all(mut clients: Vec<Client>) {
    let mut answered = Vec::new();
    while let Some(mut client) = clients.pop() {
        match clients.len() % 4 {
            0 => client.close(1000, ""),
            1 => client.frame(true, OpCode::Close, b""),
            2 => {
                client.finish();
                answered.push((client, Heard::End));
                continue;
            }
            _ => {
                client.reset();
                continue;
            }
        }
        let code = clients.len().is_multiple_of(4).then_some(1000);
        answered.push((client, Heard::Close(code, String::new())));
    }
    for (client, expected) in &mut answered {
        assert_eq!(client.hear(), *expected);
    }
}

#[test]
fn storms_of_closes_are_weathered() {
    const EACH: usize = 500;
    let settings = config().max_connections(BYSTANDERS + 4 * EACH + 10);
    let siege = Siege::begin(settings);
    let clients: Vec<Client> = (0..4 * EACH)
        .map(|_| Client::connect(siege.address()))
        .collect();
    siege.live_on();
    siege.beside(|| close_all(clients));
    siege.until_ended(&Cause::PeerVanished, 2 * EACH);
    for code in [Some(CloseCode::NORMAL), None] {
        let reason = String::new();
        siege.until_ended(&Cause::PeerClosed { code, reason }, EACH);
    }
    siege.live_on();
    let attack = format!("{} closes at once, four kinds", 4 * EACH);
    siege.withstood(&attack, "answered", 4 * EACH * CONNECTION);
}

#[test]
fn ten_thousand_aborts_take_no_place() {
    const THREADS: usize = 4;
    const ABORTS: usize = 10_000;
    const PLACES: usize = 64;
    let siege = Siege::begin(config().max_connections(BYSTANDERS + PLACES));
    let address = siege.address();
    siege.beside(|| {
        in_parallel(THREADS, |_| {
            for _ in 0..ABORTS / THREADS {
                Client::silent(address).reset();
            }
        })
    });
    siege.live_on();
    expect_room(&siege, PLACES);
    siege.live_on();
    // Those who find no place are told so, in turn.
    let surplus = 1024 + 64;
    siege.withstood("10,000 aborts", "reset", surplus * CONNECTION);
}
