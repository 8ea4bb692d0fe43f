//! Futures beside the shard, and calls at a later moment.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::future::{pending, poll_fn};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use throng::{
    Accept, Cause, Close, Conn, Engine, Handler, Job, Message, Reject, SpawnError, Upgrade,
};
use throng_tests::engine::{Client, Heard, PATIENCE, config, serve_with, until};

/// What is opened from outside, and wakes who waits for it.
#[derive(Default)]
struct Gate {
    open: bool,
    waiting: Vec<Waker>,
}

type Gates = Arc<Mutex<Gate>>;

fn open(gate: &Gates) {
    let mut gate = gate.lock().unwrap();
    gate.open = true;
    gate.waiting.drain(..).for_each(Waker::wake);
}

fn passed(gate: &Gates) -> impl Future<Output = ()> + Send + use<> {
    let gate = Arc::clone(gate);
    poll_fn(move |cx| {
        let mut gate = gate.lock().unwrap();
        if gate.open {
            return Poll::Ready(());
        }
        gate.waiting.push(cx.waker().clone());
        Poll::Pending
    })
}

/// Tells when it is dropped.
struct Told(Sender<&'static str>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send("dropped");
    }
}

/// Does what the messages say.
struct Jobs {
    gate: Gates,
    told: Mutex<Sender<&'static str>>,
    closed: Mutex<Sender<Cause>>,
}

impl Handler for Jobs {
    type State = Vec<Job>;

    fn on_upgrade(&self, _: &Upgrade<'_>) -> Result<Accept<Vec<Job>>, Reject> {
        Ok(Accept::new(Vec::new()))
    }

    fn on_message(&self, conn: &mut Conn<'_, Vec<Job>>, message: Message<'_>) {
        let handle = conn.handle();
        let text = message.as_text().unwrap().to_owned();
        let (command, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let rest = rest.to_owned();
        let begun = match command {
            "at-once" => conn.spawn_then(async { 7 }, |conn, seven: u32| {
                conn.send(&*format!("{seven}"));
            }),
            "later" => {
                let delay = Duration::from_millis(rest.parse().unwrap());
                conn.after(delay, move |conn| {
                    conn.send(&*format!("after {rest}"));
                })
            }
            "gate" => {
                let passed = passed(&self.gate);
                conn.spawn(async move {
                    passed.await;
                    handle.send(&*format!("passed {rest}")).unwrap();
                })
            }
            "wait" => {
                let told = Told(self.told.lock().unwrap().clone());
                conn.spawn(async move {
                    let _told = told;
                    pending::<()>().await;
                })
            }
            "panic" => conn.spawn(async { panic!("as told") }),
            "panic-after" => conn.after(Duration::ZERO, |_| panic!("as told")),
            "cancel" => {
                let job = conn.state_mut().pop().unwrap();
                let cancelled = (conn.cancel(job), conn.cancel(job));
                conn.send(&*format!("{cancelled:?}"));
                return;
            }
            echo => {
                conn.send(echo);
                return;
            }
        };
        match begun {
            Ok(job) => conn.state_mut().push(job),
            Err(error) => drop(conn.send(&*error.to_string())),
        }
    }

    fn on_close(&self, conn: &mut Conn<'_, Vec<Job>>, close: &Close) {
        assert_eq!(conn.spawn(async {}), Err(SpawnError::NotOpen));
        let late = conn.after(Duration::ZERO, |_| panic!("it is over"));
        assert_eq!(late, Err(SpawnError::NotOpen));
        let _ = self.closed.lock().unwrap().send(close.cause.clone());
    }
}

struct Rig {
    engine: Engine,
    gate: Gates,
    told: Receiver<&'static str>,
    closed: Receiver<Cause>,
}

impl Rig {
    fn connect(&self) -> Client {
        Client::connect(self.engine.local_addr().unwrap())
    }
}

fn rig() -> Rig {
    let gate = Gates::default();
    let (told, was_told) = channel();
    let (close, closed) = channel();
    let jobs = Jobs {
        gate: Arc::clone(&gate),
        told: Mutex::new(told),
        closed: Mutex::new(close),
    };
    Rig {
        engine: serve_with(config().max_jobs_per_connection(3), jobs),
        gate,
        told: was_told,
        closed,
    }
}

#[test]
fn what_a_future_makes_comes_back_to_its_connection() {
    let rig = rig();
    let mut client = rig.connect();
    for _ in 0..100 {
        assert_eq!(client.ask("at-once"), "7");
    }
}

#[test]
fn a_future_is_woken_from_another_thread_while_the_shard_serves_others() {
    let rig = rig();
    let mut ann = rig.connect();
    let mut bob = rig.connect();
    ann.text("gate a");
    assert_eq!(ann.ask("beside"), "beside");
    bob.text("gate b");
    assert_eq!(bob.ask("beside"), "beside");
    open(&rig.gate);
    assert_eq!(ann.hear(), Heard::Text("passed a".to_owned()));
    assert_eq!(bob.hear(), Heard::Text("passed b".to_owned()));
}

#[test]
fn calls_come_in_the_order_of_their_times() {
    let rig = rig();
    let mut client = rig.connect();
    let begun = Instant::now();
    client.text("later 60");
    client.text("later 1");
    client.text("later 30");
    for millis in ["1", "30", "60"] {
        assert_eq!(client.hear(), Heard::Text(format!("after {millis}")));
    }
    assert!(begun.elapsed() >= Duration::from_millis(60));
}

#[test]
fn jobs_end_with_their_connection() {
    let rig = rig();
    let mut client = rig.connect();
    client.text("wait");
    client.text("later 3600000");
    assert_eq!(client.ask("there"), "there");
    assert!(rig.told.try_recv().is_err());
    drop(client);
    assert_eq!(rig.told.recv_timeout(PATIENCE), Ok("dropped"));
    rig.closed.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn jobs_end_when_they_are_cancelled() {
    let rig = rig();
    let mut client = rig.connect();
    client.text("wait");
    assert_eq!(client.ask("cancel"), "(true, false)");
    assert_eq!(rig.told.recv_timeout(PATIENCE), Ok("dropped"));
    client.text("later 20");
    assert_eq!(client.ask("cancel"), "(true, false)");
    client.text("later 40");
    assert_eq!(client.hear(), Heard::Text("after 40".to_owned()));
}

#[test]
fn a_connection_has_no_more_jobs_than_it_may() {
    let rig = rig();
    let mut client = rig.connect();
    for _ in 0..3 {
        client.text("gate x");
    }
    let refused = "the connection has 3 jobs, the most allowed (max_jobs_per_connection)";
    assert_eq!(client.ask("at-once"), refused);
    assert_eq!(client.ask("later 5"), refused);
    open(&rig.gate);
    for _ in 0..3 {
        assert_eq!(client.hear(), Heard::Text("passed x".to_owned()));
    }
    until("there is room again", || client.ask("at-once") == "7");
}

#[test]
fn a_panic_costs_the_one_connection() {
    let rig = rig();
    let mut other = rig.connect();
    for command in ["panic", "panic-after"] {
        let mut client = rig.connect();
        client.text(command);
        assert_eq!(client.expect_close(1011), "internal error");
        let cause = rig.closed.recv_timeout(PATIENCE).unwrap();
        assert_eq!(cause, Cause::HandlerPanicked);
        assert_eq!(other.ask("unharmed"), "unharmed");
    }
}

#[test]
fn futures_may_use_the_runtime_that_the_engine_was_started_in() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let engine = {
        let _entered = runtime.enter();
        let builder = Engine::builder().bind("127.0.0.1:0").unwrap();
        let sleepy = |conn: &mut Conn<'_, ()>, _: Message<'_>| {
            let slept = async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                tokio::spawn(async { 42 }).await.unwrap()
            };
            let answer = |conn: &mut Conn<'_, ()>, number: u32| {
                conn.send(&*number.to_string());
            };
            conn.spawn_then(slept, answer).unwrap();
        };
        builder.config(config()).on_message(sleepy).start().unwrap()
    };
    let mut client = Client::connect(engine.local_addr().unwrap());
    assert_eq!(client.ask("sleep"), "42");
}

/// Tells whether it is dropped in a runtime.
struct InRuntime(Sender<bool>);

impl Drop for InRuntime {
    fn drop(&mut self) {
        let _ = self.0.send(tokio::runtime::Handle::try_current().is_ok());
    }
}

#[test]
fn futures_are_dropped_in_the_runtime_that_the_engine_was_started_in() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (dropped, drops) = channel();
    let dropped = Mutex::new(dropped);
    let engine = {
        let _entered = runtime.enter();
        let builder = Engine::builder().bind("127.0.0.1:0").unwrap();
        let wait = move |conn: &mut Conn<'_, ()>, message: Message<'_>| {
            let held = InRuntime(dropped.lock().unwrap().clone());
            conn.spawn(async move {
                let _held = held;
                pending::<()>().await;
            })
            .unwrap();
            conn.send(message);
        };
        builder.config(config()).on_message(wait).start().unwrap()
    };
    let mut client = Client::connect(engine.local_addr().unwrap());
    assert_eq!(client.ask("wait"), "wait");
    drop(client);
    assert_eq!(drops.recv_timeout(PATIENCE), Ok(true));
}
