//! Attacks by compressed messages (RFC 7692): few bytes that stand for many, and bytes that stand
//! for nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use throng::protocol::deflate::{Deflater, Strength};
use throng::protocol::frame::{OpCode, RSV1};
use throng::protocol::message::INFLATED_AT_ONCE;
use throng::{Cause, Compression, Config};
use throng_tests::engine::{Client, Heard, config, frame, frame_with};
use throng_tests::hostile::{CONNECTION, Counting, SHARD, Siege, end_of, in_parallel};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const KIB: usize = 1024;
/// The largest message of these tests.
const LARGEST: usize = 512 * KIB;
/// What a message takes while it arrives: a buffer of less than twice its size, and the one of half
/// that which it grew out of.
const ARRIVING: usize = 2 * LARGEST;
/// An inflater.
const INFLATER: usize = 47 * KIB;
/// What a bomb comes to, a thousand times its size.
const BOMB: usize = 64 << 20;
/// Attackers that only the moment sets apart.
const CROWD: usize = 100;

/// What is taken off the end of a compressed message.
const FLUSHED: [u8; 4] = [0, 0, 0xff, 0xff];

const OFFER: &str = "permessage-deflate";

fn settings() -> Config {
    let compression = Some(Compression::default());
    config().compression(compression).max_message_size(LARGEST)
}

fn connect(siege: &Siege) -> Client {
    Client::connect_compressed(siege.address(), OFFER)
}

fn deflated(message: &[u8]) -> Vec<u8> {
    let strength = Strength {
        level: 9,
        memory_level: 9,
    };
    let mut payload = Vec::new();
    Deflater::new(strength, 15, true).deflate(message, &mut payload);
    payload
}

/// A compressed message in frames of so many bytes.
fn in_frames(payload: &[u8], each: usize) -> Vec<u8> {
    let last = payload.len().div_ceil(each) - 1;
    let pieces = payload.chunks(each).enumerate();
    let frames = pieces.map(|(index, piece)| match index {
        0 => frame_with(index == last, RSV1, OpCode::Binary, piece),
        _ => frame(index == last, OpCode::Continuation, piece),
    });
    frames.collect::<Vec<_>>().concat()
}

fn too_big() -> Heard {
    Heard::Close(Some(1009), "message too big".into())
}

fn no_deflate() -> Heard {
    Heard::Close(Some(1007), "invalid compressed data".into())
}

#[test]
fn bombs_are_refused_however_many_frames_they_come_in() {
    const EACH: usize = 10;
    for (what, each) in [
        ("one frame", usize::MAX),
        ("frames of 1000 bytes", 1000),
        ("frames of 7 bytes", 7),
        ("frames of a byte", 1),
    ] {
        let siege = Siege::begin(settings());
        let bomb = deflated(&vec![0; BOMB]);
        assert!(bomb.len() < BOMB / 1000);
        let bomb = in_frames(&bomb, each);
        for _ in 0..EACH {
            assert_eq!(end_of(&mut connect(&siege), &[&bomb]), too_big(), "{what}");
        }
        siege.live_on();
        siege.until_ended(&Cause::TooBig, EACH);
        assert_eq!(siege.tally().messages(), 0);
        // One comes after the other, so that their buffers are the same.
        let bound = ARRIVING + INFLATER + EACH * CONNECTION;
        siege.withstood(&format!("bombs in {what} × {EACH}"), "1009", bound);
    }
}

/// A byte more than is allowed, which is the last to be inflated.
#[test]
fn messages_that_inflate_to_too_much_are_refused() {
    const EACH: usize = 25;
    let siege = Siege::begin(settings());
    let [exact, over] = [LARGEST, LARGEST + 1].map(|len| in_frames(&deflated(&vec![0; len]), 100));
    for _ in 0..EACH {
        let mut client = connect(&siege);
        client.write(&exact);
        assert!(client.hear() == Heard::Binary(vec![0; LARGEST]));
        assert_eq!(end_of(&mut client, &[&over]), too_big());
    }
    siege.live_on();
    siege.until_ended(&Cause::TooBig, EACH);
    assert_eq!(siege.tally().messages(), EACH, "those allowed are handled");
    let bound = 2 * ARRIVING + SHARD + INFLATER + EACH * CONNECTION;
    siege.withstood("max + 1 inflated × 25", "1009", bound);
}

#[test]
fn a_crowd_with_bombs_is_refused() {
    let siege = Siege::begin(settings());
    let bomb = in_frames(&deflated(&vec![0; BOMB]), usize::MAX);
    let mut clients: Vec<Client> = (0..CROWD).map(|_| connect(&siege)).collect();
    for client in &mut clients {
        client.write(&bomb);
    }
    siege.live_on();
    for client in &mut clients {
        assert_eq!(end_of(client, &[]), too_big());
    }
    siege.until_ended(&Cause::TooBig, CROWD);
    let bound = SHARD + CROWD * CONNECTION;
    siege.withstood(&format!("bombs at once × {CROWD}"), "1009", bound);
}

/// As large as is allowed, so that each must be handled.
#[test]
fn bombs_within_bounds_are_handled_turn_by_turn() {
    const EACH: usize = 20;
    let siege = Siege::begin(settings());
    let bomb = in_frames(&deflated(&vec![0; LARGEST]), usize::MAX);
    let row = bomb.repeat(EACH);
    let mut clients: Vec<Client> = (0..CROWD).map(|_| connect(&siege)).collect();
    for client in &mut clients {
        client.write(&row);
    }
    siege.live_on();
    for client in &mut clients {
        for _ in 0..EACH {
            assert!(client.hear() == Heard::Binary(vec![0; LARGEST]));
        }
    }
    assert_eq!(siege.tally().messages(), CROWD * EACH);
    let bound = SHARD + CROWD * (row.len() + CONNECTION);
    let attack = format!("{LARGEST} bytes out of {} × {CROWD} × {EACH}", bomb.len());
    siege.withstood(&attack, "echoes", bound);
}

/// Begins a message on each of many connections, and never ends it.
fn stalled(siege: &Siege, first: &[u8], count: usize) -> Vec<Client> {
    let first = frame_with(false, RSV1, OpCode::Binary, first);
    let mut clients: Vec<Client> = (0..count).map(|_| connect(siege)).collect();
    for client in &mut clients {
        client.write(&first);
        client.frame(true, OpCode::Ping, b"");
        assert_eq!(client.hear(), Heard::Pong(Vec::new()));
    }
    clients
}

/// What a message will come to is nobody's memory before it has arrived whole.
#[test]
fn messages_that_never_end_take_what_was_sent() {
    const STALLED: usize = 400;
    let siege = Siege::begin(settings());
    let bomb = deflated(&vec![0; LARGEST]);
    for wave in 1..=3 {
        drop(stalled(&siege, &bomb, STALLED));
        siege.live_on();
        siege.until_ended(&Cause::PeerVanished, wave * STALLED);
    }
    let bound = STALLED * (2 * bomb.len() + CONNECTION);
    let attack = format!("stalled bombs × {STALLED}, three times");
    siege.withstood(&attack, "nothing", bound);
}

/// Large messages out of so much that each is inflated in several parts, all at once: none is begun
/// before the one before it is done.
#[test]
fn a_crowd_of_long_bombs_is_inflated_one_by_one() {
    let siege = Siege::begin(settings());
    let mut bomb = deflated(&vec![0; LARGEST]);
    bomb.extend(FLUSHED);
    bomb.extend(b"\x00\x00\x00\xff\xff".repeat(INFLATED_AT_ONCE / 5));
    bomb.push(0);
    let bomb = in_frames(&bomb, usize::MAX);
    let mut clients: Vec<Client> = (0..CROWD).map(|_| connect(&siege)).collect();
    for client in &mut clients {
        client.write(&bomb);
    }
    siege.live_on();
    for client in &mut clients {
        assert!(client.hear() == Heard::Binary(vec![0; LARGEST]));
    }
    assert_eq!(siege.tally().messages(), CROWD);
    let bound = SHARD + CROWD * (2 * bomb.len() + CONNECTION);
    let attack = format!("{LARGEST} bytes out of {} × {CROWD}", bomb.len());
    siege.withstood(&attack, "echoes", bound);
}

/// With context takeover who has sent one compressed message may refer to it for ever.
#[test]
fn contexts_take_an_inflater_each() {
    const IDLE: usize = 400;
    let compression = Compression::default().client_context_takeover(true);
    let siege = Siege::begin(settings().compression(Some(compression)));
    let mut clients: Vec<Client> = (0..IDLE).map(|_| connect(&siege)).collect();
    for client in &mut clients {
        client.compressed("once");
        assert_eq!(client.hear(), Heard::Text("once".into()));
    }
    siege.live_on();
    drop(clients);
    siege.until_ended(&Cause::PeerVanished, IDLE);
    let bound = IDLE * (INFLATER + CONNECTION);
    siege.withstood(&format!("idle contexts × {IDLE}"), "nothing", bound);
}

/// What is no DEFLATE, alone and behind what is.
const NO_DEFLATE: [(&str, &[u8]); 6] = [
    ("a block of no type", b"\x07"),
    ("a length and no complement", b"\x00\x05\x00\x05\x00Hello"),
    (
        "code lengths of no code",
        b"\x04\xff\xff\xff\xff\xff\xff\xff",
    ),
    ("a distance into nothing", b"\xf2\x00\x11\x00\x00"),
    ("behind a block", b"\x00\x02\x00\xfd\xffHi\x06"),
    ("behind the last block", b"\xf3\x48\xcd\xc9\xc9\x07\x00\x07"),
];

#[test]
fn data_that_is_no_deflate_is_refused_however_it_is_cut() {
    let siege = Siege::begin(settings());
    let mut count = 0;
    for (what, payload) in NO_DEFLATE {
        for each in 1..=payload.len() {
            let mut client = connect(&siege);
            let end = end_of(&mut client, &[&in_frames(payload, each)]);
            assert_eq!(end, no_deflate(), "{what}, in frames of {each}");
            count += 1;
        }
    }
    siege.live_on();
    siege.until_ended(&Cause::ProtocolFault, count);
    assert_eq!(siege.tally().messages(), 0);
    let attack = format!("no deflate, {} kinds, {count} ways", NO_DEFLATE.len());
    siege.withstood(&attack, "1007", INFLATER);
}

/// Blocks without content are the most work for the least message; what of them is kept is bounded.
#[test]
fn blocks_without_content_come_to_nothing() {
    const EACH: usize = 20;
    const CLIENTS: usize = 4;
    let empty: [(&str, Vec<u8>); 4] = [
        ("stored", b"\x00\x00\x00\xff\xff".to_vec()),
        ("stored, each the last", b"\x01\x00\x00\xff\xff".to_vec()),
        ("each the last", b"\x03\x00".to_vec()),
        ("with codes of their own", codes_for_nothing()),
    ];
    for (what, block) in empty {
        let siege = Siege::begin(settings());
        let address = siege.address();
        let mut blocks = block.repeat(LARGEST / block.len());
        blocks.push(0);
        let message = in_frames(&blocks, 100 * KIB);
        in_parallel(CLIENTS, |_| {
            let mut client = Client::connect_compressed(address, OFFER);
            for _ in 0..EACH {
                client.write(&message);
                assert_eq!(client.hear(), Heard::Binary(Vec::new()));
            }
            let more = in_frames(&blocks.repeat(2), 100 * KIB);
            assert_eq!(end_of(&mut client, &[&more]), too_big());
        });
        siege.live_on();
        siege.until_ended(&Cause::TooBig, CLIENTS);
        let attack = format!("empty blocks, {what}, {LARGEST} bytes × {CLIENTS} × {EACH}");
        let bound = SHARD + CLIENTS * (2 * ARRIVING + INFLATER + CONNECTION);
        siege.withstood(&attack, "an empty echo", bound);
    }
}

/// A block of codes for every symbol, made anew for it, of which the end alone is used: eight of
/// them, so that the last ends with a byte.
fn codes_for_nothing() -> Vec<u8> {
    let mut bits = Bits::default();
    for _ in 0..8 {
        // Not the last; dynamic codes: 286 literals and lengths, one distance, 19 lengths of codes.
        for (value, count) in [(0, 1), (2, 2), (29, 5), (0, 5), (15, 4)] {
            bits.put(value, count);
        }
        // Two bits each for: the last length again, 8, 9 and 1.
        for place in 0..19 {
            bits.put(if [0, 4, 6, 17].contains(&place) { 2 } else { 0 }, 3);
        }
        // Lengths: 8 for 226 symbols, 9 for 60 (among them the end of the block), 1 for the distance.
        for (code, count) in [(0b10, 226), (0b01, 60)] {
            bits.put(code, 2);
            let mut left = count - 1;
            while left >= 3 {
                let run = left.min(6);
                bits.put(0b11, 2);
                bits.put(run - 3, 2);
                left -= run;
            }
            for _ in 0..left {
                bits.put(code, 2);
            }
        }
        bits.put(0b00, 2);
        // The end of the block, symbol 256, whose code comes first bit first.
        bits.put(482_u32.reverse_bits() >> (32 - 9), 9);
    }
    bits.bytes
}

/// Bits in the order of RFC 1951 §3.1.1.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    pending: u32,
    count: u32,
}

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        self.pending |= value << self.count;
        self.count += count;
        while self.count >= 8 {
            self.bytes.push(self.pending as u8);
            self.pending >>= 8;
            self.count -= 8;
        }
    }
}
