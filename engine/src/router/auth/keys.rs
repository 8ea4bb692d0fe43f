//! The keys that JSON Web Tokens are signed with.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm};
use jsonwebtoken::{Algorithm, DecodingKey};
use thiserror::Error;

/// Bytes of a shared secret (RFC 7518 §3.2).
const MIN_SECRET: usize = 32;
/// Keys of one set.
const MAX_KEYS: usize = 64;

/// A key, which has one algorithm.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// Why keys cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JwtError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no key, or no set of keys.
    #[error("no key: {0}")]
    Malformed(String),
    /// The set has no key for HS256, RS256, ES256 or EdDSA.
    #[error("no key is for HS256, RS256, ES256 or EdDSA")]
    NoKey,
    /// A shared secret is too short to be one (RFC 7518 §3.2).
    #[error("a secret of {bytes} bytes, which must have {MIN_SECRET} at least")]
    ShortSecret {
        /// How many it has.
        bytes: usize,
    },
    /// There are too many.
    #[error("{count} keys, of which {MAX_KEYS} are allowed")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// There is no file to reload: the keys were handed in.
    #[error("the keys are from no file")]
    NoFile,
}

pub(super) fn read_file(path: &Path) -> Result<Arc<[Key]>, JwtError> {
    let json = std::fs::read_to_string(path).map_err(|source| JwtError::File {
        path: path.to_owned(),
        source,
    })?;
    read_keys(&json)
}

pub(super) fn read_keys(json: &str) -> Result<Arc<[Key]>, JwtError> {
    let set: JwkSet = serde_json::from_str(json).map_err(malformed)?;
    let count = set.keys.len();
    if count > MAX_KEYS {
        return Err(JwtError::TooMany { count });
    }
    let keys: Vec<Key> = set
        .keys
        .iter()
        .filter_map(read_key)
        .collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Err(JwtError::NoKey);
    }
    Ok(keys.into())
}

/// A key of a set; `None` where it is for something else.
fn read_key(jwk: &Jwk) -> Option<Result<Key, JwtError>> {
    let algorithm = match (&jwk.algorithm, jwk.common.key_algorithm) {
        (AlgorithmParameters::RSA(_), None | Some(KeyAlgorithm::RS256)) => Algorithm::RS256,
        (AlgorithmParameters::OctetKey(_), None | Some(KeyAlgorithm::HS256)) => Algorithm::HS256,
        (AlgorithmParameters::EllipticCurve(key), None | Some(KeyAlgorithm::ES256))
            if key.curve == EllipticCurve::P256 =>
        {
            Algorithm::ES256
        }
        (AlgorithmParameters::OctetKeyPair(key), None | Some(KeyAlgorithm::EdDSA))
            if key.curve == EllipticCurve::Ed25519 =>
        {
            Algorithm::EdDSA
        }
        _ => return None,
    };
    let key = || {
        if let AlgorithmParameters::OctetKey(key) = &jwk.algorithm {
            let secret = URL_SAFE_NO_PAD.decode(&key.value).map_err(malformed)?;
            check_secret(secret.len())?;
        }
        DecodingKey::from_jwk(jwk).map_err(malformed)
    };
    Some(key().map(|key| Key {
        id: jwk.common.key_id.clone(),
        algorithm,
        key,
    }))
}

pub(super) fn check_secret(bytes: usize) -> Result<(), JwtError> {
    if bytes < MIN_SECRET {
        return Err(JwtError::ShortSecret { bytes });
    }
    Ok(())
}

pub(super) fn malformed(error: impl fmt::Display) -> JwtError {
    JwtError::Malformed(error.to_string())
}
