//! Clients of other lineages talk to the engine: those in Rust. Others are in `tests/interop`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::time::Duration;

use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload};
use futures_util::{SinkExt, StreamExt};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper_util::rt::TokioExecutor;
use throng_tests::engine::{Served, config, serve};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as RawFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode as RawCode};

const PATIENCE: Duration = Duration::from_secs(60);

fn cause(served: &Served) -> throng::Cause {
    served.next_cause()
}

#[tokio::test]
async fn tokio_tungstenite() {
    let served = serve(config());
    let url = format!("ws://{}/", served.address());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let talk = async {
        for message in [
            Message::text("hello"),
            Message::text(""),
            Message::text("grüße 😀".repeat(10_000)),
            Message::binary(vec![0; 300_000]),
        ] {
            socket.send(message.clone()).await.unwrap();
            assert!(socket.next().await.unwrap().unwrap() == message);
        }
        socket
            .send(Message::Ping(b"there?".to_vec().into()))
            .await
            .unwrap();
        assert_eq!(
            socket.next().await.unwrap().unwrap(),
            Message::Pong(b"there?".to_vec().into())
        );
        for (part, opcode, is_last) in [
            ("in ", Data::Text, false),
            ("two frames", Data::Continue, true),
        ] {
            let part = RawFrame::message(part, RawCode::Data(opcode), is_last);
            socket.send(Message::Frame(part)).await.unwrap();
        }
        let whole = Message::text("in two frames");
        assert_eq!(socket.next().await.unwrap().unwrap(), whole);
        let close = CloseFrame {
            code: CloseCode::Library(4001),
            reason: "enough".into(),
        };
        socket
            .send(Message::Close(Some(close.clone())))
            .await
            .unwrap();
        let answer = CloseFrame {
            reason: "".into(),
            ..close
        };
        assert_eq!(
            socket.next().await.unwrap().unwrap(),
            Message::Close(Some(answer))
        );
        assert!(socket.next().await.is_none());
    };
    tokio::time::timeout(PATIENCE, talk).await.unwrap();
    let code = Some(4001.into());
    assert_eq!(
        cause(&served),
        throng::Cause::PeerClosed {
            code,
            reason: "enough".into()
        }
    );
}

#[tokio::test]
async fn fast_websockets() {
    let served = serve(config());
    let stream = TcpStream::connect(served.address()).await.unwrap();
    let request = hyper::Request::builder()
        .uri("/")
        .header(HOST, "localhost")
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "upgrade")
        .header(SEC_WEBSOCKET_KEY, fastwebsockets::handshake::generate_key())
        .header(SEC_WEBSOCKET_VERSION, "13")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let talk = async {
        let (socket, response) =
            fastwebsockets::handshake::client(&TokioExecutor::new(), request, stream)
                .await
                .unwrap();
        assert_eq!(response.status(), 101);
        let mut socket = FragmentCollector::new(socket);
        for payload in [&b"hello"[..], b"", &[7; 200_000]] {
            socket
                .write_frame(Frame::binary(Payload::Borrowed(payload)))
                .await
                .unwrap();
            let echo = socket.read_frame().await.unwrap();
            assert_eq!(echo.opcode, OpCode::Binary);
            assert!(*echo.payload == *payload);
        }
        let parts = [
            (false, OpCode::Text, "in "),
            (false, OpCode::Continuation, "three "),
            (true, OpCode::Continuation, "frames"),
        ];
        for (fin, opcode, part) in parts {
            let payload = Payload::Borrowed(part.as_bytes());
            socket
                .write_frame(Frame::new(fin, opcode, None, payload))
                .await
                .unwrap();
        }
        assert!(*socket.read_frame().await.unwrap().payload == *b"in three frames");
        let ping = Frame::new(true, OpCode::Ping, None, Payload::Borrowed(b"there?"));
        socket.write_frame(ping).await.unwrap();
        let pong = socket.read_frame().await.unwrap();
        assert!(pong.opcode == OpCode::Pong && *pong.payload == *b"there?");
        socket
            .write_frame(Frame::close(1000, b"bye"))
            .await
            .unwrap();
        assert_eq!(socket.read_frame().await.unwrap().opcode, OpCode::Close);
    };
    tokio::time::timeout(PATIENCE, talk).await.unwrap();
    let code = Some(throng::CloseCode::NORMAL);
    assert_eq!(
        cause(&served),
        throng::Cause::PeerClosed {
            code,
            reason: "bye".into()
        }
    );
}
