//! Envelopes as MessagePack.

mod scan;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::codec::{Codec, Envelope, Payload};
use super::error::DecodeError;
use super::wire::{self, PlainWire, Wire};

/// [MessagePack](https://msgpack.org) in binary messages: the same maps as in JSON.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessagePack;

impl Codec for MessagePack {
    const IS_BINARY: bool = true;

    fn read<'a>(&self, message: &'a [u8]) -> Result<Envelope<'a>, DecodeError> {
        let wire: Wire<'a, IgnoredAny> = read_map(message)?;
        Ok(wire.into_envelope(|_| Payload::Within(message)))
    }

    fn read_plain<'a>(&self, message: &'a [u8]) -> Result<Envelope<'a>, DecodeError> {
        read_map::<PlainWire<'a>>(message).map(Into::into)
    }

    fn read_data<T: DeserializeOwned>(&self, data: &Payload<'_>) -> Result<T, DecodeError> {
        match data {
            Payload::Absent => read(&[NIL]).or_else(|_| read(&[EMPTY_MAP])),
            Payload::Bare(bytes) => read(bytes),
            // What they are parts of has been read.
            Payload::Whole(bytes) => read_scanned(bytes),
            Payload::Within(bytes) => {
                let within: Result<Within<T>, DecodeError> = read_scanned(bytes);
                within.map(|within| within.data).map_err(|error| {
                    let field = error.field.strip_prefix("data").unwrap_or(&error.field);
                    let field = field.strip_prefix('.').unwrap_or(field).to_owned();
                    DecodeError { field, ..error }
                })
            }
        }
    }

    fn write<T: Serialize>(&self, out: &mut Vec<u8>, value: &T) -> Result<(), String> {
        rmp_serde::encode::write_named(out, value).map_err(|error| error.to_string())
    }
}

const NIL: u8 = 0xc0;
const EMPTY_MAP: u8 = 0x80;

#[derive(Deserialize)]
struct Within<T> {
    data: T,
}

fn read_map<'a, T: Deserialize<'a>>(message: &'a [u8]) -> Result<T, DecodeError> {
    // What serde takes for a struct may be a list of its fields' values, too.
    if !matches!(message.first(), Some(0x80..=0x8f | 0xde | 0xdf)) {
        return Err(DecodeError::whole("expected a map"));
    }
    read(message)
}

/// Reads bytes that nobody has looked at.
fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    scan::check(bytes).map_err(DecodeError::whole)?;
    read_scanned(bytes)
}

/// Reads bytes that are one value, not nested too deeply.
fn read_scanned<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    wire::read(&mut reader, ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Say {
        room: String,
    }

    #[derive(Serialize)]
    struct Request {
        r#type: &'static str,
        event: &'static str,
        request_id: &'static str,
        data: Say,
    }

    fn request() -> Vec<u8> {
        let mut message = Vec::new();
        let request = Request {
            r#type: "request",
            event: "chat.send",
            request_id: "r1",
            data: Say { room: "a".into() },
        };
        MessagePack.write(&mut message, &request).unwrap();
        message
    }

    #[test]
    fn what_is_written_is_read_again() {
        let message = request();
        let envelope = MessagePack.read(&message).unwrap();
        assert_eq!(envelope.kind.as_deref(), Some("request"));
        assert_eq!(envelope.event.as_deref(), Some("chat.send"));
        let say: Say = MessagePack.read_data(&envelope.data).unwrap();
        assert_eq!(say.room, "a");
        assert_eq!(MessagePack.read_data::<()>(&Payload::Absent), Ok(()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let envelope = request();
        let envelope = MessagePack.read(&envelope).unwrap();
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "it is never read")]
        struct Other {
            room: u32,
        }
        let error = MessagePack.read_data::<Other>(&envelope.data).unwrap_err();
        assert_eq!(error.field, "room");
        assert!(MessagePack.read(&[0x90]).is_err(), "a list");
        let mut longer = request();
        longer.push(NIL);
        let error = MessagePack.read(&longer).unwrap_err();
        assert_eq!(error.reason, "bytes follow the message");
        // The beginning of a list, of which nothing follows.
        longer[request().len()] = 0x91;
        let error = MessagePack.read(&longer).unwrap_err();
        assert_eq!(error.reason, "bytes follow the message");
    }

    #[test]
    fn every_cut_of_a_message_is_refused() {
        let message = request();
        for end in 0..message.len() {
            assert!(MessagePack.read(&message[..end]).is_err(), "{end}");
        }
    }
}
