//! Frames and messages (RFC 6455 §5, §6, §8), over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use proptest::prelude::*;
use throng::protocol::frame::OpCode;
use throng_tests::engine::{Client, Heard, config, frame, serve};

const LIMIT: usize = 300_000;

#[test]
fn every_length_comes_back_as_it_was() {
    let served = serve(config().max_message_size(LIMIT).read_buffer_size(64 * 1024));
    let mut client = served.connect();
    for length in [
        0,
        1,
        125,
        126,
        127,
        65_535,
        65_536,
        65_537,
        LIMIT - 1,
        LIMIT,
    ] {
        let bytes: Vec<u8> = (0..length).map(|at| (at * 31 % 251) as u8).collect();
        client.binary(&bytes);
        assert_eq!(client.hear(), Heard::Binary(bytes), "{length} bytes");
        let text = "ü".repeat(length / 2);
        assert_eq!(client.ask(&text), text);
    }
}

#[test]
fn what_is_too_big_is_refused_at_its_header() {
    let too_big = |first: &[u8]| {
        let served = serve(config().max_message_size(1000).max_frame_size(600));
        let mut client = served.connect();
        client.write(first);
        assert!(!client.expect_close(1009).is_empty());
        assert_eq!(served.next_cause(), throng::Cause::TooBig);
    };
    too_big(&frame(true, OpCode::Binary, &[0; 601])[..8]);
    too_big(&[
        0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4,
    ]);
    let fragments = [
        frame(false, OpCode::Binary, &[0; 600]),
        frame(true, OpCode::Continuation, &[0; 401])[..8].to_vec(),
    ];
    too_big(&fragments.concat());
}

#[test]
fn a_fault_ends_the_connection_behind_what_was_said_before() {
    let mut bad_rsv = frame(true, OpCode::Text, b"x");
    bad_rsv[0] |= 0x40;
    let mut unknown = frame(true, OpCode::Text, b"x");
    unknown[0] = 0x83;
    let unmasked = vec![0x81, 0x01, b'x'];
    let long_ping = frame(true, OpCode::Ping, &[0; 126]);
    let cut_ping = frame(false, OpCode::Ping, b"x");
    let lonely = frame(true, OpCode::Continuation, b"x");
    let twice = [
        frame(false, OpCode::Text, b"x"),
        frame(true, OpCode::Text, b"y"),
    ]
    .concat();
    let wasteful = vec![0x81, 0xfe, 0x00, 0x01, 0, 0, 0, 0, b'x'];
    let half_a_code = frame(true, OpCode::Close, &[3]);
    let bad_code = frame(true, OpCode::Close, &1005u16.to_be_bytes());
    for (what, bytes, code) in [
        ("reserved bits", bad_rsv, 1002),
        ("unknown opcode", unknown, 1002),
        ("not masked", unmasked, 1002),
        ("long ping", long_ping, 1002),
        ("cut ping", cut_ping, 1002),
        ("nothing to continue", lonely, 1002),
        ("two messages at once", twice, 1002),
        ("a length not minimal", wasteful, 1002),
        ("half a code", half_a_code, 1002),
        ("a code not for the wire", bad_code, 1002),
        ("not UTF-8", frame(true, OpCode::Text, &[0xff]), 1007),
        ("not UTF-8, cut", frame(false, OpCode::Text, &[0xc0]), 1007),
        (
            "a reason not UTF-8",
            frame(true, OpCode::Close, &[3, 232, 0xff]),
            1007,
        ),
    ] {
        let served = serve(config());
        let mut client = served.connect();
        client.write(&[frame(true, OpCode::Text, b"before"), bytes].concat());
        assert_eq!(client.hear(), Heard::Text("before".into()), "{what}");
        client.expect_close(code);
        assert_eq!(served.next_cause(), throng::Cause::ProtocolFault, "{what}");
    }
}

#[test]
fn pings_are_answered_between_fragments() {
    let served = serve(config());
    let mut client = served.connect();
    client.frame(false, OpCode::Text, b"one ");
    client.frame(true, OpCode::Ping, b"are you there?");
    assert_eq!(client.hear(), Heard::Pong(b"are you there?".to_vec()));
    client.frame(false, OpCode::Continuation, b"and ");
    client.frame(true, OpCode::Ping, b"");
    assert_eq!(client.hear(), Heard::Pong(Vec::new()));
    client.frame(true, OpCode::Continuation, b"two");
    assert_eq!(client.hear(), Heard::Text("one and two".into()));
    client.frame(true, OpCode::Pong, b"unasked for");
    assert_eq!(client.ask("three"), "three");
}

#[test]
fn what_follows_a_close_frame_is_not_heard() {
    let served = serve(config());
    let mut client = served.connect();
    let close = frame(true, OpCode::Close, &1000u16.to_be_bytes());
    let after = frame(true, OpCode::Text, b"after");
    client.write(&[frame(true, OpCode::Text, b"before"), close, after].concat());
    assert_eq!(client.hear(), Heard::Text("before".into()));
    assert_eq!(client.hear(), Heard::Close(Some(1000), String::new()));
    assert_eq!(client.hear(), Heard::End);
}

#[test]
fn every_close_code_is_answered_as_the_rfc_says() {
    let served = serve(config());
    let hear_after = |code: u16| {
        let mut client = served.connect();
        client.close(code, "because");
        client.hear()
    };
    // RFC 6455 §7.4.1, §7.4.2, and what IANA has registered since.
    for code in [
        1000, 1001, 1002, 1003, 1007, 1011, 1012, 1014, 3000, 3999, 4000, 4999,
    ] {
        let same = Heard::Close(Some(code), String::new());
        assert_eq!(hear_after(code), same, "{code}");
    }
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        let answer = hear_after(code);
        assert!(
            matches!(answer, Heard::Close(Some(1002), _)),
            "{code}: {answer:?}"
        );
    }
}

#[test]
fn of_very_many_pings_the_last_is_answered() {
    let served = serve(config());
    let mut client = served.connect();
    let pings = (0..2000u16).flat_map(|number| frame(true, OpCode::Ping, &number.to_be_bytes()));
    client.write(&pings.collect::<Vec<u8>>());
    let mut last = None;
    while last != Some(1999) {
        let Heard::Pong(payload) = client.hear() else {
            panic!("no pong after {last:?}")
        };
        let number = u16::from_be_bytes(payload.try_into().unwrap());
        assert!(last < Some(number), "{number} after {last:?}");
        last = Some(number);
    }
    assert_eq!(client.ask("hello"), "hello");
}

/// A message as a client might send it.
#[derive(Clone, Debug)]
struct Sent {
    is_text: bool,
    parts: Vec<Vec<u8>>,
    /// A ping behind each part.
    pings: bool,
}

fn sent() -> impl Strategy<Value = Sent> {
    let text = "[a-zäöü€😀]{0,200}".prop_map(String::into_bytes);
    let bytes = prop_oneof![
        9 => proptest::collection::vec(any::<u8>(), 0..300),
        1 => (4000usize..20_000).prop_map(|length| vec![0x5a; length]),
    ];
    let payload = prop_oneof![text.prop_map(|t| (true, t)), bytes.prop_map(|b| (false, b))];
    let cuts = proptest::collection::vec(any::<prop::sample::Index>(), 0..4);
    (payload, cuts, any::<bool>()).prop_map(|((is_text, payload), cuts, pings)| {
        let mut cuts: Vec<usize> = cuts
            .iter()
            .map(|cut| cut.index(payload.len() + 1))
            .collect();
        cuts.sort_unstable();
        let ends = cuts.iter().copied().chain([payload.len()]);
        let starts = [0].into_iter().chain(cuts.iter().copied());
        let parts = starts
            .zip(ends)
            .map(|(start, end)| payload[start..end].to_vec())
            .collect();
        Sent {
            is_text,
            parts,
            pings,
        }
    })
}

impl Sent {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (index, part) in self.parts.iter().enumerate() {
            let opcode = match (index, self.is_text) {
                (0, true) => OpCode::Text,
                (0, false) => OpCode::Binary,
                _ => OpCode::Continuation,
            };
            bytes.extend(frame(index + 1 == self.parts.len(), opcode, part));
            if self.pings {
                bytes.extend(frame(true, OpCode::Ping, &[index as u8]));
            }
        }
        bytes
    }

    /// The payloads of the pings between the parts.
    fn pings(&self) -> impl Iterator<Item = Vec<u8>> {
        let count = if self.pings { self.parts.len() } else { 0 };
        (0..count).map(|index| vec![index as u8])
    }

    fn heard(&self) -> Heard {
        let payload = self.parts.concat();
        match self.is_text {
            true => Heard::Text(String::from_utf8(payload).unwrap()),
            false => Heard::Binary(payload),
        }
    }
}

/// A text that happens to be a command is obeyed, not echoed.
fn is_echoed(sent: &Sent) -> bool {
    sent.parts.concat().first() != Some(&b'!')
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However a stream is cut into writes, the same messages come back in order.
    #[test]
    fn any_split_of_a_stream_gives_the_same_messages(
        messages in proptest::collection::vec(sent().prop_filter("echoed", is_echoed), 1..12),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let served = serve(config().read_buffer_size(4096));
        let mut client = served.connect();
        let stream: Vec<u8> = messages.iter().flat_map(Sent::bytes).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.sort_unstable();
        let mut start = 0;
        for end in cuts.into_iter().chain([stream.len()]) {
            client.write(&stream[start..end]);
            start = end;
            std::thread::yield_now();
        }
        client.frame(true, OpCode::Ping, b"the last");
        let (mut heard, mut pongs) = (Vec::new(), Vec::new());
        while pongs.last().is_none_or(|pong| pong != b"the last") || heard.len() < messages.len() {
            match client.hear() {
                Heard::Pong(payload) => pongs.push(payload),
                message => heard.push(message),
            }
        }
        let expected: Vec<Heard> = messages.iter().map(Sent::heard).collect();
        prop_assert_eq!(heard, expected);
        // Of many pings at once only the latest need be answered (RFC 6455 §5.5.3).
        let mut pings = messages.iter().flat_map(Sent::pings).chain([b"the last".to_vec()]);
        prop_assert!(pongs.iter().all(|pong| pings.any(|ping| ping == *pong)), "{:?}", pongs);
    }
}

#[test]
fn many_clients_at_once_each_hear_their_own() {
    let served = serve(config().shards(2));
    let mut clients: Vec<Client> = (0..200).map(|_| served.connect()).collect();
    for round in 0..10 {
        for (index, client) in clients.iter_mut().enumerate() {
            client.text(&format!("{index} in round {round}"));
        }
        for (index, client) in clients.iter_mut().enumerate() {
            assert_eq!(
                client.hear(),
                Heard::Text(format!("{index} in round {round}"))
            );
        }
    }
}
