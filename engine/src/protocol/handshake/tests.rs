use super::*;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The lines of a sound request; `replace` gives one line (by its name) other text, or none.
fn request_with(replace: &[(&str, &str)]) -> String {
    let lines = [
        ("", "GET /chat?room=7 HTTP/1.1\r\n"),
        ("Host", "Host: example.com\r\n"),
        ("Upgrade", "Upgrade: websocket\r\n"),
        ("Connection", "Connection: keep-alive, Upgrade\r\n"),
        ("Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
        ("Version", "Sec-WebSocket-Version: 13\r\n"),
        ("Origin", "Origin: https://example.com\r\n"),
        ("More", ""),
        ("End", "\r\n"),
    ];
    for (name, _) in replace {
        assert!(lines.iter().any(|(line, _)| line == name), "no line {name}");
    }
    let text = |(name, text)| {
        replace
            .iter()
            .find(|(n, _)| *n == name)
            .map_or(text, |(_, t)| *t)
    };
    lines.into_iter().map(text).collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Incomplete,
    Upgrade,
    Other,
    Refused(u16),
}

fn outcome(bytes: &[u8]) -> Outcome {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    match parse_head(bytes, &mut headers) {
        Ok(Head::Incomplete) => Outcome::Incomplete,
        Ok(Head::Upgrade(request)) => {
            assert_eq!(request.head_len(), bytes.len());
            Outcome::Upgrade
        }
        Ok(Head::Other) => Outcome::Other,
        Err(refusal) => Outcome::Refused(refusal.status),
    }
}

fn check(cases: &[(&str, &str, Outcome)]) {
    for (line, text, expected) in cases {
        assert_eq!(
            &outcome(request_with(&[(line, text)]).as_bytes()),
            expected,
            "{line}: {text:?}"
        );
    }
}

fn with_upgrade<T>(request: &str, see: impl FnOnce(UpgradeRequest<'_, '_>) -> T) -> T {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    match parse_head(request.as_bytes(), &mut headers) {
        Ok(Head::Upgrade(upgrade)) => see(upgrade),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sound_request_is_read() {
    let request = request_with(&[("More", "X-One: a\r\nx-one: b\r\nX-Bytes: \u{20ac}\r\n")]);
    with_upgrade(&request, |upgrade| {
        assert_eq!((upgrade.path(), upgrade.query()), ("/chat", Some("room=7")));
        assert_eq!(
            (upgrade.host(), upgrade.origin()),
            ("example.com", Some("https://example.com"))
        );
        assert_eq!(upgrade.key(), KEY.as_bytes());
        assert_eq!(upgrade.head_len(), request.len());
        assert_eq!(upgrade.header("X-ONE"), Some("a"));
        assert_eq!(upgrade.header("x-bytes"), Some("€"));
        assert_eq!(upgrade.header("X-Two"), None);
        assert_eq!(upgrade.headers().count(), 9);
        assert_eq!(upgrade.headers().nth(7), Some(("x-one", &b"b"[..])));
    });
}

#[test]
fn targets_are_paths_or_http_uris_rfc_6455_4_1() {
    for (target, host, path, query) in [
        ("/", "example.com", "/", None),
        ("/a?", "example.com", "/a", Some("")),
        ("/a?b?c", "example.com", "/a", Some("b?c")),
        (
            "/a?u=http://other/",
            "example.com",
            "/a",
            Some("u=http://other/"),
        ),
        ("http://other:81/a?b", "other:81", "/a", Some("b")),
        ("HTTPS://[::1]?b", "[::1]", "/", Some("b")),
        ("ws://other", "other", "/", None),
    ] {
        let line = format!("GET {target} HTTP/1.1\r\n");
        with_upgrade(&request_with(&[("", &line)]), |upgrade| {
            assert_eq!(
                (upgrade.host(), upgrade.path(), upgrade.query()),
                (host, path, query)
            );
        });
    }
    for target in [
        "*",
        "example.com:80",
        "ftp://other/",
        "http:///a",
        "http://me@other/",
    ] {
        let line = format!("GET {target} HTTP/1.1\r\n");
        check(&[("", &line, Outcome::Refused(400))]);
    }
}

#[test]
fn methods_and_versions_rfc_6455_4_2_1_item_1() {
    check(&[
        ("", "POST / HTTP/1.1\r\n", Outcome::Refused(405)),
        ("", "get / HTTP/1.1\r\n", Outcome::Refused(405)),
        ("", "GET / HTTP/1.0\r\n", Outcome::Refused(505)),
        ("", "GET / HTTP/2.0\r\n", Outcome::Refused(505)),
        ("", "GET / HTTP/x\r\n", Outcome::Refused(400)),
        ("", "GET / FTP/1.1\r\n", Outcome::Refused(400)),
    ]);
}

#[test]
fn hosts_rfc_9112_3_2() {
    check(&[
        ("Host", "", Outcome::Refused(400)),
        ("Host", "Host:\r\n", Outcome::Refused(400)),
        ("Host", "Host: a\r\nHost: a\r\n", Outcome::Refused(400)),
        ("Host", "Host: a/b\r\n", Outcome::Refused(400)),
        ("Host", "Host: a b\r\n", Outcome::Refused(400)),
        ("Host", "hOST:  [::1]:8080 \r\n", Outcome::Upgrade),
    ]);
}

#[test]
fn upgrade_and_connection_rfc_6455_4_2_1_items_3_and_4() {
    check(&[
        ("Connection", "", Outcome::Refused(400)),
        (
            "Connection",
            "Connection: keep-alive\r\n",
            Outcome::Refused(400),
        ),
        (
            "Connection",
            "Connection: upgraded\r\n",
            Outcome::Refused(400),
        ),
        (
            "Connection",
            "Connection: close\r\nConnection: a,, UPGRADE ,b\r\n",
            Outcome::Upgrade,
        ),
        ("Upgrade", "", Outcome::Refused(400)),
        ("Upgrade", "Upgrade: h2c\r\n", Outcome::Refused(400)),
        ("Upgrade", "Upgrade: h2c, WebSocket\r\n", Outcome::Upgrade),
    ]);
}

#[test]
fn keys_rfc_6455_4_2_1_item_5() {
    let key = |key: &str| format!("Sec-WebSocket-Key: {key}\r\n");
    let short = key("dGhlIHNhbXBsZSBub25j");
    let long = key("dGhlIHNhbXBsZSBub25jZQAA");
    let seventeen = key("dGhlIHNhbXBsZSBub25jZQA=");
    let url_safe = key("-_hlIHNhbXBsZSBub25jZQ==");
    check(&[
        ("Key", "", Outcome::Refused(400)),
        ("Key", &key(""), Outcome::Refused(400)),
        ("Key", &short, Outcome::Refused(400)),
        ("Key", &long, Outcome::Refused(400)),
        ("Key", &seventeen, Outcome::Refused(400)),
        ("Key", &url_safe, Outcome::Refused(400)),
        ("Key", &key(KEY).repeat(2), Outcome::Refused(400)),
        ("Key", &key("+/hlIHNhbXBsZSBub25jZQ=="), Outcome::Upgrade),
    ]);
}

#[test]
fn versions_rfc_6455_4_2_1_item_6_and_4_4() {
    check(&[
        ("Version", "", Outcome::Refused(426)),
        (
            "Version",
            "Sec-WebSocket-Version: 8\r\n",
            Outcome::Refused(426),
        ),
        (
            "Version",
            "Sec-WebSocket-Version: 13, 8\r\n",
            Outcome::Refused(426),
        ),
        (
            "Version",
            &"Sec-WebSocket-Version: 13\r\n".repeat(2),
            Outcome::Refused(426),
        ),
    ]);
}

#[test]
fn a_request_for_a_websocket_has_no_body_and_nothing_behind_it() {
    check(&[
        ("More", "Content-Length: 1\r\n", Outcome::Refused(400)),
        (
            "More",
            "Content-Length: 0\r\nContent-Length: 5\r\n",
            Outcome::Refused(400),
        ),
        ("More", "Content-Length: 0\r\n", Outcome::Upgrade),
        (
            "More",
            "Transfer-Encoding: chunked\r\n",
            Outcome::Refused(400),
        ),
        ("End", "\r\n\u{1}", Outcome::Refused(400)),
    ]);
}

#[test]
fn an_origin_that_cannot_be_told_is_refused() {
    check(&[
        ("Origin", "", Outcome::Upgrade),
        ("Origin", "Origin: null\r\n", Outcome::Upgrade),
        (
            "Origin",
            "Origin: https://a\r\nOrigin: https://b\r\n",
            Outcome::Refused(400),
        ),
    ]);
    let mut request = request_with(&[]).into_bytes();
    let origin = request
        .windows(7)
        .position(|bytes| bytes == b"Origin:")
        .unwrap();
    request[origin + 9] = 0xff;
    assert_eq!(outcome(&request), Outcome::Refused(400));
}

#[test]
fn requests_for_something_else_are_for_the_side_door() {
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /healthz HTTP/1.0\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "GET / HTTP/1.1\n\n",
    ] {
        assert_eq!(outcome(request.as_bytes()), Outcome::Other, "{request:?}");
    }
}

#[test]
fn what_is_no_http_is_refused_rfc_9112() {
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"\x00",
        b"hello\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n",
    ] {
        assert_eq!(outcome(bytes), Outcome::Refused(400), "{bytes:?}");
    }
}

#[test]
fn heads_are_bounded_in_bytes_and_lines() {
    let padded = |len: usize| {
        let line = |padding: usize| format!("X-Padding: {}\r\n", "x".repeat(padding));
        let fixed = request_with(&[("More", &line(0))]).len();
        request_with(&[("More", &line(len - fixed))])
    };
    assert_eq!(outcome(padded(MAX_HEAD).as_bytes()), Outcome::Upgrade);
    assert_eq!(
        outcome(padded(MAX_HEAD + 1).as_bytes()),
        Outcome::Refused(431)
    );
    let endless = padded(MAX_HEAD + 100).into_bytes();
    assert_eq!(outcome(&endless[..MAX_HEAD - 1]), Outcome::Incomplete);
    assert_eq!(outcome(&endless[..MAX_HEAD]), Outcome::Refused(431));
    let lines = |count: usize| request_with(&[("More", &"A: b\r\n".repeat(count - 6))]);
    assert_eq!(outcome(lines(MAX_HEADERS).as_bytes()), Outcome::Upgrade);
    assert_eq!(
        outcome(lines(MAX_HEADERS + 1).as_bytes()),
        Outcome::Refused(431)
    );
}

#[test]
fn every_prefix_is_incomplete_and_has_no_end() {
    for request in [request_with(&[]), request_with(&[]).replace("\r\n", "\n")] {
        let bytes = [b"\r\n\n", request.as_bytes()].concat();
        for cut in 0..bytes.len() {
            assert_eq!(outcome(&bytes[..cut]), Outcome::Incomplete);
            assert_eq!(head_end(&bytes[..cut], 0), None);
            assert_eq!(head_end(&bytes, cut), Some(bytes.len()), "searched {cut}");
        }
        assert_eq!(outcome(&bytes), Outcome::Upgrade);
        assert_eq!(
            head_end(&[&bytes[..], b"\r\n\r\n"].concat(), 0),
            Some(bytes.len())
        );
    }
}

#[test]
fn the_servers_first_protocol_that_was_offered_is_chosen_rfc_6455_4_2_2() {
    let offered = "Sec-WebSocket-Protocol: chat, v2.chat,,not a token\r\n\
                   sec-websocket-protocol: mqtt\r\n";
    with_upgrade(&request_with(&[("More", offered)]), |upgrade| {
        assert_eq!(
            upgrade.protocols().collect::<Vec<_>>(),
            ["chat", "v2.chat", "mqtt"]
        );
        for (server, chosen) in [
            (&["mqtt", "chat"][..], Some(0)),
            (&["wamp", "v2.chat", "chat"], Some(1)),
            (&["CHAT", "v1.chat"], None),
            (&[], None),
        ] {
            assert_eq!(choose_protocol(server, &upgrade), chosen, "{server:?}");
        }
    });
    with_upgrade(&request_with(&[]), |upgrade| {
        assert_eq!(choose_protocol(&["chat"], &upgrade), None);
    });
}

#[test]
fn the_example_of_rfc_6455_1_3() {
    assert_eq!(&accept_key(KEY.as_bytes()), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn the_accepting_response_rfc_6455_4_2_2() {
    let mut out = Vec::new();
    let extra = [("X-Node".to_owned(), "7".to_owned())];
    write_accept(
        &mut out,
        &accept_key(KEY.as_bytes()),
        Some("chat"),
        None,
        &extra,
    );
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         Sec-WebSocket-Protocol: chat\r\nX-Node: 7\r\n\r\n"
    );
}

fn response(status: u16, headers: &[(&str, &str)], kind: Option<&str>, body: &[u8]) -> String {
    let mut out = Vec::new();
    write_response(&mut out, status, headers, kind, body);
    String::from_utf8(out).unwrap()
}

#[test]
fn responses_are_whole_and_close() {
    assert_eq!(
        response(503, &[("Retry-After", "5")], Some("text/plain"), b"full"),
        "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\n\
         Content-Type: text/plain\r\nContent-Length: 4\r\n\r\nfull"
    );
    assert_eq!(
        response(599, &[], None, b""),
        "HTTP/1.1 599 \r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn where_no_content_is_allowed_there_is_none_rfc_9110_6_4_1() {
    assert_eq!(
        response(304, &[("ETag", "\"a\"")], Some("text/plain"), b"same"),
        "HTTP/1.1 304 Not Modified\r\nConnection: close\r\nETag: \"a\"\r\n\r\n"
    );
    assert_eq!(
        response(204, &[], None, b""),
        "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn refusals_carry_the_headers_of_their_status_rfc_9110_15_5() {
    let refused = |status| {
        let refusal = Refusal {
            status,
            reason: "no",
        };
        response(status, refusal.headers(), None, b"")
    };
    assert!(refused(405).contains("\r\nAllow: GET\r\n"));
    assert_eq!(
        refused(426),
        "HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n\
         Connection: Upgrade, close\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(
        refused(400),
        "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn headers_of_the_service_cannot_break_the_response() {
    assert!(check_header("Set-Cookie", "a=b; Path=/"));
    assert!(check_header("X-Empty", ""));
    assert!(check_header("X-Text", "tab\tand Größe"));
    for (name, value) in [
        ("", "a"),
        ("a b", "c"),
        ("a:", "b"),
        ("a\r\nb", "c"),
        ("ä", "b"),
        ("a", "b\r\nc: d"),
        ("a", "b\nc"),
        ("a", "b\rc"),
        ("a", "b\0"),
        ("a", "\u{7f}"),
        ("Content-length", "4"),
        ("connection", "keep-alive"),
        ("Sec-WebSocket-Accept", "x"),
    ] {
        assert!(!check_header(name, value), "{name:?}: {value:?}");
    }
    assert!(is_token("v2.chat") && !is_token("") && !is_token("a,b"));
}
