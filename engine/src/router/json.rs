//! Envelopes as JSON.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeOwned, Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::codec::{Codec, Envelope, Payload};
use super::error::DecodeError;

/// JSON in text messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl Codec for Json {
    const IS_BINARY: bool = false;

    fn read<'a>(&self, message: &'a [u8]) -> Result<Envelope<'a>, DecodeError> {
        // What serde takes for a struct may be a list of its fields' values, too.
        if message.trim_ascii_start().first() == Some(&b'[') {
            return Err(DecodeError::whole("expected an object"));
        }
        match serde_json::from_slice::<Wire<'a>>(message) {
            Ok(wire) => Ok(wire.into()),
            // Told more exactly where it is wrong, which costs more.
            Err(_) => read_slowly::<Wire<'a>>(message).map(Into::into),
        }
    }

    fn read_data<T: DeserializeOwned>(&self, data: &Payload<'_>) -> Result<T, DecodeError> {
        let bytes = match data {
            Payload::Absent => b"null".as_slice(),
            Payload::Bare(bytes) | Payload::Within(bytes) | Payload::Whole(bytes) => bytes,
        };
        match serde_json::from_slice(bytes) {
            Ok(data) => Ok(data),
            // A struct without fields, or of optional ones only, may be left out.
            Err(_) if *data == Payload::Absent => read_slowly(b"{}"),
            Err(_) => read_slowly(bytes),
        }
    }

    fn write<T: Serialize>(&self, out: &mut Vec<u8>, value: &T) -> Result<(), String> {
        serde_json::to_writer(out, value).map_err(|error| error.to_string())
    }
}

fn read_slowly<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        DecodeError {
            field: named(path),
            reason: without_place(&error.into_inner()),
        }
    })?;
    reader
        .end()
        .map_err(|error| DecodeError::whole(without_place(&error)))?;
    Ok(value)
}

/// A path, unless it says nothing.
pub(super) fn named(path: String) -> String {
    if matches!(&*path, "." | "?") {
        String::new()
    } else {
        path
    }
}

/// What is wrong, without line and column.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Wire<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    event: Option<Text<'a>>,
    #[serde(borrow, default)]
    request_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    token: Option<Text<'a>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

impl<'a> From<Wire<'a>> for Envelope<'a> {
    fn from(wire: Wire<'a>) -> Envelope<'a> {
        let text = |text: Option<Text<'a>>| text.map(|text| text.0);
        Envelope {
            kind: text(wire.kind),
            event: text(wire.event),
            request_id: text(wire.request_id),
            token: text(wire.token),
            data: wire
                .data
                .map_or(Payload::Absent, |data| Payload::Bare(data.get().as_bytes())),
        }
    }
}

/// A string, borrowed where it has no escapes.
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Say {
        room: String,
        times: Option<u32>,
    }

    #[test]
    fn an_envelope_is_read_without_copies() {
        let text = br#"{"type":"request","event":"chat.send","request_id":"r\u0031","x":[{}],"data":{"room":"a"},"timestamp":17}"#;
        let envelope = Json.read(text).unwrap();
        assert!(matches!(envelope.kind, Some(Cow::Borrowed("request"))));
        assert!(matches!(envelope.event, Some(Cow::Borrowed("chat.send"))));
        assert_eq!(envelope.request_id.as_deref(), Some("r1"));
        assert_eq!(envelope.data, Payload::Bare(br#"{"room":"a"}"#));
        let say: Say = Json.read_data(&envelope.data).unwrap();
        let room = "a".to_owned();
        assert_eq!(say, Say { room, times: None });
        assert_eq!(Json.read(b"{}").unwrap(), Envelope::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let fault = |text: &str| {
            let error = Json.read(text.as_bytes()).unwrap_err();
            format!("{}: {}", error.field, error.reason)
        };
        assert_eq!(fault(" []"), ": expected an object");
        assert_eq!(
            fault("7"),
            ": invalid type: integer `7`, expected an object"
        );
        assert_eq!(fault("{"), ": EOF while parsing an object");
        assert_eq!(fault("{} x"), ": trailing characters");
        let number = fault(r#"{"request_id":7}"#);
        assert_eq!(
            number,
            "request_id: invalid type: integer `7`, expected a string"
        );
        let of_data = |text: &str| {
            let error = Json.read_data::<Say>(&Payload::Bare(text.as_bytes()));
            let error = error.unwrap_err();
            format!("{}: {}", error.field, error.reason)
        };
        assert_eq!(of_data("{}"), ": missing field `room`");
        assert_eq!(
            of_data(r#"{"room":5}"#),
            "room: invalid type: integer `5`, expected a string"
        );
        assert_eq!(
            of_data(r#"{"room":"a","times":-1}"#),
            "times: invalid value: integer `-1`, expected u32"
        );
    }

    #[test]
    fn what_is_absent_may_be_nothing_at_all() {
        #[derive(Debug, Deserialize, PartialEq)]
        struct Optional {
            times: Option<u32>,
        }
        let absent = Payload::Absent;
        assert_eq!(Json.read_data::<()>(&absent), Ok(()));
        assert_eq!(Json.read_data::<Option<Say>>(&absent), Ok(None));
        let optional = Json.read_data::<Optional>(&absent);
        assert_eq!(optional, Ok(Optional { times: None }));
        let missing = Json.read_data::<Say>(&absent).unwrap_err();
        assert_eq!(missing.reason, "missing field `room`");
    }
}
