//! Building an engine, running it, draining it.

use std::fmt::Debug;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::ops::Deref;
#[cfg(unix)]
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::bounded;
#[cfg(feature = "tls")]
use throng_transport::tls::Tls;
use throng_transport::{BindAddress, Driver, ListenOptions, Listener, SocketOptions, runtime};
#[cfg(feature = "http")]
use tower_service::Service;

#[cfg(feature = "admin")]
use crate::admin::{Admin, AdminServer};
use crate::backend::ShardDriver;
use crate::config::Config;
use crate::conn::Conn;
use crate::error::{OnShard, StartError};
use crate::fanout;
use crate::handle::{EngineHandle, enter_shard};
use crate::handler::{Accept, Handler, OnMessage, Reject, Upgrade};
#[cfg(feature = "files")]
use crate::http::Folder;
#[cfg(feature = "http")]
use crate::http::{Offering, Page, RequestBody, SideDoor, SideService};
use crate::protocol::close::CloseCode;
use crate::protocol::message::Message;
use crate::readiness::ReadyCheck;
use crate::router::{Codec, Router, Routes};
use crate::shard::{Mail, Shard, ShardDrained, ShardParts, mailbox};
use crate::shared::Shared;
use crate::socket::{Sockets, WebSocket};
#[cfg(all(unix, feature = "tokio"))]
use crate::tasks::{Tasks, must_wait_in_place};

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

#[derive(Debug)]
enum Inherited {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
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
    /// [`EngineHandle::upgrade`]. What is listened on besides is.
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
    /// ([`EngineHandle::prometheus`]). Whoever reaches the port can read them.
    #[cfg(all(feature = "http", feature = "metrics"))]
    pub fn serve_metrics(mut self) -> Builder<H> {
        self.offering.serves_metrics = true;
        self
    }

    /// What the service has to say about whether newcomers should come, besides what the engine knows: at
    /// `/readyz`, and by [`EngineHandle::readiness`]. It must not block. Nobody is turned away for it.
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

impl Engine {
    fn without_shards(shared: &Arc<Shared>, addresses: Vec<SocketAddr>) -> Engine {
        Engine {
            handle: EngineHandle::new(shared),
            addresses,
            threads: Vec::new(),
            #[cfg(all(unix, feature = "tokio"))]
            tasks: None,
            fanout: Vec::new(),
            #[cfg(feature = "http")]
            side_door: None,
            #[cfg(feature = "admin")]
            admin: None,
        }
    }

    /// Starts a shard, on a thread or as a task.
    fn launch<H: Handler>(&mut self, driver: ShardDriver, parts: ShardParts<H>) -> io::Result<()> {
        match driver {
            ShardDriver::Poll(driver) => self.threads.push(spawn(driver, parts)?),
            #[cfg(target_os = "linux")]
            ShardDriver::Uring(driver) => self.threads.push(spawn(*driver, parts)?),
            #[cfg(all(unix, feature = "tokio"))]
            ShardDriver::Tokio(driver) => {
                let tasks = self.tasks()?;
                tasks.spawn(tasks.shard(driver, parts).run());
            }
            #[cfg(all(target_os = "linux", feature = "tokio-uring"))]
            ShardDriver::TokioUring(driver) => {
                let tasks = self.tasks()?;
                tasks.spawn_here(tasks.shard(*driver, parts).run());
            }
            #[cfg(feature = "tls")]
            ShardDriver::PollTls(driver) => self.threads.push(spawn(driver, parts)?),
            #[cfg(all(target_os = "linux", feature = "tls"))]
            ShardDriver::UringTls(driver) => self.threads.push(spawn(*driver, parts)?),
            #[cfg(all(unix, feature = "tokio", feature = "tls"))]
            ShardDriver::TokioTls(driver) => {
                let tasks = self.tasks()?;
                tasks.spawn(tasks.shard(*driver, parts).run());
            }
            #[cfg(all(target_os = "linux", feature = "tokio-uring", feature = "tls"))]
            ShardDriver::TokioUringTls(driver) => {
                let tasks = self.tasks()?;
                tasks.spawn_here(tasks.shard(*driver, parts).run());
            }
        }
        Ok(())
    }

    #[cfg(all(unix, feature = "tokio"))]
    fn tasks(&mut self) -> io::Result<&Tasks> {
        let tasks = match self.tasks.take() {
            Some(tasks) => tasks,
            None => Tasks::of_this_runtime().ok_or(io::ErrorKind::Other)?,
        };
        Ok(self.tasks.insert(tasks))
    }
}

/// A moment of the past since 1970; nothing where the system's clock is before that.
fn unix_time() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

fn spawn<D, H>(mut driver: D, parts: ShardParts<H>) -> io::Result<JoinHandle<()>>
where
    D: Driver + Send + 'static,
    H: Handler,
{
    let shard = usize::from(parts.shard);
    let cpu = parts.shared.config.pin_shards.then_some(shard);
    runtime::spawn(format!("throng-{shard}"), cpu, move || {
        enter_shard();
        let mut shard = Shard::new(parts);
        let outcome = catch_unwind(AssertUnwindSafe(|| runtime::run(&mut driver, &mut shard)));
        match outcome {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                tracing::error!(%error, "a shard has failed; its connections are cut");
            }
            Err(_) => tracing::error!("a shard has panicked; its connections are cut"),
        }
        shard.fail();
    })
}

/// The listeners of an engine.
struct Listening {
    by_shard: Vec<Vec<Listener>>,
    addresses: Vec<SocketAddr>,
    /// Whether the first shard accepts TCP connections for all.
    deals_tcp: bool,
    files: BoundFiles,
}

impl Listening {
    /// Binds. TCP addresses are listened on by every shard, where the system spreads connections
    /// over the listeners of one port; otherwise, and for Unix sockets, the first shard listens
    /// and deals out what it accepts.
    fn open(
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
struct BoundFiles(Vec<PathBuf>);

impl BoundFiles {
    /// The engine has started.
    fn keep(mut self) {
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

/// A running engine. Dropping it cuts its connections and stops its threads, and waits for them; where
/// its shards are tasks ([`Backend::Tokio`](crate::Backend::Tokio) and
/// [`Backend::TokioUring`](crate::Backend::TokioUring)) it waits for nobody.
///
/// It dereferences to an [`EngineHandle`], which publishes and counts and can be cloned for other
/// threads.
#[derive(Debug)]
pub struct Engine {
    handle: EngineHandle,
    addresses: Vec<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
    /// The shards that are tasks.
    #[cfg(all(unix, feature = "tokio"))]
    tasks: Option<Tasks>,
    /// The fan-out pool's threads.
    fanout: Vec<JoinHandle<()>>,
    #[cfg(feature = "http")]
    side_door: Option<SideDoor>,
    #[cfg(feature = "admin")]
    admin: Option<AdminServer>,
}

/// What became of the connections in a drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Connections when the drain began, those being closed included.
    pub connections: usize,
    /// Those among them that were sent everything that was queued for them, and the close frame.
    pub flushed: usize,
    /// Those that were cut before.
    pub cut: usize,
    /// Messages that were not sent to those cut. Where the system took a part of several that went
    /// to it together, all of them count.
    pub messages_cut: usize,
}

impl From<ShardDrained> for DrainReport {
    fn from(total: ShardDrained) -> DrainReport {
        DrainReport {
            connections: total.connections,
            flushed: total.flushed,
            cut: total.connections - total.flushed,
            messages_cut: total.messages_cut,
        }
    }
}

impl Engine {
    /// An engine to be set up.
    pub fn builder() -> Builder<()> {
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

    /// A handle for other threads.
    pub fn handle(&self) -> EngineHandle {
        self.handle.clone()
    }

    /// The TCP addresses listened on, in the order given.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The first TCP address listened on.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.addresses.first().copied()
    }

    /// Where the [admin page](Builder::admin) is, where that has an address of its own.
    #[cfg(feature = "admin")]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.local_addr()
    }

    /// Empties the engine for a restart: see [`Engine::drain_with`]. Clients are told 1012.
    pub fn drain(self, window: Duration) -> DrainReport {
        self.drain_with(CloseCode::SERVICE_RESTART, window)
    }

    /// Empties the engine and stops it. Nobody is let in any more; connections are closed with
    /// `code` (1012 when the service comes back, 1001 when it does not) behind what is queued for
    /// them, spread evenly over `window`, so that they do not all come back at once.
    ///
    /// Blocks until all are gone, which takes at most the window,
    /// [`close_timeout`](field@Config::close_timeout), as long again where futures of [`Builder::serve`] go on
    /// when their connections are gone (then they are dropped), and a second for pages that are being served.
    ///
    /// # Panics
    /// Where the shards are tasks of a runtime with a single thread and it is called in another one of
    /// them; `drain_with_async` may be. The engine is cut then.
    pub fn drain_with(mut self, code: CloseCode, window: Duration) -> DrainReport {
        #[cfg(all(unix, feature = "tokio"))]
        if self.tasks.is_some() {
            return must_wait_in_place(|| self.drain_in_place(code, window));
        }
        self.drain_in_place(code, window)
    }

    fn drain_in_place(&mut self, code: CloseCode, window: Duration) -> DrainReport {
        let report = self.handle.empty(code, window);
        self.stop();
        report
    }

    /// Waits until the engine has stopped, which another thread may have it do by
    /// [`EngineHandle::shutdown`].
    ///
    /// # Panics
    /// As [`Engine::drain_with`]; `wait_async` may be called anywhere.
    pub fn wait(mut self) {
        #[cfg(all(unix, feature = "tokio"))]
        if self.tasks.is_some() {
            return must_wait_in_place(|| self.join());
        }
        self.join();
    }

    fn stop(&mut self) {
        self.handle.shutdown();
        self.join();
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a shard's thread panicked");
            }
        }
        #[cfg(all(unix, feature = "tokio"))]
        if let Some(tasks) = self.tasks.take() {
            tasks.join();
        }
        if let Some(fanout) = &self.handle.shared().fanout {
            fanout.close();
        }
        self.handle.shared().bus.close();
        for thread in self.fanout.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the fan-out pool panicked");
            }
        }
        #[cfg(feature = "http")]
        if let Some(side_door) = self.side_door.take() {
            side_door.stop();
        }
        #[cfg(feature = "admin")]
        drop(self.admin.take());
    }
}

/// Going down, from wherever that is decided.
impl EngineHandle {
    /// Empties the engine and stops it as [`Engine::drain_with`] does, from any thread that may wait; whoever has the
    /// [`Engine`] finds it stopped ([`Engine::wait`] returns). Where it is being drained already, this waits for the end of
    /// that, which comes no later than it would by itself: the shorter window holds.
    ///
    /// # Errors
    /// Where [`EngineHandle::members`] may not be asked, on a shard's own thread for instance; nothing is done.
    pub fn drain_with(&self, code: CloseCode, window: Duration) -> Result<DrainReport, OnShard> {
        let drained = self.ask(|| {
            let report = self.empty(code, window);
            self.shutdown();
            Ok(report)
        });
        // Nothing else is said of it.
        drained.map_err(|_| OnShard)
    }

    /// Closes all connections over a time, and waits until they are gone.
    fn empty(&self, code: CloseCode, window: Duration) -> DrainReport {
        let shared = self.shared();
        shared.begin_drain();
        if let Some(fanout) = &shared.fanout {
            fanout.flush();
        }
        let (answer, answers) = bounded(shared.mail.len());
        for mailbox in &shared.mail {
            // A shard that has failed has nobody to close.
            let _ = mailbox.post_blocking(Mail::Drain {
                code,
                window,
                answer: answer.clone(),
            });
        }
        drop(answer);
        let mut total = ShardDrained::default();
        while let Ok(drained) = answers.recv() {
            total.add(&drained);
        }
        total.into()
    }
}

impl Deref for Engine {
    type Target = EngineHandle;

    fn deref(&self) -> &EngineHandle {
        &self.handle
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        #[cfg(all(unix, feature = "tokio"))]
        if self.tasks.is_some() {
            return self.leave_to_a_thread();
        }
        self.stop();
    }
}

#[cfg(all(unix, feature = "tokio"))]
impl Engine {
    /// Stops the engine without waiting for the runtime, which this thread may have to drive.
    fn leave_to_a_thread(&mut self) {
        self.handle.shutdown();
        let tasks = self.tasks.take();
        let mut rest = Engine {
            handle: self.handle.clone(),
            addresses: Vec::new(),
            threads: Vec::new(),
            tasks: None,
            fanout: std::mem::take(&mut self.fanout),
            #[cfg(feature = "http")]
            side_door: self.side_door.take(),
            #[cfg(feature = "admin")]
            admin: self.admin.take(),
        };
        let waiting = runtime::spawn("throng-end".to_owned(), None, move || {
            tasks.into_iter().for_each(Tasks::join);
            rest.join();
        });
        if let Err(error) = waiting {
            tracing::warn!(%error, "an engine's threads were left to themselves");
        }
    }
}
