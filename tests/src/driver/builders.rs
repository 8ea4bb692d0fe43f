//! Drivers as the suites build them: one for each [`Build`].

use std::time::Instant;

use throng_transport::poll::{PollDriver, PollOptions};
#[cfg(unix)]
use throng_transport::tokio::{TokioDriver, TokioOptions};
#[cfg(target_os = "linux")]
use throng_transport::tokio_uring::{TokioUringDriver, TokioUringOptions};
#[cfg(target_os = "linux")]
use throng_transport::uring::{UringDriver, UringOptions};

use super::Build;

/// Builds the readiness driver.
#[derive(Debug)]
pub struct Polling;

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

/// Builds the completion driver with a ring of so many requests.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub struct Completing<const REQUESTS: u32>;

#[cfg(target_os = "linux")]
impl<const REQUESTS: u32> Build for Completing<REQUESTS> {
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

/// Builds drivers inside a tokio runtime of their own, without threads.
#[cfg(unix)]
#[derive(Debug)]
pub struct Tasked;

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

/// Builds drivers inside a tokio-uring runtime of their own, whose ring holds so many requests.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub struct RingTasked<const REQUESTS: u32>;

#[cfg(target_os = "linux")]
impl<const REQUESTS: u32> Build for RingTasked<REQUESTS> {
    type Driver = TokioUringDriver;

    fn build(receive_buffer: usize) -> TokioUringDriver {
        let options = TokioUringOptions {
            receive_buffer,
            expected_sockets: 0,
            epoch: Instant::now(),
        };
        let mut builder = tokio_uring::builder();
        let runtime = tokio_uring::Runtime::new(builder.entries(REQUESTS));
        let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
        TokioUringDriver::with_runtime(&options, runtime)
    }
}
