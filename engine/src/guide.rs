//! A guide, to be read in order.
//!
//! 1. [`quick_start`]: the smallest service, and the four ways to write one
//! 2. [`handlers`]: callbacks with a state for each connection
//! 3. [`rooms`]: rooms and users, order, histories, presence
//! 4. [`events`]: typed events with answers
//! 5. [`auth`]: tokens, roles, sessions
//! 6. [`futures`]: asynchronous code, with and without a runtime
//! 7. [`back_pressure`]: peers that do not read
//! 8. [`observing`]: metrics, events, logs, the flight recorder
//! 9. [`mounting`]: in an axum or hyper service
//! 10. [`deployment`]: settings, proxies, health, restarts
//! 11. [`tuning`]: the system's limits, and which settings matter
//!
//! [`coming_from`] Socket.IO, gorilla or tungstenite: their words in ours.

#[doc = include_str!("guide/quick_start.md")]
pub mod quick_start {}

#[doc = include_str!("guide/handlers.md")]
pub mod handlers {}

#[doc = include_str!("guide/rooms.md")]
pub mod rooms {}

#[doc = include_str!("guide/events.md")]
pub mod events {}

#[doc = include_str!("guide/auth.md")]
pub mod auth {}

#[doc = include_str!("guide/futures.md")]
pub mod futures {}

#[doc = include_str!("guide/back_pressure.md")]
pub mod back_pressure {}

#[doc = include_str!("guide/observing.md")]
pub mod observing {}

#[cfg(feature = "http")]
#[doc = include_str!("guide/mounting.md")]
pub mod mounting {}

#[cfg(feature = "http")]
#[doc = include_str!("guide/deployment.md")]
pub mod deployment {}

#[doc = include_str!("guide/tuning.md")]
pub mod tuning {}

#[cfg(all(unix, feature = "http"))]
#[doc = include_str!("guide/coming_from.md")]
pub mod coming_from {}
