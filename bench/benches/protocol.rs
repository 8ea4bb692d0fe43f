//! What bytes cost on their way through the protocol.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use throng::protocol::Role;
use throng::protocol::deflate::{Deflater, Params, Strength};
use throng::protocol::frame::{Header, MAX_HEADER_LEN, OpCode, RSV1, write_server_header};
use throng::protocol::handshake::{MAX_HEADERS, accept_key, head_end, parse_head};
use throng::protocol::mask;
use throng::protocol::message::{Decoder, Input, MessageLimits, Pool};
use throng::protocol::utf8::Utf8Validator;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const LIMITS: MessageLimits = MessageLimits {
    max_message_size: 1 << 20,
    max_frame_size: 1 << 20,
};

fn client_header(opcode: OpCode, len: usize) -> Header {
    Header {
        fin: true,
        rsv: 0,
        opcode,
        mask: Some(KEY),
        len: len as u64,
    }
}

fn client_frame(header: &Header, payload: &[u8]) -> Vec<u8> {
    let mut head = [0; MAX_HEADER_LEN];
    let length = header.encode(&mut head);
    let mut frame = [&head[..length], payload].concat();
    mask::apply(&mut frame[length..], KEY, 0);
    frame
}

fn headers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("header");
    for len in [20, 1000, 100_000] {
        let frame = client_frame(&client_header(OpCode::Binary, len), &vec![0; len]);
        group.bench_function(BenchmarkId::new("decode", len), |bencher| {
            bencher
                .iter(|| Header::parse(black_box(&frame[..MAX_HEADER_LEN]), Role::Server, false));
        });
        let mut out = vec![0; len + 10];
        group.bench_function(BenchmarkId::new("encode", len), |bencher| {
            bencher
                .iter(|| write_server_header(black_box(&mut out), OpCode::Binary, black_box(len)));
        });
    }
}

fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("message");
    for len in [20, 1024, 64 * 1024] {
        for (name, opcode) in [("binary", OpCode::Binary), ("text", OpCode::Text)] {
            let frame = client_frame(&client_header(opcode, len), &vec![b'x'; len]);
            let (mut decoder, mut pool) = (Decoder::new(Role::Server), Pool::new());
            let mut bytes = frame.clone();
            group.throughput(Throughput::Bytes(len as u64));
            group.bench_function(BenchmarkId::new(name, len), |bencher| {
                bencher.iter(|| {
                    // Unmasking changes the bytes: each time they are received anew.
                    bytes.copy_from_slice(&frame);
                    let mut input = Input::new(&mut bytes);
                    let event = decoder.next(&mut input, &LIMITS, &mut pool);
                    assert!(matches!(black_box(event), Ok(Some(_))));
                });
            });
        }
    }
}

fn compression(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("deflate");
    for len in [256, 1024, 16 * 1024] {
        let orders = (0_u64..).flat_map(|n| {
            let (id, user, price) = (n * 7919, n * 31 % 97, n * 13 % 1000);
            let text =
                format!(r#"{{"id":{id},"user":"user{user}","price":{price},"side":"buy"}},"#);
            text.into_bytes()
        });
        let message: Vec<u8> = orders.take(len).collect();
        group.throughput(Throughput::Bytes(len as u64));
        let mut payload = Vec::new();
        for level in [1, 3, 6] {
            let strength = Strength {
                level,
                memory_level: 8,
            };
            let mut deflater = Deflater::new(strength, 15, true);
            group.bench_function(BenchmarkId::new(format!("level {level}"), len), |bencher| {
                bencher.iter(|| {
                    payload.clear();
                    deflater.deflate(black_box(&message), &mut payload)
                });
            });
        }
        let header = Header {
            rsv: RSV1,
            ..client_header(OpCode::Binary, payload.len())
        };
        let frame = client_frame(&header, &payload);
        let params = Params {
            client_no_context_takeover: true,
            ..Params::default()
        };
        let mut decoder = Decoder::with_compression(Role::Server, &params);
        let (mut pool, mut bytes) = (Pool::new(), frame.clone());
        group.bench_function(BenchmarkId::new("inflate", len), |bencher| {
            bencher.iter(|| {
                bytes.copy_from_slice(&frame);
                let mut input = Input::new(&mut bytes);
                let event = decoder.next(&mut input, &LIMITS, &mut pool);
                assert!(matches!(black_box(event), Ok(Some(_))));
            });
        });
    }
}

fn unmasking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("unmask");
    for len in [16, 1024, 64 * 1024] {
        let mut bytes = vec![0x5a; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::from_parameter(len), |bencher| {
            bencher.iter(|| mask::apply(black_box(&mut bytes), KEY, 0));
        });
    }
}

fn utf8(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("utf8");
    for (name, text) in [
        ("ascii", "plain text, nothing more. "),
        ("mixed", "grüße, 世界 😀, and text. "),
    ] {
        let text = text.repeat(16 * 1024 / text.len());
        for len in [64, text.len()] {
            let len = text.floor_char_boundary(len);
            let bytes = &text.as_bytes()[..len];
            group.throughput(Throughput::Bytes(len as u64));
            group.bench_function(BenchmarkId::new(format!("whole {name}"), len), |bencher| {
                bencher.iter(|| simdutf8::basic::from_utf8(black_box(bytes)).is_ok());
            });
            group.bench_function(
                BenchmarkId::new(format!("in parts {name}"), len),
                |bencher| {
                    bencher.iter(|| {
                        let mut validator = Utf8Validator::default();
                        let parts = black_box(bytes).chunks(len / 3 + 1);
                        parts
                            .map(|part| validator.push(part))
                            .all(|result| result.is_ok())
                    });
                },
            );
        }
    }
}

fn handshake(criterion: &mut Criterion) {
    let request = b"GET /chat?room=general HTTP/1.1\r\nHost: chat.example.com\r\nConnection: Upgrade\r\n\
        Pragma: no-cache\r\nCache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) \
        AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\n\
        Origin: https://chat.example.com\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate\r\n\
        Accept-Language: en-GB,en;q=0.9\r\nCookie: session=0123456789abcdef0123456789abcdef\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    let mut group = criterion.benchmark_group("handshake");
    group.bench_function("find the end", |bencher| {
        bencher.iter(|| head_end(black_box(request), 0));
    });
    group.bench_function("parse", |bencher| {
        bencher.iter(|| {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            parse_head(black_box(request), &mut headers).is_ok()
        });
    });
    group.bench_function("accept key", |bencher| {
        bencher.iter(|| accept_key(black_box(b"dGhlIHNhbXBsZSBub25jZQ==")));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = headers, messages, compression, unmasking, utf8, handshake
}
criterion_main!(benches);
