//! An engine whose shards are tasks of the service's tokio-uring runtime.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod tasks;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use seccompiler::{SeccompAction, SeccompFilter, apply_filter};
use tasks::{URL, ask, connect, expect_close, next, start_with};
use throng::{AdoptError, Backend, Config, Engine, Peer, StartError};
use throng_tests::engine::PATIENCE;
use tokio::io::duplex;
use tokio::net::UnixStream;
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_tungstenite::client_async;

fn config() -> Config {
    tasks::config(Backend::TokioUring)
}

fn start() -> Engine {
    start_with(config()).unwrap()
}

#[test]
fn rooms_and_drain() {
    tokio_uring::start(async {
        let engine = start();
        assert_eq!(engine.backend(), Backend::TokioUring);
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
            tokio_uring::spawn(async move { expect_close(&mut client, 1012).await })
        });
        let closing: Vec<_> = closing.collect();
        let report = engine.drain_async(Duration::from_millis(50)).await;
        assert_eq!((report.connections, report.flushed), (20, 20), "{report:?}");
        for closed in closing {
            closed.await.unwrap();
        }
    });
}

/// Frames of all sizes, one of which takes several sends, over each kind of stream.
#[test]
fn every_stream_is_served() {
    const SIZES: [usize; 5] = [1, 125, 70_000, 400_000, 3];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    tokio_uring::start(async {
        let builder = Engine::builder().bind("127.0.0.1:0").unwrap().unix(&path);
        let limits = config().max_message_size(1 << 19);
        let builder = builder.config(limits).on_message(|conn, message| {
            conn.send(message);
        });
        let engine = builder.start().unwrap();
        let mut over_tcp = connect(&engine).await;
        let stream = UnixStream::connect(&path).await.unwrap();
        let mut over_unix = client_async(URL, stream).await.unwrap().0;
        let (near, far) = duplex(1000);
        engine.adopt(near, Peer::Unix).unwrap();
        let mut over_a_pipe = client_async(URL, far).await.unwrap().0;
        for size in SIZES {
            let text = "x".repeat(size);
            ask(&mut over_tcp, &text).await;
            ask(&mut over_unix, &text).await;
            ask(&mut over_a_pipe, &text).await;
        }
        engine.drain_async(Duration::ZERO).await;
    });
}

/// A peer that does not read holds up itself, and is given up.
#[test]
fn a_slow_reader_is_given_up_and_others_are_served() {
    tokio_uring::start(async {
        let limits = config()
            .max_message_size(64 * 1024)
            .send_queue_bytes(80 * 1024);
        let engine = start_with(limits).unwrap();
        let mut slow = connect(&engine).await;
        ask(&mut slow, "join").await;
        let mut fine = connect(&engine).await;
        let begun = Instant::now();
        while engine.room_len("room") > 0 {
            assert!(begun.elapsed() < PATIENCE, "nobody was given up");
            let water = "x".repeat(20_000);
            engine.to("room").text(water).publish().unwrap();
            ask(&mut fine, "still here").await;
        }
    });
}

/// A flood of messages on every shard lets the runtime's other tasks run.
#[test]
fn other_tasks_run_beside_a_flood() {
    tokio_uring::start(async {
        let engine = start();
        let is_over = Arc::new(AtomicBool::new(false));
        let mut floods = Vec::new();
        for _ in 0..4 {
            let (mut sink, mut stream) = connect(&engine).await.split();
            let over = Arc::clone(&is_over);
            floods.push(tokio_uring::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    sink.send("again".into()).await.unwrap();
                }
                sink.close().await.unwrap();
            }));
            floods.push(tokio_uring::spawn(async move {
                while let Some(Ok(_)) = stream.next().await {}
            }));
        }
        for _ in 0..1000 {
            let turn = timeout(PATIENCE, yield_now()).await;
            turn.expect("a turn of ours");
        }
        is_over.store(true, Ordering::Relaxed);
        for flood in floods {
            let ended = timeout(PATIENCE, flood).await;
            ended.expect("an end").unwrap();
        }
    });
}

/// A task that is never at rest keeps the runtime from parking, which is when it enters its ring.
#[test]
fn a_restless_task_does_not_hold_the_engine_up() {
    tokio_uring::start(async {
        let engine = start();
        let mut client = connect(&engine).await;
        let turns = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&turns);
        let restless = tokio_uring::spawn(async move {
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
        });
        for _ in 0..5 {
            ask(&mut client, "in spite of it").await;
        }
        assert!(turns.load(Ordering::Relaxed) > 0);
        restless.abort();
    });
}

/// A ring that the service uses for its own ends is shared.
#[test]
fn the_service_uses_its_ring_as_well() {
    tokio_uring::start(async {
        let engine = start();
        let mut client = connect(&engine).await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let near = tokio_uring::net::TcpStream::connect(address).await.unwrap();
        let far = listener.accept().unwrap().0;
        let far = tokio_uring::net::TcpStream::from_std(far);
        for round in 0..50u8 {
            let (written, _) = near.write_all(vec![round; 1000]).await;
            written.unwrap();
            ask(&mut client, "and ours").await;
            let (read, bytes) = far.read(vec![0; 1000]).await;
            assert!(bytes[..read.unwrap()].iter().all(|byte| *byte == round));
        }
    });
}

/// Dropped in a task, the engine waits for nobody, and its connections are cut.
#[test]
fn dropping_cuts() {
    tokio_uring::start(async {
        let engine = start();
        let mut client = connect(&engine).await;
        let handle = engine.handle();
        drop(engine);
        expect_close(&mut client, 1001).await;
        let adopted = handle.adopt(duplex(1).0, Peer::Unix);
        assert_eq!(adopted, Err(AdoptError::Stopped));
    });
}

/// With its runtime the engine ends, also while something is under way, and nobody counts as connected.
#[test]
fn the_engine_ends_with_its_runtime() {
    let (engine, client) = tokio_uring::start(async {
        let engine = start();
        let mut client = connect(&engine).await;
        ask(&mut client, "join").await;
        engine
            .to("room")
            .text("nobody waits for this")
            .publish()
            .unwrap();
        yield_now().await;
        (engine, client)
    });
    assert_eq!((engine.connections(), engine.room_len("room")), (0, 0));
    drop(client);
    engine.wait();
}

fn refusal() -> String {
    let error = start_with(config()).unwrap_err();
    assert!(matches!(
        error,
        StartError::Backend {
            backend: Backend::TokioUring,
            ..
        }
    ));
    error.to_string()
}

const OUTSIDE: &str = "backend tokio-uring: the calling thread must be in a tokio-uring runtime \
                       (tokio_uring::start)";

#[test]
fn outside_a_runtime_it_does_not_start() {
    assert_eq!(refusal(), OUTSIDE);
}

#[tokio::test]
async fn in_an_ordinary_runtime_it_does_not_start() {
    assert_eq!(refusal(), OUTSIDE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn in_a_runtime_of_several_threads_it_does_not_start() {
    assert_eq!(refusal(), OUTSIDE);
}

/// A ring of another thread is not taken for one of ours.
#[test]
fn beside_a_runtime_it_does_not_start() {
    tokio_uring::start(async {
        let elsewhere = tokio::task::spawn_blocking(refusal);
        assert_eq!(elsewhere.await.unwrap(), OUTSIDE);
    });
}

/// Where the system gives nobody a ring there is no such runtime, and that is why.
#[test]
fn a_system_without_rings_is_named() {
    const EPERM: u32 = 1;
    const IO_URING_SETUP: i64 = 425;
    let refused = thread::spawn(|| {
        let filter = SeccompFilter::new(
            BTreeMap::from([(IO_URING_SETUP, Vec::new())]),
            SeccompAction::Allow,
            SeccompAction::Errno(EPERM),
            std::env::consts::ARCH.try_into().unwrap(),
        );
        let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
        apply_filter(&program).unwrap();
        refusal()
    });
    let told = refused.join().unwrap();
    assert!(told.starts_with(OUTSIDE), "{told}");
    assert!(told.contains("seccomp"), "{told}");
}
