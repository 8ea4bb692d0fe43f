//! Promise 2 again: urgent data, at which the system interrupts a receive, holds up nothing behind
//! it.

use throng_transport::SocketKey;

use super::rig::TICK;
use super::{Fixture, Rig, Urge};

/// What is sent as urgent, and never otherwise.
const URGENT: u8 = b'!';

/// What was delivered but for the urgent bytes, which a system may leave out of the stream.
fn ordinary<F: Fixture>(rig: &Rig<F>, key: SocketKey) -> Vec<u8> {
    let mut bytes = rig.connection(key).received.clone();
    bytes.retain(|byte| *byte != URGENT);
    bytes
}

/// Bytes, an urgent one and bytes again are there at once: all are delivered without another
/// event, at every length of the first part around the receive buffer's, paused meanwhile or not.
pub fn urgent_data_hides_nothing<F: Fixture<Far: Urge>>() {
    let mut rig = Rig::<F>::with_receive_buffer(100);
    for length in [0, 1, 99, 100, 101, 250] {
        for paused in [false, true] {
            let (key, mut far) = rig.open();
            if paused {
                rig.pause(key);
            }
            let mut all = Vec::new();
            for round in 1..=3 {
                let (before, behind) = (vec![b'a'; length], vec![b'b'; 10 * round]);
                rig.far_writes(&mut far, &before);
                far.urge(URGENT);
                rig.far_writes(&mut far, &behind);
                all.extend(before.into_iter().chain(behind));
                if paused {
                    rig.wait(TICK);
                    rig.resume(key);
                }
                rig.until("what lies behind", |rig| ordinary(rig, key) == all);
                rig.wait(TICK);
                if paused {
                    rig.pause(key);
                }
            }
        }
    }
}
