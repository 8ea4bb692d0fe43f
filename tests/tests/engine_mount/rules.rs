//! The rules of the opening handshake, which are those of the engine's own port.

use std::convert::Infallible;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use throng::protocol::frame::OpCode;
use throng::{Compression, Origins};
use throng_tests::engine::{Client, Heard, answer, config, frame, request, serve};
use tokio::net::TcpListener;

use super::mounted;
use super::servers::{runtime, serve_all};

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn instead(line: &str, other: &str) -> String {
    let whole = request("");
    assert!(whole.contains(line), "{line} is in the request");
    whole.replace(line, other)
}

#[expect(clippy::too_many_lines, reason = "a table")]
#[test]
fn requests_are_answered_as_on_the_engines_own_port() {
    let settings = || {
        config()
            .subprotocols(["v2", "v1"])
            .origins(Origins::list(["https://example.com"]))
    };
    let (own, served) = (serve(settings()), mounted(settings()));
    let server = serve_all(served.engine.handle());
    let table: [(&str, String, u16); 24] = [
        ("sound", request(""), 101),
        (
            "an allowed origin",
            request("Origin: https://example.com\r\n"),
            101,
        ),
        (
            "another origin",
            request("Origin: https://example.org\r\n"),
            403,
        ),
        ("no origin at all", request("Origin: null\r\n"), 403),
        (
            "two origins",
            request("Origin: http://a\r\nOrigin: http://b\r\n"),
            400,
        ),
        ("POST", instead("GET", "POST"), 405),
        ("HTTP/1.0", instead("HTTP/1.1", "HTTP/1.0"), 505),
        ("no host", instead("Host: localhost\r\n", ""), 400),
        ("two hosts", request("Host: other\r\n"), 400),
        ("no Upgrade", instead("Upgrade: websocket\r\n", ""), 400),
        (
            "another Upgrade",
            instead("Upgrade: websocket", "Upgrade: h2c"),
            400,
        ),
        ("no Connection", instead("Connection: Upgrade\r\n", ""), 400),
        (
            "no version",
            instead("Sec-WebSocket-Version: 13\r\n", ""),
            426,
        ),
        ("version 8", instead("Version: 13", "Version: 8"), 426),
        (
            "short key",
            instead("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="),
            400,
        ),
        ("no key", instead(KEY, ""), 400),
        ("two keys", request(KEY), 400),
        ("a body", request("Content-Length: 4\r\n") + "body", 400),
        ("chunks", request("Transfer-Encoding: chunked\r\n"), 400),
        (
            "not an extension",
            request("Sec-WebSocket-Extensions: ;;\r\n"),
            400,
        ),
        ("rejected", instead("/path", "/reject"), 418),
        ("rejected badly", instead("/path", "/reject-badly"), 500),
        ("an answer that splits", instead("/path", "/inject"), 500),
        ("a panic", instead("/path", "/panic"), 500),
    ];
    for (what, request, expected) in table {
        if expected != 101 {
            let (status, response) = answer(&own, request.as_bytes());
            assert_eq!(status, expected, "{what}, own port: {response}");
            let (status, mounted) = server.answer(&request);
            assert_eq!(status, expected, "{what}: {mounted}");
            let body = |response: &str| response.split_once("\r\n\r\n").unwrap().1.to_owned();
            assert_eq!(body(&mounted), body(&response), "{what}");
            continue;
        }
        let mut client = Client::silent(server.address);
        client.upgrade(&request);
        assert_eq!(client.ask("hello"), "hello", "{what}");
    }
    let served_by = request("").replace("/path", "/accept");
    let mut client = Client::silent(server.address);
    client.upgrade(&served_by);
    assert!(
        client.response.contains("x-served-by: throng\r\n"),
        "{}",
        client.response
    );
    assert_eq!(client.ask("!user"), "Some(\"ann\") Some(\"phone\")");
}

#[test]
fn heads_that_are_too_large_are_refused() {
    let served = mounted(config());
    let server = serve_all(served.engine.handle());
    // hyper takes no more than 100 lines of itself.
    for long in [
        request(&format!("X: {}\r\n", "y".repeat(17 * 1024))),
        request(&"X: y\r\n".repeat(96)),
    ] {
        let (status, response) = server.answer(&long);
        assert_eq!(status, 431, "{response}");
    }
    assert_eq!(Client::connect(server.address).ask("hello"), "hello");
}

#[test]
fn what_asks_for_no_websocket_is_told_what_is_spoken() {
    let served = mounted(config());
    let server = serve_all(served.engine.handle());
    let (status, response) = server.answer("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(status, 426);
    assert!(response.contains("upgrade: websocket\r\n"), "{response}");
    assert_eq!(served.engine.connections(), 0);
}

#[test]
fn subprotocols_and_compression_are_agreed_on() {
    let settings = config()
        .subprotocols(["v2", "v1"])
        .compression(Compression::default());
    let served = mounted(settings);
    let server = serve_all(served.engine.handle());
    let mut client = Client::silent(server.address);
    client.upgrade(&request("Sec-WebSocket-Protocol: v0, v1, v2\r\n"));
    assert!(
        client.response.contains("sec-websocket-protocol: v2\r\n"),
        "{}",
        client.response
    );
    assert_eq!(client.ask("!subprotocol"), "Some(\"v2\")");
    let text = "the same again and again ".repeat(100);
    let mut client = Client::connect_compressed(server.address, "permessage-deflate");
    client.compressed(&text);
    assert_eq!(client.hear(), Heard::Text(text));
}

#[test]
fn what_is_sent_behind_the_request_is_handled_first() {
    let served = mounted(config());
    let server = serve_all(served.engine.handle());
    for count in [1, 40] {
        let mut client = Client::silent(server.address);
        let mut bytes = request("").into_bytes();
        let texts: Vec<String> = (0..count).map(|number| format!("early {number}")).collect();
        for text in &texts {
            bytes.extend(frame(true, OpCode::Text, text.as_bytes()));
        }
        // The last frame comes in two pieces, one of which hyper has read.
        let (early, late) = bytes.split_at(bytes.len() - 3);
        client.write(early);
        assert!(client.read_head().starts_with("HTTP/1.1 101 "));
        client.write(late);
        for text in texts {
            assert_eq!(client.hear(), Heard::Text(text));
        }
        assert_eq!(client.ask("and then"), "and then");
    }
}

#[test]
fn a_connection_that_cannot_be_upgraded_is_answered_500() {
    let served = mounted(config().max_connections(1));
    let engine = served.engine.handle();
    let runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let engine = engine.clone();
            let service = service_fn(move |mut request: Request<Incoming>| {
                // A layer that has taken it for itself.
                let taken = request.extensions_mut().remove::<OnUpgrade>();
                let response = engine.upgrade(request);
                drop(taken);
                async move { Ok::<_, Infallible>(response) }
            });
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    });
    for _ in 0..3 {
        let mut client = Client::silent(address);
        client.write(request("").as_bytes());
        assert!(client.read_head().starts_with("HTTP/1.1 500 "));
    }
    assert!(served.rest().is_empty(), "the handler was not asked");
    let server = serve_all(served.engine.handle());
    assert_eq!(Client::connect(server.address).ask("hello"), "hello");
}

#[test]
fn outside_a_runtime_the_answer_is_500() {
    let served = mounted(config());
    let engine = served.engine.handle();
    let asked = std::thread::spawn(move || {
        let request = Request::get("http://h/")
            .header("Host", "h")
            .header("Upgrade", "websocket")
            .header("Connection", "Upgrade")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(())
            .unwrap();
        engine.upgrade(request).status()
    });
    assert_eq!(asked.join().unwrap(), StatusCode::INTERNAL_SERVER_ERROR);
}
