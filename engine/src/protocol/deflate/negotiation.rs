//! What both sides agree on (RFC 7692 §5, §7.1).

use thiserror::Error;

use super::{DEFLATE_WINDOW_BITS, EXTENSION, Params, WINDOW_BITS};
use crate::protocol::handshake::Refusal;
use crate::protocol::handshake::extensions::{Extension, parse};

const SERVER_NO_CONTEXT: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT: &str = "client_no_context_takeover";
const SERVER_WINDOW: &str = "server_max_window_bits";
const CLIENT_WINDOW: &str = "client_max_window_bits";
const LARGEST: u8 = *WINDOW_BITS.end();

/// What a server agrees to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What both sides keep to.
    pub params: Params,
    /// The value of the response's `Sec-WebSocket-Extensions`.
    pub response: String,
}

/// Why a server's answer cannot be lived with: the client fails the connection
/// (RFC 6455 §4.1, RFC 7692 §7.1).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NegotiationError {
    /// Not the grammar of RFC 6455 §9.1.
    #[error("Sec-WebSocket-Extensions is malformed")]
    Malformed,
    /// An extension that was not offered.
    #[error("extension {0:?} was not offered")]
    NotOffered(String),
    /// The extension is named more than once.
    #[error("permessage-deflate is answered more than once")]
    Repeated,
    /// A parameter that RFC 7692 does not define.
    #[error("unknown parameter {0:?}")]
    UnknownParameter(String),
    /// A parameter that is there more than once.
    #[error("{0} is given more than once")]
    RepeatedParameter(&'static str),
    /// A value that is missing, not called for, or out of bounds.
    #[error("{0} has an invalid value")]
    InvalidValue(&'static str),
    /// A demand of the offer that the server does not meet.
    #[error("{0} is not as it was asked for")]
    NotMet(&'static str),
}

/// Answers a client's offers: the first that RFC 7692 and `wishes` allow is accepted, if any.
///
/// `lines` are the values of all its `Sec-WebSocket-Extensions`. Where `wishes` has no context
/// takeover or a smaller window, the answer says so. An offer is declined when a parameter is
/// unknown, repeated or invalid (RFC 7692 §7.1), when it asks for a window that we cannot keep
/// to (8 bits), and when `wishes` limits the client's window and the client does not offer that.
///
/// # Errors
///
/// 400 for lines that break the grammar (RFC 6455 §9.1).
pub fn negotiate<'h>(
    lines: impl IntoIterator<Item = &'h [u8]>,
    wishes: &Params,
) -> Result<Option<Accepted>, Refusal> {
    let extensions = parse(lines).ok_or(Refusal {
        status: 400,
        reason: "Sec-WebSocket-Extensions is malformed",
    })?;
    let mut offers = extensions.iter().filter(|offer| offer.name == EXTENSION);
    Ok(offers.find_map(|offer| accept(&Terms::read(offer).ok()?, wishes)))
}

/// What a client sends as `Sec-WebSocket-Extensions`.
pub fn offer(wishes: &Params) -> String {
    let limit = wishes.client_max_window_bits;
    let terms = Terms {
        server_no_context: wishes.server_no_context_takeover,
        client_no_context: wishes.client_no_context_takeover,
        server_window: Some(wishes.server_max_window_bits).filter(|bits| *bits < LARGEST),
        // Without it the server could not ask for a smaller window (RFC 7692 §7.1.2.2).
        client_window: Some(Some(limit).filter(|bits| *bits < LARGEST)),
    };
    terms.write()
}

/// What the server made of [`offer`] with the same `wishes`: `None` where it declined.
///
/// # Errors
///
/// What RFC 6455 §4.1 and RFC 7692 §7.1 have a client fail the connection for: another extension
/// or more than one, parameters that are unknown, repeated or invalid, and terms that exceed
/// what was asked for or a [`Deflater`](super::Deflater) cannot keep to.
pub fn check_response<'h>(
    lines: impl IntoIterator<Item = &'h [u8]>,
    wishes: &Params,
) -> Result<Option<Params>, NegotiationError> {
    let extensions = parse(lines).ok_or(NegotiationError::Malformed)?;
    if let Some(other) = extensions.iter().find(|answer| answer.name != EXTENSION) {
        return Err(NegotiationError::NotOffered(other.name.to_owned()));
    }
    match extensions.as_slice() {
        [] => Ok(None),
        [answer] => Terms::read(answer)?.settle(wishes).map(Some),
        _ => Err(NegotiationError::Repeated),
    }
}

fn accept(offer: &Terms, wishes: &Params) -> Option<Accepted> {
    let server_window = wishes.server_max_window_bits;
    let server_window = offer.server_window.unwrap_or(LARGEST).min(server_window);
    // RFC 7692 §7.1.2.2: a client that does not offer to limit its window cannot be asked to.
    let client_window = match offer.client_window {
        Some(limit) => limit.unwrap_or(LARGEST).min(wishes.client_max_window_bits),
        None if wishes.client_max_window_bits < LARGEST => return None,
        None => LARGEST,
    };
    if !DEFLATE_WINDOW_BITS.contains(&server_window) {
        return None;
    }
    let answer = Terms {
        server_no_context: offer.server_no_context || wishes.server_no_context_takeover,
        client_no_context: offer.client_no_context || wishes.client_no_context_takeover,
        // RFC 7692 §7.1.2.1: a limit that was offered is accepted by naming it.
        server_window: (offer.server_window.is_some() || server_window < LARGEST)
            .then_some(server_window),
        client_window: (client_window < LARGEST).then_some(Some(client_window)),
    };
    Some(Accepted {
        params: Params {
            server_no_context_takeover: answer.server_no_context,
            client_no_context_takeover: answer.client_no_context,
            server_max_window_bits: server_window,
            client_max_window_bits: client_window,
        },
        response: answer.write(),
    })
}

/// An offer or an answer as it is written.
#[derive(Debug, Default)]
struct Terms {
    server_no_context: bool,
    client_no_context: bool,
    server_window: Option<u8>,
    /// In an offer it may come without a value.
    client_window: Option<Option<u8>>,
}

impl Terms {
    fn read(extension: &Extension<'_>) -> Result<Terms, NegotiationError> {
        let mut terms = Terms::default();
        for param in &extension.params {
            let value = param.value.as_deref();
            match param.name {
                SERVER_NO_CONTEXT => {
                    set_flag(&mut terms.server_no_context, SERVER_NO_CONTEXT, value)?;
                }
                CLIENT_NO_CONTEXT => {
                    set_flag(&mut terms.client_no_context, CLIENT_NO_CONTEXT, value)?;
                }
                SERVER_WINDOW => {
                    let bits = read_bits(SERVER_WINDOW, value)?;
                    let bits = bits.ok_or(NegotiationError::InvalidValue(SERVER_WINDOW))?;
                    set_once(&mut terms.server_window, SERVER_WINDOW, bits)?;
                }
                CLIENT_WINDOW => {
                    let bits = read_bits(CLIENT_WINDOW, value)?;
                    set_once(&mut terms.client_window, CLIENT_WINDOW, bits)?;
                }
                unknown => return Err(NegotiationError::UnknownParameter(unknown.to_owned())),
            }
        }
        Ok(terms)
    }

    fn write(&self) -> String {
        let mut text = EXTENSION.to_owned();
        let mut add = |name: &str, value: Option<u8>| {
            text.push_str("; ");
            text.push_str(name);
            if let Some(value) = value {
                text.push('=');
                text.push_str(&value.to_string());
            }
        };
        if self.server_no_context {
            add(SERVER_NO_CONTEXT, None);
        }
        if self.client_no_context {
            add(CLIENT_NO_CONTEXT, None);
        }
        if self.server_window.is_some() {
            add(SERVER_WINDOW, self.server_window);
        }
        if let Some(limit) = self.client_window {
            add(CLIENT_WINDOW, limit);
        }
        text
    }

    /// Holds an answer against the offer made from `wishes`.
    fn settle(&self, wishes: &Params) -> Result<Params, NegotiationError> {
        if wishes.server_no_context_takeover && !self.server_no_context {
            return Err(NegotiationError::NotMet(SERVER_NO_CONTEXT));
        }
        let server_window = self.server_window.unwrap_or(LARGEST);
        if server_window > wishes.server_max_window_bits {
            return Err(NegotiationError::NotMet(SERVER_WINDOW));
        }
        let client_window = match self.client_window {
            Some(limit) => limit.ok_or(NegotiationError::InvalidValue(CLIENT_WINDOW))?,
            // The server sets no limit; the one that was offered holds all the same.
            None => wishes.client_max_window_bits,
        };
        if client_window > wishes.client_max_window_bits
            || !DEFLATE_WINDOW_BITS.contains(&client_window)
        {
            return Err(NegotiationError::NotMet(CLIENT_WINDOW));
        }
        Ok(Params {
            server_no_context_takeover: self.server_no_context,
            client_no_context_takeover: self.client_no_context || wishes.client_no_context_takeover,
            server_max_window_bits: server_window,
            client_max_window_bits: client_window,
        })
    }
}

/// A parameter that takes no value (RFC 7692 §7.1.1).
fn set_flag(
    flag: &mut bool,
    name: &'static str,
    value: Option<&str>,
) -> Result<(), NegotiationError> {
    if value.is_some() {
        return Err(NegotiationError::InvalidValue(name));
    }
    if std::mem::replace(flag, true) {
        return Err(NegotiationError::RepeatedParameter(name));
    }
    Ok(())
}

fn set_once<T>(slot: &mut Option<T>, name: &'static str, value: T) -> Result<(), NegotiationError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(NegotiationError::RepeatedParameter(name)),
    }
}

/// A window's size: a decimal number without leading zeros, 8 to 15 (RFC 7692 §7.1.2).
fn read_bits(name: &'static str, value: Option<&str>) -> Result<Option<u8>, NegotiationError> {
    let Some(text) = value else {
        return Ok(None);
    };
    let bits = WINDOW_BITS
        .into_iter()
        .find(|bits| bits.to_string() == text);
    bits.map(Some).ok_or(NegotiationError::InvalidValue(name))
}
