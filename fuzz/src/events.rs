//! What a decoder makes of a stream.

use throng::protocol::fault::Fault;
use throng::protocol::message::{
    Decoder, Event, Input, MAX_SPARE_BYTES, MIN_BUFFER, MessageLimits, Pool,
};
use throng::{CloseCode, Message};

use crate::Pieces;

/// An [`Event`] that outlives its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owned {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A close frame, and what it says.
    Close(Option<(CloseCode, String)>),
}

impl Owned {
    /// What was sent; `None` where the decoder was interrupted.
    fn new(event: Event<'_>) -> Option<Owned> {
        Some(match event {
            Event::Message(message) => message.into(),
            Event::Ping(payload) => Owned::Ping(payload.to_vec()),
            Event::Pong(payload) => Owned::Pong(payload.to_vec()),
            Event::Close(frame) => Owned::Close(frame.map(|f| (f.code, f.reason.to_owned()))),
            Event::Unfinished => return None,
        })
    }
}

impl From<Message<'_>> for Owned {
    fn from(message: Message<'_>) -> Owned {
        match message {
            Message::Text(text) => Owned::Text(text.to_owned()),
            Message::Binary(bytes) => Owned::Binary(bytes.to_vec()),
        }
    }
}

impl Owned {
    /// The message, if it is one.
    pub fn as_message(&self) -> Option<Message<'_>> {
        match self {
            Owned::Text(text) => Some(Message::Text(text)),
            Owned::Binary(bytes) => Some(Message::Binary(bytes)),
            _ => None,
        }
    }
}

/// The events of a stream, and how it ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Up to and with a close frame.
    pub events: Vec<Owned>,
    /// What was wrong behind them.
    pub fault: Option<Fault>,
}

impl Decoded {
    /// Whether a decoder takes nothing more.
    pub fn is_over(&self) -> bool {
        self.fault.is_some() || matches!(self.events.last(), Some(Owned::Close(_)))
    }
}

/// Has `decoder` read `stream` in pieces, and holds it to its bounds.
pub fn decode(
    decoder: &mut Decoder,
    stream: &[u8],
    pieces: Pieces<'_>,
    limits: &MessageLimits,
    pool: &mut Pool,
) -> Decoded {
    let mut stream = stream.to_vec();
    let mut decoded = Decoded::default();
    for piece in pieces.of_mut(&mut stream) {
        let mut input = Input::new(piece);
        loop {
            match decoder.next(&mut input, limits, pool) {
                Ok(None) => break,
                Ok(Some(event)) => decoded.events.extend(Owned::new(bounded(event, limits))),
                Err(fault) => decoded.fault = Some(fault),
            }
            if decoded.is_over() {
                return decoded;
            }
        }
        assert!(input.is_empty(), "what is not taken is lost");
        // Compressed, a message may be longer than it is.
        let most = (limits.max_message_size * 5 / 4 + 64).next_power_of_two();
        assert!(decoder.kept_bytes() <= most.max(MIN_BUFFER));
        assert!(pool.spare_bytes() <= MAX_SPARE_BYTES);
    }
    decoded
}

fn bounded<'e>(event: Event<'e>, limits: &MessageLimits) -> Event<'e> {
    match event {
        Event::Message(message) => assert!(message.len() <= limits.max_message_size),
        Event::Ping(payload) | Event::Pong(payload) => assert!(payload.len() <= 125),
        Event::Close(Some(frame)) => {
            assert!(frame.code.is_valid_on_wire() && frame.reason.len() <= 123);
        }
        Event::Close(None) | Event::Unfinished => {}
    }
    event
}
