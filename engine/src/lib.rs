//! A WebSocket engine for services that hold ten thousand connections and more.
//!
//! ```no_run
//! // An echo server on all cores.
//! let engine = throng::Engine::builder()
//!     .bind("127.0.0.1:8080")?
//!     .on_message(|conn, message| {
//!         conn.send(message);
//!     })
//!     .start()?;
//! engine.wait();
//! # Ok::<(), throng::StartError>(())
//! ```
//!
//! A service implements [`Handler`] and starts an [`Engine`] with it. What happens on a
//! connection runs on one of the engine's threads, its shard, with a [`Conn`] in hand; any other
//! thread, of whatever async runtime, uses an [`EngineHandle`]. Typed events with answers are a
//! [`Router`]'s; a future for each connection is what [`Builder::serve`] runs. The [`guide`] tells all of
//! it in order.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

mod address;
#[cfg(feature = "admin")]
mod admin;
mod attributes;
mod backend;
mod budget;
mod closed_list;
mod config;
mod conn;
mod entropy;
mod error;
mod event;
mod events;
mod fanout;
mod flight;
mod gap;
pub mod guide;
mod handle;
mod handler;
#[cfg(feature = "http")]
mod http;
mod id;
mod inspect;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod limits;
mod metrics;
mod notice;
mod opening;
mod origin;
mod owned;
pub mod protocol;
mod publish;
mod readiness;
mod receipt;
mod room;
mod room_events;
pub mod router;
mod server;
mod session;
mod shard;
mod shared;
mod socket;
#[cfg(all(unix, feature = "tokio"))]
mod tasks;

#[cfg(feature = "admin")]
pub use admin::Admin;
pub use attributes::Attributes;
pub use budget::MemoryUse;
pub use config::{
    Backend, Compression, Config, ConfigError, Overflow, ProxyProtocol, SettingSource,
};
pub use conn::{Conn, Direct, FromHandler};
pub use entropy::system_entropy;
#[cfg(all(unix, feature = "tokio"))]
pub use error::AdoptError;
pub use error::{MembersError, OnShard, PublishError, ReceiptError, StartError};
pub use event::{Cause, CauseKind, Close, Counts, ErrorKind, Loss, Rejection};
pub use events::{Event, EventKinds, Events, NextEvent, Subject, SubscribeError};
pub use flight::{FlightEntry, FlightKind, FlightRecord};
pub use gap::Gap;
pub use handle::{ConnectionHandle, EngineHandle, FromOutside, SendJsonError};
pub use handler::{Accept, Handler, Reject, Upgrade};
#[cfg(feature = "http")]
pub use http::{Page, RequestBody, UpgradeResponse};
pub use id::ConnectionId;
pub use inspect::{ConnectionInfo, Waiting};
pub use metrics::{
    ByLabel, FanoutSnapshot, HistogramSnapshot, Metric, Metrics, MetricsSnapshot, ShardSnapshot,
    TlsSnapshot, Unit,
};
#[cfg(feature = "metrics")]
pub use metrics::{EngineCollector, PROMETHEUS_CONTENT_TYPE};
pub use origin::Origins;
pub use owned::OwnedMessage;
#[cfg(feature = "metrics")]
pub use prometheus_client;
pub use protocol::close::CloseCode;
pub use protocol::message::Message;
pub use publish::{Publication, Publisher, To};
pub use readiness::NotReady;
pub use receipt::PendingReceipt;
pub use room::{
    CreateRoomError, History, JoinError, MetadataError, Position, Recovery, RoomInfo, RoomOptions,
    RoomPresence,
};
pub use room_events::{PresenceChange, RoomDeleted};
pub use router::Router;
pub use server::{Builder, DrainReport, Engine};
pub use shard::{Job, Lane, Receipt, SpawnError, Trace};
pub use socket::{Ended, SendError, WebSocket};
pub use throng_transport::Peer;
#[cfg(feature = "tls")]
pub use throng_transport::tls::{
    ClientCertificates, Credentials, Tls, TlsCounts, TlsError, rustls,
};
