//! What the server answers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const ACCEPT_LEN: usize = 28;

/// Headers that frame a response or complete the handshake: written here, by nobody else.
const RESERVED: [&str; 7] = [
    "Connection",
    "Content-Length",
    "Sec-WebSocket-Accept",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Protocol",
    "Transfer-Encoding",
    "Upgrade",
];

/// `Sec-WebSocket-Accept` for a client's key (RFC 6455 §4.2.2, item 5.4).
pub fn accept_key(key: &[u8]) -> [u8; ACCEPT_LEN] {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut accept = [0; ACCEPT_LEN];
    let written = STANDARD.encode_slice(digest, &mut accept);
    debug_assert_eq!(written, Ok(ACCEPT_LEN));
    accept
}

/// Whether a service may add this header to a response: the name is a token and none that the
/// handshake or the response's framing writes, and the value could not end its line
/// (RFC 9110 §5.1, §5.5).
pub fn check_header(name: &str, value: &str) -> bool {
    is_token(name)
        && !RESERVED
            .iter()
            .any(|reserved| reserved.eq_ignore_ascii_case(name))
        && value
            .bytes()
            .all(|byte| byte == b'\t' || !byte.is_ascii_control())
}

/// Whether this is a token (RFC 9110 §5.6.2), as names of headers and of subprotocols are.
pub fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Appends the response that opens the WebSocket (RFC 6455 §4.2.2, item 5).
///
/// `protocol` is one that the client offered, `extensions` the answer to those that it offered;
/// each of `extra` has passed [`check_header`].
pub fn write_accept(
    out: &mut Vec<u8>,
    accept: &[u8; ACCEPT_LEN],
    protocol: Option<&str>,
    extensions: Option<&str>,
    extra: &[(String, String)],
) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Accept: ",
    );
    out.extend_from_slice(accept);
    out.extend_from_slice(b"\r\n");
    if let Some(protocol) = protocol {
        write_header(out, "Sec-WebSocket-Protocol", protocol);
    }
    if let Some(extensions) = extensions {
        write_header(out, "Sec-WebSocket-Extensions", extensions);
    }
    for (name, value) in extra {
        write_header(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a whole response after which the connection is closed. Where the status allows no
/// content, `body` and what would describe it are left out (RFC 9110 §6.4.1, §8.6, §15.4.5).
///
/// `headers` are [`Refusal::headers`](super::Refusal::headers) or have passed [`check_header`];
/// `Connection: close` is written unless they hold a `Connection` of their own.
pub fn write_response(
    out: &mut Vec<u8>,
    status: u16,
    headers: &[(&str, &str)],
    content_type: Option<&str>,
    body: &[u8],
) {
    out.extend_from_slice(format!("HTTP/1.1 {status} {}\r\n", phrase(status)).as_bytes());
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("Connection"))
    {
        write_header(out, "Connection", "close");
    }
    for (name, value) in headers {
        write_header(out, name, value);
    }
    if !has_content(status) {
        out.extend_from_slice(b"\r\n");
        return;
    }
    if let Some(content_type) = content_type {
        write_header(out, "Content-Type", content_type);
    }
    write_header(out, "Content-Length", &body.len().to_string());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

/// RFC 9110 §6.4.1.
fn has_content(status: u16) -> bool {
    !matches!(status, 100..=199 | 204 | 304)
}

fn write_header(out: &mut Vec<u8>, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// The status's name; empty where it has none here, which HTTP allows (RFC 9112 §4).
fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
