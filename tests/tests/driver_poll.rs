//! The readiness driver keeps the contract, over TCP and over Unix sockets.

use std::time::Instant;

use throng_tests::driver::Build;
use throng_transport::poll::{PollDriver, PollOptions};

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

mod tcp {
    use throng_tests::driver::OverTcp;
    throng_tests::driver_suite!(OverTcp<super::Polling>; streams, resets, listening);
    #[cfg(target_os = "linux")]
    throng_tests::driver_suite!(OverTcp<super::Polling>; urgency);
    #[cfg(unix)]
    throng_tests::driver_suite!(OverTcp<super::Polling>; descriptors);
}

#[cfg(unix)]
mod unix {
    use throng_tests::driver::OverUnix;
    throng_tests::driver_suite!(OverUnix<super::Polling>; streams, listening, descriptors);
}
