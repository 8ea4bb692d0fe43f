use super::*;

const KEY: SocketKey = SocketKey {
    slot: 0,
    generation: 0,
};

fn future(jobs: &mut Jobs) -> JobId {
    jobs.insert(KEY, |jobs, id| {
        let alarm = jobs.woken.alarm(id);
        alarm.wake_by_ref();
        Kind::Work {
            work: None,
            alarm,
            overdue: Foreign::default(),
            outlives: false,
            seat: None,
        }
    })
}

#[test]
fn what_has_ended_takes_no_place_among_those_that_are_woken_or_due() {
    let mut jobs = Jobs::new(Waker::new(|| true));
    for _ in 0..3 * JOBS_PER_TURN {
        let ended = future(&mut jobs);
        jobs.due.push(Reverse((Duration::ZERO, ended)));
        jobs.remove(ended);
    }
    let woken = future(&mut jobs);
    jobs.due.push(Reverse((Duration::from_secs(1), woken)));
    let mut left = jobs.woken.len();
    assert_eq!(jobs.next_woken(&mut left), Some(woken));
    assert_eq!(jobs.next_woken(&mut left), None);
    assert_eq!(jobs.next_due(Duration::from_millis(999)), None);
    assert_eq!(jobs.next_due(Duration::from_secs(1)), Some(woken));
    assert_eq!(jobs.next_due(Duration::from_secs(1)), None);
}

#[test]
fn what_is_woken_meanwhile_waits_for_the_next_turn() {
    let mut jobs = Jobs::new(Waker::new(|| true));
    let first = future(&mut jobs);
    let mut left = jobs.woken.len();
    let second = future(&mut jobs);
    assert_eq!(jobs.next_woken(&mut left), Some(first));
    assert_eq!(jobs.next_woken(&mut left), None);
    assert_eq!(jobs.wait(Duration::ZERO), Some(Duration::ZERO));
    let mut left = jobs.woken.len();
    assert_eq!(jobs.next_woken(&mut left), Some(second));
}
