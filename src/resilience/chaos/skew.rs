//! Clocks that are wrong on purpose.

use super::rate::{self, Rate, Switch};
use super::{IntoRate, IntoSwitch};
use crate::shim::{AtomicU64, Ordering};
use crate::time::{Clock, Sleep, Timer};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A clock that steps ahead and back at random, by rate and seed: as a machine that was suspended, a virtual one that was moved, or
/// processors whose counters disagree would have it. What is built on it is to bear that.
///
/// ```
/// use cofferdam::resilience::CircuitBreaker;
/// use cofferdam::resilience::chaos::ClockSkew;
/// use cofferdam::time::Clock;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), cofferdam::ConfigError> {
/// let skew = ClockSkew::builder()
///     .clock(Clock::system())
///     .ahead(0.001, Duration::from_secs(5))
///     .back(0.001, Duration::from_secs(5))
///     .seed(42)
///     .build();
/// let breaker = CircuitBreaker::builder().clock(skew.clock()).build()?;
/// # let _ = breaker;
/// skew.step_back(Duration::from_secs(1));
/// assert_eq!(skew.stats().back, 1);
/// # Ok(())
/// # }
/// ```
///
/// # What is decided when
/// The rules are gone through at each reading of the time, in the order in which they were given: each steps if a random number below 1 is
/// below its rate, for itself. A step stays: it is in all later readings, of the monotonic time and of the wall clock alike. Rates and the
/// switch may be functions; these must not read this clock. The numbers follow from the [seed](ClockSkewBuilder::seed) and the count of
/// decisions so far, as those of a [`Chaos`](super::Chaos) do.
///
/// # Timers
/// A timer is armed for what is left until its deadline by the clock as it stands then. A later step does not move it: after one back it
/// goes off when the clock is not there yet, after one ahead when it is long past.
///
/// # Events
/// There are none: those who are told would read the clock. [`stats`](Self::stats) has the counts.
///
/// # When to use something else
/// Never in a build that is not meant for it, as [`Chaos`](super::Chaos). To let time pass in a test, use the manual clock of the test kit.
///
/// Clones are the same clock.
#[derive(Clone)]
pub struct ClockSkew {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    rules: Box<[(Rate, Step)]>,
    switch: Switch,
    seed: u64,
    decisions: AtomicU64,
    /// Nanoseconds by which it is ahead, in two's complement.
    offset: AtomicU64,
    steps: [AtomicU64; 2],
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ahead(Duration),
    Back(Duration),
}

/// How often a [`ClockSkew`] has stepped, by rule and by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClockSkewStats {
    /// Steps ahead.
    pub ahead: u64,
    /// Steps back.
    pub back: u64,
    /// By how much it is ahead now; zero if it is not.
    pub is_ahead_by: Duration,
    /// By how much it is behind now; zero if it is not.
    pub is_behind_by: Duration,
}

impl ClockSkew {
    /// Rules to be added.
    pub fn builder() -> ClockSkewBuilder {
        ClockSkewBuilder { clock: Clock::system(), rules: Vec::new(), switch: Switch::Always(true), seed: 0 }
    }

    /// The clock, for what is to be built on it.
    pub fn clock(&self) -> Clock {
        Clock::new(self.clone())
    }

    /// Steps ahead, now.
    pub fn step_ahead(&self, by: Duration) {
        self.inner.step(Step::Ahead(by));
    }

    /// Steps back, now.
    pub fn step_back(&self, by: Duration) {
        self.inner.step(Step::Back(by));
    }

    /// How often it has stepped, and where it is by now.
    pub fn stats(&self) -> ClockSkewStats {
        let offset = self.inner.offset();
        let [ahead, back] = &self.inner.steps;
        let by = Duration::from_nanos(offset.unsigned_abs());
        ClockSkewStats {
            ahead: ahead.load(Ordering::Relaxed),
            back: back.load(Ordering::Relaxed),
            is_ahead_by: if offset > 0 { by } else { Duration::ZERO },
            is_behind_by: if offset < 0 { by } else { Duration::ZERO },
        }
    }
}

// Relaxed throughout: each number is all there is to it.
impl Inner {
    fn offset(&self) -> i64 {
        signed(self.offset.load(Ordering::Relaxed))
    }

    fn step(&self, step: Step) {
        let nanos = |by: Duration| i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
        let (by, counted) = match step {
            Step::Ahead(by) => (nanos(by), 0),
            Step::Back(by) => (-nanos(by), 1),
        };
        let stepped = |offset| Some(u64::from_ne_bytes(signed(offset).saturating_add(by).to_ne_bytes()));
        let _ = self.offset.fetch_update(Ordering::Relaxed, Ordering::Relaxed, stepped);
        if let Some(count) = self.steps.get(counted) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What the rules have for this reading.
    fn decide(&self) {
        if !self.switch.is_on() {
            return;
        }
        for (rate, step) in &self.rules {
            let rate = rate.get();
            let decision = self.decisions.fetch_add(1, Ordering::Relaxed);
            if rate::strikes(self.seed, decision, rate) {
                self.step(*step);
            }
        }
    }
}

/// In two's complement.
fn signed(offset: u64) -> i64 {
    i64::from_ne_bytes(offset.to_ne_bytes())
}

/// A time so much later, or earlier; itself where there is none.
fn shifted<T: Copy>(
    time: T,
    by: i64,
    later: impl FnOnce(&T, Duration) -> Option<T>,
    earlier: impl FnOnce(&T, Duration) -> Option<T>,
) -> T {
    let nanos = Duration::from_nanos(by.unsigned_abs());
    let shifted = if by < 0 { earlier(&time, nanos) } else { later(&time, nanos) };
    shifted.unwrap_or(time)
}

impl Timer for ClockSkew {
    fn now(&self) -> Instant {
        self.inner.decide();
        shifted(self.inner.clock.now(), self.inner.offset(), Instant::checked_add, Instant::checked_sub)
    }

    fn wall(&self) -> SystemTime {
        self.inner.decide();
        let wall = self.inner.clock.wall();
        shifted(wall, self.inner.offset(), SystemTime::checked_add, SystemTime::checked_sub)
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        let offset = self.inner.offset();
        // What is further away than there is time never comes.
        let real = shifted(deadline, -offset.max(-i64::MAX), Instant::checked_add, Instant::checked_sub);
        self.inner.clock.sleep_until(real)
    }
}

impl fmt::Debug for ClockSkew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClockSkew")
            .field("seed", &self.inner.seed)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Builds a [`ClockSkew`]. A rate is a number from 0 to 1 for each reading of the time, or a function that gives one.
#[must_use = "a builder does nothing until it is built"]
pub struct ClockSkewBuilder {
    clock: Clock,
    rules: Vec<(Rate, Step)>,
    switch: Switch,
    seed: u64,
}

impl ClockSkewBuilder {
    fn rule(mut self, rate: impl IntoRate, step: Step) -> Self {
        self.rules.push((rate.into_rate(), step));
        self
    }

    /// Steps ahead: so much of the time seems to have gone by in between.
    pub fn ahead(self, rate: impl IntoRate, by: Duration) -> Self {
        self.rule(rate, Step::Ahead(by))
    }

    /// Steps back: a later reading is earlier than one before. Never to before the beginning of time.
    pub fn back(self, rate: impl IntoRate, by: Duration) -> Self {
        self.rule(rate, Step::Back(by))
    }

    /// Whether the rules do anything: a value, or a function that is asked at each reading. Default: yes.
    pub fn enabled(self, switch: impl IntoSwitch) -> Self {
        Self { switch: switch.into_switch(), ..self }
    }

    /// Where the random numbers begin. Default: 0, so that runs are alike unless told otherwise.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The clock that is right, whose timers are used. Default: the system's.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The clock that is not.
    pub fn build(self) -> ClockSkew {
        let Self { clock, rules, switch, seed } = self;
        ClockSkew {
            inner: Arc::new(Inner {
                clock,
                rules: rules.into_boxed_slice(),
                switch,
                seed,
                decisions: AtomicU64::new(0),
                offset: AtomicU64::new(0),
                steps: std::array::from_fn(|_| AtomicU64::new(0)),
            }),
        }
    }
}

impl fmt::Debug for ClockSkewBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<_> = self.rules.iter().map(|(_, step)| step).collect();
        f.debug_struct("ClockSkewBuilder")
            .field("rules", &steps)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
