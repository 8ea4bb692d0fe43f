//! The drivers that an engine's shards run on.

use std::fmt::Display;
use std::io;
use std::time::Instant;

use throng_transport::poll::{PollDriver, PollOptions};
#[cfg(feature = "tls")]
use throng_transport::tls::{Credentials, Tls, TlsDriver, TlsOptions};
#[cfg(all(unix, feature = "tokio"))]
use throng_transport::tokio::{TokioDriver, TokioOptions};
#[cfg(all(target_os = "linux", feature = "tokio-uring"))]
use throng_transport::tokio_uring::{Outside, TokioUringDriver, TokioUringOptions};
#[cfg(target_os = "linux")]
use throng_transport::uring::{REQUESTS, Refusal, UringDriver, UringOptions};
use throng_transport::{Driver, Listener, Waker};

use crate::config::{Backend, Config};
use crate::error::StartError;
use crate::shared::expected_per_shard;

/// The driver of a shard, of whichever kind was chosen.
pub(crate) enum ShardDriver {
    Poll(PollDriver),
    #[cfg(target_os = "linux")]
    Uring(Box<UringDriver>),
    #[cfg(all(unix, feature = "tokio"))]
    Tokio(TokioDriver),
    #[cfg(all(target_os = "linux", feature = "tokio-uring"))]
    TokioUring(Box<TokioUringDriver>),
    #[cfg(feature = "tls")]
    PollTls(TlsDriver<PollDriver>),
    #[cfg(all(target_os = "linux", feature = "tls"))]
    UringTls(Box<TlsDriver<UringDriver>>),
    #[cfg(all(unix, feature = "tokio", feature = "tls"))]
    TokioTls(Box<TlsDriver<TokioDriver>>),
    #[cfg(all(target_os = "linux", feature = "tokio-uring", feature = "tls"))]
    TokioUringTls(Box<TlsDriver<TokioUringDriver>>),
}

/// The TLS that is spoken: what was given in code, or what the settings say.
#[cfg(feature = "tls")]
pub(crate) fn choose_tls(given: Option<Tls>, config: &Config) -> Result<Option<Tls>, StartError> {
    let (Some(certificate), Some(key)) = (&config.tls_certificate, &config.tls_key) else {
        return Ok(given);
    };
    if given.is_some() {
        return Err(StartError::TlsTwice);
    }
    let credentials = Credentials::files(certificate, key);
    let credentials = match &config.tls_client_ca {
        Some(authorities) => credentials.client_ca_file(authorities),
        None => credentials,
    };
    Ok(Some(Tls::new(credentials)?))
}

/// Calls the method on whichever driver it is.
macro_rules! on_driver {
    ($driver:expr, $inner:ident => $call:expr) => {
        match $driver {
            ShardDriver::Poll($inner) => $call,
            #[cfg(target_os = "linux")]
            ShardDriver::Uring($inner) => $call,
            #[cfg(all(unix, feature = "tokio"))]
            ShardDriver::Tokio($inner) => $call,
            #[cfg(all(target_os = "linux", feature = "tokio-uring"))]
            ShardDriver::TokioUring($inner) => $call,
            #[cfg(feature = "tls")]
            ShardDriver::PollTls($inner) => $call,
            #[cfg(all(target_os = "linux", feature = "tls"))]
            ShardDriver::UringTls($inner) => $call,
            #[cfg(all(unix, feature = "tokio", feature = "tls"))]
            ShardDriver::TokioTls($inner) => $call,
            #[cfg(all(target_os = "linux", feature = "tokio-uring", feature = "tls"))]
            ShardDriver::TokioUringTls($inner) => $call,
        }
    };
}

impl ShardDriver {
    /// A driver for each shard, all of the kind that the settings ask for.
    pub(crate) fn for_shards(
        config: &Config,
        epoch: Instant,
    ) -> Result<Vec<ShardDriver>, StartError> {
        match config.backend {
            Backend::Auto => Ok(best(config, epoch)?),
            Backend::Poll => Ok(polls(config, epoch)?),
            Backend::Uring => {
                urings(config, epoch).map_err(|reason| unusable(Backend::Uring, &reason))
            }
            Backend::Tokio => {
                tokios(config, epoch).map_err(|reason| unusable(Backend::Tokio, &reason))
            }
            Backend::TokioUring => {
                tokio_urings(config, epoch).map_err(|reason| unusable(Backend::TokioUring, &reason))
            }
        }
    }

    /// Its kind.
    pub(crate) fn backend(&self) -> Backend {
        match self {
            ShardDriver::Poll(_) => Backend::Poll,
            #[cfg(target_os = "linux")]
            ShardDriver::Uring(_) => Backend::Uring,
            #[cfg(all(unix, feature = "tokio"))]
            ShardDriver::Tokio(_) => Backend::Tokio,
            #[cfg(all(target_os = "linux", feature = "tokio-uring"))]
            ShardDriver::TokioUring(_) => Backend::TokioUring,
            #[cfg(feature = "tls")]
            ShardDriver::PollTls(_) => Backend::Poll,
            #[cfg(all(target_os = "linux", feature = "tls"))]
            ShardDriver::UringTls(_) => Backend::Uring,
            #[cfg(all(unix, feature = "tokio", feature = "tls"))]
            ShardDriver::TokioTls(_) => Backend::Tokio,
            #[cfg(all(target_os = "linux", feature = "tokio-uring", feature = "tls"))]
            ShardDriver::TokioUringTls(_) => Backend::TokioUring,
        }
    }

    /// The same drivers, whose TCP sockets speak TLS if there is any.
    #[cfg(feature = "tls")]
    pub(crate) fn all_with_tls(
        drivers: Vec<ShardDriver>,
        tls: Option<&Tls>,
        config: &Config,
    ) -> Vec<ShardDriver> {
        let Some(tls) = tls else {
            return drivers;
        };
        let drivers = drivers.into_iter();
        drivers.map(|driver| driver.with_tls(tls, config)).collect()
    }

    #[cfg(feature = "tls")]
    fn with_tls(self, tls: &Tls, config: &Config) -> ShardDriver {
        let options = TlsOptions {
            receive_buffer: config.read_buffer_size,
            expected_sockets: expected_per_shard(config),
            max_handshakes: config.max_tls_handshakes,
            secures_foreign: false,
        };
        let tls = tls.clone();
        // Each kind is named: one that was forgotten would speak without TLS.
        match self {
            ShardDriver::Poll(driver) => {
                ShardDriver::PollTls(TlsDriver::new(driver, tls, &options))
            }
            #[cfg(target_os = "linux")]
            ShardDriver::Uring(driver) => {
                ShardDriver::UringTls(Box::new(TlsDriver::new(*driver, tls, &options)))
            }
            #[cfg(all(unix, feature = "tokio"))]
            ShardDriver::Tokio(driver) => {
                ShardDriver::TokioTls(Box::new(TlsDriver::new(driver, tls, &options)))
            }
            #[cfg(all(target_os = "linux", feature = "tokio-uring"))]
            ShardDriver::TokioUring(driver) => {
                ShardDriver::TokioUringTls(Box::new(TlsDriver::new(*driver, tls, &options)))
            }
            secured @ ShardDriver::PollTls(_) => secured,
            #[cfg(target_os = "linux")]
            secured @ ShardDriver::UringTls(_) => secured,
            #[cfg(all(unix, feature = "tokio"))]
            secured @ ShardDriver::TokioTls(_) => secured,
            #[cfg(all(target_os = "linux", feature = "tokio-uring"))]
            secured @ ShardDriver::TokioUringTls(_) => secured,
        }
    }

    pub(crate) fn waker(&self) -> Waker {
        on_driver!(self, driver => driver.waker())
    }

    pub(crate) fn listen(&mut self, listener: Listener) -> io::Result<()> {
        on_driver!(self, driver => driver.listen(listener))
    }
}

fn unusable(backend: Backend, reason: &impl Display) -> StartError {
    StartError::Backend {
        backend,
        reason: reason.to_string(),
    }
}

fn polls(config: &Config, epoch: Instant) -> io::Result<Vec<ShardDriver>> {
    let options = PollOptions {
        receive_buffer: config.read_buffer_size,
        expected_sockets: expected_per_shard(config),
        epoch,
    };
    (0..config.shards)
        .map(|_| PollDriver::new(&options).map(ShardDriver::Poll))
        .collect()
}

/// io_uring where the system has all of it, since that was measured to be cheaper than readiness nearly everywhere
/// (`compare --backend poll,uring`); otherwise readiness.
#[cfg(target_os = "linux")]
fn best(config: &Config, epoch: Instant) -> io::Result<Vec<ShardDriver>> {
    let reason = match urings(config, epoch) {
        Ok(drivers) if drivers.iter().all(has_everything) => return Ok(drivers),
        Ok(_) => "io_uring costs more than readiness before Linux 6.12".to_owned(),
        Err(refusal) => refusal.to_string(),
    };
    tracing::info!(%reason, "shards run on readiness");
    polls(config, epoch)
}

/// Whether the system has all that io_uring's driver makes use of.
#[cfg(target_os = "linux")]
fn has_everything(driver: &ShardDriver) -> bool {
    matches!(driver, ShardDriver::Uring(driver) if driver.has_everything())
}

#[cfg(not(target_os = "linux"))]
use polls as best;

#[cfg(target_os = "linux")]
fn urings(config: &Config, epoch: Instant) -> Result<Vec<ShardDriver>, Refusal> {
    let options = UringOptions {
        receive_buffer: config.read_buffer_size,
        expected_sockets: expected_per_shard(config),
        requests: REQUESTS,
        epoch,
    };
    (0..config.shards)
        .map(|_| UringDriver::new(&options).map(|driver| ShardDriver::Uring(Box::new(driver))))
        .collect()
}

#[cfg(not(target_os = "linux"))]
fn urings(_: &Config, _: Instant) -> Result<Vec<ShardDriver>, &'static str> {
    Err("io_uring is Linux's")
}

#[cfg(all(unix, feature = "tokio"))]
fn tokios(config: &Config, epoch: Instant) -> Result<Vec<ShardDriver>, &'static str> {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return Err("start must be called inside a tokio runtime");
    };
    let options = TokioOptions {
        receive_buffer: config.read_buffer_size,
        expected_sockets: expected_per_shard(config),
        epoch,
    };
    let driver = |_| ShardDriver::Tokio(TokioDriver::new(&options, runtime.clone()));
    Ok((0..config.shards).map(driver).collect())
}

#[cfg(not(all(unix, feature = "tokio")))]
fn tokios(_: &Config, _: Instant) -> Result<Vec<ShardDriver>, &'static str> {
    Err("it needs the feature `tokio`, and Unix")
}

#[cfg(all(target_os = "linux", feature = "tokio-uring"))]
fn tokio_urings(config: &Config, epoch: Instant) -> Result<Vec<ShardDriver>, Outside> {
    let options = TokioUringOptions {
        receive_buffer: config.read_buffer_size,
        expected_sockets: expected_per_shard(config),
        epoch,
    };
    (0..config.shards)
        .map(|_| {
            TokioUringDriver::new(&options).map(|driver| ShardDriver::TokioUring(Box::new(driver)))
        })
        .collect()
}

#[cfg(not(all(target_os = "linux", feature = "tokio-uring")))]
fn tokio_urings(_: &Config, _: Instant) -> Result<Vec<ShardDriver>, &'static str> {
    Err("it needs the feature `tokio-uring`, and Linux")
}
