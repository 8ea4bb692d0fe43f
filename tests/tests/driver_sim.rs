//! The driver of the simulated network keeps the contract: in a calm network, and for what a network
//! full of faults leaves of it.

use throng_tests::driver::{Calm, Rough, Simulated};
use throng_transport::sim::{Faults, Network, SimDriver, SimFar};

mod calm {
    throng_tests::driver_suite!(super::Simulated<super::Calm>; streams, resets, listening);
}

mod rough {
    throng_tests::driver_suite!(super::Simulated<super::Rough>; streams, resets, listening);
}

/// What only a simulated network can do.
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod faults {
    use std::io::{Read, Write};
    use std::time::Duration;

    use throng_tests::driver::{Bytes, Record};
    use throng_transport::{Driver, SendQueue, Sent, Slice, SocketKey};

    use super::{Faults, Network, SimDriver, SimFar};

    const KEY: SocketKey = SocketKey {
        slot: 0,
        generation: 1,
    };

    fn connected(seed: u64, faults: Faults) -> (Network, SimDriver, SimFar, Record) {
        let network = Network::new(seed, move |_| faults);
        let mut driver = network.driver(4096);
        let (near, far) = network.pair(None);
        let mut record = Record::new(4096);
        record.connections.insert(KEY, Default::default());
        driver.adopt(KEY, near).unwrap();
        (network, driver, far, record)
    }

    fn wait(driver: &mut SimDriver, record: &mut Record, timeout: Option<Duration>) {
        record.before_wait();
        driver.wait(timeout, record).unwrap();
        record.after_wait();
    }

    /// A network that resets at any byte: what arrives is a clean prefix, then both ends learn of it.
    #[test]
    fn resets_at_any_byte_leave_a_clean_prefix() {
        let faults = Faults {
            segment: 100,
            resets: 20,
            ..Faults::calm()
        };
        let (mut whole, mut cut) = (0, 0);
        for seed in 0..200 {
            let (network, mut driver, mut far, mut record) = connected(seed, faults);
            let bytes = Bytes::of(seed, 3000);
            assert_eq!(far.write(&bytes).unwrap(), bytes.len());
            while network.next_event().is_some() {
                wait(&mut driver, &mut record, None);
            }
            while driver.is_due() {
                wait(&mut driver, &mut record, None);
            }
            let connection = &record.connections[&KEY];
            Bytes::assert_prefix(&connection.received, &bytes, "before the reset");
            if connection.failed.is_some() {
                cut += 1;
                assert!(far.read(&mut [0; 1]).is_err(), "the far end learns of it");
            } else {
                whole += 1;
                assert_eq!(connection.received.len(), bytes.len());
            }
        }
        assert!(whole > 20 && cut > 20, "{whole} whole, {cut} cut");
    }

    /// A peer that vanished takes nothing more, and nobody is told.
    #[test]
    fn who_vanishes_leaves_a_send_pending_for_ever() {
        let (network, mut driver, far, mut record) = connected(1, Faults::calm());
        far.vanish();
        wait(&mut driver, &mut record, Some(Duration::ZERO));
        let mut queue = SendQueue::new();
        queue.push(Slice::with_len(1 << 20, |out| out.fill(7)));
        assert_eq!(driver.send(KEY, &mut queue), Sent::Pending);
        for _ in 0..2 {
            wait(&mut driver, &mut record, Some(Duration::from_secs(1800)));
        }
        assert!(driver.unsent(KEY) > 0);
        assert!(network.now() >= Duration::from_secs(3600));
        let connection = &record.connections[&KEY];
        assert!(connection.failed.is_none() && !connection.ended);
    }

    /// A send that is taken late is pending although there is room.
    #[test]
    fn a_late_send_is_pending_and_then_done() {
        let faults = Faults {
            late_sends: throng_transport::sim::CHANCES,
            ..Faults::calm()
        };
        let (_, mut driver, mut far, mut record) = connected(1, faults);
        let mut queue = SendQueue::new();
        queue.push(Slice::with_len(5, |out| out.copy_from_slice(b"later")));
        assert_eq!(driver.send(KEY, &mut queue), Sent::Pending);
        record.connections.get_mut(&KEY).unwrap().pending = true;
        while record.connections[&KEY].sent == 0 {
            wait(&mut driver, &mut record, None);
        }
        let mut heard = [0; 5];
        while far.read(&mut heard).is_err() {
            wait(&mut driver, &mut record, None);
        }
        assert_eq!(&heard, b"later");
    }

    /// Accepting that fails is told, rests without spinning, and goes on.
    #[test]
    fn accepting_survives_failures() {
        let faults = Faults {
            accept_failures: 500,
            ..Faults::calm()
        };
        let network = Network::new(3, move |_| faults);
        let mut driver = network.driver(4096);
        driver.listen(network.listen(80)).unwrap();
        let fars: Vec<_> = (0..100).map(|_| network.connect(80).unwrap()).collect();
        let mut record = Record::new(4096);
        while network.next_event().is_some() || driver.is_due() {
            wait(&mut driver, &mut record, None);
        }
        let accepted = record.accepted.len();
        assert!((20..80).contains(&accepted), "{accepted} of {}", fars.len());
        let failed = record.accept_failed.len();
        assert!(failed >= fars.len() - accepted);
        assert!(
            record.waits <= 300,
            "{} waits for {failed} failures",
            record.waits
        );
        assert!(network.now() > Duration::from_millis(100), "it rests");
    }

    /// The same seed and calls give the same run; another seed gives another.
    #[test]
    fn a_seed_replays() {
        let run = |seed| {
            let network = Network::new(seed, Faults::drawn);
            let mut driver = network.driver(4096);
            driver.listen(network.listen(80)).unwrap();
            let mut fars: Vec<_> = (0..20).map(|_| network.connect(80).unwrap()).collect();
            for (seed, far) in (0..).zip(&mut fars) {
                let _ = far.write(&Bytes::of(seed, 500));
            }
            let mut record = Record::new(4096);
            for _ in 0..2000 {
                wait(&mut driver, &mut record, Some(Duration::from_millis(1)));
                let slots = record.connections.len()..;
                for (slot, (socket, _)) in slots.zip(record.accepted.drain(..)) {
                    let slot = u32::try_from(slot).unwrap();
                    let key = SocketKey { slot, ..KEY };
                    record.connections.insert(key, Default::default());
                    driver.adopt(key, socket).unwrap();
                }
            }
            (network.digest(), network.happened(), network.now())
        };
        for seed in 0..5 {
            assert_eq!(run(seed), run(seed));
        }
        assert_ne!(run(0).0, run(1).0);
    }
}
