//! What a connection has received, as far as a floor looks at it.

use std::io::{self, ErrorKind};

use crate::handshake;

/// Bytes of a request head; a longer one closes the connection.
const HEAD_LIMIT: usize = 16 * 1024;
/// FIN and the opcode of a close frame (RFC 6455 §5.2).
const CLOSE: u8 = 0x88;
/// Bytes of a client's close frame with a code and no reason.
const CLOSE_FRAME: usize = 8;
/// The answer to it, with code 1000.
pub(super) const GOODBYE: [u8; 4] = [CLOSE, 2, 0x03, 0xE8];

/// The request head, then the count of bytes.
#[derive(Debug)]
pub(super) struct Inbound {
    /// What has arrived of the request head; `None` once it is whole.
    head: Option<Vec<u8>>,
    /// Bytes received of a message that is not complete.
    partial: usize,
    /// The first of them.
    first: u8,
}

/// What some bytes amount to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// So many messages became complete.
    Messages(usize),
    /// So did the request head, and as many messages; this is to be sent before anything else.
    Opened { answer: String, messages: usize },
    /// A close frame came last.
    Close,
}

impl Inbound {
    pub(super) fn new() -> Self {
        Self {
            head: Some(Vec::new()),
            partial: 0,
            first: 0,
        }
    }

    /// Whether the request head is whole.
    pub(super) fn is_open(&self) -> bool {
        self.head.is_none()
    }

    /// Takes in the bytes of one read; a message has `frame` bytes.
    ///
    /// # Errors
    /// When the request head cannot be answered.
    #[inline]
    pub(super) fn take(&mut self, bytes: &[u8], frame: usize) -> io::Result<Received> {
        if self.head.is_some() {
            return self.take_head(bytes, frame);
        }
        let total = self.partial + bytes.len();
        self.partial = total % frame;
        // Seldom looked at: between whole messages nothing is left over.
        if self.partial > 0 {
            if let Some(begin) = bytes.len().checked_sub(self.partial) {
                self.first = bytes[begin];
            }
            if self.partial == CLOSE_FRAME && self.first == CLOSE {
                return Ok(Received::Close);
            }
        }
        Ok(Received::Messages(total / frame))
    }

    /// Collects the request head and answers it.
    #[cold]
    fn take_head(&mut self, bytes: &[u8], frame: usize) -> io::Result<Received> {
        let mut head = self.head.take().unwrap_or_default();
        head.extend_from_slice(bytes);
        let Some(len) = handshake::head_len(&head) else {
            if head.len() > HEAD_LIMIT {
                return Err(ErrorKind::InvalidData.into());
            }
            self.head = Some(head);
            return Ok(Received::Messages(0));
        };
        let answer = handshake::answer(&head[..len]).ok_or(ErrorKind::InvalidData)?;
        match self.take(&head[len..], frame)? {
            Received::Messages(messages) => Ok(Received::Opened { answer, messages }),
            other => Ok(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    #[test]
    fn what_comes_with_the_head_counts() {
        let mut inbound = Inbound::new();
        let (first, last) = HEAD.split_at(20);
        assert_eq!(inbound.take(first, 26).unwrap(), Received::Messages(0));
        assert!(!inbound.is_open());
        let more = [last, &[0; 60]].concat();
        let opened = inbound.take(&more, 26).unwrap();
        assert!(matches!(opened, Received::Opened { messages: 2, .. }));
        assert!(inbound.is_open());
        assert_eq!(inbound.take(&[0; 18], 26).unwrap(), Received::Messages(1));
    }

    #[test]
    fn a_close_frame_is_known_by_what_is_left_over() {
        let mut inbound = Inbound::new();
        inbound.take(HEAD, 26).unwrap();
        let mut bytes = vec![0; 26 + CLOSE_FRAME];
        bytes[26] = CLOSE;
        assert_eq!(inbound.take(&bytes, 26).unwrap(), Received::Close);
    }

    #[test]
    fn a_close_frame_may_come_in_pieces() {
        let mut inbound = Inbound::new();
        inbound.take(HEAD, 26).unwrap();
        let mut bytes = [0; 26 + CLOSE_FRAME];
        bytes[26] = CLOSE;
        let (first, last) = bytes.split_at(26 + 3);
        assert_eq!(inbound.take(first, 26).unwrap(), Received::Messages(1));
        assert_eq!(inbound.take(last, 26).unwrap(), Received::Close);
    }
}
