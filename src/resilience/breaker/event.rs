//! What a breaker tells those who observe it.

use super::{Outcome, State};
use std::fmt;
use std::time::{Duration, Instant};

/// Why a breaker changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Trigger {
    /// So many failures in a row.
    ConsecutiveFailures,
    /// The break is over and a call came, or [`poll_transition`](super::CircuitBreaker::poll_transition).
    BreakOver,
    /// A trial failed.
    TrialFailed,
    /// Enough trials succeeded.
    TrialsSucceeded,
    /// The trials gave no verdict in time.
    TrialsOverdue,
    /// Somebody said so.
    Manual,
    /// [`reset`](super::CircuitBreaker::reset).
    Reset,
    /// [`shutdown`](super::CircuitBreaker::shutdown).
    Shutdown,
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ConsecutiveFailures => "consecutive failures",
            Self::BreakOver => "break over",
            Self::TrialFailed => "trial failed",
            Self::TrialsSucceeded => "trials succeeded",
            Self::TrialsOverdue => "trials overdue",
            Self::Manual => "by hand",
            Self::Reset => "reset",
            Self::Shutdown => "shutdown",
        })
    }
}

/// Something an observer of a breaker may want to know.
///
/// Changes of state and resets are delivered in the order in which they happened, each once, whichever threads caused
/// them; the others as they come. All are delivered outside the breaker's lock: an observer may call back into the
/// breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreakerEvent {
    /// The state changed.
    #[non_exhaustive]
    StateChanged {
        /// The breaker.
        name: &'static str,
        /// What it was doing.
        from: State,
        /// What it does now.
        to: State,
        /// Why.
        trigger: Trigger,
        /// When. For trials that are overdue this is when they became so, which may have been noticed later.
        at: Instant,
        /// If it opened for a break: how long.
        open_for: Option<Duration>,
    },
    /// A closed breaker was reset: it has forgotten its failures.
    #[non_exhaustive]
    Cleared {
        /// The breaker.
        name: &'static str,
        /// When.
        at: Instant,
    },
    /// A call was refused.
    #[non_exhaustive]
    NotPermitted {
        /// The breaker.
        name: &'static str,
        /// What it was doing.
        state: State,
        /// As [`Open::retry_after`](super::Open::retry_after).
        retry_after: Option<Duration>,
    },
    /// A call that was let through before the last change of state has ended. Its outcome changed nothing.
    #[non_exhaustive]
    LateResult {
        /// The breaker.
        name: &'static str,
        /// The outcome.
        outcome: Outcome,
    },
    /// In [`State::MetricsOnly`]: a closed breaker would have opened now. Told once for each run of failures.
    #[non_exhaustive]
    ThresholdReached {
        /// The breaker.
        name: &'static str,
        /// Failures in a row.
        failures: u32,
    },
}
