//! The service, over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use throng::{Config, DrainReport, EngineHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::auth::Tokens;
use crate::service::MAX_BODY;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The service, with the users Ann and Bob.
struct Running {
    address: SocketAddr,
    engine: EngineHandle,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<DrainReport>>,
}

async fn run(config: Config) -> Running {
    let engine = crate::start(config).unwrap();
    let handle = engine.handle();
    let users = [("ann", "a1"), ("bob", "b2")];
    let users = users.map(|(name, token)| (name.to_owned(), token.to_owned()));
    let tokens = Tokens::new("secret".to_owned(), users.into());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let stopped = async {
        let _ = stopped.await;
    };
    let window = Duration::from_millis(1);
    let serving = tokio::spawn(crate::serve(listener, engine, tokens, stopped, window));
    Running {
        address,
        engine: handle,
        stop,
        serving,
    }
}

impl Running {
    /// Asks with the service's token.
    async fn ask(&self, line: &str, body: &str) -> (u16, Value) {
        self.ask_with("Bearer secret", line, body).await
    }

    async fn ask_with(&self, authorization: &str, line: &str, body: &str) -> (u16, Value) {
        let request = format!(
            "{line} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: {authorization}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = timeout(PATIENCE, socket.read_to_string(&mut answer)).await;
        read.expect("there is no answer").unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = serde_json::from_str(body).unwrap_or_else(|_| Value::from(body));
        (status, body)
    }

    /// A request whose body is waited for, and never comes.
    async fn half_a_request(&self) -> TcpStream {
        let head = "POST /broadcast HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer secret\r\n\
                    Content-Type: application/json\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n";
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        let read = timeout(PATIENCE, socket.read_exact(&mut answer)).await;
        read.expect("the body is not waited for").unwrap();
        assert_eq!(&answer, b"HTTP/1.1 100");
        socket
    }

    async fn connect(&self, query: &str, headers: &[(&'static str, &str)]) -> Result<Client, u16> {
        let url = format!("ws://{}/ws{query}", self.address);
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match connect_async(request).await {
            Ok((socket, _)) => Ok(Client(socket)),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// A connection of a user, who has been welcomed.
    async fn user(&self, name: &str, token: &str) -> Client {
        let query = format!("?token={token}");
        let mut client = self.connect(&query, &[]).await.unwrap();
        assert_eq!(
            client.hear().await,
            ("welcome".to_owned(), json!({"user": name}))
        );
        client
    }
}

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn next(&mut self) -> Message {
        let next = timeout(PATIENCE, self.0.next()).await;
        next.expect("nothing is heard").unwrap().unwrap()
    }

    /// The next event and its data, pings aside.
    async fn hear(&mut self) -> (String, Value) {
        let text = loop {
            if let Message::Text(text) = self.next().await {
                break text;
            }
        };
        let mut said: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(said["type"], "notify", "{said}");
        let event = said["event"].as_str().unwrap().to_owned();
        (event, said["data"].take())
    }

    async fn hear_titled(&mut self, title: &str) {
        let notification = json!({"title": title, "text": ""});
        assert_eq!(self.hear().await, ("notification".to_owned(), notification));
    }
}

fn sent_to(connections: usize) -> (u16, Value) {
    (200, json!({"connections": connections, "lost": 0}))
}

#[tokio::test]
async fn a_user_is_told_on_all_devices_and_nobody_else_is() {
    let service = run(Config::default().shards(2)).await;
    let mut phone = service.user("ann", "a1").await;
    let mut laptop = service.user("ann", "a1").await;
    let mut bob = service.user("bob", "b2").await;

    let body = r#"{"title":"Tea is ready","text":"in the kitchen"}"#;
    let answer = service.ask("POST /users/ann/notifications", body).await;
    assert_eq!(answer, sent_to(2));
    let answer = service.ask("POST /broadcast", r#"{"title":"Fire"}"#).await;
    assert_eq!(answer, sent_to(3));

    let tea = json!({"title": "Tea is ready", "text": "in the kitchen"});
    for device in [&mut phone, &mut laptop] {
        assert_eq!(
            device.hear().await,
            ("notification".to_owned(), tea.clone())
        );
        device.hear_titled("Fire").await;
    }
    // Nothing of the tea.
    bob.hear_titled("Fire").await;
}

#[tokio::test]
async fn who_is_there_is_told() {
    let service = run(Config::default().shards(2)).await;
    let nobody = (200, json!({"online": false, "connections": 0}));
    assert_eq!(service.ask("GET /users/ann", "").await, nobody);
    let _phone = service.user("ann", "a1").await;
    let _laptop = service.user("ann", "a1").await;
    let both = (200, json!({"online": true, "connections": 2}));
    assert_eq!(service.ask("GET /users/ann", "").await, both);
    assert_eq!(service.ask("GET /users/eve", "").await, nobody);

    let line = "POST /users/eve/notifications";
    let answer = service.ask(line, r#"{"title":"Anybody there?"}"#).await;
    assert_eq!(answer, sent_to(0), "that nobody is there is no error");
}

#[tokio::test]
async fn publishing_needs_the_services_token() {
    let service = run(Config::default().shards(1)).await;
    let mut ann = service.user("ann", "a1").await;
    for line in [
        "POST /users/ann/notifications",
        "POST /broadcast",
        "GET /users/ann",
        "GET /users/ann?token=secret",
    ] {
        for wrong in [
            "Bearer secre",
            "Bearer secrets",
            "Bearer a1",
            "Bearer ",
            "secret",
        ] {
            let (status, _) = service.ask_with(wrong, line, r#"{"title":"No"}"#).await;
            assert_eq!(status, 401, "{line} by {wrong}");
        }
    }
    service.ask("POST /broadcast", r#"{"title":"Yes"}"#).await;
    ann.hear_titled("Yes").await;
}

#[tokio::test]
async fn users_show_their_tokens_in_a_header_or_the_query() {
    let service = run(Config::default().shards(1)).await;
    let shown = [("authorization", "Bearer b2")];
    let mut bob = service.connect("", &shown).await.unwrap();
    assert_eq!(bob.hear().await.1, json!({"user": "bob"}));
    let refused = [
        service.connect("", &[]).await.err(),
        service.connect("?token=", &[]).await.err(),
        service.connect("?token=secret", &[]).await.err(),
        service
            .connect("?user=ann", &[("authorization", "Bearer c3")])
            .await
            .err(),
    ];
    assert_eq!(refused, [Some(401); 4]);
}

#[tokio::test]
async fn what_is_no_notification_is_refused() {
    let service = run(Config::default().shards(1)).await;
    let line = "POST /users/ann/notifications";
    for (body, status, reason) in [
        ("{\"title\":", 400, "EOF"),
        ("{}", 422, "missing field `title`"),
        (
            r#"{"title":""}"#,
            422,
            "title: must have 1 to 100 characters",
        ),
        (
            r#"{"title":"Tea","colour":"red"}"#,
            422,
            "unknown field `colour`",
        ),
        (&"x".repeat(MAX_BODY + 1), 413, "length limit exceeded"),
    ] {
        let (told, answer) = service.ask(line, body).await;
        assert_eq!(told, status, "{answer}");
        assert!(answer.as_str().unwrap().contains(reason), "{answer}");
    }
}

#[tokio::test]
async fn the_engine_knows_where_clients_are() {
    let config = Config::default().shards(1).max_connections_per_ip(1);
    let config = config.trusted_proxies(["127.0.0.0/8"]);
    let service = run(config).await;
    let from = |address| [("authorization", "Bearer a1"), ("x-forwarded-for", address)];
    let _here = service.connect("", &from("192.0.2.1")).await.unwrap();
    let _there = service.connect("", &from("192.0.2.2")).await.unwrap();
    assert_eq!(
        service.connect("", &from("192.0.2.1")).await.err(),
        Some(429)
    );
}

#[tokio::test]
async fn told_to_stop_it_closes_what_it_has_and_ends() {
    let service = run(Config::default().shards(2)).await;
    let mut ann = service.user("ann", "a1").await;
    let _half = service.half_a_request().await;
    service.ask("POST /broadcast", r#"{"title":"Bye"}"#).await;
    service.stop.send(()).unwrap();

    ann.hear_titled("Bye").await;
    let Message::Close(Some(close)) = ann.next().await else {
        panic!("not closed");
    };
    assert_eq!(u16::from(close.code), 1012);
    // The answer to the close frame is sent as the stream is read on.
    while ann.0.next().await.is_some() {}
    drop(ann);
    let report = timeout(PATIENCE, service.serving).await;
    let report = report.expect("it goes on").unwrap().unwrap();
    assert_eq!((report.connections, report.flushed), (1, 1));
    assert_eq!(service.engine.connections(), 0);
    assert!(TcpStream::connect(service.address).await.is_err());
}

#[test]
fn users_are_names_with_tokens() {
    let read = |text| crate::name_and_token(text).ok();
    assert_eq!(
        read("ann=a1=="),
        Some(("ann".to_owned(), "a1==".to_owned()))
    );
    assert_eq!([read("ann"), read("ann="), read("=a1")], [None, None, None]);
}
