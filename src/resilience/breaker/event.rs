//! What a breaker tells those who observe it.

use super::{Outcome, State, WindowCounts};
use std::fmt;
use std::time::{Duration, Instant};

/// Why a breaker changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Trigger {
    /// So many failures in a row.
    ConsecutiveFailures,
    /// The share of failures in the window.
    FailureRate,
    /// The share of slow calls in the window.
    SlowRate,
    /// So many failures in the window.
    FailuresInWindow,
    /// One outcome: [`Outcome::Trip`].
    Outcome,
    /// The break is over and a call came, or [`poll_transition`](super::CircuitBreaker::poll_transition).
    BreakOver,
    /// A trial failed, or as many as it takes.
    TrialFailed,
    /// A trial was slow, or as many as it takes.
    TrialSlow,
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
            Self::FailureRate => "failure rate",
            Self::SlowRate => "slow-call rate",
            Self::FailuresInWindow => "failures in window",
            Self::Outcome => "outcome",
            Self::BreakOver => "break over",
            Self::TrialFailed => "trial failed",
            Self::TrialSlow => "trial slow",
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
/// Changes of state, of its steps and of settings, and resets are delivered in the order in which they happened, each once, whichever threads caused
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
        /// What was in the window, if it left a state that has one.
        window: Option<WindowCounts>,
    },
    /// A half-open breaker goes on to the next step of its [ramp](super::Builder::half_open_ramp).
    #[non_exhaustive]
    NextStep {
        /// The breaker.
        name: &'static str,
        /// The step that it is in now: the first one is 0.
        step: usize,
        /// When.
        at: Instant,
    },
    /// Settings were [changed](super::CircuitBreaker::set).
    #[non_exhaustive]
    SettingsChanged {
        /// The breaker.
        name: &'static str,
        /// When.
        at: Instant,
        /// If it is open and its break has another end now: how long it is from its beginning.
        open_for: Option<Duration>,
    },
    /// A closed breaker was reset: it has forgotten its failures and what was in its window.
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
    /// A call took longer than [`slow_call`](super::Builder::slow_call).
    #[non_exhaustive]
    SlowCall {
        /// The breaker.
        name: &'static str,
        /// How long it took.
        took: Duration,
        /// How it ended; `None`: it was dropped.
        outcome: Option<Outcome>,
    },
    /// A call ended with an outcome that says nothing.
    #[non_exhaustive]
    Ignored {
        /// The breaker.
        name: &'static str,
    },
    /// A call that was let through before the last change of state has ended. Its outcome changed nothing.
    #[non_exhaustive]
    LateResult {
        /// The breaker.
        name: &'static str,
        /// The outcome.
        outcome: Outcome,
    },
    /// In [`State::MetricsOnly`]: a closed breaker would have opened now. Told of each rule once when it is reached, and
    /// again only after it was not any more.
    #[non_exhaustive]
    ThresholdReached {
        /// The breaker.
        name: &'static str,
        /// The rule.
        trigger: Trigger,
        /// Failures in a row.
        failures: u32,
        /// What is in the window, if there is one.
        window: Option<WindowCounts>,
    },
}
