//! What is known of open connections.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use throng::{
    CloseCode, Conn, ConnectionId, ConnectionInfo, Engine, EngineHandle, MembersError, Message,
    OnShard, PublishError,
};
use throng_tests::engine::{Client, config, request, serve};

#[test]
fn pages_of_connections_are_all_of_them() {
    const CLIENTS: usize = 25;
    let served = serve(config().shards(3));
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| served.connect()).collect();
    let ids: BTreeSet<ConnectionId> = clients
        .iter_mut()
        .map(|client| ConnectionId::from_u64(client.ask("!id").parse().unwrap()))
        .collect();
    for size in [1, 4, 1000] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = served.engine.connections_after(after, size).unwrap();
            assert!(page.len() <= size);
            let Some(last) = page.last() else {
                break;
            };
            after = Some(last.id);
            found.extend(page.into_iter().map(|it| it.id));
        }
        assert_eq!(found.len(), CLIENTS, "nobody is listed twice, by {size}");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), ids);
    }
    assert_eq!(served.engine.connections_after(None, 0), Ok(Vec::new()));
    let nobody = ConnectionId::from_u64(u64::MAX);
    assert_eq!(
        served.engine.connections_after(Some(nobody), 9),
        Ok(Vec::new())
    );
}

#[test]
fn a_connection_is_told_as_it_is() {
    let served = serve(config());
    let mut client = Client::silent(served.address());
    client.upgrade(&request("").replace("/path?query=1", "/accept"));
    assert_eq!(client.ask("12345"), "12345");
    client.ask("!join tea");
    let id = ConnectionId::from_u64(client.ask("!id").parse().unwrap());
    let info: ConnectionInfo = served.engine.inspect(id).unwrap().unwrap();
    assert_eq!((info.id, info.rooms), (id, 1));
    assert_eq!(info.user_id.as_deref(), Some("ann"));
    assert_eq!(info.peer.address(), Some(client.local_addr()));
    assert_eq!(info.client, Some(client.local_addr().ip()));
    assert_eq!((info.counts.messages_in, info.counts.messages_out), (3, 3));
    assert!(!info.is_behind);
    assert_eq!(info.waiting.messages, 0);
    assert!(served.engine.slow_consumers(10).unwrap().is_empty());
    client.close(1000, "");
    served.next_close();
    assert_eq!(served.engine.inspect(id), Ok(None));
}

/// A handler that does on its shard what must not be done there.
fn serve_impatiently(outcomes: Sender<(Result<(), MembersError>, bool)>) -> Engine {
    let handle: Arc<OnceLock<EngineHandle>> = Arc::default();
    let (engine, outcomes) = (Arc::clone(&handle), Mutex::new(outcomes));
    let builder = Engine::builder().bind("127.0.0.1:0").unwrap();
    let on_message = move |conn: &mut Conn<'_, ()>, _: Message<'_>| {
        let engine = engine.get().unwrap();
        let asked = engine.inspect(conn.id()).map(drop);
        let drained = engine.drain_with(CloseCode::GOING_AWAY, Duration::ZERO);
        let outcome = (asked, drained == Err(OnShard));
        outcomes.lock().unwrap().send(outcome).unwrap();
    };
    let engine = builder.config(config()).on_message(on_message);
    let engine = engine.start().unwrap();
    handle.set(engine.handle()).unwrap();
    engine
}

#[test]
fn a_shard_does_not_wait_for_itself() {
    let (told, outcomes) = channel();
    let engine = serve_impatiently(told);
    let mut client = Client::connect(engine.local_addr().unwrap());
    client.text("now");
    assert_eq!(outcomes.recv().unwrap(), (Err(MembersError::OnShard), true));
    assert_eq!(engine.connections(), 1, "nothing was done");
}

#[test]
fn a_drain_may_be_asked_for_twice_and_the_sooner_end_holds() {
    let served = serve(config().shards(2));
    let mut clients: Vec<Client> = (0..8).map(|_| served.connect()).collect();
    served.until("all are open", |engine| engine.connections() == 8);
    let handle = served.engine.handle();
    let slow = handle.clone();
    // It would take an hour.
    let first = std::thread::spawn(move || {
        slow.drain_with(CloseCode::SERVICE_RESTART, Duration::from_secs(3600))
    });
    served.until("the drain has begun", |engine| engine.readiness().is_err());
    let second =
        std::thread::spawn(move || handle.drain_with(CloseCode::SERVICE_RESTART, Duration::ZERO));
    for client in &mut clients {
        client.expect_close(1012);
        client.finish();
    }
    let (first, second) = (first.join().unwrap(), second.join().unwrap());
    assert_eq!(first.unwrap().connections, 8);
    assert_eq!(second.unwrap().cut, 0);
    let stopped = served.engine.handle();
    served.engine.wait();
    assert_eq!(
        stopped.to_all().text("").publish(),
        Err(PublishError::Stopped)
    );
    assert_eq!(
        stopped.connections_after(None, 1),
        Err(MembersError::Stopped)
    );
}

#[test]
fn who_is_behind_is_listed_by_what_waits() {
    let served = serve(config().shards(1));
    let slow: Vec<Client> = (0..3)
        .map(|_| Client::connect_small(served.address()))
        .collect();
    served.until("all are open", |engine| engine.connections() == 3);
    let ids = served.engine.connections_after(None, 3).unwrap();
    let payload = vec![0; 64 * 1024];
    let send = |id| served.engine.connection(id).send(&payload[..]).unwrap();
    served.until("all are behind", |engine| {
        let behind = engine.slow_consumers(10).unwrap();
        let keeps_up = |id| behind.iter().all(|it| it.id != id);
        // The system takes some before anybody is behind.
        ids.iter()
            .map(|it| it.id)
            .filter(|id| keeps_up(*id))
            .for_each(send);
        behind.len() == 3
    });
    for _ in 0..3 {
        send(ids[1].id);
    }
    served.until("the second has most", |engine| {
        engine.slow_consumers(1).unwrap()[0].id == ids[1].id
    });
    let listed = served.engine.slow_consumers(10).unwrap();
    assert!(listed.is_sorted_by(|a, b| a.waiting >= b.waiting));
    assert!(listed.iter().all(|it| it.is_behind && it.waiting.bytes > 0));
    drop(slow);
}
