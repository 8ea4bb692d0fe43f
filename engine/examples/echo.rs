//! Sends every message back to whoever sent it.
//!
//! ```text
//! cargo run --release --example echo -- 127.0.0.1:9001
//! ```

use std::error::Error;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(clippy::print_stdout, reason = "says where it listens")]
fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    let mut signals = Signals::new([SIGINT, SIGTERM])?;

    let engine = throng::Engine::builder()
        .bind(&*address)?
        .on_message(|conn, message| {
            conn.send(message);
        })
        .start()?;

    println!("echoing on ws://{address}");
    signals.forever().next();
    engine.drain(Duration::from_secs(1));
    Ok(())
}
