//! One core's share of the engine: its connections, and the turn that serves them.
//!
//! A [`Shard`] is [`Core`] (connections, rooms, timers, outboxes: bookkeeping in memory) and the
//! service's handler with its states. It never touches a socket by itself: the driver tells it
//! what arrived ([`service`]), and once per [`turn`] it tells the driver what to do.

mod announced;
mod batch;
mod budget;
mod compress;
mod connection;
mod connections;
mod core;
mod deadline;
mod dirty;
mod dissolve;
mod drain;
mod errands;
mod flush;
mod forward;
mod frames;
mod gap;
mod guard;
mod handover;
mod hold;
mod inspect;
mod invalid;
mod jobs;
#[cfg(feature = "internals")]
mod leftovers;
mod links;
mod mailbox;
#[cfg(feature = "http")]
mod mount;
mod observe;
pub(crate) mod outbox;
mod presence;
mod publish;
mod receive;
mod recorder;
mod recover;
#[cfg(feature = "admin")]
mod refer;
mod run;
mod sequence;
mod service;
mod tally;
mod timer;
mod turn;
mod upgrade;
mod users;
mod wire;
mod woken;

pub use jobs::{Job, SpawnError};
pub use outbox::Lane;
pub use publish::Receipt;
pub use wire::Trace;

pub(crate) use self::core::{Core, Farewell, Release};
pub(crate) use compress::{Compressors, WindowsInUse};
pub(crate) use connection::{Connection, NO_PROTOCOL, Particulars};
pub(crate) use drain::ShardDrained;
pub(crate) use errands::{Errand, Errands};
pub(crate) use frames::{Dispatch, Frames};
pub(crate) use guard::{Foreign, guard};
pub(crate) use jobs::{Call, Work};
pub(crate) use mailbox::{Group, Mail, MailSender, Mailbox, PostError, mailbox};
#[cfg(feature = "http")]
pub(crate) use mount::{Mounted, Unopened};
pub(crate) use observe::{Clock, WallClock};
pub(crate) use publish::encode_detached;
pub(crate) use recorder::ENTRY;
#[cfg(feature = "admin")]
pub(crate) use refer::Annex;
pub(crate) use sequence::{Content, Make, SequencedRoom, Unnumbered};
pub(crate) use tally::{Tally, TallyShare};

use std::sync::Arc;

use hashbrown::HashMap;
use throng_transport::driver::ACCEPTS_PER_WAIT;
use throng_transport::{Peer, Secured, Socket, SocketKey};

use crate::conn::Conn;
use crate::event::{Cause, ErrorKind};
use crate::handler::Handler;
#[cfg(feature = "http")]
use crate::http::Entrance;
use crate::protocol::close::CloseCode;
use crate::shared::{Shared, expected_per_shard};
use drain::Draining;
use errands::TakenErrands;
#[cfg(feature = "admin")]
use refer::ReferredSeat;
use upgrade::Departure;

/// What a shard is made from.
pub(crate) struct ShardParts<H> {
    pub(crate) shard: u8,
    pub(crate) shared: Arc<Shared>,
    pub(crate) handler: Arc<H>,
    pub(crate) mailbox: Mailbox,
    /// Whether TCP connections that this shard accepts are dealt out to all shards.
    pub(crate) deals_tcp: bool,
    /// Where the shard's randomness comes from.
    pub(crate) seed: u64,
    #[cfg(feature = "http")]
    pub(crate) side_door: Entrance,
    #[cfg(feature = "admin")]
    pub(crate) annex: Option<Annex>,
}

/// One thread's connections and the handler that serves them.
pub(crate) struct Shard<H: Handler> {
    core: Core,
    handler: Arc<H>,
    /// By slot: the state of each connection that is open, or that has ended and whose handler
    /// has not been told.
    states: Vec<Option<H::State>>,
    mailbox: Mailbox,
    /// The mailbox may hold something.
    has_mail: bool,
    /// Sockets accepted since the last turn.
    accepted: Vec<(Socket, Peer)>,
    /// What TLS knows of connections that are not upgraded yet.
    secured: HashMap<SocketKey, Secured>,
    /// Connections whose TLS begins at the end of the turn, with what was received of it.
    to_secure: Vec<(SocketKey, Vec<u8>)>,
    /// Connections that leave the shard.
    departing: Vec<Departure>,
    /// Slots whose timers fired; scratch.
    fired: Vec<u32>,
    draining: Option<Draining>,
    errands: TakenErrands,
    deals_tcp: bool,
    /// The shard that the next dealt connection goes to.
    next_shard: usize,
    #[cfg(feature = "http")]
    side_door: Entrance,
    #[cfg(feature = "admin")]
    annex: Option<Annex>,
    /// The seats of connections that came to another engine.
    #[cfg(feature = "admin")]
    referred: HashMap<SocketKey, ReferredSeat>,
}

impl<H: Handler> Shard<H> {
    pub(crate) fn new(parts: ShardParts<H>) -> Shard<H> {
        let states = Vec::with_capacity(expected_per_shard(&parts.shared.config));
        Shard {
            core: Core::new(parts.shard, parts.shared, parts.seed),
            handler: parts.handler,
            states,
            mailbox: parts.mailbox,
            has_mail: false,
            accepted: Vec::with_capacity(ACCEPTS_PER_WAIT),
            secured: HashMap::new(),
            to_secure: Vec::new(),
            departing: Vec::new(),
            fired: Vec::new(),
            draining: None,
            errands: TakenErrands::default(),
            deals_tcp: parts.deals_tcp,
            next_shard: 0,
            #[cfg(feature = "http")]
            side_door: parts.side_door,
            #[cfg(feature = "admin")]
            annex: parts.annex,
            #[cfg(feature = "admin")]
            referred: HashMap::new(),
        }
    }

    /// Calls the handler for a connection that has a state. A panic ends the connection.
    #[inline]
    fn call(&mut self, key: SocketKey, call: impl FnOnce(&H, &mut Conn<'_, H::State>)) {
        let Some(Some(state)) = self.states.get_mut(key.slot as usize) else {
            return;
        };
        let _span = self.core.span_of_call(key);
        let mut conn = Conn::new(&mut self.core, key, state);
        let handler = &*self.handler;
        if guard(|| call(handler, &mut conn)).is_none() {
            self.handle_panic(key);
        }
    }

    /// The shard cannot go on: tells the handler that every connection is lost.
    pub(crate) fn fail(&mut self) {
        self.core.note_error(ErrorKind::Shard, None);
        let lost = Farewell::Drop(Release::Lost);
        let keys = self.core.connections.keys();
        for &key in &keys {
            self.core.part(key.slot, Cause::LibraryFault, &lost);
            self.core.drop_connection(key, Release::Lost);
        }
        self.settle();
        self.core.wake_receivers();
        for key in keys {
            if let Some(connection) = self.remove(key) {
                self.core.shared.discharge(connection.seat);
            }
        }
    }

    #[cold]
    fn handle_panic(&mut self, key: SocketKey) {
        tracing::error!(connection = %self.core.id(key), "a handler panicked; its connection is closed");
        self.core.note_error(ErrorKind::Panic, Some(key));
        let farewell = Farewell::Last(CloseCode::INTERNAL_ERROR, "internal error");
        self.core.part(key.slot, Cause::HandlerPanicked, &farewell);
    }
}
