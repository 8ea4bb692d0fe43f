//! The shards of an engine without threads, each on a driver of the caller's, and turned by it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use throng_transport::{Driver, Next, Turn, Waker};

use crate::config::{Config, ConfigError};
use crate::handle::EngineHandle;
use crate::handler::Handler;
#[cfg(feature = "http")]
use crate::http::Entrance;
use crate::protocol::close::CloseCode;
use crate::server::DrainReport;
use crate::shard::{Mail, MailSender, PostError, Shard, ShardDrained, ShardParts, mailbox};
use crate::shared::Shared;

/// An engine that does the same for the same calls: its time is what the drivers tell, `seed` all its
/// randomness but for the epochs of sequenced rooms. It has no fan-out pool and no side door.
pub struct Fleet<H: Handler> {
    /// Those that have not stopped.
    shards: Vec<Option<Shard<H>>>,
    shared: Arc<Shared>,
    draining: Option<Draining>,
    leftovers: Vec<String>,
}

/// A drain under way.
struct Draining {
    answers: Receiver<ShardDrained>,
    /// Mail for shards whose mailboxes were full.
    unposted: Vec<(MailSender, Mail)>,
    answered: usize,
    total: ShardDrained,
}

impl<H: Handler> Fleet<H> {
    /// A shard for each of the `wakers`, which are those of the drivers that the shards will be turned
    /// on.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn new(
        config: Config,
        handler: H,
        wakers: impl IntoIterator<Item = Waker>,
        seed: u64,
    ) -> Result<Fleet<H>, ConfigError> {
        let wakers: Vec<Waker> = wakers.into_iter().collect();
        let config = config.shards(wakers.len()).fanout_workers(0);
        config.validate()?;
        let mailboxes = wakers
            .into_iter()
            .map(|waker| mailbox(config.mailbox_capacity, waker));
        let (senders, mailboxes): (Vec<_>, Vec<_>) = mailboxes.unzip();
        let shared = Arc::new(Shared::new(config, Instant::now(), senders));
        let handler = Arc::new(handler);
        let shards = (0u8..).zip(mailboxes).map(|(shard, mailbox)| {
            Some(Shard::new(ShardParts {
                shard,
                shared: Arc::clone(&shared),
                handler: Arc::clone(&handler),
                mailbox,
                deals_tcp: false,
                seed: seed.wrapping_add(u64::from(shard)),
                #[cfg(feature = "http")]
                side_door: Entrance::walled_up(),
                #[cfg(feature = "admin")]
                annex: None,
            }))
        });
        Ok(Fleet {
            shards: shards.collect(),
            shared,
            draining: None,
            leftovers: Vec::new(),
        })
    }

    /// A handle as other threads have it.
    pub fn handle(&self) -> EngineHandle {
        EngineHandle::new(&self.shared)
    }

    /// One turn of a shard, on its driver, and then a wait without time. Once it has stopped nothing
    /// happens.
    ///
    /// # Errors
    /// What made the driver unusable.
    pub fn turn(&mut self, shard: usize, driver: &mut impl Driver) -> io::Result<Next> {
        let Some(place) = self.shards.get_mut(shard) else {
            return Ok(Next::Stop);
        };
        let Some(running) = place else {
            return Ok(Next::Stop);
        };
        driver.wait(Some(Duration::ZERO), running)?;
        let next = running.turn(driver);
        if next == Next::Stop {
            self.leftovers.extend(running.leftovers());
            *place = None;
        }
        Ok(next)
    }

    /// Begins what [`Engine::drain_with`](crate::Engine::drain_with) waits for.
    pub fn begin_drain(&mut self, code: CloseCode, window: Duration) {
        self.shared.begin_drain();
        let (answer, answers) = bounded(self.shards.len());
        let mail = |_| Mail::Drain {
            code,
            window,
            answer: answer.clone(),
        };
        let mails: Vec<Mail> = (0..self.shards.len()).map(mail).collect();
        self.draining = Some(Draining {
            answers,
            unposted: self.shared.mail.iter().cloned().zip(mails).collect(),
            answered: 0,
            total: ShardDrained::default(),
        });
        self.drained();
    }

    /// What became of the drain, once every shard has answered. To be asked after turns: mail for a
    /// shard whose mailbox was full is posted then.
    pub fn drained(&mut self) -> Option<DrainReport> {
        let draining = self.draining.as_mut()?;
        let unposted = std::mem::take(&mut draining.unposted);
        for (sender, mail) in unposted {
            if let Err(PostError::Full(mail)) = sender.try_post(mail) {
                draining.unposted.push((sender, mail));
            }
        }
        for drained in draining.answers.try_iter() {
            draining.total.add(&drained);
            draining.answered += 1;
        }
        (draining.answered == self.shards.len()).then(|| DrainReport::from(draining.total))
    }

    /// How many shards have not stopped.
    pub fn running(&self) -> usize {
        self.shards.iter().flatten().count()
    }

    /// What shards still held for connections when they stopped: nothing, unless something leaks.
    pub fn leftovers(&self) -> &[String] {
        &self.leftovers
    }
}

impl<H: Handler> std::fmt::Debug for Fleet<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet")
            .field("running", &self.running())
            .finish_non_exhaustive()
    }
}
