//! The listeners of an engine.

use std::net::{SocketAddr, TcpListener};
#[cfg(unix)]
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use throng_transport::{BindAddress, ListenOptions, Listener, SocketOptions};

use crate::config::Config;
use crate::error::StartError;

/// A listener that something else has bound.
#[derive(Debug)]
pub(super) enum Inherited {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

/// The listeners of an engine.
pub(super) struct Listening {
    pub(super) by_shard: Vec<Vec<Listener>>,
    pub(super) addresses: Vec<SocketAddr>,
    /// Whether the first shard accepts TCP connections for all.
    pub(super) deals_tcp: bool,
    pub(super) files: BoundFiles,
}

impl Listening {
    /// Binds. TCP addresses are listened on by every shard, where the system spreads connections
    /// over the listeners of one port; otherwise, and for Unix sockets, the first shard listens
    /// and deals out what it accepts.
    pub(super) fn open(
        addresses: Vec<BindAddress>,
        inherited: Vec<Inherited>,
        config: &Config,
    ) -> Result<Listening, StartError> {
        let inherits_tcp = inherited
            .iter()
            .any(|source| matches!(source, Inherited::Tcp(_)));
        let shares = Listener::CAN_SHARE_PORT && config.shards > 1 && !inherits_tcp;
        let options = ListenOptions {
            backlog: config.backlog,
            sockets: SocketOptions::default(),
        };
        let count = if shares { config.shards } else { 1 };
        let mut by_shard: Vec<Vec<Listener>> = (0..config.shards).map(|_| Vec::new()).collect();
        let mut bound = Vec::new();
        let mut files = BoundFiles::default();
        for address in addresses {
            let fail = |source| StartError::Listen {
                address: show(&address),
                source,
            };
            let shared = Listener::bind_shared(&address, &options, count).map_err(fail)?;
            bound.extend(shared[0].tcp_address().map_err(fail)?);
            for (listeners, listener) in by_shard.iter_mut().zip(shared) {
                listeners.push(listener);
            }
            if let BindAddress::Unix(path) = address {
                files.0.push(path);
            }
        }
        for source in inherited {
            let listener = match source {
                Inherited::Tcp(listener) => Listener::from_tcp(listener, options.sockets)?,
                #[cfg(unix)]
                Inherited::Unix(listener) => Listener::from_unix(listener, options.sockets)?,
            };
            bound.extend(listener.tcp_address()?);
            by_shard[0].push(listener);
        }
        Ok(Listening {
            by_shard,
            addresses: bound,
            deals_tcp: !shares,
            files,
        })
    }
}

/// Unix sockets that were bound for an engine. If it does not start they are removed, so that
/// another attempt finds their addresses free.
#[derive(Debug, Default)]
pub(super) struct BoundFiles(Vec<PathBuf>);

impl BoundFiles {
    /// The engine has started.
    pub(super) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for BoundFiles {
    fn drop(&mut self) {
        for path in &self.0 {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::warn!(path = %path.display(), %error, "a socket's file is left behind");
            }
        }
    }
}

fn show(address: &BindAddress) -> String {
    match address {
        BindAddress::Tcp(address) => address.to_string(),
        BindAddress::Unix(path) => path.display().to_string(),
    }
}
