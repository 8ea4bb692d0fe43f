//! How a service answers a request for an upgrade (RFC 6455 §4.2.2), over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::time::Duration;

use throng::{Accept, Config, Conn, Handler, Message, Origins, Reject, Upgrade};
use throng_tests::engine::{
    Client, Happening, Heard, Served, answer, config, request, serve, serve_with,
};

fn instead(line: &str, other: &str) -> String {
    let whole = request("");
    assert!(whole.contains(line));
    whole.replace(line, other)
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

/// A service whose states panic when they are dropped.
struct Fragile;

struct Glass;

impl Drop for Glass {
    fn drop(&mut self) {
        panic!("as told");
    }
}

impl Handler for Fragile {
    type State = Glass;

    fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<Glass>, Reject> {
        let accept = Accept::new(Glass);
        Ok(match request.path() {
            "/inject" => accept.header("X", "a\r\nSet-Cookie: b"),
            _ => accept,
        })
    }

    fn on_message(&self, conn: &mut Conn<'_, Glass>, message: Message<'_>) {
        conn.send(message);
    }
}

#[test]
fn a_state_that_panics_when_dropped_costs_its_connection() {
    let engine = serve_with(config(), Fragile);
    let mut bystander = Client::connect(engine.local_addr().unwrap());
    drop(Client::connect(engine.local_addr().unwrap()));
    throng_tests::engine::until("one is gone", || engine.connections() == 1);
    let mut refused = Client::silent(engine.local_addr().unwrap());
    refused.write(instead("/path", "/inject").as_bytes());
    let head = refused.read_head();
    assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
    assert_eq!(bystander.ask("hello"), "hello", "the shard lives");
}

#[test]
fn what_is_sent_at_the_opening_arrives_first() {
    let served = serve(config());
    let mut client = Client::silent(served.address());
    client.upgrade(&instead("/path", "/greeted"));
    client.text("hello");
    assert_eq!(client.hear(), Heard::Text("welcome".into()));
    assert_eq!(client.hear(), Heard::Text("hello".into()));
}

/// Explains at length why it refuses everybody.
struct Verbose;

const EXPLANATION: usize = 32 << 20;

impl Handler for Verbose {
    type State = ();

    fn on_upgrade(&self, _: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
        Err(Reject::new(403).text("no".repeat(EXPLANATION / 2)))
    }

    fn on_message(&self, _: &mut Conn<'_, ()>, _: Message<'_>) {}
}

/// Slow is not stuck: a long explanation is given to the end.
#[test]
fn a_refusal_may_be_taken_in_slowly() {
    const STEPS: usize = 32;
    let engine = serve_with(config(), Verbose);
    let mut client = Client::silent_small(engine.local_addr().unwrap());
    client.write(request("").as_bytes());
    let mut bytes = Vec::new();
    for step in 1..=STEPS {
        // Three seconds in all: longer than somebody who takes nothing is waited for.
        std::thread::sleep(Duration::from_millis(100));
        while bytes.len() < EXPLANATION / STEPS * step {
            client.read_some(&mut bytes, 64 * 1024);
        }
    }
    client.finish();
    bytes.extend(client.read_to_end());
    assert!(bytes.len() > EXPLANATION && bytes.ends_with(b"nono"));
}

/// But it is not given to the end where that would hold up a drain.
#[test]
fn a_refusal_taken_in_slowly_is_cut_by_a_drain() {
    let engine = serve_with(config(), Verbose);
    let mut client = Client::silent_small(engine.local_addr().unwrap());
    client.write(request("").as_bytes());
    client.until_readable();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        while matches!(client.try_read_some(&mut bytes, 16 * 1024), Ok(1..)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        bytes.len()
    });
    engine.drain(Duration::from_millis(100));
    let taken = reader.join().unwrap();
    assert!(taken < EXPLANATION, "{taken} bytes: it was waited for");
}
