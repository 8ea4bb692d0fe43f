//! The server that `--spawn` loads.

use throng_loadtest::Error;

use crate::args::Kind;

/// Serves the scenario on a port of 127.0.0.1 of the system's choice: calls `listening`
/// with the port once connections are accepted, and ends when that returns.
///
/// # Errors
/// When the server cannot be started, and what `listening` returns.
pub(crate) fn run(
    scenario: Kind,
    shards: usize,
    _listening: impl FnOnce(u16) -> Result<(), Error>,
) -> Result<(), Error> {
    Err(Error::Process {
        process: "server".into(),
        reason: format!(
            "this build has no {} server (of {shards} shards) in it; use --url",
            scenario.name()
        ),
    })
}
