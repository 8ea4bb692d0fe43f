//! The client that Autobahn's testsuite talks to: asks how many cases there are, runs each of
//! them by sending every message back, and has the report written.
//!
//! ```text
//! autobahn_client ADDRESS AGENT [--compression on|off]
//! ```

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use throng::CloseCode;
use throng::protocol::Role;
use throng::protocol::close::write_close;
use throng::protocol::frame::{Header, MAX_CONTROL_PAYLOAD, MAX_HEADER_LEN, OpCode};
use throng::protocol::handshake::accept_key;
use throng::protocol::mask;
use throng::protocol::message::{Decoder, Event, Input, Message, MessageLimits, Pool};
use throng_tests::autobahn::{MAX_MESSAGE, arguments};

const LIMITS: MessageLimits = MessageLimits {
    max_message_size: MAX_MESSAGE,
    max_frame_size: MAX_MESSAGE,
};
/// How long the suite may be silent: its longest pause is a few seconds, on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);
const READ_LEN: usize = 64 * 1024;

#[expect(clippy::print_stderr, reason = "says which cases went wrong")]
fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments(std::env::args())?;
    let [address, agent] = &*arguments else {
        return Err("usage: autobahn_client ADDRESS AGENT [--compression on|off]".into());
    };
    let mut count = Vec::new();
    Connection::open(address, "/getCaseCount")?.talk(|message| {
        count.extend_from_slice(message.as_bytes());
        Reply::None
    })?;
    let count: u32 = String::from_utf8(count)?.trim().parse()?;
    for case in 1..=count {
        let path = format!("/runCase?case={case}&agent={agent}");
        // Many cases end a connection by force: what that means is for the report to say.
        if let Err(error) = Connection::open(address, &path)?.talk(|_| Reply::Echo) {
            eprintln!("case {case} of {count}: {error}");
        }
    }
    Connection::open(address, &format!("/updateReports?agent={agent}"))?.talk(|_| Reply::None)?;
    Ok(())
}

enum Reply {
    Echo,
    None,
}

/// A connection that has been upgraded.
struct Connection {
    stream: TcpStream,
    /// Received behind the response's head.
    early: Vec<u8>,
}

impl Connection {
    fn open(address: &str, path: &str) -> Result<Connection, Box<dyn Error>> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )?;
        let (head, early) = read_head(&mut stream)?;
        let accept = accept_key(key.as_bytes());
        let is_accepted = head.lines().any(|line| {
            line.split_once(':').is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case("Sec-WebSocket-Accept")
                    && value.trim().as_bytes() == accept
            })
        });
        if head.starts_with("HTTP/1.1 101 ") && is_accepted {
            Ok(Connection { stream, early })
        } else {
            Err(format!("{path} is answered\n{head}").into())
        }
    }

    /// Answers what is received until a close frame or a breach of the protocol, then closes.
    fn talk(mut self, mut on_message: impl FnMut(Message<'_>) -> Reply) -> io::Result<()> {
        let (mut decoder, mut pool) = (Decoder::new(Role::Client), Pool::new());
        let mut bytes = std::mem::take(&mut self.early);
        loop {
            let mut input = Input::new(&mut bytes);
            loop {
                match decoder.next(&mut input, &LIMITS, &mut pool) {
                    Ok(None) => break,
                    Ok(Some(Event::Message(message))) => {
                        if let Reply::Echo = on_message(message) {
                            self.send(opcode(message), message.as_bytes())?;
                        }
                    }
                    Ok(Some(Event::Ping(payload))) => self.send(OpCode::Pong, payload)?,
                    Ok(Some(Event::Pong(_))) => {}
                    Ok(Some(Event::Close(frame))) => {
                        return self.close(frame.map_or(CloseCode::NO_STATUS, |frame| frame.code));
                    }
                    Err(fault) => return self.close(fault.close_code()),
                }
            }
            bytes.resize(READ_LEN, 0);
            let len = self.stream.read(&mut bytes)?;
            if len == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            bytes.truncate(len);
        }
    }

    /// RFC 6455 §5.1, §5.3: masked, with a key of its own that nobody can foresee.
    fn send(&mut self, opcode: OpCode, payload: &[u8]) -> io::Result<()> {
        let [.., a, b, c, d] = RandomState::new().hash_one(payload.len()).to_be_bytes();
        let key = [a, b, c, d];
        let header = Header {
            fin: true,
            rsv: 0,
            opcode,
            mask: Some(key),
            len: payload.len() as u64,
        };
        let mut head = [0; MAX_HEADER_LEN];
        let head_len = header.encode(&mut head);
        let mut frame = [&head[..head_len], payload].concat();
        mask::apply(&mut frame[head_len..], key, 0);
        self.stream.write_all(&frame)
    }

    /// RFC 6455 §7.1.1: after the close frame it is the server who closes the socket, which the
    /// suite's does with a reset.
    fn close(&mut self, code: CloseCode) -> io::Result<()> {
        let mut payload = [0; MAX_CONTROL_PAYLOAD];
        let len = write_close(&mut payload, code, "");
        self.send(OpCode::Close, &payload[..len])?;
        match io::copy(&mut self.stream, &mut io::sink()) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error),
            _ => Ok(()),
        }
    }
}

fn opcode(message: Message<'_>) -> OpCode {
    match message {
        Message::Text(_) => OpCode::Text,
        Message::Binary(_) => OpCode::Binary,
    }
}

/// The response's head, and what was received behind it.
fn read_head(stream: &mut TcpStream) -> Result<(String, Vec<u8>), Box<dyn Error>> {
    const END: &[u8] = b"\r\n\r\n";
    let (mut received, mut bytes) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(at) = received.windows(END.len()).position(|four| four == END) {
            let early = received.split_off(at + END.len());
            return Ok((String::from_utf8(received)?, early));
        }
        match stream.read(&mut bytes)? {
            0 => return Err("the connection ended before the response did".into()),
            len => received.extend_from_slice(&bytes[..len]),
        }
    }
}
