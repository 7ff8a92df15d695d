//! What is inside a chaos.

use super::{Behaviour, Chaos, Injection, Rules};
use crate::resilience::{Attempt, Error, Fork, Reason, Rejection};
use crate::time::Sleep;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// How far an attempt is.
enum Stage {
    /// It has not begun.
    Before,
    /// At this rule, which comes next.
    Rule(usize),
    /// Delayed by the rule before this one.
    Delay(usize, Sleep),
    Behaviour(usize, Behaviour),
    Hang,
    /// Past all rules.
    Inner,
}

pin_project! {
    /// What is inside a [`Chaos`].
    pub struct ChaosAttempt<'a, A, T, E> {
        policy: &'a Chaos<T, E>,
        #[pin]
        inner: A,
        stage: Stage,
        // With which it began.
        rules: Option<Arc<Rules<T, E>>>,
        cut: Cut,
    }
}

/// Whether the attempt is to be cancelled on its way.
enum Cut {
    Never,
    /// So long after what is inside begins.
    After(Duration),
    Armed(Sleep),
}

impl Cut {
    /// Of several, the shortest.
    fn set(&mut self, after: Duration) {
        *self = match self {
            Self::After(earlier) => Self::After(after.min(*earlier)),
            _ => Self::After(after),
        };
    }
}

impl<'a, A, T, E> ChaosAttempt<'a, A, T, E> {
    pub(super) fn new(policy: &'a Chaos<T, E>, inner: A) -> Self {
        Self { policy, inner, stage: Stage::Before, rules: None, cut: Cut::Never }
    }
}

impl<A: Attempt<Ok = T, Err = E>, T, E> Attempt for ChaosAttempt<'_, A, T, E> {
    type Ok = T;
    type Err = E;

    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, Error<E>>> {
        let mut this = self.project();
        let policy = &*this.policy.inner;
        let outcome = loop {
            let next = match this.stage {
                Stage::Before => {
                    let rules = this.rules.insert(policy.rules());
                    if rules.switch.is_on() { 0 } else { usize::MAX }
                }
                Stage::Rule(next) => *next,
                Stage::Delay(next, delay) => {
                    ready!(Pin::new(delay).poll(cx));
                    *next
                }
                Stage::Behaviour(next, behaviour) => {
                    ready!(behaviour.as_mut().poll(cx));
                    *next
                }
                Stage::Hang => return Poll::Pending,
                Stage::Inner => {
                    // Its end beats the clock.
                    if let Poll::Ready(outcome) = this.inner.as_mut().poll_attempt(cx) {
                        break outcome;
                    }
                    if let Cut::After(after) = this.cut {
                        *this.cut = Cut::Armed(policy.clock.sleep(*after));
                    }
                    let Cut::Armed(sleep) = this.cut else { return Poll::Pending };
                    ready!(Pin::new(sleep).poll(cx));
                    this.inner.as_mut().cancel();
                    break Err(Rejection::new(policy.name, Reason::Cancelled).into());
                }
            };
            let rules = this.rules.as_deref();
            let Some((rules, rule)) = rules.and_then(|rules| Some((rules, rules.rules.get(next)?))) else {
                *this.stage = Stage::Inner;
                continue;
            };
            *this.stage = Stage::Rule(next + 1);
            if !policy.strikes(rules, rule) {
                continue;
            }
            match &rule.injection {
                Injection::Latency(delay) => {
                    *this.stage = Stage::Delay(next + 1, policy.clock.sleep(delay()));
                }
                Injection::Behaviour(behaviour) => {
                    *this.stage = Stage::Behaviour(next + 1, behaviour());
                }
                Injection::Hang => *this.stage = Stage::Hang,
                Injection::Cancel(after) => this.cut.set(after()),
                Injection::Fault(fault) => break Err(Error::Inner(fault())),
                Injection::Outcome(outcome) => break outcome().map_err(Error::Inner),
                Injection::Panic(message) => {
                    *this.stage = Stage::Before;
                    *this.cut = Cut::Never;
                    std::panic::panic_any(*message);
                }
            }
        };
        *this.stage = Stage::Before;
        *this.cut = Cut::Never;
        Poll::Ready(outcome)
    }

    fn cancel(self: Pin<&mut Self>) {
        let this = self.project();
        *this.stage = Stage::Before;
        *this.cut = Cut::Never;
        this.inner.cancel();
    }
}

impl<A: Fork<Ok = T, Err = E>, T, E> Fork for ChaosAttempt<'_, A, T, E> {
    fn fork(&self) -> Option<Self> {
        Some(Self::new(self.policy, self.inner.fork()?))
    }
}

impl<A: fmt::Debug, T, E> fmt::Debug for ChaosAttempt<'_, A, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Before => "before",
            Stage::Rule(_) | Stage::Delay(..) | Stage::Behaviour(..) => "injecting",
            Stage::Hang => "hanging",
            Stage::Inner => "inner",
        };
        f.debug_struct("ChaosAttempt")
            .field("stage", &stage)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
