//! The server that clients of other lineages talk to: obeys them (see [`Obedient`]), and tells how
//! each connection ended.
//!
//! ```text
//! interop_server off|on|takeover [SOCKET]
//! ```
//!
//! The first argument says what is compressed: nothing, each message by itself, or each with
//! reference to those before it. Listens on a Unix socket of that path if one is given, otherwise
//! on a port of its own, with an empty page for browsers to connect from.
//!
//! Prints the address, then a line with the cause of each close. Ends when its standard input does,
//! so that it never outlives who started it.

use std::error::Error;
use std::sync::mpsc::channel;
use std::time::Duration;

use throng::{Builder, Compression, Engine, Page};
use throng_tests::engine::{Happening, Obedient, config};

/// For browsers to connect from; the icon keeps them from asking for one.
const PAGE: &str = "<!doctype html><title>interop</title><link rel=icon href=data:,>";
/// What one message may have; the clients send as much, and one byte more.
const MAX_MESSAGE: usize = 1 << 20;

#[expect(
    clippy::print_stdout,
    reason = "says where it listens and what happens"
)]
fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let compression = compression(arguments.next().as_deref())?;
    let (reports, happenings) = channel();
    let socket = arguments.next();
    let engine = listen(socket.as_deref())?
        .config(
            config()
                .compression(compression)
                .max_message_size(MAX_MESSAGE)
                .send_queue_bytes(4 * MAX_MESSAGE)
                .subprotocols(["throng"]),
        )
        .handler(Obedient::new(reports))
        .start()?;
    let address = engine.local_addr().map(|address| address.to_string());
    println!("{}", address.or(socket).ok_or("no address")?);
    let teller = std::thread::spawn(move || {
        for happening in happenings {
            if let Happening::Closed { close, .. } = happening {
                println!("{:?}", close.cause);
            }
        }
    });
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    engine.drain(Duration::ZERO);
    teller.join().map_err(|_| "cannot tell what happened")?;
    Ok(())
}

fn compression(named: Option<&str>) -> Result<Option<Compression>, Box<dyn Error>> {
    let each_by_itself = Compression::default();
    match named {
        Some("off") => Ok(None),
        Some("on") => Ok(Some(each_by_itself)),
        Some("takeover") => Ok(Some(
            each_by_itself
                .server_context_takeover(true)
                .client_context_takeover(true),
        )),
        _ => Err("the first argument is off, on or takeover".into()),
    }
}

fn listen(socket: Option<&str>) -> Result<Builder<()>, Box<dyn Error>> {
    let builder = Engine::builder();
    Ok(match socket {
        #[cfg(unix)]
        Some(path) => builder.unix(path),
        #[cfg(not(unix))]
        Some(_) => return Err("there are no Unix sockets here".into()),
        None => {
            let page = Page::new("/", "text/html", PAGE);
            builder.bind("127.0.0.1:0")?.page(page)
        }
    })
}
