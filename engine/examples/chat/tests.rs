//! The chat, over real sockets.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use throng::{Config, Engine, Overflow};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::protocol::{MAX_CONTENT, MAX_NAME};
use crate::start;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn connect(engine: &Engine) -> Client {
        let url = format!("ws://{}/chat", engine.local_addr().unwrap());
        Client(connect_async(url).await.unwrap().0)
    }

    /// A client that has said hello.
    async fn named(engine: &Engine, name: &str) -> Client {
        let mut client = Client::connect(engine).await;
        client.ask(json!({"type": "hello", "name": name})).await;
        assert_eq!(
            client.hear().await,
            json!({"type": "welcome", "name": name})
        );
        client
    }

    async fn ask(&mut self, request: Value) {
        self.0
            .send(Message::text(request.to_string()))
            .await
            .unwrap();
    }

    /// The next notice, pings aside.
    async fn hear(&mut self) -> Value {
        let text = loop {
            let next = timeout(PATIENCE, self.0.next()).await;
            if let Message::Text(text) = next.expect("nothing is heard").unwrap().unwrap() {
                break text;
            }
        };
        let mut value: Value = serde_json::from_str(&text).unwrap();
        if let Some(fields) = value.as_object_mut() {
            fields.remove("timestamp");
        }
        value
    }

    /// Hears what happens next to somebody.
    async fn hear_of(&mut self, name: &str) -> String {
        loop {
            let notice = self.hear().await;
            if notice["name"] == name {
                return notice["type"].as_str().unwrap().to_owned();
            }
        }
    }

    /// Joins a room and hears who is in it.
    async fn join(&mut self, room: &str, name: &str, members: &[&str]) {
        self.ask(json!({"type": "join", "room": room})).await;
        assert_eq!(
            self.hear().await,
            json!({"type": "joined", "room": room, "name": name})
        );
        assert_eq!(
            self.hear().await,
            json!({"type": "members", "room": room, "names": members})
        );
    }

    async fn assert_refused(&mut self, request: Value, code: &str) {
        self.ask(request).await;
        let notice = self.hear().await;
        assert_eq!(
            (&notice["type"], &notice["code"]),
            (&json!("error"), &json!(code)),
            "{notice}"
        );
    }
}

fn chat() -> Engine {
    start(
        "127.0.0.1:0",
        Config::default().shards(2).max_rooms_per_connection(2),
    )
    .unwrap()
}

#[tokio::test]
async fn what_is_said_in_a_room_is_heard_there_and_nowhere_else() {
    let engine = chat();
    let mut ann = Client::named(&engine, "Ann").await;
    let mut bob = Client::named(&engine, "Bob").await;
    let mut eve = Client::named(&engine, "Eve").await;
    ann.join("tea", "Ann", &["Ann"]).await;
    bob.join("tea", "Bob", &["Ann", "Bob"]).await;
    assert_eq!(
        ann.hear().await,
        json!({"type": "joined", "room": "tea", "name": "Bob"})
    );
    eve.join("ale", "Eve", &["Eve"]).await;

    let said = json!({"type": "chat", "room": "tea", "content": "hello <b>all</b>"});
    ann.ask(said).await;
    let heard =
        json!({"type": "chat", "room": "tea", "from": "Ann", "content": "hello <b>all</b>"});
    assert_eq!(ann.hear().await, heard);
    assert_eq!(bob.hear().await, heard);

    bob.ask(json!({"type": "private", "to": "Eve", "content": "psst"}))
        .await;
    let heard = json!({"type": "private", "from": "Bob", "to": "Eve", "content": "psst"});
    assert_eq!(bob.hear().await, heard);
    assert_eq!(
        eve.hear().await,
        heard,
        "and nothing of what was said over tea"
    );
}

#[tokio::test]
async fn who_leaves_is_missed() {
    let engine = chat();
    let mut ann = Client::named(&engine, "Ann").await;
    ann.join("tea", "Ann", &["Ann"]).await;
    for (why, name) in [("left", "Bob"), ("lost the connection", "Rob")] {
        let mut bob = Client::named(&engine, name).await;
        bob.join("tea", name, &["Ann", name]).await;
        assert_eq!(ann.hear().await["type"], "joined");
        if why == "left" {
            bob.0.close(None).await.unwrap();
        }
        drop(bob);
        let left = json!({"type": "left", "room": "tea", "name": name, "why": why});
        assert_eq!(ann.hear().await, left);
    }
    ann.ask(json!({"type": "members", "room": "tea"})).await;
    assert_eq!(ann.hear().await["names"], json!(["Ann"]));
    ann.ask(json!({"type": "leave", "room": "tea"})).await;
    assert_eq!(
        ann.hear().await,
        json!({"type": "left", "room": "tea", "name": "Ann", "why": ""})
    );
    ann.assert_refused(json!({"type": "members", "room": "tea"}), "not_member")
        .await;
}

#[tokio::test]
async fn a_name_is_free_once_everybody_has_been_told() {
    /// So many that telling them all takes a while, in which somebody could take the name.
    const OTHER_ROOMS: usize = 6000;
    let engine = start("127.0.0.1:0", Config::default().shards(2)).unwrap();
    let mut ann = Client::named(&engine, "Ann").await;
    for number in 0..OTHER_ROOMS {
        ann.join(&format!("room {number}"), "Ann", &["Ann"]).await;
    }
    // So many that some are surely on the other shard.
    let mut watchers = Vec::new();
    for number in 0..8 {
        let name = format!("Eve {number}");
        let mut watcher = Client::named(&engine, &name).await;
        watcher.ask(json!({"type": "join", "room": "tea"})).await;
        assert_eq!(watcher.hear_of(&name).await, "joined");
        watchers.push(watcher);
    }
    ann.ask(json!({"type": "join", "room": "tea"})).await;
    for watcher in &mut watchers {
        assert_eq!(watcher.hear_of("Ann").await, "joined");
    }
    let mut next = JoinSet::new();
    for _ in 0..8 {
        let mut client = Client::connect(&engine).await;
        next.spawn(async move {
            loop {
                client.ask(json!({"type": "hello", "name": "Ann"})).await;
                if client.hear().await["type"] == "welcome" {
                    client.ask(json!({"type": "join", "room": "tea"})).await;
                    return client;
                }
            }
        });
    }
    drop(ann);
    let _next_ann = next.join_next().await.unwrap().unwrap();
    for watcher in &mut watchers {
        let heard = [watcher.hear_of("Ann").await, watcher.hear_of("Ann").await];
        assert_eq!(heard, ["left", "joined"]);
    }
}

#[tokio::test]
async fn whoever_writes_to_somebody_who_takes_nothing_is_told() {
    let config = Config::default().shards(1).overflow(Overflow::RefuseNewest);
    let engine = start("127.0.0.1:0", config).unwrap();
    let mut ann = Client::named(&engine, "Ann").await;
    let _bob = Client::named(&engine, "Bob").await;
    let content = "x".repeat(MAX_CONTENT);
    // Far more than his queue and the system's buffers hold.
    for _ in 0..20_000 {
        ann.ask(json!({"type": "private", "to": "Bob", "content": content}))
            .await;
        let heard = ann.hear().await;
        if heard["type"] != "private" {
            assert_eq!(heard["code"], "not_delivered", "{heard}");
            return;
        }
    }
    panic!("Bob cannot have taken all this");
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_a_code() {
    let engine = chat();
    let mut ann = Client::connect(&engine).await;
    ann.assert_refused(json!({"type": "join", "room": "tea"}), "no_name")
        .await;
    for name in ["", " ", "a/b", &"x".repeat(MAX_NAME + 1)] {
        ann.assert_refused(json!({"type": "hello", "name": name}), "bad_name")
            .await;
    }
    ann.ask(json!({"type": "hello", "name": "Ann"})).await;
    ann.hear().await;
    ann.assert_refused(json!({"type": "hello", "name": "Anna"}), "named")
        .await;
    ann.assert_refused(json!({"type": "sing"}), "malformed")
        .await;
    ann.assert_refused(json!({"type": "join"}), "malformed")
        .await;
    ann.assert_refused(json!([1, 2]), "malformed").await;
    ann.assert_refused(json!({"type": "join", "room": "#"}), "bad_name")
        .await;
    let chat = |content: &str| json!({"type": "chat", "room": "tea", "content": content});
    ann.assert_refused(chat("hello"), "not_member").await;
    ann.join("tea", "Ann", &["Ann"]).await;
    ann.assert_refused(chat("  "), "empty").await;
    ann.assert_refused(chat(&"x".repeat(MAX_CONTENT + 1)), "too_long")
        .await;
    let private = json!({"type": "private", "to": "Bob", "content": "psst"});
    ann.assert_refused(private, "nobody").await;
    ann.join("ale", "Ann", &["Ann"]).await;
    ann.assert_refused(json!({"type": "join", "room": "wine"}), "limit")
        .await;

    let mut second = Client::connect(&engine).await;
    second
        .assert_refused(json!({"type": "hello", "name": "Ann"}), "name_taken")
        .await;
    drop(ann);
    let gone = async {
        while engine.connections() > 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gone).await.expect("the first Ann goes");
    second.ask(json!({"type": "hello", "name": "Ann"})).await;
    assert_eq!(
        second.hear().await["type"],
        "welcome",
        "the name is free again"
    );
}

#[tokio::test]
async fn the_page_is_served_beside_the_chat() {
    let engine = chat();
    for (path, status, content) in [
        ("/", "200 OK", "<title>Throng chat</title>"),
        ("/healthz", "200 OK", ""),
        ("/nowhere", "404 Not Found", ""),
    ] {
        let mut stream = TcpStream::connect(engine.local_addr().unwrap())
            .await
            .unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{path}: {answer}"
        );
        assert!(answer.contains(content), "{path}: {answer}");
    }
}
