//! A call in the queue.

use super::{BulkheadEvent, Inner};
use crate::limit::concurrency::{Acquire, Handle, Permit};
use crate::resilience::Rejection;
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

pin_project! {
    /// Waits in the limiter's line, and tells of it.
    pub(super) struct Wait<H: Handle> {
        #[pin]
        acquire: Acquire<H>,
        // Whether it was told that it waits; since when, if somebody wanted to know.
        queued: bool,
        since: Option<Instant>,
    }
}

/// The permit, and since when the call has waited for it, if somebody wanted to know.
pub(super) type Granted<H> = (Permit<H>, Option<Instant>);

impl<H: Handle> Wait<H> {
    pub(super) fn new(acquire: Acquire<H>) -> Self {
        Self { acquire, queued: false, since: None }
    }

    #[inline(never)]
    pub(super) fn poll(
        self: Pin<&mut Self>,
        policy: &Inner,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Granted<H>, Rejection>> {
        let this = self.project();
        match this.acquire.poll(cx) {
            Poll::Ready(Ok(permit)) => Poll::Ready(Ok((permit, *this.since))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(policy.refused(&error, policy.limiter.queue() > 0))),
            Poll::Pending => {
                if !std::mem::replace(this.queued, true) && policy.observers.may_be_watched() {
                    *this.since = Some(policy.limiter.clock().now());
                    let (name, waiting) = (policy.name, policy.limiter.waiting());
                    policy.observers.emit(|| BulkheadEvent::Queued { name, waiting });
                }
                Poll::Pending
            }
        }
    }
}
