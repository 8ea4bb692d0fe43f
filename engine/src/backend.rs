//! The drivers that an engine's shards run on.

use std::io;
use std::time::Instant;

use throng_transport::poll::{PollDriver, PollOptions};
use throng_transport::{Driver, Listener, Turn, Waker, runtime};

use crate::config::Config;
use crate::shared::expected_per_shard;

/// The driver of a shard, of whichever kind was chosen.
pub(crate) enum ShardDriver {
    Poll(PollDriver),
}

/// Calls the method on whichever driver it is.
macro_rules! on_driver {
    ($driver:expr, $inner:ident => $call:expr) => {
        match $driver {
            ShardDriver::Poll($inner) => $call,
        }
    };
}

impl ShardDriver {
    /// A driver for each shard.
    pub(crate) fn for_shards(config: &Config, epoch: Instant) -> io::Result<Vec<ShardDriver>> {
        let options = PollOptions {
            receive_buffer: config.read_buffer_size,
            expected_sockets: expected_per_shard(config),
            epoch,
        };
        (0..config.shards)
            .map(|_| PollDriver::new(&options).map(ShardDriver::Poll))
            .collect()
    }

    pub(crate) fn waker(&self) -> Waker {
        on_driver!(self, driver => driver.waker())
    }

    pub(crate) fn listen(&mut self, listener: Listener) -> io::Result<()> {
        on_driver!(self, driver => driver.listen(listener))
    }

    /// Waits and turns until the shard says stop.
    pub(crate) fn run(&mut self, shard: &mut impl Turn) -> io::Result<()> {
        on_driver!(self, driver => runtime::run(driver, shard))
    }
}
