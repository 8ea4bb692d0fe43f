//! Other WebSocket servers, for the same two scenarios as the engine is measured at.
//!
//! Each is written as its users would write it, and as fast as its own documentation allows: what
//! that recommends stands at the top of each file. They have in common what all of them recommend
//! or measure themselves with: one thread of tokio, `TCP_NODELAY`, mimalloc, link-time optimisation
//! over all crates, no compression, and as few writes as the messages that are there allow.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind};

use clap::ValueEnum;
use tokio::net::{TcpListener, TcpStream};

mod fastwebsockets;
mod flow;
mod room;
mod socketioxide;
mod sockudo_ws;
mod tokio_rustls;
mod tokio_tungstenite;
mod upgrade;
mod yawc;

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// <https://crates.io/crates/tokio-tungstenite>
    TokioTungstenite,
    /// The same over <https://crates.io/crates/tokio-rustls>
    TokioRustls,
    /// <https://crates.io/crates/fastwebsockets>
    Fastwebsockets,
    /// <https://crates.io/crates/sockudo-ws>
    SockudoWs,
    /// <https://crates.io/crates/yawc>
    Yawc,
    /// <https://crates.io/crates/socketioxide>: Socket.IO, whose event `add` is acknowledged
    Socketioxide,
}

impl Peer {
    /// Whether it speaks TLS, by a certificate that it has made and signed itself.
    pub fn is_secure(self) -> bool {
        self == Peer::TokioRustls
    }

    /// Whether it answers events of a protocol of its own, where the others echo and have a room.
    pub fn answers_events(self) -> bool {
        self == Peer::Socketioxide
    }
}

/// What happens to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// It goes back to its sender
    Echo,
    /// It goes to every connection, the sender included
    Room,
}

/// Bytes of the smallest buffer that a connection reads into, where the peer lets that be chosen.
const READ_BUFFER: usize = 4096;
/// Bytes of the longest header of a client's frame (RFC 6455 §5.2).
const HEADER: usize = 14;

/// Serves whoever connects with messages of `size` bytes, until accepting fails. There may be others:
/// the size is what buffers are made for. What fails on a connection ends that connection and is told
/// nobody: whoever measures sees that messages are missing.
///
/// # Errors
/// Always: what accepting failed with.
///
/// # Examples
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use throng_peers::{Peer, Scenario, serve};
///
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// match serve(Peer::Yawc, Scenario::Room, 64, listener).await? {}
/// # }
/// ```
pub async fn serve(
    peer: Peer,
    scenario: Scenario,
    size: usize,
    listener: TcpListener,
) -> io::Result<Infallible> {
    let buffer = (size + HEADER).next_power_of_two().max(READ_BUFFER);
    match (peer, scenario) {
        (Peer::TokioTungstenite, Scenario::Echo) => {
            accept(listener, |tcp| tokio_tungstenite::echo(tcp, buffer)).await
        }
        (Peer::TokioTungstenite, Scenario::Room) => {
            let room = room::Room::default();
            let join = |tcp| tokio_tungstenite::join(tcp, buffer, room.clone());
            accept(listener, join).await
        }
        (Peer::TokioRustls, Scenario::Echo) => {
            let tls = tokio_rustls::acceptor().map_err(io::Error::other)?;
            accept(listener, |tcp| tokio_rustls::echo(tls.clone(), tcp, buffer)).await
        }
        (Peer::TokioRustls, Scenario::Room) => {
            let tls = tokio_rustls::acceptor().map_err(io::Error::other)?;
            let room = room::Room::default();
            let join = |tcp| tokio_rustls::join(tls.clone(), tcp, buffer, room.clone());
            accept(listener, join).await
        }
        (Peer::Fastwebsockets, Scenario::Echo) => accept(listener, fastwebsockets::echo).await,
        (Peer::Fastwebsockets, Scenario::Room) => {
            let room = room::Room::default();
            accept(listener, |tcp| fastwebsockets::join(tcp, room.clone())).await
        }
        (Peer::SockudoWs, Scenario::Echo) => accept(listener, sockudo_ws::echo).await,
        (Peer::SockudoWs, Scenario::Room) => {
            let topics = sockudo_ws::Topics::default();
            accept(listener, |tcp| sockudo_ws::join(tcp, topics.clone())).await
        }
        (Peer::Socketioxide, Scenario::Echo) => socketioxide::answer(listener).await,
        (Peer::Socketioxide, Scenario::Room) => Err(io::Error::new(
            ErrorKind::Unsupported,
            "events are answered, and there is no room",
        )),
        (Peer::Yawc, Scenario::Echo) => accept(listener, |tcp| yawc::echo(tcp, buffer)).await,
        (Peer::Yawc, Scenario::Room) => {
            let room = room::Room::default();
            accept(listener, |tcp| yawc::join(tcp, buffer, room.clone())).await
        }
    }
}

/// Starts a task for each connection, as all of their examples do.
async fn accept<T, E: fmt::Debug>(
    listener: TcpListener,
    handle: impl Fn(TcpStream) -> T,
) -> io::Result<Infallible>
where
    T: Future<Output = Result<(), E>> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => {
                tcp.set_nodelay(true)?;
                let connection = handle(tcp);
                tokio::spawn(async move {
                    let _ended = connection.await;
                });
            }
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}
