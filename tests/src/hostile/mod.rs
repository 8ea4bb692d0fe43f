//! Attacks on a shard that others are served by.
//!
//! A [`Siege`] is an engine of one shard with [`BYSTANDERS`] well-behaved connections on it, which
//! echo and hear broadcasts for as long as it lasts. A test attacks, says with [`Siege::beside`]
//! or [`Siege::live_on`] when the bystanders must get on in spite of it, and ends with
//! [`Siege::withstood`]: nothing was lost to the bystanders, and the engine's peak of memory stayed
//! below the test's bound.
//!
//! Memory is counted by [`Counting`], which each program of such tests makes its global allocator.
//! Sieges of one program take place one after the other, since they share that count.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "tests fail by panicking"
)]

mod attackers;
mod bystanders;
mod memory;
mod square;

use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use throng::{Cause, Config, Engine};

use crate::engine::{serve_with, until};

pub use attackers::{Attackers, asking, end_of, in_parallel, raise_open_files};
pub use bystanders::{BYSTANDERS, Bystanders, Verdict};
pub use memory::{Counting, Watch};
pub use square::{NOISE, Square, Tally};

/// What a shard may take for itself in an attack, whatever the number of connections: spare buffers
/// of its decoders (4 MiB), spare chunks (8 MiB), and what it makes in one turn (4 MiB).
pub const SHARD: usize = 16 << 20;
/// What a connection needs, however it ends, besides its messages.
pub const CONNECTION: usize = 2048;
/// What a shard's chunks, those for publications apart from the others, and its lists vary by in any
/// traffic.
pub const CALM: usize = 384 * 1024;

/// Only one siege at a time: what is allocated cannot be told apart.
static FIELD: Mutex<()> = Mutex::new(());

/// An engine with bystanders, to be attacked.
#[derive(Debug)]
pub struct Siege {
    bystanders: Bystanders,
    engine: Engine,
    tally: Arc<Tally>,
    watch: Watch,
    _field: MutexGuard<'static, ()>,
}

impl Siege {
    /// Starts an engine of these settings on one shard, and the bystanders. Memory is counted from
    /// here on, and what this thread allocates is not.
    pub fn begin(config: Config) -> Siege {
        let field = FIELD.lock().unwrap_or_else(PoisonError::into_inner);
        raise_open_files();
        let square = Square::default();
        let tally = Arc::clone(square.tally());
        let engine = serve_with(config.shards(1), square);
        let bystanders = Bystanders::gather(engine.local_addr().unwrap());
        bystanders.live_on(3);
        memory::count_no_more_here();
        Siege {
            bystanders,
            engine,
            tally,
            watch: Watch::begin(),
            _field: field,
        }
    }

    /// Where to attack.
    pub fn address(&self) -> SocketAddr {
        self.engine.local_addr().unwrap()
    }

    /// What has become of the attackers, as the service was told.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Lets the bystanders send and hear three times over, at least two of which begin now.
    pub fn live_on(&self) {
        self.bystanders.live_on(3);
    }

    /// Attacks on a thread of its own, and has the bystanders live on beside it, over and over until
    /// the attack has ended, once at least. Returns what the attack came to.
    pub fn beside<T: Send>(&self, attack: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let attack = scope.spawn(|| {
                memory::count_no_more_here();
                attack()
            });
            self.live_on();
            while !attack.is_finished() {
                self.live_on();
            }
            attack.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Waits until so many attackers have ended of this cause.
    pub fn until_ended(&self, cause: &Cause, count: usize) {
        let what = format!("{count} ends of {cause:?}");
        until(&what, || self.tally.ended(cause) >= count);
    }

    /// Waits until nobody is open but the bystanders.
    pub fn until_alone(&self) {
        let alone = || self.engine.connections() <= BYSTANDERS;
        until("the last attacker's end", alone);
    }

    /// Asserts that the bystanders have lost nothing and that the engine took less than `bound`
    /// bytes and [`CALM`] more than before at any time. `attack` and `end` are for the record.
    pub fn withstood(self, attack: &str, end: &str, bound: usize) {
        self.bystanders.live_on(3);
        let (peak, bound) = (self.watch.peak(), bound + CALM);
        let verdict = self.bystanders.verdict();
        let causes = self.tally.causes();
        record(&format!(
            "{attack} | {end} {causes:?} | {} KiB of {} KiB | {verdict}",
            peak / 1024,
            bound / 1024
        ));
        assert_eq!(verdict.fault, None, "{attack}: a bystander suffered");
        assert!(
            peak < bound,
            "{attack}: {peak} bytes more, of {bound} allowed"
        );
    }
}

#[expect(clippy::print_stderr, reason = "the figures of `--nocapture`")]
fn record(line: &str) {
    eprintln!("| {line} |");
}
