//! The opening handshake (RFC 6455 §4).
//!
//! On the client's side a [`ClientRequest`] is written and its answer checked. On the server's,
//! bytes gather until [`head_end`] finds the end of the request's head (or [`MAX_HEAD`] bytes are
//! there); [`parse_head`] then tells what they are. A request for an upgrade is answered with
//! [`write_accept`] or, by the service's choice, [`write_response`]; a [`Refusal`] says what to
//! answer to a request that RFC 6455 does not allow.

mod client;
pub(in crate::protocol) mod extensions;
mod request;
mod response;
#[cfg(test)]
mod tests;

pub use client::{Acceptance, ClientRequest, Declined, RequestError, ResponseError};
pub use request::{
    Head, RequestLine, Target, UpgradeRequest, check_parsed, choose_protocol, head_end, parse_head,
};
pub use response::{accept_key, check_header, is_token, write_accept, write_response};

use thiserror::Error;

/// Bytes of a request's or a response's head, its last empty line included.
pub const MAX_HEAD: usize = 16 * 1024;
/// Header lines of a request or a response.
pub const MAX_HEADERS: usize = 100;

/// Why a request is not answered with 101: the client's fault. The connection is closed after
/// the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{status}: {reason}")]
pub struct Refusal {
    /// The response's status.
    pub status: u16,
    /// What is wrong, for the response's body.
    pub reason: &'static str,
}

impl Refusal {
    /// Headers that the status calls for: `Allow` with 405 (RFC 9110 §15.5.6); with 426 the
    /// version (RFC 6455 §4.4) and the upgrade that is required (RFC 9110 §15.5.22).
    pub fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self.status {
            405 => &[("Allow", "GET")],
            426 => &[
                ("Sec-WebSocket-Version", "13"),
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade, close"),
            ],
            _ => &[],
        }
    }
}
