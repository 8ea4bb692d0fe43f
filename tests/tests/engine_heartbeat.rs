//! Pings, pongs and silence.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::time::{Duration, Instant};

use throng::Cause;
use throng::protocol::frame::OpCode;
use throng_tests::engine::{Client, Happening, Heard, PATIENCE, config, serve};

#[test]
fn no_ping_comes_before_its_interval_is_over() {
    let interval = Duration::from_millis(300);
    let served = serve(config().ping_interval(interval));
    let begun = Instant::now();
    let mut clients: Vec<Client> = (0..4).map(|_| served.connect()).collect();
    // The first one may come at any time. However late this machine lets us hear, none is early.
    for number in 0..3 {
        for client in &mut clients {
            assert_eq!(client.hear(), Heard::Ping(Vec::new()));
            assert!(begun.elapsed() >= interval * number, "ping {number}");
            client.frame(true, OpCode::Pong, b"");
        }
    }
}

/// The earliest of many first pings comes long before the interval is over, and the others do not
/// come with it. What is compared is the order of pings and echoes, not times.
#[test]
fn first_pings_are_spread_over_the_interval() {
    const CLIENTS: usize = 64;
    let beat = config().ping_interval(PATIENCE).pong_timeout(PATIENCE * 2);
    let served = serve(beat);
    let begun = Instant::now();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| served.connect()).collect();
    let mut pinged = [false; CLIENTS];
    let mut ask_all = || {
        for (client, pinged) in clients.iter_mut().zip(&mut pinged) {
            client.text("anything before?");
            while client.hear() == Heard::Ping(Vec::new()) {
                *pinged = true;
            }
        }
        pinged.iter().filter(|pinged| **pinged).count()
    };
    while ask_all() == 0 {
        assert!(begun.elapsed() < PATIENCE, "nobody is pinged");
        std::thread::sleep(Duration::from_millis(10));
    }
    // Those pinged in the same turn have all heard of it by now.
    let count = ask_all();
    assert!(count < CLIENTS / 2, "{count} were pinged at once");
}

/// A pong that comes after the interval, but not too late, is followed by the next ping.
#[test]
fn a_pong_may_take_its_time() {
    let interval = Duration::from_millis(50);
    let served = serve(
        config()
            .ping_interval(interval)
            .pong_timeout(PATIENCE * 100),
    );
    let mut client = served.connect();
    for _ in 0..5 {
        assert_eq!(client.hear(), Heard::Ping(Vec::new()));
        std::thread::sleep(interval * 3);
        client.frame(true, OpCode::Pong, b"");
    }
    assert!(
        served
            .rest()
            .iter()
            .all(|h| matches!(h, Happening::Opened(_)))
    );
}

#[test]
fn anything_heard_is_a_sign_of_life() {
    let pong_timeout = Duration::from_secs(2);
    let pinged = config().ping_interval(Duration::from_millis(100));
    let served = serve(pinged.pong_timeout(pong_timeout));
    let mut client = served.connect();
    let begun = Instant::now();
    // No pong, but something every now and then.
    while begun.elapsed() < pong_timeout * 2 {
        assert_eq!(client.ask("still here"), "still here");
        std::thread::sleep(pong_timeout / 10);
    }
    // And silence is none.
    assert_eq!(served.next_cause(), Cause::HeartbeatMissed);
}

#[test]
fn only_messages_keep_an_idle_connection_open() {
    let idle = Duration::from_secs(2);
    let pinged = config().ping_interval(Duration::from_millis(100));
    let served = serve(pinged.idle_timeout(idle));
    let mut client = served.connect();
    let begun = Instant::now();
    while begun.elapsed() < idle * 3 / 2 {
        assert_eq!(client.ask("something"), "something");
        std::thread::sleep(idle / 10);
    }
    let begun = Instant::now();
    assert_eq!(client.ask("the last thing"), "the last thing");
    // From here on every ping is answered, also the one that came before the echo.
    client.frame(true, OpCode::Pong, b"");
    let (mut pings, mut close) = (0, None);
    while close.is_none() && begun.elapsed() < PATIENCE {
        match client.hear() {
            Heard::Ping(payload) => {
                pings += 1;
                client.frame(true, OpCode::Pong, &payload);
            }
            other => close = Some(other),
        }
    }
    assert!(
        matches!(close, Some(Heard::Close(Some(1008), _))),
        "{close:?}"
    );
    assert!(pings > 1, "{pings} pings");
    assert!(begun.elapsed() >= idle, "{:?}", begun.elapsed());
    assert_eq!(served.next_cause(), Cause::Policy);
}

#[test]
fn a_service_may_ping_too() {
    let served = serve(config());
    let mut client = served.connect();
    client.text("!ping who goes there?");
    assert_eq!(client.hear(), Heard::Ping(b"who goes there?".to_vec()));
    client.text(&format!("!ping {}", "x".repeat(200)));
    assert_eq!(client.hear(), Heard::Ping(vec![b'x'; 125]));
}
