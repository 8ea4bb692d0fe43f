//! What connections that are futures' own may hold, and for how long.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::future::pending;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use throng::protocol::frame::OpCode;
use throng::{Cause, Config, Engine, Event, EventKinds, SendError, WebSocket};
use throng_tests::engine::{Client, Heard, PATIENCE, config, frame, until};

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
    let size = |round: u8| if round % 2 == 0 { 20_000 } else { 60_000 };
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
        pending().await
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
