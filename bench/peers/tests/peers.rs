//! Each peer does what is measured, byte for byte.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use clap::ValueEnum;
use throng_loadtest::{Job, Pace, Report};
use throng_peers::{Peer, Scenario, serve};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

const CONNECTIONS: u32 = 20;

/// Those that the load can speak to.
fn plain() -> impl Iterator<Item = Peer> {
    let all = Peer::value_variants().iter().copied();
    all.filter(|peer| !peer.is_secure() && !peer.answers_events())
}

/// Serves in a thread of its own, until the test's process ends.
fn start(peer: Peer, scenario: Scenario, size: usize) -> SocketAddr {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || runtime.block_on(serve(peer, scenario, size, listener)));
    addr
}

/// Runs a load that compares contents, and says so if anything was wrong.
fn load(peer: Peer, scenario: Scenario, size: usize, text: bool, depth: u32) -> Report {
    let of_load = match scenario {
        Scenario::Echo => throng_loadtest::Scenario::Echo,
        Scenario::Room => throng_loadtest::Scenario::Broadcast,
    };
    let mut job = Job::new(start(peer, scenario, size), "/", of_load);
    job.connections = CONNECTIONS;
    job.size = size;
    job.text = text;
    job.contents = true;
    job.pace = Pace::Depth(depth);
    job.warmup = Duration::ZERO;
    job.duration = Duration::from_millis(200);
    let report = throng_loadtest::run(&job, &mut ()).unwrap();
    assert_eq!(report.failures(), [""; 0], "{peer:?} {scenario:?} {size} B");
    report
}

#[test]
fn each_echoes() {
    for peer in plain() {
        for (size, depth) in [(20, 1), (64, 100), (16 * 1024, 4), (100 * 1024, 1)] {
            for text in [false, true] {
                let report = load(peer, Scenario::Echo, size, text, depth);
                assert!(report.messages.received >= u64::from(CONNECTIONS * depth));
            }
        }
    }
}

#[test]
fn each_tells_everyone_in_the_room() {
    for peer in plain() {
        for (size, in_flight) in [(64, 1), (64, 100), (16 * 1024, 4)] {
            let report = load(peer, Scenario::Room, size, in_flight == 1, in_flight);
            let sent = report.messages.sent;
            assert!(sent >= u64::from(in_flight), "{peer:?}");
            assert_eq!(report.messages.received, u64::from(CONNECTIONS) * sent);
        }
    }
}
