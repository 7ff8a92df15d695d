//! What is inside a bulkhead.

use super::Bulkhead;
use super::place::Seat;
use super::wait::Wait;
use crate::limit::ConcurrencyLimiter;
use crate::resilience::policy::relay;
use crate::resilience::{Attempt, Error, Fork, Policy, Rejection};
use crate::sync::context;
use crate::wait::Aside;
use pin_project_lite::pin_project;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

impl<'a, A: Attempt> Policy<A> for &'a Bulkhead {
    type Attempt = BulkheadAttempt<'a, A>;

    #[inline]
    fn around(self, inner: A) -> BulkheadAttempt<'a, A> {
        BulkheadAttempt { inner, seat: Seat::new(self), waiting: Aside::none() }
    }
}

pin_project! {
    /// What is inside a [`Bulkhead`].
    pub struct BulkheadAttempt<'a, A> {
        // Before the seat: what runs is dropped before its place is given to others.
        #[pin]
        inner: A,
        seat: Seat<'a>,
        #[pin]
        waiting: Aside<Wait<&'a ConcurrencyLimiter>>,
    }
}

/// Takes a place that could not be taken by a glance: says why there is none if there is no queue, or waits for one.
#[inline(never)]
fn enter<'a>(
    seat: &mut Seat<'a>,
    mut waiting: Pin<&mut Option<Wait<&'a ConcurrencyLimiter>>>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Rejection>> {
    let Bulkhead { inner, request, .. } = seat.bulkhead();
    if waiting.is_none() {
        if !context::can_end() {
            match inner.limiter.try_acquire_with(*request) {
                Ok(permit) => {
                    seat.take(permit, None);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if inner.limiter.queue() == 0 => {
                    return Poll::Ready(Err(inner.refused(&error, false)));
                }
                Err(_) => {}
            }
        }
        waiting.set(Some(Wait::new(inner.limiter.acquire_with(*request))));
    }
    let Some(wait) = waiting.as_mut().as_pin_mut() else { return Poll::Pending };
    let acquired = ready!(wait.poll(inner, cx));
    waiting.set(None);
    let (permit, queued) = acquired?;
    seat.take(permit, queued);
    Poll::Ready(Ok(()))
}

impl<A: Attempt> Attempt for BulkheadAttempt<'_, A> {
    type Ok = A::Ok;
    type Err = A::Err;

    #[inline(always)]
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<A::Ok, Error<A::Err>>> {
        let this = self.project();
        let seat = this.seat;
        if !seat.is_taken() {
            let fresh = this.waiting.is_none() && !context::can_end();
            if !(fresh && seat.take_now()) {
                if fresh {
                    if let Some(rejection) = seat.bulkhead().refuse_now() {
                        return Poll::Ready(Err(rejection.into()));
                    }
                }
                if let Err(rejection) = ready!(enter(seat, this.waiting.project(), cx)) {
                    return Poll::Ready(Err(rejection.into()));
                }
            }
        }
        relay(this.inner.poll_attempt(cx), |_| seat.give_back())
    }

    fn cancel(self: Pin<&mut Self>) {
        let this = self.project();
        this.waiting.project().set(None);
        this.inner.cancel();
        this.seat.give_back();
    }
}

impl<A: Fork> Fork for BulkheadAttempt<'_, A> {
    fn fork(&self) -> Option<Self> {
        Some(Self {
            inner: self.inner.fork()?,
            seat: Seat::new(self.seat.bulkhead()),
            waiting: Aside::none(),
        })
    }
}

impl<A: fmt::Debug> fmt::Debug for BulkheadAttempt<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadAttempt")
            .field("waiting", &self.waiting.is_some())
            .field("running", &self.seat.is_taken())
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
