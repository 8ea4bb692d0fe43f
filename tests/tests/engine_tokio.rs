//! An engine whose shards are tasks of the service's runtime.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod tasks;

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tasks::{URL, ask, connect, expect_close, next, start_with};
use throng::{
    Accept, AdoptError, Backend, Close, Config, Conn, Engine, EngineHandle, Handler, MembersError,
    Peer, Reject, Upgrade,
};
use throng_tests::engine::PATIENCE;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::timeout;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

/// How long what must not happen is given to happen.
const GRACE: Duration = Duration::from_millis(100);

fn config() -> Config {
    tasks::config(Backend::Tokio)
}

fn start() -> Engine {
    start_with(config()).unwrap()
}

async fn rooms_and_drain() {
    let engine = start();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = connect(&engine).await;
        ask(&mut client, "join").await;
        clients.push(client);
    }
    assert_eq!((engine.connections(), engine.room_len("room")), (20, 20));
    let receipt = engine.to("room").text("to all").publish_with_receipt();
    assert_eq!(receipt.await.unwrap().queued, 20);
    for client in &mut clients {
        assert_eq!(next(client).await, "to all".into());
    }
    let closing = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            expect_close(&mut client, 1012).await;
        })
    });
    let closing: Vec<_> = closing.collect();
    let report = engine.drain_async(Duration::from_millis(50)).await;
    assert_eq!((report.connections, report.flushed), (20, 20), "{report:?}");
    for closed in closing {
        closed.await.unwrap();
    }
}

#[tokio::test]
async fn rooms_and_drain_on_one_thread() {
    rooms_and_drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_and_drain_on_several_threads() {
    rooms_and_drain().await;
}

/// A tokio-uring runtime is a tokio runtime of one thread, with a ring beside it.
#[cfg(target_os = "linux")]
#[test]
fn rooms_and_drain_in_a_tokio_uring_runtime() {
    tokio_uring::start(rooms_and_drain());
}

#[cfg(target_os = "linux")]
#[test]
fn a_pipe_is_served_in_a_tokio_uring_runtime() {
    tokio_uring::start(adopts_a_pipe());
}

/// What waits for shards may be called in a runtime of several threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn blocking_calls_do_not_block_the_shards() {
    let engine = start();
    let mut client = connect(&engine).await;
    ask(&mut client, "join").await;
    assert_eq!(engine.members("room").unwrap().len(), 1);
    let closed = tokio::spawn(async move { expect_close(&mut client, 1012).await });
    let report = engine.drain(Duration::ZERO);
    assert_eq!((report.connections, report.flushed), (1, 1), "{report:?}");
    closed.await.unwrap();
}

/// In one of a single thread they panic rather than wait for ever, and the engine ends.
#[tokio::test]
async fn blocking_calls_panic_on_the_only_thread() {
    let engine = start();
    let mut client = connect(&engine).await;
    let handle = engine.handle();
    let drained = tokio::spawn(async move { engine.drain(Duration::ZERO) });
    assert!(drained.await.unwrap_err().is_panic());
    expect_close(&mut client, 1001).await;
    assert_eq!(handle.connections(), 0);
}

/// Those that can say so give an error instead, and wait on a thread that does not run the shards.
#[tokio::test]
async fn the_only_thread_is_told_that_it_cannot_ask_for_members() {
    let engine = start();
    let mut client = connect(&engine).await;
    ask(&mut client, "join").await;
    let handle = engine.handle();
    assert_eq!(handle.members("room"), Err(MembersError::OnShard));
    let members = spawn_blocking(move || handle.members("room"))
        .await
        .unwrap();
    let handle = engine.handle();
    let [member] = members.unwrap()[..] else {
        panic!("one has joined");
    };
    assert_eq!(handle.rooms_of(member), Err(MembersError::OnShard));
    let rooms = spawn_blocking(move || handle.rooms_of(member))
        .await
        .unwrap();
    assert_eq!(rooms.unwrap(), ["room".into()]);
}

async fn routes_may_ask_for_members() {
    let known: Arc<OnceLock<EngineHandle>> = Arc::default();
    let asking = Arc::clone(&known);
    let members = move || {
        let members = asking.get().unwrap().members("room").map(|it| it.len());
        async move { format!("{members:?}") }
    };
    let engine = Engine::builder()
        .bind("127.0.0.1:0")
        .unwrap()
        .config(config())
        .routes(axum::Router::new().route("/members", axum::routing::get(members)))
        .on_message(|conn, message| {
            conn.join("room").unwrap();
            conn.send(message);
        })
        .start()
        .unwrap();
    known.set(engine.handle()).unwrap();
    let mut client = connect(&engine).await;
    ask(&mut client, "join").await;
    let address = engine.local_addr().unwrap();
    let mut visitor = TcpStream::connect(address).await.unwrap();
    let request = b"GET /members HTTP/1.1\r\nHost: h\r\n\r\n";
    visitor.write_all(request).await.unwrap();
    let mut answer = String::new();
    let read = timeout(PATIENCE, visitor.read_to_string(&mut answer)).await;
    read.unwrap().unwrap();
    assert!(answer.ends_with("\r\n\r\nOk(1)"), "{answer}");
}

#[tokio::test]
async fn routes_may_ask_for_members_beside_a_runtime_of_one_thread() {
    routes_may_ask_for_members().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_may_ask_for_members_beside_a_runtime_of_several_threads() {
    routes_may_ask_for_members().await;
}

/// tokio has what a task polls give way after some 128 steps; a shard's turn has bounds of its own.
#[tokio::test]
async fn jobs_are_not_held_up_by_the_runtimes_budget() {
    const MESSAGES: usize = 2000;
    let builder = Engine::builder().bind("127.0.0.1:0").unwrap();
    let engine = builder
        .config(config())
        .on_message(|conn, _| {
            let (sender, mut receiver) = tokio::sync::mpsc::channel(MESSAGES);
            (0..MESSAGES).for_each(|number| sender.try_send(number).unwrap());
            let mut all = Box::pin(async move {
                for expected in 0..MESSAGES {
                    assert_eq!(receiver.recv().await, Some(expected));
                }
            });
            let mut polls = 0;
            let counted = poll_fn(move |cx| {
                polls += 1;
                all.as_mut().poll(cx).map(|()| polls)
            });
            let answer = |conn: &mut Conn<'_, ()>, polls: usize| {
                conn.send(&*polls.to_string());
            };
            conn.spawn_then(counted, answer).unwrap();
        })
        .start()
        .unwrap();
    let mut client = connect(&engine).await;
    client.send("begin".into()).await.unwrap();
    assert_eq!(next(&mut client).await, "1".into());
}

async fn adopts_a_pipe() {
    let engine = start();
    let mut pipes = Vec::new();
    for _ in 0..4 {
        let (near, far) = duplex(1000);
        engine.adopt(near, Peer::Unix).unwrap();
        let mut client = client_async(URL, far).await.unwrap().0;
        ask(&mut client, "join").await;
        pipes.push(client);
    }
    let mut over_tcp = connect(&engine).await;
    ask(&mut over_tcp, &"x".repeat(100_000)).await;
    engine.to("room").text("tea").publish().unwrap();
    for client in &mut pipes {
        assert_eq!(next(client).await, "tea".into());
        ask(client, &"y".repeat(100_000)).await;
    }
    pipes[0].close(None).await.unwrap();
    assert!(matches!(next(&mut pipes[0]).await, Message::Close(_)));
}

#[tokio::test]
async fn a_pipe_is_served_on_one_thread() {
    adopts_a_pipe().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipe_is_served_on_several_threads() {
    adopts_a_pipe().await;
}

/// The embedder accepts, looks at nothing, and hands its connection over as it is.
#[tokio::test]
async fn a_stream_of_the_service_is_served() {
    let engine = start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handle = engine.handle();
    let accepting = tokio::spawn(async move {
        let (stream, peer) = listener.accept().await.unwrap();
        handle.adopt(stream, Peer::Tcp(peer)).unwrap();
    });
    let stream = TcpStream::connect(address).await.unwrap();
    let mut client = client_async(URL, stream).await.unwrap().0;
    ask(&mut client, "hello").await;
    accepting.await.unwrap();
}

/// A peer that does not read holds up itself, and is given up.
#[tokio::test]
async fn a_slow_reader_is_given_up_and_others_are_served() {
    let engine = start_with(
        config()
            .max_message_size(64 * 1024)
            .send_queue_bytes(80 * 1024),
    )
    .unwrap();
    let (near, far) = duplex(1000);
    engine.adopt(near, Peer::Unix).unwrap();
    let mut slow = client_async(URL, far).await.unwrap().0;
    ask(&mut slow, "join").await;
    let mut fine = connect(&engine).await;
    while engine.room_len("room") > 0 {
        engine
            .to("room")
            .text("x".repeat(20_000))
            .publish()
            .unwrap();
        ask(&mut fine, "still here").await;
    }
}

/// A flood of messages on every shard lets the runtime's other tasks run.
#[tokio::test]
async fn other_tasks_run_beside_a_flood() {
    let engine = start();
    let is_over = Arc::new(AtomicBool::new(false));
    let mut floods = Vec::new();
    for _ in 0..4 {
        let (mut sink, mut stream) = connect(&engine).await.split();
        let over = Arc::clone(&is_over);
        floods.push(tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                sink.send("again".into()).await.unwrap();
            }
            sink.close().await.unwrap();
        }));
        floods.push(tokio::spawn(async move {
            while let Some(Ok(_)) = stream.next().await {}
        }));
    }
    for _ in 0..1000 {
        timeout(PATIENCE, yield_now())
            .await
            .expect("a turn of ours");
    }
    is_over.store(true, Ordering::Relaxed);
    for flood in floods {
        timeout(PATIENCE, flood).await.expect("an end").unwrap();
    }
}

/// Dropped in a task, the engine waits for nobody, and its connections are cut.
#[tokio::test]
async fn dropping_cuts() {
    let engine = start();
    let mut client = connect(&engine).await;
    let handle = engine.handle();
    drop(engine);
    expect_close(&mut client, 1001).await;
    assert_eq!(
        handle.adopt(duplex(1).0, Peer::Unix),
        Err(AdoptError::Stopped)
    );
}

/// With its runtime the engine ends, and nobody counts as connected.
#[test]
fn the_engine_ends_with_its_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (engine, client) = runtime.block_on(async {
        let engine = start();
        let mut client = connect(&engine).await;
        ask(&mut client, "join").await;
        (engine, client)
    });
    drop(runtime);
    assert_eq!((engine.connections(), engine.room_len("room")), (0, 0));
    drop(client);
    engine.wait();
}

/// Takes its time to hear of an end: enough for a waiting that is over to show.
struct Slow {
    is_over: Mutex<mpsc::Receiver<()>>,
    told: mpsc::Sender<Result<(), mpsc::RecvTimeoutError>>,
}

impl Handler for Slow {
    type State = ();

    fn on_upgrade(&self, _: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&self, conn: &mut Conn<'_, ()>, message: throng::Message<'_>) {
        conn.send(message);
    }

    fn on_close(&self, _: &mut Conn<'_, ()>, _: &Close) {
        let early = self.is_over.lock().unwrap().recv_timeout(GRACE);
        self.told.send(early).unwrap();
    }
}

/// Who waits for an engine goes on when its handler has heard of every connection's end, not before.
#[test]
fn who_waits_is_told_last() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (over, is_over) = mpsc::channel();
    let (told, tells) = mpsc::channel();
    let is_over = Mutex::new(is_over);
    let (engine, client) = runtime.block_on(async {
        let builder = Engine::builder().bind("127.0.0.1:0").unwrap();
        let builder = builder.config(config()).handler(Slow { is_over, told });
        let engine = builder.start().unwrap();
        let mut client = connect(&engine).await;
        ask(&mut client, "hello").await;
        (engine, client)
    });
    let waiting = thread::spawn(move || {
        engine.wait();
        // In time the handler, who would hear of this, is gone.
        let _ = over.send(());
        over
    });
    drop(runtime);
    assert_eq!(tells.recv(), Ok(Err(mpsc::RecvTimeoutError::Timeout)));
    drop(waiting.join().unwrap());
    drop(client);
}

#[test]
fn outside_a_runtime_it_does_not_start() {
    let error = start_with(config()).unwrap_err();
    let expected = "backend tokio: start must be called inside a tokio runtime";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn other_backends_adopt_no_streams() {
    let engine = start_with(config().backend(Backend::Poll)).unwrap();
    let adopted = engine.adopt(duplex(1).0, Peer::Unix);
    assert_eq!(adopted, Err(AdoptError::Backend(Backend::Poll)));
}

/// What asks for no upgrade is answered by the side door over TCP, and by an end elsewhere.
#[tokio::test]
async fn other_requests_come_to_an_end() {
    const REQUEST: &[u8] = b"GET /nothing HTTP/1.1\r\nHost: throng.test\r\n\r\n";
    let engine = start();
    let mut stream = TcpStream::connect(engine.local_addr().unwrap())
        .await
        .unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let mut answer = String::new();
    let read = timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
    read.expect("an end").unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let (near, mut far) = duplex(1000);
    engine.adopt(near, Peer::Unix).unwrap();
    far.write_all(REQUEST).await.unwrap();
    let read = timeout(PATIENCE, far.read_to_end(&mut Vec::new())).await;
    assert_eq!(read.expect("an end").unwrap(), 0);
}
