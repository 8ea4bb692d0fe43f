//! An event's handler, whatever it takes and returns.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::{Codec, Payload};
use super::cx::Cx;
use super::error::EventError;
use super::middleware::Rules;
use super::serve::Table;
use super::validate::Invalid;

/// A registered event.
pub(super) struct Entry<S, C> {
    pub(super) name: Box<str>,
    pub(super) rules: Rules,
    /// Nobody is answered who does not name the request.
    pub(super) is_notice: bool,
    pub(super) run: Run<S, C>,
}

/// Reads what an event carries, calls its handler, and answers, now or later.
pub(super) type Run<S, C> = Box<
    dyn Fn(&Arc<Table<S, C>>, &mut Cx<'_, S>, &Payload<'_>) -> Result<Progress, EventError>
        + Send
        + Sync,
>;

/// How far an event has come.
pub(super) enum Progress {
    /// It is answered.
    Answered,
    /// Its handler goes on beside the shard.
    Begun,
}

/// What a handler of an event without an answer returns: nothing, or a `Result`.
pub trait Done {
    /// The same as a `Result`.
    ///
    /// # Errors
    /// What the client is to be told.
    fn done(self) -> Result<(), EventError>;
}

impl Done for () {
    fn done(self) -> Result<(), EventError> {
        Ok(())
    }
}

impl Done for Result<(), EventError> {
    fn done(self) -> Result<(), EventError> {
        self
    }
}

/// An event that was just registered, for what else there is to say of it.
///
/// ```
/// # use std::time::Duration;
/// # use throng::Router;
/// let mut router = Router::new();
/// router.on("account.delete", |_, ()| Ok(())).roles(["admin"]).max_size(1024);
/// router.on("version", |_, ()| Ok("1.0")).public();
/// ```
#[derive(Debug)]
pub struct Route<'r> {
    rules: &'r mut Rules,
}

impl<'r> Route<'r> {
    pub(super) fn new(rules: &'r mut Rules) -> Route<'r> {
        Route { rules }
    }

    /// It is for those who have one of these roles; others are answered 403, and 401 who is not
    /// authenticated. Needs [`auth`](super::Router::auth).
    pub fn roles<T: Into<String>>(self, roles: impl IntoIterator<Item = T>) -> Route<'r> {
        self.rules.roles = roles.into_iter().map(Into::into).collect();
        self
    }

    /// It may be sent before authentication, too.
    pub fn public(self) -> Route<'r> {
        self.rules.is_public = true;
        self
    }

    /// What it carries has this many bytes at most; more is answered 413. Whatever is said here,
    /// [`max_message_size`](field@crate::Config::max_message_size) holds.
    pub fn max_size(self, bytes: usize) -> Route<'r> {
        self.rules.max_size = Some(bytes);
        self
    }

    /// An asynchronous handler has this much time; then its future is dropped and the client answered 408.
    pub fn timeout(self, timeout: Duration) -> Route<'r> {
        self.rules.timeout = Some(timeout);
        self
    }
}

/// For handlers that answer at once.
pub(super) fn answering<S, C, Req, Res>(
    handler: impl Fn(&mut Cx<'_, S>, Req) -> Result<Res, EventError> + Send + Sync + 'static,
) -> Run<S, C>
where
    S: Send + 'static,
    C: Codec,
    Req: DeserializeOwned,
    Res: Serialize,
{
    Box::new(move |table, cx, data| {
        let request = read(&table.codec, data)?;
        let answer = handler(cx, request)?;
        table.answer(cx, &answer)?;
        Ok(Progress::Answered)
    })
}

/// For handlers that answer later.
pub(super) fn answering_later<S, C, Req, Res, Fut>(
    handler: impl Fn(&mut Cx<'_, S>, Req) -> Fut + Send + Sync + 'static,
) -> Run<S, C>
where
    S: Send + 'static,
    C: Codec,
    Req: DeserializeOwned,
    Res: Serialize + Send + 'static,
    Fut: Future<Output = Result<Res, EventError>> + Send + 'static,
{
    Box::new(move |table, cx, data| {
        let request = read(&table.codec, data)?;
        let future = handler(cx, request);
        let about = cx.about.to_owned();
        let limit = cx.timeout;
        let (answered, overdue) = (Arc::clone(table), Arc::clone(table));
        let late = about.clone();
        cx.spawn_within(
            limit,
            future,
            move |conn, outcome| answered.finish(conn, about, outcome),
            move |conn| {
                let error = EventError::timeout("the service took too long");
                overdue.finish(conn, late, Err::<(), _>(error));
            },
        )?;
        Ok(Progress::Begun)
    })
}

/// Reads what an event carries.
pub(super) fn read<C: Codec, T: DeserializeOwned>(
    codec: &C,
    data: &Payload<'_>,
) -> Result<T, EventError> {
    codec.read_data(data).map_err(|mut error| {
        if let Some((field, rule)) = Invalid::find(&error.reason) {
            let dot = if error.field.is_empty() { "" } else { "." };
            error.field = format!("{}{dot}{field}", error.field);
            error.reason = rule.to_owned();
        }
        if !matches!(data, Payload::Whole(_)) {
            let dot = if error.field.is_empty() { "" } else { "." };
            error.field = format!("data{dot}{}", error.field);
        }
        EventError::from(error).refusing()
    })
}
