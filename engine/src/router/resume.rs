//! Sessions of a router's clients: the event `session.resume`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::auth::{Auth, Identity};
use super::ready::Place;
use super::route::{self, Progress, Run};
use super::serve::Table;
use super::{Codec, Cx, EventError};
use crate::conn::Conn;
use crate::limits::{MAX_POSITIONS, RECALLED_PER_RESUME};
use crate::notice::Notify;
use crate::room::JoinError;
use crate::session::{Parked, Sessions};

#[derive(Deserialize)]
struct Resume {
    token: String,
    #[serde(default)]
    positions: BTreeMap<String, Place>,
}

#[derive(Default, Serialize)]
struct Resumed {
    resumed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rooms: Option<BTreeMap<String, Rejoined>>,
}

#[derive(Default, Serialize)]
struct Rejoined {
    recovered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Place>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What a client is told of its session when it connects.
#[derive(Serialize)]
struct Begun {
    token: String,
    /// In seconds.
    window: u64,
}

/// The event by which sessions are resumed.
pub(super) fn resuming<S: Send + 'static, C: Codec>(sessions: &Sessions) -> Run<S, C> {
    let sessions = sessions.clone();
    Box::new(move |table, cx, data| {
        let resume = route::read(&table.codec, data)?;
        let was_known = cx.identity().is_some();
        let resumed = resume_session(&sessions, table.auth.as_ref(), cx, resume)?;
        if resumed.resumed {
            table.watch_restored(cx);
        }
        table.answer(cx, &resumed)?;
        if !was_known && cx.identity().is_some() {
            table.tell_authenticated(cx);
        }
        Ok(Progress::Answered)
    })
}

impl<S: Send + 'static, C: Codec> Table<S, C> {
    /// Tells a client that has just connected its session's token.
    pub(super) fn begin_session(&self, sessions: &Sessions, conn: &mut Conn<'_, S>) {
        let Some(token) = sessions.begin(conn) else {
            return;
        };
        let begun = Begun {
            token: token.to_string(),
            window: sessions.window().as_secs(),
        };
        let timestamp = conn.unix_time();
        self.write(conn, &Notify::new("session", &begun, timestamp));
    }
}

fn resume_session<S: Send + 'static>(
    sessions: &Sessions,
    auth: Option<&Auth>,
    cx: &mut Cx<'_, S>,
    resume: Resume,
) -> Result<Resumed, EventError> {
    let Resume { token, positions } = resume;
    if positions.len() > MAX_POSITIONS {
        let what = format!(
            "data.positions: {} of them, of which {MAX_POSITIONS} are allowed",
            positions.len()
        );
        return Err(EventError::malformed(what));
    }
    let now = cx.now();
    let Some(parked) = sessions.take(&token, now) else {
        return Ok(Resumed::default());
    };
    if cx.user_id().is_some() && cx.user_id() != parked.user.as_deref() {
        sessions.put_back(&token, parked, now);
        return Err(EventError::forbidden("the session is another user's"));
    }
    // What is restored is what the client may have now: nothing of it is sent before that is known.
    let identity = parked.attributes.get::<Identity>();
    let holds =
        |identity: &Identity| auth.is_none_or(|auth| auth.accepts(identity, cx.unix_time()));
    if !identity.map_or(auth.is_none(), holds) {
        return Ok(Resumed::default());
    }
    Ok(restore(cx, parked, &positions))
}

fn restore<S: Send + 'static>(
    cx: &mut Cx<'_, S>,
    parked: Parked,
    positions: &BTreeMap<String, Place>,
) -> Resumed {
    let Parked {
        user,
        rooms,
        attributes,
        ..
    } = parked;
    cx.attributes().add_missing(attributes);
    if let Some(user) = &user {
        cx.set_user_id(&**user);
    }
    let before = cx.recalled();
    let rejoin = |room: String| {
        let since = positions.get(&room);
        let since = since.filter(|_| cx.recalled() - before < RECALLED_PER_RESUME);
        let rejoined = rejoin(cx, &room, since);
        (room, rejoined)
    };
    Resumed {
        rooms: Some(rooms.into_iter().map(rejoin).collect()),
        resumed: true,
        user,
    }
}

fn rejoin<S>(cx: &mut Cx<'_, S>, room: &str, since: Option<&Place>) -> Rejoined {
    let joined = match since {
        Some(since) => cx.join_from(room, (*since).into()).map(Some),
        None => cx.join(room).map(|()| None),
    };
    match joined {
        Ok(None) | Err(JoinError::AlreadyMember) => Rejoined::default(),
        Ok(Some(recovery)) => Rejoined {
            recovered: recovery.recovered,
            messages: Some(recovery.messages),
            position: Some(recovery.position.into()),
            error: None,
        },
        Err(error) => Rejoined {
            error: Some(error.to_string()),
            ..Rejoined::default()
        },
    }
}
