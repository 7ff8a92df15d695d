//! What is inside a timeout.

use super::{Timeout, TimeoutEvent};
use crate::resilience::policy::relay;
use crate::resilience::{Attempt, Error, Fork, Rejection};
use crate::shim::Ordering;
use crate::time::{Alarm, Clock};
use crate::wait::Aside;
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

pin_project! {
    /// What is inside a [`Timeout`].
    #[derive(Debug)]
    pub struct TimeoutAttempt<'a, A> {
        policy: &'a Timeout,
        #[pin]
        inner: A,
        alarm: Aside<Alarm>,
        // Of the attempt under way, where it is not the policy's.
        limit: Option<Duration>,
    }
}

impl<'a, A> TimeoutAttempt<'a, A> {
    #[inline]
    pub(super) fn new(policy: &'a Timeout, inner: A) -> Self {
        Self { policy, inner, alarm: Aside::none(), limit: None }
    }
}

/// What an attempt comes out as.
pub(in crate::resilience) type OutcomeOf<A> = Result<<A as Attempt>::Ok, Error<<A as Attempt>::Err>>;

/// Drives an attempt for at most `limit` from the first poll that finds it pending; `None` says that the time is up.
#[inline]
pub(in crate::resilience) fn within<A: Attempt>(
    alarm: &mut Alarm,
    clock: &Clock,
    limit: Duration,
    inner: Pin<&mut A>,
    cx: &mut Context<'_>,
) -> Poll<Option<OutcomeOf<A>>> {
    let polled = inner.poll_attempt(cx);
    if polled.is_pending() {
        return expires(alarm, clock, limit, cx).map(|()| None);
    }
    alarm.disarm();
    polled.map(Some)
}

/// Ready when the time is up that began with the first call.
#[inline]
fn expires(alarm: &mut Alarm, clock: &Clock, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
    if limit == Duration::MAX {
        return Poll::Pending;
    }
    ready!(alarm.poll_after(clock, cx, limit));
    alarm.disarm();
    Poll::Ready(())
}

#[inline(always)]
fn disarm(alarm: &mut Aside<Alarm>) {
    if let Some(alarm) = &mut **alarm {
        alarm.disarm();
    }
}

impl Timeout {
    /// It has come to the limit.
    #[cold]
    pub(super) fn expired(&self, limit: Duration, detached: bool) -> Rejection {
        // Relaxed: a count orders nothing.
        self.shared.timed_out.fetch_add(1, Ordering::Relaxed);
        let Self { name: policy, scope, .. } = *self;
        self.shared.observers.emit(|| TimeoutEvent::TimedOut { policy, limit, scope, detached });
        Rejection::timed_out(policy, limit, scope)
    }
}

impl<A: Attempt> Attempt for TimeoutAttempt<'_, A> {
    type Ok = A::Ok;
    type Err = A::Err;

    #[inline(always)]
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<A::Ok, Error<A::Err>>> {
        let mut this = self.project();
        let policy: &Timeout = this.policy;
        let mut limit = policy.limit;
        // Zero, or not the policy's to say.
        if limit.is_zero() {
            limit = *this.limit.get_or_insert_with(|| policy.limit_now());
            if limit.is_zero() {
                *this.limit = None;
                return Poll::Ready(Err(policy.expired(limit, false).into()));
            }
        }
        match this.inner.as_mut().poll_attempt(cx) {
            Poll::Pending => {
                ready!(expires(this.alarm.get_or_insert_default(), &policy.clock, limit, cx));
                *this.limit = None;
                this.inner.cancel();
                Poll::Ready(Err(policy.expired(limit, false).into()))
            }
            ready => relay(ready, |_| {
                disarm(this.alarm);
                *this.limit = None;
            }),
        }
    }

    fn cancel(self: Pin<&mut Self>) {
        let this = self.project();
        disarm(this.alarm);
        *this.limit = None;
        this.inner.cancel();
    }
}

impl<A: Fork> Fork for TimeoutAttempt<'_, A> {
    fn fork(&self) -> Option<Self> {
        Some(Self::new(self.policy, self.inner.fork()?))
    }
}
