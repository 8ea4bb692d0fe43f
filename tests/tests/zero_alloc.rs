//! In steady state a message costs no allocation: counted on the shard's own thread, driver and
//! system calls included.

#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use throng::protocol::frame::OpCode;
use throng::{Accept, Conn, Engine, Handler, Message, Reject, Upgrade};
use throng_tests::engine::{Client, Heard, config, frame};

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
    let builder = Engine::builder()
        .bind("127.0.0.1:0")
        .unwrap()
        .config(config());
    builder.handler(Service { allocates }).start().unwrap()
}

fn connect(engine: &Engine) -> Client {
    Client::connect(engine.local_addr().unwrap())
}

fn allocations(client: &mut Client) -> u64 {
    client.text(QUESTION);
    match client.hear() {
        Heard::Binary(count) => u64::from_be_bytes(count.try_into().unwrap()),
        other => panic!("{other:?}"),
    }
}

/// Allocations of the shard while `rounds` rounds of `depth` messages each are echoed.
fn echoing(allocates: bool, payload: &[u8], depth: usize, rounds: usize) -> u64 {
    let engine = serve(allocates);
    let mut client = connect(&engine);
    let messages = frame(true, OpCode::Binary, payload).repeat(depth);
    let mut echo = |rounds: usize| {
        for _ in 0..rounds {
            client.write(&messages);
            for _ in 0..depth {
                assert!(client.hear() == Heard::Binary(payload.to_vec()));
            }
        }
        allocations(&mut client)
    };
    let before = echo(50);
    echo(rounds) - before
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
        let payload = vec![7; size];
        assert_eq!(
            echoing(false, &payload, depth, 300),
            0,
            "{size} bytes, {depth} at once"
        );
    }
}

#[test]
fn allocating_would_be_noticed() {
    assert!(echoing(true, &[7; 20], 1, 300) >= 300);
}

#[test]
fn publishing_does_not_allocate() {
    let engine = serve(false);
    let mut members: Vec<Client> = (0..100).map(|_| connect(&engine)).collect();
    let mut publish = |rounds: usize, depth: usize| {
        let message = frame(true, OpCode::Text, b"#to everybody who is here").repeat(depth);
        for round in 0..rounds {
            let sender = round % members.len();
            members[sender].write(&message);
            for member in &mut members {
                for _ in 0..depth {
                    assert_eq!(
                        member.hear(),
                        Heard::Text("#to everybody who is here".into())
                    );
                }
            }
        }
        allocations(&mut members[0])
    };
    for depth in [1, 32] {
        let before = publish(20, depth);
        assert_eq!(publish(50, depth) - before, 0, "{depth} at once");
    }
}
