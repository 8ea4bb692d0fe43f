//! Why a connection ended, or never began, and what else can go wrong.

use std::time::Duration;

use serde::Serialize;

use crate::closed_list::closed_list;
use crate::protocol::close::CloseCode;

/// The one reason a connection ended, out of a closed list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The peer sent a close frame; without a code in it, `code` is `None`.
    PeerClosed {
        /// The peer's code.
        code: Option<CloseCode>,
        /// The peer's reason, empty when it gave none.
        reason: String,
    },
    /// The stream ended or was reset without a close frame. Who has ended its side only is still sent what was
    /// queued until then, within `close_timeout`.
    PeerVanished,
    /// Nothing was heard from the peer within `pong_timeout` of a ping.
    HeartbeatMissed,
    /// The peer broke the protocol (closed with 1002 or 1007).
    ProtocolFault,
    /// A message was larger than allowed (closed with 1009).
    TooBig,
    /// The peer did not read what was queued for it, or too slowly: closed with 1008 where its queue
    /// overflowed, reset where it took nothing within `write_timeout`. Where `memory_budget` was nearly
    /// used up, either may have come before.
    SlowConsumer,
    /// `memory_budget` was nearly used up, and what this peer had sent and not completed, or what was
    /// held back of it, was among what held most (closed with 1013).
    OverBudget,
    /// A rule of the service was broken: `idle_timeout`, or `invalid_messages_per_minute` (closed
    /// with 1008).
    Policy,
    /// The application closed the connection.
    Kicked {
        /// The code it gave.
        code: CloseCode,
    },
    /// The engine was drained (closed with 1012 or 1001) or shut down.
    Drain,
    /// A handler panicked (closed with 1011).
    HandlerPanicked,
    /// The engine or the operating system failed; the peer is told nothing.
    LibraryFault,
}

closed_list! {
    /// A [`Cause`] without what it carries, to count by.
    pub enum CauseKind {
        /// [`Cause::PeerClosed`].
        PeerClosed = "peer_closed",
        /// [`Cause::PeerVanished`].
        PeerVanished = "peer_vanished",
        /// [`Cause::HeartbeatMissed`].
        HeartbeatMissed = "heartbeat_missed",
        /// [`Cause::ProtocolFault`].
        ProtocolFault = "protocol_fault",
        /// [`Cause::TooBig`].
        TooBig = "too_big",
        /// [`Cause::SlowConsumer`].
        SlowConsumer = "slow_consumer",
        /// [`Cause::OverBudget`].
        OverBudget = "over_budget",
        /// [`Cause::Policy`].
        Policy = "policy",
        /// [`Cause::Kicked`].
        Kicked = "kicked",
        /// [`Cause::Drain`].
        Drain = "drain",
        /// [`Cause::HandlerPanicked`].
        HandlerPanicked = "handler_panicked",
        /// [`Cause::LibraryFault`].
        LibraryFault = "library_fault",
    }
}

closed_list! {
    /// Why an opening handshake did not end in a connection.
    pub enum Rejection {
        /// The request broke HTTP or RFC 6455, or was too long (400, 405, 426, 431, ..).
        Malformed = "malformed",
        /// It was not complete within `handshake_timeout` (408).
        Timeout = "timeout",
        /// Its origin is not allowed (403).
        Origin = "origin",
        /// The service rejected it in [`on_upgrade`](crate::Handler::on_upgrade).
        Service = "service",
        /// There are as many as `max_connections` allows (503, or cut without an answer where even those
        /// who are told so are too many).
        Full = "full",
        /// Its client has as many connections, or handshakes, as `max_connections_per_ip` allows (429).
        PerIp = "per_ip",
        /// As many are in flight as `max_handshakes` allows (503, or cut where TLS is spoken).
        Handshakes = "handshakes",
        /// It did not begin with a sound header of the PROXY protocol, where that is required, or was of no proxy
        /// that is trusted; it was cut.
        ProxyHeader = "proxy_header",
        /// The engine drains (503).
        Draining = "draining",
        /// `memory_budget` is nearly used up (503).
        Memory = "memory",
        /// It asked for a page, and the side door has enough to do (503).
        Busy = "busy",
        /// The service panicked or gave an answer that cannot be sent (500), or the socket could not be
        /// served.
        Failed = "failed",
        /// The client left, or was cut, before it was answered.
        Abandoned = "abandoned",
    }
}

closed_list! {
    /// What went wrong, to count by.
    pub enum ErrorKind {
        /// A peer broke the protocol.
        Protocol = "protocol",
        /// A message was larger than allowed.
        TooBig = "too_big",
        /// A message was one the service does not understand
        /// ([`report_invalid`](crate::Conn::report_invalid)).
        InvalidMessage = "invalid_message",
        /// The service's code panicked.
        Panic = "panic",
        /// The service gave an answer to an upgrade that cannot be sent.
        BadAnswer = "bad_answer",
        /// Connections could not be accepted: no descriptors, for instance.
        Accept = "accept",
        /// A connection that was accepted could not be served.
        Adopt = "adopt",
        /// Something for another shard was lost: its mailbox and the backlog for it were full.
        MailboxFull = "mailbox_full",
        /// A shard has failed; its connections were cut.
        Shard = "shard",
    }
}

closed_list! {
    /// How messages for a connection were lost.
    pub enum Loss {
        /// There was no room for it, and the policy refuses the newest.
        Refused = "refused",
        /// It waited, and was dropped to make room for a newer one.
        Displaced = "displaced",
        /// There was no room for it, and its connection was given up for that.
        Overflow = "overflow",
        /// It waited when its connection was given up or lost.
        GivenUp = "given_up",
    }
}

impl Cause {
    /// Which one it is, without what it carries.
    pub fn kind(&self) -> CauseKind {
        match self {
            Cause::PeerClosed { .. } => CauseKind::PeerClosed,
            Cause::PeerVanished => CauseKind::PeerVanished,
            Cause::HeartbeatMissed => CauseKind::HeartbeatMissed,
            Cause::ProtocolFault => CauseKind::ProtocolFault,
            Cause::TooBig => CauseKind::TooBig,
            Cause::SlowConsumer => CauseKind::SlowConsumer,
            Cause::OverBudget => CauseKind::OverBudget,
            Cause::Policy => CauseKind::Policy,
            Cause::Kicked { .. } => CauseKind::Kicked,
            Cause::Drain => CauseKind::Drain,
            Cause::HandlerPanicked => CauseKind::HandlerPanicked,
            Cause::LibraryFault => CauseKind::LibraryFault,
        }
    }
}

/// What [`Handler::on_close`](crate::Handler::on_close) learns about the connection's end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Close {
    /// Why it ended.
    pub cause: Cause,
    /// How long it was open, to within 10 ms.
    pub duration: Duration,
    /// What went over it until now.
    pub counts: Counts,
    /// Messages that still wait. They go out before the close frame, unless the peer is gone or
    /// `close_timeout` ends first, and are in none of the counts.
    pub waiting: u64,
}

/// Messages and bytes of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Messages received.
    pub messages_in: u64,
    /// Payload bytes of these messages.
    pub bytes_in: u64,
    /// Messages handed to the system for sending, whether or not they reached the peer.
    pub messages_out: u64,
    /// Bytes of these messages, frame headers included.
    pub bytes_out: u64,
    /// Messages lost to the overflow policy, or still waiting when the connection was given up.
    pub dropped: u64,
    /// Messages whose place was taken by a later one of the same key before they were sent.
    pub conflated: u64,
    /// Messages that told it of [gaps](crate::Gap). They count as messages in all else too:
    /// what was queued for the connection or refused, and these, is what went out, waits, was
    /// dropped or conflated.
    pub notices: u64,
}
