//! A large audience is served in slices: told from the sends that a shard makes in each turn.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use throng::internals::Solo;
use throng::protocol::frame::OpCode;
use throng::{Accept, Conn, Handler, Message, Reject, Upgrade};
use throng_tests::engine::{config, frame};
use throng_transport::{
    Detached, Driver, Listener, Next, Peer, SendQueue, Sent, Service, Socket, SocketKey, StdStream,
    Turn, Waker,
};

const MEMBERS: usize = 1000;
/// Members that are sent to in one turn.
const SLICE: usize = 128;

/// Whose first byte is `#` joins the room; whose is `!` publishes; everything else is echoed.
struct Square;

impl Handler for Square {
    type State = ();

    fn on_upgrade(&self, _: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        let receipt = match message.as_bytes() {
            [b'#', ..] => return conn.join("square").unwrap(),
            [b'!', ..] => conn.to("square").message(message).publish(),
            _ => conn.send(message),
        };
        assert_eq!(receipt.audience(), receipt.queued);
    }
}

/// Takes note of what is sent, all of which is taken at once.
#[derive(Default)]
struct Memory {
    keys: Vec<SocketKey>,
    sent: Vec<(SocketKey, Vec<u8>)>,
}

impl Driver for Memory {
    fn listen(&mut self, _: Listener) -> io::Result<()> {
        Ok(())
    }

    fn stop_listening(&mut self) {}

    fn adopt(&mut self, key: SocketKey, _: Socket) -> io::Result<()> {
        self.keys.push(key);
        Ok(())
    }

    fn detach(&mut self, _: SocketKey) -> Option<Detached> {
        None
    }

    fn wait(&mut self, _: Option<Duration>, _: &mut impl Service) -> io::Result<()> {
        Ok(())
    }

    fn send(&mut self, key: SocketKey, queue: &mut SendQueue) -> Sent {
        let bytes = queue.iter().flat_map(|slice| slice.as_bytes().to_vec());
        self.sent.push((key, bytes.collect()));
        queue.clear();
        Sent::Done
    }

    fn unsent(&mut self, _: SocketKey) -> usize {
        0
    }

    fn pause(&mut self, _: SocketKey) {}

    fn resume(&mut self, _: SocketKey) {}

    fn finish(&mut self, _: SocketKey) {}

    fn close(&mut self, _: SocketKey) {}

    fn abort(&mut self, _: SocketKey) {}

    fn waker(&self) -> Waker {
        Waker::new(|| true)
    }
}

/// A shard with open connections, of which all but the last are in the room.
struct World {
    shard: Solo<Square>,
    driver: Memory,
}

impl World {
    fn new() -> World {
        let driver = Memory::default();
        let shard = Solo::new(config(), Square, driver.waker(), 1).unwrap();
        let mut world = World { shard, driver };
        let (socket, _peer) = UnixStream::pair().unwrap();
        for _ in 0..=MEMBERS {
            let socket = socket.try_clone().unwrap();
            let socket = Socket::from_std(StdStream::Unix(socket)).unwrap();
            world.shard.accepted(socket, Peer::Unix);
        }
        world.turn();
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        for key in world.driver.keys.clone() {
            world.shard.received(key, &mut request.to_vec());
        }
        world.turn();
        for member in 0..MEMBERS {
            world.says(member, "#");
        }
        world.turn();
        world
    }

    fn says(&mut self, who: usize, text: &str) {
        let mut bytes = frame(true, OpCode::Text, text.as_bytes());
        self.shard.received(self.driver.keys[who], &mut bytes);
    }

    /// Who is sent what in the next turn, and whether it is the last one with something to do.
    fn turn(&mut self) -> (Vec<(usize, String)>, bool) {
        self.shard.begin(Duration::from_millis(1));
        let next = self.shard.turn(&mut self.driver);
        let sent = std::mem::take(&mut self.driver.sent);
        let places = self.driver.keys.iter().zip(0..);
        let places: HashMap<u32, usize> = places.map(|(key, place)| (key.slot, place)).collect();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let sent = sent
            .into_iter()
            .map(|(key, bytes)| (places[&key.slot], text(bytes)));
        (
            sent.collect(),
            !matches!(next, Next::Wait(Some(Duration::ZERO))),
        )
    }
}

const BYSTANDER: usize = MEMBERS;

#[test]
fn others_are_answered_between_the_slices() {
    let mut world = World::new();
    world.says(0, "!hear ye");
    let (sent, is_last) = world.turn();
    assert_eq!((sent.len(), is_last), (SLICE, false));
    let mut served = sent;
    for round in 0..MEMBERS {
        world.says(BYSTANDER, "?");
        let (mut sent, is_last) = world.turn();
        assert_eq!(
            sent.remove(0),
            (BYSTANDER, "\u{fffd}\u{1}?".to_owned()),
            "{round}"
        );
        assert!(sent.len() <= SLICE);
        served.extend(sent);
        if is_last {
            break;
        }
    }
    let expected = (0..MEMBERS).map(|member| (member, "\u{fffd}\u{8}!hear ye".to_owned()));
    assert!(
        served.into_iter().eq(expected),
        "each member once, in order"
    );
}

/// A member that is sent something of its own need not wait for its slice, and what comes to those
/// who wait goes out in the same write.
#[test]
fn a_member_leaves_the_line_with_what_is_its_own() {
    let mut world = World::new();
    let mut writes = vec![0; MEMBERS];
    world.says(0, "!a");
    let (sent, _) = world.turn();
    sent.iter().for_each(|(member, _)| writes[*member] += 1);
    world.says(999, "mine");
    world.says(0, "!b");
    let (sent, _) = world.turn();
    assert_eq!(
        sent[0],
        (
            999,
            "\u{fffd}\u{2}!a\u{fffd}\u{4}mine\u{fffd}\u{2}!b".to_owned()
        )
    );
    sent.iter().for_each(|(member, _)| writes[*member] += 1);
    loop {
        let (sent, is_last) = world.turn();
        sent.iter().for_each(|(member, _)| writes[*member] += 1);
        if is_last {
            break;
        }
    }
    let (twice, once): (Vec<usize>, Vec<usize>) = (0..MEMBERS).partition(|it| writes[*it] == 2);
    assert_eq!(
        twice,
        (0..SLICE).collect::<Vec<_>>(),
        "the slice that went before"
    );
    assert!(once.iter().all(|it| writes[*it] == 1));
}

/// Nobody is handed without end while in line: a flood is slowed down by its own flushes.
#[test]
fn who_waits_in_line_is_not_handed_more_than_a_socket_takes() {
    let mut world = World::new();
    let text = format!("!{}", "x".repeat(1000));
    for _ in 0..30 {
        for _ in 0..20 {
            world.says(0, &text);
        }
        let (sent, _) = world.turn();
        let mut handed = vec![0; MEMBERS];
        sent.iter()
            .for_each(|(member, text)| handed[*member] += text.len());
        // 64 KiB, and what two turns handed out.
        let largest = handed.into_iter().max().unwrap();
        assert!(largest <= 64 * 1024 + 40 * 1100, "{largest}");
    }
}
