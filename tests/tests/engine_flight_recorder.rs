//! The flight recorder: what came last on connections that were closed in error, and on no other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, SystemTime};

use throng::protocol::frame::OpCode;
use throng::{Cause, CauseKind, Config, FlightKind, FlightRecord, Peer};
use throng_tests::engine::{Client, Heard, Served, config, request, serve};

/// The only record, once there is one.
fn record(served: &Served) -> FlightRecord {
    served.until("there is a record", |engine| {
        !engine.flight_records().is_empty()
    });
    let mut records = served.engine.flight_records();
    assert_eq!(records.len(), 1);
    records.remove(0)
}

/// What is remembered of a connection that was treated so.
fn recorded(config: Config, cause: CauseKind, treat: impl FnOnce(&mut Client)) -> FlightRecord {
    let served = serve(config);
    let mut client = served.connect();
    treat(&mut client);
    let record = record(&served);
    assert_eq!(record.cause.kind(), cause);
    assert_eq!(record.connection.peer, Peer::Tcp(client.local_addr()));
    assert_eq!(record.entries[0].kind, FlightKind::Opened);
    record
}

fn kinds(record: &FlightRecord) -> Vec<FlightKind> {
    record.entries.iter().map(|entry| entry.kind).collect()
}

#[test]
fn a_flight_is_told_from_its_beginning() {
    // The system's clock may be set while this runs.
    let (begun, tolerance) = (SystemTime::now(), Duration::from_secs(10));
    let served = serve(config());
    let mut client = Client::silent(served.address());
    client.upgrade(&request("").replace("/path?query=1", "/accept"));
    client.binary(&[0; 300]);
    client.hear();
    client.frame(true, OpCode::Ping, b"now");
    assert_eq!(client.hear(), Heard::Pong(b"now".to_vec()));
    assert_eq!(client.ask("!join tea"), "Ok(())");
    client.frame(true, OpCode::Continuation, b"");
    let record = record(&served);
    assert_eq!(record.cause, Cause::ProtocolFault);
    assert_eq!(record.connection.user.as_deref(), Some("ann"));
    assert_eq!(record.counts.messages_in, 2);
    let told: Vec<_> = record.entries.iter().map(|it| (it.kind, it.size)).collect();
    use FlightKind::*;
    assert_eq!(
        told,
        [
            (Opened, 0),
            (Sent, 0),
            (Received, 300),
            (Sent, 304),
            (Ping, 3),
            (Sent, 0),
            (Received, 9),
            (Joined, 0),
            (Sent, 8),
            (Ending, 0),
            (Left, 0),
        ]
    );
    let times: Vec<_> = record.entries.iter().map(|entry| entry.at).collect();
    assert!(times.is_sorted());
    assert!(record.opened <= times[0] && times[10] <= record.closed);
    assert!(begun <= record.opened + tolerance);
    assert!(record.closed <= SystemTime::now() + tolerance);
}

#[test]
fn each_error_is_recorded() {
    recorded(
        config().max_message_size(100),
        CauseKind::TooBig,
        |client| {
            client.binary(&[0; 101]);
        },
    );
    recorded(config(), CauseKind::HandlerPanicked, |client| {
        client.text("!panic");
    });
    let strict = config().invalid_messages_per_minute(1);
    recorded(strict, CauseKind::Policy, |client| {
        client.text("!invalid");
        client.text("!invalid");
    });
    let beat = Duration::from_millis(20);
    let beat = config().ping_interval(beat).pong_timeout(beat);
    let missed = recorded(beat, CauseKind::HeartbeatMissed, |_| {});
    assert!(kinds(&missed).contains(&FlightKind::Pinged), "{missed:?}");
}

#[test]
fn how_a_consumer_fell_behind_is_recorded() {
    let limits = config().send_queue_messages(20).send_queue_bytes(64 << 20);
    let served = serve(limits);
    let mut slow = Client::connect_small(served.address());
    slow.text("!flood 1 4000000");
    served.until("it is behind", |engine| engine.metrics().total.behind == 1);
    for _ in 0..30 {
        served.engine.to_all().text("more").publish().unwrap();
    }
    let record = record(&served);
    assert_eq!(record.cause, Cause::SlowConsumer);
    let kinds = kinds(&record);
    for kind in [FlightKind::Behind, FlightKind::Paused, FlightKind::Lost] {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
    assert_eq!(record.counts.dropped, 20, "19 that waited, and one more");
}

#[test]
fn who_leaves_in_peace_is_not_recorded() {
    let served = serve(config());
    served.connect().close(1000, "");
    drop(served.connect());
    served.connect().text("!close 1000 bye");
    for _ in 0..3 {
        served.next_close();
    }
    served.connect().text("!panic");
    let record = record(&served);
    assert_eq!(record.cause, Cause::HandlerPanicked, "the only one");
}

/// Of a long flight the last is told, and of others nothing.
#[test]
fn a_record_is_bounded() {
    let served = serve(config().flight_recorder(1000));
    let mut client = served.connect();
    let mut other = served.connect();
    for _ in 0..200 {
        client.ask("mine");
        other.ask("somebody else's");
    }
    client.frame(true, OpCode::Continuation, b"");
    let record = record(&served);
    assert_eq!(record.entries.len(), 64);
    assert_eq!(record.entries[63].kind, FlightKind::Ending);
    let received = record
        .entries
        .iter()
        .filter(|it| it.kind == FlightKind::Received);
    assert!({ received }.all(|entry| entry.size == 4));
}

#[test]
fn a_ring_that_is_written_over_tells_what_is_left() {
    let served = serve(config().flight_recorder(10));
    let mut client = served.connect();
    let mut other = served.connect();
    for _ in 0..100 {
        other.ask("somebody else's");
    }
    client.frame(true, OpCode::Continuation, b"");
    let record = record(&served);
    assert_eq!(kinds(&record), [FlightKind::Ending]);
}

#[test]
fn the_oldest_records_go_first() {
    let served = serve(config());
    for number in 0..260 {
        let mut client = served.connect();
        client.text(&"x".repeat(number));
        client.hear();
        client.frame(true, OpCode::Continuation, b"");
        client.expect_close(1002);
    }
    served.until("all are recorded", |engine| {
        let records = engine.flight_records();
        records.len() == 256 && records[255].counts.bytes_in == 259
    });
    assert_eq!(served.engine.flight_records()[0].counts.bytes_in, 4);
}

#[test]
fn switched_off_nothing_is_recorded() {
    let served = serve(config().flight_recorder(0));
    served.connect().text("!panic");
    served.next_close();
    assert_eq!(served.connect().ask("hello"), "hello");
    assert_eq!(served.engine.flight_records(), []);
}

#[test]
fn its_size_has_a_bound() {
    let wrong = config().flight_recorder((1 << 20) + 1).validate();
    let told = wrong.unwrap_err().to_string();
    assert!(
        told.contains("flight_recorder") && told.contains("1048576"),
        "{told}"
    );
}
