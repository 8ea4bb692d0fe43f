//! Benches and floors.
