//! The completion driver keeps the contract, over TCP and over Unix sockets, and where the ring is so
//! small that it is always full and its completions overflow.

#![cfg(target_os = "linux")]

use throng_tests::driver::builders::Completing;
use throng_transport::uring::REQUESTS;

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
