//! The protocol's client role: against the engine over a socket, and against servers that break
//! the rules.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use proptest::prelude::*;
use throng::CloseCode;
use throng::protocol::Role;
use throng::protocol::encoder::Encoder;
use throng::protocol::fault::Fault;
use throng::protocol::frame::OpCode;
use throng::protocol::handshake::{ClientRequest, ResponseError};
use throng::protocol::mask::{Masks, NoEntropy};
use throng::protocol::message::{Decoder, Event, Input, Message, MessageLimits, Pool};
use throng_tests::engine::{PATIENCE, Served, config, serve};

const LIMITS: MessageLimits = MessageLimits {
    max_message_size: 1500,
    max_frame_size: 1000,
};

/// What a decoder of a client makes of what a server sends, read by read: the events, and the
/// fault that ended them.
fn hear(stream: &[u8], read: usize, limits: MessageLimits) -> (Vec<String>, Option<Fault>) {
    let (mut decoder, mut pool) = (Decoder::new(Role::Client), Pool::new());
    let mut events = Vec::new();
    for piece in stream.chunks(read) {
        let mut piece = piece.to_vec();
        let mut input = Input::new(&mut piece);
        loop {
            match decoder.next(&mut input, &limits, &mut pool) {
                Ok(None) => break,
                Ok(Some(event)) => events.push(format!("{event:?}")),
                Err(fault) => return (events, Some(fault)),
            }
        }
    }
    (events, None)
}

#[test]
fn a_servers_breaches_are_refused() {
    let header = |first: u8, len: u64| [&[first, 127][..], &len.to_be_bytes()].concat();
    let frame_too_big = |len| Fault::FrameTooBig { len, max: 1000 };
    let in_fragments = [&[0x02, 126, 3, 232][..], &[0; 1000], &[0x80, 126, 1, 245]].concat();
    let cases: [(&[u8], Fault, u16); 22] = [
        // RFC 6455 §5.1: masked, even where the payload is empty.
        (b"\x81\x81\x01\x02\x03\x04a", Fault::MaskUnexpected, 1002),
        (b"\x81\x80\0\0\0\0", Fault::MaskUnexpected, 1002),
        (b"\x89\x80\0\0\0\0", Fault::MaskUnexpected, 1002),
        // §5.2
        (b"\xc1\x01a", Fault::ReservedBits, 1002),
        (b"\xa1\x01a", Fault::ReservedBits, 1002),
        (b"\x99\x00", Fault::ReservedBits, 1002),
        (b"\x83\x00", Fault::UnknownOpCode(3), 1002),
        (b"\x8b\x00", Fault::UnknownOpCode(11), 1002),
        (b"\x81\x7e\x00\x7d", Fault::NonMinimalLength, 1002),
        (&header(0x81, 65_535), Fault::NonMinimalLength, 1002),
        (&header(0x82, 1 << 63), Fault::LengthTopBit, 1002),
        (&header(0x82, u64::MAX), Fault::LengthTopBit, 1002),
        // §5.4
        (b"\x80\x01a", Fault::UnexpectedContinuation, 1002),
        (b"\x01\x01a\x81\x01b", Fault::ExpectedContinuation, 1002),
        // §5.5
        (b"\x89\x7e\x00\x7e", Fault::ControlTooLong, 1002),
        (b"\x09\x00", Fault::ControlFragmented, 1002),
        // §5.5.1, §7.4.1
        (b"\x88\x01\x03", Fault::InvalidClosePayload, 1002),
        (b"\x88\x02\x03\xee", Fault::InvalidCloseCode(1006), 1002),
        // §8.1
        (b"\x81\x01\xff", Fault::InvalidUtf8, 1007),
        // §10.4
        (&header(0x82, 1 << 60), frame_too_big(1 << 60), 1009),
        (b"\x82\x7e\x03\xe9", frame_too_big(1001), 1009),
        (&in_fragments, Fault::MessageTooBig { max: 1500 }, 1009),
    ];
    for (bytes, fault, code) in cases {
        let stream = [b"\x81\x02ok", bytes].concat();
        for read in [stream.len(), 1] {
            let before = format!("{:?}", Event::Message(Message::Text("ok")));
            assert_eq!(hear(&stream, read, LIMITS), (vec![before], Some(fault)));
        }
        assert_eq!(fault.close_code(), CloseCode::from(code));
    }
}

#[test]
fn what_is_within_the_limits_is_heard() {
    let stream = [
        &[0x02, 126, 3, 232][..],
        &[7; 1000],
        b"\x89\x7d",
        &[1; 125],
        &[0x80, 126, 1, 244],
        &[7; 500],
    ]
    .concat();
    let expected = [
        Event::Ping(&[1; 125]),
        Event::Message(Message::Binary(&[7; 1500])),
    ];
    let expected = expected.map(|event| format!("{event:?}")).to_vec();
    for read in [stream.len(), 999, 1] {
        assert_eq!(hear(&stream, read, LIMITS), (expected.clone(), None));
    }
}

type SystemMasks = Masks<fn(&mut [u8]) -> Result<(), NoEntropy>>;

/// A connection made of nothing but the protocol's client role.
struct Client {
    stream: TcpStream,
    decoder: Decoder,
    pool: Pool,
    encoder: Encoder,
    masks: SystemMasks,
    received: Vec<u8>,
    protocol: Option<String>,
}

impl Client {
    /// An upgraded connection, or why there is none.
    fn connect(served: &Served, request: ClientRequest<'_>) -> Result<Client, ResponseError> {
        let mut stream = TcpStream::connect(served.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (key, out) = written(&request);
        stream.write_all(&out).unwrap();
        let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
        let (head_len, protocol) = loop {
            if let Some(accepted) = request.check(key, &received)? {
                break (accepted.head_len(), accepted.protocol().map(str::to_owned));
            }
            let count = stream.read(&mut buffer).unwrap();
            assert_ne!(count, 0, "the stream has ended inside the answer");
            received.extend_from_slice(&buffer[..count]);
        };
        Ok(Client {
            stream,
            decoder: Decoder::new(Role::Client),
            pool: Pool::new(),
            encoder: Encoder::new(),
            masks: Masks::new(throng::system_entropy),
            received: received.split_off(head_len),
            protocol,
        })
    }

    fn send(&mut self, write: impl FnOnce(&mut Encoder, &mut Vec<u8>, &mut SystemMasks)) {
        let mut out = Vec::new();
        write(&mut self.encoder, &mut out, &mut self.masks);
        self.stream.write_all(&out).unwrap();
    }

    /// What is heard up to the end of the stream.
    fn hear_all(mut self) -> Vec<String> {
        let limits = MessageLimits {
            max_message_size: 1 << 20,
            max_frame_size: 1 << 20,
        };
        self.stream.read_to_end(&mut self.received).unwrap();
        let mut input = Input::new(&mut self.received);
        let mut events = Vec::new();
        while let Some(event) = self
            .decoder
            .next(&mut input, &limits, &mut self.pool)
            .unwrap()
        {
            events.push(format!("{event:?}"));
        }
        events
    }
}

/// A request with the key that was drawn for it.
fn written(request: &ClientRequest<'_>) -> ([u8; 16], Vec<u8>) {
    let (mut key, mut out) = ([0; 16], Vec::new());
    throng::system_entropy(&mut key).unwrap();
    request.write(key, &mut out).unwrap();
    (key, out)
}

fn request() -> ClientRequest<'static> {
    ClientRequest {
        host: "localhost",
        target: "/",
        protocols: &["mqtt", "chat"],
        ..ClientRequest::default()
    }
}

#[test]
fn every_request_has_a_nonce_of_its_own() {
    let nonces: HashSet<String> = (0..100)
        .map(|_| {
            let head = String::from_utf8(written(&request()).1).unwrap();
            let nonce = head
                .lines()
                .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
            nonce.unwrap().to_owned()
        })
        .collect();
    assert_eq!(nonces.len(), 100);
}

#[test]
fn it_talks_to_the_engine() {
    let served = serve(config().subprotocols(["chat"]));
    let mut client = Client::connect(&served, request()).unwrap();
    assert_eq!(client.protocol.as_deref(), Some("chat"));
    let long = vec![5; 70_000];
    client.send(|encoder, out, masks| {
        encoder.message(out, masks, Message::Text("Hello")).unwrap();
        encoder
            .fragment(out, masks, Message::Text("one "), false)
            .unwrap();
        encoder.ping(out, masks, b"between").unwrap();
        encoder
            .fragment(out, masks, Message::Text("and two"), true)
            .unwrap();
        encoder.message(out, masks, Message::Binary(&long)).unwrap();
        encoder.close(out, masks, CloseCode::NORMAL, "bye").unwrap();
    });
    let mut heard = client.hear_all();
    // Pongs may overtake what was sent before them.
    let pong = format!("{:?}", Event::Pong(b"between"));
    let place = heard.iter().position(|event| *event == pong);
    heard.remove(place.unwrap());
    let close = heard.pop().unwrap();
    assert!(
        close.starts_with("Close(Some(CloseFrame { code: CloseCode(1000)"),
        "{close}"
    );
    let echoes = [
        Message::Text("Hello"),
        Message::Text("one and two"),
        Message::Binary(&long),
    ];
    assert_eq!(
        heard,
        echoes.map(|echo| format!("{:?}", Event::Message(echo)))
    );
}

#[test]
fn a_refusal_is_told_in_full() {
    let served = serve(config());
    let rejected = ClientRequest {
        target: "/reject",
        ..request()
    };
    match Client::connect(&served, rejected).err() {
        Some(ResponseError::Declined(declined)) => {
            assert_eq!(declined.status, 418);
            assert_eq!(declined.header("x-why"), Some("told so"));
        }
        other => panic!("not declined: {other:?}"),
    }
}

proptest! {
    #[test]
    fn fragments_of_a_client_arrive_in_order(parts in prop::collection::vec("[a-z€]{0,50}", 1..20)) {
        let mut seed = 1_u8;
        let mut masks = Masks::new(|bytes: &mut [u8]| {
            seed = seed.wrapping_mul(31).wrapping_add(7);
            bytes.fill(seed);
            Ok(())
        });
        let (mut encoder, mut stream) = (Encoder::new(), Vec::new());
        for (index, part) in parts.iter().enumerate() {
            let fin = index + 1 == parts.len();
            encoder.fragment(&mut stream, &mut masks, Message::Text(part), fin).unwrap();
        }
        prop_assert_eq!(stream[0] & 0x0f, OpCode::Text as u8);
        let (mut decoder, mut pool) = (Decoder::new(Role::Server), Pool::new());
        let mut input = Input::new(&mut stream);
        let event = decoder.next(&mut input, &MessageLimits { max_message_size: 1 << 20, ..LIMITS }, &mut pool);
        prop_assert_eq!(event, Ok(Some(Event::Message(Message::Text(&parts.concat())))));
    }
}
