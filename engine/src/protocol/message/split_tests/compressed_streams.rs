//! Streams with compressed messages: Autobahn's groups 12 and 13, and RFC 7692 §7.2.3.

use super::streams::Then::{Fails, GoesOn};
use super::streams::{
    BINARY, CHARACTERS, FIRST_OF_BINARY, FIRST_OF_TEXT, LAST, LIMITS, MORE, NO_TEXT, PING, PONG,
    Stream, Streams, TEXT,
};
use super::*;
use crate::protocol::deflate::{Deflater, Strength};

pub(super) const STRENGTH: Strength = Strength {
    level: 6,
    memory_level: 8,
};
/// The bit of a first byte that marks a compressed message.
pub(super) const RSV1_BIT: u8 = 0x40;

/// Streams where compression was agreed on.
pub(super) fn compressed(rules: Rules) -> Vec<Stream> {
    let mut streams = Streams::new(rules);
    compressed_messages(&mut streams);
    deflate_blocks(&mut streams);
    inflated_limits(&mut streams);
    streams.all
}

/// Payloads of these messages, one behind the other.
fn deflated<const N: usize>(rules: Rules, messages: [&[u8]; N]) -> [Vec<u8>; N] {
    let mut deflater = Deflater::new(STRENGTH, 15, rules.compression == Compression::Alone);
    messages.map(|message| {
        let mut payload = Vec::new();
        deflater.deflate(message, &mut payload);
        payload
    })
}

fn compressed_messages(streams: &mut Streams) {
    let lines = "Sphinx of black quartz, judge my vow. ".repeat(20);
    for text in ["", CHARACTERS, &lines, &CHARACTERS.repeat(6000)] {
        let bytes = text.as_bytes();
        let [one, two] = deflated(streams.rules, [bytes, bytes]);
        let (head, tail) = two.split_at(two.len() / 2);
        let frames = [
            (RSV1_BIT | TEXT, &*one),
            (TEXT, CHARACTERS.as_bytes()),
            (RSV1_BIT | FIRST_OF_BINARY, b""),
            (PING, b"between"),
            (MORE, head),
            (MORE, b""),
            (PONG, b""),
            (LAST, tail),
        ];
        let what = format!("{} bytes, compressed twice", text.len());
        streams.add(what, &frames, 5, GoesOn);
        let marked_twice = [(RSV1_BIT | FIRST_OF_TEXT, &*one), (RSV1_BIT | LAST, b"\0")];
        let fault = Fails(Fault::ReservedBits);
        streams.add("RSV1 on the second fragment", &marked_twice, 0, fault);
    }
    for bad in NO_TEXT {
        let bytes = [CHARACTERS.as_bytes(), bad, b"more"].concat();
        let [payload] = deflated(streams.rules, [&bytes]);
        let frames = [(RSV1_BIT | TEXT, &*payload)];
        let what = format!("compressed, no text: {bad:x?}");
        streams.add(what, &frames, 0, Fails(Fault::InvalidUtf8));
    }
    let [cut] = deflated(streams.rules, [&CHARACTERS.as_bytes()[..8]]);
    let frames = [(RSV1_BIT | TEXT, &*cut)];
    let fault = Fails(Fault::InvalidUtf8);
    streams.add("compressed, cut in a character", &frames, 0, fault);
    let [payload] = deflated(streams.rules, [lines.as_bytes()]);
    let frames = [(RSV1_BIT | TEXT, &*payload)];
    streams.add_cut("half a compressed message", &frames, 5, 0);
}

/// Blocks of every type, as they must be and as they must not.
fn deflate_blocks(streams: &mut Streams) {
    let hello = &b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..];
    let stored = &b"\x00\x05\x00\xfa\xffHello\x00"[..];
    let last = &b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"[..];
    let last_and_more = [&last[..7], hello].concat();
    let two_blocks = &b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"[..];
    for payload in [hello, stored, last, &last_and_more, two_blocks] {
        let frames = [(RSV1_BIT | TEXT, payload)];
        streams.add(format!("blocks {payload:x?}"), &frames, 1, GoesOn);
    }
    let again = &b"\xf2\x00\x11\x00\x00"[..];
    let then = match streams.rules.compression {
        Compression::InContext => (2, GoesOn),
        _ => (1, Fails(Fault::InvalidDeflate)),
    };
    let frames = [(RSV1_BIT | TEXT, hello), (RSV1_BIT | TEXT, again)];
    streams.add("a message that refers to another", &frames, then.0, then.1);
    for bad in [
        &b"\x06"[..],
        b"\x07",
        again,
        b"\x00\x05\x00\x05\x00Hello",
        b"\xff\xff\xff",
        // Behind what is sound.
        b"\x00\x02\x00\xfd\xffHi\x06",
        // A block of the third type whose code lengths make no code.
        b"\x04\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let fault = Fails(Fault::InvalidDeflate);
        let frames = [(RSV1_BIT | BINARY, bad)];
        streams.add(format!("no blocks {bad:x?}"), &frames, 0, fault);
        let (head, tail) = bad.split_at(bad.len() / 2);
        let frames = [(RSV1_BIT | FIRST_OF_BINARY, head), (LAST, tail)];
        streams.add(format!("no blocks {bad:x?}, in two"), &frames, 0, fault);
    }
}

fn inflated_limits(streams: &mut Streams) {
    let max = LIMITS.max_message_size;
    let mut message = vec![b'a'; max];
    let [payload] = deflated(streams.rules, [&message]);
    let frames = [(RSV1_BIT | TEXT, &*payload)];
    streams.add("as long as it may be", &frames, 1, GoesOn);
    message.resize(max + 500, b'a');
    let too_big = Fails(Fault::MessageTooBig { max });
    for (what, first, place, fault) in [
        ("too long", BINARY, max, too_big),
        ("no text, then too long", TEXT, max - 200, too_big),
        ("too long, then no text", TEXT, max, too_big),
    ] {
        let mut message = message.clone();
        message[place] = 0xff;
        let [payload] = deflated(streams.rules, [&message]);
        let frames = [(RSV1_BIT | first, &*payload)];
        streams.add(format!("inflated {what}"), &frames, 0, fault);
    }
}
