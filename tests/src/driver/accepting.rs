//! Promise 9: accepting.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use throng_transport::{Driver, Peer, SocketKey};

use super::rig::{PATIENCE, TICK, read_some};
use super::{Fixture, Listens, Rig};

/// Connections of the case with many.
const MANY: usize = 600;
/// How long a wait parks that has nothing to do.
const PARK: Duration = Duration::from_millis(20);

impl<F: Fixture> Rig<F> {
    /// Waits until `count` connections have been accepted and takes them over.
    pub fn adopt_accepted(&mut self, count: usize) -> Vec<SocketKey> {
        self.until("connections", |rig| rig.record.accepted.len() >= count);
        let accepted: Vec<_> = self.record.accepted.drain(..count).collect();
        let adopt = |(socket, _)| {
            let key = self.fresh_key();
            self.adopt(key, socket);
            key
        };
        accepted.into_iter().map(adopt).collect()
    }

    /// Whether the far end is still connected, as far as it can tell.
    pub fn is_connected(far: &mut F::Far) -> bool {
        read_some(far, &mut [0; 16]).1.is_none()
    }
}

/// Several listeners at once, bound here and inherited: each connection is accepted, and works.
pub fn several_listeners<F: Listens>() {
    let mut rig = Rig::<F>::new();
    let listeners = [
        rig.fixture.listener(),
        rig.fixture.inherited(),
        rig.fixture.listener(),
    ];
    let addresses = listeners.map(|(listener, address)| {
        rig.driver.listen(listener).expect("listen");
        address
    });
    for round in 0..3 {
        for address in &addresses {
            let mut far = rig.fixture.connect(address).expect("somebody listens");
            let [key] = rig.adopt_accepted(1)[..] else {
                panic!("one connection");
            };
            rig.assert_alive(key, &mut far, 100 + round);
        }
    }
    assert!(rig.record.accept_failed.is_empty());
}

/// Connections that came before the driver knew of the listener are accepted, many of them, in a
/// bounded number per wait and without a further event.
pub fn many_connections_at_once<F: Listens>() {
    let mut rig = Rig::<F>::new();
    let (listener, address) = rig.fixture.listener();
    let fars: Vec<_> = (0..MANY)
        .map(|_| rig.fixture.connect(&address).expect("somebody listens"))
        .collect();
    rig.driver.listen(listener).expect("listen");
    let begun = Instant::now();
    while rig.record.accepted.len() < MANY {
        rig.wait(PATIENCE);
        assert!(begun.elapsed() < PATIENCE, "a wait parked on connections");
    }
    let tcp: HashSet<_> = rig.record.accepted.iter().map(|(_, peer)| *peer).collect();
    let unix = tcp.contains(&Peer::Unix);
    assert_eq!(tcp.len(), if unix { 1 } else { MANY }, "peers told apart");
    assert_eq!(fars.len(), rig.record.accepted.len());
}

/// A listener is shut down by somebody else who holds it: that is told once, the driver parks, the
/// others go on, and new ones can take its place.
pub fn a_listener_shut_down_elsewhere_is_let_go<F: Listens>() {
    let mut rig = Rig::<F>::new();
    let (before, before_address) = rig.fixture.listener();
    rig.driver.listen(before).expect("listen");
    for round in 1..=3 {
        let (listener, address, shut_down) = rig.fixture.held_elsewhere();
        let (behind, behind_address) = rig.fixture.listener();
        rig.driver.listen(listener).expect("listen");
        rig.driver.listen(behind).expect("listen");
        let mut far = rig.fixture.connect(&address).expect("somebody listens");
        let mut keys = rig.adopt_accepted(1);
        shut_down();
        rig.until("told", |rig| rig.record.accept_failed.len() >= round);
        rig.until("a wait that parks", |rig| rig.park(PARK) >= PARK);
        assert_eq!(rig.record.accept_failed.len(), round, "told once");
        rig.assert_alive(keys[0], &mut far, 160);
        for address in [&before_address, &behind_address] {
            let mut far = rig.fixture.connect(address).expect("somebody listens");
            keys = rig.adopt_accepted(1);
            rig.assert_alive(keys[0], &mut far, 162);
        }
    }
}

/// After listening has stopped newcomers are refused, connections go on, and listening can begin
/// again.
pub fn stopping_refuses_newcomers<F: Listens>() {
    let mut rig = Rig::<F>::new();
    for round in 0..3 {
        let mut addresses = Vec::new();
        for _ in 0..2 {
            let (listener, address) = rig.fixture.listener();
            rig.driver.listen(listener).expect("listen");
            addresses.push(address);
        }
        let mut far = rig
            .fixture
            .connect(&addresses[1])
            .expect("somebody listens");
        let key = rig.adopt_accepted(1)[0];
        rig.driver.stop_listening();
        for address in &addresses {
            assert!(rig.fixture.connect(address).is_err(), "nobody listens");
        }
        rig.quiet();
        assert!(rig.record.accepted.is_empty());
        rig.assert_alive(key, &mut far, 110 + round);
    }
}

/// Connections that nobody had accepted when listening stopped are not left hanging.
pub fn stopping_turns_away_who_waits<F: Listens>() {
    let mut rig = Rig::<F>::new();
    let (listener, address) = rig.fixture.listener();
    rig.driver.listen(listener).expect("listen");
    rig.wait(TICK);
    let mut far = rig.fixture.connect(&address).expect("somebody listens");
    rig.driver.stop_listening();
    rig.until("turned away", |rig| {
        rig.record.accepted.clear();
        !Rig::<F>::is_connected(&mut far)
    });
}
