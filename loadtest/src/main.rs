//! The load-test client.
fn main() {}
