//! The raw floors that the engine and its peers are measured against.
//!
//! The binaries beside this library put them to use: `server` serves one engine, `compare` runs
//! servers and load in turn and prints what each costs.

pub mod floor;
mod handshake;
pub mod machine;
mod tape;
