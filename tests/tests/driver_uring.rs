//! The completion driver keeps the contract, over TCP and over Unix sockets, and where the ring is so
//! small that it is always full and its completions overflow.

#![cfg(target_os = "linux")]

use std::time::Instant;

use throng_tests::driver::Build;
use throng_transport::uring::{REQUESTS, UringDriver, UringOptions};

/// Builds the completion driver with a ring of so many requests.
#[derive(Debug)]
struct Completing<const REQUESTS: u32>;

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

type Usual = Completing<REQUESTS>;
type Tiny = Completing<2>;

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
