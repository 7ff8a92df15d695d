//! Circuit breakers, and how they came to be as they are.

use super::{Inspect, Inspection, View};
use crate::resilience::CircuitBreaker;
use crate::resilience::breaker::{BreakerEvent, BreakerStats, State, Trigger, WindowCounts};
use crate::shim::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Changes that are kept.
const KEPT: usize = 32;

/// A [`CircuitBreaker`] at one moment.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct BreakerView {
    /// What it is doing.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::written::text"))]
    pub state: State,
    /// For how long; `None` if it has never done anything else.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::written::perhaps"))]
    pub lasted: Option<Duration>,
    /// Failures in a row up to now.
    pub consecutive_failures: u32,
    /// How often it has opened for a break since it was last closed.
    pub consecutive_opens: u32,
    /// What is in its window, if it has one and is judging.
    #[cfg_attr(feature = "serde", serde(serialize_with = "window"))]
    pub window: Option<WindowCounts>,
    /// Calls let through that have not ended.
    pub running: u64,
    /// Calls that succeeded.
    pub successes: u64,
    /// Calls that failed.
    pub failures: u64,
    /// Calls refused.
    pub rejected: u64,
    /// Calls that were slow.
    pub slow: u64,
    /// Changes of state since it was made.
    pub changes: u64,
    /// The last 32 changes since somebody looks, the oldest first.
    pub history: Vec<BreakerChange>,
}

/// One change of a breaker's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct BreakerChange {
    /// When.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub at: Instant,
    /// How long ago that was.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::written::seconds"))]
    pub ago: Duration,
    /// What it was doing.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::written::text"))]
    pub from: State,
    /// What it did then.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::written::text"))]
    pub to: State,
    /// Why.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::written::text"))]
    pub trigger: Trigger,
    /// If it opened for a break: how long.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::written::perhaps"))]
    pub open_for: Option<Duration>,
    /// What was in the window, if it left a state that has one.
    #[cfg_attr(feature = "serde", serde(serialize_with = "window"))]
    pub window: Option<WindowCounts>,
}

#[cfg(feature = "serde")]
fn window<S: serde::Serializer>(window: &Option<WindowCounts>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(serde::Serialize)]
    struct Counts {
        calls: u64,
        failures: u64,
        slow: u64,
    }
    let counts = window.map(|WindowCounts { calls, failures, slow }| Counts { calls, failures, slow });
    serde::Serialize::serialize(&counts, serializer)
}

/// Each inspection keeps a history of its own, until the last clone of it is dropped.
impl Inspect for CircuitBreaker {
    const COMPONENT: &'static str = "breaker";
    type View = BreakerView;

    fn inspect(&self) -> Inspection<BreakerView> {
        let history = Arc::new(Mutex::new(VecDeque::with_capacity(KEPT)));
        let noted = Arc::clone(&history);
        let attached = self.observers().attach(move |event: &BreakerEvent| {
            if let BreakerEvent::StateChanged { from, to, trigger, at, open_for, window, .. } = *event {
                let change = BreakerChange { at, ago: Duration::ZERO, from, to, trigger, open_for, window };
                let mut history = noted.lock();
                if history.len() == KEPT {
                    history.pop_front();
                }
                history.push_back(change);
            }
        });
        let weak = self.weak();
        Inspection::new(move || {
            // It goes with whoever can look.
            let _held = &attached;
            let breaker = weak()?;
            let stats = breaker.stats();
            let mut history: Vec<BreakerChange> = history.lock().iter().copied().collect();
            let now = breaker.clock().now();
            for change in &mut history {
                change.ago = now.saturating_duration_since(change.at);
            }
            Some(BreakerView::new(&stats, history, now))
        })
    }
}

impl BreakerView {
    fn new(stats: &BreakerStats, history: Vec<BreakerChange>, now: Instant) -> Self {
        Self {
            state: stats.state,
            lasted: stats.last_change.map(|at| now.saturating_duration_since(at)),
            consecutive_failures: stats.consecutive_failures,
            consecutive_opens: stats.consecutive_opens,
            window: stats.window,
            running: stats.running,
            successes: stats.successes,
            failures: stats.failures,
            rejected: stats.rejected,
            slow: stats.slow,
            changes: stats.state_changes,
            history,
        }
    }
}

impl From<BreakerView> for View {
    fn from(view: BreakerView) -> Self {
        Self::Breaker(view)
    }
}

#[cfg(all(test, not(any(cofferdam_loom, cofferdam_shuttle))))]
mod tests {
    use super::Inspect;
    use crate::resilience::CircuitBreaker;
    use crate::telemetry::inspect::Inspector;

    #[test]
    fn a_breaker_is_observed_for_as_long_as_somebody_can_look() {
        let (breaker, other) = (CircuitBreaker::new(), CircuitBreaker::new());
        let is_observed = |breaker: &CircuitBreaker| breaker.observers().is_watched();
        let inspector = Inspector::new();
        assert!(inspector.add("shop", &breaker).is_ok());
        assert!(inspector.add("shop", &other).is_err());
        assert!(is_observed(&breaker) && !is_observed(&other), "nobody can look at one that was not added");
        let inspection = other.inspect();
        let clone = inspection.clone();
        drop(inspection);
        assert!(is_observed(&other));
        drop((clone, inspector));
        assert!(!is_observed(&breaker) && !is_observed(&other));
    }
}
