//! The chat, over real sockets.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use throng::{Config, Engine};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::service::{MAX_NAME, SHOWN};
use crate::start;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Notices that came before an answer.
    notices: Vec<Value>,
}

impl Client {
    async fn connect(engine: &Engine) -> Client {
        let url = format!("ws://{}/chat", engine.local_addr().unwrap());
        Client {
            socket: connect_async(url).await.unwrap().0,
            notices: Vec::new(),
        }
    }

    /// A client that is logged in.
    async fn named(engine: &Engine, name: &str) -> Client {
        let mut client = Client::connect(engine).await;
        let token = client.log_in(name).await;
        client.show(&token, name).await;
        client
    }

    async fn log_in(&mut self, name: &str) -> String {
        let answer = self.ask("login", json!({"name": name})).await;
        answer["data"]["token"].as_str().unwrap().to_owned()
    }

    async fn show(&mut self, token: &str, name: &str) {
        self.send(json!({"type": "auth", "token": token})).await;
        let heard = self.hear().await;
        assert_eq!(
            (&heard["type"], &heard["user_id"]),
            (&json!("auth_success"), &json!(name))
        );
    }

    async fn send(&mut self, message: Value) {
        self.socket
            .send(Message::text(message.to_string()))
            .await
            .unwrap();
    }

    /// The next message, pings aside.
    async fn hear(&mut self) -> Value {
        loop {
            let next = timeout(PATIENCE, self.socket.next()).await;
            if let Message::Text(text) = next.expect("nothing is heard").unwrap().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// Hears the rest, until it is closed for a rule.
    async fn is_closed(&mut self) {
        loop {
            let next = timeout(PATIENCE, self.socket.next()).await;
            if let Message::Close(close) = next.expect("nothing is heard").unwrap().unwrap() {
                return assert_eq!(u16::from(close.unwrap().code), 1008);
            }
        }
    }

    /// The answer to a request.
    async fn ask(&mut self, event: &str, data: Value) -> Value {
        let request = json!({"type": "request", "event": event, "request_id": "r", "data": data});
        self.send(request).await;
        loop {
            let heard = self.hear().await;
            if heard["request_id"] == "r" {
                return heard;
            }
            self.notices.push(heard);
        }
    }

    /// What it is told next of an event.
    async fn told(&mut self, event: &str) -> Value {
        loop {
            let heard = match self.notices.is_empty() {
                true => self.hear().await,
                false => self.notices.remove(0),
            };
            if heard["event"] == event {
                return heard["data"].clone();
            }
        }
    }

    /// Joins a room, and hears that it has.
    async fn join(&mut self, room: &str, name: &str, users: &[&str]) {
        let answer = self.ask("room.join", json!({"room": room})).await;
        assert_eq!(
            answer["data"],
            json!({"room": room, "users": users}),
            "{answer}"
        );
        let change = self.told("presence").await;
        assert_eq!(change, json!({"room": room, "joined": [name], "left": []}));
    }

    async fn say(&mut self, room: &str, content: &str) {
        let answer = self
            .ask("room.say", json!({"room": room, "content": content}))
            .await;
        assert_eq!(answer["code"], 200, "{answer}");
    }

    /// What it hears next in a room.
    async fn heard_in_a_room(&mut self) -> Value {
        let mut heard = self.told("room.message").await;
        heard.as_object_mut().unwrap().remove("position").unwrap();
        heard
    }

    async fn assert_refused(&mut self, event: &str, data: Value, code: u16, of: &str) {
        let answer = self.ask(event, data).await;
        assert_eq!(answer["code"], code, "{answer}");
        assert!(answer["message"].as_str().unwrap().contains(of), "{answer}");
    }
}

fn chat() -> Engine {
    let config = Config::default().shards(2).max_rooms_per_connection(2);
    start("127.0.0.1:0", config, None).unwrap()
}

#[tokio::test]
async fn what_is_said_in_a_room_is_heard_there_and_nowhere_else() {
    let engine = chat();
    let mut ann = Client::named(&engine, "Ann").await;
    let mut bob = Client::named(&engine, "Bob").await;
    let mut eve = Client::named(&engine, "Eve").await;
    ann.join("tea", "Ann", &["Ann"]).await;
    bob.join("tea", "Bob", &["Ann", "Bob"]).await;
    eve.join("ale", "Eve", &["Eve"]).await;
    assert_eq!(ann.told("presence").await["joined"], json!(["Bob"]));

    ann.say("tea", "hello <b>all</b>").await;
    let heard = json!({"room": "tea", "from": "Ann", "content": "hello <b>all</b>"});
    assert_eq!(ann.heard_in_a_room().await, heard);
    assert_eq!(bob.heard_in_a_room().await, heard);

    let told = bob
        .ask("user.tell", json!({"user": "Eve", "content": "psst"}))
        .await;
    assert_eq!(told["data"], json!({"user": "Eve", "connections": 1}));
    assert_eq!(
        eve.told("user.message").await,
        json!({"from": "Bob", "content": "psst"})
    );
    assert!(
        eve.notices.is_empty(),
        "and nothing of what was said over tea"
    );
}

#[tokio::test]
async fn newcomers_are_shown_what_was_said() {
    let engine = chat();
    let mut ann = Client::named(&engine, "Ann").await;
    ann.join("tea", "Ann", &["Ann"]).await;
    for number in 0..SHOWN / 2 {
        ann.say("tea", &number.to_string()).await;
    }
    let mut bob = Client::named(&engine, "Bob").await;
    let answer = bob.ask("room.join", json!({"room": "tea"})).await;
    assert_eq!(answer["code"], 200);
    for number in 0..SHOWN / 2 {
        assert_eq!(bob.heard_in_a_room().await["content"], number.to_string());
    }
}

#[tokio::test]
async fn a_room_goes_with_its_last_member() {
    let engine = chat();
    let mut ann = Client::named(&engine, "Ann").await;
    let mut bob = Client::named(&engine, "Bob").await;
    ann.join("tea", "Ann", &["Ann"]).await;
    bob.join("tea", "Bob", &["Ann", "Bob"]).await;
    bob.socket.close(None).await.unwrap();
    assert_eq!(ann.told("presence").await["joined"], json!(["Bob"]));
    assert_eq!(ann.told("presence").await["left"], json!(["Bob"]));
    let left = ann.ask("room.leave", json!({"room": "tea"})).await;
    assert_eq!(left["data"], json!({"room": "tea", "left": true}));
    assert_eq!(engine.room_count(), 0);
}

#[tokio::test]
async fn a_name_is_its_tokens() {
    let engine = chat();
    let mut ann = Client::connect(&engine).await;
    let token = ann.log_in("Ann").await;
    ann.show(&token, "Ann").await;
    let mut other = Client::connect(&engine).await;
    other
        .assert_refused("login", json!({"name": "Ann"}), 409, "another Ann")
        .await;
    other
        .assert_refused("room.join", json!({"room": "tea"}), 401, "")
        .await;
    other
        .send(json!({"type": "auth", "token": "guessed"}))
        .await;
    assert_eq!(other.hear().await["type"], "auth_error");
    // On another device it is the same person.
    other.show(&token, "Ann").await;
    assert_eq!(engine.user_len("Ann"), 2);
    let request = json!({"type": "request", "event": "logout", "request_id": "r"});
    ann.send(request).await;
    // All that is logged in by it is closed, so that none of it hears what the next Ann is told.
    for device in [&mut ann, &mut other] {
        device.is_closed().await;
    }
    let mut next = Client::connect(&engine).await;
    next.log_in("Ann").await;
}

#[tokio::test]
async fn what_cannot_be_done_is_refused() {
    let engine = chat();
    let mut ann = Client::connect(&engine).await;
    for name in ["", " ", "a/b", &"x".repeat(MAX_NAME + 1)] {
        ann.assert_refused("login", json!({"name": name}), 400, "name")
            .await;
    }
    ann.assert_refused("sing", json!({}), 404, "").await;
    let token = ann.log_in("Ann").await;
    ann.show(&token, "Ann").await;
    ann.assert_refused("room.join", json!({}), 400, "room")
        .await;
    ann.assert_refused("room.join", json!({"room": "#"}), 400, "room")
        .await;
    ann.assert_refused(
        "room.say",
        json!({"room": "tea", "content": "hello"}),
        403,
        "join",
    )
    .await;
    ann.assert_refused(
        "user.tell",
        json!({"user": "Bob", "content": "psst"}),
        404,
        "",
    )
    .await;
    ann.join("tea", "Ann", &["Ann"]).await;
    ann.assert_refused("room.join", json!({"room": "tea"}), 409, "")
        .await;
    ann.join("ale", "Ann", &["Ann"]).await;
    ann.assert_refused(
        "room.join",
        json!({"room": "wine"}),
        409,
        "max_rooms_per_connection",
    )
    .await;
    assert_eq!(
        engine.room_count(),
        2,
        "a room that nobody could join is none"
    );
}

#[tokio::test]
async fn who_says_too_much_is_told_so() {
    let engine = chat();
    let mut ann = Client::named(&engine, "Ann").await;
    ann.join("tea", "Ann", &["Ann"]).await;
    for _ in 0..200 {
        let answer = ann
            .ask("room.say", json!({"room": "tea", "content": "!"}))
            .await;
        if answer["code"] == 429 {
            return;
        }
    }
    panic!("nobody may say so much");
}

#[tokio::test]
async fn the_pages_are_served_beside_the_chat() {
    let admin = Some("a token of some length".to_owned());
    let engine = start("127.0.0.1:0", Config::default().shards(2), admin).unwrap();
    for (path, status, content) in [
        ("/", "200 OK", "<title>Throng chat</title>"),
        ("/admin", "200 OK", "<title>Throng</title>"),
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
