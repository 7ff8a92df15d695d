//! Settings of a retry and its budget.

use super::BackoffSettings;
use super::error::Problems;
use crate::ConfigError;
use crate::resilience::{Budget, Retry, RetryBuilder};
use crate::time::Clock;
use std::time::Duration;

/// Settings of a [`Retry`]; see its [builder](RetryBuilder), whose defaults they have.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct RetrySettings {
    /// How many attempts are made at most, the first included.
    pub max_attempts: u32,
    /// How long to wait between attempts.
    pub backoff: BackoffSettings,
    /// What all calls together may spend on retries.
    pub budget: Option<BudgetSettings>,
    /// No attempt begins later than this after the first.
    #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration::optional"))]
    pub max_duration: Option<Duration>,
    /// Whether a delay is cut short for a last attempt at `max_duration`.
    pub trim: bool,
    /// The longest time for which an attempt may send us away.
    #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration"))]
    pub server_delay_cap: Duration,
    /// Whether an open circuit inside is tried again when it lets calls through.
    pub wait_for_breaker: bool,
    /// An attempt that fails after it has run for so long starts everything anew.
    #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration::optional"))]
    pub reset_after: Option<Duration>,
    /// How many of the errors before the last one are carried by the error that comes out.
    pub keep_errors: u32,
    /// Whether attempts are marked for retries inside.
    pub mark_attempts: bool,
    /// Whether it makes one attempt only inside another retry that marks them.
    pub yield_to_outer: bool,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            backoff: BackoffSettings::default(),
            budget: None,
            max_duration: None,
            trim: false,
            server_delay_cap: Duration::from_secs(60),
            wait_for_breaker: false,
            reset_after: None,
            keep_errors: 0,
            mark_attempts: false,
            yield_to_outer: false,
        }
    }
}

impl RetrySettings {
    /// A builder with these settings but for the budget, which is made to be shared: see [`BudgetSettings::build`].
    ///
    /// # Errors
    /// As [`BackoffSettings::build`].
    pub fn builder(&self) -> Result<RetryBuilder, ConfigError> {
        Ok(self.without_backoff().backoff(self.backoff.build()?))
    }

    fn without_backoff(&self) -> RetryBuilder {
        let mut builder = Retry::builder()
            .max_attempts(self.max_attempts)
            .keep_errors(self.keep_errors as usize)
            .trim(self.trim)
            .server_delay_cap(self.server_delay_cap)
            .wait_for_breaker(self.wait_for_breaker)
            .mark_attempts(self.mark_attempts)
            .yield_to_outer(self.yield_to_outer);
        if let Some(limit) = self.max_duration {
            builder = builder.max_duration(limit);
        }
        if let Some(quiet) = self.reset_after {
            builder = builder.reset_after(quiet);
        }
        builder
    }

    /// The retry, with `budget` if there is one.
    pub(super) fn make(
        &self,
        name: &'static str,
        clock: &Clock,
        budget: Option<Budget>,
        problems: &mut Problems,
    ) -> Option<Retry> {
        let mut builder = self.without_backoff().name(name).clock(clock.clone());
        if let Some(backoff) = problems.of("retry.backoff", self.backoff.build()) {
            builder = builder.backoff(backoff);
        }
        if let Some(budget) = budget {
            builder = builder.budget(budget);
        }
        problems.of("retry", builder.build())
    }
}

/// Settings of a [`Budget`], whose defaults they have.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "lowercase", deny_unknown_fields)
)]
#[non_exhaustive]
pub enum BudgetSettings {
    /// See [`Budget::quota`].
    Quota {
        /// What the store holds.
        tokens: u32,
        /// What a retry costs.
        #[cfg_attr(feature = "serde", serde(default = "five"))]
        cost: u32,
        /// What a call pays in that succeeds at its first attempt.
        #[cfg_attr(feature = "serde", serde(default = "one"))]
        reward: u32,
    },
    /// See [`Budget::ratio`].
    Ratio {
        /// Retries for each call.
        ratio: f64,
        /// For how long calls count.
        #[cfg_attr(
            feature = "serde",
            serde(with = "crate::limit::serialized::duration", default = "ten_seconds")
        )]
        window: Duration,
        /// Retries a second that are allowed in any case.
        #[cfg_attr(feature = "serde", serde(default = "ten"))]
        min_per_second: f64,
    },
    /// See [`Budget::share`].
    Share {
        /// Retries at the same time for each call under way.
        share: f64,
        /// So many at the same time that are allowed in any case.
        #[cfg_attr(feature = "serde", serde(default = "three"))]
        least: u32,
    },
}

#[cfg(feature = "serde")]
const fn five() -> u32 {
    5
}

#[cfg(feature = "serde")]
const fn three() -> u32 {
    3
}

#[cfg(feature = "serde")]
const fn one() -> u32 {
    1
}

#[cfg(feature = "serde")]
const fn ten() -> f64 {
    10.0
}

#[cfg(feature = "serde")]
const fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

impl BudgetSettings {
    /// The budget, to be given to all retries that are to share it.
    ///
    /// # Errors
    /// As those of the builders of [`Budget`].
    pub fn build(&self, clock: &Clock) -> Result<Budget, ConfigError> {
        match self {
            Self::Quota { tokens, cost, reward } => {
                Budget::quota(*tokens).cost(*cost).reward(*reward).build()
            }
            Self::Ratio { ratio, window, min_per_second } => Budget::ratio(*ratio)
                .window(*window)
                .min_per_second(*min_per_second)
                .clock(clock.clone())
                .build(),
            Self::Share { share, least } => Budget::share(*share).least(*least).build(),
        }
    }

    /// The budget of the policy at `path`.
    pub(super) fn make(&self, path: &str, clock: &Clock, problems: &mut Problems) -> Option<Budget> {
        let kind = match self {
            Self::Quota { .. } => "quota",
            Self::Ratio { .. } => "ratio",
            Self::Share { .. } => "share",
        };
        problems.of(&format!("{path}.budget.{kind}"), self.build(clock))
    }
}
