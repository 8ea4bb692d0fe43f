//! socketioxide: events with an acknowledgement.
//!
//! Its documentation: a service of hyper's, which serves upgrades itself; typed data; the parser that its clients
//! have by default. Nothing of it is made for one thread or many.

use std::convert::Infallible;
use std::io;

use ::socketioxide::SocketIo;
use ::socketioxide::extract::{AckSender, Data, SocketRef};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::accept;

#[derive(Deserialize)]
struct Add {
    left: u32,
    right: u32,
}

#[derive(Serialize)]
struct Sum {
    sum: u32,
}

/// Answers `add`.
pub(crate) async fn answer(listener: TcpListener) -> io::Result<Infallible> {
    let (service, io) = SocketIo::new_svc();
    io.ns("/", async |socket: SocketRef| {
        socket.on("add", async |Data::<Add>(add), ack: AckSender| {
            if let Some(sum) = add.left.checked_add(add.right) {
                let _ = ack.send(&Sum { sum });
            }
        });
    });
    accept(listener, |tcp| {
        let connection = http1::Builder::new().serve_connection(TokioIo::new(tcp), service.clone());
        connection.with_upgrades()
    })
    .await
}
