//! Settings of a whole stack.

use super::error::{Problems, SettingsError};
use super::standard::{Parts, StandardStack};
use super::{
    BreakerSettings, BulkheadSettings, HedgeSettings, Hedging, NoHedge, RetrySettings, ThrottleSettings,
};
use crate::ConfigError;
use crate::time::Clock;
use std::time::Duration;

/// Settings of a stack in the order that suits most calls (see [`Stack`](crate::resilience::Stack)):
///
/// ```text
/// timeout (total) > retry > [hedge >] breaker > throttle > bulkhead > timeout (attempt) > operation
/// ```
///
/// What is left out is not there: the default is a stack without policies. The [presets](crate::resilience::presets) are
/// settings to begin with.
///
/// A hedge is only in [`HedgedSettings`], which make a [`HedgedStack`](super::HedgedStack): calls through that must be ones
/// that can be run twice.
///
/// ```
/// # #[cfg(feature = "serde")] {
/// use cofferdam::resilience::config::StackSettings;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let settings: StackSettings = serde_json::from_str(
///     r#"{
///         "name": "inventory",
///         "total_timeout": "10s",
///         "retry": { "max_attempts": 4, "backoff": { "base": "50ms", "cap": "2s" } },
///         "breaker": { "window": "30s", "failure_rate": 0.5, "recovery_time": "15s" },
///         "throttle": { "quota": "100/s burst 20", "wait_limit": "250ms" },
///         "bulkhead": { "running": 16, "queue": 64, "wait_limit": "1s" },
///         "attempt_timeout": "2s"
///     }"#,
/// )?;
/// let stack = settings.build()?;
/// assert_eq!(stack.describe().len(), 6);
/// assert_eq!(stack.lint(), []);
/// # Ok(())
/// # }
/// # main().unwrap();
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct StackSettings<H = NoHedge> {
    /// What refusals and events call its policies; without it, what kind of policy each is. A name stays in memory for as
    /// long as the process lives.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub name: Option<String>,
    /// How long a call may take with all its attempts and waits.
    #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration::optional", default))]
    pub total_timeout: Option<Duration>,
    /// The retry.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub retry: Option<RetrySettings>,
    /// The hedge: only in [`HedgedSettings`].
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub hedge: Option<H>,
    /// The circuit breaker.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub breaker: Option<BreakerSettings>,
    /// The throttle.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub throttle: Option<ThrottleSettings>,
    /// The bulkhead.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub bulkhead: Option<BulkheadSettings>,
    /// How long one attempt may take.
    #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration::optional", default))]
    pub attempt_timeout: Option<Duration>,
}

/// Settings of a stack with a hedge just inside the retry, for calls that may be run twice.
pub type HedgedSettings = StackSettings<HedgeSettings>;

/// A stack without policies.
impl Default for StackSettings {
    fn default() -> Self {
        Self {
            name: None,
            total_timeout: None,
            retry: None,
            hedge: None,
            breaker: None,
            throttle: None,
            bulkhead: None,
            attempt_timeout: None,
        }
    }
}

/// Each of these has a field of the same name, for what is inside it. Given `None`, it takes out what was there.
impl<H> StackSettings<H> {
    /// With another name.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// With another limit for a call with all its attempts and waits.
    #[must_use]
    pub fn total_timeout(self, limit: impl Into<Option<Duration>>) -> Self {
        Self { total_timeout: limit.into(), ..self }
    }

    /// With another retry.
    #[must_use]
    pub fn retry(self, retry: impl Into<Option<RetrySettings>>) -> Self {
        Self { retry: retry.into(), ..self }
    }

    /// With a hedge, or another one, for calls that may be run twice.
    #[must_use]
    pub fn hedge(self, hedge: HedgeSettings) -> HedgedSettings {
        let Self { name, total_timeout, retry, hedge: _, breaker, throttle, bulkhead, attempt_timeout } =
            self;
        let hedge = Some(hedge);
        StackSettings { name, total_timeout, retry, hedge, breaker, throttle, bulkhead, attempt_timeout }
    }

    /// With another breaker.
    #[must_use]
    pub fn breaker(self, breaker: impl Into<Option<BreakerSettings>>) -> Self {
        Self { breaker: breaker.into(), ..self }
    }

    /// With another throttle.
    #[must_use]
    pub fn throttle(self, throttle: impl Into<Option<ThrottleSettings>>) -> Self {
        Self { throttle: throttle.into(), ..self }
    }

    /// With another bulkhead.
    #[must_use]
    pub fn bulkhead(self, bulkhead: impl Into<Option<BulkheadSettings>>) -> Self {
        Self { bulkhead: bulkhead.into(), ..self }
    }

    /// With another limit for one attempt.
    #[must_use]
    pub fn attempt_timeout(self, limit: impl Into<Option<Duration>>) -> Self {
        Self { attempt_timeout: limit.into(), ..self }
    }
}

impl<H: Hedging> StackSettings<H> {
    /// Whether a stack can be made of them.
    ///
    /// # Errors
    /// All that is wrong with them, each with its path.
    pub fn check(&self) -> Result<(), SettingsError> {
        self.build().map(drop)
    }

    /// The stack, on the system's clock.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn build(&self) -> Result<StandardStack<H>, SettingsError> {
        self.build_on(&Clock::system())
    }

    /// The stack, on a clock of your own.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn build_on(&self, clock: &Clock) -> Result<StandardStack<H>, SettingsError> {
        let mut problems = Problems::default();
        let parts = Parts::new(self, clock, &mut problems);
        if let (Some(total), Some(attempt)) = (self.total_timeout, self.attempt_timeout) {
            if attempt >= total {
                let value = format_args!("{attempt:?}");
                let error =
                    ConfigError::new("timeout", "attempt_timeout", value, "must be below total_timeout");
                problems.add("", error);
            }
        }
        problems.finish()?;
        Ok(StandardStack::new(self.clone(), clock.clone(), parts))
    }
}
