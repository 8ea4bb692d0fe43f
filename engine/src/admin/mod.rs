//! The admin page: an engine, watched and looked after in a browser.
//!
//! It is served by a small engine of its own, with one shard, a side door, and one more thread that takes samples. So
//! it costs the connections that it shows nothing but the questions it asks, is itself in none of their numbers, and
//! pages that are open are still there while they are drained. What comes to the other engine's port for it moves
//! over, socket and all.

mod desk;
mod events;
mod sample;

use std::fmt::{self, Debug};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::config::{Backend, Config, ConfigError};
use crate::error::StartError;
use crate::handle::EngineHandle;
use crate::http::{Page, check_path};
use crate::server::{Engine, resolve};
use crate::shard::Annex;
use desk::{Desk, Order};

/// Where the page is, unless it is told otherwise.
const PATH: &str = "/admin";
/// Bytes of a token, at least.
const MIN_TOKEN: usize = 16;
/// Pages open at once.
const MAX_PAGES: usize = 64;
/// The same for one address, or IPv6 network: strangers leave room for others.
const MAX_PAGES_PER_IP: usize = 8;

/// The admin page of an engine ([`Builder::admin`](crate::Builder::admin)): its connections, rooms, rates, shards, slow
/// consumers and losses, live, over a WebSocket of Throng's; closing connections and rooms; draining.
///
/// Who knows the token may do all of it. It is asked for on the page, kept by the browser tab, and sent over the
/// WebSocket, never in a URL. Without TLS whoever can listen on the way can read it: then the page belongs on a
/// loopback address ([`bind`](Admin::bind)), or behind a proxy that speaks TLS. Pages of its own origin may connect, and those of
/// the engine's [`origins`](field@crate::Config::origins) (unless these are all of the web), which is what a proxy that rewrites
/// `Host` needs.
///
/// ```no_run
/// use throng::{Admin, Engine};
///
/// let token = std::env::var("ADMIN_TOKEN").expect("ADMIN_TOKEN is set");
/// let engine = Engine::builder()
///     .bind("0.0.0.0:8080")?
///     .admin(Admin::new(token).bind("127.0.0.1:8081")?)
///     .on_message(|conn, message| {
///         conn.send(message);
///     })
///     .start()?;
/// # Ok::<(), throng::StartError>(())
/// ```
#[must_use]
pub struct Admin {
    token: String,
    path: String,
    addresses: Vec<SocketAddr>,
}

impl Admin {
    /// A page at `/admin` on the engine's own port, for those who know the token: at least 16 bytes that cannot be
    /// guessed, or the engine does not start.
    pub fn new(token: impl Into<String>) -> Admin {
        Admin {
            token: token.into(),
            path: PATH.to_owned(),
            addresses: Vec::new(),
        }
    }

    /// Serves the page at another path. The rules of [`Page`] hold for it.
    pub fn path(mut self, path: impl Into<String>) -> Admin {
        self.path = path.into();
        self
    }

    /// Serves the page on an address of its own, and not on the engine's; there at `/`, too. It speaks no TLS.
    ///
    /// # Errors
    /// When `address` is none, or its name is not known.
    pub fn bind(mut self, address: impl ToSocketAddrs + Debug) -> Result<Admin, StartError> {
        self.addresses.extend(resolve(address)?);
        Ok(self)
    }

    /// The page, where the engine serves it on its own port.
    pub(crate) fn page(&self) -> Option<Page> {
        self.addresses.is_empty().then(|| page_at(&self.path))
    }

    /// # Errors
    /// What is wrong with it, for an engine that listens somewhere or does not.
    pub(crate) fn check(&self, listens: bool) -> Result<(), ConfigError> {
        if self.token.len() < MIN_TOKEN {
            let rule = format!("must have at least {MIN_TOKEN} bytes");
            return Err(ConfigError::invalid("admin", "the token", rule));
        }
        check_path("admin", &self.path)?;
        if self.addresses.is_empty() && !listens {
            let rule = "needs an address of its own (Admin::bind): the engine listens on none";
            return Err(ConfigError::invalid("admin", "the page", rule));
        }
        Ok(())
    }

    /// Starts what serves the page, for an engine whose shards start afterwards.
    ///
    /// # Errors
    /// As [`Builder::start`](crate::Builder::start).
    pub(crate) fn start(self, watched: EngineHandle) -> Result<AdminServer, StartError> {
        let Admin {
            token,
            path,
            addresses,
        } = self;
        let path: Arc<str> = path.into();
        let desk = Arc::new(Desk::default());
        let (orders, taken) = desk::orders();
        let router = events::router(token, watched.clone(), &desk, &orders);
        let is_separate = !addresses.is_empty();
        let builder = Engine::builder().config(config(&watched)).mounted();
        let mut builder = builder.bind(&*addresses)?;
        if is_separate {
            builder = builder.page(page_at("/"));
            if *path != *"/" {
                builder = builder.page(page_at(&path));
            }
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = watched.shared().tls.as_ref().filter(|_| !is_separate) {
            builder = builder.tls(tls.clone());
        }
        let engine = builder.router(router)?.start()?;
        let annex = (!is_separate).then(|| Annex {
            path,
            mail: engine.handle().shared().deal().clone(),
        });
        let thread = desk.open(watched, engine.handle(), taken)?;
        Ok(AdminServer {
            engine: Box::new(engine),
            annex,
            orders,
            thread: Some(thread),
        })
    }
}

/// A few connections, which are trusted once they have shown the token, and little before. Pages come from here, or, behind
/// a proxy that says otherwise, from where the service's own may.
fn config(watched: &EngineHandle) -> Config {
    let watched = watched.config();
    let mut config = Config::default()
        .origins(watched.origins.with_own())
        .shards(1)
        .backend(Backend::Poll)
        .fanout_workers(0)
        .max_connections(MAX_PAGES)
        .max_connections_per_ip(MAX_PAGES_PER_IP)
        .max_handshakes(MAX_PAGES)
        .max_message_size(16 * 1024)
        .read_buffer_size(64 * 1024)
        .flight_recorder(0)
        .metrics(false);
    config.trusted_proxies.clone_from(&watched.trusted_proxies);
    config
}

fn page_at(path: &str) -> Page {
    Page::new(path, "text/html; charset=utf-8", include_str!("page.html"))
}

impl Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("path", &self.path)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// What serves the page. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct AdminServer {
    engine: Box<Engine>,
    annex: Option<Annex>,
    orders: crossbeam_channel::Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// What the watched engine's shards pass on.
    pub(crate) fn annex(&self) -> Option<Annex> {
        self.annex.clone()
    }

    /// Where it listens, if it does by itself.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.engine.local_addr()
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the admin page's thread panicked");
        }
    }
}
