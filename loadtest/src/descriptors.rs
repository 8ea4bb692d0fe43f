//! How many connections a process may hold.

use throng_loadtest::{Error, machine};

/// Descriptors a process keeps for other things than connections.
const RESERVED: u64 = 64;

/// Connections that a process, this one or one it starts, may hold. Raises the soft limit
/// on open files to the hard one first.
pub(crate) fn connections_per_process() -> u32 {
    let files = machine::raise_open_files();
    u32::try_from(files.saturating_sub(RESERVED).max(1)).unwrap_or(u32::MAX)
}

/// The workers that `connections` need with `each` in one, or as many as are `asked` for.
///
/// # Errors
/// [`Error::Setting`] when those asked for are too few, or more than the connections.
pub(crate) fn workers(connections: u32, each: u32, asked: Option<u32>) -> Result<u32, Error> {
    let needed = connections.div_ceil(each);
    let Some(asked) = asked else {
        return Ok(needed);
    };
    if asked < needed {
        let reason = format!(
            "must be at least {needed} for {connections} connections: a process may hold {each}, \
             which ulimit -n bounds"
        );
        return Err(Error::setting("workers", &asked, reason));
    }
    if asked > connections {
        let reason = format!("must be at most {connections}, the connections");
        return Err(Error::setting("workers", &asked, reason));
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_as_many_as_connections_need() {
        assert_eq!(workers(1000, 1000, None).unwrap(), 1);
        assert_eq!(workers(1001, 1000, None).unwrap(), 2);
        assert_eq!(workers(1001, 1000, Some(3)).unwrap(), 3);
        let refused = |asked| workers(1001, 1000, Some(asked)).unwrap_err().to_string();
        assert!(refused(1).starts_with("workers 1: must be at least 2 for 1001"));
        assert!(refused(1002).starts_with("workers 1002: must be at most 1001"));
    }
}
