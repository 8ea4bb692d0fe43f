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

/// Builds drivers with a runtime of their own, without threads.
#[derive(Debug)]
struct Alone;

impl Build for Alone {
    type Driver = TokioDriver;

    fn build(receive_buffer: usize) -> TokioDriver {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        TokioDriver::with_runtime(&options(receive_buffer), runtime)
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
    throng_tests::driver_suite!(OverTcp<super::Alone>; streams, resets, listening, descriptors);
    #[cfg(target_os = "linux")]
    throng_tests::driver_suite!(OverTcp<super::Alone>; urgency);
}

mod tcp_shared {
    use throng_tests::driver::OverTcp;
    throng_tests::driver_suite!(OverTcp<super::Shared>; streams, resets, listening, descriptors);
    #[cfg(target_os = "linux")]
    throng_tests::driver_suite!(OverTcp<super::Shared>; urgency);
}

#[test]
fn reset_behind_the_end() {
    use throng_tests::driver::{OverTcp, resets};
    resets::reset_behind_the_end::<OverTcp<Alone>>();
}

mod unix {
    use throng_tests::driver::OverUnix;
    throng_tests::driver_suite!(OverUnix<super::Alone>; streams, listening, descriptors);
}

mod duplex {
    use throng_tests::driver::OverDuplex;
    throng_tests::driver_suite!(OverDuplex<super::Alone>; streams);
}

mod duplex_shared {
    use throng_tests::driver::OverDuplex;
    throng_tests::driver_suite!(OverDuplex<super::Shared>; streams);
}

mod buffered {
    use throng_tests::driver::OverBuffered;
    throng_tests::driver_suite!(OverBuffered<super::Alone>; streams);
}
