//! Tokens that are JSON Web Tokens (RFC 7519).

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, errors::ErrorKind};
use serde_json::Value;

use super::keys::{JwtError, Key, check_secret, malformed, read_file, read_keys};
use super::{Identity, TokenError, TokenValidator};
use crate::limits::MAX_TRIED_KEYS;

/// Bytes of a token.
const MAX_TOKEN: usize = 16 * 1024;
/// Validates JSON Web Tokens signed by HS256, RS256, ES256 or EdDSA.
///
/// The user is the claim `sub`. `exp` must be there and not be over, `nbf` must be over where it is there, both with a
/// leeway of 60 s; `aud` and `iss` are checked where they are [asked for](Jwt::audience), and a token with an `aud` is refused where
/// none is. What the header says is trusted for nothing but to find the key: each key has one algorithm.
///
/// A clone shares the keys.
///
/// ```
/// use throng::Router;
/// use throng::router::{Auth, Jwt};
///
/// # fn main() -> Result<(), throng::router::JwtError> {
/// let jwt = Jwt::hs256(b"a secret of 32 bytes or more ....")?.issuer("https://id.example.com");
/// let mut router = Router::new();
/// router.auth(Auth::new(jwt));
/// # Ok(())
/// # }
/// ```
///
/// With keys that rotate:
///
/// ```no_run
/// # fn main() -> Result<(), throng::router::JwtError> {
/// use throng::router::Jwt;
///
/// let jwt = Jwt::jwks_file("keys.json")?.audience("chat");
/// let keys = jwt.clone();
/// // When the file has changed; connections live on. If it cannot be used, the keys stay as they are.
/// keys.reload()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Jwt {
    keys: Arc<Keys>,
    audience: Vec<String>,
    issuer: Vec<String>,
    leeway: Duration,
    roles_at: String,
    may_last: bool,
}

struct Keys {
    current: RwLock<Arc<[Key]>>,
    file: Option<PathBuf>,
}

impl Jwt {
    /// Tokens signed with a shared secret.
    ///
    /// # Errors
    /// When it has less than 32 bytes (RFC 7518 §3.2).
    pub fn hs256(secret: &[u8]) -> Result<Jwt, JwtError> {
        check_secret(secret.len())?;
        let key = DecodingKey::from_secret(secret);
        Ok(Jwt::one(Algorithm::HS256, key))
    }

    /// Tokens signed with RSA and SHA-256, by the public key in PEM.
    ///
    /// # Errors
    /// When that is none.
    pub fn rs256_pem(pem: &[u8]) -> Result<Jwt, JwtError> {
        let key = DecodingKey::from_rsa_pem(pem).map_err(malformed)?;
        Ok(Jwt::one(Algorithm::RS256, key))
    }

    /// Tokens signed with ECDSA on P-256 and SHA-256, by the public key in PEM.
    ///
    /// # Errors
    /// When that is none.
    pub fn es256_pem(pem: &[u8]) -> Result<Jwt, JwtError> {
        let key = DecodingKey::from_ec_pem(pem).map_err(malformed)?;
        Ok(Jwt::one(Algorithm::ES256, key))
    }

    /// Tokens signed with Ed25519, by the public key in PEM.
    ///
    /// # Errors
    /// When that is none.
    pub fn eddsa_pem(pem: &[u8]) -> Result<Jwt, JwtError> {
        let key = DecodingKey::from_ed_pem(pem).map_err(malformed)?;
        Ok(Jwt::one(Algorithm::EdDSA, key))
    }

    /// Tokens signed with any key of a JSON Web Key Set (RFC 7517 §5), found by `kid`, or where a token has none
    /// by trying four of its algorithm: those without a `kid`, then the first ones. Keys for other algorithms are passed over.
    ///
    /// # Errors
    /// When it is no such set, or none of its keys can be used.
    pub fn jwks(json: &str) -> Result<Jwt, JwtError> {
        Ok(Jwt::new(read_keys(json)?, None))
    }

    /// The same from a file, which [`Jwt::reload`] reads again.
    ///
    /// # Errors
    /// When the file cannot be read, and as [`Jwt::jwks`].
    pub fn jwks_file(path: impl Into<PathBuf>) -> Result<Jwt, JwtError> {
        let path = path.into();
        let keys = read_file(&path)?;
        Ok(Jwt::new(keys, Some(path)))
    }

    /// Reads the file of keys again.
    ///
    /// # Errors
    /// As [`Jwt::jwks_file`], and when there is no file; the keys stay as they are.
    pub fn reload(&self) -> Result<(), JwtError> {
        let path = self.keys.file.as_ref().ok_or(JwtError::NoFile)?;
        self.replace(read_file(path)?);
        Ok(())
    }

    /// Takes other keys from now on.
    ///
    /// # Errors
    /// As [`Jwt::jwks`]; the keys stay as they are.
    pub fn set_jwks(&self, json: &str) -> Result<(), JwtError> {
        self.replace(read_keys(json)?);
        Ok(())
    }

    /// Tokens must be for this audience; said again, one of several.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Jwt {
        self.audience.push(audience.into());
        self
    }

    /// Tokens must be of this issuer; said again, one of several.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Jwt {
        self.issuer.push(issuer.into());
        self
    }

    /// By how much clocks may differ; 60 s if nothing is said.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Jwt {
        self.leeway = leeway;
        self
    }

    /// Where the roles are, as a JSON pointer (RFC 6901): a list of strings, or one string of words. `/roles` if nothing is said.
    #[must_use]
    pub fn roles_at(mut self, pointer: impl Into<String>) -> Jwt {
        self.roles_at = pointer.into();
        self
    }

    /// Takes tokens without `exp`, which hold for ever, too.
    #[must_use]
    pub fn allow_without_expiry(mut self) -> Jwt {
        self.may_last = true;
        self
    }

    fn one(algorithm: Algorithm, key: DecodingKey) -> Jwt {
        let id = None;
        Jwt::new([Key { id, algorithm, key }].into(), None)
    }

    fn new(keys: Arc<[Key]>, file: Option<PathBuf>) -> Jwt {
        Jwt {
            keys: Arc::new(Keys {
                current: RwLock::new(keys),
                file,
            }),
            audience: Vec::new(),
            issuer: Vec::new(),
            leeway: Duration::from_secs(60),
            roles_at: "/roles".to_owned(),
            may_last: false,
        }
    }

    fn replace(&self, keys: Arc<[Key]>) {
        let current = self.keys.current.write();
        *current.unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// What the token says, if a key of ours has signed it.
    fn verify(&self, token: &str) -> Result<Value, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::Malformed);
        }
        let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
        if has_critical_extensions(token) {
            return Err(TokenError::Malformed);
        }
        let keys = self.keys.current.read();
        let keys = Arc::clone(&keys.unwrap_or_else(PoisonError::into_inner));
        let fits = keys.iter().filter(|key| key.algorithm == header.alg);
        // Those of that name, then those of none; all, where the token names none.
        let named = fits.clone().filter(|key| key.id == header.kid);
        let is_other =
            |key: &&Key| key.id != header.kid && (header.kid.is_none() || key.id.is_none());
        let tried = named.chain(fits.filter(is_other)).take(MAX_TRIED_KEYS);
        let mut failure = TokenError::Signature;
        for key in tried {
            match decode::<Value>(token, &key.key, &self.rules(key.algorithm)) {
                Ok(token) => return Ok(token.claims),
                Err(error) => match error.kind() {
                    ErrorKind::InvalidSignature => {}
                    ErrorKind::InvalidAudience | ErrorKind::InvalidIssuer => {
                        failure = TokenError::NotForUs;
                    }
                    _ => failure = TokenError::Malformed,
                },
            }
        }
        Err(failure)
    }

    /// Times are looked at afterwards: the time is told.
    fn rules(&self, algorithm: Algorithm) -> Validation {
        let mut rules = Validation::new(algorithm);
        let mut required = vec!["sub"];
        if !self.audience.is_empty() {
            rules.set_audience(&self.audience);
            required.push("aud");
        }
        if !self.issuer.is_empty() {
            rules.set_issuer(&self.issuer);
            required.push("iss");
        }
        rules.set_required_spec_claims(&required);
        (rules.validate_exp, rules.validate_nbf) = (false, false);
        rules
    }

    fn roles(&self, claims: &Value) -> Vec<String> {
        match claims.pointer(&self.roles_at) {
            Some(Value::String(words)) => words.split_whitespace().map(str::to_owned).collect(),
            Some(Value::Array(roles)) => {
                let roles = roles.iter().filter_map(Value::as_str);
                roles.map(str::to_owned).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl TokenValidator for Jwt {
    fn validate(&self, token: &str, now: u64) -> Result<Identity, TokenError> {
        let claims = self.verify(token)?;
        let leeway = self.leeway.as_secs();
        let expires_at = time(&claims, "exp")?;
        if expires_at.is_none() && !self.may_last {
            return Err(TokenError::Malformed);
        }
        if expires_at.is_some_and(|end| end.saturating_add(leeway) <= now) {
            return Err(TokenError::Expired);
        }
        if time(&claims, "nbf")?.is_some_and(|start| start > now.saturating_add(leeway)) {
            return Err(TokenError::NotYet);
        }
        let user = claims.get("sub").and_then(Value::as_str);
        let user = user.filter(|user| !user.is_empty());
        let mut identity = Identity::new(user.ok_or(TokenError::Malformed)?);
        identity = identity.with_roles(self.roles(&claims));
        if let Some(end) = expires_at {
            identity = identity.with_expires_at(end).with_leeway(self.leeway);
        }
        if let Some(made) = time(&claims, "iat")? {
            identity = identity.with_issued_at(made);
        }
        Ok(identity.with_claims(claims))
    }
}

/// Whether a token's header names what must be understood, of which nothing is (RFC 7515 §4.1.11).
fn has_critical_extensions(token: &str) -> bool {
    let header = token.split('.').next().unwrap_or_default();
    let header = URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    let header: Value = serde_json::from_slice(&header).unwrap_or_default();
    header.get("crit").is_some()
}

/// A `NumericDate` (RFC 7519 §2), which may have a fraction.
fn time(claims: &Value, name: &str) -> Result<Option<u64>, TokenError> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let fraction = value.as_f64().filter(|seconds| *seconds >= 0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and what is too large becomes the largest"
    )]
    let seconds = value.as_u64().or(fraction.map(|seconds| seconds as u64));
    seconds.map(Some).ok_or(TokenError::Malformed)
}

impl fmt::Debug for Jwt {
    /// Tells no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt")
            .field("file", &self.keys.file)
            .field("audience", &self.audience)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}
