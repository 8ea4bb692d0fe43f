//! Where an engine listens, and what it says when it cannot.

use std::net::TcpListener;
use std::sync::mpsc::channel;

use throng::{Builder, Config, Engine, Handler, StartError};
use throng_tests::engine::{Client, Obedient, Served, config, serve};

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

/// How many shards the clients are on: the topmost byte of their ids.
fn shards_used(clients: impl Iterator<Item = Client>) -> usize {
    let mut clients: Vec<Client> = clients.collect();
    let shards = clients
        .iter_mut()
        .map(|client| client.ask("!id").parse::<u64>().unwrap() >> 55);
    let mut shards: Vec<u64> = shards.collect();
    shards.sort_unstable();
    shards.dedup();
    shards.len()
}

#[cfg(unix)]
mod unix {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};

    use throng_tests::engine::{PATIENCE, frame, request};

    use super::{builder, config};

    /// Upgrades and has one message echoed.
    fn assert_served(path: &std::path::Path) {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request("").as_bytes()).unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "));
        let opcode = throng::protocol::frame::OpCode::Text;
        stream.write_all(&frame(true, opcode, b"hello")).unwrap();
        let mut echo = [0; 7];
        stream.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"\x81\x05hello");
    }

    #[test]
    fn unix_sockets_are_served() {
        let folder = tempfile::tempdir().unwrap();
        let (bound, inherited) = (folder.path().join("bound"), folder.path().join("inherited"));
        let listener = UnixListener::bind(&inherited).unwrap();
        let builder = builder()
            .config(config().shards(2))
            .unix(&bound)
            .unix_listener(listener);
        let engine = builder.start().unwrap();
        assert_eq!(engine.local_addr(), None);
        for path in [&bound, &inherited, &bound, &inherited] {
            assert_served(path);
        }
    }
}

fn error(result: Result<Engine, StartError>) -> StartError {
    result.err().expect("it does not start")
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
