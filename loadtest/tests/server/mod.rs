//! A small server of threads that echoes or broadcasts, as it should or with one fault.

#![expect(
    clippy::unwrap_used,
    reason = "a test server may end its thread at any trouble"
)]
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use socket2::SockRef;

/// The connection, in the order of acceptance, at which faults happen.
pub(crate) const FAULTY_CONNECTION: usize = 3;

/// The outgoing message of that connection, from 0, at which they happen.
pub(crate) const FAULTY_MESSAGE: u64 = 5;

/// How long [`Fault::Stall`] takes.
pub(crate) const STALL: Duration = Duration::from_millis(400);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Echo,
    Broadcast,
}

/// What is done wrong at [`FAULTY_MESSAGE`] or in the handshake of [`FAULTY_CONNECTION`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Changes the byte of the payload at this place.
    Flip(usize),
    Drop,
    Duplicate,
    /// Sends the message after its successor.
    Swap,
    Lengthen,
    /// Sends it as text if it was binary.
    Retype,
    /// Masks it as only a client may.
    Mask,
    /// Sets a reserved bit.
    Reserve,
    Fragment,
    /// Sends it late, and everything behind it.
    Stall,
    /// Closes with code 4321 instead.
    Close,
    HangUp,
    /// Sends another connection's message instead (echo).
    Foreign,
    WrongAccept,
    /// Answers the upgrade request with 503.
    Unavailable,
    /// Never answers the upgrade request.
    Mute,
    /// Answers a close frame with what is no frame.
    GarbageAtClose,
    /// Answers a close frame with one that has half a code.
    HalfACodeAtClose,
    /// Does not answer a close frame.
    MuteAtClose,
    /// Ends the stream instead of answering a close frame.
    HangUpAtClose,
    /// Resets the connection instead of answering a close frame (echo).
    ResetAtClose,
}

/// What the server does besides, on every connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Manner {
    /// Sends a text message with the handshake's answer.
    pub(crate) greets: bool,
    /// Sends a ping with it and hangs up unless the first frame is the pong.
    pub(crate) pings: bool,
    /// Writes the start of the first few messages byte by byte.
    pub(crate) dribbles: bool,
    /// Has the fault on every connection.
    pub(crate) everywhere: bool,
}

/// Starts a server that lives as long as the test.
pub(crate) fn start(kind: Kind, fault: Fault, manner: Manner) -> SocketAddr {
    start_watched(kind, fault, manner).0
}

/// The addresses that connected, in the order of acceptance.
pub(crate) type Peers = Arc<Mutex<Vec<IpAddr>>>;

/// As [`start`]; tells who connects, too.
pub(crate) fn start_watched(kind: Kind, fault: Fault, manner: Manner) -> (SocketAddr, Peers) {
    let peers = Peers::default();
    let seen = Arc::clone(&peers);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let everyone: Arc<Mutex<Vec<Outgoing>>> = Arc::default();
    thread::spawn(move || {
        for number in 0.. {
            let (socket, peer) = listener.accept().unwrap();
            seen.lock().unwrap().push(peer.ip());
            let everyone = Arc::clone(&everyone);
            let fault = if number == FAULTY_CONNECTION || manner.everywhere {
                fault
            } else {
                Fault::None
            };
            thread::spawn(move || serve(&socket, kind, fault, manner, &everyone));
        }
    });
    (addr, peers)
}

fn serve(
    socket: &TcpStream,
    kind: Kind,
    fault: Fault,
    manner: Manner,
    everyone: &Mutex<Vec<Outgoing>>,
) -> Option<()> {
    socket.set_nodelay(true).unwrap();
    let mut input = BufReader::new(socket);
    let mut own = Outgoing::new(socket.try_clone().unwrap(), fault, manner);
    let request = read_request(&mut input)?;
    if fault == Fault::Mute {
        return read_array::<1>(&mut input).map(|_| ());
    }
    if kind == Kind::Broadcast {
        // A member no later than its client knows of it.
        let clone = own.socket.try_clone().unwrap();
        let mut everyone = everyone.lock().unwrap();
        answer(&request, &mut own)?;
        everyone.push(Outgoing::new(clone, fault, manner));
    } else {
        answer(&request, &mut own)?;
    }
    let mut last_key = None;
    let mut read_frame = || {
        let (opcode, key, payload) = read_frame(&mut input)?;
        let is_fresh = last_key.replace(key) != Some(key);
        assert!(is_fresh, "a key of its own for each frame (RFC 6455 §5.3)");
        Some((opcode, payload))
    };
    if manner.pings {
        let (opcode, payload) = read_frame()?;
        if (opcode, payload.as_slice()) != (0x8A, b"there?") {
            return None;
        }
    }
    loop {
        let (opcode, payload) = read_frame()?;
        match (opcode, kind) {
            (0x88, _) => {
                // With everyone's lock, so that no frame is being written.
                let everyone = everyone.lock().unwrap();
                say_goodbye(socket, fault, &payload)?;
                drop(everyone);
                // Until the client ends it.
                return read_array::<1>(&mut input).map(|_| ());
            }
            (_, Kind::Echo) => own.deliver(opcode, &payload)?,
            (_, Kind::Broadcast) => {
                everyone
                    .lock()
                    .unwrap()
                    .retain_mut(|one| one.deliver(opcode, &payload).is_some());
            }
        }
    }
}

/// Answers a close frame; `None` to end the connection.
fn say_goodbye(mut socket: &TcpStream, fault: Fault, payload: &[u8]) -> Option<()> {
    match fault {
        Fault::GarbageAtClose => socket.write_all(&[0xFF; 16]).ok(),
        Fault::HalfACodeAtClose => write(socket, 0x88, &[3]),
        Fault::MuteAtClose => Some(()),
        Fault::HangUpAtClose => socket.shutdown(std::net::Shutdown::Both).ok(),
        Fault::ResetAtClose => {
            let linger = SockRef::from(socket).set_linger(Some(Duration::ZERO));
            linger.unwrap();
            None
        }
        _ => write(socket, 0x88, payload),
    }
}

fn read_request(input: &mut BufReader<&TcpStream>) -> Option<String> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(read_array::<1>(input)?[0]);
    }
    String::from_utf8(request).ok()
}

fn answer(request: &str, own: &mut Outgoing) -> Option<()> {
    let key = request
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
        .unwrap();
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let mut accept = STANDARD.encode(hash.finalize());
    let mut status = "101 Switching Protocols";
    match own.fault {
        Fault::WrongAccept => accept = accept.to_lowercase(),
        Fault::Unavailable => status = "503 Service Unavailable",
        _ => {}
    }
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes();
    if own.manner.greets {
        answer.extend_from_slice(b"\x81\x05hello");
    }
    if own.manner.pings {
        answer.extend_from_slice(b"\x89\x06there?");
    }
    own.socket.write_all(&answer).ok()
}

/// The way out of one connection.
struct Outgoing {
    socket: TcpStream,
    fault: Fault,
    manner: Manner,
    sent: u64,
    held: Option<Vec<u8>>,
}

impl Outgoing {
    fn new(socket: TcpStream, fault: Fault, manner: Manner) -> Self {
        Self {
            socket,
            fault,
            manner,
            sent: 0,
            held: None,
        }
    }

    fn deliver(&mut self, opcode: u8, payload: &[u8]) -> Option<()> {
        let number = self.sent;
        self.sent += 1;
        if number < 2 && self.manner.dribbles {
            let frame = frame(opcode, payload);
            let (start, rest) = frame.split_at(frame.len().min(30));
            for byte in start {
                self.socket.write_all(&[*byte]).ok()?;
                thread::yield_now();
            }
            return self.socket.write_all(rest).ok();
        }
        let mut socket = &self.socket;
        if let Some(held) = self.held.take() {
            write(socket, opcode, payload)?;
            return write(socket, opcode, &held);
        }
        if number != FAULTY_MESSAGE {
            return write(socket, opcode, payload);
        }
        let mut payload = payload.to_vec();
        match self.fault {
            Fault::Flip(at) => payload[at] ^= 1,
            Fault::Drop => return Some(()),
            Fault::Duplicate => write(socket, opcode, &payload)?,
            Fault::Swap => {
                self.held = Some(payload);
                return Some(());
            }
            Fault::Lengthen => payload.push(b'x'),
            Fault::Retype => return write(socket, opcode ^ 3, &payload),
            Fault::Mask => return socket.write_all(&masked(opcode, &payload)).ok(),
            Fault::Reserve => return write(socket, opcode | 0x40, &payload),
            Fault::Stall => thread::sleep(STALL),
            Fault::Fragment => return write(socket, opcode & 0x0F, &payload),
            Fault::Close => return write(socket, 0x88, &4321_u16.to_be_bytes()),
            Fault::HangUp => {
                socket.shutdown(std::net::Shutdown::Both).unwrap();
                return None;
            }
            Fault::Foreign => payload[..4].copy_from_slice(&u32::MAX.to_le_bytes()),
            _ => {}
        }
        socket.write_all(&frame(opcode, &payload)).ok()
    }
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![opcode];
    match payload.len() {
        short @ 0..=125 => frame.push(u8::try_from(short).unwrap()),
        medium @ 126..=0xFFFF => {
            frame.push(126);
            frame.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            frame.push(127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// A short frame with a key of zeros.
fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut masked = frame(opcode, payload);
    masked[1] |= 0x80;
    masked.splice(2..2, [0; 4]);
    masked
}

fn write(mut socket: &TcpStream, opcode: u8, payload: &[u8]) -> Option<()> {
    socket.write_all(&frame(opcode, payload)).ok()
}

/// The next frame, unmasked: its first byte, its key and its payload.
fn read_frame(input: &mut BufReader<&TcpStream>) -> Option<(u8, [u8; 4], Vec<u8>)> {
    let [first, second] = read_array(input)?;
    assert!(second & 0x80 != 0, "a client must mask (RFC 6455 §5.1)");
    let len = match second & 0x7F {
        126 => u64::from(u16::from_be_bytes(read_array(input)?)),
        127 => u64::from_be_bytes(read_array(input)?),
        short => u64::from(short),
    };
    let key = read_array::<4>(input)?;
    let mut payload = vec![0; usize::try_from(len).unwrap()];
    input.read_exact(&mut payload).ok()?;
    for (byte, key) in payload.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
    Some((first, key, payload))
}

fn read_array<const N: usize>(input: &mut BufReader<&TcpStream>) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes).ok()?;
    Some(bytes)
}
