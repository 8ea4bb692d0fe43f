//! Settings that are one word of several.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::ConfigError;

/// Declares an enum that is written as one word: the variants, each with its word.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        pub enum $Choice:ident in $field:literal {
            $($(#[$attribute:meta])* $Variant:ident = $word:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
        #[non_exhaustive]
        pub enum $Choice {
            $($(#[$attribute])* #[serde(rename = $word)] $Variant,)*
        }

        impl fmt::Display for $Choice {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self {
                    $($Choice::$Variant => $word,)*
                })
            }
        }

        impl FromStr for $Choice {
            type Err = ConfigError;

            fn from_str(text: &str) -> Result<Self, ConfigError> {
                match text {
                    $($word => Ok($Choice::$Variant),)*
                    _ => {
                        let rule = format!("must be one of: {}", [$($word),*].join(", "));
                        Err(ConfigError::invalid($field, format!("{text:?}"), rule))
                    }
                }
            }
        }
    };
}

choice! {
    /// What moves the bytes between the engine and the network.
    pub enum Backend in "backend" {
        /// On Linux 6.12 or later completions ([`Uring`](Backend::Uring)), where they are allowed; elsewhere
        /// readiness ([`Poll`](Backend::Poll)), and on Linux one line of the log (`info`) says why.
        #[default]
        Auto = "auto",
        /// Readiness: epoll, kqueue, or what Windows has in their place.
        Poll = "poll",
        /// Completions: io_uring (Linux 6.1 or later; from 6.12 on it needs less memory and fewer
        /// wake-ups). Where it cannot be used the engine does not start, and says why.
        Uring = "uring",
        /// Tasks of the tokio runtime in which [`Builder::start`](crate::Builder::start) is called, which must
        /// have its I/O and its time enabled, instead of threads; needs the feature `tokio`, and Unix.
        /// [`pin_shards`](field@crate::Config::pin_shards) has no effect.
        ///
        /// Handlers run on the runtime's threads, and a long one holds up whatever else runs there. What
        /// waits for shards has asynchronous forms (`Engine::drain_async`);
        /// the others may be called in a runtime with several threads. In a task of one with a single thread they
        /// panic, but for those that list members and rooms, which give an error.
        Tokio = "tokio",
        /// Tasks of the tokio-uring runtime in which [`Builder::start`](crate::Builder::start) is called;
        /// needs the feature `tokio-uring`, and Linux. Outside of one the engine does not start, and says
        /// so, and also if the system gives nobody a ring, which may be why. Where another thread of the
        /// process uses a ring it takes a panic to find that out, which is caught: a process that is built
        /// to abort at panics ends.
        ///
        /// All shards stay on the thread of that runtime, where the service is: one is enough
        /// ([`shards`](field@crate::Config::shards)). A service that has a runtime on each of several threads
        /// starts an engine in each. Turns are sent through the runtime's ring; else this is
        /// [`tokio`](Backend::Tokio) in a runtime with a single thread, with what is said there.
        TokioUring = "tokio-uring",
    }
}

choice! {
    /// Whether connections begin with a header of the PROXY protocol, in which a proxy says who the client is.
    pub enum ProxyProtocol in "proxy_protocol" {
        /// They do not, and such a header is no sound request.
        #[default]
        Off = "off",
        /// They do, on every listener, before TLS where that is spoken. Versions 1 and 2 are read.
        Required = "required",
    }
}

#[cfg(all(unix, feature = "tokio"))]
impl Backend {
    /// Whether shards are tasks of a runtime.
    pub(crate) fn has_tasks(self) -> bool {
        matches!(self, Backend::Tokio | Backend::TokioUring)
    }
}

choice! {
    /// What happens to a message for a connection whose send queue is full.
    ///
    /// Whichever it is, the loss is counted and told, never silent: to the publisher in its
    /// [`Receipt`](crate::Receipt), to the service in [`Counts`](crate::Counts), and to the peer, once
    /// it reads again, in a [gap notice](crate::Handler::gap_notice) or a close frame.
    ///
    /// Where messages have keys ([`To::key`](crate::To::key)), a peer that is behind is sent the
    /// latest of each under every policy.
    ///
    /// A peer that is behind is read no more until it has caught up, so that the answers to what it
    /// wrote do not fill its queue. Under the policies that let it stay behind it is still heard,
    /// about once a second.
    pub enum Overflow in "overflow" {
        /// The connection is closed: `1008`, reason `slow consumer`.
        #[default]
        Disconnect = "disconnect",
        /// The new message is not queued.
        RefuseNewest = "refuse-newest",
        /// The oldest messages that wait make room for it.
        DropOldest = "drop-oldest",
        /// The oldest of those that wait and have a key make room for it; no other is ever dropped.
        /// Where none has a key, the connection is closed as by `disconnect`.
        Conflate = "conflate",
    }
}
