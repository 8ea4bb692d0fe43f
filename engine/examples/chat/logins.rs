//! Who is logged in: tokens, and the names that they stand for.
//!
//! A name is given to whoever asks first, for as long as the token lives. A service of yours would ask for a
//! password here, or take tokens of an identity provider's (`throng::router::Jwt`).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use throng::router::{EventError, Identity, TokenError};
use throng::system_entropy;

/// Seconds that a token lives.
const LIFETIME: u64 = 12 * 60 * 60;
/// Tokens alive at once.
const MAX_LOGINS: usize = 100_000;

/// The tokens that were given out.
#[derive(Debug, Default)]
pub(crate) struct Logins(Mutex<HashMap<String, Login>>);

#[derive(Debug)]
struct Login {
    name: String,
    until: u64,
}

impl Logins {
    /// A token for a name that nobody has.
    pub(crate) fn begin(&self, name: &str, now: u64) -> Result<String, EventError> {
        let mut bytes = [0; 16];
        system_entropy(&mut bytes).map_err(|_| EventError::internal())?;
        let mut logins = self.logins();
        logins.retain(|_, login| login.until > now);
        if logins.values().any(|login| login.name == name) {
            return Err(EventError::conflict(format!(
                "there is another {name} here"
            )));
        }
        if logins.len() >= MAX_LOGINS {
            return Err(EventError::new(503, "too many are logged in"));
        }
        let token = format!("{:032x}", u128::from_ne_bytes(bytes));
        let login = Login {
            name: name.to_owned(),
            until: now + LIFETIME,
        };
        logins.insert(token.clone(), login);
        Ok(token)
    }

    /// Whose a token is.
    pub(crate) fn find(&self, token: &str, now: u64) -> Result<Identity, TokenError> {
        let logins = self.logins();
        let login = logins.get(token).filter(|login| login.until > now);
        let login = login.ok_or(TokenError::Unknown)?;
        Ok(Identity::new(&*login.name).with_expires_at(login.until))
    }

    /// Gives a name back.
    pub(crate) fn end(&self, name: &str) {
        self.logins().retain(|_, login| login.name != name);
    }

    // The table is whole between any two statements, whoever panicked.
    fn logins(&self) -> MutexGuard<'_, HashMap<String, Login>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
