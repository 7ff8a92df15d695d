//! What is not as it used to be.

use super::Finding;
use crate::ConfigError;
use crate::shim::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Compares what is measured now with what used to be measured: a latency, a share of failures, a throughput.
///
/// The last few values are the *window*. What is older is the *baseline*, of which an exponentially weighted mean and
/// deviation are kept. It is degraded while the mean of the window is further from the baseline's than so many deviations,
/// on the bad side. There is no verdict before both are full.
///
/// While it is degraded nothing is learned, so what is bad does not become normal by lasting. If it is to, say
/// [`relearn`](Self::relearn). What is better than ever is learned like anything else, and widens the deviation for a while.
///
/// The method is the control chart of exponentially weighted averages (Roberts, "Control Chart Tests Based on Geometric Moving
/// Averages", Technometrics 1(3), 1959); the weighted deviation is kept as by Finch ("Incremental calculation of weighted mean
/// and variance", University of Cambridge, 2009).
///
/// Clones are handles on the same one. It is something that a [`Check`](super::Check) can be made of.
///
/// ```
/// use cofferdam::health::{Baseline, Status};
///
/// let latency = Baseline::builder().window(4).samples(20).build()?;
/// for request in 0..40 {
///     latency.record(10.0 + f64::from(request % 3));
/// }
/// assert_eq!(latency.judge().status(), Status::Healthy);
/// for _ in 0..4 {
///     latency.record(25.0);
/// }
/// assert_eq!(latency.judge().status(), Status::Degraded);
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Baseline(Arc<Mutex<Course>>);

/// Settings of a [`Baseline`].
#[derive(Clone, Debug)]
#[must_use = "a builder makes nothing until it is built"]
pub struct BaselineBuilder {
    window: usize,
    samples: u64,
    weight: f64,
    deviations: f64,
    margin: f64,
    floor: f64,
    lower_is_worse: bool,
}

/// What is known; all arithmetic is here.
struct Course {
    settings: BaselineBuilder,
    window: VecDeque<f64>,
    mean: f64,
    variance: f64,
    learned: u64,
    ignored: u64,
}

/// What a [`Baseline`] knows.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct BaselineStats {
    /// The mean of the baseline.
    pub mean: f64,
    /// Its deviation.
    pub deviation: f64,
    /// How many values the baseline has learned.
    pub learned: u64,
    /// The mean of the window, if it is full.
    pub recent: Option<f64>,
    /// Where the mean of the window would be too far off, if both are full.
    pub limit: Option<f64>,
    /// Values that were no numbers, or not finite.
    pub ignored: u64,
}

impl BaselineBuilder {
    /// How many values the window has: 20 unless said otherwise.
    pub fn window(self, window: usize) -> Self {
        Self { window, ..self }
    }

    /// How many values the baseline must have learned before there is a verdict: 100 unless said otherwise.
    pub fn samples(self, samples: u64) -> Self {
        Self { samples, ..self }
    }

    /// The weight of one value in the baseline, above 0 and at most 1: 0.02 unless said otherwise, which remembers about the last
    /// hundred.
    pub fn weight(self, weight: f64) -> Self {
        Self { weight, ..self }
    }

    /// How many deviations are too many: 3 unless said otherwise.
    pub fn deviations(self, deviations: f64) -> Self {
        Self { deviations, ..self }
    }

    /// The share of the mean that never matters, so that what hardly varies is not flagged for a trifle: 0.1 unless said
    /// otherwise.
    pub fn margin(self, margin: f64) -> Self {
        Self { margin, ..self }
    }

    /// The distance from the mean that never matters, in the unit of the values: for those that are mostly zero, of which no share
    /// of the mean is anything, as of a share of failures. Zero unless said otherwise.
    pub fn floor(self, floor: f64) -> Self {
        Self { floor, ..self }
    }

    /// Low values are the bad ones, as of a throughput. Otherwise high ones are.
    pub fn lower_is_worse(self) -> Self {
        Self { lower_is_worse: true, ..self }
    }

    /// Makes it.
    ///
    /// # Errors
    /// The window or the samples are zero, or a number is out of its range.
    pub fn build(self) -> Result<Baseline, ConfigError> {
        let wrong =
            |knob, value: &dyn fmt::Display, rule| Err(ConfigError::new("baseline", knob, value, rule));
        if self.window == 0 {
            return wrong("window", &self.window, "must be at least 1");
        }
        if self.samples == 0 {
            return wrong("samples", &self.samples, "must be at least 1");
        }
        if !(self.weight > 0.0 && self.weight <= 1.0) {
            return wrong("weight", &self.weight, "must be above 0 and at most 1");
        }
        for (knob, value) in [("deviations", self.deviations), ("margin", self.margin), ("floor", self.floor)]
        {
            if !(value >= 0.0 && value.is_finite()) {
                return wrong(knob, &value, "must be a number, and not negative");
            }
        }
        let course = Course {
            settings: self,
            window: VecDeque::new(),
            mean: 0.0,
            variance: 0.0,
            learned: 0,
            ignored: 0,
        };
        Ok(Baseline(Arc::new(Mutex::new(course))))
    }
}

impl Course {
    fn record(&mut self, value: f64) {
        if !value.is_finite() {
            self.ignored += 1;
            return;
        }
        self.window.push_back(value);
        if self.window.len() <= self.settings.window {
            return;
        }
        let oldest = self.window.pop_front();
        // By the window as it is with the new value: what drives the old one out may be what is bad.
        if let Some(oldest) = oldest.filter(|_| !self.is_beyond()) {
            self.learn(oldest);
        }
    }

    fn learn(&mut self, value: f64) {
        self.learned += 1;
        if self.learned == 1 {
            self.mean = value;
            return;
        }
        // While there are few, each has the same weight: else the first would count for a hundred.
        let weight = self.settings.weight.max(1.0 / self.learned as f64);
        let difference = value - self.mean;
        let step = weight * difference;
        self.mean += step;
        self.variance = (1.0 - weight) * (self.variance + difference * step);
    }

    fn recent(&self) -> Option<f64> {
        // Each divided first, so that the sum of numbers that are finite is, too.
        let share = 1.0 / self.settings.window as f64;
        (self.window.len() >= self.settings.window)
            .then(|| self.window.iter().map(|value| value * share).sum())
    }

    fn limit(&self) -> Option<f64> {
        let BaselineBuilder { samples, deviations, margin, floor, lower_is_worse, .. } = self.settings;
        if self.learned < samples {
            return None;
        }
        let distance = (deviations * self.variance.sqrt()).max(margin * self.mean.abs()).max(floor);
        Some(if lower_is_worse { self.mean - distance } else { self.mean + distance })
    }

    fn is_beyond(&self) -> bool {
        let (Some(recent), Some(limit)) = (self.recent(), self.limit()) else { return false };
        if self.settings.lower_is_worse { recent < limit } else { recent > limit }
    }

    fn stats(&self) -> BaselineStats {
        BaselineStats {
            mean: self.mean,
            deviation: self.variance.sqrt(),
            learned: self.learned,
            recent: self.recent(),
            limit: self.recent().and_then(|_| self.limit()),
            ignored: self.ignored,
        }
    }
}

impl Baseline {
    /// With default settings.
    pub fn builder() -> BaselineBuilder {
        BaselineBuilder {
            window: 20,
            samples: 100,
            weight: 0.02,
            deviations: 3.0,
            margin: 0.1,
            floor: 0.0,
            lower_is_worse: false,
        }
    }

    /// One more value. What is no number, or not finite, is counted and otherwise ignored.
    pub fn record(&self, value: f64) {
        self.0.lock().record(value);
    }

    /// One more duration, as seconds.
    pub fn record_duration(&self, duration: Duration) {
        self.record(duration.as_secs_f64());
    }

    /// Degraded, or healthy.
    pub fn judge(&self) -> Finding {
        let stats = {
            let course = self.0.lock();
            if !course.is_beyond() {
                return Finding::healthy();
            }
            course.stats()
        };
        let BaselineStats { mean, deviation, recent, .. } = stats;
        let recent = recent.unwrap_or(mean);
        Finding::degraded(format!(
            "{recent:.4} on average of late, against {mean:.4} (deviation {deviation:.4})"
        ))
    }

    /// Forgets everything: what comes from now on is the new baseline.
    pub fn relearn(&self) {
        let mut course = self.0.lock();
        course.window.clear();
        (course.mean, course.variance, course.learned) = (0.0, 0.0, 0);
    }

    /// What it knows.
    pub fn stats(&self) -> BaselineStats {
        self.0.lock().stats()
    }

    crate::observe::watchable!(0, [], Self, Self);
}

impl fmt::Debug for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Baseline");
        if let Some(course) = self.0.try_lock() {
            let stats = course.stats();
            drop(course);
            out.field("stats", &stats);
        }
        out.finish_non_exhaustive()
    }
}
