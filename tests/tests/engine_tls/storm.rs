//! Many who begin no handshake, beside others who talk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use futures_util::SinkExt;
use throng_tests::engine::{config, until};
use throng_tests::hostile::raise_open_files;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message as Sent;

use super::{Client, World, connect, heard, serve, world};

/// Those who attack.
const ATTACKERS: usize = 500;
/// Those who talk.
const BYSTANDERS: usize = 20;
/// Messages that each of them exchanges at least.
const MESSAGES: usize = 200;

/// Says something and hears it again, in order and once, until it is over. How often.
async fn talk(mut client: Client, is_over: Arc<AtomicBool>) -> (Client, usize) {
    let mut count = 0;
    while count < MESSAGES || !is_over.load(Relaxed) {
        let message = Sent::text(format!("{count:0width$}", width = 1 + count % 2000));
        client.send(message.clone()).await.unwrap();
        assert_eq!(heard(&mut client).await, message);
        count += 1;
    }
    (client, count)
}

/// What an attacker says: nothing, noise, or a part of what a handshake begins with.
fn said(index: usize) -> Vec<u8> {
    let noise = |byte: usize| (byte * 151 + index * 31).to_le_bytes()[0];
    match index % 4 {
        0 => Vec::new(),
        1 => (0..300).map(noise).collect(),
        2 => vec![22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3],
        _ => [22, 3, 1, 1, 0]
            .into_iter()
            .chain((0..256).map(noise))
            .collect(),
    }
}

#[tokio::test]
async fn five_hundred_who_begin_no_handshake_cost_the_others_nothing() {
    raise_open_files();
    let World { tls, client, .. } = world();
    let engine = serve(&tls, config().handshake_timeout(Duration::from_secs(1)));
    let is_over = Arc::new(AtomicBool::new(false));
    let mut bystanders = Vec::new();
    for _ in 0..BYSTANDERS {
        let mut bystander = connect(&engine, &client).await;
        heard(&mut bystander).await;
        bystanders.push(tokio::spawn(talk(bystander, Arc::clone(&is_over))));
    }
    let address = engine.local_addr().unwrap();
    let mut attackers = Vec::new();
    for index in 0..ATTACKERS {
        attackers.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // Who is refused at once finds the connection reset.
            let _ = stream.write_all(&said(index)).await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            answer.len()
        }));
    }
    for attacker in attackers {
        let answer = attacker.await.unwrap();
        assert!(answer <= 7, "an alert at most, and no {answer} bytes");
    }
    is_over.store(true, Relaxed);
    let mut others = Vec::new();
    for bystander in bystanders {
        others.push(bystander.await.unwrap().0);
    }
    until("all counted", || {
        let counts = tls.counts();
        counts.failed + counts.refused == ATTACKERS as u64
    });
    until("the end of all attackers", || {
        engine.connections() == BYSTANDERS
    });
    heard(&mut connect(&engine, &client).await).await;
    drop(others);
}
