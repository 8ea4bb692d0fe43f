//! What the codecs have in common: envelopes as serde reads them, and errors that name the field.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use super::codec::{Envelope, Payload};
use super::error::DecodeError;

/// An envelope, whose data is read as a `D`.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct Wire<'a, D> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    event: Option<Text<'a>>,
    #[serde(borrow, default)]
    request_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    token: Option<Text<'a>>,
    data: Option<D>,
}

impl<'a, D> Wire<'a, D> {
    /// The envelope, and where its data is by what was read of it.
    pub(super) fn into_envelope(self, data: impl FnOnce(D) -> Payload<'a>) -> Envelope<'a> {
        let text = |text: Option<Text<'a>>| text.map(|text| text.0);
        Envelope {
            kind: text(self.kind),
            event: text(self.event),
            request_id: text(self.request_id),
            token: text(self.token),
            data: self.data.map_or(Payload::Absent, data),
        }
    }
}

/// What is the router's of a message in the plain style.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct PlainWire<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    request_id: Option<Text<'a>>,
}

impl<'a> From<PlainWire<'a>> for Envelope<'a> {
    fn from(wire: PlainWire<'a>) -> Envelope<'a> {
        Envelope {
            kind: wire.kind.map(|text| text.0),
            request_id: wire.request_id.map(|text| text.0),
            ..Envelope::default()
        }
    }
}

/// A string, borrowed where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        struct Strings;
        impl<'de> Visitor<'de> for Strings {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Strings)
    }
}

/// Reads a value; of an error, `tell` says what is wrong.
pub(super) fn read<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    reader: D,
    tell: impl FnOnce(&D::Error) -> String,
) -> Result<T, DecodeError> {
    serde_path_to_error::deserialize(reader).map_err(|error| {
        let path = error.path().to_string();
        // A path that says nothing.
        let is_whole = matches!(&*path, "." | "?");
        DecodeError {
            field: if is_whole { String::new() } else { path },
            reason: tell(error.inner()),
        }
    })
}
