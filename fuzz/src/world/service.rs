//! The service that the connections talk to, and its book of what happened.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use throng::{Accept, Close, CloseCode, Conn, Handler, Message, Receipt, Reject, Upgrade};

use crate::Owned;

/// The room that everybody is in.
pub(super) const ROOM: &str = "all";
/// What a message to the service begins with, where it is no echo that is asked for.
pub(super) const TO_ROOM: u8 = b'p';
/// See [`TO_ROOM`]: everybody is told but who says it.
pub(super) const TO_OTHERS: u8 = b'x';
/// See [`TO_ROOM`]: answered on the lane that goes first.
pub(super) const URGENT: u8 = b'h';
/// See [`TO_ROOM`]: answered by a ping.
pub(super) const PING: u8 = b'q';
/// See [`TO_ROOM`]: the connection is closed.
pub(super) const KICK: u8 = b'k';
/// What everything on the urgent lane begins with, and nothing else.
pub(super) const URGENT_MARK: u8 = b'H';
/// What everything published from outside begins with, and nothing else.
pub(super) const OUTSIDE_MARK: u8 = b'o';

/// What the service knows of one connection.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) opened: usize,
    /// How many messages had been published from outside when it was opened.
    pub(super) outside_before: usize,
    /// Messages received.
    pub(super) received: Vec<Owned>,
    /// Messages sent to it, on the normal lane.
    pub(super) told: Vec<Owned>,
    /// The same, on the urgent lane.
    pub(super) urged: Vec<Owned>,
    pub(super) pings: Vec<Vec<u8>>,
    /// How it was closed, by the service or from outside.
    pub(super) kicks: Vec<CloseCode>,
    pub(super) closed: Vec<Close>,
}

/// What the service knows.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) pages: Vec<Page>,
    /// What was published from outside.
    pub(super) outside: Vec<Owned>,
    /// Messages have been dropped.
    pub(super) has_lost: bool,
}

/// The handler.
#[derive(Clone, Debug, Default)]
pub(super) struct Service(Arc<Mutex<Book>>);

impl Service {
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// The page of the connection of that number.
    pub(super) fn page(&mut self, number: usize) -> &mut Page {
        if self.pages.len() <= number {
            self.pages.resize_with(number + 1, Page::default);
        }
        &mut self.pages[number]
    }

    /// Whether a message was queued.
    fn count(&mut self, receipt: &Receipt) -> bool {
        self.has_lost |=
            receipt.dropped + receipt.displaced + receipt.evicted + receipt.refused > 0;
        receipt.queued > 0
    }

    fn publish(&mut self, conn: &mut Conn<'_, usize>, message: Message<'_>) {
        // Whoever is about to end, and has not been told, receives nothing more.
        let is_for_all = message.as_bytes().first() == Some(&TO_ROOM);
        for (number, page) in self.pages.iter_mut().enumerate() {
            let is_meant = is_for_all || number != *conn.state();
            if page.opened > 0 && page.closed.is_empty() && is_meant {
                page.told.push(message.into());
            }
        }
        let receipt = if is_for_all {
            conn.to(ROOM).message(message).publish()
        } else {
            conn.to(ROOM).except_self().message(message).publish()
        };
        self.count(&receipt);
    }

    fn answer(&mut self, conn: &mut Conn<'_, usize>, message: Message<'_>) {
        let number = *conn.state();
        match message.as_bytes() {
            [URGENT_MARK | OUTSIDE_MARK, ..] => {}
            [TO_ROOM | TO_OTHERS, ..] => self.publish(conn, message),
            [URGENT, rest @ ..] => {
                let text = [&[URGENT_MARK], rest].concat();
                let receipt = conn.high().send(&text);
                if self.count(&receipt) {
                    self.page(number).urged.push(Owned::Binary(text));
                }
            }
            [PING, rest @ ..] => {
                let payload = &rest[..rest.len().min(125)];
                conn.ping(payload);
                self.page(number).pings.push(payload.to_vec());
            }
            [KICK, a, b, ..] => {
                let code = CloseCode::from(u16::from_be_bytes([*a, *b]));
                self.page(number).kicks.push(code);
                conn.close(code, "kicked");
                assert!(conn.is_closed());
                assert_eq!(conn.send("not sent").queued, 0);
            }
            _ => {
                let receipt = conn.send(message);
                if self.count(&receipt) {
                    self.page(number).told.push(message.into());
                }
            }
        }
    }
}

impl Handler for Service {
    type State = usize;

    fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<usize>, Reject> {
        let address = request.remote_addr().ok_or(Reject::new(500))?;
        if request.path() == "/closed" {
            return Err(Reject::new(403).text("closed"));
        }
        Ok(Accept::new(usize::from(address.port())))
    }

    fn on_open(&self, conn: &mut Conn<'_, usize>) {
        let mut book = self.book();
        let outside = book.outside.len();
        let page = book.page(*conn.state());
        page.opened += 1;
        page.outside_before = outside;
        assert_eq!(conn.join(ROOM), Ok(()));
    }

    fn on_message(&self, conn: &mut Conn<'_, usize>, message: Message<'_>) {
        let mut book = self.book();
        let page = book.page(*conn.state());
        assert!(page.opened == 1 && page.closed.is_empty() && !conn.is_closed());
        page.received.push(message.into());
        book.answer(conn, message);
    }

    fn on_close(&self, conn: &mut Conn<'_, usize>, close: &Close) {
        assert!(conn.is_closed());
        self.book().page(*conn.state()).closed.push(close.clone());
    }
}
