//! Settings.

use super::algorithm::Algorithm;
use super::control::Control;
use super::{AdaptiveLimiter, Statistic};
use crate::ConfigError;
use crate::limit::ConcurrencyLimiter;
use crate::limit::concurrency::{ConcurrencyLimiterBuilder, Discipline};
use crate::time::{Clock, Epoch};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Builds an [`AdaptiveLimiter`]; see [`AdaptiveLimiter::builder`].
#[must_use = "a builder does nothing until `build`"]
pub struct AdaptiveLimiterBuilder {
    pub(super) algorithm: Box<dyn Algorithm>,
    limiter: ConcurrencyLimiterBuilder,
    clock: Clock,
    pub(super) window: Duration,
    pub(super) longest_window: Duration,
    pub(super) min_samples: u32,
    pub(super) statistic: Statistic,
    pub(super) rtt_floor: Duration,
}

impl AdaptiveLimiterBuilder {
    pub(super) fn new(algorithm: Box<dyn Algorithm>) -> Self {
        let limiter = ConcurrencyLimiter::builder(algorithm.limit().max(1)).queue(0);
        Self {
            algorithm,
            limiter,
            clock: Clock::system(),
            window: Duration::from_secs(1),
            longest_window: Duration::from_secs(10),
            min_samples: 10,
            statistic: Statistic::Average,
            rtt_floor: Duration::ZERO,
        }
    }

    /// How long calls are summed up for one step of the algorithm, at least. Default: a second.
    ///
    /// Twice as long as the fastest call takes, if that is longer: a step should see what the one before has done.
    pub fn window(self, window: Duration) -> Self {
        Self { window, ..self }
    }

    /// How long a window is at most, however long calls take. Default: ten seconds, or the [window](Self::window) if that
    /// is longer.
    pub fn longest_window(self, window: Duration) -> Self {
        Self { longest_window: window, ..self }
    }

    /// With fewer calls a window is thrown away. Default: 10.
    pub fn min_samples(self, calls: u32) -> Self {
        Self { min_samples: calls, ..self }
    }

    /// What of the times of a window is its time. Default: the average.
    pub fn statistic(self, statistic: Statistic) -> Self {
        Self { statistic, ..self }
    }

    /// Calls that took less time are not counted: they were answered from a cache, say. Default: all that took any time at
    /// all are.
    pub fn rtt_floor(self, floor: Duration) -> Self {
        Self { rtt_floor: floor, ..self }
    }

    /// How many calls may wait to be let through; more are refused at once. Default: none.
    pub fn queue(self, calls: u32) -> Self {
        Self { limiter: self.limiter.queue(calls), ..self }
    }

    /// How long a call may wait. Default: without limit.
    pub fn wait_limit(self, limit: Duration) -> Self {
        Self { limiter: self.limiter.wait_limit(limit), ..self }
    }

    /// Who of those who wait goes first, and who is sent away. Default: first come, first served.
    pub fn discipline(self, discipline: impl Into<Discipline>) -> Self {
        Self { limiter: self.limiter.discipline(discipline), ..self }
    }

    /// A share of the limit, whatever it is, in percent; see [`ConcurrencyLimiterBuilder::partition`].
    pub fn partition(self, name: impl Into<Cow<'static, str>>, percent: u32) -> Self {
        Self { limiter: self.limiter.partition(name, percent), ..self }
    }

    /// The clock of times and waits. Default: the system's.
    pub fn clock(self, clock: Clock) -> Self {
        Self { limiter: self.limiter.clock(clock.clone()), clock, ..self }
    }

    /// The limiter.
    ///
    /// # Errors
    /// A window of no time; of no calls, or of more than half a million; a percentile that is not from 1 to 100; what
    /// [`ConcurrencyLimiterBuilder::build`] refuses.
    pub fn build(self) -> Result<AdaptiveLimiter, ConfigError> {
        const ME: &str = "adaptive limiter";
        if self.window.is_zero() {
            return Err(ConfigError::new(ME, "window", "0s", "must be above zero"));
        }
        if self.min_samples == 0 || self.min_samples > 1 << 19 {
            return Err(ConfigError::new(ME, "min_samples", self.min_samples, "must be from 1 to 524288"));
        }
        if let Statistic::Percentile(percent) = self.statistic {
            if percent == 0 || percent > 100 {
                return Err(ConfigError::new(ME, "statistic", percent, "must be a percentile from 1 to 100"));
            }
        }
        let limiter = self.limiter.clone().build()?;
        let epoch = Epoch::new(self.clock.clone());
        Ok(AdaptiveLimiter { limiter, control: Arc::new(Control::new(self, epoch)) })
    }
}

impl fmt::Debug for AdaptiveLimiterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveLimiterBuilder")
            .field("window", &self.window)
            .field("longest_window", &self.longest_window)
            .field("min_samples", &self.min_samples)
            .field("statistic", &self.statistic)
            .field("rtt_floor", &self.rtt_floor)
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}
