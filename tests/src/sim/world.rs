//! A run: shards, clients and their network, moved by one clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use fastrand::Rng;
use throng::internals::Fleet;
use throng::{CloseCode, DrainReport};
use throng_transport::sim::{Network, SimDriver};
use throng_transport::{Driver, Next};

use super::book::Shelf;
use super::client::Client;
use super::plan::Plan;
use super::service::{Service, Wish, request, room_name};

/// The port that everybody connects to.
const PORT: u16 = 80;
/// Turns within which a run must be over, for each client: far more than any takes.
const TURNS_PER_CLIENT: u64 = 200_000;

/// Microseconds that a shard's thread is kept from running at most.
const MAX_KEPT: u64 = 20_000;

/// What somebody does at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Connect,
    Client(usize),
    /// A client that did not read reads again.
    Read(usize),
    Outside,
    Drain,
}

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) network: Network,
    pub(super) fleet: Fleet<Service>,
    drivers: Vec<SimDriver>,
    /// When each shard wants a turn, though nothing happens; `None` once it has stopped.
    deadlines: Vec<Option<Duration>>,
    /// Until when each shard's thread is kept from running, by others on its core.
    kept_until: Vec<Duration>,
    service: Service,
    pub(super) shelf: Shelf,
    pub(super) clients: Vec<Client>,
    /// By the numbers of their connections.
    by_connection: Vec<usize>,
    acts: BinaryHeap<Reverse<(Duration, u32, Act)>>,
    random: Rng,
    acts_left: usize,
    drain_began: Option<Duration>,
    pub(super) drained: Option<(DrainReport, Duration)>,
    pub(super) turns: u64,
    pub(super) trace: Option<Vec<String>>,
}

impl World {
    pub(super) fn new(plan: Plan, is_traced: bool) -> Result<World, String> {
        let network = Network::new(plan.seed, plan.faults());
        let mut random = Rng::with_seed(plan.seed ^ 0x5EED);
        let shelf = Shelf::default();
        let service = Service {
            shelf: shelf.clone(),
            sequenced: plan.sequenced,
            history: plan.history,
        };
        let mut drivers: Vec<SimDriver> = (0..plan.shards)
            .map(|_| network.driver(plan.config.read_buffer_size))
            .collect();
        let wakers = drivers.iter().map(Driver::waker);
        let (config, handler) = (plan.config.clone(), service.clone());
        let fleet = Fleet::new(config, handler, wakers, plan.seed).map_err(|it| it.to_string())?;
        for driver in &mut drivers {
            let listening = driver.listen(network.listen(PORT));
            listening.map_err(|error| error.to_string())?;
        }
        for room in 0..plan.sequenced {
            let name = room_name(room);
            let created = fleet.handle().create_room(&name, plan.sequenced_room());
            created.map_err(|error| error.to_string())?;
        }
        let mut acts = BinaryHeap::new();
        let mut at = |act, time: Duration, random: &mut Rng| {
            acts.push(Reverse((time, random.u32(..), act)));
        };
        for _ in 0..plan.clients {
            let time = plan.length.mul_f64(random.f64() * 0.7);
            at(Act::Connect, time, &mut random);
        }
        for _ in 0..plan.acts {
            at(Act::Outside, plan.length.mul_f64(random.f64()), &mut random);
        }
        at(Act::Drain, plan.length, &mut random);
        Ok(World {
            deadlines: vec![Some(Duration::ZERO); plan.shards],
            kept_until: vec![Duration::ZERO; plan.shards],
            acts_left: plan.acts * plan.clients,
            plan,
            network,
            fleet,
            drivers,
            service,
            shelf,
            clients: Vec::new(),
            by_connection: Vec::new(),
            acts,
            random,
            drain_began: None,
            drained: None,
            turns: 0,
            trace: is_traced.then(Vec::new),
        })
    }

    /// Runs until the engine has stopped.
    pub(super) fn run(&mut self) -> Result<(), String> {
        while self.fleet.running() > 0 {
            if self.turns > TURNS_PER_CLIENT * self.plan.clients as u64 {
                return Err("the shards turn and turn".to_owned());
            }
            let due = self.due_shards();
            if !due.is_empty() {
                let shard = due[self.random.usize(..due.len())];
                self.turn(shard)?;
            } else if let Some(connection) = self.network.next_far() {
                self.wake_client(connection);
            } else {
                self.pass_time()?;
            }
            self.watch_drain()?;
        }
        Ok(())
    }

    fn due_shards(&self) -> Vec<usize> {
        let now = self.network.now();
        let is_due = |&shard: &usize| self.next_turn(shard).is_some_and(|turn| turn <= now);
        (0..self.drivers.len()).filter(is_due).collect()
    }

    /// When a shard is to have its next turn, if nothing happens before; `None` once it has stopped.
    fn next_turn(&self, shard: usize) -> Option<Duration> {
        let deadline = self.deadlines[shard]?;
        let wanted = match self.drivers[shard].is_due() {
            true => Duration::ZERO,
            false => deadline,
        };
        Some(wanted.max(self.kept_until[shard]))
    }

    fn turn(&mut self, shard: usize) -> Result<(), String> {
        self.turns += 1;
        self.shelf.book().turn = self.turns;
        self.network.note(shard as u64);
        let next = self.fleet.turn(shard, &mut self.drivers[shard]);
        self.deadlines[shard] = match next.map_err(|error| error.to_string())? {
            Next::Stop => None,
            Next::Wait(None) => Some(Duration::MAX),
            Next::Wait(Some(wait)) => Some(self.network.now() + wait),
        };
        if self.drain_began.is_none() && self.random.u8(0..32) == 0 {
            let kept = Duration::from_micros(self.random.u64(..MAX_KEPT));
            self.kept_until[shard] = self.network.now() + kept;
        }
        Ok(())
    }

    /// Has every client look at what has happened.
    pub(super) fn wake_clients(&mut self) {
        while let Some(connection) = self.network.next_far() {
            self.wake_client(connection);
        }
    }

    fn wake_client(&mut self, connection: usize) {
        if let Some(&client) = self.by_connection.get(connection) {
            self.network.note(client as u64);
            self.clients[client].go_on();
        }
    }

    /// Moves on to whatever comes next.
    fn pass_time(&mut self) -> Result<(), String> {
        let deadline = (0..self.drivers.len()).filter_map(|it| self.next_turn(it));
        let deadline = deadline.min();
        let act = self.acts.peek().map(|Reverse((time, ..))| *time);
        let soonest = [deadline, act].into_iter().flatten().min();
        let next = self.network.next_event();
        match (next, soonest) {
            (Some(event), soonest) if soonest.is_none_or(|soonest| event <= soonest) => {
                self.network.step();
            }
            (_, Some(soonest)) if soonest < Duration::MAX => {
                self.network.advance(soonest);
                if act.is_some_and(|act| act <= soonest)
                    && let Some(Reverse((_, _, act))) = self.acts.pop()
                {
                    self.act(act);
                }
            }
            _ => return Err("nothing will ever happen, and the engine runs".to_owned()),
        }
        Ok(())
    }

    fn watch_drain(&mut self) -> Result<(), String> {
        let Some(began) = self.drain_began else {
            return Ok(());
        };
        if self.drained.is_some() {
            return Ok(());
        }
        let took = self.network.now() - began;
        if took > self.plan.drain_bound() {
            let bound = self.plan.drain_bound();
            return Err(format!(
                "a drain that may take {bound:?} is not over after {took:?}"
            ));
        }
        if let Some(report) = self.fleet.drained() {
            self.drained = Some((report, took));
            self.fleet.handle().shutdown();
        }
        Ok(())
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>12?} {}", self.network.now(), what()));
        }
    }
}

/// What happens from outside the engine.
impl World {
    fn act(&mut self, act: Act) {
        self.tell(|| format!("{act:?}"));
        match act {
            Act::Connect => self.connect(),
            Act::Client(client) => self.act_as(client),
            Act::Read(client) => {
                self.clients[client].is_reading = true;
                self.clients[client].go_on();
            }
            Act::Outside if self.drain_began.is_none() => {
                let wish = self.wish();
                self.service.publish_outside(&self.fleet.handle(), wish);
            }
            Act::Outside => {}
            Act::Drain => {
                self.drain_began = Some(self.network.now());
                let window = self.plan.drain_window;
                self.fleet.begin_drain(CloseCode::SERVICE_RESTART, window);
            }
        }
    }

    fn connect(&mut self) {
        let Ok(far) = self.network.connect(PORT) else {
            return;
        };
        let client = self.clients.len();
        self.by_connection.resize(far.number() + 1, usize::MAX);
        self.by_connection[far.number()] = client;
        let is_compressing = self.random.bool();
        self.clients.push(Client::new(client, far, is_compressing));
        self.later(Act::Client(client));
    }

    fn later(&mut self, act: Act) {
        let pause = self
            .plan
            .length
            .mul_f64(self.random.f64() / self.plan.acts as f64);
        let time = self.network.now() + pause;
        self.acts.push(Reverse((time, self.random.u32(..), act)));
    }

    fn wish(&mut self) -> Wish {
        let random = &mut self.random;
        let room = random.usize(..self.plan.rooms);
        let is_sequenced = room < self.plan.sequenced;
        Wish {
            room: Some(room),
            is_urgent: !is_sequenced && random.u8(0..10) == 0,
            has_key: !is_sequenced && random.u8(0..10) == 0,
            excepts_sender: random.u8(0..4) == 0,
            length: if random.u8(0..8) == 0 {
                random.usize(..6000)
            } else {
                random.usize(..100)
            },
        }
    }

    /// An offset from which somebody may go on in a room: the last that some client heard, or any.
    fn place(&mut self, room: usize) -> u64 {
        let book = self.shelf.book();
        let given = book.last_offset(room);
        let client = self.random.usize(..self.clients.len());
        let heard = self.clients[client].heard.iter().rev();
        let last = heard.filter_map(|heard| book.offset_in(room, heard)).next();
        match last {
            Some(last) if self.random.u8(0..4) > 0 => last,
            _ => self.random.u64(..given + 2),
        }
    }

    fn act_as(&mut self, client: usize) {
        if self.drain_began.is_some() || self.acts_left == 0 || !self.clients[client].is_connected()
        {
            return;
        }
        self.acts_left -= 1;
        let is_rough = !self.plan.is_calm;
        let room = self.random.usize(..self.plan.rooms);
        match self.random.u8(0..100) {
            0..20 => self.clients[client].say(&format!("j {room}")),
            20..30 => {
                let place = self.place(room);
                let is_other_epoch = self.random.u8(0..10) == 0;
                let other = u8::from(is_other_epoch);
                self.clients[client].say(&format!("r {room} {place} {other}"));
            }
            30..40 => self.clients[client].say(&format!("l {room}")),
            40..80 => {
                for _ in 0..self.random.usize(1..6) {
                    let wish = self.wish();
                    self.clients[client].say(&request(wish));
                }
            }
            80..86 => {
                let wish = self.wish();
                self.clients[client].say(&request(Wish { room: None, ..wish }));
            }
            86 => self.clients[client].say("k"),
            87 => self.clients[client].say_close(1000),
            88 => self.clients[client].break_rules(),
            89 if is_rough => self.clients[client].vanish(),
            90 => {
                let resets = self.random.bool();
                self.clients[client].leave(resets);
            }
            91..95 if is_rough => {
                self.clients[client].is_reading = false;
                self.clients[client].deeds.stalled = true;
                if self.random.bool() {
                    self.later(Act::Read(client));
                }
            }
            _ => {}
        }
        self.later(Act::Client(client));
    }
}
