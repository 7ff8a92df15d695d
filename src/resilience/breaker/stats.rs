//! Counts.

use super::State;
use super::window::Counts;
use std::time::Instant;

/// What a [`Window`](super::Window) holds: whole numbers, all of one moment.
///
/// Of a window of calls they are the exact counts after some outcome. Of a window of time each outcome that has come in is in
/// all of the numbers it belongs to or in none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct WindowCounts {
    /// Calls that succeeded or failed, or were dropped and are counted as slow.
    pub calls: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// Those of them that were slow.
    pub slow: u64,
}

impl WindowCounts {
    /// The calls that did not fail.
    pub const fn successes(&self) -> u64 {
        self.calls - self.failures
    }

    /// The share of failures; `None` of no calls.
    pub fn failure_rate(&self) -> Option<f64> {
        share(self.failures, self.calls)
    }

    /// The share of calls that did not fail; `None` of no calls.
    pub fn success_rate(&self) -> Option<f64> {
        share(self.successes(), self.calls)
    }

    /// The share of slow calls; `None` of no calls.
    pub fn slow_rate(&self) -> Option<f64> {
        share(self.slow, self.calls)
    }
}

impl From<Counts> for WindowCounts {
    fn from(counts: Counts) -> Self {
        let Counts { calls, failures, slow } = counts;
        Self { calls, failures, slow }
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// What a breaker has counted since it was made.
///
/// Calls that have ended are exact. While calls begin and end, a count may lack those that end during the look;
/// `running` is never less than what really runs of the calls counted here, and
/// `requests = rejected + running + successes + failures + ignored + cancelled + late + unrecorded` holds in every
/// answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerStats {
    /// The state, as [`CircuitBreaker::state`](super::CircuitBreaker::state) gives it.
    pub state: State,
    /// Calls that asked to be let through.
    pub requests: u64,
    /// Calls let through that have not ended.
    pub running: u64,
    /// Calls that succeeded.
    pub successes: u64,
    /// Calls that failed, panicked calls included.
    pub failures: u64,
    /// Calls whose outcome was to be ignored.
    pub ignored: u64,
    /// Calls dropped before they ended.
    pub cancelled: u64,
    /// Calls refused.
    pub rejected: u64,
    /// Calls that succeeded or failed after the breaker's state had changed, and so changed nothing.
    pub late: u64,
    /// Calls that ended while the breaker was disabled.
    pub unrecorded: u64,
    /// Of the calls that succeeded, failed or were dropped, how many were slow.
    pub slow: u64,
    /// Failures in a row up to now (closed, metrics only).
    pub consecutive_failures: u32,
    /// How often it has opened for a break since it was last closed.
    pub consecutive_opens: u32,
    /// What is in the window now (closed, metrics only); `None` without a window.
    pub window: Option<WindowCounts>,
    /// Changes of state.
    pub state_changes: u64,
    /// Times that it was [reset](super::CircuitBreaker::reset) when there was anything to reset.
    pub resets: u64,
    /// When the state last changed.
    pub last_change: Option<Instant>,
    /// When a call last succeeded, if [that is noted](super::Builder::timestamps). Late results are not.
    pub last_success: Option<Instant>,
    /// When a call last failed, if that is noted.
    pub last_failure: Option<Instant>,
}

impl BreakerStats {
    /// Whether the breaker lets every call through.
    pub const fn is_healthy(&self) -> bool {
        matches!(self.state, State::Closed | State::MetricsOnly | State::ForcedClosed | State::Disabled)
    }

    /// The share of failures among the calls that succeeded or failed since the breaker was made; `None` of none.
    pub fn failure_rate(&self) -> Option<f64> {
        share(self.failures, self.failures + self.successes)
    }

    /// The share of successes among them.
    pub fn success_rate(&self) -> Option<f64> {
        share(self.successes, self.failures + self.successes)
    }
}
