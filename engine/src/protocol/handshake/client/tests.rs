use proptest::prelude::*;

use super::*;
use crate::protocol::handshake::{
    Head, MAX_HEAD, MAX_HEADERS, choose_protocol, parse_head, write_accept,
};

/// The nonce of RFC 6455 §1.3 and what answers it.
const KEY: [u8; 16] = *b"the sample nonce";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const PLAIN: ClientRequest<'static> = ClientRequest {
    host: "example.com:8080",
    target: "/chat?room=7",
    origin: None,
    protocols: &[],
    extensions: None,
    headers: &[],
};

const RICH: ClientRequest<'static> = ClientRequest {
    origin: Some("https://example.com"),
    protocols: &["chat.v2", "chat"],
    extensions: Some("permessage-deflate; client_max_window_bits, x-own"),
    headers: &[("Authorization", "Bearer abc"), ("Cookie", "a=b; c=d")],
    ..PLAIN
};

fn written(request: &ClientRequest<'_>) -> Result<String, RequestError> {
    let mut out = Vec::new();
    let result = request.write(KEY, &mut out);
    assert_eq!(result.is_err(), out.is_empty());
    result.map(|()| String::from_utf8(out).unwrap())
}

/// The lines of a sound response; `replace` gives one line (by its name) other text, or none.
fn response_with(line: &str, text: &str) -> String {
    let accept = format!("Sec-WebSocket-Accept: {ACCEPT}\r\n");
    let lines = [
        ("Interim", ""),
        ("", "HTTP/1.1 101 Switching Protocols\r\n"),
        ("Upgrade", "Upgrade: websocket\r\n"),
        ("Connection", "Connection: Upgrade\r\n"),
        ("Accept", &accept),
        ("More", ""),
        ("End", "\r\n"),
    ];
    assert!(
        lines.iter().any(|(name, _)| *name == line),
        "no line {line}"
    );
    let text_of = |(name, own)| if name == line { text } else { own };
    lines.into_iter().map(text_of).collect()
}

/// The subprotocol of a response that is accepted.
type Outcome = Result<Option<&'static str>, ResponseError>;

/// Checks each response, with frames behind it, against a request for everything.
fn check(cases: &[(&str, &str, Outcome)]) {
    for (line, text, expected) in cases {
        let head = response_with(line, text);
        let bytes = [head.as_bytes(), b"\x81\x01a"].concat();
        let outcome = RICH.check(KEY, &bytes).map(|accepted| {
            let accepted = accepted.expect("it is whole");
            assert_eq!(accepted.head_len(), head.len(), "{text:?}");
            accepted.protocol()
        });
        assert_eq!(&outcome, expected, "{line}: {text:?}");
    }
}

#[test]
fn a_request_is_written_as_rfc_6455_4_1_asks() {
    assert_eq!(
        written(&PLAIN).unwrap(),
        "GET /chat?room=7 HTTP/1.1\r\nHost: example.com:8080\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\n\r\n"
    );
    assert_eq!(
        written(&RICH).unwrap(),
        "GET /chat?room=7 HTTP/1.1\r\nHost: example.com:8080\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\nOrigin: https://example.com\r\n\
         Sec-WebSocket-Protocol: chat.v2, chat\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-own\r\n\
         Authorization: Bearer abc\r\nCookie: a=b; c=d\r\n\r\n"
    );
}

#[test]
fn what_cannot_be_sent_is_named_and_nothing_is_written() {
    type Change = fn(&mut ClientRequest<'static>);
    let cases: [(Change, RequestError); 17] = [
        (|r| r.host = "", RequestError::Host("".into())),
        (|r| r.host = "a b", RequestError::Host("a b".into())),
        (|r| r.host = "a\r\nb", RequestError::Host("a\r\nb".into())),
        (|r| r.host = "me@a", RequestError::Host("me@a".into())),
        (|r| r.target = "", RequestError::Target("".into())),
        (|r| r.target = "chat", RequestError::Target("chat".into())),
        (|r| r.target = "/a#b", RequestError::Target("/a#b".into())),
        (|r| r.target = "/a b", RequestError::Target("/a b".into())),
        (|r| r.target = "/ä", RequestError::Target("/ä".into())),
        (|r| r.origin = Some(""), RequestError::Origin("".into())),
        (
            |r| r.origin = Some("a\nb"),
            RequestError::Origin("a\nb".into()),
        ),
        (
            |r| r.protocols = &["a", "b,c"],
            RequestError::Protocol("b,c".into()),
        ),
        (
            |r| r.protocols = &["a", "b", "a"],
            RequestError::RepeatedProtocol("a".into()),
        ),
        (
            |r| r.extensions = Some(""),
            RequestError::Extensions("".into()),
        ),
        (
            |r| r.headers = &[("host", "b")],
            RequestError::Header("host".into()),
        ),
        (
            |r| r.headers = &[("Upgrade", "b")],
            RequestError::Header("Upgrade".into()),
        ),
        (
            |r| r.headers = &[("A", "b\r\nC: d")],
            RequestError::Header("A".into()),
        ),
    ];
    for (change, error) in cases {
        let mut request = RICH;
        change(&mut request);
        assert_eq!(written(&request), Err(error));
    }
}

#[test]
fn a_sound_response_is_read() {
    let more = "Sec-WebSocket-Protocol: chat\r\nsec-websocket-extensions: permessage-deflate\r\n\
                Set-Cookie: a=b\r\nSec-WebSocket-Extensions: x-own; a=\"1\"\r\n";
    let head = response_with("More", more);
    let accepted = RICH.check(KEY, head.as_bytes()).unwrap().unwrap();
    assert_eq!(
        (accepted.protocol(), accepted.head_len()),
        (Some("chat"), head.len())
    );
    let extensions: Vec<&[u8]> = accepted.extensions().collect();
    assert_eq!(extensions, [&b"permessage-deflate"[..], b"x-own; a=\"1\""]);
    let cookie = accepted.headers().find(|(name, _)| *name == "Set-Cookie");
    assert_eq!(cookie, Some(("Set-Cookie", &b"a=b"[..])));
}

#[test]
fn status_lines_of_101_rfc_6455_4_2_2_item_5_1() {
    check(&[
        ("", "HTTP/1.1 101 \r\n", Ok(None)),
        ("", "HTTP/1.1 101\r\n", Ok(None)),
        (
            "",
            "HTTP/1.0 101 Switching Protocols\r\n",
            Err(ResponseError::Version),
        ),
        (
            "",
            "HTTP/2 101 Switching Protocols\r\n",
            Err(ResponseError::Malformed),
        ),
        (
            "",
            "HTTP/1.1 1O1 Switching Protocols\r\n",
            Err(ResponseError::Malformed),
        ),
        (
            "",
            "HTTP/1.1 001 Switching Protocols\r\n",
            Err(ResponseError::Malformed),
        ),
        (
            "",
            "ICY 101 Switching Protocols\r\n",
            Err(ResponseError::Malformed),
        ),
        ("", "\u{2}\u{5}Hello\r\n", Err(ResponseError::Malformed)),
    ]);
}

#[test]
fn upgrade_is_websocket_and_nothing_else_rfc_6455_4_1_response_item_2() {
    let upgrade = Err(ResponseError::Upgrade);
    check(&[
        ("Upgrade", "uPGRADE:  WebSocket \r\n", Ok(None)),
        ("Upgrade", "", upgrade.clone()),
        ("Upgrade", "Upgrade:\r\n", upgrade.clone()),
        ("Upgrade", "Upgrade: h2c\r\n", upgrade.clone()),
        ("Upgrade", "Upgrade: websockets\r\n", upgrade.clone()),
        ("Upgrade", "Upgrade: websocket, h2c\r\n", upgrade.clone()),
        ("Upgrade", "Upgrade: websocket\r\nUpgrade: h2c\r\n", upgrade),
    ]);
}

#[test]
fn connection_names_upgrade_rfc_6455_4_1_response_item_3() {
    let connection = Err(ResponseError::Connection);
    check(&[
        (
            "Connection",
            "Connection: keep-alive, UPGRADE\r\n",
            Ok(None),
        ),
        (
            "Connection",
            "Connection: a\r\nconnection: upgrade\r\n",
            Ok(None),
        ),
        ("Connection", "", connection.clone()),
        ("Connection", "Connection: close\r\n", connection.clone()),
        ("Connection", "Connection: upgraded\r\n", connection),
    ]);
}

#[test]
fn accept_answers_the_key_once_rfc_6455_4_1_response_item_4() {
    let line = |value: &str| format!("Sec-WebSocket-Accept: {value}\r\n");
    let padded = line(&format!("\t {ACCEPT} \t"));
    let twice = line(ACCEPT).repeat(2);
    let lower = line(&ACCEPT.to_lowercase());
    let longer = line(&format!("{ACCEPT}="));
    let wrong = Err(ResponseError::Accept);
    check(&[
        ("Accept", &padded, Ok(None)),
        ("Accept", "", wrong.clone()),
        ("Accept", &line(""), wrong.clone()),
        ("Accept", &twice, wrong.clone()),
        ("Accept", &lower, wrong.clone()),
        ("Accept", &longer, wrong.clone()),
        ("Accept", &line("dGhlIHNhbXBsZSBub25jZQ=="), wrong),
    ]);
    let sound = response_with("More", "");
    let other_key = PLAIN.check([1; 16], sound.as_bytes());
    assert_eq!(other_key.unwrap_err(), ResponseError::Accept);
}

#[test]
fn extensions_are_offered_ones_rfc_6455_4_1_response_item_5_and_9_1() {
    let line = |value: &str| format!("Sec-WebSocket-Extensions: {value}\r\n");
    let refused = Err(ResponseError::Extensions);
    check(&[
        ("More", &line("permessage-deflate"), Ok(None)),
        ("More", &line("x-own; a=1, permessage-deflate"), Ok(None)),
        ("More", &line("x-other"), refused.clone()),
        ("More", &line("x-own, x-other"), refused.clone()),
        ("More", &(line("x-own") + &line("x-other")), refused.clone()),
        ("More", &line(""), refused.clone()),
        ("More", &line("X-Own"), refused.clone()),
        ("More", &line("x-own; a b"), refused.clone()),
        ("More", &line("x-own; a=\"b c\""), refused),
    ]);
    let unasked = PLAIN
        .check(KEY, response_with("More", &line("x-own")).as_bytes())
        .unwrap_err();
    assert_eq!(unasked, ResponseError::Extensions);
}

#[test]
fn the_subprotocol_is_one_that_was_offered_rfc_6455_4_1_response_item_6() {
    let line = |value: &str| format!("Sec-WebSocket-Protocol: {value}\r\n");
    let refused = Err(ResponseError::Protocol);
    check(&[
        ("More", "", Ok(None)),
        ("More", &line("chat"), Ok(Some("chat"))),
        ("More", &line(" chat.v2 "), Ok(Some("chat.v2"))),
        ("More", &line("mqtt"), refused.clone()),
        ("More", &line("Chat"), refused.clone()),
        ("More", &line(""), refused.clone()),
        ("More", &line("chat, chat.v2"), refused.clone()),
        ("More", &line("chat").repeat(2), refused),
    ]);
    let unasked = PLAIN
        .check(KEY, response_with("More", &line("chat")).as_bytes())
        .unwrap_err();
    assert_eq!(unasked, ResponseError::Protocol);
}

#[test]
fn a_101_ends_with_its_head_whatever_length_it_names_rfc_9112_6_3() {
    check(&[
        ("More", "Content-Length: 5\r\n", Ok(None)),
        ("More", "Transfer-Encoding: chunked\r\n", Ok(None)),
    ]);
}

#[test]
fn interim_responses_are_skipped_rfc_9110_15_2() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 \r\n\r\n";
    check(&[("Interim", interim, Ok(None))]);
    let bytes = response_with("Interim", interim);
    assert!(PLAIN.check(KEY, &bytes.as_bytes()[..60]).unwrap().is_none());
    let endless = interim.repeat(MAX_HEAD / interim.len() + 1);
    let outcome = PLAIN.check(KEY, endless.as_bytes());
    assert_eq!(outcome.unwrap_err(), ResponseError::TooLong);
}

#[test]
fn another_status_comes_with_headers_and_body() {
    for (line, status) in [
        ("HTTP/1.1 200 OK", 200),
        ("HTTP/1.0 401 Unauthorized", 401),
        ("HTTP/1.1 302", 302),
        ("HTTP/1.1 999 ", 999),
    ] {
        let response = format!("{line}\r\nLocation: /a\r\nX: \u{e9}\r\n\r\nbo");
        let ResponseError::Declined(declined) = PLAIN.check(KEY, response.as_bytes()).unwrap_err()
        else {
            panic!("{line} is another status");
        };
        assert_eq!((declined.status, &declined.body[..]), (status, &b"bo"[..]));
        assert_eq!(declined.header("location"), Some("/a"));
        assert_eq!(declined.headers[1], ("X".to_owned(), "\u{e9}".into()));
    }
}

#[test]
fn what_is_no_http_is_refused_rfc_9112() {
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"hello\r\n\r\n",
        b"HTTP/1.1 101 S\r\nA : b\r\n\r\n",
        b"HTTP/1.1 101 S\r\nA: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 101 S\r\nA: b\0\r\n\r\n",
        b"HTTP/1.1 101 S\r\nA: b\rC: d\r\n\r\n",
    ] {
        let outcome = PLAIN.check(KEY, bytes);
        assert_eq!(outcome.unwrap_err(), ResponseError::Malformed, "{bytes:?}");
    }
}

#[test]
fn heads_are_bounded_in_bytes_and_lines() {
    let padded = |len: usize| {
        let line = |padding: usize| format!("X-Padding: {}\r\n", "x".repeat(padding));
        let fixed = response_with("More", &line(0)).len();
        response_with("More", &line(len - fixed))
    };
    let outcome = |bytes: &str| {
        let outcome = PLAIN.check(KEY, bytes.as_bytes());
        outcome.map(|accepted| accepted.map(|accepted| accepted.head_len()))
    };
    assert_eq!(outcome(&padded(MAX_HEAD)), Ok(Some(MAX_HEAD)));
    assert_eq!(outcome(&padded(MAX_HEAD + 1)), Err(ResponseError::TooLong));
    let endless = padded(MAX_HEAD + 100);
    assert_eq!(outcome(&endless[..MAX_HEAD - 1]), Ok(None));
    assert_eq!(outcome(&endless[..MAX_HEAD]), Err(ResponseError::TooLong));
    let lines = |count: usize| response_with("More", &"A: b\r\n".repeat(count - 3));
    assert!(outcome(&lines(MAX_HEADERS)).is_ok_and(|len| len.is_some()));
    assert_eq!(
        outcome(&lines(MAX_HEADERS + 1)),
        Err(ResponseError::TooManyHeaders)
    );
}

/// What the server side of this engine answers.
fn answer(bytes: &[u8], server: &[&str]) -> Vec<u8> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let Ok(Head::Upgrade(request)) = parse_head(bytes, &mut headers) else {
        panic!("the server takes no {}", String::from_utf8_lossy(bytes));
    };
    let chosen = choose_protocol(server, &request).map(|index| server[index]);
    let mut out = Vec::new();
    write_accept(&mut out, &accept_key(request.key()), chosen, None, &[]);
    out
}

proptest! {
    #[test]
    fn client_and_server_agree_at_any_split(
        key: [u8; 16],
        cut in 0..200_usize,
        behind in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut request = Vec::new();
        RICH.write(key, &mut request).unwrap();
        let head = answer(&request, &["mqtt", "chat"]);
        let stream = [&head[..], &behind].concat();
        let cut = cut.min(head.len());
        let before = RICH.check(key, &stream[..cut]).unwrap();
        prop_assert_eq!(before.is_some(), cut == head.len());
        let accepted = RICH.check(key, &stream).unwrap().unwrap();
        prop_assert_eq!((accepted.protocol(), accepted.head_len()), (Some("chat"), head.len()));
    }

    #[test]
    fn every_prefix_of_a_response_is_incomplete_or_refused_as_the_whole_is(
        line in prop::sample::select(vec!["Interim", "", "Upgrade", "Connection", "Accept", "More"]),
        text in prop_oneof![
            Just(String::new()),
            Just("HTTP/1.1 403 No\r\nA: b\r\n\r\n".to_owned()),
            Just("HTTP/1.1 100 Continue\r\n\r\n".to_owned()),
            Just("Upgrade: h2c\r\n".to_owned()),
            "[ -~]{0,20}\r\n",
        ],
    ) {
        let bytes = response_with(line, &text).into_bytes();
        let first = (0..=bytes.len()).find_map(|cut| match RICH.check(KEY, &bytes[..cut]) {
            Ok(None) => None,
            outcome => Some(outcome.map(|accepted| accepted.map(|accepted| accepted.head_len()))),
        });
        let whole = RICH.check(KEY, &bytes);
        match (first.unwrap_or(Ok(None)), whole) {
            (Ok(first), whole) => {
                let whole = whole.unwrap().map(|accepted| accepted.head_len());
                prop_assert_eq!(first, whole);
            }
            (Err(ResponseError::Declined(first)), Err(ResponseError::Declined(whole))) => {
                prop_assert_eq!(first.status, whole.status);
                prop_assert_eq!(&first.headers, &whole.headers);
                prop_assert!(whole.body.starts_with(&first.body));
            }
            (Err(first), whole) => prop_assert_eq!(Some(first), whole.err()),
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = PLAIN.check(KEY, &bytes);
        let behind = [b"HTTP/1.1 101 S\r\n", &bytes[..]].concat();
        let _ = PLAIN.check(KEY, &behind);
    }
}
