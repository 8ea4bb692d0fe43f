//! The clocks of a run: time in nanoseconds, and a wake-up finer than a millisecond.

use std::time::Duration;

use mio::{Events, Poll, Token};
use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the machine's monotonic clock. All processes of one machine read the
/// same clock, so a stamp written by one worker can be read by another.
pub fn now() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// Nanoseconds of CPU (user and system) the calling thread has used.
pub(crate) fn thread_cpu() -> u64 {
    nanoseconds(ClockId::ThreadCPUTime)
}

/// A duration in nanoseconds, up to 584 years.
pub(crate) fn as_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// The token under which the alarm wakes the poll.
pub(crate) const ALARM: Token = Token(usize::MAX);

/// Waits for readiness until a moment. The timeout of `epoll_wait` counts in
/// milliseconds, which would smear the sending times of an open loop; a timer in the poll
/// does not.
#[derive(Debug)]
pub(crate) struct Alarm {
    #[cfg(target_os = "linux")]
    timer: rustix::fd::OwnedFd,
    /// The moment the timer is set to.
    #[cfg(target_os = "linux")]
    set: u64,
}

#[cfg(target_os = "linux")]
impl Alarm {
    pub(crate) fn new(poll: &Poll) -> std::io::Result<Self> {
        use rustix::fd::AsRawFd;
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};

        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        poll.registry().register(
            &mut mio::unix::SourceFd(&timer.as_raw_fd()),
            ALARM,
            mio::Interest::READABLE,
        )?;
        Ok(Self { timer, set: 0 })
    }

    /// Polls until something is ready or `until` (on the clock of [`now`]) has come.
    pub(crate) fn poll_until(
        &mut self,
        poll: &mut Poll,
        events: &mut Events,
        until: u64,
    ) -> std::io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};

        if until <= now() {
            return poll_for(poll, events, Some(Duration::ZERO));
        }
        // Answers wake the poll too; the moment waited for stays the same meanwhile.
        if self.set != until {
            let at = Itimerspec {
                it_interval: Timespec::default(),
                it_value: Timespec {
                    tv_sec: i64::try_from(until / 1_000_000_000).unwrap_or(i64::MAX),
                    tv_nsec: i64::try_from(until % 1_000_000_000).unwrap_or(0),
                },
            };
            timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &at)?;
            self.set = until;
        }
        poll_for(poll, events, None)
    }
}

#[cfg(not(target_os = "linux"))]
impl Alarm {
    pub(crate) fn new(_: &Poll) -> std::io::Result<Self> {
        Ok(Self {})
    }

    /// Polls until something is ready or `until` (on the clock of [`now`]) has come,
    /// to the millisecond.
    pub(crate) fn poll_until(
        &mut self,
        poll: &mut Poll,
        events: &mut Events,
        until: u64,
    ) -> std::io::Result<()> {
        let left = Duration::from_nanos(until.saturating_sub(now()));
        poll_for(poll, events, Some(left))
    }
}

/// `Poll::poll`, taking an interruption by a signal for an empty turn.
pub(crate) fn poll_for(
    poll: &mut Poll,
    events: &mut Events,
    timeout: Option<Duration>,
) -> std::io::Result<()> {
    match poll.poll(events, timeout) {
        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
        other => other,
    }
}
