//! Pings, pongs and silence.

use std::time::{Duration, Instant};

use throng::Cause;
use throng::protocol::frame::OpCode;
use throng_tests::engine::{Heard, config, serve};

#[test]
fn pings_come_at_their_interval_the_first_within_it() {
    let interval = Duration::from_millis(200);
    let served = serve(config().ping_interval(interval));
    let mut first = Vec::new();
    for _ in 0..8 {
        let begun = Instant::now();
        let mut client = served.connect();
        assert_eq!(client.hear(), Heard::Ping(Vec::new()));
        first.push(begun.elapsed());
        client.frame(true, OpCode::Pong, b"");
        let begun = Instant::now();
        assert_eq!(client.hear(), Heard::Ping(Vec::new()));
        assert!(
            begun.elapsed() >= interval - Duration::from_millis(50),
            "{:?}",
            begun.elapsed()
        );
    }
    first.sort();
    let spread = first[first.len() - 1] - first[0];
    assert!(
        spread >= interval / 10,
        "the first pings are spread out: {first:?}"
    );
}

#[test]
fn anything_heard_is_a_sign_of_life() {
    let served = serve(
        config()
            .ping_interval(Duration::from_millis(100))
            .pong_timeout(Duration::from_millis(500)),
    );
    let mut client = served.connect();
    // No pong, but something every now and then.
    for _ in 0..15 {
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(client.ask("still here"), "still here");
    }
    // And silence is none.
    assert_eq!(served.next_cause(), Cause::HeartbeatMissed);
}

#[test]
fn only_messages_keep_an_idle_connection_open() {
    let config = config()
        .idle_timeout(Duration::from_millis(400))
        .ping_interval(Duration::from_millis(50));
    let served = serve(config);
    let mut client = served.connect();
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(client.ask("something"), "something");
    }
    let begun = Instant::now();
    let close = loop {
        match client.hear() {
            Heard::Ping(payload) => client.frame(true, OpCode::Pong, &payload),
            other => break other,
        }
    };
    assert!(matches!(close, Heard::Close(Some(1008), _)), "{close:?}");
    assert!(
        begun.elapsed() >= Duration::from_millis(300),
        "{:?}",
        begun.elapsed()
    );
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
