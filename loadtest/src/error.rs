//! Why a run could not be made.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;

/// Why a run could not be made at all. What a server did wrong during a run is not an
/// error but part of its [`Report`](crate::Report).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is out of its bounds or contradicts another.
    #[error("{setting} {value}: {reason}")]
    Setting {
        /// The setting's name as on the command line, without dashes.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What is wrong, with the bound.
        reason: String,
    },
    /// The operating system refused something the run cannot do without.
    #[error("{action}: {source}")]
    Io {
        /// What was being done.
        action: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Not one connection could be opened.
    #[error("no connection to {addr} could be opened, the first: {first}")]
    NothingOpened {
        /// The server's address.
        addr: SocketAddr,
        /// Why the first one failed.
        first: String,
    },
    /// All connections that send in a broadcast were dropped.
    #[error("no sender of the broadcast is left, the first failure: {first}")]
    NoSenders {
        /// Why the first connection failed or was dropped.
        first: String,
    },
    /// The run was called off by its [`Progress`](crate::Progress).
    #[error("called off")]
    Cancelled,
    /// A worker or server process of a larger run ended or spoke out of turn.
    #[error("{process}: {reason}")]
    Process {
        /// Which one.
        process: String,
        /// What it did.
        reason: String,
    },
}

impl Error {
    /// A setting that cannot be used, with the reason and the bound.
    pub fn setting(setting: &'static str, value: &dyn Display, reason: impl Into<String>) -> Self {
        Self::Setting {
            setting,
            value: value.to_string(),
            reason: reason.into(),
        }
    }

    /// An adapter for `map_err` that names what was being done.
    pub fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action: action.into(),
            source,
        }
    }
}
