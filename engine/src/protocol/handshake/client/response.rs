//! What the server answers.

use thiserror::Error;

use super::super::request::{elements, single, values};
use super::super::{MAX_HEAD, MAX_HEADERS};
use super::ClientRequest;
use super::offer;

/// The server has agreed: the connection is open (RFC 6455 §4.1).
#[derive(Clone, Debug)]
pub struct Acceptance<'b> {
    protocol: Option<&'b str>,
    headers: Vec<httparse::Header<'b>>,
    head_len: usize,
}

impl<'b> Acceptance<'b> {
    /// The subprotocol in use, one of those offered.
    pub fn protocol(&self) -> Option<&'b str> {
        self.protocol
    }

    /// The values of `Sec-WebSocket-Extensions` in the order received: sound lists of extensions
    /// that were offered. Whether their parameters are, those extensions know.
    pub fn extensions(&self) -> impl Iterator<Item = &'b [u8]> {
        values(&self.headers, EXTENSIONS)
    }

    /// All headers in the order received.
    pub fn headers(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> {
        self.headers
            .iter()
            .map(|header| (header.name, header.value))
    }

    /// Where the first frame begins.
    pub fn head_len(&self) -> usize {
        self.head_len
    }
}

/// A response with another status than 101, which HTTP tells the meaning of: a redirection, a
/// question for credentials, a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declined {
    /// The status, three digits.
    pub status: u16,
    /// All headers in the order received.
    pub headers: Vec<(String, Vec<u8>)>,
    /// As much of the body as has arrived, in its transfer coding.
    pub body: Vec<u8>,
}

impl Declined {
    /// The first header of that name (in any case) whose value is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .filter(|(own, _)| own.eq_ignore_ascii_case(name))
            .find_map(|(_, value)| std::str::from_utf8(value).ok())
    }
}

/// Why there is no WebSocket: but for [`ResponseError::Declined`], the server's fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// Another status than 101.
    #[error("the server answered {}", .0.status)]
    Declined(Box<Declined>),
    /// No HTTP/1.x response (RFC 9112).
    #[error("the answer is no HTTP response")]
    Malformed,
    /// More than [`MAX_HEAD`] bytes up to the end of the response's head.
    #[error("the response's head is over 16 KiB")]
    TooLong,
    /// More than [`MAX_HEADERS`] header lines.
    #[error("the response has over 100 header lines")]
    TooManyHeaders,
    /// 101, but not by HTTP/1.1 (RFC 6455 §4.2.2, RFC 9110 §7.8).
    #[error("the server switches protocols by another HTTP than 1.1")]
    Version,
    /// `Upgrade` is not `websocket` (RFC 6455 §4.1, response item 2).
    #[error("the response does not upgrade to websocket")]
    Upgrade,
    /// `Connection` does not name `Upgrade` (RFC 6455 §4.1, response item 3).
    #[error("the response's Connection header does not name Upgrade")]
    Connection,
    /// Not one `Sec-WebSocket-Accept`, or not that of the key (RFC 6455 §4.1, response item 4).
    #[error("the response's Sec-WebSocket-Accept does not answer the request's key")]
    Accept,
    /// An extension that was not offered, or no list of extensions (RFC 6455 §4.1, response
    /// item 5; §9.1).
    #[error("the server chose an extension that was not offered")]
    Extensions,
    /// More than one subprotocol, or one that was not offered (RFC 6455 §4.1, response item 6).
    #[error("the server chose a subprotocol that was not offered")]
    Protocol,
}

const EXTENSIONS: &str = "Sec-WebSocket-Extensions";

/// What `bytes` answer to `request`, whose key has the answer `accept`.
pub(super) fn check<'b>(
    bytes: &'b [u8],
    request: &ClientRequest<'_>,
    accept: &[u8],
) -> Result<Option<Acceptance<'b>>, ResponseError> {
    let mut begin = 0;
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let head_len = match response.parse(&bytes[begin..]) {
            Ok(httparse::Status::Complete(len)) if begin + len <= MAX_HEAD => begin + len,
            Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
            Ok(_) => return Err(ResponseError::TooLong),
            Err(httparse::Error::TooManyHeaders) => return Err(ResponseError::TooManyHeaders),
            Err(_) => return Err(ResponseError::Malformed),
        };
        match response.code {
            Some(101) => {
                return accepted(&response, head_len, request, accept).map(Some);
            }
            Some(100..200) => begin = head_len,
            Some(status @ 200..) => {
                return Err(declined(status, response.headers, &bytes[head_len..]));
            }
            _ => return Err(ResponseError::Malformed),
        }
    }
}

fn accepted<'b>(
    response: &httparse::Response<'_, 'b>,
    head_len: usize,
    request: &ClientRequest<'_>,
    accept: &[u8],
) -> Result<Acceptance<'b>, ResponseError> {
    let headers: &[httparse::Header<'b>] = response.headers;
    if response.version != Some(1) {
        return Err(ResponseError::Version);
    }
    let mut upgrades = elements(headers, "Upgrade");
    if !matches!((upgrades.next(), upgrades.next()), (Some(to), None) if to.eq_ignore_ascii_case(b"websocket"))
    {
        return Err(ResponseError::Upgrade);
    }
    if !elements(headers, "Connection").any(|option| option.eq_ignore_ascii_case(b"upgrade")) {
        return Err(ResponseError::Connection);
    }
    if single(headers, "Sec-WebSocket-Accept", ResponseError::Accept)? != Some(accept) {
        return Err(ResponseError::Accept);
    }
    check_extensions(headers, request.extensions)?;
    Ok(Acceptance {
        protocol: chosen_protocol(headers, request.protocols)?,
        headers: headers.to_vec(),
        head_len,
    })
}

/// RFC 6455 §4.1, response item 5, and §9.1.
fn check_extensions(
    headers: &[httparse::Header<'_>],
    offered: Option<&str>,
) -> Result<(), ResponseError> {
    let offered = offered.and_then(|value| offer::extensions(value.as_bytes()));
    let offered = offered.unwrap_or_default();
    for value in values(headers, EXTENSIONS) {
        let chosen = offer::extensions(value).ok_or(ResponseError::Extensions)?;
        if !chosen.iter().all(|name| offered.contains(name)) {
            return Err(ResponseError::Extensions);
        }
    }
    Ok(())
}

/// RFC 6455 §4.1, response item 6, and §4.2.2: one token, in the case it was offered in.
fn chosen_protocol<'b>(
    headers: &[httparse::Header<'b>],
    offered: &[&str],
) -> Result<Option<&'b str>, ResponseError> {
    let chosen = single(headers, "Sec-WebSocket-Protocol", ResponseError::Protocol)?;
    let Some(chosen) = chosen else {
        return Ok(None);
    };
    std::str::from_utf8(chosen)
        .ok()
        .filter(|chosen| offered.contains(chosen))
        .map(Some)
        .ok_or(ResponseError::Protocol)
}

fn declined(status: u16, headers: &[httparse::Header<'_>], body: &[u8]) -> ResponseError {
    let headers = headers
        .iter()
        .map(|header| (header.name.to_owned(), header.value.to_vec()));
    ResponseError::Declined(Box::new(Declined {
        status,
        headers: headers.collect(),
        body: body.to_vec(),
    }))
}
