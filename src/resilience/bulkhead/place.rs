//! A place that is taken.

use super::wait::Wait;
use super::{Bulkhead, BulkheadEvent, Inner};
use crate::limit::ConcurrencyLimiter;
use crate::limit::concurrency::{Handle, Permit};
use crate::resilience::Rejection;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A place that is taken, and told of when it is given back.
pub(super) struct Held<R: Deref<Target = Inner>, H: Handle> {
    policy: R,
    permit: Option<Permit<H>>,
    /// Since when, if somebody wanted to know.
    since: Option<Instant>,
}

impl<R: Deref<Target = Inner>, H: Handle> Held<R, H> {
    #[inline]
    pub(super) fn admitted(policy: R, permit: Permit<H>, queued: Option<Instant>) -> Self {
        let since = if policy.observers.is_watched() { Some(tell_admitted(&policy, queued)) } else { None };
        Self::new(policy, permit, since)
    }

    /// Since when it is held, if somebody was told.
    #[inline(always)]
    pub(super) fn new(policy: R, permit: Permit<H>, since: Option<Instant>) -> Self {
        Self { policy, permit: Some(permit), since }
    }

    #[cold]
    fn tell_finished(&self) {
        let policy = &*self.policy;
        let held = self.since.map(|since| policy.limiter.clock().now().saturating_duration_since(since));
        let (name, running) = (policy.name, policy.limiter.in_flight());
        policy.observers.emit(|| BulkheadEvent::Finished { name, running, held });
    }
}

#[cold]
fn tell_admitted(policy: &Inner, queued: Option<Instant>) -> Instant {
    let now = policy.limiter.clock().now();
    let waited = queued.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
    let (name, running) = (policy.name, policy.limiter.in_flight());
    policy.observers.emit(|| BulkheadEvent::Admitted { name, running, waited });
    now
}

impl<R: Deref<Target = Inner>, H: Handle> Drop for Held<R, H> {
    #[inline]
    fn drop(&mut self) {
        drop(self.permit.take());
        if self.policy.observers.is_watched() {
            self.tell_finished();
        }
    }
}

/// A place in a [`Bulkhead`], given back when this is dropped: on whatever thread, however late.
#[must_use = "a place that is not held is given back at once"]
#[clippy::has_significant_drop]
pub struct Place {
    held: Held<Arc<Inner>, ConcurrencyLimiter>,
}

impl Place {
    pub(super) fn new(held: Held<Arc<Inner>, ConcurrencyLimiter>) -> Self {
        Self { held }
    }

    /// How many places of the bulkhead it stands for.
    pub fn places(&self) -> u32 {
        self.held.permit.as_ref().map_or(0, Permit::permits)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("bulkhead", &self.held.policy.name)
            .field("places", &self.places())
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`Bulkhead::acquire`].
    ///
    /// # Cancel safety
    /// Dropping it leaves the queue, and hands on the place that it was granted in the meantime.
    #[must_use = "futures do nothing unless polled"]
    pub struct AcquirePlace {
        policy: Arc<Inner>,
        #[pin]
        wait: Wait<ConcurrencyLimiter>,
    }
}

impl AcquirePlace {
    pub(super) fn new(bulkhead: &Bulkhead) -> Self {
        let policy = Arc::clone(&bulkhead.inner);
        let wait = Wait::new(policy.limiter.acquire_with_owned(bulkhead.request));
        Self { policy, wait }
    }
}

impl Future for AcquirePlace {
    type Output = Result<Place, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.wait.poll(this.policy, cx).map_ok(Place::new)
    }
}

impl fmt::Debug for AcquirePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquirePlace").field("bulkhead", &self.policy.name).finish_non_exhaustive()
    }
}
