//! What a service implements: how its connections are admitted, and what happens on them.

#[cfg(feature = "http")]
use std::any::Any;
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use throng_transport::{Peer, Secured};

use crate::attributes::Attributes;
use crate::conn::Conn;
use crate::event::Close;
use crate::gap::Gap;
use crate::owned::OwnedMessage;
use crate::protocol::handshake::UpgradeRequest;
use crate::protocol::message::Message;
use crate::room_events::{PresenceChange, RoomDeleted};

/// A service's logic. One value serves all connections, from all shards at once.
///
/// Every method runs on the shard of its connection and must not block: while it does, nothing
/// else happens on that shard. A panic costs the one connection (closed with 1011).
///
/// ```
/// use throng::{Accept, Close, Conn, Handler, Message, Reject, Upgrade};
///
/// struct Chat;
///
/// impl Handler for Chat {
///     type State = String;
///
///     fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<String>, Reject> {
///         let name = request.query_value("name").ok_or(Reject::new(400).text("who are you?"))?;
///         Ok(Accept::new(name.into_owned()))
///     }
///
///     fn on_open(&self, conn: &mut Conn<'_, String>) {
///         if let Err(full) = conn.join("lobby") {
///             conn.close(1013.into(), &full.to_string());
///         }
///     }
///
///     fn on_message(&self, conn: &mut Conn<'_, String>, message: Message<'_>) {
///         if let Some(text) = message.as_text() {
///             let line = format!("{}: {text}", conn.state());
///             conn.to("lobby").text(&line).publish();
///         }
///     }
///
///     fn on_close(&self, conn: &mut Conn<'_, String>, _: &Close) {
///         let line = format!("{} has left", conn.state());
///         conn.to("lobby").text(&line).publish();
///     }
/// }
/// ```
pub trait Handler: Send + Sync + 'static {
    /// What the service keeps for each connection. It lives on the connection's shard, from
    /// [`on_upgrade`](Handler::on_upgrade) until [`on_close`](Handler::on_close) has returned. Where shards
    /// are tasks ([`Backend::Tokio`](crate::Backend::Tokio)) it moves between threads with its shard.
    type State: Send + 'static;

    /// Decides about a request for an upgrade, which is sound and of an allowed origin. In an engine that is
    /// mounted ([`EngineHandle::upgrade`](crate::EngineHandle::upgrade)) it is called where that is.
    ///
    /// # Errors
    /// A [`Reject`] is what the client is answered instead.
    fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<Self::State>, Reject>;

    /// The connection is open; what is sent here arrives first.
    fn on_open(&self, conn: &mut Conn<'_, Self::State>) {
        let _ = conn;
    }

    /// A message has arrived. It is borrowed from the shard's receive buffer.
    fn on_message(&self, conn: &mut Conn<'_, Self::State>, message: Message<'_>);

    /// Makes the message that tells a connection what it has missed.
    ///
    /// What the [overflow policy](crate::Overflow) takes from a connection that is behind is told it
    /// once it reads again, that is, when the send that it kept waiting is done: one message for each
    /// room, in the place of the loss. Where the oldest messages are dropped, that is before
    /// everything on the normal lane; where the newest are refused, behind everything. `None` tells
    /// nothing.
    ///
    /// By default it is a text of JSON ([`Gap::to_json`]).
    ///
    /// ```
    /// # use throng::{Accept, Conn, Gap, Handler, Message, OwnedMessage, Reject, Upgrade};
    /// # struct Ticker;
    /// # impl Handler for Ticker {
    /// #     type State = ();
    /// #     fn on_upgrade(&self, _: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
    /// #         Ok(Accept::new(()))
    /// #     }
    /// #     fn on_message(&self, _: &mut Conn<'_, ()>, _: Message<'_>) {}
    /// fn gap_notice(&self, _: &Conn<'_, ()>, gap: &Gap<'_>) -> Option<OwnedMessage> {
    ///     let room = gap.room?;
    ///     Some(format!("{} of {room} are missing", gap.missed).into())
    /// }
    /// # }
    /// ```
    fn gap_notice(&self, conn: &Conn<'_, Self::State>, gap: &Gap<'_>) -> Option<OwnedMessage> {
        let _ = conn;
        Some(gap.to_json())
    }

    /// Makes the message that tells the members of a room that it was
    /// [deleted](crate::EngineHandle::delete_room). They leave it then; `None` tells them nothing.
    ///
    /// It is called once on each shard that has members. By default the message is a text of JSON
    /// ([`RoomDeleted::to_json`]).
    fn room_deleted(&self, deleted: &RoomDeleted<'_>) -> Option<OwnedMessage> {
        Some(deleted.to_json())
    }

    /// Makes the message that tells the members of a room with
    /// [presence](crate::RoomOptions::presence) which users have joined and left it. `None` tells them nothing.
    ///
    /// It is called on one shard of the room's. By default the message is a text of JSON
    /// ([`PresenceChange::to_json`]).
    fn presence_notice(&self, change: &PresenceChange<'_>) -> Option<OwnedMessage> {
        Some(change.to_json())
    }

    /// An open connection has ended. It can be sent nothing any more, but is still in its rooms.
    fn on_close(&self, conn: &mut Conn<'_, Self::State>, close: &Close) {
        let _ = (conn, close);
    }
}

/// The handler of [`Builder::on_message`](crate::Builder::on_message).
pub(crate) struct OnMessage<F>(pub(crate) F);

impl<F> Handler for OnMessage<F>
where
    F: Fn(&mut Conn<'_, ()>, Message<'_>) + Send + Sync + 'static,
{
    type State = ();

    fn on_upgrade(&self, _: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        (self.0)(conn, message);
    }
}

/// A request for an upgrade.
#[derive(Debug)]
pub struct Upgrade<'a> {
    pub(crate) request: &'a UpgradeRequest<'a, 'a>,
    pub(crate) peer: Peer,
    pub(crate) client: Option<IpAddr>,
    pub(crate) subprotocol: Option<&'a str>,
    pub(crate) secured: Option<&'a Secured>,
    /// In seconds since 1970.
    pub(crate) unix_time: u64,
}

impl<'a> Upgrade<'a> {
    /// The method, which is `GET` (RFC 6455 §4.1).
    pub fn method(&self) -> &'static str {
        "GET"
    }

    /// The path as sent, without query.
    pub fn path(&self) -> &'a str {
        self.request.path()
    }

    /// The query as sent, without `?`.
    pub fn query(&self) -> Option<&'a str> {
        self.request.query()
    }

    /// The first value of that name in the query, decoded as HTML forms are encoded (`%20` and
    /// `+` are spaces). What is no UTF-8 is replaced by `U+FFFD`.
    pub fn query_value(&self, name: &str) -> Option<Cow<'a, str>> {
        form_urlencoded::parse(self.query()?.as_bytes())
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The host and port that the client asked for.
    pub fn host(&self) -> &'a str {
        self.request.host()
    }

    /// The origin of the page that opened the connection; `None` when it was no browser.
    pub fn origin(&self) -> Option<&'a str> {
        self.request.origin()
    }

    /// The first header of that name (in any case) whose value is UTF-8.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.request.header(name)
    }

    /// All headers in the order received.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.request.headers()
    }

    /// The subprotocols that the client offers, the preferred one first.
    pub fn subprotocols(&self) -> impl Iterator<Item = &'a str> {
        self.request.protocols()
    }

    /// The subprotocol chosen from `subprotocols` in the configuration.
    pub fn subprotocol(&self) -> Option<&'a str> {
        self.subprotocol
    }

    /// Who is at the other end of the socket: behind a proxy, that.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// The address at the other end of the socket; `None` over a Unix socket. Behind a proxy it is the proxy's.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.peer.address()
    }

    /// The client's address, as far as it is known: what the PROXY protocol says
    /// ([`proxy_protocol`](field@crate::Config::proxy_protocol)), and else [`remote_addr`](Upgrade::remote_addr)'s.
    /// Where that is one of the [`trusted_proxies`](field@crate::Config::trusted_proxies), it is the last one in
    /// `X-Forwarded-For` that is none of theirs; `Forwarded` (RFC 7239) is not read. An IPv4 address is told as such, also over IPv6. `None` over a
    /// Unix socket whose other end is not trusted to say, or does not.
    pub fn client_addr(&self) -> Option<IpAddr> {
        self.client
    }

    /// Whether the connection speaks TLS with this engine. Behind a proxy that does it is not.
    pub fn is_secure(&self) -> bool {
        self.secured.is_some()
    }

    /// The client's certificate and those that lead to its authority, as DER, verified; empty when it
    /// showed none.
    pub fn peer_certificates(&self) -> &'a [Box<[u8]>] {
        self.secured
            .map_or(&[], |secured| &secured.peer_certificates)
    }

    /// The server's name that the client asked TLS for (SNI), in lower case. The client's to choose.
    pub fn server_name(&self) -> Option<&'a str> {
        self.secured?.server_name.as_deref()
    }
}

/// Lets a client in.
#[derive(Debug)]
#[must_use]
pub struct Accept<S> {
    pub(crate) state: S,
    pub(crate) user_id: Option<Box<str>>,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) subprotocol: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) attributes: Attributes,
}

impl<S> Accept<S> {
    /// Lets the client in, with this state for its connection.
    pub fn new(state: S) -> Accept<S> {
        Accept {
            state,
            user_id: None,
            metadata: Vec::new(),
            subprotocol: None,
            headers: Vec::new(),
            attributes: Attributes::default(),
        }
    }

    /// The same without the state, and the state.
    pub(crate) fn without_state(self) -> (Accept<()>, S) {
        let accept = Accept {
            state: (),
            user_id: self.user_id,
            metadata: self.metadata,
            subprotocol: self.subprotocol,
            headers: self.headers,
            attributes: self.attributes,
        };
        (accept, self.state)
    }

    /// Whose connection it is ([`Conn::user_id`]).
    pub fn user_id(mut self, id: impl Into<String>) -> Accept<S> {
        self.user_id = Some(id.into().into_boxed_str());
        self
    }

    /// Something to be remembered of the connection ([`Conn::metadata`]).
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Accept<S> {
        self.metadata.push((name.into(), value.into()));
        self
    }

    /// Something to be kept for the connection beside its state ([`Conn::attributes`]).
    pub fn attribute<T: Send + 'static>(mut self, value: T) -> Accept<S> {
        self.attributes.insert(value);
        self
    }

    /// Answers with this subprotocol in place of the one chosen from the configuration.
    ///
    /// It must be one that the client offers: otherwise the client is answered 500.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Accept<S> {
        self.subprotocol = Some(name.into());
        self
    }

    /// The same with its state in a box.
    #[cfg(feature = "http")]
    pub(crate) fn boxed(self) -> Accept<Box<dyn Any + Send>>
    where
        S: Send + 'static,
    {
        Accept {
            state: Box::new(self.state),
            user_id: self.user_id,
            metadata: self.metadata,
            subprotocol: self.subprotocol,
            headers: self.headers,
            attributes: self.attributes,
        }
    }

    /// Adds a header to the answer.
    ///
    /// The client is answered 500 when the name is no token or one that the handshake writes
    /// itself, or when the value has control characters.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Accept<S> {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// Turns a client away.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Reject {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

impl Reject {
    /// Answers with this HTTP status, from 300 to 599; another one is answered as 500. With 304
    /// the body is left out, since HTTP allows none.
    pub fn new(status: u16) -> Reject {
        Reject {
            status,
            headers: Vec::new(),
            content_type: String::new(),
            body: Vec::new(),
        }
    }

    /// The answer's body, as plain text.
    pub fn text(self, body: impl Into<String>) -> Reject {
        self.body("text/plain; charset=utf-8", body.into())
    }

    /// The answer's body.
    pub fn body(mut self, content_type: impl Into<String>, body: impl Into<Vec<u8>>) -> Reject {
        (self.content_type, self.body) = (content_type.into(), body.into());
        self
    }

    /// Adds a header to the answer; the conditions are those of [`Accept::header`].
    ///
    /// There is one `Content-Type`: that of the last call that gave one, be it this,
    /// [`body`](Reject::body) or [`text`](Reject::text).
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Reject {
        let (name, value) = (name.into(), value.into());
        if name.eq_ignore_ascii_case("Content-Type") {
            self.content_type = value;
        } else {
            self.headers.push((name, value));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_has_one_content_type() {
        let json = Reject::new(400).body("application/json", "{}");
        let as_text = Reject::new(400).text("{}");
        assert_eq!(
            as_text.header("content-type", "application/json"),
            json,
            "a header in place of what the body said"
        );
        let header_first = Reject::new(400).header("Content-Type", "text/html");
        assert_eq!(header_first.body("application/json", "{}"), json);
    }
}
