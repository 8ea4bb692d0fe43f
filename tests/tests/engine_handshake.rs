//! The opening handshake (RFC 6455 §4.2), over real sockets.

use std::time::{Duration, Instant};

use throng::{Config, Origins};
use throng_tests::engine::{Client, Happening, Heard, PATIENCE, Served, config, request, serve};

/// The status that a request is answered with, and the whole response.
fn answer(served: &Served, request: &[u8]) -> (u16, String) {
    let mut client = Client::silent(served.address());
    // A refusal may come before all was written.
    let _ = client.try_write(request);
    let head = client.read_head();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    client.finish();
    let body = String::from_utf8(client.read_to_end()).unwrap();
    (status, head + &body)
}

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

#[test]
fn bad_requests_are_answered_with_the_status_that_fits() {
    let served = serve(config());
    let table: [(&str, String, u16); 32] = [
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
        (
            "a head over 16 KiB",
            request(&format!("X: {}\r\n", "y".repeat(16 * 1024))),
            431,
        ),
    ];
    for (what, request, expected) in table {
        let (status, response) = answer(&served, request.as_bytes());
        assert_eq!(status, expected, "{what}: {response}");
        assert!(response.contains("Content-Length: "), "{what}: {response}");
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

#[test]
fn what_is_allowed_is_let_in() {
    let served = serve(config());
    for request in [
        request(""),
        request(&"X: y\r\n".repeat(95)),
        request(&format!("X: {}\r\n", "y".repeat(15 * 1024))),
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
            std::thread::sleep(Duration::from_millis(2));
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
    let served = serve(config().handshake_timeout(timeout));
    for said in ["", "GET /", &request("").as_str()[..100]] {
        let begun = Instant::now();
        let mut client = Client::silent(served.address());
        client.write(said.as_bytes());
        let head = client.read_head();
        assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
        assert!(begun.elapsed() >= timeout, "after {:?}", begun.elapsed());
        // The engine's side of the stream ends, although the client's does not.
        client.read_to_end();
        assert!(begun.elapsed() < PATIENCE);
    }
    let mut slow = Client::silent(served.address());
    let whole = request("");
    let begun = Instant::now();
    let dripped = whole.bytes().take_while(|byte| {
        std::thread::sleep(timeout / 10);
        slow.try_write(&[*byte]).is_ok() && begun.elapsed() < timeout * 2
    });
    assert!(dripped.count() < whole.len());
    assert!(
        slow.read_head().starts_with("HTTP/1.1 408 "),
        "dripping does not help"
    );
    assert_eq!(served.connect().ask("hello"), "hello");
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
    drop(first);
    served.next_close();
    // The place is free once the turn that saw the end is over.
    throng_tests::engine::until("a place", || {
        let mut client = Client::silent(served.address());
        client.write(request("").as_bytes());
        client.read_head().starts_with("HTTP/1.1 101 ")
    });
}

#[test]
fn origins_are_checked() {
    let status = |config: Config, origin: &str| {
        let served = serve(config);
        answer_status(&served, origin)
    };
    let same = || config().origins(Origins::same_origin());
    assert_eq!(status(same(), ""), 101);
    assert_eq!(status(same(), "Origin: http://localhost\r\n"), 101);
    assert_eq!(status(same(), "Origin: http://elsewhere.example\r\n"), 403);
    assert_eq!(status(same(), "Origin: null\r\n"), 403);
    let listed = || config().origins(Origins::list(["https://*.example.com"]));
    assert_eq!(status(listed(), "Origin: https://a.example.com\r\n"), 101);
    assert_eq!(
        status(listed(), "Origin: https://example.com.evil.org\r\n"),
        403
    );
    assert_eq!(status(listed(), "Origin: http://localhost\r\n"), 403);
}

/// The status that a request with such an origin is answered with.
fn answer_status(served: &Served, further: &str) -> u16 {
    let mut client = Client::silent(served.address());
    client.write(request(further).as_bytes());
    client
        .read_head()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn subprotocols_are_chosen_by_the_servers_preference() {
    let served = serve(config().subprotocols(["v2", "v1"]));
    for (offer, chosen) in [
        ("v1", Some("v1")),
        ("v1, v2", Some("v2")),
        ("v3,v1", Some("v1")),
        ("v3", None),
        ("V1", None),
    ] {
        let offered = format!("Sec-WebSocket-Protocol: {offer}\r\n");
        let mut client = Client::connect_with(served.address(), &offered);
        let line = chosen.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
        let answered = client.response.contains("Sec-WebSocket-Protocol");
        assert_eq!(answered, chosen.is_some(), "{offer}: {}", client.response);
        assert!(
            line.is_none_or(|line| client.response.contains(&line)),
            "{}",
            client.response
        );
        assert_eq!(client.ask("!subprotocol"), format!("{chosen:?}"));
    }
}

#[test]
fn a_service_accepts_with_what_it_knows() {
    let served = serve(config());
    let mut client = Client::silent(served.address());
    client.upgrade(&instead("/path", "/accept"));
    assert!(
        client.response.contains("X-Served-By: throng\r\n"),
        "{}",
        client.response
    );
    assert_eq!(client.ask("!user"), r#"Some("ann") Some("phone")"#);
    let mut client = Client::silent(served.address());
    client.upgrade(&request("Sec-WebSocket-Protocol: chosen\r\n").replace("/path", "/subprotocol"));
    assert_eq!(client.ask("!subprotocol"), r#"Some("chosen")"#);
    assert_eq!(served.connect().ask("!user"), "None None");
}

#[test]
fn a_service_rejects_with_an_answer_of_its_own() {
    let served = serve(config());
    let (status, response) = answer(&served, instead("/path", "/reject").as_bytes());
    assert_eq!(status, 418);
    assert!(response.contains("X-Why: told so\r\n"), "{response}");
    assert!(response.ends_with("\r\n\r\nno"), "{response}");
}

#[test]
fn an_answer_that_cannot_be_sent_is_the_services_fault() {
    let served = serve(config());
    for path in [
        "/panic",
        "/reject-badly",
        "/reject-with-200",
        "/subprotocol",
        "/inject",
    ] {
        let (status, response) = answer(&served, instead("/path", path).as_bytes());
        assert_eq!(status, 500, "{path}: {response}");
        assert!(!response.contains("Set-Cookie"), "{response}");
    }
    let mut client = served.connect();
    assert_eq!(client.ask("hello"), "hello", "the shard lives");
    let opened = served
        .rest()
        .iter()
        .filter(|h| matches!(h, Happening::Opened(_)))
        .count();
    assert_eq!(opened, 1, "and nobody else was let in");
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
