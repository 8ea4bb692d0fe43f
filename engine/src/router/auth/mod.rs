//! Who the clients of a router are.
//!
//! A token comes with the upgrade (in a header, the query, a cookie or among the subprotocols), or as a message of its own,
//! `{"type":"auth","token":"…"}`, which is answered
//!
//! ```json
//! {"type":"auth_success","user_id":"42","expires_at":1707555600,"timestamp":1707552000}
//! {"type":"auth_error","code":401,"message":"the token has expired","timestamp":1707552000}
//! ```
//!
//! A [`TokenValidator`] says whose it is. Who is not authenticated in time is closed with 1008; a token that expires
//! closes its connection, or has it asked for another one ([`Expiry`]), which may be sent at any time. Who shows more
//! tokens than eight at once and one each ten seconds, or five that do not hold, is closed with 1008.

mod identity;
#[cfg(feature = "jwt")]
mod jwt;
#[cfg(feature = "jwt")]
mod keys;
mod revocation;
mod serve;
mod source;

pub(super) use serve::Progress;

pub use identity::{Identity, TokenError, TokenValidator};
#[cfg(feature = "jwt")]
pub use jwt::Jwt;
#[cfg(feature = "jwt")]
pub use keys::JwtError;
pub use revocation::{Revocations, RevokeError};
pub use source::Source;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::handler::{Accept, Reject, Upgrade};

/// How the clients of a [`Router`](super::Router) are authenticated.
///
/// ```
/// use throng::Router;
/// use throng::router::{Auth, Identity, Source, TokenError};
///
/// let validate = |token: &str, _now: u64| match token {
///     "letmein" => Ok(Identity::new("ann").with_roles(["admin"])),
///     _ => Err(TokenError::Unknown),
/// };
/// let mut router = Router::new();
/// router.auth(Auth::new(validate).source(Source::query("token")));
/// router.on("whoami", |cx, ()| Ok(cx.user_id().map(str::to_owned)));
/// # router.freeze().unwrap();
/// ```
pub struct Auth {
    validator: Arc<dyn TokenValidator>,
    sources: Vec<Source>,
    first_message: Option<Duration>,
    expiry: Expiry,
    revocations: Revocations,
}

/// What becomes of a connection whose token expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// It is closed with 1008.
    #[default]
    Close,
    /// It counts as not authenticated, is told `{"type":"auth_expired","grace":30,"timestamp":…}`, and has so long to send
    /// another token; then it is closed with 1008.
    Ask {
        /// How long; told in whole seconds.
        grace: Duration,
    },
}

impl Auth {
    /// Tokens in the header `Authorization: Bearer …`, or in a message within 10 s.
    pub fn new(validator: impl TokenValidator) -> Auth {
        Auth {
            validator: Arc::new(validator),
            sources: vec![Source::bearer()],
            first_message: Some(Duration::from_secs(10)),
            expiry: Expiry::default(),
            revocations: Revocations::default(),
        }
    }

    /// Looks for tokens there too, behind where it looks already.
    #[must_use]
    pub fn source(mut self, source: Source) -> Auth {
        self.sources.push(source);
        self
    }

    /// How long a connection may be open before it is authenticated by a message.
    #[must_use]
    pub fn first_message(mut self, deadline: Duration) -> Auth {
        self.first_message = Some(deadline);
        self
    }

    /// An upgrade without a token is answered 401.
    #[must_use]
    pub fn at_upgrade_only(mut self) -> Auth {
        self.first_message = None;
        self
    }

    /// What becomes of connections whose tokens expire.
    #[must_use]
    pub fn expiry(mut self, expiry: Expiry) -> Auth {
        self.expiry = expiry;
        self
    }

    /// To revoke the tokens of users later on.
    pub fn revocations(&self) -> Revocations {
        self.revocations.clone()
    }

    /// Whose token it is.
    fn check(&self, token: &str, now: u64) -> Result<Identity, TokenError> {
        let identity = self.validator.validate(token, now)?;
        if identity.accepted_until().is_some_and(|end| end <= now) {
            return Err(TokenError::Expired);
        }
        if self.revocations.concern(&identity, now) {
            return Err(TokenError::Revoked);
        }
        Ok(identity)
    }

    /// Whether what was validated before still holds.
    pub(super) fn accepts(&self, identity: &Identity, now: u64) -> bool {
        let is_over = identity.accepted_until().is_some_and(|end| end <= now);
        !is_over && !self.revocations.concern(identity, now)
    }

    /// Decides about an upgrade, together with what the service says of it.
    pub(super) fn admit<S>(
        &self,
        request: &Upgrade<'_>,
        admit: &dyn Fn(&Upgrade<'_>) -> Result<Accept<S>, Reject>,
    ) -> Result<Accept<S>, Reject> {
        let found = self.sources.iter().find_map(|source| {
            let token = source.token(request)?;
            Some((source, token))
        });
        let Some((source, token)) = found else {
            return match self.first_message {
                Some(_) => admit(request),
                None => Err(refusal("a token is needed")),
            };
        };
        let identity = self.check(&token, request.unix_time);
        let identity = identity.map_err(|error| refusal(&error.to_string()))?;
        let mut accept = admit(request)?;
        accept.user_id = Some(identity.user().into());
        let is_chosen = accept.subprotocol.is_some() || request.subprotocol().is_some();
        if let (false, Some(name)) = (is_chosen, source.answered_subprotocol()) {
            accept = accept.subprotocol(name);
        }
        Ok(accept.attribute(identity))
    }
}

/// RFC 6750 §3
fn refusal(reason: &str) -> Reject {
    Reject::new(401)
        .header("WWW-Authenticate", "Bearer")
        .text(reason)
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("sources", &self.sources)
            .field("first_message", &self.first_message)
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}
