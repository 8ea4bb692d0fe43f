//! A shard without threads and sockets, for whoever has a driver of their own. It has no side door.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use throng_transport::{Driver, Next, Peer, Secured, Service, Socket, SocketKey, Turn, Waker};

use crate::config::{Config, ConfigError};
use crate::handle::EngineHandle;
use crate::handler::Handler;
#[cfg(feature = "http")]
use crate::http::Entrance;
use crate::protocol::close::CloseCode;
use crate::shard::{Mail, Shard, ShardParts, mailbox};
use crate::shared::Shared;

/// An engine's only shard. It does the same for the same calls: `seed` is all its randomness.
pub struct Solo<H: Handler> {
    shard: Shard<H>,
    shared: Arc<Shared>,
}

impl<H: Handler> Solo<H> {
    /// A shard that `waker`, its driver's, is used to wake.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn new(
        config: Config,
        handler: H,
        waker: Waker,
        seed: u64,
    ) -> Result<Solo<H>, ConfigError> {
        // A pool would be threads, which differ from run to run.
        let config = config.shards(1).fanout_workers(0);
        config.validate()?;
        let (sender, mailbox) = mailbox(config.mailbox_capacity, waker);
        let shared = Arc::new(Shared::new(config, Instant::now(), vec![sender]));
        let shard = Shard::new(ShardParts {
            shard: 0,
            shared: Arc::clone(&shared),
            handler: Arc::new(handler),
            mailbox,
            deals_tcp: false,
            seed,
            #[cfg(feature = "http")]
            side_door: Entrance::walled_up(),
            #[cfg(feature = "admin")]
            annex: None,
        });
        Ok(Solo { shard, shared })
    }

    /// A handle as other threads have it.
    pub fn handle(&self) -> EngineHandle {
        EngineHandle::new(&self.shared)
    }

    /// Begins what [`Engine::drain_with`](crate::Engine::drain_with) waits for.
    pub fn begin_drain(&self, code: CloseCode, window: Duration) {
        self.shared.begin_drain();
        let mail = Mail::Drain {
            code,
            window,
            answer: bounded(1).0,
        };
        // Where the mailbox is full nobody is told, and nobody is let in all the same.
        let _ = self.shared.mail[0].try_post(mail);
    }
}

impl<H: Handler> Service for Solo<H> {
    fn begin(&mut self, now: Duration) {
        self.shard.begin(now);
    }

    fn accepted(&mut self, socket: Socket, peer: Peer) {
        self.shard.accepted(socket, peer);
    }

    fn accept_failed(&mut self, error: &io::Error) {
        self.shard.accept_failed(error);
    }

    fn received(&mut self, key: SocketKey, bytes: &mut [u8]) {
        self.shard.received(key, bytes);
    }

    fn ended(&mut self, key: SocketKey) {
        self.shard.ended(key);
    }

    fn stalled(&mut self, key: SocketKey, unsent: usize) {
        self.shard.stalled(key, unsent);
    }

    fn sent(&mut self, key: SocketKey) {
        self.shard.sent(key);
    }

    fn failed(&mut self, key: SocketKey, error: io::Error) {
        self.shard.failed(key, error);
    }

    fn woken(&mut self) {
        self.shard.woken();
    }

    fn secured(&mut self, key: SocketKey, secured: Secured) {
        self.shard.secured(key, secured);
    }
}

impl<H: Handler> Turn for Solo<H> {
    fn turn(&mut self, driver: &mut impl Driver) -> Next {
        self.shard.turn(driver)
    }
}

impl<H: Handler> std::fmt::Debug for Solo<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Solo").finish_non_exhaustive()
    }
}
