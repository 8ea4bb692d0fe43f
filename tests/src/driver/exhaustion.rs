//! Promise 9, the hard part: descriptors run out.
//!
//! The limit is lowered in a process of its own (this test program, started again for this one
//! test), since it would fail whatever runs beside it.

use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use throng_transport::{Driver, SocketKey};

use super::rig::{PATIENCE, Rig};
use super::{Bytes, Listens};

/// Tells the child process that it is one.
const CHILD: &str = "THRONG_SUITE_FEW_DESCRIPTORS";
/// Descriptors of the child.
const DESCRIPTORS: u64 = 128;
/// How long the driver is watched while descriptors are lacking.
const WATCHED: Duration = Duration::from_millis(500);
/// Waits that may return meanwhile, though nothing of use can be done.
const WAITS_WATCHED: u64 = 60;

/// Runs `case` in a child process in which this test, named `test`, runs alone and with few
/// descriptors.
fn alone_with_few_descriptors(test: &str, case: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = Some(DESCRIPTORS);
        setrlimit(Resource::Nofile, limit).expect("a lower limit");
        return case();
    }
    let program = std::env::current_exe().unwrap();
    // The name without the crate, as the test program knows it.
    let (_, test) = test.split_once("::").expect("a path");
    let child = Command::new(program)
        .args([test, "--exact", "--test-threads=1", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    let cried = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}\n{cried}");
    assert!(said.contains("1 passed"), "{test} did not run: {said}");
}

/// All descriptors that are left.
fn hoard() -> Vec<File> {
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    assert!(!hoard.is_empty(), "descriptors to take away");
    hoard
}

/// Waits as long as the driver is watched. How many waits returned.
fn watch<F: Listens>(rig: &mut Rig<F>) -> u64 {
    let (begun, before) = (Instant::now(), rig.record.waits);
    while let Some(rest) = WATCHED.checked_sub(begun.elapsed()) {
        rig.wait(rest);
    }
    rig.record.waits - before
}

fn exchange<F: Listens>(rig: &mut Rig<F>, ends: &mut [(SocketKey, F::Far)], seed: u64) {
    for (key, far) in ends {
        rig.assert_alive(*key, far, seed);
    }
}

/// Descriptors run out while a newcomer knocks: the service is told, connections are served, the
/// driver does not spin, the newcomer is turned away rather than left hanging, and once there
/// are descriptors again newcomers are accepted by themselves.
pub fn accepting_survives_a_lack_of_descriptors<F: Listens>(test: &str) {
    alone_with_few_descriptors(test, || {
        let mut rig = Rig::<F>::new();
        let (listener, address) = rig.fixture.listener();
        rig.driver.listen(listener).expect("listen");
        let mut ends = Vec::new();
        for _ in 0..4 {
            let far = rig.fixture.connect(&address).expect("somebody listens");
            ends.push((rig.adopt_accepted(1)[0], far));
        }
        for round in 0..2 {
            let mut hoard = hoard();
            hoard.pop();
            // Takes the descriptor that was just set free; accepting it would take another.
            let mut turned_away = rig.fixture.connect(&address).expect("somebody listens");
            let told = rig.record.accept_failed.len();
            rig.until("told", |rig| rig.record.accept_failed.len() > told);
            let waits = watch(&mut rig);
            assert!(waits <= WAITS_WATCHED, "{waits} waits returned for nothing");
            assert!(rig.record.accepted.is_empty());
            exchange(&mut rig, &mut ends, 120 + round);
            rig.until("turned away", |_| !Rig::<F>::is_connected(&mut turned_away));
            drop(turned_away);
            drop(hoard);
            let far = rig.fixture.connect(&address).expect("somebody listens");
            ends.push((rig.adopt_accepted(1)[0], far));
            exchange(&mut rig, &mut ends, 130 + round);
        }
    });
}

/// A newcomer who knocks during the rest after a shortage is let in when it is over, without a
/// further event and without the service's help.
pub fn a_newcomer_during_the_rest_is_let_in<F: Listens>(test: &str) {
    alone_with_few_descriptors(test, || {
        let mut rig = Rig::<F>::new();
        let (listener, address) = rig.fixture.listener();
        rig.driver.listen(listener).expect("listen");
        rig.wait(Duration::ZERO);
        let mut hoard = hoard();
        hoard.pop();
        let _turned_away = rig.fixture.connect(&address).expect("somebody listens");
        rig.until("told", |rig| !rig.record.accept_failed.is_empty());
        hoard.pop();
        let mut far = rig.fixture.connect(&address).expect("somebody listens");
        drop(hoard);
        let begun = Instant::now();
        while rig.record.accepted.is_empty() {
            rig.wait(PATIENCE);
            assert!(begun.elapsed() < PATIENCE, "a wait parked on a newcomer");
        }
        let key = rig.adopt_accepted(1)[0];
        rig.assert_alive(key, &mut far, 140);
        Bytes::assert_same(&rig.connection(key).received, &Bytes::of(140, 64), "let in");
    });
}

/// Several newcomers knock at once while there are no descriptors: each is turned away, without
/// a further event.
pub fn all_newcomers_are_answered<F: Listens>(test: &str) {
    alone_with_few_descriptors(test, || {
        let mut rig = Rig::<F>::new();
        let (listener, address) = rig.fixture.listener();
        rig.driver.listen(listener).expect("listen");
        rig.wait(Duration::ZERO);
        let mut hoard = hoard();
        let mut newcomers = Vec::new();
        for _ in 0..5 {
            hoard.pop();
            newcomers.push(rig.fixture.connect(&address).expect("somebody listens"));
        }
        rig.until("all turned away", |rig| {
            assert!(rig.record.accepted.is_empty());
            let mut newcomers = newcomers.iter_mut();
            newcomers.all(|far| !Rig::<F>::is_connected(far))
        });
        assert!(!rig.record.accept_failed.is_empty());
    });
}

/// There never was a descriptor to spare: the driver still does not spin, accepts once there
/// are some, and is prepared for the next time.
pub fn a_lack_from_the_start_is_survived<F: Listens>(test: &str) {
    alone_with_few_descriptors(test, || {
        let mut rig = Rig::<F>::new();
        let (listener, address) = rig.fixture.listener();
        let mut hoard = hoard();
        rig.driver.listen(listener).expect("listen");
        hoard.pop();
        let mut first = rig.fixture.connect(&address).expect("somebody listens");
        rig.until("told", |rig| !rig.record.accept_failed.is_empty());
        let waits = watch(&mut rig);
        assert!(waits <= WAITS_WATCHED, "{waits} waits returned for nothing");
        drop(hoard);
        let mut second = rig.fixture.connect(&address).expect("somebody listens");
        rig.until("the first one's fate and the second one's entry", |rig| {
            let turned_away = !Rig::<F>::is_connected(&mut first);
            rig.record.accepted.len() + usize::from(turned_away) == 2
        });
        let accepted = rig.record.accepted.len();
        let keys = rig.adopt_accepted(accepted);
        rig.assert_alive(keys[accepted - 1], &mut second, 150);
        let mut hoard = self::hoard();
        hoard.pop();
        let mut third = rig.fixture.connect(&address).expect("somebody listens");
        rig.until("turned away", |_| !Rig::<F>::is_connected(&mut third));
    });
}
