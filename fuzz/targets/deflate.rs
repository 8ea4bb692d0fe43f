//! Compressing and inflating (RFC 7692), and agreeing on it.
//!
//! Input: a byte that says which of three tests; four bytes of parameters; the number of the
//! pieces' lengths, and these; then the data.
//!
//! 1. Anything at all, inflated, stays within its bound or is a fault, the same however it is cut.
//! 2. Messages that were compressed with any parameters come out as they were.
//! 3. What a server makes of a client's offer, the client agrees with.

#![no_main]

use libfuzzer_sys::fuzz_target;
use throng::Message;
use throng::protocol::Role;
use throng::protocol::deflate::{
    Deflater, Inflater, Params, Strength, check_response, negotiate, offer,
};
use throng::protocol::encoder::{Encoder, SendError, Unmasked};
use throng::protocol::fault::Fault;
use throng::protocol::frame::OpCode;
use throng::protocol::message::{Decoder, MessageLimits, Pool};
use throng_fuzz::{Owned, Pieces, decode};

/// What inflating one input may yield.
const MOST: usize = 64 * 1024;

fuzz_target!(|input: &[u8]| {
    let [test, a, b, c, d, count, rest @ ..] = input else {
        return;
    };
    let Some((lengths, data)) = rest.split_at_checked(usize::from(*count)) else {
        return;
    };
    let pieces = Pieces::new(lengths);
    let (ours, theirs) = (params(*a, *b), params(*c, *d));
    match test % 3 {
        0 => inflate_anything(data, pieces),
        1 => {
            let strength = Strength {
                level: a >> 4,
                memory_level: a & 0x0f,
            };
            round_trip(data, pieces, strength, &theirs);
        }
        _ => agree(&ours, &theirs, data),
    }
});

fn params(flags: u8, windows: u8) -> Params {
    Params {
        server_no_context_takeover: flags & 1 != 0,
        client_no_context_takeover: flags & 2 != 0,
        server_max_window_bits: 8 + (windows & 0x07),
        client_max_window_bits: 8 + (windows >> 4 & 0x07),
    }
}

fn inflate_anything(data: &[u8], pieces: Pieces<'_>) {
    let whole = inflate(data, Pieces::new(&[]), 16 * 1024);
    assert_eq!(inflate(data, pieces, 16 * 1024), whole);
    // A smaller step yields the same, in more steps.
    assert_eq!(inflate(data, pieces, 259), whole);
}

/// What the data yields, and what is wrong behind it.
fn inflate(data: &[u8], pieces: Pieces<'_>, step: usize) -> (Vec<u8>, Option<Fault>) {
    let mut inflater = Inflater::new();
    let mut scratch = vec![0; step];
    let mut yielded = Vec::new();
    let mut sink = |part: &[u8]| {
        let room = MOST - yielded.len();
        yielded.extend_from_slice(&part[..part.len().min(room)]);
        if part.len() > room {
            return Err(Fault::MessageTooBig { max: MOST });
        }
        Ok(())
    };
    let mut begin = 0;
    let pushed = pieces.ends(data.len()).try_for_each(|end| {
        let piece = &data[begin..end];
        begin = end;
        inflater.push(piece, &mut scratch, &mut sink)
    });
    let finished = pushed.and_then(|()| inflater.finish(&mut scratch));
    inflater.forget();
    let mut again = Vec::new();
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let mut keep = |part: &[u8]| {
        again.extend_from_slice(part);
        Ok(())
    };
    let outcome = inflater.push(&hello, &mut scratch, &mut keep);
    let outcome = outcome.and_then(|()| inflater.finish(&mut scratch));
    assert_eq!(
        (outcome, &*again),
        (Ok(()), &b"Hello"[..]),
        "it begins anew"
    );
    (yielded, finished.err())
}

/// The data's pieces as messages from server to client, in one frame each or with a ping inside.
fn round_trip(data: &[u8], pieces: Pieces<'_>, strength: Strength, agreed: &Params) {
    let bits = agreed.server_max_window_bits;
    let alone = agreed.server_no_context_takeover;
    let mut deflater = Deflater::new(strength, bits, alone);
    let mut encoder = Encoder::new();
    let (mut sent, mut wire, mut compressed) = (Vec::new(), Vec::new(), Vec::new());
    let mut begin = 0;
    for end in pieces.ends(data.len()) {
        let message = &data[begin..end];
        begin = end;
        compressed.clear();
        let len = deflater.deflate(message, &mut compressed);
        assert_eq!(len, compressed.len());
        assert!(!compressed.ends_with(&[0, 0, 0xff, 0xff]) || len > 4);
        match message.first().map_or(0, |first| first % 4) {
            // It is sent as it is, or lost.
            0 if len >= message.len() => {
                deflater.forget();
                let message = Message::Binary(message);
                assert_eq!(encoder.message(&mut wire, &mut Unmasked, message), Ok(()));
                sent.push(message.into());
            }
            1 if message.len() == 7 => deflater.forget(),
            _ => {
                assert_eq!(write(&mut encoder, &mut wire, &compressed), Ok(()));
                sent.push(Owned::Ping(b"between".to_vec()));
                sent.push(Owned::Binary(message.to_vec()));
            }
        }
    }
    let limits = MessageLimits {
        max_message_size: data.len(),
        max_frame_size: 2 * data.len() + 1024,
    };
    let mut pool = Pool::new();
    for pieces in [pieces, Pieces::new(&[])] {
        let mut decoder = Decoder::with_compression(Role::Client, agreed);
        let read = decode(&mut decoder, &wire, pieces, &limits, &mut pool);
        assert_eq!((&read.events, read.fault), (&sent, None));
        decoder.release(&mut pool);
    }
}

fn write(encoder: &mut Encoder, wire: &mut Vec<u8>, message: &[u8]) -> Result<(), SendError> {
    let (first, last) = message.split_at(message.len() / 2);
    let refused = encoder.compressed(wire, &mut Unmasked, OpCode::Ping, first, false);
    assert_eq!(refused, Err(SendError::NotData));
    encoder.compressed(wire, &mut Unmasked, OpCode::Binary, first, false)?;
    encoder.ping(wire, &mut Unmasked, b"between")?;
    let other = encoder.fragment(wire, &mut Unmasked, Message::Binary(b""), true);
    assert_eq!(other, Err(SendError::MessageOpen), "it began compressed");
    encoder.compressed(wire, &mut Unmasked, OpCode::Binary, last, true)
}

/// A client that wishes for `client`, and a server for `server`; `data` is what somebody else says
/// in the place of either.
fn agree(client: &Params, server: &Params, data: &[u8]) {
    let offered = offer(client);
    let accepted = negotiate([offered.as_bytes()], server);
    let accepted = accepted.expect("an offer of ours is sound");
    if let Some(accepted) = accepted {
        let params = accepted.params;
        assert!(params.server_max_window_bits <= client.server_max_window_bits);
        assert!(params.server_max_window_bits <= server.server_max_window_bits);
        assert!(params.client_max_window_bits <= server.client_max_window_bits);
        // With 8 bits neither side of ours can compress.
        if params.client_max_window_bits > 8 {
            let settled = check_response([accepted.response.as_bytes()], client);
            let settled = settled.expect("the answer is one to the offer");
            let settled = settled.expect("it was not declined");
            assert_eq!(
                settled.server_max_window_bits,
                params.server_max_window_bits
            );
            assert_eq!(
                settled.client_max_window_bits,
                params.client_max_window_bits
            );
            assert_eq!(
                settled.server_no_context_takeover,
                params.server_no_context_takeover
            );
            assert!(settled.client_no_context_takeover >= params.client_no_context_takeover);
        }
    }
    let lines = || data.split(|byte| *byte == b'\n');
    if let Ok(Some(accepted)) = negotiate(lines(), server) {
        assert!(accepted.params.server_max_window_bits <= server.server_max_window_bits);
        assert!(accepted.params.server_no_context_takeover >= server.server_no_context_takeover);
        let own = check_response([accepted.response.as_bytes()], &Params::default());
        assert!(
            own.is_ok() || accepted.params.client_max_window_bits == 8,
            "{own:?}"
        );
    }
    if let Ok(Some(settled)) = check_response(lines(), client) {
        assert!(settled.server_max_window_bits <= client.server_max_window_bits);
        assert!(settled.client_max_window_bits <= client.client_max_window_bits);
    }
}
