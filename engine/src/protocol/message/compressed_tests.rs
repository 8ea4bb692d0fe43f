//! Compressed messages (RFC 7692) on their way through a [`Decoder`].

use proptest::prelude::*;

use super::tests::{Owned, Peer, frame_of, text};
use super::*;
use crate::protocol::deflate::{Deflater, Strength};

const STRENGTH: Strength = Strength {
    level: 6,
    memory_level: 8,
};
/// A bomb's message: a thousand times what it is compressed to.
const BOMB: usize = 64 << 20;

fn params(no_context_takeover: bool) -> Params {
    Params {
        server_no_context_takeover: no_context_takeover,
        client_no_context_takeover: no_context_takeover,
        ..Params::default()
    }
}

fn compressing(mut peer: Peer, no_context_takeover: bool) -> Peer {
    peer.decoder = Decoder::with_compression(Role::Server, &params(no_context_takeover));
    peer
}

fn alone() -> Peer {
    compressing(Peer::new(Role::Server), true)
}

fn limited(max_message_size: usize, max_frame_size: usize) -> Peer {
    compressing(Peer::limited(max_message_size, max_frame_size), true)
}

fn deflated(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Deflater::new(STRENGTH, 15, true).deflate(message, &mut out);
    out
}

fn plain(fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    frame_of(Role::Server, fin, opcode, payload)
}

/// A frame with RSV1.
fn marked(fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut frame = plain(fin, opcode, payload);
    frame[0] |= 0x40;
    frame
}

/// One compressed message in frames whose payloads are cut every `step` bytes.
fn in_frames(opcode: OpCode, payload: &[u8], step: usize) -> Vec<u8> {
    let mut frames = Vec::new();
    let count = payload.chunks(step).len();
    for (index, piece) in payload.chunks(step).enumerate() {
        let fin = index + 1 == count;
        frames.extend(match index {
            0 => marked(fin, opcode, piece),
            _ => plain(fin, OpCode::Continuation, piece),
        });
    }
    frames
}

#[test]
fn messages_are_inflated_whether_whole_or_in_fragments_rfc_7692_7_2_3_1() {
    let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    for step in 1..=hello.len() {
        let mut stream = in_frames(OpCode::Text, hello, step);
        stream.extend(plain(true, OpCode::Text, b"plain"));
        stream.extend(in_frames(OpCode::Binary, hello, step));
        let expected = vec![
            text("Hello"),
            text("plain"),
            Owned::Binary(b"Hello".to_vec()),
        ];
        let mut peer = alone();
        assert_eq!(peer.read(&stream).as_ref(), Ok(&expected));
        assert!(peer.decoder.is_idle(), "the inflater went back");
        assert_eq!(alone().read_bytewise(&stream), Ok(expected));
    }
}

#[test]
fn empty_fragments_and_control_frames_pass_between_rfc_7692_6() {
    let stream = [
        marked(false, OpCode::Text, b""),
        plain(true, OpCode::Ping, b"p"),
        plain(false, OpCode::Continuation, b"\xf2\x48\xcd"),
        plain(false, OpCode::Continuation, b""),
        plain(true, OpCode::Pong, b""),
        plain(true, OpCode::Continuation, b"\xc9\xc9\x07\x00"),
        marked(true, OpCode::Binary, b"\x00"),
    ]
    .concat();
    let expected = vec![
        Owned::Ping(b"p".to_vec()),
        Owned::Pong(vec![]),
        text("Hello"),
        Owned::Binary(vec![]),
    ];
    assert_eq!(alone().read(&stream).as_ref(), Ok(&expected));
    assert_eq!(alone().read_bytewise(&stream), Ok(expected));
}

#[test]
fn rsv1_is_refused_where_it_means_nothing_rfc_7692_6_1() {
    let payload = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    let first = marked(false, OpCode::Text, payload);
    let cases = [
        (alone(), marked(true, OpCode::Ping, b"")),
        (alone(), marked(true, OpCode::Close, b"")),
        (
            alone(),
            [first, marked(true, OpCode::Continuation, b"\x00")].concat(),
        ),
        (Peer::new(Role::Server), marked(true, OpCode::Text, payload)),
    ];
    for (mut peer, stream) in cases {
        assert_eq!(peer.read(&stream), Err(Fault::ReservedBits), "{stream:x?}");
    }
    let mut other_bit = plain(true, OpCode::Text, payload);
    other_bit[0] |= 0x20;
    assert_eq!(alone().read(&other_bit), Err(Fault::ReservedBits));
}

#[test]
fn context_lasts_as_long_as_it_was_agreed_to_rfc_7692_7_1_1() {
    let (hello, again) = (
        &b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
        &b"\xf2\x00\x11\x00\x00"[..],
    );
    let stream = [
        marked(true, OpCode::Text, hello),
        plain(true, OpCode::Text, b"not in the window"),
        marked(true, OpCode::Text, again),
    ]
    .concat();
    let mut linked = compressing(Peer::new(Role::Server), false);
    let expected = vec![text("Hello"), text("not in the window"), text("Hello")];
    assert_eq!(linked.read(&stream), Ok(expected));
    assert!(!linked.decoder.is_idle(), "the context is kept");
    assert_eq!(
        linked.decoder.kept_bytes(),
        0,
        "without the message's buffer"
    );
    assert_eq!(alone().read(&stream), Err(Fault::InvalidDeflate));
    // What one connection leaves behind is no context of the next.
    linked.decoder.release(&mut linked.pool);
    let mut next = Peer {
        pool: linked.pool,
        ..compressing(Peer::new(Role::Server), false)
    };
    let fault = next.read(&marked(true, OpCode::Text, again));
    assert_eq!(fault, Err(Fault::InvalidDeflate));
}

#[test]
fn a_client_heeds_the_servers_context() {
    let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    for (server_no_context_takeover, is_idle) in [(true, true), (false, false)] {
        let params = Params {
            server_no_context_takeover,
            client_no_context_takeover: !server_no_context_takeover,
            ..Params::default()
        };
        let mut peer = Peer::new(Role::Client);
        peer.decoder = Decoder::with_compression(Role::Client, &params);
        let mut stream = frame_of(Role::Client, true, OpCode::Text, hello);
        stream[0] |= 0x40;
        assert_eq!(peer.read(&stream), Ok(vec![text("Hello")]));
        assert_eq!(peer.decoder.is_idle(), is_idle);
    }
}

#[test]
fn text_fails_as_soon_as_it_is_inflated_rfc_6455_8_1() {
    // Blocks that are stored: what arrives is inflated at once.
    let stored = |bytes: &[u8]| {
        let len = u8::try_from(bytes.len()).unwrap();
        [&[0, len, 0, !len, 0xff], bytes].concat()
    };
    let head = marked(false, OpCode::Text, &stored(b"ab\xe2\x82"));
    let tail = |bytes: &[u8]| plain(false, OpCode::Continuation, &stored(bytes));
    let mut peer = alone();
    assert_eq!(peer.read(&head), Ok(vec![]));
    assert_eq!(peer.read(&tail(b"\xac and")), Ok(vec![]));
    assert_eq!(peer.read(&tail(b"more \xff")), Err(Fault::InvalidUtf8));
    let cut = plain(true, OpCode::Continuation, b"\x00");
    let fault = alone().read(&[head, cut].concat());
    assert_eq!(fault, Err(Fault::InvalidUtf8), "ends inside a character");
}

#[test]
fn garbage_is_refused_with_1007() {
    let mut peer = alone();
    let fault = peer.read(&marked(false, OpCode::Binary, b"\xff\xff\xff"));
    let fault = fault.unwrap_err();
    assert_eq!(
        (fault, u16::from(fault.close_code())),
        (Fault::InvalidDeflate, 1007)
    );
}

#[test]
fn messages_over_the_limit_are_refused_while_they_are_inflated() {
    let max = 20_000;
    let exact = deflated(&vec![b'x'; max]);
    let expected = vec![Owned::Binary(vec![b'x'; max])];
    let over = deflated(&vec![b'x'; max + 1]);
    for step in [1, 7, 1000] {
        let stream = in_frames(OpCode::Binary, &exact, step);
        assert_eq!(limited(max, 1000).read(&stream).as_ref(), Ok(&expected));
        let stream = in_frames(OpCode::Binary, &over, step);
        let fault = limited(max, 1000).read(&stream).unwrap_err();
        assert_eq!(fault, Fault::MessageTooBig { max });
        assert_eq!(u16::from(fault.close_code()), 1009);
    }
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(2000)
        .collect();
    let stream = in_frames(OpCode::Binary, &deflated(&noise), 5000);
    let fault = limited(max, 1000).read(&stream).unwrap_err();
    assert!(
        matches!(fault, Fault::FrameTooBig { max: 1000, .. }),
        "{fault}"
    );
}

#[test]
fn of_two_faults_the_first_is_told_however_the_data_is_split() {
    let max = 1000;
    for (bad, fault) in [
        (max - 1, Fault::InvalidUtf8),
        (max, Fault::MessageTooBig { max }),
    ] {
        let mut text = vec![b'x'; 2 * max];
        text[bad] = 0xff;
        let stream = marked(true, OpCode::Text, &deflated(&text));
        assert_eq!(limited(max, max).read(&stream), Err(fault), "at once");
        let bytewise = limited(max, max).read_bytewise(&stream);
        assert_eq!(bytewise.map_err(|(_, fault)| fault), Err(fault));
    }
}

#[test]
fn a_bomb_ends_at_the_limit_with_little_memory_spent() {
    let bomb = deflated(&vec![0; BOMB]);
    assert!(bomb.len() < BOMB / 1000);
    for step in [1, 50, bomb.len()] {
        let mut peer = limited(512 * 1024, 512 * 1024);
        let stream = in_frames(OpCode::Binary, &bomb, step);
        let fault = peer.read_bytewise(&stream).unwrap_err().1;
        assert_eq!(fault, Fault::MessageTooBig { max: 512 * 1024 });
        assert!(peer.decoder.is_idle());
        let spent = peer.pool.spare_bytes();
        assert!(spent <= 2 * 1024 * 1024, "{spent} bytes in buffers");
    }
}

#[test]
fn memory_follows_what_was_inflated() {
    let message = vec![b'y'; 100_000];
    let payload = deflated(&message);
    let mut peer = alone();
    let stream = marked(true, OpCode::Binary, &payload);
    let (head, rest) = stream.split_at(stream.len() - 1);
    assert_eq!(peer.read(head), Ok(vec![]));
    let kept = peer.decoder.kept_bytes();
    assert!((90_000..=2 * 100_000).contains(&kept), "{kept}");
    assert_eq!(peer.read(rest), Ok(vec![Owned::Binary(message)]));
    assert_eq!(peer.decoder.kept_bytes(), 0);
}

fn any_payload() -> impl Strategy<Value = Owned> {
    prop_oneof![
        "\\PC{0,200}".prop_map(Owned::Text),
        "[a-c]{0,3000}".prop_map(Owned::Text),
        prop::collection::vec(any::<u8>(), 0..3000).prop_map(Owned::Binary),
        (0..70_000_usize).prop_map(|len| Owned::Binary(vec![7; len])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_split_of_a_stream_gives_the_same_messages(
        messages in prop::collection::vec((any_payload(), any::<bool>(), 1..3000_usize), 1..6),
        no_context_takeover in any::<bool>(),
        bits in crate::protocol::deflate::DEFLATE_WINDOW_BITS,
        read in prop_oneof![1..20_usize, 1..5000_usize],
    ) {
        let mut deflater = Deflater::new(STRENGTH, bits, no_context_takeover);
        let (mut stream, mut expected) = (Vec::new(), Vec::new());
        for (message, compressed, step) in messages {
            let (opcode, bytes) = match &message {
                Owned::Text(text) => (OpCode::Text, text.as_bytes()),
                Owned::Binary(bytes) => (OpCode::Binary, &bytes[..]),
                other => unreachable!("{other:?} is no message"),
            };
            if compressed {
                let mut payload = Vec::new();
                deflater.deflate(bytes, &mut payload);
                stream.extend(in_frames(opcode, &payload, step));
            } else {
                stream.extend(plain(true, opcode, bytes));
            }
            expected.push(message);
        }
        let whole = compressing(Peer::new(Role::Server), no_context_takeover).read(&stream);
        prop_assert_eq!(whole.as_ref(), Ok(&expected));
        let mut peer = compressing(Peer::new(Role::Server), no_context_takeover);
        let mut events = Vec::new();
        for piece in stream.chunks(read) {
            events.extend(peer.read(piece).unwrap());
        }
        prop_assert_eq!(events, expected);
    }

    #[test]
    fn any_bytes_give_the_same_messages_and_fault_however_they_are_split(
        payload in prop::collection::vec(any::<u8>(), 0..200),
        opcode in prop::sample::select(vec![OpCode::Text, OpCode::Binary]),
        read in 1..40_usize,
    ) {
        let stream = marked(true, opcode, &payload);
        let whole = alone().read(&stream);
        let mut peer = alone();
        let split: Result<Vec<Vec<Owned>>, Fault> =
            stream.chunks(read).map(|piece| peer.read(piece)).collect();
        prop_assert_eq!(split.map(|events| events.concat()), whole);
    }
}
