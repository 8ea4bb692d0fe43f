//! What an idle TLS connection takes, counted by the allocator.

use throng_tests::driver::builders::Polling;
use throng_tests::driver::{OverTcp, OverTls, Rig};
use throng_tests::hostile::{Counting, Watch};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Connections measured.
const CONNECTIONS: usize = 50;
/// Bytes that one may take: what rustls keeps, keys foremost, and our entry. It is 3,538 with ring.
const MOST: usize = 4 * 1024;

/// Connections that have talked, in records whole and split, hold little once they are silent.
#[test]
fn an_idle_connection_holds_little() {
    let watch = Watch::begin();
    let mut rig = Rig::<OverTls<OverTcp<Polling>>>::new();
    let mut ends: Vec<_> = (0..CONNECTIONS).map(|_| rig.open()).collect();
    for (key, far) in &mut ends {
        rig.far_writes(far, &[7; 40_000]);
        rig.until_received(*key, 40_000);
        rig.assert_alive(*key, far, 1);
    }
    rig.quiet();
    let before = watch.held();
    for (key, _) in &ends {
        rig.close(*key);
    }
    let each = (before - watch.held()) / CONNECTIONS;
    assert!((1..=MOST).contains(&each), "{each} bytes each");
}
