//! Settings: one table of fields, read from code, from TOML and from the environment.

mod bounds;
mod choice;
mod compression;
mod error;
mod form;
mod read;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use crate::limits::{MAX_FANOUT_WORKERS, MAX_SHARDS};
use crate::origin::Origins;

pub use choice::{Backend, Overflow, ProxyProtocol};
pub use compression::Compression;
pub use error::{ConfigError, SettingSource};
pub(crate) use form::split_list;

use bounds::{KIB, MIB, counts, sizes, times};

table::settings! {
    /// The settings of an engine.
    ///
    /// `Config::default()` is a good start for a service; change what differs by the methods
    /// named like the fields:
    ///
    /// ```
    /// use std::time::Duration;
    /// use throng::Config;
    ///
    /// let config = Config::default()
    ///     .ping_interval(Duration::from_secs(10))
    ///     .max_connections(20_000)
    ///     .subprotocols(["chat.v2", "chat.v1"]);
    /// assert_eq!(config.validate(), Ok(()));
    /// ```
    ///
    /// The same settings come from TOML ([`Config::from_toml`], or as a section of a larger file,
    /// since `Config` is [`Deserialize`](serde::Deserialize)) and from variables of the
    /// environment ([`Config::with_env`]). In text a duration is `"25s"`, `"500ms"` or `"1m 30s"`,
    /// a size `"512 KiB"` or a plain number of bytes, and `"off"` or `"none"` stands for `None`.
    ///
    /// Nothing is checked while a field is set or read; [`Config::validate`] checks every bound
    /// and every contradiction, and the engine calls it before it binds anything.
    pub struct Config at "" {
        /// Connections open at once in the whole engine; one more is answered `503`.
        ///
        /// Each takes an open file, and so does what is none of them: each shard (2), each listener
        /// of a shard (2), a client that is being turned away or answered at the side door, and
        /// whatever the service opens itself. All this must fit in what is left of the limit on open
        /// files: with more than a dozen shards or many files of your own, raise the limit or set
        /// this lower than the default. When there are no files left, clients are reset.
        ///
        /// Default: the soft limit on open files less 64, or 16,384 where there is no such limit.
        /// Bounds: 1 to 16,777,216.
        #[serde(deserialize_with = "form::count")]
        pub max_connections: usize = bounds::default_max_connections(),
            within counts(1..=bounds::MAX_CONNECTIONS);

        /// Connections that one client may have open at once; one more is answered `429` with `Retry-After`, and
        /// the handler is not asked. `None` sets no limit.
        ///
        /// A client is an IPv4 address, or the `/64` of an IPv6 address:
        /// [`Upgrade::client_addr`](crate::Upgrade::client_addr). Who has none (Unix sockets) is not counted.
        ///
        /// It may have as many opening handshakes in flight, and 32 in any case; one more is answered the same
        /// as soon as it connects, or cut where TLS is spoken. What comes by way of a trusted proxy that writes
        /// `X-Forwarded-For` is not counted before its request is there.
        ///
        /// Default: none. Bounds: 1 to 16,777,216.
        #[serde(deserialize_with = "form::optional_count")]
        pub max_connections_per_ip: Option<usize> = None,
            within counts(1..=bounds::MAX_CONNECTIONS),
            set from impl Into<Option<usize>> => Into::into;

        /// Opening handshakes in flight in the whole engine: connections that were accepted and have not sent
        /// their whole request. One more is answered `503` with `Retry-After` at once, or cut on a listener that
        /// speaks TLS, before anything is computed for it.
        ///
        /// One takes 16 KiB of memory at most, and [`handshake_timeout`](field@Config::handshake_timeout) at
        /// most, so that clients who never finish keep others out for no longer than that.
        ///
        /// Default: 4,096, of which 64 MiB come. Bounds: 1 to 16,777,216.
        #[serde(deserialize_with = "form::count")]
        pub max_handshakes: usize = 4096, within counts(1..=bounds::MAX_CONNECTIONS);

        /// Whether connections to the listeners begin with a header of the PROXY protocol. What does not, or is
        /// of no [trusted](field@Config::trusted_proxies) proxy where those are listed, is closed.
        ///
        /// Default: [`ProxyProtocol::Off`].
        pub proxy_protocol: ProxyProtocol = ProxyProtocol::Off;

        /// The networks of proxies that are believed when they say who a client is, by a header of the PROXY
        /// protocol or by `X-Forwarded-For`: `"10.0.0.0/8"`, `"fd00::/8"`, a single address, or `"unix"` for
        /// whoever connects to a Unix socket.
        ///
        /// Of the addresses in `X-Forwarded-For` the last one counts that is not in one of these networks. So
        /// they must write it themselves, and list nobody who passes on what clients wrote. Behind a header of
        /// the PROXY protocol it counts where that names one of these networks, and never where it names
        /// nobody (`UNKNOWN`, `LOCAL`): then the client is who connects. `Forwarded` (RFC 7239) is not read.
        ///
        /// Default: none, and `X-Forwarded-For` is ignored. Bounds: 1,024 entries.
        #[serde(deserialize_with = "form::list")]
        pub trusted_proxies: Vec<String> = Vec::new(),
            set from impl IntoIterator<Item: Into<String>> => bounds::strings;

        /// How long a client may take from connecting until its upgrade request is complete; then
        /// it is answered `408`.
        ///
        /// Default: 10 s. Bounds: 10 ms to 1 day.
        #[serde(deserialize_with = "form::time")]
        pub handshake_timeout: Duration = Duration::from_secs(10), within times();

        /// Bytes that the body of a request for the [routes](crate::Builder::routes) may have; a longer one is
        /// answered `413`.
        ///
        /// Default: 1 MiB. Bounds: 0 to 1 GiB.
        #[serde(deserialize_with = "form::size")]
        pub max_request_body: usize = MIB, within sizes(0..=1024 * MIB);

        /// How often a connection is pinged; `None` switches the heartbeat off.
        ///
        /// Default: 25 s. Bounds: 10 ms to 1 day.
        #[serde(deserialize_with = "form::optional_time")]
        pub ping_interval: Option<Duration> = Some(Duration::from_secs(25)), within times(),
            set from impl Into<Option<Duration>> => Into::into;

        /// How long a ping may stay unanswered before the connection is given up.
        ///
        /// Default: 20 s. Bounds: 10 ms to 1 day.
        #[serde(deserialize_with = "form::time")]
        pub pong_timeout: Duration = Duration::from_secs(20), within times();

        /// How long a connection may go without a message from its peer before it is closed;
        /// `None` lets it be silent for ever. Not below [`ping_interval`](field@Config::ping_interval).
        ///
        /// Default: none. Bounds: 10 ms to 1 day.
        #[serde(deserialize_with = "form::optional_time")]
        pub idle_timeout: Option<Duration> = None, within times(),
            set from impl Into<Option<Duration>> => Into::into;

        /// How long the peer may take to answer a close frame before its socket is closed all the
        /// same.
        ///
        /// Default: 5 s. Bounds: 10 ms to 1 day.
        #[serde(deserialize_with = "form::time")]
        pub close_timeout: Duration = Duration::from_secs(5), within times();

        /// How long a peer may take nothing of what waits for it before it is given up.
        ///
        /// Default: 10 s. Bounds: 10 ms to 1 day.
        #[serde(deserialize_with = "form::time")]
        pub write_timeout: Duration = Duration::from_secs(10), within times();

        /// Shards: threads, each with its own share of the connections.
        ///
        /// Default: the cores available to the process. Bounds: 1 to 256.
        #[serde(deserialize_with = "form::count")]
        pub shards: usize = bounds::default_shards(), within counts(1..=MAX_SHARDS);

        /// Whether each shard's thread is bound to a core of its own.
        ///
        /// Default: no.
        #[serde(deserialize_with = "form::flag")]
        pub pin_shards: bool = false;

        /// What moves the bytes.
        ///
        /// Default: [`Backend::Auto`].
        pub backend: Backend = Backend::Auto;

        /// The largest message accepted, in bytes, over all its frames; a longer one closes its
        /// connection with `1009`.
        ///
        /// Default: 512 KiB. Bounds: 1 byte to 512 MiB.
        #[serde(deserialize_with = "form::size")]
        pub max_message_size: usize = 512 * KIB, within sizes(1..=bounds::MAX_MESSAGE_SIZE);

        /// The largest payload of one frame accepted, in bytes; `None` is
        /// [`max_message_size`](field@Config::max_message_size), which it may not exceed. A frame of a
        /// compressed message may be longer by what compressing can add: a quarter and 64 bytes.
        ///
        /// Default: none. Bounds: 1 byte to 512 MiB.
        #[serde(deserialize_with = "form::optional_size")]
        pub max_frame_size: Option<usize> = None, within sizes(1..=bounds::MAX_MESSAGE_SIZE),
            set from impl Into<Option<usize>> => Into::into;

        /// Messages that may wait for one connection; what happens to one more,
        /// [`overflow`](field@Config::overflow) decides.
        ///
        /// Default: 256. Bounds: 1 to 1,048,576.
        #[serde(deserialize_with = "form::count")]
        pub send_queue_messages: usize = 256, within counts(1..=bounds::MAX_QUEUE_MESSAGES);

        /// Bytes that may wait for one connection, frame headers included.
        ///
        /// It must hold [`max_message_size`](field@Config::max_message_size) and a header (10
        /// bytes): what one peer may send, another can be sent.
        ///
        /// Default: 1 MiB. Bounds: 11 bytes to 1 GiB.
        #[serde(deserialize_with = "form::size")]
        pub send_queue_bytes: usize = MIB,
            within sizes(1 + bounds::FRAME_HEADER..=bounds::MAX_QUEUE_BYTES);

        /// What happens to a message for a connection whose send queue is full.
        ///
        /// Default: [`Overflow::Disconnect`].
        pub overflow: Overflow = Overflow::Disconnect;

        /// Bytes that may be held for connections; `None` sets no limit.
        ///
        /// What counts is memory: what waits to be sent (a message that ten thousand wait for counts
        /// once) with the queues' entries, messages that have not arrived whole or are held back,
        /// compressors, what shards keep of all this for reuse, and about 272 bytes for each
        /// connection, with its state, histories of rooms, and the
        /// [`Sessions`](crate::router::Sessions) that wait for their clients. What does not count is what the
        /// service allocates, rooms, receive buffers, pages, and the system's buffers.
        /// [`EngineHandle::memory`](crate::EngineHandle::memory) tells.
        ///
        /// From seven eighths on, whoever asks to be let in is answered `503` with `Retry-After`.
        /// From fifteen sixteenths on, those who hold most are given up, one after another until it is less:
        /// closed with `1008` or reset where it is what waits for them
        /// ([`Cause::SlowConsumer`](crate::Cause::SlowConsumer)), closed with `1013` where it is what they
        /// have sent ([`Cause::OverBudget`](crate::Cause::OverBudget)). Who holds less than 4 KiB
        /// stays. Shards look once a turn, so what they take in and make in one turn (some MiB each)
        /// may pass the budget before: leave it so much room.
        ///
        /// All is counted in the whole process: of several engines in it, each compares what all of them
        /// hold with its own budget, and gives its own connections up.
        ///
        /// Default: none. Bounds: 1 MiB to 256 TiB; twice
        /// [`send_queue_bytes`](field@Config::send_queue_bytes), and 128 KiB and the
        /// [`flight_recorder`](field@Config::flight_recorder) for each of the
        /// [`shards`](field@Config::shards), so that no connection alone can use it up.
        #[serde(deserialize_with = "form::optional_size")]
        pub memory_budget: Option<usize> = None, within sizes(MIB..=bounds::MAX_MEMORY_BUDGET),
            set from impl Into<Option<usize>> => Into::into;

        /// The receive buffer of each shard, in bytes.
        ///
        /// Default: 256 KiB. Bounds: 4 KiB to 16 MiB.
        #[serde(deserialize_with = "form::size")]
        pub read_buffer_size: usize = 256 * KIB, within sizes(4 * KIB..=16 * MIB);

        /// Connections that the system may hold for the engine to accept; the system may have a
        /// lower bound of its own.
        ///
        /// Default: 4096. Bounds: 1 to 65,535.
        #[serde(deserialize_with = "form::count")]
        pub backlog: u32 = 4096, within counts(1..=bounds::MAX_LISTEN_BACKLOG);

        /// The file with the engine's certificate (PEM, its chain behind it): every TCP listener speaks
        /// TLS then. An engine does not start with this and [`Builder::tls`](crate::Builder::tls).
        ///
        /// Default: none. Needs [`tls_key`](field@Config::tls_key), and the crate's feature `tls`.
        #[serde(deserialize_with = "form::optional_path")]
        pub tls_certificate: Option<PathBuf> = None,
            set from impl Into<Option<PathBuf>> => Into::into;

        /// The file with the private key of [`tls_certificate`](field@Config::tls_certificate) (PEM).
        ///
        /// Default: none.
        #[serde(deserialize_with = "form::optional_path")]
        pub tls_key: Option<PathBuf> = None, set from impl Into<Option<PathBuf>> => Into::into;

        /// The file with the certificates (PEM) of those whose clients may connect; all others may
        /// not.
        ///
        /// Default: none, and clients need no certificate.
        #[serde(deserialize_with = "form::optional_path")]
        pub tls_client_ca: Option<PathBuf> = None, set from impl Into<Option<PathBuf>> => Into::into;

        /// TLS handshakes that may be under way at once on each shard; who begins one more is cut before
        /// anything is computed for it. Who says nothing has begun none. Without TLS it means nothing.
        ///
        /// Default: 256. Bounds: 1 to 65,536.
        #[serde(deserialize_with = "form::count")]
        pub max_tls_handshakes: usize = 256, within counts(1..=bounds::MAX_TLS_HANDSHAKES);

        /// The web origins whose pages may connect; others are answered `403`.
        ///
        /// In text `"same-origin"`, `"danger-allow-any-origin"`, or a list of entries as
        /// [`Origins::list`] takes them.
        ///
        /// Default: [`Origins::same_origin`]. Bounds: 1,024 entries.
        pub origins: Origins = Origins::same_origin();

        /// The subprotocols spoken, the preferred one first.
        ///
        /// Default: none. Bounds: 64 names, each a token (RFC 9110 §5.6.2), none twice.
        #[serde(deserialize_with = "form::list")]
        pub subprotocols: Vec<String> = Vec::new(),
            set from impl IntoIterator<Item: Into<String>> => bounds::strings;

        /// Rooms of the engine; `None` sets no limit.
        ///
        /// Default: none. Bounds: 1 to 4,294,967,295.
        #[serde(deserialize_with = "form::optional_count")]
        pub max_rooms: Option<usize> = None, within counts(1..=bounds::MAX_ROOM_COUNT),
            set from impl Into<Option<usize>> => Into::into;

        /// Members of one room; `None` sets no limit.
        ///
        /// Default: none. Bounds: 1 to 4,294,967,295.
        #[serde(deserialize_with = "form::optional_count")]
        pub max_room_members: Option<usize> = None, within counts(1..=bounds::MAX_ROOM_COUNT),
            set from impl Into<Option<usize>> => Into::into;

        /// Rooms that one connection may be in at once; `None` sets no limit.
        ///
        /// Default: none. Bounds: 1 to 4,294,967,295.
        #[serde(deserialize_with = "form::optional_count")]
        pub max_rooms_per_connection: Option<usize> = None,
            within counts(1..=bounds::MAX_ROOM_COUNT),
            set from impl Into<Option<usize>> => Into::into;

        /// Whether rooms that are created by joining them know which users are in them, and tell their members
        /// who comes and goes; those that are created otherwise say so themselves
        /// ([`RoomOptions::presence`](crate::RoomOptions::presence)).
        ///
        /// Default: no.
        #[serde(deserialize_with = "form::flag")]
        pub presence: bool = false;

        /// How long what is published to a room may wait, so that the messages of a moment go to each
        /// member in one write; `None` sends them at the end of the shard's turn. A batch goes out
        /// earlier with [`batch_messages`](field@Config::batch_messages) or 16 KiB, and before a member
        /// joins, leaves or ends. Urgent, keyed and compressed messages, such as are longer than that,
        /// and those for several rooms do not wait, and have what waits go before them. A receipt
        /// counts what was put into a batch as queued.
        ///
        /// Default: none. Bounds: 1 ms to 1 s.
        #[serde(deserialize_with = "form::optional_time")]
        pub batch_window: Option<Duration> = None, within bounds::windows(),
            set from impl Into<Option<Duration>> => Into::into;

        /// Messages of a room that may wait together, where
        /// [`batch_window`](field@Config::batch_window) lets them.
        ///
        /// Default: 64. Bounds: 1 to 65,536.
        #[serde(deserialize_with = "form::count")]
        pub batch_messages: u32 = 64, within counts(1..=bounds::MAX_BATCH_MESSAGES);

        /// Messages of one connection that the service may find invalid
        /// ([`Conn::report_invalid`](crate::Conn::report_invalid)) within a minute, which begins with
        /// the first of them; one more closes it with `1008`. `None` sets no limit.
        ///
        /// Default: 30. Bounds: 1 to 1,048,576.
        #[serde(deserialize_with = "form::optional_count")]
        pub invalid_messages_per_minute: Option<u32> = Some(30),
            within counts(1..=bounds::MAX_INVALID_MESSAGES),
            set from impl Into<Option<u32>> => Into::into;

        /// Messages from other threads that may wait for one shard.
        ///
        /// Default: 16,384. Bounds: 1 to 16,777,216.
        #[serde(deserialize_with = "form::count")]
        pub mailbox_capacity: usize = 16_384, within counts(1..=bounds::MAX_MAILBOX);

        /// [Futures](crate::Conn::spawn) and [later calls](crate::Conn::after) that one connection may have
        /// under way.
        ///
        /// Default: 64. Bounds: 1 to 65,536.
        #[serde(deserialize_with = "form::count")]
        pub max_jobs_per_connection: usize = 64, within counts(1..=bounds::MAX_JOBS);

        /// Threads of the fan-out pool, which serialise and compress what is heavy, so that neither a
        /// shard nor a publisher stalls for it; 0 has them do it themselves.
        ///
        /// One compresses some 120 MiB of JSON a second. Where that is too little, shards help out: what comes
        /// while 256 publications wait for a worker is compressed where it is delivered. More workers are
        /// worth it only with cores to spare.
        ///
        /// Default: 1. Bounds: 0 to 64.
        #[serde(deserialize_with = "form::count")]
        pub fanout_workers: usize = 1, within counts(0..=MAX_FANOUT_WORKERS);

        /// The fan-out pool compresses messages of as many bytes and more; shorter ones are
        /// compressed where they are delivered.
        ///
        /// Handing one over takes 7 to 12 µs of processor time; compressing 1 KiB of JSON takes 15 µs, 4 KiB
        /// 26, 16 KiB 80, and 256 KiB 2 ms, for which a shard would serve nobody (measured by `fanout` in
        /// `bench`).
        ///
        /// Default: 4 KiB. Bounds: 0 to 512 MiB.
        #[serde(deserialize_with = "form::size")]
        pub fanout_threshold: usize = 4 * KIB, within sizes(0..=bounds::MAX_MESSAGE_SIZE);

        /// Whether shards count what they do ([`EngineHandle::metrics`](crate::EngineHandle::metrics)).
        ///
        /// Of the 1,200 instructions or so that the engine's own part of an echoed message takes, some 30 are
        /// for this.
        ///
        /// Default: yes.
        #[serde(deserialize_with = "form::flag")]
        pub metrics: bool = true;

        /// Entries of 16 bytes that the flight recorder of each shard remembers: what its connections
        /// received, sent and went through last. Of a connection that is closed in error, its entries
        /// are kept ([`EngineHandle::flight_records`](crate::EngineHandle::flight_records)); 0 switches it off.
        ///
        /// A shard writes one entry for each message received and one for each write, which together take
        /// some 40 instructions.
        ///
        /// Default: 4096. Bounds: 0 to 1,048,576.
        #[serde(deserialize_with = "form::count")]
        pub flight_recorder: usize = 4096, within counts(0..=bounds::MAX_FLIGHT_RECORDER);

        /// Whether and how messages are compressed with clients that offer it
        /// (`permessage-deflate`, RFC 7692); `None` sends and takes them as they are.
        ///
        /// In text `"on"`, `"off"`, or fields of their own; see [`Compression`].
        ///
        /// Default: none. Bounds: see [`Compression`].
        #[serde(deserialize_with = "form::section")]
        pub compression: Option<Compression> = None,
            set from impl Into<Option<Compression>> => Into::into;
    }
}

impl Config {
    /// Checks every field against its bound and the fields against one another.
    ///
    /// # Errors
    /// The first field out of range, in the order of declaration; then the first of: a subprotocol
    /// that is no token or named twice, an entry of `trusted_proxies` that is none, an entry of `origins` that is none, `idle_timeout` below
    /// `ping_interval`, `max_frame_size` above `max_message_size`, `send_queue_bytes` too small
    /// for a message of `max_message_size`, `memory_budget` too small for the queues and shards,
    /// `server_context_takeover` where `overflow` drops
    /// messages that are queued.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.check_bounds()?;
        if let Some(compression) = &self.compression {
            compression.check_bounds()?;
        }
        bounds::check_subprotocols(&self.subprotocols)?;
        bounds::check_proxies(&self.trusted_proxies)?;
        self.origins.check_entries()?;
        self.check_contradictions()
    }

    /// Bytes of the largest message that may wait for a peer.
    pub(crate) fn max_waiting_message(&self) -> usize {
        self.send_queue_bytes.saturating_sub(bounds::FRAME_HEADER)
    }

    fn check_contradictions(&self) -> Result<(), ConfigError> {
        if let (Some(idle), Some(ping)) = (self.idle_timeout, self.ping_interval)
            && idle < ping
        {
            let rule = format!(
                "must not be below ping_interval ({})",
                bounds::show_time(&ping)
            );
            return Err(ConfigError::invalid(
                "idle_timeout",
                bounds::show_time(&idle),
                rule,
            ));
        }
        let message = self.max_message_size;
        if let Some(frame) = self.max_frame_size.filter(|frame| *frame > message) {
            let rule = format!(
                "must not exceed max_message_size ({})",
                bounds::show_size(&message)
            );
            return Err(ConfigError::invalid(
                "max_frame_size",
                bounds::show_size(&frame),
                rule,
            ));
        }
        let queue = self.send_queue_bytes;
        if queue < message + bounds::FRAME_HEADER {
            let (message, header) = (bounds::show_size(&message), bounds::FRAME_HEADER);
            let rule = format!(
                "must hold max_message_size ({message}) and a frame header ({header} bytes)"
            );
            return Err(ConfigError::invalid(
                "send_queue_bytes",
                bounds::show_size(&queue),
                rule,
            ));
        }
        bounds::check_memory_budget(self)?;
        bounds::check_tls(self)?;
        let refers_back = self.compression.as_ref();
        if refers_back.is_some_and(|compression| compression.server_context_takeover)
            && self.overflow == Overflow::DropOldest
        {
            return Err(ConfigError::invalid(
                "compression.server_context_takeover",
                "true",
                "must be false where overflow is drop-oldest: later messages refer to the dropped",
            ));
        }
        Ok(())
    }
}

/// The soft limit on open files, where there is one.
pub(crate) fn open_file_limit() -> Option<usize> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit};
        let limit = getrlimit(Resource::Nofile).current?;
        Some(usize::try_from(limit).unwrap_or(usize::MAX))
    }
    #[cfg(not(unix))]
    None
}

#[cfg(test)]
mod compression_tests;
#[cfg(test)]
mod tests;
