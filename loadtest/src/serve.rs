//! The server that `--spawn` loads.

use std::net::{Ipv4Addr, SocketAddr};

use throng::Config;
use throng_loadtest::Error;
use throng_loadtest::embedded::{Service, start};

use crate::args::Kind;

/// Serves the scenario on a port of 127.0.0.1 of the system's choice: calls `listening`
/// with the port once connections are accepted, and ends when that returns.
///
/// # Errors
/// When the server cannot be started, and what `listening` returns.
pub(crate) fn run(
    scenario: Kind,
    shards: usize,
    listening: impl FnOnce(u16) -> Result<(), Error>,
) -> Result<(), Error> {
    let service = match scenario {
        Kind::Idle | Kind::Echo => Service::Echo,
        Kind::Broadcast => Service::Room,
    };
    let failed = |reason: String| Error::Process {
        process: "server".into(),
        reason,
    };
    let config = Config::default().shards(shards);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let engine = start(service, address, config).map_err(|error| failed(error.to_string()))?;
    let bound = engine
        .local_addr()
        .ok_or_else(|| failed("has no address".into()))?;
    listening(bound.port())
}
