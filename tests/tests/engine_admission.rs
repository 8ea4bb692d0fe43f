//! Who is let in while many ask: handshakes in flight, connections, memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use throng::{Config, Credentials, Engine, ProxyProtocol, Rejection, Tls};
use throng_tests::engine::{Client, Heard, beside, config, request, until};
use throng_tests::tls::{Authority, SERVER};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How many were turned away for that.
fn rejected(engine: &Engine, why: Rejection) -> u64 {
    engine.metrics().total.rejected.get(why)
}

/// Handshakes in flight.
fn handshaking(engine: &Engine) -> u64 {
    engine.metrics().total.handshaking()
}

fn start(config: Config, tls: Option<Tls>) -> Engine {
    let mut builder = Engine::builder()
        .bind("127.0.0.1:0")
        .unwrap()
        .config(config);
    if let Some(tls) = tls {
        builder = builder.tls(tls);
    }
    let echo = builder.on_message(|conn, message| {
        conn.send(message);
    });
    beside(|| echo.start()).unwrap()
}

/// Who has begun to ask and does not go on.
fn loris(address: SocketAddr) -> Client {
    let mut client = Client::silent(address);
    client.write(b"GET / HTTP/1.1\r\nHost: ");
    client
}

fn answered(client: &mut Client) -> (u16, String) {
    let head = client.read_head();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head)
}

#[test]
fn one_handshake_too_many_is_answered_503_at_once() {
    let settings = config().max_handshakes(3).shards(2);
    let engine = start(settings.handshake_timeout(Duration::from_secs(60)), None);
    let address = engine.local_addr().unwrap();
    let mut inside = Client::connect(address);
    let slow: Vec<Client> = (0..3).map(|_| loris(address)).collect();
    until("all are counted", || handshaking(&engine) == 3);
    // Nothing is asked: the answer does not wait for a request.
    let mut silent = Client::silent(address);
    let (status, head) = answered(&mut silent);
    assert_eq!(status, 503, "{head}");
    assert!(head.contains("Retry-After: "), "{head}");
    silent.finish();
    assert_eq!(silent.read_to_end(), b"too many are asking at once");
    assert_eq!(rejected(&engine, Rejection::Handshakes), 1);
    assert_eq!(inside.ask("hello"), "hello", "who is in is served");
    drop(slow);
    until("there is room", || {
        let mut client = Client::silent(address);
        client.write(request("").as_bytes());
        answered(&mut client).0 == 101
    });
}

#[test]
fn who_never_finishes_keeps_nobody_out_for_longer_than_a_handshake_may_take() {
    let settings = config().max_handshakes(4).max_connections(4);
    let engine = start(settings.handshake_timeout(Duration::from_millis(300)), None);
    let address = engine.local_addr().unwrap();
    let mut slow: Vec<Client> = (0..4).map(|_| loris(address)).collect();
    until("somebody is let in", || {
        let mut client = Client::silent(address);
        client.write(request("").as_bytes());
        answered(&mut client).0 == 101
    });
    for client in &mut slow {
        let (status, head) = answered(client);
        assert!(status == 408 || status == 503, "{head}");
    }
}

#[test]
fn handshakes_that_end_in_any_way_are_counted_out() {
    let settings = config().max_handshakes(1);
    let engine = start(settings.handshake_timeout(Duration::from_millis(200)), None);
    let address = engine.local_addr().unwrap();
    type End = fn(&mut Client);
    let ends: [(&str, End); 6] = [
        ("an upgrade", |client| client.write(request("").as_bytes())),
        ("a bad request", |client| client.write(b"hello\r\n\r\n")),
        ("another request", |client| {
            client.write(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
        }),
        ("the peer's end", |client| client.finish()),
        ("too late", |client| client.write(b"GET /")),
        ("a long head", |client| client.write(&[b'y'; 17 * 1024])),
    ];
    for (what, end) in ends {
        let mut client = Client::silent(address);
        end(&mut client);
        until(what, || {
            let mut next = Client::silent(address);
            next.write(request("").as_bytes());
            answered(&mut next).0 == 101
        });
    }
}

/// Handshakes that one address may have in flight where it may have fewer connections.
const OF_ONE: usize = 32;

#[test]
fn one_address_has_only_so_many_handshakes_in_flight() {
    let settings = config().max_connections_per_ip(2).shards(2);
    let engine = start(settings.handshake_timeout(Duration::from_secs(60)), None);
    let address = engine.local_addr().unwrap();
    let mut inside = Client::connect(address);
    let slow: Vec<Client> = (0..OF_ONE).map(|_| loris(address)).collect();
    until("all are counted", || handshaking(&engine) == OF_ONE as u64);
    // Nothing is asked: the answer does not wait for a request.
    let mut silent = Client::silent(address);
    let (status, head) = answered(&mut silent);
    assert_eq!(status, 429, "{head}");
    assert!(head.contains("Retry-After: "), "{head}");
    silent.finish();
    assert_eq!(
        silent.read_to_end(),
        b"too many connections from this address"
    );
    assert_eq!(rejected(&engine, Rejection::PerIp), 1);
    assert_eq!(inside.ask("hello"), "hello", "who is in is served");
    drop(slow);
    until("they are gone", || handshaking(&engine) == 0);
    assert_eq!(Client::connect(address).ask("hello"), "hello");
}

#[test]
fn handshakes_are_counted_for_whom_a_proxy_announces() {
    let settings = config().max_connections_per_ip(1).shards(2);
    let settings = settings.proxy_protocol(ProxyProtocol::Required);
    let engine = start(settings.handshake_timeout(Duration::from_secs(60)), None);
    let address = engine.local_addr().unwrap();
    let ask = |client: &str, request: &str| {
        let mut asking = Client::silent(address);
        asking.write(format!("PROXY TCP4 {client} 127.0.0.1 4711 80\r\n{request}").as_bytes());
        asking
    };
    let mut slow: Vec<Client> = (0..OF_ONE).map(|_| ask("192.0.2.7", "GET ")).collect();
    // Who has not been announced is not known.
    let unknown: Vec<Client> = (0..3).map(|_| Client::silent(address)).collect();
    let all = (slow.len() + unknown.len()) as u64;
    until("all are there", || handshaking(&engine) == all);
    until("all are counted", || {
        let (status, _) = answered(&mut ask("192.0.2.7", &request("")));
        assert!(status == 429 || status == 101, "{status}");
        if status == 101 {
            // It may have come before one of those, which was turned away then.
            slow.push(ask("192.0.2.7", "GET "));
            until("it is gone", || engine.connections() == 0);
        }
        status == 429
    });
    assert_eq!(answered(&mut ask("192.0.2.8", &request(""))).0, 101);
    drop(slow);
    until("there is room", || {
        answered(&mut ask("192.0.2.7", &request(""))).0 == 101
    });
}

#[test]
fn on_tls_one_handshake_too_many_of_an_address_is_cut() {
    let _alone = alone();
    let (authority, tls) = tls();
    let settings = config().max_connections_per_ip(2);
    let engine = start(
        settings.handshake_timeout(Duration::from_secs(60)),
        Some(tls),
    );
    let address = engine.local_addr().unwrap();
    let slow: Vec<Client> = (0..OF_ONE).map(|_| Client::silent(address)).collect();
    until("all are counted", || handshaking(&engine) == OF_ONE as u64);
    let end = Client::silent(address).hear();
    assert!(matches!(end, Heard::End | Heard::Reset), "{end:?}");
    until("it is counted", || rejected(&engine, Rejection::PerIp) == 1);
    drop(slow);
    until("there is room", || {
        upgrade_over_tls(&authority, address).starts_with("HTTP/1.1 101 ")
    });
}

/// What is held is the whole process's: tests that hold much, and one that looks at it, come one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tls() -> (Authority, Tls) {
    let authority = Authority::new();
    let signed = authority.sign(SERVER);
    let tls = Tls::new(Credentials::pem(&signed.certificate, &signed.key)).unwrap();
    (authority, tls)
}

#[test]
fn on_tls_one_handshake_too_many_is_cut() {
    let (authority, tls) = tls();
    let settings = config().max_handshakes(2);
    let engine = start(
        settings.handshake_timeout(Duration::from_millis(500)),
        Some(tls),
    );
    let address = engine.local_addr().unwrap();
    let slow: Vec<Client> = (0..2).map(|_| Client::silent(address)).collect();
    until("one more is cut", || {
        let mut client = Client::silent(address);
        let end = client.hear();
        assert!(matches!(end, Heard::End | Heard::Reset), "{end:?}");
        rejected(&engine, Rejection::Handshakes) > 0
    });
    drop(slow);
    until("there is room", || {
        upgrade_over_tls(&authority, address).starts_with("HTTP/1.1 101 ")
    });
}

/// The head that a request is answered with over TLS; empty where there is none.
fn upgrade_over_tls(authority: &Authority, address: SocketAddr) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let Ok(mut stream) = authority.connect(stream).await else {
            return String::new();
        };
        let mut head = Vec::new();
        let _ = stream.write_all(request("").as_bytes()).await;
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return String::new(),
            }
        }
        String::from_utf8(head).unwrap()
    })
}

#[test]
fn a_full_engine_says_so_in_clear_and_over_tls() {
    let engine = start(config().max_connections(1), None);
    let address = engine.local_addr().unwrap();
    let _inside = Client::connect(address);
    let mut client = Client::silent(address);
    client.write(request("").as_bytes());
    let (status, head) = answered(&mut client);
    assert_eq!(status, 503, "{head}");
    assert!(head.contains("Retry-After: "), "{head}");

    let (authority, tls) = tls();
    let engine = start(config().max_connections(1), Some(tls));
    let address = engine.local_addr().unwrap();
    // A silent one has the seat.
    let _inside = Client::silent(address);
    until("it has", || {
        let head = upgrade_over_tls(&authority, address);
        head.starts_with("HTTP/1.1 503 ") && head.contains("Retry-After: ")
    });
}

#[test]
fn an_engine_short_of_memory_says_so_in_clear_and_over_tls() {
    let _alone = alone();
    let settings = || {
        config()
            .memory_budget(4 << 20)
            .max_message_size(100 << 10)
            .handshake_timeout(Duration::from_secs(60))
    };
    let (authority, tls) = tls();
    let (plain, secure) = (start(settings(), None), start(settings(), Some(tls)));
    let mut hoarders = Vec::new();
    let mut told = String::new();
    until("the budget is nearly used up", || {
        // A message that never ends is kept. It is small, next to what lies between refusing and
        // giving up who holds most: nobody is given up, which would make room.
        let mut hoarder = Client::silent(plain.local_addr().unwrap());
        hoarder.write(request("").as_bytes());
        told = answered(&mut hoarder).1;
        if told.starts_with("HTTP/1.1 101 ") {
            hoarder.write(&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0x80, 0, 0, 0, 0, 0]);
            let _ = hoarder.write_some(&vec![0; 95 << 10]);
            hoarders.push(hoarder);
        }
        told.starts_with("HTTP/1.1 503 ")
    });
    assert!(told.contains("Retry-After: "), "{told}");
    // What is held is the whole process's.
    until("it is told over TLS", || {
        let head = upgrade_over_tls(&authority, secure.local_addr().unwrap());
        head.starts_with("HTTP/1.1 503 ") && head.contains("Retry-After: ")
    });
    assert_eq!(plain.metrics().memory.shed, 0);
    drop(hoarders);
    until("there is room", || {
        upgrade_over_tls(&authority, secure.local_addr().unwrap()).starts_with("HTTP/1.1 101 ")
    });
}

#[test]
fn a_bound_out_of_range_is_an_error() {
    let builder = Engine::builder().bind("127.0.0.1:0").unwrap();
    let builder = builder.config(config().max_handshakes(0));
    let error = builder.on_message(|_, _| {}).start().unwrap_err();
    assert_eq!(
        error.to_string(),
        "max_handshakes: 0 is out of range: must be between 1 and 16777216"
    );
}
