//! Clients that come and go, and do not all behave.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Rooms that they are in.
const ROOMS: usize = 5;

type Client = WebSocketStream<TcpStream>;

/// Has so many clients there for as long as the process lives.
pub(crate) fn run(address: SocketAddr, clients: usize) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    match builder.enable_all().build() {
        Ok(runtime) => {
            let lives = (0..clients).map(|number| live(address, number));
            runtime.block_on(async { lives.collect::<JoinSet<()>>().join_all().await });
        }
        Err(error) => tracing::error!(%error, "there are no clients"),
    }
}

/// Comes again and again.
async fn live(address: SocketAddr, number: usize) {
    loop {
        if let Err(error) = visit(address, number).await {
            tracing::debug!(number, %error, "a client has ended");
        }
        sleep(millis(500..2000)).await;
    }
}

/// A connection, from its beginning to its end. Most talk; of twenty, one reads nothing, one says nothing that is
/// understood, and one names no room.
async fn visit(address: SocketAddr, number: usize) -> Result<(), Error> {
    let room = format!("?room={}", number % ROOMS);
    match number % 20 {
        17 => ask_only(connect(address, &room).await?).await?,
        18 => babble(connect(address, &room).await?).await?,
        19 => drop(connect(address, "").await?),
        _ => talk(connect(address, &room).await?, number).await?,
    }
    Ok(())
}

async fn connect(address: SocketAddr, query: &str) -> Result<Client, Error> {
    let socket = TcpSocket::new_v4()?;
    // Who does not read is behind soon.
    socket.set_recv_buffer_size(16 * 1024)?;
    let stream = socket.connect(address).await?;
    let (client, _) = client_async(format!("ws://{address}/{query}"), stream).await?;
    Ok(client)
}

/// Says something now and then. Every fourth leaves without a word.
async fn talk(mut client: Client, number: usize) -> Result<(), Error> {
    for _ in 0..fastrand::u32(50..500) {
        let message = match fastrand::u8(0..20) {
            0 => Message::text("a long story ".repeat(1000)),
            1..8 => Message::text("hello, everybody"),
            _ => Message::binary(vec![0; fastrand::usize(1..500)]),
        };
        client.send(message).await?;
        hear(&mut client, millis(100..500)).await?;
    }
    if number.is_multiple_of(4) {
        return Ok(());
    }
    client.close(None).await
}

async fn hear(client: &mut Client, time: Duration) -> Result<(), Error> {
    let heard = async {
        while let Some(message) = client.next().await {
            message?;
        }
        Err(Error::ConnectionClosed)
    };
    timeout(time, heard).await.unwrap_or(Ok(()))
}

async fn babble(mut client: Client) -> Result<(), Error> {
    loop {
        client.send(Message::text("")).await?;
        hear(&mut client, millis(200..1000)).await?;
    }
}

/// Asks for echoes and reads none of them, until it is given up.
async fn ask_only(mut client: Client) -> Result<(), Error> {
    loop {
        client.send(Message::binary(vec![0; 64 * 1024])).await?;
        sleep(Duration::from_millis(100)).await;
    }
}

fn millis(range: Range<u64>) -> Duration {
    Duration::from_millis(fastrand::u64(range))
}
