//! Additive increase, multiplicative decrease.

use super::LimitReason;
use super::algorithm::{Algorithm, Bounds, Sample, SlowStart, check_share, floor};
use crate::ConfigError;
use std::time::Duration;

/// Additive increase, multiplicative decrease: one more for each window that went well, a tenth less for each that did not.
///
/// ```text
/// drops, or rtt > timeout      L' = floor(L * backoff)
/// 2 * in flight >= L           L' = L + step
/// ```
///
/// It needs no idea of how fast calls should be, only a sign that they are too slow: drops, or a
/// [timeout](AimdBuilder::timeout). It finds the point at which that sign appears and saws below it; the queue in front of
/// the bottleneck is as long as the sign allows.
///
/// Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in Computer Networks" (1989);
/// as in Netflix's concurrency-limits.
#[derive(Clone, Debug)]
pub struct Aimd {
    limit: f64,
    slow_start: SlowStart,
    reason: LimitReason,
    settings: AimdBuilder,
}

impl Aimd {
    /// With default settings.
    pub fn new() -> Self {
        Self::builder().assemble()
    }

    /// With other than default settings.
    pub fn builder() -> AimdBuilder {
        AimdBuilder::default()
    }
}

impl Default for Aimd {
    fn default() -> Self {
        Self::new()
    }
}

impl Algorithm for Aimd {
    fn limit(&self) -> u32 {
        floor(self.limit)
    }

    fn update(&mut self, sample: &Sample) -> u32 {
        let AimdBuilder { bounds, backoff, step, timeout, .. } = self.settings;
        let late = sample.rtt.is_some_and(|rtt| rtt > timeout);
        let dropped = sample.is_overload(bounds.tolerated);
        self.reason = match () {
            () if dropped => LimitReason::Drops,
            () if late => LimitReason::Latency,
            () => LimitReason::Calm,
        };
        if dropped || late {
            self.slow_start = SlowStart(false);
            self.limit = bounds.clamp((self.limit * backoff).floor());
        } else if sample.tries(self.limit) {
            let next = self.slow_start.step(self.limit, true).unwrap_or(self.limit + f64::from(step));
            self.limit = bounds.clamp(next);
        }
        self.limit()
    }

    fn reason(&self) -> LimitReason {
        self.reason
    }
}

/// Builds an [`Aimd`].
#[derive(Clone, Copy, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct AimdBuilder {
    bounds: Bounds,
    backoff: f64,
    step: u32,
    timeout: Duration,
    slow_start: bool,
}

impl Default for AimdBuilder {
    fn default() -> Self {
        let bounds = Bounds::default();
        Self { bounds, backoff: 0.9, step: 1, timeout: Duration::MAX, slow_start: true }
    }
}

impl AimdBuilder {
    /// The limit at the start. Default: 20.
    pub fn initial(mut self, limit: u32) -> Self {
        self.bounds.initial = limit;
        self
    }

    /// The limit is never below. Default: 1.
    pub fn min(mut self, limit: u32) -> Self {
        self.bounds.min = limit;
        self
    }

    /// The limit is never above. Default: 1000.
    pub fn max(mut self, limit: u32) -> Self {
        self.bounds.max = limit;
        self
    }

    /// What share of calls may end in a drop without being a sign of overload. Default: 0.05.
    pub fn tolerated_drops(mut self, share: f64) -> Self {
        self.bounds.tolerated = share;
        self
    }

    /// What is left of the limit after a sign of overload. Default: 0.9.
    pub fn backoff(self, share: f64) -> Self {
        Self { backoff: share, ..self }
    }

    /// By how much a window that went well raises the limit. Default: 1.
    pub fn step(self, step: u32) -> Self {
        Self { step, ..self }
    }

    /// A window whose calls took longer is a sign of overload. Default: none is.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Whether the limit grows by half in each window until the first sign of overload. Default: yes.
    pub fn slow_start(self, slow_start: bool) -> Self {
        Self { slow_start, ..self }
    }

    /// The algorithm.
    ///
    /// # Errors
    /// Bounds that contradict each other; tolerated drops that are not a share; a backoff that is not above 0 and below 1; a step of zero.
    pub fn build(self) -> Result<Aimd, ConfigError> {
        self.bounds.check("aimd")?;
        let below_one = (0.0, 1.0 - f64::EPSILON);
        check_share("aimd", "backoff", self.backoff, below_one, "must be above 0 and below 1")?;
        if self.step == 0 {
            return Err(ConfigError::new("aimd", "step", 0, "must be at least 1"));
        }
        Ok(self.assemble())
    }

    fn assemble(self) -> Aimd {
        let (limit, slow_start) = (f64::from(self.bounds.initial), SlowStart(self.slow_start));
        Aimd { limit, slow_start, reason: LimitReason::Unspecified, settings: self }
    }
}
