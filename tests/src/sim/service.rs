//! The service under simulation: it does what clients ask for and enters it in the book.

use throng::{
    Accept, Close, Conn, EngineHandle, Gap, Handler, Message, OwnedMessage, Position, Recovery,
    Reject, Upgrade,
};

use super::book::{Book, Membership, Publication, Resumption, Sender, Shelf, text};

/// How a client's connection asks to be closed.
pub(super) const KICK_CODE: u16 = 4000;

/// What a client asks to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// `None` for an answer to the client alone.
    pub(super) room: Option<usize>,
    pub(super) is_urgent: bool,
    pub(super) has_key: bool,
    pub(super) excepts_sender: bool,
    pub(super) length: usize,
}

impl Wish {
    fn entry(self, sender: Sender) -> Publication {
        Publication {
            room: self.room,
            sender,
            is_urgent: self.is_urgent,
            has_key: self.has_key,
            excepts_sender: self.excepts_sender,
            published: 0,
            resolved: None,
            receipt: None,
            offset: None,
            length: self.length,
        }
    }
}

/// The name of a room.
pub(super) fn room_name(room: usize) -> String {
    format!("room-{room}")
}

#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) shelf: Shelf,
    /// Rooms below this number are sequenced.
    pub(super) sequenced: usize,
    /// Messages that these keep, if they keep any.
    pub(super) history: Option<usize>,
}

/// Publishes in the way of whoever has a `To` at hand: from a handler, or from outside.
macro_rules! publish {
    ($service:expr, $to:expr, $sender:expr, $wish:expr) => {{
        let (shelf, wish): (Shelf, Wish) = ($service.shelf.clone(), $wish);
        let room = wish.room.unwrap_or_default();
        let number = shelf.book().publish(wish.entry($sender));
        let mut to = $to;
        if wish.is_urgent {
            to = to.high();
        }
        if wish.has_key {
            to = to.key("key");
        }
        if wish.excepts_sender {
            to = to.except_self();
        }
        let book = shelf.clone();
        let then = move |receipt| book.book().resolve(number, receipt);
        if room < $service.sequenced {
            let numbered = to.numbered(move |at| {
                let mut book = shelf.book();
                book.publications[number].offset = Some(at.offset);
                book.epochs.insert(room, at.epoch);
                text(number, at.offset, wish.length)
            });
            // The receipt tells what became of it.
            let _ = numbered.publish_then(then);
        } else {
            let _ = to.text(text(number, 0, wish.length)).publish_then(then);
        }
    }};
}

impl Service {
    /// Publishes from outside.
    pub(super) fn publish_outside(&self, handle: &EngineHandle, wish: Wish) {
        let name = room_name(wish.room.unwrap_or_default());
        publish!(self, handle.to(&name), Sender::Outside, wish);
    }

    fn answer(&self, conn: &mut Conn<'_, usize>, wish: Wish) {
        let sender = Sender::Client(*conn.state());
        let number = self.shelf.book().publish(wish.entry(sender));
        let receipt = conn.send(&*text(number, 0, wish.length));
        self.shelf.book().resolve(number, Ok(receipt));
    }

    fn join(&self, conn: &mut Conn<'_, usize>, room: usize) {
        let joined = conn.join(&room_name(room)).is_ok();
        let mut book = self.shelf.book();
        let tick = book.tick();
        let page = book.page(*conn.state());
        if joined && page.membership(room).is_none() {
            page.memberships.push(Membership {
                room,
                joined: tick,
                left: None,
            });
        }
    }

    /// Joins from a place, unless it was in the room before: what is on its way from then would come twice.
    fn resume(&self, conn: &mut Conn<'_, usize>, room: usize, since: u64, is_other_epoch: bool) {
        let client = *conn.state();
        let mut book = self.shelf.book();
        let (epoch, last) = (book.epochs.get(&room).copied(), book.last_offset(room));
        let memberships = &book.page(client).memberships;
        if memberships.iter().any(|it| it.room == room) {
            return;
        }
        drop(book);
        let since = Position {
            epoch: epoch.unwrap_or_default() ^ u64::from(is_other_epoch),
            offset: since,
        };
        let is_behind = conn.queued().0 > 0;
        let Ok(recovery) = conn.join_from(&room_name(room), since) else {
            return;
        };
        let kept = self.history.filter(|_| room < self.sequenced);
        let missed = last
            .checked_sub(since.offset)
            .filter(|_| epoch.is_some() && !is_other_epoch);
        let is_there = missed
            .zip(kept)
            .is_some_and(|(missed, kept)| missed <= kept as u64);
        let Recovery {
            recovered,
            position,
            ..
        } = recovery;
        let mut book = self.shelf.book();
        if recovered && !is_there || is_there && !recovered && !is_behind {
            let wrong = format!("client {client} in room {room} from {since:?}: {recovery:?}");
            book.wrongs.push(wrong);
        }
        if room < self.sequenced && position.offset != last {
            let wrong = format!("room {room} stands at {last}, not {position:?}");
            book.wrongs.push(wrong);
        }
        let joined = book.tick();
        let page = book.page(client);
        page.memberships.push(Membership {
            room,
            joined,
            left: None,
        });
        page.resumptions.push(Resumption {
            room,
            since: since.offset,
            recovered,
            until: position.offset,
        });
    }

    fn leave(&self, conn: &mut Conn<'_, usize>, room: usize) {
        let was_member = conn.leave(&room_name(room));
        let mut book = self.shelf.book();
        let tick = book.tick();
        let known = book.page(*conn.state()).leave(room, tick);
        if was_member != known {
            let client = conn.state();
            let wrong = format!("client {client} leaving room {room}: {was_member}, not {known}");
            book.wrongs.push(wrong);
        }
    }
}

/// A client's request: `j 1`, `l 1`, `r 1`, an offset and whether the epoch is another one, `k`, or `p` and the fields of a [`Wish`].
pub(super) fn request(wish: Wish) -> String {
    let room = wish
        .room
        .map_or(-1, |room| i64::try_from(room).unwrap_or(-1));
    let flags = [wish.is_urgent, wish.has_key, wish.excepts_sender].map(u8::from);
    format!(
        "p {room} {} {} {} {}",
        flags[0], flags[1], flags[2], wish.length
    )
}

fn wish(fields: &[i64]) -> Option<Wish> {
    let [room, is_urgent, has_key, excepts_sender, length] = *fields else {
        return None;
    };
    Some(Wish {
        room: usize::try_from(room).ok(),
        is_urgent: is_urgent == 1,
        has_key: has_key == 1,
        excepts_sender: excepts_sender == 1,
        length: usize::try_from(length).ok()?,
    })
}

impl Handler for Service {
    /// The client's number.
    type State = usize;

    fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<usize>, Reject> {
        let client = request.query_value("client").and_then(|it| it.parse().ok());
        client.map(Accept::new).ok_or(Reject::new(400))
    }

    fn on_open(&self, conn: &mut Conn<'_, usize>) {
        let (client, id) = (*conn.state(), conn.id());
        let mut book = self.shelf.book();
        let page = book.page(client);
        page.opened += 1;
        page.id = Some(id);
    }

    fn on_message(&self, conn: &mut Conn<'_, usize>, message: Message<'_>) {
        let text = message.as_text().unwrap_or_default();
        let (verb, rest) = text.split_at_checked(1).unwrap_or_default();
        let fields: Vec<i64> = rest
            .split_whitespace()
            .filter_map(|it| it.parse().ok())
            .collect();
        let room = fields.first().and_then(|room| usize::try_from(*room).ok());
        match (verb, room) {
            ("j", Some(room)) => self.join(conn, room),
            ("l", Some(room)) => self.leave(conn, room),
            ("r", Some(room)) if fields.len() == 3 => {
                let since = fields[1].unsigned_abs();
                self.resume(conn, room, since, fields[2] == 1);
            }
            ("k", _) => {
                self.shelf.book().page(*conn.state()).kicks.push(KICK_CODE);
                conn.close(KICK_CODE.into(), "as asked");
            }
            ("p", _) => match wish(&fields) {
                Some(wish) if wish.room.is_none() => self.answer(conn, wish),
                Some(wish) => {
                    let name = room_name(wish.room.unwrap_or_default());
                    let sender = Sender::Client(*conn.state());
                    publish!(self, conn.to(&name), sender, wish);
                }
                None => self
                    .shelf
                    .book()
                    .wrongs
                    .push(format!("a garbled request: {text:?}")),
            },
            _ => self
                .shelf
                .book()
                .wrongs
                .push(format!("a garbled request: {text:?}")),
        }
    }

    fn gap_notice(&self, _: &Conn<'_, usize>, gap: &Gap<'_>) -> Option<OwnedMessage> {
        Some(format!("g {}", gap.missed).into())
    }

    fn on_close(&self, conn: &mut Conn<'_, usize>, close: &Close) {
        let mut book = self.shelf.book();
        let Book { turn, .. } = *book;
        let tick = book.tick();
        let page = book.page(*conn.state());
        page.closed.push(close.clone());
        page.ended = Some((tick, turn));
    }
}
