//! Suites for Throng.

pub mod driver;
