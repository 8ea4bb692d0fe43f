//! TLS keeps the contract, over each driver.

use std::time::Instant;

use throng_tests::driver::Build;
use throng_transport::poll::{PollDriver, PollOptions};
#[cfg(unix)]
use throng_transport::tokio::{TokioDriver, TokioOptions};
#[cfg(target_os = "linux")]
use throng_transport::tokio_uring::{TokioUringDriver, TokioUringOptions};
#[cfg(target_os = "linux")]
use throng_transport::uring::{REQUESTS, UringDriver, UringOptions};

/// Builds the readiness driver.
#[derive(Debug)]
struct Polling;

impl Build for Polling {
    type Driver = PollDriver;

    fn build(receive_buffer: usize) -> PollDriver {
        let options = PollOptions {
            expected_sockets: 0,
            receive_buffer,
            epoch: Instant::now(),
        };
        PollDriver::new(&options).unwrap_or_else(|error| panic!("no driver: {error}"))
    }
}

/// Builds the completion driver.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Completing;

#[cfg(target_os = "linux")]
impl Build for Completing {
    type Driver = UringDriver;

    fn build(receive_buffer: usize) -> UringDriver {
        let options = UringOptions {
            expected_sockets: 0,
            receive_buffer,
            requests: REQUESTS,
            epoch: Instant::now(),
        };
        UringDriver::new(&options).unwrap_or_else(|refusal| panic!("{refusal}"))
    }
}

/// Builds drivers inside a tokio runtime of their own.
#[cfg(unix)]
#[derive(Debug)]
struct Tasked;

#[cfg(unix)]
impl Build for Tasked {
    type Driver = TokioDriver;

    fn build(receive_buffer: usize) -> TokioDriver {
        let options = TokioOptions {
            receive_buffer,
            expected_sockets: 0,
            epoch: Instant::now(),
        };
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
        TokioDriver::with_runtime(&options, runtime)
    }
}

/// Builds drivers inside a tokio-uring runtime of their own.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct RingTasked;

#[cfg(target_os = "linux")]
impl Build for RingTasked {
    type Driver = TokioUringDriver;

    fn build(receive_buffer: usize) -> TokioUringDriver {
        let options = TokioUringOptions {
            receive_buffer,
            expected_sockets: 0,
            epoch: Instant::now(),
        };
        let runtime = tokio_uring::Runtime::new(&tokio_uring::builder());
        let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
        TokioUringDriver::with_runtime(&options, runtime)
    }
}

mod poll {
    use throng_tests::driver::{OverTcp, OverTls};
    throng_tests::driver_suite!(OverTls<OverTcp<super::Polling>>; streams, resets, listening);
    #[cfg(unix)]
    throng_tests::driver_suite!(OverTls<OverTcp<super::Polling>>; descriptors);
}

#[cfg(target_os = "linux")]
mod uring {
    use throng_tests::driver::{OverTcp, OverTls};
    throng_tests::driver_suite!(OverTls<OverTcp<super::Completing>>; streams, resets, listening, descriptors);
}

#[cfg(unix)]
mod tokio_tcp {
    use throng_tests::driver::{OverTcp, OverTls};
    throng_tests::driver_suite!(OverTls<OverTcp<super::Tasked>>; streams, resets, listening, descriptors);
}

#[cfg(target_os = "linux")]
mod tokio_uring_tcp {
    use throng_tests::driver::{OverTcp, OverTls};
    throng_tests::driver_suite!(OverTls<OverTcp<super::RingTasked>>; streams, resets, listening, descriptors);
}

/// Streams that are not the system's.
#[cfg(unix)]
mod tokio_duplex {
    use throng_tests::driver::{OverDuplex, OverTls};
    throng_tests::driver_suite!(OverTls<OverDuplex<super::Tasked>>; streams);
}

mod sim_calm {
    use throng_tests::driver::{Calm, OverTls, Simulated};
    throng_tests::driver_suite!(OverTls<Simulated<Calm>>; streams, resets, listening);
}

mod sim_rough {
    use throng_tests::driver::{OverTls, Rough, Simulated};
    throng_tests::driver_suite!(OverTls<Simulated<Rough>>; streams, resets, listening);
}
