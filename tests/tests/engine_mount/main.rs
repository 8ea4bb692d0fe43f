//! The engine mounted in servers of axum and hyper, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod rules;
mod servers;
mod streams;

use std::collections::HashSet;
use std::sync::mpsc::channel;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use throng::{
    Accept, Config, Conn, Engine, EngineHandle, ErrorKind, Event, EventKinds, Handler, Message,
    Peer, Reject, Rejection, StartError, Upgrade,
};
use throng_tests::engine::{
    Client, Happening, Heard, Obedient, PATIENCE, Served, beside, config, request, until,
};

use servers::serve_axum;

/// An engine without a port, whose service does as it is told.
fn mounted(config: Config) -> Served {
    let (reports, happenings) = channel();
    let builder = Engine::builder().mounted().config(config);
    let engine = beside(|| builder.handler(Obedient::new(reports)).start()).unwrap();
    Served { engine, happenings }
}

/// A service whose states are names; it lets nobody in by itself.
struct Named;

impl Handler for Named {
    type State = String;

    fn on_upgrade(&self, _: &Upgrade<'_>) -> Result<Accept<String>, Reject> {
        Err(Reject::new(401).text("not by this way"))
    }

    fn on_open(&self, conn: &mut Conn<'_, String>) {
        conn.join("lobby").unwrap();
    }

    fn on_message(&self, conn: &mut Conn<'_, String>, _: Message<'_>) {
        let told = format!(
            "{} {:?} {:?} {:?} {}",
            conn.state(),
            conn.user_id(),
            conn.metadata("device"),
            conn.subprotocol(),
            conn.id().to_u64() >> 55,
        );
        conn.send(&*told);
    }
}

async fn named(
    State(engine): State<EngineHandle>,
    Query(query): Query<Vec<(String, String)>>,
    request: Request,
) -> Response {
    let Some((_, user)) = query.into_iter().find(|(name, _)| name == "user") else {
        return engine.upgrade(request).into_response();
    };
    let accept = Accept::new(format!("state of {user}"))
        .user_id(user)
        .metadata("device", "phone")
        .header("X-Served-By", "axum");
    engine.upgrade_with(request, accept).into_response()
}

fn app(engine: EngineHandle) -> Router {
    Router::new()
        .route("/page", get(|| async { "a page" }))
        .route("/ws", any(named))
        .route(
            "/stateless",
            any(
                |State(engine): State<EngineHandle>, request: Request| async move {
                    engine.upgrade_with(request, Accept::new(()))
                },
            ),
        )
        .route(
            "/wrong",
            any(
                |State(engine): State<EngineHandle>, request: Request| async move {
                    engine.upgrade_with(request, Accept::new(7_u8))
                },
            ),
        )
        .route(
            "/say",
            post(
                |State(engine): State<EngineHandle>, text: String| async move {
                    format!("{:?}", engine.to("lobby").text(&text).publish())
                },
            ),
        )
        .with_state(engine)
}

fn named_engine(config: Config) -> Engine {
    let builder = Engine::builder().mounted().config(config).handler(Named);
    beside(|| builder.start()).unwrap()
}

#[test]
fn an_engine_without_a_port_says_so_unless_it_is_mounted() {
    let nowhere = Engine::builder().config(config()).handler(Named).start();
    let error = nowhere.unwrap_err();
    assert!(matches!(error, StartError::NowhereToListen), "{error}");
    assert!(error.to_string().contains("mounted"), "{error}");
    let engine = named_engine(config());
    assert_eq!(engine.local_addr(), None);
}

#[test]
fn an_axum_service_lets_its_users_in_on_every_shard() {
    let engine = named_engine(config().shards(3));
    let server = serve_axum(app(engine.handle()));
    let mut shards = HashSet::new();
    let mut clients = Vec::new();
    for user in 0..9 {
        let mut client = Client::silent(server.address);
        client.upgrade(&request("").replace("/path?query=1", &format!("/ws?user={user}")));
        assert!(
            client.response.contains("x-served-by: axum\r\n"),
            "{}",
            client.response
        );
        let told = client.ask("who am I?");
        let (told, shard) = told.rsplit_once(' ').unwrap();
        let expected = format!("state of {user} Some(\"{user}\") Some(\"phone\") None");
        assert_eq!(told, expected);
        shards.insert(shard.to_owned());
        clients.push(client);
    }
    assert_eq!(shards.len(), 3, "each shard has some");
    assert_eq!(engine.connections(), 9);

    let mut http = Client::silent(server.address);
    http.write(
        b"POST /say HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
    );
    assert!(http.read_head().starts_with("HTTP/1.1 200 "));
    for client in &mut clients {
        assert_eq!(client.hear(), Heard::Text("hello".into()));
    }
    let mut http = Client::silent(server.address);
    http.write(b"GET /page HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert!(http.read_head().starts_with("HTTP/1.1 200 "));
    assert_eq!(http.read_to_end(), b"a page");
}

#[test]
fn who_is_not_let_in_by_the_caller_is_asked_of_the_handler() {
    let engine = named_engine(config());
    let server = serve_axum(app(engine.handle()));
    let (status, response) = server.answer(&request("").replace("/path?query=1", "/ws"));
    assert_eq!(status, 401, "{response}");
    assert!(response.ends_with("not by this way"), "{response}");
}

#[test]
fn a_state_of_another_type_is_refused_and_nothing_else_suffers() {
    let engine = named_engine(config().max_connections(1));
    let server = serve_axum(app(engine.handle()));
    for _ in 0..3 {
        let (status, response) = server.answer(&request("").replace("/path?query=1", "/wrong"));
        assert_eq!(status, 500, "{response}");
    }
    assert_eq!(engine.connections(), 0);
    let mut client = Client::silent(server.address);
    client.upgrade(&request("").replace("/path?query=1", "/ws?user=ann"));
    assert!(client.ask("?").starts_with("state of ann"));
}

#[test]
fn who_is_let_in_by_the_caller_has_a_future_where_the_others_have_one() {
    let builder = Engine::builder().mounted().config(config());
    let served = builder.serve(|mut socket| async move {
        while let Some(message) = socket.recv().await {
            let _ = socket.send(message).await;
        }
    });
    let engine = beside(|| served.start()).unwrap();
    let server = serve_axum(app(engine.handle()));
    let ask = |path: &str| request("").replace("/path?query=1", path);
    let (status, _) = server.answer(&ask("/ws?user=ann"));
    assert_eq!(status, 500, "it has no states");
    let mut client = Client::silent(server.address);
    client.upgrade(&ask("/stateless"));
    assert_eq!(client.ask("hello"), "hello");

    let builder = Engine::builder().mounted().config(config());
    let served = builder.serve_with(
        |_| Ok(Accept::new("said of it".to_owned())),
        |mut socket, said| async move {
            let _ = socket.send(said).await;
        },
    );
    let engine = beside(|| served.start()).unwrap();
    let server = serve_axum(app(engine.handle()));
    let mut client = Client::silent(server.address);
    client.upgrade(&ask("/ws"));
    assert_eq!(client.hear(), Heard::Text("said of it".into()));
    let mut client = Client::silent(server.address);
    client.upgrade(&ask("/stateless"));
    assert_eq!(client.expect_close(1011), "internal error");
}

#[test]
fn the_peer_is_what_the_request_says_and_then_what_the_socket_says() {
    struct Looking;
    impl Handler for Looking {
        type State = Peer;
        fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<Peer>, Reject> {
            Ok(Accept::new(request.peer()))
        }
        fn on_message(&self, conn: &mut Conn<'_, Peer>, _: Message<'_>) {
            let told = format!("{:?} {:?}", conn.state(), conn.peer());
            conn.send(&*told);
        }
    }
    let builder = Engine::builder()
        .mounted()
        .config(config())
        .handler(Looking);
    let engine = beside(|| builder.start()).unwrap();
    let handle = engine.handle();
    let said = Peer::Tcp(([192, 0, 2, 1], 80).into());
    let server = serve_axum(
        Router::new().fallback(any(move |mut request: Request| async move {
            if request.uri().path() == "/said" {
                request.extensions_mut().insert(said);
            }
            handle.upgrade(request)
        })),
    );
    for (path, expected) in [("/said", said), ("/not", Peer::Unix)] {
        let mut client = Client::silent(server.address);
        client.upgrade(&request("").replace("/path?query=1", path));
        let own = Peer::Tcp(client.local_addr());
        assert_eq!(client.ask("?"), format!("{expected:?} {own:?}"));
    }
}

#[test]
fn who_is_not_known_is_no_proxy() {
    struct Locating;
    impl Handler for Locating {
        type State = ();
        fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
            let client = request.client_addr().map(|it| it.to_string());
            Err(Reject::new(418).text(client.unwrap_or("nobody".to_owned())))
        }
        fn on_message(&self, _: &mut Conn<'_, ()>, _: Message<'_>) {}
    }
    let settings = config().trusted_proxies(["unix", "192.0.2.1"]);
    let builder = Engine::builder().mounted().config(settings);
    let engine = beside(|| builder.handler(Locating).start()).unwrap();
    let handle = engine.handle();
    let server = serve_axum(
        Router::new().fallback(any(move |mut request: Request| async move {
            let said = match request.uri().path() {
                "/unix" => Some(Peer::Unix),
                "/proxy" => Some(Peer::Tcp(([192, 0, 2, 1], 80).into())),
                "/client" => Some(Peer::Tcp(([192, 0, 2, 2], 80).into())),
                _ => None,
            };
            if let Some(said) = said {
                request.extensions_mut().insert(said);
            }
            handle.upgrade(request)
        })),
    );
    for (path, expected) in [
        ("/unix", "203.0.113.5"),
        ("/proxy", "203.0.113.5"),
        ("/client", "192.0.2.2"),
        ("/unknown", "nobody"),
    ] {
        let asked = request("X-Forwarded-For: 203.0.113.5\r\n").replace("/path", path);
        let (status, response) = server.answer(&asked);
        assert_eq!(status, 418, "{response}");
        let told = response.rsplit("\r\n").next();
        assert_eq!(told, Some(expected), "{path}");
    }
}

#[test]
fn refusals_are_counted_and_told_as_on_the_engines_own_port() {
    let served = mounted(config());
    let kinds = EventKinds::HANDSHAKE_REJECTED | EventKinds::ERROR;
    let mut events = served.engine.handle().subscribe(kinds, 16).unwrap();
    let server = servers::serve_all(served.engine.handle());
    for (path, rejection, status) in [
        ("/reject", Rejection::Service, 418),
        ("/panic", Rejection::Failed, 500),
    ] {
        let (answered, response) = server.answer(&request("").replace("/path", path));
        assert_eq!(answered, status, "{response}");
        if status == 500 {
            let error = events.recv_timeout(PATIENCE).unwrap();
            assert!(
                matches!(
                    error,
                    Event::Error {
                        error: ErrorKind::Panic,
                        ..
                    }
                ),
                "{error:?}"
            );
        }
        let told = events.recv_timeout(PATIENCE).unwrap();
        let Event::HandshakeRejected {
            rejection: why,
            status: with,
            ..
        } = told
        else {
            panic!("{told:?}");
        };
        assert_eq!((why, with), (rejection, Some(status)));
        let total = served.engine.metrics().total;
        assert_eq!(total.rejected.get(rejection), 1, "{path}");
        assert_eq!(total.handshaking(), 0, "{path}");
    }
    let (status, _) = server.answer("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(status, 426);
    let total = served.engine.metrics().total;
    assert_eq!(total.rejected.get(Rejection::Malformed), 1);
    assert_eq!(total.errors.get(ErrorKind::Panic), 1);
}

#[test]
fn a_drain_tells_mounted_connections_and_refuses_newcomers() {
    let served = mounted(config().shards(2));
    let server = servers::serve_all(served.engine.handle());
    let mut clients: Vec<_> = (0..4).map(|_| Client::connect(server.address)).collect();
    served.until("all are open", |engine| engine.connections() == 4);
    let handle = served.engine.handle();
    let drained = std::thread::spawn(move || served.engine.drain(Duration::ZERO));
    for client in &mut clients {
        client.expect_close(1012);
    }
    drop(clients);
    let report = drained.join().unwrap();
    assert_eq!((report.connections, report.flushed), (4, 4));
    let (status, response) = server.answer(&request(""));
    assert_eq!(status, 503, "{response}");
    assert!(response.contains("retry-after: "), "{response}");
    assert_eq!(handle.connections(), 0);
}

#[test]
fn who_vanishes_before_the_hand_over_leaves_nothing_behind() {
    let served = mounted(config().max_connections(1));
    let handle = served.engine.handle();
    let (decided, decisions) = channel();
    let server = serve_axum(Router::new().fallback(any(move |request: Request| {
        let (handle, decided) = (handle.clone(), decided.clone());
        async move {
            let path = request.uri().path().to_owned();
            let response = handle.upgrade(request);
            match &*path {
                "/late" => {
                    decided.send(response.status().as_u16()).unwrap();
                    std::future::pending().await
                }
                // A layer that answers something else.
                "/other" => "nothing".into_response(),
                _ => response.into_response(),
            }
        }
    })));
    let refused = || server.answer(&request("").replace("/path", "/reject")).0;
    for _ in 0..3 {
        until("the seat is free", || refused() == 418);
        let mut client = Client::silent(server.address);
        client.write(request("").replace("/path", "/late").as_bytes());
        assert_eq!(decisions.recv_timeout(PATIENCE), Ok(101));
        assert_eq!(refused(), 503, "the seat is taken");
        client.reset();
        assert_eq!(served.next(), Happening::Forgotten, "the state is dropped");
    }
    for _ in 0..3 {
        let (status, _) = server.answer(&request("").replace("/path", "/other"));
        assert_eq!(status, 200);
    }
    until("the seat is free", || {
        let mut client = Client::silent(server.address);
        client.write(request("").as_bytes());
        client.read_head().starts_with("HTTP/1.1 101 ")
    });
}

#[test]
fn connections_that_end_give_their_seats_up() {
    let served = mounted(config().max_connections(1));
    let server = servers::serve_all(served.engine.handle());
    for round in 0..5 {
        let mut client = None;
        until("the seat is free", || {
            let mut asking = Client::silent(server.address);
            asking.write(request("").as_bytes());
            let is_in = asking.read_head().starts_with("HTTP/1.1 101 ");
            client = Some(asking).filter(|_| is_in);
            is_in
        });
        let mut client = client.unwrap();
        assert_eq!(client.ask("hello"), "hello", "round {round}");
        let (status, response) = server.answer(&request(""));
        assert_eq!(status, 503, "{response}");
        assert!(response.contains("retry-after: "), "{response}");
        client.close(1000, "");
        client.expect_close(1000);
    }
}
