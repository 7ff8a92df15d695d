//! Counts.

use super::State;
use std::time::Instant;

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
    /// Failures in a row up to now (closed, metrics only).
    pub consecutive_failures: u32,
    /// How often it has opened for a break since it was last closed.
    pub consecutive_opens: u32,
    /// Changes of state.
    pub state_changes: u64,
    /// When the state last changed.
    pub last_change: Option<Instant>,
}
