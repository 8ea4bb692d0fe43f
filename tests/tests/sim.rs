//! The simulation: a few seeds of each kind, and that a seed always does the same.

use throng_tests::sim::run;

/// What each has found out is mended.
const ONCE_BROKEN: [u64; 1] = [376];
const SEEDS: u64 = 60;

#[test]
fn seeds_keep_the_rules() {
    let (mut events, mut heard) = (0, 0);
    for seed in (0..SEEDS).chain(ONCE_BROKEN) {
        let outcome = run(seed, false);
        assert_eq!(outcome.violation, None, "seed {seed}");
        events += outcome.events;
        heard += outcome.heard;
    }
    assert!(
        events > 10_000 && heard > 1000,
        "{events} events, {heard} messages"
    );
}

/// Also beside other runs, on other threads.
#[test]
fn a_seed_replays_identically() {
    let outcomes = |_| (0..20).map(|seed| run(seed, true)).collect::<Vec<_>>();
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(|| outcomes(()));
        (outcomes(()), other.join().unwrap())
    });
    assert_eq!(first, second);
    let mut digests: Vec<u64> = first.iter().map(|outcome| outcome.digest).collect();
    digests.dedup();
    assert_eq!(digests.len(), 20, "seeds differ");
}
