//! How often events may be sent.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashMap};
use std::hash::BuildHasher;

use super::cx::Cx;
use super::error::EventError;
use super::middleware::{Call, Middleware};
use crate::address::household;
use crate::limits::{MAX_BUCKETS, REFUSALS_BEFORE_CLOSE, SWEEP_PAUSE};

/// Bounds how often events are sent, by token buckets: `burst` at once, `per_second` for ever.
///
/// One too many is answered 429. Who goes on all the same is closed with 1008: after sixteen refusals with not
/// one event let through between them.
///
/// ```
/// use throng::Router;
/// use throng::router::RateLimit;
///
/// let mut router = Router::new();
/// router.with(RateLimit::per_connection(10.0, 20));
/// router.with(RateLimit::per_user(50.0, 100));
/// router.with(RateLimit::per_address(200.0, 400));
/// ```
#[derive(Debug)]
pub struct RateLimit {
    rate: Rate,
    whose: Whose,
    /// Tells this limit's bucket from others' in a connection's attributes.
    number: usize,
    /// Only for events of these names, unless it is empty.
    events: Vec<String>,
}

#[derive(Debug)]
enum Whose {
    Connection,
    User(Buckets<String>),
    Address(Buckets<u64>),
}

/// What a [`Bucket`] holds, and how fast it fills up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) per_second: f64,
    pub(super) burst: f64,
}

impl RateLimit {
    /// For each connection by itself.
    ///
    /// # Panics
    /// When `per_second` is not above 0, or `burst` is 0.
    pub fn per_connection(per_second: f64, burst: u32) -> RateLimit {
        RateLimit::new(per_second, burst, Whose::Connection)
    }

    /// For all connections of a user together; for those of nobody each by itself, and for those of users who come while 262,144 others
    /// are known.
    ///
    /// # Panics
    /// As [`RateLimit::per_connection`].
    pub fn per_user(per_second: f64, burst: u32) -> RateLimit {
        RateLimit::new(per_second, burst, Whose::User(Buckets::new()))
    }

    /// For all connections of clients ([`Conn::client_addr`](crate::Conn::client_addr)) with one IPv4 address, or in one IPv6
    /// network of 64 bits, together; for those without an address each by itself.
    ///
    /// # Panics
    /// As [`RateLimit::per_connection`].
    pub fn per_address(per_second: f64, burst: u32) -> RateLimit {
        RateLimit::new(per_second, burst, Whose::Address(Buckets::new()))
    }

    /// Only for events of these names, in one bucket.
    #[must_use]
    pub fn events<T: Into<String>>(mut self, events: impl IntoIterator<Item = T>) -> RateLimit {
        self.events = events.into_iter().map(Into::into).collect();
        self
    }

    fn new(per_second: f64, burst: u32, whose: Whose) -> RateLimit {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        assert!(
            per_second > 0.0 && per_second.is_finite(),
            "a rate limit of {per_second} events per second: it must be above 0"
        );
        assert!(
            burst > 0,
            "a rate limit with a burst of 0: it must be 1 at least"
        );
        RateLimit {
            rate: Rate {
                per_second,
                burst: burst.into(),
            },
            whose,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            events: Vec::new(),
        }
    }

    fn take<S>(&self, cx: &mut Cx<'_, S>) -> bool {
        let now = cx.now();
        match &self.whose {
            Whose::Connection => {}
            Whose::User(buckets) => {
                if let Some(user) = cx.user_id()
                    && let Some(has_one) = buckets.take(user, now, self.rate)
                {
                    return has_one;
                }
            }
            Whose::Address(buckets) => {
                if let Some(address) = cx.client_addr()
                    && let Some(has_one) = buckets.take(&household(address), now, self.rate)
                {
                    return has_one;
                }
            }
        }
        own(cx)
            .bucket(self.number, now, self.rate)
            .take(now, self.rate)
    }
}

impl<S> Middleware<S> for RateLimit {
    fn events(&self) -> &[String] {
        &self.events
    }

    fn before(&self, cx: &mut Cx<'_, S>, call: &Call<'_>) -> Result<(), EventError> {
        let concerns = |name: &String| name == call.event();
        if !self.events.is_empty() && !self.events.iter().any(concerns) {
            return Ok(());
        }
        if self.take(cx) {
            own(cx).refusals.retain(|(limit, _)| *limit != self.number);
            return Ok(());
        }
        let error = EventError::too_many("too many events");
        if own(cx).count_refusal(self.number) < REFUSALS_BEFORE_CLOSE {
            return Err(error);
        }
        Err(error.closing("too many events"))
    }
}

fn own<'c, S>(cx: &'c mut Cx<'_, S>) -> &'c mut Own {
    cx.attributes().get_or_default()
}

/// What a connection has of its own.
#[derive(Debug, Default)]
struct Own {
    buckets: Vec<(usize, Bucket)>,
    /// Events that each limit has refused since it let one through.
    refusals: Vec<(usize, u32)>,
}

impl Own {
    fn count_refusal(&mut self, limit: usize) -> u32 {
        if let Some((_, count)) = self.refusals.iter_mut().find(|(it, _)| *it == limit) {
            *count += 1;
            return *count;
        }
        self.refusals.push((limit, 1));
        1
    }

    fn bucket(&mut self, number: usize, now: Duration, rate: Rate) -> &mut Bucket {
        let place = self.buckets.iter().position(|(known, _)| *known == number);
        let place = place.unwrap_or_else(|| {
            self.buckets.push((number, Bucket::full(now, rate)));
            self.buckets.len() - 1
        });
        &mut self.buckets[place].1
    }
}

/// What may be sent at once, and fills up again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    tokens: f64,
    since: Duration,
}

impl Bucket {
    pub(super) fn full(now: Duration, rate: Rate) -> Bucket {
        Bucket {
            tokens: rate.burst,
            since: now,
        }
    }

    fn fill(&mut self, now: Duration, rate: Rate) {
        // Another shard's turn may have begun before.
        let passed = now.saturating_sub(self.since);
        self.tokens = (self.tokens + passed.as_secs_f64() * rate.per_second).min(rate.burst);
        self.since = self.since.max(now);
    }

    pub(super) fn take(&mut self, now: Duration, rate: Rate) -> bool {
        self.fill(now, rate);
        let has_one = self.tokens >= 1.0;
        if has_one {
            self.tokens -= 1.0;
        }
        has_one
    }
}

/// Buckets that all shards share, in parts, so that two shards seldom meet.
#[derive(Debug)]
struct Buckets<K> {
    parts: [Mutex<Part<K>>; PARTS],
    hashing: DefaultHashBuilder,
}

#[derive(Debug)]
struct Part<K> {
    buckets: HashMap<K, Bucket>,
    /// When it may be looked through again.
    sweeps: Duration,
}

const PARTS: usize = 16;

impl<K: Eq + Hash> Buckets<K> {
    fn new() -> Buckets<K> {
        Buckets {
            parts: std::array::from_fn(|_| {
                Mutex::new(Part {
                    buckets: HashMap::new(),
                    sweeps: Duration::ZERO,
                })
            }),
            hashing: DefaultHashBuilder::default(),
        }
    }

    /// Takes from the bucket of that name; `None` where there is no room for one.
    fn take<Q>(&self, key: &Q, now: Duration, rate: Rate) -> Option<bool>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let part = usize::try_from(self.hashing.hash_one(key) % PARTS as u64).unwrap_or_default();
        let part = self.parts[part].lock();
        let Part { buckets, sweeps } = &mut *part.unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get_mut(key) {
            return Some(bucket.take(now, rate));
        }
        if buckets.len() >= MAX_BUCKETS / PARTS && now >= *sweeps {
            *sweeps = now.saturating_add(SWEEP_PAUSE);
            // One that is full says no more than none.
            buckets.retain(|_, bucket| {
                bucket.fill(now, rate);
                bucket.tokens < rate.burst
            });
        }
        if buckets.len() >= MAX_BUCKETS / PARTS {
            return None;
        }
        let mut bucket = Bucket::full(now, rate);
        let has_one = bucket.take(now, rate);
        buckets.insert(key.to_owned(), bucket);
        Some(has_one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 10.0,
        burst: 3.0,
    };

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::full(at(0), RATE);
        let taken = |bucket: &mut Bucket, millis| bucket.take(at(millis), RATE);
        assert_eq!(
            [0, 0, 0, 0].map(|now| taken(&mut bucket, now)),
            [true, true, true, false]
        );
        assert_eq!(
            [50, 101, 101].map(|now| taken(&mut bucket, now)),
            [false, true, false]
        );
        assert!(!taken(&mut bucket, 60), "time that goes back gives nothing");
        let later = [9000; 4].map(|now| taken(&mut bucket, now));
        assert_eq!(
            later,
            [true, true, true, false],
            "never more than the burst"
        );
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_is_quiet() {
        let buckets = Buckets::<String>::new();
        let take = |name: usize, millis| buckets.take(&*name.to_string(), at(millis), RATE);
        let known = (0..2 * MAX_BUCKETS).filter(|name| take(*name, 0) == Some(true));
        let known = known.count();
        assert!((MAX_BUCKETS / 2..=MAX_BUCKETS).contains(&known), "{known}");
        let newcomers =
            |millis| (0..100).filter_map(move |name| take(name + 5 * MAX_BUCKETS, millis));
        assert_eq!(newcomers(999).count(), 0, "it was looked through just now");
        assert!(
            newcomers(1000).all(|has_one| has_one),
            "the others are full again"
        );
        assert_eq!(newcomers(1000).count(), 100);
    }
}
