//! What of the engine is measured.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use throng::router::{EventError, RateLimit};
use throng::{Config, Conn, Engine, Message, Router};
use throng_bench::serve::Backend;

use crate::Error;

/// What is served.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[arg(long, value_enum)]
    kind: Kind,
    #[arg(long, value_enum, default_value = "poll")]
    backend: Backend,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// What is received goes back.
    Echo,
    /// Requests over a router, with a rate limit as its middleware.
    Router,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Echo => "echo",
            Kind::Router => "router",
        }
    }
}

#[derive(Deserialize)]
struct Add {
    left: u32,
    right: u32,
}

#[derive(Serialize)]
struct Sum {
    sum: u32,
}

impl Serve {
    /// Serves on one shard until it is killed.
    pub(crate) fn run(&self) -> Result<(), Error> {
        let backend = self.backend.to_string().parse().map_err(|_| {
            let reason = "is not in this build of the engine";
            throng_loadtest::Error::setting("backend", &self.backend, reason)
        })?;
        let config = Config::default().shards(1).backend(backend);
        let builder = Engine::builder().bind("127.0.0.1:0")?.config(config);
        let engine = match self.kind {
            Kind::Echo => {
                let echo = |conn: &mut Conn<'_, ()>, message: Message<'_>| {
                    conn.send(message);
                };
                builder.on_message(echo).start()?
            }
            Kind::Router => builder.router(router())?.start()?,
        };
        let address = engine.local_addr();
        let address = address.ok_or_else(|| io::Error::other("it listens nowhere"))?;
        let mut out = io::stdout();
        writeln!(out, "listening on {address}")?;
        out.flush()?;
        engine.wait();
        Ok(())
    }
}

fn router() -> Router {
    let mut router = Router::new();
    // Counted each time, and never met.
    router.with(RateLimit::per_connection(1e9, u32::MAX));
    router.on("add", |_, Add { left, right }| {
        let sum = left.checked_add(right);
        let sum = sum.ok_or(EventError::malformed(
            "left and right: their sum is too large",
        ))?;
        Ok(Sum { sum })
    });
    router
}
