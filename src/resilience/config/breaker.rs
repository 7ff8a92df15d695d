//! Settings of a circuit breaker.

use crate::ConfigError;
use crate::resilience::CircuitBreaker;
use crate::resilience::breaker::{Builder, OnCancel, OnOverdue};
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
    /// So many failures in a row open it.
    pub failure_threshold: u32,
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
    /// So many successes of trials close it.
    pub success_threshold: u32,
    /// How long the trials may take to give a verdict. Without it, the recovery time.
    #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration::optional"))]
    pub half_open_limit: Option<Duration>,
    /// How long a trial keeps its place to itself. Without it, the recovery time.
    #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration::optional"))]
    pub trial_lease: Option<Duration>,
    /// What happens when the trials are overdue: in configuration `open` or `close`.
    #[cfg_attr(feature = "serde", serde(with = "overdue"))]
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
            failure_threshold: 5,
            recovery_time: Duration::from_secs(30),
            recovery_growth: 1.0,
            recovery_cap: None,
            half_open_requests: 3,
            success_threshold: 2,
            half_open_limit: None,
            trial_lease: None,
            on_overdue: OnOverdue::Open,
            cancelled_after: None,
            enabled: true,
        }
    }
}

impl BreakerSettings {
    /// A builder with these settings, for a name, a clock and observers.
    pub fn builder(&self) -> Builder {
        let mut builder = CircuitBreaker::builder()
            .failure_threshold(self.failure_threshold)
            .recovery_time(self.recovery_time)
            .recovery_growth(self.recovery_growth)
            .half_open_requests(self.half_open_requests)
            .success_threshold(self.success_threshold)
            .on_overdue(self.on_overdue)
            .enabled(self.enabled);
        if let Some(cap) = self.recovery_cap {
            builder = builder.recovery_cap(cap);
        }
        if self.half_open_limit.is_some() {
            builder = builder.half_open_limit(self.half_open_limit);
        }
        if self.trial_lease.is_some() {
            builder = builder.trial_lease(self.trial_lease);
        }
        match self.cancelled_after {
            Some(limit) => builder.on_cancel(OnCancel::FailureIfOlderThan(limit)),
            None => builder,
        }
    }

    /// The breaker.
    ///
    /// # Errors
    /// As [its builder's](Builder::build).
    pub fn build(&self) -> Result<CircuitBreaker, ConfigError> {
        self.builder().build()
    }
}

#[cfg(feature = "serde")]
mod overdue {
    use super::OnOverdue;
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Word {
        Open,
        Close,
    }

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
    pub(super) fn serialize<S: Serializer>(overdue: &OnOverdue, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit_variant(
            "OnOverdue",
            u32::from(*overdue == OnOverdue::Close),
            match overdue {
                OnOverdue::Open => "open",
                OnOverdue::Close => "close",
            },
        )
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OnOverdue, D::Error> {
        Word::deserialize(deserializer).map(|word| match word {
            Word::Open => OnOverdue::Open,
            Word::Close => OnOverdue::Close,
        })
    }
}
