//! Compressed messages: the extension `permessage-deflate` (RFC 7692), without I/O.
//!
//! [`negotiate`] (server) or [`offer`] and [`check_response`] (client) settle the [`Params`] of a
//! connection. A [`Deflater`] then compresses messages; what arrives is inflated by the
//! connection's [`Decoder`](super::message::Decoder), with an [`Inflater`].
//!
//! **Context.** Without context takeover each message is compressed on its own: one deflater
//! serves every connection of the same window, and a broadcast is compressed once. With it, a
//! message may refer to those before it, so that each connection needs a deflater of its own
//! (hundreds of KiB), and whatever was compressed must reach the peer, whole and in that order;
//! see [`Deflater::forget`].

mod codec;
mod negotiation;
#[cfg(test)]
mod tests;

pub use codec::{Deflater, Inflater, Strength};
pub use negotiation::{Accepted, NegotiationError, check_response, negotiate, offer};

use std::ops::RangeInclusive;

/// The extension's name (RFC 7692 §7).
pub const EXTENSION: &str = "permessage-deflate";
/// Window sizes that RFC 7692 §7.1.2 knows, in bits.
pub const WINDOW_BITS: RangeInclusive<u8> = 8..=15;
/// Window sizes that a [`Deflater`] can keep to, in bits. Inflating needs no such bound.
pub const DEFLATE_WINDOW_BITS: RangeInclusive<u8> = 9..=15;

/// What both sides keep to (RFC 7692 §7.1); as wishes, what to settle for at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Params {
    /// Each message of the server is compressed without reference to those before it.
    pub server_no_context_takeover: bool,
    /// Each message of the client is compressed without reference to those before it.
    pub client_no_context_takeover: bool,
    /// The server compresses with a window of at most 2 to this power.
    pub server_max_window_bits: u8,
    /// The client compresses with a window of at most 2 to this power.
    pub client_max_window_bits: u8,
}

impl Default for Params {
    /// What RFC 7692 §7.1 means where nothing is said: context takeover and the largest windows.
    fn default() -> Params {
        Params {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: *WINDOW_BITS.end(),
            client_max_window_bits: *WINDOW_BITS.end(),
        }
    }
}
