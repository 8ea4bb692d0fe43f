//! A client as the script has it: what it says, and what it must be told.

use throng::Message;
use throng::protocol::Role;
use throng::protocol::close::CloseCode;
use throng::protocol::deflate::{Deflater, Params, Strength, offer};
use throng::protocol::encoder::Encoder;
use throng::protocol::frame::OpCode;
use throng::protocol::handshake::ClientRequest;
use throng::protocol::mask::{Masks, NoEntropy};
use throng::protocol::message::{Decoder, MessageLimits, Pool};

use super::script::{Act, Verb};
use crate::{Decoded, Owned, Pieces, decode};

const KEY: [u8; 16] = *b"the sample nonce";

type Draw = fn(&mut [u8]) -> Result<(), NoEntropy>;

/// One client, from its connecting on.
pub(super) struct Peer {
    /// What it said and has not been delivered.
    unsent: Vec<u8>,
    /// How much of that is its request.
    request: usize,
    /// What it asked for, where that is a sound request.
    pub(super) wishes: Option<Option<Params>>,
    /// All frames that it said.
    frames: Vec<u8>,
    /// The events that they are meant to be.
    meant: Vec<Owned>,
    /// How many of these come before something that is not allowed.
    meant_before_breach: Option<usize>,
    /// It said something that means anything.
    is_raw: bool,
    encoder: Encoder,
    masks: Masks<Draw>,
    deflater: Option<Deflater>,
    pub(super) has_stalled: bool,
    pub(super) has_left: bool,
}

impl Peer {
    pub(super) fn connect(act: &Act) -> Peer {
        let params = |no_context, window| Params {
            server_no_context_takeover: no_context,
            client_no_context_takeover: no_context,
            server_max_window_bits: window,
            client_max_window_bits: 15,
        };
        let wishes = match act.number % 6 {
            0 => Some(None),
            1 => Some(Some(params(true, 15))),
            2 => Some(Some(params(false, 15))),
            3 => Some(Some(params(false, 9))),
            _ => None,
        };
        let extensions = wishes.flatten().as_ref().map(offer);
        let request = ClientRequest {
            host: "localhost",
            target: if act.number % 6 == 4 { "/closed" } else { "/" },
            extensions: extensions.as_deref(),
            ..ClientRequest::default()
        };
        let mut unsent = Vec::new();
        if act.number % 6 == 5 {
            unsent.clone_from(&act.text);
        } else {
            request.write(KEY, &mut unsent).expect("a sound request");
        }
        Peer {
            request: unsent.len(),
            unsent,
            wishes,
            frames: Vec::new(),
            meant: Vec::new(),
            meant_before_breach: None,
            is_raw: wishes.is_none(),
            encoder: Encoder::new(),
            masks: Masks::new(|bytes| {
                bytes.fill(0x5a);
                Ok(())
            }),
            deflater: None,
            has_stalled: false,
            has_left: false,
        }
    }

    /// Whether it was answered what such a request is; `head` is the response's.
    pub(super) fn understands(&self, head: &[u8]) -> bool {
        let extensions = self.wishes.flatten().as_ref().map(offer);
        let request = ClientRequest {
            host: "localhost",
            target: "/",
            extensions: extensions.as_deref(),
            ..ClientRequest::default()
        };
        matches!(request.check(KEY, head), Ok(Some(acceptance)) if acceptance.head_len() == head.len())
    }

    /// Says what the act has it say. Compression is what was agreed on, once that is known.
    pub(super) fn say(&mut self, act: &Act, agreed: Option<&Params>) {
        let said = self.unsent.len();
        match act.verb {
            Verb::Text => {
                let text = String::from_utf8_lossy(&act.text).repeat(repeats(act));
                self.say_message(act, Message::Text(&text), agreed);
            }
            Verb::Binary => {
                let bytes = act.text.repeat(repeats(act));
                self.say_message(act, Message::Binary(&bytes), agreed);
            }
            Verb::Ping | Verb::Pong | Verb::Close => self.say_control(act),
            Verb::Break => self.say_breach(act),
            _ => {
                self.unsent.extend_from_slice(&act.text);
                self.is_raw = true;
            }
        }
        self.frames.extend_from_slice(&self.unsent[said..]);
    }

    fn say_message(&mut self, act: &Act, message: Message<'_>, agreed: Option<&Params>) {
        let fragments = usize::from(act.number >> 10 & 7) + 1;
        let with_pings = act.number & 1 << 13 != 0;
        let agreed = agreed.filter(|_| act.number & 1 << 14 != 0);
        let (opcode, bytes) = match message {
            Message::Text(text) => (OpCode::Text, text.as_bytes()),
            Message::Binary(bytes) => (OpCode::Binary, bytes),
        };
        let payload = match agreed {
            Some(params) => self.deflate(bytes, params),
            None => bytes.to_vec(),
        };
        let len = payload.len().div_ceil(fragments).max(1);
        let count = payload.len().div_ceil(len).max(1);
        for index in 0..count {
            let end = payload.len().min((index + 1) * len);
            let piece = &payload[index * len..end];
            let is_last = index + 1 == count;
            if index > 0 && with_pings {
                self.control(OpCode::Ping, b"between");
            }
            let rsv = if index == 0 && agreed.is_some() {
                0x40
            } else {
                0
            };
            // By hand: text may be cut within a character here.
            let opcode = if index == 0 {
                opcode
            } else {
                OpCode::Continuation
            };
            self.frame(rsv | u8::from(is_last) << 7 | opcode as u8, piece);
        }
        self.mean(message.into());
    }

    fn deflate(&mut self, bytes: &[u8], params: &Params) -> Vec<u8> {
        let strength = Strength {
            level: 1,
            memory_level: 1,
        };
        let deflater = self.deflater.get_or_insert_with(|| {
            let bits = params.client_max_window_bits;
            Deflater::new(strength, bits, params.client_no_context_takeover)
        });
        let mut out = Vec::new();
        deflater.deflate(bytes, &mut out);
        out
    }

    fn frame(&mut self, first: u8, payload: &[u8]) {
        write_frame(&mut self.unsent, first, payload);
    }

    fn say_control(&mut self, act: &Act) {
        let payload = &act.text[..act.text.len().min(123)];
        match act.verb {
            Verb::Ping => self.control(OpCode::Ping, payload),
            Verb::Pong => self.control(OpCode::Pong, payload),
            _ => self.say_close(act.number, payload),
        }
    }

    fn control(&mut self, opcode: OpCode, payload: &[u8]) {
        let (out, masks) = (&mut self.unsent, &mut self.masks);
        let (written, meant) = match opcode {
            OpCode::Ping => (
                self.encoder.ping(out, masks, payload),
                Owned::Ping(payload.to_vec()),
            ),
            _ => (
                self.encoder.pong(out, masks, payload),
                Owned::Pong(payload.to_vec()),
            ),
        };
        written.expect("a control frame may come at any time");
        self.mean(meant);
    }

    fn say_close(&mut self, code: u16, reason: &[u8]) {
        let reason = String::from_utf8_lossy(reason);
        let reason = &reason[..reason.floor_char_boundary(123)];
        let code = CloseCode::from(code);
        // An encoder of its own: the script may go on.
        let closed = Encoder::new().close(&mut self.unsent, &mut self.masks, code, reason);
        closed.expect("nothing was closed before");
        let said = code.is_valid_on_wire().then(|| (code, reason.to_owned()));
        self.mean(Owned::Close(said));
    }

    fn mean(&mut self, event: Owned) {
        if self.meant_before_breach.is_none() {
            self.meant.push(event);
        }
    }

    /// Something that RFC 6455 or a limit forbids, whatever came before.
    fn say_breach(&mut self, act: &Act) {
        self.meant_before_breach.get_or_insert(self.meant.len());
        let text = &act.text[..];
        let out = &mut self.unsent;
        match act.number % 14 {
            0 => out.extend(b"\x81\x01x"),
            1 => write_frame(out, 0xa1, text),
            2 => write_frame(out, 0x83, text),
            3 => out.extend(b"\x89\xfe\x00\x7emask"),
            4 => write_frame(out, 0x08, b""),
            5 => out.extend(b"\x82\xfe\x00\x01mask"),
            6 => out.extend(b"\x82\xff\x80\0\0\0\0\0\0\0"),
            7 => write_frame(out, 0x80, text),
            8 => {
                write_frame(out, 0x02, text);
                write_frame(out, 0x82, text);
            }
            9 => write_frame(out, 0x81, b"\xff"),
            10 => write_frame(out, 0x88, b"\x03"),
            11 => write_frame(out, 0x88, &1005_u16.to_be_bytes()),
            12 => out.extend(b"\x82\xff\0\0\0\0\0\x01\0\0mask"),
            _ => write_frame(out, 0xc1, b"\xff\xff\xff\xff"),
        }
    }

    /// The next bytes that arrive, `count` at the most; frames only once the request was answered.
    pub(super) fn deliver(&mut self, count: usize, was_answered: bool) -> Vec<u8> {
        let most = if was_answered {
            self.unsent.len()
        } else {
            self.request
        };
        let count = count.min(most);
        self.request = self.request.saturating_sub(count);
        self.unsent.drain(..count).collect()
    }

    /// What a server makes of all that was said, by our own decoder and what was meant.
    pub(super) fn said(&self, agreed: Option<&Params>, limits: &MessageLimits) -> Decoded {
        let mut decoder = match agreed {
            Some(params) => Decoder::with_compression(Role::Server, params),
            None => Decoder::new(Role::Server),
        };
        let all = Pieces::new(&[]);
        let said = decode(&mut decoder, &self.frames, all, limits, &mut Pool::new());
        if self.is_raw {
            return said;
        }
        let first_close = self.meant.iter().position(|e| matches!(e, Owned::Close(_)));
        let meant = first_close.map_or(&*self.meant, |close| &self.meant[..=close]);
        assert_eq!(said.events, meant[..said.events.len()], "all was meant");
        match said.fault {
            None => assert_eq!(said.events.len(), meant.len(), "all was understood"),
            Some(fault) => assert!(
                fault.is_too_big() || self.meant_before_breach.is_some(),
                "{fault}"
            ),
        }
        if let Some(before) = self.meant_before_breach
            && before < meant.len() + usize::from(first_close.is_none())
        {
            assert!(said.is_over() && said.events.len() <= before);
        }
        said
    }
}

fn repeats(act: &Act) -> usize {
    usize::from(act.number & 0x3f) + 1
}

fn write_frame(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    const KEY: [u8; 4] = [0xa5, 0x5a, 0x01, 0xfe];
    out.push(first);
    match payload.len() {
        0..=125 => out.extend(u8::try_from(payload.len()).map(|len| 0x80 | len)),
        len => match u16::try_from(len) {
            Ok(len) => {
                out.push(0x80 | 126);
                out.extend(len.to_be_bytes());
            }
            Err(_) => {
                out.push(0x80 | 127);
                out.extend((len as u64).to_be_bytes());
            }
        },
    }
    out.extend(KEY);
    out.extend(
        payload
            .iter()
            .zip(KEY.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
}
