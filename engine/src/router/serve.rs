//! Serving connections by a router's events.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;

use super::auth::{self, Auth, Identity};
use super::codec::{Codec, Envelope, Payload};
use super::cx::{About, Cx, TraceId};
use super::error::{DecodeError, EventError};
use super::json::Json;
use super::middleware::{Call, Middleware, Outcome};
use super::route::{Entry, Progress};
use super::{Hooks, MAX_NAME, Router, Style};
use crate::conn::Conn;
use crate::event::Close;
use crate::handler::{Accept, Handler, Reject, Upgrade};
use crate::protocol::message::Message;
use crate::session::Sessions;

/// A [`Router`] that takes no more events: an engine's handler.
pub struct Routes<S = (), C = Json>(Arc<Table<S, C>>);

/// What a router was told, as it is looked at for every message.
pub(super) struct Table<S, C> {
    pub(super) style: Style,
    pub(super) codec: C,
    pub(super) entries: Vec<Entry<S, C>>,
    by_name: HashMap<Box<str>, usize>,
    pub(super) middleware: Vec<Box<dyn Middleware<S>>>,
    hooks: Hooks<S>,
    pub(super) auth: Option<Auth>,
    sessions: Option<Sessions>,
}

impl<S: Send + 'static, C: Codec> Routes<S, C> {
    pub(super) fn new(router: Router<S, C>) -> Routes<S, C> {
        Routes(Arc::new(Table {
            style: router.style,
            codec: router.codec,
            entries: router.entries,
            by_name: router.by_name,
            middleware: router.middleware,
            hooks: router.hooks,
            auth: router.auth,
            sessions: router.sessions,
        }))
    }
}

impl<S: Send + 'static, C: Codec> Handler for Routes<S, C> {
    type State = S;

    fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<S>, Reject> {
        let Table { auth, hooks, .. } = &*self.0;
        match auth {
            Some(auth) => auth.admit(request, &hooks.admit),
            None => (hooks.admit)(request),
        }
    }

    fn on_open(&self, conn: &mut Conn<'_, S>) {
        if self.0.auth.is_some() {
            self.0.expect_authentication(conn);
        }
        if let Some(sessions) = &self.0.sessions {
            self.0.begin_session(sessions, conn);
        }
        if let Some(open) = &self.0.hooks.open {
            open(conn);
        }
        if conn.attribute::<Identity>().is_some() {
            self.0.tell_authenticated(conn);
        }
    }

    fn on_message(&self, conn: &mut Conn<'_, S>, message: Message<'_>) {
        let table = &self.0;
        let bytes = match message {
            Message::Text(text) if !C::IS_BINARY => text.as_bytes(),
            Message::Binary(bytes) if C::IS_BINARY => bytes,
            other => return table.handle_other(conn, other),
        };
        let envelope = match table.style {
            Style::Standard => table.codec.read(bytes),
            Style::Plain => table.read_plain(bytes),
        };
        match envelope {
            Ok(envelope) => Table::handle(table, conn, envelope, bytes),
            Err(error) => table.refuse(conn, None, None, &error.into()),
        }
    }

    fn on_close(&self, conn: &mut Conn<'_, S>, close: &Close) {
        if let Some(hook) = &self.0.hooks.close {
            hook(conn, close);
        }
        if let Some(sessions) = &self.0.sessions {
            // Its jobs are those of a connection that is over.
            conn.attributes().remove::<auth::Progress>();
            let identity = conn.attribute::<Identity>();
            // Who was not authenticated in the end has nothing to return to.
            if self.0.auth.is_none() || identity.is_some() {
                let beside = identity.map_or(0, Identity::memory);
                sessions.park(conn, close, beside);
            }
        }
    }
}

impl<S: Send + 'static, C: Codec> Table<S, C> {
    /// Tells the service of a client that was not authenticated before.
    pub(super) fn tell_authenticated(&self, conn: &mut Conn<'_, S>) {
        if let Some(hook) = &self.hooks.authenticated
            && !conn.is_closed()
        {
            hook(conn);
        }
    }

    fn read_plain<'a>(&self, message: &'a [u8]) -> Result<Envelope<'a>, DecodeError> {
        let envelope = self.codec.read_plain(message)?;
        if self.auth.is_some() && envelope.kind.as_deref() == Some("auth") {
            return self.codec.read(message);
        }
        Ok(envelope)
    }

    /// Handles a message by what it says that it is.
    fn handle(table: &Arc<Self>, conn: &mut Conn<'_, S>, envelope: Envelope<'_>, whole: &[u8]) {
        let Envelope {
            kind,
            event,
            request_id,
            token,
            data,
        } = envelope;
        let Some(kind) = kind else {
            let missing = EventError::malformed("type: missing");
            return table.refuse(conn, None, request_id.as_deref(), &missing);
        };
        let request_id = request_id.as_deref();
        let has_room = request_id.is_none_or(|id| id.len() <= MAX_NAME);
        let wrong = match (table.style, &*kind) {
            (_, "ping") => return table.answer_ping(conn),
            (_, "auth") if table.auth.is_some() => {
                return table.handle_auth(conn, token.as_deref());
            }
            _ if !has_room => "request_id: it is longer than 128 bytes",
            (Style::Plain, event) => {
                let data = Payload::Whole(whole);
                return Table::route(table, conn, event, request_id, true, &data);
            }
            (Style::Standard, "request") if request_id.is_none() => "request_id: missing",
            (Style::Standard, "request" | "notify") => match event {
                Some(event) => {
                    let wants_answer = kind == "request";
                    return Table::route(table, conn, &event, request_id, wants_answer, &data);
                }
                None => "event: missing",
            },
            (Style::Standard, _) => "type: must be request, notify, auth or ping",
        };
        let request_id = request_id.filter(|_| has_room);
        table.refuse(conn, None, request_id, &EventError::malformed(wrong));
    }

    /// Has an event handled.
    fn route(
        table: &Arc<Self>,
        conn: &mut Conn<'_, S>,
        event: &str,
        request_id: Option<&str>,
        wants_answer: bool,
        data: &Payload<'_>,
    ) {
        let Some(&route) = table.by_name.get(event) else {
            let shown = (event.len() <= MAX_NAME).then_some(event);
            let unknown = EventError::not_found("no such event");
            return table.refuse(conn, shown, request_id, &unknown);
        };
        let entry = &table.entries[route];
        let wants_answer = wants_answer && !(entry.is_notice && request_id.is_none());
        let about = About {
            route,
            request_id: request_id.map(Cow::Borrowed),
            wants_answer,
            trace: TraceId(conn.random()),
            arrived: conn.now(),
        };
        let mut cx = Cx::new(conn.reborrow(), about);
        let call = Call {
            event: &entry.name,
            wants_answer,
            data,
            rules: &entry.rules,
        };
        let mut passed = 0;
        let outcome = table
            .before(&mut cx, &call, &mut passed)
            .and_then(|()| table.authorise(&cx, &call).map_err(EventError::refusing))
            .and_then(|()| {
                cx.timeout = entry.rules.timeout.or(cx.timeout);
                (entry.run)(table, &mut cx, data)
            });
        match outcome {
            Ok(Progress::Begun) => {}
            Ok(Progress::Answered) => table.after(&mut cx, passed, None),
            Err(error) => {
                table.fail(&mut cx, &error);
                table.after(&mut cx, passed, Some(&error));
                if error.is_refusal() {
                    cx.report_invalid();
                }
            }
        }
    }

    fn before(
        &self,
        cx: &mut Cx<'_, S>,
        call: &Call<'_>,
        passed: &mut usize,
    ) -> Result<(), EventError> {
        for middleware in &self.middleware {
            middleware.before(cx, call)?;
            *passed += 1;
        }
        Ok(())
    }

    pub(super) fn after(&self, cx: &mut Cx<'_, S>, passed: usize, error: Option<&EventError>) {
        if passed == 0 {
            return;
        }
        let outcome = Outcome {
            event: &self.entries[cx.about.route].name,
            error,
        };
        for middleware in self.middleware[..passed].iter().rev() {
            middleware.after(cx, &outcome);
        }
    }

    /// Size and roles, which every event has rules about. Behind the middleware, which limits and logs what is refused,
    /// too.
    fn authorise(&self, cx: &Cx<'_, S>, call: &Call<'_>) -> Result<(), EventError> {
        let rules = call.rules;
        if rules.max_size.is_some_and(|max| call.len() > max) {
            let max = rules.max_size.unwrap_or_default();
            let what = format!("data: {} bytes, of which {max} are allowed", call.len());
            return Err(EventError::too_large(what));
        }
        if self.auth.is_none() && rules.roles.is_empty() {
            return Ok(());
        }
        match cx.identity() {
            None if rules.is_public && rules.roles.is_empty() => Ok(()),
            None => Err(EventError::unauthenticated("not authenticated")),
            Some(_) if rules.roles.is_empty() => Ok(()),
            Some(identity) if rules.roles.iter().any(|role| identity.has_role(role)) => Ok(()),
            Some(_) => Err(EventError::forbidden(
                "this takes a role that you do not have",
            )),
        }
    }

    fn handle_other(&self, conn: &mut Conn<'_, S>, message: Message<'_>) {
        let is_let_in = || self.auth.is_none() || conn.attribute::<Identity>().is_some();
        let error = match &self.hooks.other {
            Some(other) if is_let_in() => return other(conn, message),
            Some(_) => EventError::unauthenticated("not authenticated"),
            None => {
                let expected = if C::IS_BINARY { "binary" } else { "text" };
                EventError::malformed(format!("events are {expected} messages"))
            }
        };
        self.refuse(conn, None, None, &error);
    }
}

impl<S, C> fmt::Debug for Routes<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events: Vec<&str> = self.0.entries.iter().map(|entry| &*entry.name).collect();
        f.debug_struct("Routes")
            .field("events", &events)
            .finish_non_exhaustive()
    }
}
