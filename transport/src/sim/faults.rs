//! What a simulated network does to a connection.

use std::time::Duration;

/// Chances are given out of as many.
pub const CHANCES: u32 = 1000;

/// How one connection is treated, in both directions. Chances are out of [`CHANCES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The shortest time that a segment is on its way.
    pub least_latency: Duration,
    /// The longest.
    pub most_latency: Duration,
    /// Bytes of a segment at the most. What is written at once arrives in pieces of random lengths up
    /// to this.
    pub segment: usize,
    /// Bytes that one direction holds, on their way and unread: beyond that writes are short.
    pub capacity: usize,
    /// Segments that are held up, and everything behind them.
    pub stalls: u32,
    /// For how long at the most.
    pub stall: Duration,
    /// Segments within which the network resets the connection, at any byte.
    pub resets: u32,
    /// Whether a reset by one end drops what that end had sent and is still on its way.
    pub resets_overtake: bool,
    /// Receives that give nothing now and must be made again (`EINTR`, `EAGAIN`).
    pub interruptions: u32,
    /// Sends that are not taken at once although there is room (`EAGAIN`, or completion by the system).
    pub late_sends: u32,
    /// Attempts to accept the connection that fail: it was lost, or there are no descriptors or
    /// buffers.
    pub accept_failures: u32,
}

impl Faults {
    /// A network in which nothing fails: a tenth of a millisecond of latency, a quarter of a megabyte
    /// of buffers.
    pub fn calm() -> Faults {
        Faults {
            least_latency: Duration::from_micros(20),
            most_latency: Duration::from_micros(100),
            segment: usize::MAX,
            capacity: 256 * 1024,
            stalls: 0,
            stall: Duration::ZERO,
            resets: 0,
            resets_overtake: false,
            interruptions: 0,
            late_sends: 0,
            accept_failures: 0,
        }
    }

    /// Faults of every kind and rate, many of them none, drawn from `seed`.
    pub fn drawn(seed: u64) -> Faults {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut sometimes = |most: u32| match random.u8(0..3) {
            0 => random.u32(0..=most),
            _ => 0,
        };
        let (stalls, resets) = (sometimes(30), sometimes(3));
        let (interruptions, late_sends) = (sometimes(300), sometimes(300));
        let accept_failures = sometimes(100);
        let least_latency = Duration::from_micros(random.u64(10..5_000));
        let segments = [1, 7, 100, 1460, 65_536, usize::MAX];
        let capacities = [64, 1024, 4096, 16_384, 65_536, 262_144];
        let capacity = capacities[random.usize(..capacities.len())];
        Faults {
            least_latency,
            most_latency: least_latency + Duration::from_micros(random.u64(0..20_000)),
            // A thousand segments of a byte each are no more telling than sixty-four.
            segment: segments[random.usize(..segments.len())].max(capacity / 64),
            capacity,
            stalls,
            stall: Duration::from_millis(random.u64(1..3_000)),
            resets,
            resets_overtake: random.bool(),
            interruptions,
            late_sends,
            accept_failures,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_draws_the_same_and_others_differ() {
        let drawn: Vec<Faults> = (0..100).map(Faults::drawn).collect();
        assert_eq!(drawn, (0..100).map(Faults::drawn).collect::<Vec<_>>());
        let with = |has: fn(&Faults) -> bool| drawn.iter().filter(|faults| has(faults)).count();
        assert!((1..100).contains(&with(|faults| faults.resets > 0)));
        assert!((1..100).contains(&with(|faults| faults.late_sends > 0)));
        assert!((1..100).contains(&with(|faults| faults.accept_failures > 0)));
        assert!(drawn.iter().all(|faults| faults.segment > 0));
    }
}
