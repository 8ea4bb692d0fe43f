//! Attacks by requests: slow ones, endless ones, and such as mean two things.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::time::Duration;

use throng_tests::engine::{Client, config, request, until};
use throng_tests::hostile::{Attackers, Counting, Siege, in_parallel};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that is kept of a request: its head, in a buffer of up to twice as much.
const HEAD: usize = 2 * 16 * 1024;

#[test]
fn five_thousand_slow_requests_cost_little_and_time_out() {
    const SLOW: usize = 5000;
    /// Less than 100 bytes of each arrive, in a box of their own; then comes the answer.
    const EACH: usize = 512;
    let timeout = Duration::from_secs(3);
    let settings = config().max_connections(6000).max_handshakes(6000);
    let siege = Siege::begin(settings.handshake_timeout(timeout));
    let mut attackers = Attackers::connect(siege.address(), SLOW);
    let mut bytes = b"GET / HTTP/1.1\r\nX: "
        .iter()
        .chain(std::iter::repeat(&b'y'));
    let mut written = 0;
    until("the attackers' end", || {
        // Ten bytes a second from each, at most.
        attackers.write(&[*bytes.next().unwrap()]);
        written += 1;
        std::thread::sleep(Duration::from_millis(100));
        attackers.have_heard_the_end()
    });
    siege.live_on();
    let heard = attackers.hear_the_end();
    let timed_out = heard
        .iter()
        .filter(|h| h.starts_with(b"HTTP/1.1 408 "))
        .count();
    assert_eq!(timed_out, SLOW, "all are told so");
    assert_eq!(siege.tally().opened(), 0);
    let attack = format!("slow handshake × {SLOW}, {written} bytes each, 10 B/s at most");
    siege.withstood(&attack, "408", SLOW * EACH);
}

/// What is written, chunk by chunk, and how often.
struct Endless {
    what: &'static str,
    begin: &'static str,
    chunk: String,
    times: usize,
}

#[test]
fn heads_without_bounds_are_refused_at_their_bound() {
    const EACH: usize = 8;
    let long_line = "y".repeat(64 * 1024);
    let attacks = [
        Endless {
            what: "an endless header",
            begin: "GET / HTTP/1.1\r\nHost: x\r\nX: ",
            chunk: "y".into(),
            times: 1 << 17,
        },
        Endless {
            what: "2,000 header lines",
            begin: "GET / HTTP/1.1\r\n",
            chunk: "X: y\r\n".into(),
            times: 2000,
        },
        Endless {
            what: "a header of 20 MB",
            begin: "GET / HTTP/1.1\r\nHost: x\r\nX: ",
            chunk: long_line,
            times: 320,
        },
        Endless {
            what: "empty lines",
            begin: "",
            chunk: "\r\n".into(),
            times: 1 << 17,
        },
    ];
    for attack in attacks {
        let siege = Siege::begin(config());
        let address = siege.address();
        let statuses = siege.beside(|| {
            in_parallel(EACH, |_| {
                let mut client = Client::silent(address);
                let mut is_taken = client.try_write(attack.begin.as_bytes()).is_ok();
                for _ in 0..attack.times {
                    // The end of who is not heard any more.
                    is_taken = is_taken && client.try_write(attack.chunk.as_bytes()).is_ok();
                }
                // For heads that are bounded after all.
                let _ = client.try_write(b"\r\n");
                client.read_head()
            })
        });
        for head in &statuses {
            assert!(head.starts_with("HTTP/1.1 431 "), "{}: {head}", attack.what);
        }
        siege.live_on();
        assert_eq!(siege.tally().opened(), 0);
        // One receive may bring as much as its buffer holds.
        let bound = EACH * HEAD + 2 * config().read_buffer_size;
        siege.withstood(&format!("{} × {EACH}", attack.what), "431", bound);
    }
}

/// What may not come with a request, each a reason for 400.
const AMBIGUOUS: [(&str, &str); 21] = [
    ("two Hosts", "Host: localhost\r\n"),
    ("another Host", "Host: other\r\n"),
    (
        "the key twice",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ),
    (
        "another key",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
    ),
    ("an empty key", "Sec-WebSocket-Key:\r\n"),
    ("two origins", "Origin: http://a\r\nOrigin: http://b\r\n"),
    ("a body", "Content-Length: 4\r\n"),
    (
        "lengths that differ",
        "Content-Length: 0\r\nContent-Length: 4\r\n",
    ),
    ("a list of lengths", "Content-Length: 0, 4\r\n"),
    ("a length below zero", "Content-Length: -1\r\n"),
    ("a length with a sign", "Content-Length: +0\r\n"),
    ("chunks", "Transfer-Encoding: chunked\r\n"),
    ("no coding", "Transfer-Encoding: identity\r\n"),
    ("an empty coding", "Transfer-Encoding:\r\n"),
    (
        "both",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
    ),
    (
        "a folded line",
        "Sec-WebSocket-Protocol: chat\r\n Set-Cookie: a\r\n",
    ),
    (
        "a CR in a subprotocol",
        "Sec-WebSocket-Protocol: chat\rSet-Cookie: a\r\n",
    ),
    (
        "a NUL in a subprotocol",
        "Sec-WebSocket-Protocol: chat\0\r\n",
    ),
    ("a space before the colon", "Content-Length : 0\r\n"),
    ("a name that is none", "X\x7f: y\r\n"),
    ("a line that is no header", "chat\r\n"),
];

#[test]
fn requests_that_mean_two_things_are_refused() {
    const EACH: usize = 20;
    let siege = Siege::begin(config().subprotocols(["chat"]));
    let pipelined = [
        ("a frame before 101", request("") + "\u{1}\u{2}", "400"),
        ("a request before 101", request("") + &request(""), "400"),
        ("a byte before 101", request("") + "\n", "400"),
        (
            "another version",
            request("Sec-WebSocket-Version: 8\r\n"),
            "426",
        ),
    ];
    let ambiguous = AMBIGUOUS.map(|(what, lines)| (what, request(lines), "400"));
    for (what, request, status) in ambiguous.into_iter().chain(pipelined) {
        for _ in 0..EACH {
            let mut client = Client::silent(siege.address());
            client.write(request.as_bytes());
            let head = client.read_head();
            let is_it = head.split(' ').nth(1) == Some(status);
            assert!(is_it, "{what}: {head}");
            assert!(!head.contains("Set-Cookie"), "{what}: {head}");
            client.finish();
            client.read_to_end();
        }
    }
    siege.live_on();
    assert_eq!(siege.tally().opened(), 0, "nobody was let in");
    siege.withstood("ambiguous requests, 25 kinds × 20", "400, 426", 0);
}

/// Several lines of one list are that list (RFC 9110 §5.3), and what a line feed cuts off is a line
/// of its own (RFC 9112 §2.2). Nothing of it comes back but the subprotocol that was agreed on.
#[test]
fn requests_that_mean_one_thing_are_not() {
    let siege = Siege::begin(config().subprotocols(["chat"]));
    let sound = [
        "Upgrade: h2c\r\n",
        "Connection: keep-alive\r\n",
        "Content-Length: 0\r\nContent-Length: 0\r\n",
        "Sec-WebSocket-Protocol: \"chat\r\n",
        "Sec-WebSocket-Protocol: chat\nSet-Cookie: a=b\r\n",
        "Sec-WebSocket-Protocol: chat, ch@t, , \r\nSec-WebSocket-Protocol: other\r\n",
        "Sec-WebSocket-Protocol: chat%0d%0aSet-Cookie: a=b\r\n",
    ];
    for lines in sound {
        let mut client = Client::connect_with(siege.address(), lines);
        let answer = &client.response;
        assert!(!answer.contains("Set-Cookie"), "{lines:?}: {answer}");
        let is_agreed = answer.contains("Sec-WebSocket-Protocol: chat\r\n");
        let offers = lines
            .split([',', '\n', '\r', ' '])
            .any(|word| word == "chat");
        assert_eq!(is_agreed, offers, "{lines:?}: {answer}");
        assert_eq!(client.ask("hello"), "hello");
    }
    siege.live_on();
    siege.withstood("odd but sound requests", "101", 0);
}
