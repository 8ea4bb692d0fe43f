//! Attacks by silence: peers that do not read, and peers that are not there any more.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::io::{ErrorKind, Write};
use std::time::Duration;

use throng::protocol::frame::OpCode;
use throng::{Cause, Config, Overflow};
use throng_tests::engine::{Client, Heard, PATIENCE, config, frame, until};
use throng_tests::hostile::{Counting, NOISE, SHARD, Siege, asking, in_parallel};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const KIB: usize = 1024;
/// Bytes that may wait for a connection.
const QUEUE: usize = 256 * KIB;
/// What is on its way to a connection besides: a batch.
const IN_FLIGHT: usize = 64 * KIB;
/// What a connection that is behind needs besides.
const CONNECTION: usize = 8 * KIB;

/// After which a peer that takes nothing is given up. Bystanders have room for all they are sent.
const TIMEOUT: Duration = Duration::from_secs(4);

fn settings(overflow: Overflow) -> Config {
    let config = config().overflow(overflow).write_timeout(TIMEOUT);
    config.max_message_size(64 * KIB).send_queue_bytes(QUEUE)
}

/// A connection that hears the square and the noise, or would if it read.
fn listener(siege: &Siege) -> Client {
    let mut client = Client::silent_small(siege.address());
    client.upgrade(&asking(NOISE));
    client
}

/// Expects to be told so, behind whatever else was sent, once it reads.
fn expect_to_be_told(client: &mut Client) {
    loop {
        match client.hear() {
            Heard::Text(_) => {}
            Heard::Close(Some(1008), reason) if reason == "slow consumer" => return,
            other => panic!("{other:?}"),
        }
    }
}

/// Expects to be reset without having read anything.
fn expect_a_reset(client: &mut Client) {
    let begin_of_a_ping = [0x89];
    until("the reset", || client.try_write(&begin_of_a_ping).is_err());
}

/// Publishes noise until every listener was given up. The system keeps making room for a while, so
/// that with less of it some might never be behind.
fn make_noise_until_all_have_ended(siege: &Siege, noise: &str, size: usize) {
    let noise = format!("{noise}{}", ".".repeat(size));
    let mut loud = Client::connect(siege.address());
    until("the listeners' end", || {
        for _ in 0..16 {
            loud.text(&noise);
        }
        // The loud one is no faster than the shard.
        assert_eq!(loud.ask("heard?"), "heard?");
        siege.tally().ended(&Cause::SlowConsumer) == LISTENERS
    });
}

const LISTENERS: usize = 20;

fn never_reading(settings: Config, loses: bool, end: &str, expect_end: fn(&mut Client)) {
    never_reading_noise(("!noise", 16 * KIB), settings, loses, end, expect_end);
}

fn never_reading_noise(
    (noise, size): (&str, usize),
    settings: Config,
    loses: bool,
    end: &str,
    expect_end: fn(&mut Client),
) {
    let policy = settings.overflow;
    let siege = Siege::begin(settings);
    let mut listeners: Vec<Client> = (0..LISTENERS).map(|_| listener(&siege)).collect();
    make_noise_until_all_have_ended(&siege, noise, size);
    siege.live_on();
    siege.until_alone();
    listeners.iter_mut().for_each(expect_end);
    let dropped = siege.tally().dropped();
    assert_eq!(dropped > 0, loses, "{dropped} were dropped");
    let attack = format!("never reading × {LISTENERS}, {policy:?}, {dropped} dropped");
    let bound = LISTENERS * (QUEUE + IN_FLIGHT + CONNECTION) + SHARD;
    siege.withstood(&attack, end, bound);
}

/// Our close frame waits for a peer that begins to read, for as long as it may.
#[test]
fn who_reads_too_late_is_told() {
    let settings = settings(Overflow::Disconnect).close_timeout(PATIENCE * 4);
    never_reading(settings, false, "1008", expect_to_be_told);
}

#[test]
fn who_never_reads_is_reset() {
    let settings = settings(Overflow::Disconnect).close_timeout(Duration::from_millis(100));
    never_reading(settings, false, "reset", expect_a_reset);
}

#[test]
fn who_never_reads_loses_the_newest_and_then_its_connection() {
    let settings = settings(Overflow::RefuseNewest);
    never_reading(settings, true, "reset", expect_a_reset);
}

#[test]
fn who_never_reads_loses_the_oldest_and_then_its_connection() {
    let settings = settings(Overflow::DropOldest);
    never_reading(settings, true, "reset", expect_a_reset);
}

/// Keys, and what is known of what was lost, are few for each connection, though keys are without end.
#[test]
fn who_never_reads_loses_by_key_and_then_its_connection() {
    let settings = settings(Overflow::Conflate);
    let noise = ("!keyed", 16 * KIB);
    never_reading_noise(noise, settings, true, "reset", expect_a_reset);
}

/// Who asks for much and takes none of it is asked for no more questions.
#[test]
fn who_asks_and_never_reads_is_given_up() {
    const ASKING: usize = 20;
    let siege = Siege::begin(settings(Overflow::Disconnect));
    let address = siege.address();
    let message = frame(true, OpCode::Text, &[b'x'; 16 * KIB]);
    let ends = siege.beside(|| {
        in_parallel(ASKING, |_| {
            let mut client = Client::connect_small(address);
            loop {
                if let Err(error) = client.try_write(&message) {
                    return error.kind();
                }
            }
        })
    });
    for end in ends {
        let is_reset = matches!(end, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
        assert!(is_reset, "{end:?}");
    }
    siege.until_ended(&Cause::SlowConsumer, ASKING);
    siege.live_on();
    let held_back = 2 * config().read_buffer_size;
    let bound = ASKING * (QUEUE + IN_FLIGHT + held_back + CONNECTION) + SHARD;
    siege.withstood("asking without reading × 20", "reset", bound);
}

/// Pongs that wait are few, and the latest ping is answered (RFC 6455 §5.5.3).
#[test]
fn pings_without_reading_leave_few_pongs_waiting() {
    const EACH: usize = 8;
    const PINGS: u32 = 100_000;
    const PONGS: usize = 16 * 127;
    let siege = Siege::begin(settings(Overflow::Disconnect).write_timeout(PATIENCE * 4));
    let address = siege.address();
    let ping = |number: u32| {
        let mut payload = [0; 125];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        frame(true, OpCode::Ping, &payload)
    };
    let all: Vec<u8> = (0..PINGS).flat_map(ping).collect();
    let heard = in_parallel(EACH, |_| {
        let mut client = Client::connect_small(address);
        let mut writer = client.writer();
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| writer.write_all(&all).is_ok());
            // As long as this is more than the system holds, they wait for the reader.
            siege.live_on();
            let mut numbers = Vec::new();
            while numbers.last() != Some(&(PINGS - 1)) {
                match client.hear() {
                    Heard::Pong(payload) => {
                        numbers.push(u32::from_be_bytes(payload[..4].try_into().unwrap()));
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert!(writing.join().unwrap());
            assert!(numbers.is_sorted_by(|a, b| a < b), "in the order asked");
            numbers.len()
        })
    });
    siege.live_on();
    let pongs: usize = heard.iter().sum();
    let bound = EACH * (PONGS + IN_FLIGHT + CONNECTION);
    let end = format!(
        "{pongs} of {} answered, the last of each",
        EACH as u32 * PINGS
    );
    siege.withstood("pings without reading × 8", &end, bound);
}

/// A peer whose network is gone says nothing, not even that.
#[test]
fn half_open_peers_are_found_by_the_heartbeat() {
    const GONE: usize = 500;
    const INTERVAL: Duration = Duration::from_millis(500);
    // Bystanders answer too, however long this machine keeps them waiting.
    let siege = Siege::begin(config().ping_interval(INTERVAL).pong_timeout(PATIENCE));
    let mut clients: Vec<Client> = (0..GONE)
        .map(|_| Client::connect(siege.address()))
        .collect();
    siege.beside(|| std::thread::sleep(PATIENCE));
    siege.until_ended(&Cause::HeartbeatMissed, GONE);
    siege.until_alone();
    siege.live_on();
    for client in &mut clients {
        assert_eq!(client.hear_all(), [Heard::Ping(Vec::new()), Heard::Reset]);
    }
    siege.withstood("half-open × 500", "reset", GONE * CONNECTION / 8);
}
