//! Settings of a whole stack.

use super::error::{Problems, SettingsError};
use super::standard::{Parts, StandardStack};
use super::{BreakerSettings, BulkheadSettings, RetrySettings, ThrottleSettings};
use crate::ConfigError;
use crate::time::Clock;
use std::time::Duration;

/// Settings of a stack in the order that suits most calls (see [`Stack`](crate::resilience::Stack)):
///
/// ```text
/// timeout (total) > retry > breaker > throttle > bulkhead > timeout (attempt) > operation
/// ```
///
/// What is left out is not there: the default is a stack without policies.
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
///         "breaker": { "failure_threshold": 10, "recovery_time": "15s" },
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
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct StackSettings {
    /// What refusals and events call its policies; without it, what kind of policy each is. A name stays in memory for as
    /// long as the process lives.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub name: Option<String>,
    /// How long a call may take with all its attempts and waits.
    #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration::optional"))]
    pub total_timeout: Option<Duration>,
    /// The retry.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub retry: Option<RetrySettings>,
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
    #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration::optional"))]
    pub attempt_timeout: Option<Duration>,
}

impl StackSettings {
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
    pub fn build(&self) -> Result<StandardStack, SettingsError> {
        self.build_on(&Clock::system())
    }

    /// The stack, on a clock of your own.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn build_on(&self, clock: &Clock) -> Result<StandardStack, SettingsError> {
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
