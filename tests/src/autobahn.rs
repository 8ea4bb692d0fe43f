//! What the two programs that Autobahn's testsuite talks to have in common.

use std::error::Error;

/// The largest message of the suite (cases 9.1.6 and 9.2.6), and thus of its programs.
pub const MAX_MESSAGE: usize = 16 << 20;

/// Takes `--compression on|off` out of a program's arguments and returns the others.
///
/// # Errors
/// When it is neither, or not what this build can do.
pub fn arguments(all: impl Iterator<Item = String>) -> Result<Vec<String>, Box<dyn Error>> {
    let mut others = Vec::new();
    let mut all = all.skip(1);
    while let Some(argument) = all.next() {
        if argument != "--compression" {
            others.push(argument);
            continue;
        }
        match all.next().as_deref() {
            Some("off") => {}
            Some("on") => return Err("--compression on: not supported".into()),
            _ => return Err("--compression takes on or off".into()),
        }
    }
    Ok(others)
}
