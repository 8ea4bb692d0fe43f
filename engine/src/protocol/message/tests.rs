use std::ops::Range;

use super::*;
use crate::protocol::close::CloseCode;
use crate::protocol::frame::MAX_HEADER_LEN;

const KEY: [u8; 4] = [0x9a, 0x01, 0xff, 0x37];
const LIMITS: MessageLimits = MessageLimits {
    max_message_size: 512 * 1024,
    max_frame_size: 512 * 1024,
};

/// The longest payload a header can declare, on a 64-bit platform.
const LONGEST: usize = isize::MAX as usize;

/// An [`Event`] that outlives its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(CloseCode, String)>),
}

impl Owned {
    /// `None` for an interruption.
    pub(super) fn new(event: Event<'_>) -> Option<Owned> {
        Some(match event {
            Event::Message(Message::Text(text)) => Owned::Text(text.to_owned()),
            Event::Message(Message::Binary(bytes)) => Owned::Binary(bytes.to_vec()),
            Event::Ping(payload) => Owned::Ping(payload.to_vec()),
            Event::Pong(payload) => Owned::Pong(payload.to_vec()),
            Event::Close(frame) => Owned::Close(frame.map(|f| (f.code, f.reason.to_owned()))),
            Event::Unfinished => return None,
        })
    }
}

/// A frame as the other side of `role` sends it; `declared` is what its header says.
fn header_of(role: Role, fin: bool, opcode: OpCode, declared: usize) -> Vec<u8> {
    let mask = (role == Role::Server).then_some(KEY);
    let header = Header {
        fin,
        rsv: 0,
        opcode,
        mask,
        len: declared as u64,
    };
    let mut out = [0; MAX_HEADER_LEN];
    let len = header.encode(&mut out);
    out[..len].to_vec()
}

pub(super) fn frame_of(role: Role, fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header_of(role, fin, opcode, payload.len());
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    if role == Role::Server {
        mask::apply(&mut bytes[start..], KEY, 0);
    }
    bytes
}

fn frame(fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    frame_of(Role::Server, fin, opcode, payload)
}

/// One decoder with its pool, fed read by read.
pub(super) struct Peer {
    pub(super) decoder: Decoder,
    pub(super) pool: Pool,
    pub(super) limits: MessageLimits,
}

impl Peer {
    pub(super) fn new(role: Role) -> Peer {
        Peer {
            decoder: Decoder::new(role),
            pool: Pool::new(),
            limits: LIMITS,
        }
    }

    fn server() -> Peer {
        Peer::new(Role::Server)
    }

    pub(super) fn limited(max_message_size: usize, max_frame_size: usize) -> Peer {
        Peer {
            limits: MessageLimits {
                max_message_size,
                max_frame_size,
            },
            ..Peer::server()
        }
    }

    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Vec<Owned>, Fault> {
        let mut bytes = bytes.to_vec();
        let mut input = Input::new(&mut bytes);
        let mut events = Vec::new();
        while let Some(event) = self
            .decoder
            .next(&mut input, &self.limits, &mut self.pool)?
        {
            events.extend(Owned::new(event));
        }
        assert!(input.is_empty());
        Ok(events)
    }

    /// Every byte in a read of its own; the index of the byte that failed.
    pub(super) fn read_bytewise(&mut self, bytes: &[u8]) -> Result<Vec<Owned>, (usize, Fault)> {
        let mut events = Vec::new();
        for (index, byte) in bytes.iter().enumerate() {
            events.extend(self.read(&[*byte]).map_err(|fault| (index, fault))?);
        }
        Ok(events)
    }
}

pub(super) fn text(text: &str) -> Owned {
    Owned::Text(text.to_owned())
}

#[test]
fn a_decoder_is_two_words() {
    assert!(size_of::<Decoder>() <= 16);
}

#[test]
fn whole_messages_are_borrowed_from_the_input() {
    let mut bytes = [
        frame(true, OpCode::Text, b"Hello"),
        frame(true, OpCode::Ping, b"?"),
        frame(true, OpCode::Binary, &[7; 300]),
    ]
    .concat();
    let place: Range<*const u8> = bytes.as_ptr_range();
    let mut input = Input::new(&mut bytes);
    let (mut decoder, mut pool) = (Decoder::default(), Pool::new());
    for (offset, expected) in [(6, &b"Hello"[..]), (17, b"?"), (26, &[7; 300])] {
        let payload = match decoder
            .next(&mut input, &LIMITS, &mut pool)
            .unwrap()
            .unwrap()
        {
            Event::Message(message) => message.as_bytes(),
            Event::Ping(payload) => payload,
            other => panic!("{other:?}"),
        };
        assert_eq!(payload, expected);
        assert_eq!(payload.as_ptr(), place.start.wrapping_add(offset));
        assert!(place.contains(&payload.as_ptr()));
        assert!(decoder.is_idle());
    }
    assert_eq!(decoder.next(&mut input, &LIMITS, &mut pool), Ok(None));
}

#[test]
fn a_whole_message_behind_an_assembled_one_is_borrowed_too() {
    let mut bytes = [
        frame(false, OpCode::Text, b"in "),
        frame(true, OpCode::Continuation, b"parts"),
        frame(true, OpCode::Text, b"whole"),
    ]
    .concat();
    let place = bytes.as_ptr_range();
    let mut input = Input::new(&mut bytes);
    let (mut decoder, mut pool) = (Decoder::default(), Pool::new());
    let event = decoder.next(&mut input, &LIMITS, &mut pool).unwrap();
    assert_eq!(event, Some(Event::Message(Message::Text("in parts"))));
    assert!(!decoder.is_idle());
    match decoder.next(&mut input, &LIMITS, &mut pool).unwrap() {
        Some(Event::Message(Message::Text(text))) => assert!(place.contains(&text.as_ptr())),
        other => panic!("{other:?}"),
    }
    assert!(decoder.is_idle());
    assert!(
        pool.spare_bytes() >= MIN_BUFFER,
        "the assembled message's buffer is back"
    );
}

#[test]
fn control_frames_pass_between_fragments_rfc_6455_5_4() {
    let stream = [
        frame(false, OpCode::Text, b"He"),
        frame(true, OpCode::Ping, b"between"),
        frame(false, OpCode::Continuation, b""),
        frame(true, OpCode::Pong, b""),
        frame(true, OpCode::Continuation, b"llo"),
        frame(true, OpCode::Close, b"\x03\xe8bye"),
    ]
    .concat();
    let expected = vec![
        Owned::Ping(b"between".to_vec()),
        Owned::Pong(vec![]),
        text("Hello"),
        Owned::Close(Some((CloseCode::NORMAL, "bye".to_owned()))),
    ];
    assert_eq!(Peer::server().read(&stream), Ok(expected.clone()));
    assert_eq!(Peer::server().read_bytewise(&stream), Ok(expected));
}

#[test]
fn fragments_out_of_order_are_refused_rfc_6455_5_4() {
    let (first, continuation) = (
        frame(false, OpCode::Text, b"a"),
        frame(true, OpCode::Continuation, b"b"),
    );
    let whole = frame(true, OpCode::Text, b"c");
    for (stream, fault) in [
        (continuation.clone(), Fault::UnexpectedContinuation),
        (
            [whole.clone(), continuation.clone()].concat(),
            Fault::UnexpectedContinuation,
        ),
        (
            [first.clone(), continuation.clone(), continuation].concat(),
            Fault::UnexpectedContinuation,
        ),
        ([first.clone(), whole].concat(), Fault::ExpectedContinuation),
        ([first.clone(), first].concat(), Fault::ExpectedContinuation),
    ] {
        assert_eq!(Peer::server().read(&stream), Err(fault));
        assert_eq!(
            Peer::server()
                .read_bytewise(&stream)
                .map_err(|(_, fault)| fault),
            Err(fault)
        );
    }
}

#[test]
fn faults_of_the_header_and_of_close_frames_come_through() {
    for (stream, fault, code) in [
        (vec![0xc1, 0x80], Fault::ReservedBits, 1002),
        (vec![0x81, 0x01, b'a'], Fault::MaskMissing, 1002),
        (
            frame(true, OpCode::Close, b"\x03"),
            Fault::InvalidClosePayload,
            1002,
        ),
        (
            frame(true, OpCode::Close, b"\x03\xed"),
            Fault::InvalidCloseCode(1005),
            1002,
        ),
        (
            frame(true, OpCode::Close, b"\x03\xe8\xff"),
            Fault::InvalidUtf8,
            1007,
        ),
    ] {
        for faulted in [
            Peer::server().read(&stream).unwrap_err(),
            Peer::server().read_bytewise(&stream).unwrap_err().1,
        ] {
            assert_eq!((faulted, u16::from(faulted.close_code())), (fault, code));
        }
    }
}

#[test]
fn text_fails_at_its_first_bad_byte_before_the_frame_is_whole_rfc_6455_8_1() {
    // 0xf4 0x90 begins no character.
    let bytes = frame(
        true,
        OpCode::Text,
        b"abc\xf4\x90 and more that need not be awaited",
    );
    assert_eq!(
        Peer::server().read_bytewise(&bytes),
        Err((6 + 4, Fault::InvalidUtf8))
    );
    // A character over the border of two fragments.
    let stream = |second: &[u8]| {
        [
            frame(false, OpCode::Text, b"\xe2\x82"),
            frame(true, OpCode::Continuation, second),
        ]
        .concat()
    };
    assert_eq!(Peer::server().read(&stream(b"\xac")), Ok(vec![text("€")]));
    assert_eq!(Peer::server().read(&stream(b"(")), Err(Fault::InvalidUtf8));
    assert_eq!(Peer::server().read(&stream(b"")), Err(Fault::InvalidUtf8));
}

#[test]
fn a_message_cut_inside_a_character_leaves_nothing_to_the_next() {
    let mut peer = Peer::server();
    let cut = frame(false, OpCode::Text, b"\xe2\x82");
    assert_eq!(peer.read(&cut), Ok(vec![]));
    peer.decoder.release(&mut peer.pool);
    assert!(peer.decoder.is_idle());
    let stream = [
        frame(false, OpCode::Text, b"a"),
        frame(true, OpCode::Continuation, b"b"),
    ]
    .concat();
    assert_eq!(peer.read(&stream), Ok(vec![text("ab")]));
}

#[test]
fn lengths_over_the_limits_are_refused_at_the_header() {
    let header = |fin, opcode, declared| header_of(Role::Server, fin, opcode, declared);
    let frame_too_big = |len| Err(Fault::FrameTooBig { len, max: 1000 });
    for declared in [1001, 1 << 20, LONGEST] {
        for fin in [true, false] {
            let bytes = header(fin, OpCode::Binary, declared);
            assert_eq!(
                Peer::limited(2000, 1000).read(&bytes),
                frame_too_big(declared as u64)
            );
        }
    }
    let too_big = Err(Fault::MessageTooBig { max: 1500 });
    assert_eq!(
        Peer::limited(1500, 4000).read(&header(true, OpCode::Text, 1501)),
        too_big
    );
    let mut peer = Peer::limited(1500, 1000);
    assert_eq!(
        peer.read(&frame(false, OpCode::Binary, &[0; 1000])),
        Ok(vec![])
    );
    assert_eq!(
        peer.read(&header(false, OpCode::Continuation, 501)),
        too_big
    );
    let mut peer = Peer::limited(usize::MAX, usize::MAX);
    assert_eq!(
        peer.read(&frame(false, OpCode::Binary, &[0; 1000])),
        Ok(vec![])
    );
    assert_eq!(
        peer.read(&header(false, OpCode::Continuation, LONGEST)),
        Ok(vec![])
    );
}

#[test]
fn messages_of_exactly_the_limits_pass() {
    let mut peer = Peer::limited(1500, 1000);
    let stream = [
        frame(true, OpCode::Binary, &[1; 1000]),
        frame(false, OpCode::Binary, &[2; 1000]),
        frame(true, OpCode::Continuation, &[2; 500]),
    ]
    .concat();
    let expected = vec![Owned::Binary(vec![1; 1000]), Owned::Binary(vec![2; 1500])];
    assert_eq!(peer.read(&stream), Ok(expected));
    // A limit below 125 is about messages, not about control frames.
    let ping = frame(true, OpCode::Ping, &[3; 125]);
    assert_eq!(
        Peer::limited(10, 10).read(&ping),
        Ok(vec![Owned::Ping(vec![3; 125])])
    );
}

#[test]
fn memory_follows_what_arrived_not_what_was_declared() {
    let mut peer = Peer::server();
    assert_eq!(
        peer.read(&header_of(Role::Server, true, OpCode::Binary, 512 * 1024)),
        Ok(vec![])
    );
    assert_eq!(peer.decoder.kept_bytes(), 0);
    let mut received = 0;
    for piece in [1, 1, 300, 5000, 60_000] {
        assert_eq!(peer.read(&vec![0; piece]), Ok(vec![]));
        received += piece;
        let kept = peer.decoder.kept_bytes();
        assert!(
            kept >= received && kept <= (2 * received).max(MIN_BUFFER),
            "{received}: {kept}"
        );
    }
}

#[test]
fn buffers_return_to_the_pool_and_come_back_from_it() {
    let mut peer = Peer::server();
    let bytes = frame(true, OpCode::Binary, &[5; 10_000]);
    let mut spare = None;
    for _ in 0..5 {
        assert_eq!(peer.read(&bytes[..4000]), Ok(vec![]));
        assert!(!peer.decoder.is_idle());
        assert_eq!(
            peer.read(&bytes[4000..]),
            Ok(vec![Owned::Binary(vec![5; 10_000])])
        );
        assert!(peer.decoder.is_idle());
        assert_eq!(peer.decoder.kept_bytes(), 0);
        let now = peer.pool.spare_bytes();
        assert_eq!(
            *spare.get_or_insert(now),
            now,
            "every round uses the buffers of the first"
        );
    }
}

#[test]
fn a_message_delivered_need_not_be_kept_until_the_next_call() {
    let mut bytes = [
        frame(false, OpCode::Binary, &[5; 1000]),
        frame(true, OpCode::Continuation, &[5; 1000]),
        frame(false, OpCode::Binary, b"one to come"),
    ]
    .concat();
    let (mut decoder, mut pool) = (Decoder::default(), Pool::new());
    let mut input = Input::new(&mut bytes);
    assert!(decoder.next(&mut input, &LIMITS, &mut pool).is_ok());
    assert!(decoder.kept_bytes() >= 2000);
    decoder.forget_delivered(&mut pool);
    assert!(decoder.is_idle() && pool.spare_bytes() >= 2000);
    // What has not arrived whole is no message delivered.
    assert_eq!(decoder.next(&mut input, &LIMITS, &mut pool), Ok(None));
    decoder.forget_delivered(&mut pool);
    assert!(decoder.kept_bytes() >= 11);
}
