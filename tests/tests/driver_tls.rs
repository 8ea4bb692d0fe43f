//! TLS keeps the contract, over each driver.

mod poll {
    use throng_tests::driver::builders::Polling;
    use throng_tests::driver::{OverTcp, OverTls};
    throng_tests::driver_suite!(OverTls<OverTcp<Polling>>; streams, resets, listening);
    #[cfg(unix)]
    throng_tests::driver_suite!(OverTls<OverTcp<Polling>>; descriptors);
}

#[cfg(target_os = "linux")]
mod uring {
    use throng_tests::driver::builders::Completing;
    use throng_tests::driver::{OverTcp, OverTls};
    use throng_transport::uring::REQUESTS;
    throng_tests::driver_suite!(OverTls<OverTcp<Completing<REQUESTS>>>; streams, resets, listening, descriptors);
}

#[cfg(unix)]
mod tokio_tcp {
    use throng_tests::driver::builders::Tasked;
    use throng_tests::driver::{OverTcp, OverTls};
    throng_tests::driver_suite!(OverTls<OverTcp<Tasked>>; streams, resets, listening, descriptors);
}

#[cfg(target_os = "linux")]
mod tokio_uring_tcp {
    use throng_tests::driver::builders::RingTasked;
    use throng_tests::driver::{OverTcp, OverTls};
    throng_tests::driver_suite!(OverTls<OverTcp<RingTasked<256>>>; streams, resets, listening, descriptors);
}

/// Streams that are not the system's.
#[cfg(unix)]
mod tokio_duplex {
    use throng_tests::driver::builders::Tasked;
    use throng_tests::driver::{OverDuplex, OverTls};
    throng_tests::driver_suite!(OverTls<OverDuplex<Tasked>>; streams);
}

mod sim_calm {
    use throng_tests::driver::{Calm, OverTls, Simulated};
    throng_tests::driver_suite!(OverTls<Simulated<Calm>>; streams, resets, listening);
}

mod sim_rough {
    use throng_tests::driver::{OverTls, Rough, Simulated};
    throng_tests::driver_suite!(OverTls<Simulated<Rough>>; streams, resets, listening);
}
