//! The opening handshake: what comes before a connection's first frame (RFC 6455 §4.2).

use std::sync::Arc;

#[cfg(feature = "http")]
use throng_transport::Detached;
use throng_transport::{Driver, SocketKey};

use super::compress::Encoding;
use super::connection::{NO_PROTOCOL, Particulars, Phase, Unhandled};
use super::core::{Core, Release};
use super::{Foreign, Shard, guard};
use crate::attributes::Attributes;
use crate::budget::Pressure;
use crate::config::{Compression, Config};
use crate::event::{ErrorKind, Rejection};
use crate::handler::{Accept, Handler, Reject, Upgrade};
#[cfg(feature = "http")]
use crate::http::{Place, Visitor};
use crate::limits::{REFUSAL_LINGER, RETRY_AFTER_SECONDS};
use crate::protocol::Role;
use crate::protocol::deflate::{Accepted, negotiate};
use crate::protocol::handshake::{
    Head, MAX_HEAD, MAX_HEADERS, Refusal, UpgradeRequest, accept_key, check_header,
    choose_protocol, head_end, parse_head, write_accept, write_response,
};
use crate::protocol::message::Decoder;
use crate::room::Circle;
#[cfg(feature = "http")]
use crate::shared::HeldSeat;
use crate::shared::{Seat, Shared};

/// What clients are told once a drain has begun.
pub(super) const GOING_DOWN: &str = "the server is going down";

/// What clients are told where the memory budget is nearly used up.
pub(super) const SHORT_OF_MEMORY: &str = "the server is short of memory";

/// A connection that leaves the shard: it asked for no upgrade.
pub(super) struct Departure {
    pub(super) key: SocketKey,
    #[cfg(feature = "http")]
    pub(super) place: Place,
    /// What was received on it.
    #[cfg(feature = "http")]
    pub(super) head: Vec<u8>,
}

impl Departure {
    /// Moves the socket out of the driver. Its seat is held for as long as it is open.
    #[cfg(feature = "http")]
    pub(super) fn leave(self, seat: Seat, shared: &Arc<Shared>, driver: &mut impl Driver) {
        let shared = Arc::clone(shared);
        let seat = HeldSeat { shared, seat };
        let Some(Detached {
            socket,
            mut undelivered,
        }) = driver.detach(self.key)
        else {
            return driver.close(self.key);
        };
        let mut head = self.head;
        head.append(&mut undelivered);
        match Visitor::new(socket) {
            Some(visitor) => self.place.hand_over(visitor, head, seat),
            None => tracing::warn!("a stream that the side door cannot go on with"),
        }
    }

    #[cfg(not(feature = "http"))]
    pub(super) fn leave(self, seat: Seat, shared: &Arc<Shared>, driver: &mut impl Driver) {
        driver.close(self.key);
        shared.discharge(seat);
    }
}

impl<H: Handler> Shard<H> {
    /// Handles bytes of a connection that has not been upgraded yet.
    #[cold]
    pub(super) fn handle_request(&mut self, key: SocketKey, bytes: &[u8]) {
        match self.core.connections[key.slot].unhandled.take() {
            None => {
                if !self.handle_head(key, bytes) {
                    let head = Unhandled::new(bytes, bytes.len());
                    self.core.connections[key.slot].unhandled = Some(head);
                }
            }
            Some(mut head) => {
                head.extend(bytes);
                let is_over = head.bytes.len() >= MAX_HEAD;
                let has_end = is_over || head_end(&head.bytes, head.seen).is_some();
                if !has_end || !self.handle_head(key, &head.bytes) {
                    head.seen = head.bytes.len();
                    self.core.connections[key.slot].unhandled = Some(head);
                }
            }
        }
    }

    /// Handles all that was received so far; returns false when more is needed.
    fn handle_head(&mut self, key: SocketKey, bytes: &[u8]) -> bool {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        match parse_head(bytes, &mut headers) {
            Ok(Head::Incomplete) => return false,
            Ok(Head::Upgrade(request)) => self.handle_upgrade(key, &request),
            Ok(Head::Other) => self.handle_other(key, bytes),
            Err(refusal) => {
                let Refusal { status, reason } = refusal;
                let why = Rejection::Malformed;
                self.core
                    .refuse(key, why, status, refusal.headers(), reason);
            }
        }
        true
    }

    fn handle_upgrade(&mut self, key: SocketKey, request: &UpgradeRequest<'_, '_>) {
        let _span = self.core.span_of_upgrade(key);
        let shared = &self.core.shared;
        if shared.is_draining() {
            return self
                .core
                .refuse_for_now(key, Rejection::Draining, GOING_DOWN);
        }
        if shared.budget.pressure() >= Pressure::Refuse {
            shared.budget.count_refused();
            return self
                .core
                .refuse_for_now(key, Rejection::Memory, SHORT_OF_MEMORY);
        }
        if !shared.may_open(&mut self.core.connections[key.slot].seat) {
            return self
                .core
                .refuse_for_now(key, Rejection::Full, "the server is full");
        }
        let config = &shared.config;
        let agreed = match agree_on_compression(config, request) {
            Ok(agreed) => agreed,
            Err(refusal) => {
                let Refusal { status, reason } = refusal;
                let why = Rejection::Malformed;
                return self
                    .core
                    .refuse(key, why, status, refusal.headers(), reason);
            }
        };
        let chosen = choose_protocol(&config.subprotocols, request);
        let upgrade = Upgrade {
            request,
            peer: self.core.connections[key.slot].peer(),
            subprotocol: chosen.map(|index| &*config.subprotocols[index]),
            secured: self.secured.get(&key),
            unix_time: self.core.unix_time(),
        };
        // Origins may be the service's code as well.
        let decision = guard(|| {
            let is_allowed =
                config
                    .origins
                    .allows_on(request.origin(), request.host(), upgrade.is_secure());
            is_allowed.then(|| self.handler.on_upgrade(&upgrade))
        });
        match decision {
            Some(Some(Ok(accept))) => self.accept(key, request, accept, chosen, agreed.as_ref()),
            Some(Some(Err(reject))) => self.core.reject(key, reject),
            Some(None) => {
                let why = Rejection::Origin;
                self.core.refuse(key, why, 403, &[], "origin not allowed");
            }
            None => {
                tracing::error!(connection = %self.core.id(key), "a handler panicked in on_upgrade");
                self.core.note_error(ErrorKind::Panic, None);
                self.core.fail_upgrade(key);
            }
        }
    }

    fn accept(
        &mut self,
        key: SocketKey,
        request: &UpgradeRequest<'_, '_>,
        accept: Accept<H::State>,
        mut chosen: Option<usize>,
        compression: Option<&Accepted>,
    ) {
        let Accept {
            state,
            user_id,
            metadata,
            mut subprotocol,
            headers,
            attributes,
        } = accept;
        let attributes = Foreign::new(attributes);
        let offers = |name: &String| request.protocols().any(|offered| offered == name);
        let is_offered = subprotocol.as_ref().is_none_or(offers);
        if !is_offered
            || !headers
                .iter()
                .all(|(name, value)| check_header(name, value))
        {
            tracing::error!(
                ?subprotocol,
                ?headers,
                "on_upgrade gave an answer that cannot be sent"
            );
            return self.take_back(key, state);
        }
        let config = &self.core.shared.config;
        if let Some(own) = &subprotocol {
            chosen = config.subprotocols.iter().position(|listed| listed == own);
            subprotocol.take_if(|_| chosen.is_some());
        }
        let listed = chosen.map(|index| &*config.subprotocols[index]);
        let mut response = Vec::with_capacity(256);
        let protocol = listed.or(subprotocol.as_deref());
        write_accept(
            &mut response,
            &accept_key(request.key()),
            protocol,
            compression.map(|agreed| &*agreed.response),
            &headers,
        );

        let subprotocol = subprotocol.map(String::into_boxed_str);
        let particulars = Particulars {
            user_id,
            metadata,
            subprotocol,
            attributes,
            ..Particulars::default()
        };
        let connection = &mut self.core.connections[key.slot];
        connection.protocol = chosen
            .and_then(|at| u8::try_from(at).ok())
            .unwrap_or(NO_PROTOCOL);
        connection.particulars = particulars.into_box();
        if let Some(Accepted { params, .. }) = compression {
            connection.decoder = Decoder::with_compression(Role::Server, params);
            let encoding = Encoding::agreed(params);
            self.core.connections.set_encoding(key.slot, encoding);
            self.core.shared.windows.enter(encoding);
        }
        self.core.send_head(key.slot, &response);
        self.open(key, state);
    }

    /// Answers 500 in place of an answer that cannot be sent.
    #[cold]
    fn take_back(&mut self, key: SocketKey, state: H::State) {
        // The state's `Drop` is the service's code.
        if guard(|| drop(state)).is_none() {
            tracing::error!("a state panicked when it was dropped");
            self.core.note_error(ErrorKind::Panic, None);
        }
        self.core.note_error(ErrorKind::BadAnswer, None);
        self.core.fail_upgrade(key);
    }

    fn open(&mut self, key: SocketKey, state: H::State) {
        self.secured.remove(&key);
        let tick = self.core.tick;
        let connection = &mut self.core.connections[key.slot];
        connection.phase = Phase::Open;
        connection.marks.set_was_open();
        (connection.since.opened, connection.active) = (tick, tick);
        let slot = key.slot as usize;
        if slot >= self.states.len() {
            self.states.resize_with(slot + 1, || None);
        }
        self.states[slot] = Some(state);
        self.core.start_heartbeat(key.slot);
        self.core.deliver_run_of(Circle::Everyone);
        self.core.rooms.enter(key.slot);
        self.core.enter_user(key.slot);
        self.core.shared.count_opened();
        self.core.note_opened(key);
        self.call(key, H::on_open);
    }

    /// A request for something else goes to the side door.
    #[cfg(feature = "http")]
    fn handle_other(&mut self, key: SocketKey, bytes: &[u8]) {
        match self.side_door.reserve() {
            Some(place) => {
                self.core.connections[key.slot].phase = Phase::Gone;
                self.core.note_visitor();
                self.departing.push(Departure {
                    key,
                    place,
                    head: bytes.to_vec(),
                });
            }
            None => {
                let why = Rejection::Busy;
                self.core
                    .refuse_for_now(key, why, "too many requests at once");
            }
        }
    }

    /// A wait has brought more of a connection that leaves.
    #[cold]
    pub(super) fn take_along(&mut self, key: SocketKey, bytes: &[u8]) {
        #[cfg(feature = "http")]
        if let Some(departure) = self.departing.iter_mut().find(|left| left.key == key) {
            departure.head.extend_from_slice(bytes);
        }
        #[cfg(not(feature = "http"))]
        let _ = (key, bytes);
    }

    #[cfg(not(feature = "http"))]
    fn handle_other(&mut self, key: SocketKey, _: &[u8]) {
        const WEBSOCKET_ONLY: [(&str, &str); 2] =
            [("Upgrade", "websocket"), ("Connection", "Upgrade, close")];
        let (why, text) = (Rejection::Malformed, "only WebSocket is spoken here");
        self.core.refuse(key, why, 426, &WEBSOCKET_ONLY, text);
    }
}

/// The answer to the client's offer of compression (RFC 7692 §5), where there is one. What is no
/// offer at all is refused, wanted or not (RFC 6455 §9.1).
fn agree_on_compression(
    config: &Config,
    request: &UpgradeRequest<'_, '_>,
) -> Result<Option<Accepted>, Refusal> {
    let is_offer = |name: &str| name.eq_ignore_ascii_case("Sec-WebSocket-Extensions");
    let lines = request.headers().filter(|(name, _)| is_offer(name));
    let wishes = config.compression.as_ref().map(Compression::params);
    let agreed = negotiate(lines.map(|(_, value)| value), &wishes.unwrap_or_default())?;
    Ok(agreed.filter(|_| wishes.is_some()))
}

impl Core {
    /// Answers a request with an error and a plain text.
    #[cold]
    pub(super) fn refuse(
        &mut self,
        key: SocketKey,
        why: Rejection,
        status: u16,
        headers: &[(&str, &str)],
        text: &str,
    ) {
        self.respond(
            key,
            why,
            status,
            headers,
            "text/plain; charset=utf-8",
            text.as_bytes(),
        );
    }

    /// Answers 503: a later attempt may succeed.
    pub(super) fn refuse_for_now(&mut self, key: SocketKey, why: Rejection, text: &str) {
        let headers = [("Retry-After", RETRY_AFTER_SECONDS)];
        self.refuse(key, why, 503, &headers, text);
    }

    /// Answers 500: the service has failed.
    fn fail_upgrade(&mut self, key: SocketKey) {
        self.refuse(key, Rejection::Failed, 500, &[], "internal error");
    }

    fn reject(&mut self, key: SocketKey, reject: Reject) {
        let Reject {
            status,
            headers,
            content_type,
            body,
        } = reject;
        let is_sound = (300..=599).contains(&status)
            && check_header("Content-Type", &content_type)
            && headers
                .iter()
                .all(|(name, value)| check_header(name, value));
        if !is_sound {
            tracing::error!(
                status,
                ?headers,
                "on_upgrade gave an answer that cannot be sent"
            );
            self.note_error(ErrorKind::BadAnswer, None);
            return self.fail_upgrade(key);
        }
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        let why = Rejection::Service;
        self.respond(key, why, status, &headers, &content_type, &body);
    }

    /// Sends a whole response; what remains is the peer's end of the stream.
    fn respond(
        &mut self,
        key: SocketKey,
        why: Rejection,
        status: u16,
        headers: &[(&str, &str)],
        content_type: &str,
        body: &[u8],
    ) {
        tracing::debug!(connection = %self.id(key), status, "an upgrade was refused");
        let mut response = Vec::with_capacity(256 + body.len());
        let content_type = (!content_type.is_empty()).then_some(content_type);
        write_response(&mut response, status, headers, content_type, body);
        if u32::try_from(response.len()).is_err() {
            return self.drop_connection(key, Release::Close);
        }
        let connection = &mut self.connections[key.slot];
        connection.phase = Phase::Lingering;
        connection.unhandled = None;
        let peer = connection.peer();
        self.note_rejected(peer, why, Some(status));
        self.send_head(key.slot, &response);
        let linger = self.shared.config.close_timeout.min(REFUSAL_LINGER);
        self.expect_end(key.slot, linger);
    }

    /// Queues the head of a response, and its body if it has one.
    fn send_head(&mut self, slot: u32, response: &[u8]) {
        let head = self
            .chunks
            .write(response.len(), |out| out.copy_from_slice(response));
        self.connections.push_control(slot, &head);
    }
}

impl Particulars {
    /// Itself, unless it says nothing.
    fn into_box(self) -> Option<Box<Particulars>> {
        let says_nothing = self.user_id.is_none()
            && self.metadata.is_empty()
            && self.subprotocol.is_none()
            && self.attributes.get().is_none_or(Attributes::is_empty);
        (!says_nothing).then(|| Box::new(self))
    }
}
