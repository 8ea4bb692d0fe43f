//! A stream of frames, read by either role.
//!
//! Input: a byte of which bit 0 is the role of the reader (1: client) and bits 1 and 2 what was
//! agreed on compression; a byte of two powers, the limits of messages and of frames; the number
//! of the pieces' lengths, and these; then the stream.
//!
//! However it is cut, the events are the same, and so is the fault. What was read can be written
//! again, in one frame or several, by either side's writers, and reads the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use throng::Message;
use throng::protocol::Role;
use throng::protocol::close::write_close;
use throng::protocol::deflate::Params;
use throng::protocol::encoder::{Encoder, Masking, SendError, Unmasked};
use throng::protocol::frame::{
    MAX_CONTROL_PAYLOAD, OpCode, server_frame_len, server_header_len, server_payload,
    write_server_header,
};
use throng::protocol::mask::{Masks, NoEntropy};
use throng::protocol::message::{Decoder, MessageLimits, Pool};
use throng_fuzz::{Decoded, Owned, Pieces, decode};

fuzz_target!(|input: &[u8]| {
    let Some(stream) = Stream::read(input) else {
        return;
    };
    let mut pool = Pool::new();
    let whole = stream.decode(Pieces::new(&[]), &mut pool);
    assert_eq!(stream.decode(stream.pieces, &mut pool), whole);
    assert_eq!(stream.decode(Pieces::new(&[0]), &mut pool), whole);
    write_again(&whole, &stream);
});

/// The input's parts.
struct Stream<'i> {
    role: Role,
    compression: Option<Params>,
    limits: MessageLimits,
    pieces: Pieces<'i>,
    bytes: &'i [u8],
}

impl<'i> Stream<'i> {
    fn read(input: &'i [u8]) -> Option<Stream<'i>> {
        let [kind, sizes, count, rest @ ..] = input else {
            return None;
        };
        let (lengths, bytes) = rest.split_at_checked(usize::from(*count))?;
        let max_message_size = 1 << (sizes & 0x0f);
        Some(Stream {
            role: [Role::Server, Role::Client][usize::from(kind & 1)],
            compression: compression(kind >> 1 & 3),
            limits: MessageLimits {
                max_message_size,
                max_frame_size: max_message_size.min(1 << (sizes >> 4)),
            },
            pieces: Pieces::new(lengths),
            bytes,
        })
    }

    fn decode(&self, pieces: Pieces<'_>, pool: &mut Pool) -> Decoded {
        let mut decoder = self.decoder(self.role);
        let decoded = decode(&mut decoder, self.bytes, pieces, &self.limits, pool);
        decoder.release(pool);
        assert!(decoder.is_idle() && decoder.kept_bytes() == 0);
        decoded
    }

    fn decoder(&self, role: Role) -> Decoder {
        match &self.compression {
            Some(params) => Decoder::with_compression(role, params),
            None => Decoder::new(role),
        }
    }
}

/// None, each message on its own, or with those before as its context.
fn compression(choice: u8) -> Option<Params> {
    (choice > 0).then(|| Params {
        server_no_context_takeover: choice == 1,
        client_no_context_takeover: choice == 1,
        ..Params::default()
    })
}

fn write_again(read: &Decoded, stream: &Stream<'_>) {
    let mut by_server = Vec::new();
    for event in &read.events {
        write_as_server(event, &mut by_server);
    }
    reads_as(&by_server, Role::Client, read, stream);
    let mut last_key = 0_u32;
    let mut masks = Masks::new(|bytes: &mut [u8]| {
        for key in bytes.as_chunks_mut().0 {
            last_key = last_key.wrapping_mul(0x9e37_79b9).wrapping_add(0x7f4a_7c15);
            *key = last_key.to_be_bytes();
        }
        Ok::<(), NoEntropy>(())
    });
    reads_as(
        &in_fragments(read, stream, &mut masks),
        Role::Server,
        read,
        stream,
    );
    reads_as(
        &in_fragments(read, stream, &mut Unmasked),
        Role::Client,
        read,
        stream,
    );
}

/// What is written uncompressed may be larger on the wire than the frame it was read from: only
/// messages are bounded here.
fn reads_as(written: &[u8], role: Role, read: &Decoded, stream: &Stream<'_>) {
    let limits = MessageLimits {
        max_frame_size: stream.limits.max_message_size,
        ..stream.limits
    };
    let mut pool = Pool::new();
    let again = decode(
        &mut stream.decoder(role),
        written,
        stream.pieces,
        &limits,
        &mut pool,
    );
    assert_eq!((&again.events, again.fault), (&read.events, None));
}

/// As a shard writes.
fn write_as_server(event: &Owned, out: &mut Vec<u8>) {
    let mut close = [0; MAX_CONTROL_PAYLOAD];
    let (opcode, payload) = match event {
        Owned::Text(text) => (OpCode::Text, text.as_bytes()),
        Owned::Binary(bytes) => (OpCode::Binary, &**bytes),
        Owned::Ping(payload) => (OpCode::Ping, &**payload),
        Owned::Pong(payload) => (OpCode::Pong, &**payload),
        Owned::Close(None) => (OpCode::Close, &[][..]),
        Owned::Close(Some((code, reason))) => {
            let len = write_close(&mut close, *code, reason);
            (OpCode::Close, &close[..len])
        }
    };
    let begin = out.len();
    out.resize(begin + server_header_len(payload.len()), 0);
    write_server_header(&mut out[begin..], opcode, payload.len());
    out.extend_from_slice(payload);
    let frame = &out[begin..];
    assert_eq!(server_frame_len(frame), Some(frame.len()));
    assert_eq!(server_payload(frame), Some((opcode, payload)));
}

/// As an [`Encoder`] writes: messages in fragments as long as the input's pieces, a close frame last.
fn in_fragments(read: &Decoded, stream: &Stream<'_>, masking: &mut impl Masking) -> Vec<u8> {
    let (mut encoder, mut out) = (Encoder::new(), Vec::new());
    for event in &read.events {
        let written = match event {
            Owned::Text(text) => write_message(&mut encoder, masking, text, stream, &mut out),
            Owned::Binary(bytes) => write_message(&mut encoder, masking, bytes, stream, &mut out),
            Owned::Ping(payload) => encoder.ping(&mut out, masking, payload),
            Owned::Pong(payload) => encoder.pong(&mut out, masking, payload),
            Owned::Close(frame) => {
                let (code, reason) = frame.clone().unwrap_or((1005.into(), String::new()));
                encoder.close(&mut out, masking, code, &reason)
            }
        };
        assert_eq!(written, Ok(()));
    }
    if matches!(read.events.last(), Some(Owned::Close(_))) {
        let len = out.len();
        assert_eq!(encoder.ping(&mut out, masking, b""), Err(SendError::Closed));
        let message = Message::Text("");
        assert_eq!(
            encoder.message(&mut out, masking, message),
            Err(SendError::Closed)
        );
        assert_eq!(out.len(), len, "nothing follows a close frame");
    }
    out
}

fn write_message<'m, M: ?Sized>(
    encoder: &mut Encoder,
    masking: &mut impl Masking,
    message: &'m M,
    stream: &Stream<'_>,
    out: &mut Vec<u8>,
) -> Result<(), SendError>
where
    &'m M: Into<Message<'m>>,
{
    let message = message.into();
    let mut begin = 0;
    for end in stream.pieces.ends(message.len()) {
        let (fragment, is_last) = match message {
            // Text is cut between characters.
            Message::Text(text) => {
                let end = text.ceil_char_boundary(end);
                (
                    Message::Text(text.get(begin..end).unwrap_or_default()),
                    end == text.len(),
                )
            }
            Message::Binary(bytes) => (Message::Binary(&bytes[begin..end]), end == bytes.len()),
        };
        begin = begin.max(begin + fragment.len());
        encoder.fragment(out, masking, fragment, is_last)?;
        if is_last {
            return Ok(());
        }
        let other = Message::Binary(b"inside another");
        assert_eq!(
            encoder.message(out, masking, other),
            Err(SendError::MessageOpen)
        );
    }
    encoder.message(out, masking, message)
}
