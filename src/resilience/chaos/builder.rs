//! Settings.

use super::rate::Switch;
use super::{Chaos, Injection, Inner, IntoDelay, IntoRate, IntoSwitch, Rule, Rules};
use crate::observe::Observers;
use crate::shim::{AtomicU64, Mutex};
use crate::time::Clock;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

/// Builds a [`Chaos`]. A rate is a number from 0 to 1, or a function that gives one.
#[must_use = "a builder does nothing until it is built"]
pub struct ChaosBuilder<T, E> {
    rules: Vec<Rule<T, E>>,
    switch: Switch,
    seed: u64,
    clock: Clock,
    name: &'static str,
}

impl<T, E> ChaosBuilder<T, E> {
    pub(super) fn new() -> Self {
        Self {
            rules: Vec::new(),
            switch: Switch::Always(true),
            seed: 0,
            clock: Clock::system(),
            name: "chaos",
        }
    }

    fn rule(mut self, rate: impl IntoRate, injection: Injection<T, E>) -> Self {
        self.rules.push(Rule { rate: rate.into_rate(), injection });
        self
    }

    /// Delays calls.
    pub fn latency(self, rate: impl IntoRate, delay: impl IntoDelay) -> Self {
        self.rule(rate, Injection::Latency(delay.into_delay()))
    }

    /// Calls that never end by themselves: for a timeout, or the caller, to end.
    pub fn hang(self, rate: impl IntoRate) -> Self {
        self.rule(rate, Injection::Hang)
    }

    /// Cancels calls on their way: what is inside is dropped `after` it has begun, unless it has ended by then. With a delay of nothing
    /// that is after its first poll.
    pub fn cancel(self, rate: impl IntoRate, after: impl IntoDelay) -> Self {
        self.rule(rate, Injection::Cancel(after.into_delay()))
    }

    /// Runs something before calls: to break a connection, to fill a disk.
    pub fn behaviour<F, Fut>(self, rate: impl IntoRate, behaviour: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.rule(rate, Injection::Behaviour(Box::new(move || Box::pin(behaviour()))))
    }

    /// Errors in place of calls.
    pub fn fault(self, rate: impl IntoRate, fault: impl Fn() -> E + Send + Sync + 'static) -> Self {
        self.rule(rate, Injection::Fault(Box::new(fault)))
    }

    /// Results in place of calls.
    pub fn outcome(
        self,
        rate: impl IntoRate,
        outcome: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Self {
        self.rule(rate, Injection::Outcome(Box::new(outcome)))
    }

    /// Panics, with this message, in place of calls.
    pub fn panic(self, rate: impl IntoRate, message: &'static str) -> Self {
        self.rule(rate, Injection::Panic(message))
    }

    /// Whether anything is injected: a value, or a function that is asked for each attempt. Default: yes.
    pub fn enabled(self, switch: impl IntoSwitch) -> Self {
        Self { switch: switch.into_switch(), ..self }
    }

    /// Where the random numbers begin. Default: 0, so that runs are alike unless told otherwise.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The clock of delays and cancellations. Default: the system's.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// What events and descriptions call it. Default: "chaos".
    pub fn name(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// The policy.
    pub fn build(self) -> Chaos<T, E> {
        let (clock, name) = (self.clock.clone(), self.name);
        Chaos {
            inner: Arc::new(Inner {
                rules: Mutex::new(self.into_rules()),
                injected: std::array::from_fn(|_| AtomicU64::new(0)),
                clock,
                name,
                observers: Observers::new(),
            }),
        }
    }

    pub(super) fn into_rules(self) -> Arc<Rules<T, E>> {
        let Self { rules, switch, seed, .. } = self;
        let decisions = AtomicU64::new(0);
        Arc::new(Rules { rules: rules.into_boxed_slice(), switch, seed, decisions })
    }
}

impl<T, E> fmt::Debug for ChaosBuilder<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<_> = self.rules.iter().map(|rule| rule.injection.kind()).collect();
        f.debug_struct("ChaosBuilder")
            .field("name", &self.name)
            .field("rules", &kinds)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
