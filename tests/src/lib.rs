//! Suites for Throng.

pub mod autobahn;
pub mod driver;
pub mod engine;
pub mod hostile;
pub mod rules;
pub mod sim;
pub mod tls;
