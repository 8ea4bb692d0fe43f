//! Tokens that hold no longer though they have not expired.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use thiserror::Error;

use super::Identity;
use crate::error::PublishError;
use crate::handle::EngineHandle;
use crate::limits::MAX_REVOCATIONS;
use crate::protocol::close::CloseCode;

/// Users whose tokens were revoked: those made until then are refused, and the connections that the
/// user has are closed.
///
/// ```no_run
/// # fn example(auth: &throng::router::Auth, engine: &throng::EngineHandle) -> Result<(), throng::router::RevokeError> {
/// let revocations = auth.revocations(); // before the router takes `auth`
/// revocations.revoke("ann", engine)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Revocations(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    keep: Duration,
    /// When each user's tokens were revoked, in seconds since 1970.
    users: Mutex<HashMap<String, u64>>,
}

/// Why a user's tokens were not revoked, or not everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RevokeError {
    /// As many users' tokens are revoked as can be remembered; nothing was done.
    #[error("the tokens of {max} users are revoked, the most that are remembered")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// The tokens are refused from now on, but some connections were not closed.
    #[error("the user's tokens are revoked, but not all connections are closed: {0}")]
    Close(#[from] PublishError),
}

impl Default for Revocations {
    /// A revocation is remembered for a day.
    fn default() -> Revocations {
        Revocations(Arc::new(Kept {
            keep: Duration::from_secs(24 * 60 * 60),
            users: Mutex::default(),
        }))
    }
}

impl Revocations {
    /// Refuses all tokens of a user that were made until now, those that do not tell included, and closes the
    /// user's connections with 1008. It is remembered for a day, which no token should outlive.
    ///
    /// # Errors
    /// When too many are remembered, and when the mailbox of a shard is full, where connections stay
    /// open: then it should be called again.
    pub fn revoke(&self, user: &str, engine: &EngineHandle) -> Result<(), RevokeError> {
        let now = engine.unix_time();
        {
            let mut users = self.users();
            let is_kept = |since: u64| now.saturating_sub(since) <= self.0.keep.as_secs();
            if users.len() >= MAX_REVOCATIONS {
                users.retain(|_, since| is_kept(*since));
            }
            if users.len() >= MAX_REVOCATIONS && !users.contains_key(user) {
                let max = MAX_REVOCATIONS;
                return Err(RevokeError::TooMany { max });
            }
            users.insert(user.to_owned(), now);
        }
        // Who is let in meanwhile is either among the user's connections now, or looks here after it was.
        Ok(engine.close_user(user, CloseCode::POLICY, "revoked")?)
    }

    /// Forgets a revocation: tokens that have not expired hold again. Returns whether there was one.
    pub fn forget(&self, user: &str) -> bool {
        self.users().remove(user).is_some()
    }

    /// Whether that token was revoked.
    pub(super) fn concern(&self, identity: &Identity) -> bool {
        let users = self.users();
        let since = users.get(identity.user());
        since.is_some_and(|since| identity.issued_at().is_none_or(|made| made <= *since))
    }

    fn users(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.0.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
