//! tokio-tungstenite over tokio-rustls.
//!
//! As in the example `server` of tokio-rustls: an acceptor that all connections share, over the socket as
//! it is. The provider and the versions are those of the engine, and so are tickets without a store.

use std::error::Error;
use std::sync::Arc;

use ::tokio_rustls::TlsAcceptor;
use ::tokio_rustls::rustls::crypto::ring;
use ::tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use ::tokio_rustls::rustls::server::NoServerSessionStorage;
use ::tokio_rustls::rustls::{ServerConfig, version};
use ::tokio_tungstenite::tungstenite::{self, Message};
use tokio::net::TcpStream;

use crate::room::Room;
use crate::tokio_tungstenite;

/// Accepts with a certificate made now.
pub(crate) fn acceptor() -> Result<TlsAcceptor, Box<dyn Error + Send + Sync>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())?;
    config.ticketer = ring::Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(TlsAcceptor::from(Arc::new(config)))
}

pub(crate) async fn echo(
    tls: TlsAcceptor,
    tcp: TcpStream,
    buffer: usize,
) -> Result<(), tungstenite::Error> {
    tokio_tungstenite::echo(tls.accept(tcp).await?, buffer).await
}

pub(crate) async fn join(
    tls: TlsAcceptor,
    tcp: TcpStream,
    buffer: usize,
    room: Room<Message>,
) -> Result<(), tungstenite::Error> {
    tokio_tungstenite::join(tls.accept(tcp).await?, buffer, room).await
}
