//! The client that Autobahn's testsuite talks to: asks how many cases there are, runs each of
//! them by sending every message back, and has the report written.
//!
//! ```text
//! autobahn_client ADDRESS AGENT [--compression on|off]
//! ```

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use throng::protocol::Role;
use throng::protocol::deflate::{self, Deflater};
use throng::protocol::encoder::{Encoder, SendError};
use throng::protocol::frame::OpCode;
use throng::protocol::handshake::ClientRequest;
use throng::protocol::mask::{Masks, NoEntropy};
use throng::protocol::message::{Decoder, Event, Input, Message, MessageLimits, Pool};
use throng::{CloseCode, Compression, system_entropy};
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
    let (compression, arguments) = arguments(std::env::args())?;
    let compression = compression.as_ref();
    let [address, agent] = &*arguments else {
        return Err("usage: autobahn_client ADDRESS AGENT [--compression on|off]".into());
    };
    let mut count = Vec::new();
    Connection::open(address, "/getCaseCount", None)?.talk(|message| {
        count.extend_from_slice(message.as_bytes());
        Reply::None
    })?;
    let count: u32 = String::from_utf8(count)?.trim().parse()?;
    for case in 1..=count {
        let path = format!("/runCase?case={case}&agent={agent}");
        // Many cases end a connection by force: what that means is for the report to say.
        if let Err(error) = Connection::open(address, &path, compression)?.talk(|_| Reply::Echo) {
            eprintln!("case {case} of {count}: {error}");
        }
    }
    let path = format!("/updateReports?agent={agent}");
    Connection::open(address, &path, None)?.talk(|_| Reply::None)?;
    Ok(())
}

enum Reply {
    Echo,
    None,
}

type Entropy = fn(&mut [u8]) -> Result<(), NoEntropy>;

/// A connection that has been upgraded.
struct Connection {
    stream: TcpStream,
    encoder: Encoder,
    masks: Masks<Entropy>,
    decoder: Decoder,
    deflater: Option<Deflater>,
    /// Received behind the response's head.
    early: Vec<u8>,
}

impl Connection {
    fn open(
        address: &str,
        path: &str,
        compression: Option<&Compression>,
    ) -> Result<Connection, Box<dyn Error>> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let wishes = compression.map(Compression::params);
        let offer = wishes.as_ref().map(deflate::offer);
        let request = ClientRequest {
            host: address,
            target: path,
            extensions: offer.as_deref(),
            ..ClientRequest::default()
        };
        let (mut key, mut head) = ([0; 16], Vec::new());
        system_entropy(&mut key)?;
        request.write(key, &mut head)?;
        stream.write_all(&head)?;
        let mut received = Vec::new();
        let (agreed, head_len) = loop {
            let mut bytes = [0; 4096];
            match stream.read(&mut bytes)? {
                0 => return Err("the connection ended before the response did".into()),
                len => received.extend_from_slice(&bytes[..len]),
            }
            if let Some(acceptance) = request.check(key, &received)? {
                let agreed = match &wishes {
                    Some(wishes) => deflate::check_response(acceptance.extensions(), wishes)?,
                    None => None,
                };
                break (agreed, acceptance.head_len());
            }
        };
        Ok(Connection {
            stream,
            encoder: Encoder::new(),
            masks: Masks::new(system_entropy),
            decoder: match &agreed {
                Some(params) => Decoder::with_compression(Role::Client, params),
                None => Decoder::new(Role::Client),
            },
            deflater: agreed.zip(compression).map(|(params, compression)| {
                let (bits, alone) = (
                    params.client_max_window_bits,
                    params.client_no_context_takeover,
                );
                Deflater::new(compression.strength(), bits, alone)
            }),
            early: received.split_off(head_len),
        })
    }

    /// Answers what is received until a close frame or a breach of the protocol, then closes.
    fn talk(mut self, mut on_message: impl FnMut(Message<'_>) -> Reply) -> io::Result<()> {
        let (mut decoder, mut pool) = (std::mem::take(&mut self.decoder), Pool::new());
        let mut bytes = std::mem::take(&mut self.early);
        loop {
            let mut input = Input::new(&mut bytes);
            loop {
                match decoder.next(&mut input, &LIMITS, &mut pool) {
                    Ok(None) => break,
                    Ok(Some(Event::Message(message))) => {
                        if let Reply::Echo = on_message(message) {
                            self.echo(message)?;
                        }
                    }
                    Ok(Some(Event::Ping(payload))) => {
                        self.send(|encoder, out, masks| encoder.pong(out, masks, payload))?;
                    }
                    Ok(Some(Event::Pong(_) | Event::Unfinished)) => {}
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

    fn echo(&mut self, message: Message<'_>) -> io::Result<()> {
        let Some(deflater) = &mut self.deflater else {
            return self.send(|encoder, out, masks| encoder.message(out, masks, message));
        };
        let mut payload = Vec::new();
        deflater.deflate(message.as_bytes(), &mut payload);
        let opcode = match message {
            Message::Text(_) => OpCode::Text,
            Message::Binary(_) => OpCode::Binary,
        };
        self.send(|encoder, out, masks| encoder.compressed(out, masks, opcode, &payload, true))
    }

    fn send(
        &mut self,
        write: impl FnOnce(&mut Encoder, &mut Vec<u8>, &mut Masks<Entropy>) -> Result<(), SendError>,
    ) -> io::Result<()> {
        let mut frame = Vec::new();
        write(&mut self.encoder, &mut frame, &mut self.masks).map_err(io::Error::other)?;
        self.stream.write_all(&frame)
    }

    /// RFC 6455 §7.1.1: after the close frame it is the server who closes the socket, which the
    /// suite's does with a reset.
    fn close(&mut self, code: CloseCode) -> io::Result<()> {
        self.send(|encoder, out, masks| encoder.close(out, masks, code, ""))?;
        match io::copy(&mut self.stream, &mut io::sink()) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error),
            _ => Ok(()),
        }
    }
}
