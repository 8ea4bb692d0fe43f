//! Authentication while connections are open.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{Auth, Expiry, Identity, TokenError};
use crate::conn::Conn;
use crate::limits::{AUTH_BURST, AUTH_PAUSE, MAX_AUTH_FAILURES};
use crate::protocol::close::CloseCode;
use crate::router::codec::Codec;
use crate::router::rate::{Bucket, Rate};
use crate::router::serve::Table;
use crate::shard::Job;

/// What is kept of a connection's authentication beside its [`Identity`].
#[derive(Debug, Default)]
pub(in crate::router) struct Progress {
    failures: u32,
    /// What tokens may still be shown.
    allowance: Option<Bucket>,
    /// What ends it when its time is over.
    deadline: Option<Job>,
}

#[derive(Serialize)]
struct Success<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    timestamp: u64,
}

#[derive(Serialize)]
struct Failure<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    code: u16,
    message: &'a str,
    timestamp: u64,
}

#[derive(Serialize)]
struct Expired {
    #[serde(rename = "type")]
    kind: &'static str,
    grace: u64,
    timestamp: u64,
}

impl<S: Send + 'static, C: Codec> Table<S, C> {
    /// Watches over a connection that has just been opened.
    pub(in crate::router) fn expect_authentication(self: &Arc<Self>, conn: &mut Conn<'_, S>) {
        let Some(auth) = &self.auth else {
            return;
        };
        if conn.attribute::<Identity>().is_some() {
            return self.watch(auth, conn);
        }
        let deadline = auth.first_message.unwrap_or_default();
        set_deadline(conn, deadline, |conn| {
            conn.close(CloseCode::POLICY, "not authenticated in time");
        });
    }

    /// Watches over a connection that has been given back what it had.
    pub(in crate::router) fn watch_restored(self: &Arc<Self>, conn: &mut Conn<'_, S>) {
        if let Some(auth) = &self.auth
            && conn.attribute::<Identity>().is_some()
        {
            self.watch(auth, conn);
        }
    }

    /// Handles a message that authenticates.
    pub(in crate::router) fn handle_auth(
        self: &Arc<Self>,
        conn: &mut Conn<'_, S>,
        token: Option<&str>,
    ) {
        let Some(auth) = &self.auth else {
            return;
        };
        if !may_show_token(conn) {
            return conn.close(CloseCode::POLICY, "too many tokens");
        }
        let now = conn.unix_time();
        let outcome = match token {
            None => Err((400, "token: missing".to_owned())),
            Some(token) => match auth.check(token, now) {
                Err(error) => Err((401, error.to_string())),
                Ok(identity) if conn.user_id().is_some_and(|user| user != identity.user()) => {
                    Err((403, "the token is another user's".to_owned()))
                }
                Ok(identity) => Ok(identity),
            },
        };
        match outcome {
            Ok(identity) => self.authenticate(auth, conn, identity),
            Err((code, message)) => self.count_failure(conn, code, &message),
        }
    }

    fn authenticate(self: &Arc<Self>, auth: &Auth, conn: &mut Conn<'_, S>, identity: Identity) {
        conn.set_user_id(identity.user());
        let success = Success {
            kind: "auth_success",
            user_id: identity.user(),
            expires_at: identity.expires_at(),
            timestamp: conn.unix_time(),
        };
        self.write(conn, &success);
        let before = conn.attributes().insert(identity);
        self.watch(auth, conn);
        if before.is_none() {
            self.tell_authenticated(conn);
        }
    }

    fn count_failure(&self, conn: &mut Conn<'_, S>, code: u16, message: &str) {
        let timestamp = conn.unix_time();
        let kind = "auth_error";
        self.write(
            conn,
            &Failure {
                kind,
                code,
                message,
                timestamp,
            },
        );
        let progress = progress(conn);
        progress.failures += 1;
        if progress.failures >= MAX_AUTH_FAILURES {
            conn.close(CloseCode::POLICY, "too many tokens that do not hold");
        }
    }

    /// Watches over a connection that is authenticated.
    fn watch(self: &Arc<Self>, auth: &Auth, conn: &mut Conn<'_, S>) {
        let now = conn.unix_time();
        let Some(identity) = conn.attribute::<Identity>() else {
            return;
        };
        // It may have been revoked after it was validated, and before the connection was its user's.
        if auth.revocations.concern(identity, now) {
            return conn.close(CloseCode::POLICY, &TokenError::Revoked.to_string());
        }
        let Some(end) = identity.accepted_until() else {
            return clear_deadline(conn);
        };
        let left = Duration::from_secs(end.saturating_sub(now));
        let table = Arc::clone(self);
        set_deadline(conn, left, move |conn| table.expire(conn));
    }

    fn expire(&self, conn: &mut Conn<'_, S>) {
        let expiry = self.auth.as_ref().map(|auth| auth.expiry);
        let Some(Expiry::Ask { grace }) = expiry else {
            return conn.close(CloseCode::POLICY, "the token has expired");
        };
        conn.attributes().remove::<Identity>();
        let expired = Expired {
            kind: "auth_expired",
            grace: grace.as_secs(),
            timestamp: conn.unix_time(),
        };
        self.write(conn, &expired);
        set_deadline(conn, grace, |conn| {
            conn.close(CloseCode::POLICY, "the token has expired");
        });
    }
}

fn progress<'c, S>(conn: &'c mut Conn<'_, S>) -> &'c mut Progress {
    conn.attributes().get_or_default()
}

/// Whether a connection may show one more token now.
fn may_show_token<S>(conn: &mut Conn<'_, S>) -> bool {
    let rate = Rate {
        per_second: 1.0 / AUTH_PAUSE.as_secs_f64(),
        burst: AUTH_BURST.into(),
    };
    let now = conn.now();
    let allowance = &mut progress(conn).allowance;
    let allowance = allowance.get_or_insert_with(|| Bucket::full(now, rate));
    allowance.take(now, rate)
}

fn set_deadline<S: Send + 'static>(
    conn: &mut Conn<'_, S>,
    delay: Duration,
    then: impl FnOnce(&mut Conn<'_, S>) + Send + 'static,
) {
    clear_deadline(conn);
    match conn.after(delay, then) {
        Ok(job) => progress(conn).deadline = Some(job),
        // It has so many jobs that nothing can watch over it.
        Err(_) => conn.close(CloseCode::POLICY, "too much is going on"),
    }
}

fn clear_deadline<S: Send + 'static>(conn: &mut Conn<'_, S>) {
    if let Some(job) = progress(conn).deadline.take() {
        conn.cancel(job);
    }
}
