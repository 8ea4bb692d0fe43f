//! The driver inside a tokio-uring runtime keeps the contract: over TCP, over Unix sockets and over
//! streams in memory, and where the runtime's ring is so small that it is always full.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use throng_tests::driver::Build;
use throng_transport::tokio_uring::{TokioUringDriver, TokioUringOptions};
use tokio_uring::Runtime;

fn options(receive_buffer: usize) -> TokioUringOptions {
    TokioUringOptions {
        receive_buffer,
        expected_sockets: 0,
        epoch: Instant::now(),
    }
}

/// Builds drivers with a runtime of their own, whose ring holds so many requests.
#[derive(Debug)]
struct Alone<const REQUESTS: u32>;

impl<const REQUESTS: u32> Build for Alone<REQUESTS> {
    type Driver = TokioUringDriver;

    fn build(receive_buffer: usize) -> TokioUringDriver {
        let mut builder = tokio_uring::builder();
        let runtime = Runtime::new(builder.entries(REQUESTS)).unwrap();
        TokioUringDriver::with_runtime(&options(receive_buffer), runtime)
    }
}

/// As `tokio_uring::start` has it.
type Usual = Alone<256>;
type Tiny = Alone<2>;

mod tcp {
    use throng_tests::driver::OverTcp;
    throng_tests::driver_suite!(OverTcp<super::Usual>; streams, resets, listening, urgency, descriptors);
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
