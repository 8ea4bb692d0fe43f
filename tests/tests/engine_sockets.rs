//! Connections as sockets, each in the hands of a future of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::pin::pin;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use throng::{
    Accept, Cause, CloseCode, Conn, Ended, Engine, OwnedMessage, Reject, SendError, WebSocket,
};
use throng_tests::engine::{Client, Heard, PATIENCE, config};

fn serve<F, Fut>(serve: F) -> Engine
where
    F: Fn(WebSocket) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let builder = Engine::builder().bind("127.0.0.1:0").unwrap();
    builder.config(config()).serve(serve).start().unwrap()
}

fn connect(engine: &Engine) -> Client {
    Client::connect(engine.local_addr().unwrap())
}

async fn echo(mut socket: WebSocket) {
    while let Some(message) = socket.recv().await {
        if socket.send(message).await.is_err() {
            return;
        }
    }
}

/// Tells how each ends, from any thread.
#[derive(Clone)]
struct Ends(Arc<Mutex<Sender<Option<Cause>>>>);

impl Ends {
    fn tell(&self, socket: &WebSocket) {
        let _ = self.0.lock().unwrap().send(socket.cause());
    }
}

#[test]
fn an_echo_takes_five_lines() {
    let engine = serve(echo);
    let mut client = connect(&engine);
    for round in 0..100 {
        assert_eq!(client.ask(&round.to_string()), round.to_string());
    }
    client.binary(&[7; 5000]);
    assert_eq!(client.hear(), Heard::Binary(vec![7; 5000]));
}

#[test]
fn what_arrives_at_once_is_received_in_order() {
    let engine = serve(echo);
    let mut client = connect(&engine);
    // Many times what may wait for a future, in few receives.
    let texts: Vec<String> = (0..5000)
        .map(|number| format!("message {number}"))
        .collect();
    let frames: Vec<u8> = texts
        .iter()
        .flat_map(|text| {
            let opcode = throng::protocol::frame::OpCode::Text;
            throng_tests::engine::frame(true, opcode, text.as_bytes())
        })
        .collect();
    let mut writer = client.writer();
    let writing = std::thread::spawn(move || {
        std::io::Write::write_all(&mut writer, &frames).unwrap();
    });
    for text in texts {
        assert_eq!(client.hear(), Heard::Text(text));
    }
    writing.join().unwrap();
}

#[test]
fn who_does_not_receive_is_not_sent_more() {
    let (go, gone) = channel::<()>();
    let gone = Arc::new(Mutex::new(gone));
    let engine = serve(move |mut socket| {
        let gone = Arc::clone(&gone);
        async move {
            let first = socket.recv().await.unwrap();
            socket.send(first).await.unwrap();
            // Receives nothing until it is told to.
            while gone.lock().unwrap().try_recv().is_err() {
                yield_now().await;
            }
            let mut bytes = 0;
            while let Some(OwnedMessage::Binary(message)) = socket.recv().await {
                bytes += message.len();
            }
            let _ = socket.send(bytes.to_string()).await;
            let _ = socket.with(move |conn| conn.counts()).await;
        }
    });
    let mut client = connect(&engine);
    assert_eq!(client.ask("begin"), "begin");
    let writer = client.writer();
    let (written, has_written) = channel();
    let writing = std::thread::spawn(move || {
        let mut writer = writer;
        for round in 0..200 {
            let frame = throng_tests::engine::frame(
                true,
                throng::protocol::frame::OpCode::Binary,
                &[1; 100_000],
            );
            std::io::Write::write_all(&mut writer, &frame).unwrap();
            let _ = written.send(round);
        }
    });
    // Twenty megabytes fit neither into the system's buffers nor into the engine's.
    let mut last = 0;
    while let Ok(round) = has_written.recv_timeout(Duration::from_millis(500)) {
        last = round;
    }
    assert!(last < 199, "all was taken");
    go.send(()).unwrap();
    writing.join().unwrap();
    client.text("enough");
    assert_eq!(client.hear(), Heard::Text("20000000".to_owned()));
}

/// Lets others go on.
async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(move |cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[test]
fn sending_waits_for_a_peer_that_does_not_read() {
    let (sent, progress) = channel();
    let sent = Arc::new(Mutex::new(sent));
    let engine = serve(move |mut socket| {
        let sent = Arc::clone(&sent);
        async move {
            for round in 0..2000_u32 {
                let bytes = vec![u8::try_from(round % 251).unwrap(); 10_000];
                if socket.send(bytes).await.is_err() {
                    return;
                }
                let _ = sent.lock().unwrap().send(round);
            }
        }
    });
    let mut client = Client::connect_small(engine.local_addr().unwrap());
    let mut last = 0;
    while let Ok(round) = progress.recv_timeout(Duration::from_millis(500)) {
        last = round;
    }
    assert!(last < 1999, "all was sent to nobody");
    for round in 0..2000_u32 {
        let bytes = vec![u8::try_from(round % 251).unwrap(); 10_000];
        assert_eq!(
            client.hear(),
            Heard::Binary(bytes),
            "{round}: nothing is dropped"
        );
    }
    assert_eq!(client.expect_close(1000), "");
}

#[test]
fn the_connection_ends_with_its_future() {
    let engine = serve(|mut socket| async move {
        socket.send("farewell").await.unwrap();
    });
    let mut client = connect(&engine);
    assert_eq!(client.hear(), Heard::Text("farewell".to_owned()));
    assert_eq!(client.expect_close(1000), "");

    let engine = serve(|mut socket| async move {
        socket.send("enough").await.unwrap();
        socket.close(CloseCode::POLICY, "as I like it").await;
    });
    let mut client = connect(&engine);
    assert_eq!(client.hear(), Heard::Text("enough".to_owned()));
    assert_eq!(client.expect_close(1008), "as I like it");
}

#[test]
fn the_future_goes_on_when_the_connection_ends() {
    let (ended, ends) = channel();
    let ends_of = Ends(Arc::new(Mutex::new(ended)));
    let engine = serve(move |mut socket| {
        let ends = ends_of.clone();
        async move {
            while let Some(message) = socket.recv().await {
                let _ = socket.send(message).await;
            }
            assert_eq!(socket.send("too late").await, Err(SendError::Ended(Ended)));
            assert_eq!(socket.with(|conn| conn.id()).await, Err(Ended));
            ends.tell(&socket);
        }
    });
    let mut client = connect(&engine);
    assert_eq!(client.ask("there"), "there");
    drop(client);
    let cause = ends.recv_timeout(PATIENCE).unwrap();
    assert_eq!(cause, Some(Cause::PeerVanished));

    let mut client = connect(&engine);
    assert_eq!(client.ask("there"), "there");
    client.close(1000, "done");
    client.expect_close(1000);
    let cause = ends.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(cause, Some(Cause::PeerClosed { .. })), "{cause:?}");
}

#[test]
fn what_had_arrived_is_received_after_the_end() {
    let (heard, was_heard) = channel();
    let heard = Arc::new(Mutex::new(heard));
    let engine = serve(move |mut socket| {
        let heard = Arc::clone(&heard);
        async move {
            while socket.cause().is_none() {
                yield_now().await;
            }
            while let Some(message) = socket.recv().await {
                let _ = heard.lock().unwrap().send(message);
            }
        }
    });
    let mut client = connect(&engine);
    client.text("last");
    client.text("words");
    client.close(1000, "");
    client.expect_close(1000);
    for word in ["last", "words"] {
        assert_eq!(was_heard.recv_timeout(PATIENCE), Ok(word.into()));
    }
}

#[test]
fn a_socket_may_be_used_on_other_threads() {
    let engine = serve(|mut socket| async move {
        let (done, is_done) = channel();
        std::thread::spawn(move || {
            pollster(async {
                while let Some(message) = socket.recv().await {
                    socket.send(message).await.unwrap();
                }
            });
            let _ = done.send(());
        });
        while is_done.try_recv().is_err() {
            yield_now().await;
        }
    });
    let mut client = connect(&engine);
    for round in 0..50 {
        assert_eq!(client.ask(&round.to_string()), round.to_string());
    }
}

/// Runs a future on this thread.
fn pollster<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut cx = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        std::thread::park();
    }
}

#[test]
fn things_are_done_with_the_connection_in_order() {
    let engine = serve(|mut socket| async move {
        socket.send("before").await.unwrap();
        let joined = socket.with(|conn| {
            conn.send("within");
            conn.join("tea")
        });
        assert_eq!(joined.await, Ok(Ok(())));
        socket.send("after").await.unwrap();
        while socket.recv().await.is_some() {}
    });
    let mut client = connect(&engine);
    for text in ["before", "within", "after"] {
        assert_eq!(client.hear(), Heard::Text(text.to_owned()));
    }
    engine.to("tea").text("for the room").publish().unwrap();
    assert_eq!(client.hear(), Heard::Text("for the room".to_owned()));
}

#[test]
fn what_an_upgrade_says_is_given_to_the_future() {
    let builder = Engine::builder().bind("127.0.0.1:0").unwrap();
    let engine = builder
        .config(config())
        .serve_with(
            |request| match request.header("X-Name") {
                Some(name) => Ok(Accept::new(name.to_owned()).user_id(name)),
                None => Err(Reject::new(403)),
            },
            |mut socket, name| async move {
                socket.send(format!("hello {name}")).await.unwrap();
                while socket.recv().await.is_some() {}
            },
        )
        .start()
        .unwrap();
    let address = engine.local_addr().unwrap();
    let mut ann = Client::connect_with(address, "X-Name: ann\r\n");
    assert_eq!(ann.hear(), Heard::Text("hello ann".to_owned()));
    engine.to_user("ann").text("for her").publish().unwrap();
    assert_eq!(ann.hear(), Heard::Text("for her".to_owned()));
    let mut nobody = Client::silent(address);
    nobody.write(throng_tests::engine::request("").as_bytes());
    assert!(nobody.read_head().starts_with("HTTP/1.1 403 "));
}

/// Polls it once, and has it woken by a waker that panics.
fn poll_badly<T>(future: impl Future<Output = T>) -> Poll<T> {
    struct Bad;
    impl Wake for Bad {
        fn wake(self: Arc<Self>) {
            panic!("as told");
        }
    }
    let waker = Arc::new(Bad).into();
    pin!(future).poll(&mut Context::from_waker(&waker))
}

/// Panics when it is dropped.
struct BadDrop;

impl Drop for BadDrop {
    fn drop(&mut self) {
        panic!("as told");
    }
}

#[test]
fn wakers_and_drops_that_panic_cost_the_one_connection() {
    let (ended, ends) = channel();
    let ends_of = Ends(Arc::new(Mutex::new(ended)));
    let engine = serve(move |mut socket| {
        let ends = ends_of.clone();
        async move {
            match socket.recv().await.unwrap().as_message().as_text() {
                // Waits for room, and the shard wakes it by that waker.
                Some("send") => while poll_badly(socket.send("filling")).is_ready() {},
                // What is to be done and is not is dropped, as the connection ends before.
                Some("undone") => {
                    let close = |conn: &mut Conn<'_, ()>| conn.close(CloseCode::NORMAL, "");
                    let _ = poll_badly(socket.with(close));
                    for _ in 0..3 {
                        let bad = BadDrop;
                        let _ = poll_badly(socket.with(move |_| drop(bad)));
                    }
                    let _ = poll_badly(socket.recv());
                }
                // Is woken in the course of another panic.
                Some("called") => {
                    let _ = poll_badly(socket.with(|_| panic!("as told")));
                }
                _ => return echo(socket).await,
            }
            while socket.cause().is_none() {
                yield_now().await;
            }
            ends.tell(&socket);
        }
    });
    let mut other = connect(&engine);
    other.text("begin");
    for (command, code) in [("send", 1011), ("undone", 1000), ("called", 1011)] {
        let mut client = connect(&engine);
        client.text(command);
        let closed = loop {
            match client.hear() {
                Heard::Text(text) => assert_eq!(text, "filling"),
                heard => break heard,
            }
        };
        assert!(
            matches!(closed, Heard::Close(Some(told), _) if told == code),
            "{closed:?}"
        );
        let cause = ends.recv_timeout(PATIENCE).unwrap();
        assert_eq!(
            cause == Some(Cause::HandlerPanicked),
            code == 1011,
            "{cause:?}"
        );
        assert_eq!(other.ask("unharmed"), "unharmed", "{command}");
    }
}

#[test]
fn a_panic_costs_the_one_connection() {
    let engine = serve(|mut socket| async move {
        let message = socket.recv().await;
        assert!(message != Some("panic".into()), "as told");
        if message == Some("panic within".into()) {
            let _ = socket.with(|_| panic!("as told")).await;
        }
        while let Some(message) = socket.recv().await {
            let _ = socket.send(message).await;
        }
    });
    let mut other = connect(&engine);
    other.text("begin");
    for panic in ["panic", "panic within"] {
        let mut client = connect(&engine);
        client.text(panic);
        assert_eq!(client.expect_close(1011), "internal error");
    }
    assert_eq!(other.ask("unharmed"), "unharmed");
}
