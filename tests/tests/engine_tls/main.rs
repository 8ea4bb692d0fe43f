//! The engine over TLS, spoken to by tokio-rustls and tokio-tungstenite.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod settings;
mod storm;
#[cfg(unix)]
mod under;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustls::ClientConfig;
use rustls::HandshakeKind;
use throng::protocol::frame::OpCode;
use throng::{
    Accept, Admin, ClientCertificates, Conn, Credentials, Engine, Handler, Message, Origins, Page,
    Reject, Tls, Upgrade,
};
use throng_tests::engine::{beside, config, frame, until};
use throng_tests::tls::{Authority, SERVER, Signed, server_name};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Sent;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells every client what the engine knows of it, puts it in a room, and passes on what it says.
struct Telling;

impl Handler for Telling {
    type State = String;

    fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<String>, Reject> {
        let certificates = request.peer_certificates();
        Ok(Accept::new(format!(
            "secure {} to {} with {} certificates of {} bytes",
            request.is_secure(),
            request.server_name().unwrap_or("nobody"),
            certificates.len(),
            certificates.iter().map(|der| der.len()).sum::<usize>(),
        )))
    }

    fn on_open(&self, conn: &mut Conn<'_, String>) {
        conn.join("all").unwrap();
        let told = conn.state().clone();
        conn.send(Message::Text(&told));
    }

    fn on_message(&self, conn: &mut Conn<'_, String>, message: Message<'_>) {
        match message.as_text() {
            Some("to all") => {
                conn.to("all").text("from one").publish();
            }
            _ => {
                conn.send(message);
            }
        }
    }
}

fn credentials(signed: &Signed) -> Credentials {
    Credentials::pem(&signed.certificate, &signed.key)
}

fn serve(tls: &Tls, config: throng::Config) -> Engine {
    let builder = Engine::builder()
        .bind("127.0.0.1:0")
        .unwrap()
        .tls(tls.clone());
    let page = Page::new("/", "text/html", "<p>a page");
    let builder = builder.config(config).page(page).handler(Telling);
    beside(|| builder.start()).unwrap()
}

async fn secure(
    engine: &Engine,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(engine.local_addr().unwrap()).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(Arc::clone(config))
        .connect(server_name(), stream)
        .await
}

type Client = WebSocketStream<TlsStream<TcpStream>>;

async fn connect(engine: &Engine, config: &Arc<ClientConfig>) -> Client {
    let stream = secure(engine, config).await.unwrap();
    let url = format!("wss://{SERVER}/");
    tokio_tungstenite::client_async(url, stream)
        .await
        .unwrap()
        .0
}

async fn heard(client: &mut Client) -> Sent {
    let next = tokio::time::timeout(PATIENCE, client.next()).await;
    next.expect("something is said").unwrap().unwrap()
}

struct World {
    authority: Authority,
    tls: Tls,
    client: Arc<ClientConfig>,
}

fn world() -> World {
    let authority = Authority::new();
    let tls = Tls::new(credentials(&authority.sign(SERVER))).unwrap();
    let client = Arc::new(authority.client(None));
    World {
        authority,
        tls,
        client,
    }
}

#[tokio::test]
async fn messages_of_all_sizes_come_back() {
    let World { tls, client, .. } = world();
    let engine = serve(&tls, config());
    let mut one = connect(&engine, &client).await;
    let mut two = connect(&engine, &client).await;
    let expected = "secure true to localhost with 0 certificates of 0 bytes";
    assert_eq!(heard(&mut one).await, Sent::text(expected));
    assert_eq!(heard(&mut two).await, Sent::text(expected));
    for size in [0, 1, 125, 16_383, 16_384, 16_385, 100_000, 500_000] {
        let message = Sent::binary(vec![7; size]);
        one.send(message.clone()).await.unwrap();
        assert!(heard(&mut one).await == message, "{size} bytes");
    }
    for index in 0..1000 {
        one.feed(Sent::text(index.to_string())).await.unwrap();
    }
    one.flush().await.unwrap();
    for index in 0..1000 {
        assert_eq!(heard(&mut one).await, Sent::text(index.to_string()));
    }
    one.send(Sent::text("to all")).await.unwrap();
    assert_eq!(heard(&mut two).await, Sent::text("from one"));
    one.close(None).await.unwrap();
    while let Some(Ok(_)) = one.next().await {}
    until("the end", || engine.connections() == 1);
}

#[tokio::test]
async fn keys_change_on_the_way() {
    let World { tls, client, .. } = world();
    let engine = serve(&tls, config());
    let mut socket = connect(&engine, &client).await;
    heard(&mut socket).await;
    for round in 0..10 {
        let (_, session) = socket.get_mut().get_mut();
        session.refresh_traffic_keys().unwrap();
        let message = Sent::text(format!("under the keys of round {round}"));
        socket.send(message.clone()).await.unwrap();
        assert_eq!(heard(&mut socket).await, message);
    }
}

#[tokio::test]
async fn the_version_before_is_spoken_and_resumed_too() {
    let World { authority, tls, .. } = world();
    let engine = serve(&tls, config());
    let client = Arc::new(authority.client_of(&[&rustls::version::TLS12], None));
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut socket = connect(&engine, &client).await;
        heard(&mut socket).await;
        for size in [0, 1, 100_000] {
            let message = Sent::binary(vec![7; size]);
            socket.send(message.clone()).await.unwrap();
            assert!(heard(&mut socket).await == message, "{size} bytes");
        }
        let (_, session) = socket.get_ref().get_ref();
        assert_eq!(session.handshake_kind(), Some(kind));
    }
}

#[tokio::test]
async fn records_in_many_segments_and_a_reader_that_stops() {
    let World { tls, client, .. } = world();
    let engine = serve(&tls, config().write_timeout(Duration::from_millis(300)));
    let (far, near) = tokio::io::duplex(64 * 1024);
    let stream = TcpStream::connect(engine.local_addr().unwrap())
        .await
        .unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut down, mut up) = stream.into_split();
    let (mut read, mut write) = tokio::io::split(near);
    // Everything that the client says goes on three bytes at a time.
    tokio::spawn(async move {
        let mut part = [0; 3];
        while let Ok(count @ 1..) = read.read(&mut part).await {
            if up.write_all(&part[..count]).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move { tokio::io::copy(&mut down, &mut write).await });
    let connector = TlsConnector::from(client);
    let stream = connector.connect(server_name(), far).await.unwrap();
    let url = format!("wss://{SERVER}/");
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    socket.next().await.unwrap().unwrap();
    let message = Sent::text("x".repeat(5000));
    socket.send(message.clone()).await.unwrap();
    assert!(socket.next().await.unwrap().unwrap() == message);
    // From now on nothing is read, and more is answered than all buffers hold.
    while engine.connections() == 1 {
        let message = Sent::binary(vec![7; 4000]);
        let sent = tokio::time::timeout(Duration::from_millis(20), socket.send(message)).await;
        if matches!(sent, Ok(Err(_))) {
            break;
        }
        engine.to("all").binary(&[7; 100_000]).publish().unwrap();
    }
    until("given up", || engine.connections() == 0);
}

#[tokio::test]
async fn what_is_no_upgrade_is_answered_over_tls() {
    let World { tls, client, .. } = world();
    let engine = serve(&tls, config());
    let mut stream = secure(&engine, &client).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), None, "none was offered");
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    // Succeeds only where the end was told by close_notify.
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("<p>a page"), "{answer}");
}

/// The question, the end of the session and the end of the stream arrive at once.
#[tokio::test]
async fn who_asks_and_ends_its_side_in_one_breath_is_answered() {
    let World { tls, client, .. } = world();
    let batching = config().batch_window(Duration::from_secs(1));
    let engine = serve(&tls, batching.send_queue_bytes(4 << 20));
    let long = "long ".repeat(80_000);
    let asks = [("hello", "hello"), ("to all", "from one"), (&long, &long)];
    for (question, answer) in asks {
        let mut client = connect(&engine, &client).await;
        heard(&mut client).await;
        let stream = client.get_mut();
        let (socket, session) = stream.get_mut();
        session.set_buffer_limit(None);
        let question = frame(true, OpCode::Text, question.as_bytes());
        session.writer().write_all(&question).unwrap();
        session.send_close_notify();
        let mut bytes = Vec::new();
        while session.wants_write() {
            session.write_tls(&mut bytes).unwrap();
        }
        socket.write_all(&bytes).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut said = Vec::new();
        let reading = stream.read_to_end(&mut said);
        let read = tokio::time::timeout(PATIENCE, reading).await;
        read.expect("it ends").expect("the end is told");
        assert!(said.ends_with(answer.as_bytes()), "{} bytes", said.len());
    }
}

fn serve_with_admin(tls: Tls, config: throng::Config) -> Engine {
    let admin = Admin::new("a token of some length");
    let builder = Engine::builder().bind("127.0.0.1:0").unwrap();
    let builder = builder.config(config).tls(tls).admin(admin);
    beside(|| builder.handler(Telling).start()).unwrap()
}

/// The page's connection moves, with its encryption, to the engine that serves it.
#[tokio::test]
async fn the_admin_page_is_there() {
    let World { tls, client, .. } = world();
    let engine = serve_with_admin(tls, config());
    let stream = secure(&engine, &client).await.unwrap();
    let url = format!("wss://{SERVER}/admin");
    let (mut page, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    let shown = r#"{"type":"auth","token":"a token of some length"}"#;
    page.send(Sent::text(shown)).await.unwrap();
    let answer = heard(&mut page).await.into_text().unwrap();
    assert!(answer.contains("auth_success"), "{answer}");
    assert_eq!(engine.connections(), 0, "it is none of them");
}

#[tokio::test]
async fn clients_show_certificates() {
    let authority = Authority::new();
    let clients = Authority::new();
    let server = credentials(&authority.sign(SERVER)).client_ca_pem(clients.pem());
    let tls = Tls::new(server).unwrap();
    let engine = serve(&tls, config());
    let signed = clients.sign("somebody");
    let known = Arc::new(authority.client(Some(&signed)));
    let mut client = connect(&engine, &known).await;
    let size = signed.der().len();
    let told = format!("secure true to localhost with 1 certificates of {size} bytes");
    assert_eq!(heard(&mut client).await, Sent::text(told));
    let stranger = Authority::new().sign("somebody");
    for own in [None, Some(&stranger)] {
        let config = Arc::new(authority.client(own));
        let failed = tls.counts().failed;
        // A client learns of it with the first bytes that it reads.
        if let Ok(mut stream) = secure(&engine, &config).await {
            let mut byte = [0];
            assert!(stream.read_exact(&mut byte).await.is_err());
        }
        until("counted", || tls.counts().failed == failed + 1);
    }
}

#[tokio::test]
async fn clients_may_show_certificates() {
    let authority = Authority::new();
    let clients = Authority::new();
    let server = credentials(&authority.sign(SERVER))
        .client_ca_pem(clients.pem())
        .client_certificates(ClientCertificates::Optional);
    let tls = Tls::new(server).unwrap();
    let engine = serve(&tls, config());
    let signed = clients.sign("somebody");
    for own in [None, Some(&signed)] {
        let config = Arc::new(authority.client(own));
        let mut client = connect(&engine, &config).await;
        let (count, size) = own.map_or((0, 0), |own| (1, own.der().len()));
        let told = format!("secure true to localhost with {count} certificates of {size} bytes");
        assert_eq!(heard(&mut client).await, Sent::text(told));
    }
    let stranger = Authority::new().sign("somebody");
    let config = Arc::new(authority.client(Some(&stranger)));
    if let Ok(mut stream) = secure(&engine, &config).await {
        assert!(
            stream.read_exact(&mut [0]).await.is_err(),
            "it is not valid"
        );
    }
    until("counted", || tls.counts().failed == 1);
}

#[tokio::test]
async fn sessions_are_resumed_and_http_is_agreed_on() {
    let World { authority, tls, .. } = world();
    let engine = serve(&tls, config());
    let mut client = authority.client(None);
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let client = Arc::new(client);
    for kind in [
        HandshakeKind::Full,
        HandshakeKind::Resumed,
        HandshakeKind::Resumed,
    ] {
        let mut socket = connect(&engine, &client).await;
        heard(&mut socket).await;
        let (_, session) = socket.get_ref().get_ref();
        assert_eq!(session.handshake_kind(), Some(kind));
        assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
    assert_eq!((tls.counts().completed, tls.counts().resumed), (3, 2));
}

/// A ticket would outlive the certificate that it was given for.
#[tokio::test]
async fn clients_who_show_certificates_are_verified_each_time() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let signed = clients.sign("somebody");
    let server = credentials(&authority.sign(SERVER));
    let asking = server.clone().client_ca_pem(clients.pem());
    let tls = Tls::new(asking.clone()).unwrap();
    let engine = serve(&tls, config());
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let client = Arc::new(authority.client_of(&[version], Some(&signed)));
        for _ in 0..2 {
            let mut socket = connect(&engine, &client).await;
            heard(&mut socket).await;
            let (_, session) = socket.get_ref().get_ref();
            assert_eq!(session.handshake_kind(), Some(HandshakeKind::Full));
        }
        // Nor does a ticket from before they were asked for help.
        tls.replace(server.clone()).unwrap();
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut socket = connect(&engine, &client).await;
            heard(&mut socket).await;
            let (_, session) = socket.get_ref().get_ref();
            assert_eq!(session.handshake_kind(), Some(kind));
        }
        tls.replace(asking.clone()).unwrap();
        let mut socket = connect(&engine, &client).await;
        heard(&mut socket).await;
        let (_, session) = socket.get_ref().get_ref();
        assert_eq!(session.handshake_kind(), Some(HandshakeKind::Full));
    }
    assert_eq!((tls.counts().completed, tls.counts().resumed), (10, 2));
}

#[tokio::test]
async fn certificates_change_while_connections_live_on() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    let write = |signed: &Signed| {
        std::fs::write(&certificate, &signed.certificate).unwrap();
        std::fs::write(&key, &signed.key).unwrap();
    };
    let authority = Authority::new();
    let (old, new) = (authority.sign(SERVER), authority.sign(SERVER));
    write(&old);
    let tls = Tls::from_pem_files(&certificate, &key).unwrap();
    let engine = serve(&tls, config());
    let shown = async || {
        // Of its own, so that no session is resumed.
        let client = Arc::new(authority.client(None));
        let mut client = connect(&engine, &client).await;
        heard(&mut client).await;
        let shown = client.get_ref().get_ref().1.peer_certificates().unwrap()[0].clone();
        (client, shown)
    };
    let (mut before, certificate_before) = shown().await;
    assert_eq!(certificate_before, old.der());
    std::fs::write(&key, &new.key).unwrap();
    let error = tls.reload().expect_err("a key of another certificate");
    assert_eq!(
        error.to_string(),
        "the private key is not that of the certificate"
    );
    assert_eq!(shown().await.1, old.der());
    write(&new);
    tls.reload().unwrap();
    assert_eq!(shown().await.1, new.der());
    before.send(Sent::text("still here")).await.unwrap();
    assert_eq!(heard(&mut before).await, Sent::text("still here"));
}

#[tokio::test]
async fn handshakes_are_bounded_in_number_and_time() {
    let World { tls, client, .. } = world();
    let limits = config()
        .max_tls_handshakes(2)
        .handshake_timeout(Duration::from_millis(300));
    let engine = serve(&tls, limits);
    let address = engine.local_addr().unwrap();
    // Who says nothing, or too little to be computed, counts as nobody.
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut trickling = TcpStream::connect(address).await.unwrap();
    trickling.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    heard(&mut connect(&engine, &client).await).await;
    // Two begin and do not go on; all that they are told is the server's part.
    let mut begun = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&hello(&client)).await.unwrap();
        stream.read_exact(&mut [0; 100]).await.unwrap();
        begun.push(stream);
    }
    let mut third = TcpStream::connect(address).await.unwrap();
    third.write_all(&hello(&client)).await.unwrap();
    let mut nothing = Vec::new();
    // Refused at once, or reset; in any case before the others.
    let _ = third.read_to_end(&mut nothing).await;
    assert_eq!((tls.counts().refused, tls.counts().completed), (1, 1));
    for stream in [&mut silent, &mut trickling] {
        let _ = stream.read_to_end(&mut nothing).await;
    }
    assert!(
        nothing.is_empty(),
        "there is nothing to be said: {nothing:?}"
    );
    until("counted", || tls.counts().failed == 4);
    heard(&mut connect(&engine, &client).await).await;
}

/// What a handshake begins with.
fn hello(client: &Arc<ClientConfig>) -> Vec<u8> {
    let client = rustls::ClientConnection::new(Arc::clone(client), server_name());
    let mut hello = Vec::new();
    client.unwrap().write_tls(&mut hello).unwrap();
    hello
}

#[tokio::test]
async fn what_is_no_handshake_is_answered_by_an_alert() {
    let World { tls, client, .. } = world();
    let engine = serve(&tls, config());
    for said in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        &[22, 3, 1, 0, 5, 9, 0, 0, 1, 7],
    ] {
        let mut stream = TcpStream::connect(engine.local_addr().unwrap())
            .await
            .unwrap();
        stream.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer).await;
        assert_eq!(answer.first(), Some(&21), "an alert to {said:?}: {ended:?}");
        assert_eq!(answer.len(), 7, "and nothing else: {answer:?}");
    }
    heard(&mut connect(&engine, &client).await).await;
}

#[tokio::test]
async fn pages_of_the_same_name_without_tls_may_not_connect() {
    let World { tls, client, .. } = world();
    let engine = serve_with_admin(tls, config().origins(Origins::same_origin()));
    let origins = [("https://localhost", "101"), ("http://localhost", "403")];
    for (target, (origin, status)) in ["/", "/admin"]
        .map(|it| origins.map(|of| (it, of)))
        .concat()
    {
        let mut stream = secure(&engine, &client).await.unwrap();
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Origin: {origin}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer[9..], status.as_bytes(), "{origin}");
    }
}

#[test]
fn what_cannot_be_used_is_named() {
    let authority = Authority::new();
    let (signed, other) = (authority.sign(SERVER), authority.sign(SERVER));
    let told = |credentials| Tls::new(credentials).expect_err("unusable").to_string();
    assert!(
        told(Credentials::files("/nowhere/c", "/nowhere/k"))
            .starts_with("/nowhere/c cannot be read: ")
    );
    assert_eq!(
        told(Credentials::pem("", &signed.key)),
        "there is no certificate in what was given as the certificate"
    );
    assert_eq!(
        told(Credentials::pem(&signed.certificate, "")),
        "there is no private key in what was given as the private key"
    );
    assert_eq!(
        told(Credentials::pem(&signed.certificate, &other.key)),
        "the private key is not that of the certificate"
    );
    let broken = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert!(
        told(Credentials::pem(&signed.certificate, broken))
            .starts_with("the private key cannot be used: ")
    );
    assert_eq!(
        told(credentials(&signed).client_ca_pem("")),
        "there is no certificate in what was given as the clients' authority"
    );
}
