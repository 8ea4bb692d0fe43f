//! Suites for Throng.

pub mod driver;
pub mod engine;
pub mod hostile;
