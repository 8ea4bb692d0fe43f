//! TLS keeps the contract, over each driver.

use std::time::Instant;

use throng_tests::driver::Build;
use throng_transport::poll::{PollDriver, PollOptions};
#[cfg(target_os = "linux")]
use throng_transport::uring::{UringDriver, UringOptions};

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
            epoch: Instant::now(),
        };
        UringDriver::new(&options).unwrap_or_else(|error| panic!("no driver: {error}"))
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
