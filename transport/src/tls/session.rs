//! One TLS connection without I/O: bytes of records in, bytes of records out.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::server::{Acceptor, ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{HandshakeKind, ServerConfig};

use crate::buffer::{ChunkPool, SendQueue};
use crate::secured::Secured;

/// Plain bytes that one record holds at the most (RFC 8446 §5.1).
pub(super) const MAX_RECORD: usize = 16 * 1024;
/// Bytes of a record's header.
const HEADER: usize = 5;
/// Bytes of the longest record there can be (RFC 5246 §6.2.3, which allows more than RFC 8446 does).
const LONGEST: usize = HEADER + MAX_RECORD + 2048;
/// What a record takes besides its plain bytes, with room for what may have to go before it.
const RECORD_OVERHEAD: usize = 64;
/// Bytes of an unfinished handshake that are kept of a peer: a message of 64 KiB in its records, which
/// is the longest that rustls accepts. A receive buffer full may come on top, until it is looked at.
/// Afterwards a record is kept at the most: the one message that peers send then has 5 bytes.
const MAX_UNFINISHED: usize = 80 * 1024;

/// What is left in memory that many times as large is moved elsewhere.
const ROOMY: usize = 4;

/// The server's side of one TLS connection, without I/O. Between two records it holds no buffer.
pub(super) struct Session {
    tls: UnbufferedServerConnection,
    /// What was received and is not a whole record, or a whole message of the handshake.
    kept: Vec<u8>,
    hello: Hello,
    is_peer_done: bool,
    /// There was an error: rustls is not asked again, since it may remember where in bytes that are gone
    /// it was.
    is_over: bool,
}

/// What the peer began with, read beside rustls, whose connection of this form does not tell whom it asks for.
/// It is read apart from what is kept, in which rustls moves the parts of a message.
enum Hello {
    Unheard,
    Begun(Box<Acceptor>),
    /// It asks for that server, or for none, or was none.
    Read(Option<Box<str>>),
}

/// Where a [`Session`] writes the records that are to be sent.
pub(super) struct Outgoing<'a> {
    pub(super) pool: &'a mut ChunkPool,
    pub(super) queue: &'a mut SendQueue,
}

impl Session {
    pub(super) fn new(config: Arc<ServerConfig>) -> io::Result<Session> {
        let tls = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Session {
            tls,
            kept: Vec::new(),
            hello: Hello::Unheard,
            is_peer_done: false,
            is_over: false,
        })
    }

    /// Whether the handshake is under way: nothing can be sent yet.
    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Whether the peer has said that it sends no more.
    pub(super) fn is_peer_done(&self) -> bool {
        self.is_peer_done
    }

    /// Whether there was an error, after which nothing is received or sent.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Bytes received that wait for more.
    pub(super) fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Memory of what is kept.
    pub(super) fn held(&self) -> usize {
        let of_hello = match self.hello {
            Hello::Begun(_) => self.kept.len(),
            _ => 0,
        };
        self.kept.capacity() + of_hello
    }

    /// Keeps bytes for a later [`Session::receive`].
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.hello.hear(bytes);
        self.kept.extend_from_slice(bytes);
    }

    /// Whether what is kept can be processed: it begins with a whole record, or with what is none.
    pub(super) fn has_record(&self) -> bool {
        let is_sound = matches!(self.kept.as_slice(), [20..=23, 3, ..]);
        match record_length(&self.kept) {
            Some(length) if is_sound && length <= LONGEST => self.kept.len() >= length,
            Some(_) => true,
            None => false,
        }
    }

    /// Takes in what was received: appends the plain bytes of whole records to `plain` and what is to
    /// be answered to `outgoing`, and keeps the rest.
    ///
    /// After an error the session is over; an alert that tells the peer why is in `outgoing`.
    pub(super) fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        outgoing: &mut Outgoing<'_>,
    ) -> Result<(), rustls::Error> {
        self.go_on()?;
        self.hello.hear(bytes);
        let outcome = self.take_in(bytes, plain, outgoing);
        let outcome = outcome.and_then(|()| self.judge_kept());
        if outcome.is_err() {
            self.give_up();
        }
        outcome
    }

    fn give_up(&mut self) {
        (self.is_over, self.kept) = (true, Vec::new());
        self.hello = Hello::Read(None);
    }

    /// Refuses to where it is over.
    fn go_on(&self) -> Result<(), rustls::Error> {
        if self.is_over {
            return Err(rustls::Error::General("it is over".to_owned()));
        }
        Ok(())
    }

    /// A message that is not whole is kept in all of its records, whatever they are padded with.
    fn judge_kept(&self) -> Result<(), rustls::Error> {
        let (most, what) = if self.is_handshaking() {
            (MAX_UNFINISHED, "a handshake that does not end")
        } else {
            (LONGEST, "a message of the handshake that does not end")
        };
        if self.kept.len() > most {
            return Err(rustls::Error::General(what.to_owned()));
        }
        Ok(())
    }

    fn take_in(
        &mut self,
        mut bytes: &mut [u8],
        plain: &mut Vec<u8>,
        outgoing: &mut Outgoing<'_>,
    ) -> Result<(), rustls::Error> {
        while !self.kept.is_empty() && !self.is_peer_done {
            // Only what completes a record is copied; what follows is decrypted where it lies.
            let wanted = match missing(&self.kept) {
                // Records of an unfinished message, which have to stay together.
                0 => bytes.len(),
                more => more.min(bytes.len()),
            };
            let (first, rest) = bytes.split_at_mut(wanted);
            self.kept.extend_from_slice(first);
            bytes = rest;
            self.process_kept(plain, outgoing)?;
            if bytes.is_empty() {
                return Ok(());
            }
        }
        if !bytes.is_empty() && !self.is_peer_done {
            let consumed = self.process(bytes, plain, outgoing)?;
            if !self.is_peer_done {
                self.kept.extend_from_slice(&bytes[consumed..]);
            }
        }
        Ok(())
    }

    fn process_kept(
        &mut self,
        plain: &mut Vec<u8>,
        outgoing: &mut Outgoing<'_>,
    ) -> Result<(), rustls::Error> {
        let mut kept = std::mem::take(&mut self.kept);
        let consumed = self.process(&mut kept, plain, outgoing)?;
        // Whoever has said that it sends no more is not listened to (RFC 8446 §6.1).
        if self.is_peer_done || consumed == kept.len() {
            return Ok(());
        }
        if kept.len() - consumed < kept.capacity() / ROOMY {
            self.kept = kept.split_off(consumed);
        } else {
            kept.drain(..consumed);
            self.kept = kept;
        }
        Ok(())
    }

    /// Processes records until it lacks bytes. How many were consumed.
    fn process(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        outgoing: &mut Outgoing<'_>,
    ) -> Result<usize, rustls::Error> {
        let mut consumed = 0;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.tls.process_tls_records(&mut bytes[consumed..]);
            let mut is_blocked = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut record)) => {
                    outgoing.write(RECORD_OVERHEAD, |out| Ok(record.encode(out)?))?;
                }
                Ok(ConnectionState::TransmitTlsData(sent)) => sent.done(),
                Ok(ConnectionState::PeerClosed) => self.is_peer_done = true,
                Ok(_) => is_blocked = true,
                Err(error) => {
                    self.write_alerts(outgoing);
                    return Err(error);
                }
            }
            consumed += discard;
            if is_blocked {
                return Ok(consumed);
            }
        }
    }

    /// What rustls has to say about a fault.
    fn write_alerts(&mut self, outgoing: &mut Outgoing<'_>) {
        while self.tls.wants_write() {
            let UnbufferedStatus { state, .. } = self.tls.process_tls_records(&mut []);
            let Ok(ConnectionState::EncodeTlsData(mut record)) = state else {
                return;
            };
            if outgoing
                .write(RECORD_OVERHEAD, |out| Ok(record.encode(out)?))
                .is_err()
            {
                return;
            }
        }
    }

    /// Takes up to `most` plain bytes off `queue` and writes them as records. What is small is
    /// gathered in `gathered` first, so that a record holds as much as it can.
    pub(super) fn seal(
        &mut self,
        queue: &mut SendQueue,
        most: usize,
        gathered: &mut Vec<u8>,
        outgoing: &mut Outgoing<'_>,
    ) -> Result<usize, rustls::Error> {
        let mut sealed = 0;
        while sealed < most && !queue.is_empty() {
            let plain = next_plain(queue, gathered);
            let length = plain.len();
            self.write(outgoing, |traffic, outgoing| {
                outgoing.write(length + RECORD_OVERHEAD, |out| {
                    Ok(traffic.encrypt(plain, out)?)
                })
            })?;
            queue.advance(length);
            sealed += length;
        }
        Ok(sealed)
    }

    /// Says that nothing more will be sent.
    pub(super) fn close(&mut self, outgoing: &mut Outgoing<'_>) -> Result<(), rustls::Error> {
        self.write(outgoing, |traffic, outgoing| {
            outgoing.write(RECORD_OVERHEAD, |out| Ok(traffic.queue_close_notify(out)?))
        })
    }

    fn write(
        &mut self,
        outgoing: &mut Outgoing<'_>,
        write: impl FnOnce(
            &mut WriteTraffic<'_, ServerConnectionData>,
            &mut Outgoing<'_>,
        ) -> Result<(), rustls::Error>,
    ) -> Result<(), rustls::Error> {
        self.go_on()?;
        loop {
            // What is kept was processed as far as it goes: nothing is received here.
            let UnbufferedStatus { state, .. } = self.tls.process_tls_records(&mut self.kept);
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    self.give_up();
                    return Err(error);
                }
            };
            match state {
                ConnectionState::WriteTraffic(mut traffic) => return write(&mut traffic, outgoing),
                ConnectionState::EncodeTlsData(mut record) => {
                    outgoing.write(RECORD_OVERHEAD, |out| Ok(record.encode(out)?))?;
                }
                ConnectionState::TransmitTlsData(sent) => sent.done(),
                ConnectionState::PeerClosed => self.is_peer_done = true,
                _ => return Err(rustls::Error::HandshakeNotComplete),
            }
        }
    }

    /// What is known of the peer once the handshake is done.
    pub(super) fn secured(&self) -> Secured {
        let certificates = self.tls.peer_certificates().unwrap_or_default();
        Secured {
            server_name: self.hello.server_name(),
            peer_certificates: certificates.iter().map(|der| Box::from(&**der)).collect(),
            is_resumed: self.tls.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }
}

impl Hello {
    /// Takes note of what was received, until the hello is whole.
    fn hear(&mut self, mut bytes: &[u8]) {
        if matches!(self, Hello::Unheard) && !bytes.is_empty() {
            *self = Hello::Begun(Box::default());
        }
        while let Hello::Begun(acceptor) = self
            && !bytes.is_empty()
        {
            let is_read = acceptor.read_tls(&mut bytes).is_ok_and(|count| count > 0);
            let accepted = if is_read {
                acceptor.accept()
            } else {
                return *self = Hello::Read(None);
            };
            match accepted {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let name = accepted.client_hello().server_name().map(Box::from);
                    *self = Hello::Read(name);
                }
                Err(_) => *self = Hello::Read(None),
            }
        }
    }

    fn server_name(&self) -> Option<Box<str>> {
        match self {
            Hello::Read(name) => name.clone(),
            _ => None,
        }
    }
}

/// Length of the record that `bytes` begin with, once its header is there.
fn record_length(bytes: &[u8]) -> Option<usize> {
    let &[_, _, _, high, low, ..] = bytes else {
        return None;
    };
    Some(HEADER + usize::from(u16::from_be_bytes([high, low])))
}

/// How many bytes the last record in `bytes` lacks, or its header; 0 when it is whole.
fn missing(mut bytes: &[u8]) -> usize {
    while !bytes.is_empty() {
        let Some(length) = record_length(bytes) else {
            return HEADER - bytes.len();
        };
        match bytes.get(length..) {
            Some(rest) => bytes = rest,
            None => return length - bytes.len(),
        }
    }
    0
}

/// The first bytes of the queue, as many as a record holds: where they lie, when they lie together.
fn next_plain<'a>(queue: &'a SendQueue, gathered: &'a mut Vec<u8>) -> &'a [u8] {
    if let Some(first) = queue.iter().next()
        && (queue.len() == 1 || first.len() >= MAX_RECORD)
    {
        return &first.as_bytes()[..first.len().min(MAX_RECORD)];
    }
    gathered.clear();
    for slice in queue.iter() {
        let room = MAX_RECORD - gathered.len();
        gathered.extend_from_slice(&slice.as_bytes()[..slice.len().min(room)]);
        if gathered.len() == MAX_RECORD {
            break;
        }
    }
    gathered
}

/// Why nothing could be written.
pub(super) enum Unwritten {
    /// It takes so many bytes.
    Needs(usize),
    /// The keys are used up.
    Exhausted,
}

impl From<EncodeError> for Unwritten {
    fn from(error: EncodeError) -> Unwritten {
        match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Unwritten::Needs(required_size)
            }
            EncodeError::AlreadyEncoded => Unwritten::Exhausted,
        }
    }
}

impl From<EncryptError> for Unwritten {
    fn from(error: EncryptError) -> Unwritten {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Unwritten::Needs(required_size)
            }
            EncryptError::EncryptExhausted => Unwritten::Exhausted,
        }
    }
}

impl Outgoing<'_> {
    /// Has `write` write into `room` bytes, or as many as it then asks for, and queues what it wrote.
    fn write(
        &mut self,
        room: usize,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, Unwritten>,
    ) -> Result<(), rustls::Error> {
        let mut attempt = |room| {
            let mut outcome = Ok(0);
            let mut written = self.pool.write(room, |out| outcome = write(out));
            outcome.map(|count| written.split_to(count))
        };
        let written = match attempt(room) {
            Err(Unwritten::Needs(more)) => attempt(more),
            other => other,
        };
        match written {
            Ok(records) => {
                self.queue.push(records);
                Ok(())
            }
            Err(_) => Err(rustls::Error::EncryptError),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("is_handshaking", &self.is_handshaking())
            .field("kept", &self.kept.len())
            .finish_non_exhaustive()
    }
}
