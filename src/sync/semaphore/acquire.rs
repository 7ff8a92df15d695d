//! The waiting futures.

use super::error::Kind;
use super::order::Request;
use super::permit::{Handle, Permit};
use super::queue::Want;
use super::{AcquireError, Semaphore};
use crate::sync::context;
use crate::time::Sleep;
use crate::wait::{Outcome, Slot};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pin_project! {
    /// The future of the `acquire` family.
    #[must_use = "futures do nothing unless polled"]
    pub struct Acquire<H: Handle> {
        // Taken by the permit.
        handle: Option<H>,
        request: Request,
        #[pin]
        slot: Slot<Want>,
    }

    impl<H: Handle> PinnedDrop for Acquire<H> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if !this.slot.is_idle() {
                abandon(this.handle, this.slot.as_ref());
            }
        }
    }
}

/// The future goes while it is in line, or after it was granted and before it knew.
#[inline(never)]
fn abandon<H: Handle>(handle: &Option<H>, slot: Pin<&Slot<Want>>) {
    let Some(semaphore) = handle.as_ref().map(Handle::semaphore) else { return };
    if slot.outcome().is_none() && semaphore.leave(slot, false) {
        return;
    }
    if let Some((Outcome::Granted, want)) = slot.take() {
        semaphore.release(want.permits);
        semaphore.tell_left(&want, false);
    }
}

impl<H: Handle> Acquire<H> {
    #[inline]
    pub(super) fn new(handle: H, request: Request) -> Self {
        Self { handle: Some(handle), request, slot: Slot::new() }
    }

    /// Waits at most `limit`, counted from the first poll that finds no permits.
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    ///
    /// # Errors
    /// As the acquisition; also the limit has passed.
    pub fn timeout(self, limit: Duration) -> AcquireTimeout<H> {
        AcquireTimeout { acquire: self, limit, sleep: None }
    }
}

impl<H: Handle> Future for Acquire<H> {
    type Output = Result<Permit<H>, AcquireError>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // All that a ready acquisition does; the rest is kept out of the caller's code.
        if let Some(handle) = this.handle {
            let n = this.request.permits;
            if this.slot.is_idle() && !context::can_end() && handle.semaphore().take_free(n) {
                return permit(this.handle, n);
            }
        }
        poll_slow(this.handle, this.slot.as_ref(), this.request, cx.waker())
    }
}

#[inline]
fn permit<H: Handle>(handle: &mut Option<H>, n: u32) -> Poll<Result<Permit<H>, AcquireError>> {
    match handle.take() {
        Some(handle) => Poll::Ready(Ok(Permit::new(handle, n))),
        None => Poll::Pending,
    }
}

// Not `cold`: under contention this is where the time goes.
#[inline(never)]
fn poll_slow<H: Handle>(
    handle: &mut Option<H>,
    slot: Pin<&Slot<Want>>,
    request: &Request,
    waker: &Waker,
) -> Poll<Result<Permit<H>, AcquireError>> {
    let Some(semaphore) = handle.as_ref().map(Handle::semaphore) else { return Poll::Pending };
    match poll_semaphore(semaphore, slot, request, waker) {
        Poll::Pending => Poll::Pending,
        Poll::Ready(Ok(n)) => permit(handle, n),
        Poll::Ready(Err(error)) => {
            *handle = None;
            Poll::Ready(Err(error))
        }
    }
}

#[inline]
fn poll_semaphore(
    semaphore: &Semaphore,
    slot: Pin<&Slot<Want>>,
    request: &Request,
    waker: &Waker,
) -> Poll<Result<u32, AcquireError>> {
    if slot.is_idle() {
        if context::can_end() {
            if let Err(ended) = context::check(|| semaphore.clock().now()) {
                semaphore.tell_tried(request.permits, &Err(()));
                return Poll::Ready(Err(AcquireError::new(&semaphore.name, Kind::Ended(ended))));
            }
            if semaphore.take_free(request.permits) {
                return Poll::Ready(Ok(request.permits));
            }
        }
        return semaphore.enqueue(slot, request, waker);
    }
    if slot.outcome().is_none() {
        if let Poll::Ready(n) = semaphore.poll_linked(slot, waker) {
            return Poll::Ready(Ok(n));
        }
    }
    let Some((outcome, want)) = slot.take() else { return Poll::Pending };
    semaphore.tell_ended(outcome, &want);
    let kind = match outcome {
        Outcome::Granted => return Poll::Ready(Ok(want.permits)),
        Outcome::Closed => Kind::Closed,
        Outcome::Impossible => {
            Kind::Weight { wanted: want.permits, capacity: u32::try_from(want.key).unwrap_or(u32::MAX) }
        }
    };
    Poll::Ready(Err(AcquireError::new(&semaphore.name, kind)))
}

impl<H: Handle> fmt::Debug for Acquire<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire").field("request", &self.request).finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of the `acquire_timeout` family.
    #[must_use = "futures do nothing unless polled"]
    pub struct AcquireTimeout<H: Handle> {
        #[pin]
        acquire: Acquire<H>,
        limit: Duration,
        sleep: Option<Sleep>,
    }
}

impl<H: Handle> Future for AcquireTimeout<H> {
    type Output = Result<Permit<H>, AcquireError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(result) = this.acquire.as_mut().poll(cx) {
            *this.sleep = None;
            return Poll::Ready(result);
        }
        let acquire = this.acquire.project();
        let Some(handle) = acquire.handle else { return Poll::Pending };
        let semaphore = handle.semaphore();
        let sleep = this.sleep.get_or_insert_with(|| semaphore.clock().sleep(*this.limit));
        if Pin::new(sleep).poll(cx).is_pending() {
            return Poll::Pending;
        }
        // Out of line at once, not when the future is dropped. An end that came between the two polls is in time.
        if acquire.slot.outcome().is_none() {
            semaphore.leave(acquire.slot.as_ref(), true);
        }
        if acquire.slot.outcome().is_some() {
            return poll_slow(acquire.handle, acquire.slot.as_ref(), acquire.request, cx.waker());
        }
        let error = AcquireError::new(&semaphore.name, Kind::Timeout { limit: *this.limit });
        *acquire.handle = None;
        Poll::Ready(Err(error))
    }
}

impl<H: Handle> fmt::Debug for AcquireTimeout<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireTimeout").field("acquire", &self.acquire).field("limit", &self.limit).finish()
    }
}
