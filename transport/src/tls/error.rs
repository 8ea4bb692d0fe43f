//! What is wrong with a certificate, its key or their files.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a server cannot speak TLS with what it was given.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// A file could not be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What should be PEM is not.
    Malformed {
        /// Whose it is, and the file where there is one.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no certificate where one should be.
    NoCertificate {
        /// Whose it is, and the file where there is one.
        what: String,
    },
    /// There is no private key where one should be.
    NoKey {
        /// The file, where there is one.
        what: String,
    },
    /// The private key is of a kind, or a length, that cannot be used.
    UnsupportedKey {
        /// What rustls says.
        reason: String,
    },
    /// The private key is not that of the certificate.
    KeyMismatch,
    /// What was given is sound, and rustls refuses it all the same.
    Refused(rustls::Error),
    /// A configuration made elsewhere cannot be read again.
    NothingToReload,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Unreadable { path, source } => {
                write!(f, "{} cannot be read: {source}", path.display())
            }
            TlsError::Malformed { what, reason } => write!(f, "{what} is no PEM: {reason}"),
            TlsError::NoCertificate { what } => write!(f, "there is no certificate in {what}"),
            TlsError::NoKey { what } => write!(f, "there is no private key in {what}"),
            TlsError::UnsupportedKey { reason } => {
                write!(f, "the private key cannot be used: {reason}")
            }
            TlsError::KeyMismatch => f.write_str("the private key is not that of the certificate"),
            TlsError::Refused(error) => write!(f, "TLS cannot be set up: {error}"),
            TlsError::NothingToReload => {
                f.write_str("a TLS configuration made elsewhere cannot be read again")
            }
        }
    }
}

impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            TlsError::Unreadable { source, .. } => Some(source),
            TlsError::Refused(error) => Some(error),
            _ => None,
        }
    }
}
