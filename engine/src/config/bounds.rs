//! What the values of the settings are measured against.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Config, ConfigError, open_file_limit};
use crate::address::{UNIX, read_network};
use crate::limits::MAX_TRUSTED_PROXIES;
use crate::protocol::handshake::is_token;
use crate::shard::ENTRY;

pub(super) const KIB: usize = 1024;
pub(super) const MIB: usize = 1024 * KIB;

/// Connections that one shard's ids can name, so that even one shard can hold them all.
pub(super) const MAX_CONNECTIONS: usize = 1 << 24;
/// The default of `max_connections` where the system sets no limit on open files.
const DEFAULT_MAX_CONNECTIONS: usize = 16_384;
/// Open files kept for what is no connection: see [`Config::max_connections`](super::Config).
const RESERVED_FILES: usize = 64;
/// The timer wheel's tick; nothing shorter can be timed.
const MIN_TIME: Duration = Duration::from_millis(10);
const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);
pub(super) const MAX_MESSAGE_SIZE: usize = 512 * MIB;
/// The longest header of a frame that a server sends (RFC 6455 §5.2, no mask).
pub(super) const FRAME_HEADER: usize = 10;
pub(super) const MAX_QUEUE_MESSAGES: usize = 1 << 20;
pub(super) const MAX_QUEUE_BYTES: usize = 1024 * MIB;
/// Handshakes of one shard.
pub(super) const MAX_TLS_HANDSHAKES: usize = 65_536;
/// What `listen` takes on every system.
pub(super) const MAX_LISTEN_BACKLOG: u32 = 65_535;
pub(super) use crate::limits::MAX_ROOM_COUNT;
pub(super) const MAX_INVALID_MESSAGES: u32 = 1 << 20;
pub(super) const MAX_JOBS: usize = 65_536;
pub(super) const MAX_MAILBOX: usize = 1 << 24;
pub(super) const MAX_BATCH_MESSAGES: u32 = 65_536;
/// What processors can address.
pub(super) const MAX_MEMORY_BUDGET: usize = 1 << 48;
/// For each shard.
pub(super) const MAX_FLIGHT_RECORDER: usize = 1 << 20;
/// What a shard's first chunk takes, and some for its connections.
const BUDGET_PER_SHARD: usize = 128 * KIB;
const MAX_SUBPROTOCOLS: usize = 64;

/// The values that a field may have, and how they are written in an error.
pub(super) struct Bound<T> {
    range: RangeInclusive<T>,
    show: fn(&T) -> String,
}

impl<T: PartialOrd> Bound<T> {
    /// Checks a field; one that is `None` is within any bound.
    pub(super) fn check(
        &self,
        field: &'static str,
        value: impl Into<Option<T>>,
    ) -> Result<(), ConfigError> {
        match value.into() {
            Some(value) if !self.range.contains(&value) => Err(ConfigError::OutOfRange {
                field,
                value: (self.show)(&value),
                least: (self.show)(self.range.start()),
                most: (self.show)(self.range.end()),
            }),
            _ => Ok(()),
        }
    }
}

/// Plain numbers.
pub(super) fn counts<T: ToString>(range: RangeInclusive<T>) -> Bound<T> {
    Bound {
        range,
        show: T::to_string,
    }
}

/// Numbers of bytes.
pub(super) fn sizes(range: RangeInclusive<usize>) -> Bound<usize> {
    Bound {
        range,
        show: show_size,
    }
}

/// Windows that messages gather in, which are timed without the wheel.
pub(super) fn windows() -> Bound<Duration> {
    Bound {
        range: Duration::from_millis(1)..=Duration::from_secs(1),
        show: show_time,
    }
}

/// Every other duration has the same bounds: those of the timer wheel.
pub(super) fn times() -> Bound<Duration> {
    Bound {
        range: MIN_TIME..=MAX_TIME,
        show: show_time,
    }
}

/// A size in the largest unit that expresses it exactly.
pub(super) fn show_size(bytes: &usize) -> String {
    match *bytes {
        1 => "1 byte".to_owned(),
        bytes if bytes > 0 && bytes.is_multiple_of(MIB) => format!("{} MiB", bytes / MIB),
        bytes if bytes > 0 && bytes.is_multiple_of(KIB) => format!("{} KiB", bytes / KIB),
        bytes => format!("{bytes} bytes"),
    }
}

pub(super) fn show_time(time: &Duration) -> String {
    humantime::format_duration(*time).to_string()
}

pub(super) fn strings(names: impl IntoIterator<Item: Into<String>>) -> Vec<String> {
    names.into_iter().map(Into::into).collect()
}

pub(super) fn check_subprotocols(names: &[String]) -> Result<(), ConfigError> {
    counts(0..=MAX_SUBPROTOCOLS).check("subprotocols", names.len())?;
    let mut seen = HashSet::new();
    for name in names {
        let rule = if !is_token(name) {
            "is not a token (RFC 9110 §5.6.2)"
        } else if !seen.insert(name) {
            "is named twice"
        } else {
            continue;
        };
        return Err(ConfigError::invalid(
            "subprotocols",
            format!("{name:?}"),
            rule,
        ));
    }
    Ok(())
}

/// Who is trusted to say who a client is: networks, and [`UNIX`].
pub(super) fn check_proxies(trusted: &[String]) -> Result<(), ConfigError> {
    counts(0..=MAX_TRUSTED_PROXIES).check("trusted_proxies", trusted.len())?;
    let is_neither = |text: &&String| *text != UNIX && read_network(text).is_none();
    match trusted.iter().find(is_neither) {
        None => Ok(()),
        Some(text) => Err(ConfigError::invalid(
            "trusted_proxies",
            format!("{text:?}"),
            "is no network such as \"10.0.0.0/8\", no address, and not \"unix\"",
        )),
    }
}

pub(super) fn check_memory_budget(config: &Config) -> Result<(), ConfigError> {
    let (queue, shards) = (config.send_queue_bytes, config.shards);
    let each = BUDGET_PER_SHARD + config.flight_recorder * ENTRY;
    let least = 2 * queue + shards * each;
    match config.memory_budget {
        Some(budget) if budget < least => {
            let (queue, each) = (show_size(&queue), show_size(&each));
            let rule = format!(
                "must hold twice send_queue_bytes ({queue}) and {each} for each of {shards} shards"
            );
            Err(ConfigError::invalid(
                "memory_budget",
                show_size(&budget),
                rule,
            ))
        }
        _ => Ok(()),
    }
}

/// The files of TLS come together, and mean something only where it can be spoken.
pub(super) fn check_tls(config: &Config) -> Result<(), ConfigError> {
    let files = [
        ("tls_certificate", &config.tls_certificate),
        ("tls_key", &config.tls_key),
        ("tls_client_ca", &config.tls_client_ca),
    ];
    let given = files
        .into_iter()
        .find_map(|(field, file)| Some((field, file.as_ref()?)));
    let Some((field, file)) = given else {
        return Ok(());
    };
    let rule = if cfg!(not(feature = "tls")) {
        "needs the crate's feature tls"
    } else if config.tls_certificate.is_none() {
        "needs tls_certificate"
    } else if config.tls_key.is_none() {
        "needs tls_key"
    } else {
        return Ok(());
    };
    Err(ConfigError::invalid(
        field,
        file.display().to_string(),
        rule,
    ))
}

pub(super) fn default_shards() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cores.min(crate::limits::MAX_SHARDS)
}

pub(super) fn default_max_connections() -> usize {
    match open_file_limit() {
        Some(limit) => limit
            .saturating_sub(RESERVED_FILES)
            .clamp(1, MAX_CONNECTIONS),
        None => DEFAULT_MAX_CONNECTIONS,
    }
}
