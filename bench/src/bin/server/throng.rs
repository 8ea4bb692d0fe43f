//! The engine of this workspace as a server.

use throng::Config;
use throng_loadtest::embedded::{Service, start};

use crate::{Backend, Error, Scenario, Settings, announce};

/// Serves until the engine ends.
pub(crate) fn serve(settings: &Settings) -> Result<(), Error> {
    let backend = match settings.backend {
        Backend::Auto => throng::Backend::Auto,
        Backend::Poll => throng::Backend::Poll,
    };
    let service = match settings.scenario {
        Scenario::Echo => Service::Echo,
        Scenario::Room => Service::Room,
    };
    let config = Config::default().shards(settings.shards).backend(backend);
    let engine = start(service, settings.listen, config)?;
    announce(engine.local_addr().unwrap_or(settings.listen))?;
    engine.wait();
    Ok(())
}
