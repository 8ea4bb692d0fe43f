//! The opening handshake, client side (RFC 6455 §4.1).
//!
//! [`ClientRequest::write`] asks; what the server answers gathers until [`ClientRequest::check`]
//! has seen the end of its head. Frames begin behind [`Acceptance::head_len`].

mod offer;
mod response;
#[cfg(test)]
mod tests;

pub use response::{Acceptance, Declined, ResponseError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use super::{accept_key, check_header};
use offer::{is_origin, is_target};

/// What a client asks of a server.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientRequest<'a> {
    /// The server's host and, unless it is the scheme's own, `:` and the port.
    pub host: &'a str,
    /// The path, beginning with `/`, and the query, both encoded (RFC 6455 §3).
    pub target: &'a str,
    /// The page that asks, where there is one (RFC 6455 §4.1, item 8).
    pub origin: Option<&'a str>,
    /// The subprotocols offered, the most wanted first.
    pub protocols: &'a [&'a str],
    /// The extensions offered, as the header's value (RFC 6455 §9.1).
    pub extensions: Option<&'a str>,
    /// Further headers, such as `Authorization` and `Cookie`.
    pub headers: &'a [(&'a str, &'a str)],
}

/// What in a [`ClientRequest`] cannot be sent: the fault of whoever made it. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No host, or not in the characters of RFC 3986 §3.2.2.
    #[error("{0:?} is no host with an optional port")]
    Host(String),
    /// No path and query as RFC 6455 §3 has them.
    #[error("{0:?} is no path with an optional query, both encoded, without fragment")]
    Target(String),
    /// An origin that could not be one header's value.
    #[error("{0:?} is no origin")]
    Origin(String),
    /// A subprotocol that is no token (RFC 6455 §4.1, item 10).
    #[error("subprotocol {0:?} is no token")]
    Protocol(String),
    /// The same subprotocol twice (RFC 6455 §4.1, item 10).
    #[error("subprotocol {0:?} is offered twice")]
    RepeatedProtocol(String),
    /// Not the grammar of RFC 6455 §9.1.
    #[error("{0:?} is no list of extensions")]
    Extensions(String),
    /// A header that [`check_header`] refuses, or one that the handshake itself writes.
    #[error("header {0:?} cannot be sent")]
    Header(String),
}

/// Headers of a request that are written here, beside those that [`check_header`] keeps.
const RESERVED: [&str; 4] = [
    "Host",
    "Origin",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
];

impl ClientRequest<'_> {
    /// Appends the request. `key` is random and new for each connection (RFC 6455 §4.1, item 7).
    ///
    /// # Errors
    ///
    /// A [`RequestError`], before anything is written.
    pub fn write(&self, key: [u8; 16], out: &mut Vec<u8>) -> Result<(), RequestError> {
        self.check_offer()?;
        let mut put = |parts: &[&str]| {
            for part in parts {
                out.extend_from_slice(part.as_bytes());
            }
        };
        put(&["GET ", self.target, " HTTP/1.1\r\nHost: ", self.host]);
        put(&["\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: "]);
        put(&[&STANDARD.encode(key)]);
        put(&["\r\nSec-WebSocket-Version: 13\r\n"]);
        if let Some(origin) = self.origin {
            put(&["Origin: ", origin, "\r\n"]);
        }
        if !self.protocols.is_empty() {
            let protocols = self.protocols.join(", ");
            put(&["Sec-WebSocket-Protocol: ", &protocols, "\r\n"]);
        }
        if let Some(extensions) = self.extensions {
            put(&["Sec-WebSocket-Extensions: ", extensions, "\r\n"]);
        }
        for (name, value) in self.headers {
            put(&[name, ": ", value, "\r\n"]);
        }
        put(&["\r\n"]);
        Ok(())
    }

    /// Checks what the server answered, `bytes` being all that was received so far; `None` while
    /// its head is incomplete. `key` is the one the request was written with.
    ///
    /// What comes before the final response (1xx but 101) is skipped (RFC 9110 §15.2).
    ///
    /// # Errors
    ///
    /// A [`ResponseError`]: the connection is to be closed, and nothing is said on it
    /// (RFC 6455 §4.1, §7.2.1).
    pub fn check<'b>(
        &self,
        key: [u8; 16],
        bytes: &'b [u8],
    ) -> Result<Option<Acceptance<'b>>, ResponseError> {
        let accept = accept_key(STANDARD.encode(key).as_bytes());
        response::check(bytes, self, &accept)
    }

    fn check_offer(&self) -> Result<(), RequestError> {
        if !super::request::is_authority(self.host) {
            return Err(RequestError::Host(self.host.to_owned()));
        }
        if !is_target(self.target) {
            return Err(RequestError::Target(self.target.to_owned()));
        }
        if let Some(origin) = self.origin.filter(|origin| !is_origin(origin)) {
            return Err(RequestError::Origin(origin.to_owned()));
        }
        for (index, protocol) in self.protocols.iter().enumerate() {
            if !super::is_token(protocol) {
                return Err(RequestError::Protocol((*protocol).to_owned()));
            }
            if self.protocols[..index].contains(protocol) {
                return Err(RequestError::RepeatedProtocol((*protocol).to_owned()));
            }
        }
        if let Some(extensions) = self.extensions
            && offer::extensions(extensions.as_bytes()).is_none()
        {
            return Err(RequestError::Extensions(extensions.to_owned()));
        }
        let is_reserved = |name: &str| RESERVED.iter().any(|own| own.eq_ignore_ascii_case(name));
        match self
            .headers
            .iter()
            .find(|(name, value)| is_reserved(name) || !check_header(name, value))
        {
            Some((name, _)) => Err(RequestError::Header((*name).to_owned())),
            None => Ok(()),
        }
    }
}
