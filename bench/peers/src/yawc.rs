//! yawc.
//!
//! Its documentation, and the comparison it measures itself with: messages that are there at once
//! are fed and flushed together; nothing is compressed; the feature `simd` validates UTF-8. The
//! buffer for reading takes a whole message; those of that comparison are larger, for a few connections.

use std::io;

use ::yawc::{Frame, OpCode, Options, Role, WebSocket};
use futures_util::StreamExt;
use hyper::Request;
use hyper::body::Incoming;
use tokio::net::TcpStream;

use crate::flow;
use crate::room::Room;
use crate::upgrade::{self, Answer};

pub(crate) async fn echo(tcp: TcpStream, buffer: usize) -> io::Result<()> {
    let ws = accept(tcp, buffer).await?;
    let echoed = flow::echo(ws.map(Ok), is_data).await;
    echoed.map_err(io::Error::other)
}

pub(crate) async fn join(tcp: TcpStream, buffer: usize, room: Room<Frame>) -> io::Result<()> {
    let ws = accept(tcp, buffer).await?;
    let (membership, inbox) = room.join();
    let publish = |frame| membership.publish(&frame);
    let joined = flow::join(ws.map(Ok), inbox, publish, is_data).await;
    joined.map_err(io::Error::other)
}

async fn accept(tcp: TcpStream, buffer: usize) -> io::Result<WebSocket<TcpStream>> {
    let tcp = upgrade::accept(tcp, answer).await?;
    let options = options().with_read_buffer_capacity(buffer);
    WebSocket::from_stream(tcp, Role::Server, options).map_err(io::Error::other)
}

fn answer(request: &mut Request<Incoming>) -> Option<Answer> {
    let (answer, _) = WebSocket::upgrade_with_options(request, options()).ok()?;
    Some(answer)
}

fn options() -> Options {
    Options::default().without_compression().with_utf8()
}

fn is_data(frame: &Frame) -> bool {
    matches!(frame.opcode(), OpCode::Text | OpCode::Binary)
}
