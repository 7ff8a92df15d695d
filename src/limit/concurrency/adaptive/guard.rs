//! A call that was let through, and the future that lets it through.

use super::control::Start;
use super::{AdaptiveLimiter, Outcome};
use crate::limit::concurrency::{self, AcquireError, ConcurrencyLimiter, Permit, Request};
use crate::time::Alarm;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// How a guard holds on to its limiter: by reference, or by a clone.
pub trait Handle: sealed::Sealed {
    #[doc(hidden)]
    type Limiter: concurrency::Handle;

    #[doc(hidden)]
    fn adaptive(&self) -> &AdaptiveLimiter;

    #[doc(hidden)]
    fn limiter(&self) -> Self::Limiter;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for &super::AdaptiveLimiter {}
    impl Sealed for super::AdaptiveLimiter {}
}

impl<'a> Handle for &'a AdaptiveLimiter {
    type Limiter = &'a ConcurrencyLimiter;

    #[inline]
    fn adaptive(&self) -> &AdaptiveLimiter {
        self
    }

    #[inline]
    fn limiter(&self) -> &'a ConcurrencyLimiter {
        let adaptive: &'a AdaptiveLimiter = self;
        &adaptive.limiter
    }
}

impl Handle for AdaptiveLimiter {
    type Limiter = ConcurrencyLimiter;

    #[inline]
    fn adaptive(&self) -> &AdaptiveLimiter {
        self
    }

    #[inline]
    fn limiter(&self) -> ConcurrencyLimiter {
        self.limiter.clone()
    }
}

/// A guard that owns its share of the limiter.
pub type OwnedGuard = Guard<AdaptiveLimiter>;

/// A call that was let through: holds its permit, and says how it ended.
///
/// Dropped without that it is ignored, as a call that was cancelled says nothing; dropped by a panic, it is a sign of
/// overload.
#[must_use = "a guard that is not held is an ignored call"]
#[clippy::has_significant_drop]
pub struct Guard<H: Handle> {
    permit: Permit<H::Limiter>,
    handle: H,
    start: Start,
    live: bool,
    /// Whether to take it for the call's panic when it is dropped by one.
    panic_is_drop: bool,
}

impl<H: Handle> Guard<H> {
    #[inline]
    pub(super) fn new(permit: Permit<H::Limiter>, handle: H, now: Option<Instant>) -> Self {
        let control = &handle.adaptive().control;
        let start = control.begin(permit.permits(), control.at(now));
        Self { permit, handle, start, live: true, panic_is_drop: true }
    }

    /// For one who can tell a panic of the call from one that passes by.
    #[allow(dead_code, reason = "used by the rooms behind features")]
    pub(crate) fn told_of_panics(mut self) -> Self {
        self.panic_is_drop = false;
        self
    }

    /// It went well, and how long it took says something.
    #[inline]
    pub fn success(self) {
        self.record(Outcome::Success);
    }

    /// It ended in a sign of overload: a timeout, or an answer that says so (HTTP 429 or 503, `RESOURCE_EXHAUSTED`).
    pub fn dropped(self) {
        self.record(Outcome::Dropped);
    }

    /// It says nothing: an error that came too fast or for reasons of its own.
    pub fn ignore(self) {
        self.record(Outcome::Ignored);
    }

    /// It ended so.
    #[inline]
    pub fn record(self, outcome: Outcome) {
        self.settle(outcome, None);
    }

    /// It ended so at `now`.
    pub fn record_at(self, outcome: Outcome, now: Instant) {
        self.settle(outcome, Some(now));
    }

    #[inline]
    fn settle(mut self, outcome: Outcome, now: Option<Instant>) {
        self.live = false;
        self.end(outcome, now);
    }

    #[inline]
    fn end(&self, outcome: Outcome, now: Option<Instant>) {
        let AdaptiveLimiter { limiter, control } = self.handle.adaptive();
        control.end(limiter, self.start, outcome, || control.at(now));
    }

    /// The limiter.
    pub fn limiter(&self) -> &AdaptiveLimiter {
        self.handle.adaptive()
    }
}

// The permit goes back after this.
impl<H: Handle> Drop for Guard<H> {
    #[inline]
    fn drop(&mut self) {
        if self.live {
            let panicked = self.panic_is_drop && std::thread::panicking();
            self.end(if panicked { Outcome::Dropped } else { Outcome::Ignored }, None);
        }
    }
}

impl<H: Handle> fmt::Debug for Guard<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("permit", &self.permit).finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`AdaptiveLimiter::acquire`] and its kin.
    ///
    /// # Cancel safety
    /// Dropping it leaves the queue, and hands on what it was granted in the meantime.
    #[must_use = "futures do nothing unless polled"]
    pub struct Acquire<H: Handle> {
        // Taken by the guard.
        handle: Option<H>,
        #[pin]
        permit: concurrency::Acquire<H::Limiter>,
        // Armed while the limiter probes.
        alarm: Alarm,
    }
}

impl<H: Handle> Acquire<H> {
    #[inline]
    pub(super) fn new(handle: H, request: Request) -> Self {
        let permit = concurrency::Acquire::new(handle.limiter(), request);
        Self { handle: Some(handle), permit, alarm: Alarm::default() }
    }
}

impl<H: Handle> Future for Acquire<H> {
    type Output = Result<Guard<H>, AcquireError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = this.permit.poll(cx);
        let Some(adaptive) = this.handle.as_ref().map(Handle::adaptive) else { return Poll::Pending };
        if !matches!(polled, Poll::Ready(Ok(_))) {
            adaptive.look(None);
        }
        if polled.is_pending() {
            this.alarm.disarm();
            if let Some(end) = adaptive.control.look_again() {
                let clock = adaptive.control.epoch.clock();
                if this.alarm.poll(clock, cx, |_| end).is_ready() {
                    cx.waker().wake_by_ref();
                }
            }
        }
        let permit = ready!(polled);
        let Some(handle) = this.handle.take() else { return Poll::Pending };
        // From now on, so that no time in the queue is counted.
        let guard = permit.map(|permit| Guard::new(permit, handle, None));
        this.alarm.disarm();
        Poll::Ready(guard)
    }
}

impl<H: Handle> fmt::Debug for Acquire<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire").field("permit", &self.permit).finish_non_exhaustive()
    }
}
