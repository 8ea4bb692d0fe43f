//! The opening handshake: what comes before a connection's first frame (RFC 6455 §4.2).

use std::sync::Arc;

#[cfg(feature = "http")]
use throng_transport::Detached;
#[cfg(feature = "admin")]
use throng_transport::Secured;
use throng_transport::{Driver, SocketKey};

use super::Shard;
use super::compress::Encoding;
use super::connection::{Connection, Phase, Unhandled};
use super::core::{Core, Release};
#[cfg(feature = "admin")]
use super::refer::{Annex, Referred};
use crate::event::Rejection;
use crate::handler::{Handler, Upgrade};
#[cfg(feature = "http")]
use crate::http::{Place, Visitor};
use crate::limits::{REFUSAL_LINGER, RETRY_AFTER_SECONDS};
use crate::opening::{Asked, Denial, Opening, decide};
use crate::protocol::Role;
use crate::protocol::deflate::Accepted;
use crate::protocol::handshake::{
    Head, MAX_HEAD, MAX_HEADERS, UpgradeRequest, accept_key, head_end, parse_head, write_accept,
    write_response,
};
use crate::protocol::message::Decoder;
use crate::room::Circle;
#[cfg(feature = "http")]
use crate::shared::HeldSeat;
use crate::shared::Shared;

/// A connection that leaves the shard.
pub(super) struct Departure {
    pub(super) key: SocketKey,
    #[cfg(feature = "http")]
    pub(super) destination: Destination,
    /// What was received on it.
    #[cfg(feature = "http")]
    pub(super) head: Vec<u8>,
}

/// Where it goes.
#[cfg(feature = "http")]
pub(super) enum Destination {
    /// It asked for no upgrade.
    SideDoor(Place),
    /// It asked for what another engine serves.
    #[cfg(feature = "admin")]
    Annex(Annex, Option<Secured>),
}

impl Departure {
    /// Moves the socket out of the driver. Its seat, and its place among those of its address, are held for as long as
    /// it is open.
    #[cfg(feature = "http")]
    pub(super) fn leave(
        self,
        connection: &mut Connection,
        shared: &Arc<Shared>,
        driver: &mut impl Driver,
    ) {
        let seat = HeldSeat::new(shared, connection.seat);
        let particulars = connection.particulars.as_mut();
        let seat = (seat, particulars.and_then(|it| it.counted.take()));
        let Some(Detached {
            socket,
            mut undelivered,
        }) = driver.detach(self.key)
        else {
            return driver.close(self.key);
        };
        let mut head = self.head;
        head.append(&mut undelivered);
        let peer = connection.peer();
        match self.destination {
            Destination::SideDoor(place) => match Visitor::new(socket) {
                Some(visitor) => place.hand_over(visitor, peer, head, seat),
                None => tracing::warn!("a stream that the side door cannot go on with"),
            },
            #[cfg(feature = "admin")]
            Destination::Annex(annex, secured) => annex.take(Referred {
                socket,
                peer,
                announced: connection
                    .marks
                    .is_announced()
                    .then(|| connection.told_client()),
                secured,
                received: head,
                seat,
            }),
        }
    }

    #[cfg(not(feature = "http"))]
    pub(super) fn leave(
        self,
        connection: &mut Connection,
        shared: &Arc<Shared>,
        driver: &mut impl Driver,
    ) {
        driver.close(self.key);
        shared.discharge(connection.seat);
    }
}

/// What visitors are told where there are too many.
#[cfg(feature = "http")]
const TOO_MANY_REQUESTS: &str = "too many requests at once";

impl<H: Handler> Shard<H> {
    /// Handles bytes of a connection that has not been upgraded yet.
    #[cold]
    pub(super) fn handle_request(&mut self, key: SocketKey, bytes: &[u8]) {
        if self.core.shared.proxies.announce {
            if self.keep_for_tls(key, bytes) {
                return;
            }
            if self.core.unannounced.contains(&key) {
                return self.handle_announcement(key, bytes);
            }
        }
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
            #[cfg(feature = "admin")]
            Ok(Head::Upgrade(request)) if self.is_elsewhere(request.path()) => {
                self.refer(key, bytes);
            }
            Ok(Head::Upgrade(request)) => self.handle_upgrade(key, &request),
            Ok(Head::Other) => self.handle_other(key, bytes),
            Err(refusal) => self.core.deny(key, &refusal.into()),
        }
        true
    }

    fn handle_upgrade(&mut self, key: SocketKey, request: &UpgradeRequest<'_, '_>) {
        let _span = self.core.span_of_upgrade(key);
        let unix_time = self.core.unix_time();
        let connection = &mut self.core.connections[key.slot];
        let announced = connection.told_client();
        let asked = Asked {
            request,
            peer: Some(connection.peer()),
            announced,
            is_unnamed: connection.marks.is_announced() && announced.is_none(),
            secured: self.secured.get(&key),
            unix_time,
        };
        let (shared, handler) = (&self.core.shared, &self.handler);
        let ask = |upgrade: &Upgrade<'_>| handler.on_upgrade(upgrade);
        match decide(shared, &mut connection.seat, asked, ask) {
            Ok(opening) => {
                let agreed = opening.compression.as_ref();
                let mut response = Vec::with_capacity(256);
                write_accept(
                    &mut response,
                    &accept_key(request.key()),
                    opening.subprotocol(&shared.config),
                    agreed.map(|agreed| &*agreed.response),
                    &opening.headers,
                );
                self.core.send_head(key.slot, &response);
                self.core.leave_handshake(key.slot);
                self.open(key, opening);
            }
            Err(denial) => self.core.deny(key, &denial),
        }
    }

    /// Opens a connection, as it was decided.
    pub(super) fn open(&mut self, key: SocketKey, opening: Opening<H::State>) {
        self.secured.remove(&key);
        let tick = self.core.tick;
        let connection = &mut self.core.connections[key.slot];
        connection.protocol = opening.protocol;
        connection.particulars = opening.particulars;
        connection.phase = Phase::Open;
        connection.marks.set_was_open();
        (connection.since.opened, connection.active) = (tick, tick);
        if let Some(Accepted { params, .. }) = &opening.compression {
            connection.decoder = Decoder::with_compression(Role::Server, params);
            let encoding = Encoding::agreed(params);
            self.core.connections.set_encoding(key.slot, encoding);
            self.core.shared.windows.enter(encoding);
        }
        let slot = key.slot as usize;
        if slot >= self.states.len() {
            self.states.resize_with(slot + 1, || None);
        }
        self.states[slot] = Some(opening.state);
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
        match self.side_door.reserve(bytes) {
            Some(place) => self.depart(key, Destination::SideDoor(place), bytes),
            None => {
                let why = Rejection::Busy;
                self.core.refuse_for_now(key, why, TOO_MANY_REQUESTS);
            }
        }
    }

    #[cfg(feature = "http")]
    fn depart(&mut self, key: SocketKey, destination: Destination, bytes: &[u8]) {
        self.core.leave_handshake(key.slot);
        self.core.connections[key.slot].phase = Phase::Gone;
        self.core.note_visitor();
        self.departing.push(Departure {
            key,
            destination,
            head: bytes.to_vec(),
        });
    }

    /// Whether an upgrade of that path is another engine's to answer.
    #[cfg(feature = "admin")]
    fn is_elsewhere(&self, path: &str) -> bool {
        let annex = self.annex.as_ref();
        annex.is_some_and(|annex| *annex.path == *path)
    }

    #[cfg(feature = "admin")]
    fn refer(&mut self, key: SocketKey, bytes: &[u8]) {
        let Some(annex) = self.annex.clone() else {
            return;
        };
        if annex.is_full() {
            let why = Rejection::Busy;
            self.core.refuse_for_now(key, why, TOO_MANY_REQUESTS);
        } else {
            let secured = self.secured.remove(&key);
            self.depart(key, Destination::Annex(annex, secured), bytes);
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

    pub(super) fn deny(&mut self, key: SocketKey, denial: &Denial) {
        if let Some(fault) = denial.fault {
            self.note_error(fault, None);
        }
        let connection = &mut self.connections[key.slot];
        if denial.client.is_some() && denial.client != connection.client_addr() {
            connection.particulars.get_or_insert_default().client = denial.client;
        }
        let headers = denial.headers.iter();
        let headers: Vec<_> = headers.map(|(name, value)| (&**name, &**value)).collect();
        self.respond(
            key,
            denial.why,
            denial.status,
            &headers,
            &denial.content_type,
            &denial.body,
        );
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
        let is_secret = self.is_to_be_secured(self.connections[key.slot].peer());
        if is_secret && self.unannounced.contains(&key) {
            // Whoever expects TLS could not read it.
            return self.drop_for(key, Release::Close, why);
        }
        self.leave_handshake(key.slot);
        let connection = &mut self.connections[key.slot];
        connection.phase = Phase::Lingering;
        connection.unhandled = None;
        let (peer, client) = (connection.peer(), connection.client_addr());
        self.note_rejected(peer, client, why, Some(status));
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
