//! The floor as a client sees it, over real sockets.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use throng_bench::floor::{Audience, Driver, Floor};
use throng_bench::serve::{Backend, Engine, Scenario, Serve};

const PATIENCE: Duration = Duration::from_secs(20);

/// A floor that turns on a thread of its own until it is dropped.
struct Running {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(driver: Driver, audience: Audience, payload: usize) -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        let mut floor = Floor::bind(driver, any, audience, payload).unwrap();
        let addr = floor.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                floor.turn(Some(Duration::from_millis(5))).unwrap();
            }
        });
        Self {
            addr,
            stop,
            thread: Some(thread),
        }
    }

    fn connect(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        // In two pieces, so that the floor has to put the head together.
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nSec-WebS")
            .unwrap();
        std::thread::sleep(Duration::from_millis(20));
        stream
            .write_all(b"ocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            .unwrap();
        let answer = read_head(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        stream
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A masked binary frame; the floor does not care what is in it.
fn client_frame(payload: usize) -> Vec<u8> {
    let mut frame = match payload {
        0..=125 => vec![0x82, 0x80 | u8::try_from(payload).unwrap()],
        126..=65_535 => {
            let len = u16::try_from(payload).unwrap().to_be_bytes();
            vec![0x82, 0x80 | 126, len[0], len[1]]
        }
        _ => [&[0x82, 0x80 | 127][..], &(payload as u64).to_be_bytes()].concat(),
    };
    frame.extend([1, 2, 3, 4]);
    frame.resize(frame.len() + payload, b'x');
    frame
}

/// Reads so many frames and checks the header of each.
fn expect_frames(stream: &mut TcpStream, payload: usize, count: usize) {
    let masked = client_frame(payload);
    let mut header = masked[..masked.len() - payload - 4].to_vec();
    header[1] &= 0x7F;
    for number in 0..count {
        let mut frame = vec![0; header.len() + payload];
        stream.read_exact(&mut frame).unwrap();
        assert_eq!(frame[..header.len()], header, "frame {number} of {count}");
    }
}

fn expect_nothing(stream: &mut TcpStream) {
    stream
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    // A ring that has ended may still interrupt the thread that made it.
    let error = loop {
        match stream.read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => break read.unwrap_err(),
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
}

/// Tests that run on each driver that the machine has.
macro_rules! on_each_driver {
    ($($test:ident)*) => {
        mod readiness {
            use super::Driver::Readiness;
            $(#[test]
            fn $test() {
                super::$test(Readiness);
            })*
        }

        mod completions {
            use super::Driver::Completions;
            $(#[test]
            fn $test() {
                if super::has_completions() {
                    super::$test(Completions);
                }
            })*
        }
    };
}

on_each_driver! {
    each_message_is_answered_by_one_of_its_size
    a_message_in_pieces_is_answered_when_it_is_whole
    a_room_answers_everyone_the_sender_included
    those_who_left_or_have_not_come_in_get_nothing
    a_close_frame_is_answered_and_ends_the_connection
    what_a_slow_reader_is_owed_arrives_whole
    a_head_without_a_key_or_end_closes_the_connection
}

/// Whether this system has what that floor needs; said if not, as the tests pass unrun then.
fn has_completions() -> bool {
    let any = "127.0.0.1:0".parse().unwrap();
    let Err(error) = Floor::bind(Driver::Completions, any, Audience::Sender, 20) else {
        return true;
    };
    let refusals = [ErrorKind::Unsupported, ErrorKind::PermissionDenied];
    assert!(refusals.contains(&error.kind()), "{error}");
    let _ = writeln!(std::io::stderr(), "not run without io_uring: {error}");
    false
}

fn each_message_is_answered_by_one_of_its_size(driver: Driver) {
    for payload in [0, 20, 125, 126, 16_384, 65_535, 65_536, 300_000] {
        let floor = Running::start(driver, Audience::Sender, payload);
        let mut client = floor.connect();
        client.write_all(&client_frame(payload).repeat(3)).unwrap();
        expect_frames(&mut client, payload, 3);
        expect_nothing(&mut client);
    }
}

fn a_message_in_pieces_is_answered_when_it_is_whole(driver: Driver) {
    let floor = Running::start(driver, Audience::Sender, 20);
    let mut client = floor.connect();
    let bytes = client_frame(20).repeat(2);
    for piece in bytes[..bytes.len() - 1].chunks(17) {
        client.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    expect_frames(&mut client, 20, 1);
    expect_nothing(&mut client);
    client.write_all(&bytes[bytes.len() - 1..]).unwrap();
    expect_frames(&mut client, 20, 1);
}

fn a_room_answers_everyone_the_sender_included(driver: Driver) {
    let floor = Running::start(driver, Audience::Everyone, 64);
    let mut members: Vec<_> = (0..5).map(|_| floor.connect()).collect();
    members[3].write_all(&client_frame(64).repeat(7)).unwrap();
    for member in &mut members {
        expect_frames(member, 64, 7);
        expect_nothing(member);
    }
}

fn those_who_left_or_have_not_come_in_get_nothing(driver: Driver) {
    let floor = Running::start(driver, Audience::Everyone, 64);
    let mut outside = TcpStream::connect(floor.addr).unwrap();
    let mut members: Vec<_> = (0..3).map(|_| floor.connect()).collect();
    drop(members.remove(1));
    for _ in 0..3 {
        members[0].write_all(&client_frame(64)).unwrap();
        for member in &mut members {
            expect_frames(member, 64, 1);
        }
    }
    expect_nothing(&mut outside);
}

fn a_close_frame_is_answered_and_ends_the_connection(driver: Driver) {
    let floor = Running::start(driver, Audience::Sender, 20);
    for messages in 0..3 {
        let mut client = floor.connect();
        client
            .write_all(&client_frame(20).repeat(messages))
            .unwrap();
        expect_frames(&mut client, 20, messages);
        let close = [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xE8 ^ 2];
        client.write_all(&close).unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, [0x88, 2, 0x03, 0xE8]);
    }
}

fn what_a_slow_reader_is_owed_arrives_whole(driver: Driver) {
    const COUNT: usize = 400;
    let floor = Running::start(driver, Audience::Sender, 65_536);
    let client = floor.connect();
    let mut writing = client.try_clone().unwrap();
    // 25 MiB, more than the buffers of a connection hold: writes come up short on both sides.
    let writer = std::thread::spawn(move || {
        let frame = client_frame(65_536);
        for _ in 0..COUNT {
            writing.write_all(&frame).unwrap();
        }
    });
    std::thread::sleep(Duration::from_millis(200));
    let mut reading = client;
    expect_frames(&mut reading, 65_536, COUNT);
    expect_nothing(&mut reading);
    writer.join().unwrap();
}

fn a_head_without_a_key_or_end_closes_the_connection(driver: Driver) {
    let floor = Running::start(driver, Audience::Sender, 20);
    for head in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![b'x'; 20_000]] {
        let mut client = TcpStream::connect(floor.addr).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(&head).unwrap();
        assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    }
    let mut client = floor.connect();
    client.write_all(&client_frame(20)).unwrap();
    expect_frames(&mut client, 20, 1);
}

#[test]
fn the_floor_refuses_what_takes_looking_at_requests() {
    assert!(!Engine::Floor.serves(Scenario::Mixed));
    let serve = Serve {
        engine: Engine::Floor,
        scenario: Scenario::Mixed,
        listen: "127.0.0.1:0".parse().unwrap(),
        shards: 1,
        backend: Backend::Auto,
        tls: false,
        cpu: None,
        config: None,
        size: Some(20),
    };
    let error = serve.run().unwrap_err().to_string();
    assert!(error.starts_with("scenario mixed: "), "{error}");
}
