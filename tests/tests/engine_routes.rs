//! What the service adds to the side door: routes of its own, files of a folder, and whether it is ready.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Extension, Path};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use hyper::{Request, Response};
use throng::{Builder, Config, ConfigError, Engine, NotReady, Page, Peer, RequestBody, StartError};
use throng_tests::engine::{Client, beside, config, request, until};

fn start(set_up: impl FnOnce(Builder<()>) -> Builder<()>, config: Config) -> Engine {
    let builder = set_up(
        Engine::builder()
            .bind("127.0.0.1:0")
            .unwrap()
            .config(config),
    );
    let echo = builder.on_message(|conn, message| {
        conn.send(message);
    });
    beside(|| echo.start()).unwrap()
}

/// The head and the body that a request is answered with.
fn ask(engine: &Engine, request: &str) -> (String, String) {
    let mut client = Client::silent(engine.local_addr().unwrap());
    client.write(request.as_bytes());
    let head = client.read_head();
    let body = client.read_to_end();
    (head, String::from_utf8_lossy(&body).into_owned())
}

fn get_path(engine: &Engine, path: &str) -> (u16, String) {
    get_with(engine, path, "")
}

fn get_with(engine: &Engine, path: &str, further: &str) -> (u16, String) {
    let (head, body) = ask(
        engine,
        &format!("GET {path} HTTP/1.1\r\nHost: h\r\n{further}\r\n"),
    );
    (status(&head), body)
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

fn post_body(path: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn app() -> Router {
    Router::new()
        .route("/version", get(|| async { "7" }))
        .route(
            "/who",
            get(|Extension(peer): Extension<Peer>| async move { format!("{peer:?}") }),
        )
        .route(
            "/hello/{name}",
            get(|Path(name): Path<String>| async move { format!("hello {name}") }),
        )
        .route(
            "/length",
            post(|body: Bytes| async move { body.len().to_string() }),
        )
        .route(
            "/late",
            get(|| async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                "late"
            }),
        )
        .route("/panic", get(|| async { panicking() }))
        // Paths that belong to others first.
        .route("/healthz", get(|| async { "routes" }))
        .route("/page", get(|| async { "routes" }))
}

fn panicking() -> &'static str {
    panic!("as told")
}

#[test]
fn who_sends_no_body_does_not_keep_the_engine_from_saying_how_it_is() {
    const PLACES: u64 = 256;
    let engine = start(|builder| builder.routes(app()).serve_metrics(), config());
    let slow = "POST /length HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n";
    let mut idle = Vec::new();
    for _ in 0..PLACES {
        let mut client = Client::silent(engine.local_addr().unwrap());
        client.write(slow.as_bytes());
        idle.push(client);
    }
    until("all have come", || {
        engine.metrics().total.visitors == PLACES
    });
    assert_eq!(get_path(&engine, "/version").0, 503);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(get_path(&engine, path).0, 200, "{path}");
    }
    idle[0].write(b"hello");
    assert!(idle[0].read_head().starts_with("HTTP/1.1 200 "));
    until("there is a place", || {
        get_path(&engine, "/version").0 == 200
    });
}

#[test]
fn routes_of_axum_are_served_beside_what_the_engine_serves() {
    let page = Page::new("/page", "text/plain", "page");
    let engine = start(|builder| builder.routes(app()).page(page), config());
    for (path, expected) in [
        ("/version", (200, "7")),
        ("/hello/ann", (200, "hello ann")),
        ("/late", (200, "late")),
        ("/healthz", (200, "ok")),
        ("/readyz", (200, "ok")),
        ("/page", (200, "page")),
        ("/none", (404, "")),
    ] {
        assert_eq!(
            get_path(&engine, path),
            (expected.0, expected.1.to_owned()),
            "{path}"
        );
    }
    let (head, body) = ask(&engine, &post_body("/length", "12345"));
    assert_eq!((status(&head), &*body), (200, "5"));
    assert!(head.contains("connection: close\r\n"), "{head}");
    let mut client = Client::silent(engine.local_addr().unwrap());
    client.write(b"GET /who HTTP/1.1\r\nHost: h\r\n\r\n");
    client.read_head();
    let own = format!("{:?}", Peer::Tcp(client.local_addr()));
    assert_eq!(client.read_to_end(), own.as_bytes());
    let mut client = Client::connect(engine.local_addr().unwrap());
    assert_eq!(client.ask("hello"), "hello");
}

#[test]
fn a_panic_in_a_route_is_answered_500_and_costs_nothing_else() {
    let engine = start(|builder| builder.routes(app()), config());
    let mut client = Client::connect(engine.local_addr().unwrap());
    for _ in 0..3 {
        assert_eq!(
            get_path(&engine, "/panic"),
            (500, "internal error".to_owned())
        );
    }
    assert_eq!(get_path(&engine, "/version").0, 200);
    assert_eq!(client.ask("hello"), "hello");
}

#[test]
fn bodies_are_bounded() {
    let engine = start(
        |builder| builder.routes(app()),
        config().max_request_body(1000),
    );
    let (head, body) = ask(&engine, &post_body("/length", &"x".repeat(1000)));
    assert_eq!((status(&head), &*body), (200, "1000"));
    let (head, _) = ask(&engine, &post_body("/length", &"x".repeat(1001)));
    assert_eq!(status(&head), 413);
    let announced = "POST /length HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n";
    assert_eq!(
        status(&ask(&engine, announced).0),
        413,
        "before any of it was sent"
    );
    let chunks = |count: usize| {
        let chunk = format!("64\r\n{}\r\n", "x".repeat(100));
        let chunks = chunk.repeat(count);
        format!(
            "POST /length HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
        )
    };
    let (head, body) = ask(&engine, &chunks(10));
    assert_eq!((status(&head), &*body), (200, "1000"));
    assert_eq!(status(&ask(&engine, &chunks(11)).0), 413);
    assert_eq!(get_path(&engine, "/version").0, 200);
}

#[test]
fn a_bound_out_of_range_is_an_error() {
    let engine = Engine::builder()
        .bind("127.0.0.1:0")
        .unwrap()
        .config(config().max_request_body(1 + (1 << 30)))
        .on_message(|_, _| {});
    let error = engine.start().unwrap_err();
    assert_eq!(
        error.to_string(),
        "max_request_body: 1073741825 bytes is out of range: must be between 0 bytes and 1024 MiB"
    );
}

/// A service of nobody's framework, which fails as it is asked to.
#[derive(Clone)]
struct Plain;

impl tower_service::Service<Request<RequestBody>> for Plain {
    type Response = Response<String>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let (parts, body) = request.into_parts();
        assert_ne!(parts.uri.path(), "/panic", "as told");
        Box::pin(async move {
            match parts.uri.path() {
                "/fail" => Err("no luck".into()),
                "/body" => {
                    let length = body.collect().await?.to_bytes().len();
                    Ok(Response::new(length.to_string()))
                }
                path => Ok(Response::new(path.to_owned())),
            }
        })
    }
}

#[test]
fn any_tower_service_will_do_and_its_failures_are_its_own() {
    let engine = start(
        |builder| builder.routes(Plain),
        config().max_request_body(10),
    );
    assert_eq!(get_path(&engine, "/a/path"), (200, "/a/path".to_owned()));
    assert_eq!(get_path(&engine, "/fail").0, 500);
    assert_eq!(get_path(&engine, "/panic").0, 500, "in call itself");
    let chunked = "POST /body HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let long = format!("{chunked}b\r\n01234567890\r\n0\r\n\r\n");
    assert_eq!(
        status(&ask(&engine, &long).0),
        413,
        "the body's bound is what failed"
    );
    assert_eq!(get_path(&engine, "/after"), (200, "/after".to_owned()));
}

#[test]
fn files_of_a_folder_are_served_and_no_others() {
    let whole = tempfile::tempdir().unwrap();
    let public = whole.path().join("public");
    fs::create_dir_all(public.join("deeper")).unwrap();
    fs::write(whole.path().join("secret.txt"), "secret").unwrap();
    fs::write(public.join("app.js"), "0123456789").unwrap();
    fs::write(public.join("deeper/index.html"), "<p>index").unwrap();
    let page = Page::new("/static/page", "text/plain", "page");
    let set_up = |builder: Builder<()>| builder.files("/static", &public).page(page).routes(app());
    let engine = start(set_up, config());

    let (head, body) = ask(
        &engine,
        "GET /static/app.js?v=1 HTTP/1.1\r\nHost: h\r\n\r\n",
    );
    assert_eq!((status(&head), &*body), (200, "0123456789"));
    assert!(head.contains("content-type: text/javascript\r\n"), "{head}");
    assert_eq!(get_path(&engine, "/static/page"), (200, "page".to_owned()));
    assert_eq!(
        get_path(&engine, "/static/deeper/"),
        (200, "<p>index".to_owned())
    );
    let (head, _) = ask(&engine, "GET /static/deeper HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(head.contains("location: /static/deeper/\r\n"), "{head}");
    let (head, body) = ask(&engine, "HEAD /static/app.js HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((status(&head), &*body), (200, ""));

    let ranged = get_with(&engine, "/static/app.js", "Range: bytes=2-4\r\n");
    assert_eq!(ranged, (206, "234".to_owned()));
    let beyond = get_with(&engine, "/static/app.js", "Range: bytes=20-\r\n");
    assert_eq!(beyond.0, 416);
    let (head, _) = ask(&engine, "GET /static/app.js HTTP/1.1\r\nHost: h\r\n\r\n");
    let modified = head
        .lines()
        .find_map(|line| line.strip_prefix("last-modified: "))
        .unwrap();
    let unchanged = get_with(
        &engine,
        "/static/app.js",
        &format!("If-Modified-Since: {modified}\r\n"),
    );
    assert_eq!(unchanged, (304, String::new()));

    for path in [
        "/static/../secret.txt",
        "/static/%2e%2e/secret.txt",
        "/static/..%2fsecret.txt",
        "/static/deeper/../../secret.txt",
        "/static//../secret.txt",
        "/static/%00",
        "/static/none.js",
        "/staticapp.js",
    ] {
        assert_eq!(get_path(&engine, path).0, 404, "{path}");
    }
    let (head, _) = ask(&engine, &post_body("/static/app.js", "x"));
    assert_eq!(status(&head), 405);
    assert_eq!(get_path(&engine, "/version").0, 200);
}

#[test]
fn folders_that_cannot_be_served_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let file = here.join("file");
    fs::write(&file, "").unwrap();
    let refused = |set_up: &dyn Fn(Builder<()>) -> Builder<()>| {
        let builder = set_up(
            Engine::builder()
                .bind("127.0.0.1:0")
                .unwrap()
                .config(config()),
        );
        match builder.on_message(|_, _| {}).start() {
            Err(StartError::Config(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    for (path, rule) in [
        ("static", "is no path"),
        ("/static/", "is no path"),
        ("/a?b", "is no path"),
        ("", "is no path"),
    ] {
        let error = refused(&|builder| builder.files(path, here));
        assert!(
            error
                .to_string()
                .starts_with(&format!("files: {path:?} {rule}")),
            "{error}"
        );
    }
    let error = refused(&|builder| builder.files("/a", here).files("/a", here));
    assert!(
        error.to_string().contains("is the path of two folders"),
        "{error}"
    );
    for missing in [&file, &here.join("missing")] {
        let error = refused(&|builder| builder.files("/a", missing));
        assert!(error.to_string().contains("which is no folder"), "{error}");
    }
    let many = refused(&|mut builder| {
        for number in 0..65 {
            builder = builder.files(format!("/{number}"), here);
        }
        builder
    });
    assert!(
        matches!(many, ConfigError::OutOfRange { field: "files", .. }),
        "{many}"
    );
}

#[test]
fn readiness_is_told_at_its_path_and_by_the_handle() {
    let is_well = Arc::new(AtomicBool::new(true));
    let says = Arc::clone(&is_well);
    let check = move || says.load(Ordering::Relaxed);
    let engine = start(
        |builder| builder.ready_check(check),
        config().max_connections(2),
    );
    assert_eq!(get_path(&engine, "/readyz"), (200, "ok".to_owned()));
    assert_eq!(engine.readiness(), Ok(()));
    is_well.store(false, Ordering::Relaxed);
    assert_eq!(engine.readiness(), Err(NotReady::Service));
    assert_eq!(
        get_path(&engine, "/readyz"),
        (503, "the service is not ready".to_owned())
    );
    assert_eq!(
        get_path(&engine, "/healthz").0,
        200,
        "it lives all the same"
    );
    is_well.store(true, Ordering::Relaxed);
    let address = engine.local_addr().unwrap();
    let mut clients = Vec::new();
    until("both are open", || {
        // The places of the requests before may be held for a moment.
        let mut client = Client::silent(address);
        client.write(request("").as_bytes());
        if client.read_head().starts_with("HTTP/1.1 101 ") {
            clients.push(client);
        }
        engine.connections() == 2
    });
    assert_eq!(
        get_path(&engine, "/readyz"),
        (503, "the server is full".to_owned())
    );
    drop(clients);
    until("there is room", || engine.readiness().is_ok());
    let handle = engine.handle();
    engine.drain(Duration::ZERO);
    assert_eq!(handle.readiness(), Err(NotReady::GoingDown));
}

#[test]
fn metrics_are_served_where_that_is_asked_for() {
    let without = start(|builder| builder, config());
    assert_eq!(get_path(&without, "/metrics").0, 404);
    let engine = start(Builder::serve_metrics, config());
    let (status, text) = get_path(&engine, "/metrics");
    assert_eq!(status, 200);
    assert!(text.contains("throng_sockets_accepted_total"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn a_ready_check_that_panics_says_no() {
    let engine = start(
        |builder| builder.ready_check(|| panic!("as told")),
        config(),
    );
    assert_eq!(engine.readiness(), Err(NotReady::Service));
    assert_eq!(get_path(&engine, "/readyz").0, 503);
    let mut client = Client::silent(engine.local_addr().unwrap());
    client.upgrade(&request(""));
    assert_eq!(client.ask("hello"), "hello", "nobody is turned away for it");
}
