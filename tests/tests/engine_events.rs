//! What observers are told: each kind of event, in order, without ever holding up a shard.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use throng::protocol::frame::OpCode;
use throng::{
    Cause, ErrorKind, Event, EventKinds, Events, Overflow, Peer, Rejection, RoomOptions, Subject,
    SubscribeError,
};
use throng_tests::engine::{
    Client, Heard, PATIENCE, Served, answer, config, request, serve, until,
};

const ALL: EventKinds = EventKinds::ALL;

fn subscribe(served: &Served, kinds: EventKinds) -> Events {
    served.engine.subscribe(kinds, 10_000).unwrap()
}

fn next(events: &mut Events) -> Event {
    events.recv_timeout(PATIENCE).expect("an event")
}

fn next_subject(events: &mut Events) -> Subject {
    next(events).connection().expect("of a connection").clone()
}

#[test]
fn a_life_is_told_in_order() {
    let served = serve(config());
    let mut events = subscribe(&served, ALL);
    let mut client = Client::silent(served.address());
    client.upgrade(&request("").replace("/path?query=1", "/accept"));
    let Event::Connected { connection: ann } = next(&mut events) else {
        panic!("it is connected first")
    };
    assert_eq!(ann.user.as_deref(), Some("ann"));
    assert_eq!(ann.peer, Peer::Tcp(client.local_addr()));
    assert_eq!(client.ask("!join tea"), "Ok(())");
    assert_eq!(client.ask("!leave tea"), "true");
    client.binary(&[0; 300]);
    assert_eq!(client.hear(), Heard::Binary(vec![0; 300]));
    assert_eq!(client.ask("!join milk"), "Ok(())");
    client.close(1000, "bye");
    let message = |bytes, is_text| Event::Message {
        connection: ann.clone(),
        bytes,
        is_text,
    };
    let joined = |room: &str| Event::Joined {
        connection: ann.clone(),
        room: room.into(),
    };
    let left = |room: &str| Event::Left {
        connection: ann.clone(),
        room: room.into(),
    };
    let created = |room: &str| Event::RoomCreated { room: room.into() };
    let removed = |room: &str| Event::RoomRemoved { room: room.into() };
    for expected in [
        message(9, true),
        created("tea"),
        joined("tea"),
        message(10, true),
        left("tea"),
        removed("tea"),
        message(300, false),
        message(10, true),
        created("milk"),
        joined("milk"),
        left("milk"),
        removed("milk"),
    ] {
        assert_eq!(next(&mut events), expected);
    }
    is_told_last(&mut events, &ann);
}

fn is_told_last(events: &mut Events, ann: &Subject) {
    let Event::Disconnected {
        connection,
        cause,
        counts,
        duration,
    } = next(events)
    else {
        panic!("it is disconnected last")
    };
    assert_eq!(connection, *ann);
    assert!(matches!(cause, Cause::PeerClosed { reason, .. } if reason == "bye"));
    assert_eq!((counts.messages_in, counts.bytes_in), (4, 329));
    assert!(duration < PATIENCE);
    assert!(events.is_empty());
    assert_eq!(events.dropped(), 0);
}

#[test]
fn rooms_that_are_created_are_told() {
    let served = serve(config());
    let rooms = EventKinds::ROOM_CREATED | EventKinds::ROOM_REMOVED;
    let mut events = subscribe(&served, rooms);
    served
        .engine
        .create_room("kept", RoomOptions::new())
        .unwrap();
    assert!(
        served
            .engine
            .create_room("kept", RoomOptions::new())
            .is_err()
    );
    let mut client = served.connect();
    assert_eq!(client.ask("!join kept"), "Ok(())");
    assert_eq!(client.ask("!leave kept"), "true");
    assert!(served.engine.forget_room("kept"));
    let room: Arc<str> = "kept".into();
    let created = Event::RoomCreated { room: room.clone() };
    assert_eq!(next(&mut events), created);
    assert_eq!(next(&mut events), Event::RoomRemoved { room });
    assert_eq!(events.try_recv(), None);
}

#[test]
fn rejections_are_told() {
    let served = serve(config());
    let mut events = subscribe(&served, EventKinds::HANDSHAKE_REJECTED);
    let reject = request("").replace("/path?query=1", "/reject");
    answer(&served, reject.as_bytes());
    let told = next(&mut events);
    assert!(
        matches!(
            told,
            Event::HandshakeRejected {
                rejection: Rejection::Service,
                status: Some(418),
                ..
            }
        ),
        "{told:?}"
    );
    let silent = Client::silent(served.address());
    let address = silent.local_addr();
    drop(silent);
    let gone = Event::HandshakeRejected {
        peer: Peer::Tcp(address),
        client: Some(address.ip()),
        rejection: Rejection::Abandoned,
        status: None,
    };
    assert_eq!(next(&mut events), gone);
}

#[test]
fn errors_are_told_with_their_connection() {
    let served = serve(config().max_message_size(100));
    let mut events = subscribe(&served, EventKinds::ERROR | EventKinds::CONNECTED);
    let mut next_error = |cause: &dyn Fn(&mut Client)| {
        let mut client = served.connect();
        let connected = next_subject(&mut events);
        cause(&mut client);
        let Event::Error { connection, error } = next(&mut events) else {
            panic!("no error")
        };
        assert_eq!(connection, Some(connected));
        error
    };
    let fault = next_error(&|client| client.frame(true, OpCode::Continuation, b""));
    assert_eq!(fault, ErrorKind::Protocol);
    let fault = next_error(&|client| client.binary(&[0; 101]));
    assert_eq!(fault, ErrorKind::TooBig);
    let fault = next_error(&|client| client.text("!panic"));
    assert_eq!(fault, ErrorKind::Panic);
    let fault = next_error(&|client| client.text("!invalid"));
    assert_eq!(fault, ErrorKind::InvalidMessage);
    let panic = request("").replace("/path?query=1", "/panic");
    answer(&served, panic.as_bytes());
    let before = Event::Error {
        connection: None,
        error: ErrorKind::Panic,
    };
    assert_eq!(next(&mut events), before);
}

/// Has somebody who reads nothing be sent far more than waits for it.
fn flood(served: &Served) -> (Client, Client) {
    let mut slow = Client::connect_small(served.address());
    assert_eq!(slow.ask("!join tea"), "Ok(())");
    let mut publisher = served.connect();
    for number in 0..1500 {
        publisher.text(&format!("!pad tea {number} 16384"));
    }
    publisher.ask("done");
    (slow, publisher)
}

#[test]
fn slow_consumers_are_told() {
    let limits = config().send_queue_messages(20).send_queue_bytes(64 << 20);
    let served = serve(limits.clone().overflow(Overflow::DropOldest));
    let mut events = subscribe(&served, EventKinds::SLOW_CONSUMER);
    let (mut slow, _publisher) = flood(&served);
    slow.text("the end");
    while slow.hear() != Heard::Text("the end".into()) {}
    let mut lost = 0;
    drop(slow);
    let dropped = std::iter::repeat_with(|| served.next_close().1.counts.dropped);
    let dropped = { dropped }.find(|dropped| *dropped > 0).unwrap();
    while lost < dropped {
        let told = next(&mut events);
        let Event::SlowConsumer {
            lost: more,
            is_given_up: false,
            ..
        } = told
        else {
            panic!("{told:?}")
        };
        lost += more;
    }
    assert_eq!(lost, dropped);

    let served = serve(limits);
    let mut events = subscribe(&served, EventKinds::SLOW_CONSUMER);
    let (_slow, _publisher) = flood(&served);
    let told = next(&mut events);
    assert!(
        matches!(told, Event::SlowConsumer { lost, is_given_up: true, .. } if lost > 0),
        "{told:?}"
    );
}

/// Whoever does not take its events loses them, and nobody else notices.
#[test]
fn a_full_queue_drops_and_counts() {
    let served = serve(config());
    let lazy = served.engine.subscribe(EventKinds::MESSAGE, 10).unwrap();
    let mut busy = subscribe(&served, EventKinds::MESSAGE);
    let mut client = served.connect();
    for _ in 0..100 {
        client.ask("hello");
    }
    assert_eq!((lazy.len(), lazy.dropped()), (10, 90));
    assert_eq!(served.engine.metrics().events_dropped, 90);
    for _ in 0..100 {
        next(&mut busy);
    }
    assert_eq!(busy.dropped(), 0);
    drop(lazy);
    client.ask("hello");
    client.ask("hello");
    assert_eq!(served.engine.metrics().events_dropped, 90);
}

#[test]
fn events_of_each_shard_are_in_order() {
    let served = serve(config().shards(4));
    let mut events = subscribe(&served, EventKinds::MESSAGE);
    let address = served.address();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            thread::spawn(move || {
                let mut client = Client::connect(address);
                for size in 1..=200 {
                    client.binary(&vec![0; size]);
                    client.hear();
                }
            })
        })
        .collect();
    let mut sizes = std::collections::HashMap::new();
    for _ in 0..8 * 200 {
        let Event::Message {
            connection, bytes, ..
        } = next(&mut events)
        else {
            panic!("only messages are wanted")
        };
        let last = sizes.insert(connection.id, bytes).unwrap_or(0);
        assert_eq!(bytes, last + 1);
    }
    clients.into_iter().for_each(|it| it.join().unwrap());
}

#[test]
fn what_cannot_be_had_is_refused() {
    let served = serve(config());
    let engine = &served.engine;
    for capacity in [0, (1 << 20) + 1] {
        let refused = engine.subscribe(ALL, capacity).unwrap_err();
        assert_eq!(refused, SubscribeError::Capacity { capacity });
        assert!(refused.to_string().contains("1 to 1048576"), "{refused}");
    }
    let many: Vec<Events> = (0..64).map(|_| subscribe(&served, ALL)).collect();
    assert_eq!(
        engine.subscribe(ALL, 1).unwrap_err(),
        SubscribeError::TooMany
    );
    drop(many);
    let _again = subscribe(&served, ALL);
    let handle = engine.handle();
    drop(served);
    assert_eq!(
        handle.subscribe(ALL, 1).unwrap_err(),
        SubscribeError::Stopped
    );
}

#[test]
fn events_end_with_the_engine() {
    let served = serve(config());
    let mut events = subscribe(&served, EventKinds::CONNECTED);
    let _client = served.connect();
    let reading = thread::spawn(move || {
        assert!(events.recv().is_some());
        assert!(events.recv().is_none(), "the engine has stopped");
        assert!(events.try_recv().is_none());
    });
    drop(served);
    reading.join().unwrap();
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_task_is_woken_once_there_is_an_event() {
    let served = serve(config());
    let mut events = subscribe(&served, EventKinds::CONNECTED);
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&count));
    let mut context = Context::from_waker(&waker);
    let mut poll = || {
        let mut next = std::pin::pin!(events.next());
        next.as_mut().poll(&mut context)
    };
    assert!(poll().is_pending());
    assert!(poll().is_pending());
    let _client = served.connect();
    until("it is woken", || count.0.load(Ordering::SeqCst) == 1);
    assert!(matches!(poll(), Poll::Ready(Some(Event::Connected { .. }))));
    assert!(poll().is_pending());
    drop(served);
    until("it is woken again", || count.0.load(Ordering::SeqCst) == 2);
    assert_eq!(poll(), Poll::Ready(None));
}

#[tokio::test]
async fn tasks_of_tokio_may_wait() {
    let served = serve(config());
    let mut events = subscribe(&served, EventKinds::MESSAGE);
    let address = served.address();
    let client = thread::spawn(move || {
        let mut client = Client::connect(address);
        for _ in 0..1000 {
            client.ask("hello");
        }
    });
    let all = async {
        for _ in 0..1000 {
            assert!(events.next().await.is_some());
        }
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap();
    client.join().unwrap();
    let mut pending = std::pin::pin!(events.next());
    let nothing = poll_fn(|context| Poll::Ready(pending.as_mut().poll(context).is_pending()));
    assert!(nothing.await);
}

/// A waker is the service's code: one that calls the engine, or panics, harms nobody.
#[test]
fn a_waker_may_do_anything() {
    struct Curious(throng::EngineHandle, AtomicUsize);
    impl Wake for Curious {
        fn wake(self: Arc<Self>) {
            drop(self.0.subscribe(EventKinds::ALL, 1));
            assert!(self.0.room_count() < 100);
            self.1.fetch_add(1, Ordering::SeqCst);
            panic!("as wakers should not");
        }
    }
    let served = serve(config());
    let rooms = EventKinds::ROOM_CREATED | EventKinds::JOINED;
    let mut events = subscribe(&served, rooms);
    let curious = Arc::new(Curious(served.engine.handle(), AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&curious));
    let mut client = served.connect();
    for number in 0..10 {
        while events.try_recv().is_some() {}
        let mut next = std::pin::pin!(events.next());
        let mut context = Context::from_waker(&waker);
        assert!(next.as_mut().poll(&mut context).is_pending());
        assert_eq!(client.ask(&format!("!join room-{number}")), "Ok(())");
    }
    assert_eq!(curious.1.load(Ordering::SeqCst), 10);
    assert_eq!(
        events.recv_timeout(Duration::ZERO).unwrap().kind(),
        EventKinds::ROOM_CREATED
    );
}
