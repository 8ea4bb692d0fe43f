//! How envelopes travel: JSON, or something else.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::DecodeError;

/// Reads and writes the messages of a [`Router`](super::Router).
///
/// There are [`Json`](super::Json) and, with the feature `msgpack`, `MessagePack`; any format that serde knows and in which the
/// fields of a map have names can be another one.
pub trait Codec: Send + Sync + 'static {
    /// Whether its messages are binary; otherwise they are text, and what it writes must be UTF-8.
    const IS_BINARY: bool;

    /// Reads an envelope. What it does not know is passed over.
    ///
    /// # Errors
    /// When `message` is no envelope, with the field that is wrong.
    fn read<'a>(&self, message: &'a [u8]) -> Result<Envelope<'a>, DecodeError>;

    /// Reads what is the router's of a message in the [plain style](super::Style::Plain): `type` and `request_id`. All other
    /// fields are the event's own, whatever they are.
    ///
    /// # Errors
    /// As [`Codec::read`].
    fn read_plain<'a>(&self, message: &'a [u8]) -> Result<Envelope<'a>, DecodeError>;

    /// Reads what an envelope carries.
    ///
    /// # Errors
    /// When it is no `T`, with the path of the field that is wrong, without the `data` in front.
    fn read_data<T: DeserializeOwned>(&self, data: &Payload<'_>) -> Result<T, DecodeError>;

    /// Writes a value to the end of `out`, a struct with the names of its fields.
    ///
    /// # Errors
    /// When the value cannot be represented.
    fn write<T: Serialize>(&self, out: &mut Vec<u8>, value: &T) -> Result<(), String>;
}

/// What a client sends, as far as the router looks at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `type`: the kind of message; in the plain style, the event.
    pub kind: Option<std::borrow::Cow<'a, str>>,
    /// `event`.
    pub event: Option<std::borrow::Cow<'a, str>>,
    /// `request_id`.
    pub request_id: Option<std::borrow::Cow<'a, str>>,
    /// `token`.
    pub token: Option<std::borrow::Cow<'a, str>>,
    /// `data`, not yet read.
    pub data: Payload<'a>,
}

/// Where what an envelope carries is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Payload<'a> {
    /// There is none: what is read of it is a unit, `None`, or an empty map.
    #[default]
    Absent,
    /// These bytes are the data and nothing else.
    Bare(&'a [u8]),
    /// These bytes are a map, of which `data` is a field.
    Within(&'a [u8]),
    /// The message as a whole is what it carries, as in the [plain style](super::Style::Plain).
    Whole(&'a [u8]),
}

impl Payload<'_> {
    /// Bytes of what is carried, or of the message that carries it.
    pub fn len(&self) -> usize {
        match self {
            Payload::Absent => 0,
            Payload::Bare(bytes) | Payload::Within(bytes) | Payload::Whole(bytes) => bytes.len(),
        }
    }

    /// Whether nothing is carried.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
