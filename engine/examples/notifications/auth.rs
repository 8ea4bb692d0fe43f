//! Who may do what. A real service asks its sessions, or an issuer's keys, in place of [`Tokens`].

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::service::App;

/// The tokens of all who are known.
pub(crate) struct Tokens {
    service: String,
    /// Names by token.
    users: HashMap<String, String>,
}

impl Tokens {
    pub(crate) fn new(service: String, users: Vec<(String, String)>) -> Tokens {
        let users = users.into_iter().map(|(name, token)| (token, name));
        Tokens {
            service,
            users: users.collect(),
        }
    }
}

/// Whoever shows the service's token may publish.
pub(crate) struct Service;

impl FromRequestParts<Arc<App>> for Service {
    type Rejection = Unauthorized;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Unauthorized> {
        let token = bearer(parts).ok_or(Unauthorized)?;
        is_same(token, &app.tokens.service)
            .then_some(Service)
            .ok_or(Unauthorized)
    }
}

/// Whoever shows a user's token is that user.
pub(crate) struct User(pub(crate) String);

impl FromRequestParts<Arc<App>> for User {
    type Rejection = Unauthorized;

    /// In the header or as `?token=`: a page cannot give its WebSocket headers. What is in the query ends up in the
    /// logs of proxies, so tokens that are used there should not live long.
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Unauthorized> {
        #[derive(Deserialize)]
        struct Shown {
            token: String,
        }
        let shown = Query::<Shown>::try_from_uri(&parts.uri).ok();
        let token = bearer(parts).or(shown.as_ref().map(|shown| &*shown.token));
        let user = token.and_then(|token| app.tokens.users.get(token));
        user.cloned().map(User).ok_or(Unauthorized)
    }
}

fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ")
}

/// Compares without telling by the time that it takes where they differ.
fn is_same(one: &str, other: &str) -> bool {
    let bytes = one.bytes().zip(other.bytes());
    one.len() == other.len() && bytes.fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

/// No token was shown, or one that nobody has.
pub(crate) struct Unauthorized;

impl IntoResponse for Unauthorized {
    fn into_response(self) -> Response {
        let how = [(WWW_AUTHENTICATE, "Bearer")];
        (StatusCode::UNAUTHORIZED, how, "a token is needed\n").into_response()
    }
}
