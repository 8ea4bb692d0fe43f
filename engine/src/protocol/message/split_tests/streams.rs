//! Streams after the cases of Autobahn's testsuite, sound and unsound, without compression.

use super::*;
use crate::protocol::frame::{MAX_HEADER_LEN, RSV1};

pub(super) const LIMITS: MessageLimits = MessageLimits {
    max_message_size: 66_000,
    max_frame_size: 65_800,
};
const KEY: [u8; 4] = [0x9a, 0x01, 0xff, 0x37];

/// First bytes of frames.
pub(super) const TEXT: u8 = 0x81;
pub(super) const BINARY: u8 = 0x82;
pub(super) const FIRST_OF_TEXT: u8 = 0x01;
pub(super) const FIRST_OF_BINARY: u8 = 0x02;
pub(super) const MORE: u8 = 0x00;
pub(super) const LAST: u8 = 0x80;
const CLOSE: u8 = 0x88;
pub(super) const PING: u8 = 0x89;
pub(super) const PONG: u8 = 0x8a;
/// Characters of one to four bytes.
pub(super) const CHARACTERS: &str = "aü€😀";

/// A stream that begins with a message and ends with a ping, if it goes on to it.
pub(super) struct Stream {
    pub(super) what: String,
    pub(super) bytes: Vec<u8>,
    /// How many it has.
    pub(super) events: usize,
    pub(super) then: Then,
}

/// What becomes of a stream behind its last event.
#[derive(Clone, Copy)]
pub(super) enum Then {
    GoesOn,
    Closes,
    Fails(Fault),
}

use Then::{Closes, Fails, GoesOn};

/// A frame as the other side sends it, whatever its first byte says.
pub(super) fn frame(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(role, first, payload.len() as u64);
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    if role == Role::Server {
        mask::apply(&mut bytes[start..], KEY, 0);
    }
    bytes
}

fn header(role: Role, first: u8, len: u64) -> Vec<u8> {
    let header = Header {
        fin: true,
        rsv: 0,
        opcode: OpCode::Binary,
        mask: (role == Role::Server).then_some(KEY),
        len,
    };
    let mut out = [0; MAX_HEADER_LEN];
    let len = header.encode(&mut out);
    out[0] = first;
    out[..len].to_vec()
}

/// Streams that are read under these rules.
pub(super) struct Streams {
    pub(super) rules: Rules,
    pub(super) all: Vec<Stream>,
}

impl Streams {
    pub(super) fn new(rules: Rules) -> Streams {
        let all = Vec::new();
        Streams { rules, all }
    }

    /// A stream of these frames, each a first byte and a payload, and of so many events.
    pub(super) fn add(
        &mut self,
        what: impl Into<String>,
        frames: &[(u8, &[u8])],
        events: usize,
        then: Then,
    ) {
        let frames = frames.iter();
        let bytes: Vec<Vec<u8>> = frames
            .map(|(first, payload)| frame(self.rules.role, *first, payload))
            .collect();
        self.add_bytes(what, &bytes.concat(), events, then);
    }

    fn add_bytes(&mut self, what: impl Into<String>, bytes: &[u8], events: usize, then: Then) {
        let before = frame(self.rules.role, TEXT, CHARACTERS.as_bytes());
        let after = frame(self.rules.role, PING, b"after");
        self.all.push(Stream {
            what: what.into(),
            bytes: [&before, bytes, &after].concat(),
            events: 1 + events + usize::from(matches!(then, GoesOn)),
            then,
        });
    }

    /// A stream that ends inside a frame or a message.
    pub(super) fn add_cut(
        &mut self,
        what: &str,
        frames: &[(u8, &[u8])],
        missing: usize,
        events: usize,
    ) {
        self.add(what, frames, events, GoesOn);
        if let Some(stream) = self.all.last_mut() {
            let after = frame(self.rules.role, PING, b"after").len();
            stream.bytes.truncate(stream.bytes.len() - after - missing);
            stream.events -= 1;
        }
    }
}

/// Streams that mean the same with compression and without.
pub(super) fn plain(rules: Rules) -> Vec<Stream> {
    let mut streams = Streams::new(rules);
    sizes(&mut streams);
    control_frames(&mut streams);
    headers(&mut streams);
    fragments(&mut streams);
    text(&mut streams);
    closes(&mut streams);
    limits(&mut streams);
    streams.all
}

/// Autobahn's group 1.
fn sizes(streams: &mut Streams) {
    for len in [0, 1, 125, 126, 127, 128, 65_535, 65_536] {
        let what = format!("{len} bytes");
        let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
        streams.add(what, &[(BINARY, &bytes)], 1, GoesOn);
        let mut text = "a".repeat(len % CHARACTERS.len());
        text += &CHARACTERS.repeat(len / CHARACTERS.len());
        let what = format!("a text of {len} bytes");
        streams.add(what, &[(TEXT, text.as_bytes())], 1, GoesOn);
    }
    streams.add_cut("half a message", &[(TEXT, b"half")], 2, 0);
    streams.add_cut("all but a header", &[(BINARY, &[1; 200])], 201, 0);
}

/// Group 2.
fn control_frames(streams: &mut Streams) {
    let longest = &[0xfe; 125][..];
    for (what, first) in [("ping", PING), ("pong", PONG)] {
        for payload in [b"", &b"payload"[..], b"\x00\xff\xfe", longest] {
            let what = format!("{what} of {} bytes", payload.len());
            streams.add(what, &[(first, payload)], 1, GoesOn);
        }
        let too_long = [(first, &[0; 126][..])];
        streams.add("126 bytes", &too_long, 0, Fails(Fault::ControlTooLong));
        let fragmented = [(first & 0x0f, &b"x"[..]), (LAST, b"y")];
        let fault = Fails(Fault::ControlFragmented);
        streams.add("a fragmented one", &fragmented, 0, fault);
    }
    streams.add("ten pings", &[(PING, &b"ping"[..]); 10], 10, GoesOn);
}

/// Groups 3 and 4, and lengths that are not as they must be.
fn headers(streams: &mut Streams) {
    let role = streams.rules.role;
    for rsv in 1..8u8 {
        for first in [TEXT, FIRST_OF_BINARY, LAST, PING, CLOSE] {
            let may_be_compressed = streams.rules.compression != Compression::Off;
            if rsv == RSV1 && may_be_compressed && matches!(first, TEXT | FIRST_OF_BINARY) {
                continue;
            }
            let frames = [(first | rsv << 4, &b"x"[..])];
            let what = format!("reserved bits {rsv} of {first:#x}");
            streams.add(what, &frames, 0, Fails(Fault::ReservedBits));
        }
    }
    for opcode in (0x3..=0x7).chain(0xb..=0xf) {
        for payload in [&b""[..], b"x"] {
            let frames = [(LAST | opcode, payload)];
            let what = format!("opcode {opcode}");
            streams.add(what, &frames, 0, Fails(Fault::UnknownOpCode(opcode)));
        }
    }
    let (masked, fault, other) = match role {
        Role::Server => (0x80, Fault::MaskMissing, Role::Client),
        Role::Client => (0, Fault::MaskUnexpected, Role::Server),
    };
    for len in [0, 1, 126, 65_536] {
        let wrong = header(other, BINARY, len);
        streams.add_bytes("the other side's frame", &wrong, 0, Fails(fault));
    }
    for (len, fault) in [
        (&[126, 0, 0][..], Fault::NonMinimalLength),
        (&[126, 0, 125], Fault::NonMinimalLength),
        (&[127, 0, 0, 0, 0, 0, 0, 0, 125], Fault::NonMinimalLength),
        (
            &[127, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
            Fault::NonMinimalLength,
        ),
        (&[127, 0x80, 0, 0, 0, 0, 0, 0, 0], Fault::LengthTopBit),
        (&[127, 0xff, 0, 0, 0, 0, 0, 0xff, 0xff], Fault::LengthTopBit),
    ] {
        let bytes = [&[BINARY, len[0] | masked], &len[1..]].concat();
        streams.add_bytes(format!("a length {len:x?}"), &bytes, 0, Fails(fault));
    }
}

const UNEXPECTED: Then = Fails(Fault::UnexpectedContinuation);
const EXPECTED: Then = Fails(Fault::ExpectedContinuation);

/// A name, the frames, how many events they are, and what comes of them.
type Case = (&'static str, &'static [(u8, &'static [u8])], usize, Then);

/// Group 5.
const FRAGMENTS: [Case; 13] = [
    ("two", &[(FIRST_OF_TEXT, b"one"), (LAST, b"two")], 1, GoesOn),
    (
        "empty ones",
        &[(FIRST_OF_TEXT, b""), (MORE, b""), (LAST, b"")],
        1,
        GoesOn,
    ),
    (
        "one that is not",
        &[(FIRST_OF_BINARY, b""), (MORE, b"x"), (LAST, b"")],
        1,
        GoesOn,
    ),
    (
        "of a byte each",
        &[
            (FIRST_OF_BINARY, b"1"),
            (MORE, b"2"),
            (MORE, b"3"),
            (LAST, b"4"),
        ],
        1,
        GoesOn,
    ),
    (
        "control frames between",
        &[
            (FIRST_OF_TEXT, b"one"),
            (PING, b"between"),
            (MORE, b""),
            (PONG, b""),
            (PING, &[7; 125]),
            (LAST, b"two"),
        ],
        4,
        GoesOn,
    ),
    (
        "a close between",
        &[
            (FIRST_OF_TEXT, b"one"),
            (CLOSE, b"\x03\xe8"),
            (LAST, b"two"),
        ],
        1,
        Closes,
    ),
    (
        "two messages of them",
        &[
            (FIRST_OF_TEXT, b"1"),
            (LAST, b"2"),
            (FIRST_OF_BINARY, b"3"),
            (LAST, b"4"),
        ],
        2,
        GoesOn,
    ),
    ("none begun", &[(LAST, b"two")], 0, UNEXPECTED),
    ("none begun, and more", &[(MORE, b"two")], 0, UNEXPECTED),
    (
        "one too many",
        &[(FIRST_OF_TEXT, b"1"), (LAST, b"2"), (LAST, b"3")],
        1,
        UNEXPECTED,
    ),
    (
        "a message within",
        &[(FIRST_OF_TEXT, b"1"), (TEXT, b"2"), (LAST, b"3")],
        0,
        EXPECTED,
    ),
    (
        "begun twice",
        &[(FIRST_OF_TEXT, b"1"), (PING, b""), (FIRST_OF_BINARY, b"2")],
        1,
        EXPECTED,
    ),
    (
        "of another type",
        &[(FIRST_OF_BINARY, b"\xff"), (BINARY, b"2")],
        0,
        EXPECTED,
    ),
];

fn fragments(streams: &mut Streams) {
    for (what, frames, events, then) in FRAGMENTS {
        streams.add(format!("fragments: {what}"), frames, events, then);
    }
    streams.add_cut("no last one", &[(FIRST_OF_TEXT, b"x"), (MORE, b"y")], 0, 0);
}

/// Text that stops being text at its last bytes.
pub(super) const NO_TEXT: [&[u8]; 9] = [
    b"\xff",
    b"\x80",
    b"\xc3\x28",
    b"\xc0\xaf",
    b"\xe0\x80\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xf0\x9f\xa6\x41",
];

/// Group 6.
fn text(streams: &mut Streams) {
    let sound = format!("\0{CHARACTERS}\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}");
    let sound = sound.as_bytes();
    for cut in 0..=sound.len() {
        let (first, last) = sound.split_at(cut);
        let frames = [(FIRST_OF_TEXT, first), (PING, b"?"), (LAST, last)];
        streams.add(format!("text in two at {cut}"), &frames, 2, GoesOn);
        let is_cut = std::str::from_utf8(first).is_err();
        let then = if is_cut {
            Fails(Fault::InvalidUtf8)
        } else {
            GoesOn
        };
        let events = usize::from(!is_cut);
        streams.add(format!("text up to {cut}"), &[(TEXT, first)], events, then);
    }
    for bad in NO_TEXT {
        for (place, _) in CHARACTERS.char_indices() {
            let bytes = [&CHARACTERS.as_bytes()[..place], bad, b"more"].concat();
            let fault = Fails(Fault::InvalidUtf8);
            let what = format!("no text: {bytes:x?}");
            streams.add(&what, &[(TEXT, &bytes)], 0, fault);
            for cut in 1..bytes.len() {
                let (first, last) = bytes.split_at(cut);
                let frames = [(FIRST_OF_TEXT, first), (MORE, last), (LAST, b"")];
                streams.add(format!("{what}, in two at {cut}"), &frames, 0, fault);
            }
        }
    }
}

/// Group 7.
fn closes(streams: &mut Streams) {
    let longest = [b"\x03\xe8", &[b'x'; 123][..]].concat();
    let text = [b"\x0f\xa0", CHARACTERS.as_bytes()].concat();
    for payload in [&b""[..], b"\x03\xe8", b"\x0b\xb8bye", &longest, &text] {
        let frames = [(CLOSE, payload), (TEXT, b"after"), (0xff, b"?")];
        let what = format!("a close of {} bytes", payload.len());
        streams.add(what, &frames, 1, Closes);
    }
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        let payload = code.to_be_bytes();
        let fault = Fails(Fault::InvalidCloseCode(code));
        streams.add(format!("a close of {code}"), &[(CLOSE, &payload)], 0, fault);
    }
    let half = Fails(Fault::InvalidClosePayload);
    streams.add("half a code", &[(CLOSE, b"\x03")], 0, half);
    let reason = [(CLOSE, &b"\x03\xe8caf\xc3"[..])];
    streams.add("no reason", &reason, 0, Fails(Fault::InvalidUtf8));
    let long = [(CLOSE, &[3; 126][..])];
    streams.add("a long close", &long, 0, Fails(Fault::ControlTooLong));
    streams.add_cut("half a close", &[(CLOSE, b"\x03\xe8bye")], 1, 0);
}

/// Lengths that are allowed and such as are not, in frames and messages.
fn limits(streams: &mut Streams) {
    let role = streams.rules.role;
    let MessageLimits {
        max_message_size,
        max_frame_size,
    } = LIMITS;
    for len in [max_frame_size as u64 + 1, i64::MAX as u64] {
        for first in [TEXT, BINARY, FIRST_OF_BINARY] {
            let max = max_frame_size;
            let fault = Fails(Fault::FrameTooBig { len, max });
            let declared = header(role, first, len);
            streams.add_bytes(format!("{len} declared"), &declared, 0, fault);
        }
    }
    let max = max_message_size;
    let first = frame(role, FIRST_OF_BINARY, &[1; 400]);
    let declared = header(role, LAST, max as u64 - 400 + 1);
    let too_long = [first, declared].concat();
    let fault = Fails(Fault::MessageTooBig { max });
    streams.add_bytes("a long message", &too_long, 0, fault);
}
