//! Settings of a timeout.

use super::{LimitBy, Timeout, TimeoutEvent};
use crate::observe::Observe;
use crate::resilience::Scope;
use crate::time::Clock;
use std::sync::Arc;
use std::time::Duration;

/// Builds a [`Timeout`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct TimeoutBuilder(Timeout);

impl TimeoutBuilder {
    pub(super) fn new(limit: Duration, by: Option<LimitBy>) -> Self {
        Self(Timeout {
            limit,
            by,
            scope: Scope::Attempt,
            name: "timeout",
            clock: Clock::system(),
            shared: Arc::default(),
        })
    }

    /// What it limits. Default: one attempt.
    pub fn scope(self, scope: Scope) -> Self {
        Self(Timeout { scope, ..self.0 })
    }

    /// What errors call it. Default: "timeout".
    pub fn name(self, name: &'static str) -> Self {
        Self(Timeout { name, ..self.0 })
    }

    /// The clock. Default: the system's.
    pub fn clock(self, clock: Clock) -> Self {
        Self(Timeout { clock, ..self.0 })
    }

    /// Adds an observer of its [events](TimeoutEvent).
    pub fn observer(self, observer: impl Observe<TimeoutEvent>) -> Self {
        self.0.shared.observers.add(observer);
        self
    }

    /// The policy.
    pub fn build(self) -> Timeout {
        self.0
    }
}
