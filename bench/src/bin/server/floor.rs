//! The floor as a server.

use throng_bench::floor::{Audience, Floor};

use crate::{Error, Scenario, Settings, announce};

/// Serves until something fails.
pub(crate) fn serve(settings: &Settings) -> Result<(), Error> {
    if settings.shards != 1 {
        let reason = "the floor is one thread";
        return Err(Error::Setting {
            setting: "shards",
            reason,
        });
    }
    let Some(size) = settings.size else {
        let reason = "the floor must be told the payload bytes of a message";
        return Err(Error::Setting {
            setting: "size",
            reason,
        });
    };
    let audience = match settings.scenario {
        Scenario::Echo => Audience::Sender,
        Scenario::Room => Audience::Everyone,
    };
    let mut floor = Floor::bind(settings.listen, audience, size)?;
    announce(floor.local_addr()?)?;
    match floor.run()? {}
}
