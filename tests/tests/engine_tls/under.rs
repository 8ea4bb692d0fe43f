//! What lies over TLS and beside it: compression, and sockets and streams without it.

use std::os::unix::net::UnixStream;

use throng::{Backend, Compression, Engine, Peer};
use throng_tests::engine::{Client, Heard, beside, config};
use tokio::task::block_in_place;

use super::{Telling, World, connect, heard, secure, world};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message as Sent;

/// Long, and compressible.
fn long(number: usize) -> String {
    format!("{number:08} {}", "all the same ".repeat(10_000))
}

/// What is compressed before it is encrypted comes out of both whole, and is short in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_messages_go_over_tls() {
    let World { tls, client, .. } = world();
    let settings = config().compression(Some(Compression::default()));
    let engine = super::serve(&tls, settings);
    let mut stream = secure(&engine, &client).await.unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    let mut far = tokio::net::UnixStream::from_std(far).unwrap();
    let relay =
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut far, &mut stream).await });
    block_in_place(|| {
        let mut client = Client::compressed_over(near, "permessage-deflate");
        client.hear();
        for number in 0..20 {
            client.compressed(&long(number));
            assert_eq!(client.hear(), Heard::Text(long(number)));
        }
        client.compressed("to all");
        assert_eq!(client.hear(), Heard::Text("from one".into()));
        client.finish();
    });
    let (up, down) = relay.await.unwrap().unwrap();
    let plain = 20 * long(0).len() as u64;
    assert!(
        up < plain / 10 && down < plain / 10,
        "{up} and {down} bytes for {plain}"
    );
}

/// Unix sockets of an engine that speaks TLS speak none, and talk to the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unix_sockets_stay_as_they_are() {
    let World { tls, client, .. } = world();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let builder = Engine::builder()
        .bind("127.0.0.1:0")
        .unwrap()
        .unix(&path)
        .tls(tls.clone())
        .config(config())
        .handler(Telling);
    let engine = beside(|| builder.start()).unwrap();
    let mut over_tls = connect(&engine, &client).await;
    heard(&mut over_tls).await;
    let mut over_unix = block_in_place(|| {
        let mut over_unix = Client::connect_unix(&path);
        let told = "secure false to nobody with 0 certificates of 0 bytes";
        assert_eq!(over_unix.hear(), Heard::Text(told.into()));
        for size in [1, 1000, 200_000] {
            let text = "x".repeat(size);
            over_unix.text(&text);
            assert_eq!(over_unix.hear(), Heard::Text(text));
        }
        over_unix.text("to all");
        assert_eq!(over_unix.hear(), Heard::Text("from one".into()));
        over_unix
    });
    assert_eq!(heard(&mut over_tls).await, Sent::text("from one"));
    over_tls.send(Sent::text("to all")).await.unwrap();
    assert_eq!(heard(&mut over_tls).await, Sent::text("from one"));
    block_in_place(|| assert_eq!(over_unix.hear(), Heard::Text("from one".into())));
    assert_eq!(tls.counts().completed, 1);
}

/// Streams that are handed to an engine which speaks TLS are taken as they are: whoever made them has seen to
/// that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_handed_over_stay_as_they_are() {
    let World { tls, client, .. } = world();
    let engine = super::serve(&tls, config().backend(Backend::Tokio));
    assert_eq!(engine.backend(), Backend::Tokio);
    let mut over_tls = connect(&engine, &client).await;
    heard(&mut over_tls).await;
    let (near, far) = tokio::io::duplex(64 * 1024);
    engine.adopt(near, Peer::Unix).unwrap();
    let handshake = tokio_tungstenite::client_async("ws://localhost/", far);
    let (mut over_pipe, _) = handshake.await.unwrap();
    let told = "secure false to nobody with 0 certificates of 0 bytes";
    assert_eq!(over_pipe.next().await.unwrap().unwrap(), Sent::text(told));
    over_tls.send(Sent::text("to all")).await.unwrap();
    assert_eq!(heard(&mut over_tls).await, Sent::text("from one"));
    assert_eq!(
        over_pipe.next().await.unwrap().unwrap(),
        Sent::text("from one")
    );
    engine.drain_async(std::time::Duration::ZERO).await;
}
