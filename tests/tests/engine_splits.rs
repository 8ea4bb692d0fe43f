//! A stream over real sockets, cut in two at every byte: the same answers, and the same end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use throng::protocol::deflate::{Deflater, Strength};
use throng::protocol::frame::{OpCode, RSV1};
use throng::{Cause, Compression, Config};
use throng_tests::engine::{Client, Heard, Served, config, frame, frame_with, serve};
use throng_tests::hostile::raise_open_files;

const STRENGTH: Strength = Strength {
    level: 6,
    memory_level: 8,
};

/// What is agreed on about compression.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Agreed {
    Nothing,
    Alone,
    InContext,
}

use Agreed::{Alone, InContext, Nothing};

/// What came back. A pong may overtake the messages of its turn, so that these are in an order of
/// their own.
#[derive(Debug, Default, PartialEq)]
struct Answers {
    messages: Vec<Heard>,
    pongs: Vec<Heard>,
    end: Vec<Heard>,
}

fn settings(agreed: Agreed) -> Config {
    // The echo of the longer messages is compressed.
    let compression = Compression::default()
        .threshold(64)
        .server_context_takeover(agreed == InContext)
        .client_context_takeover(agreed == InContext);
    config().compression((agreed != Nothing).then_some(compression))
}

fn connect(served: &Served, agreed: Agreed) -> Client {
    match agreed {
        Nothing => served.connect(),
        Alone | InContext => Client::connect_compressed(served.address(), "permessage-deflate"),
    }
}

/// Messages and control frames of every kind, without an end.
fn begin(agreed: Agreed) -> Vec<u8> {
    let mut deflater = Deflater::new(STRENGTH, 15, agreed == Alone);
    let mut marked = |fin, opcode, message: &[u8]| {
        if agreed == Nothing {
            return frame(fin, opcode, message);
        }
        let mut payload = Vec::new();
        deflater.deflate(message, &mut payload);
        frame_with(fin, RSV1, opcode, &payload)
    };
    [
        marked(true, OpCode::Text, "twice: aü€😀".as_bytes()),
        marked(true, OpCode::Text, "twice: aü€😀".as_bytes()),
        frame(true, OpCode::Ping, b"1"),
        frame(false, OpCode::Text, b"caf\xc3"),
        frame(true, OpCode::Ping, b"2"),
        frame(false, OpCode::Continuation, b""),
        frame(true, OpCode::Pong, b"unasked for"),
        frame(true, OpCode::Continuation, b"\xa9"),
        frame(true, OpCode::Text, b""),
        marked(true, OpCode::Binary, &[7; 130]),
    ]
    .concat()
}

fn answers(client: &mut Client) -> Answers {
    let mut answers = Answers::default();
    loop {
        match client.hear() {
            pong @ Heard::Pong(_) => answers.pongs.push(pong),
            close @ Heard::Close(..) => {
                client.finish();
                answers.end = vec![close, client.hear()];
                return answers;
            }
            message => answers.messages.push(message),
        }
    }
}

/// Each cut has a connection of its own, all at once, on each of which the first part has arrived
/// before the second is written.
fn answers_at_every_cut(served: &Served, agreed: Agreed, stream: &[u8]) -> Answers {
    raise_open_files();
    let mut client = connect(served, agreed);
    client.write(stream);
    let whole = answers(&mut client);
    let cuts = 1..stream.len();
    let mut clients: Vec<Client> = cuts.clone().map(|_| connect(served, agreed)).collect();
    for (client, cut) in clients.iter_mut().zip(cuts.clone()) {
        client.write(&stream[..cut]);
    }
    assert_eq!(served.connect().ask("so far?"), "so far?");
    for (client, cut) in clients.iter_mut().zip(cuts.clone()) {
        client.write(&stream[cut..]);
    }
    for (client, cut) in clients.iter_mut().zip(cuts) {
        assert_eq!(answers(client), whole, "{agreed:?}, cut at {cut}");
    }
    whole
}

#[test]
fn a_sound_stream_is_answered_alike_at_every_cut() {
    for agreed in [Nothing, Alone, InContext] {
        let served = serve(settings(agreed));
        let close = frame(true, OpCode::Close, &[0x0b, 0xb9, b'b', b'y', b'e']);
        let stream = [begin(agreed), close].concat();
        let Answers {
            messages,
            pongs,
            end,
        } = answers_at_every_cut(&served, agreed, &stream);
        let text = |text: &str| Heard::Text(text.into());
        let expected = [
            text("twice: aü€😀"),
            text("twice: aü€😀"),
            text("café"),
            text(""),
            Heard::Binary(vec![7; 130]),
        ];
        assert_eq!(messages, expected, "{agreed:?}");
        assert_eq!(pongs, [b"1", b"2"].map(|ping| Heard::Pong(ping.to_vec())));
        let close = Heard::Close(Some(3001), String::new());
        assert_eq!(end, [close, Heard::End], "{agreed:?}");
    }
}

#[test]
fn an_unsound_stream_ends_alike_at_every_cut() {
    let no_text = [
        frame(false, OpCode::Text, b"caf\xc3"),
        frame(true, OpCode::Continuation, b"\xa9 \xe2\x82("),
    ];
    let too_much = [
        frame(false, OpCode::Binary, &[1; 150]),
        frame(true, OpCode::Continuation, &[1; 51]),
    ];
    let bits = [frame_with(true, 2, OpCode::Text, b"x")];
    let unsound = [
        (
            no_text.concat(),
            1007,
            "invalid UTF-8",
            Cause::ProtocolFault,
        ),
        (too_much.concat(), 1009, "message too big", Cause::TooBig),
        (
            bits.concat(),
            1002,
            "reserved bits set",
            Cause::ProtocolFault,
        ),
    ];
    for agreed in [Nothing, Alone, InContext] {
        let served = serve(settings(agreed).max_message_size(200));
        for (last, code, reason, expected) in &unsound {
            let stream = [&begin(agreed), &**last].concat();
            let answers = answers_at_every_cut(&served, agreed, &stream);
            assert_eq!((answers.messages.len(), answers.pongs.len()), (5, 2));
            let close = Heard::Close(Some(*code), (*reason).into());
            assert_eq!(answers.end, [close, Heard::End], "{agreed:?}");
            // Who asked how far it was has left.
            let causes = (0..=stream.len()).map(|_| served.next_cause());
            let faults = causes.filter(|cause| cause == expected).count();
            assert_eq!(faults, stream.len(), "{agreed:?}, {code}");
        }
    }
}
