//! What hyper gives up: TCP and Unix sockets, and streams that are neither.

use std::time::Duration;

use throng::{Cause, CloseCode, Credentials, Engine, Tls};
use throng_tests::engine::{Client, Heard, Obedient, Served, beside, config, request, until};
use throng_tests::tls::{Authority, SERVER};

use super::mounted;
use super::servers::{Wrapped, runtime, serve, serve_all, serve_over};

#[test]
fn sockets_of_tcp_are_served_by_the_shards_themselves() {
    let served = mounted(config().shards(2));
    let server = serve_all(served.engine.handle());
    let mut clients: Vec<_> = (0..8).map(|_| Client::connect(server.address)).collect();
    // The server's part in them is over.
    served.until("all are open", |engine| engine.connections() == 8);
    server.runtime.shutdown_timeout(Duration::from_secs(10));
    for client in &mut clients {
        let own = client.local_addr();
        assert_eq!(client.ask("!peer"), format!("Tcp({own:?})"));
    }
}

#[cfg(unix)]
#[test]
fn unix_sockets_are_too() {
    let served = mounted(config());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let runtime = runtime();
    let listener = {
        let _entered = runtime.enter();
        tokio::net::UnixListener::bind(&path).unwrap()
    };
    let engine = served.engine.handle();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(engine.clone(), stream));
        }
    });
    let mut client = Client::connect_unix(&path);
    served.until("it is open", |engine| engine.connections() == 1);
    runtime.shutdown_timeout(Duration::from_secs(10));
    assert_eq!(client.ask("!peer"), "Unix");
}

#[test]
fn an_engine_that_speaks_tls_on_its_port_serves_mounted_sockets_as_they_are() {
    let authority = Authority::new();
    let signed = authority.sign(SERVER);
    let tls = Tls::new(Credentials::pem(&signed.certificate, &signed.key)).unwrap();
    let (reports, happenings) = std::sync::mpsc::channel();
    let builder = Engine::builder()
        .bind("127.0.0.1:0")
        .unwrap()
        .tls(tls)
        .config(config())
        .handler(Obedient::new(reports));
    let engine = beside(|| builder.start()).unwrap();
    let served = Served { engine, happenings };
    let server = serve_all(served.engine.handle());
    assert_eq!(Client::connect(server.address).ask("hello"), "hello");
}

#[cfg(unix)]
#[test]
fn other_streams_are_served_whole_in_both_directions() {
    let served = mounted(config().send_queue_bytes(8 << 20));
    let server = serve_over(served.engine.handle(), Wrapped);
    let mut client = Client::connect(server.address);
    assert_eq!(client.ask("hello"), "hello");
    assert_eq!(client.ask("!peer"), "Unix", "nobody has said who it is");
    for size in [1, 1000, 70_000, 500_000] {
        let bytes: Vec<u8> = (0..=250).cycle().take(size).collect();
        client.binary(&bytes);
        assert_eq!(client.hear(), Heard::Binary(bytes), "{size} bytes");
    }
    client.close(1000, "done");
    assert_eq!(client.expect_close(1000), "");
    let cause = served.next_cause();
    assert!(matches!(cause, Cause::PeerClosed { .. }), "{cause:?}");
}

#[cfg(unix)]
#[test]
fn other_streams_keep_the_end_of_either_side() {
    let served = mounted(config());
    let server = serve_over(served.engine.handle(), Wrapped);
    let mut client = Client::connect(server.address);
    // Our side ends; what was asked before is answered all the same.
    client.text("the last word");
    client.finish();
    assert_eq!(client.hear(), Heard::Text("the last word".into()));
    let rest = client.hear_all();
    assert_eq!(rest.last(), Some(&Heard::End), "{rest:?}");
    assert_eq!(served.next_cause(), Cause::PeerVanished);
    let mut client = Client::connect(server.address);
    client.text("!close 4000 enough");
    assert_eq!(client.expect_close(4000), "enough");
}

#[cfg(unix)]
#[test]
fn other_streams_do_not_hide_who_does_not_read() {
    let settings = config()
        .send_queue_bytes(1 << 20)
        .write_timeout(Duration::from_millis(500));
    let served = mounted(settings);
    let server = serve_over(served.engine.handle(), Wrapped);
    let mut client = Client::silent_small(server.address);
    client.upgrade(&request(""));
    let mut others = Client::connect(server.address);
    // More than all buffers on the way hold together: nothing moves any more.
    client.text("!flood 64 500000");
    let cause = served.next_cause();
    assert_eq!(cause, Cause::SlowConsumer);
    assert_eq!(others.ask("hello"), "hello");
    drop(client);
    until("one is left", || served.engine.connections() == 1);
}

#[cfg(unix)]
#[test]
fn other_streams_end_with_their_connection_though_the_client_is_silent() {
    let settings = config()
        .send_queue_bytes(1 << 20)
        .close_timeout(Duration::from_millis(50))
        .write_timeout(Duration::from_millis(100));
    let served = mounted(settings);
    let server = serve_over(served.engine.handle(), Wrapped);
    let tasks = server.runtime.metrics();
    // The one that accepts. This is counted once a connection's tasks are all over.
    let alone = || tasks.num_alive_tasks() == 1;
    until("it listens", alone);
    let mut silent = Client::connect(server.address);
    silent.text("!close 4000 enough");
    assert_eq!(
        served.next_cause(),
        Cause::Kicked {
            code: CloseCode::from(4000)
        }
    );
    let mut deaf = Client::silent_small(server.address);
    deaf.upgrade(&request(""));
    deaf.text("!flood 64 500000");
    assert_eq!(served.next_cause(), Cause::SlowConsumer);
    until("nothing is copied for them", alone);
    drop((silent, deaf));
}
