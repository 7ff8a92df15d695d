//! What is inside a bulkhead.

use super::place::Held;
use super::wait::Wait;
use super::{Bulkhead, Inner};
use crate::limit::ConcurrencyLimiter;
use crate::resilience::policy::{fill, relay};
use crate::resilience::{Attempt, Error, Fork, Policy, Rejection};
use crate::sync::context;
use pin_project_lite::pin_project;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

type Borrowed<'a> = Held<&'a Inner, &'a ConcurrencyLimiter>;

impl<'a, A: Attempt> Policy<A> for &'a Bulkhead {
    type Attempt = BulkheadAttempt<'a, A>;

    #[inline]
    fn around(self, inner: A) -> BulkheadAttempt<'a, A> {
        BulkheadAttempt { policy: self, inner, place: None, waiting: None }
    }
}

pin_project! {
    /// What is inside a [`Bulkhead`].
    pub struct BulkheadAttempt<'a, A> {
        policy: &'a Bulkhead,
        // Before the place: what runs is dropped before its place is given to others.
        #[pin]
        inner: A,
        place: Option<Borrowed<'a>>,
        #[pin]
        waiting: Option<Wait<&'a ConcurrencyLimiter>>,
    }
}

/// Takes a place after all, or says why there is none if there is no queue to wait in.
#[cold]
fn take_or_refuse<'a>(policy: &'a Bulkhead, place: &mut Option<Borrowed<'a>>) -> Result<(), Rejection> {
    let inner: &Inner = &policy.inner;
    match inner.limiter.try_acquire_with(policy.request) {
        Ok(permit) => *place = Some(Held::admitted(inner, permit, None)),
        Err(error) if inner.limiter.queue() == 0 => return Err(inner.refused(&error, false)),
        Err(_) => {}
    }
    Ok(())
}

/// Gets in line, and waits for a place.
#[inline(never)]
fn wait<'a>(
    policy: &'a Bulkhead,
    mut waiting: Pin<&mut Option<Wait<&'a ConcurrencyLimiter>>>,
    place: &mut Option<Borrowed<'a>>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Rejection>> {
    let inner: &'a Inner = &policy.inner;
    if waiting.is_none() {
        waiting.set(Some(Wait::new(inner.limiter.acquire_with(policy.request))));
    }
    let Some(wait) = waiting.as_mut().as_pin_mut() else { return Poll::Pending };
    let acquired = ready!(wait.poll(&inner, cx));
    waiting.set(None);
    *place = Some(acquired?);
    Poll::Ready(Ok(()))
}

impl<A: Attempt> Attempt for BulkheadAttempt<'_, A> {
    type Ok = A::Ok;
    type Err = A::Err;

    #[inline(always)]
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<A::Ok, Error<A::Err>>> {
        let this = self.project();
        let policy: &Bulkhead = this.policy;
        if this.place.is_none() {
            let inner: &Inner = &policy.inner;
            if this.waiting.is_none() && !context::can_end() {
                // With nobody to tell, nothing happens between taking a place and keeping it: it is made where it stays.
                if !inner.observers.is_watched() {
                    if let Some(permit) = inner.limiter.take_now(policy.request) {
                        fill(this.place, Held::new(inner, permit, None));
                    }
                }
                if this.place.is_none() {
                    if let Err(rejection) = take_or_refuse(policy, this.place) {
                        return Poll::Ready(Err(rejection.into()));
                    }
                }
            }
            if this.place.is_none() {
                if let Err(rejection) = ready!(wait(policy, this.waiting, this.place, cx)) {
                    return Poll::Ready(Err(rejection.into()));
                }
            }
        }
        relay(this.inner.poll_attempt(cx), |_| *this.place = None)
    }

    fn cancel(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.waiting.set(None);
        this.inner.cancel();
        *this.place = None;
    }
}

impl<A: Fork> Fork for BulkheadAttempt<'_, A> {
    fn fork(&self) -> Option<Self> {
        Some(Self { policy: self.policy, inner: self.inner.fork()?, place: None, waiting: None })
    }
}

impl<A: fmt::Debug> fmt::Debug for BulkheadAttempt<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadAttempt")
            .field("waiting", &self.waiting.is_some())
            .field("running", &self.place.is_some())
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
