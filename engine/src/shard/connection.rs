//! One connection as its shard keeps it.

use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

use throng_transport::Peer;
use throng_transport::memory::Charge;

use super::compress::Encoding;
use super::dirty::Listed;
use super::guard::Foreign;
use super::hold::Held;
use super::invalid::InvalidMessages;
use super::jobs::JobList;
use super::outbox::{Outbox, Pushed};
use super::timer::Tick;
use super::wire::Trace;
use crate::address::Counted;
use crate::attributes::Attributes;
use crate::event::Counts;
#[cfg(all(unix, feature = "http"))]
use crate::http::Bridged;
use crate::protocol::message::Decoder;
use crate::room::RoomSet;
use crate::shared::Seat;
use crate::socket::Link;

/// Where a connection stands between accept and release.
///
/// ```text
///              101 sent             either side closes       both close frames seen
/// Handshake ─────────────→ Open ─────────────────────→ Closing ─────────→ Lingering
///     │ refused, 503                                      (peer's close is awaited)   (peer's end is awaited)
///     └──────────────────────────────────────────────────────────────────────↗
/// ```
/// From anywhere a lost socket or a deadline leads straight to release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The upgrade request is being received.
    Handshake,
    /// Messages flow.
    Open,
    /// Our close frame is queued or sent; the peer's has not come (RFC 6455 §7.1.2).
    Closing,
    /// Nothing more is said: what is queued is sent, then our side ends, then the peer's.
    Lingering,
    /// The socket is lost or to be dropped; the slot is released at the end of the turn.
    Gone,
}

/// What a delivery touches comes first and fills one cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Connection {
    pub(crate) outbox: Outbox,
    pub(crate) generation: u32,
    pub(crate) phase: Phase,
    /// Where it is listed to be flushed.
    pub(super) listed: Listed,
    /// Reading is paused.
    pub(crate) paused: bool,
    /// It is read once though it is behind, having been unheard for long.
    pub(crate) may_speak: bool,
    /// A ping was sent and nothing has been heard since.
    pub(crate) ping_unanswered: bool,
    /// Whether something that was received waits in `unhandled`.
    pub(crate) held: Held,
    /// What it counts as.
    pub(crate) seat: Seat,
    pub(crate) marks: Marks,
    /// Our close frame is the last of the outbox's messages.
    pub(crate) has_farewell: bool,
    /// How messages to it are encoded.
    pub(crate) encoding: Encoding,
    /// Index of the subprotocol in the configuration, or [`NO_PROTOCOL`].
    pub(crate) protocol: u8,
    pub(crate) counts: Traffic,
    pub(crate) decoder: Decoder,
    /// When a message last arrived.
    pub(crate) active: Tick,
    pub(crate) since: Since,
    /// What was unsent of the send in flight at `since.sending`.
    pub(crate) unsent: u32,
    /// How long it may stay what it is, unless it is open; how long it may go unheard, if it is.
    pub(crate) until: Tick,
    pub(crate) rooms: RoomSet,
    pub(crate) unhandled: Option<Box<Unhandled>>,
    pub(crate) particulars: Option<Box<Particulars>>,
    remote: Remote,
}

/// What is so or not, in one byte.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Marks(u8);

impl Marks {
    const WAS_OPEN: u8 = 1;
    const PEER_ENDED: u8 = 1 << 1;
    const FULL: u8 = 1 << 2;
    const TRACED: u8 = 1 << 3;
    const SHOWN: u8 = 1 << 4;
    const ANNOUNCED: u8 = 1 << 5;
    const REVISITED: u8 = 1 << 6;

    /// Whether the upgrade was accepted.
    pub(crate) fn was_open(self) -> bool {
        self.0 & Marks::WAS_OPEN != 0
    }

    pub(crate) fn set_was_open(&mut self) {
        self.0 |= Marks::WAS_OPEN;
    }

    /// Whether the peer's side of the stream has ended.
    pub(crate) fn peer_ended(self) -> bool {
        self.0 & Marks::PEER_ENDED != 0
    }

    pub(crate) fn set_peer_ended(&mut self) {
        self.0 |= Marks::PEER_ENDED;
    }

    /// Whether what takes its messages takes no more for now.
    #[inline]
    pub(crate) fn is_full(self) -> bool {
        self.0 & Marks::FULL != 0
    }

    pub(crate) fn set_full(&mut self, is_full: bool) {
        self.0 = self.0 & !Marks::FULL | if is_full { Marks::FULL } else { 0 };
    }

    /// Whether it began with a header of the PROXY protocol.
    pub(crate) fn is_announced(self) -> bool {
        self.0 & Marks::ANNOUNCED != 0
    }

    pub(crate) fn set_announced(&mut self) {
        self.0 |= Marks::ANNOUNCED;
    }

    /// Whether what takes its messages is listed to be looked at again.
    pub(super) fn is_revisited(self) -> bool {
        self.0 & Marks::REVISITED != 0
    }

    pub(super) fn set_revisited(&mut self, is_revisited: bool) {
        self.0 = self.0 & !Marks::REVISITED | if is_revisited { Marks::REVISITED } else { 0 };
    }

    /// Anything of it is logged.
    #[inline]
    pub(super) fn is_traced(self) -> bool {
        self.0 & Marks::TRACED != 0
    }

    /// How much of it is logged.
    pub(super) fn traced(self) -> Trace {
        match (self.is_traced(), self.0 & Marks::SHOWN != 0) {
            (false, _) => Trace::Off,
            (true, false) => Trace::Frames,
            (true, true) => Trace::Payloads,
        }
    }

    pub(super) fn set_traced(&mut self, trace: Trace) {
        self.0 &= !(Marks::TRACED | Marks::SHOWN);
        self.0 |= match trace {
            Trace::Off => 0,
            Trace::Frames => Marks::TRACED,
            Trace::Payloads => Marks::TRACED | Marks::SHOWN,
        };
    }
}

/// A [`Peer`] in half the space. A wider tag would have more values to spare than what lies in the
/// first cache line, and a slab would keep its own mark in it.
#[derive(Debug)]
#[repr(u8)]
enum Remote {
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
    Unix,
}

impl From<Peer> for Remote {
    fn from(peer: Peer) -> Remote {
        match peer {
            Peer::Tcp(SocketAddr::V4(address)) => Remote::V4(address),
            Peer::Tcp(SocketAddr::V6(address)) => Remote::V6(Box::new(address)),
            Peer::Unix => Remote::Unix,
        }
    }
}

/// [`Counts`] of every connection; those that few have are in their [`Particulars`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) messages_in: u64,
    pub(crate) bytes_in: u64,
    pub(crate) messages_out: u64,
    pub(crate) bytes_out: u64,
    pub(crate) dropped: u64,
}

/// [`Connection::protocol`] when none was agreed on.
pub(crate) const NO_PROTOCOL: u8 = u8::MAX;

/// When things began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Since {
    pub(crate) opened: Tick,
    /// The last ping.
    pub(crate) ping: Tick,
    /// The send in flight, or its last progress.
    pub(crate) sending: Tick,
}

/// What was received and is not handled yet: the first part of an upgrade request, or frames that
/// are held back.
#[derive(Debug)]
pub(crate) struct Unhandled {
    pub(crate) bytes: Vec<u8>,
    /// How many of the bytes have been seen: searched for the request's end, or handled.
    pub(crate) seen: usize,
    charge: Charge,
}

impl Unhandled {
    /// Keeps a copy of bytes of which so many have been seen.
    pub(crate) fn new(bytes: &[u8], seen: usize) -> Box<Unhandled> {
        let mut unhandled = Unhandled {
            bytes: Vec::new(),
            seen,
            charge: Charge::default(),
        };
        unhandled.extend(bytes);
        Box::new(unhandled)
    }

    /// Keeps more bytes, behind the others.
    pub(crate) fn extend(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
        self.charge.set(self.memory());
    }

    /// Bytes of memory held.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Unhandled>() + self.bytes.capacity()
    }
}

/// What few connections have: what `on_upgrade` said of them, invalid messages, and what came of
/// being slow.
#[derive(Debug, Default)]
pub(crate) struct Particulars {
    pub(crate) user_id: Option<Box<str>>,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) attributes: Foreign<Attributes>,
    pub(super) jobs: JobList,
    /// To the future that has the connection as a socket.
    pub(crate) link: Option<Arc<Link>>,
    /// The client's address where it is not the peer's, or counts.
    pub(crate) client: Option<IpAddr>,
    /// What it counts as of its client's connections, or until it is one, of its client's handshakes.
    pub(crate) counted: Option<Counted>,
    /// Ends what copies between it and a stream that is no socket.
    #[cfg(all(unix, feature = "http"))]
    pub(crate) bridged: Option<Bridged>,
    /// A subprotocol that the configuration does not list.
    pub(crate) subprotocol: Option<Box<str>>,
    pub(crate) invalid: InvalidMessages,
    /// [`Counts::conflated`].
    pub(crate) conflated: u64,
    /// [`Counts::notices`].
    pub(crate) notices: u64,
}

impl Particulars {
    /// What the service said of a connection when it was let in.
    pub(crate) fn given(
        user_id: Option<Box<str>>,
        metadata: Vec<(String, String)>,
        attributes: Foreign<Attributes>,
        subprotocol: Option<Box<str>>,
    ) -> Particulars {
        Particulars {
            user_id,
            metadata,
            attributes,
            subprotocol,
            ..Particulars::default()
        }
    }

    /// Itself, unless it says nothing.
    pub(crate) fn into_box(self) -> Option<Box<Particulars>> {
        let says_nothing = self.user_id.is_none()
            && self.metadata.is_empty()
            && self.subprotocol.is_none()
            && self.attributes.get().is_none_or(Attributes::is_empty);
        (!says_nothing).then(|| Box::new(self))
    }
}

impl Connection {
    pub(crate) fn new(generation: u32, peer: Peer, now: Tick) -> Connection {
        Connection {
            outbox: Outbox::default(),
            generation,
            phase: Phase::Handshake,
            listed: Listed::default(),
            paused: false,
            may_speak: false,
            ping_unanswered: false,
            held: Held::Nothing,
            seat: Seat::Regular,
            marks: Marks::default(),
            has_farewell: false,
            encoding: Encoding::default(),
            protocol: NO_PROTOCOL,
            counts: Traffic::default(),
            decoder: Decoder::default(),
            active: now,
            unsent: 0,
            until: now,
            since: Since {
                opened: now,
                ping: now,
                sending: now,
            },
            rooms: RoomSet::default(),
            unhandled: None,
            particulars: None,
            remote: peer.into(),
        }
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> Peer {
        match &self.remote {
            Remote::V4(address) => Peer::Tcp((*address).into()),
            Remote::V6(address) => Peer::Tcp((**address).into()),
            Remote::Unix => Peer::Unix,
        }
    }

    /// The client's address, as far as it is known.
    pub(crate) fn client_addr(&self) -> Option<IpAddr> {
        let told = self.told_client();
        told.or_else(|| Some(self.peer().address()?.ip().to_canonical()))
    }

    /// The same where it was told, and is not the peer's.
    pub(crate) fn told_client(&self) -> Option<IpAddr> {
        self.particulars.as_ref()?.client
    }

    /// Its link to the future that has it as a socket.
    pub(crate) fn link(&self) -> Option<&Arc<Link>> {
        self.particulars.as_ref()?.link.as_ref()
    }

    /// Messages that wait and will be sent.
    pub(crate) fn waiting(&self) -> u64 {
        if self.phase == Phase::Gone {
            return 0;
        }
        u64::from(self.outbox.waiting()).saturating_sub(u64::from(self.has_farewell))
    }

    /// Messages and bytes so far.
    pub(crate) fn counts(&self) -> Counts {
        let Traffic {
            messages_in,
            bytes_in,
            messages_out,
            bytes_out,
            dropped,
        } = self.counts;
        let particulars = self.particulars.as_ref();
        Counts {
            messages_in,
            bytes_in,
            messages_out,
            bytes_out,
            dropped,
            conflated: particulars.map_or(0, |it| it.conflated),
            notices: particulars.map_or(0, |it| it.notices),
        }
    }

    /// Counts what a message given to the outbox came to, where it did not just wait.
    #[cold]
    pub(crate) fn count_overflow(&mut self, pushed: Pushed) {
        self.counts.dropped += u64::from(pushed.dropped());
        if matches!(pushed, Pushed::Conflated(_)) {
            self.particulars.get_or_insert_default().conflated += 1;
        }
    }

    /// Counts gap notices that were queued, or taken back.
    #[cold]
    pub(crate) fn count_notices(&mut self, more: i64) {
        let notices = &mut self.particulars.get_or_insert_default().notices;
        *notices = notices.saturating_add_signed(more);
    }

    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_small() {
        // The memory of an idle connection is a promise; this is the largest part of it.
        assert!(
            size_of::<Connection>() <= 192,
            "{}",
            size_of::<Connection>()
        );
        assert!(std::mem::offset_of!(Connection, counts) <= 64);
        assert!(size_of::<Option<Connection>>() == size_of::<Connection>());
    }
}
