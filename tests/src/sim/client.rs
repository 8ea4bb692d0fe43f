//! A simulated client: it says what it is told to, reads as fast as it cares to, and keeps what it
//! heard.

use std::io::{ErrorKind, Read, Write};

use throng::Message;
use throng::protocol::Role;
use throng::protocol::close::CloseCode;
use throng::protocol::deflate::{Params, check_response, offer};
use throng::protocol::encoder::Encoder;
use throng::protocol::handshake::ClientRequest;
use throng::protocol::mask::{Masks, NoEntropy};
use throng::protocol::message::{Decoder, Event, Input, MessageLimits, Pool};
use throng_transport::sim::SimFar;

const KEY: [u8; 16] = *b"the sample nonce";
/// Bytes that a client reads at once.
const READ: usize = 16 * 1024;
/// Nothing that a server says is too long.
const LIMITS: MessageLimits = MessageLimits {
    max_message_size: 1 << 30,
    max_frame_size: 1 << 30,
};

type Draw = fn(&mut [u8]) -> Result<(), NoEntropy>;

/// What a client heard, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Text(String),
    Close(Option<u16>),
}

/// What a client did that explains its end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Deeds {
    pub(super) sent_close: bool,
    /// Ended or reset its stream.
    pub(super) left: bool,
    pub(super) vanished: bool,
    pub(super) stalled: bool,
    pub(super) broke_rules: bool,
}

pub(super) struct Client {
    pub(super) number: usize,
    far: Option<SimFar>,
    decoder: Decoder,
    pool: Pool,
    encoder: Encoder,
    masks: Masks<Draw>,
    unsent: Vec<u8>,
    /// The answer to its request, until that is whole.
    head: Vec<u8>,
    pub(super) is_open: bool,
    is_compressing: bool,
    pub(super) is_reading: bool,
    pub(super) heard: Vec<Heard>,
    pub(super) deeds: Deeds,
    /// What the server said that it must not say.
    pub(super) wrong: Option<String>,
    is_over: bool,
}

impl Client {
    pub(super) fn new(number: usize, far: SimFar, is_compressing: bool) -> Client {
        let mut client = Client {
            number,
            far: Some(far),
            decoder: Decoder::new(Role::Client),
            pool: Pool::new(),
            encoder: Encoder::new(),
            masks: Masks::new(|bytes| {
                bytes.fill(0x5a);
                Ok(())
            }),
            unsent: Vec::new(),
            head: Vec::new(),
            is_open: false,
            is_compressing,
            is_reading: true,
            heard: Vec::new(),
            deeds: Deeds::default(),
            wrong: None,
            is_over: false,
        };
        let target = format!("/?client={number}");
        let mut request = Vec::new();
        let written = client.with_request(&target, |it| it.write(KEY, &mut request).is_ok());
        if !written {
            client.wrong = Some("a request that cannot be sent".to_owned());
        }
        client.unsent = request;
        client.write();
        client
    }

    fn with_request<T>(&self, target: &str, ask: impl FnOnce(ClientRequest<'_>) -> T) -> T {
        let extensions = self.is_compressing.then(|| offer(&Params::default()));
        ask(ClientRequest {
            host: "localhost",
            target,
            extensions: extensions.as_deref(),
            ..ClientRequest::default()
        })
    }

    /// Whether it still has its end of the connection.
    pub(super) fn is_connected(&self) -> bool {
        self.far.is_some()
    }

    /// Says something, unless it has said its last.
    pub(super) fn say(&mut self, text: &str) {
        if self.is_open && !self.deeds.sent_close {
            let message = Message::Text(text);
            // Nothing fails: no message is begun, none closed, and keys are to be had.
            let _ = self
                .encoder
                .message(&mut self.unsent, &mut self.masks, message);
            self.write();
        }
    }

    pub(super) fn say_close(&mut self, code: u16) {
        if self.is_open && !std::mem::replace(&mut self.deeds.sent_close, true) {
            let code = CloseCode::from(code);
            let _ = self
                .encoder
                .close(&mut self.unsent, &mut self.masks, code, "");
            self.write();
        }
    }

    /// Says what RFC 6455 §5.1 forbids: a frame without a mask.
    pub(super) fn break_rules(&mut self) {
        if self.is_open && !self.deeds.sent_close {
            self.deeds.broke_rules = true;
            self.deeds.sent_close = true;
            self.unsent.extend(b"\x81\x01x");
            self.write();
        }
    }

    /// Ends its stream, or resets the connection.
    pub(super) fn leave(&mut self, resets: bool) {
        self.deeds.left = true;
        if let Some(far) = self.far.take()
            && resets
        {
            far.reset();
        }
    }

    /// Is gone without a word.
    pub(super) fn vanish(&mut self) {
        self.deeds.vanished = true;
        if let Some(far) = self.far.take() {
            far.vanish();
        }
    }

    /// Writes what there is room for.
    fn write(&mut self) {
        let Some(far) = &mut self.far else {
            return;
        };
        while !self.unsent.is_empty() {
            match far.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // What there is to be read is read all the same.
                Err(_) => self.unsent.clear(),
            }
        }
    }

    /// Reads and writes what it can, since something has happened.
    pub(super) fn go_on(&mut self) {
        self.write();
        let mut bytes = vec![0; READ];
        while self.is_reading && self.wrong.is_none() {
            let Some(far) = &mut self.far else {
                return;
            };
            match far.read(&mut bytes) {
                Ok(0) => self.far = None,
                Ok(count) => self.hear(&mut bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.far = None,
            }
        }
    }

    fn hear(&mut self, bytes: &mut [u8]) {
        if self.is_open {
            return self.hear_frames(bytes);
        }
        self.head.extend_from_slice(bytes);
        let target = format!("/?client={}", self.number);
        let head = std::mem::take(&mut self.head);
        let checked = self.with_request(&target, |request| match request.check(KEY, &head) {
            Ok(None) => Ok(None),
            Ok(Some(accepted)) => {
                let agreed = check_response(accepted.extensions(), &Params::default());
                Ok(Some((accepted.head_len(), agreed.ok().flatten())))
            }
            Err(error) => Err(error),
        });
        match checked {
            Ok(None) => self.head = head,
            Ok(Some((len, agreed))) => {
                self.is_open = true;
                if let Some(params) = agreed {
                    self.decoder = Decoder::with_compression(Role::Client, &params);
                }
                let mut rest = head[len..].to_vec();
                self.hear_frames(&mut rest);
            }
            // It was turned away.
            Err(_) => self.far = None,
        }
    }

    fn hear_frames(&mut self, bytes: &mut [u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.is_over {
            self.wrong = Some("something follows a close frame".to_owned());
            return;
        }
        let mut input = Input::new(bytes);
        let mut answers = Vec::new();
        loop {
            match self.decoder.next(&mut input, &LIMITS, &mut self.pool) {
                Ok(None) => break,
                Ok(Some(Event::Message(Message::Text(text)))) => {
                    self.heard.push(Heard::Text(text.to_owned()));
                }
                Ok(Some(Event::Ping(payload))) => answers.push(payload.to_vec()),
                Ok(Some(Event::Close(frame))) => {
                    let code = frame.map(|frame| u16::from(frame.code));
                    self.heard.push(Heard::Close(code));
                    self.is_over = true;
                    break;
                }
                Ok(Some(Event::Message(Message::Binary(_)))) => {
                    self.wrong = Some("a binary message that nobody sent".to_owned());
                }
                Ok(Some(Event::Pong(_) | Event::Unfinished)) => {}
                Err(fault) => {
                    self.wrong = Some(format!("frames that are not allowed: {fault}"));
                    return;
                }
            }
        }
        if self.is_over && !input.is_empty() {
            self.wrong = Some("something follows a close frame".to_owned());
        }
        for payload in answers {
            if !self.deeds.sent_close {
                let _ = self
                    .encoder
                    .pong(&mut self.unsent, &mut self.masks, &payload);
            }
        }
        if self.is_over {
            self.say_close(1000);
        }
        self.write();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.decoder.release(&mut self.pool);
    }
}
