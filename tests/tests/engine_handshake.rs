//! What a request for an upgrade must be (RFC 6455 §4.2.1), over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use throng_tests::engine::{Client, Heard, Served, answer, config, request, serve, until};

fn without(line: &str) -> String {
    let request = request("");
    let kept = request
        .split_inclusive("\r\n")
        .filter(|kept| !kept.starts_with(line));
    let short: String = kept.collect();
    assert_ne!(short, request, "{line} is in the request");
    short
}

fn instead(line: &str, other: &str) -> String {
    let whole = request("");
    assert!(whole.contains(line));
    whole.replace(line, other)
}

#[expect(clippy::too_many_lines, reason = "a table")]
#[test]
fn bad_requests_are_answered_with_the_status_that_fits() {
    let served = serve(config());
    let table: [(&str, String, u16); 33] = [
        ("not HTTP", "hello\r\n\r\n".into(), 400),
        ("binary", "\x16\x03\x01\r\n\r\n".into(), 400),
        ("POST", instead("GET", "POST"), 405),
        ("HEAD", instead("GET", "HEAD"), 405),
        ("HTTP/1.0", instead("HTTP/1.1", "HTTP/1.0"), 505),
        ("HTTP/2", instead("HTTP/1.1", "HTTP/2.0"), 505),
        ("no Host", without("Host"), 400),
        ("two Hosts", request("Host: other\r\n"), 400),
        ("bad Host", instead("Host: localhost", "Host: a b"), 400),
        ("no Upgrade", without("Upgrade"), 400),
        (
            "another Upgrade",
            instead("Upgrade: websocket", "Upgrade: h2c"),
            400,
        ),
        ("no Connection", without("Connection"), 400),
        (
            "another Connection",
            instead("Connection: Upgrade", "Connection: close"),
            400,
        ),
        ("no version", without("Sec-WebSocket-Version"), 426),
        ("version 8", instead("Version: 13", "Version: 8"), 426),
        (
            "version 13, 8",
            instead("Version: 13", "Version: 13, 8"),
            426,
        ),
        (
            "two versions",
            request("Sec-WebSocket-Version: 13\r\n"),
            426,
        ),
        (
            "short key",
            instead("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="),
            400,
        ),
        (
            "long key",
            instead("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZSBhbmQ="),
            400,
        ),
        (
            "no base64",
            instead("dGhlIHNhbXBsZSBub25jZQ==", "************************"),
            400,
        ),
        ("empty key", instead(" dGhlIHNhbXBsZSBub25jZQ==", ""), 400),
        (
            "two keys",
            request("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
            400,
        ),
        (
            "two origins",
            request("Origin: http://a\r\nOrigin: http://b\r\n"),
            400,
        ),
        ("a body", request("Content-Length: 4\r\n") + "body", 400),
        ("no body yet", request("Content-Length: 4\r\n"), 400),
        ("chunks", request("Transfer-Encoding: chunked\r\n"), 400),
        ("a frame at once", request("") + "\u{1}\u{2}", 400),
        ("a folded line", request("X: a\r\n b\r\n"), 400),
        ("a space before the colon", request("X : a\r\n"), 400),
        ("a control character", request("X: a\x01b\r\n"), 400),
        ("101 header lines", request(&"X: y\r\n".repeat(96)), 431),
        ("a head over 16 KiB", request_of(16 * 1024 + 1), 431),
        (
            "a line over 16 KiB",
            "GET /".to_owned() + &"y".repeat(1 << 15),
            431,
        ),
    ];
    for (what, request, expected) in table {
        let (status, response) = answer(&served, request.as_bytes());
        assert_eq!(status, expected, "{what}: {response}");
        assert!(response.contains("Content-Length: "), "{what}: {response}");
        assert!(ends_the_connection(&response), "{what}: {response}");
        if status == 426 {
            assert!(
                response.contains("Sec-WebSocket-Version: 13\r\n"),
                "{what}: {response}"
            );
        }
    }
    assert!(served.rest().is_empty(), "nobody was let in");
    assert_eq!(
        served.connect().ask("hello"),
        "hello",
        "and the engine lives"
    );
}

/// Whether a response says that the connection ends with it (RFC 9112 §9.6).
fn ends_the_connection(response: &str) -> bool {
    let mut lines = response.lines();
    lines.any(|line| line.starts_with("Connection: ") && line.ends_with("close"))
}

/// A request whose head is of that size.
fn request_of(size: usize) -> String {
    let padding = size - request("X: \r\n").len();
    request(&format!("X: {}\r\n", "y".repeat(padding)))
}

#[test]
fn what_is_allowed_is_let_in() {
    let served = serve(config());
    for request in [
        request(""),
        request(&"X: y\r\n".repeat(95)),
        request_of(16 * 1024),
        request("Content-Length: 0\r\n"),
        request("Origin: https://anywhere.example\r\n"),
        instead("Upgrade: websocket", "upgrade: foo, WebSocket"),
        instead("Connection: Upgrade", "CONNECTION: keep-alive, UPGRADE"),
        instead("/path?query=1", "http://localhost/path"),
        format!("\r\n{}", request("")),
    ] {
        let mut client = Client::silent(served.address());
        client.upgrade(&request);
        assert_eq!(client.ask("hello"), "hello", "{request}");
    }
}

#[test]
fn the_answer_is_that_of_the_rfc() {
    let served = serve(config());
    let client = served.connect();
    // RFC 6455 §1.3.
    let accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    assert!(client.response.contains(accept), "{}", client.response);
    for line in ["Upgrade: websocket\r\n", "Connection: Upgrade\r\n"] {
        assert!(client.response.contains(line), "{}", client.response);
    }
    assert!(!client.response.contains("Sec-WebSocket-Protocol"));
}

#[test]
fn a_request_may_arrive_in_any_pieces() {
    let served = serve(config());
    let whole = request("X-Long: of some length\r\n");
    for cut in 1..whole.len() {
        let mut client = Client::silent(served.address());
        client.write(&whole.as_bytes()[..cut]);
        if cut % 16 == 0 {
            thread::sleep(Duration::from_millis(2));
        }
        client.upgrade(&whole[cut..]);
    }
    let mut client = Client::silent(served.address());
    for byte in &whole.as_bytes()[..whole.len() - 1] {
        client.write(&[*byte]);
    }
    client.upgrade("\n");
    assert_eq!(client.ask("hello"), "hello");
}

#[test]
fn who_says_nothing_or_too_little_is_gone_after_the_timeout() {
    let timeout = Duration::from_millis(300);
    for said in ["", "GET /", &request("")[..100]] {
        // Room for one: nobody else is let in before this one is gone.
        let served = serve(config().handshake_timeout(timeout).max_connections(1));
        let begun = Instant::now();
        let mut client = Client::silent(served.address());
        client.write(said.as_bytes());
        let head = client.read_head();
        assert!(head.starts_with("HTTP/1.1 408 "), "{said:?}: {head}");
        assert!(begun.elapsed() >= timeout, "{:?}", begun.elapsed());
        client.read_to_end();
        // Our side of the stream stays open; soon nobody is there to take what we write.
        until("the reset", || client.try_write(b"still here").is_err());
        until("a place", || is_let_in(&served));
    }
}

#[test]
fn dripping_does_not_help() {
    let timeout = Duration::from_millis(200);
    let served = serve(config().handshake_timeout(timeout));
    let mut slow = Client::silent(served.address());
    let mut writer = slow.writer();
    let (answered, is_answered) = channel::<()>();
    // A line without an end: only the timeout, or a head of 16 KiB after minutes, has an answer.
    let dripping = thread::spawn(move || {
        let begin = b"GET / HTTP/1.1\r\nX: ".iter();
        for byte in begin.chain(std::iter::repeat(&b'y')) {
            let waited = is_answered.recv_timeout(timeout / 20);
            if waited != Err(RecvTimeoutError::Timeout) || writer.write_all(&[*byte]).is_err() {
                return;
            }
        }
    });
    let head = slow.read_head();
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    drop(answered);
    dripping.join().unwrap();
    assert_eq!(served.connect().ask("hello"), "hello");
}

fn is_let_in(served: &Served) -> bool {
    let mut client = Client::silent(served.address());
    client.write(request("").as_bytes());
    client.read_head().starts_with("HTTP/1.1 101 ")
}

#[test]
fn a_full_engine_says_so_and_has_room_again() {
    let served = serve(config().max_connections(2));
    let first = served.connect();
    let mut second = served.connect();
    let (status, response) = answer(&served, request("").as_bytes());
    assert_eq!(status, 503, "{response}");
    assert!(response.contains("Retry-After: "), "{response}");
    assert_eq!(second.ask("hello"), "hello");
    // It is well all the same.
    let (status, response) = answer(&served, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(status, 200, "{response}");
    // Who is turned away and stays is soon gone too.
    let mut stays = Client::silent(served.address());
    stays.write(request("").as_bytes());
    assert!(stays.read_head().starts_with("HTTP/1.1 503 "));
    until("the reset", || stays.try_write(b"please").is_err());
    drop(first);
    served.next_close();
    // The place is free once the turn that saw the end is over.
    until("a place", || is_let_in(&served));
}

#[test]
fn frames_right_behind_the_answer_are_served() {
    let served = serve(config());
    let mut client = Client::silent(served.address());
    client.write(request("").as_bytes());
    client.read_head();
    client.text("first");
    assert_eq!(client.hear(), Heard::Text("first".into()));
}
