//! What connections that are futures' own may hold, and for how long.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::future::{pending, poll_fn};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use throng::protocol::frame::OpCode;
use throng::{Cause, Config, Engine, Event, EventKinds, NotReady, SendError, WebSocket};
use throng_tests::engine::{Client, Heard, PATIENCE, config, frame, request, until};

const KIB: usize = 1024;

fn serve<F, Fut>(config: Config, serve: F) -> Engine
where
    F: Fn(WebSocket) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let builder = Engine::builder().bind("127.0.0.1:0").unwrap();
    builder.config(config).serve(serve).start().unwrap()
}

fn connect(engine: &Engine) -> Client {
    Client::connect(engine.local_addr().unwrap())
}

/// A sender that futures on any shard have.
fn shared<T>(sender: Sender<T>) -> impl Fn(T) + Clone + Send + Sync + 'static
where
    T: Send + 'static,
{
    let sender = Arc::new(Mutex::new(sender));
    move |told| drop(sender.lock().unwrap().send(told))
}

/// Small queues.
fn settings() -> Config {
    config()
        .max_message_size(32 * KIB)
        .send_queue_bytes(64 * KIB)
}

#[test]
fn a_send_that_there_is_no_room_for_waits() {
    const ROUNDS: u8 = 200;
    let size = |round: u8| {
        if round.is_multiple_of(2) {
            20_000
        } else {
            60_000
        }
    };
    let (sent, progress) = channel();
    let sent = shared(sent);
    let engine = serve(settings(), move |mut socket| {
        let sent = sent.clone();
        async move {
            for round in 0..ROUNDS {
                if socket.send(vec![round; size(round)]).await.is_err() {
                    return;
                }
                sent(round);
                // One in a turn, so that what is small waits when the next comes.
                for _ in 0..3 {
                    yield_now().await;
                }
            }
        }
    });
    let mut client = Client::connect_small(engine.local_addr().unwrap());
    let mut last = 0;
    while let Ok(round) = progress.recv_timeout(Duration::from_millis(500)) {
        last = round;
    }
    assert!(last < ROUNDS - 1, "all was sent to nobody");
    for round in 0..ROUNDS {
        let expected = Heard::Binary(vec![round; size(round)]);
        assert!(client.hear() == expected, "{round}: nothing is dropped");
    }
    assert_eq!(client.expect_close(1000), "");
}

#[test]
fn a_message_that_no_queue_holds_is_an_error() {
    let engine = serve(settings(), |mut socket| async move {
        let sent = socket.send(vec![0; 64 * KIB]).await;
        let (bytes, max) = (64 * KIB, 64 * KIB - 10);
        assert_eq!(sent, Err(SendError::TooLarge { bytes, max }));
        socket.send(vec![7; max]).await.unwrap();
        socket.send(sent.unwrap_err().to_string()).await.unwrap();
    });
    let mut client = connect(&engine);
    assert_eq!(client.hear(), Heard::Binary(vec![7; 64 * KIB - 10]));
    let told = "the message has 65536 bytes, of which 65526 may wait for a peer (send_queue_bytes)";
    assert_eq!(client.hear(), Heard::Text(told.to_owned()));
    assert_eq!(client.expect_close(1000), "");
}

#[test]
fn what_futures_do_not_take_counts_to_the_memory_budget() {
    const BUDGET: usize = 8 << 20;
    const CLIENTS: usize = 160;
    let engine = serve(config().memory_budget(BUDGET), |socket| async move {
        let _held = socket;
        pending::<()>().await;
    });
    let mut events = engine.subscribe(EventKinds::DISCONNECTED, 64).unwrap();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| connect(&engine)).collect();
    until("all are open", || engine.connections() == CLIENTS);
    // As many as are taken, and each so small that none is kept while it is incomplete.
    let messages = frame(true, OpCode::Binary, &[7; 1000]).repeat(64);
    for client in &mut clients {
        let _ = client.try_write(&messages);
    }
    let Some(Event::Disconnected { cause, .. }) = events.recv_timeout(PATIENCE) else {
        panic!("nobody was given up");
    };
    assert_eq!(cause, Cause::OverBudget);
    let most = BUDGET / 16 * 15;
    until("enough is free", || engine.memory().bytes < most);
    let left = engine.connections();
    assert!(left > most / messages.len() / 2, "not in vain: {left}");
}

/// What futures wait at.
#[derive(Default)]
struct Gate {
    is_open: bool,
    waiting: Vec<Waker>,
}

async fn pass(gate: &Mutex<Gate>) {
    poll_fn(|cx| {
        let mut gate = gate.lock().unwrap();
        if gate.is_open {
            return Poll::Ready(());
        }
        gate.waiting.push(cx.waker().clone());
        Poll::Pending
    })
    .await;
}

fn open(gate: &Mutex<Gate>) {
    let waiting = {
        let mut gate = gate.lock().unwrap();
        gate.is_open = true;
        std::mem::take(&mut gate.waiting)
    };
    waiting.into_iter().for_each(Waker::wake);
}

#[test]
fn a_future_that_goes_on_keeps_the_place_of_its_connection() {
    let gate = Arc::new(Mutex::new(Gate::default()));
    let at = Arc::clone(&gate);
    let engine = serve(config().max_connections(1), move |mut socket| {
        let gate = Arc::clone(&at);
        async move {
            while let Some(message) = socket.recv().await {
                socket.send(message).await.unwrap();
            }
            pass(&gate).await;
        }
    });
    let ask = || {
        let mut client = Client::silent(engine.local_addr().unwrap());
        client.write(request("").as_bytes());
        let head = client.read_head();
        (head.split(' ').nth(1).unwrap().to_owned(), client)
    };
    for _ in 0..3 {
        gate.lock().unwrap().is_open = false;
        let mut client = connect(&engine);
        assert_eq!(client.ask("there"), "there");
        drop(client);
        until("it waits", || !gate.lock().unwrap().waiting.is_empty());
        until("the connection is gone", || engine.connections() == 0);
        assert_eq!(engine.readiness(), Err(NotReady::Full));
        let (status, mut refused) = ask();
        assert_eq!(status, "503");
        refused.finish();
        assert_eq!(refused.read_to_end(), b"the server is full");
        open(&gate);
        until("there is room", || engine.readiness().is_ok());
    }
}

#[test]
fn a_drain_lets_futures_end() {
    let (ended, ends) = channel();
    let ended = shared(ended);
    let gate = Arc::new(Mutex::new(Gate::default()));
    let at = Arc::clone(&gate);
    let settings = config().close_timeout(PATIENCE);
    let engine = serve(settings, move |mut socket| {
        let (ended, gate) = (ended.clone(), Arc::clone(&at));
        async move {
            while socket.recv().await.is_some() {}
            pass(&gate).await;
            ended(socket.cause());
        }
    });
    let clients = [connect(&engine), connect(&engine)];
    until("both are open", || engine.connections() == 2);
    let drained = std::thread::spawn(move || engine.drain(Duration::ZERO));
    for mut client in clients {
        client.expect_close(1012);
    }
    // Nobody is left in the shard, or nearly so.
    open(&gate);
    drained.join().unwrap();
    let causes: Vec<_> = ends.try_iter().collect();
    assert_eq!(causes, [Some(Cause::Drain), Some(Cause::Drain)]);
}

#[test]
fn a_drain_drops_futures_that_do_not_end() {
    struct Told(Box<dyn Fn(()) + Send>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0(());
        }
    }
    let (dropped, drops) = channel();
    let dropped = shared(dropped);
    let settings = config().close_timeout(Duration::from_millis(100));
    let engine = serve(settings, move |socket| {
        let told = Told(Box::new(dropped.clone()));
        async move {
            let _held = (socket, told);
            pending::<()>().await;
        }
    });
    let mut client = connect(&engine);
    until("it is open", || engine.connections() == 1);
    let drained = std::thread::spawn(move || engine.drain(Duration::ZERO));
    client.expect_close(1012);
    drained.join().unwrap();
    assert_eq!(drops.try_recv(), Ok(()));
}

/// Lets others go on.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(move |cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
