//! Peers that break the rules of TLS, or nearly: what is kept of them is bounded, and what they say does no
//! harm to what is said to them afterwards.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::{ClientConfig, ClientConnection, ConnectionTrafficSecrets, ProtocolVersion};
use throng::internals::Solo;
use throng::{Accept, Config, Conn, Handler, Message, Reject, Upgrade};
use throng_tests::driver::builders::Polling;
use throng_tests::driver::{Buffers, Build, Connection, Fixture, OverTcp, PATIENCE, Record, TICK};
use throng_tests::tls::{Authority, SERVER, server_name};
use throng_transport::poll::PollDriver;
use throng_transport::tls::{Credentials, Pipe, Tls, TlsDriver, TlsOptions, TlsStream};
use throng_transport::{Driver, Peer, Service, Socket, SocketKey, Turn};

/// Bytes that a wait receives at the most.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// The most that is kept of a message of the handshake: before the handshake is done, and after.
const MOST: (usize, usize) = (80 * 1024, 5 + 16 * 1024 + 2048);
/// Types of records (RFC 8446 §5.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
/// A `KeyUpdate` that says to be 64 KiB long.
const ENDLESS: [u8; 4] = [24, 0, 0xff, 0xff];

/// A driver, what it has told, and what its peers trust.
struct World {
    fixture: OverTcp<Polling>,
    driver: TlsDriver<PollDriver>,
    record: Record,
    tls: Tls,
    client: Arc<ClientConfig>,
}

/// A peer that makes its records itself.
struct Forger {
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl World {
    fn new(max_handshakes: usize) -> World {
        let authority = Authority::new();
        let signed = authority.sign(SERVER);
        let tls = Tls::new(Credentials::pem(&signed.certificate, &signed.key)).unwrap();
        let mut client = authority.client(None);
        client.enable_secret_extraction = true;
        let options = TlsOptions {
            receive_buffer: RECEIVE_BUFFER,
            expected_sockets: 0,
            max_handshakes,
            secures_foreign: false,
        };
        World {
            fixture: OverTcp::default(),
            driver: TlsDriver::new(Polling::build(RECEIVE_BUFFER), tls.clone(), &options),
            record: Record::new(RECEIVE_BUFFER),
            tls,
            client: Arc::new(client),
        }
    }

    /// Has the driver adopt a socket in this slot. The other end.
    fn open(&mut self, slot: u32) -> (SocketKey, TcpStream) {
        let (socket, far) = self.fixture.pair(Buffers::Default);
        let key = SocketKey {
            slot,
            generation: 1,
        };
        self.record.connections.insert(key, Connection::default());
        self.driver.adopt(key, socket).unwrap();
        (key, far)
    }

    fn wait(&mut self) {
        self.record.before_wait();
        self.driver.wait(Some(TICK), &mut self.record).unwrap();
    }

    fn client(&self) -> ClientConnection {
        ClientConnection::new(Arc::clone(&self.client), server_name()).unwrap()
    }

    /// What a handshake begins with: one record.
    fn hello(&self) -> Vec<u8> {
        let mut hello = Vec::new();
        self.client().write_tls(&mut hello).unwrap();
        hello
    }

    fn failure(&self, key: SocketKey) -> Option<ErrorKind> {
        let failed = &self.record.connections[&key].failed;
        failed.as_ref().map(std::io::Error::kind)
    }

    fn is_secured(&self, key: SocketKey) -> bool {
        self.record.secured.iter().any(|(other, _)| *other == key)
    }

    /// Goes on with the handshake until it is done on both sides.
    fn shake_hands(&mut self, key: SocketKey, far: &mut TcpStream, client: &mut ClientConnection) {
        let begun = Instant::now();
        while client.is_handshaking() || !self.is_secured(key) || client.wants_write() {
            assert!(begun.elapsed() < PATIENCE, "a handshake that does not end");
            while client.wants_write() {
                client.write_tls(far).unwrap();
            }
            self.wait();
            if client.read_tls(far).is_ok() {
                client.process_new_packets().unwrap();
            }
        }
    }

    /// A connection whose peer makes its records itself from now on.
    fn forged(&mut self) -> (SocketKey, TcpStream, Forger) {
        let (key, mut far) = self.open(0);
        let mut client = self.client();
        self.shake_hands(key, &mut far, &mut client);
        (key, far, Forger::after(client))
    }

    /// The same without a driver.
    fn forged_pipe(&mut self) -> (TcpStream, Socket, Pipe, Forger) {
        let (key, far, forger) = self.forged();
        let begun = Instant::now();
        let detached = loop {
            if let Some(detached) = self.driver.detach(key) {
                break detached;
            }
            assert!(begun.elapsed() < PATIENCE, "tickets that are never sent");
            self.wait();
        };
        self.record.connections.get_mut(&key).unwrap().released = true;
        let stream = detached.socket.into_foreign::<TlsStream>().unwrap();
        let (socket, pipe) = stream.into_parts().unwrap();
        (far, socket, pipe, forger)
    }

    /// Writes, waiting where there is no room, until all is written or the connection is lost. How much.
    fn write(&mut self, key: SocketKey, far: &mut TcpStream, bytes: &[u8]) -> usize {
        let mut written = 0;
        let begun = Instant::now();
        while written < bytes.len() && self.failure(key).is_none() {
            assert!(begun.elapsed() < PATIENCE, "there is never room");
            match far.write(&bytes[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return written,
            }
            self.wait();
        }
        written
    }
}

impl Forger {
    fn after(client: ClientConnection) -> Forger {
        let suite = client.negotiated_cipher_suite().unwrap();
        let aead = suite.tls13().unwrap().aead_alg;
        let (sequence, secrets) = client.dangerous_extract_secrets().unwrap().tx;
        let encrypter = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv }
            | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
            | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => aead.encrypter(key, iv),
            _ => panic!("secrets of a kind not known"),
        };
        Forger {
            encrypter,
            sequence,
        }
    }

    /// A record of that type with this in it and so much padding.
    fn record(&mut self, kind: u8, content: &[u8], padding: usize) -> Vec<u8> {
        let mut payload = content.to_vec();
        let mut last = kind;
        if padding > 0 {
            payload.push(kind);
            payload.resize(content.len() + padding, 0);
            last = 0;
        }
        let message = OutboundPlainMessage {
            typ: last.into(),
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(&payload),
        };
        let record = self.encrypter.encrypt(message, self.sequence).unwrap();
        self.sequence += 1;
        record.encode()
    }

    /// One byte of a message in a record as long as can be.
    fn padded(&mut self) -> Vec<u8> {
        self.record(HANDSHAKE, &[0], 16_000)
    }
}

/// A record that is not encrypted.
fn plain_record(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[HANDSHAKE, 3, 1], &length[..], content].concat()
}

#[test]
fn a_message_without_end_is_given_up_after_the_handshake() {
    let mut world = World::new(10);
    let (key, mut far, mut forger) = world.forged();
    let first = forger.record(HANDSHAKE, &ENDLESS, 0);
    let mut written = world.write(key, &mut far, &first);
    while world.failure(key).is_none() {
        let record = forger.padded();
        written += world.write(key, &mut far, &record);
        assert!(
            written < 2 * RECEIVE_BUFFER + MOST.1,
            "{written} bytes are kept"
        );
        world.wait();
    }
    assert_eq!(world.failure(key), Some(ErrorKind::InvalidData));
}

#[test]
fn a_message_without_end_is_given_up_by_a_pipe() {
    let mut world = World::new(10);
    let (_far, _socket, mut pipe, mut forger) = world.forged_pipe();
    let mut first = forger.record(HANDSHAKE, &ENDLESS, 0);
    let mut kept = first.len();
    pipe.receive(&mut first).unwrap();
    loop {
        let mut record = forger.padded();
        let received = pipe.receive(&mut record);
        kept += record.len();
        if let Err(error) = received {
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            break;
        }
        assert!(kept <= MOST.1, "{kept} bytes are kept");
    }
    assert!(pipe.receive(&mut forger.padded()).is_err(), "it is over");
}

#[test]
fn a_hello_without_end_is_given_up() {
    let mut world = World::new(10);
    let (key, mut far) = world.open(0);
    let mut records = plain_record(&[1, 0, 0xff, 0xff]);
    for _ in 0..60_000 {
        records.extend_from_slice(&plain_record(&[0]));
    }
    let mut written = 0;
    for part in records.chunks(8 * 1024) {
        written += world.write(key, &mut far, part);
        if world.failure(key).is_some() {
            break;
        }
    }
    while world.failure(key).is_none() {
        world.wait();
    }
    assert_eq!(world.failure(key), Some(ErrorKind::InvalidData));
    // What the system holds comes on top.
    assert!(written < records.len(), "{written} bytes are kept");
    assert_eq!(world.tls.counts().failed, 1);
}

/// Half a message, then what may not follow it: rustls remembers where the half was. Whoever goes on writing is
/// told that it is over.
#[test]
fn what_is_written_behind_a_fault_is_refused() {
    let mut world = World::new(10);
    let (_far, _socket, mut pipe, mut forger) = world.forged_pipe();
    let mut half = forger.record(HANDSHAKE, &[24, 0], 0);
    pipe.receive(&mut half).unwrap();
    pipe.seal(b"between").unwrap();
    let mut other = forger.record(APPLICATION_DATA, b"hello", 0);
    let error = pipe
        .receive(&mut other)
        .expect_err("a message within a message");
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    let records = pipe.records().bytes();
    assert!(pipe.seal(b"behind").is_err());
    assert!(pipe.receive(&mut other).is_err());
    pipe.finish().unwrap();
    assert_eq!(pipe.records().bytes(), records, "nothing is said any more");
}

#[test]
fn a_fault_amid_a_message_ends_a_connection_and_no_other() {
    let mut world = World::new(10);
    let (key, mut far, mut forger) = world.forged();
    let half = forger.record(HANDSHAKE, &[24, 0], 0);
    world.write(key, &mut far, &half);
    let other = forger.record(APPLICATION_DATA, b"hello", 0);
    world.write(key, &mut far, &other);
    while world.failure(key).is_none() {
        world.wait();
    }
    assert_eq!(world.failure(key), Some(ErrorKind::InvalidData));
    let (next, mut far) = world.open(1);
    let mut client = world.client();
    world.shake_hands(next, &mut far, &mut client);
}

/// Those who say nothing, or less than a record, keep nobody out; those who begin do, and are refused
/// themselves when they are too many.
#[test]
fn who_says_nothing_keeps_nobody_out() {
    let mut world = World::new(2);
    let mut others = Vec::new();
    for slot in 0..40 {
        let (key, mut far) = world.open(slot);
        if slot % 2 == 0 {
            world.write(key, &mut far, &[HANDSHAKE, 3, 1, 2, 0, 1]);
        }
        others.push((key, far));
    }
    let (newcomer, mut far) = world.open(100);
    let mut client = world.client();
    world.shake_hands(newcomer, &mut far, &mut client);
    let mut begin = |world: &mut World, slot| {
        let (key, mut far) = world.open(slot);
        let hello = world.hello();
        world.write(key, &mut far, &hello);
        others.push((key, far));
        key
    };
    let (one, two) = (begin(&mut world, 101), begin(&mut world, 102));
    let three = begin(&mut world, 103);
    assert_eq!(world.failure(one), None);
    assert_eq!(world.failure(two), None);
    while world.failure(three).is_none() {
        world.wait();
    }
    assert_eq!(world.failure(three), Some(ErrorKind::ResourceBusy));
    let counts = world.tls.counts();
    assert_eq!((counts.completed, counts.refused, counts.failed), (1, 1, 0));
    // There is room again once one of those who began has gone.
    world.driver.close(one);
    let (next, mut far) = world.open(104);
    let mut client = world.client();
    world.shake_hands(next, &mut far, &mut client);
    let counts = world.tls.counts();
    assert_eq!((counts.completed, counts.refused, counts.failed), (2, 1, 1));
}

/// rustls moves the parts of a hello together in the bytes that it is shown; whom the peer asks for is known all
/// the same.
#[test]
fn a_hello_in_three_records_says_whom_it_asks_for() {
    for parts in [1, 3, 7] {
        let mut world = World::new(10);
        let (key, mut far) = world.open(0);
        let mut client = world.client();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        let message = &hello[5..];
        for part in message.chunks(message.len().div_ceil(parts)) {
            world.write(key, &mut far, &plain_record(part));
            world.wait();
        }
        world.shake_hands(key, &mut far, &mut client);
        let (_, secured) = &world.record.secured[0];
        assert_eq!(
            secured.server_name.as_deref(),
            Some(SERVER),
            "{parts} parts"
        );
    }
}

/// A service that says nothing.
struct Silent;

impl Handler for Silent {
    type State = ();

    fn on_upgrade(&self, _: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&self, _: &mut Conn<'_, ()>, _: Message<'_>) {}
}

/// An engine answers a request that takes too long, but not who has not even begun to speak TLS.
#[test]
fn a_handshake_that_takes_too_long_is_cut() {
    let mut world = World::new(10);
    let timeout = Duration::from_secs(5);
    let settings = Config::default().handshake_timeout(timeout);
    let mut shard = Solo::new(settings, Silent, world.driver.waker(), 1).unwrap();
    let (socket, mut far) = world.fixture.pair(Buffers::Default);
    let peer = Peer::Tcp(far.local_addr().unwrap());
    shard.accepted(socket, peer);
    shard.begin(Duration::from_millis(1));
    shard.turn(&mut world.driver);
    assert_eq!(world.tls.counts().failed, 0);
    shard.begin(timeout + Duration::from_secs(1));
    shard.turn(&mut world.driver);
    assert_eq!(world.tls.counts().failed, 1, "it does not linger");
    far.set_nonblocking(false).unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(far.read(&mut [0]).unwrap(), 0);
}

#[test]
fn what_follows_an_end_is_not_kept() {
    let mut world = World::new(10);
    let (_far, _socket, mut pipe, mut forger) = world.forged_pipe();
    let mut said = forger.record(APPLICATION_DATA, b"the last", 0);
    let notify = forger.record(ALERT, &[1, 0], 0);
    said.extend_from_slice(&notify);
    said.extend_from_slice(&forger.record(APPLICATION_DATA, &[7; 10_000], 0));
    // In two parts: what lies with what was kept, and what comes on top.
    let mut rest = said.split_off(20);
    pipe.receive(&mut said).unwrap();
    pipe.receive(&mut rest).unwrap();
    pipe.receive(&mut [7; 100]).unwrap();
    assert!(pipe.is_peer_done());
    let mut plain = [0; 100];
    assert_eq!(pipe.read(&mut plain), 8);
    assert_eq!(&plain[..8], b"the last");
    assert!(format!("{pipe:?}").contains("kept: 0"), "{pipe:?}");
    pipe.seal(b"heard").unwrap();
    pipe.finish().unwrap();
}
