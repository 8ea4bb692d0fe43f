//! The driver inside a tokio runtime keeps the contract: over TCP, over Unix sockets and over streams in
//! memory, in runtimes of either flavour.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::LazyLock;
use std::time::Instant;

use throng_tests::driver::Build;
use throng_transport::tokio::{TokioDriver, TokioOptions};
use tokio::runtime::{Builder, Runtime};

fn options(receive_buffer: usize) -> TokioOptions {
    TokioOptions {
        receive_buffer,
        expected_sockets: 0,
        epoch: Instant::now(),
    }
}

/// Builds drivers inside a runtime of several threads, which all of them share.
#[derive(Debug)]
struct Shared;

impl Build for Shared {
    type Driver = TokioDriver;

    fn build(receive_buffer: usize) -> TokioDriver {
        static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(2).enable_all().build().unwrap()
        });
        TokioDriver::new(&options(receive_buffer), RUNTIME.handle().clone())
    }
}

mod tcp {
    use throng_tests::driver::OverTcp;
    use throng_tests::driver::builders::Tasked;
    throng_tests::driver_suite!(OverTcp<Tasked>; streams, resets, listening, descriptors);
    #[cfg(target_os = "linux")]
    throng_tests::driver_suite!(OverTcp<Tasked>; urgency);
}

mod tcp_shared {
    use throng_tests::driver::OverTcp;
    throng_tests::driver_suite!(OverTcp<super::Shared>; streams, resets, listening, descriptors);
    #[cfg(target_os = "linux")]
    throng_tests::driver_suite!(OverTcp<super::Shared>; urgency);
}

#[test]
fn reset_behind_the_end() {
    use throng_tests::driver::builders::Tasked;
    use throng_tests::driver::{OverTcp, resets};
    resets::reset_behind_the_end::<OverTcp<Tasked>>();
}

mod unix {
    use throng_tests::driver::OverUnix;
    use throng_tests::driver::builders::Tasked;
    throng_tests::driver_suite!(OverUnix<Tasked>; streams, listening, descriptors);
}

mod duplex {
    use throng_tests::driver::OverDuplex;
    use throng_tests::driver::builders::Tasked;
    throng_tests::driver_suite!(OverDuplex<Tasked>; streams);
}

mod duplex_shared {
    use throng_tests::driver::OverDuplex;
    throng_tests::driver_suite!(OverDuplex<super::Shared>; streams);
}

mod buffered {
    use throng_tests::driver::OverBuffered;
    use throng_tests::driver::builders::Tasked;
    throng_tests::driver_suite!(OverBuffered<Tasked>; streams);
}

/// A stream that wakes whoever asks it, as one does that has used up its part of a turn, lets the
/// runtime's other tasks run.
mod restless {
    use std::io;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll};
    use std::time::Duration;

    use throng_transport::runtime::AsyncDriver;
    use throng_transport::tokio::TokioDriver;
    use throng_transport::{Driver, Peer, Service, Socket, SocketKey};
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
    use tokio::runtime::Handle;
    use tokio::task::yield_now;

    /// Turns of another task's after which the stream ends.
    const TURNS: usize = 100;

    struct Restless {
        turns: Arc<AtomicUsize>,
        last_turn: usize,
        /// Times that it was asked since then.
        asked: usize,
    }

    impl AsyncRead for Restless {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let turns = self.turns.load(Ordering::SeqCst);
            if turns >= TURNS {
                return Poll::Ready(Ok(()));
            }
            self.asked = match self.last_turn == turns {
                true => self.asked + 1,
                false => 1,
            };
            self.last_turn = turns;
            assert!(self.asked <= 2, "asked in vain while another task waits");
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }

    impl AsyncWrite for Restless {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Expects the end of a stream.
    #[derive(Default)]
    struct Ending {
        has_ended: bool,
    }

    impl Service for Ending {
        fn begin(&mut self, _: Duration) {}
        fn accepted(&mut self, _: Socket, _: Peer) {}
        fn accept_failed(&mut self, _: &io::Error) {}
        fn received(&mut self, _: SocketKey, bytes: &mut [u8]) {
            panic!("{bytes:?} from nowhere");
        }
        fn ended(&mut self, _: SocketKey) {
            self.has_ended = true;
        }
        fn stalled(&mut self, _: SocketKey, _: usize) {}
        fn sent(&mut self, _: SocketKey) {}
        fn failed(&mut self, _: SocketKey, error: io::Error) {
            panic!("{error}");
        }
        fn woken(&mut self) {}
    }

    #[tokio::test]
    async fn other_tasks_run() {
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&turns);
        tokio::spawn(async move {
            for _ in 0..TURNS {
                counted.fetch_add(1, Ordering::SeqCst);
                yield_now().await;
            }
        });
        let mut driver = TokioDriver::new(&super::options(100), Handle::current());
        let key = SocketKey {
            slot: 0,
            generation: 0,
        };
        let stream = Restless {
            turns,
            last_turn: 0,
            asked: 0,
        };
        driver.adopt(key, Socket::from_stream(stream)).unwrap();
        let mut ending = Ending::default();
        driver.wait_async(None, &mut ending).await.unwrap();
        assert!(ending.has_ended);
    }
}
