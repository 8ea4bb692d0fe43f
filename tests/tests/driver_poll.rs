//! The readiness driver keeps the contract, over TCP and over Unix sockets.

mod tcp {
    use throng_tests::driver::OverTcp;
    use throng_tests::driver::builders::Polling;
    throng_tests::driver_suite!(OverTcp<Polling>; streams, resets, listening);
    #[cfg(target_os = "linux")]
    throng_tests::driver_suite!(OverTcp<Polling>; urgency);
    #[cfg(unix)]
    throng_tests::driver_suite!(OverTcp<Polling>; descriptors);
}

#[cfg(unix)]
mod unix {
    use throng_tests::driver::OverUnix;
    use throng_tests::driver::builders::Polling;
    throng_tests::driver_suite!(OverUnix<Polling>; streams, listening, descriptors);
}
