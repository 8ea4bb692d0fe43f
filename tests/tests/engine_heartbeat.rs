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
fn pings_come_at_their_interval_the_first_within_it() {
    const CLIENTS: usize = 16;
    let interval = Duration::from_secs(1);
    let served = serve(config().ping_interval(interval));
    let begun = Instant::now();
    let clients: Vec<Client> = (0..CLIENTS).map(|_| served.connect()).collect();
    let listeners: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                [(); 3].map(|()| {
                    assert_eq!(client.hear(), Heard::Ping(Vec::new()));
                    let heard = begun.elapsed();
                    client.frame(true, OpCode::Pong, b"");
                    heard
                })
            })
        })
        .collect();
    let mut heard: Vec<[Duration; 3]> = listeners
        .into_iter()
        .map(|listener| listener.join().unwrap())
        .collect();
    // However late this machine lets us hear: no ping is early.
    for [_, second, third] in &heard {
        assert!(*second >= interval && *third >= interval * 2, "{heard:?}");
    }
    heard.sort();
    let (earliest, latest) = (heard[0][0], heard[CLIENTS - 1][0]);
    assert!(
        earliest < interval / 2,
        "the first pings come within the interval: {heard:?}"
    );
    assert!(
        latest - earliest >= interval / 10,
        "and not all at once: {heard:?}"
    );
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
