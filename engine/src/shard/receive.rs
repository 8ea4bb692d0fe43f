//! Frames that have arrived.

use throng_transport::SocketKey;

use super::Shard;
use super::connection::Phase;
use super::core::Farewell;
use crate::event::{Cause, ErrorKind};
use crate::handler::Handler;
use crate::protocol::close::{CloseCode, CloseFrame};
use crate::protocol::fault::Fault;
use crate::protocol::frame::OpCode;
use crate::protocol::message::{Event, Input, Message};

impl<H: Handler> Shard<H> {
    /// Handles what is in `bytes`, up to a close frame or a fault. Where something must be held back,
    /// returns how many of the last bytes; it may be none, when only inflating is to go on.
    #[inline]
    pub(super) fn handle_frames(&mut self, key: SocketKey, bytes: &mut [u8]) -> Option<usize> {
        let mut decoder = std::mem::take(&mut self.core.connections[key.slot].decoder);
        let mut input = Input::new(bytes);
        let limits = self.core.message_limits;
        let mut held_back = None;
        loop {
            // After our close frame, what the peer still says is dropped (RFC 6455 §1.4).
            if !self.core.connections[key.slot].is_open() {
                decoder.discard_messages(&mut self.core.decoders);
            }
            match decoder.next(&mut input, &limits, &mut self.core.decoders) {
                Ok(None) => break,
                Ok(Some(Event::Message(message))) => {
                    self.handle_message(key, message);
                    if !input.is_empty() && self.core.must_hold(key.slot) {
                        held_back = Some(input.remaining());
                        // What waits in line must not wait with a whole message in its hands.
                        decoder.forget_delivered(&mut self.core.decoders);
                        break;
                    }
                }
                // RFC 6455 §5.5.2: answered with its payload, unless a close frame was sent.
                Ok(Some(Event::Ping(payload))) => {
                    self.core.note_control(key, OpCode::Ping, payload);
                    self.core.pong(key, payload);
                }
                Ok(Some(Event::Pong(payload))) => {
                    self.core.note_control(key, OpCode::Pong, payload);
                }
                Ok(Some(Event::Unfinished)) => {
                    held_back = Some(input.remaining());
                    break;
                }
                Ok(Some(Event::Close(frame))) => {
                    self.handle_close(key, frame);
                    break;
                }
                Err(fault) => {
                    self.handle_fault(key, fault);
                    break;
                }
            }
        }
        let connection = &mut self.core.connections[key.slot];
        match connection.phase {
            Phase::Open | Phase::Closing => connection.decoder = decoder,
            _ => decoder.release(&mut self.core.decoders),
        }
        held_back
    }

    #[inline]
    fn handle_message(&mut self, key: SocketKey, message: Message<'_>) {
        let tick = self.core.tick;
        let connection = &mut self.core.connections[key.slot];
        connection.active = tick;
        connection.counts.messages_in += 1;
        connection.counts.bytes_in += message.len() as u64;
        let is_traced = connection.marks.is_traced();
        self.core.note_message(key, message, is_traced);
        // In two arms, so that the message is put together where the handler takes it: copied as a whole
        // right after it was written in parts, it would wait for the processor's store buffer.
        match message {
            Message::Text(text) => {
                self.call(key, |handler, conn| {
                    handler.on_message(conn, Message::Text(text));
                });
            }
            Message::Binary(bytes) => {
                self.call(key, |handler, conn| {
                    handler.on_message(conn, Message::Binary(bytes));
                });
            }
        }
    }

    /// RFC 6455 §5.5.1: a close frame is answered with one of the same code, unless it is the
    /// answer to ours.
    #[cold]
    fn handle_close(&mut self, key: SocketKey, frame: Option<CloseFrame<'_>>) {
        self.core.note_close_frame(key, frame);
        let connection = &mut self.core.connections[key.slot];
        if connection.phase == Phase::Closing {
            connection.phase = Phase::Lingering;
            self.core.connections.mark_dirty(key.slot);
            return;
        }
        let code = frame.map(|frame| frame.code);
        let reason = frame.map_or("", |frame| frame.reason).to_owned();
        let farewell = Farewell::Final(code.unwrap_or(CloseCode::NO_STATUS), "");
        self.core
            .part(key.slot, Cause::PeerClosed { code, reason }, &farewell);
    }

    /// RFC 6455 §7.1.7: the connection is failed.
    #[cold]
    fn handle_fault(&mut self, key: SocketKey, fault: Fault) {
        tracing::debug!(connection = %self.core.id(key), %fault, "the peer broke the protocol");
        let cause = if fault.is_too_big() {
            self.core.note_error(ErrorKind::TooBig, Some(key));
            Cause::TooBig
        } else {
            self.core.note_error(ErrorKind::Protocol, Some(key));
            Cause::ProtocolFault
        };
        let farewell = Farewell::Final(fault.close_code(), fault.reason());
        self.core.part(key.slot, cause, &farewell);
        // Where our close frame was queued before, nothing more is said, and nothing awaited.
        let connection = &mut self.core.connections[key.slot];
        if connection.phase == Phase::Closing {
            connection.phase = Phase::Lingering;
            self.core.connections.mark_dirty(key.slot);
        }
    }
}
