//! A limit from an estimate of the queue.

use super::LimitReason;
use super::algorithm::{Algorithm, Bounds, Sample, SlowStart, floor};
use super::probe::{Probe, Turn, blend};
use crate::ConfigError;
use crate::time::Rng;

/// Keeps a short queue in front of the bottleneck, after TCP Vegas.
///
/// Of `L` calls in flight that take `rtt`, where alone they take `rtt0`, so many stand in a queue:
///
/// ```text
/// q = ceil(L * (1 - rtt0 / rtt))
///
/// drops          L' = L - log L
/// q <= log L     L' = L + beta
/// q < alpha      L' = L + log L
/// q > beta       L' = L - log L         otherwise L' = L
/// ```
///
/// with `log` to the base of 10 and at least 1, `alpha` and `beta` multiples of it. Nothing is raised while less than half
/// of the limit is in flight.
///
/// `rtt0` is measured in probes, in which the limit is lowered to a few calls for as long as it takes to time some: so it
/// does not learn an overload, and it does learn that calls have become slower in themselves. Between probes it goes a tenth
/// of the way towards each window that was faster. A limit that has been at its minimum for some windows forces a probe.
///
/// Brakmo and Peterson, "TCP Vegas: End to End Congestion Avoidance on a Global Internet" (1995); as in Netflix's
/// concurrency-limits; the probe as in Envoy's adaptive concurrency filter.
#[derive(Clone, Debug)]
pub struct Vegas {
    limit: f64,
    /// Nanoseconds of a call without a queue, as far as is known.
    baseline: Option<f64>,
    slow_start: SlowStart,
    probe: Probe,
    reason: LimitReason,
    settings: Settings,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    bounds: Bounds,
    alpha: f64,
    beta: f64,
}

/// How far the baseline goes towards a window that was faster. All the way would be the plain Vegas: the fastest of many
/// windows is the luckiest one, and a limit that is held against it too low.
const TOWARDS_FASTER: f64 = 0.1;

impl Vegas {
    /// With default settings.
    pub fn new() -> Self {
        Self::builder().assemble()
    }

    /// With other than default settings.
    pub fn builder() -> VegasBuilder {
        VegasBuilder::default()
    }

    /// Why the limit is what it is now, if it is another.
    fn step(&mut self, sample: &Sample) -> LimitReason {
        let Settings { bounds, alpha, beta } = self.settings;
        match self.probe.turn(sample, self.limit, bounds.min) {
            Turn::None => {}
            Turn::Free(rtt) => self.baseline = Some(blend(self.baseline, rtt)),
            Turn::Running => return LimitReason::Probe,
            Turn::Over(rtt, resume) => {
                self.baseline = rtt.map(|rtt| blend(self.baseline, rtt)).or(self.baseline);
                self.limit = resume;
                return LimitReason::ProbeEnded;
            }
        }
        let log = self.limit.log10().max(1.0);
        if sample.is_overload(bounds.tolerated) {
            self.slow_start = SlowStart(false);
            self.limit = bounds.clamp(self.limit - log);
            return LimitReason::Drops;
        }
        let Some(rtt) = sample.nanos() else { return LimitReason::Unspecified };
        let known = self.baseline.unwrap_or(rtt);
        let baseline = known + (rtt - known).min(0.0) * TOWARDS_FASTER;
        self.baseline = Some(baseline);
        let queue = (self.limit * (1.0 - baseline / rtt)).ceil();
        let tries = sample.tries(self.limit);
        // Of a large limit the least noise is a queue of many calls: what is called a sign here is a share of the time.
        let start = self.slow_start.step(self.limit, rtt < 1.2 * baseline);
        let next = if let Some(next) = start.filter(|_| tries) {
            next
        } else if queue > beta * log {
            self.limit - log
        } else if !tries {
            self.limit
        } else if queue <= log {
            self.limit + beta * log
        } else if queue < alpha * log {
            self.limit + log
        } else {
            self.limit
        };
        let from = std::mem::replace(&mut self.limit, bounds.clamp(next));
        LimitReason::by_time(from, self.limit)
    }
}

impl Default for Vegas {
    fn default() -> Self {
        Self::new()
    }
}

impl Algorithm for Vegas {
    fn limit(&self) -> u32 {
        if self.probe.is_running() {
            return floor(self.settings.bounds.clamp(f64::from(self.probe.limit).min(self.limit)));
        }
        floor(self.limit)
    }

    fn update(&mut self, sample: &Sample) -> u32 {
        self.reason = self.step(sample);
        self.limit()
    }

    fn reason(&self) -> LimitReason {
        self.reason
    }

    fn is_probing(&self) -> bool {
        self.probe.is_running()
    }
}

/// Builds a [`Vegas`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct VegasBuilder {
    bounds: Bounds,
    alpha: u32,
    beta: u32,
    probe_every: u32,
    slow_start: bool,
    rng: Option<Rng>,
}

impl Default for VegasBuilder {
    fn default() -> Self {
        Self { bounds: Bounds::default(), alpha: 3, beta: 6, probe_every: 60, slow_start: true, rng: None }
    }
}

impl VegasBuilder {
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

    /// How long a queue is short, in logarithms of the limit: with a shorter one the limit is raised. Default: 3.
    pub fn alpha(self, logs: u32) -> Self {
        Self { alpha: logs, ..self }
    }

    /// How long a queue is long, in logarithms of the limit: with a longer one the limit is lowered. Default: 6.
    pub fn beta(self, logs: u32) -> Self {
        Self { beta: logs, ..self }
    }

    /// Windows between two probes, and up to a quarter more by chance; 0 for none, where something else keeps calls from
    /// becoming slower in themselves. Default: 60.
    pub fn probe_every(self, windows: u32) -> Self {
        Self { probe_every: windows, ..self }
    }

    /// Whether the limit grows by half in each window until the first sign of a queue. Default: yes.
    pub fn slow_start(self, slow_start: bool) -> Self {
        Self { slow_start, ..self }
    }

    /// Where the chance in the times of probes comes from. Default: a generator seeded by the thread's.
    pub fn rng(self, rng: Rng) -> Self {
        Self { rng: Some(rng), ..self }
    }

    /// The algorithm.
    ///
    /// # Errors
    /// Bounds that contradict each other; tolerated drops that are not a share; an alpha of zero; a beta that is not above alpha.
    pub fn build(self) -> Result<Vegas, ConfigError> {
        self.bounds.check("vegas")?;
        if self.alpha == 0 {
            return Err(ConfigError::new("vegas", "alpha", 0, "must be at least 1"));
        }
        if self.beta <= self.alpha {
            return Err(ConfigError::new("vegas", "beta", self.beta, "must be above alpha"));
        }
        Ok(self.assemble())
    }

    fn assemble(self) -> Vegas {
        let Self { bounds, alpha, beta, probe_every, slow_start, rng } = self;
        Vegas {
            limit: f64::from(bounds.initial),
            baseline: None,
            slow_start: SlowStart(slow_start),
            probe: Probe::new(bounds.min, probe_every, rng.unwrap_or_default()),
            reason: LimitReason::Unspecified,
            settings: Settings { bounds, alpha: f64::from(alpha), beta: f64::from(beta) },
        }
    }
}
