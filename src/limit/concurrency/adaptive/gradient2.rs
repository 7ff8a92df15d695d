//! A limit from how much slower calls have become.

use super::LimitReason;
use super::algorithm::{Algorithm, Bounds, Sample, SlowStart, check_share, floor};
use super::probe::{Probe, Turn, blend};
use crate::ConfigError;
use crate::time::Rng;

/// Lowers the limit in proportion as calls are slower than they have been in the long run.
///
/// ```text
/// long  = the average of rtt over some hundred windows, exponentially weighted
/// g     = tolerance * long / rtt, between 0.5 and 1
/// L'    = (1 - smoothing) * L + smoothing * (g * L + queue, the latter only where g is 1)
/// drops: L' = 0.9 * L
/// ```
///
/// Nothing changes while less than half of the limit is in flight. A `long` that is above twice the present is lowered by a
/// twentieth a window, so that an overload that is over is forgotten.
///
/// A long average alone drifts: it learns the queue that the limit has let grow, which lets the limit grow. Here it is
/// bound to a baseline, what calls take when few are in flight, and cannot be above it by more than the
/// [drift](Gradient2Builder::drift). The baseline is measured in probes, as in [`Vegas`](super::Vegas). So the limit settles
/// at no more than tolerance * drift times what keeps the bottleneck busy.
///
/// After Netflix's concurrency-limits (`Gradient2Limit`); the probe as in Envoy's adaptive concurrency filter.
#[derive(Clone, Debug)]
pub struct Gradient2 {
    limit: f64,
    long: Average,
    /// Nanoseconds of a call without a queue, as last measured.
    baseline: Option<f64>,
    slow_start: SlowStart,
    probe: Probe,
    reason: LimitReason,
    settings: Settings,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    bounds: Bounds,
    tolerance: f64,
    smoothing: f64,
    queue: f64,
    drift: f64,
}

/// Exponentially weighted over `windows`, after a plain average of the first few.
#[derive(Clone, Copy, Debug)]
struct Average {
    value: f64,
    seen: u32,
    windows: u32,
}

impl Average {
    const WARM_UP: u32 = 10;

    fn add(&mut self, value: f64) {
        self.seen = self.seen.saturating_add(1);
        let factor = if self.seen <= Self::WARM_UP {
            1.0 / f64::from(self.seen)
        } else {
            2.0 / (f64::from(self.windows) + 1.0)
        };
        self.value += (value - self.value) * factor;
    }
}

impl Gradient2 {
    /// With default settings.
    pub fn new() -> Self {
        Self::builder().assemble()
    }

    /// With other than default settings.
    pub fn builder() -> Gradient2Builder {
        Gradient2Builder::default()
    }

    fn measured(&mut self, rtt: f64) {
        let rtt = blend(self.baseline, rtt);
        self.baseline = Some(rtt);
        self.long.value = rtt;
        self.long.seen = self.long.seen.max(1);
    }

    /// Why the limit is what it is now, if it is another.
    fn step(&mut self, sample: &Sample) -> LimitReason {
        let Settings { bounds, tolerance, smoothing, queue, drift } = self.settings;
        match self.probe.turn(sample, self.limit, bounds.min) {
            Turn::None => {}
            Turn::Free(rtt) => self.measured(rtt),
            Turn::Running => return LimitReason::Probe,
            Turn::Over(rtt, resume) => {
                if let Some(rtt) = rtt {
                    self.measured(rtt);
                }
                self.limit = resume;
                return LimitReason::ProbeEnded;
            }
        }
        if sample.is_overload(bounds.tolerated) {
            self.slow_start = SlowStart(false);
            self.limit = bounds.clamp(self.limit * 0.9);
            return LimitReason::Drops;
        }
        let Some(rtt) = sample.nanos() else { return LimitReason::Unspecified };
        self.long.add(rtt);
        if let Some(baseline) = self.baseline {
            self.long.value = self.long.value.min(baseline * drift);
        }
        let long = self.long.value;
        if long > 2.0 * rtt {
            self.long.value *= 0.95;
        }
        if !sample.tries(self.limit) {
            return LimitReason::Unspecified;
        }
        let gradient = (tolerance * long / rtt).clamp(0.5, 1.0);
        let next = match self.slow_start.step(self.limit, rtt < 1.2 * long) {
            Some(next) => next,
            None => {
                let queue = if gradient < 1.0 { 0.0 } else { queue };
                self.limit * (1.0 - smoothing) + (gradient * self.limit + queue) * smoothing
            }
        };
        let from = std::mem::replace(&mut self.limit, bounds.clamp(next));
        LimitReason::by_time(from, self.limit)
    }
}

impl Default for Gradient2 {
    fn default() -> Self {
        Self::new()
    }
}

impl Algorithm for Gradient2 {
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

/// Builds a [`Gradient2`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct Gradient2Builder {
    bounds: Bounds,
    tolerance: f64,
    smoothing: f64,
    queue: u32,
    drift: f64,
    long_windows: u32,
    probe_every: u32,
    slow_start: bool,
    rng: Option<Rng>,
}

impl Default for Gradient2Builder {
    fn default() -> Self {
        Self {
            bounds: Bounds::default(),
            tolerance: 1.5,
            smoothing: 0.2,
            queue: 4,
            drift: 1.2,
            long_windows: 600,
            probe_every: 60,
            slow_start: true,
            rng: None,
        }
    }
}

impl Gradient2Builder {
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

    /// How many times slower than in the long run is still well. Default: 1.5.
    pub fn tolerance(self, times: f64) -> Self {
        Self { tolerance: times, ..self }
    }

    /// How much of the way to the new limit a window goes. Default: 0.2.
    pub fn smoothing(self, share: f64) -> Self {
        Self { smoothing: share, ..self }
    }

    /// By how much the limit seeks to grow while nothing is slower. Default: 4.
    pub fn queue(self, calls: u32) -> Self {
        Self { queue: calls, ..self }
    }

    /// How far the long run may be above the baseline. Default: 1.2 times.
    pub fn drift(self, times: f64) -> Self {
        Self { drift: times, ..self }
    }

    /// How many windows the long run is. Default: 600.
    pub fn long_windows(self, windows: u32) -> Self {
        Self { long_windows: windows, ..self }
    }

    /// Windows between two probes, and up to a quarter more by chance; 0 for none: then nothing keeps the long run from
    /// drifting. Default: 60.
    pub fn probe_every(self, windows: u32) -> Self {
        Self { probe_every: windows, ..self }
    }

    /// Whether the limit grows by half in each window until calls become slower. Default: yes.
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
    /// Bounds that contradict each other; tolerated drops that are not a share; a tolerance or drift that is not a number from 1 to 100; a smoothing that is not
    /// above 0 and at most 1; a queue of zero, which would never let the limit grow; a long run of no windows.
    pub fn build(self) -> Result<Gradient2, ConfigError> {
        const ME: &str = "gradient2";
        self.bounds.check(ME)?;
        let from_one = (1.0 - f64::EPSILON, 100.0);
        check_share(ME, "tolerance", self.tolerance, from_one, "must be a number from 1 to 100")?;
        check_share(ME, "drift", self.drift, from_one, "must be a number from 1 to 100")?;
        check_share(ME, "smoothing", self.smoothing, (0.0, 1.0), "must be above 0 and at most 1")?;
        for (knob, value) in [("queue", self.queue), ("long_windows", self.long_windows)] {
            if value == 0 {
                return Err(ConfigError::new(ME, knob, 0, "must be at least 1"));
            }
        }
        Ok(self.assemble())
    }

    fn assemble(self) -> Gradient2 {
        let Self { bounds, tolerance, smoothing, drift, long_windows: windows, .. } = self;
        let queue = f64::from(self.queue);
        Gradient2 {
            limit: f64::from(bounds.initial),
            long: Average { value: 0.0, seen: 0, windows },
            baseline: None,
            slow_start: SlowStart(self.slow_start),
            probe: Probe::new(bounds.min, self.probe_every, self.rng.unwrap_or_default()),
            reason: LimitReason::Unspecified,
            settings: Settings { bounds, tolerance, smoothing, queue, drift },
        }
    }
}
