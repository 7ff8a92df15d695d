//! What an algorithm is: a pure step from a sample to a limit.

use super::LimitReason;
use crate::ConfigError;
use std::time::Duration;

/// Finds a concurrency limit: a state, and a step from it and what was measured to a new limit.
///
/// It knows neither clock nor threads: [`AdaptiveLimiter`](super::AdaptiveLimiter) measures, calls it once for each window,
/// never twice at the same time and under no lock, and makes its answer the limit. It can as well be used alone.
///
/// ```
/// use cofferdam::limit::concurrency::{Aimd, Algorithm, Sample};
///
/// let mut limit = Aimd::builder().initial(10).slow_start(false).build()?;
/// assert_eq!(limit.update(&Sample::new(100, 8)), 11);
/// assert_eq!(limit.update(&Sample::new(90, 8).drops(10)), 9);
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
pub trait Algorithm: Send + 'static {
    /// The limit as it is.
    fn limit(&self) -> u32;

    /// Takes in what a window measured, and gives the limit from now on.
    fn update(&mut self, sample: &Sample) -> u32;

    /// Why the last [update](Self::update) has changed the limit, if it has: for those who observe it.
    fn reason(&self) -> LimitReason {
        LimitReason::Unspecified
    }

    /// Whether it has lowered the limit to measure how fast calls are when few are in flight. Then windows end as soon as
    /// they have their samples, and when their time is over also with fewer.
    fn is_probing(&self) -> bool {
        false
    }
}

/// What was measured of the calls that ended within a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sample {
    /// How long calls took, from when they were let through; the average or percentile of those that succeeded. `None` if
    /// none did.
    pub rtt: Option<Duration>,
    /// How many succeeded.
    pub successes: u32,
    /// How many ended in a sign of overload.
    pub drops: u32,
    /// The most that were in flight when one of them began, itself included.
    pub in_flight: u32,
}

impl Sample {
    /// Of `successes` calls, of which no time was taken.
    pub const fn new(successes: u32, in_flight: u32) -> Self {
        Self { rtt: None, successes, drops: 0, in_flight }
    }

    /// That took so long.
    pub const fn rtt(self, rtt: Duration) -> Self {
        Self { rtt: Some(rtt), ..self }
    }

    /// And of calls that ended in a sign of overload.
    pub const fn drops(self, drops: u32) -> Self {
        Self { drops, ..self }
    }

    /// In nanoseconds, if there is one that can be reckoned with.
    pub(super) fn nanos(&self) -> Option<f64> {
        self.rtt.map(|rtt| rtt.as_nanos() as f64).filter(|nanos| *nanos > 0.0)
    }

    /// Whether more than a tolerated share of the calls ended in a sign of overload.
    pub(super) fn is_overload(&self, tolerated: f64) -> bool {
        f64::from(self.drops) > tolerated * (f64::from(self.successes) + f64::from(self.drops))
    }

    /// Whether enough was in flight to say anything about a limit: half of it. With less, that all went well does not mean
    /// that more would have.
    pub(super) fn tries(&self, limit: f64) -> bool {
        2.0 * f64::from(self.in_flight) >= limit
    }
}

/// Where a limit may be and where it begins, and how many drops are no sign.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) initial: u32,
    pub(super) tolerated: f64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { min: 1, max: 1000, initial: 20, tolerated: 0.05 }
    }
}

impl Bounds {
    pub(super) fn check(&self, component: &'static str) -> Result<(), ConfigError> {
        if self.min == 0 {
            return Err(ConfigError::new(component, "min", 0, "must be at least 1"));
        }
        if self.max < self.min {
            return Err(ConfigError::new(component, "max", self.max, "must not be below the minimum"));
        }
        if self.initial < self.min || self.initial > self.max {
            return Err(ConfigError::new(component, "initial", self.initial, "must be from min to max"));
        }
        let below_one = (-f64::EPSILON, 1.0 - f64::EPSILON);
        let rule = "must be at least 0 and below 1";
        check_share(component, "tolerated_drops", self.tolerated, below_one, rule)
    }

    /// Into the bounds; what is no number is the minimum.
    pub(super) fn clamp(&self, limit: f64) -> f64 {
        limit.max(f64::from(self.min)).min(f64::from(self.max))
    }
}

/// An estimate as a number of calls: rounded down.
pub(super) fn floor(limit: f64) -> u32 {
    limit as u32
}

/// Whole multiples until the first sign of a queue: a limit of a thousand is otherwise an hour away from one of twenty.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlowStart(pub(super) bool);

impl SlowStart {
    const FACTOR: f64 = 1.5;

    /// The next limit, as long as it lasts. `calm` is whether there is no sign of a queue.
    pub(super) fn step(&mut self, limit: f64, calm: bool) -> Option<f64> {
        self.0 &= calm;
        self.0.then_some(limit * Self::FACTOR)
    }
}

/// Fails where `value` is not a share from `low` to `high`, `high` included.
pub(super) fn check_share(
    component: &'static str,
    knob: &'static str,
    value: f64,
    (low, high): (f64, f64),
    rule: &'static str,
) -> Result<(), ConfigError> {
    if value > low && value <= high { Ok(()) } else { Err(ConfigError::new(component, knob, value, rule)) }
}

/// A limit that stays: for the queue disciplines and outcomes of an adaptive limiter with a limit that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed(pub u32);

impl Algorithm for Fixed {
    fn limit(&self) -> u32 {
        self.0.max(1)
    }

    fn update(&mut self, _: &Sample) -> u32 {
        self.limit()
    }
}
