//! What the chat does with what it is told.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use throng::router::{Auth, Cx, EventError, Invalid, Log, RateLimit, Valid, Validate, ready};
use throng::{Accept, CloseCode, History, Reject, RoomOptions, Router};

use crate::logins::Logins;

/// Characters of a name or of a room's name.
pub(crate) const MAX_NAME: usize = 24;
/// Members of a room, all of whom newcomers are told.
const MAX_MEMBERS: usize = 200;
/// Messages of a room that newcomers are shown.
pub(crate) const SHOWN: usize = 50;

/// The chat's events.
///
/// `login` gives a token for a name, and the message `auth` shows it. Then there are `room.join`,
/// `room.leave`, `room.say` and `user.tell`; and `logout`.
pub(crate) fn router() -> Router {
    let logins = Arc::new(Logins::default());
    let mut router = Router::with_state(|request| match request.path() {
        "/chat" => Ok(Accept::new(())),
        _ => Err(Reject::new(404).text("the chat is at /chat")),
    });
    let table = Arc::clone(&logins);
    router
        .auth(Auth::new(move |token: &str, _now| table.find(token)))
        .with(Log)
        .with(RateLimit::per_connection(10.0, 40))
        .with(RateLimit::per_address(0.2, 20).events(["login"]));

    let table = Arc::clone(&logins);
    router
        .on("login", move |cx, Valid(Named { name }): Valid<Named>| {
            let token = table.begin(&name, cx.unix_time())?;
            Ok(Token { token })
        })
        .public();
    router.on("logout", move |cx, ()| {
        let name = cx.user_id().unwrap_or_default().to_owned();
        logins.end(&name);
        // Nobody is to be taken for who has the name next.
        let closed = cx
            .engine()
            .close_user(&name, CloseCode::POLICY, "logged out");
        closed.map_err(|_| EventError::internal())
    });
    router.on("room.join", join);
    ready::leave(&mut router);
    ready::say(&mut router);
    ready::tell(&mut router);
    router
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Serialize)]
struct Token {
    token: String,
}

#[derive(Deserialize)]
struct Join {
    room: String,
}

#[derive(Serialize)]
struct Joined {
    room: String,
    /// Who is in it now.
    users: Vec<String>,
}

/// Joins a room, which whoever comes first makes. Its last messages come before the answer.
fn join(cx: &mut Cx<'_>, Valid(Join { room }): Valid<Join>) -> Result<Joined, EventError> {
    let engine = cx.engine();
    let history = History::messages(SHOWN);
    let options = RoomOptions::new()
        .sequenced()
        .history(history)
        .presence()
        .max_members(MAX_MEMBERS);
    let is_new = engine.create_room(&room, options).is_ok();
    let joined = cx.join_with_history(&room, SHOWN);
    if is_new {
        // It goes with its last member.
        engine.forget_room(&room);
    }
    joined?;
    let present = engine.presence(&room).map(|present| present.users);
    let users = present
        .into_iter()
        .flatten()
        .map(|(name, _)| name.to_string());
    Ok(Joined {
        users: users.collect(),
        room,
    })
}

impl Validate for Named {
    fn validate(&self) -> Result<(), Invalid> {
        check_name("name", &self.name)
    }
}

impl Validate for Join {
    fn validate(&self) -> Result<(), Invalid> {
        check_name("room", &self.room)
    }
}

/// Names of people and rooms: 1 to 24 letters, digits, `-`, `_` or spaces within.
fn check_name(field: &str, name: &str) -> Result<(), Invalid> {
    Invalid::unless_chars(field, name, 1..=MAX_NAME)?;
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ');
    if name.chars().all(is_plain) && name.trim() == name {
        return Ok(());
    }
    Err(Invalid::new(field, "has letters, digits, - and _ only"))
}
