//! Who the server is: its certificate and key, whom it lets in, and how that changes while it runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, VerifierBuilderError, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use super::error::TlsError;

/// The one protocol that is spoken within (ALPN).
const HTTP: &[u8] = b"http/1.1";

/// How a server speaks TLS. Clones are the same: what one of them changes holds for all, from the next
/// handshake on, and open connections live on.
///
/// ```no_run
/// use throng_transport::tls::{Credentials, Tls};
///
/// let tls = Tls::from_pem_files("server.pem", "server.key")?;
/// // Later, when the files have changed:
/// if let Err(error) = tls.reload() {
///     eprintln!("the old certificate stays: {error}");
/// }
/// // Only for those who show a certificate of this authority:
/// let tls = Tls::new(Credentials::files("server.pem", "server.key").client_ca_file("clients.pem"))?;
/// # Ok::<(), throng_transport::tls::TlsError>(())
/// ```
///
/// Sessions are resumed by tickets that hold all there is to know, under keys that change every few
/// hours and are the same for all shards; but where clients are asked for certificates there are none,
/// so that each time what is shown is verified.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    current: RwLock<Arc<ServerConfig>>,
    /// Where it came from; `None` when it was made elsewhere.
    source: Mutex<Option<Credentials>>,
    tickets: Arc<dyn ProducesTickets>,
    counters: Counters,
}

/// A certificate, its private key, and whose certificates clients must show. All of it is PEM, in
/// files or in memory.
#[derive(Clone)]
pub struct Credentials {
    certificate: Pem,
    key: Pem,
    clients: Option<(Pem, ClientCertificates)>,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Those who show none are refused.
    #[default]
    Required,
    /// They may; what they show must be valid.
    Optional,
}

#[derive(Clone)]
enum Pem {
    File(PathBuf),
    Bytes(Arc<[u8]>),
}

/// What became of handshakes so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsCounts {
    /// Completed, those that resumed a session included.
    pub completed: u64,
    /// Completed by resuming a session.
    pub resumed: u64,
    /// Not completed: the peer broke the rules, showed no certificate that is valid, left, or took too
    /// long.
    pub failed: u64,
    /// Refused before anything was computed for them, since too many were under way.
    pub refused: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    completed: AtomicU64,
    resumed: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
}

impl Credentials {
    /// The certificate (its chain behind it) and its key in files.
    pub fn files(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Credentials {
        Credentials {
            certificate: Pem::File(certificate.into()),
            key: Pem::File(key.into()),
            clients: None,
        }
    }

    /// The same in memory.
    pub fn pem(certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Credentials {
        Credentials {
            certificate: Pem::Bytes(certificate.as_ref().into()),
            key: Pem::Bytes(key.as_ref().into()),
            clients: None,
        }
    }

    /// Clients must show a certificate that leads to one of those in the file.
    pub fn client_ca_file(mut self, path: impl Into<PathBuf>) -> Credentials {
        self.clients = Some((Pem::File(path.into()), ClientCertificates::default()));
        self
    }

    /// Clients must show a certificate that leads to one of these.
    pub fn client_ca_pem(mut self, authorities: impl AsRef<[u8]>) -> Credentials {
        let authorities = Pem::Bytes(authorities.as_ref().into());
        self.clients = Some((authorities, ClientCertificates::default()));
        self
    }

    /// Whether clients must, or may. Nothing where there is no authority for them.
    pub fn client_certificates(mut self, wanted: ClientCertificates) -> Credentials {
        if let Some((_, which)) = &mut self.clients {
            *which = wanted;
        }
        self
    }

    fn build(&self, tickets: &Arc<dyn ProducesTickets>) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let certificates = self
            .certificate
            .certificates("what was given as the certificate")?;
        let key = provider
            .key_provider
            .load_private_key(self.key.private_key()?)
            .map_err(|error| TlsError::UnsupportedKey {
                reason: error.to_string(),
            })?;
        let certified = CertifiedKey::new(certificates, key);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(TlsError::KeyMismatch),
            Err(error) => return Err(TlsError::Refused(error)),
        }
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsError::Refused)?;
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some((authorities, wanted)) => {
                builder.with_client_cert_verifier(verifier(authorities, *wanted, provider)?)
            }
        };
        let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
        let mut config = builder.with_cert_resolver(resolver);
        if self.clients.is_some() {
            // A ticket holds the client's certificate, which is not verified again when it comes back: it
            // would let in who is let in no more.
            config.send_tls13_tickets = 0;
        } else {
            config.ticketer = Arc::clone(tickets);
        }
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(tame(config))
    }
}

/// A configuration as it is used: no early data, which an attacker can say twice.
fn tame(mut config: ServerConfig) -> ServerConfig {
    config.max_early_data_size = 0;
    if config.alpn_protocols.is_empty() {
        config.alpn_protocols.push(HTTP.to_vec());
    }
    config
}

fn verifier(
    authorities: &Pem,
    wanted: ClientCertificates,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities.certificates("what was given as the clients' authority")? {
        roots.add(certificate).map_err(TlsError::Refused)?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match wanted {
        ClientCertificates::Required => builder,
        ClientCertificates::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| match error {
        VerifierBuilderError::InvalidCrl(error) => TlsError::Refused(error.into()),
        other => TlsError::Refused(rustls::Error::General(other.to_string())),
    })
}

impl Pem {
    fn read(&self) -> Result<Arc<[u8]>, TlsError> {
        match self {
            Pem::Bytes(bytes) => Ok(Arc::clone(bytes)),
            Pem::File(path) => match std::fs::read(path) {
                Ok(bytes) => Ok(bytes.into()),
                Err(source) => Err(TlsError::Unreadable {
                    path: path.clone(),
                    source,
                }),
            },
        }
    }

    fn name(&self, what: &str) -> String {
        match self {
            Pem::File(path) => format!("{what} ({})", path.display()),
            Pem::Bytes(_) => what.to_owned(),
        }
    }

    fn certificates(&self, what: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let bytes = self.read()?;
        let certificates = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
        match certificates {
            Ok(none) if none.is_empty() => Err(TlsError::NoCertificate {
                what: self.name(what),
            }),
            Ok(certificates) => Ok(certificates),
            Err(error) => Err(self.malformed(what, &error)),
        }
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let what = "what was given as the private key";
        PrivateKeyDer::from_pem_slice(&self.read()?).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsError::NoKey {
                what: self.name(what),
            },
            error => self.malformed(what, &error),
        })
    }

    fn malformed(&self, what: &str, error: &pem::Error) -> TlsError {
        TlsError::Malformed {
            what: self.name(what),
            reason: error.to_string(),
        }
    }
}

impl Tls {
    /// TLS with these credentials, version 1.2 or 1.3.
    ///
    /// # Errors
    /// What is missing, malformed or does not fit; and where the system has no randomness.
    pub fn new(credentials: Credentials) -> Result<Tls, TlsError> {
        let tickets = ring::Ticketer::new().map_err(TlsError::Refused)?;
        let config = credentials.build(&tickets)?;
        Ok(Tls::with(config, Some(credentials), tickets))
    }

    /// TLS with the certificate (its chain behind it) and the key in two files.
    ///
    /// # Errors
    /// As for [`Tls::new`].
    pub fn from_pem_files(
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Tls, TlsError> {
        Tls::new(Credentials::files(certificate.as_ref(), key.as_ref()))
    }

    /// TLS by a configuration made elsewhere: several certificates by server name, other
    /// algorithms. Early data is switched off, and where it names no protocol (ALPN) it is given
    /// `http/1.1`; the rest is left as it is.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub fn from_config(config: ServerConfig) -> Result<Tls, TlsError> {
        let tickets = ring::Ticketer::new().map_err(TlsError::Refused)?;
        Ok(Tls::with(tame(config), None, tickets))
    }

    fn with(
        config: ServerConfig,
        source: Option<Credentials>,
        tickets: Arc<dyn ProducesTickets>,
    ) -> Tls {
        Tls(Arc::new(Shared {
            current: RwLock::new(Arc::new(config)),
            source: Mutex::new(source),
            tickets,
            counters: Counters::default(),
        }))
    }

    /// Reads the files again. Handshakes that begin from now on see what is in them.
    ///
    /// # Errors
    /// What is wrong with them; then everything stays as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let source = self.0.source.lock().unwrap_or_else(PoisonError::into_inner);
        let credentials = source.as_ref().ok_or(TlsError::NothingToReload)?;
        self.put(credentials.build(&self.0.tickets)?);
        Ok(())
    }

    /// Uses other credentials from now on.
    ///
    /// # Errors
    /// What is wrong with them; then everything stays as it was.
    pub fn replace(&self, credentials: Credentials) -> Result<(), TlsError> {
        let mut source = self.0.source.lock().unwrap_or_else(PoisonError::into_inner);
        self.put(credentials.build(&self.0.tickets)?);
        *source = Some(credentials);
        Ok(())
    }

    /// Uses a configuration made elsewhere from now on, as [`Tls::from_config`] does.
    pub fn replace_config(&self, config: ServerConfig) {
        let mut source = self.0.source.lock().unwrap_or_else(PoisonError::into_inner);
        self.put(tame(config));
        *source = None;
    }

    /// What became of handshakes so far, on all shards.
    pub fn counts(&self) -> TlsCounts {
        let counters = &self.0.counters;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TlsCounts {
            completed: read(&counters.completed),
            resumed: read(&counters.resumed),
            failed: read(&counters.failed),
            refused: read(&counters.refused),
        }
    }

    fn put(&self, config: ServerConfig) {
        let mut current = self.0.current.write();
        **current
            .as_mut()
            .unwrap_or_else(|poisoned| poisoned.get_mut()) = Arc::new(config);
    }

    pub(super) fn current(&self) -> Arc<ServerConfig> {
        let current = self.0.current.read();
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.0.counters
    }
}

impl Counters {
    pub(super) fn count_done(&self, is_resumed: bool) {
        self.completed.fetch_add(1, Ordering::Relaxed);
        self.resumed.fetch_add(is_resumed.into(), Ordering::Relaxed);
    }

    pub(super) fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}
