//! The admin page's side of things, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::net::SocketAddr;
use std::sync::mpsc::channel;

use serde_json::{Value, json};
use throng::{Accept, Admin, Builder, Engine, Origins, Page, RoomOptions, Router, StartError};
use throng_tests::engine::{Client, Heard, Obedient, config, until};

const TOKEN: &str = "a token of some length";

/// An engine whose connections are users and in rooms as their queries say.
fn builder() -> Builder<impl throng::Handler> {
    let mut router = Router::with_state(|request| {
        let user = request.query_value("user").unwrap_or_default();
        Ok(Accept::new(()).user_id(user))
    });
    router.notify("join", |cx, room: String| {
        cx.join(&room).map_err(Into::into)
    });
    let builder = Engine::builder().bind("127.0.0.1:0").unwrap();
    builder.config(config()).router(router).unwrap()
}

fn serve() -> Engine {
    builder().admin(Admin::new(TOKEN)).start().unwrap()
}

fn connect_to(address: SocketAddr, target: &str) -> Client {
    let mut client = Client::silent(address);
    client.upgrade(&throng_tests::engine::request("").replace("/path?query=1", target));
    client
}

fn visitor(engine: &Engine, user: &str) -> Client {
    connect_to(engine.local_addr().unwrap(), &format!("/?user={user}"))
}

fn join(client: &mut Client, room: &str) {
    client.text(&json!({"type": "notify", "event": "join", "data": room}).to_string());
}

/// A page's connection.
struct Watcher {
    client: Client,
}

impl Watcher {
    fn open(address: SocketAddr) -> Watcher {
        let mut page = Watcher {
            client: connect_to(address, "/admin"),
        };
        assert_eq!(page.show(TOKEN)["type"], "auth_success");
        page
    }

    fn show(&mut self, token: &str) -> Value {
        self.client
            .text(&json!({"type": "auth", "token": token}).to_string());
        self.hear()
    }

    fn hear(&mut self) -> Value {
        let Heard::Text(text) = self.client.hear_message() else {
            panic!("no text");
        };
        serde_json::from_str(&text).unwrap()
    }

    fn ask(&mut self, event: &str, data: &Value) -> Value {
        let request = json!({"type": "request", "event": event, "request_id": "r", "data": data});
        self.client.text(&request.to_string());
        loop {
            let heard = self.hear();
            if heard["request_id"] == "r" {
                return heard;
            }
        }
    }

    fn report_that(&mut self, so: impl Fn(&Value) -> bool) -> Value {
        loop {
            let heard = self.hear();
            if heard["event"] == "report" && so(&heard["data"]) {
                return heard["data"].clone();
            }
        }
    }
}

fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut client = Client::silent(address);
    client.write(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
    let head = client.read_head();
    let body = String::from_utf8(client.read_to_end()).unwrap();
    (head.lines().next().unwrap().to_owned(), body)
}

#[test]
fn the_page_shows_what_goes_on() {
    let engine = serve();
    let address = engine.local_addr().unwrap();
    let (status, page) = get(address, "/admin");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(page.contains("<title>Throng</title>") && !page.contains(TOKEN));

    let mut ann = visitor(&engine, "ann");
    let _bob = visitor(&engine, "bob");
    join(&mut ann, "tea");
    until("ann is in the room", || engine.room_len("tea") == 1);
    let mut page = Watcher::open(address);
    let overview = &page.ask("watch", &Value::Null)["data"];
    assert_eq!(overview["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(overview["shards"], engine.config().shards);
    let report = page.report_that(|it| it["sample"]["connections"] == 2);
    assert_eq!(report["sample"]["users"], 2);
    assert_eq!(report["sample"]["rooms"], 1);
    assert_eq!(
        report["shards"].as_array().unwrap().len(),
        engine.config().shards
    );
    assert_eq!(report["not_ready"], Value::Null);
    let rooms = &page.ask("rooms", &Value::Null)["data"];
    assert_eq!(rooms[0]["name"], "tea");
    assert_eq!(rooms[0]["members"], 1);
    // Pages are none of the connections that they show.
    assert_eq!(engine.connections(), 2);
}

#[test]
fn nothing_is_shown_without_the_token() {
    let engine = serve();
    let address = engine.local_addr().unwrap();
    let mut page = Watcher {
        client: connect_to(address, "/admin"),
    };
    for event in [
        "watch",
        "connections",
        "rooms",
        "kick",
        "kick_user",
        "close_room",
        "drain",
    ] {
        assert_eq!(
            page.ask(event, &json!({"window": 0, "returns": true}))["code"],
            401,
            "{event}"
        );
    }
    let wrong = page.show("a token of some lengtH");
    assert_eq!(
        (&wrong["type"], &wrong["code"]),
        (&json!("auth_error"), &json!(401))
    );
    assert_eq!(page.ask("watch", &Value::Null)["code"], 401);
    // Those who do not show it by and by are closed; the service has not noticed.
    for _ in 0..20 {
        page.client
            .text(&json!({"type": "auth", "token": "wrong"}).to_string());
    }
    let heard = page.client.hear_all();
    assert!(
        heard
            .iter()
            .any(|it| matches!(it, Heard::Close(Some(1008), _)))
    );
    let mut ann = visitor(&engine, "ann");
    assert!(ann.ask(r#"{"type":"ping"}"#).contains("pong"));
}

#[test]
fn connections_are_found_and_closed() {
    let engine = serve();
    let mut ann = visitor(&engine, "ann");
    let mut ben = [visitor(&engine, "ben"), visitor(&engine, "ben")];
    let mut page = Watcher::open(engine.local_addr().unwrap());
    assert_eq!(
        page.ask("connections", &json!({}))["data"]
            .as_array()
            .unwrap()
            .len(),
        3
    );

    let found = &page.ask("connections", &json!({"user": "ann"}))["data"];
    let id = found[0]["id"].clone();
    assert_eq!(
        (&found[0]["user"], &found[1]),
        (&json!("ann"), &Value::Null)
    );
    let found = &page.ask("connections", &json!({"id": id}))["data"];
    assert_eq!(found[0]["user"], "ann");
    assert_eq!(page.ask("kick", &json!({"id": id}))["code"], 200);
    assert_eq!(ann.expect_close(1008), "closed by an administrator");
    until("ann is gone", || engine.user_len("ann") == 0);
    assert_eq!(
        page.ask("connections", &json!({"id": id}))["data"],
        json!([])
    );

    assert_eq!(page.ask("kick_user", &json!({"user": "ben"}))["code"], 200);
    for device in &mut ben {
        device.expect_close(1008);
    }
    for (event, data, code) in [
        ("kick", json!({"id": "gnu"}), 400),
        ("kick", json!({"id": 7}), 400),
        ("kick", json!({}), 400),
        // It may have gone by itself.
        ("kick", json!({"id": "ffffffffffffffff"}), 200),
        ("connections", json!({"id": ""}), 400),
        ("nothing", json!({}), 404),
    ] {
        assert_eq!(page.ask(event, &data)["code"], code, "{event} {data}");
    }
}

#[test]
fn a_room_is_closed() {
    let engine = serve();
    engine.create_room("tea", RoomOptions::new()).unwrap();
    let mut ann = visitor(&engine, "ann");
    join(&mut ann, "tea");
    until("ann is in the room", || engine.room_len("tea") == 1);
    let mut page = Watcher::open(engine.local_addr().unwrap());
    assert_eq!(page.ask("close_room", &json!({"room": "tea"}))["code"], 200);
    assert!(matches!(ann.hear(), Heard::Text(text) if text.contains("room.deleted")));
    assert_eq!(page.ask("close_room", &json!({"room": "tea"}))["code"], 404);
}

#[test]
fn the_engine_is_drained() {
    let engine = serve();
    let mut ann = visitor(&engine, "ann");
    let mut page = Watcher::open(engine.local_addr().unwrap());
    let too_long = page.ask("drain", &json!({"window": 3601, "returns": true}));
    assert_eq!(too_long["code"], 400);
    assert!(too_long["message"].as_str().unwrap().contains("window"));
    assert_eq!(
        page.ask("drain", &json!({"window": 0, "returns": true}))["code"],
        200
    );
    ann.expect_close(1012);
    ann.finish();
    engine.wait();
}

#[test]
fn a_slow_consumer_is_shown() {
    let engine = serve();
    let address = engine.local_addr().unwrap();
    let mut slow = Client::silent_small(address);
    slow.upgrade(&throng_tests::engine::request("").replace("/path?query=1", "/?user=sloth"));
    let mut page = Watcher::open(address);
    page.ask("watch", &Value::Null);
    let payload = vec![0; 64 * 1024];
    let ids = engine.connections_of_user("sloth").unwrap();
    // More than the system's buffers take, and less than what it is given up for.
    let mut sent = 0;
    until("it is behind", || {
        if engine.slow_consumers(1).unwrap().is_empty() && sent < 100 {
            engine.connection(ids[0]).send(&payload[..]).unwrap();
            sent += 1;
        }
        !engine.slow_consumers(1).unwrap().is_empty()
    });
    let report = page.report_that(|it| it["slow"][0]["user"] == "sloth");
    assert!(report["slow"][0]["waiting_bytes"].as_u64().unwrap() > 0);
    assert_eq!(report["slow"][0]["is_behind"], true);
}

#[test]
fn it_may_have_an_address_of_its_own() {
    let admin = Admin::new(TOKEN).path("/ops").bind("127.0.0.1:0").unwrap();
    let engine = builder().admin(admin).start().unwrap();
    let (own, other) = (engine.admin_addr().unwrap(), engine.local_addr().unwrap());
    for path in ["/", "/ops"] {
        assert_eq!(get(own, path).0, "HTTP/1.1 200 OK", "{path}");
        assert_eq!(get(other, path).0, "HTTP/1.1 404 Not Found", "{path}");
    }
    let mut page = Watcher::open(own);
    assert_eq!(page.ask("connections", &json!({}))["data"], json!([]));
    // At the other one that path is the service's.
    let mut ann = connect_to(other, "/ops?user=ann");
    assert!(ann.ask(r#"{"type":"ping"}"#).contains("pong"));
    assert_eq!(engine.user_len("ann"), 1);
}

#[test]
fn one_address_has_only_so_many_pages() {
    let engine = serve();
    let address = engine.local_addr().unwrap();
    let mut pages: Vec<Client> = (0..8).map(|_| connect_to(address, "/admin")).collect();
    let ask = || {
        let mut client = Client::silent(address);
        client.write(
            throng_tests::engine::request("")
                .replace("/path?query=1", "/admin")
                .as_bytes(),
        );
        client.read_head()
    };
    assert!(ask().starts_with("HTTP/1.1 429 "));
    // Who does not show the token in time makes room.
    assert!(pages.remove(0).hear_all().contains(&Heard::Close(
        Some(1008),
        "not authenticated in time".to_owned()
    )));
    until("there is room again", || ask().starts_with("HTTP/1.1 101 "));
}

#[test]
fn a_page_has_a_seat_where_it_came_to() {
    let settings = config().max_connections(2);
    let engine = builder()
        .config(settings)
        .admin(Admin::new(TOKEN))
        .start()
        .unwrap();
    let address = engine.local_addr().unwrap();
    let page = Watcher::open(address);
    let _ann = visitor(&engine, "ann");
    let full = || {
        let mut client = Client::silent(address);
        client.write(throng_tests::engine::request("").as_bytes());
        client.read_head().starts_with("HTTP/1.1 503 ")
    };
    assert!(full(), "the page and ann are two");
    // Who looks after it gets in where it is full.
    drop(Watcher::open(address));
    drop(page);
    until("the page has given its seat up", || !full());
}

#[test]
fn pages_know_the_client_that_a_proxy_announces() {
    let settings = config()
        .proxy_protocol(throng::ProxyProtocol::Required)
        .trusted_proxies(["127.0.0.1"]);
    let engine = builder()
        .config(settings)
        .admin(Admin::new(TOKEN))
        .start()
        .unwrap();
    let ask = |client: &str, forged: &str| {
        let mut page = Client::silent(engine.local_addr().unwrap());
        let header = format!("PROXY TCP4 {client} 192.0.2.1 5000 80\r\n");
        let further = format!("X-Forwarded-For: {forged}\r\n");
        let request = throng_tests::engine::request(&further);
        page.write((header + &request.replace("/path?query=1", "/admin")).as_bytes());
        (page.read_head().starts_with("HTTP/1.1 101 "), page)
    };
    // Whatever they say of themselves, they are counted as whom the proxy announces.
    let _pages: Vec<_> = (0..8)
        .map(|number| {
            let (is_let_in, page) = ask("198.51.100.7", &format!("203.0.113.{number}"));
            assert!(is_let_in, "{number}");
            page
        })
        .collect();
    assert!(!ask("198.51.100.7", "203.0.113.99").0);
    assert!(ask("198.51.100.8", "203.0.113.99").0);
}

#[test]
fn a_page_is_there_while_connections_are_drained() {
    let engine = builder()
        .config(config().shards(2))
        .admin(Admin::new(TOKEN))
        .start()
        .unwrap();
    let visitors: Vec<Client> = (0..8).map(|_| visitor(&engine, "ann")).collect();
    let mut page = Watcher::open(engine.local_addr().unwrap());
    page.ask("watch", &Value::Null);
    let drain = json!({"window": 3600, "returns": true});
    assert_eq!(page.ask("drain", &drain)["code"], 200);
    page.report_that(|it| !it["not_ready"].is_null());
    assert_eq!(page.ask("drain", &drain)["code"], 409);
    // The first of each shard at most has been told by now. A shard that has no connections has stopped.
    let found = page.ask("connections", &json!({}));
    assert!(found["data"].as_array().unwrap().len() >= 6, "{found}");
    drop(visitors);
    engine.wait();
    page.client.hear_all();
}

#[test]
fn pages_end_with_the_engine() {
    for is_separate in [false, true] {
        let admin = Admin::new(TOKEN);
        let admin = if is_separate {
            admin.bind("127.0.0.1:0").unwrap()
        } else {
            admin
        };
        let engine = builder().admin(admin).start().unwrap();
        let address = engine.admin_addr().or(engine.local_addr()).unwrap();
        let mut page = Watcher::open(address);
        page.ask("watch", &Value::Null);
        drop(engine);
        page.client.hear_all();
    }
}

/// What a page at `/admin` that comes from there is answered.
fn answer_to(origin: &str, origins: Origins) -> String {
    let admin = Admin::new(TOKEN);
    let builder = builder().config(config().origins(origins)).admin(admin);
    let engine = builder.start().unwrap();
    let mut client = Client::silent(engine.local_addr().unwrap());
    let request = throng_tests::engine::request(&format!("Origin: {origin}\r\n"));
    client.write(request.replace("/path?query=1", "/admin").as_bytes());
    client.read_head()
}

#[test]
fn a_foreign_page_is_not_let_in() {
    let answer = answer_to("http://elsewhere.example", Origins::same_origin());
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[test]
fn a_proxy_may_rewrite_the_host() {
    let origins = Origins::list(["https://ops.example:8443"]);
    let answer = answer_to("https://ops.example:8443", origins.clone());
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let answer = answer_to("https://ops.example", origins);
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let refusal = |builder: Builder<_>| match builder.start() {
        Err(StartError::Config(error)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let short = builder().admin(Admin::new("123456789012345"));
    assert_eq!(
        refusal(short),
        "admin: the token must have at least 16 bytes"
    );
    let (reports, _happenings) = channel();
    let mounted = Engine::builder().config(config()).mounted();
    let mounted = mounted
        .handler(Obedient::new(reports))
        .admin(Admin::new(TOKEN));
    assert!(
        mounted
            .start()
            .unwrap_err()
            .to_string()
            .starts_with("admin: the page needs an address"),
    );
    let twice = builder()
        .admin(Admin::new(TOKEN))
        .page(Page::new("/admin", "text/plain", ""));
    assert!(refusal(twice).contains("\"/admin\" is the path of two pages"));
    let no_path = builder().admin(Admin::new(TOKEN).path("ops"));
    assert!(refusal(no_path).contains("\"ops\" is no path"));
}

#[test]
fn nothing_of_it_is_there_unless_it_is_asked_for() {
    let engine = builder().start().unwrap();
    assert_eq!(
        get(engine.local_addr().unwrap(), "/admin").0,
        "HTTP/1.1 404 Not Found"
    );
    assert_eq!(engine.admin_addr(), None);
}
