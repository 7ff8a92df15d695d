//! A bound on how many calls run at once that is found out, as a policy.

use super::policy::relay;
use super::{Attempt, Call, Component, Error, Kind, Layer, Once, Policy, Reason, Rejection, Single};
use crate::limit::concurrency::adaptive::{Acquire, Guard};
use crate::limit::concurrency::{AcquireError, AdaptiveLimiter, Outcome, Partition, Request};
use crate::sync::{Priority, context};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Lets as many calls run at once as the callee can take, as an [`AdaptiveLimiter`] finds it out; the rest wait as its
/// discipline has it, or are refused.
///
/// How a call ends is what the limiter learns from:
///
/// | result | outcome |
/// |---|---|
/// | `Ok` | success: it is timed |
/// | ended by a timeout inside; a panic | a sign of overload |
/// | the operation's own error, a refusal of a policy inside | ignored: an error that comes fast is not a fast callee |
/// | the call is dropped | ignored |
///
/// If the callee says that it has too much, tell so with a [classifier](Self::classify).
///
/// ```
/// use cofferdam::limit::concurrency::{AdaptiveLimiter, Gradient2, Outcome};
/// use cofferdam::resilience::{AdaptiveBulkhead, Error, Stack};
///
/// # fn main() -> Result<(), cofferdam::ConfigError> {
/// # futures_executor::block_on(async {
/// let limiter = AdaptiveLimiter::builder(Gradient2::new()).queue(20).build()?;
/// let bulkhead = AdaptiveBulkhead::new(limiter).name("search").classify(
///     |result: &Result<u16, Error<std::io::Error>>| match result {
///         Ok(429 | 503) => Outcome::Dropped,
///         result => AdaptiveBulkhead::judge(result),
///     },
/// );
/// let stack = Stack::new().layer(bulkhead);
/// assert_eq!(stack.call(|| async { Ok(200) }).await.unwrap(), 200);
/// # Ok(())
/// # })
/// # }
/// ```
///
/// # Where it sits
/// In place of a [`Bulkhead`](super::Bulkhead): inside a retry and a breaker, and outside the attempt's timeout, so that
/// it sees timeouts, and does not count its queue against the callee.
///
/// # When to use something else
/// Where the right number is known and does not change: a [`Bulkhead`](super::Bulkhead). With
/// [`Fixed`](crate::limit::concurrency::Fixed) for an algorithm this is one, too, with all disciplines and partitions.
///
/// Clones are cheap and share the limiter.
#[derive(Clone)]
pub struct AdaptiveBulkhead<J = ByResult> {
    limiter: AdaptiveLimiter,
    request: Request,
    judge: J,
    name: &'static str,
}

/// Tells what results say about the limit. Implemented for closures.
pub trait JudgeLoad<T, E> {
    /// What `result` says.
    fn judge(&self, result: &Result<T, Error<E>>) -> Outcome;
}

impl<T, E, F: Fn(&Result<T, Error<E>>) -> Outcome> JudgeLoad<T, E> for F {
    #[inline]
    fn judge(&self, result: &Result<T, Error<E>>) -> Outcome {
        self(result)
    }
}

/// [`AdaptiveBulkhead::judge`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ByResult;

impl<T, E> JudgeLoad<T, E> for ByResult {
    #[inline]
    fn judge(&self, result: &Result<T, Error<E>>) -> Outcome {
        AdaptiveBulkhead::judge(result)
    }
}

impl AdaptiveBulkhead {
    /// Calls go through `limiter`, whose clones are the same limiter.
    pub fn new(limiter: AdaptiveLimiter) -> Self {
        Self { limiter, request: Request::new(1), judge: ByResult, name: "adaptive bulkhead" }
    }

    /// What a result says of the limit unless told otherwise: see the table above.
    pub fn judge<T, E>(result: &Result<T, Error<E>>) -> Outcome {
        match result {
            Ok(_) => Outcome::Success,
            Err(error) if error.is_timeout() => Outcome::Dropped,
            Err(_) => Outcome::Ignored,
        }
    }
}

impl<J> AdaptiveBulkhead<J> {
    /// With another view of what is a sign of overload.
    pub fn classify<T, E, N>(self, judge: N) -> AdaptiveBulkhead<N>
    where
        N: Fn(&Result<T, Error<E>>) -> Outcome,
    {
        let Self { limiter, request, name, .. } = self;
        AdaptiveBulkhead { limiter, request, judge, name }
    }

    /// What errors call it. Default: "adaptive bulkhead".
    pub fn name(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// Calls are on account of this partition of the limiter. Default: the rest.
    pub fn partition(self, partition: Partition) -> Self {
        Self { request: self.request.partition(partition), ..self }
    }

    /// The class of the calls, where the limiter's discipline has classes.
    pub fn priority(self, priority: Priority) -> Self {
        Self { request: self.request.priority(priority), ..self }
    }

    /// How long a call may wait. Default: the limiter's.
    pub fn wait_limit(self, limit: Duration) -> Self {
        Self { request: self.request.wait_limit(limit), ..self }
    }

    /// The limiter.
    pub fn limiter(&self) -> &AdaptiveLimiter {
        &self.limiter
    }

    /// Runs an operation when there is a place for it; `op` is not called before.
    ///
    /// # Cancel safety
    /// Dropping the future drops what runs and gives back the place, or leaves the queue; the limiter learns nothing of it.
    ///
    /// # Errors
    /// The operation's own; or [full](Error::is_full): no place, and no room to wait for one or not in time; or
    /// [shed](Error::is_shed) by the limiter's discipline; or [closed](Error::is_closed); or the surrounding work was
    /// cancelled before the wait, or is out of time.
    #[inline]
    pub fn call<T, E, F, Fut>(&self, op: F) -> Call<AdaptiveAttempt<'_, Once<F, Fut>, J>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        J: JudgeLoad<T, E>,
    {
        Call::new(self.around(Once::new(op)))
    }

    #[cold]
    fn refused(&self, error: &AcquireError) -> Rejection {
        if let Some(ended) = error.context_error() {
            return Rejection::ended(self.name, ended);
        }
        if error.is_closed() {
            return Rejection::new(self.name, Reason::Closed);
        }
        if error.is_shed() {
            return Rejection::new(self.name, Reason::Shed);
        }
        let stats = self.limiter.stats();
        let waiting = u32::try_from(stats.waiting).unwrap_or(u32::MAX);
        Rejection::full(self.name, stats.limit, waiting, error.waited().unwrap_or_default())
    }
}

impl<J> fmt::Debug for AdaptiveBulkhead<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveBulkhead")
            .field("name", &self.name)
            .field("request", &self.request)
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}

impl<J> Component for AdaptiveBulkhead<J> {
    fn describe(&self, layers: &mut Vec<Layer>) {
        layers.push(Layer::new(Kind::Bulkhead, self.name));
    }
}

impl<J> Single for AdaptiveBulkhead<J> {}

impl<'a, A, J> Policy<A> for &'a AdaptiveBulkhead<J>
where
    A: Attempt,
    J: JudgeLoad<A::Ok, A::Err>,
{
    type Attempt = AdaptiveAttempt<'a, A, J>;

    #[inline]
    fn around(self, inner: A) -> AdaptiveAttempt<'a, A, J> {
        AdaptiveAttempt { policy: self, inner, guard: None, waiting: None }
    }
}

pin_project! {
    /// What is inside an [`AdaptiveBulkhead`].
    pub struct AdaptiveAttempt<'a, A, J> {
        policy: &'a AdaptiveBulkhead<J>,
        // Before the guard: what runs is dropped before its place is given to others.
        #[pin]
        inner: A,
        guard: Option<Guard<&'a AdaptiveLimiter>>,
        #[pin]
        waiting: Option<Acquire<&'a AdaptiveLimiter>>,
    }
}

/// Settles the guard if the poll of the call, or the judge, panics.
struct IfPanics<'a, 'b> {
    guard: &'a mut Option<Guard<&'b AdaptiveLimiter>>,
    armed: bool,
}

impl Drop for IfPanics<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        if self.armed {
            if let Some(guard) = self.guard.take() {
                guard.dropped();
            }
        }
    }
}

/// Gets in line, and waits for a place.
#[inline(never)]
fn wait<'a, J>(
    policy: &'a AdaptiveBulkhead<J>,
    mut waiting: Pin<&mut Option<Acquire<&'a AdaptiveLimiter>>>,
    cx: &mut Context<'_>,
) -> Poll<Result<Guard<&'a AdaptiveLimiter>, Rejection>> {
    if waiting.is_none() {
        waiting.set(Some(policy.limiter.acquire_with(policy.request)));
    }
    let Some(acquire) = waiting.as_mut().as_pin_mut() else { return Poll::Pending };
    let acquired = ready!(acquire.poll(cx));
    waiting.set(None);
    Poll::Ready(acquired.map_err(|error| policy.refused(&error)))
}

impl<A, J> Attempt for AdaptiveAttempt<'_, A, J>
where
    A: Attempt,
    J: JudgeLoad<A::Ok, A::Err>,
{
    type Ok = A::Ok;
    type Err = A::Err;

    #[inline(always)]
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<A::Ok, Error<A::Err>>> {
        let this = self.project();
        let policy: &AdaptiveBulkhead<J> = this.policy;
        if this.guard.is_none() {
            if this.waiting.is_none() && !context::can_end() {
                *this.guard = policy.limiter.try_acquire_with(policy.request).ok();
            }
            let guard = match this.guard.take() {
                Some(guard) => guard,
                None => match ready!(wait(policy, this.waiting, cx)) {
                    Ok(guard) => guard,
                    Err(rejection) => return Poll::Ready(Err(rejection.into())),
                },
            };
            *this.guard = Some(guard.told_of_panics());
        }
        let mut watch = IfPanics { guard: this.guard, armed: true };
        let polled = this.inner.poll_attempt(cx);
        if polled.is_pending() {
            watch.armed = false;
        }
        relay(polled, |result| {
            let outcome = policy.judge.judge(result);
            watch.armed = false;
            if let Some(guard) = watch.guard.take() {
                guard.record(outcome);
            }
        })
    }

    fn cancel(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.waiting.set(None);
        this.inner.cancel();
        *this.guard = None;
    }
}

impl<A: super::Fork, J: JudgeLoad<A::Ok, A::Err>> super::Fork for AdaptiveAttempt<'_, A, J> {
    fn fork(&self) -> Option<Self> {
        Some(Self { policy: self.policy, inner: self.inner.fork()?, guard: None, waiting: None })
    }
}

impl<A: fmt::Debug, J> fmt::Debug for AdaptiveAttempt<'_, A, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveAttempt")
            .field("waiting", &self.waiting.is_some())
            .field("running", &self.guard.is_some())
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
