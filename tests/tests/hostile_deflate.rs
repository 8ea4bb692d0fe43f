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
fn stalled(siege: &Siege, count: usize) -> Vec<Client> {
    let first = frame_with(false, RSV1, OpCode::Binary, &deflated(&[7; 200]));
    let mut clients: Vec<Client> = (0..count).map(|_| connect(siege)).collect();
    for client in &mut clients {
        client.write(&first);
        client.frame(true, OpCode::Ping, b"");
        assert_eq!(client.hear(), Heard::Pong(Vec::new()));
    }
    clients
}

/// What has not arrived whole takes an inflater, and what is gone takes none.
#[test]
fn messages_that_never_end_take_an_inflater_each() {
    const STALLED: usize = 400;
    let siege = Siege::begin(settings());
    for wave in 1..=3 {
        drop(stalled(&siege, STALLED));
        siege.live_on();
        siege.until_ended(&Cause::PeerVanished, wave * STALLED);
    }
    let bound = STALLED * (INFLATER + CONNECTION);
    let attack = format!("stalled compressed messages × {STALLED}, three times");
    siege.withstood(&attack, "nothing", bound);
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

/// Blocks without content never come to too much; they are many bytes for nothing, and harm nobody.
#[test]
fn blocks_without_content_come_to_nothing() {
    const EACH: usize = 4;
    const FRAMES: usize = 100;
    let empty: [(&str, &[u8]); 3] = [
        ("stored", b"\x00\x00\x00\xff\xff"),
        ("stored, each the last", b"\x01\x00\x00\xff\xff"),
        ("each the last", b"\x03\x00"),
    ];
    for (what, block) in empty {
        let siege = Siege::begin(settings());
        let address = siege.address();
        let blocks = block.repeat(100 * KIB / block.len());
        let first = frame_with(false, RSV1, OpCode::Binary, &blocks);
        let more = frame(false, OpCode::Continuation, &blocks);
        let last = frame(true, OpCode::Continuation, b"\0");
        in_parallel(EACH, |_| {
            let mut client = Client::connect_compressed(address, OFFER);
            client.write(&first);
            for _ in 0..FRAMES {
                client.write(&more);
            }
            client.write(&last);
            assert_eq!(client.hear(), Heard::Binary(Vec::new()));
        });
        siege.live_on();
        let attack = format!("empty blocks, {what}, 10 MB × {EACH}");
        siege.withstood(&attack, "an empty echo", EACH * (INFLATER + CONNECTION));
    }
}
