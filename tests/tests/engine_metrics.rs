//! What the engine counts: every number moves when the thing happens, and adds up afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::collections::HashSet;
use std::time::Duration;

use throng::protocol::frame::OpCode;
use throng::{
    CauseKind, CloseCode, Config, ErrorKind, HistogramSnapshot, Loss, Metric, Metrics,
    MetricsSnapshot, Origins, Overflow, Page, Rejection, Unit,
};
use throng_tests::engine::{
    Client, Happening, Heard, Obedient, Served, answer, config, request, serve, until,
};

fn metrics(served: &Served) -> MetricsSnapshot {
    served.engine.metrics()
}

/// Waits until that many connections were closed for the cause, and for no other.
fn until_closed(served: &Served, cause: CauseKind, count: u64) {
    served.until(cause.as_str(), |engine| {
        engine.metrics().total.closed.total() == count
    });
    let total = metrics(served).total;
    assert_eq!(total.closed.get(cause), count, "{:?}", total.closed);
    assert_eq!(total.connection_duration.count(), count);
    assert_eq!(total.active(), 0);
    assert_eq!(metrics(served).connections, 0);
}

/// Waits until that many handshakes were rejected for the reason, and none for another.
fn until_rejected(served: &Served, rejection: Rejection, count: u64) {
    served.until(rejection.as_str(), |engine| {
        engine.metrics().total.rejected.total() == count
    });
    let total = metrics(served).total;
    assert_eq!(total.rejected.get(rejection), count, "{:?}", total.rejected);
    assert_eq!(total.handshaking(), 0);
}

fn rejected(config: Config, requests: &[&str], rejection: Rejection) {
    let served = serve(config);
    for request in requests {
        answer(&served, request.as_bytes());
    }
    until_rejected(&served, rejection, requests.len() as u64);
    let total = metrics(&served).total;
    assert_eq!((total.accepted, total.opened), (requests.len() as u64, 0));
}

/// A request for another path.
fn request_for(path: &str) -> String {
    request("").replace("/path?query=1", path)
}

#[test]
fn messages_and_bytes_are_counted_exactly() {
    const SIZES: [usize; 6] = [0, 16, 17, 1000, 60_000, 300_000];
    let served = serve(config().shards(2));
    let mut clients: Vec<Client> = (0..8).map(|_| served.connect()).collect();
    for client in &mut clients {
        for size in SIZES {
            let message = vec![7; size];
            client.binary(&message);
            assert_eq!(client.hear(), Heard::Binary(message));
        }
    }
    let (messages, bytes) = (
        8 * SIZES.len() as u64,
        8 * SIZES.iter().sum::<usize>() as u64,
    );
    let headers: u64 = 8 * (2 + 2 + 2 + 4 + 4 + 10);
    served.until("all is counted", |engine| {
        engine.metrics().total.bytes_out == bytes + headers
    });
    let read = metrics(&served);
    assert_eq!(read.total.messages_in(), messages);
    assert_eq!(read.total.bytes_in(), bytes);
    assert_eq!(read.total.messages_out, messages);
    let sizes = &read.total.message_size;
    assert_eq!(sizes.counts[..2], [16, 8], "up to 16, and to 32 bytes");
    for part in [
        |shard: &throng::ShardSnapshot| shard.messages_in(),
        |shard: &throng::ShardSnapshot| shard.messages_out,
        |shard: &throng::ShardSnapshot| shard.opened,
    ] {
        assert_eq!(read.shards.iter().map(part).sum::<u64>(), part(&read.total));
    }
    assert_eq!(read.connections, 8);
    assert_eq!((read.total.opened, read.total.active()), (8, 8));
    assert_eq!((read.total.accepted, read.total.handshaking()), (8, 0));
}

#[test]
fn times_are_measured() {
    let served = serve(config());
    let mut client = served.connect();
    for _ in 0..200 {
        client.ask("hello");
    }
    served.until("turns are counted", |engine| {
        engine.metrics().total.turn_time.count() >= 200
    });
    let total = metrics(&served).total;
    let timed = total.handling_time.count();
    assert!((1..200).contains(&timed), "some are: {timed}");
    assert!(total.handling_time.sum > 0.0);
    assert!(total.turn_time.sum > total.handling_time.sum);
}

#[test]
fn each_cause_of_close_is_counted() {
    let served = serve(config());
    served.connect().close(1000, "");
    until_closed(&served, CauseKind::PeerClosed, 1);

    let served = serve(config());
    drop(served.connect());
    until_closed(&served, CauseKind::PeerVanished, 1);

    let beat = Duration::from_millis(20);
    let served = serve(config().ping_interval(beat).pong_timeout(beat));
    let _silent = served.connect();
    until_closed(&served, CauseKind::HeartbeatMissed, 1);

    let served = serve(config());
    served
        .connect()
        .frame(true, OpCode::Continuation, b"of what?");
    until_closed(&served, CauseKind::ProtocolFault, 1);
    assert_eq!(metrics(&served).total.errors.get(ErrorKind::Protocol), 1);

    let served = serve(config().max_message_size(100));
    served.connect().binary(&[0; 101]);
    until_closed(&served, CauseKind::TooBig, 1);
    assert_eq!(metrics(&served).total.errors.get(ErrorKind::TooBig), 1);

    let served = serve(config().invalid_messages_per_minute(1));
    let mut client = served.connect();
    client.text("!invalid");
    client.text("!invalid");
    until_closed(&served, CauseKind::Policy, 1);
    let errors = metrics(&served).total.errors;
    assert_eq!(errors.get(ErrorKind::InvalidMessage), 2);

    let served = serve(config());
    served.connect().text("!close 4000 because");
    until_closed(&served, CauseKind::Kicked, 1);

    let served = serve(config());
    served.connect().text("!panic");
    until_closed(&served, CauseKind::HandlerPanicked, 1);
    assert_eq!(metrics(&served).total.errors.get(ErrorKind::Panic), 1);

    let served = serve(config());
    let mut client = served.connect();
    let handle = served.engine.handle();
    let draining = std::thread::spawn(move || served.engine.drain(Duration::ZERO));
    client.expect_close(1012);
    draining.join().unwrap();
    assert_eq!(handle.metrics().total.closed.get(CauseKind::Drain), 1);
}

/// A shard that is lost with its runtime tells so.
#[cfg(unix)]
#[test]
fn a_shard_that_fails_is_counted() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let entered = runtime.enter();
    let (reports, happenings) = std::sync::mpsc::channel();
    let config = config().backend(throng::Backend::Tokio);
    let engine = throng_tests::engine::serve_with(config, Obedient::new(reports));
    let served = Served { engine, happenings };
    let _open = served.connect();
    let mut asking = Client::silent(served.address());
    asking.write(b"GET");
    served.until("both are there", |engine| {
        engine.metrics().total.accepted == 2
    });
    drop(entered);
    runtime.shutdown_timeout(Duration::from_secs(10));
    until_closed(&served, CauseKind::LibraryFault, 1);
    until_rejected(&served, Rejection::Abandoned, 1);
    assert_eq!(metrics(&served).total.errors.get(ErrorKind::Shard), 1);
}

#[test]
fn each_rejection_is_counted() {
    let old = request("").replace("Version: 13", "Version: 8");
    let malformed = [&*old, "NOT HTTP\r\n\r\n"];
    rejected(config(), &malformed, Rejection::Malformed);

    let same = config().origins(Origins::same_origin());
    let foreign = request("Origin: https://elsewhere.example\r\n");
    rejected(same, &[&foreign], Rejection::Origin);

    rejected(config(), &[&request_for("/reject")], Rejection::Service);
    let failing = [request_for("/panic"), request_for("/inject")];
    let failing = failing.each_ref().map(|request| &**request);
    rejected(config(), &failing, Rejection::Failed);

    let soon = config().handshake_timeout(Duration::from_millis(50));
    rejected(soon, &["GET / HT"], Rejection::Timeout);

    let served = serve(config());
    Client::silent(served.address()).write(b"GET / HT");
    until_rejected(&served, Rejection::Abandoned, 1);

    let served = serve(config().max_connections(1));
    let _only = served.connect();
    answer(&served, request("").as_bytes());
    until_rejected(&served, Rejection::Full, 1);
    let read = metrics(&served);
    assert_eq!((read.connections, read.max_connections), (1, 1));
}

#[test]
fn what_a_service_does_wrong_is_counted() {
    let served = serve(config());
    answer(&served, request_for("/panic").as_bytes());
    answer(&served, request_for("/inject").as_bytes());
    answer(&served, request_for("/reject-with-200").as_bytes());
    let mut client = served.connect();
    client.text("!panic_at_close");
    client.close(1000, "");
    until_closed(&served, CauseKind::PeerClosed, 1);
    let errors = metrics(&served).total.errors;
    assert_eq!(errors.get(ErrorKind::Panic), 2);
    assert_eq!(errors.get(ErrorKind::BadAnswer), 2);
    assert_eq!(errors.total(), 4);
}

#[test]
fn who_comes_in_a_drain_is_rejected() {
    let served = serve(config());
    let mut early = Client::silent(served.address());
    early.write(b"GET / HTTP/1.1\r\n");
    let _holds_it_up = served.connect();
    served.until("it is there", |engine| engine.metrics().total.accepted == 2);
    assert_eq!(metrics(&served).total.handshaking(), 1);
    let handle = served.engine.handle();
    served.engine.drain(Duration::ZERO);
    assert_eq!(handle.metrics().total.rejected.get(Rejection::Draining), 1);
}

#[test]
fn requests_for_pages_are_counted() {
    let (reports, happenings) = std::sync::mpsc::channel();
    let engine = throng::Engine::builder()
        .bind("127.0.0.1:0")
        .unwrap()
        .page(Page::new("/", "text/plain", "hello"))
        .config(config())
        .handler(Obedient::new(reports))
        .start()
        .unwrap();
    let served = Served { engine, happenings };
    let (status, _) = answer(&served, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(status, 200);
    let total = metrics(&served).total;
    assert_eq!(
        (total.accepted, total.visitors, total.handshaking()),
        (1, 1, 0)
    );
}

/// More visitors than the side door takes, all of whom leave their answers unread.
#[test]
fn visitors_that_are_too_many_are_rejected() {
    let (reports, happenings) = std::sync::mpsc::channel();
    let engine = throng::Engine::builder()
        .bind("127.0.0.1:0")
        .unwrap()
        .page(Page::new("/", "text/plain", "x".repeat(16 << 20)))
        .config(config())
        .handler(Obedient::new(reports))
        .start()
        .unwrap();
    let served = Served { engine, happenings };
    let visitor = |_| {
        let mut client = Client::silent_small(served.address());
        client.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client
    };
    let _visitors: Vec<Client> = (0..257).map(visitor).collect();
    served.until("all have come", |engine| {
        let total = engine.metrics().total;
        total.visitors + total.rejected.total() == 257
    });
    let total = metrics(&served).total;
    assert_eq!(total.rejected.get(Rejection::Busy), 1);
}

#[test]
fn rooms_and_publications_are_counted() {
    let served = serve(config().shards(2));
    let mut members: Vec<Client> = (0..6).map(|_| served.connect()).collect();
    for member in &mut members {
        assert_eq!(member.ask("!join tea"), "Ok(())");
        assert_eq!(member.ask("!join tea"), "Ok(())", "which changes nothing");
        assert_eq!(member.ask("!join milk"), "Ok(())");
    }
    let read = metrics(&served);
    assert_eq!(
        (read.rooms, read.total.joins, read.total.members()),
        (2, 12, 12)
    );
    served
        .engine
        .to("tea")
        .text("from outside")
        .publish()
        .unwrap();
    for member in &mut members {
        assert_eq!(member.hear(), Heard::Text("from outside".into()));
    }
    members[0].text("!others tea from inside");
    for member in &mut members[1..] {
        assert_eq!(member.hear(), Heard::Text("from inside".into()));
    }
    served.engine.to("nobody").text("lost").publish().unwrap();
    let read = metrics(&served);
    assert_eq!(read.total.deliveries, 6 + 5);
    assert!((2..=4).contains(&read.total.publications), "by each shard");
    assert_eq!(members[1].ask("!leave tea"), "true");
    assert_eq!(metrics(&served).total.members(), 11);
    drop(members);
    served.until("all have left", |engine| {
        engine.metrics().total.members() == 0
    });
    assert_eq!(metrics(&served).rooms, 0);
    assert_eq!(metrics(&served).total.leaves, 12);
}

/// Bytes of each message: enough of them fill what the system holds.
const SIZE: usize = 16 * 1024;

/// Somebody who reads nothing, in `tea`, is sent more than waits for it.
fn overflowed(overflow: Overflow, is_keyed: bool) -> (Served, Client, throng::Receipt) {
    let limits = config().send_queue_messages(20).send_queue_bytes(64 << 20);
    let served = serve(limits.overflow(overflow));
    let mut slow = Client::connect_small(served.address());
    assert_eq!(slow.ask("!join tea"), "Ok(())");
    let mut publisher = served.connect();
    let mut sum = throng::Receipt::default();
    for number in 0..1500 {
        publisher.text(&if is_keyed {
            format!("!keyed tea key-{} {number} {SIZE}", number % 7)
        } else {
            format!("!pad tea {number} {SIZE}")
        });
        let receipt = loop {
            match served.next() {
                Happening::Published(receipt) => break receipt,
                Happening::Closed { .. } | Happening::Opened(_) | Happening::Forgotten => {}
            }
        };
        sum.queued += receipt.queued;
        sum.conflated += receipt.conflated;
        sum.dropped += receipt.dropped;
        sum.displaced += receipt.displaced;
        sum.evicted += receipt.evicted;
        if sum.evicted > 0 {
            break;
        }
    }
    (served, slow, sum)
}

#[test]
fn losses_are_counted_by_how_they_came() {
    let (served, slow, sum) = overflowed(Overflow::RefuseNewest, false);
    let total = metrics(&served).total;
    assert!(sum.dropped > 0);
    assert_eq!(total.dropped.get(Loss::Refused), sum.dropped as u64);
    assert_eq!(total.dropped.total(), sum.dropped as u64);
    drop(slow);

    let (served, slow, sum) = overflowed(Overflow::DropOldest, false);
    let total = metrics(&served).total;
    assert!(sum.displaced > 0);
    assert_eq!(total.dropped.get(Loss::Displaced), sum.displaced as u64);
    assert_eq!(total.deliveries, sum.queued as u64);
    assert_eq!(total.publications, 1500);
    drop(slow);
    let close = std::iter::repeat_with(|| served.next_close().1)
        .find(|close| close.counts.dropped > 0)
        .unwrap();
    served.until("it is counted", |engine| {
        engine.metrics().total.dropped.total() == close.counts.dropped
    });
    assert!(metrics(&served).total.dropped.get(Loss::GivenUp) > 0);

    let (served, _slow, sum) = overflowed(Overflow::Disconnect, false);
    assert_eq!(sum.evicted, 1);
    let dropped = metrics(&served).total.dropped;
    assert_eq!(dropped.get(Loss::Overflow), 1);
    assert!(dropped.get(Loss::GivenUp) > 0);
    served.until("it is given up", |engine| {
        engine.metrics().total.closed.get(CauseKind::SlowConsumer) == 1
    });

    let (served, _slow, sum) = overflowed(Overflow::Conflate, true);
    assert!(sum.conflated > 0);
    let total = metrics(&served).total;
    assert_eq!(total.conflated, sum.conflated as u64);
    assert_eq!(total.dropped.total(), 0);
}

#[test]
fn what_waits_is_told_until_it_is_sent() {
    let (served, mut slow, _) = overflowed(Overflow::DropOldest, false);
    let shard = &metrics(&served).shards[0];
    assert_eq!(shard.behind, 1);
    assert!((1..=20).contains(&shard.waiting_messages), "{shard:?}");
    assert!(shard.waiting_bytes >= SIZE as u64, "{shard:?}");
    slow.text("the end");
    while slow.hear() != Heard::Text("the end".into()) {}
    served.until("nothing waits", |engine| {
        engine.metrics().shards[0].behind == 0
    });
    let shard = &metrics(&served).shards[0];
    assert_eq!((shard.waiting_messages, shard.waiting_bytes), (0, 0));
}

#[test]
fn who_is_gone_waits_for_nothing() {
    let (served, slow, _) = overflowed(Overflow::DropOldest, false);
    assert_eq!(metrics(&served).shards[0].behind, 1);
    slow.reset();
    served.until("nothing waits", |engine| {
        engine.metrics().shards[0].behind == 0
    });
    assert_eq!(metrics(&served).shards[0].waiting_bytes, 0);
}

#[test]
fn with_metrics_off_nothing_is_counted() {
    let served = serve(config().metrics(false));
    let mut client = served.connect();
    client.ask("hello");
    assert_eq!(client.ask("!join tea"), "Ok(())");
    let read = metrics(&served);
    assert_eq!((read.connections, read.rooms), (1, 1));
    assert_eq!((read.total.opened, read.total.messages_in()), (0, 0));
    assert_eq!(read.total.turn_time.count(), 0);
}

/// What another system is told.
#[derive(Default)]
struct Told {
    names: Vec<&'static str>,
    samples: HashSet<String>,
}

impl Told {
    fn note(&mut self, metric: &Metric<'_>) {
        if self.names.last() != Some(&metric.name) {
            self.names.push(metric.name);
        }
        let sample = format!("{} {:?}", metric.name, metric.labels);
        assert!(self.samples.insert(sample), "told twice: {metric:?}");
        assert!(metric.help.ends_with('.'), "{metric:?}");
        let unit = match metric.unit {
            Some(Unit::Bytes) => "bytes",
            Some(Unit::Seconds) => "seconds",
            _ => "",
        };
        assert!(metric.name.contains(unit));
    }
}

impl Metrics for Told {
    fn counter(&mut self, metric: &Metric<'_>, _: u64) {
        assert!(metric.name.ends_with("_total"), "{metric:?}");
        self.note(metric);
    }

    fn gauge(&mut self, metric: &Metric<'_>, _: u64) {
        assert!(!metric.name.ends_with("_total"), "{metric:?}");
        self.note(metric);
    }

    fn histogram(&mut self, metric: &Metric<'_>, values: &HistogramSnapshot) {
        assert_eq!(values.counts.len(), values.bounds.len() + 1);
        assert!(values.bounds.is_sorted());
        self.note(metric);
    }
}

#[test]
fn another_system_is_told_each_sample_once() {
    let served = serve(config().shards(2).memory_budget(64 << 20));
    served.connect().ask("hello");
    let mut told = Told::default();
    metrics(&served).report(&mut told);
    let names: HashSet<&str> = told.names.iter().copied().collect();
    assert_eq!(names.len(), told.names.len(), "samples of one lie together");
    assert!(names.iter().all(|name| name.starts_with("throng_")));
    for name in [
        "throng_connections_opened_total",
        "throng_connections_active",
        "throng_connections_limit",
        "throng_message_handling_seconds",
        "throng_shard_mailbox",
        "throng_memory_budget_bytes",
    ] {
        assert!(names.contains(name), "{name}");
    }
}

/// Leaves the text where `tests/openmetrics/run` has another parser look at it.
#[test]
fn prometheus_is_told_in_its_own_text() {
    let served = serve(config().shards(2));
    let mut client = served.connect();
    client.ask("hello");
    drop(client);
    until_closed(&served, CauseKind::PeerVanished, 1);
    let text = served.engine.prometheus();
    assert!(text.ends_with("# EOF\n"));
    for line in [
        "# TYPE throng_connections_opened counter",
        "throng_connections_opened_total 1",
        "throng_connections_closed_total{cause=\"peer_vanished\"} 1",
        "# UNIT throng_message_size_bytes bytes",
        "throng_message_size_bytes_bucket{le=\"16.0\"} 1",
        "throng_message_size_bytes_sum 5.0",
        "throng_received_bytes_total 5",
        "throng_shard_mailbox{shard=\"1\"} 0",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
    }
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("openmetrics.txt");
    std::fs::write(path, text).unwrap();
}

#[test]
fn a_registry_of_the_services_own_takes_them_in() {
    use throng::prometheus_client::encoding::text::encode;
    use throng::prometheus_client::registry::Registry;

    let served = serve(config());
    let mut registry = Registry::with_prefix("service");
    registry.register_collector(Box::new(served.engine.collector()));
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    assert!(text.contains("service_throng_connections_opened_total 0\n"));
}

#[test]
fn a_snapshot_can_be_serialised() {
    let served = serve(config());
    served.connect().text("!close 1000 bye");
    until_closed(&served, CauseKind::Kicked, 1);
    let json = serde_json::to_value(metrics(&served)).unwrap();
    assert_eq!(json["total"]["closed"]["kicked"], 1);
    assert_eq!(json["shards"][0]["opened"], 1);
    let code = CloseCode::NORMAL;
    assert_eq!(throng::Cause::Kicked { code }.kind(), CauseKind::Kicked);
}

#[test]
fn an_engine_that_has_stopped_tells_what_it_counted() {
    let served = serve(config());
    let mut client = served.connect();
    client.ask("hello");
    let handle = served.engine.handle();
    drop(served);
    until("it is told", || handle.metrics().total.closed.total() == 1);
    assert_eq!(handle.metrics().total.messages_in(), 1);
    assert_eq!(handle.metrics().total.handshaking(), 0);
}
