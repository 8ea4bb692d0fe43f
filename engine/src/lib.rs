//! A WebSocket engine.
pub mod protocol;
mod config;
#[cfg(feature = "http")]
mod http;
mod limits;
mod origin;

pub use config::{Backend, Config, ConfigError, Overflow, SettingSource};
#[cfg(feature = "http")]
pub use http::Page;
pub use origin::Origins;
