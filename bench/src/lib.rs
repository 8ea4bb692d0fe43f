//! The raw floors that the engine and its peers are measured against.
//!
//! The programs beside this library put them to use: `server` serves one engine, `compare` runs
//! servers and load in turn, each in a process of its own, and prints what each costs.

pub mod child;
pub mod floor;
mod handshake;
pub mod serve;
mod tape;
