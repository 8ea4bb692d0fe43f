//! Pinning to cores.

use core_affinity::{CoreId, get_core_ids, set_for_current};
use throng_loadtest::Error;

/// Pins the calling thread, and those it starts later, to a core of `setting`.
///
/// # Errors
/// [`Error::Setting`] when the machine has no such core or does not let it be used.
pub(crate) fn pin(setting: &'static str, core: usize) -> Result<(), Error> {
    let id = find(setting, core)?;
    if set_for_current(id) {
        return Ok(());
    }
    Err(Error::setting(
        setting,
        &core,
        "may not be used by this process",
    ))
}

/// Checks that the machine has these cores.
///
/// # Errors
/// [`Error::Setting`] naming the first one it has not.
pub(crate) fn check<'a>(
    setting: &'static str,
    cores: impl IntoIterator<Item = &'a usize>,
) -> Result<(), Error> {
    cores
        .into_iter()
        .try_for_each(|&core| find(setting, core).map(|_| ()))
}

fn find(setting: &'static str, core: usize) -> Result<CoreId, Error> {
    let known = get_core_ids().unwrap_or_default();
    if let Some(id) = known.iter().find(|id| id.id == core) {
        return Ok(*id);
    }
    let known: Vec<String> = known.iter().map(|id| id.id.to_string()).collect();
    let reason = format!("must be a core of this machine: {}", known.join(", "));
    Err(Error::setting(setting, &core, reason))
}
