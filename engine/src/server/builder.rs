//! What an engine is made from.

use std::fmt::Debug;
use std::net::{TcpListener, ToSocketAddrs};
#[cfg(unix)]
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use throng_transport::BindAddress;
#[cfg(feature = "tls")]
use throng_transport::tls::Tls;
#[cfg(feature = "http")]
use tower_service::Service;

use super::listening::{Inherited, Listening};
use super::{Engine, unix_time};
#[cfg(feature = "admin")]
use crate::admin::{Admin, AdminServer};
use crate::backend::ShardDriver;
use crate::config::Config;
use crate::conn::Conn;
use crate::error::StartError;
use crate::fanout;
use crate::handler::{Accept, Handler, OnMessage, Reject, Upgrade};
#[cfg(feature = "files")]
use crate::http::Folder;
#[cfg(feature = "http")]
use crate::http::{Offering, Page, RequestBody, SideDoor, SideService};
use crate::protocol::message::Message;
use crate::readiness::ReadyCheck;
use crate::router::{Codec, Router, Routes};
use crate::shard::{ShardParts, mailbox};
use crate::shared::Shared;
use crate::socket::{Sockets, WebSocket};

/// What an engine is made from: where it listens, its settings, its handler.
#[derive(Debug)]
#[must_use]
pub struct Builder<H> {
    addresses: Vec<BindAddress>,
    inherited: Vec<Inherited>,
    config: Config,
    #[cfg(feature = "http")]
    is_mounted: bool,
    #[cfg(feature = "http")]
    offering: Offering,
    #[cfg(feature = "admin")]
    admin: Option<Admin>,
    ready_check: Option<ReadyCheck>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    handler: H,
}

/// The addresses that one stands for.
pub(crate) fn resolve<A: ToSocketAddrs + Debug>(address: A) -> Result<A::Iter, StartError> {
    address
        .to_socket_addrs()
        .map_err(|source| StartError::Address {
            address: format!("{address:?}"),
            source,
        })
}

impl Builder<()> {
    pub(super) fn new() -> Builder<()> {
        Builder {
            addresses: Vec::new(),
            inherited: Vec::new(),
            config: Config::default(),
            #[cfg(feature = "http")]
            is_mounted: false,
            #[cfg(feature = "http")]
            offering: Offering::default(),
            #[cfg(feature = "admin")]
            admin: None,
            ready_check: None,
            #[cfg(feature = "tls")]
            tls: None,
            handler: (),
        }
    }
}

impl<H> Builder<H> {
    /// Listens on a TCP address, or on all that a name stands for. May be called again for more.
    /// Port 0 lets the system choose ([`Engine::local_addr`] tells). Nothing is bound yet.
    ///
    /// # Errors
    /// When `address` is none, or its name is not known.
    pub fn bind(mut self, address: impl ToSocketAddrs + Debug) -> Result<Builder<H>, StartError> {
        self.addresses
            .extend(resolve(address)?.map(BindAddress::Tcp));
        Ok(self)
    }

    /// Listens on a Unix socket. The file must not exist; it is not removed afterwards.
    pub fn unix(mut self, path: impl Into<PathBuf>) -> Builder<H> {
        self.addresses.push(BindAddress::Unix(path.into()));
        self
    }

    /// Listens on a TCP listener made elsewhere, inherited from another process for instance.
    pub fn listener(mut self, listener: TcpListener) -> Builder<H> {
        self.inherited.push(Inherited::Tcp(listener));
        self
    }

    /// Listens on a Unix listener made elsewhere.
    #[cfg(unix)]
    pub fn unix_listener(mut self, listener: UnixListener) -> Builder<H> {
        self.inherited.push(Inherited::Unix(listener));
        self
    }

    /// The settings; without them [`Config::default`] holds.
    pub fn config(mut self, config: Config) -> Builder<H> {
        self.config = config;
        self
    }

    /// Lets the engine start without a listener of its own: connections come from another server, by
    /// [`EngineHandle::upgrade`](crate::EngineHandle::upgrade). What is listened on besides is.
    #[cfg(feature = "http")]
    pub fn mounted(mut self) -> Builder<H> {
        self.is_mounted = true;
        self
    }

    /// Serves a page on the same port, to requests that ask for no upgrade. May be called again
    /// for more.
    ///
    /// Without any the engine answers `/healthz` (200 while it runs) and `/readyz` (200 while it takes newcomers,
    /// 503 otherwise: see [`NotReady`](crate::NotReady)). What nobody answers is answered 404.
    #[cfg(feature = "http")]
    pub fn page(mut self, page: Page) -> Builder<H> {
        self.offering.pages.push(page);
        self
    }

    /// Serves the files of a folder on the same port, below a path; may be called again for more. Needs the
    /// feature `files`.
    ///
    /// `GET` and `HEAD` are answered by [`tower_http`]'s `ServeDir`: content types by the files' endings,
    /// conditional requests, ranges, `index.html` for a folder. What is asked for cannot lie outside the folder;
    /// links in it are followed, wherever they lead. As for a [`Page`], a client that has not taken the whole
    /// answer within 30 s is cut off.
    ///
    /// The engine refuses to start with a path that does not begin with `/` or ends with it (but `/` alone is
    /// one), has a query, a fragment or a byte that belongs encoded, or is that of another folder, with what is
    /// no folder, and with more than 64.
    ///
    /// ```no_run
    /// # fn example() -> throng::Builder<()> {
    /// throng::Engine::builder().files("/static", "assets")
    /// # }
    /// ```
    #[cfg(feature = "files")]
    pub fn files(mut self, path: impl Into<String>, folder: impl Into<PathBuf>) -> Builder<H> {
        self.offering.folders.push(Folder {
            prefix: path.into(),
            folder: folder.into(),
        });
        self
    }

    /// Serves requests on the same port that ask for no upgrade, nor for what the engine, a [page](Builder::page)
    /// or a folder (`Builder::files`) answers: an `axum::Router`, or any tower service. Called again, it takes the
    /// place of the one before.
    ///
    /// A clone of the service is asked for each request, on the thread of the side door, which has a tokio
    /// runtime: what blocks holds up the others who are answered there, but no message. A body of more than
    /// [`max_request_body`](field@Config::max_request_body) is answered 413 where its length is announced, and
    /// ends with an error where it is not; what fails with that is answered 413, too. Any other failure and a
    /// panic are answered 500, and cost nobody else anything. A request takes 30 s at most, its answer included,
    /// and 256 of them are answered at once; the connection is closed behind the answer. The request's
    /// extensions hold who asks, as a [`Peer`](crate::Peer).
    ///
    /// ```no_run
    /// use axum::{Router, routing::get};
    ///
    /// let engine = throng::Engine::builder()
    ///     .bind("127.0.0.1:8080")?
    ///     .routes(Router::new().route("/version", get(|| async { "7" })))
    ///     .on_message(|conn, message| {
    ///         conn.send(message);
    ///     })
    ///     .start()?;
    /// # Ok::<(), throng::StartError>(())
    /// ```
    #[cfg(feature = "http")]
    pub fn routes<S, B>(mut self, service: S) -> Builder<H>
    where
        S: Service<hyper::Request<RequestBody>, Response = hyper::Response<B>>,
        S: Clone + Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S::Future: Send,
        B: hyper::body::Body<Data = hyper::body::Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.offering.routes = Some(SideService::new(service));
        self
    }

    /// Serves the engine's metrics on the same port, at `/metrics`, as Prometheus reads them
    /// ([`EngineHandle::prometheus`](crate::EngineHandle::prometheus)). Whoever reaches the port can read them.
    #[cfg(all(feature = "http", feature = "metrics"))]
    pub fn serve_metrics(mut self) -> Builder<H> {
        self.offering.serves_metrics = true;
        self
    }

    /// What the service has to say about whether newcomers should come, besides what the engine knows: at
    /// `/readyz`, and by [`EngineHandle::readiness`](crate::EngineHandle::readiness). It must not block. Nobody is turned away for it.
    pub fn ready_check(mut self, check: impl Fn() -> bool + Send + Sync + 'static) -> Builder<H> {
        self.ready_check = Some(ReadyCheck(Box::new(check)));
        self
    }

    /// Has people look after the engine in a browser: see [`Admin`]. On the engine's own port, upgrades of the page's path
    /// do not come to the handler any more, and the page's origin must be the one that its requests' `Host` names, whatever
    /// [`origins`](field@Config::origins) says. Who drains there stops the engine: [`Engine::wait`] returns, which the
    /// service is to wait for besides signals.
    #[cfg(feature = "admin")]
    pub fn admin(mut self, admin: Admin) -> Builder<H> {
        self.admin = Some(admin);
        self
    }

    /// Has every TCP listener speak TLS, and nothing else. Unix sockets stay as they are, and so do streams
    /// that are handed over. A shard that has [`max_tls_handshakes`](field@Config::max_tls_handshakes) under
    /// way refuses further ones.
    ///
    /// ```no_run
    /// use throng::{Engine, Tls};
    ///
    /// let tls = Tls::from_pem_files("server.pem", "server.key")?;
    /// let engine = Engine::builder()
    ///     .bind("0.0.0.0:443")?
    ///     .tls(tls.clone())
    ///     .on_message(|conn, message| {
    ///         conn.send(message);
    ///     })
    ///     .start()?;
    /// // Later, when the certificate was renewed; connections live on.
    /// tls.reload()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Builder<H> {
        self.tls = Some(tls);
        self
    }

    /// What serves the connections.
    pub fn handler<T: Handler>(self, handler: T) -> Builder<T> {
        Builder {
            addresses: self.addresses,
            inherited: self.inherited,
            config: self.config,
            #[cfg(feature = "http")]
            is_mounted: self.is_mounted,
            #[cfg(feature = "http")]
            offering: self.offering,
            #[cfg(feature = "admin")]
            admin: self.admin,
            ready_check: self.ready_check,
            #[cfg(feature = "tls")]
            tls: self.tls,
            handler,
        }
    }

    /// Serves the connections by a router's events.
    ///
    /// # Errors
    /// What is wrong with what was registered.
    pub fn router<S: Send + 'static, C: Codec>(
        self,
        router: Router<S, C>,
    ) -> Result<Builder<Routes<S, C>>, StartError> {
        Ok(self.handler(router.freeze()?))
    }

    /// Serves each connection by a future of its own, which has it as a [`WebSocket`]; everybody is let in.
    pub fn serve<F, Fut>(self, serve: F) -> Builder<impl Handler>
    where
        F: Fn(WebSocket) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.serve_with(|_| Ok(Accept::new(())), move |socket, ()| serve(socket))
    }

    /// The same; `admit` decides about upgrades ([`Handler::on_upgrade`]) and says what the future is
    /// given of each.
    ///
    /// ```no_run
    /// # use throng::{Accept, Engine, Reject};
    /// # fn main() -> Result<(), throng::StartError> {
    /// let engine = Engine::builder()
    ///     .bind("127.0.0.1:8080")?
    ///     .serve_with(
    ///         |request| match request.query_value("name") {
    ///             Some(name) => Ok(Accept::new(name.into_owned())),
    ///             None => Err(Reject::new(400).text("who are you?")),
    ///         },
    ///         |mut socket, name| async move {
    ///             let _ = socket.send(format!("hello {name}")).await;
    ///         },
    ///     )
    ///     .start()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn serve_with<A, T, F, Fut>(self, admit: A, serve: F) -> Builder<impl Handler>
    where
        A: Fn(&Upgrade<'_>) -> Result<Accept<T>, Reject> + Send + Sync + 'static,
        T: Send + 'static,
        F: Fn(WebSocket, T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.handler(Sockets { admit, serve })
    }

    /// A handler without state that lets everybody in and calls `on_message` for each message.
    pub fn on_message<F>(self, on_message: F) -> Builder<impl Handler>
    where
        F: Fn(&mut Conn<'_, ()>, Message<'_>) + Send + Sync + 'static,
    {
        self.handler(OnMessage(on_message))
    }
}

impl<H: Handler> Builder<H> {
    /// Whether connections can come from anywhere.
    fn has_somewhere_to_be(&self) -> bool {
        #[cfg(feature = "http")]
        if self.is_mounted {
            return true;
        }
        self.listens()
    }

    /// Whether it has a listener.
    fn listens(&self) -> bool {
        !(self.addresses.is_empty() && self.inherited.is_empty())
    }

    /// Checks the settings, and adds the admin page to the others, unless it has an address of its own.
    fn check(&mut self) -> Result<(), StartError> {
        self.config.validate()?;
        #[cfg(feature = "admin")]
        if let Some(admin) = &self.admin {
            admin.check(self.listens())?;
            self.offering.pages.extend(admin.page());
        }
        if !self.has_somewhere_to_be() {
            return Err(StartError::NowhereToListen);
        }
        Ok(())
    }

    /// Checks the settings, binds, and starts the shards' threads.
    ///
    /// # Errors
    /// What is wrong with the settings, before anything is bound; then what the system refused.
    pub fn start(mut self) -> Result<Engine, StartError> {
        self.check()?;
        #[cfg(feature = "http")]
        let offering = self.offering.check()?;
        #[cfg(feature = "tls")]
        let tls = crate::backend::choose_tls(self.tls, &self.config)?;
        let epoch = Instant::now();
        let listening = Listening::open(self.addresses, self.inherited, &self.config)?;
        let drivers = ShardDriver::for_shards(&self.config, epoch)?;
        if let Some(driver) = drivers.first() {
            self.config.backend = driver.backend();
        }
        #[cfg(feature = "tls")]
        let drivers = ShardDriver::all_with_tls(drivers, tls.as_ref(), &self.config);
        let mailboxes = drivers
            .iter()
            .map(|d| mailbox(self.config.mailbox_capacity, d.waker()));
        let (senders, receivers): (Vec<_>, Vec<_>) = mailboxes.unzip();
        let shared = Shared::new(self.config, epoch, senders);
        let shared = shared.by_the_clocks(Instant::elapsed, unix_time);
        #[cfg(feature = "tls")]
        let shared = shared.speaking(tls);
        let handler = Arc::new(self.handler);
        #[cfg(feature = "http")]
        let shared = shared.mounting(&handler);
        let shared = Arc::new(shared.ready_if(self.ready_check));
        #[cfg(feature = "http")]
        let side_door = SideDoor::of(&shared, offering)?;
        let mut engine = Engine::without_shards(&shared, listening.addresses);
        #[cfg(feature = "admin")]
        if let Some(admin) = self.admin {
            engine.admin = Some(admin.start(engine.handle())?);
        }
        fanout::start(&shared, &mut engine.fanout)?;
        // Differs from run to run; it only spreads pings over time.
        let seed = fastrand::u64(..);
        let parts = drivers.into_iter().zip(receivers).zip(listening.by_shard);
        for (shard, ((mut driver, mailbox), listeners)) in (0u8..=u8::MAX).zip(parts) {
            listeners.into_iter().try_for_each(|it| driver.listen(it))?;
            let parts = ShardParts {
                shard,
                shared: Arc::clone(&shared),
                handler: Arc::clone(&handler),
                mailbox,
                deals_tcp: listening.deals_tcp,
                seed: seed.wrapping_add(u64::from(shard)),
                #[cfg(feature = "http")]
                side_door: side_door.entrance(),
                #[cfg(feature = "admin")]
                annex: engine.admin.as_ref().and_then(AdminServer::annex),
            };
            engine.launch(driver, parts)?;
        }
        #[cfg(feature = "http")]
        engine.side_door.replace(side_door);
        listening.files.keep();
        Ok(engine)
    }
}
