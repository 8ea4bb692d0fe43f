//! What messages are compressed with.

use super::bounds::{self, counts, sizes};
use super::{form, table};
use crate::protocol::deflate::{DEFLATE_WINDOW_BITS, Params, Strength};

table::settings! {
    /// How messages are compressed (`permessage-deflate`, RFC 7692), with clients that offer it:
    /// the setting [`Config::compression`](field@super::Config::compression).
    ///
    /// ```
    /// use throng::{Compression, Config};
    ///
    /// let config = Config::default().compression(Compression::default().level(6).threshold(1024));
    /// assert_eq!(config.validate(), Ok(()));
    /// ```
    ///
    /// In TOML it is a table `[compression]`; in the environment each field has a variable, as in
    /// `THRONG_COMPRESSION_LEVEL=6`. Either switches compression on; the word `"on"` does so with
    /// the defaults, `"off"` off.
    pub struct Compression at "compression." {
        /// Whether messages to a client may refer to those before them. They shrink more, but every
        /// connection then keeps a compressor of its own, of some 370 KiB at the default
        /// `memory_level`, until it was sent nothing by it from one ping to the next; without it a
        /// shard has one for all. Not with
        /// [`Overflow::DropOldest`](super::Overflow::DropOldest), which would drop what others refer to.
        ///
        /// Default: no.
        #[serde(deserialize_with = "form::flag")]
        pub server_context_takeover: bool = false;

        /// Whether messages of a client may refer to those before them. Every connection on which
        /// compressed messages arrived then keeps some 46 KiB; without it none does.
        ///
        /// Default: no.
        #[serde(deserialize_with = "form::flag")]
        pub client_context_takeover: bool = false;

        /// The largest window that messages to a client are compressed with, as a power of 2. What is
        /// used is the largest of 9, 12 and 15 within it and within what the client asked for.
        ///
        /// Default: 15. Bounds: 9 to 15.
        #[serde(deserialize_with = "form::count")]
        pub server_max_window_bits: u8 = 15, within counts(DEFLATE_WINDOW_BITS);

        /// The window that a client may compress with, as a power of 2. Below 15, clients that do not
        /// offer to limit theirs go uncompressed. It saves memory of theirs, none of ours.
        ///
        /// Default: 15. Bounds: 9 to 15.
        #[serde(deserialize_with = "form::count")]
        pub client_max_window_bits: u8 = 15, within counts(DEFLATE_WINDOW_BITS);

        /// Messages of fewer bytes are sent as they are.
        ///
        /// Default: 256 bytes. Bounds: 0 to 512 MiB.
        #[serde(deserialize_with = "form::size")]
        pub threshold: usize = 256, within sizes(0..=bounds::MAX_MESSAGE_SIZE);

        /// How hard to compress: 1 is the fastest, 9 gives the smallest results.
        ///
        /// Default: 3. Bounds: 1 to 9.
        #[serde(deserialize_with = "form::count")]
        pub level: u8 = 3, within counts(1..=9);

        /// How much memory a compressor uses besides its window (4 bytes for each of its bytes)
        /// and a table of 128 KiB: each step doubles it, from under 1 KiB at 1 to 224 KiB at 9.
        /// With less it compresses somewhat worse.
        ///
        /// Default: 8. Bounds: 1 to 9.
        #[serde(deserialize_with = "form::count")]
        pub memory_level: u8 = 8, within counts(1..=9);
    }
}

impl Compression {
    /// What to settle for at most with a peer, as [`negotiate`](crate::protocol::deflate::negotiate)
    /// takes it.
    #[must_use]
    pub fn params(&self) -> Params {
        Params {
            server_no_context_takeover: !self.server_context_takeover,
            client_no_context_takeover: !self.client_context_takeover,
            server_max_window_bits: self.server_max_window_bits,
            client_max_window_bits: self.client_max_window_bits,
        }
    }

    /// What a [`Deflater`](crate::protocol::deflate::Deflater) is made with.
    #[must_use]
    pub fn strength(&self) -> Strength {
        Strength {
            level: self.level,
            memory_level: self.memory_level,
        }
    }
}
