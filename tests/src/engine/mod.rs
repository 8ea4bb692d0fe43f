//! An engine under test, the service it runs, and a client that may misbehave.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "tests fail by panicking"
)]

mod client;
mod events;
mod gaps;
pub mod hall;
#[cfg_attr(not(unix), allow(dead_code, reason = "elsewhere no shard is a task"))]
mod runtime;
mod service;
pub mod trades;

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use throng::{Backend, Cause, Close, Config, ConnectionId, Engine, Handler, Origins};

pub use client::{Client, Heard, frame, frame_with, request};
pub use events::{request_of, serve_router};
pub use gaps::gap;
pub use runtime::beside;
pub use service::{Happening, Obedient};

/// How long anything may take before a test gives it up: for a machine under heavy load.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running engine whose service does as it is told ([`Obedient`]) and reports what happens.
#[derive(Debug)]
pub struct Served {
    /// The engine.
    pub engine: Engine,
    /// What happens.
    pub happenings: Receiver<Happening>,
}

/// The variable that names the backend which the engine suites run on; `poll` where there is none. It
/// cannot be `tokio-uring`: the suites block their threads, and on those its shards would have to run.
pub const BACKEND: &str = "THRONG_TEST_BACKEND";

/// Settings for tests: one shard, any origin, no pings unasked for, the backend that [`BACKEND`]
/// names, and otherwise the defaults. Where shards are tasks the thread has entered a runtime.
pub fn config() -> Config {
    let backend = backend();
    #[cfg(unix)]
    if backend == Backend::Tokio {
        runtime::enter();
    }
    Config::default()
        .shards(1)
        .backend(backend)
        .ping_interval(None)
        .origins(Origins::danger_allow_any_origin())
}

/// The backend that [`BACKEND`] names.
pub fn backend() -> Backend {
    match std::env::var_os(BACKEND) {
        Some(word) => word.to_str().unwrap().parse().unwrap(),
        None => Backend::Poll,
    }
}

/// Starts an engine on a port of the system's choice.
pub fn serve(config: Config) -> Served {
    let (reports, happenings) = channel();
    let engine = serve_with(config, Obedient::new(reports));
    Served { engine, happenings }
}

/// The same with another service.
pub fn serve_with(config: Config, service: impl Handler) -> Engine {
    let builder = Engine::builder().bind("127.0.0.1:0").unwrap();
    builder.config(config).handler(service).start().unwrap()
}

/// The status that a request is answered with, and the whole response.
pub fn answer(served: &Served, request: &[u8]) -> (u16, String) {
    let mut client = Client::silent(served.address());
    // A refusal may come before all was written.
    let _ = client.try_write(request);
    let head = client.read_head();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    client.finish();
    let body = String::from_utf8(client.read_to_end()).unwrap();
    (status, head + &body)
}

impl Served {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.engine.local_addr().unwrap()
    }

    /// A new connection, upgraded.
    pub fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// The next thing that happens.
    pub fn next(&self) -> Happening {
        self.happenings
            .recv_timeout(PATIENCE)
            .expect("nothing happened")
    }

    /// The next connection that closes, and why.
    pub fn next_close(&self) -> (ConnectionId, Close) {
        loop {
            if let Happening::Closed { id, close, .. } = self.next() {
                return (id, close);
            }
        }
    }

    /// Why the next connection closes.
    pub fn next_cause(&self) -> Cause {
        self.next_close().1.cause
    }

    /// What has happened and was not asked for.
    pub fn rest(&self) -> Vec<Happening> {
        self.happenings.try_iter().collect()
    }

    /// Waits until something is so.
    pub fn until(&self, what: &str, so: impl Fn(&Engine) -> bool) {
        until(what, || so(&self.engine));
    }
}

/// Waits until something is so.
pub fn until(what: &str, so: impl FnMut() -> bool) {
    until_within(PATIENCE, what, so);
}

/// The same with as much patience as that.
pub fn until_within(patience: Duration, what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < patience, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
