//! What the fuzz targets share: how bytes arrive in pieces, and how they are read back.
//!
//! Each file in `targets` says what its input looks like and what must hold for any input. A panic
//! is a finding. Seeds are in `seeds`; `run` runs the targets with them.

mod events;
mod pieces;
pub mod world;

pub use events::{Decoded, Owned, decode};
pub use pieces::{Pieces, split_line};
