//! The driver over completions: io_uring.
//!
//! Every socket has one receive with the system, which ends only when something goes wrong. The
//! system chooses where to put what it received from a ring of buffers; they all are as much as the
//! contract lets a wait deliver, and all go back before the next one, so that bounds each wait. A
//! socket whose receive ended because the buffers had run out is served after those that wait already.
//!
//! Sends are gathered and submitted together, with the wait that follows or when one is in doubt, and
//! do not wait: they are decided when that call returns. Only those of which something is left are
//! heard of. What is left is sent as the [readiness driver](crate::poll) does it, once a watch says
//! that there is room.

mod buffers;
mod gathering;
mod refusal;
mod ring;
mod sockets;
mod token;

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use crate::acceptors::Acceptors;
use crate::buffer::SendQueue;
use crate::driver::{Detached, Driver, GENERATIONS, RECEIVED_PER_WAIT, Sent, Service, SocketKey};
use crate::listener::{Acceptor, Listener};
use crate::runtime::Waker;
use crate::socket::{Socket, SystemSocket};
use crate::table::Table;
use buffers::Received;
pub use refusal::Refusal;
use ring::{Completion, GATHERED, Parking, Ring};
use sockets::{Entry, Receiving, Watched};
use token::{SLOTS, Token};

/// Requests of a ring that is to hold what a turn sends.
pub const REQUESTS: u32 = 1024;
/// Completions that the system keeps in the ring for each request that it holds. Beyond that it
/// keeps them by itself, more slowly.
const COMPLETIONS_PER_REQUEST: u32 = 4;
/// Receives made in a wait, at most.
const RECEIVES_PER_WAIT: usize = 64;

/// Receives made in a wait though the one before ran out of buffers on fewer. A peer that floods takes all buffers of
/// a wait by itself: those who say little must not stand in line for one wait each.
const LEAST_RECEIVES_PER_WAIT: usize = 16;
/// How long a closed socket whose last send stalled is kept for its peer to take the rest.
const PARTING_TIME: Duration = Duration::from_secs(5);
/// How often it is offered.
const PARTING_TICK: Duration = Duration::from_millis(20);

/// How often the ring is looked at for the end of a receive that was told to end. Once has always
/// been enough.
const DETACH_ATTEMPTS: usize = 100;
/// Bytes that a close reads at once to drop them.
const SCRATCH: usize = 16 * 1024;

/// How a [`UringDriver`] is set up.
#[derive(Clone, Copy, Debug)]
pub struct UringOptions {
    /// Bytes of the buffers that are received into, in all.
    pub receive_buffer: usize,
    /// How many sockets room is made for at once. There may be more; then the table grows.
    pub expected_sockets: usize,
    /// Requests that the ring holds, a power of two and at least two; it is submitted when they are
    /// more ([`REQUESTS`]).
    pub requests: u32,
    /// The moment that the times given to [`Service::begin`] are measured from.
    pub epoch: Instant,
}

/// A completion driver (io_uring). It may move to another thread until its first wait.
#[derive(Debug)]
pub struct UringDriver {
    ring: Ring,
    sockets: Table<Entry>,
    acceptors: Acceptors,
    /// Taken from the ring and not handled yet.
    completions: VecDeque<Completion>,
    /// Sockets whose receive is to be made, those first that have received least lately.
    hungry: VecDeque<SocketKey>,
    /// The same of those that have received something in the last wait.
    fed: VecDeque<SocketKey>,
    /// Receives that the next wait makes. Those for which there is no buffer are made in vain.
    ration: usize,
    /// How many sockets the last wait has received from, more or less,
    served: usize,
    /// and whether there was no buffer for others.
    ran_out: bool,
    /// Sockets to be watched.
    to_watch: Vec<SocketKey>,
    /// The places of listeners to be watched.
    to_listen: Vec<u32>,
    /// Sockets with something to report that no completion will announce.
    again: Vec<SocketKey>,
    /// Scratch for `again` while it is worked off.
    due: Vec<SocketKey>,
    parting: Vec<Parting>,
    /// The number of the wait, wrapping.
    turn: u32,
    /// Bytes kept of paused sockets that this wait may still deliver.
    budget: usize,
    receive_buffer: usize,
    /// What made the ring unusable between two waits.
    failure: Option<io::Error>,
    scratch: Box<[u8]>,
    waker: Waker,
    wake_descriptor: Arc<rustix::fd::OwnedFd>,
    watches_wake: bool,
    epoch: Instant,
}

/// A closed socket whose last send was said to be done, and stalled.
#[derive(Debug)]
struct Parting {
    socket: SystemSocket,
    rest: SendQueue,
    until: Instant,
}

impl UringDriver {
    /// A driver without sockets.
    ///
    /// # Errors
    /// Why this system gives us no ring.
    pub fn new(options: &UringOptions) -> Result<UringDriver, Refusal> {
        let completions = COMPLETIONS_PER_REQUEST * options.requests;
        let ring = Ring::new(options.receive_buffer, options.requests, completions)
            .map_err(Refusal::new)?;
        let descriptor =
            eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| Refusal::new(error.into()))?;
        let wake_descriptor = Arc::new(descriptor);
        let unparker = Arc::clone(&wake_descriptor);
        let waker = Waker::new(move || {
            let woken = rustix::io::write(&unparker, &1u64.to_ne_bytes());
            if let Err(error) = woken {
                tracing::error!(%error, "a driver could not be woken");
            }
            woken.is_ok()
        });
        Ok(UringDriver {
            ring,
            sockets: Table::with_capacity(options.expected_sockets),
            acceptors: Acceptors::default(),
            completions: VecDeque::new(),
            hungry: VecDeque::new(),
            fed: VecDeque::new(),
            ration: RECEIVES_PER_WAIT,
            served: 0,
            ran_out: false,
            to_watch: Vec::new(),
            to_listen: Vec::new(),
            failure: None,
            budget: 0,
            receive_buffer: options.receive_buffer,
            again: Vec::new(),
            due: Vec::new(),
            parting: Vec::new(),
            turn: 0,
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            waker,
            wake_descriptor,
            watches_wake: false,
            epoch: options.epoch,
        })
    }

    /// Whether the system has all that the driver makes use of: buffers that several receives share, and
    /// waits that gather what comes (Linux 6.12). Without, it costs more than readiness.
    pub fn has_everything(&self) -> bool {
        self.ring.has_everything()
    }
}

/// Requests, and what came of them.
impl UringDriver {
    /// Makes room for a number of requests.
    fn reserve(&mut self, requests: usize) {
        if !self.ring.has_room(requests) {
            self.submit();
        }
    }

    /// Submits all requests, and so learns what becomes of the sends among them.
    fn submit(&mut self) {
        self.enter(Parking::No);
        self.collect();
    }

    /// Enters the ring, unless it has become unusable; returns whether it is usable.
    fn enter(&mut self, parking: Parking) -> bool {
        if self.failure.is_none() {
            self.failure = self.ring.enter(parking).err();
        }
        self.failure.is_none()
    }

    /// Takes all completions from the ring. Those of sends are handled, so that what was sent can be
    /// let go of.
    fn collect(&mut self) {
        loop {
            while let Some(completion) = self.ring.completion() {
                match completion.token {
                    Token::Send(position) => self.handle_unsuccessful(position, &completion),
                    Token::Ignored => {}
                    _ => self.completions.push_back(completion),
                }
            }
            if !self.ring.has_overflown() || !self.enter(Parking::Look) {
                break;
            }
        }
        if self.failure.is_none() {
            self.ring.forget_sent();
        }
    }

    /// The system has not taken all bytes of a send.
    #[cold]
    fn handle_unsuccessful(&mut self, position: u32, completion: &Completion) {
        let Some((key, slices)) = self.ring.unsuccessful(position) else {
            return;
        };
        let Some(entry) = self.sockets.get(key) else {
            return;
        };
        let mut rest = SendQueue::new();
        slices.iter().for_each(|slice| rest.push(slice.clone()));
        match completion.bytes() {
            Ok(count) => rest.advance(count),
            Err(error) if is_passing(&error) => {}
            Err(error) => return self.break_off(key, error),
        }
        if rest.is_empty() {
            return;
        }
        rest.compact();
        let trouble = entry.trouble();
        trouble.rest = rest;
        trouble.pending = true;
        trouble.untold = true;
        trouble.refused_in = self.turn;
        self.watch_later(key);
        self.look_again(key);
    }

    /// Makes the requests that wait for the driver to park.
    fn request(&mut self) {
        self.reserve(2);
        if !std::mem::replace(&mut self.watches_wake, true) {
            let descriptor = self.wake_descriptor.as_fd();
            self.ring.watch(descriptor, libc::POLLIN, true, Token::Wake);
        }
        while let Some(place) = self.to_listen.pop() {
            self.reserve(1);
            if let Some(listener) = self.acceptors.descriptor(place as usize) {
                let token = Token::Listener(place);
                self.ring.watch(listener, libc::POLLIN, true, token);
            }
        }
        while let Some(key) = self.to_watch.pop() {
            self.watch(key);
        }
        self.hungry.append(&mut self.fed);
        self.decide_ration();
        for _ in 0..self.ration {
            let Some(key) = self.hungry.pop_front() else {
                break;
            };
            self.reserve(1);
            let Some(entry) = self.sockets.get(key) else {
                continue;
            };
            entry.awaits_receive = false;
            if entry.lacks_receive()
                && let Some(socket) = &entry.socket
            {
                self.ring.receive(socket.descriptor(), Token::Receive(key));
                entry.receiving = Receiving::Yes;
            }
        }
    }

    /// Decides how many receives the next wait makes: after one that ran out of buffers, as many as it
    /// had buffers for, but not too few; twice as many again after one that did not.
    fn decide_ration(&mut self) {
        let served = std::mem::take(&mut self.served);
        let ration = match std::mem::take(&mut self.ran_out) {
            true => served,
            false => 2 * self.ration,
        };
        self.ration = ration.clamp(LEAST_RECEIVES_PER_WAIT, RECEIVES_PER_WAIT);
    }

    /// Watches a socket for as long as it waits for something: room, or a failure that no receive tells
    /// of. The watch goes on, and tells of changes only: a peer that has ended its side would have one that
    /// is made anew each time told at once, for ever.
    fn watch(&mut self, key: SocketKey) {
        self.reserve(1);
        let Some(entry) = self.sockets.get(key) else {
            return;
        };
        let is_quiet = entry.paused || entry.ended;
        let (Some(socket), Some(trouble)) = (&entry.socket, &mut entry.trouble) else {
            return;
        };
        trouble.awaits_watch = false;
        let is_wanted = trouble.pending || is_quiet;
        match trouble.watched {
            Watched::No if is_wanted => {
                let token = Token::Watch(key);
                self.ring
                    .watch(socket.descriptor(), libc::POLLOUT, true, token);
                trouble.watched = Watched::Yes;
            }
            Watched::Yes if !is_wanted => {
                self.ring.cancel(Token::Watch(key));
                trouble.watched = Watched::Ending;
            }
            _ => {}
        }
        entry.settle();
    }

    /// Has the socket watched from the following wait on.
    fn watch_later(&mut self, key: SocketKey) {
        if let Some(entry) = self.sockets.get(key)
            && !std::mem::replace(&mut entry.trouble().awaits_watch, true)
        {
            self.to_watch.push(key);
        }
    }

    /// Has the socket received from in the following wait.
    fn receive_later(&mut self, key: SocketKey) {
        let turn = self.turn;
        if let Some(entry) = self.sockets.get(key)
            && entry.lacks_receive()
            && !std::mem::replace(&mut entry.awaits_receive, true)
        {
            if entry.received_in == low(turn) {
                self.fed.push_back(key);
            } else {
                self.hungry.push_back(key);
            }
        }
    }

    /// Has the following wait look at the socket, whether or not there is a completion.
    fn look_again(&mut self, key: SocketKey) {
        if let Some(entry) = self.sockets.get(key)
            && !std::mem::replace(&mut entry.again, true)
        {
            self.again.push(key);
        }
    }

    /// Ends the receive of a socket, or tells it again to end.
    fn end_receive(&mut self, key: SocketKey) {
        self.reserve(1);
        if let Some(entry) = self.sockets.get(key)
            && entry.receiving != Receiving::No
        {
            entry.receiving = Receiving::Ending;
            self.ring.cancel(Token::Receive(key));
        }
    }

    /// Submits a send of this socket that was not submitted yet, so that it is decided.
    fn decide(&mut self, key: SocketKey) {
        let submission = self.ring.submission;
        if let Some(entry) = self.sockets.get(key)
            && entry.sent_in == submission
        {
            self.submit();
        }
    }

    /// Takes the socket out of the table and ends its requests, which name it no more.
    fn release(&mut self, key: SocketKey) -> Option<Entry> {
        self.decide(key);
        self.reserve(2);
        let entry = self.sockets.remove(key)?;
        // Again, if it was told before: the system does not find what it is at work on.
        if entry.receiving != Receiving::No {
            self.ring.cancel(Token::Receive(key));
        }
        let trouble = entry.trouble.as_deref();
        if trouble.is_some_and(|trouble| trouble.watched != Watched::No) {
            self.ring.cancel(Token::Watch(key));
        }
        Some(entry)
    }
}

/// What happened, and what the service is told of it.
impl UringDriver {
    fn handle(&mut self, completion: Completion, service: &mut impl Service) {
        match completion.token {
            Token::Receive(key) => self.handle_received(key, completion, service),
            Token::Watch(key) => self.handle_watch(key, &completion, service),
            Token::Listener(place) => {
                let is_canceled = completion.result == -libc::ECANCELED;
                if !completion.goes_on() && completion.result >= 0 {
                    self.to_listen.push(place);
                }
                let end = i32::from(libc::POLLHUP | libc::POLLRDHUP);
                let hung_up = completion.result < 0 || completion.result & end != 0;
                if !is_canceled {
                    self.acceptors.look_at(place as usize, hung_up);
                }
            }
            Token::Wake => {
                self.watches_wake = completion.goes_on();
                if self.waker.take() {
                    service.woken();
                }
            }
            Token::Send(_) | Token::Ignored => {}
        }
    }

    /// Delivers what a receive has brought, with what its next completions bring where that lies right
    /// behind.
    fn handle_received(
        &mut self,
        key: SocketKey,
        mut completion: Completion,
        service: &mut impl Service,
    ) {
        let mut received = std::mem::take(&mut completion.received);
        while completion.goes_on()
            && let Some(next) = self
                .completions
                .pop_front_if(|next| next.token == completion.token)
        {
            completion = next;
            let more = std::mem::take(&mut completion.received);
            if let Err(apart) = received.try_extend(more) {
                self.deliver(key, &received, service);
                received = apart;
            }
        }
        self.deliver(key, &received, service);
        if !completion.goes_on() {
            self.handle_end_of_receive(key, &completion, service);
        } else if self.is_unwanted(key) {
            self.reserve(1);
            self.ring.cancel(Token::Receive(key));
        }
    }

    #[inline]
    fn deliver(&mut self, key: SocketKey, received: &Received, service: &mut impl Service) {
        let bytes = self.ring.bytes(received);
        let Some(entry) = self.sockets.get(key).filter(|_| !bytes.is_empty()) else {
            return;
        };
        entry.received_in = low(self.turn);
        self.served += 1;
        if !entry.must_keep(self.turn) {
            return service.received(key, bytes);
        }
        entry.trouble().undelivered.extend_from_slice(bytes);
        if !entry.paused {
            self.look_again(key);
        }
    }

    /// Whether a receive that goes on was told to end. The system does not find a request that it
    /// is at work on.
    fn is_unwanted(&mut self, key: SocketKey) -> bool {
        let entry = self.sockets.get(key);
        entry.is_none_or(|entry| entry.receiving == Receiving::Ending)
    }

    #[cold]
    fn handle_end_of_receive(
        &mut self,
        key: SocketKey,
        completion: &Completion,
        service: &mut impl Service,
    ) {
        let Some(entry) = self.sockets.get(key) else {
            return;
        };
        entry.receiving = Receiving::No;
        match completion.bytes() {
            Ok(0) => entry.trouble().ends = true,
            Ok(_) => {}
            Err(error) if is_passing(&error) => {}
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOBUFS) => self.ran_out = true,
                Some(libc::ECANCELED) => {}
                _ => {
                    entry.trouble().failure.get_or_insert(error);
                }
            },
        }
        self.receive_later(key);
        self.report(key, service);
    }

    /// The system has seen room, or trouble.
    #[cold]
    fn handle_watch(
        &mut self,
        key: SocketKey,
        completion: &Completion,
        service: &mut impl Service,
    ) {
        let Some(entry) = self.sockets.get(key) else {
            return;
        };
        let is_quiet = entry.paused || entry.ended;
        if !completion.goes_on() {
            entry.trouble().watched = Watched::No;
            self.watch_later(key);
        }
        let Some(Entry {
            socket: Some(socket),
            trouble: Some(trouble),
            ..
        }) = self.sockets.get(key)
        else {
            return;
        };
        match completion.bytes() {
            Ok(_) if trouble.pending => self.continue_send(key),
            Ok(_) if is_quiet => match socket.take_error() {
                Some(error) => drop(trouble.failure.get_or_insert(error)),
                None => return,
            },
            Err(error) if error.raw_os_error() != Some(libc::ECANCELED) => {
                trouble.failure.get_or_insert(error);
            }
            _ => return,
        }
        self.report(key, service);
    }

    /// Offers the system the rest of a pending send.
    fn continue_send(&mut self, key: SocketKey) {
        let Some((socket, trouble)) = self.sockets.get(key).and_then(Entry::in_trouble) else {
            return;
        };
        match socket.send_queue(&mut trouble.rest) {
            Ok(Sent::Pending) => {
                trouble.refused_in = self.turn;
                self.watch_later(key);
            }
            Ok(Sent::Done) => self.look_again(key),
            Err(error) => self.break_off(key, error),
        }
    }

    /// A send has failed. What the peer said before may still be there to be received.
    fn break_off(&mut self, key: SocketKey, error: io::Error) {
        let Some(entry) = self.sockets.get(key) else {
            return;
        };
        let trouble = entry.trouble();
        trouble.failure.get_or_insert(error);
        trouble.rest.clear();
        self.look_again(key);
    }

    /// Tells what is to be told of a socket.
    #[cold]
    fn report(&mut self, key: SocketKey, service: &mut impl Service) {
        self.report_send(key, service);
        self.deliver_kept(key, service);
        let Some(entry) = self.sockets.get(key) else {
            return;
        };
        let (is_paused, is_over) = (entry.paused, entry.receiving == Receiving::No);
        let Some(trouble) = entry.trouble.as_deref_mut() else {
            return;
        };
        let has_delivered = is_over && trouble.undelivered.is_empty();
        if trouble.failure.is_some() && !is_paused && !has_delivered {
            // The end of the receive will be told.
            self.end_receive(key);
        } else if trouble.failure.is_some() {
            self.report_failure(key, service);
        } else if has_delivered && std::mem::take(&mut trouble.ends) {
            entry.ended = true;
            self.watch_later(key);
            service.ended(key);
        }
        if let Some(entry) = self.sockets.get(key) {
            entry.settle();
        }
    }

    /// Reports a failure, once what the peer has said before is delivered. How much that is nobody
    /// tells but the socket.
    fn report_failure(&mut self, key: SocketKey, service: &mut impl Service) {
        let most = self.receive_buffer.min(self.scratch.len()).min(self.budget);
        let Some(Entry {
            socket: Some(socket),
            trouble: Some(trouble),
            paused,
            received_in,
            ..
        }) = self.sockets.get(key)
        else {
            return;
        };
        if !*paused {
            if *received_in == low(self.turn) || most == 0 {
                return self.look_again(key);
            }
            if let Ok(count @ 1..) = socket.receive(&mut self.scratch[..most]) {
                self.budget -= count;
                service.received(key, &mut self.scratch[..count]);
                return self.look_again(key);
            }
        }
        if let Some(error) = trouble.failure.take()
            && self.release(key).is_some()
        {
            service.failed(key, error);
        }
    }

    fn report_send(&mut self, key: SocketKey, service: &mut impl Service) {
        let Some((socket, trouble)) = self.sockets.get(key).and_then(Entry::in_trouble) else {
            return;
        };
        if trouble.failure.is_some() {
            return;
        }
        let is_sent = trouble.pending && trouble.rest.is_empty();
        let is_news = std::mem::take(&mut trouble.untold);
        if is_sent {
            trouble.pending = false;
            if trouble.finishing {
                socket.finish();
            }
        }
        // Of what was said to be done, and is done after all, there is nothing to tell.
        match (is_news, is_sent) {
            (true, false) => service.stalled(key, trouble.rest.bytes()),
            (false, true) => service.sent(key),
            _ => {}
        }
        self.watch_later(key);
    }

    /// Delivers what was received while the socket was paused.
    fn deliver_kept(&mut self, key: SocketKey, service: &mut impl Service) {
        let most = self.receive_buffer.min(self.budget);
        let Some(entry) = self.sockets.get(key) else {
            return;
        };
        let is_paused = entry.paused;
        let Some(trouble) = entry.trouble.as_deref_mut() else {
            return;
        };
        if trouble.undelivered.is_empty() || is_paused {
            return;
        }
        if most > 0 && trouble.delivered_in != self.turn {
            trouble.delivered_in = self.turn;
            let count = trouble.undelivered.len().min(most);
            let left = trouble.undelivered.split_off(count);
            let mut bytes = std::mem::replace(&mut trouble.undelivered, left);
            self.budget -= count;
            service.received(key, &mut bytes);
        }
        if !trouble.undelivered.is_empty() {
            self.look_again(key);
        }
    }

    /// Closed sockets whose last send stalled: their peers may have room by now.
    fn see_off(&mut self) {
        if self.parting.is_empty() {
            return;
        }
        let now = Instant::now();
        let scratch = &mut self.scratch;
        self.parting.retain_mut(|parting| {
            let sent = parting.socket.send_queue(&mut parting.rest);
            let stays = matches!(sent, Ok(Sent::Pending)) && now < parting.until;
            if !stays {
                parting.socket.discard_received(scratch);
            }
            stays
        });
    }

    fn parking(&self, timeout: Option<Duration>) -> Parking {
        let has_more = !self.again.is_empty() || !self.hungry.is_empty();
        if has_more || !self.completions.is_empty() {
            return Parking::Look;
        }
        let parting = (!self.parting.is_empty()).then_some(PARTING_TICK);
        match self
            .acceptors
            .parking(timeout)
            .into_iter()
            .chain(parting)
            .min()
        {
            Some(Duration::ZERO) => Parking::Look,
            timeout => Parking::Until(timeout),
        }
    }

    fn accept(&mut self, service: &mut impl Service) {
        let mut over = Vec::new();
        self.acceptors
            .accept(service, |_, place| over.push(listener_token(place)));
        for token in over {
            self.reserve(1);
            self.ring.cancel(token);
        }
    }
}

/// The low half of a wait's number.
#[expect(clippy::cast_possible_truncation, reason = "the low half")]
fn low(turn: u32) -> u16 {
    turn as u16
}

fn listener_token(place: usize) -> Token {
    Token::Listener(u32::try_from(place).unwrap_or(u32::MAX))
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

impl Driver for UringDriver {
    fn listen(&mut self, listener: Listener) -> io::Result<()> {
        listener.descriptor()?;
        let place = self.acceptors.vacancy()?;
        self.acceptors.insert(place, Acceptor::new(listener));
        self.to_listen
            .push(u32::try_from(place).unwrap_or(u32::MAX));
        Ok(())
    }

    fn stop_listening(&mut self) {
        let listeners = self.acceptors.drain();
        let over: Vec<_> = listeners.map(|(_, place)| listener_token(place)).collect();
        for token in &over {
            self.reserve(1);
            self.ring.cancel(*token);
        }
        // A request holds what it watches open.
        if !over.is_empty() {
            self.enter(Parking::Look);
            self.collect();
        }
    }

    fn adopt(&mut self, key: SocketKey, socket: Socket) -> io::Result<()> {
        let socket = socket.into_system()?;
        if key.generation >= GENERATIONS || key.slot >= SLOTS || self.sockets.is_taken(key.slot) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        socket.set_blocking(true)?;
        let entry = Entry {
            socket: Some(socket),
            generation: key.generation,
            sent_in: self.ring.submission.wrapping_sub(1),
            received_in: low(self.turn).wrapping_sub(1),
            ..Entry::default()
        };
        self.sockets.insert(key.slot, entry);
        self.receive_later(key);
        Ok(())
    }

    fn detach(&mut self, key: SocketKey) -> Option<Detached> {
        self.decide(key);
        let entry = self.sockets.get(key)?;
        if entry.is_sending() || entry.has_failed() {
            return None;
        }
        let mut undelivered = self.receive_last(key)?;
        let entry = self.release(key)?;
        if let Some(mut trouble) = entry.trouble {
            trouble.undelivered.append(&mut undelivered);
            undelivered = trouble.undelivered;
        }
        let socket = entry.socket?;
        if let Err(error) = socket.set_blocking(false) {
            tracing::warn!(%error, "a socket that is given away stays blocking");
        }
        Some(Detached {
            socket: socket.into(),
            undelivered,
        })
    }

    fn wait(&mut self, timeout: Option<Duration>, service: &mut impl Service) -> io::Result<()> {
        self.request();
        let parking = self.parking(timeout);
        self.enter(parking);
        self.collect();
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        self.turn = self.turn.wrapping_add(1);
        self.budget = RECEIVED_PER_WAIT;
        service.begin(self.epoch.elapsed());
        std::mem::swap(&mut self.again, &mut self.due);
        for index in 0..self.due.len() {
            let key = self.due[index];
            if let Some(entry) = self.sockets.get(key) {
                entry.again = false;
                self.report(key, service);
            }
        }
        self.due.clear();
        while let Some(completion) = self.completions.pop_front() {
            self.handle(completion, service);
        }
        self.ring.give_back();
        self.accept(service);
        self.see_off();
        Ok(())
    }

    #[inline]
    fn send(&mut self, key: SocketKey, queue: &mut SendQueue) -> Sent {
        let submission = self.ring.submission;
        let Some(entry) = self.sockets.get(key) else {
            queue.clear();
            return Sent::Done;
        };
        if entry.sent_in == submission || entry.trouble.is_some() || self.ring.is_full(queue.len())
        {
            return self.send_after(key, queue);
        }
        let Some(socket) = entry.socket.as_ref().filter(|_| queue.len() <= GATHERED) else {
            return self.send_after(key, queue);
        };
        if !queue.is_empty() {
            entry.sent_in = submission;
            self.ring.send(socket.descriptor(), queue, key);
        }
        Sent::Done
    }

    fn unsent(&mut self, key: SocketKey) -> usize {
        self.decide(key);
        let Some(entry) = self.sockets.get(key) else {
            return 0;
        };
        let Some(trouble) = entry.trouble.as_deref().filter(|trouble| trouble.pending) else {
            return 0;
        };
        if trouble.refused_in != self.turn {
            self.continue_send(key);
        }
        let entry = self.sockets.get(key);
        entry.map_or(0, |entry| entry.trouble().rest.bytes())
    }

    fn pause(&mut self, key: SocketKey) {
        if let Some(entry) = self.sockets.get(key)
            && !std::mem::replace(&mut entry.paused, true)
        {
            self.end_receive(key);
            self.watch_later(key);
        }
    }

    fn resume(&mut self, key: SocketKey) {
        if let Some(entry) = self.sockets.get(key)
            && std::mem::take(&mut entry.paused)
        {
            self.look_again(key);
            self.receive_later(key);
            self.watch_later(key);
        }
    }

    fn finish(&mut self, key: SocketKey) {
        self.decide(key);
        if let Some(entry) = self.sockets.get(key) {
            if entry.is_sending() {
                entry.trouble().finishing = true;
            } else if let Some(socket) = &entry.socket {
                socket.finish();
            }
        }
    }

    fn close(&mut self, key: SocketKey) {
        let Some(entry) = self.release(key) else {
            return;
        };
        let Some(socket) = entry.socket else {
            return;
        };
        match entry.trouble {
            Some(trouble) if trouble.untold => self.parting.push(Parting {
                socket,
                rest: trouble.rest,
                until: Instant::now() + PARTING_TIME,
            }),
            _ => socket.discard_received(&mut self.scratch),
        }
    }

    fn abort(&mut self, key: SocketKey) {
        if let Some(Entry {
            socket: Some(socket),
            ..
        }) = self.release(key)
        {
            socket.reset_on_close();
        }
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }
}

impl Drop for UringDriver {
    fn drop(&mut self) {
        // What was said to be done is with the system before its sockets are closed.
        self.submit();
    }
}

impl UringDriver {
    /// Sends where a batch cannot simply take it: a send of this socket is not decided yet, one has
    /// stalled, or there are too many slices.
    #[cold]
    fn send_after(&mut self, key: SocketKey, queue: &mut SendQueue) -> Sent {
        if self.ring.is_full(queue.len().min(GATHERED)) {
            self.submit();
        }
        self.decide(key);
        let Some(entry) = self.sockets.get(key) else {
            queue.clear();
            return Sent::Done;
        };
        if let Some(trouble) = &mut entry.trouble {
            if trouble.failure.is_some() {
                queue.clear();
                return Sent::Pending;
            }
            // Stalled, and the service could not know.
            if trouble.pending {
                queue.compact();
                trouble.rest.append(queue);
                trouble.untold = false;
                return Sent::Pending;
            }
        }
        let Some(socket) = &mut entry.socket else {
            return Sent::Done;
        };
        if queue.len() <= GATHERED {
            if !queue.is_empty() {
                entry.sent_in = self.ring.submission;
                self.ring.send(socket.descriptor(), queue, key);
            }
            return Sent::Done;
        }
        match socket.send_queue(queue) {
            Ok(Sent::Done) => return Sent::Done,
            Ok(Sent::Pending) => {
                queue.compact();
                let trouble = entry.trouble();
                trouble.rest = std::mem::take(queue);
                trouble.pending = true;
                trouble.refused_in = self.turn;
                self.watch_later(key);
            }
            Err(error) => {
                queue.clear();
                self.break_off(key, error);
            }
        }
        Sent::Pending
    }

    /// Waits for a receive that was told to end, and takes what it still received. `None` when it
    /// does not end.
    fn receive_last(&mut self, key: SocketKey) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for _ in 0..DETACH_ATTEMPTS {
            self.take_received(key, &mut bytes);
            if self.sockets.get(key)?.receiving == Receiving::No {
                return Some(bytes);
            }
            self.end_receive(key);
            if !self.enter(Parking::Look) {
                return None;
            }
            self.collect();
        }
        None
    }

    /// Takes what the completions of a socket's receive say.
    fn take_received(&mut self, key: SocketKey, bytes: &mut Vec<u8>) {
        let (ring, sockets) = (&mut self.ring, &mut self.sockets);
        self.completions.retain(|completion| {
            if completion.token != Token::Receive(key) {
                return true;
            }
            bytes.extend_from_slice(ring.bytes(&completion.received));
            if let Some(entry) = sockets.get(key) {
                entry.receiving = match completion.goes_on() {
                    true => Receiving::Yes,
                    false => Receiving::No,
                };
            }
            false
        });
    }
}
