//! In steady state a message costs no allocation: counted on the shard's own thread, driver and
//! system calls included.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]
#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashMap;

use throng::protocol::frame::OpCode;
use throng::{Accept, Backend, Conn, Engine, Handler, Message, Reject, Upgrade};
use throng_tests::engine::{Client, Heard, backend, config, frame, serve_with};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Counts what each thread allocates.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Asks how often the shard's thread has allocated.
const QUESTION: &str = "how many?";
/// Asks which shard it is.
const WHERE: &str = "where?";
const ROOM: &str = "everybody";

/// Echoes, or publishes what begins with `#` to everybody; allocates when told to.
struct Service {
    allocates: bool,
}

impl Handler for Service {
    type State = ();

    fn on_upgrade(&self, _: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_open(&self, conn: &mut Conn<'_, ()>) {
        conn.join(ROOM).unwrap();
    }

    fn on_message(&self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        if message.as_text() == Some(QUESTION) {
            conn.send(&ALLOCATIONS.get().to_be_bytes());
        } else if message.as_text() == Some(WHERE) {
            conn.send(&(conn.id().to_u64() >> 55).to_be_bytes());
        } else if message.as_bytes().first() == Some(&b'#') {
            conn.to(ROOM).message(message).publish();
        } else if self.allocates {
            conn.send(&std::hint::black_box(message.as_bytes().to_vec()));
        } else {
            conn.send(message);
        }
    }
}

fn serve(allocates: bool) -> Engine {
    serve_with(config(), Service { allocates })
}

fn connect(engine: &Engine) -> Client {
    Client::connect(engine.local_addr().unwrap())
}

fn ask(client: &mut Client, question: &str) -> u64 {
    client.text(question);
    match client.hear() {
        Heard::Binary(number) => u64::from_be_bytes(number.try_into().unwrap()),
        other => panic!("{other:?}"),
    }
}

fn allocations(client: &mut Client) -> u64 {
    ask(client, QUESTION)
}

fn shard(client: &mut Client) -> u64 {
    ask(client, WHERE)
}

/// Allocations of the shard while `rounds` rounds of `depth` messages each are echoed.
fn echoing(allocates: bool, message: &Heard, depth: usize, rounds: usize) -> u64 {
    let engine = serve(allocates);
    let mut client = connect(&engine);
    let one = match message {
        Heard::Text(text) => frame(true, OpCode::Text, text.as_bytes()),
        Heard::Binary(bytes) => frame(true, OpCode::Binary, bytes),
        other => panic!("{other:?} is no message"),
    };
    let messages = one.repeat(depth);
    let mut echo = |rounds: usize| {
        for _ in 0..rounds {
            client.write(&messages);
            for _ in 0..depth {
                assert!(client.hear() == *message);
            }
        }
        allocations(&mut client)
    };
    // Long enough that whatever is pooled has been needed.
    let before = echo(rounds);
    echo(rounds) - before
}

/// What so many bytes that were received may have allocated: nothing, but where the system fills
/// buffers one after another (io_uring) a message lies across the end of each, and is put together.
fn at_ends_of_buffers(received: usize) -> u64 {
    const PER_MESSAGE: usize = 2;
    let buffer = config().read_buffer_size / 4;
    let ends = match backend() {
        Backend::Uring => received / buffer + 1,
        _ => 0,
    };
    (PER_MESSAGE * ends) as u64
}

#[test]
fn echoing_does_not_allocate() {
    for (size, depth) in [
        (0, 1),
        (20, 1),
        (20, 16),
        (1000, 1),
        (1000, 16),
        (60_000, 1),
    ] {
        for message in [Heard::Binary(vec![7; size]), Heard::Text("t".repeat(size))] {
            let allocated = echoing(false, &message, depth, 300);
            let most = at_ends_of_buffers(300 * depth * (size + 14));
            assert!(
                allocated <= most,
                "{size} bytes, {depth} at once: {allocated}"
            );
        }
    }
}

#[test]
fn allocating_would_be_noticed() {
    assert!(echoing(true, &Heard::Binary(vec![7; 20]), 1, 300) >= 300);
}

/// Allocations of all shards while `rounds` messages, `depth` at once, are published to everybody.
fn publishing(engine: &Engine, depth: usize, rounds: usize) -> u64 {
    const TEXT: &str = "#to everybody who is here";
    let mut members: Vec<Client> = (0..100).map(|_| connect(engine)).collect();
    let message = frame(true, OpCode::Text, TEXT.as_bytes()).repeat(depth);
    let mut publish = |rounds: usize| {
        for round in 0..rounds {
            let sender = round % members.len();
            members[sender].write(&message);
            for member in &mut members {
                for _ in 0..depth {
                    assert_eq!(member.hear(), Heard::Text(TEXT.into()));
                }
            }
        }
        allocations_of_all(&mut members)
    };
    // Long enough that whatever is pooled has been needed.
    let before = publish(4 * rounds);
    publish(rounds) - before
}

/// The allocations of every shard that the members are on.
fn allocations_of_all(members: &mut [Client]) -> u64 {
    let by_shard: HashMap<u64, u64> = members
        .iter_mut()
        .map(|member| (shard(member), allocations(member)))
        .collect();
    by_shard.values().sum()
}

#[test]
fn publishing_does_not_allocate() {
    for depth in [1, 32] {
        let allocated = publishing(&serve(false), depth, 50);
        assert!(
            allocated <= at_ends_of_buffers(50 * depth * 64),
            "{depth} at once: {allocated}"
        );
    }
}

#[test]
fn publishing_to_other_shards_does_not_allocate() {
    let engine = serve_with(config().shards(2), Service { allocates: false });
    for depth in [1, 32] {
        let allocated = publishing(&engine, depth, 50);
        assert!(
            allocated <= at_ends_of_buffers(50 * depth * 64),
            "{depth} at once: {allocated}"
        );
    }
}
