//! What a client asks for.

use super::response::is_token;
use super::{MAX_HEAD, MAX_HEADERS, Refusal};

/// Length of a `Sec-WebSocket-Key`: 16 bytes in base64.
const KEY_LEN: usize = 24;
const KEY_PADDING: &[u8] = b"==";

/// What the bytes received so far are.
#[derive(Debug)]
pub enum Head<'b, 'h> {
    /// The beginning of a request.
    Incomplete,
    /// A request for a WebSocket that obeys RFC 6455 §4.2.1.
    Upgrade(UpgradeRequest<'b, 'h>),
    /// A sound HTTP/1.x request that asks for no WebSocket.
    Other,
}

/// A request for a WebSocket.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeRequest<'b, 'h> {
    path: &'b str,
    query: Option<&'b str>,
    host: &'b str,
    origin: Option<&'b str>,
    key: &'b [u8],
    headers: &'h [httparse::Header<'b>],
    head_len: usize,
}

/// The parts of a request line that matter for an upgrade, besides its target.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'b> {
    /// The method as sent.
    pub method: &'b str,
    /// Whether HTTP/1.1 is spoken.
    pub is_http_1_1: bool,
}

/// A request's target: a path, or a whole `http` URI (RFC 6455 §4.1, RFC 9112 §3.2).
#[derive(Clone, Copy, Debug)]
pub struct Target<'b> {
    /// The host and port of a whole URI.
    pub authority: Option<&'b str>,
    /// The path, which begins with `/`.
    pub path: &'b str,
    /// What follows the first `?`.
    pub query: Option<&'b str>,
}

impl<'b> UpgradeRequest<'b, '_> {
    /// The path, beginning with `/`, not decoded.
    pub fn path(&self) -> &'b str {
        self.path
    }

    /// What follows the target's first `?`, not decoded.
    pub fn query(&self) -> Option<&'b str> {
        self.query
    }

    /// The host and, where given, port that the client meant to reach.
    pub fn host(&self) -> &'b str {
        self.host
    }

    /// The page that opened the connection, as a browser tells it (RFC 6455 §10.2).
    pub fn origin(&self) -> Option<&'b str> {
        self.origin
    }

    /// The first header of that name (in any case) whose value is UTF-8.
    pub fn header(&self, name: &str) -> Option<&'b str> {
        values(self.headers, name).find_map(|value| std::str::from_utf8(value).ok())
    }

    /// All headers in the order received.
    pub fn headers(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> {
        self.headers
            .iter()
            .map(|header| (header.name, header.value))
    }

    /// The subprotocols offered, in the client's order (RFC 6455 §4.1).
    pub fn protocols(&self) -> impl Iterator<Item = &'b str> {
        elements(self.headers, "Sec-WebSocket-Protocol")
            .filter_map(|element| std::str::from_utf8(element).ok())
            .filter(|element| is_token(element))
    }

    /// What [`accept_key`](super::accept_key) is made from.
    pub fn key(&self) -> &'b [u8] {
        self.key
    }

    /// Length of the request's head.
    pub fn head_len(&self) -> usize {
        self.head_len
    }
}

/// The index of `server`'s first subprotocol that the client offered (RFC 6455 §4.2.2).
pub fn choose_protocol(
    server: &[impl AsRef<str>],
    request: &UpgradeRequest<'_, '_>,
) -> Option<usize> {
    server
        .iter()
        .position(|ours| request.protocols().any(|offered| offered == ours.as_ref()))
}

/// Where the head in `bytes` ends, if its end is there; the first `searched` bytes were searched
/// before and are not searched again, but for empty lines at the very start.
pub fn head_end(bytes: &[u8], searched: usize) -> Option<usize> {
    // Empty lines before the request line end nothing (RFC 9112 §2.2).
    let start = bytes
        .iter()
        .position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let ends = |index: usize| {
        bytes[index] == b'\n' && matches!(bytes[..index], [.., b'\n'] | [.., b'\n', b'\r'])
    };
    (start.max(searched)..bytes.len())
        .find(|index| ends(*index))
        .map(|index| index + 1)
}

/// Tells what `bytes`, all that was received so far, are. `headers` is scratch space.
///
/// # Errors
///
/// A [`Refusal`] with 400 for what is no HTTP request or breaks RFC 6455 §4.2.1 or RFC 9112, 405
/// for an upgrade by another method than GET, 426 for another WebSocket version than 13, 431 for
/// a head over [`MAX_HEAD`] or [`MAX_HEADERS`], 505 for an upgrade by another HTTP than 1.1.
pub fn parse_head<'b, 'h>(
    bytes: &'b [u8],
    headers: &'h mut [httparse::Header<'b>; MAX_HEADERS],
) -> Result<Head<'b, 'h>, Refusal> {
    const TOO_LONG: Refusal = refusal(431, "request head is over 16 KiB");
    let mut request = httparse::Request::new(headers);
    let head_len = match request.parse(bytes) {
        Ok(httparse::Status::Complete(head_len)) if head_len <= MAX_HEAD => head_len,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(Head::Incomplete),
        Ok(_) => return Err(TOO_LONG),
        Err(error) => return Err(malformed(error, bytes)),
    };
    let headers: &'h [httparse::Header<'b>] = request.headers;
    let line = RequestLine {
        method: request.method.unwrap_or_default(),
        is_http_1_1: request.version == Some(1),
    };
    let target = || Target::parse(request.path.unwrap_or_default());
    let Some(upgrade) = check_upgrade_request(line, target, headers)? else {
        return Ok(Head::Other);
    };
    if bytes.len() > head_len {
        return Err(bad("bytes after the request, before its answer"));
    }
    Ok(Head::Upgrade(UpgradeRequest {
        head_len,
        ..upgrade
    }))
}

/// Tells what a request is whose head somebody else has parsed: `None` where it asks for no WebSocket.
/// Its lines are given as they were sent, without a limit on their number.
///
/// # Errors
///
/// A [`Refusal`] with 400, 405, 426 or 505, for what [`parse_head`] has them for.
pub fn check_parsed<'b, 'h>(
    line: RequestLine<'b>,
    target: Target<'b>,
    headers: &'h [httparse::Header<'b>],
) -> Result<Option<UpgradeRequest<'b, 'h>>, Refusal> {
    check_upgrade_request(line, || Ok(target), headers)
}

fn check_upgrade_request<'b, 'h>(
    line: RequestLine<'_>,
    target: impl FnOnce() -> Result<Target<'b>, Refusal>,
    headers: &'h [httparse::Header<'b>],
) -> Result<Option<UpgradeRequest<'b, 'h>>, Refusal> {
    let asks_for_upgrade = names_websocket(headers);
    if !asks_for_upgrade && values(headers, "Sec-WebSocket-Key").next().is_none() {
        return Ok(None);
    }
    if line.method != "GET" {
        return Err(refusal(405, "a WebSocket is asked for with GET"));
    }
    if !line.is_http_1_1 {
        return Err(refusal(505, "a WebSocket is asked for with HTTP/1.1"));
    }
    let target = target()?;
    let host = check_host(headers)?;
    check_upgrade(headers, asks_for_upgrade)?;
    let key = check_key(headers)?;
    check_no_body(headers)?;
    Ok(Some(UpgradeRequest {
        path: target.path,
        query: target.query,
        // RFC 9112 §3.2.2: an absolute target overrides the Host header.
        host: target.authority.unwrap_or(host),
        origin: check_origin(headers)?,
        key,
        headers,
        head_len: 0,
    }))
}

const fn refusal(status: u16, reason: &'static str) -> Refusal {
    Refusal { status, reason }
}

const fn bad(reason: &'static str) -> Refusal {
    refusal(400, reason)
}

fn malformed(error: httparse::Error, bytes: &[u8]) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => refusal(431, "over 100 header lines"),
        httparse::Error::Version if names_other_http(bytes) => {
            refusal(505, "HTTP/1.1 is spoken here")
        }
        _ => bad("malformed request"),
    }
}

/// Whether the request line ends as that of an HTTP version, which then is none that is spoken.
fn names_other_http(bytes: &[u8]) -> bool {
    let line = bytes
        .trim_ascii_start()
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let version = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    version
        .strip_prefix(b"HTTP/")
        .is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit))
}

impl<'b> Target<'b> {
    fn parse(target: &'b str) -> Result<Target<'b>, Refusal> {
        const UNSOUND: Refusal = bad("request target is neither a path nor an http URI");
        let (authority, rest) = match target.split_once("://") {
            Some((scheme, rest)) if is_http(scheme) => {
                let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
                if !is_authority(authority) {
                    return Err(UNSOUND);
                }
                (Some(authority), rest)
            }
            _ if target.starts_with('/') => (None, target),
            _ => return Err(UNSOUND),
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        Ok(Target {
            authority,
            path: if path.is_empty() { "/" } else { path },
            query,
        })
    }
}

fn is_http(scheme: &str) -> bool {
    ["http", "https", "ws", "wss"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
}

/// Host and optional port in the characters of RFC 3986 §3.2.2. User names are not allowed in
/// `http` targets (RFC 9110 §4.2.4).
pub(super) fn is_authority(authority: &str) -> bool {
    !authority.is_empty()
        && authority
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte))
}

/// RFC 9112 §3.2: one Host header and a sound one.
fn check_host<'b>(headers: &[httparse::Header<'b>]) -> Result<&'b str, Refusal> {
    let host = single(headers, "Host", bad("more than one Host header"))?;
    let host = host.and_then(|host| std::str::from_utf8(host).ok());
    host.filter(|host| is_authority(host))
        .ok_or(bad("Host header is missing, empty or malformed"))
}

/// RFC 6455 §4.2.1, items 3, 4 and 6.
fn check_upgrade(headers: &[httparse::Header<'_>], asked_for: bool) -> Result<(), Refusal> {
    const VERSION: Refusal = refusal(426, "WebSocket version 13 is spoken here");
    if !elements(headers, "Connection").any(|option| option.eq_ignore_ascii_case(b"upgrade")) {
        return Err(bad("Connection header does not name Upgrade"));
    }
    if !asked_for {
        return Err(bad("Upgrade header does not name websocket"));
    }
    match single(headers, "Sec-WebSocket-Version", VERSION)? {
        Some(b"13") => Ok(()),
        _ => Err(VERSION),
    }
}

/// RFC 6455 §4.2.1, item 5. The bits that pad the last byte are nobody's concern.
fn check_key<'b>(headers: &[httparse::Header<'b>]) -> Result<&'b [u8], Refusal> {
    let key = single(
        headers,
        "Sec-WebSocket-Key",
        bad("more than one Sec-WebSocket-Key header"),
    )?;
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.filter(|key| {
        key.len() == KEY_LEN
            && key
                .strip_suffix(KEY_PADDING)
                .is_some_and(|digits| digits.iter().all(is_base64))
    })
    .ok_or(bad("Sec-WebSocket-Key is not 16 bytes in base64"))
}

/// One origin or none: a second, or one that cannot be read, must not pass as no browser's.
fn check_origin<'b>(headers: &[httparse::Header<'b>]) -> Result<Option<&'b str>, Refusal> {
    let origin = single(headers, "Origin", bad("more than one Origin header"))?;
    origin
        .map(std::str::from_utf8)
        .transpose()
        .map_err(|_| bad("Origin header is not UTF-8"))
}

fn check_no_body(headers: &[httparse::Header<'_>]) -> Result<(), Refusal> {
    let empty = values(headers, "Content-Length").all(|len| len == b"0");
    if empty && values(headers, "Transfer-Encoding").next().is_none() {
        Ok(())
    } else {
        Err(bad("a request for a WebSocket has no body"))
    }
}

fn names_websocket(headers: &[httparse::Header<'_>]) -> bool {
    elements(headers, "Upgrade").any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
}

/// The value of a header that may appear once.
pub(super) fn single<'b, E>(
    headers: &[httparse::Header<'b>],
    name: &str,
    repeated: E,
) -> Result<Option<&'b [u8]>, E> {
    let mut values = values(headers, name);
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(repeated),
        (value, None) => Ok(value),
    }
}

pub(super) fn values<'b>(
    headers: &[httparse::Header<'b>],
    name: &str,
) -> impl Iterator<Item = &'b [u8]> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value.trim_ascii())
}

/// The elements of a header that is a list, over all its lines (RFC 9110 §5.6.1).
pub(super) fn elements<'b>(
    headers: &[httparse::Header<'b>],
    name: &str,
) -> impl Iterator<Item = &'b [u8]> {
    values(headers, name)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}
