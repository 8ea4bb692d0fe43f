//! Compressed messages (RFC 7692) over real sockets: agreed on, sent, published, bounded.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use throng::protocol::deflate::Deflater;
use throng::protocol::frame::{OpCode, RSV1};
use throng::protocol::message::INFLATED_AT_ONCE;
use throng::{Cause, Compression, Config, Overflow, Receipt};
use throng_tests::engine::{
    Client, Happening, Heard, Served, answer, config, frame, frame_with, gap, request, serve,
};

const DEFLATE: &str = "permessage-deflate";

fn compressing() -> Config {
    config().compression(Some(Compression::default()))
}

fn with_context() -> Config {
    let compression = Compression::default()
        .server_context_takeover(true)
        .client_context_takeover(true);
    config().compression(Some(compression))
}

/// Long, and compressible.
fn long(number: usize) -> String {
    format!("{number:08} {}", "all the same ".repeat(100))
}

/// The payload of the next frame on the wire, and whether it is marked as compressed.
fn raw_frame(client: &mut Client) -> (bool, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        client.read_some(&mut bytes, 1);
        if let [first, len, rest @ ..] = &bytes[..] {
            let (skipped, len) = match (len, rest) {
                (126, [high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
                (126.., _) => continue,
                (short, _) => (2, usize::from(*short)),
            };
            if bytes.len() == skipped + len {
                return (first & 0x40 != 0, bytes[skipped..].to_vec());
            }
        }
    }
}

#[test]
fn nothing_is_compressed_unless_it_is_switched_on() {
    let served = serve(config());
    let offer = format!("Sec-WebSocket-Extensions: {DEFLATE}\r\n");
    let mut client = Client::connect_with(served.address(), &offer);
    let response = client.response.to_lowercase();
    assert!(!response.contains("extensions"), "{response}");
    client.write(&frame_with(true, RSV1, OpCode::Text, b"?"));
    assert!(matches!(client.hear(), Heard::Close(Some(1002), _)));
    assert_eq!(served.next_close().1.cause, Cause::ProtocolFault);
}

#[test]
fn who_does_not_offer_it_is_served_without() {
    let served = serve(compressing());
    let mut client = served.connect();
    let text = long(1);
    client.text(&text);
    let (is_compressed, payload) = raw_frame(&mut client);
    assert!(!is_compressed && payload == text.as_bytes());
}

#[test]
fn what_is_long_enough_is_compressed_and_only_that() {
    let served = serve(compressing());
    let mut client = Client::connect_compressed(served.address(), DEFLATE);
    for text in [long(1), long(2)] {
        client.compressed(&text);
        let (is_compressed, payload) = raw_frame(&mut client);
        assert!(is_compressed && payload.len() < text.len() / 10);
    }
    client.compressed("short");
    assert_eq!(raw_frame(&mut client), (false, b"short".to_vec()));
    // What would be no smaller goes as it is.
    let mut state = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        // Xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(1000)
    .collect();
    client.binary(&noise);
    assert_eq!(raw_frame(&mut client), (false, noise));
    client.compressed(&long(3));
    assert_eq!(client.hear(), Heard::Text(long(3)));
}

#[test]
fn offers_that_cannot_be_met_are_declined() {
    let served = serve(compressing());
    for offer in [
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; unknown",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "x-webkit-deflate-frame",
    ] {
        let line = format!("Sec-WebSocket-Extensions: {offer}\r\n");
        let mut client = Client::connect_with(served.address(), &line);
        let response = client.response.to_lowercase();
        assert!(!response.contains("extensions"), "{offer}: {response}");
        assert_eq!(client.ask("hello"), "hello");
    }
    // The second of two that can be.
    let offers = "permessage-deflate; unknown, permessage-deflate; server_max_window_bits=10";
    let mut client = Client::connect_compressed(served.address(), offers);
    assert!(client.response.contains("server_max_window_bits=10"));
    client.compressed(&long(1));
    assert_eq!(client.hear(), Heard::Text(long(1)));
}

/// Members who agreed on different things are all sent the same messages.
fn a_mixed_room_hears_the_same(served: &Served) {
    let offers = [
        DEFLATE,
        "permessage-deflate; server_max_window_bits=9",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    ];
    let mut members: Vec<Client> = offers
        .iter()
        .map(|offer| Client::connect_compressed(served.address(), offer))
        .collect();
    members.push(served.connect());
    for member in &mut members {
        assert_eq!(member.ask("!join tea"), "Ok(())");
    }
    let mut publisher = served.connect();
    let handle = served.engine.handle();
    for round in 0..50 {
        for (index, member) in members.iter_mut().enumerate() {
            // What it alone is sent lies between what all are sent.
            let own = long(1000 * round + index);
            member.text(&own);
            assert_eq!(member.hear(), Heard::Text(own));
        }
        let text = format!("{} {round}", "the same for all ".repeat(20 + round % 7));
        publisher.text(&format!("!to tea {text}"));
        for member in &mut members {
            assert_eq!(member.hear(), Heard::Text(text.clone()));
        }
        publisher.text(&format!("!high tea {text}"));
        for member in &mut members {
            assert_eq!(member.hear(), Heard::Text(text.clone()));
        }
        handle.to("tea").text(&text).publish().unwrap();
        handle.to("tea").text("short").publish().unwrap();
        for member in &mut members {
            assert_eq!(member.hear(), Heard::Text(text.clone()));
            assert_eq!(member.hear(), Heard::Text("short".into()));
        }
    }
}

#[test]
fn members_with_and_without_compression_hear_the_same() {
    a_mixed_room_hears_the_same(&serve(compressing()));
}

#[test]
fn members_with_context_takeover_hear_the_same() {
    a_mixed_room_hears_the_same(&serve(with_context()));
}

#[test]
fn members_on_several_shards_hear_the_same() {
    a_mixed_room_hears_the_same(&serve(with_context().shards(3)));
}

/// A connection that is behind: it was sent [`NOISE`], more than the system takes, and has read none
/// of it.
fn behind(served: &Served) -> Client {
    let mut client = Client::connect_compressed(served.address(), DEFLATE);
    let (count, size) = NOISE;
    client.text(&format!("!noise {count} {size}"));
    client.until_readable();
    client
}

/// Messages that do not shrink, and their size.
const NOISE: (usize, usize) = (128, 256 << 10);

/// Has the service send so many messages to a client that takes little, and is therefore heard now
/// and then though it is behind.
fn flood(served: &Served, slow: &mut Client, count: usize, size: usize) {
    slow.text(&format!("!flood {count} {size}"));
    let mut sent = 0;
    while sent < NOISE.0 + count {
        slow.sip(4096);
        std::thread::sleep(Duration::from_millis(1));
        let published = |what: &Happening| matches!(what, Happening::Published(_));
        sent += served.rest().into_iter().filter(published).count();
    }
}

/// Hears the noise to its end.
fn endure_noise(slow: &mut Client) {
    for _ in 0..NOISE.0 {
        assert!(matches!(slow.hear(), Heard::Binary(bytes) if bytes.len() == NOISE.1));
    }
}

/// What is refused was never compressed: nothing that follows refers to it.
#[test]
fn what_is_refused_is_not_missed() {
    let config = with_context()
        .overflow(Overflow::RefuseNewest)
        .send_queue_messages(NOISE.0)
        .send_queue_bytes(1 << 30);
    let served = serve(config);
    let mut slow = behind(&served);
    let count = 2 * NOISE.0;
    flood(&served, &mut slow, count, 2000);
    endure_noise(&mut slow);
    slow.text("the end");
    let mut numbers = Vec::new();
    loop {
        match slow.hear() {
            Heard::Binary(bytes) => {
                assert_eq!(bytes.len(), 2000);
                numbers.push(u32::from_be_bytes(bytes[..4].try_into().unwrap()));
            }
            Heard::Text(text) if gap(&text).is_some() => {}
            other => {
                assert_eq!(other, Heard::Text("the end".into()));
                break;
            }
        }
    }
    assert!(numbers.is_sorted() && (1..count).contains(&numbers.len()));
    assert_eq!(slow.ask("still here?"), "still here?");
}

#[test]
fn what_has_room_only_compressed_is_queued_compressed() {
    const LARGE: usize = 64 << 20;
    let served = serve(with_context().send_queue_bytes(LARGE));
    let mut slow = behind(&served);
    flood(&served, &mut slow, 3, LARGE);
    endure_noise(&mut slow);
    for number in 0..3_u32 {
        let heard = slow.hear();
        let begins = |bytes: &[u8]| bytes.starts_with(&number.to_be_bytes());
        assert!(matches!(heard, Heard::Binary(bytes) if bytes.len() == LARGE && begins(&bytes)));
    }
    assert_eq!(slow.ask("still here?"), "still here?");
}

/// Nothing refers to what may be replaced or dropped by its key, and that refers to nothing.
#[test]
fn what_is_replaced_or_dropped_by_key_is_not_missed() {
    const ROUNDS: usize = 300;
    let config = with_context()
        .overflow(Overflow::Conflate)
        .send_queue_messages(300)
        .send_queue_bytes(1 << 30);
    let served = serve(config);
    let mut slow = Client::connect_compressed(served.address(), DEFLATE);
    assert_eq!(slow.ask("!join tea"), "Ok(())");
    let mut publisher = served.connect();
    let mut publish = |key: &str, number: usize| {
        publisher.text(&format!("!keyed tea {key} {number} 2000"));
        published(&served, 1)[0]
    };
    slow.text(&format!("!noise {} {}", NOISE.0, NOISE.1));
    published(&served, NOISE.0);
    let (mut conflated, mut displaced) = (0, 0);
    for round in 0..ROUNDS {
        for key in [format!("key-{round}"), "a".into(), "b".into()] {
            let receipt = publish(&key, round);
            conflated += receipt.conflated;
            displaced += receipt.displaced;
        }
        // Who is behind is heard now and then, and answered with reference to its last answers.
        if [0, 20, 40].contains(&round) {
            slow.text("!flood 2 2000");
            let mut sent = 0;
            while sent < 2 {
                slow.sip(4096);
                std::thread::sleep(Duration::from_millis(1));
                sent += published(&served, 0).len();
            }
        }
    }
    assert!(conflated > 0 && displaced > 0, "{conflated}, {displaced}");
    slow.text("!flood 2 2000");
    slow.text("the end");
    let (mut own, mut last) = (0, Vec::new());
    loop {
        match slow.hear() {
            Heard::Binary(bytes) if bytes.len() == NOISE.1 => {}
            Heard::Binary(bytes) => own += usize::from(bytes.len() == 2000),
            Heard::Text(text) if text == "the end" => break,
            Heard::Text(text) if gap(&text).is_some() => {}
            Heard::Text(text) => last.push(text.trim_end_matches('.').to_owned()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(own, 8);
    for key in [format!("key-{}", ROUNDS - 1), "a".into(), "b".into()] {
        let newest = format!("{:08}{key}", ROUNDS - 1);
        assert!(last.contains(&newest), "{newest}: {last:?}");
    }
}

/// The next receipts, so many of them; those that are there, if that is none.
fn published(served: &Served, count: usize) -> Vec<Receipt> {
    let receipt = |what| match what {
        Happening::Published(receipt) => Some(receipt),
        _ => None,
    };
    if count == 0 {
        return served.rest().into_iter().filter_map(receipt).collect();
    }
    let next = std::iter::repeat_with(|| served.next());
    next.filter_map(receipt).take(count).collect()
}

#[test]
fn dropping_the_oldest_contradicts_context_takeover() {
    let error = with_context()
        .overflow(Overflow::DropOldest)
        .validate()
        .expect_err("what is dropped would be referred to");
    assert_eq!(error.field(), Some("compression.server_context_takeover"));
}

#[test]
fn garbage_is_not_inflated() {
    let served = serve(compressing());
    let mut client = Client::connect_compressed(served.address(), DEFLATE);
    client.write(&frame_with(true, RSV1, OpCode::Text, &[0xff; 16]));
    assert!(matches!(client.hear(), Heard::Close(Some(1007), _)));
    assert_eq!(served.next_close().1.cause, Cause::ProtocolFault);
}

/// Those who have the shard make as much as a turn may do not keep those waiting who compress.
#[test]
fn who_compresses_is_served_beside_who_floods() {
    let served = serve(compressing());
    let mut patient = Client::connect_compressed(served.address(), DEFLATE);
    let mut noise = vec![0; 100 * 1024];
    fastrand::Rng::with_seed(7).fill(&mut noise);
    let mut payload = Vec::new();
    Deflater::new(Compression::default().strength(), 15, true).deflate(&noise, &mut payload);
    assert!(
        payload.len() > 2 * INFLATED_AT_ONCE,
        "it is inflated in parts"
    );
    let asks = frame(true, OpCode::Text, b"!flood 1 32000").repeat(1000);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..16 {
            let mut greedy = served.connect();
            let mut writer = greedy.writer();
            let (asks, is_over) = (&asks, &is_over);
            threads.spawn(move || while writer.write_all(asks).is_ok() {});
            threads.spawn(move || {
                while !is_over.load(Relaxed) {
                    greedy.sip(1 << 20);
                }
                greedy.finish();
            });
        }
        served.until("the flood has begun", |engine| {
            engine.handle().connections() == 17
        });
        for _ in 0..10 {
            patient.write(&frame_with(true, RSV1, OpCode::Binary, &payload));
            assert!(patient.hear() == Heard::Binary(noise.clone()));
        }
        is_over.store(true, Relaxed);
    });
}

/// RFC 6455 §9.1: what is no list of extensions is refused, whether or not one is wanted.
#[test]
fn malformed_offers_are_refused() {
    for config in [config(), compressing()] {
        let served = serve(config);
        let offer = request("Sec-WebSocket-Extensions: permessage-deflate; =\r\n");
        let (status, response) = answer(&served, offer.as_bytes());
        assert_eq!(status, 400, "{response}");
    }
}

/// A client that asked for a small window is sent nothing that refers further back.
#[test]
fn an_agreed_window_is_kept_to() {
    let served = serve(compressing());
    let offer = format!("{DEFLATE}; server_max_window_bits=9");
    let mut small = Client::connect_compressed(served.address(), &offer);
    let mut large = Client::connect_compressed(served.address(), DEFLATE);
    // It repeats itself after a thousand bytes: too far for the small window.
    let mut state = 1u32;
    let once: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'!' + state.to_be_bytes()[0] % 90)
    })
    .take(1000)
    .collect();
    let text = once.repeat(8);
    let lengths = [&mut small, &mut large].map(|client| {
        client.compressed(&text);
        let (is_compressed, payload) = raw_frame(client);
        assert!(is_compressed);
        payload.len()
    });
    assert!(lengths[0] > 4 * lengths[1], "{lengths:?}");
}
