//! Promise 7: wake-ups are never lost, and time-outs are kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use throng_transport::{Driver, Next, Peer, Service, Socket, SocketKey, Turn, Waker, runtime};

use super::rig::{PATIENCE, TICK, write_some};
use super::{Buffers, Fixture, Random, Rig};

/// Threads that wake at once.
const THREADS: u64 = 4;
/// How often each of them falls silent.
const BURSTS: u64 = 3_000;
/// Wake-ups before it does.
const BURST: u64 = 3;
/// Wake-ups in all.
const MESSAGES: u64 = THREADS * BURSTS * BURST;
/// Wake-ups that each wait for the one before to be noticed.
const ROUND_TRIPS: u64 = 5_000;

/// A wake-up before the wait is reported by it, however often it was asked for.
pub fn a_wake_before_the_wait_is_reported<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let waker = rig.driver.waker();
    for round in 1..=100 {
        for _ in 0..round % 5 + 1 {
            waker.clone().wake();
        }
        let begun = Instant::now();
        rig.wait(PATIENCE);
        assert!(begun.elapsed() < PATIENCE, "a wait parked on a wake-up");
        assert_eq!(rig.record.woken, round);
    }
}

/// Nobody is woken who was not called, and one call wakes once.
pub fn nobody_is_woken_uncalled<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    rig.quiet();
    assert_eq!(rig.record.woken, 0);
    rig.driver.waker().wake();
    rig.until("woken", |rig| rig.record.woken > 0);
    rig.quiet();
    assert_eq!(rig.record.woken, 1);
}

/// A wake-up during a wait without time-out ends it.
pub fn a_wake_ends_a_wait_without_timeout<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let waker = rig.driver.waker();
    let other = std::thread::spawn(move || waker.wake());
    while rig.record.woken == 0 {
        rig.record.before_wait();
        rig.driver.wait(None, &mut rig.record).unwrap();
        rig.record.after_wait();
    }
    other.join().unwrap();
}

/// A wake-up that comes while `woken` is being called is reported by a further call: this one
/// may have looked already.
pub fn a_wake_while_woken_is_reported<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    rig.driver.waker().wake();
    for round in 1..=100 {
        rig.record.wake_when_woken = Some(rig.driver.waker());
        let begun = Instant::now();
        while rig.record.woken < round {
            rig.wait(PATIENCE);
            assert!(begun.elapsed() < PATIENCE, "wake-up {round} was lost");
        }
    }
}

/// What threads that wake share with the one that is woken.
#[derive(Clone)]
struct Post {
    waker: Waker,
    mailbox: Arc<AtomicU64>,
    seen: Arc<AtomicU64>,
}

impl Post {
    /// Leaves messages in bursts, waking after each, and lets each burst be seen: so thousands
    /// of wake-ups are the last for a while, with nobody to make good for a lost one.
    fn start(&self, seed: u64) -> JoinHandle<()> {
        let post = self.clone();
        std::thread::spawn(move || {
            let mut random = Random::new(seed);
            for _ in 0..BURSTS {
                let mut last = 0;
                for _ in 0..BURST {
                    last = post.mailbox.fetch_add(1, Ordering::Relaxed) + 1;
                    post.waker.wake();
                    for _ in 0..random.between(0, 300) {
                        std::hint::spin_loop();
                    }
                }
                while post.seen.load(Ordering::Acquire) < last {
                    std::thread::yield_now();
                }
            }
        })
    }
}

/// Whatever other threads left before they woke the driver is seen by `woken`.
pub fn no_wake_is_lost<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let post = Post {
        waker: rig.driver.waker(),
        mailbox: Arc::clone(&rig.record.mailbox),
        seen: Arc::default(),
    };
    let threads: Vec<_> = (0..THREADS).map(|seed| post.start(seed)).collect();
    while rig.record.mail_seen < MESSAGES {
        let begun = Instant::now();
        rig.wait(PATIENCE);
        assert!(
            begun.elapsed() < PATIENCE,
            "a wake-up was lost: {} of {} messages were seen",
            rig.record.mail_seen,
            post.mailbox.load(Ordering::Relaxed)
        );
        post.seen.store(rig.record.mail_seen, Ordering::Release);
    }
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(rig.record.woken <= MESSAGES, "wake-ups coalesce");
    assert!(rig.record.woken <= rig.record.waits, "wake-ups coalesce");
}

/// Each wake-up meets a driver that is parked or about to park.
pub fn every_wake_meets_a_parking_driver<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let waker = rig.driver.waker();
    let mailbox = Arc::clone(&rig.record.mailbox);
    let noticed = Arc::new(AtomicU64::new(0));
    let notice = Arc::clone(&noticed);
    let other = std::thread::spawn(move || {
        for round in 1..=ROUND_TRIPS {
            mailbox.store(round, Ordering::Relaxed);
            waker.wake();
            while notice.load(Ordering::Acquire) < round {
                std::thread::yield_now();
            }
        }
    });
    for round in 1..=ROUND_TRIPS {
        while rig.record.mail_seen < round {
            let begun = Instant::now();
            rig.wait(PATIENCE);
            assert!(begun.elapsed() < PATIENCE, "wake-up {round} was lost");
        }
        noticed.store(round, Ordering::Release);
    }
    other.join().unwrap();
    assert_eq!(rig.record.woken, ROUND_TRIPS);
}

/// Wake-ups and bytes do not get in each other's way.
pub fn wakes_leave_bytes_alone<F: Fixture>() {
    let mut rig = Rig::<F>::with_receive_buffer(16);
    let (key, mut far) = rig.open();
    let waker = rig.driver.waker();
    for round in 1..=500 {
        assert_eq!(write_some(&mut far, b"more than a buffer full"), 23);
        waker.wake();
        rig.until("bytes", |rig| {
            rig.connection(key).received.len() == round * 23
        });
    }
    rig.until("woken", |rig| rig.record.woken == 500);
}

/// A wait without time does not park; a wait with time parks for no less when nothing happens.
pub fn timeouts_are_kept<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (_key, _far) = rig.open();
    rig.quiet();
    let begun = Instant::now();
    for _ in 0..1000 {
        rig.wait(Duration::ZERO);
    }
    assert!(begun.elapsed() < PATIENCE);
    for timeout in [TICK, Duration::from_millis(30), Duration::from_micros(300)] {
        let parked = rig.park(timeout);
        assert!(parked >= timeout, "a wait of {timeout:?} returned early");
    }
}

/// A service that echoes through [`runtime::run`] and stops after so many bytes.
struct Echo {
    key: SocketKey,
    received: Vec<u8>,
    echoed: usize,
    upto: usize,
    turns: u64,
    begun: u64,
}

impl Turn for Echo {
    fn turn(&mut self, driver: &mut impl Driver) -> Next {
        assert_eq!(self.turns, self.begun, "one turn before each wait");
        self.turns += 1;
        if !self.received.is_empty() {
            let mut queue = throng_transport::SendQueue::new();
            let bytes = std::mem::take(&mut self.received);
            queue.push(throng_transport::Slice::with_len(bytes.len(), |out| {
                out.copy_from_slice(&bytes);
            }));
            self.echoed += bytes.len();
            assert_eq!(
                driver.send(self.key, &mut queue),
                throng_transport::Sent::Done
            );
        }
        if self.echoed < self.upto {
            Next::Wait(Some(PATIENCE))
        } else {
            Next::Stop
        }
    }
}

impl Service for Echo {
    fn begin(&mut self, _now: Duration) {
        self.begun += 1;
    }
    fn received(&mut self, key: SocketKey, bytes: &mut [u8]) {
        assert_eq!(key, self.key);
        self.received.extend_from_slice(bytes);
    }
    fn accepted(&mut self, _socket: Socket, _peer: Peer) {
        panic!("nobody listens");
    }
    fn accept_failed(&mut self, error: &std::io::Error) {
        panic!("nobody listens: {error}");
    }
    fn ended(&mut self, key: SocketKey) {
        panic!("{key:?} does not end");
    }
    fn stalled(&mut self, key: SocketKey, _: usize) {
        panic!("{key:?} is read from");
    }
    fn sent(&mut self, key: SocketKey) {
        panic!("{key:?} has nothing pending");
    }
    fn failed(&mut self, key: SocketKey, error: std::io::Error) {
        panic!("{key:?} failed: {error}");
    }
    fn woken(&mut self) {
        panic!("nobody wakes");
    }
}

/// The loop turns once before each wait, begins with a turn, and stops when told.
pub fn the_loop_turns_and_stops<F: Fixture>() {
    let mut fixture = F::default();
    let mut driver = fixture.driver(64);
    let (socket, mut far) = fixture.pair(Buffers::Default);
    let key = SocketKey {
        slot: 0,
        generation: 1,
    };
    driver.adopt(key, socket).unwrap();
    let mut echo = Echo {
        key,
        received: Vec::new(),
        echoed: 0,
        upto: 0,
        turns: 0,
        begun: 0,
    };
    for round in 1..=20 {
        (echo.upto, echo.turns, echo.begun) = (round * 100, 0, 0);
        assert_eq!(write_some(&mut far, &[7; 100]), 100);
        runtime::run(&mut driver, &mut echo).unwrap();
        assert_eq!(echo.turns, echo.begun + 1, "it begins and ends with a turn");
        assert_eq!(echo.echoed, round * 100);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// The waker alone, without a driver: whoever takes after an unpark sees what was left
    /// before the wake-up, and there are no more unparks than takes ask for.
    #[test]
    fn a_waker_hands_over_what_came_before() {
        let (unpark, parked) = mpsc::channel();
        let waker = Waker::new(move || unpark.send(()).is_ok());
        let post = Post {
            waker: waker.clone(),
            mailbox: Arc::default(),
            seen: Arc::default(),
        };
        let threads: Vec<_> = (0..THREADS).map(|seed| post.start(seed)).collect();
        let (mut seen, mut unparks) = (0, 0);
        while seen < MESSAGES {
            parked.recv_timeout(PATIENCE).expect("a wake-up was lost");
            unparks += 1;
            assert!(waker.take(), "an unpark without a wake-up");
            seen = post.mailbox.load(Ordering::Relaxed);
            post.seen.store(seen, Ordering::Release);
        }
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(unparks <= MESSAGES, "wake-ups coalesce");
        while waker.take() {
            parked.recv_timeout(PATIENCE).expect("a wake-up was lost");
        }
        assert!(
            parked.try_recv().is_err(),
            "an unpark that nobody asked for"
        );
    }

    #[test]
    fn a_wake_after_one_that_failed_is_not_swallowed() {
        let (unpark, parked) = mpsc::channel();
        let attempts = AtomicU64::new(0);
        let waker = Waker::new(move || {
            attempts.fetch_add(1, Ordering::Relaxed) > 0 && unpark.send(()).is_ok()
        });
        waker.wake();
        assert!(parked.try_recv().is_err(), "the first attempt fails");
        waker.wake();
        assert!(parked.try_recv().is_ok(), "the second is made");
        waker.wake();
        assert!(parked.try_recv().is_err(), "wake-ups coalesce");
        assert!(waker.take());
    }
}
