//! A client that says what it is told to, right or wrong.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use throng::protocol::Role;
use throng::protocol::deflate::{Deflater, Params, Strength};
use throng::protocol::frame::{Header, MAX_HEADER_LEN, OpCode, RSV1};
use throng::protocol::mask;
use throng::protocol::message::{Decoder, Event, Input, Message, MessageLimits, Pool};

use super::PATIENCE;

/// What a client hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A close frame: its code, if it has one, and its reason.
    Close(Option<u16>, String),
    /// The stream has ended.
    End,
    /// The connection was reset.
    Reset,
}

/// A blocking connection, upgraded or not.
#[derive(Debug)]
pub struct Client {
    stream: Socket,
    decoder: Decoder,
    pool: Pool,
    heard: VecDeque<Heard>,
    deflater: Option<Deflater>,
    /// The head of the response to the upgrade.
    pub response: String,
}

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const LIMITS: MessageLimits = MessageLimits {
    max_message_size: 1 << 30,
    max_frame_size: 1 << 30,
};

/// A sound request for an upgrade, with further header lines.
pub fn request(further: &str) -> String {
    format!(
        "GET /path?query=1 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\n{further}\r\n"
    )
}

impl Client {
    /// A connection on which nothing has been said.
    pub fn silent(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_nodelay(true).unwrap();
        Client::over(stream)
    }

    /// The same over a stream made elsewhere.
    pub fn over(stream: impl Into<Socket>) -> Client {
        let stream = stream.into();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client {
            stream,
            decoder: Decoder::new(Role::Client),
            pool: Pool::new(),
            heard: VecDeque::new(),
            deflater: None,
            response: String::new(),
        }
    }

    /// An upgraded connection.
    pub fn connect(address: SocketAddr) -> Client {
        Client::connect_with(address, "")
    }

    /// An upgraded connection, asked for with further header lines.
    pub fn connect_with(address: SocketAddr, further: &str) -> Client {
        let mut client = Client::silent(address);
        client.upgrade(&request(further));
        client
    }

    /// An upgraded connection with small buffers, so that being slow is soon felt.
    pub fn connect_small(address: SocketAddr) -> Client {
        let mut client = Client::silent_small(address);
        client.upgrade(&request(""));
        client
    }

    /// The same, and nothing has been said on it.
    pub fn silent_small(address: SocketAddr) -> Client {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        // Before connecting: a window that was announced cannot be taken back.
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&address.into()).expect("connect");
        Client::over(socket)
    }

    /// An upgraded connection that offers to compress in these words, which are accepted. What it
    /// says by [`Client::compressed`] is.
    pub fn connect_compressed(address: SocketAddr, offer: &str) -> Client {
        let stream = Client::silent(address).stream;
        Client::compressed_over(stream, offer)
    }

    /// The same over a stream made elsewhere.
    pub fn compressed_over(stream: impl Into<Socket>, offer: &str) -> Client {
        let mut client = Client::over(stream);
        client.upgrade(&request(&format!("Sec-WebSocket-Extensions: {offer}\r\n")));
        let params = agreed(&client.response).expect("an answer to the offer");
        client.decoder = Decoder::with_compression(Role::Client, &params);
        client.deflater = Some(Deflater::new(
            Strength {
                level: 6,
                memory_level: 8,
            },
            params.client_max_window_bits,
            params.client_no_context_takeover,
        ));
        client
    }

    /// Sends a text message compressed.
    pub fn compressed(&mut self, text: &str) {
        let mut payload = Vec::new();
        let deflater = self.deflater.as_mut().expect("compression was agreed on");
        deflater.deflate(text.as_bytes(), &mut payload);
        self.write(&frame_with(true, RSV1, OpCode::Text, &payload));
    }

    /// An upgraded connection over a Unix socket.
    #[cfg(unix)]
    pub fn connect_unix(path: &std::path::Path) -> Client {
        let stream = std::os::unix::net::UnixStream::connect(path).expect("connect");
        let mut client = Client::over(stream);
        client.upgrade(&request(""));
        client
    }

    /// Its own address.
    pub fn local_addr(&self) -> SocketAddr {
        let address = self.stream.local_addr().unwrap().as_socket();
        address.expect("a Unix socket has none")
    }

    /// Asks for an upgrade and expects to get it.
    pub fn upgrade(&mut self, request: &str) {
        self.write(request.as_bytes());
        self.response = self.read_head();
        assert!(
            self.response.starts_with("HTTP/1.1 101 "),
            "{}",
            self.response
        );
    }

    /// Reads up to the empty line that ends a head.
    pub fn read_head(&mut self) -> String {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match self.stream.read(&mut byte).expect("a response") {
                0 => panic!("ended after {:?}", String::from_utf8_lossy(&head)),
                _ => head.push(byte[0]),
            }
        }
        String::from_utf8(head).unwrap()
    }

    /// Reads until the stream ends.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).expect("an orderly end");
        bytes
    }

    /// Reads at least one and at most `most` bytes as they come.
    pub fn read_some(&mut self, bytes: &mut Vec<u8>, most: usize) {
        let count = self.try_read_some(bytes, most).expect("some bytes");
        assert_ne!(count, 0, "the stream has ended");
    }

    /// Reads at most so many bytes, none at the end of the stream.
    ///
    /// # Errors
    /// What the system says.
    pub fn try_read_some(&mut self, bytes: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        let begin = bytes.len();
        bytes.resize(begin + most, 0);
        let count = self.stream.read(&mut bytes[begin..]);
        bytes.truncate(begin + *count.as_ref().unwrap_or(&0));
        count
    }

    /// Waits until there is something to read.
    pub fn until_readable(&self) {
        let mut byte = [MaybeUninit::uninit()];
        assert_eq!(self.stream.peek(&mut byte).unwrap(), 1);
    }

    /// Reads at most so many bytes; what they say is heard later.
    pub fn sip(&mut self, most: usize) {
        let mut bytes = Vec::new();
        self.read_some(&mut bytes, most);
        self.decode(&mut bytes);
    }

    /// Writes any bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).expect("write");
    }

    /// Writes any bytes to a peer that may be gone.
    ///
    /// # Errors
    /// When it is.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Something to write with from another thread.
    pub fn writer(&self) -> impl Write + use<> {
        self.stream.try_clone().unwrap()
    }

    /// Writes what there is room for.
    pub fn write_some(&mut self, bytes: &[u8]) -> usize {
        self.stream.set_nonblocking(true).unwrap();
        let written = self.stream.write(bytes);
        self.stream.set_nonblocking(false).unwrap();
        match written {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("write: {error}"),
        }
    }

    /// Sends a text message.
    pub fn text(&mut self, text: &str) {
        self.write(&frame(true, OpCode::Text, text.as_bytes()));
    }

    /// Sends a binary message.
    pub fn binary(&mut self, bytes: &[u8]) {
        self.write(&frame(true, OpCode::Binary, bytes));
    }

    /// Sends one frame.
    pub fn frame(&mut self, fin: bool, opcode: OpCode, payload: &[u8]) {
        self.write(&frame(fin, opcode, payload));
    }

    /// Sends a close frame.
    pub fn close(&mut self, code: u16, reason: &str) {
        let payload = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
        self.frame(true, OpCode::Close, &payload);
    }

    /// Ends this side of the stream.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Resets the connection.
    pub fn reset(self) {
        self.stream.set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Sends a text and expects this one in return, pings aside.
    pub fn ask(&mut self, text: &str) -> String {
        self.text(text);
        loop {
            match self.hear() {
                Heard::Text(text) => return text,
                Heard::Ping(_) => {}
                other => panic!("{text:?} was answered by {other:?}"),
            }
        }
    }

    /// The next thing heard.
    pub fn hear(&mut self) -> Heard {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return heard;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Heard::End,
                Ok(count) => self.decode(&mut buffer[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Heard::Reset,
                Err(error) => panic!("nothing was heard: {error}"),
            }
        }
    }

    /// The next message heard, pings aside.
    pub fn hear_message(&mut self) -> Heard {
        loop {
            match self.hear() {
                Heard::Ping(_) => {}
                other => return other,
            }
        }
    }

    /// What is heard until the stream ends, its end included.
    pub fn hear_all(&mut self) -> Vec<Heard> {
        let mut all = Vec::new();
        loop {
            let heard = self.hear();
            let is_end = matches!(heard, Heard::End | Heard::Reset);
            all.push(heard);
            if is_end {
                return all;
            }
        }
    }

    /// Expects a close frame of the code, then answers it, and expects the end.
    pub fn expect_close(&mut self, code: u16) -> String {
        let reason = match self.hear_message() {
            Heard::Close(Some(heard), reason) if heard == code => reason,
            other => panic!("not a close frame of {code}: {other:?}"),
        };
        let _ = self.try_write(&frame(true, OpCode::Close, &code.to_be_bytes()));
        let end = self.hear();
        assert!(matches!(end, Heard::End | Heard::Reset), "{end:?}");
        reason
    }

    fn decode(&mut self, bytes: &mut [u8]) {
        let mut input = Input::new(bytes);
        while let Some(event) = self
            .decoder
            .next(&mut input, &LIMITS, &mut self.pool)
            .expect("a sound stream")
        {
            let heard = match event {
                Event::Message(Message::Text(text)) => Heard::Text(text.to_owned()),
                Event::Message(Message::Binary(bytes)) => Heard::Binary(bytes.to_vec()),
                Event::Ping(payload) => Heard::Ping(payload.to_vec()),
                Event::Pong(payload) => Heard::Pong(payload.to_vec()),
                Event::Close(None) => Heard::Close(None, String::new()),
                Event::Close(Some(close)) => {
                    Heard::Close(Some(close.code.into()), close.reason.to_owned())
                }
                Event::Unfinished => continue,
            };
            let is_last = matches!(heard, Heard::Close(..));
            self.heard.push_back(heard);
            if is_last {
                assert!(input.is_empty(), "bytes after a close frame");
                return;
            }
        }
    }
}

/// What a response agrees to.
fn agreed(response: &str) -> Option<Params> {
    let lines = response.lines().filter_map(|line| line.split_once(": "));
    let value = lines
        .filter(|(name, _)| name.eq_ignore_ascii_case("Sec-WebSocket-Extensions"))
        .map(|(_, value)| value)
        .next()?;
    let bits = |name: &str| {
        let value = value.split(&format!("{name}=")).nth(1)?;
        let digits: String = value.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    Some(Params {
        server_no_context_takeover: value.contains("server_no_context_takeover"),
        client_no_context_takeover: value.contains("client_no_context_takeover"),
        server_max_window_bits: bits("server_max_window_bits").unwrap_or(15),
        client_max_window_bits: bits("client_max_window_bits").unwrap_or(15),
    })
}

/// A masked frame, as a client sends it.
pub fn frame(fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    frame_with(fin, 0, opcode, payload)
}

/// The same with reserved bits.
pub fn frame_with(fin: bool, rsv: u8, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        fin,
        rsv,
        opcode,
        mask: Some(KEY),
        len: payload.len() as u64,
    };
    let mut head = [0; MAX_HEADER_LEN];
    let length = header.encode(&mut head);
    let mut bytes = [&head[..length], payload].concat();
    mask::apply(&mut bytes[length..], KEY, 0);
    bytes
}
