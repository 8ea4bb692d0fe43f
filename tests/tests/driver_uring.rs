//! The completion driver keeps the contract, over TCP and over Unix sockets.

#![cfg(target_os = "linux")]

use std::time::Instant;

use throng_tests::driver::Build;
use throng_transport::uring::{UringDriver, UringOptions};

/// Builds the completion driver.
#[derive(Debug)]
struct Completing;

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

mod tcp {
    use throng_tests::driver::OverTcp;
    throng_tests::driver_suite!(OverTcp<super::Completing>; streams, resets, listening, urgency, descriptors);
}

mod unix {
    use throng_tests::driver::OverUnix;
    throng_tests::driver_suite!(OverUnix<super::Completing>; streams, listening, descriptors);
}
