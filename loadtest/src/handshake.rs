//! The opening handshake, client side (RFC 6455 §4.1).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// The longest answer to an upgrade request.
pub(crate) const MAX_RESPONSE: usize = 16 * 1024;

/// Header fields of an answer, at most.
const MAX_HEADERS: usize = 64;

/// What every key is followed by before hashing (RFC 6455 §1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What the server is asked with `key`, sixteen random bytes.
pub(crate) fn request(host: &str, path: &str, key: [u8; 16]) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\n\r\n",
        STANDARD.encode(key)
    )
    .into_bytes()
}

/// Reads the answer at the start of `bytes`: its length once the server has agreed, `None`
/// while it is incomplete.
///
/// # Errors
/// What is wrong with the answer, for people to read.
pub(crate) fn accepted(bytes: &[u8], key: [u8; 16]) -> Result<Option<usize>, String> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_RESPONSE => return Ok(None),
        Ok(httparse::Status::Partial) => {
            return Err(format!("an answer longer than {MAX_RESPONSE} bytes"));
        }
        Err(error) => return Err(format!("the answer is no HTTP: {error}")),
    };
    if response.code != Some(101) {
        let code = response.code.unwrap_or_default();
        return Err(format!(
            "answered {code} {}",
            response.reason.unwrap_or_default()
        ));
    }
    let values = |name: &'static str| {
        response
            .headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .filter_map(|header| std::str::from_utf8(header.value).ok())
            .map(str::trim)
    };
    let names = |name, token: &str| {
        values(name).any(|value| {
            value
                .split(',')
                .any(|one| one.trim().eq_ignore_ascii_case(token))
        })
    };
    if !names("upgrade", "websocket") {
        return Err("the answer has no `Upgrade: websocket`".into());
    }
    if !names("connection", "upgrade") {
        return Err("the answer has no `Connection: Upgrade`".into());
    }
    let expected = accept(key);
    match values("sec-websocket-accept").next() {
        Some(value) if value == expected => {}
        other => {
            let got = other.unwrap_or("none");
            return Err(format!(
                "Sec-WebSocket-Accept: expected {expected}, got {got}"
            ));
        }
    }
    if values("sec-websocket-extensions").next().is_some() {
        return Err("the server chose an extension that was not offered".into());
    }
    Ok(Some(length))
}

fn accept(key: [u8; 16]) -> String {
    let mut hash = Sha1::new();
    hash.update(STANDARD.encode(key));
    hash.update(GUID);
    STANDARD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sample nonce of RFC 6455 §1.3.
    const KEY: [u8; 16] = *b"the sample nonce";

    const GOOD: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\
        Connection: keep-alive, upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    #[test]
    fn asks_as_the_rfc_does() {
        let text = String::from_utf8(request("h:1", "/p?q", KEY)).unwrap();
        assert!(text.starts_with("GET /p?q HTTP/1.1\r\nHost: h:1\r\n"));
        assert!(text.contains("\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"));
        assert!(text.ends_with("\r\n\r\n"));
    }

    #[test]
    fn takes_the_answer_of_the_rfc_and_no_byte_more() {
        let bytes = format!("{GOOD}frame");
        assert_eq!(accepted(bytes.as_bytes(), KEY), Ok(Some(GOOD.len())));
        for cut in [0, 9, GOOD.len() - 1] {
            assert_eq!(accepted(&GOOD.as_bytes()[..cut], KEY), Ok(None));
        }
    }

    #[test]
    fn says_what_is_wrong_with_an_answer() {
        let refusal =
            |from: &str, to: &str| accepted(GOOD.replace(from, to).as_bytes(), KEY).unwrap_err();
        assert!(refusal("101 Switching Protocols", "404 Not Found").contains("404 Not Found"));
        assert!(refusal("Upgrade: WebSocket", "Upgrade: h2c").contains("Upgrade: websocket"));
        assert!(refusal("keep-alive, upgrade", "close").contains("Connection"));
        assert!(refusal("s3pP", "s3pQ").contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert!(refusal("Sec-WebSocket-Accept", "X").contains("got none"));
        let extended = "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
        assert!(refusal("\r\n\r\n", extended).contains("extension"));
        assert!(
            accepted(b"ICY 200 OK\r\n\r\n", KEY)
                .unwrap_err()
                .contains("no HTTP")
        );
        assert!(accepted(&[b'x'; 3], KEY).is_err());
        let endless = format!("HTTP/1.1 101 S\r\nX: {}", "y".repeat(MAX_RESPONSE));
        assert!(
            accepted(endless.as_bytes(), KEY)
                .unwrap_err()
                .contains("longer")
        );
    }
}
