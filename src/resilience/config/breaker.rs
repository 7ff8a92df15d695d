//! Settings of a circuit breaker.

use crate::ConfigError;
use crate::resilience::CircuitBreaker;
use crate::resilience::breaker::{Builder, OnCancel, OnOverdue, Window};
use std::time::Duration;

/// Settings of a [`CircuitBreaker`]; see its [builder](Builder), whose defaults they have.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct BreakerSettings {
    /// So many failures in a row open it. Without it 5, or never where another rule opens it.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub failure_threshold: Option<u32>,
    /// Over which calls it counts: in configuration `100 calls`, `30s`, or `30s in 6 parts`. Without it the last 100 calls, if
    /// a rule needs a window.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub window: Option<Window>,
    /// No rate is judged with fewer calls than this in the window. Without it 10.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub minimum_calls: Option<u32>,
    /// So many failures in the window open it.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub failures_in_window: Option<u32>,
    /// This share of failures in the window opens it.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub failure_rate: Option<f64>,
    /// What takes longer is slow.
    #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration::optional"))]
    pub slow_call: Option<Duration>,
    /// This share of slow calls in the window opens it.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub slow_rate: Option<f64>,
    /// Whether a call that is dropped after it has become slow is counted as a slow one.
    pub count_cancelled_slow: bool,
    /// Whether to note when the last call succeeded and when the last one failed.
    pub timestamps: bool,
    /// How long it stays open.
    #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration"))]
    pub recovery_time: Duration,
    /// So many times longer is each break that follows another one.
    pub recovery_growth: f64,
    /// No break is longer. Without it, ten recovery times, but at least five minutes.
    #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration::optional"))]
    pub recovery_cap: Option<Duration>,
    /// How many calls it lets through on trial.
    pub half_open_requests: u32,
    /// So many successes of trials close it. Without it 2, unless `half_open_rate` says otherwise.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub success_threshold: Option<u32>,
    /// This share of failures among the trials opens it again, fewer close it. In place of `success_threshold`: both are an
    /// error.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub half_open_rate: Option<f64>,
    /// The shares of the calls that a half-open breaker lets through, step by step. Empty: one step.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub half_open_ramp: Vec<f64>,
    /// How long the trials may take to give a verdict. Without it, the recovery time.
    #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration::optional"))]
    pub half_open_limit: Option<Duration>,
    /// How long a trial keeps its place to itself. Without it, the recovery time.
    #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration::optional"))]
    pub trial_lease: Option<Duration>,
    /// What happens when the trials are overdue: in configuration `open` or `close`.
    pub on_overdue: OnOverdue,
    /// A dropped call is a failure if it had been running for longer than this. Without it, it says nothing.
    #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration::optional"))]
    pub cancelled_after: Option<Duration>,
    /// Whether it does anything.
    pub enabled: bool,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
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
            recovery_growth: 1.0,
            recovery_cap: None,
            half_open_requests: 3,
            success_threshold: None,
            half_open_rate: None,
            half_open_ramp: Vec::new(),
            half_open_limit: None,
            trial_lease: None,
            on_overdue: OnOverdue::Open,
            cancelled_after: None,
            enabled: true,
        }
    }
}

/// Sets on a builder what is set here.
macro_rules! given {
    ($settings:expr, $builder:ident: $($knob:ident)+) => {
        $(if let Some(value) = $settings.$knob { $builder = $builder.$knob(value); })+
    };
}

impl BreakerSettings {
    /// A builder with these settings, for a name, a clock and observers.
    ///
    /// # Errors
    /// Two settings of which one is in place of the other. All else is checked when it is built.
    pub fn builder(&self) -> Result<Builder, ConfigError> {
        let mut builder = CircuitBreaker::builder()
            .count_cancelled_slow(self.count_cancelled_slow)
            .timestamps(self.timestamps)
            .recovery_time(self.recovery_time)
            .recovery_growth(self.recovery_growth)
            .half_open_requests(self.half_open_requests)
            .half_open_ramp(&self.half_open_ramp)
            .on_overdue(self.on_overdue)
            .enabled(self.enabled);
        given!(self, builder: failure_threshold window minimum_calls failures_in_window failure_rate slow_call slow_rate
            recovery_cap success_threshold half_open_rate);
        if self.half_open_limit.is_some() {
            builder = builder.half_open_limit(self.half_open_limit);
        }
        if self.trial_lease.is_some() {
            builder = builder.trial_lease(self.trial_lease);
        }
        if let Some(limit) = self.cancelled_after {
            builder = builder.on_cancel(OnCancel::FailureIfOlderThan(limit));
        }
        match (self.success_threshold, self.half_open_rate) {
            (Some(_), Some(share)) => {
                let rule = "is in place of success_threshold: only one of the two may be set";
                Err(ConfigError::new("circuit breaker", "half_open_rate", share, rule))
            }
            _ => Ok(builder),
        }
    }

    /// The breaker.
    ///
    /// # Errors
    /// As [`builder`](Self::builder), and as [its builder's](Builder::build).
    pub fn build(&self) -> Result<CircuitBreaker, ConfigError> {
        self.builder()?.build()
    }

    /// Puts these settings in force in a breaker that had those of `old`.
    ///
    /// # Errors
    /// They make no sense: then nothing has changed.
    pub(super) fn put_in_force(&self, breaker: &CircuitBreaker, old: &Self) -> Result<(), ConfigError> {
        let mut before = old.clone();
        before.enabled = self.enabled;
        if before != *self {
            breaker.set(self.builder()?)?;
        }
        if old.enabled != self.enabled {
            // Who has shut it down wants it to be so for good: that it is refused then is right.
            let _ = if self.enabled { breaker.reset() } else { breaker.disable() };
        }
        Ok(())
    }
}
