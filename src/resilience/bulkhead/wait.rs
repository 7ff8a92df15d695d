//! A call in the queue.

use super::place::Held;
use super::{BulkheadEvent, Inner};
use crate::limit::concurrency::{Acquire, Handle};
use crate::resilience::Rejection;
use pin_project_lite::pin_project;
use std::future::Future;
use std::ops::Deref;
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

impl<H: Handle> Wait<H> {
    pub(super) fn new(acquire: Acquire<H>) -> Self {
        Self { acquire, queued: false, since: None }
    }

    #[inline(never)]
    pub(super) fn poll<R: Deref<Target = Inner> + Clone>(
        self: Pin<&mut Self>,
        policy: &R,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Held<R, H>, Rejection>> {
        let this = self.project();
        match this.acquire.poll(cx) {
            Poll::Ready(Ok(permit)) => Poll::Ready(Ok(Held::admitted(policy.clone(), permit, *this.since))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(policy.refused(&error, policy.limiter.queue() > 0))),
            Poll::Pending => {
                if !std::mem::replace(this.queued, true) && policy.observers.is_watched() {
                    *this.since = Some(policy.limiter.clock().now());
                    let (name, waiting) = (policy.name, policy.limiter.waiting());
                    policy.observers.emit(|| BulkheadEvent::Queued { name, waiting });
                }
                Poll::Pending
            }
        }
    }
}
