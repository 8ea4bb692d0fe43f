//! Where an engine listens, and what it says when it cannot.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::net::TcpListener;
use std::sync::mpsc::channel;

use throng::{Builder, Config, Engine, Handler, StartError};
use throng_tests::engine::{Client, Heard, Obedient, Served, config, serve};

fn builder() -> Builder<impl Handler> {
    let (reports, _) = channel();
    Engine::builder()
        .config(config())
        .handler(Obedient::new(reports))
}

#[test]
fn several_addresses_serve_as_one() {
    let builder = builder()
        .bind("127.0.0.1:0")
        .unwrap()
        .bind(("127.0.0.1", 0))
        .unwrap();
    let engine = builder.start().unwrap();
    let addresses = engine.local_addrs().to_vec();
    assert_eq!(addresses.len(), 2);
    assert_eq!(engine.local_addr(), Some(addresses[0]));
    let mut clients: Vec<Client> = addresses.into_iter().map(Client::connect).collect();
    for client in &mut clients {
        assert_eq!(client.ask("!join tea"), "Ok(())");
    }
    assert_eq!(engine.room_len("tea"), 2);
}

#[test]
fn an_inherited_listener_is_served_by_all_shards() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let engine = builder()
        .config(config().shards(4))
        .listener(listener)
        .start()
        .unwrap();
    assert_eq!(engine.local_addr(), Some(address));
    assert_eq!(shards_used((0..16).map(|_| Client::connect(address))), 4);
}

#[test]
fn every_shard_of_a_port_gets_connections() {
    let served = serve(config().shards(2));
    assert_eq!(shards_used((0..64).map(|_| served.connect())), 2);
}

/// How many shards the clients are on: what stands above slot and generation in their ids.
fn shards_used(clients: impl Iterator<Item = Client>) -> usize {
    const SLOT_AND_GENERATION: u32 = 24 + 31;
    let mut clients: Vec<Client> = clients.collect();
    let shards = clients
        .iter_mut()
        .map(|client| client.ask("!id").parse::<u64>().unwrap() >> SLOT_AND_GENERATION);
    let mut shards: Vec<u64> = shards.collect();
    shards.sort_unstable();
    shards.dedup();
    shards.len()
}

#[cfg(unix)]
#[test]
fn unix_sockets_are_served_by_all_shards() {
    let folder = tempfile::tempdir().unwrap();
    let (bound, inherited) = (folder.path().join("bound"), folder.path().join("inherited"));
    let listener = std::os::unix::net::UnixListener::bind(&inherited).unwrap();
    let builder = builder()
        .config(config().shards(2))
        .unix(&bound)
        .unix_listener(listener);
    let engine = builder.start().unwrap();
    assert_eq!(engine.local_addr(), None);
    for path in [&bound, &inherited] {
        assert_eq!(Client::connect_unix(path).ask("hello"), "hello");
        assert_eq!(shards_used((0..4).map(|_| Client::connect_unix(path))), 2);
    }
}

#[cfg(unix)]
#[test]
fn unix_and_tcp_serve_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let engine = builder()
        .bind("127.0.0.1:0")
        .unwrap()
        .unix(&path)
        .start()
        .unwrap();
    let mut over_unix = Client::connect_unix(&path);
    let mut over_tcp = Client::connect(engine.local_addr().unwrap());
    assert_eq!(over_unix.ask("!peer"), "Unix");
    assert_eq!(
        over_tcp.ask("!peer"),
        format!("Tcp({})", over_tcp.local_addr())
    );
    for client in [&mut over_unix, &mut over_tcp] {
        assert_eq!(client.ask("!join tea"), "Ok(())");
    }
    engine.to("tea").text("to both").publish().unwrap();
    for client in [&mut over_unix, &mut over_tcp] {
        assert_eq!(client.hear(), Heard::Text("to both".into()));
    }
}

fn error(result: Result<Engine, StartError>) -> StartError {
    match result {
        Ok(_) => panic!("it starts"),
        Err(error) => error,
    }
}

#[test]
fn what_cannot_be_listened_on_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let refused = error(builder().bind(address).unwrap().start());
    assert!(matches!(refused, StartError::Listen { .. }), "{refused:?}");
    assert!(
        refused.to_string().contains(&address.to_string()),
        "{refused}"
    );
    let refused = builder().bind("nowhere").err().expect("no address");
    assert!(refused.to_string().contains("nowhere"), "{refused}");
    assert!(matches!(
        error(builder().start()),
        StartError::NowhereToListen
    ));
}

/// What was bound before something was refused is free again.
#[test]
fn an_engine_that_does_not_start_leaves_nothing_behind() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let refused = builder().bind([free, address].as_slice()).unwrap().start();
    assert!(error(refused).to_string().contains(&address.to_string()));
    TcpListener::bind(free).unwrap();
}

#[cfg(unix)]
#[test]
fn a_unix_socket_that_is_there_is_not_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "somebody's").unwrap();
    let refused = error(builder().unix(&path).start());
    assert!(matches!(refused, StartError::Listen { .. }), "{refused:?}");
    assert!(
        refused.to_string().contains(path.to_str().unwrap()),
        "{refused}"
    );
    assert_eq!(std::fs::read_to_string(path).unwrap(), "somebody's");
}

#[test]
fn settings_are_checked_before_anything_is_bound() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let bad: [(Config, &str); 4] = [
        (config().shards(0), "shards"),
        (config().send_queue_messages(0), "send_queue_messages"),
        (config().max_frame_size(1 << 20), "max_frame_size"),
        (config().subprotocols(["a b"]), "subprotocols"),
    ];
    for (config, field) in bad {
        let builder = builder().bind(taken.local_addr().unwrap()).unwrap();
        match error(builder.config(config).start()) {
            StartError::Config(error) => assert_eq!(error.field(), Some(field)),
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[test]
fn a_port_is_free_again_when_its_engine_is_dropped() {
    let first = serve(config());
    let address = first.address();
    drop(first);
    let second: Served = {
        let (reports, happenings) = channel();
        let builder = Engine::builder().bind(address).unwrap().config(config());
        let engine = builder.handler(Obedient::new(reports)).start().unwrap();
        Served { engine, happenings }
    };
    assert_eq!(second.connect().ask("hello"), "hello");
}

/// Shards of one engine share its port; nobody else does.
#[test]
fn a_port_is_one_engines() {
    let served = serve(config().shards(2));
    let second = Engine::builder()
        .bind(served.address())
        .unwrap()
        .config(config().shards(2))
        .on_message(|_, _| ())
        .start();
    let error = second.expect_err("the port is taken").to_string();
    assert!(error.contains(&served.address().to_string()), "{error}");
    assert_eq!(served.connect().ask("hello"), "hello");
}

#[cfg(unix)]
#[test]
fn an_engine_that_does_not_start_leaves_no_file_behind() {
    let served = serve(config());
    let path = std::env::temp_dir().join(format!("throng-{}-left.sock", std::process::id()));
    let attempt = || Engine::builder().unix(&path).config(config());
    let failed = attempt()
        .bind(served.address())
        .unwrap()
        .on_message(|_, _| ())
        .start();
    assert!(failed.is_err());
    drop(attempt().on_message(|_, _| ()).start().unwrap());
    std::fs::remove_file(&path).unwrap();
}
