//! What a measured process asks of the machine before it starts.

use core_affinity::CoreId;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Confines the calling thread, and the threads it starts from now on, to one core.
///
/// # Errors
/// When the core does not exist, or is not one this process may run on.
pub fn pin(core: usize) -> Result<(), PinError> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let known = cores.contains(&CoreId { id: core });
    if known && core_affinity::set_for_current(CoreId { id: core }) {
        return Ok(());
    }
    Err(PinError {
        core,
        available: cores.iter().map(|core| core.id).collect(),
    })
}

/// A core that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("core {core} cannot be used, this process may run on {available:?}")]
pub struct PinError {
    core: usize,
    available: Vec<usize>,
}

/// Raises the limit of open files as far as the system lets this process: ten thousand
/// connections need as many descriptors, and the usual limit is a tenth of that.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Where it is refused, the connections that do not fit are reported when they fail.
    let _ = setrlimit(Resource::Nofile, raised);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_confined_to_its_core() {
        std::thread::spawn(|| {
            let core = core_affinity::get_core_ids().unwrap().last().unwrap().id;
            pin(core).unwrap();
            assert_eq!(
                core_affinity::get_core_ids().unwrap(),
                [CoreId { id: core }]
            );
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_missing_core_is_named() {
        assert!(
            pin(99_999)
                .unwrap_err()
                .to_string()
                .starts_with("core 99999 ")
        );
    }

    #[test]
    fn the_limit_of_open_files_ends_up_at_its_maximum() {
        raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
