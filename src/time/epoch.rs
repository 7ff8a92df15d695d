//! Nanoseconds since a component was made: what fits into an atomic.

use super::Clock;
#[cfg(feature = "quanta")]
use super::clock::Source;
use super::number;
use std::time::{Duration, Instant};

/// A clock with the instant from which a component counts its nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Epoch {
    /// The counter of a clock that reads one, at hand: a step through the clock's pointer costs as much as a decision.
    #[cfg(feature = "quanta")]
    counter: Option<Counter>,
    start: Instant,
    /// The start as a number, where instants can be read as such.
    start_number: Option<u64>,
    clock: Clock,
}

#[allow(dead_code, reason = "used by the rooms behind features")]
impl Epoch {
    #[cfg(feature = "quanta")]
    pub(crate) fn new(clock: Clock) -> Self {
        // One reading for both, so that the two ways of counting agree.
        let (counter, start) = match &clock.0 {
            Source::Quanta(quanta) => {
                let counter = Counter::new(quanta.clock.clone());
                let start = quanta.instant(counter.start);
                (Some(counter), start)
            }
            _ => (None, clock.now()),
        };
        Self { counter, start, start_number: number::start(&start, later), clock }
    }

    #[cfg(not(feature = "quanta"))]
    pub(crate) fn new(clock: Clock) -> Self {
        let start = clock.now();
        Self { start, start_number: number::start(&start, later), clock }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Nanoseconds from the epoch until now.
    #[inline(always)]
    pub(crate) fn nanos(&self) -> u64 {
        #[cfg(feature = "quanta")]
        if let Some(counter) = &self.counter {
            return counter.nanos_at(counter.clock.raw());
        }
        self.nanos_by_clock()
    }

    /// Out of line, as reading such a clock is itself a call.
    #[inline(never)]
    fn nanos_by_clock(&self) -> u64 {
        self.nanos_at(self.clock.now())
    }

    /// Nanoseconds from the epoch until `now`; 0 for instants before it, the largest number 584 years after it.
    #[inline]
    pub(crate) fn nanos_at(&self, now: Instant) -> u64 {
        match (self.start_number, number::number(&now)) {
            (Some(start), Some(now)) => now.saturating_sub(start),
            _ => self.nanos_by_difference(now),
        }
    }

    #[cold]
    fn nanos_by_difference(&self, now: Instant) -> u64 {
        /// Whole seconds that fit 64-bit nanoseconds, with a second to spare.
        const LAST: u64 = u64::MAX / 1_000_000_000 - 1;
        let since = now.saturating_duration_since(self.start);
        // One comparison, in place of saturating at every step.
        if since.as_secs() > LAST {
            return u64::MAX;
        }
        since.as_secs() * 1_000_000_000 + u64::from(since.subsec_nanos())
    }

    /// The instant `nanos` after the epoch, or `None` past the end of time.
    pub(crate) fn instant(&self, nanos: u64) -> Option<Instant> {
        self.start.checked_add(Duration::from_nanos(nanos))
    }
}

fn later(instant: &Instant, step: Duration) -> Option<Instant> {
    instant.checked_add(step)
}

/// The time-stamp counter, as one component counts by it.
#[cfg(feature = "quanta")]
#[derive(Clone, Debug)]
struct Counter {
    clock: quanta::Clock,
    /// What it read at the start.
    start: u64,
    /// Nanoseconds of 2^64 ticks; 0 where that is too much for the number.
    rate: u64,
}

#[cfg(feature = "quanta")]
impl Counter {
    fn new(clock: quanta::Clock) -> Self {
        let rate = rate(|ticks| clock.delta_as_nanos(0, ticks));
        Self { start: clock.raw(), rate, clock }
    }

    /// As the clock itself would say: but that does not know its shift beforehand, and so shifts by several steps.
    #[inline(always)]
    fn nanos_at(&self, raw: u64) -> u64 {
        if self.rate == 0 {
            return self.clock.delta_as_nanos(self.start, raw);
        }
        let ticks = raw.saturating_sub(self.start);
        ((u128::from(ticks) * u128::from(self.rate)) >> 64) as u64
    }
}

/// Nanoseconds of 2^64 ticks; 0 if those are not shorter than a nanosecond each.
#[cfg(feature = "quanta")]
fn rate(nanos: impl Fn(u64) -> u64) -> u64 {
    // Few first, as many slow ticks would be more than the answer holds.
    if nanos(1 << 32) >= 1 << 32 {
        return 0;
    }
    // As many as may be, so that what is cut off here is less than a nanosecond in a lifetime.
    nanos(1 << 63).checked_mul(2).unwrap_or(0)
}

/// The time-stamp counter, laid along the system's timeline at the moment of construction.
#[cfg(feature = "quanta")]
pub(crate) struct Quanta {
    clock: quanta::Clock,
    anchor: Instant,
    anchor_raw: u64,
}

#[cfg(feature = "quanta")]
impl Quanta {
    pub(super) fn new() -> Self {
        let clock = quanta::Clock::new();
        let anchor = super::system::now();
        let anchor_raw = clock.raw();
        Self { clock, anchor, anchor_raw }
    }

    #[inline]
    pub(super) fn now(&self) -> Instant {
        self.instant(self.clock.raw())
    }

    #[inline]
    fn instant(&self, raw: u64) -> Instant {
        let nanos = self.clock.delta_as_nanos(self.anchor_raw, raw);
        self.anchor + Duration::from_nanos(nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::ManualClock;

    #[test]
    fn nanoseconds_and_instants_are_each_other_s_inverse_and_saturate() {
        let time = ManualClock::new();
        let epoch = Epoch::new(time.clock());
        assert_eq!(epoch.nanos(), 0);
        time.advance(Duration::new(3, 7));
        assert_eq!(epoch.nanos(), 3_000_000_007);
        assert_eq!(epoch.instant(3_000_000_007), Some(epoch.clock().now()));
        let start = epoch.clock().now() - Duration::new(3, 7);
        assert_eq!(epoch.nanos_at(start - Duration::from_secs(1)), 0, "before the epoch");
        let centuries = Duration::from_secs(600 * 366 * 24 * 3600);
        assert_eq!(start.checked_add(centuries).map(|late| epoch.nanos_at(late)), Some(u64::MAX));
    }

    #[test]
    fn by_numbers_and_by_differences_it_is_the_same_time() {
        let epoch = Epoch::new(Clock::system());
        assert!(epoch.start_number.is_some());
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..20_000 {
            // Of every size, beyond all numbers on either side too.
            let seconds = random.u64(..1 << 36) >> random.u32(0..37);
            let step = Duration::new(seconds, random.u32(..1_000_000_000));
            for instant in
                [epoch.start.checked_add(step), epoch.start.checked_sub(step)].into_iter().flatten()
            {
                assert_eq!(epoch.nanos_at(instant), epoch.nanos_by_difference(instant), "{step:?}");
            }
        }
    }

    #[cfg(feature = "quanta")]
    #[test]
    fn on_the_counter_both_ways_of_counting_agree() {
        let clock = Clock::quanta();
        for _ in 0..1000 {
            let epoch = Epoch::new(clock.clone());
            let (first, between, last) = (epoch.nanos(), epoch.nanos_at(epoch.clock().now()), epoch.nanos());
            // A nanosecond for rounding, which differs with where the counting starts.
            assert!(first <= between + 1 && between <= last + 1, "{first} {between} {last}");
        }
    }

    #[cfg(feature = "quanta")]
    #[test]
    fn ticks_are_as_long_as_the_counter_says() {
        let counter = Counter::new(quanta::Clock::new());
        let mut random = fastrand::Rng::with_seed(9);
        for _ in 0..20_000 {
            let ticks = random.u64(..) >> random.u32(1..64);
            let raw = counter.start.saturating_add(ticks);
            let (ours, theirs) = (counter.nanos_at(raw), counter.clock.delta_as_nanos(counter.start, raw));
            assert!(ours == theirs || ours + 1 == theirs, "{ours} {theirs} of {ticks}");
        }
        assert_eq!(counter.nanos_at(counter.start.saturating_sub(1)), 0, "before the start");
        // One that ticks by the nanosecond or slower is asked each time.
        assert_eq!(rate(|ticks| (u128::from(ticks) * 5 / 2) as u64), 0);
        let (clock, mock) = quanta::Clock::mock();
        let counter = Counter::new(clock);
        mock.increment(7_u64);
        assert_eq!((counter.rate, counter.nanos_at(counter.clock.raw())), (0, 7));
    }
}
