//! fastwebsockets.
//!
//! Its documentation: fragments collected, vectored writes above a threshold (both are the
//! defaults), tasks that are not constrained, as in its examples, and `flush` for a stream that
//! is buffered. It is, since each frame would be a write otherwise. Reading a frame may not be
//! cancelled, so that the two halves are split, and a read goes on while the other half writes.

use std::io;
use std::pin::pin;
use std::task::Poll;

use ::fastwebsockets::{
    FragmentCollectorRead, Frame, OpCode, Payload, Role, WebSocket, WebSocketError, WebSocketWrite,
};
use bytes::Bytes;
use futures_util::poll;
use hyper::Request;
use hyper::body::Incoming;
use tokio::io::BufWriter;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::select;
use tokio::task::unconstrained;

use crate::flow::BATCH;
use crate::room::Room;
use crate::upgrade::{self, Answer};

type Reader = FragmentCollectorRead<OwnedReadHalf>;
type Writer = WebSocketWrite<BufWriter<OwnedWriteHalf>>;

/// What a room shares: a frame borrows its payload.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    opcode: OpCode,
    payload: Bytes,
}

pub(crate) async fn echo(tcp: TcpStream) -> io::Result<()> {
    let (reader, writer) = accept(tcp).await?;
    let echoed = unconstrained(echo_all(reader, writer)).await;
    echoed.map_err(io::Error::other)
}

pub(crate) async fn join(tcp: TcpStream, room: Room<Shared>) -> io::Result<()> {
    let (reader, writer) = accept(tcp).await?;
    let joined = unconstrained(share_all(reader, writer, room)).await;
    joined.map_err(io::Error::other)
}

async fn echo_all(mut reader: Reader, mut writer: Writer) -> Result<(), WebSocketError> {
    loop {
        let frame = {
            let mut read = pin!(read(&mut reader));
            match poll!(read.as_mut()) {
                Poll::Ready(frame) => frame,
                // Nothing more has arrived: what was answered goes out in one write.
                Poll::Pending => {
                    writer.flush().await?;
                    read.await
                }
            }
        }?;
        if is_data(&frame) {
            writer
                .write_frame(Frame::new(true, frame.opcode, None, frame.payload))
                .await?;
        } else if control(frame, &mut writer).await? {
            return Ok(());
        }
    }
}

async fn share_all(
    mut reader: Reader,
    mut writer: Writer,
    room: Room<Shared>,
) -> Result<(), WebSocketError> {
    let (membership, mut inbox) = room.join();
    let mut batch = Vec::new();
    loop {
        let frame = {
            let mut read = pin!(read(&mut reader));
            loop {
                select! {
                    biased;
                    frame = &mut read => break frame?,
                    _ = inbox.recv_many(&mut batch, BATCH) => {
                        send(&mut writer, &batch).await?;
                        batch.clear();
                    }
                }
            }
        };
        if is_data(&frame) {
            membership.publish(&Shared::from(frame));
        } else if control(frame, &mut writer).await? {
            return Ok(());
        }
    }
}

async fn send(writer: &mut Writer, batch: &[Shared]) -> Result<(), WebSocketError> {
    for shared in batch {
        let payload = Payload::Borrowed(&shared.payload);
        writer
            .write_frame(Frame::new(true, shared.opcode, None, payload))
            .await?;
    }
    writer.flush().await
}

async fn read(reader: &mut Reader) -> Result<Frame<'static>, WebSocketError> {
    // Pings and closes are answered here, by the one task that writes.
    reader
        .read_frame(&mut |_| async { Ok::<_, WebSocketError>(()) })
        .await
}

/// Answers a control frame; true if it was the last one.
async fn control(frame: Frame<'static>, writer: &mut Writer) -> Result<bool, WebSocketError> {
    let closes = frame.opcode == OpCode::Close;
    match frame.opcode {
        OpCode::Close => writer.write_frame(Frame::close_raw(frame.payload)).await?,
        OpCode::Ping => writer.write_frame(Frame::pong(frame.payload)).await?,
        _ => return Ok(false),
    }
    writer.flush().await?;
    Ok(closes)
}

async fn accept(tcp: TcpStream) -> io::Result<(Reader, Writer)> {
    let tcp = upgrade::accept(tcp, answer).await?;
    let mut ws = WebSocket::after_handshake(tcp, Role::Server);
    ws.set_auto_close(false);
    ws.set_auto_pong(false);
    let (reader, writer) = ws.split(|tcp| {
        let (reader, writer) = tcp.into_split();
        (reader, BufWriter::new(writer))
    });
    Ok((FragmentCollectorRead::new(reader), writer))
}

fn answer(request: &mut Request<Incoming>) -> Option<Answer> {
    let (answer, _) = ::fastwebsockets::upgrade::upgrade(request).ok()?;
    Some(answer)
}

fn is_data(frame: &Frame<'_>) -> bool {
    matches!(frame.opcode, OpCode::Text | OpCode::Binary)
}

impl From<Frame<'_>> for Shared {
    fn from(frame: Frame<'_>) -> Self {
        let payload = match frame.payload {
            Payload::Bytes(bytes) => bytes.freeze(),
            other => Bytes::copy_from_slice(&other),
        };
        Self {
            opcode: frame.opcode,
            payload,
        }
    }
}
