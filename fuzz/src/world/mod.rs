//! A shard of the engine, its peers and their network, all in memory and all in one thread: the
//! same script gives the same run.
//!
//! [`run`] plays a script, lets everything that is under way come to its end, and holds what the
//! service was told and what each peer was sent against what was said ([`check`]).

mod check;
mod driver;
mod peer;
mod script;
mod service;

pub use script::{Act, Script, Verb};

use std::time::Duration;

use throng::internals::Solo;
use throng::protocol::message::MessageLimits;
use throng::{CloseCode, Message, Overflow};
use throng_transport::{Driver, Next, Turn};

use crate::Owned;
use check::Answer;
use driver::Memory;
use peer::Peer;
use script::PEERS;
use service::{OUTSIDE_MARK, ROOM, Service};

/// Turns in which whatever is under way must have come to its end.
const PATIENCE: usize = 10_000;

/// Plays a script and checks what came of it.
///
/// # Panics
///
/// When something is not as it should be.
pub fn run(script: &Script) {
    let mut world = World::new(script);
    for act in &script.acts {
        if world.has_stopped {
            break;
        }
        world.play(act);
    }
    world.come_to_rest();
    world.check(false);
    for (wire, peer) in world.driver.wires.iter_mut().zip(&mut world.peers) {
        wire.is_ended = true;
        peer.has_left = true;
    }
    world.come_to_rest();
    world.check(true);
}

struct World {
    shard: Solo<Service>,
    driver: Memory,
    service: Service,
    /// As many as there are wires.
    peers: Vec<Peer>,
    limits: MessageLimits,
    /// Whoever stays open has lost nothing.
    never_drops: bool,
    has_waited: bool,
    is_drained: bool,
    has_stopped: bool,
    /// The shard asked for a turn at once.
    is_busy: bool,
}

impl World {
    fn new(script: &Script) -> World {
        let config = script.config();
        let limits = MessageLimits {
            max_message_size: config.max_message_size,
            max_frame_size: config.max_frame_size.unwrap_or(config.max_message_size),
        };
        // Nothing has a key.
        let never_drops = matches!(config.overflow, Overflow::Disconnect | Overflow::Conflate);
        let (driver, service) = (Memory::new(), Service::default());
        let shard = Solo::new(config, service.clone(), driver.waker(), 1);
        World {
            shard: shard.expect("the settings are sound"),
            driver,
            service,
            peers: Vec::new(),
            limits,
            never_drops,
            has_waited: false,
            is_drained: false,
            has_stopped: false,
            is_busy: false,
        }
    }

    fn play(&mut self, act: &Act) {
        match act.verb {
            Verb::Connect => self.connect(act),
            Verb::Turn => self.turn(),
            Verb::Wait => {
                self.has_waited = true;
                self.driver.now += Duration::from_millis(10) * u32::from(act.number);
                self.turn();
            }
            Verb::Publish => self.publish(&act.text),
            Verb::Drain => {
                self.is_drained = true;
                let window = Duration::from_millis(10) * u32::from(act.number);
                self.shard.begin_drain(CloseCode::SERVICE_RESTART, window);
            }
            Verb::Stop => {
                self.is_drained = true;
                self.shard.handle().shutdown();
            }
            _ if self.peers.is_empty() => {}
            _ => self.play_peer(usize::from(act.who) % self.peers.len(), act),
        }
    }

    fn play_peer(&mut self, number: usize, act: &Act) {
        let answer = Answer::read(&self.driver.wires[number].outbound);
        let (wire, peer) = (&mut self.driver.wires[number], &mut self.peers[number]);
        let arriving = match act.verb {
            Verb::Deliver => usize::from(act.number),
            Verb::DeliverAll => usize::MAX,
            _ => 0,
        };
        match act.verb {
            Verb::Stall => {
                wire.room = 0;
                peer.has_stalled = true;
            }
            Verb::Take => {
                wire.room = usize::from(act.number);
                peer.has_stalled = true;
            }
            Verb::TakeAll => wire.room = usize::MAX,
            _ if peer.has_left => {}
            Verb::Deliver | Verb::DeliverAll => {
                wire.inbound
                    .extend(peer.deliver(arriving, answer.is_some()));
            }
            Verb::End => {
                wire.is_ended = true;
                peer.has_left = true;
            }
            Verb::Reset => {
                wire.is_reset = true;
                peer.has_left = true;
            }
            _ => peer.say(act, answer.and_then(|answer| answer.agreed).as_ref()),
        }
    }

    fn connect(&mut self, act: &Act) {
        if self.peers.len() < PEERS && self.driver.connect(usize::MAX) {
            self.peers.push(Peer::connect(act));
        }
    }

    fn publish(&mut self, text: &[u8]) {
        let message = [&[OUTSIDE_MARK], text].concat();
        let handle = self.shard.handle();
        if handle.to(ROOM).binary(&message[..]).publish().is_ok() {
            let mut book = self.service.book();
            book.outside.push(Owned::from(Message::Binary(&message)));
        }
    }

    fn turn(&mut self) {
        let waited = self.driver.wait(None, &mut self.shard);
        waited.expect("this driver does not fail");
        match self.shard.turn(&mut self.driver) {
            Next::Stop => self.has_stopped = true,
            Next::Wait(timeout) => self.is_busy = timeout == Some(Duration::ZERO),
        }
    }

    /// Everything said arrives, everything sent is taken, and the shard turns until nothing happens.
    fn come_to_rest(&mut self) {
        // A turn may give a peer something to go on.
        let mut idle = 0;
        for _ in 0..PATIENCE {
            if self.has_stopped || idle == 2 {
                return;
            }
            let mut is_all_said = true;
            for (wire, peer) in self.driver.wires.iter_mut().zip(&mut self.peers) {
                wire.room = usize::MAX;
                if !peer.has_left {
                    let was_answered = Answer::read(&wire.outbound).is_some();
                    let arriving = peer.deliver(usize::MAX, was_answered);
                    is_all_said &= arriving.is_empty();
                    wire.inbound.extend(arriving);
                }
            }
            self.turn();
            let is_idle = is_all_said && self.driver.is_quiet() && !self.is_busy;
            idle = if is_idle { idle + 1 } else { 0 };
        }
        panic!("it does not come to rest");
    }
}
