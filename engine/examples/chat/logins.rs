//! Who is logged in: names, and the tokens that show whose they are.
//!
//! A name is given to whoever asks first, for as long as the token lives. A service of yours would ask for a
//! password here, or take tokens of an identity provider's (`throng::router::Jwt`).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use throng::router::{EventError, Identity, TokenError};
use throng::system_entropy;

/// Seconds that a token lives.
const LIFETIME: u64 = 12 * 60 * 60;
/// Names taken at once.
const MAX_LOGINS: usize = 100_000;

/// The names that were given out.
#[derive(Debug, Default)]
pub(crate) struct Logins(Mutex<HashMap<String, Login>>);

#[derive(Debug)]
struct Login {
    secret: String,
    until: u64,
}

impl Logins {
    /// A token for a name that nobody has.
    pub(crate) fn begin(&self, name: &str, now: u64) -> Result<String, EventError> {
        let mut bytes = [0; 16];
        system_entropy(&mut bytes).map_err(|_| EventError::internal())?;
        let secret = format!("{:032x}", u128::from_ne_bytes(bytes));
        let token = format!("{secret}.{name}");
        let mut logins = self.logins();
        if logins.get(name).is_some_and(|login| login.until > now) {
            return Err(EventError::conflict(format!(
                "there is another {name} here"
            )));
        }
        if logins.len() >= MAX_LOGINS {
            logins.retain(|_, login| login.until > now);
        }
        if logins.len() >= MAX_LOGINS {
            return Err(EventError::new(503, "too many are logged in"));
        }
        let until = now + LIFETIME;
        logins.insert(name.to_owned(), Login { secret, until });
        Ok(token)
    }

    /// Whose a token is.
    pub(crate) fn find(&self, token: &str) -> Result<Identity, TokenError> {
        let (secret, name) = token.split_once('.').ok_or(TokenError::Malformed)?;
        let logins = self.logins();
        let login = logins.get(name).filter(|login| login.secret == secret);
        let login = login.ok_or(TokenError::Unknown)?;
        Ok(Identity::new(name).with_expires_at(login.until))
    }

    /// Gives a name back.
    pub(crate) fn end(&self, name: &str) {
        self.logins().remove(name);
    }

    // The table is whole between any two statements, whoever panicked.
    fn logins(&self) -> MutexGuard<'_, HashMap<String, Login>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
