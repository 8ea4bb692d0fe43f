//! Doing what the futures of connections want done, and reading on when they have room.

use std::sync::Arc;
use std::task::Waker;

use throng_transport::SocketKey;

use super::core::{Core, Farewell};
use super::{Foreign, Lane, Shard, guard};
use crate::conn::Conn;
use crate::event::Cause;
use crate::handler::Handler;
use crate::limits::LINK_MESSAGES;
use crate::owned::OwnedMessage;
use crate::protocol::close::CloseCode;
use crate::protocol::frame::MAX_HEADER_LEN;
use crate::socket::{Link, Op};

impl Core {
    /// Keeps a message for the future that has the connection. Where there is no room for another one,
    /// nothing more is handled until there is.
    pub(crate) fn push_to_link(&mut self, key: SocketKey, message: OwnedMessage) {
        if let Some(link) = self.link(key)
            && !link.push(message)
        {
            self.connections[key.slot].marks.set_full(true);
        }
    }

    /// The link of a connection to the future that has it.
    pub(crate) fn link(&self, key: SocketKey) -> Option<&Arc<Link>> {
        self.connections.peek(key)?.link()
    }

    /// Bytes of a message that the connection may be sent now, which will neither wait for long nor make the
    /// overflow policy act; `None` while nothing may be sent.
    fn room(&mut self, key: SocketKey) -> Option<usize> {
        let limits = self.connections.limits;
        let outbox = &self.connections.open(key)?.outbox;
        if !outbox.is_behind() {
            return Some(usize::MAX);
        }
        let (messages, bytes) = (outbox.messages(), outbox.bytes());
        let is_half = messages < limits.messages / 2 && bytes < limits.bytes / 2;
        let room = limits.bytes.saturating_sub(bytes) as usize;
        // What does not become smaller by compressing becomes larger, by five bytes in some thousand.
        is_half.then(|| room.saturating_sub(MAX_HEADER_LEN + room / 256))
    }
}

impl<H: Handler> Shard<H> {
    /// Does what the connection's future wants done, as far as the peer keeps up.
    pub(super) fn serve_link(&mut self, key: SocketKey) {
        let Some(link) = self.core.link(key).map(Arc::clone) else {
            return;
        };
        if link.resume() {
            self.core.connections[key.slot].marks.set_full(false);
            self.core.line_up(key);
        }
        // Whoever has the socket may go on making work while this is done.
        for _ in 0..LINK_MESSAGES {
            if self.core.has_done_enough() {
                break;
            }
            let Some(room) = self.core.room(key) else {
                break;
            };
            let Some((op, sender)) = link.next_op(room) else {
                break;
            };
            self.carry_out(key, op);
            if sender.get().is_some() && sender.call(Waker::wake).is_none() {
                self.handle_panic(key);
            }
        }
        self.revisit(key, &link);
        if link.is_abandoned() && self.core.connections.open(key).is_some() {
            self.kick(key, CloseCode::NORMAL, "");
        }
    }

    /// Where something is left to be done, it is when the send in flight is completed. Between two sends
    /// the flush shows whether there will be one.
    fn revisit(&mut self, key: SocketKey, link: &Link) {
        if link.has_ops()
            && let Some(connection) = self.core.connections.open(key)
            && !connection.outbox.is_in_flight()
            && !connection.marks.is_revisited()
        {
            connection.marks.set_revisited(true);
            self.core.jobs.revisit.push(key);
        }
    }

    /// Goes on for those whose sends were completed in this turn; returns whether there were any.
    pub(super) fn serve_links(&mut self) -> bool {
        let core = &self.core;
        if core.to_tell.iter().all(|key| core.link(*key).is_none()) {
            return false;
        }
        let shared = Arc::clone(&core.shared);
        let _entered = shared.runtime.enter();
        for place in 0..self.core.to_tell.len() {
            self.serve_link(self.core.to_tell[place]);
        }
        true
    }

    /// Does it as a handler would: a panic costs the connection.
    fn carry_out(&mut self, key: SocketKey, op: Op) {
        let core = &mut self.core;
        let done = match op {
            Op::Send(message) => guard(|| {
                core.send(key, message.as_message(), Lane::Normal);
            }),
            Op::Call(call) => {
                Foreign::new(call).call(|call| call(&mut Conn::new(core, key, &mut ())))
            }
            Op::Close(code, reason) => return self.kick(key, code, &reason),
        };
        if done.is_none() {
            self.handle_panic(key);
        }
    }

    fn kick(&mut self, key: SocketKey, code: CloseCode, reason: &str) {
        let farewell = Farewell::Last(code, reason);
        self.core.part(key.slot, Cause::Kicked { code }, &farewell);
    }
}
