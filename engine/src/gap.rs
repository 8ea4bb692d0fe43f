//! What a connection learns of messages that it has missed.

use serde::Serialize;

use crate::notice::notice;
use crate::owned::OwnedMessage;

/// Messages that the overflow policy took from a connection, told once it reads again
/// ([`Handler::gap_notice`](crate::Handler::gap_notice)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Gap<'a> {
    /// The room that they were published to. `None` for what was not published to a single room,
    /// and for rooms beyond the first 16, or with names of more than 512 bytes, whose losses are
    /// told as one sum.
    pub room: Option<&'a str>,
    /// How many. A message that one of the same key replaced is not missed.
    pub missed: u64,
    /// When it is told, in seconds since 1970.
    #[serde(skip)]
    pub timestamp: u64,
}

impl Gap<'_> {
    /// The gap as the text message that tells of it by default:
    ///
    /// ```json
    /// {"type":"notify","event":"gap","data":{"room":"prices","missed":3},"timestamp":1707552000}
    /// ```
    pub fn to_json(&self) -> OwnedMessage {
        OwnedMessage::Text(notice("gap", self, self.timestamp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_so() {
        let told = |room, missed| {
            let timestamp = 1_707_552_000;
            Gap {
                room,
                missed,
                timestamp,
            }
            .to_json()
        };
        let text = |text: &str| OwnedMessage::Text(text.to_owned());
        let prices = r#"{"type":"notify","event":"gap","data":{"room":"prices","missed":3},"timestamp":1707552000}"#;
        assert_eq!(told(Some("prices"), 3), text(prices));
        let nowhere = r#"{"type":"notify","event":"gap","data":{"room":null,"missed":1},"timestamp":1707552000}"#;
        assert_eq!(told(None, 1), text(nowhere));
        let odd = r#"{"type":"notify","event":"gap","data":{"room":"\"\n\\","missed":1},"timestamp":1707552000}"#;
        assert_eq!(told(Some("\"\n\\"), 1), text(odd));
    }
}
