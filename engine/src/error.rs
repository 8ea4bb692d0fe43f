//! What can go wrong when an engine is started or called from outside.

use std::io;

use thiserror::Error;

use crate::config::{Backend, ConfigError};

/// Why an engine could not be started. Nothing of it is left running.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is wrong; nothing was bound.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What was given as an address is none.
    #[error("{address} is no address to listen on: {source}")]
    Address {
        /// What was given.
        address: String,
        /// Why it is none.
        source: io::Error,
    },
    /// Neither an address nor a listener was given.
    #[error("there is nothing to listen on: call bind, unix, listener or mounted")]
    NowhereToListen,
    /// The system refused a listener.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The [backend](crate::Config::backend) that was asked for cannot be used here.
    #[error("backend {backend}: {reason}")]
    Backend {
        /// Which.
        backend: Backend,
        /// Why.
        reason: String,
    },
    /// Something is wrong with the router's events; nothing was bound.
    #[error(transparent)]
    Router(#[from] crate::router::RouterError),
    /// What `tls_certificate`, `tls_key` or `tls_client_ca` name cannot be used; nothing was bound.
    #[cfg(feature = "tls")]
    #[error("tls_certificate, tls_key, tls_client_ca: {0}")]
    Tls(#[from] throng_transport::tls::TlsError),
    /// There is [`Builder::tls`](crate::Builder::tls), and settings name certificates, too: which of them
    /// holds is not to be guessed. Nothing was bound.
    #[cfg(feature = "tls")]
    #[error("tls_certificate, tls_key, tls_client_ca: Builder::tls was called, too")]
    TlsTwice,
    /// The system refused a thread, or descriptors for a driver.
    #[error("cannot start the engine: {0}")]
    System(#[from] io::Error),
}

/// Why a message from outside did not reach every shard it was for.
///
/// One to a [sequenced](crate::RoomOptions::sequenced) room is for the room's home alone, and refused
/// as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The mailboxes of some shards were full: for the members there it is lost.
    #[error("{refused} of {addressed} shards had full mailboxes (mailbox_capacity)")]
    MailboxFull {
        /// Shards that could not take it.
        refused: usize,
        /// Shards it was for.
        addressed: usize,
    },
    /// A [numbered](crate::To::numbered) message was for no sequenced room: nobody gets it.
    #[error("a numbered message is for a sequenced room, and none was named")]
    NotSequenced,
    /// Too many publications wait in the fan-out pool: nobody is sent this one.
    #[error("as many publications wait in the fan-out pool as may (mailbox_capacity)")]
    FanoutFull,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

/// Why a stream was not adopted.
#[cfg(all(unix, feature = "tokio"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AdoptError {
    /// The engine's driver serves the system's sockets only.
    #[error("the backend {0} serves no streams but the system's: choose tokio or tokio-uring")]
    Backend(Backend),
    /// The mailbox of the shard whose turn it was is full.
    #[error("the shard's mailbox is full (mailbox_capacity)")]
    MailboxFull,
    /// The engine is being drained, or has stopped.
    #[error("the engine is stopping")]
    Stopped,
}

/// Why the members of a room could not be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MembersError {
    /// It was asked on a shard's thread, which would wait for itself; that of a runtime with a single thread is
    /// one, too, where the shards are its tasks.
    #[error("members are asked for on a shard's own thread, which would wait for itself")]
    OnShard,
    /// A shard did not answer in time, or has a full mailbox; only where that is said.
    #[error("a shard is too busy to answer")]
    Busy,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

/// It was asked for on a thread of the engine, which would wait for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("it is waited for on a thread of the engine, which would wait for itself")]
pub struct OnShard;

/// Why a publication has no receipt. Nobody was sent the message, but for [`OnShard`](Self::OnShard).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// It was waited for on one of the engine's own threads, which would wait for itself. The message
    /// is on its way.
    #[error("a receipt is waited for on a thread of the engine, which would wait for itself")]
    OnShard,
    /// The message could not be sent on its way.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The value cannot be represented as JSON.
    #[error("the value cannot be represented as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// What was to make the message panicked.
    #[error("what was to make the message panicked")]
    Panicked,
}
