//! The service under attack.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use throng::{
    Accept, Cause, Close, CloseCode, Conn, ConnectionId, Handler, Message, Reject, Upgrade,
};

/// The room of the bystanders.
const SQUARE: &str = "square";
/// The room of attackers, to which nobody speaks.
const CROWD: &str = "crowd";
/// The room that `!noise` is published to, and the path that leads into it and the square.
pub const NOISE: &str = "/noise";
/// The path of the bystanders.
pub(super) const BYSTANDER: &str = "/bystander";

/// Echoes, but for texts that begin with `#`, which go to everybody on the square, and `!noise`,
/// which is published to [`NOISE`] with so much behind it as its sender put there; `!keyed` is too,
/// each time with another one of many keys.
///
/// Everybody who came by the bystanders' path or by [`NOISE`] is on the square, others in a room
/// without speakers. What becomes of all but the bystanders is told to the [`Tally`].
///
/// So that tests of the tests can fail, `!whisper` says something to the square, `!swallow` leaves a
/// bystander without its next echo, `!reorder` has the first broadcast of a round change places with
/// the second, `!expel` closes a bystander, and `!hoard` keeps 1 MiB.
#[derive(Debug, Default)]
pub struct Square {
    tally: Arc<Tally>,
    bystander: Mutex<Option<ConnectionId>>,
    hoard: Mutex<Vec<Vec<u8>>>,
    mischief: Mutex<Mischief>,
}

/// What is to go wrong with what a bystander says.
#[derive(Debug, Default)]
enum Mischief {
    #[default]
    Nothing,
    /// Its next echo is lost.
    Swallow,
    /// The next round's first broadcast is to wait for the second.
    Reorder,
    /// It waits.
    Held(String),
}

/// What has become of the attackers, in memory that does not grow with their number.
#[derive(Debug, Default)]
pub struct Tally {
    causes: Mutex<Vec<(Cause, usize)>>,
    opened: AtomicUsize,
    messages: AtomicUsize,
    dropped: AtomicUsize,
}

impl Tally {
    /// Attackers that ended of this cause.
    pub fn ended(&self, cause: &Cause) -> usize {
        let causes = self.causes.lock().unwrap();
        let known = causes.iter().find(|(known, _)| known == cause);
        known.map_or(0, |(_, count)| *count)
    }

    /// Why attackers ended, and how many of each.
    pub fn causes(&self) -> Vec<(Cause, usize)> {
        self.causes.lock().unwrap().clone()
    }

    /// Attackers that were let in.
    pub fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    /// Messages of theirs that were handled.
    pub fn messages(&self) -> usize {
        self.messages.load(Ordering::Relaxed)
    }

    /// Messages that the overflow policy dropped.
    pub fn dropped(&self) -> usize {
        self.dropped.load(Ordering::Relaxed)
    }

    fn end(&self, cause: &Cause) {
        let mut causes = self.causes.lock().unwrap();
        match causes.iter_mut().find(|(known, _)| known == cause) {
            Some((_, count)) => *count += 1,
            None => causes.push((cause.clone(), 1)),
        }
    }
}

impl Square {
    /// What becomes of the attackers.
    pub(super) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    fn plan(&self, mischief: Mischief) {
        *self.mischief.lock().unwrap() = mischief;
    }

    /// Does what is planned; returns whether that has dealt with the message.
    fn is_up_to_mischief(&self, conn: &mut Conn<'_, Role>, text: &str) -> bool {
        let mut mischief = self.mischief.lock().unwrap();
        let is_broadcast = text.starts_with('#');
        match &*mischief {
            Mischief::Swallow if !is_broadcast => *mischief = Mischief::Nothing,
            Mischief::Reorder if is_broadcast && text.ends_with(".0") => {
                *mischief = Mischief::Held(text.to_owned());
            }
            Mischief::Held(first) if is_broadcast => {
                conn.to(SQUARE).text(text).publish();
                conn.to(SQUARE).text(first).publish();
                *mischief = Mischief::Nothing;
            }
            _ => return false,
        }
        true
    }

    fn expel(&self, conn: &mut Conn<'_, Role>) {
        if let Some(id) = *self.bystander.lock().unwrap() {
            let bystander = conn.engine().connection(id);
            bystander.close(CloseCode::from(4000), "expelled").unwrap();
        }
    }
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A bystander's.
    Bystander,
    /// An attacker's who hears everything.
    Listener,
    /// An attacker's.
    Stranger,
}

impl Handler for Square {
    type State = Role;

    fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<Role>, Reject> {
        Ok(Accept::new(match request.path() {
            BYSTANDER => Role::Bystander,
            NOISE => Role::Listener,
            _ => Role::Stranger,
        }))
    }

    fn on_open(&self, conn: &mut Conn<'_, Role>) {
        let role = *conn.state();
        let is_stranger = role == Role::Stranger;
        conn.join(if is_stranger { CROWD } else { SQUARE }).unwrap();
        if role == Role::Listener {
            conn.join(NOISE).unwrap();
        }
        if role == Role::Bystander {
            *self.bystander.lock().unwrap() = Some(conn.id());
        } else {
            self.tally.opened.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn on_message(&self, conn: &mut Conn<'_, Role>, message: Message<'_>) {
        let text = message.as_text().unwrap_or_default();
        if *conn.state() != Role::Bystander {
            self.tally.messages.fetch_add(1, Ordering::Relaxed);
        } else if self.is_up_to_mischief(conn, text) {
            return;
        }
        let receipt = match text.as_bytes() {
            [b'#', ..] => conn.to(SQUARE).message(message).publish(),
            [b'!', b'n', ..] => conn.to(NOISE).message(message).publish(),
            [b'!', b'k', ..] => {
                let key = format!("{}{}", self.tally.messages(), "-".repeat(100));
                conn.to(NOISE).key(key).message(message).publish()
            }
            b"!whisper" => conn.to(SQUARE).text("psst").publish(),
            b"!swallow" => return self.plan(Mischief::Swallow),
            b"!reorder" => return self.plan(Mischief::Reorder),
            b"!expel" => return self.expel(conn),
            b"!hoard" => return self.hoard.lock().unwrap().push(vec![7; 1 << 20]),
            _ => conn.send(message),
        };
        let dropped = &self.tally.dropped;
        dropped.fetch_add(receipt.dropped + receipt.displaced, Ordering::Relaxed);
    }

    fn on_close(&self, conn: &mut Conn<'_, Role>, close: &Close) {
        if *conn.state() != Role::Bystander {
            self.tally.end(&close.cause);
        }
    }
}
