//! Compressed messages (RFC 7692) on their way through a [`Decoder`].

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
fn inflated_text_is_text_rfc_6455_8_1() {
    let read = |bytes: &[u8]| alone().read(&in_frames(OpCode::Text, &deflated(bytes), 3));
    assert_eq!(
        read(b"ab\xe2\x82\xac and more"),
        Ok(vec![text("ab\u{20ac} and more")])
    );
    let cut = b"ends inside a character: \xe2\x82";
    for no_text in [&b"ab\xff and more"[..], cut] {
        assert_eq!(read(no_text), Err(Fault::InvalidUtf8));
    }
}

#[test]
fn garbage_is_refused_with_1007() {
    let mut peer = alone();
    let fault = peer.read(&marked(true, OpCode::Binary, b"\xff\xff\xff"));
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
    let stream = in_frames(OpCode::Binary, &deflated(&noise(2000)), 5000);
    let fault = limited(max, 1000).read(&stream).unwrap_err();
    assert!(
        matches!(fault, Fault::FrameTooBig { max: 1314, .. }),
        "{fault}"
    );
}

#[test]
fn a_message_of_the_limit_is_taken_though_compression_lengthens_it() {
    for max in [0, 1, 5, 1000, 1 << 20] {
        let message = noise(max);
        let payload = deflated(&message);
        assert!(payload.len() > max, "{max} bytes shrank");
        let frame = marked(true, OpCode::Binary, &payload);
        let expected = vec![Owned::Binary(message)];
        assert_eq!(limited(max, max).read(&frame), Ok(expected));
    }
}

/// Bytes that do not shrink.
fn noise(len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
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
fn memory_follows_what_has_arrived_until_the_message_is_whole() {
    let message = vec![b'y'; 100_000];
    let stream = marked(true, OpCode::Binary, &deflated(&message));
    let mut peer = alone();
    let (head, rest) = stream.split_at(stream.len() - 1);
    assert_eq!(peer.read(head), Ok(vec![]));
    let kept = peer.decoder.kept_bytes();
    assert!(kept <= (2 * head.len()).max(MIN_BUFFER), "{kept}");
    assert_eq!(peer.read(rest), Ok(vec![Owned::Binary(message)]));
    assert_eq!(peer.decoder.kept_bytes(), 0);
}

/// Blocks that hold nothing, an empty one of the fixed codes each.
fn hollow(bytes: usize) -> Vec<u8> {
    // 10 bits each: BFINAL 0, BTYPE 01, end of block; four of them are five bytes.
    const FOUR: [u8; 5] = [0x02, 0x08, 0x20, 0x80, 0x00];
    let mut blocks = FOUR.repeat(bytes / FOUR.len());
    blocks.push(0);
    blocks
}

#[test]
fn what_holds_nothing_is_bounded_as_it_arrives() {
    let max = 1000;
    let stream = in_frames(OpCode::Binary, &hollow(1100), 100);
    assert_eq!(
        limited(max, max).read(&stream),
        Ok(vec![Owned::Binary(vec![])])
    );
    let stream = in_frames(OpCode::Binary, &hollow(1500), 100);
    let fault = limited(max, max).read(&stream);
    assert_eq!(fault, Err(Fault::MessageTooBig { max }));
}

#[test]
fn a_long_message_is_inflated_in_parts_between_which_others_may_come() {
    let mut hollow = hollow(2 * INFLATED_AT_ONCE);
    hollow.extend([0, 0, 0xff, 0xff]);
    hollow.extend(deflated(b"all of it"));
    let mut stream = [
        marked(true, OpCode::Text, &hollow),
        plain(true, OpCode::Text, b"next"),
    ]
    .concat();
    let Peer {
        mut decoder,
        mut pool,
        ..
    } = alone();
    let limits = MessageLimits {
        max_message_size: 1 << 20,
        max_frame_size: 1 << 20,
    };
    let mut input = Input::new(&mut stream);
    for part in 1..=2 {
        pool.reset_inflated();
        let event = decoder.next(&mut input, &limits, &mut pool);
        assert_eq!(event, Ok(Some(Event::Unfinished)), "part {part}");
        assert!(
            pool.inflated() > INFLATED_AT_ONCE,
            "it costs, though nothing comes of it"
        );
        decoder.forget_delivered(&mut pool);
    }
    let mut last = Input::new(&mut []);
    let event = decoder.next(&mut last, &limits, &mut pool);
    assert_eq!(event, Ok(Some(Event::Message(Message::Text("all of it")))));
    let event = decoder.next(&mut input, &limits, &mut pool);
    assert_eq!(event, Ok(Some(Event::Message(Message::Text("next")))));
}

#[test]
fn a_message_that_was_cut_is_refused() {
    // A stored block of 20 bytes, of which 16 are there.
    let stored = [&[0, 20, 0, !20, 0xff][..], &[b'x'; 16]].concat();
    let fault = alone().read(&marked(true, OpCode::Binary, &stored));
    assert_eq!(fault, Err(Fault::InvalidDeflate));
}

#[test]
fn messages_that_nobody_wants_are_passed_over() {
    let whole = marked(true, OpCode::Text, &deflated(&[b'x'; 1000]));
    let garbage = marked(true, OpCode::Text, b"\xff\xff\xff");
    let ping = plain(true, OpCode::Ping, b"?");
    let begun = marked(false, OpCode::Text, &deflated(&[b'x'; 1000]));
    let mut peer = alone();
    assert_eq!(peer.read(&begun), Ok(vec![]));
    assert!(peer.decoder.kept_bytes() > 0);
    peer.decoder.discard_messages(&mut peer.pool);
    assert_eq!(peer.decoder.kept_bytes(), 0);
    let end = plain(true, OpCode::Continuation, b"\xfe");
    let stream = [end, whole, ping.clone(), garbage, ping].concat();
    let pings = vec![Owned::Ping(b"?".to_vec()); 2];
    assert_eq!(peer.read(&stream), Ok(pings.clone()));
    assert_eq!(
        peer.read_bytewise(&stream[stream.len() - 7..]).unwrap(),
        pings[..1]
    );
    assert_eq!((peer.decoder.kept_bytes(), peer.pool.inflated()), (0, 0));
    let stray = plain(true, OpCode::Continuation, b"");
    assert_eq!(peer.read(&stray), Err(Fault::UnexpectedContinuation));
}
