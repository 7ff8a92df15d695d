//! Settings, as the machine uses them.

use super::rules::{Rules, share};
use super::verdict::Rule;
use super::window::Shape;
use super::{Outcome, Trigger, Window, WindowCounts};
use crate::panics::contain;
use std::sync::Arc;
use std::time::Duration;

/// What a call that is dropped before it ends says about the callee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnCancel {
    /// Nothing: the caller went away.
    #[default]
    Neutral,
    /// A failure, if the call had been running for longer than this. For a breaker under a timeout, so that a callee
    /// that hangs is seen to; costs each call a look at the clock.
    FailureIfOlderThan(Duration),
}

/// What a half-open breaker does when its trials give no verdict in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum OnOverdue {
    /// Opens again, for the next break.
    #[default]
    Open,
    /// Closes.
    Close,
}

/// A breaker opens: what the length of its break may depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trip {
    /// How often it has opened since it was last closed, by evidence or by hand; 0 for the first time.
    pub opens: u32,
    /// Why it opens.
    pub trigger: Trigger,
    /// Failures in a row that opened it; 0 if those were not what did.
    pub failures: u32,
    /// What was in the window of the closed breaker, if it has one.
    pub window: Option<WindowCounts>,
    /// The outcome that opened it; `None` if it was a cancelled call, the time, or somebody by hand.
    pub outcome: Option<Outcome>,
    /// How long the callee asked to be left alone in the outcome that opened it.
    pub retry_after: Option<Duration>,
}

#[derive(Clone)]
pub(super) enum Growth {
    Factor(f64),
    With(Arc<dyn Fn(&Trip) -> Duration + Send + Sync>),
}

/// When a half-open breaker closes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Closes {
    Successes(u32),
    FailuresBelow(f64),
}

/// What can be set, as it was set.
#[derive(Clone)]
pub(super) struct Knobs {
    pub(super) failure_threshold: Option<u32>,
    pub(super) window: Option<Window>,
    pub(super) minimum_calls: Option<u32>,
    pub(super) failures_in_window: Option<u32>,
    pub(super) failure_rate: Option<f64>,
    pub(super) slow_call: Option<Duration>,
    pub(super) slow_rate: Option<f64>,
    pub(super) count_cancelled_slow: bool,
    pub(super) timestamps: bool,
    pub(super) recovery_time: Duration,
    pub(super) recovery_cap: Option<Duration>,
    pub(super) growth: Growth,
    pub(super) half_open_requests: u32,
    pub(super) closes: Closes,
    pub(super) ramp: Option<Arc<[f64]>>,
    pub(super) half_open_limit: Option<Option<Duration>>,
    pub(super) trial_lease: Option<Option<Duration>>,
    pub(super) on_overdue: OnOverdue,
    pub(super) on_cancel: OnCancel,
}

impl Knobs {
    pub(super) const DEFAULT: Self = Self {
        failure_threshold: None,
        window: None,
        minimum_calls: None,
        failures_in_window: None,
        failure_rate: None,
        slow_call: None,
        slow_rate: None,
        count_cancelled_slow: false,
        timestamps: false,
        recovery_time: Duration::from_secs(30),
        recovery_cap: None,
        growth: Growth::Factor(1.0),
        half_open_requests: 3,
        closes: Closes::Successes(2),
        ramp: None,
        half_open_limit: None,
        trial_lease: None,
        on_overdue: OnOverdue::Open,
        on_cancel: OnCancel::Neutral,
    };
}

/// The settings of a breaker, checked. Durations are nanoseconds, `u64::MAX` being for ever.
#[derive(Clone)]
pub(super) struct Config {
    pub(super) knobs: Knobs,
    pub(super) failure_threshold: u32,
    pub(super) rules: Rules,
    pub(super) shape: Shape,
    pub(super) slow_call: u64,
    pub(super) trials: Rule,
    /// Shares of the calls, step by step.
    pub(super) ramp: Box<[u32]>,
    pub(super) verdict_within: u64,
    pub(super) trial_lease: u64,
    cap: Duration,
}

/// Those that nobody has to check.
impl Default for Config {
    fn default() -> Self {
        Self::new(Knobs::DEFAULT, Shape::NONE, Rules::NONE.minimum)
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Config {
    /// Of knobs that were found to make sense, with the shape and the minimum that come of them.
    pub(super) fn new(knobs: Knobs, shape: Shape, minimum: u32) -> Self {
        // What a limit is when nobody has said: the recovery time, unless that is none at all.
        let recovery = knobs.recovery_time;
        let default = if recovery.is_zero() { Duration::from_secs(30) } else { recovery };
        let limit = |set: Option<Option<Duration>>| set.unwrap_or(Some(default)).map_or(u64::MAX, nanos);
        let rules = Rules {
            minimum,
            failures: knobs.failures_in_window.unwrap_or(Rules::NONE.failures),
            failure_rate: knobs.failure_rate.map_or(Rules::NONE.failure_rate, share),
            slow_rate: knobs.slow_rate.map_or(Rules::NONE.slow_rate, share),
        };
        let slow_rate = knobs.slow_rate.map(share);
        let trials = match knobs.closes {
            Closes::Successes(successes) => {
                Rule::successes(knobs.half_open_requests, successes, slow_rate.is_some())
            }
            Closes::FailuresBelow(rate) => Rule::rate(knobs.half_open_requests, share(rate), slow_rate),
        };
        Self {
            // Five, where nothing else opens it.
            failure_threshold: knobs.failure_threshold.unwrap_or(if rules.are_none() { 5 } else { u32::MAX }),
            rules,
            shape,
            slow_call: knobs.slow_call.map_or(u64::MAX, nanos),
            trials,
            ramp: knobs.ramp.iter().flat_map(|shares| shares.iter().copied().map(share)).collect(),
            verdict_within: limit(knobs.half_open_limit),
            trial_lease: limit(knobs.trial_lease),
            cap: knobs.recovery_cap.unwrap_or_else(|| default_cap(recovery)),
            knobs,
        }
    }

    /// Whether each call has to know when it began.
    pub(super) fn times_calls(&self) -> bool {
        matches!(self.knobs.on_cancel, OnCancel::FailureIfOlderThan(_)) || self.slow_call != u64::MAX
    }

    /// Whether the success of a call is more than a number in a closed breaker that has counted no failure.
    pub(super) fn notes_successes(&self) -> bool {
        !self.shape.is_none() || self.slow_call != u64::MAX || self.knobs.timestamps
    }

    /// The length of the break that begins with `trip`. Runs the user's function: no lock may be held.
    pub(super) fn break_nanos(&self, trip: &Trip) -> u64 {
        let base = self.knobs.recovery_time;
        let length = match &self.knobs.growth {
            Growth::Factor(factor) => grown(base, *factor, trip.opens),
            // It may run in the drop of a guard while another panic unwinds: its own must not get out.
            Growth::With(length) => contain(|| length(trip)).unwrap_or(base),
        };
        nanos(length.max(trip.retry_after.unwrap_or_default()).min(self.cap))
    }
}

fn default_cap(recovery_time: Duration) -> Duration {
    recovery_time.saturating_mul(10).max(Duration::from_secs(300))
}

fn grown(base: Duration, factor: f64, opens: u32) -> Duration {
    if opens == 0 || factor == 1.0 {
        return base;
    }
    let seconds = base.as_secs_f64() * factor.powi(i32::try_from(opens).unwrap_or(i32::MAX));
    Duration::try_from_secs_f64(seconds).unwrap_or(if base.is_zero() { base } else { Duration::MAX })
}
