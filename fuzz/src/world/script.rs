//! What happens around a shard: settings, and acts of its peers, of other threads and of time.
//!
//! Written as bytes, front to back: three of settings, then for each act its verb, whom it is about,
//! a number of two bytes and, where the verb takes a text, its length and the text. So a mutation
//! changes one act, and seeds can be written by [`Script::write`].

use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use throng::{Compression, Config, Overflow};

/// Peers that ever connect; acts are about one of them.
pub(super) const PEERS: usize = 6;

/// Settings and acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Compression, limits, and time.
    pub settings: [u8; 3],
    /// In order.
    pub acts: Vec<Act>,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// What.
    pub verb: Verb,
    /// To whom.
    pub who: u8,
    /// What it means depends on the verb.
    pub number: u16,
    /// Empty where the verb takes none.
    pub text: Vec<u8>,
}

macro_rules! verbs {
    ($($(#[$doc:meta])* $Verb:ident,)*) => {
        /// What an act does. "Says" is: writes, for a later [`Verb::Deliver`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Verb { $($(#[$doc])* $Verb,)* }

        impl Verb {
            /// All of them.
            pub const ALL: &[Verb] = &[$(Verb::$Verb,)*];
        }
    };
}

verbs! {
    /// The next peer connects and says a request, by number: sound, with compression, with context
    /// takeover, with a small window, for a page that is closed, or the text itself.
    Connect,
    /// Says a text message: the text, bytes that are no UTF-8 replaced. Bits 0 to 5 of the number
    /// tell how often it is repeated, 10 to 12 into how many fragments it is cut, 13 whether there
    /// are pings between, 14 whether it is compressed (if that was asked for).
    Text,
    /// The same, a binary message.
    Binary,
    /// Says a ping.
    Ping,
    /// Says a pong.
    Pong,
    /// Says a close frame with the number as its code, or an empty one for 0.
    Close,
    /// Says something that is not allowed, by number.
    Break,
    /// Says the text, whatever it is, in place of frames.
    Raw,
    /// That many bytes of what it said arrive.
    Deliver,
    /// All of them do.
    DeliverAll,
    /// Takes nothing more from now on.
    Stall,
    /// Takes that many bytes more.
    Take,
    /// Takes everything from now on.
    TakeAll,
    /// The shard does a turn.
    Turn,
    /// Time passes: that many times 10 ms.
    Wait,
    /// Ends its side of the stream.
    End,
    /// Resets the connection.
    Reset,
    /// Another thread publishes the text to the room.
    Publish,
    /// The engine is drained, within that many times 10 ms.
    Drain,
    /// The engine is stopped.
    Stop,
}

impl Verb {
    fn takes_text(self) -> bool {
        use Verb::{Binary, Break, Close, Connect, Ping, Pong, Publish, Raw, Text};
        matches!(
            self,
            Connect | Text | Binary | Ping | Pong | Close | Break | Raw | Publish
        )
    }
}

impl<'a> Arbitrary<'a> for Script {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Script> {
        let settings = input.arbitrary()?;
        let mut acts = Vec::new();
        while !input.is_empty() {
            acts.push(input.arbitrary()?);
        }
        Ok(Script { settings, acts })
    }
}

impl<'a> Arbitrary<'a> for Act {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Act> {
        let verb = Verb::ALL[usize::from(input.arbitrary::<u8>()?) % Verb::ALL.len()];
        let (who, number) = (input.arbitrary()?, input.arbitrary()?);
        let mut text = Vec::new();
        if verb.takes_text() {
            let len = usize::from(input.arbitrary::<u8>()?).min(input.len());
            text.extend_from_slice(input.bytes(len)?);
        }
        Ok(Act {
            verb,
            who,
            number,
            text,
        })
    }
}

impl Script {
    /// The bytes that it is read from. A text has at most 255.
    pub fn write(&self) -> Vec<u8> {
        let mut out = self.settings.to_vec();
        for act in &self.acts {
            out.extend([act.verb as u8, act.who]);
            out.extend(act.number.to_le_bytes());
            if act.verb.takes_text() {
                out.extend(u8::try_from(act.text.len()));
                out.extend(&act.text);
            }
        }
        out
    }

    pub(super) fn config(&self) -> Config {
        let [compression, limits, time] = self.settings;
        let has = |bits: u8, bit: u8| bits & 1 << bit != 0;
        let context = has(compression, 1);
        let overflow = match limits & 3 {
            1 => Overflow::RefuseNewest,
            2 if !context => Overflow::DropOldest,
            3 => Overflow::Conflate,
            _ => Overflow::Disconnect,
        };
        let max_message_size = if has(limits, 2) { 64 } else { 4096 };
        let long = Duration::from_secs(20);
        let short = Duration::from_millis(200);
        Config::default()
            .compression(has(compression, 0).then(|| {
                Compression::default()
                    .server_context_takeover(context)
                    .client_context_takeover(has(compression, 2))
                    .server_max_window_bits(if has(compression, 3) { 9 } else { 15 })
                    .threshold(usize::from(compression >> 4))
            }))
            .overflow(overflow)
            .max_message_size(max_message_size)
            .max_frame_size(has(limits, 3).then_some(max_message_size / 2))
            .send_queue_messages(if has(limits, 4) { 4 } else { 64 })
            .send_queue_bytes(if has(limits, 5) {
                max_message_size + 10
            } else {
                64 * 1024
            })
            .max_connections(if has(limits, 6) { 2 } else { PEERS })
            .mailbox_capacity(16)
            .ping_interval(has(time, 0).then_some(if has(time, 1) { short } else { long }))
            .pong_timeout(if has(time, 2) { short } else { long })
            .idle_timeout(has(time, 3).then_some(if has(time, 1) { short } else { long }))
            .write_timeout(if has(time, 4) { short } else { long })
            .close_timeout(if has(time, 5) { short } else { long })
            .handshake_timeout(if has(time, 6) { short } else { long })
    }
}
