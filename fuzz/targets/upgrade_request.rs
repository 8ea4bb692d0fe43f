//! What a server is asked before the first frame, and what it answers.
//!
//! Input: a line that tells how the rest is cut (see `Pieces`), then the request.
//!
//! A request is never taken for another before its head is complete, and a fault of its beginning
//! stays one. The answer to an upgrade satisfies a client that asked for the same, and any other
//! answer is one HTTP response and no more, whatever headers a service adds.

#![no_main]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use throng::protocol::deflate::{DEFLATE_WINDOW_BITS, Params, negotiate};
use throng::protocol::handshake::{
    ClientRequest, Head, MAX_HEAD, MAX_HEADERS, Refusal, UpgradeRequest, accept_key, check_header,
    choose_protocol, head_end, parse_head, write_accept, write_response,
};
use throng_fuzz::split_line;

const SUBPROTOCOLS: [&str; 3] = ["chat.v2", "chat", "superchat"];

fuzz_target!(|input: &[u8]| {
    let (pieces, bytes) = split_line(input);
    let (mut searched, mut has_end) = (0, false);
    let mut is_refused = false;
    for end in pieces.ends(bytes.len()) {
        let received = &bytes[..end];
        let found = head_end(received, 0);
        if !has_end {
            assert_eq!(found, head_end(received, searched), "up to {searched}");
        }
        (searched, has_end) = (end, found.is_some());
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let head = parse_head(received, &mut headers);
        assert!(!is_refused || head.is_err(), "refused before");
        match head {
            Ok(Head::Incomplete) => assert!(received.len() < MAX_HEAD),
            Ok(Head::Other) => return assert!(found.is_some()),
            Ok(Head::Upgrade(request)) => {
                assert_eq!((found, request.head_len()), (Some(end), end));
                return answer(&request);
            }
            Err(refusal) => {
                is_refused = true;
                refuse(refusal);
            }
        }
        if end > MAX_HEAD {
            return;
        }
    }
});

fn refuse(refusal: Refusal) {
    let mut out = Vec::new();
    let (status, text) = (refusal.status, refusal.reason);
    write_response(
        &mut out,
        status,
        refusal.headers(),
        Some("text/plain"),
        text.as_bytes(),
    );
    reads_as_response(&out, status, text.as_bytes());
}

fn reads_as_response(out: &[u8], status: u16, body: &[u8]) {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS + 8];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head_len)) = response.parse(out) else {
        panic!("no response: {}", out.escape_ascii());
    };
    assert_eq!(response.code, Some(status));
    assert_eq!(head_end(out, 0), Some(head_len));
    assert_eq!(&out[head_len..], body);
}

fn answer(request: &UpgradeRequest<'_, '_>) {
    assert!(request.path().starts_with('/') && !request.host().is_empty());
    let chosen = choose_protocol(&SUBPROTOCOLS, request).map(|index| SUBPROTOCOLS[index]);
    assert!(chosen.is_none_or(|chosen| request.protocols().any(|offered| offered == chosen)));
    let offers: Vec<&[u8]> = values(request, "Sec-WebSocket-Extensions").collect();
    let wishes = Params {
        server_no_context_takeover: true,
        server_max_window_bits: 12,
        ..Params::default()
    };
    let agreed = match negotiate(offers.iter().copied(), &wishes) {
        Ok(agreed) => agreed,
        Err(refusal) => return refuse(refusal),
    };
    if let Some(agreed) = &agreed {
        assert!(agreed.params.server_no_context_takeover);
        assert!(DEFLATE_WINDOW_BITS.contains(&agreed.params.server_max_window_bits));
        assert!(agreed.params.server_max_window_bits <= wishes.server_max_window_bits);
    }
    // A service adds what the client said; only what passes the check is written.
    let own = |(name, value): (&str, &[u8])| {
        let value = std::str::from_utf8(value).ok()?;
        check_header(name, value).then(|| (name.to_owned(), value.to_owned()))
    };
    let extra: Vec<(String, String)> = request.headers().filter_map(own).collect();
    let mut out = Vec::new();
    let accept = accept_key(request.key());
    let extensions = agreed.as_ref().map(|agreed| &*agreed.response);
    write_accept(&mut out, &accept, chosen, extensions, &extra);
    reads_as_response(&out, 101, b"");
    let borrowed: Vec<_> = extra
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    // Names of statuses, and those that allow no content.
    let any = 300 + u16::try_from(request.path().len() % 300).unwrap_or_default();
    for status in [200, 204, 304, any] {
        let body: &[u8] = if matches!(status, 204 | 304) {
            b""
        } else {
            request.path().as_bytes()
        };
        let mut out = Vec::new();
        write_response(&mut out, status, &borrowed, None, body);
        reads_as_response(&out, status, body);
    }
    satisfies_client(request, &out, chosen, extensions);
}

/// Asks for the same as a client of ours would, and has it check the answer.
fn satisfies_client(
    request: &UpgradeRequest<'_, '_>,
    answer: &[u8],
    chosen: Option<&str>,
    agreed: Option<&str>,
) {
    let Some(key) = drawn_key(request) else {
        return;
    };
    let offers = values(request, "Sec-WebSocket-Extensions");
    let offers: Vec<&str> = offers
        .filter_map(|value| str::from_utf8(value).ok())
        .collect();
    let extensions = offers.join(", ");
    let protocols: Vec<&str> = request.protocols().collect();
    let target = match request.query() {
        Some(query) => format!("{}?{query}", request.path()),
        None => request.path().to_owned(),
    };
    let headers: Vec<(&str, &str)> = request
        .headers()
        .filter_map(|(name, value)| Some((name, str::from_utf8(value).ok()?)))
        .filter(|(name, value)| check_header(name, value))
        .filter(|(name, _)| !is_of_handshake(name))
        .collect();
    let client = ClientRequest {
        host: request.host(),
        target: &target,
        origin: request.origin(),
        protocols: &protocols,
        extensions: (!extensions.is_empty()).then_some(&*extensions),
        headers: &headers,
    };
    let mut written = Vec::new();
    if client.write(key, &mut written).is_ok() {
        asks_for_the_same(&written, request, &client);
    }
    match client.check(key, answer) {
        Ok(Some(acceptance)) => {
            assert_eq!(acceptance.head_len(), answer.len());
            assert_eq!(acceptance.protocol(), chosen);
            assert!(acceptance.extensions().eq(agreed.map(str::as_bytes)));
        }
        // What the service added may be too much for a client.
        other => {
            let lines = answer.iter().filter(|byte| **byte == b'\n').count();
            assert!(answer.len() > MAX_HEAD || lines > MAX_HEADERS, "{other:?}");
        }
    }
}

fn asks_for_the_same(written: &[u8], request: &UpgradeRequest<'_, '_>, client: &ClientRequest<'_>) {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let again = match parse_head(written, &mut headers) {
        Ok(Head::Upgrade(again)) => again,
        // A space behind each comma may make it longer than it was.
        other => return assert!(written.len() > MAX_HEAD, "{other:?}"),
    };
    assert_eq!(again.key(), request.key());
    assert_eq!(
        (again.path(), again.query()),
        (request.path(), request.query())
    );
    assert_eq!(
        (again.host(), again.origin()),
        (request.host(), request.origin())
    );
    assert!(again.protocols().eq(client.protocols.iter().copied()));
    for (name, _) in client.headers {
        assert_eq!(again.header(name), request.header(name));
    }
}

fn values<'b>(request: &UpgradeRequest<'b, '_>, name: &str) -> impl Iterator<Item = &'b [u8]> {
    let is_it = move |(own, _): &(&str, &[u8])| own.eq_ignore_ascii_case(name);
    request
        .headers()
        .filter(is_it)
        .map(|(_, value)| value.trim_ascii())
}

/// The bytes behind the key, where it is what base64 makes of them.
fn drawn_key(request: &UpgradeRequest<'_, '_>) -> Option<[u8; 16]> {
    let key = STANDARD.decode(request.key()).ok()?;
    key.try_into().ok()
}

/// Headers that a client's handshake writes itself.
fn is_of_handshake(name: &str) -> bool {
    [
        "Host",
        "Origin",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
    ]
    .iter()
    .any(|own| own.eq_ignore_ascii_case(name))
}
