//! Whose a token is.

use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

/// Who has been authenticated, and what their token says.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    user: String,
    roles: Vec<String>,
    issued_at: Option<u64>,
    expires_at: Option<u64>,
    leeway: u64,
    claims: Value,
}

impl Identity {
    /// A user without roles, whose token never expires.
    pub fn new(user: impl Into<String>) -> Identity {
        Identity {
            user: user.into(),
            roles: Vec::new(),
            issued_at: None,
            expires_at: None,
            leeway: 0,
            claims: Value::Null,
        }
    }

    /// With these roles.
    #[must_use]
    pub fn with_roles<T: Into<String>>(mut self, roles: impl IntoIterator<Item = T>) -> Identity {
        self.roles = roles.into_iter().map(Into::into).collect();
        self
    }

    /// By a token that was made at that time, in seconds since 1970; what is revoked then or later does not hold.
    #[must_use]
    pub fn with_issued_at(mut self, unix_time: u64) -> Identity {
        self.issued_at = Some(unix_time);
        self
    }

    /// By a token that holds until that time, in seconds since 1970.
    #[must_use]
    pub fn with_expires_at(mut self, unix_time: u64) -> Identity {
        self.expires_at = Some(unix_time);
        self
    }

    /// By a token that is accepted for so long beyond its end, since clocks differ.
    #[must_use]
    pub fn with_leeway(mut self, leeway: Duration) -> Identity {
        self.leeway = leeway.as_secs();
        self
    }

    /// With whatever else the token says.
    #[must_use]
    pub fn with_claims(mut self, claims: Value) -> Identity {
        self.claims = claims;
        self
    }

    /// The user's id.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The user's roles.
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// Whether the user has that role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|known| known == role)
    }

    /// When the token was made, in seconds since 1970.
    pub fn issued_at(&self) -> Option<u64> {
        self.issued_at
    }

    /// When the token ends, in seconds since 1970.
    pub fn expires_at(&self) -> Option<u64> {
        self.expires_at
    }

    /// Until when it is accepted.
    pub(super) fn accepted_until(&self) -> Option<u64> {
        self.expires_at.map(|end| end.saturating_add(self.leeway))
    }

    /// What else the token says.
    pub fn claims(&self) -> &Value {
        &self.claims
    }
}

impl Identity {
    /// Bytes that it takes beside itself, about.
    pub(in crate::router) fn memory(&self) -> usize {
        let roles = self
            .roles
            .iter()
            .map(|role| role.len() + size_of::<String>());
        self.user.len() + roles.sum::<usize>() + memory_of(&self.claims)
    }
}

fn memory_of(value: &Value) -> usize {
    let beside = match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(memory_of).sum(),
        Value::Object(fields) => {
            let fields = fields.iter();
            let field = |(name, value): (&String, &Value)| {
                name.len() + size_of::<String>() + memory_of(value)
            };
            fields.map(field).sum()
        }
        _ => 0,
    };
    size_of::<Value>() + beside
}

/// Says whose tokens are.
///
/// It is called on shards, for upgrades and messages, and must not block. Any function of the token and the time will do.
pub trait TokenValidator: Send + Sync + 'static {
    /// Whose the token is, given the time in seconds since 1970.
    ///
    /// # Errors
    /// When it is nobody's. The client is told the error.
    fn validate(&self, token: &str, now: u64) -> Result<Identity, TokenError>;
}

impl<F> TokenValidator for F
where
    F: Fn(&str, u64) -> Result<Identity, TokenError> + Send + Sync + 'static,
{
    fn validate(&self, token: &str, now: u64) -> Result<Identity, TokenError> {
        self(token, now)
    }
}

/// Why a token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is no token of the kind that is expected.
    #[error("the token is malformed")]
    Malformed,
    /// It is nobody's.
    #[error("the token is not known")]
    Unknown,
    /// It was not signed by whom it says, or by a key that is not known.
    #[error("the token's signature is not valid")]
    Signature,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotYet,
    /// It was made for somebody else, or by somebody else.
    #[error("the token is not for this service")]
    NotForUs,
    /// It was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// Something else, as the client is told.
    #[error("{0}")]
    Other(String),
}
