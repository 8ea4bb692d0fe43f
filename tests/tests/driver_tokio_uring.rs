//! The driver inside a tokio-uring runtime keeps the contract: over TCP, over Unix sockets and over
//! streams in memory, and where the runtime's ring is so small that it is always full.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use throng_tests::driver::builders::RingTasked;
use throng_transport::tokio_uring::TokioUringOptions;

fn options(receive_buffer: usize) -> TokioUringOptions {
    TokioUringOptions {
        receive_buffer,
        expected_sockets: 0,
        epoch: Instant::now(),
    }
}

/// As `tokio_uring::start` has it.
type Usual = RingTasked<256>;
type Tiny = RingTasked<2>;

mod tcp {
    use throng_tests::driver::OverTcp;
    throng_tests::driver_suite!(OverTcp<super::Usual>; streams, resets, listening, urgency, descriptors);
}

#[test]
fn reset_behind_the_end() {
    use throng_tests::driver::{OverTcp, resets};
    resets::reset_behind_the_end::<OverTcp<Usual>>();
}

mod unix {
    use throng_tests::driver::OverUnix;
    throng_tests::driver_suite!(OverUnix<super::Usual>; streams, listening, descriptors);
}

mod tiny {
    use throng_tests::driver::OverTcp;
    throng_tests::driver_suite!(OverTcp<super::Tiny>; streams, resets, listening);
}

mod duplex {
    use throng_tests::driver::OverDuplex;
    throng_tests::driver_suite!(OverDuplex<super::Usual>; streams);
}

mod buffered {
    use throng_tests::driver::OverBuffered;
    throng_tests::driver_suite!(OverBuffered<super::Usual>; streams);
}

/// A wait that is dropped leaves requests in the ring, which the runtime did not enter yet.
mod waits_dropped_halfway {
    use std::io;
    use std::os::unix::net::UnixStream as StdUnixStream;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use throng_tests::driver::PATIENCE;
    use throng_transport::runtime::AsyncDriver;
    use throng_transport::tokio_uring::TokioUringDriver;
    use throng_transport::{
        Driver, Peer, SendQueue, Sent, Service, Slice, Socket, SocketKey, StdStream,
    };
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;
    use tokio::time::timeout;

    const KEY: SocketKey = SocketKey {
        slot: 0,
        generation: 1,
    };
    const NEXT: SocketKey = SocketKey {
        slot: 0,
        generation: 2,
    };

    /// Expects nothing but that time passes.
    struct Nothing;

    impl Service for Nothing {
        fn begin(&mut self, _: Duration) {}
        fn accepted(&mut self, _: Socket, _: Peer) {
            panic!("nobody listens");
        }
        fn accept_failed(&mut self, error: &io::Error) {
            panic!("nobody listens: {error}");
        }
        fn received(&mut self, key: SocketKey, bytes: &mut [u8]) {
            panic!("{bytes:?} for {key:?}");
        }
        fn ended(&mut self, key: SocketKey) {
            panic!("{key:?} does not end");
        }
        fn stalled(&mut self, key: SocketKey, _: usize) {
            panic!("{key:?} has room");
        }
        fn sent(&mut self, key: SocketKey) {
            panic!("{key:?} has nothing pending");
        }
        fn failed(&mut self, key: SocketKey, error: io::Error) {
            panic!("{key:?} failed: {error}");
        }
        fn woken(&mut self) {
            panic!("nobody wakes");
        }
    }

    fn open(driver: &mut TokioUringDriver, key: SocketKey) -> UnixStream {
        let (near, far) = StdUnixStream::pair().unwrap();
        let near = Socket::from_std(StdStream::Unix(near)).unwrap();
        driver.adopt(key, near).unwrap();
        far.set_nonblocking(true).unwrap();
        UnixStream::from_std(far).unwrap()
    }

    /// As so many slices.
    fn send(driver: &mut TokioUringDriver, key: SocketKey, bytes: &[u8], slices: usize) {
        let mut queue = SendQueue::new();
        for part in bytes.chunks(bytes.len().div_ceil(slices)) {
            queue.push(Slice::with_len(part.len(), |out| out.copy_from_slice(part)));
        }
        assert_eq!(driver.send(key, &mut queue), Sent::Done);
    }

    fn drop_a_wait(driver: &mut TokioUringDriver) {
        let mut nothing = Nothing;
        let wait = pin!(driver.wait_async(None, &mut nothing));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(wait.poll(&mut cx), Poll::Pending));
    }

    async fn wait(driver: &mut TokioUringDriver) {
        let waited = driver.wait_async(Some(Duration::ZERO), &mut Nothing).await;
        waited.unwrap();
    }

    async fn hear(far: &mut UnixStream, expected: &[u8]) {
        let mut heard = vec![0; expected.len()];
        let read = timeout(PATIENCE, far.read_exact(&mut heard)).await;
        read.unwrap().unwrap();
        assert_eq!(heard, expected);
    }

    async fn hear_the_end(far: &mut UnixStream) {
        let read = timeout(PATIENCE, far.read(&mut [0])).await;
        assert_eq!(read.unwrap().unwrap(), 0);
    }

    /// What is sent before the ring answers follows what it has.
    #[test]
    fn the_next_goes_on() {
        tokio_uring::start(async {
            let mut driver = TokioUringDriver::new(&super::options(4096)).unwrap();
            let mut far = open(&mut driver, KEY);
            for slices in [1, 3] {
                send(&mut driver, KEY, b"first, ", slices);
                drop_a_wait(&mut driver);
                send(&mut driver, KEY, b"second, ", slices);
                send(&mut driver, KEY, b"third", slices);
                assert!(driver.detach(KEY).is_none(), "the ring has its socket");
                wait(&mut driver).await;
                hear(&mut far, b"first, second, third").await;
            }
            assert!(driver.detach(KEY).is_some());
        });
    }

    /// The answer to one who had the slot does not meet the one who has it now.
    #[test]
    fn a_slot_may_be_taken_anew() {
        tokio_uring::start(async {
            let mut driver = TokioUringDriver::new(&super::options(4096)).unwrap();
            for abort in [false, true] {
                let mut far = open(&mut driver, KEY);
                send(&mut driver, KEY, b"hers", 2);
                drop_a_wait(&mut driver);
                match abort {
                    true => driver.abort(KEY),
                    false => driver.close(KEY),
                }
                let mut next_far = open(&mut driver, NEXT);
                send(&mut driver, NEXT, b"his", 2);
                wait(&mut driver).await;
                hear(&mut next_far, b"his").await;
                hear(&mut far, b"hers").await;
                hear_the_end(&mut far).await;
                driver.close(NEXT);
            }
        });
    }

    /// What was said to be sent before the ring answered is, though its socket or the driver goes.
    #[test]
    fn what_follows_arrives_as_well() {
        tokio_uring::start(async {
            for closes in [true, false] {
                let mut driver = TokioUringDriver::new(&super::options(4096)).unwrap();
                let mut far = open(&mut driver, KEY);
                send(&mut driver, KEY, b"first, ", 1);
                drop_a_wait(&mut driver);
                send(&mut driver, KEY, b"second", 1);
                if closes {
                    driver.close(KEY);
                    wait(&mut driver).await;
                } else {
                    drop(driver);
                }
                hear(&mut far, b"first, second").await;
                hear_the_end(&mut far).await;
            }
        });
    }

    /// So is what the system had no room for, once it has.
    #[test]
    fn what_does_not_fit_arrives_as_well() {
        tokio_uring::start(async {
            for closes in [true, false] {
                let mut driver = TokioUringDriver::new(&super::options(4096)).unwrap();
                let mut far = open(&mut driver, KEY);
                send(&mut driver, KEY, &[1; 2 << 20], 3);
                drop_a_wait(&mut driver);
                if closes {
                    driver.close(KEY);
                    wait(&mut driver).await;
                } else {
                    drop(driver);
                }
                hear(&mut far, &[1; 2 << 20]).await;
                hear_the_end(&mut far).await;
            }
        });
    }

    /// What a driver leaves behind when it goes is sent to whom it was for, though the numbers of its
    /// descriptors would be given to others.
    #[test]
    fn the_driver_may_go() {
        tokio_uring::start(async {
            let mut driver = TokioUringDriver::new(&super::options(4096)).unwrap();
            let mut far = open(&mut driver, KEY);
            send(&mut driver, KEY, &[7; 5000], 5);
            drop_a_wait(&mut driver);
            drop(driver);
            let mut others: Vec<_> = (0..16).map(|_| StdUnixStream::pair().unwrap()).collect();
            hear(&mut far, &[7; 5000]).await;
            hear_the_end(&mut far).await;
            for (near, far) in &mut others {
                for end in [near, far] {
                    end.set_nonblocking(true).unwrap();
                    let read = io::Read::read(end, &mut [0]);
                    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::WouldBlock);
                }
            }
        });
    }
}
