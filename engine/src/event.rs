//! Why a connection ended.

use std::time::Duration;

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
    /// The stream ended or was reset without a close frame.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
