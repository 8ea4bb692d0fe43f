//! What the two programs that Autobahn's testsuite talks to have in common.

use std::error::Error;

use throng::Compression;

/// The largest message of the suite (cases 9.1.6 and 9.2.6), and thus of its programs.
pub const MAX_MESSAGE: usize = 16 << 20;

/// Everything is compressed that may be, with reference to what came before wherever the suite
/// does not rule that out.
pub fn compression() -> Compression {
    Compression::default()
        .server_context_takeover(true)
        .client_context_takeover(true)
        .threshold(0)
}

/// Takes `--compression on|off` out of a program's arguments; returns what to compress with and
/// the other arguments.
///
/// # Errors
/// When it is neither.
pub fn arguments(
    all: impl Iterator<Item = String>,
) -> Result<(Option<Compression>, Vec<String>), Box<dyn Error>> {
    let (mut chosen, mut others) = (None, Vec::new());
    let mut all = all.skip(1);
    while let Some(argument) = all.next() {
        if argument != "--compression" {
            others.push(argument);
            continue;
        }
        match all.next().as_deref() {
            Some("off") => chosen = None,
            Some("on") => chosen = Some(compression()),
            _ => return Err("--compression takes on or off".into()),
        }
    }
    Ok((chosen, others))
}
