//! A client of WebSocket over TLS that does no more than measuring takes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme,
    StreamOwned,
};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// Bytes of an answer to it, at the most.
const MAX_RESPONSE: usize = 4096;
/// How long a server may take to say anything.
const PATIENCE: Duration = Duration::from_secs(30);
/// The first byte of a ping.
const PING: u8 = 0x89;
/// The longest payload of a frame whose length takes two bytes (RFC 6455 §5.2).
pub(crate) const MAX_SIZE: usize = u16::MAX as usize;

/// One cipher suite, TLS 1.3, and any certificate: the server made it a moment ago.
pub(crate) fn config(resumes: bool) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut provider = ring::default_provider();
    provider.cipher_suites = vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let provider = Arc::new(provider);
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    if !resumes {
        config.resumption = Resumption::disabled();
    }
    Ok(Arc::new(config))
}

/// An upgraded connection.
pub(crate) struct Client(StreamOwned<ClientConnection, TcpStream>);

impl Client {
    /// Connects, does the handshake of TLS and then that of WebSocket, behind which the tickets of the
    /// former have been read.
    pub(crate) fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let client = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let mut client = Client(StreamOwned::new(client, stream));
        client.0.write_all(REQUEST)?;
        let mut response = Vec::new();
        while !response.ends_with(b"\r\n\r\n") && response.len() < MAX_RESPONSE {
            let mut byte = [0];
            client.0.read_exact(&mut byte)?;
            response.extend_from_slice(&byte);
        }
        if response.starts_with(b"HTTP/1.1 101 ") {
            Ok(client)
        } else {
            Err(io::Error::other("the upgrade was refused"))
        }
    }

    /// Whether an earlier session was resumed.
    pub(crate) fn is_resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Sends a message made by [`message`].
    pub(crate) fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.0.write_all(message)
    }

    /// Reads the echo of a message of so many bytes, and the pings before it.
    pub(crate) fn read_echo(&mut self, size: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        let header = header(size, 0);
        loop {
            let mut start = [0; 2];
            self.0.read_exact(&mut start)?;
            let is_ping = start[0] == PING;
            if !is_ping && !header.starts_with(&start) {
                return Err(io::Error::other("that is no echo"));
            }
            let rest = if is_ping {
                usize::from(start[1])
            } else {
                header.len() - start.len() + size
            };
            buffer.resize(rest, 0);
            self.0.read_exact(buffer)?;
            if !is_ping {
                return Ok(());
            }
        }
    }
}

/// A binary message of zeros, masked with zeros.
pub(crate) fn message(size: usize) -> Vec<u8> {
    let mut message = header(size, 0x80);
    message.resize(message.len() + 4 + size, 0);
    message
}

fn header(size: usize, mask: u8) -> Vec<u8> {
    let size = u16::try_from(size).unwrap_or(u16::MAX);
    let [high, low] = size.to_be_bytes();
    match size {
        0..126 => vec![0x82, mask | low],
        _ => vec![0x82, mask | 126, high, low],
    }
}

/// Believes every certificate, and checks that its owner is the one who speaks, as others do.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
