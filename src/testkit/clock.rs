//! A clock that moves only when told to.

use crate::shim::Mutex;
use crate::time::timers::{HostedSleep, TimerHost, Timers};
use crate::time::{Clock, Sleep, Timer};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Virtual time for tests: starts at some instant and stands still until [`advance`](Self::advance)d.
///
/// Clones share the time. Timers fire in the order of their deadlines; those of one instant in the order in which they
/// were armed.
///
/// ```
/// use cofferdam::testkit::ManualClock;
/// use std::time::Duration;
///
/// let time = ManualClock::new();
/// let clock = time.clock();
/// let start = clock.now();
/// time.advance(Duration::from_secs(3600));
/// assert_eq!(clock.now() - start, Duration::from_secs(3600));
/// ```
#[derive(Clone)]
pub struct ManualClock(Arc<Host>);

pub(super) struct Host {
    start: Instant,
    moved: Mutex<Moved>,
    timers: Timers,
}

struct Moved {
    now: Instant,
    wall: SystemTime,
}

impl Host {
    pub(super) fn new() -> Arc<Self> {
        let clock = Clock::system();
        let now = clock.now();
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        Arc::new(Self { start: now, moved: Mutex::new(Moved { now, wall }), timers: Timers::default() })
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.now().saturating_duration_since(self.start)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    pub(super) fn armed(&self) -> usize {
        self.timers.len()
    }

    /// Moves the time without firing anything.
    fn set(&self, to: Instant) {
        let mut moved = self.moved.lock();
        if let Some(forward) = to.checked_duration_since(moved.now) {
            moved.wall += forward;
        }
        moved.now = to;
    }

    /// Moves to the next deadline that is not after `limit` and fires one timer there. False if there is none.
    pub(super) fn fire_next(&self, limit: Instant) -> bool {
        let Some(deadline) = self.timers.next().filter(|deadline| *deadline <= limit) else { return false };
        if deadline > self.now() {
            self.set(deadline);
        }
        if let Some(waker) = self.timers.pop_due(deadline) {
            waker.wake();
        }
        true
    }
}

impl TimerHost for Host {
    fn now(&self) -> Instant {
        self.moved.lock().now
    }

    fn timers(&self) -> &Timers {
        &self.timers
    }
}

impl ManualClock {
    /// A clock that stands still.
    pub fn new() -> Self {
        Self(Host::new())
    }

    pub(super) fn on(host: Arc<Host>) -> Self {
        Self(host)
    }

    /// The handle for components.
    pub fn clock(&self) -> Clock {
        Clock::new(self.clone())
    }

    /// Moves time forward by `by`, stopping at each armed deadline on the way to fire its timer, so that code which runs
    /// in a waker sees the very instant it asked for.
    ///
    /// # Panics
    /// If that is past the end of time.
    pub fn advance(&self, by: Duration) {
        self.advance_to(self.0.now() + by);
    }

    /// As [`advance`](Self::advance), to an instant. Does not go back.
    pub fn advance_to(&self, to: Instant) {
        while self.0.fire_next(to) {}
        if to > self.0.now() {
            self.0.set(to);
        }
        // What another thread armed between the last look and the move.
        while self.0.fire_next(to) {}
    }

    /// Sets the time to any instant, the past included, firing only what is due. For testing what a clock that jumps
    /// does to a component.
    pub fn set(&self, to: Instant) {
        self.0.set(to);
        while self.0.fire_next(to) {}
    }

    /// Sets the wall clock.
    pub fn set_wall(&self, to: SystemTime) {
        self.0.moved.lock().wall = to;
    }

    /// Time since the clock was made.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// The earliest armed deadline.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.0.next_deadline()
    }

    /// How many timers are armed: 0 when nothing waits, or something leaked.
    pub fn armed(&self) -> usize {
        self.0.armed()
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Timer for ManualClock {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn wall(&self) -> SystemTime {
        self.0.moved.lock().wall
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep::new(HostedSleep::new(Arc::clone(&self.0), deadline))
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock").field("elapsed", &self.elapsed()).field("armed", &self.armed()).finish()
    }
}
