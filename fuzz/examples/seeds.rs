//! Writes the seeds that are no text: `cargo run --example seeds`, in this folder. The same every
//! time, so that a change of theirs is a change of this file or of how an input is read.

use std::fs;
use std::io;
use std::path::Path;

use arbitrary::{Arbitrary, Unstructured};
use throng::CloseCode;
use throng::Message;
use throng::protocol::deflate::{Deflater, Strength};
use throng::protocol::encoder::{Encoder, Masking, SendError, Unmasked};
use throng::protocol::frame::OpCode;
use throng::protocol::mask::{Masks, NoEntropy};
use throng_fuzz::world::Verb::{self, *};
use throng_fuzz::world::{Act, Script};

/// A limit that is no concern: 32 KiB for messages and for frames.
const WIDE: u8 = 0xff;
const HELLO: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";

/// Frames of a client that RFC 6455 does not allow.
const REFUSED: [(&str, &[u8]); 16] = [
    ("reserved_bits", b"\xf1\x80mask"),
    ("unknown_opcode", b"\x83\x80mask"),
    ("unknown_control", b"\x8f\x80mask"),
    ("control_too_long", b"\x89\xfe\x00\x7emask"),
    ("control_fragmented", b"\x09\x80mask"),
    ("not_masked", b"\x81\x01x"),
    ("length_not_minimal", b"\x82\xfe\x00\x01mask"),
    ("long_length_not_minimal", b"\x82\xff\0\0\0\0\0\0\x01\0mask"),
    ("length_with_top_bit", b"\x82\xff\x80\0\0\0\0\0\0\0mask"),
    ("nothing_to_continue", b"\x80\x80mask"),
    ("message_within_message", b"\x01\x80mask\x81\x80mask"),
    ("not_utf8", b"\x81\x82\0\0\0\0\xc3\x28"),
    ("half_a_character", b"\x81\x82\0\0\0\0\xe2\x82"),
    ("half_a_close_code", b"\x88\x81\0\0\0\0\x03"),
    ("close_code_1005", b"\x88\x82\0\0\0\0\x03\xed"),
    ("close_reason_not_utf8", b"\x88\x83\0\0\0\0\x03\xe8\xff"),
];

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let write = |target: &str, seeds: Vec<(&str, Vec<u8>)>| {
        let folder = root.join(target);
        fs::create_dir_all(&folder)?;
        seeds
            .iter()
            .try_for_each(|(name, bytes)| fs::write(folder.join(name), bytes))
    };
    write("frame_stream", frame_streams().map_err(io::Error::other)?)?;
    write("deflate", deflate())?;
    write("connection", connections())
}

/// An input of the target `frame_stream`. Bit 0 of `kind` is the role, 1 and 2 the compression.
fn stream(kind: u8, sizes: u8, lengths: &[u8], frames: &[u8]) -> Vec<u8> {
    let count = u8::try_from(lengths.len()).unwrap_or_default();
    [&[kind, sizes, count], lengths, frames].concat()
}

fn frame_streams() -> Result<Vec<(&'static str, Vec<u8>)>, SendError> {
    let mut masks = Masks::new(|bytes: &mut [u8]| {
        bytes.fill(0x37);
        Ok::<(), NoEntropy>(())
    });
    let from_client = conversation(&mut masks)?;
    let from_server = conversation(&mut Unmasked)?;
    let with = |bytes: &[u8]| [bytes, &from_client].concat();
    let (mut text, mut plain) = (Vec::new(), Encoder::new());
    plain.message(&mut text, &mut masks, Message::Text("κόσμε € 🦀"))?;
    let mut compressed = Vec::new();
    for opcode in [OpCode::Text, OpCode::Binary] {
        plain.compressed(&mut compressed, &mut masks, opcode, &HELLO[..3], false)?;
        plain.ping(&mut compressed, &mut masks, b"between")?;
        plain.compressed(&mut compressed, &mut masks, opcode, &HELLO[3..], true)?;
    }
    let mut bombs = Vec::new();
    plain.compressed(&mut bombs, &mut Unmasked, OpCode::Text, &bomb(b'x'), true)?;
    let mut seeds = vec![
        ("from_client", stream(0, WIDE, &[], &from_client)),
        ("from_server", stream(1, WIDE, &[], &from_server)),
        (
            "from_client_in_pieces",
            stream(0, WIDE, &[2, 0, 0x31], &from_client),
        ),
        ("from_server_in_pieces", stream(1, WIDE, &[6], &from_server)),
        ("text_cut_within_characters", stream(0, WIDE, &[0], &text)),
        ("over_the_message_limit", stream(0, 0xf3, &[], &from_client)),
        ("over_the_frame_limit", stream(0, 0x3f, &[], &from_client)),
        ("masked_by_a_server", stream(1, WIDE, &[], b"\x81\x80mask")),
        ("compressed_alone", stream(2, WIDE, &[3], &compressed)),
        ("compressed_in_context", stream(4, WIDE, &[1], &compressed)),
        ("compressed_unagreed", stream(0, WIDE, &[], &compressed)),
        ("compressed_control", stream(2, WIDE, &[], b"\xc9\x80mask")),
        ("no_deflate", stream(3, WIDE, &[], b"\xc2\x02\xff\xff")),
        ("bomb", stream(3, 0xfc, &[0x40], &bombs)),
        ("half_a_header", stream(0, WIDE, &[], &with(b"")[..1])),
    ];
    seeds.push(("two_faults", two_faults()?));
    seeds.extend(REFUSED.map(|(name, frame)| (name, stream(0, WIDE, &[], frame))));
    Ok(seeds)
}

/// Compressed text over a limit of 128 bytes, no UTF-8 before it gets there. By its split one fault
/// or the other was told once.
fn two_faults() -> Result<Vec<u8>, SendError> {
    let text = [&[b'x'; 100][..], b"\xff", &[b'x'; 100]].concat();
    let (mut payload, mut frame) = (Vec::new(), Vec::new());
    let strength = Strength {
        level: 9,
        memory_level: 9,
    };
    Deflater::new(strength, 15, true).deflate(&text, &mut payload);
    Encoder::new().compressed(&mut frame, &mut Unmasked, OpCode::Text, &payload, true)?;
    Ok(stream(3, 0xf7, &[0], &frame))
}

/// Every kind of frame, in every length of header.
fn conversation(masking: &mut impl Masking) -> Result<Vec<u8>, SendError> {
    let (mut encoder, mut out) = (Encoder::new(), Vec::new());
    for len in [0, 1, 125, 126, 700] {
        encoder.message(&mut out, masking, Message::Text(&"é".repeat(len / 2)))?;
        encoder.message(&mut out, masking, Message::Binary(&vec![7; len]))?;
    }
    encoder.fragment(&mut out, masking, Message::Text("a "), false)?;
    encoder.ping(&mut out, masking, b"are you there?")?;
    encoder.fragment(&mut out, masking, Message::Text(""), false)?;
    encoder.pong(&mut out, masking, &[0; 125])?;
    encoder.fragment(&mut out, masking, Message::Text("fragment"), true)?;
    encoder.close(&mut out, masking, CloseCode::NORMAL, "the end")?;
    Ok(out)
}

const OFFERS: &[u8] = b"permessage-deflate; client_max_window_bits, permessage-deflate; \
        server_max_window_bits=10; server_no_context_takeover\nx; a=\"b\"";

/// Inputs of the target `deflate`: which test, four parameters, the pieces' lengths, the data.
fn deflate() -> Vec<(&'static str, Vec<u8>)> {
    let input = |head: [u8; 5], lengths: &[u8], data: &[u8]| {
        let count = u8::try_from(lengths.len()).unwrap_or_default();
        [&head[..], &[count], lengths, data].concat()
    };
    let hello = |lengths: &[u8]| input([0; 5], lengths, HELLO);
    let poem = b"so much depends upon a red wheel barrow glazed with rain water ".repeat(20);
    let bomb = bomb(0);
    let final_block = b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00";
    vec![
        ("inflate_hello", hello(&[])),
        ("inflate_in_pieces", hello(&[1, 0])),
        ("inflate_bomb", input([0; 5], &[4], &bomb)),
        (
            "inflate_final_block",
            input([0; 5], &[2], &[&final_block[..], HELLO].concat()),
        ),
        (
            "inflate_stored",
            input([0; 5], &[], b"\x00\x05\x00\xfa\xffHello\x00"),
        ),
        ("inflate_too_far_back", input([0; 5], &[], b"\x03\x02\x00")),
        ("inflate_reserved_block", input([0; 5], &[], b"\xff\xff")),
        (
            "round_trip_in_context",
            input([1, 0x38, 0x80, 0, 0x77], &[0x58, 0x43, 6], &poem),
        ),
        (
            "round_trip_alone",
            input([1, 0x91, 0x80, 1, 0x11], &[0x47], &poem),
        ),
        (
            "round_trip_small_window",
            input([1, 0x19, 0, 0, 0x10], &[0x60], &poem),
        ),
        ("agree", input([2, 0, 0x77, 0, 0x77], &[], OFFERS)),
        ("agree_on_less", input([2, 3, 0x21, 1, 0x34], &[], OFFERS)),
        (
            "agree_on_8_bits",
            input(
                [2, 0, 0x00, 0, 0x77],
                &[],
                b"permessage-deflate; \
            client_max_window_bits=8; server_max_window_bits=8",
            ),
        ),
        (
            "refuse",
            input(
                [2, 0, 0x77, 0, 0x77],
                &[],
                b"permessage-deflate; x, \
            permessage-deflate; server_max_window_bits, permessage-deflate; \
            client_no_context_takeover=1, permessage-deflate; server_max_window_bits=016",
            ),
        ),
    ]
}

/// 128 KiB of the same byte, compressed.
fn bomb(byte: u8) -> Vec<u8> {
    let strength = Strength {
        level: 9,
        memory_level: 9,
    };
    let mut out = Vec::new();
    Deflater::new(strength, 15, true).deflate(&[byte; 1 << 17], &mut out);
    out
}

/// An act about peer `who`.
fn act(verb: Verb, who: u8, number: u16, text: &[u8]) -> Act {
    Act {
        verb,
        who,
        number,
        text: text.to_vec(),
    }
}

/// A connection that is open, by a request of that number.
fn open(who: u8, request: u16) -> Vec<Act> {
    let alone = |verb| act(verb, who, 0, b"");
    vec![
        act(Connect, who, request, b""),
        alone(Turn),
        alone(DeliverAll),
        alone(Turn),
    ]
}

fn connections() -> Vec<(&'static str, Vec<u8>)> {
    [
        conversations(),
        openings(),
        endings(),
        slow_readers(),
        breaches(),
    ]
    .concat()
}

fn script(settings: [u8; 3], acts: Vec<Act>) -> Vec<u8> {
    let script = Script { settings, acts };
    let bytes = script.write();
    let read = Script::arbitrary(&mut Unstructured::new(&bytes));
    assert_eq!(read.as_ref(), Ok(&script), "it is read as it was written");
    bytes
}

/// A script that begins with a connection that is open.
fn then(request: u16, settings: [u8; 3], more: &[Act]) -> Vec<u8> {
    script(settings, [open(0, request), more.to_vec()].concat())
}

/// Everything that the peer said arrives.
fn all(who: u8) -> Vec<Act> {
    vec![act(DeliverAll, who, 0, b""), turn()]
}

fn turn() -> Act {
    act(Turn, 0, 0, b"")
}

fn wait(ticks: u16) -> Act {
    act(Wait, 0, ticks, b"")
}

fn conversations() -> Vec<(&'static str, Vec<u8>)> {
    let talk = |request: u16, flags: u16| {
        let mut acts = [open(0, request), open(1, request)].concat();
        for (verb, text) in [
            (Text, "hello"),
            (Binary, "hello"),
            (Text, "p to everybody"),
            (Binary, "h first"),
            (Text, "q payload"),
            (Ping, "are you there?"),
            (Pong, ""),
        ] {
            acts.push(act(verb, 0, flags | 9, text.as_bytes()));
            acts.extend(all(0));
        }
        acts.push(act(Publish, 0, 0, b"from outside"));
        acts.push(act(Close, 0, 1000, b"done"));
        [acts, all(0)].concat()
    };
    let in_five = 4 << 10;
    let with_pings = 1 << 13;
    let compressed = 1 << 14;
    vec![
        ("talk", script([0; 3], talk(0, 0))),
        (
            "talk_in_fragments",
            script([0; 3], talk(0, in_five | with_pings)),
        ),
        ("talk_compressed", script([1, 0, 0], talk(1, compressed))),
        (
            "talk_in_context",
            script([7, 0, 0], talk(2, compressed | in_five)),
        ),
        ("talk_small_window", script([15, 0, 0], talk(3, compressed))),
        (
            "raw",
            then(0, [0; 3], &[act(Raw, 0, 0, b"\x81\x85mask\0\0\0\0\0")]),
        ),
    ]
}

fn openings() -> Vec<(&'static str, Vec<u8>)> {
    let page = act(Connect, 0, 5, b"GET / HTTP/1.1\r\n\r\n");
    let few = [0, 1 << 6, 0];
    let hasty = [0, 0, 1 << 6];
    let some = act(Deliver, 0, 40, b"");
    vec![
        ("closed_page", script([0; 3], open(0, 4))),
        ("no_upgrade", script([0; 3], vec![page])),
        (
            "full",
            script(few, [open(0, 0), open(1, 0), open(2, 0)].concat()),
        ),
        (
            "in_pieces",
            script([0; 3], vec![act(Connect, 0, 1, b""), turn(), some, turn()]),
        ),
        (
            "too_slow",
            script(hasty, vec![act(Connect, 0, 0, b""), turn(), wait(30)]),
        ),
    ]
}

fn endings() -> Vec<(&'static str, Vec<u8>)> {
    let said = act(Text, 0, 3, b"x");
    let kick = |code: u16| {
        let [high, low] = code.to_be_bytes();
        act(Binary, 0, 0, &[b'k', high, low])
    };
    let alone = |verb| act(verb, 0, 0, b"");
    let drain = act(Drain, 0, 10, b"");
    let pinged = [0, 0, 0b111];
    let idle = [0, 0, 0b1010];
    let answered = [wait(21), alone(Pong), alone(DeliverAll), wait(21), wait(30)];
    vec![
        (
            "kicked",
            then(0, [0; 3], &[kick(4000), act(Text, 0, 0, b"late")]),
        ),
        ("kicked_with_1005", then(0, [0; 3], &[kick(1005)])),
        (
            "left",
            then(0, [0; 3], &[said.clone(), alone(DeliverAll), alone(End)]),
        ),
        ("reset", then(0, [0; 3], &[said.clone(), alone(Reset)])),
        (
            "drained",
            then(0, [0; 3], &[drain, turn(), wait(5), wait(6)]),
        ),
        ("stopped", then(0, [0; 3], &[said, alone(Stop)])),
        ("heartbeat", then(0, pinged, &answered)),
        ("idle", then(0, idle, &[wait(30)])),
    ]
}

/// Peers that take little of what they are sent, under each policy.
fn slow_readers() -> Vec<(&'static str, Vec<u8>)> {
    let slow = |overflow: u8| {
        let mut acts = vec![act(Take, 0, 200, b"")];
        for _ in 0..8 {
            acts.push(act(Binary, 0, 63, b"much"));
            acts.extend(all(0));
        }
        acts.extend([
            act(Take, 0, 300, b""),
            turn(),
            act(TakeAll, 0, 0, b""),
            turn(),
        ]);
        then(0, [0, 1 << 4 | 1 << 5 | overflow, 0], &acts)
    };
    let much = |count| vec![act(Binary, 0, 63, b"much"); count];
    // Whoever was behind for a second is read from once, behind or not; half a queue is answered.
    let unread = [
        vec![act(Stall, 0, 0, b"")],
        much(2),
        all(0),
        vec![act(Publish, 0, 0, &[b'x'; 200]); 3],
        much(90),
        vec![
            act(DeliverAll, 0, 0, b""),
            wait(110),
            act(Take, 0, 700, b""),
            turn(),
        ],
        vec![turn(); 3],
    ];
    let held = unread.concat();
    let published = vec![act(Publish, 0, 0, b"x"); 6];
    let outside = [
        vec![act(Stall, 0, 0, b"")],
        much(1),
        all(0),
        published,
        vec![turn()],
    ]
    .concat();
    let stalled = [
        act(Stall, 0, 0, b""),
        act(Text, 0, 0, b"x"),
        act(DeliverAll, 0, 0, b""),
    ];
    vec![
        ("held_back", then(0, [0; 3], &held)),
        ("outside_is_dropped", then(0, [0, 1 << 4 | 2, 0], &outside)),
        ("slow_is_closed", slow(0)),
        ("slow_misses_the_newest", slow(1)),
        ("slow_misses_the_oldest", slow(2)),
        (
            "stalled",
            then(
                0,
                [0, 0, 1 << 4],
                &[&stalled[..], &[turn(), wait(30)]].concat(),
            ),
        ),
    ]
}

/// What is not allowed, each behind a message that is.
fn breaches() -> Vec<(&'static str, Vec<u8>)> {
    let names = [
        "not_masked",
        "reserved_bits",
        "unknown_opcode",
        "control_too_long",
        "control_fragmented",
        "length_not_minimal",
        "length_with_top_bit",
        "nothing_to_continue",
        "message_within_message",
        "not_utf8",
        "half_a_close_code",
        "close_code_1005",
        "too_big",
        "no_deflate",
    ];
    let breach = |kind| {
        let acts = [act(Text, 0, 1, b"before"), act(Break, 0, kind, b"x")];
        then(1, [1, 0, 0], &[&acts[..], &all(0)].concat())
    };
    names.into_iter().zip((0..).map(breach)).collect()
}
