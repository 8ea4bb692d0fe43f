//! Saying whom a message is for and sending it, from a handler or from any thread.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

use crate::error::ReceiptError;
use crate::fanout::Later;
use crate::handle::FromOutside;
use crate::id::ConnectionId;
use crate::notice::Notify;
use crate::owned::OwnedMessage;
use crate::protocol::frame::OpCode;
use crate::protocol::message::Message;
use crate::receipt::PendingReceipt;
use crate::room::{Audience, Position, Target};
use crate::router::Codec;
use crate::shard::{Lane, Make, Receipt, TallyShare};

use self::sealed::Publish as _;

/// Publishes on behalf of whoever made a [`To`]: a handler or another thread.
pub trait Publisher: sealed::Publish {}

impl<P: sealed::Publish> Publisher for P {}

pub(crate) mod sealed {
    use crate::fanout::Later;
    use crate::protocol::frame::OpCode;
    use crate::room::Audience;
    use crate::shard::{Lane, Make, TallyShare};

    /// A message on its way.
    #[derive(Debug)]
    pub struct Outgoing<'p, 'a> {
        pub(crate) audience: &'p Audience<'a>,
        pub(crate) opcode: OpCode,
        pub(crate) payload: &'p [u8],
        pub(crate) lane: Lane,
        pub(crate) key: Option<&'p str>,
        /// The whole receipt, where one is asked for: every part of the publication is given a share.
        pub(crate) tally: Option<&'p TallyShare>,
    }

    /// A message on its way that is made when it has its place in a sequenced room.
    #[derive(Debug)]
    pub struct Numbered<'p, 'a> {
        pub(crate) audience: &'p Audience<'a>,
        pub(crate) make: Make,
        pub(crate) tally: Option<&'p TallyShare>,
    }

    /// Where publications go.
    pub trait Publish {
        /// What is known of a publication's fate once it is made.
        type Outcome;

        /// Sends on its way what `later` makes; the payload of `outgoing` is empty.
        fn publish_later(self, outgoing: &Outgoing<'_, '_>, later: Later) -> Self::Outcome;

        /// The engine's time in seconds since 1970.
        fn unix_time(&self) -> u64;

        /// Ends the publisher's own share in the whole receipt.
        fn settle(outcome: &Self::Outcome, tally: TallyShare);

        /// Sends the message on its way. What is known of it at once is not in the tally yet.
        fn publish(self, outgoing: &Outgoing<'_, '_>) -> Self::Outcome;

        /// The same, for a message that is yet to be made.
        fn publish_numbered(self, numbered: Numbered<'_, '_>) -> Self::Outcome;
    }
}

/// Whom a message is for. Nothing is sent before [`Publication::publish`].
///
/// Names of rooms that nobody is in are allowed; they stand for nobody.
#[must_use = "nothing is sent before `publish`"]
pub struct To<'a, P> {
    publisher: P,
    audience: Audience<'a>,
    lane: Lane,
    key: Option<Cow<'a, str>>,
    /// Whom `except_self` excepts.
    me: Option<ConnectionId>,
}

/// A message and whom it is for.
#[must_use = "nothing is sent before `publish`"]
pub struct Publication<'a, P> {
    to: To<'a, P>,
    content: Content<'a>,
}

enum Content<'a> {
    Ready(OpCode, Cow<'a, [u8]>),
    Numbered(Make),
    Later(Later),
}

impl<'a, P> To<'a, P> {
    pub(crate) fn room(publisher: P, room: &'a str, me: Option<ConnectionId>) -> To<'a, P> {
        To {
            publisher,
            audience: Audience::room(room),
            lane: Lane::Normal,
            key: None,
            me,
        }
    }

    pub(crate) fn all(publisher: P, me: Option<ConnectionId>) -> To<'a, P> {
        To {
            publisher,
            audience: Audience::new(Target::All),
            lane: Lane::Normal,
            key: None,
            me,
        }
    }

    pub(crate) fn user(publisher: P, user: &'a str, me: Option<ConnectionId>) -> To<'a, P> {
        To {
            publisher,
            audience: Audience::new(Target::User(Cow::Borrowed(user))),
            lane: Lane::Normal,
            key: None,
            me,
        }
    }

    /// Adds another room. Who is in several receives the message once.
    pub fn and_to(mut self, room: impl Into<Cow<'a, str>>) -> To<'a, P> {
        if let Target::Rooms(rooms) = &mut self.audience.target {
            rooms.push(room.into());
        }
        self
    }

    /// Leaves out a connection.
    pub fn except(mut self, id: ConnectionId) -> To<'a, P> {
        self.audience.except.push(id);
        self
    }

    /// Leaves out the members of a room.
    pub fn except_room(mut self, room: impl Into<Cow<'a, str>>) -> To<'a, P> {
        self.audience.except_rooms.push(room.into());
        self
    }

    /// Puts the message before everything on the normal lane that has not been sent.
    pub fn high(mut self) -> To<'a, P> {
        self.lane = Lane::High;
        self
    }

    /// Says what the message is about, such as the name of a price that it tells.
    ///
    /// For who is behind (a send could not be completed, and not all that waits behind it is sent), the
    /// message replaces the one of the same key that waits on the same lane
    /// ([`Receipt::conflated`](crate::Receipt::conflated)): only the latest is sent, in the place of the
    /// first. It may so arrive before messages that were sent between the
    /// two. Who keeps up is sent every message.
    ///
    /// Keys of one room are apart from those of another. What goes to a single connection, to all or
    /// to several rooms has one set of keys in common. A key should be short: while it waits, it
    /// takes memory that no bound counts.
    ///
    /// ```
    /// # use throng::Conn;
    /// # fn example(conn: &mut Conn<'_, ()>) {
    /// conn.to("prices").key("BTC").text("BTC 97312.50").publish();
    /// # }
    /// ```
    pub fn key(mut self, key: impl Into<Cow<'a, str>>) -> To<'a, P> {
        self.key = Some(key.into());
        self
    }

    /// A text message.
    pub fn text(self, text: impl Into<Cow<'a, str>>) -> Publication<'a, P> {
        let payload = match text.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Publication {
            to: self,
            content: Content::Ready(OpCode::Text, payload),
        }
    }

    /// A binary message.
    pub fn binary(self, bytes: impl Into<Cow<'a, [u8]>>) -> Publication<'a, P> {
        Publication {
            to: self,
            content: Content::Ready(OpCode::Binary, bytes.into()),
        }
    }

    /// A message such as one that was received.
    pub fn message(self, message: impl Into<Message<'a>>) -> Publication<'a, P> {
        let message = message.into();
        let payload = Cow::Borrowed(message.as_bytes());
        Publication {
            to: self,
            content: Content::Ready(opcode(message), payload),
        }
    }

    /// A text message of `value` as JSON.
    ///
    /// # Errors
    /// When `value` cannot be represented: its `Serialize` fails, or a map has keys that are no
    /// strings.
    pub fn json(self, value: &impl Serialize) -> Result<Publication<'a, P>, serde_json::Error> {
        Ok(self.text(serde_json::to_string(value)?))
    }

    /// A message that carries its place in a [sequenced](crate::RoomOptions::sequenced) room: the
    /// first one named. `make` is given the place and returns the text (`String`) or the bytes
    /// (`Vec<u8>`).
    ///
    /// It is called once, on the shard that is the room's home, which it must not block; when it
    /// panics, or the message is refused, nobody gets the message and its offset goes to the next.
    /// Where no sequenced room is named it is not called, and the message is refused
    /// ([`Receipt::refused`](crate::Receipt::refused),
    /// [`PublishError::NotSequenced`](crate::PublishError::NotSequenced)).
    ///
    /// ```
    /// # fn example(conn: &mut throng::Conn<'_, ()>) {
    /// let price = 97_000;
    /// conn.to("trades")
    ///     .numbered(move |at| format!(r#"{{"offset":{},"price":{price}}}"#, at.offset))
    ///     .publish();
    /// # }
    /// ```
    pub fn numbered<M, F>(self, make: F) -> Publication<'a, P>
    where
        M: Into<OwnedMessage>,
        F: FnOnce(Position) -> M + Send + 'static,
    {
        Publication {
            to: self,
            content: Content::Numbered(Make::new(make)),
        }
    }

    /// A text message of `value` as JSON, which the fan-out pool makes
    /// ([`Config::fanout_workers`](field@crate::Config::fanout_workers)), so that a large value does not stall
    /// whoever publishes it.
    ///
    /// When `value` cannot be represented, or its `Serialize` panics, nobody is sent anything: the whole
    /// receipt says so ([`ReceiptError`]), or the log where none was asked for.
    ///
    /// ```no_run
    /// # async fn example(engine: &throng::EngineHandle) -> Result<(), throng::ReceiptError> {
    /// let board: Vec<(String, u64)> = (0..10_000).map(|n| (format!("player {n}"), n)).collect();
    /// engine.to("players").json_later(board).publish_with_receipt().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn json_later(self, value: impl Serialize + Send + 'static) -> Publication<'a, P> {
        Publication {
            to: self,
            content: Content::Later(Later::json(value)),
        }
    }
}

/// Typed events, as clients of a [`Router`](crate::Router) expect them.
impl<'a, P: Publisher> To<'a, P> {
    /// A text message that tells clients of an event:
    /// `{"type":"notify","event":"user.online","data":{…},"timestamp":1707552000}`.
    ///
    /// ```
    /// # fn example(conn: &mut throng::Conn<'_, ()>) -> Result<(), serde_json::Error> {
    /// let data = serde_json::json!({"user": conn.user_id()});
    /// conn.to("general").notify("user.online", &data)?.publish();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When `data` cannot be represented: its `Serialize` fails, or a map has keys that are no
    /// strings.
    pub fn notify(
        self,
        event: &str,
        data: &impl Serialize,
    ) -> Result<Publication<'a, P>, serde_json::Error> {
        let notify = Notify::new(event, data, self.publisher.unix_time());
        let text = serde_json::to_string(&notify)?;
        Ok(self.text(text))
    }

    /// The same by another codec.
    ///
    /// # Errors
    /// When `data` cannot be represented, with the codec's reason.
    pub fn notify_as<C: Codec>(
        self,
        codec: &C,
        event: &str,
        data: &impl Serialize,
    ) -> Result<Publication<'a, P>, String> {
        let mut message = Vec::new();
        let notify = Notify::new(event, data, self.publisher.unix_time());
        codec.write(&mut message, &notify)?;
        if C::IS_BINARY {
            return Ok(self.binary(message));
        }
        let text = String::from_utf8(message).map_err(|error| error.to_string())?;
        Ok(self.text(text))
    }
}

impl<P> To<'_, P> {
    /// Leaves out the connection whose handler this is. From outside there is none, and nobody
    /// is left out.
    pub fn except_self(mut self) -> Self {
        self.audience.except.extend(self.me);
        self
    }
}

impl<P: Publisher> Publication<'_, P> {
    /// Sends the message. What the outcome says and when it is a loss, the publisher's
    /// documentation tells ([`Conn::to`](crate::Conn::to),
    /// [`EngineHandle::to`](crate::EngineHandle::to)).
    pub fn publish(self) -> P::Outcome {
        self.publish_counted(None)
    }

    /// Sends the message, and has `then` called with the whole receipt: the counts of all shards, which
    /// add up to the audience.
    ///
    /// It is called exactly once, whatever becomes of the message, on the thread that reports last:
    /// a shard's mostly, or this one before it goes on. It must not block. A panic in it is logged and
    /// costs nothing else.
    ///
    /// ```
    /// # fn example(conn: &mut throng::Conn<'_, ()>) {
    /// let publisher = conn.handle();
    /// conn.to("general").text("hello").publish_then(move |receipt| {
    ///     if receipt.is_ok_and(|receipt| receipt.dropped > 0) {
    ///         // There is nobody to tell that the publisher has gone.
    ///         let _ = publisher.send("not everybody got it");
    ///     }
    /// });
    /// # }
    /// ```
    pub fn publish_then<F>(self, then: F) -> P::Outcome
    where
        F: FnOnce(Result<Receipt, ReceiptError>) + Send + 'static,
    {
        let tally = TallyShare::calling(then);
        let outcome = self.publish_counted(Some(&tally));
        P::settle(&outcome, tally);
        outcome
    }

    fn publish_counted(self, tally: Option<&TallyShare>) -> P::Outcome {
        let To {
            publisher,
            audience,
            lane,
            key,
            ..
        } = self.to;
        let mut outgoing = sealed::Outgoing {
            audience: &audience,
            opcode: OpCode::Text,
            payload: &[],
            lane,
            key: key.as_deref(),
            tally,
        };
        match self.content {
            Content::Ready(opcode, payload) => {
                (outgoing.opcode, outgoing.payload) = (opcode, &payload);
                publisher.publish(&outgoing)
            }
            Content::Later(later) => publisher.publish_later(&outgoing, later),
            Content::Numbered(make) => publisher.publish_numbered(sealed::Numbered {
                audience: &audience,
                make,
                tally,
            }),
        }
    }
}

impl Publication<'_, FromOutside<'_>> {
    /// Sends the message and gives the whole receipt, once every shard has answered: the counts of all
    /// shards, which add up to the audience. Where mailboxes were full, it says so
    /// ([`Receipt::refused`]).
    pub fn publish_with_receipt(self) -> PendingReceipt {
        let (share, tally) = TallyShare::fetched();
        let outcome = self.publish_counted(Some(&share));
        FromOutside::settle(&outcome, share);
        PendingReceipt::new(tally)
    }
}

/// The opcode a message travels under.
#[inline]
pub(crate) fn opcode(message: Message<'_>) -> OpCode {
    match message {
        Message::Text(_) => OpCode::Text,
        Message::Binary(_) => OpCode::Binary,
    }
}

impl<P> fmt::Debug for To<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let To {
            audience,
            lane,
            key,
            ..
        } = self;
        f.debug_struct("To")
            .field("audience", audience)
            .field("lane", lane)
            .field("key", key)
            .finish_non_exhaustive()
    }
}

impl<P> fmt::Debug for Publication<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Publication");
        shown.field("to", &self.to);
        match &self.content {
            Content::Ready(opcode, payload) => {
                shown.field("opcode", opcode).field("bytes", &payload.len())
            }
            Content::Later(later) => shown.field("later", later),
            Content::Numbered(make) => shown.field("make", make),
        };
        shown.finish()
    }
}
