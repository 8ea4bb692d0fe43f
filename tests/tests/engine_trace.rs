//! What the log is told: of one connection everything, if somebody wants to know, and of others nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use throng::protocol::frame::OpCode;
use throng::{Conn, ConnectionId, Engine, Message, Trace};
use throng_tests::engine::{Client, Heard, Served, config, serve, until};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Everything that was logged in the process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

impl Log {
    /// The only log of the process, which tests take turns with.
    fn begin() -> (Log, MutexGuard<'static, Option<Log>>) {
        static ONLY: Mutex<Option<Log>> = Mutex::new(None);
        let mut only = ONLY.lock().unwrap_or_else(PoisonError::into_inner);
        let log = only.get_or_insert_with(|| {
            let log = Log::default();
            tracing_subscriber::fmt()
                .with_max_level(tracing::Level::TRACE)
                .with_span_events(FmtSpan::NEW)
                .with_ansi(false)
                .with_writer(log.clone())
                .init();
            log
        });
        log.0.lock().unwrap().clear();
        (log.clone(), only)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines about the wire, behind their target.
    fn wire(&self) -> Vec<String> {
        let text = self.text();
        let lines = text.lines().filter(|line| line.contains("DEBUG"));
        let lines = lines.filter_map(|line| Some(line.split_once("throng::wire: ")?.1.to_owned()));
        lines.collect()
    }
}

fn id(client: &mut Client) -> ConnectionId {
    ConnectionId::from_u64(client.ask("!id").parse().unwrap())
}

fn has(lines: &[String], words: &[&str]) -> bool {
    let says = |line: &String| words.iter().all(|word| line.contains(word));
    lines.iter().any(says)
}

fn trace(served: &Served, id: ConnectionId, trace: impl Into<Trace>) {
    served.engine.trace(id, trace).unwrap();
}

#[test]
fn a_traced_connection_is_logged_and_no_other() {
    let (log, _turn) = Log::begin();
    let served = serve(config());
    let mut client = served.connect();
    let mut other = served.connect();
    let traced = id(&mut client);
    assert_eq!(log.wire(), [""; 0]);
    trace(&served, traced, true);
    until("it is on", || has(&log.wire(), &["from now on", "Frames"]));
    client.binary(&[7; 300]);
    client.hear();
    client.text("!urgent quick");
    assert_eq!(client.hear(), Heard::Text("quick".into()));
    client.frame(true, OpCode::Ping, b"psst");
    client.hear();
    assert_eq!(client.ask("!join tea"), "Ok(())");
    for number in 0..10 {
        other.ask(&format!("nobody's business {number}"));
    }
    client.close(4000, "private");
    client.hear_all();
    served.next_close();
    let lines = log.wire();
    let name = traced.to_string();
    assert!(lines.iter().all(|line| line.contains(&name)), "{lines:#?}");
    for words in [
        &["received", "Binary", "bytes=300"][..],
        &[
            "sent",
            "Binary",
            "bytes=300",
            "lane=Normal",
            "is_compressed=false",
        ],
        &["received", "Text", "bytes=13"],
        &["sent", "Text", "bytes=5", "lane=High"],
        &["received", "Ping", "bytes=4"],
        &["sent", "Pong", "bytes=4"],
        &["change", "joined"],
        &["received", "Close"],
        &["sent", "Close"],
        &["change", "peer_closed"],
        &["change", "left"],
    ] {
        assert!(has(&lines, words), "{words:?} in {lines:#?}");
    }
    for payload in ["quick", "psst", "private", "payload"] {
        assert!(!has(&lines, &[payload]), "{payload:?} in {lines:#?}");
    }
}

#[test]
fn payloads_are_logged_if_they_are_asked_for() {
    let (log, _turn) = Log::begin();
    let served = serve(config());
    let mut client = served.connect();
    let traced = id(&mut client);
    trace(&served, traced, Trace::Payloads);
    until("it is on", || has(&log.wire(), &["Payloads"]));
    client.ask("seen\n");
    let lines = log.wire();
    assert!(
        has(&lines, &["received", r#"payload="seen\\n""#]),
        "{lines:#?}"
    );
    assert!(has(&lines, &["sent", r#"payload="seen\\n""#]), "{lines:#?}");
    trace(&served, traced, false);
    until("it is off", || has(&log.wire(), &["Off"]));
    let before = log.wire().len();
    client.ask("unseen");
    assert_eq!(log.wire().len(), before);
}

#[test]
fn a_handler_may_switch_it_on_from_the_beginning() {
    let (log, _turn) = Log::begin();
    struct Traced;
    impl throng::Handler for Traced {
        type State = ();
        fn on_upgrade(
            &self,
            _: &throng::Upgrade<'_>,
        ) -> Result<throng::Accept<()>, throng::Reject> {
            Ok(throng::Accept::new(()))
        }
        fn on_open(&self, conn: &mut Conn<'_, ()>) {
            conn.trace(true);
            conn.send("welcome");
        }
        fn on_message(&self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
            conn.send(message);
        }
    }
    let engine: Engine = throng_tests::engine::serve_with(config(), Traced);
    let mut client = Client::connect(engine.local_addr().unwrap());
    assert_eq!(client.hear(), Heard::Text("welcome".into()));
    let lines = log.wire();
    assert!(has(&lines, &["sent the response"]), "{lines:#?}");
    assert!(has(&lines, &["sent", "Text", "bytes=7"]), "{lines:#?}");
}

#[test]
fn who_is_gone_is_not_traced() {
    let (log, _turn) = Log::begin();
    let served = serve(config());
    let mut client = served.connect();
    let gone = id(&mut client);
    drop(client);
    served.next_close();
    let mut next = served.connect();
    id(&mut next);
    trace(&served, gone, true);
    trace(&served, ConnectionId::from_u64(u64::MAX), true);
    next.ask("hello");
    assert_eq!(log.wire(), [""; 0]);
    let handle = served.engine.handle();
    drop(served);
    assert_eq!(handle.trace(gone, true), Err(throng::PublishError::Stopped));
}

#[test]
fn upgrades_and_handlers_have_spans() {
    let (log, _turn) = Log::begin();
    let served = serve(config());
    let mut client = served.connect();
    let id = id(&mut client).to_string();
    let text = log.text();
    let spans: Vec<&str> = text.lines().filter(|line| line.ends_with("new")).collect();
    let has = |level: &str, name: &str| {
        let named = format!("{name}{{connection={id}");
        let says = |line: &&&str| line.contains(level) && line.contains(&named);
        spans.iter().filter(says).count()
    };
    assert_eq!(has("DEBUG", "upgrade"), 1, "{text}");
    assert_eq!(
        has("TRACE", "handler"),
        2,
        "it was opened, and has spoken: {text}"
    );
}
