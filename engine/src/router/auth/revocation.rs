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

impl Kept {
    /// Whether what was revoked then is.
    fn remembers(&self, since: u64, now: u64) -> bool {
        now.saturating_sub(since) <= self.keep.as_secs()
    }
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
            if users.len() >= MAX_REVOCATIONS {
                users.retain(|_, since| self.0.remembers(*since, now));
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

    /// Whether that token was revoked and the revocation is remembered, given the time in seconds since 1970.
    pub(super) fn concern(&self, identity: &Identity, now: u64) -> bool {
        let since = self.users().get(identity.user()).copied();
        let since = since.filter(|since| self.0.remembers(*since, now));
        since.is_some_and(|since| identity.issued_at().is_none_or(|made| made <= since))
    }

    fn users(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.0.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_is_remembered_for_a_day() {
        const NOW: u64 = 1_800_000_000;
        const DAY: u64 = 24 * 60 * 60;
        let revocations = Revocations::default();
        revocations.users().insert("ann".to_owned(), NOW);
        let concerned = |identity: Identity, now| revocations.concern(&identity, now);
        let ann = || Identity::new("ann");
        assert!(concerned(ann(), NOW) && concerned(ann(), NOW + DAY));
        assert!(!concerned(ann(), NOW + DAY + 1));
        assert!(concerned(ann().with_issued_at(NOW), NOW + 1));
        assert!(!concerned(ann().with_issued_at(NOW + 1), NOW + 1));
        assert!(!concerned(Identity::new("bob"), NOW));
    }
}
