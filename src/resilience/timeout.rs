//! A limit on the time of a call or of an attempt.

use super::{Attempt, Call, Component, Error, Kind, Layer, Once, Policy, Rejection, Scope, Single};
use crate::time::{Alarm, Clock, Deadline};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Ends what is inside it by dropping it when it takes longer than a limit.
///
/// The time is counted from the first poll that finds the inside pending. The inside is polled before the clock: a result
/// at the very limit has won, and what is ready at once costs no clock read and no timer. A limit of zero refuses without
/// calling; [`Duration::MAX`] is no limit at all.
///
/// Outside a retry it limits the whole call, inside it an attempt; say which with [`total`](Self::total) and
/// [`attempt`](Self::attempt), so that the error and the lints can.
///
/// ```
/// use cofferdam::resilience::Timeout;
/// use std::time::Duration;
///
/// # futures_executor::block_on(async {
/// let timeout = Timeout::attempt(Duration::from_millis(5)).name("inventory");
/// let error = timeout.call(std::future::pending::<Result<(), ()>>).await.unwrap_err();
/// assert!(error.is_timeout());
/// assert_eq!(error.rejection().unwrap().policy(), "inventory");
/// # });
/// ```
///
/// # When to use something else
/// Work that was handed to another task or machine goes on when its future is dropped: give it a deadline of its own. A
/// future that blocks its thread cannot be ended by anybody.
#[derive(Clone, Debug)]
pub struct Timeout {
    limit: Duration,
    scope: Scope,
    name: &'static str,
    clock: Clock,
}

impl Timeout {
    /// A limit on a whole call, for outside a retry.
    pub fn total(limit: Duration) -> Self {
        Self::builder(limit).scope(Scope::Total).build()
    }

    /// A limit on one attempt, for inside a retry.
    pub fn attempt(limit: Duration) -> Self {
        Self::builder(limit).build()
    }

    /// A limit with other than default settings.
    pub fn builder(limit: Duration) -> TimeoutBuilder {
        TimeoutBuilder(Self { limit, scope: Scope::Attempt, name: "timeout", clock: Clock::system() })
    }

    /// The same with another name, for errors. Default: "timeout".
    #[must_use]
    pub fn name(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// The same on another clock. Default: the system's.
    #[must_use]
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The limit.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Runs an operation within the limit. With a limit of zero `op` is not called.
    ///
    /// # Cancel safety
    /// As cancel safe as the operation, which is dropped with it.
    ///
    /// # Errors
    /// The operation's own, or [timed out](Error::is_timeout).
    #[inline]
    pub fn call<T, E, F, Fut>(&self, op: F) -> Call<TimeoutAttempt<'_, Once<F, Fut>>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Call::new(self.around(Once::new(op)))
    }
}

/// Builds a [`Timeout`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct TimeoutBuilder(Timeout);

impl TimeoutBuilder {
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

    /// The policy.
    pub fn build(self) -> Timeout {
        self.0
    }
}

impl Component for Timeout {
    fn describe(&self, layers: &mut Vec<Layer>) {
        let limit = (self.limit < Duration::MAX).then_some(self.limit);
        layers.push(Layer::new(Kind::Timeout { limit, scope: self.scope }, self.name));
    }
}

impl Single for Timeout {}

impl<'a, A: Attempt> Policy<A> for &'a Timeout {
    type Attempt = TimeoutAttempt<'a, A>;

    #[inline]
    fn around(self, inner: A) -> TimeoutAttempt<'a, A> {
        TimeoutAttempt { policy: self, inner, alarm: Alarm::default() }
    }
}

pin_project! {
    /// What is inside a [`Timeout`].
    #[derive(Debug)]
    pub struct TimeoutAttempt<'a, A> {
        policy: &'a Timeout,
        #[pin]
        inner: A,
        alarm: Alarm,
    }
}

impl<A: Attempt> Attempt for TimeoutAttempt<'_, A> {
    type Ok = A::Ok;
    type Err = A::Err;

    #[inline]
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<A::Ok, Error<A::Err>>> {
        let mut this = self.project();
        let Timeout { limit, scope, name, clock } = &**this.policy;
        if !limit.is_zero() {
            if let Poll::Ready(outcome) = this.inner.as_mut().poll_attempt(cx) {
                this.alarm.disarm();
                return Poll::Ready(outcome);
            }
            if *limit == Duration::MAX {
                return Poll::Pending;
            }
            if this.alarm.poll(clock, cx, |clock| Deadline::after(clock.now(), *limit)).is_pending() {
                return Poll::Pending;
            }
            this.alarm.disarm();
            this.inner.cancel();
        }
        Poll::Ready(Err(Rejection::timed_out(name, *limit, *scope).into()))
    }

    fn cancel(self: Pin<&mut Self>) {
        let this = self.project();
        this.alarm.disarm();
        this.inner.cancel();
    }
}
