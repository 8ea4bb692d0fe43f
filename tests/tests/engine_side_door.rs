//! What is no upgrade, on the same port.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::sync::mpsc::channel;
use std::time::Duration;

use throng::{Engine, Page};
use throng_tests::engine::{Client, Happening, Heard, Obedient, Served, config};

fn serve() -> Served {
    let (reports, happenings) = channel();
    let engine = Engine::builder()
        .bind("127.0.0.1:0")
        .unwrap()
        .config(config())
        .page(Page::new("/", "text/html", "<h1>hello</h1>"))
        .page(Page::new(
            "/big",
            "application/octet-stream",
            vec![7; 8 << 20],
        ))
        .handler(Obedient::new(reports))
        .start()
        .unwrap();
    Served { engine, happenings }
}

/// Status line and body.
fn ask(served: &Served, request: &str) -> (String, Vec<u8>) {
    let mut client = Client::silent(served.address());
    client.write(request.as_bytes());
    let head = client.read_head();
    (
        head.lines().next().unwrap().to_owned(),
        client.read_to_end(),
    )
}

#[test]
fn pages_health_and_what_is_not_there() {
    let served = serve();
    for (line, status, body) in [
        ("GET / HTTP/1.1", "HTTP/1.1 200 OK", "<h1>hello</h1>"),
        ("GET /?query HTTP/1.1", "HTTP/1.1 200 OK", "<h1>hello</h1>"),
        ("HEAD / HTTP/1.1", "HTTP/1.1 200 OK", ""),
        ("GET /healthz HTTP/1.1", "HTTP/1.1 200 OK", "ok"),
    ] {
        let (answered, sent) = ask(&served, &format!("{line}\r\nHost: localhost\r\n\r\n"));
        assert_eq!(answered, status, "{line}");
        assert_eq!(String::from_utf8(sent).unwrap(), body, "{line}");
    }
    for (line, status) in [
        ("GET /nowhere HTTP/1.1", "HTTP/1.1 404 Not Found"),
        ("POST / HTTP/1.1", "HTTP/1.1 405 Method Not Allowed"),
    ] {
        let (answered, _) = ask(&served, &format!("{line}\r\nHost: localhost\r\n\r\n"));
        assert_eq!(answered, status, "{line}");
    }
    assert_eq!(served.connect().ask("hello"), "hello");
}

#[test]
fn head_is_answered_as_get_without_the_content() {
    let served = serve();
    let answer = |method: &str| {
        let mut client = Client::silent(served.address());
        client.write(format!("{method} /big HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        let head = client.read_head();
        // The date may have changed in between.
        let lines = head.lines().filter(|line| !line.starts_with("date: "));
        (
            lines.collect::<Vec<_>>().join("\n"),
            client.read_to_end().len(),
        )
    };
    let (get, content) = answer("GET");
    assert!(get.contains("content-length: 8388608"), "{get}");
    assert_eq!(content, 8 << 20);
    assert_eq!(answer("HEAD"), (get, 0));
}

#[test]
fn a_request_may_come_in_pieces() {
    let served = serve();
    let mut client = Client::silent(served.address());
    for byte in b"GET / HTTP/1.1\r\nHost: localhost\r\n" {
        client.write(&[*byte]);
    }
    client.write(b"\r\n");
    assert!(client.read_head().starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(client.read_to_end(), b"<h1>hello</h1>");
}

#[test]
fn slow_downloads_delay_nobody() {
    let served = serve();
    let mut downloads: Vec<Client> = (0..8)
        .map(|_| {
            let mut client = Client::silent(served.address());
            client.write(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n");
            client
        })
        .collect();
    let mut client = served.connect();
    for round in 0..50 {
        assert_eq!(client.ask(&round.to_string()), round.to_string());
    }
    for download in &mut downloads {
        assert!(download.read_head().starts_with("HTTP/1.1 200 OK\r\n"));
        assert_eq!(download.read_to_end().len(), 8 << 20);
    }
}

/// Waits until the one shard has read what was written to it before.
///
/// The first answer tells that the shard has taken in whoever connected before it was asked for;
/// the second, that it has since looked once more at everybody who had written.
fn let_it_be_read(client: &mut Client) {
    for _ in 0..2 {
        assert_eq!(client.ask("hello"), "hello");
    }
}

#[test]
fn who_is_at_the_side_door_is_no_connection() {
    let served = serve();
    let mut client = served.connect();
    assert!(matches!(served.next(), Happening::Opened(_)));
    let mut waiting = Client::silent(served.address());
    waiting.write(b"GET /healthz HTTP/1.1\r\nHost: ");
    let_it_be_read(&mut client);
    assert_eq!(served.engine.connections(), 1, "the one who asks");
    waiting.write(b"localhost\r\n\r\n");
    assert!(waiting.read_head().starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(served.engine.connections(), 1, "the one who asks");
    assert_eq!(served.rest(), [], "the service has heard of nobody else");
}

#[test]
fn who_has_not_finished_asking_when_the_engine_drains_is_refused() {
    let served = serve();
    let mut client = served.connect();
    let mut asking = Client::silent(served.address());
    asking.write(b"GET /healthz HTTP/1.1\r\nHost: ");
    let_it_be_read(&mut client);
    let drained = std::thread::spawn(move || served.engine.drain(Duration::from_secs(2)));
    let head = asking.read_head();
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(head.contains("Retry-After: "), "{head}");
    asking.finish();
    assert_eq!(asking.read_to_end(), b"the server is going down");
    assert!(matches!(client.hear(), Heard::Close(Some(1012), _)));
    drop(client);
    drained.join().unwrap();
}
