//! Calls through a breaker: as a policy, as a future, and without one.

use super::guard::Guard;
use super::machine::{End, Machine, Ticket};
use super::outcome::{ByDefault, Classify};
use super::{CircuitBreaker, Outcome};
use crate::resilience::policy::relay;
use crate::resilience::{Attempt, Call, Component, Error, Fork, Kind, Layer, Once, Policy, Rejection};
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
    pub struct Guarded<'a, A, C> {
        // Before the pass, so that a dropped call is over before its place is given to another.
        #[pin]
        inner: A,
        pass: Pass<'a>,
        classifier: &'a C,
    }
}

impl<'a, A, C> Guarded<'a, A, C> {
    #[inline]
    pub(super) fn new(breaker: &'a CircuitBreaker, classifier: &'a C, inner: A) -> Self {
        Self { inner, pass: Pass::none(&breaker.machine), classifier }
    }
}

impl<A: fmt::Debug, C> fmt::Debug for Guarded<'_, A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("breaker", &self.pass.machine.name)
            .field("let_through", &self.pass.is_live())
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

/// Room for the ticket of a call, which a policy keeps where it is made. As a [`Guard`](super::Guard), which comes and goes,
/// it would be moved about, and that costs more than being let through.
struct Pass<'a> {
    machine: &'a Machine,
    /// Of a call that was let through and is not settled.
    ticket: Ticket,
}

impl<'a> Pass<'a> {
    #[inline(always)]
    fn none(machine: &'a Machine) -> Self {
        Self { machine, ticket: Ticket::NONE }
    }

    #[inline(always)]
    fn is_live(&self) -> bool {
        !self.ticket.is_none()
    }

    /// Lets the call through, or not.
    #[inline(always)]
    fn enter(&mut self) -> Result<(), Rejection> {
        match self.machine.admit(self.machine.now()) {
            Ok(ticket) => {
                self.ticket = ticket;
                Ok(())
            }
            Err(refused) => Err(self.machine.rejection(refused)),
        }
    }

    /// The call has ended so.
    #[inline(always)]
    fn settle(&mut self, outcome: Outcome) {
        let ticket = self.ticket.take();
        self.machine.settle(ticket, End::Judged(outcome), self.machine.now());
    }

    /// The call has ended, and nobody knows how.
    #[cold]
    #[inline(never)]
    fn cancel(&mut self) {
        let ticket = self.ticket.take();
        self.machine.settle(ticket, End::Cancelled, self.machine.now());
    }

    #[cold]
    #[inline(never)]
    fn fail(&mut self) {
        self.settle(Outcome::Failure);
    }
}

/// A panic that passes by is not the call's: of that [`IfPanics`] tells.
impl Drop for Pass<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.is_live() {
            self.cancel();
        }
    }
}

/// Settles the call as failed if its poll, or the classifier, panics.
struct IfPanics<'a, 'b> {
    pass: &'a mut Pass<'b>,
    armed: bool,
}

impl Drop for IfPanics<'_, '_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.armed {
            self.pass.fail();
        }
    }
}

impl<A: Attempt, C: Classify<A::Ok, A::Err>> Attempt for Guarded<'_, A, C> {
    type Ok = A::Ok;
    type Err = A::Err;

    #[inline(always)]
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<A::Ok, Error<A::Err>>> {
        let this = self.project();
        if !this.pass.is_live() {
            if let Err(rejection) = this.pass.enter() {
                return Poll::Ready(Err(Error::Rejected(rejection)));
            }
        }
        let mut watch = IfPanics { pass: this.pass, armed: true };
        match this.inner.poll_attempt(cx) {
            Poll::Pending => {
                watch.armed = false;
                Poll::Pending
            }
            ready => relay(ready, |result| {
                let outcome = this.classifier.classify(result);
                watch.armed = false;
                watch.pass.settle(outcome);
            }),
        }
    }

    #[inline]
    fn cancel(self: Pin<&mut Self>) {
        let this = self.project();
        this.inner.cancel();
        if this.pass.is_live() {
            this.pass.cancel();
        }
    }
}

impl<A: Fork, C: Classify<A::Ok, A::Err>> Fork for Guarded<'_, A, C> {
    fn fork(&self) -> Option<Self> {
        let pass = Pass::none(self.pass.machine);
        Some(Self { inner: self.inner.fork()?, pass, classifier: self.classifier })
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
