//! Suites for Throng.
