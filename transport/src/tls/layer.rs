//! What stands between the inner driver and the service while a wait is under way.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::config::Tls;
use super::link::{Given, Link, Links};
use super::session::Outgoing;
use super::{SEALED_AT_ONCE, TlsOptions};
use crate::buffer::{ChunkPool, SendQueue};
use crate::driver::{RECEIVED_PER_WAIT, Service, SocketKey};
use crate::secured::Secured;
use crate::socket::{Peer, Socket};

/// Bytes of records that are kept for reuse. Nobody can ask for them back, as a memory budget would, so that
/// they are few: what one connection is sent at once.
const POOLED: usize = SEALED_AT_ONCE;

/// All of a [`TlsDriver`](super::TlsDriver) but the driver within.
pub(super) struct Layer {
    pub(super) tls: Tls,
    pub(super) links: Links,
    /// Handshakes under way, and how many there may be.
    pub(super) under_way: usize,
    max_handshakes: usize,
    pub(super) pool: ChunkPool,
    /// What is being handed to the inner driver.
    pub(super) batch: SendQueue,
    /// Where small slices become one record.
    pub(super) gathered: Vec<u8>,
    /// Links whose handshakes can go on, those that have waited longest first.
    pub(super) stepping: VecDeque<SocketKey>,
    /// Links to be looked at before the wait ends.
    pub(super) touched: Vec<SocketKey>,
    pub(super) delivery: Delivery,
    /// Where what arrives is decrypted to.
    plain: Vec<u8>,
}

/// Hands plain bytes to the service, a bounded amount in each wait.
pub(super) struct Delivery {
    /// Links with something to deliver, those that have waited longest first.
    pub(super) due: VecDeque<SocketKey>,
    receive_buffer: usize,
    /// The number of the wait, wrapping.
    pub(super) wait: u32,
    /// Bytes that this wait may still deliver.
    budget: usize,
}

impl Layer {
    pub(super) fn new(tls: Tls, options: &TlsOptions) -> Layer {
        Layer {
            tls,
            links: Links::with_capacity(options.expected_sockets),
            under_way: 0,
            max_handshakes: options.max_handshakes,
            pool: ChunkPool::keeping(POOLED),
            batch: SendQueue::new(),
            gathered: Vec::new(),
            stepping: VecDeque::new(),
            touched: Vec::new(),
            delivery: Delivery {
                due: VecDeque::new(),
                receive_buffer: options.receive_buffer,
                wait: 0,
                budget: 0,
            },
            plain: Vec::new(),
        }
    }

    /// How long the next wait may park of the time that it was given.
    pub(super) fn timeout(&self, given: Option<Duration>) -> Option<Duration> {
        let is_idle =
            self.touched.is_empty() && self.stepping.is_empty() && self.delivery.due.is_empty();
        if is_idle { given } else { Some(Duration::ZERO) }
    }

    /// Has the link looked at before this wait ends, or the next.
    pub(super) fn touch(&mut self, key: SocketKey) {
        if let Some(link) = self.links.get(key)
            && !std::mem::replace(&mut link.flags.is_touched, true)
        {
            self.touched.push(key);
        }
    }

    /// Forgets a link.
    pub(super) fn remove(&mut self, key: SocketKey) -> Option<Box<Link>> {
        let link = self.links.remove(key)?;
        self.under_way -= usize::from(link.flags.is_counted);
        if link.flags.is_new {
            self.tls.counters().count_failed();
        }
        Some(link)
    }

    /// Gives a link away.
    pub(super) fn give_away(&mut self, key: SocketKey) -> Option<Box<Link>> {
        let link = self.links.remove(key)?;
        self.under_way -= usize::from(link.flags.is_counted);
        Some(link)
    }

    /// Decrypts what was received, and delivers it.
    fn receive(&mut self, key: SocketKey, bytes: &mut [u8], service: &mut impl Service) {
        let Some(link) = self.links.get(key) else {
            return;
        };
        self.plain.clear();
        let mut outgoing = Outgoing {
            pool: &mut self.pool,
            queue: &mut link.outgoing,
        };
        let received = link.session.receive(bytes, &mut self.plain, &mut outgoing);
        if let Err(error) = received {
            link.failure = Some(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        link.judge_end();
        if link.flags.is_new {
            self.advance(key, service);
        }
        let Some(link) = self.links.get(key) else {
            return;
        };
        self.delivery.deliver(key, link, &mut self.plain, service);
        link.tidy();
        let is_quiet = link.outgoing.is_empty() && link.failure.is_none() && !link.has_news();
        if !is_quiet {
            self.touch(key);
        }
    }

    /// Keeps bytes of a handshake: work that takes long waits for its turn. Those who have sent nothing
    /// that can be computed cost no more than without TLS, and keep nobody out.
    fn keep(&mut self, key: SocketKey, bytes: &[u8]) {
        let Some(link) = self.links.get(key) else {
            return;
        };
        link.session.keep(bytes);
        if link.session.has_record() {
            if !link.flags.is_counted {
                if self.under_way >= self.max_handshakes {
                    return self.refuse(key);
                }
                self.under_way += 1;
                link.flags.is_counted = true;
            }
            if !std::mem::replace(&mut link.flags.is_stepping, true) {
                self.stepping.push_back(key);
            }
        }
        self.touch(key);
    }

    /// One handshake too many: nothing is computed for it, not even an alert.
    fn refuse(&mut self, key: SocketKey) {
        if let Some(link) = self.links.get(key) {
            let reason = "too many TLS handshakes are under way";
            link.failure = Some(io::Error::new(io::ErrorKind::ResourceBusy, reason));
            link.flags.is_new = false;
            self.tls.counters().count_refused();
            self.touch(key);
        }
    }

    /// Takes in what was received of a link elsewhere, for the following wait to deliver.
    pub(super) fn receive_early(&mut self, key: SocketKey, mut records: Vec<u8>) {
        let Some(link) = self.links.get(key) else {
            return;
        };
        if link.flags.is_new {
            return self.keep(key, &records);
        }
        if records.is_empty() {
            return;
        }
        self.plain.clear();
        let mut outgoing = Outgoing {
            pool: &mut self.pool,
            queue: &mut link.outgoing,
        };
        let received = link
            .session
            .receive(&mut records, &mut self.plain, &mut outgoing);
        if let Err(error) = received {
            link.failure = Some(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        link.put_by(&self.plain);
        link.judge_end();
    }

    /// Looks how far a handshake has come.
    fn advance(&mut self, key: SocketKey, service: &mut impl Service) {
        let Some(link) = self.links.get(key) else {
            return;
        };
        if !link.session.is_handshaking() {
            link.flags.is_new = false;
            self.under_way -= usize::from(std::mem::take(&mut link.flags.is_counted));
            let secured = link.session.secured();
            self.tls.counters().count_done(secured.is_resumed);
            service.secured(key, secured);
        }
    }

    /// Takes the next step of handshakes, of a few.
    pub(super) fn step(&mut self, steps: usize, service: &mut impl Service) {
        for _ in 0..steps {
            let Some(key) = self.stepping.pop_front() else {
                return;
            };
            if let Some(link) = self.links.get(key) {
                link.flags.is_stepping = false;
                if link.failure.is_none() {
                    self.receive(key, &mut [], service);
                }
                self.touch(key);
            }
        }
    }
}

impl Delivery {
    fn begin(&mut self) {
        self.wait = self.wait.wrapping_add(1);
        self.budget = RECEIVED_PER_WAIT;
    }

    /// How many bytes the link may be given in this wait.
    fn allowance(&self, link: &Link) -> usize {
        let (wait, count) = link.delivered_in;
        let before = if wait == self.wait { count } else { 0 };
        if self.budget == 0 || link.flags.is_paused {
            0
        } else {
            self.receive_buffer.saturating_sub(before)
        }
    }

    fn note(&mut self, link: &mut Link, count: usize) {
        let (wait, before) = link.delivered_in;
        let before = if wait == self.wait { before } else { 0 };
        link.delivered_in = (self.wait, before + count);
        self.budget = self.budget.saturating_sub(count);
    }

    /// Delivers what has just been decrypted, as far as it may be, and puts the rest by.
    fn deliver(
        &mut self,
        key: SocketKey,
        link: &mut Link,
        plain: &mut [u8],
        service: &mut impl Service,
    ) {
        let now = if link.undelivered() > 0 {
            0
        } else {
            plain.len().min(self.allowance(link))
        };
        let (now, later) = plain.split_at_mut(now);
        link.put_by(later);
        if !now.is_empty() {
            self.note(link, now.len());
            service.received(key, now);
        }
    }

    /// Delivers what was put by, as far as it may be.
    fn deliver_due(&mut self, key: SocketKey, link: &mut Link, service: &mut impl Service) {
        let allowance = self.allowance(link);
        let count = link.undelivered().min(allowance);
        if count > 0 {
            self.note(link, count);
            service.received(key, link.take_undelivered(count));
        }
    }

    /// Has the following wait deliver what is left, or tell that the peer has ended.
    pub(super) fn look_again(&mut self, key: SocketKey, link: &mut Link) {
        let is_wanted = !link.flags.is_paused && link.has_news();
        if is_wanted && !std::mem::replace(&mut link.flags.is_due, true) {
            self.due.push_back(key);
        }
    }
}

/// The service as the inner driver knows it.
pub(super) struct Relay<'a, S> {
    pub(super) layer: &'a mut Layer,
    pub(super) service: &'a mut S,
}

impl<S: Service> Relay<'_, S> {
    /// Delivers what earlier waits left over. Whoever gets nothing now is the first next time.
    fn deliver_leftovers(&mut self) {
        let Layer {
            links,
            delivery,
            touched,
            ..
        } = &mut *self.layer;
        for _ in 0..delivery.due.len() {
            if delivery.budget == 0 {
                return;
            }
            let Some(key) = delivery.due.pop_front() else {
                return;
            };
            let Some(link) = links.get(key) else {
                continue;
            };
            link.flags.is_due = false;
            delivery.deliver_due(key, link, self.service);
            if !std::mem::replace(&mut link.flags.is_touched, true) {
                touched.push(key);
            }
        }
    }
}

impl<S: Service> Service for Relay<'_, S> {
    fn begin(&mut self, now: Duration) {
        self.service.begin(now);
        // By now the inner driver has let go of what it could send.
        self.layer.pool.rewind();
        self.layer.delivery.begin();
        self.deliver_leftovers();
    }

    fn accepted(&mut self, socket: Socket, peer: Peer) {
        self.service.accepted(socket, peer);
    }

    fn accept_failed(&mut self, error: &io::Error) {
        self.service.accept_failed(error);
    }

    fn received(&mut self, key: SocketKey, bytes: &mut [u8]) {
        let Some(link) = self.layer.links.get(key) else {
            return self.service.received(key, bytes);
        };
        if link.failure.is_some() || link.session.is_peer_done() {
            return;
        }
        if !link.flags.is_new {
            return self.layer.receive(key, bytes, self.service);
        }
        self.layer.keep(key, bytes);
    }

    fn ended(&mut self, key: SocketKey) {
        let Some(link) = self.layer.links.get(key) else {
            return self.service.ended(key);
        };
        link.flags.has_stream_ended = true;
        link.judge_end();
        self.layer.touch(key);
    }

    /// Told of the service's send where it holds bytes of that. Records of the session's own may stall as
    /// well, and others then wait for them.
    fn stalled(&mut self, key: SocketKey, unsent: usize) {
        let Some(link) = self.layer.links.get(key) else {
            return self.service.stalled(key, unsent);
        };
        link.flags.is_held = true;
        link.tell_stall(key, unsent, self.service);
    }

    fn sent(&mut self, key: SocketKey) {
        let Some(link) = self.layer.links.get(key) else {
            return self.service.sent(key);
        };
        link.flags.is_held = false;
        link.given = Given::default();
        self.layer.touch(key);
    }

    fn failed(&mut self, key: SocketKey, error: io::Error) {
        let Some(link) = self.layer.links.get(key) else {
            return self.service.failed(key, error);
        };
        link.flags.is_lost = true;
        link.failure.get_or_insert(error);
        self.layer.touch(key);
    }

    fn woken(&mut self) {
        self.service.woken();
    }

    fn secured(&mut self, key: SocketKey, secured: Secured) {
        self.service.secured(key, secured);
    }
}
