//! Emptying an engine, and its end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use throng::{Cause, CloseCode, PublishError};
use throng_tests::engine::{Client, Happening, Heard, PATIENCE, Served, config, request, serve};

#[test]
fn everybody_is_told_over_the_window_and_flushed() {
    const CLIENTS: usize = 60;
    let window = Duration::from_millis(600);
    let served = serve(config().shards(2));
    let address = served.address();
    let clients: Vec<Client> = (0..CLIENTS).map(|_| served.connect()).collect();
    served.until("all are open", |engine| engine.connections() == CLIENTS);
    served
        .engine
        .to_all()
        .text("x".repeat(100_000))
        .publish()
        .unwrap();
    let begun = Instant::now();
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                assert_eq!(client.hear(), Heard::Text("x".repeat(100_000)));
                client.expect_close(1012);
                begun.elapsed()
            })
        })
        .collect();
    let report = served.engine.drain(window);
    assert!(begun.elapsed() >= window * 9 / 10, "{:?}", begun.elapsed());
    assert_eq!(
        (report.connections, report.flushed),
        (CLIENTS, CLIENTS),
        "{report:?}"
    );
    assert_eq!((report.cut, report.messages_cut), (0, 0), "{report:?}");
    let mut told: Vec<Duration> = readers
        .into_iter()
        .map(|reader| reader.join().unwrap())
        .collect();
    told.sort();
    assert!(
        told[CLIENTS / 4] < told[CLIENTS * 3 / 4],
        "not all at once: {told:?}"
    );
    assert!(told[CLIENTS - 1] - told[0] >= window / 2, "{told:?}");
    assert!(
        std::net::TcpStream::connect(address).is_err(),
        "nobody listens any more"
    );
}

#[test]
fn the_code_says_whether_the_service_comes_back() {
    let served = serve(config());
    let mut client = served.connect();
    let reader = std::thread::spawn(move || client.expect_close(1001));
    let report = served
        .engine
        .drain_with(CloseCode::GOING_AWAY, Duration::ZERO);
    assert_eq!((report.connections, report.flushed), (1, 1), "{report:?}");
    reader.join().unwrap();
}

/// Messages larger than a batch: those in flight are one.
const LARGE: usize = 100_000;

#[test]
fn who_does_not_read_is_cut_and_counted() {
    const MESSAGES: usize = 100;
    let config = config().close_timeout(Duration::from_millis(300));
    let served = serve(config.send_queue_messages(1000).send_queue_bytes(1 << 30));
    let mut deaf = Client::connect_small(served.address());
    deaf.text(&format!("!flood {MESSAGES} {LARGE}"));
    let mut fine = served.connect();
    assert_eq!(fine.ask("hello"), "hello");
    let reader = std::thread::spawn(move || fine.expect_close(1012));
    let Served { engine, happenings } = served;
    let report = engine.drain(Duration::ZERO);
    assert_eq!(
        (report.connections, report.flushed, report.cut),
        (2, 1, 1),
        "{report:?}"
    );
    let mut closes = happenings.iter().filter_map(|happening| match happening {
        Happening::Closed { close, .. } => Some(close),
        _ => None,
    });
    let deafs = closes.find(|close| close.counts.messages_out > 1).unwrap();
    // The last of those handed on is still in flight.
    let unsent = MESSAGES - deafs.counts.messages_out as usize + 1;
    assert!(unsent > 10, "{:?}", deafs.counts);
    assert_eq!(deafs.waiting + 1, unsent as u64);
    assert_eq!(report.messages_cut, unsent, "a close frame is no message");
    reader.join().unwrap();
}

#[test]
fn who_reads_slowly_gets_everything_that_was_queued() {
    const MESSAGES: u32 = 100;
    let config = config().close_timeout(PATIENCE).send_queue_messages(1000);
    let served = serve(config.send_queue_bytes(1 << 30));
    let mut slow = Client::connect_small(served.address());
    slow.text(&format!("!flood {MESSAGES} {LARGE}"));
    // Its first message says that the flood is queued.
    let first = slow.hear();
    assert!(matches!(first, Heard::Binary(_)), "{first:?}");
    let (told, tells) = channel();
    let reader = std::thread::spawn(move || {
        tells.recv().unwrap();
        for number in 1..MESSAGES {
            let Heard::Binary(bytes) = slow.hear() else {
                panic!("no message {number}")
            };
            assert_eq!(bytes[..4], number.to_be_bytes());
        }
        slow.expect_close(1012);
    });
    let Served { engine, happenings } = served;
    // It goes on reading when it is known that its connection is being closed.
    let teller = std::thread::spawn(move || {
        happenings
            .iter()
            .find(|h| matches!(h, Happening::Closed { .. }));
        told.send(()).unwrap();
    });
    let report = engine.drain(Duration::ZERO);
    assert_eq!((report.connections, report.flushed), (1, 1), "{report:?}");
    assert_eq!((report.cut, report.messages_cut), (0, 0), "{report:?}");
    reader.join().unwrap();
    teller.join().unwrap();
}

/// Whoever it is, nobody holds a drain up for longer than the window and `close_timeout`.
#[test]
fn nobody_holds_a_drain_up() {
    let config = config().close_timeout(Duration::from_millis(50));
    // Nothing but the drain would end either of them within a test's patience.
    let served = serve(config.handshake_timeout(PATIENCE * 2));
    let mut halfway = Client::silent(served.address());
    halfway.write(&request("").as_bytes()[..50]);
    let mut silent = served.connect();
    assert_eq!(silent.ask("hello"), "hello");
    let begun = Instant::now();
    let report = served.engine.drain(Duration::ZERO);
    let took = begun.elapsed();
    assert_eq!((report.connections, report.flushed), (1, 1), "{report:?}");
    assert!(took < PATIENCE, "{took:?}");
}

#[test]
fn handshakes_under_way_are_turned_away() {
    let served = serve(config());
    let mut halfway = Client::silent(served.address());
    halfway.write(&request("").as_bytes()[..50]);
    let mut client = served.connect();
    assert_eq!(client.ask("hello"), "hello");
    let reader = std::thread::spawn(move || {
        let head = halfway.read_head();
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        halfway.read_to_end();
        client.expect_close(1012);
    });
    let report = served.engine.drain(Duration::from_millis(100));
    assert_eq!((report.connections, report.flushed), (1, 1), "{report:?}");
    reader.join().unwrap();
}

#[test]
fn the_service_is_told() {
    let served = serve(config());
    let mut client = served.connect();
    assert!(matches!(served.next(), Happening::Opened(_)));
    let Served { engine, happenings } = served;
    let reader = std::thread::spawn(move || client.expect_close(1012));
    engine.drain(Duration::ZERO);
    let Happening::Closed { close, .. } = happenings.recv().unwrap() else {
        panic!("not closed")
    };
    assert_eq!(close.cause, Cause::Drain);
    reader.join().unwrap();
}

#[test]
fn an_empty_engine_is_drained_at_once() {
    let served = serve(config().shards(3));
    let begun = Instant::now();
    assert_eq!(
        served.engine.drain(Duration::from_secs(3600)).connections,
        0
    );
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_handle_outlives_its_engine() {
    let served = serve(config());
    let mut client = served.connect();
    assert_eq!(client.ask("!join tea"), "Ok(())");
    let Happening::Opened(id) = served.next() else {
        panic!("not opened")
    };
    let handle = served.engine.handle();
    drop(served);
    assert!(matches!(client.hear(), Heard::Close(Some(1001), _)));
    assert_eq!(handle.connections(), 0);
    assert_eq!(
        handle.to("tea").text("x").publish(),
        Err(PublishError::Stopped)
    );
    assert_eq!(
        handle.to_all().text("x").publish(),
        Err(PublishError::Stopped)
    );
    assert_eq!(handle.connection(id).send("x"), Err(PublishError::Stopped));
    assert_eq!(handle.members("tea"), Ok(Vec::new()));
}

#[test]
fn an_engine_may_be_stopped_from_elsewhere() {
    let served = serve(config().shards(2));
    let handle = served.engine.handle();
    let mut client = served.connect();
    let stopper = std::thread::spawn(move || {
        assert!(matches!(client.hear(), Heard::Close(Some(1001), _)));
    });
    std::thread::spawn(move || handle.shutdown());
    served.engine.wait();
    stopper.join().unwrap();
}
