//! Who a client is behind proxies, and how many connections it may have.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::net::IpAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use throng::{
    Accept, Backend, Config, Conn, Credentials, Engine, Event, EventKinds, Handler, Message,
    ProxyProtocol, Reject, Rejection, Tls, Upgrade,
};
use throng_tests::engine::{Client, Heard, PATIENCE, beside, config, request, until};
use throng_tests::tls::{Authority, SERVER};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message as Sent;

/// Tells a client what is known of where it comes from.
struct Locating;

impl Handler for Locating {
    type State = Option<IpAddr>;

    fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<Option<IpAddr>>, Reject> {
        assert_eq!(request.remote_addr(), request.peer().address());
        Ok(Accept::new(request.client_addr()))
    }

    fn on_message(&self, conn: &mut Conn<'_, Option<IpAddr>>, _: Message<'_>) {
        assert_eq!(*conn.state(), conn.client_addr());
        let address = |it: Option<IpAddr>| it.map_or("none".to_owned(), |it| it.to_string());
        let remote = address(conn.remote_addr().map(|it| it.ip()));
        let told = format!("{} at {remote}", address(conn.client_addr()));
        conn.send(&*told);
    }
}

/// How many were turned away for that.
fn rejected(engine: &Engine, why: Rejection) -> u64 {
    engine.metrics().total.rejected.get(why)
}

fn start(config: Config) -> Engine {
    let builder = Engine::builder().bind("127.0.0.1:0").unwrap();
    beside(|| builder.config(config).handler(Locating).start()).unwrap()
}

/// Connects with this before the request and these lines in it, and asks who it is.
fn located(engine: &Engine, header: &[u8], further: &str) -> String {
    let mut client = Client::silent(engine.local_addr().unwrap());
    client.write(header);
    client.upgrade(&request(further));
    client.ask("?")
}

/// Connects in the same way and is answered with this status.
fn answered(engine: &Engine, header: &[u8], further: &str) -> (u16, String) {
    let mut client = Client::silent(engine.local_addr().unwrap());
    client.write(&[header, request(further).as_bytes()].concat());
    let head = client.read_head();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head)
}

const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n";

fn binary(command: u8, address: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, 0x11, 0, 12]);
    header.extend(address);
    header.extend([127, 0, 0, 1, 0x12, 0x67, 0, 80]);
    header
}

fn announced() -> Config {
    config().proxy_protocol(ProxyProtocol::Required)
}

#[test]
fn without_trusted_proxies_the_client_is_who_connects() {
    let engine = start(config());
    let spoofed = "X-Forwarded-For: 192.0.2.7\r\n";
    assert_eq!(located(&engine, b"", spoofed), "127.0.0.1 at 127.0.0.1");
    assert_eq!(
        answered(&engine, HEADER, "").0,
        400,
        "nor is the header one that is asked for"
    );
    assert_eq!(rejected(&engine, Rejection::ProxyHeader), 0);
}

#[test]
fn trusted_proxies_say_who_the_client_is() {
    let engine = start(config().trusted_proxies(["127.0.0.0/8", "10.0.0.0/8"]));
    for (lines, expected) in [
        ("", "127.0.0.1"),
        ("X-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7"),
        (
            "x-forwarded-for: 203.0.113.5, 192.0.2.7, 10.0.0.1\r\n",
            "192.0.2.7",
        ),
        (
            "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: 10.0.0.1\r\n",
            "192.0.2.7",
        ),
        ("X-Forwarded-For: 2001:db8::7\r\n", "2001:db8::7"),
        ("X-Forwarded-For: whoever\r\n", "127.0.0.1"),
        ("X-Forwarded-For: \r\n", "127.0.0.1"),
        ("Forwarded: for=192.0.2.7\r\n", "127.0.0.1"),
    ] {
        assert_eq!(
            located(&engine, b"", lines),
            format!("{expected} at 127.0.0.1"),
            "{lines}"
        );
    }
    let elsewhere = start(config().trusted_proxies(["10.0.0.0/8"]));
    let spoofed = "X-Forwarded-For: 192.0.2.7\r\n";
    assert_eq!(located(&elsewhere, b"", spoofed), "127.0.0.1 at 127.0.0.1");
}

#[cfg(unix)]
#[test]
fn unix_sockets_have_an_address_where_they_are_trusted_to_tell_one() {
    let folder = tempfile::tempdir().unwrap();
    let ask = |name: &str, config: Config| {
        let path = folder.path().join(name);
        let builder = Engine::builder()
            .unix(&path)
            .config(config)
            .handler(Locating);
        let _engine = beside(|| builder.start()).unwrap();
        let stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let mut client = Client::over(stream);
        client.upgrade(&request("X-Forwarded-For: 192.0.2.7\r\n"));
        client.ask("?")
    };
    assert_eq!(ask("a", config()), "none at none");
    assert_eq!(
        ask("b", config().trusted_proxies(["127.0.0.1"])),
        "none at none"
    );
    assert_eq!(
        ask("c", config().trusted_proxies(["unix"])),
        "192.0.2.7 at none"
    );
    let one = config().max_connections_per_ip(1);
    assert_eq!(ask("d", one), "none at none");
}

#[test]
fn the_proxy_protocol_says_who_the_client_is() {
    let engine = start(announced().shards(2));
    for (header, expected) in [
        (HEADER.to_vec(), "192.0.2.7"),
        (
            b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n".to_vec(),
            "2001:db8::7",
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (binary(0x21, [192, 0, 2, 7]), "192.0.2.7"),
        (binary(0x20, [192, 0, 2, 7]), "127.0.0.1"),
    ] {
        let told = located(&engine, &header, "X-Forwarded-For: 203.0.113.5\r\n");
        assert_eq!(told, format!("{expected} at 127.0.0.1"));
    }
    // In pieces, and with the request in the same segment as its end.
    let mut client = Client::silent(engine.local_addr().unwrap());
    let (early, late) = HEADER.split_at(HEADER.len() - 1);
    for byte in early {
        client.write(&[*byte]);
    }
    client.write(&[late, request("").as_bytes()].concat());
    assert!(client.read_head().starts_with("HTTP/1.1 101 "));
    assert_eq!(client.ask("?"), "192.0.2.7 at 127.0.0.1");
    let mut page = Client::silent(engine.local_addr().unwrap());
    page.write(&[HEADER, b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"].concat());
    assert!(
        page.read_head().starts_with("HTTP/1.1 200 "),
        "the side door, too"
    );
    assert_eq!(rejected(&engine, Rejection::ProxyHeader), 0);
}

#[test]
fn a_proxy_behind_a_proxy_is_seen_through() {
    let engine = start(announced().trusted_proxies(["127.0.0.1", "192.0.2.0/24"]));
    let told = located(&engine, HEADER, "X-Forwarded-For: 203.0.113.5\r\n");
    assert_eq!(told, "203.0.113.5 at 127.0.0.1");
}

#[test]
fn behind_a_header_that_names_nobody_no_request_is_believed() {
    let engine = start(announced().trusted_proxies(["127.0.0.1", "192.0.2.0/24"]));
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), binary(0x20, [192, 0, 2, 7])] {
        let told = located(&engine, &header, "X-Forwarded-For: 203.0.113.5\r\n");
        assert_eq!(told, "127.0.0.1 at 127.0.0.1", "the header's word counts");
    }
}

#[test]
fn who_does_not_begin_with_a_sound_header_is_closed_and_counted() {
    let engine = start(announced().max_connections(2));
    let long = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11"[..],
        &[0xff, 0xff],
        &[0; 100],
    ]
    .concat();
    let table: [&[u8]; 5] = [
        request("").as_bytes(),
        b"PROXY TCP4 192.0.2.777 127.0.0.1 4711 80\r\n",
        b"\x16\x03\x01",
        &[b'P'; 200],
        &long,
    ]
    .map(|bytes: &[u8]| Box::leak(bytes.to_vec().into_boxed_slice()) as &[u8]);
    for (count, bytes) in (1..).zip(table) {
        let mut client = Client::silent(engine.local_addr().unwrap());
        let _ = client.try_write(bytes);
        let end = client.hear();
        assert!(matches!(end, Heard::End | Heard::Reset), "{end:?}");
        until("it is counted", || {
            rejected(&engine, Rejection::ProxyHeader) == count
        });
    }
    until("nobody has a seat", || {
        let mut client = Client::silent(engine.local_addr().unwrap());
        client.write(&[HEADER, request("").as_bytes()].concat());
        client.read_head().starts_with("HTTP/1.1 101 ")
    });
}

#[test]
fn only_listed_proxies_may_connect_where_the_protocol_is_required() {
    let engine = start(announced().trusted_proxies(["10.0.0.0/8"]));
    let mut client = Client::silent(engine.local_addr().unwrap());
    let _ = client.try_write(HEADER);
    let end = client.hear();
    assert!(matches!(end, Heard::End | Heard::Reset), "{end:?}");
    until("it is counted", || {
        rejected(&engine, Rejection::ProxyHeader) == 1
    });
    let near = start(announced().trusted_proxies(["127.0.0.1"]));
    assert_eq!(located(&near, HEADER, ""), "192.0.2.7 at 127.0.0.1");
}

#[test]
fn who_never_finishes_the_header_is_cut_off_in_time() {
    let engine = start(announced().handshake_timeout(Duration::from_millis(100)));
    let mut client = Client::silent(engine.local_addr().unwrap());
    client.write(&HEADER[..10]);
    assert!(client.read_head().starts_with("HTTP/1.1 408 "));
}

#[test]
fn the_header_comes_before_tls() {
    let authority = Authority::new();
    let signed = authority.sign(SERVER);
    let tls = Tls::new(Credentials::pem(&signed.certificate, &signed.key)).unwrap();
    let builder = Engine::builder().bind("127.0.0.1:0").unwrap().tls(tls);
    let settings = announced().handshake_timeout(Duration::from_secs(20));
    let engine = beside(|| builder.config(settings).handler(Locating).start()).unwrap();
    let address = engine.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        for pieces in [1, 3, HEADER.len()] {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            for piece in HEADER.chunks(HEADER.len().div_ceil(pieces)) {
                stream.write_all(piece).await.unwrap();
            }
            let stream = authority.connect(stream).await.unwrap();
            let url = format!("wss://{SERVER}/");
            let (mut client, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
            client.send(Sent::text("?")).await.unwrap();
            let told = client.next().await.unwrap().unwrap();
            assert_eq!(
                told,
                Sent::text("192.0.2.7 at 127.0.0.1"),
                "in {pieces} pieces"
            );
            let long = "x".repeat(100_000);
            for _ in 0..3 {
                client.send(Sent::text(&long)).await.unwrap();
                client.next().await.unwrap().unwrap();
            }
        }
    });
    // Neither without the header, nor in clear behind it, is anything said.
    for bytes in [
        request("").into_bytes(),
        [HEADER, request("").as_bytes()].concat(),
    ] {
        let mut client = Client::silent(address);
        let _ = client.try_write(&bytes);
        let mut heard = Vec::new();
        while client
            .try_read_some(&mut heard, 1024)
            .is_ok_and(|count| count > 0)
        {}
        assert!(!heard.starts_with(b"HTTP"), "{heard:?}");
    }
}

#[test]
fn one_client_has_only_so_many_connections() {
    let engine = start(announced().max_connections_per_ip(2).shards(2));
    let mut events = engine
        .subscribe(EventKinds::HANDSHAKE_REJECTED, 16)
        .unwrap();
    let address = engine.local_addr().unwrap();
    let connect = |client: &str| {
        let mut stream = Client::silent(address);
        let header = format!("PROXY TCP6 {client} ::1 4711 80\r\n");
        stream.write(header.as_bytes());
        stream.upgrade(&request(""));
        stream
    };
    let clients = [connect("2001:db8::1"), connect("2001:db8::2")];
    let refused = || answered(&engine, b"PROXY TCP6 2001:db8::3 ::1 4711 80\r\n", "");
    let (status, head) = refused();
    assert_eq!(status, 429, "{head}");
    assert!(head.contains("Retry-After: "), "{head}");
    assert_eq!(rejected(&engine, Rejection::PerIp), 1);
    let told = events.recv_timeout(PATIENCE);
    let Some(Event::HandshakeRejected { peer, client, .. }) = told else {
        panic!("{told:?}");
    };
    let proxy = peer.address().map(|it| it.ip().to_string());
    let client = client.map(|it| it.to_string());
    let expected = ("127.0.0.1", "2001:db8::3");
    assert_eq!(
        (proxy.as_deref(), client.as_deref()),
        (Some(expected.0), Some(expected.1))
    );
    let other = connect("2001:db8:0:1::1");
    drop(clients);
    until("both are gone", || engine.connections() == 1);
    until("there is room", || refused().0 == 101);
    drop(other);
}

#[test]
fn refused_upgrades_do_not_count() {
    struct Refusing;
    impl Handler for Refusing {
        type State = ();
        fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
            match request.query() {
                Some("panic") => panic!("as told"),
                Some("in") => Ok(Accept::new(())),
                _ => Err(Reject::new(403)),
            }
        }
        fn on_message(&self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
            conn.send(message);
        }
    }
    let builder = Engine::builder().bind("127.0.0.1:0").unwrap();
    let settings = config().max_connections_per_ip(1);
    let engine = beside(|| builder.config(settings).handler(Refusing).start()).unwrap();
    let ask = |query: &str| {
        let mut client = Client::silent(engine.local_addr().unwrap());
        client.write(request("").replace("query=1", query).as_bytes());
        let head = client.read_head();
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, client)
    };
    for _ in 0..3 {
        assert_eq!(ask("no").0, 403);
        assert_eq!(ask("panic").0, 500);
    }
    let (status, mut client) = ask("in");
    assert_eq!(status, 101);
    assert_eq!(ask("in").0, 429);
    assert_eq!(ask("no").0, 429, "before the handler is asked");
    assert_eq!(client.ask("hello"), "hello", "who is in stays");
}

#[test]
fn settings_that_make_no_sense_are_errors() {
    let error = |config: Config| {
        let builder = Engine::builder().bind("127.0.0.1:0").unwrap();
        let started = builder.config(config).handler(Locating).start();
        started.unwrap_err().to_string()
    };
    let plain = || Config::default().backend(Backend::Poll);
    assert_eq!(
        error(plain().trusted_proxies(["10.0.0.0/33"])),
        "trusted_proxies: \"10.0.0.0/33\" is no network such as \"10.0.0.0/8\", no address, and not \"unix\""
    );
    assert_eq!(
        error(plain().max_connections_per_ip(0)),
        "max_connections_per_ip: 0 is out of range: must be between 1 and 16777216"
    );
    let many = (0..1025).map(|number| format!("10.0.{}.{}", number / 256, number % 256));
    assert!(
        error(plain().trusted_proxies(many)).starts_with("trusted_proxies: 1025 is out of range")
    );
    let error = Config::from_toml("proxy_protocol = \"maybe\"").unwrap_err();
    assert_eq!(error.field(), Some("proxy_protocol"));
    let config =
        Config::from_toml("proxy_protocol = \"required\"\ntrusted_proxies = [\"::1\"]").unwrap();
    assert_eq!(config.proxy_protocol, ProxyProtocol::Required);
    assert_eq!(config.trusted_proxies, ["::1"]);
}
