//! A client that asks the same again and again, in the words of each server.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a server may take to say anything.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an answer to the upgrade, at the most.
const MAX_RESPONSE: usize = 4096;
/// The first byte of a whole text message, and of a ping (RFC 6455 §5.2).
const TEXT: u8 = 0x81;
const PING: u8 = 0x89;

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// What is said comes back.
    Echo,
    /// The router's envelopes.
    Router,
    /// Socket.IO 5 over Engine.IO 4.
    SocketIo,
}

impl Dialect {
    fn target(self) -> &'static str {
        match self {
            Dialect::Echo | Dialect::Router => "/",
            Dialect::SocketIo => "/socket.io/?EIO=4&transport=websocket",
        }
    }

    fn request(self) -> &'static str {
        match self {
            Dialect::Echo | Dialect::Router => {
                r#"{"type":"request","event":"add","request_id":"1","data":{"left":20,"right":22}}"#
            }
            Dialect::SocketIo => r#"421["add",{"left":20,"right":22}]"#,
        }
    }

    /// What the answer begins with, and what is in it.
    fn answer(self) -> (&'static str, &'static str) {
        match self {
            Dialect::Echo => (r#"{"type":"request""#, r#""right":22"#),
            Dialect::Router => (r#"{"type":"response""#, r#""sum":42"#),
            Dialect::SocketIo => ("431[", r#""sum":42"#),
        }
    }
}

/// A connection that is ready to ask.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    dialect: Dialect,
    request: Vec<u8>,
    heard: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr, dialect: Dialect) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Client {
            stream: BufReader::with_capacity(1024, stream),
            dialect,
            request: message(dialect.request())?,
            heard: Vec::new(),
        };
        client.upgrade()?;
        if dialect == Dialect::SocketIo {
            client.expect("0{", "sid")?;
            client.say("40")?;
            client.expect("40{", "sid")?;
        }
        Ok(client)
    }

    fn upgrade(&mut self) -> io::Result<()> {
        let target = self.dialect.target();
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut response = Vec::new();
        while !response.ends_with(b"\r\n\r\n") && response.len() < MAX_RESPONSE {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            response.extend_from_slice(&byte);
        }
        if response.starts_with(b"HTTP/1.1 101 ") {
            Ok(())
        } else {
            Err(io::Error::other("the upgrade was refused"))
        }
    }

    /// Sends the request.
    pub(crate) fn ask(&mut self) -> io::Result<()> {
        self.stream.get_mut().write_all(&self.request)
    }

    /// Reads its answer.
    pub(crate) fn hear_answer(&mut self) -> io::Result<()> {
        let (start, part) = self.dialect.answer();
        self.expect(start, part)
    }

    fn say(&mut self, text: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(&message(text)?)
    }

    /// Reads the next message, which begins like this and has that in it. Before it may come pings of either
    /// protocol.
    fn expect(&mut self, start: &str, part: &str) -> io::Result<()> {
        loop {
            let kind = self.hear()?;
            let heard = String::from_utf8_lossy(&self.heard);
            if kind == PING {
                continue;
            }
            if heard == "2" {
                self.say("3")?;
                continue;
            }
            if kind == TEXT && heard.starts_with(start) && heard.contains(part) {
                return Ok(());
            }
            return Err(io::Error::other(format!("{heard:?} is no answer")));
        }
    }

    /// Reads a frame, and gives its first byte.
    fn hear(&mut self) -> io::Result<u8> {
        let mut header = [0; 2];
        self.stream.read_exact(&mut header)?;
        let length = match header[1] {
            short @ 0..126 => usize::from(short),
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length)?;
                usize::from(u16::from_be_bytes(length))
            }
            _ => return Err(io::Error::other("a message is too long")),
        };
        self.heard.resize(length, 0);
        self.stream.read_exact(&mut self.heard)?;
        Ok(header[0])
    }
}

/// A text message, masked with zeros.
fn message(text: &str) -> io::Result<Vec<u8>> {
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 126);
    let length = length.ok_or(io::ErrorKind::InvalidInput)?;
    let mut message = vec![TEXT, 0x80 | length, 0, 0, 0, 0];
    message.extend_from_slice(text.as_bytes());
    Ok(message)
}
