use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use throng_transport::{Peer, StdStream};

use super::side_door::{SideLimits, Sources};
use super::*;
use crate::readiness::NotReady;

/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// Nothing here lasts this long.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// More than the system's buffers hold.
const ENDLESS: usize = 64 << 20;

const HEALTH: &str = "GET /healthz?from=lb HTTP/1.1\r\nHost: h\r\n\r\n";

fn pages() -> Offering {
    let pages = vec![
        Page::new("/", "text/html; charset=utf-8", "<h1>Chat</h1>"),
        Page::new("/big", "application/octet-stream", vec![7; 3_000_000]),
        Page::new("/endless", "application/octet-stream", vec![0; ENDLESS]),
    ];
    Offering {
        pages,
        ..Offering::default()
    }
}

fn side_door(limits: SideLimits) -> SideDoor {
    let sources = Sources {
        readiness: Box::new(|| Ok(())),
        metrics: None,
    };
    SideDoor::start(pages().check().unwrap(), sources, limits).unwrap()
}

/// A client, and the engine's end of its connection.
fn connection() -> (TcpStream, StdStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let (server, _) = listener.accept().unwrap();
    server.set_nonblocking(true).unwrap();
    (client, StdStream::Tcp(server))
}

/// Brings a connection with the bytes that a shard has read, and returns its client.
fn bring(door: &SideDoor, head: &str) -> TcpStream {
    let (client, stream) = connection();
    door.entrance()
        .reserve(b"")
        .unwrap()
        .hand_over(stream, Peer::Unix, head.into(), ());
    client
}

fn read_all(mut client: impl Read) -> String {
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

fn ask(door: &SideDoor, head: &str) -> String {
    read_all(bring(door, head))
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = answer.split_once("\r\n\r\n")?;
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    fields
        .find(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// Waits until something is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn health_is_ok_and_never_stored() {
    let door = side_door(SideLimits::default());
    let answer = ask(&door, HEALTH);
    assert_eq!((status(&answer), body(&answer)), ("200", "ok"));
    assert_eq!(
        header(&answer, "content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(header(&answer, "cache-control"), Some("no-store"));
    door.stop();
}

#[test]
fn readiness_and_metrics_are_what_the_engine_says() {
    let ready = Arc::new(AtomicBool::new(true));
    let says = Arc::clone(&ready);
    let sources = Sources {
        readiness: Box::new(move || {
            let is_ready = says.load(Ordering::Relaxed);
            is_ready.then_some(()).ok_or(NotReady::Full)
        }),
        metrics: Some(Box::new(|| "throng_connections 7\n".to_owned())),
    };
    let door = SideDoor::start(pages().check().unwrap(), sources, SideLimits::default());
    let door = door.unwrap();
    let readiness = |door| ask(door, "GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n");
    let answer = readiness(&door);
    assert_eq!((status(&answer), body(&answer)), ("200", "ok"));
    ready.store(false, Ordering::Relaxed);
    let answer = readiness(&door);
    assert_eq!(
        (status(&answer), body(&answer)),
        ("503", "the server is full")
    );
    assert_eq!(header(&answer, "cache-control"), Some("no-store"));
    assert!(header(&answer, "retry-after").is_some());
    let answer = ask(&door, "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(
        (status(&answer), body(&answer)),
        ("200", "throng_connections 7\n")
    );
    let expected = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(header(&answer, "content-type"), Some(expected));
    let answer = ask(&door, "POST /metrics HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(status(&answer), "405");
    door.stop();
    let door = side_door(SideLimits::default());
    let answer = ask(&door, "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(status(&answer), "404", "where they are not served");
    door.stop();
}

#[test]
fn pages_are_served_by_path_and_the_connection_closed() {
    let door = side_door(SideLimits::default());
    let answer = ask(
        &door,
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
    );
    assert_eq!((status(&answer), body(&answer)), ("200", "<h1>Chat</h1>"));
    assert_eq!(
        header(&answer, "content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(header(&answer, "content-length"), Some("13"));
    assert_eq!(header(&answer, "connection"), Some("close"));

    let answer = ask(&door, "GET /big HTTP/1.0\r\n\r\n");
    assert_eq!((status(&answer), body(&answer).len()), ("200", 3_000_000));
    door.stop();
}

#[test]
fn head_is_answered_without_content() {
    let door = side_door(SideLimits::default());
    for (path, status_line, length) in [
        ("/", "200", "13"),
        ("/healthz", "200", "2"),
        ("/none", "404", "9"),
    ] {
        let answer = ask(&door, &format!("HEAD {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(
            (status(&answer), body(&answer)),
            (status_line, ""),
            "{answer}"
        );
        assert_eq!(header(&answer, "content-length"), Some(length), "{answer}");
    }
    door.stop();
}

#[test]
fn other_paths_and_methods_are_refused() {
    let door = side_door(SideLimits::default());
    for path in ["/none", "/big/", "//", "/HEALTHZ", "/%68ealthz"] {
        let answer = ask(&door, &format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(status(&answer), "404", "{path}");
        let answer = ask(&door, &format!("POST {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(status(&answer), "404", "{path}");
    }
    for path in ["/", "/healthz"] {
        let answer = ask(&door, &format!("DELETE {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(
            (status(&answer), header(&answer, "allow")),
            ("405", Some("GET, HEAD"))
        );
    }
    door.stop();
}

#[test]
fn an_answer_survives_content_that_nobody_reads() {
    let door = side_door(SideLimits::default());
    let mut client = bring(
        &door,
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\n",
    );
    client.write_all(&[b'x'; 900_000]).unwrap();
    assert_eq!(status(&read_all(client)), "405");
    door.stop();
}

#[test]
fn bytes_already_read_come_before_those_of_the_socket() {
    let door = side_door(SideLimits::default());
    let request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    for border in 0..=request.len() {
        let (head, rest) = request.split_at(border);
        let mut client = bring(&door, head);
        client.write_all(rest.as_bytes()).unwrap();
        assert_eq!(
            body(&read_all(client)),
            "<h1>Chat</h1>",
            "split at {border}"
        );
    }
    door.stop();
}

#[cfg(unix)]
#[test]
fn unix_sockets_are_served_too() {
    let door = side_door(SideLimits::default());
    let (client, server) = std::os::unix::net::UnixStream::pair().unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    server.set_nonblocking(true).unwrap();
    let head = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n".to_vec();
    door.entrance()
        .reserve(b"")
        .unwrap()
        .hand_over(StdStream::Unix(server), Peer::Unix, head, ());
    assert_eq!(body(&read_all(client)), "ok");
    door.stop();
}

#[test]
fn malformed_requests_are_answered_and_hurt_nobody() {
    let door = side_door(SideLimits::default());
    assert_eq!(status(&ask(&door, "GET\r\n\r\n")), "400");
    let long = format!(
        "GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n",
        "x".repeat(20_000)
    );
    assert_eq!(status(&ask(&door, &long)), "431");
    assert_eq!(
        status(&ask(&door, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")),
        "200"
    );
    door.stop();
}

#[test]
fn a_full_side_door_takes_nobody_until_a_place_is_free() {
    let limits = SideLimits {
        connections: 2,
        ..SideLimits::default()
    };
    let door = side_door(limits);
    let entrance = door.entrance();
    let place = entrance.reserve(b"").unwrap();
    let slow = bring(&door, "GET /endless HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(entrance.reserve(b"").is_none());

    drop(place);
    let place = entrance.reserve(b"").unwrap();
    assert!(entrance.reserve(b"").is_none());
    assert_eq!(body(&read_all(slow)).len(), ENDLESS);
    until("the place", || entrance.reserve(b"").is_some());
    drop(place);
    door.stop();
}

#[test]
fn a_full_side_door_still_says_how_the_engine_is() {
    let limits = SideLimits {
        connections: 1,
        reserved: 1,
        ..SideLimits::default()
    };
    let door = side_door(limits);
    let entrance = door.entrance();
    let _slow = entrance.reserve(HEALTH.as_bytes()).unwrap();
    assert!(entrance.reserve(b"GET / HTTP/1.1\r\n").is_none());
    assert!(entrance.reserve(b"GET /health HTTP/1.1\r\n").is_none());
    let scrape = entrance.reserve(b"GET /metrics HTTP/1.1\r\n");
    assert!(scrape.is_some());
    assert!(entrance.reserve(b"GET /metrics HTTP/1.1\r\n").is_none());
    for path in ["/healthz", "/readyz?verbose"] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        let (client, stream) = connection();
        let mut place = None;
        until("the place", || {
            place = entrance.reserve(head.as_bytes());
            place.is_some()
        });
        place
            .unwrap()
            .hand_over(stream, Peer::Unix, head.into(), ());
        assert_eq!(body(&read_all(client)), "ok");
    }
    door.stop();
}

#[test]
fn whoever_stays_after_the_answer_keeps_nobody_out() {
    let limits = SideLimits {
        connections: 4,
        lingering: 8,
        linger: FOR_EVER,
        total: FOR_EVER,
        ..SideLimits::default()
    };
    let door = side_door(limits);
    let mut stay = Vec::new();
    for _ in 0..2 * (limits.connections + limits.lingering) {
        let mut client = bring(&door, HEALTH);
        assert_eq!(body(&read_all(&mut client)), "ok");
        stay.push(client);
    }
    drop(stay);
    door.stop();
}

#[test]
fn of_those_who_stay_after_the_answer_only_so_many_are_listened_to() {
    let limits = SideLimits {
        lingering: 1,
        linger: FOR_EVER,
        total: FOR_EVER,
        ..SideLimits::default()
    };
    let door = side_door(limits);
    let answered = || {
        let mut client = bring(&door, HEALTH);
        assert_eq!(body(&read_all(&mut client)), "ok");
        client
    };
    let (mut heard, mut closed) = (answered(), answered());
    until("the reset", || closed.write_all(b"more").is_err());
    heard.write_all(b"more").unwrap();
    drop(heard);
    door.stop();
}

#[test]
fn a_slow_client_is_cut_off() {
    let brief = Duration::from_millis(100);
    let limits = SideLimits {
        connections: 1,
        total: brief,
        ..SideLimits::default()
    };
    let door = side_door(limits);
    let start = Instant::now();
    let mut client = bring(&door, "GET /endless HTTP/1.1\r\nHost: h\r\n\r\n");
    until("the place", || door.entrance().reserve(b"").is_some());
    assert!(start.elapsed() >= brief, "after {:?}", start.elapsed());
    let mut taken = Vec::new();
    // Whether the end is orderly is the system's affair.
    let _ = client.read_to_end(&mut taken);
    assert!(taken.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(taken.len() < ENDLESS, "{} bytes came", taken.len());
    door.stop();
}

#[test]
fn stopping_ends_what_is_open_and_refuses_what_comes() {
    let door = side_door(SideLimits::default());
    let entrance = door.entrance();
    let place = entrance.reserve(b"").unwrap();
    let mut idle = bring(&door, "GET / HTTP/1.1\r\n");
    door.stop();
    assert!(entrance.reserve(b"").is_none());

    let (mut late, stream) = connection();
    place.hand_over(stream, Peer::Unix, Vec::new(), ());
    for client in [&mut idle, &mut late] {
        match client.read(&mut [0; 16]) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("expected the end, not {other:?}"),
        }
    }
}
