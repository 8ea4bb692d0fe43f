//! Envelopes as JSON.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::codec::{Codec, Envelope, Payload};
use super::error::DecodeError;
use super::wire::{self, PlainWire, Wire};

/// JSON in text messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl Codec for Json {
    const IS_BINARY: bool = false;

    fn read<'a>(&self, message: &'a [u8]) -> Result<Envelope<'a>, DecodeError> {
        let wire: Wire<'a, &'a RawValue> = read_object(message)?;
        Ok(wire.into_envelope(|data| Payload::Bare(data.get().as_bytes())))
    }

    fn read_plain<'a>(&self, message: &'a [u8]) -> Result<Envelope<'a>, DecodeError> {
        read_object::<PlainWire<'a>>(message).map(Into::into)
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

fn read_object<'a, T: Deserialize<'a>>(message: &'a [u8]) -> Result<T, DecodeError> {
    // What serde takes for a struct may be a list of its fields' values, too.
    if message.trim_ascii_start().first() == Some(&b'[') {
        return Err(DecodeError::whole("expected an object"));
    }
    // Told more exactly where it is wrong, which costs more.
    serde_json::from_slice(message).or_else(|_| read_slowly(message))
}

fn read_slowly<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = wire::read(&mut reader, without_place)?;
    reader
        .end()
        .map_err(|error| DecodeError::whole(without_place(&error)))?;
    Ok(value)
}

/// What is wrong, without line and column.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

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
        let plain = br#"{"type":"chat","event":7,"token":[],"data":{},"request_id":"r"}"#;
        let envelope = Json.read_plain(plain).unwrap();
        assert_eq!(envelope.kind.as_deref(), Some("chat"));
        assert_eq!(envelope.request_id.as_deref(), Some("r"));
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
