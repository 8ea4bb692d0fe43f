//! The server that Autobahn's testsuite talks to: sends every message back.
//!
//! ```text
//! autobahn_server [--compression on|off]
//! ```
//!
//! Prints the address it listens on. Ends when its standard input does, so that it never outlives
//! who started it.

use std::error::Error;
use std::time::Duration;

use throng::Config;
use throng_tests::autobahn::{MAX_MESSAGE, arguments};

#[expect(clippy::print_stdout, reason = "says where it listens")]
fn main() -> Result<(), Box<dyn Error>> {
    let (compression, others) = arguments(std::env::args())?;
    if let Some(unknown) = others.first() {
        return Err(format!("unknown argument {unknown}").into());
    }
    let config = Config::default()
        .max_message_size(MAX_MESSAGE)
        .send_queue_bytes(2 * MAX_MESSAGE)
        .compression(compression)
        // A ping of ours would show up in what a case expects to receive.
        .ping_interval(None);
    let engine = throng::Engine::builder()
        .bind("127.0.0.1:0")?
        .config(config)
        .on_message(|conn, message| {
            conn.send(message);
        })
        .start()?;
    println!("{}", engine.local_addr().ok_or("no address")?);
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    engine.drain(Duration::ZERO);
    Ok(())
}
