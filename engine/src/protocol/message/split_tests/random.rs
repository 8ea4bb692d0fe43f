//! Streams made up, sound and damaged, cut anywhere.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::compressed_streams::{RSV1_BIT, STRENGTH};
use super::streams::{LAST, frame};
use super::*;
use crate::protocol::deflate::{DEFLATE_WINDOW_BITS, Deflater};

const LARGE: MessageLimits = MessageLimits {
    max_message_size: 512 * 1024,
    max_frame_size: 512 * 1024,
};
/// Passed by many of the messages made up.
const SMALL: MessageLimits = MessageLimits {
    max_message_size: 300,
    max_frame_size: 200,
};

#[derive(Clone, Debug)]
struct Message {
    meaning: Owned,
    /// Whether it is compressed where that was agreed on.
    compressed: bool,
    /// Where its payload is cut into fragments, and the control frames there.
    cuts: Vec<(Index, Vec<Owned>)>,
}

fn any_message() -> impl Strategy<Value = Message> {
    let meaning = prop_oneof![
        4 => "\\PC{0,200}".prop_map(Owned::Text),
        1 => "[a-c]{0,3000}".prop_map(Owned::Text),
        4 => prop::collection::vec(any::<u8>(), 0..2000).prop_map(Owned::Binary),
        1 => prop::collection::vec(any::<u8>(), 66_000..66_002).prop_map(Owned::Binary),
        1 => (0..70_000_usize).prop_map(|len| Owned::Binary(vec![7; len])),
    ];
    let payload = prop::collection::vec(any::<u8>(), 0..=125);
    let control = (any::<bool>(), payload).prop_map(|(is_ping, payload)| {
        if is_ping {
            Owned::Ping(payload)
        } else {
            Owned::Pong(payload)
        }
    });
    let cut = (any::<Index>(), prop::collection::vec(control, 0..3));
    let cuts = prop::collection::vec(cut, 0..4);
    (meaning, any::<bool>(), cuts).prop_map(|(meaning, compressed, cuts)| Message {
        meaning,
        compressed,
        cuts,
    })
}

/// Writes messages as the other side of `rules` does, with the events that they mean.
fn encode(rules: Rules, bits: u8, messages: &[Message]) -> (Vec<u8>, Vec<Owned>) {
    let mut deflater = Deflater::new(STRENGTH, bits, rules.compression == Compression::Alone);
    let (mut stream, mut events) = (Vec::new(), Vec::new());
    for message in messages {
        let (mut first, payload) = first_and_payload(&message.meaning);
        let mut payload = payload.to_vec();
        if message.compressed && rules.compression != Compression::Off {
            first |= RSV1_BIT;
            let plain = std::mem::take(&mut payload);
            deflater.deflate(&plain, &mut payload);
        }
        let mut rest = &payload[..];
        for (cut, controls) in &message.cuts {
            let (fragment, after) = rest.split_at(cut.index(rest.len() + 1));
            stream.extend(frame(rules.role, first, fragment));
            for control in controls {
                let (first, payload) = first_and_payload(control);
                stream.extend(frame(rules.role, LAST | first, payload));
                events.push(control.clone());
            }
            (first, rest) = (0, after);
        }
        stream.extend(frame(rules.role, LAST | first, rest));
        events.push(message.meaning.clone());
    }
    (stream, events)
}

/// The opcode and the payload of a frame that means this.
fn first_and_payload(event: &Owned) -> (u8, &[u8]) {
    match event {
        Owned::Text(text) => (OpCode::Text as u8, text.as_bytes()),
        Owned::Binary(bytes) => (OpCode::Binary as u8, bytes),
        Owned::Ping(payload) => (OpCode::Ping as u8, payload),
        Owned::Pong(payload) => (OpCode::Pong as u8, payload),
        Owned::Close(_) => unreachable!("none is made up"),
    }
}

/// Lengths of reads, over and over.
fn any_reads() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1..20_usize, 1..5000_usize], 1..50)
}

fn pieces<'s>(stream: &'s [u8], reads: &'s [usize]) -> impl Iterator<Item = &'s [u8]> {
    let mut rest = stream;
    reads.iter().cycle().map_while(move |read| {
        let (piece, after) = rest.split_at(rest.len().min(*read));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn any_split_of_a_stream_gives_the_same_events(
        messages in prop::collection::vec(any_message(), 0..6),
        reads in any_reads(),
        rules in select(&RULES[..]),
        bits in DEFLATE_WINDOW_BITS,
    ) {
        let (stream, expected) = encode(rules, bits, &messages);
        let expected = (expected, None);
        let mut reader = Reader::new(rules, LARGE);
        prop_assert_eq!(&reader.read([&stream[..]]), &expected);
        prop_assert_eq!(&reader.read(pieces(&stream, &reads)), &expected);
    }

    #[test]
    fn any_damage_gives_the_same_events_and_fault_at_any_split(
        messages in prop::collection::vec(any_message(), 1..4),
        damage in prop::collection::vec((any::<Index>(), 1..=u8::MAX), 0..4),
        reads in any_reads(),
        rules in select(&RULES[..]),
        limits in select(&[LARGE, SMALL][..]),
    ) {
        let (mut stream, _) = encode(rules, 15, &messages);
        for (place, bits) in damage {
            let place = place.index(stream.len());
            stream[place] ^= bits;
        }
        let mut reader = Reader::new(rules, limits);
        let whole = reader.read([&stream[..]]);
        prop_assert_eq!(&reader.read(pieces(&stream, &reads)), &whole);
    }

    #[test]
    fn any_bytes_give_the_same_events_and_fault_however_they_are_split(
        first in select(&[0x81, 0x82, 0x01, 0x89, 0x88, 0xc1, 0xc2, 0x41][..]),
        length in prop_oneof![0..=127_u8],
        rest in prop::collection::vec(any::<u8>(), 0..300),
        reads in any_reads(),
        rules in select(&RULES[..]),
    ) {
        let masked = if rules.role == Role::Server { 0x80 } else { 0 };
        let stream = [&[first, length | masked], &rest[..]].concat();
        let mut reader = Reader::new(rules, SMALL);
        let whole = reader.read([&stream[..]]);
        prop_assert_eq!(&reader.read(pieces(&stream, &reads)), &whole);
        prop_assert_eq!(&reader.read(stream.chunks(1)), &whole);
    }
}
