//! The memory budget: who holds most goes first, nobody else suffers, and it is not reached.
//!
//! What is held is counted in the process, so these tests take place one after the other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use throng::protocol::frame::OpCode;
use throng::{
    Accept, Cause, Close, Compression, Config, Conn, ConnectionId, EngineHandle, Handler, Message,
    Overflow, Reject, Upgrade,
};
use throng_tests::engine::{
    Client, Happening, Heard, Served, answer, config, frame, request, serve_with, until,
};
use throng_tests::hostile::{Counting, Watch};
use throng_transport::memory::charged;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const BUDGET: usize = 32 * MIB;
/// Messages that may wait.
const QUEUE: usize = 32;
/// Messages of which a queue takes 480 KiB, and 1.8 MiB.
const SMALL: usize = 15 * KIB;
const LARGE: usize = 58 * KIB;

/// An engine with the process to itself, and the most that was held while it ran.
struct Watched {
    served: Option<Served>,
    watch: Option<JoinHandle<usize>>,
    is_over: Arc<AtomicBool>,
    _alone: MutexGuard<'static, ()>,
}

impl Watched {
    fn begin(config: Config) -> Watched {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (reports, happenings) = channel();
        let reports = Mutex::new(reports);
        let engine = serve_with(config, Service { reports });
        let served = Served { engine, happenings };
        let is_over: Arc<AtomicBool> = Arc::default();
        let (handle, told) = (served.engine.handle(), Arc::clone(&is_over));
        Watched {
            served: Some(served),
            watch: Some(thread::spawn(move || most_held(&handle, &told))),
            is_over,
            _alone: alone,
        }
    }

    fn served(&self) -> &Served {
        self.served.as_ref().unwrap()
    }

    /// Ends it, after which nothing must be held, and returns the most that was.
    fn end(mut self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        let most = self.watch.take().unwrap().join().unwrap();
        drop(self.served.take());
        assert_eq!(charged(), 0, "whatever was charged is freed");
        most
    }
}

fn most_held(handle: &EngineHandle, is_over: &AtomicBool) -> usize {
    let mut most = 0;
    while !is_over.load(Ordering::Relaxed) {
        most = most.max(handle.memory().bytes);
        thread::yield_now();
    }
    most
}

/// Peers that are behind lose messages and stay, unless the budget sheds them.
fn settings() -> Config {
    config()
        .memory_budget(BUDGET)
        .overflow(Overflow::RefuseNewest)
        .send_queue_messages(QUEUE)
        .send_queue_bytes(3 * MIB)
        .write_timeout(Duration::from_secs(3600))
}

/// Echoes texts, but for these commands: `!id` answers with the id as a number, `!join R`
/// joins a room, `!publish R NUMBER SIZE` publishes the number in eight digits, and dots up to the size,
/// and answers with how many it was queued for and how many messages were dropped. `!large SIZE`
/// answers with so many bytes, `!sleep` keeps the shard for 200 ms and is echoed.
#[derive(Debug)]
struct Service {
    reports: Mutex<Sender<Happening>>,
}

impl Handler for Service {
    type State = ();

    fn on_upgrade(&self, _: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        let words = message.as_text().unwrap_or_default().split(' ');
        match *words.collect::<Vec<_>>() {
            ["!id"] => conn.send(&conn.id().to_u64().to_string()),
            ["!join", room] => {
                conn.join(room).unwrap();
                conn.send("joined")
            }
            ["!publish", room, number, size] => {
                let text = format!("{number:.<0$}", size.parse::<usize>().unwrap());
                let receipt = conn.to(room).text(&text).publish();
                conn.send(&format!("{} {}", receipt.queued, receipt.dropped))
            }
            ["!sleep"] => {
                thread::sleep(Duration::from_millis(200));
                conn.send(message)
            }
            ["!large", size] => conn.send(&vec![7; size.parse().unwrap()]),
            _ => conn.send(message),
        };
    }

    fn on_close(&self, conn: &mut Conn<'_, ()>, close: &Close) {
        let (id, close) = (conn.id(), close.clone());
        let report = Happening::Closed {
            id,
            close,
            rooms: Vec::new(),
        };
        let _ = self.reports.lock().unwrap().send(report);
    }
}

/// The ids and causes of connections that have been closed.
fn closed(served: &Served) -> Vec<(ConnectionId, Cause)> {
    let happenings = served.rest().into_iter();
    let closed = happenings.filter_map(|happening| match happening {
        Happening::Closed { id, close, .. } => Some((id, close.cause)),
        _ => None,
    });
    closed.collect()
}

fn id(client: &mut Client) -> ConnectionId {
    ConnectionId::from_u64(client.ask("!id").parse().unwrap())
}

/// A client with small buffers in a room.
fn slow_member(served: &Served, room: &str) -> Client {
    let mut client = Client::connect_small(served.address());
    assert_eq!(client.ask(&format!("!join {room}")), "joined");
    client
}

/// For how many members a message was queued, and how many others were dropped for it, or it for.
fn publish(publisher: &mut Client, room: &str, number: usize, size: usize) -> (usize, usize) {
    let answer = publisher.ask(&format!("!publish {room} {number:08} {size}"));
    let (queued, dropped) = answer.split_once(' ').unwrap();
    (queued.parse().unwrap(), dropped.parse().unwrap())
}

/// Publishes to a room of one slow and one fast member until the slow one's queue is full, or it is
/// gone. The fast one hears all of it.
fn fill(publisher: &mut Client, fast: &mut Client, room: &str, size: usize) {
    assert_eq!(fast.ask(&format!("!join {room}")), "joined");
    for number in 0.. {
        let (queued, _) = publish(publisher, room, number, size);
        match fast.hear() {
            Heard::Text(text) => assert_eq!((text.len(), text[..8].parse()), (size, Ok(number))),
            other => panic!("{other:?}"),
        }
        if queued < 2 {
            return;
        }
    }
}

/// What is heard first that is no text.
fn hear_behind_texts(client: &mut Client) -> Heard {
    loop {
        match client.hear() {
            Heard::Text(_) => {}
            other => return other,
        }
    }
}

/// Expects an answer behind whatever else waits.
fn expect_to_be_served(client: &mut Client) {
    client.text("still here");
    while client.hear() != Heard::Text("still here".into()) {}
}

#[test]
fn the_worst_go_first_and_the_fast_lose_nothing() {
    const EACH: usize = 16;
    let watched = Watched::begin(settings());
    let served = watched.served();
    let (mut publisher, mut fast) = (served.connect(), served.connect());
    let mut fill_rooms = |kind: &str, size: usize| -> Vec<(ConnectionId, Client)> {
        let rooms: Vec<String> = (0..EACH).map(|number| format!("{kind}{number}")).collect();
        let slow = rooms.iter().map(|room| slow_member(served, room));
        let slow = slow.map(|mut client| (id(&mut client), client)).collect();
        for room in &rooms {
            fill(&mut publisher, &mut fast, room, size);
        }
        slow
    };
    let modest = fill_rooms("modest", SMALL);
    let mut greedy = fill_rooms("greedy", LARGE);
    let memory = served.engine.memory();
    assert_eq!((memory.budget, memory.refused), (Some(BUDGET), 0));
    let closed = closed(served);
    assert!((3..EACH).contains(&closed.len()), "{closed:?}");
    assert_eq!(closed.len() as u64, memory.shed);
    for (id, cause) in &closed {
        assert_eq!(*cause, Cause::SlowConsumer);
        let position = greedy.iter().position(|(greedy, _)| greedy == id);
        let (_, mut client) = greedy.swap_remove(position.expect("one who held most"));
        let told = Heard::Close(Some(1008), "slow consumer".into());
        assert_eq!(hear_behind_texts(&mut client), told);
    }
    for (_, mut client) in modest.into_iter().chain(greedy) {
        expect_to_be_served(&mut client);
    }
    let most = watched.end();
    assert!((BUDGET / 8 * 7..BUDGET).contains(&most), "{most}");
}

#[test]
fn what_many_wait_for_counts_once() {
    const MEMBERS: usize = 40;
    let watched = Watched::begin(settings().overflow(Overflow::DropOldest));
    let served = watched.served();
    let mut slow: Vec<_> = (0..MEMBERS).map(|_| slow_member(served, "tea")).collect();
    let mut publisher = served.connect();
    // For each of them 1.8 MiB wait: 74 MiB in all queues.
    let mut full = 0;
    for number in 0.. {
        let (queued, dropped) = publish(&mut publisher, "tea", number, LARGE);
        assert_eq!(queued, MEMBERS);
        full += usize::from(dropped == MEMBERS);
        if full == 2 * QUEUE {
            break;
        }
    }
    let memory = served.engine.memory();
    assert_eq!((memory.shed, memory.refused), (0, 0));
    assert!(memory.bytes > LARGE * (QUEUE - 2), "{memory:?}");
    slow.iter_mut().for_each(expect_to_be_served);
    let most = watched.end();
    assert!(most < BUDGET / 8 * 7, "{most}");
}

#[test]
fn nobody_is_let_in_above_seven_eighths() {
    let watched = Watched::begin(settings());
    let served = watched.served();
    let (mut publisher, mut fast) = (served.connect(), served.connect());
    let rooms: Vec<String> = (0..80).map(|number| format!("r{number}")).collect();
    let slow = rooms.iter().map(|room| slow_member(served, room));
    let mut slow: Vec<Client> = slow.collect();
    let is_short = || served.engine.memory().bytes >= BUDGET / 8 * 7;
    for room in &rooms {
        fill(&mut publisher, &mut fast, room, SMALL);
        // What was kept for reuse has been given back before this answer.
        if is_short() && fast.ask("short?") == "short?" && is_short() {
            break;
        }
    }
    let (status, response) = answer(served, request("").as_bytes());
    assert_eq!(status, 503);
    assert!(response.contains("\r\nRetry-After: 5\r\n"), "{response}");
    assert!(response.ends_with("the server is short of memory"));
    assert_eq!(fast.ask("am I?"), "am I?", "who is in is served");
    let memory = served.engine.memory();
    assert_eq!((memory.refused, memory.shed), (1, 0));
    slow.drain(..4);
    until("less is held", || !is_short());
    assert_eq!(served.connect().ask("in?"), "in?");
    let most = watched.end();
    assert!(most < BUDGET, "{most}");
}

/// The beginning of a message of 500 KiB, as much of it as makes a buffer of 512 KiB.
fn beginning() -> Vec<u8> {
    let mut bytes = frame(true, OpCode::Binary, &vec![7; 500 * KIB]);
    bytes.truncate(400 * KIB);
    bytes
}

#[test]
fn who_completes_no_messages_is_shed() {
    const ATTACKERS: usize = 128;
    let watched = Watched::begin(settings());
    let served = watched.served();
    let mut bystanders: Vec<Client> = (0..20).map(|_| served.connect()).collect();
    let mut attackers: Vec<Client> = (0..ATTACKERS).map(|_| served.connect()).collect();
    let beginning = beginning();
    let allocated = Watch::begin();
    thread::scope(|scope| {
        for some in attackers.chunks_mut(8) {
            let beginning = &beginning;
            scope.spawn(move || {
                for attacker in some {
                    // It may have been told to go meanwhile.
                    let _ = attacker.try_write(beginning);
                }
            });
        }
        for round in 0..50 {
            for (number, bystander) in bystanders.iter_mut().enumerate() {
                let text = format!("{number} in round {round}");
                assert_eq!(bystander.ask(&text), text);
            }
        }
    });
    // Who had nothing to lose then may have arrived since.
    until("enough are shed", || {
        let buffers = (ATTACKERS as u64 - served.engine.memory().shed) * 512 * KIB as u64;
        buffers < BUDGET as u64
    });
    let closed = closed(served);
    let shed = closed.len();
    let is_for_memory = |(_, cause): &(ConnectionId, Cause)| *cause == Cause::OverBudget;
    assert!(closed.iter().all(is_for_memory), "{closed:?}");
    assert!((ATTACKERS / 2..ATTACKERS - 8).contains(&shed), "{shed}");
    for bystander in &mut bystanders {
        assert_eq!(bystander.ask("well?"), "well?");
    }
    let memory = served.engine.memory();
    assert_eq!((memory.shed, memory.refused), (shed as u64, 0));
    let (most, really) = (watched.end(), allocated.peak());
    assert!(most < BUDGET && really < BUDGET, "{most}, {really}");
    let ends = attackers.iter_mut().map(Client::hear);
    let told = Heard::Close(Some(1013), "the server is short of memory".into());
    let is_told = ends.filter(|end| *end == told).count();
    assert_eq!(is_told, shed);
}

/// A few bytes each make all their buffers double, in one turn.
#[test]
fn buffers_that_double_at_once_do_not_pass_it() {
    const ATTACKERS: usize = 100;
    const HEADER: usize = 14;
    let watched = Watched::begin(settings());
    let served = watched.served();
    let mut busy = served.connect();
    let mut attackers: Vec<Client> = (0..ATTACKERS).map(|_| served.connect()).collect();
    let bytes = frame(true, OpCode::Binary, &vec![7; 500 * KIB]);
    let (beginning, more) = bytes.split_at(HEADER + 256 * KIB);
    // Shards charge for buffers at the ends of turns; the allocator knows what there was within.
    let allocated = Watch::begin();
    attackers
        .iter_mut()
        .for_each(|client| client.write(beginning));
    let full = ATTACKERS * 256 * KIB;
    until("full buffers", || served.engine.memory().bytes > full);
    // Meanwhile all of it arrives.
    busy.text("!sleep");
    for attacker in &mut attackers {
        let _ = attacker.try_write(&more[..KIB]);
    }
    assert_eq!(busy.ask("awake?"), "!sleep");
    until("somebody's end", || served.engine.memory().shed > 0);
    assert_eq!(busy.hear(), Heard::Text("awake?".into()));
    let most = allocated.peak();
    assert!((full..BUDGET).contains(&most), "{most}");
    watched.end();
}

#[test]
fn without_a_budget_nobody_is_shed() {
    const SENDERS: usize = 96;
    let watched = Watched::begin(settings().memory_budget(None));
    let served = watched.served();
    let mut senders: Vec<Client> = (0..SENDERS).map(|_| served.connect()).collect();
    let whole = frame(true, OpCode::Binary, &vec![7; 500 * KIB]);
    let (beginning, end) = whole.split_at(400 * KIB);
    senders
        .iter_mut()
        .for_each(|sender| sender.write(beginning));
    until("all has arrived", || {
        served.engine.memory().bytes > SENDERS * 400 * KIB
    });
    for sender in &mut senders {
        sender.write(end);
        assert_eq!(sender.hear(), Heard::Binary(vec![7; 500 * KIB]));
    }
    let memory = served.engine.memory();
    assert_eq!((memory.budget, memory.shed, memory.refused), (None, 0, 0));
    assert!(watched.end() > BUDGET);
}

/// What holds the memory is with the driver: only a reset frees it.
#[test]
fn who_does_not_take_a_large_message_is_reset() {
    const SIZE: usize = 16 * MIB;
    let settings = settings()
        .send_queue_bytes(20 * MIB)
        .memory_budget(64 * MIB);
    let watched = Watched::begin(settings);
    let served = watched.served();
    let mut slow = Vec::new();
    for _ in 0..5 {
        let mut client = Client::connect_small(served.address());
        client.text(&format!("!large {SIZE}"));
        client.until_readable();
        slow.push(client);
        if served.engine.memory().shed > 0 {
            break;
        }
    }
    assert_eq!(served.next_cause(), Cause::SlowConsumer);
    let pong = frame(true, OpCode::Pong, &[]);
    until("the reset", || {
        let mut slow = slow.iter_mut();
        slow.any(|client| client.try_write(&pong).is_err())
    });
    let most = watched.end();
    assert!((3 * SIZE..5 * SIZE).contains(&most), "{most}");
}

/// The number of its shard, of two.
fn shard(id: ConnectionId) -> u64 {
    id.to_u64() >> 55
}

/// The worst one's shard sleeps while another one's brings the process over the budget.
#[test]
fn the_worst_goes_though_its_shard_sleeps() {
    let watched = Watched::begin(settings().shards(2));
    let served = watched.served();
    let mut slow = Client::connect_small(served.address());
    let worst = id(&mut slow);
    // More than the system holds, so that one stays with the engine: twice what anybody else will hold.
    for _ in 0..16 {
        slow.text(&format!("!large {MIB}"));
    }
    // The system decides which shard a connection goes to.
    let mut others = Vec::new();
    while others.len() < 80 {
        let mut other = served.connect();
        if shard(id(&mut other)) != shard(worst) {
            others.push(other);
        }
    }
    until("what waits for it", || served.engine.memory().bytes > MIB);
    let beginning = beginning();
    let mut ends = Vec::new();
    let mut attack = |other: &mut Client| {
        // It may have been told to go meanwhile.
        let _ = other.try_write(&beginning);
        thread::sleep(Duration::from_millis(10));
        ends.extend(closed(served));
        ends.contains(&(worst, Cause::SlowConsumer))
    };
    // Those that came to the wrong shard have vanished, and others may follow the worst one.
    assert!(others.iter_mut().any(&mut attack), "{ends:?}");
    let most = watched.end();
    assert!(most < BUDGET, "{most}");
}

/// 40 compressors are 14 MiB; they can be made again.
#[test]
fn compressors_go_before_anybody_does() {
    let compression = Compression::default().server_context_takeover(true);
    let watched = Watched::begin(settings().memory_budget(8 * MIB).compression(compression));
    let served = watched.served();
    let text = "compressible ".repeat(100);
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..40 {
        let mut client = Client::connect_compressed(served.address(), "permessage-deflate");
        assert_eq!(client.ask(&text), text);
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(client.ask(&text), text);
    }
    let memory = served.engine.memory();
    assert_eq!((memory.shed, memory.refused), (0, 0));
    let most = watched.end();
    assert!((4 * MIB..8 * MIB).contains(&most), "{most}");
}
