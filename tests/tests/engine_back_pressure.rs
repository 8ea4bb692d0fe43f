//! Peers that write without reading: they are listened to no more, rather than buffered without
//! bound or cut, and nothing is missing when they read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use throng::protocol::frame::OpCode;
use throng::{Accept, Cause, Close, Config, Conn, Engine, Handler, Message, Reject, Upgrade};
use throng_tests::engine::{Client, Heard, config, frame, serve as serve_obedient, serve_with};

/// Echoes, and takes note of the most that ever waited.
#[derive(Clone, Default)]
struct Echo(Arc<Seen>);

#[derive(Default)]
struct Seen {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    closed: AtomicUsize,
}

impl Handler for Echo {
    type State = ();

    fn on_upgrade(&self, _: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        conn.send(message);
        let (messages, bytes) = conn.queued();
        self.0.messages.fetch_max(messages, Ordering::Relaxed);
        self.0.bytes.fetch_max(bytes, Ordering::Relaxed);
    }

    fn on_close(&self, _: &mut Conn<'_, ()>, _: &Close) {
        self.0.closed.fetch_add(1, Ordering::Relaxed);
    }
}

fn serve(config: Config) -> (Engine, Client, Arc<Seen>) {
    let service = Echo::default();
    let seen = Arc::clone(&service.0);
    let engine = serve_with(config, service);
    let client = Client::connect_small(engine.local_addr().unwrap());
    (engine, client, seen)
}

/// Answers every message with a large one.
struct Amplifier {
    answer: Vec<u8>,
    most: Arc<AtomicUsize>,
}

impl Handler for Amplifier {
    type State = ();

    fn on_upgrade(&self, _: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&self, conn: &mut Conn<'_, ()>, _: Message<'_>) {
        conn.send(&self.answer);
        self.most.fetch_max(conn.queued().1, Ordering::Relaxed);
    }
}

/// Writes the message over and over until the engine takes no more; returns the bytes written.
fn write_until_stalled(client: &mut Client, message: &[u8]) -> usize {
    let (mut written, mut stalled_for) = (0, 0);
    // Stalled for good when the system on both sides is full.
    while stalled_for < 100 {
        match client.write_some(&message[written % message.len()..]) {
            0 => {
                stalled_for += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            count => {
                stalled_for = 0;
                written += count;
            }
        }
        assert!(written < 256 << 20, "it is read without limit");
    }
    written
}

/// Reads the echoes of all that was written, completes the last message, and goes on.
fn read_them_all(client: &mut Client, message: &[u8], written: usize, echo: &Heard) {
    for _ in 0..written / message.len() {
        assert!(client.hear() == *echo);
    }
    if !written.is_multiple_of(message.len()) {
        client.write(&message[written % message.len()..]);
        assert!(client.hear() == *echo);
    }
    assert_eq!(client.ask("and now?"), "and now?");
}

#[test]
fn large_echoes_are_bounded_and_none_is_lost() {
    const SIZE: usize = 16 * 1024;
    let config = config()
        .max_message_size(SIZE)
        .write_timeout(Duration::from_secs(3600));
    let limit = config.send_queue_bytes;
    let (_engine, mut client, seen) = serve(config);
    let message = frame(true, OpCode::Binary, &[7; SIZE]);
    let written = write_until_stalled(&mut client, &message);
    let (bytes, closed) = (seen.bytes.load(Ordering::Relaxed), &seen.closed);
    assert!(bytes > 0 && bytes <= limit, "{bytes} bytes waited");
    assert_eq!(closed.load(Ordering::Relaxed), 0, "it is not cut");
    read_them_all(
        &mut client,
        &message,
        written,
        &Heard::Binary(vec![7; SIZE]),
    );
}

/// What one receive brings may be more small messages than may wait: they are asked for.
#[test]
fn small_echoes_are_bounded_and_none_is_lost() {
    let config = config().write_timeout(Duration::from_secs(3600));
    let (limit, buffer) = (config.send_queue_messages, config.read_buffer_size);
    let (_engine, mut client, seen) = serve(config);
    let message = frame(true, OpCode::Text, b"small");
    let many = message.repeat(5000);
    let written = write_until_stalled(&mut client, &many);
    let most = seen.messages.load(Ordering::Relaxed);
    assert!(
        most <= limit + buffer / message.len(),
        "{most} messages waited"
    );
    assert_eq!(seen.closed.load(Ordering::Relaxed), 0, "it is not cut");
    read_them_all(&mut client, &message, written, &Heard::Text("small".into()));
}

/// Whoever is behind is asked for no more, so that what it has written already, however many
/// messages that are, does not overflow its queue.
#[test]
fn a_burst_of_who_is_behind_waits() {
    const LARGE: usize = 25;
    const SIZE: usize = 400_000;
    const BURST: usize = 2000;
    // The large ones are more than the system holds, and far less than what may wait.
    let config = config()
        .send_queue_bytes(64 << 20)
        .write_timeout(Duration::from_secs(3600));
    let (_engine, mut client, seen) = serve(config);
    let mut writer = client.writer();
    let (written, is_written) = channel();
    let writing = std::thread::spawn(move || {
        let large = frame(true, OpCode::Binary, &[7; SIZE]).repeat(LARGE);
        let small = frame(true, OpCode::Text, b"small").repeat(BURST);
        writer.write_all(&[large, small].concat()).unwrap();
        written.send(()).unwrap();
    });
    // All is written, or as much as is taken from who does not read.
    let _ = is_written.recv_timeout(Duration::from_secs(1));
    for number in 0..LARGE {
        let heard = client.hear();
        assert!(
            heard == Heard::Binary(vec![7; SIZE]),
            "large number {number}"
        );
    }
    for number in 0..BURST {
        let heard = client.hear();
        assert_eq!(heard, Heard::Text("small".into()), "small number {number}");
    }
    writing.join().unwrap();
    assert_eq!(seen.closed.load(Ordering::Relaxed), 0, "it is not cut");
}

/// A few bytes may ask for many: what one receive brings is not all answered in one turn.
#[test]
fn what_a_turn_makes_is_bounded() {
    const MIB: usize = 1 << 20;
    const SIZE: usize = 64 * 1024;
    const ASKED: usize = 5000;
    let most = Arc::default();
    let service = Amplifier {
        answer: vec![7; SIZE],
        most: Arc::clone(&most),
    };
    let engine = serve_with(config(), service);
    let address = engine.local_addr().unwrap();
    let (mut greedy, mut bystander) = (Client::connect(address), Client::connect(address));
    greedy.write(&frame(true, OpCode::Text, b"x").repeat(ASKED));
    bystander.text("x");
    let answer = Heard::Binary(vec![7; SIZE]);
    assert!(bystander.hear() == answer);
    for number in 0..ASKED {
        assert!(greedy.hear() == answer, "answer number {number}");
    }
    let most = most.load(Ordering::Relaxed);
    assert!(most <= 5 * MIB, "{most} bytes waited");
}

/// What waits is more than the bounds, and takes many sends: between two of them the next request must
/// not be handled, as its answer would be one too many.
#[test]
fn a_request_waits_until_all_answers_are_sent() {
    const ASKED: usize = 2000;
    const SIZE: usize = 16 * 1024;
    let service = Amplifier {
        answer: vec![7; SIZE],
        most: Arc::default(),
    };
    let config = config()
        .send_queue_messages(4)
        .write_timeout(Duration::from_secs(3600));
    let engine = serve_with(config, service);
    let mut client = Client::connect_small(engine.local_addr().unwrap());
    client.write(&frame(true, OpCode::Text, b"x").repeat(ASKED));
    std::thread::sleep(Duration::from_millis(100));
    for number in 0..ASKED {
        let heard = client.hear();
        assert!(
            heard == Heard::Binary(vec![7; SIZE]),
            "answer {number}: {heard:.60?}"
        );
    }
}

/// What a peer said before it ended its stream is handled, though it was held back.
#[test]
fn the_end_comes_behind_what_was_held_back() {
    const SIZE: usize = 64 * 1024;
    const ASKED: usize = 500;
    let service = Amplifier {
        answer: vec![7; SIZE],
        most: Arc::default(),
    };
    let engine = serve_with(config(), service);
    let mut client = Client::connect(engine.local_addr().unwrap());
    let close = frame(true, OpCode::Close, &1000u16.to_be_bytes());
    let asked = frame(true, OpCode::Text, b"x").repeat(ASKED);
    client.write(&[asked, close].concat());
    client.finish();
    let answer = Heard::Binary(vec![7; SIZE]);
    for number in 0..ASKED {
        assert!(client.hear() == answer, "answer number {number}");
    }
    assert_eq!(client.hear(), Heard::Close(Some(1000), String::new()));
    assert_eq!(client.hear(), Heard::End);
}

/// Who is behind is not read from, so what it says cannot be missed.
#[test]
fn who_is_behind_is_not_idle() {
    const TIMEOUT: Duration = Duration::from_millis(300);
    let config = config()
        .send_queue_bytes(256 << 20)
        .idle_timeout(TIMEOUT)
        .write_timeout(Duration::from_secs(3600));
    let served = serve_obedient(config);
    let mut client = Client::connect_small(served.address());
    client.text(&format!("!flood 1 {}", 64 << 20));
    std::thread::sleep(TIMEOUT * 3);
    client.text("still here");
    assert!(matches!(client.hear(), Heard::Binary(_)));
    assert_eq!(client.hear(), Heard::Text("still here".into()));
    // From then on it is read from, and has nothing to say.
    assert_eq!(client.hear(), Heard::Close(Some(1008), "idle".into()));
}

/// The answer to a ping is waited for again once its peer is read from.
#[test]
fn who_catches_up_must_answer_pings() {
    const TIMEOUT: Duration = Duration::from_millis(200);
    let config = config()
        .send_queue_bytes(256 << 20)
        .ping_interval(Some(TIMEOUT))
        .pong_timeout(TIMEOUT)
        .write_timeout(Duration::from_secs(3600));
    let served = serve_obedient(config);
    let mut client = Client::connect_small(served.address());
    client.text(&format!("!flood 1 {}", 64 << 20));
    std::thread::sleep(TIMEOUT * 3);
    assert!(matches!(client.hear(), Heard::Binary(_)));
    assert_eq!(client.hear(), Heard::Ping(Vec::new()));
    assert_eq!(served.next_close().1.cause, Cause::HeartbeatMissed);
}

/// Publishes to its own room and answers how much waits for it then.
struct Publisher;

impl Handler for Publisher {
    type State = ();

    fn on_upgrade(&self, _: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        conn.join("room").unwrap();
        for _ in 0..3 {
            conn.to("room").message(message).publish();
        }
        let (messages, bytes) = conn.queued();
        conn.send(&format!("{messages} messages, {bytes} bytes"));
    }
}

#[test]
fn what_was_published_to_a_room_waits_for_its_members() {
    let engine = serve_with(config(), Publisher);
    let mut client = Client::connect(engine.local_addr().unwrap());
    client.text("news");
    for _ in 0..3 {
        assert_eq!(client.hear(), Heard::Text("news".into()));
    }
    assert_eq!(client.hear(), Heard::Text("3 messages, 18 bytes".into()));
}

/// However many pings come while a peer is behind, few answers wait for it, the latest among them
/// (RFC 6455 §5.5.3).
#[test]
fn of_many_pings_of_who_is_behind_the_latest_are_answered() {
    const NOISE: usize = 128;
    const PINGS: u32 = 500;
    /// What may wait for one connection.
    const WAITING: usize = 16;
    // What is sent is more than the system holds, and as much as may wait.
    let served = serve_obedient(config().send_queue_bytes(64 << 20));
    let mut client = served.connect();
    client.text(&format!("!noise {NOISE} {}", 256 << 10));
    client.until_readable();
    let ping = |number: u32| frame(true, OpCode::Ping, &number.to_be_bytes());
    client.write(&(0..PINGS).flat_map(ping).collect::<Vec<_>>());
    let (mut messages, mut pongs) = (0, Vec::new());
    while messages < NOISE || pongs.last() != Some(&(PINGS - 1)) {
        match client.hear() {
            Heard::Binary(_) => messages += 1,
            Heard::Pong(payload) => pongs.push(u32::from_be_bytes(payload.try_into().unwrap())),
            other => panic!("{other:?}"),
        }
    }
    assert!(pongs.is_sorted_by(|a, b| a < b), "in the order asked");
    // Others were in flight already, should not all have been received at once.
    assert!(pongs.len() <= 2 * WAITING, "{} were answered", pongs.len());
}
