//! Attacks by frames: lengths that lie, messages without an end, text that is none.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use throng::protocol::close::CloseCode;
use throng::protocol::frame::OpCode;
use throng::{Cause, Config};
use throng_tests::engine::{Client, Heard, config, frame};
use throng_tests::hostile::{CONNECTION, Counting, Siege, end_of, in_parallel};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The largest message of these tests.
const LARGEST: usize = 128 * 1024;

fn settings() -> Config {
    config().max_message_size(LARGEST)
}

/// The header of a masked frame that declares so many bytes, in the form of 64 bits.
fn declaring(first: u8, len: u64) -> Vec<u8> {
    [&[first, 0xff][..], &len.to_be_bytes(), &[0; 4]].concat()
}

#[test]
fn a_length_beyond_bounds_is_refused_before_its_payload() {
    const EACH: usize = 25;
    const BINARY: u8 = 0x82;
    const FIRST_OF_BINARY: u8 = 0x02;
    let (too_big, top_bit) = ((1009, "frame too big"), (1002, "length out of range"));
    let long = LARGEST as u64;
    let attacks = [
        ("2^63", BINARY, 1 << 63, top_bit),
        ("2^64 - 1", BINARY, u64::MAX, top_bit),
        ("2^63 - 1", BINARY, (1 << 63) - 1, too_big),
        ("max + 1", BINARY, long + 1, too_big),
        ("max + 1 of a fragment", FIRST_OF_BINARY, long + 1, too_big),
    ];
    for (what, first, len, (code, reason)) in attacks {
        let siege = Siege::begin(settings());
        let mut clients: Vec<Client> = (0..EACH)
            .map(|_| Client::connect(siege.address()))
            .collect();
        siege.beside(|| {
            for client in &mut clients {
                client.write(&declaring(first, len));
            }
            for client in &mut clients {
                let close = client.hear();
                let expected = Heard::Close(Some(code), reason.into());
                assert_eq!(close, expected, "{what}, before its first byte");
                // Whoever does not stop is not listened to for long.
                let _ = client.try_write(&vec![0; 1 << 20]);
            }
        });
        siege.live_on();
        let cause = if code == 1009 {
            Cause::TooBig
        } else {
            Cause::ProtocolFault
        };
        siege.until_ended(&cause, EACH);
        let attack = format!("declared length {what} × {EACH}, then 1 MiB");
        siege.withstood(&attack, &code.to_string(), EACH * CONNECTION);
    }
}

/// A message may be as large as is allowed in two fragments, but for one byte.
#[test]
fn fragments_that_come_to_too_much_are_refused_before_the_last() {
    const EACH: usize = 25;
    let siege = Siege::begin(settings());
    let first = frame(false, OpCode::Binary, &[0; 1024]);
    let last = declaring(0x80, (LARGEST - 1024 + 1) as u64);
    let address = siege.address();
    siege.beside(|| {
        for _ in 0..EACH {
            let mut client = Client::connect(address);
            let end = end_of(&mut client, &[&first, &last, &[0; LARGEST]]);
            assert_eq!(end, Heard::Close(Some(1009), "message too big".into()));
        }
    });
    siege.live_on();
    siege.until_ended(&Cause::TooBig, EACH);
    let bound = EACH * (2 * 1024 + CONNECTION);
    siege.withstood("max + 1 in two fragments × 25", "1009", bound);
}

/// What is declared and allowed costs nothing until it comes.
#[test]
fn promises_cost_no_memory() {
    const PROMISES: usize = 400;
    const SENT: usize = 512;
    let settings = config().max_message_size(16 << 20);
    let siege = Siege::begin(settings.send_queue_bytes(32 << 20));
    let mut clients: Vec<Client> = (0..PROMISES)
        .map(|_| Client::connect(siege.address()))
        .collect();
    for client in &mut clients {
        client.write(&declaring(0x82, 16 << 20));
        client.write(&[0; SENT]);
    }
    siege.live_on();
    drop(clients);
    siege.until_ended(&Cause::PeerVanished, PROMISES);
    let bound = PROMISES * (2 * SENT + CONNECTION);
    siege.withstood("16 MiB declared, 512 sent × 400", "nothing", bound);
}

#[test]
fn endless_small_fragments_come_to_a_message_too_big() {
    const EACH: usize = 8;
    let siege = Siege::begin(settings());
    let address = siege.address();
    let ends = siege.beside(|| {
        in_parallel(EACH, |_| {
            let mut client = Client::connect(address);
            let first = frame(false, OpCode::Text, b"x");
            let more = frame(false, OpCode::Continuation, b"x").repeat(1000);
            let pieces = std::iter::once(&*first).chain(std::iter::repeat_n(&*more, 1000));
            end_of(&mut client, &pieces.collect::<Vec<_>>())
        })
    });
    for end in ends {
        assert_eq!(end, Heard::Close(Some(1009), "message too big".into()));
    }
    siege.live_on();
    siege.until_ended(&Cause::TooBig, EACH);
    // A message, and the buffer of half its size that it grew out of.
    let bound = EACH * (2 * LARGEST + CONNECTION);
    siege.withstood("endless 1-byte fragments × 8", "1009", bound);
}

/// Empty fragments come to no message, so that nobody who sends them is active.
#[test]
fn endless_empty_fragments_are_idleness() {
    const EACH: usize = 4;
    let idle = Duration::from_secs(12);
    let siege = Siege::begin(settings().idle_timeout(idle));
    let address = siege.address();
    let ends = siege.beside(|| {
        in_parallel(EACH, |_| {
            let mut client = Client::connect(address);
            client.frame(false, OpCode::Text, b"");
            let mut writer = client.writer();
            let writing = std::thread::spawn(move || {
                let more = frame(false, OpCode::Continuation, b"").repeat(1000);
                let mut fragments = 0u64;
                while writer.write_all(&more).is_ok() {
                    fragments += 1000;
                }
                fragments
            });
            let heard = client.hear();
            client.finish();
            (heard, writing.join().unwrap())
        })
    });
    let fragments: u64 = ends.iter().map(|(_, fragments)| fragments).sum();
    for (heard, _) in ends {
        assert_eq!(heard, Heard::Close(Some(1008), "idle".into()));
    }
    siege.until_ended(&Cause::Policy, EACH);
    siege.live_on();
    let attack = format!("endless empty fragments × {EACH}, {fragments} in all");
    siege.withstood(&attack, "1008 idle", EACH * CONNECTION);
}

/// Text that stops being text, at which byte, and whether only the message's end shows it.
const NO_TEXT: [(&str, &[u8]); 9] = [
    ("a byte that never is", b"\xce\xba\xff"),
    ("a continuation alone", b"abc\x80def"),
    ("a lead without more", b"caf\xc3 au lait"),
    ("overlong slash", b"..\xc0\xaf.."),
    ("overlong NUL", b"\xe0\x80\x80"),
    ("half of a surrogate pair", b"\xed\xa0\x80"),
    ("beyond U+10FFFF", b"\xf4\x90\x80\x80"),
    ("five bytes", b"\xf8\x88\x80\x80\x80"),
    ("cut at the message's end", b"\xf0\x9f\xa6"),
];

/// Says each of them in every way, and expects every time to be closed. Returns how often that was.
fn say_what_is_no_text(address: SocketAddr) -> usize {
    let mut count = 0;
    for (what, bytes) in NO_TEXT {
        for cut in 0..=bytes.len() {
            for ping in [false, true] {
                let (first, last) = bytes.split_at(cut);
                let first = frame(false, OpCode::Text, first);
                let ping = if ping {
                    frame(true, OpCode::Ping, b"")
                } else {
                    Vec::new()
                };
                let last = frame(true, OpCode::Continuation, last);
                let mut client = Client::connect(address);
                let mut pieces = [&*first, &*ping, &*last].to_vec();
                // In one write and in several.
                let whole = pieces.concat();
                if cut % 2 == 0 {
                    pieces = vec![&whole];
                }
                let end = end_of(&mut client, &pieces);
                let expected = Heard::Close(Some(1007), "invalid UTF-8".into());
                assert_eq!(end, expected, "{what}, cut at {cut}");
                count += 1;
            }
        }
    }
    count
}

#[test]
fn text_that_is_none_is_refused_however_it_is_cut() {
    let siege = Siege::begin(settings());
    let address = siege.address();
    let count = siege.beside(|| say_what_is_no_text(address));
    siege.live_on();
    siege.until_ended(&Cause::ProtocolFault, count);
    assert_eq!(siege.tally().messages(), 0);
    let attack = format!("text that is none, {} kinds, {count} ways", NO_TEXT.len());
    siege.withstood(&attack, "1007", 0);
}

#[test]
fn what_follows_a_close_is_nobodys() {
    const EACH: usize = 100;
    let siege = Siege::begin(settings());
    let close = frame(true, OpCode::Close, &1000u16.to_be_bytes());
    let text = frame(true, OpCode::Text, b"#you should not hear this");
    let ping = frame(true, OpCode::Ping, b"nor answer this");
    let wrong = vec![0xff; 64 * 1024];
    let address = siege.address();
    siege.beside(|| {
        for _ in 0..EACH {
            let mut client = Client::connect(address);
            let all = [&*close, &text, &ping, &close, &wrong].concat();
            let end = end_of(&mut client, &[&all, &text, &wrong]);
            assert_eq!(end, Heard::Close(Some(1000), String::new()));
        }
    });
    siege.live_on();
    let code = Some(CloseCode::NORMAL);
    let reason = String::new();
    siege.until_ended(&Cause::PeerClosed { code, reason }, EACH);
    assert_eq!(siege.tally().messages(), 0, "none is handled");
    siege.withstood("data after close × 100", "1000", 0);
}
