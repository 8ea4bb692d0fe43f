//! Typed events over real sockets: routing, envelopes, answers now and later.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use throng::protocol::frame::OpCode;
use throng::router::{
    Auth, Call, Cx, EventError, Identity, MessagePack, Middleware, Outcome, RateLimit, RouterError,
    Style, Timeout,
};
use throng::{Accept, Engine, Message, Router, StartError};
use throng_tests::engine::{Client, Heard, PATIENCE, config, serve_router};

#[derive(Deserialize, Serialize)]
struct Add {
    left: u8,
    right: u8,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Sum {
    sum: u8,
}

/// Events of every kind.
fn events<C: throng::router::Codec>(router: &mut Router<(), C>) {
    router.on("add", |_, Add { left, right }| {
        let sum = left.checked_add(right);
        let sum = sum.ok_or(EventError::malformed("data.right: the sum is above 255"))?;
        Ok(Sum { sum })
    });
    router.on_async("sleep", |cx, millis: u64| {
        let handle = cx.handle();
        async move {
            let (wake, woken) = channel::<()>();
            // A thread of its own stands for whatever else takes time.
            let slept = Slept::new(move || {
                let _ = woken.recv_timeout(Duration::from_millis(millis));
                drop(handle);
            });
            slept.await;
            drop(wake);
            if millis == 7 {
                return Err(EventError::conflict("seven"));
            }
            Ok(millis)
        }
    });
    router.on_async("for-ever", |_, ()| {
        std::future::pending::<Result<(), EventError>>()
    });
    router.notify("tell", |cx: &mut Cx<'_, ()>, text: String| {
        cx.send(&*text);
    });
    router.notify("fail", |_, ()| {
        Err::<(), _>(EventError::new(418, "short and stout"))
    });
    router.on("panic", |_, ()| -> Result<(), EventError> {
        panic!("as told")
    });
    router.on("hide", |_, ()| -> Result<(), EventError> {
        Err(EventError::internal())
    });
    router
        .on("small", |_, text: String| Ok(text.len()))
        .max_size(8);
    router
        .on_async("hurry", |_, ()| {
            std::future::pending::<Result<(), EventError>>()
        })
        .timeout(Duration::from_millis(20));
}

/// What a thread does, awaited.
struct Slept(Arc<Mutex<(bool, Option<std::task::Waker>)>>);

impl Slept {
    fn new(work: impl FnOnce() + Send + 'static) -> Slept {
        let shared = Arc::new(Mutex::new((false, None::<std::task::Waker>)));
        let done = Arc::clone(&shared);
        std::thread::spawn(move || {
            work();
            let mut done = done.lock().unwrap();
            done.0 = true;
            if let Some(waker) = done.1.take() {
                waker.wake();
            }
        });
        Slept(shared)
    }
}

impl Future for Slept {
    type Output = ();

    fn poll(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<()> {
        let mut shared = self.0.lock().unwrap();
        if shared.0 {
            return std::task::Poll::Ready(());
        }
        shared.1 = Some(cx.waker().clone());
        std::task::Poll::Pending
    }
}

fn serve(router: Router) -> Engine {
    serve_router(config().invalid_messages_per_minute(None), router)
}

fn serve_events() -> Engine {
    let mut router = Router::new();
    events(&mut router);
    serve(router)
}

fn connect(engine: &Engine) -> Client {
    Client::connect(engine.local_addr().unwrap())
}

/// The next text, without what differs from run to run.
fn hear(client: &mut Client) -> Value {
    let mut value = client.hear_json();
    if let Some(trace) = value.get("trace_id") {
        let trace = trace.as_str().unwrap();
        assert_eq!(trace.len(), 16);
        assert!(trace.chars().all(|c| c.is_ascii_hexdigit()));
        value["trace_id"] = json!("…");
    }
    assert!(value["timestamp"].as_u64().unwrap() > 1_700_000_000);
    value["timestamp"] = json!(0);
    value
}

fn answer(client: &mut Client, message: &str) -> Value {
    client.text(message);
    hear(client)
}

fn error(request_id: &str, code: u16, message: &str) -> Value {
    json!({
        "type": "error", "request_id": request_id, "code": code, "message": message,
        "trace_id": "…", "timestamp": 0,
    })
}

#[test]
fn a_request_is_answered_to_the_letter() {
    let engine = serve_events();
    let mut client = connect(&engine);
    let request = r#"{"type":"request","event":"add","request_id":"r1","data":{"left":1,"right":2},"timestamp":1707552000}"#;
    client.text(request);
    let Heard::Text(text) = client.hear() else {
        panic!("no text");
    };
    let start = r#"{"type":"response","request_id":"r1","code":200,"message":"success","data":{"sum":3},"trace_id":""#;
    assert!(text.starts_with(start), "{text}");
    let (trace, rest) = text[start.len()..].split_once(r#"","timestamp":"#).unwrap();
    assert_eq!(trace.len(), 16);
    rest.strip_suffix('}').unwrap().parse::<u64>().unwrap();

    client.text(r#"{"type":"request","event":"hide","request_id":"r\u0032"}"#);
    let Heard::Text(text) = client.hear() else {
        panic!("no text");
    };
    let start =
        r#"{"type":"error","request_id":"r2","code":500,"message":"internal error","trace_id":""#;
    assert!(text.starts_with(start), "{text}");
}

/// What is sent, and the code, message and `request_id` of the answer.
type Bad<'a> = (&'a str, u16, &'a str, Option<&'a str>);

fn check(client: &mut Client, cases: &[Bad<'_>]) {
    for (message, code, text, request_id) in cases {
        let answer = answer(client, message);
        assert_eq!(answer["type"], "error", "{message}");
        assert_eq!(answer["code"], *code, "{message}: {answer}");
        assert_eq!(answer["message"], *text, "{message}");
        let named = answer.get("request_id").and_then(Value::as_str);
        assert_eq!(named, *request_id, "{message}");
    }
    let add = r#"{"type":"request","request_id":"r","event":"add","data":{"left":1,"right":2}}"#;
    let sum = answer(client, add);
    assert_eq!(sum["data"], json!({"sum": 3}), "it is as it was");
}

#[test]
fn what_is_no_envelope_is_answered_and_harms_nothing() {
    let engine = serve_events();
    let mut client = connect(&engine);
    let long = format!(
        r#"{{"type":"request","request_id":"{}","event":"add"}}"#,
        "x".repeat(129)
    );
    let r = Some("r");
    check(
        &mut client,
        &[
            ("nonsense", 400, "expected ident", None),
            ("[]", 400, "expected an object", None),
            ("{}", 400, "type: missing", None),
            (
                r#"{"type":7}"#,
                400,
                "type: invalid type: integer `7`, expected a string",
                None,
            ),
            (
                r#"{"type":"x"}"#,
                400,
                "type: must be request, notify, auth or ping",
                None,
            ),
            (
                r#"{"type":"request","event":"add"}"#,
                400,
                "request_id: missing",
                None,
            ),
            (
                r#"{"type":"request","request_id":"r"}"#,
                400,
                "event: missing",
                r,
            ),
            (
                r#"{"type":"request","request_id":7,"event":"add"}"#,
                400,
                "request_id: invalid type: integer `7`, expected a string",
                None,
            ),
            (&long, 400, "request_id: it is longer than 128 bytes", None),
            (
                r#"{"type":"request","request_id":"r","event":"sub"}"#,
                404,
                "no such event",
                r,
            ),
            (
                r#"{"type":"notify","event":"sub"}"#,
                404,
                "no such event",
                None,
            ),
        ],
    );
    client.binary(b"{}");
    assert_eq!(hear(&mut client)["message"], "events are text messages");
}

#[test]
fn data_that_is_wrong_is_answered_with_the_field() {
    let engine = serve_events();
    let mut client = connect(&engine);
    let add = |data: &str| format!(r#"{{"type":"request","request_id":"r","event":"add"{data}}}"#);
    let r = Some("r");
    let small = r#"{"type":"request","request_id":"r","event":"small","data":"too large"}"#;
    check(
        &mut client,
        &[
            (&add(""), 400, "data: missing field `left`", r),
            (
                &add(r#","data":{"left":1}"#),
                400,
                "data: missing field `right`",
                r,
            ),
            (
                &add(r#","data":{"left":1,"right":"2"}"#),
                400,
                "data.right: invalid type: string \"2\", expected u8",
                r,
            ),
            (
                &add(r#","data":{"left":1,"right":256}"#),
                400,
                "data.right: invalid value: integer `256`, expected u8",
                r,
            ),
            (
                &add(r#","data":{"left":200,"right":100}"#),
                400,
                "data.right: the sum is above 255",
                r,
            ),
            (small, 413, "data: 11 bytes, of which 8 are allowed", r),
            (
                r#"{"type":"notify","event":"fail"}"#,
                418,
                "short and stout",
                None,
            ),
        ],
    );
}

#[test]
fn who_sends_nonsense_for_long_is_closed() {
    let mut router = Router::new();
    events(&mut router);
    let engine = serve_router(config().invalid_messages_per_minute(3), router);
    let mut client = connect(&engine);
    for _ in 0..3 {
        assert_eq!(answer(&mut client, "{}")["code"], 400);
    }
    client.text("{}");
    assert_eq!(hear(&mut client)["code"], 400);
    client.expect_close(1008);
}

#[test]
fn the_application_heartbeat_is_answered() {
    let engine = serve_events();
    let mut client = connect(&engine);
    client.text(r#"{"type":"ping"}"#);
    let Heard::Text(text) = client.hear() else {
        panic!("no text");
    };
    let rest = text.strip_prefix(r#"{"type":"pong","timestamp":"#).unwrap();
    rest.strip_suffix('}').unwrap().parse::<u64>().unwrap();
}

#[test]
fn notices_are_not_answered_unless_they_fail() {
    let engine = serve_events();
    let mut client = connect(&engine);
    client.text(r#"{"type":"notify","event":"tell","data":"hello"}"#);
    assert_eq!(client.hear(), Heard::Text("hello".to_owned()));
    client.text(r#"{"type":"notify","event":"add","data":{"left":1,"right":2}}"#);
    assert_eq!(
        answer(&mut client, r#"{"type":"ping"}"#)["type"],
        "pong",
        "no answer came before"
    );
    client.text(r#"{"type":"request","request_id":"r","event":"tell","data":"hello"}"#);
    assert_eq!(client.hear(), Heard::Text("hello".to_owned()));
    assert_eq!(hear(&mut client)["data"], Value::Null, "it was asked for");
}

#[test]
fn answers_come_when_they_are_made() {
    let engine = serve_events();
    let mut client = connect(&engine);
    let ask = |id: &str, millis: u64| {
        format!(r#"{{"type":"request","request_id":"{id}","event":"sleep","data":{millis}}}"#)
    };
    client.text(&ask("slow", 300));
    client.text(&ask("fast", 1));
    client.text(&ask("wrong", 7));
    let at_once =
        r#"{"type":"request","request_id":"now","event":"add","data":{"left":0,"right":0}}"#;
    assert_eq!(
        answer(&mut client, at_once)["request_id"],
        "now",
        "the shard is free"
    );
    let first: Vec<Value> = (0..2).map(|_| hear(&mut client)).collect();
    assert!(first.contains(&error("wrong", 409, "seven")), "{first:?}");
    assert!(first.iter().any(|answer| answer["data"] == json!(1)));
    assert_eq!(hear(&mut client)["request_id"], "slow");
}

#[test]
fn what_takes_too_long_is_given_up() {
    let mut router = Router::new();
    events(&mut router);
    router.with(Timeout(Duration::from_millis(30)));
    let engine = serve(router);
    let mut client = connect(&engine);
    client.text(r#"{"type":"request","request_id":"a","event":"for-ever"}"#);
    assert_eq!(
        hear(&mut client),
        error("a", 408, "the service took too long")
    );
    client.text(r#"{"type":"request","request_id":"b","event":"hurry"}"#);
    assert_eq!(
        hear(&mut client),
        error("b", 408, "the service took too long")
    );
}

#[test]
fn requests_beyond_the_bound_are_refused() {
    let mut router = Router::new();
    events(&mut router);
    let engine = serve_router(config().max_jobs_per_connection(2), router);
    let mut client = connect(&engine);
    for _ in 0..2 {
        client.text(r#"{"type":"request","request_id":"a","event":"for-ever"}"#);
    }
    let refused = answer(
        &mut client,
        r#"{"type":"request","request_id":"c","event":"for-ever"}"#,
    );
    let most = "the connection has 2 jobs, the most allowed (max_jobs_per_connection)";
    assert_eq!(refused, error("c", 429, most));
}

#[test]
fn a_panic_costs_the_one_connection() {
    let engine = serve_events();
    let mut other = connect(&engine);
    let mut client = connect(&engine);
    client.text(r#"{"type":"request","request_id":"a","event":"panic"}"#);
    client.expect_close(1011);
    assert_eq!(answer(&mut other, r#"{"type":"ping"}"#)["type"], "pong");
}

#[test]
fn the_plain_style_routes_by_type() {
    #[derive(Deserialize)]
    struct Chat {
        room: String,
        content: String,
    }
    let mut router = Router::new();
    router.style(Style::Plain);
    router.on("chat", |_, Chat { room, content }| {
        Ok(format!("{room}: {content}"))
    });
    let engine = serve(router);
    let mut client = connect(&engine);
    let chat = answer(
        &mut client,
        r#"{"type":"chat","room":"general","content":"hi"}"#,
    );
    let expected = json!({
        "type": "response", "event": "chat", "code": 200, "message": "success",
        "data": "general: hi", "trace_id": "…", "timestamp": 0,
    });
    assert_eq!(chat, expected);
    let asked = r#"{"type":"chat","room":"general","content":"hi","request_id":"r"}"#;
    assert_eq!(answer(&mut client, asked)["request_id"], "r");
    let wrong = answer(&mut client, r#"{"type":"chat","room":"general"}"#);
    assert_eq!(
        (&wrong["code"], &wrong["event"]),
        (&json!(400), &json!("chat"))
    );
    assert_eq!(wrong["message"], "missing field `content`");
    let unknown = answer(&mut client, r#"{"type":"shout"}"#);
    assert_eq!(
        (&unknown["code"], &unknown["event"]),
        (&json!(404), &json!("shout"))
    );
    assert_eq!(answer(&mut client, r#"{"type":"ping"}"#)["type"], "pong");
}

#[test]
fn in_the_plain_style_fields_are_the_events() {
    let mut router = Router::new();
    router.style(Style::Plain);
    router.auth(Auth::new(|token: &str, _| Ok(Identity::new(token))));
    router
        .on("fields", |_, fields: Value| {
            Ok([&fields["event"], &fields["token"], &fields["data"]].map(Value::clone))
        })
        .public();
    router.notify("tell", |_, _: Value| {}).public();
    router.on("whoami", |cx, _: Value| Ok(cx.user_id().map(str::to_owned)));
    let engine = serve(router);
    let mut client = connect(&engine);
    let fields = r#"{"type":"fields","event":7,"token":[true],"data":{"a":null}}"#;
    let told = answer(&mut client, fields);
    assert_eq!(told["data"], json!([7, [true], {"a": null}]), "{told}");
    client.text(r#"{"type":"tell"}"#);
    let asked = answer(&mut client, r#"{"type":"tell","request_id":"r"}"#);
    assert_eq!(
        (&asked["request_id"], &asked["data"]),
        (&json!("r"), &Value::Null),
        "the first one wanted no answer"
    );
    let wrong = answer(&mut client, r#"{"type":"auth","token":7}"#);
    assert_eq!(
        wrong["message"],
        "token: invalid type: integer `7`, expected a string"
    );
    let right = answer(&mut client, r#"{"type":"auth","token":"ann"}"#);
    assert_eq!(right["type"], "auth_success");
    assert_eq!(answer(&mut client, r#"{"type":"whoami"}"#)["data"], "ann");
}

/// What a client has sent comes back in part only.
#[test]
fn errors_are_short() {
    let engine = serve_events();
    let mut client = connect(&engine);
    let long = "ä".repeat(200_000);
    for data in [
        json!({"left": 1, "right": long}),
        json!({"left": long}),
        json!(long),
    ] {
        let request = json!({"type": "request", "event": "add", "request_id": "r", "data": data});
        let told = answer(&mut client, &request.to_string());
        assert_eq!(told["code"], 400);
        let message = told["message"].as_str().unwrap();
        assert!((10..600).contains(&message.len()), "{}", message.len());
    }
    let nameless = answer(&mut client, &json!({"type": long}).to_string());
    assert!(nameless["message"].as_str().unwrap().len() < 600);
}

#[test]
fn events_may_travel_as_message_pack() {
    let mut router = Router::new().codec(MessagePack);
    events(&mut router);
    let engine = serve_router(config(), router);
    let mut client = connect(&engine);
    let mut ask = |message: Value| {
        client.binary(&rmp_serde::to_vec_named(&message).unwrap());
        let Heard::Binary(bytes) = client.hear() else {
            panic!("no bytes");
        };
        rmp_serde::from_slice::<Value>(&bytes).unwrap()
    };
    let sum = ask(json!({
        "type": "request", "event": "add", "request_id": "r", "data": {"left": 1, "right": 2},
    }));
    assert_eq!(sum["data"], json!({"sum": 3}));
    assert_eq!(
        (&sum["code"], &sum["request_id"]),
        (&json!(200), &json!("r"))
    );
    let wrong =
        ask(json!({"type": "request", "event": "add", "request_id": "r", "data": {"left": 1}}));
    assert_eq!(wrong["message"], "data: missing field `right`");
    let wrong = ask(json!({"type": "request", "event": "add", "request_id": "r"}));
    assert_eq!(wrong["code"], 400);
    assert_eq!(ask(json!({"type": "ping"}))["type"], "pong");
    assert_eq!(ask(json!([]))["message"], "expected a map");
    client.text("{}");
    let Heard::Binary(bytes) = client.hear() else {
        panic!("no bytes");
    };
    let wrong: Value = rmp_serde::from_slice(&bytes).unwrap();
    assert_eq!(wrong["message"], "events are binary messages");
}

/// Whoever reads a tree calls itself for each branch.
#[test]
fn nobody_sends_what_overflows_the_stack() {
    #[derive(Deserialize)]
    enum Tree {
        Leaf,
        Branch(Box<Tree>),
    }
    fn depth(tree: &Tree) -> usize {
        match tree {
            Tree::Leaf => 0,
            Tree::Branch(tree) => 1 + depth(tree),
        }
    }
    let mut router = Router::new().codec(MessagePack);
    router.on("depth", |_, tree: Tree| Ok(depth(&tree)));
    let engine = serve_router(config(), router);
    let mut client = connect(&engine);
    let mut ask = |depth: usize| {
        let request = json!({"type": "request", "event": "depth", "request_id": "r"});
        let mut message = rmp_serde::to_vec_named(&request).unwrap();
        message[0] += 1;
        message.extend(b"\xa4data");
        for _ in 0..depth {
            message.extend(b"\x81\xa6Branch");
        }
        message.extend(b"\xa4Leaf");
        client.binary(&message);
        let Heard::Binary(bytes) = client.hear() else {
            panic!("no bytes");
        };
        rmp_serde::from_slice::<Value>(&bytes).unwrap()
    };
    assert_eq!(ask(127)["data"], 127);
    for deep in [128, 50_000] {
        let told = ask(deep);
        assert_eq!(told["message"], "it is nested in more than 128 levels");
    }
    assert_eq!(ask(0)["data"], 0);
}

#[test]
fn what_is_registered_wrongly_is_told_before_anything_is_bound() {
    let refusal = |build: &dyn Fn(&mut Router)| {
        let mut router = Router::new();
        build(&mut router);
        let builder = Engine::builder().bind("127.0.0.1:0").unwrap();
        match builder.router(router).map(|_| ()) {
            Err(StartError::Router(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    let twice = refusal(&|router| {
        router.notify("a", |_, ()| {});
        router.on("a", |_, ()| Ok(()));
    });
    assert_eq!(twice.to_string(), "the event \"a\" was registered twice");
    for name in ["", "ping", "auth", &"x".repeat(129)] {
        let error = refusal(&|router| {
            router.notify(name, |_, ()| {});
        });
        assert!(matches!(error, RouterError::Name { .. }), "{name}");
    }
    let event = "a".to_owned();
    let roles = refusal(&|router| {
        router.on("a", |_, ()| Ok(())).roles(["cook"]);
    });
    assert_eq!(roles, RouterError::RolesWithoutAuth { event });
    let unknown = refusal(&|router| {
        router.with(RateLimit::per_connection(1.0, 1).events(["a", "b"]));
        router.on("a", |_, ()| Ok(()));
    });
    let event = "b".to_owned();
    assert_eq!(unknown, RouterError::UnknownEvent { event });
    let mut early = Router::new();
    early.notify("a", |_, ()| {});
    let late = early.codec(MessagePack).freeze().unwrap_err();
    assert!(matches!(late, RouterError::CodecTooLate { .. }));
}

#[derive(Clone)]
struct Noted(&'static str, Arc<Mutex<Sender<String>>>);

impl Noted {
    fn note(&self, what: &str) {
        let _ = self.1.lock().unwrap().send(format!("{} {what}", self.0));
    }
}

impl<S> Middleware<S> for Noted {
    fn before(&self, _: &mut Cx<'_, S>, call: &Call<'_>) -> Result<(), EventError> {
        self.note(&format!("before {}", call.event()));
        if self.0 == "inner" && call.event() == "stop" {
            return Err(EventError::forbidden("stopped"));
        }
        Ok(())
    }

    fn after(&self, cx: &mut Cx<'_, S>, outcome: &Outcome<'_>) {
        let id = cx.request_id().unwrap_or("-").to_owned();
        self.note(&format!(
            "after {} {} {id}",
            outcome.event(),
            outcome.code()
        ));
    }
}

#[test]
fn middleware_is_around_every_event_and_may_stop_it() {
    let (sender, notes) = channel();
    let sender = Arc::new(Mutex::new(sender));
    let mut router = Router::new();
    events(&mut router);
    router.notify("stop", |_, ()| -> () { panic!("it was stopped") });
    router.with(Noted("outer", Arc::clone(&sender)));
    router.with(Noted("inner", sender));
    let engine = serve(router);
    let mut client = connect(&engine);
    let expect = |lines: &[&str]| {
        for line in lines {
            assert_eq!(notes.recv_timeout(PATIENCE).unwrap(), *line);
        }
        assert!(notes.try_recv().is_err());
    };
    let stopped = answer(
        &mut client,
        r#"{"type":"request","request_id":"r","event":"stop"}"#,
    );
    assert_eq!(stopped, error("r", 403, "stopped"));
    expect(&[
        "outer before stop",
        "inner before stop",
        "outer after stop 403 r",
    ]);
    let refused = r#"{"type":"request","request_id":"t","event":"small","data":"too large"}"#;
    assert_eq!(answer(&mut client, refused)["code"], 413);
    expect(&[
        "outer before small",
        "inner before small",
        "inner after small 413 t",
        "outer after small 413 t",
    ]);
    answer(
        &mut client,
        r#"{"type":"request","request_id":"s","event":"sleep","data":1}"#,
    );
    expect(&[
        "outer before sleep",
        "inner before sleep",
        "inner after sleep 200 s",
        "outer after sleep 200 s",
    ]);
}

#[test]
fn connections_have_states_and_hooks() {
    let mut router = Router::with_state(|request| {
        let name = request.query_value("query").unwrap_or_default();
        Ok(Accept::new(name.into_owned()))
    });
    router.on_open(|conn| {
        conn.send("welcome");
    });
    let (closed, was_closed) = channel();
    let closed = Mutex::new(closed);
    router.on_close(move |conn, close| {
        let told = (conn.state().clone(), close.cause.clone());
        closed.lock().unwrap().send(told).unwrap();
    });
    router.on_other(|conn, message| {
        if let Message::Binary(bytes) = message {
            conn.send(bytes);
        }
    });
    router.on("state", |cx, more: String| {
        cx.state_mut().push_str(&more);
        Ok(cx.state().clone())
    });
    let engine = serve_router(config(), router);
    let mut client = connect(&engine);
    assert_eq!(client.hear(), Heard::Text("welcome".to_owned()));
    let state = answer(
        &mut client,
        r#"{"type":"request","request_id":"r","event":"state","data":"2"}"#,
    );
    assert_eq!(state["data"], "12");
    client.frame(true, OpCode::Binary, b"raw");
    assert_eq!(client.hear(), Heard::Binary(b"raw".to_vec()));
    drop(client);
    assert_eq!(was_closed.recv_timeout(PATIENCE).unwrap().0, "12");
}
