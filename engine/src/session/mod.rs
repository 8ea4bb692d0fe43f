//! Sessions: what a client that has lost its connection finds again when it returns in time.
//!
//! A connection that ends without having said goodbye leaves its user, attributes and rooms under the token that it was
//! given. Another one that shows the token within the window takes them over, once.

mod table;

pub(crate) use table::{Parked, Table, Token};

use std::sync::Arc;
use std::time::Duration;

use crate::conn::Conn;
use crate::entropy::system_entropy;
use crate::event::{Cause, Close};
use crate::limits::{MAX_POSITIONS, PARKED_PART};
use crate::protocol::close::CloseCode;

/// Sessions of the clients of a [`Router`](crate::Router) ([`Router::sessions`](crate::Router::sessions)).
///
/// Each client is told a token when it connects:
/// `{"type":"notify","event":"session","data":{"token":"…","window":30},"timestamp":…}`. When its connection is lost (its
/// network is gone, it missed the heartbeat, it was too slow, its page was left: close code 1001), what belongs to it is
/// kept for the window; who says goodbye, is closed by the service, or is not authenticated at the end leaves nothing. The client, returning, sends the event `session.resume` with the token, and with the position that it
/// has heard each [sequenced](crate::RoomOptions::sequenced) room up to:
///
/// ```json
/// {"type":"request","event":"session.resume","request_id":"r1","data":{"token":"…","positions":{"trades":{"epoch":"7","offset":12}}}}
/// ```
///
/// It is answered `{"resumed":true,"user":"ann","rooms":{"trades":{"recovered":true,"messages":3,"position":{…}},"tea":{"recovered":false}}}`
/// behind what it missed, or `{"resumed":false}`: then nothing is restored, and it begins anew. Rooms whose history does not go back so far, or
/// that have none, are joined with `"recovered":false`, and so are those that come when 4 MiB of histories have been recalled; one that cannot be joined is told with an `"error"`.
///
/// A connection whose loss has not been noticed yet has left nothing: a client that returns before the heartbeat misses the old one
/// is answered `{"resumed":false}`, and may ask again with the same token.
///
/// The token opens what the connection was allowed: it belongs to the client alone. It holds once, and the client is told
/// another one for its new connection.
#[derive(Clone, Debug)]
pub struct Sessions {
    window: Duration,
    table: Arc<Table>,
}

impl Sessions {
    /// Sessions that are kept for so long, 65,536 at most.
    pub fn new(window: Duration) -> Sessions {
        Sessions::with_capacity(window, 65_536)
    }

    /// The same with another bound; where it is reached, the session that would end first is given up. Such is also what
    /// becomes of sessions that take more than a sixteenth of the
    /// [`memory_budget`](field@crate::Config::memory_budget), to which they count; what attributes point to, but for the claims of
    /// an [`Identity`](crate::router::Identity), is not counted. Of the connection's rooms 4,096 are kept.
    pub fn with_capacity(window: Duration, sessions: usize) -> Sessions {
        Sessions {
            window,
            table: Arc::new(Table::new(sessions)),
        }
    }

    /// How long a session is kept.
    pub fn window(&self) -> Duration {
        self.window
    }

    /// Sessions that wait for their clients. Those that are over count until somebody connects or another one is kept.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names a new connection's session. `None` where the system has no randomness, which leaves the
    /// connection without one.
    pub(crate) fn begin<S>(&self, conn: &mut Conn<'_, S>) -> Option<Token> {
        self.table.give_up(conn.now());
        let mut bytes = [0; 16];
        if system_entropy(&mut bytes).is_err() {
            tracing::warn!("a connection has no session: the system gives no randomness");
            return None;
        }
        let token = Token::new(bytes);
        conn.attributes().insert(token);
        Some(token)
    }

    /// Keeps what belongs to a connection that has ended, if it may come back. What its attributes point to takes
    /// `beside` bytes.
    pub(crate) fn park<S>(&self, conn: &mut Conn<'_, S>, close: &Close, beside: usize) {
        if !may_return(&close.cause) {
            return;
        }
        let Some(token) = conn.attributes().remove::<Token>() else {
            return;
        };
        let mut parked = Parked {
            user: conn.user_id().map(str::to_owned),
            rooms: conn
                .rooms()
                .take(MAX_POSITIONS)
                .map(str::to_owned)
                .collect(),
            attributes: std::mem::take(conn.attributes()),
            until: conn.now().saturating_add(self.window),
            memory: 0,
        };
        parked.memory = parked.memory() + beside;
        let budget = conn.memory_budget();
        let most = budget.map_or(usize::MAX, |budget| budget / PARKED_PART);
        self.table.insert(token, parked, conn.now(), most);
    }

    /// Takes a session out, if it is there and its time is not over.
    pub(crate) fn take(&self, token: &str, now: Duration) -> Option<Parked> {
        self.table.take(Token::parse(token)?, now)
    }

    /// Puts back what could not be taken over.
    pub(crate) fn put_back(&self, token: &str, parked: Parked, now: Duration) {
        if let Some(token) = Token::parse(token) {
            self.table.insert(token, parked, now, usize::MAX);
        }
    }
}

/// Whether a client that was lost so is expected back.
fn may_return(cause: &Cause) -> bool {
    match cause {
        Cause::PeerVanished
        | Cause::HeartbeatMissed
        | Cause::SlowConsumer
        | Cause::LibraryFault => true,
        // RFC 6455 §7.4.1: its page was left, or its network has changed. Without a code it was closed on purpose.
        Cause::PeerClosed { code, .. } => *code == Some(CloseCode::GOING_AWAY),
        // What it holds was too much; and of an engine that is drained nothing is left.
        Cause::OverBudget
        | Cause::Drain
        | Cause::ProtocolFault
        | Cause::TooBig
        | Cause::Policy
        | Cause::Kicked { .. }
        | Cause::HandlerPanicked => false,
    }
}
