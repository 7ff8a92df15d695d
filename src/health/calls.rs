//! How something is that is called, by how its calls have ended.

use super::Finding;
use crate::ConfigError;
use std::time::{Duration, Instant};

/// Judges by counts of successes and failures: the rule for listeners, handlers, and whatever else counts its calls.
///
/// | status | if |
/// |---|---|
/// | unhealthy | more than half of the calls have failed |
/// | degraded | a tenth of them or more, or there was an error in the last minute |
/// | healthy | otherwise; so also before the first call |
///
/// ```
/// use cofferdam::health::{CallsRule, Status};
/// use cofferdam::time::Clock;
///
/// let (rule, now) = (CallsRule::new(), Clock::system().now());
/// assert_eq!(rule.judge(91, 9, None, now).status(), Status::Healthy);
/// assert_eq!(rule.judge(90, 10, None, now).status(), Status::Degraded);
/// assert_eq!(rule.judge(50, 51, None, now).status(), Status::Unhealthy);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CallsRule {
    degraded: f64,
    unhealthy: f64,
    recent: Duration,
}

impl CallsRule {
    /// The rule above.
    pub fn new() -> Self {
        Self { degraded: 0.1, unhealthy: 0.5, recent: Duration::from_secs(60) }
    }

    /// Other shares of failures: degraded from the first one on, unhealthy above the second.
    ///
    /// # Errors
    /// They are not numbers from 0 to 1, or the second is below the first.
    pub fn shares(self, degraded: f64, unhealthy: f64) -> Result<Self, ConfigError> {
        const SHARE: std::ops::RangeInclusive<f64> = 0.0..=1.0;
        if !SHARE.contains(&degraded) {
            return Err(ConfigError::new("calls rule", "degraded", degraded, "must be from 0 to 1"));
        }
        if !SHARE.contains(&unhealthy) || unhealthy < degraded {
            let rule = "must be from 0 to 1, and not below the share that is degraded";
            return Err(ConfigError::new("calls rule", "unhealthy", unhealthy, rule));
        }
        Ok(Self { degraded, unhealthy, ..self })
    }

    /// How long an error is recent, and so degrades; zero for not at all.
    pub fn recent(self, recent: Duration) -> Self {
        Self { recent, ..self }
    }

    /// What so many calls, the last of which to fail failed then, amount to now.
    pub fn judge(&self, successes: u64, failures: u64, last_error: Option<Instant>, now: Instant) -> Finding {
        let calls = u128::from(successes) + u128::from(failures);
        if failures > 0 {
            let share = failures as f64 / calls as f64;
            let shares = || format!("{failures} of {calls} calls have failed");
            if share > self.unhealthy {
                return Finding::unhealthy(shares());
            }
            if share >= self.degraded {
                return Finding::degraded(shares());
            }
        }
        match last_error.map(|error| now.saturating_duration_since(error)) {
            Some(ago) if ago < self.recent => Finding::degraded(format!("an error {ago:?} ago")),
            _ => Finding::healthy(),
        }
    }
}

impl Default for CallsRule {
    fn default() -> Self {
        Self::new()
    }
}
