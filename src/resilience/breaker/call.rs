//! Calls through a breaker: as a policy, as a future, and without one.

use super::guard::Guard;
use super::outcome::{ByDefault, Classify};
use super::{CircuitBreaker, Outcome};
use crate::resilience::policy::{fill, relay};
use crate::resilience::{Attempt, Call, Component, Error, Kind, Layer, Once, Policy, Rejection};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A breaker with its own view of what is a failure; see [`CircuitBreaker::classify`].
#[derive(Clone)]
pub struct Classified<C> {
    pub(super) breaker: CircuitBreaker,
    pub(super) classifier: C,
}

impl<C> Classified<C> {
    /// The breaker.
    pub fn breaker(&self) -> &CircuitBreaker {
        &self.breaker
    }

    /// As [`CircuitBreaker::call`].
    ///
    /// # Cancel safety
    /// As there.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn call<T, E, F, Fut>(&self, op: F) -> Call<Guarded<'_, Once<F, Fut>, C>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
    {
        Call::new(self.around(Once::new(op)))
    }

    /// As [`CircuitBreaker::call_sync`].
    ///
    /// # Errors
    /// As there.
    #[inline(always)]
    pub fn call_sync<T, E>(&self, op: impl FnOnce() -> Result<T, E>) -> Result<T, Error<E>>
    where
        C: Classify<T, E>,
    {
        let guard = self.breaker.acquire().map_err(Error::Rejected)?;
        // A panic of `op` or of the classifier drops the guard.
        let result = op().map_err(Error::Inner);
        let outcome = self.classifier.classify(&result);
        guard.record(outcome);
        result
    }
}

impl<C> fmt::Debug for Classified<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Classified").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

impl<'a, A, C> Policy<A> for &'a Classified<C>
where
    A: Attempt,
    C: Classify<A::Ok, A::Err>,
{
    type Attempt = Guarded<'a, A, C>;

    #[inline]
    fn around(self, inner: A) -> Guarded<'a, A, C> {
        Guarded::new(&self.breaker, &self.classifier, inner)
    }
}

impl<C> Component for Classified<C> {
    fn describe(&self, layers: &mut Vec<Layer>) {
        self.breaker.describe(layers);
    }
}

impl<'a, A: Attempt> Policy<A> for &'a CircuitBreaker {
    type Attempt = Guarded<'a, A, ByDefault>;

    #[inline]
    fn around(self, inner: A) -> Guarded<'a, A, ByDefault> {
        Guarded::new(self, &ByDefault, inner)
    }
}

impl Component for CircuitBreaker {
    fn describe(&self, layers: &mut Vec<Layer>) {
        layers.push(Layer::new(Kind::CircuitBreaker, self.name()));
    }
}

pin_project! {
    /// An attempt under a breaker: asks to be let through when it starts, and tells the breaker how it ends.
    #[derive(Debug)]
    pub struct Guarded<'a, A, C> {
        // Before the guard, so that a dropped call is over before its place is given to another.
        #[pin]
        inner: A,
        guard: Option<Guard<&'a CircuitBreaker>>,
        breaker: &'a CircuitBreaker,
        classifier: &'a C,
    }
}

impl<'a, A, C> Guarded<'a, A, C> {
    #[inline]
    pub(super) fn new(breaker: &'a CircuitBreaker, classifier: &'a C, inner: A) -> Self {
        Self { inner, guard: None, breaker, classifier }
    }
}

/// Settles the guard as failed if the poll of the call, or the classifier, panics.
struct IfPanics<'a, 'b> {
    guard: &'a mut Option<Guard<&'b CircuitBreaker>>,
    armed: bool,
}

impl Drop for IfPanics<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        if self.armed {
            if let Some(guard) = self.guard.take() {
                guard.failure();
            }
        }
    }
}

/// The call has succeeded. A function of its own, so that the result, which was judged before, is not in memory for it, and
/// the outcome is not either.
#[inline(never)]
fn succeed(guard: &mut Option<Guard<&CircuitBreaker>>) {
    settle(guard, Outcome::Success);
}

/// The call has ended so.
#[inline]
fn settle(guard: &mut Option<Guard<&CircuitBreaker>>, outcome: Outcome) {
    if let Some(guard) = guard {
        guard.settle(outcome);
    }
    *guard = None;
}

impl<A: Attempt, C: Classify<A::Ok, A::Err>> Attempt for Guarded<'_, A, C> {
    type Ok = A::Ok;
    type Err = A::Err;

    #[inline(always)]
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<A::Ok, Error<A::Err>>> {
        let this = self.project();
        if this.guard.is_none() {
            match this.breaker.acquire() {
                Ok(guard) => fill(this.guard, guard.told_of_panics()),
                Err(rejection) => return Poll::Ready(Err(Error::Rejected(rejection))),
            }
        }
        let mut watch = IfPanics { guard: this.guard, armed: true };
        match this.inner.poll_attempt(cx) {
            Poll::Pending => {
                watch.armed = false;
                Poll::Pending
            }
            ready => relay(ready, |result| {
                let outcome = this.classifier.classify(result);
                watch.armed = false;
                match outcome {
                    Outcome::Success => succeed(watch.guard),
                    outcome => settle(watch.guard, outcome),
                }
            }),
        }
    }

    #[inline]
    fn cancel(self: Pin<&mut Self>) {
        let this = self.project();
        this.inner.cancel();
        *this.guard = None;
    }
}

impl<A: crate::resilience::Fork, C: Classify<A::Ok, A::Err>> crate::resilience::Fork for Guarded<'_, A, C> {
    fn fork(&self) -> Option<Self> {
        Some(Self::new(self.breaker, self.classifier, self.inner.fork()?))
    }
}

impl CircuitBreaker {
    #[inline(always)]
    fn acquire(&self) -> Result<Guard<&Self>, Rejection> {
        match self.machine.admit(self.machine.now()) {
            Ok(ticket) => Ok(Guard::new(self, ticket)),
            Err(refused) => Err(self.machine.rejection(refused)),
        }
    }

    /// Runs the future that `op` makes if the breaker lets it through, and judges the result by [`Outcome::of`].
    ///
    /// The breaker decides at the first poll; if it refuses, `op` is not called.
    ///
    /// ```
    /// use cofferdam::resilience::CircuitBreaker;
    ///
    /// # futures_executor::block_on(async {
    /// let breaker = CircuitBreaker::new();
    /// let answer = breaker.call(|| async { Ok::<_, std::io::Error>(42) }).await;
    /// assert_eq!(answer.unwrap(), 42);
    /// # });
    /// ```
    ///
    /// # Cancel safety
    /// As cancel safe as the future, which is dropped with it. The breaker takes a dropped call for neither a success nor
    /// a failure, unless told otherwise by [`OnCancel`](super::OnCancel). A panic of the future is a failure, and passes
    /// through.
    ///
    /// # Errors
    /// The future's error as [`Error::Inner`], or a [rejection](Error::is_circuit_open) if the breaker refused.
    #[inline]
    pub fn call<T, E, F, Fut>(&self, op: F) -> Call<Guarded<'_, Once<F, Fut>, ByDefault>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Call::new(self.around(Once::new(op)))
    }

    /// As [`call`](Self::call), for an operation that blocks.
    ///
    /// # Errors
    /// As there.
    #[inline(always)]
    pub fn call_sync<T, E>(&self, op: impl FnOnce() -> Result<T, E>) -> Result<T, Error<E>> {
        let guard = self.acquire().map_err(Error::Rejected)?;
        // A panic of `op` drops the guard.
        let result = op();
        guard.record(if result.is_ok() { Outcome::Success } else { Outcome::Failure });
        result.map_err(Error::Inner)
    }

    /// The same breaker with another view of what is a failure. For each kind of call its own:
    ///
    /// ```
    /// use cofferdam::resilience::breaker::Outcome;
    /// use cofferdam::resilience::{CircuitBreaker, Error};
    ///
    /// # futures_executor::block_on(async {
    /// struct Response { status: u16 }
    ///
    /// let breaker = CircuitBreaker::new();
    /// let by_status = breaker.classify(|result: &Result<Response, Error<std::io::Error>>| match result {
    ///     Ok(response) if response.status >= 500 => Outcome::Failure,
    ///     Ok(response) if response.status == 404 => Outcome::Ignore,
    ///     other => Outcome::of(other),
    /// });
    /// let answer = by_status.call(|| async { Ok(Response { status: 503 }) }).await;
    /// assert_eq!(answer.map(|response| response.status).unwrap(), 503);
    /// assert_eq!(breaker.stats().failures, 1);
    /// # });
    /// ```
    pub fn classify<T, E, C>(&self, classifier: C) -> Classified<C>
    where
        C: Fn(&Result<T, Error<E>>) -> Outcome,
    {
        Classified { breaker: self.clone(), classifier }
    }
}
