//! The engine of this workspace as a server.

use crate::{Error, Settings};

/// Serves until the engine ends.
pub(crate) fn serve(_: &Settings) -> Result<(), Error> {
    let reason = "this build does not contain throng";
    Err(Error::Setting {
        setting: "engine",
        reason,
    })
}
