//! How fast calls are when there is no queue: measured, not guessed.
//!
//! An algorithm that compares present times with past ones drifts if it runs at its limit for long: the queue that it has
//! let grow becomes what it takes for normal. So from time to time it lowers the limit to a few calls for as long as it
//! takes to time some of them, as Envoy's adaptive concurrency filter does; what they take is the baseline.

use super::algorithm::Sample;
use fastrand::Rng;

/// In flight while it measures, unless the limit may not be so low.
const FEW: u32 = 3;
/// Windows in a row at the minimum that force a probe.
const STUCK: u32 = 5;
/// Samples that make a measurement.
const NEEDED: u32 = 50;
/// Windows with nothing to measure, after which a probe is given up.
const PATIENCE: u32 = 20;

/// When to probe, and the probe that runs.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    /// In flight while it measures.
    pub(super) limit: u32,
    /// Windows between two probes; 0 for none.
    every: u32,
    rng: Rng,
    /// Windows until the next.
    left: u32,
    /// Windows at the minimum in a row.
    at_min: u32,
    running: Option<Running>,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    /// The limit before.
    resume: f64,
    sum: f64,
    count: u32,
    idle: u32,
}

/// What a window means to it.
pub(super) enum Turn {
    /// Nothing: the algorithm goes on.
    None,
    /// It ran at so few calls that its time is the baseline, without a probe.
    Free(f64),
    /// A probe runs.
    Running,
    /// A probe is over: the baseline, if it could be measured, and the limit before.
    Over(Option<f64>, f64),
}

impl Probe {
    /// The first comes early: what the algorithm has begun with may have been measured in an overload.
    pub(super) fn new(min: u32, every: u32, mut rng: Rng) -> Self {
        let left = jittered(every / 6, &mut rng);
        Self { limit: min.max(FEW), every, rng, left, at_min: 0, running: None }
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Takes in a window of the `limit`, whose bounds begin at `min`.
    pub(super) fn turn(&mut self, sample: &Sample, limit: f64, min: u32) -> Turn {
        if self.every == 0 {
            return Turn::None;
        }
        let clean = sample.nanos().filter(|_| sample.in_flight <= self.limit);
        if let Some(running) = &mut self.running {
            match clean {
                Some(rtt) => {
                    running.sum += rtt * f64::from(sample.successes);
                    running.count += sample.successes;
                }
                // Calls from before: what was in flight drains.
                None if sample.in_flight > self.limit && sample.successes > 0 => {}
                None => running.idle += 1,
            }
            let Running { resume, sum, count, idle } = *running;
            if count < NEEDED && idle < PATIENCE {
                return Turn::Running;
            }
            self.running = None;
            self.left = jittered(self.every, &mut self.rng);
            return Turn::Over((count > 0).then(|| sum / f64::from(count)), resume);
        }
        if let Some(rtt) = clean.filter(|_| sample.successes >= NEEDED && sample.drops == 0) {
            self.at_min = 0;
            self.left = jittered(self.every, &mut self.rng);
            return Turn::Free(rtt);
        }
        self.at_min = if limit < f64::from(min) + 1.0 { self.at_min + 1 } else { 0 };
        self.left = self.left.saturating_sub(1);
        if self.left > 0 && self.at_min < STUCK {
            return Turn::None;
        }
        self.at_min = 0;
        self.running = Some(Running { resume: limit, sum: 0.0, count: 0, idle: 0 });
        Turn::Running
    }
}

/// A baseline with one more measurement. One that is not far off is as likely noise as news, and the mean has less of it.
pub(super) fn blend(known: Option<f64>, measured: f64) -> f64 {
    match known {
        Some(known) if measured > known / 2.0 && measured < known * 2.0 => (known + measured) / 2.0,
        _ => measured,
    }
}

/// From `windows` up to a quarter more: limiters of one server that were started together do not probe together for ever.
fn jittered(windows: u32, rng: &mut Rng) -> u32 {
    windows.saturating_add(rng.u32(0..=windows / 4)).max(1)
}
