//! The waiting future.

use super::error::Kind;
use super::lane::Want;
use super::line::{End, Entry, Line};
use super::permit::{Handle, Permit};
use super::{AcquireError, ConcurrencyLimiter, Inner, Request};
use crate::sync::{self, ContextError, context};
use crate::time::{Alarm, Deadline};
use crate::wait::Slot;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

pin_project! {
    /// The future of [`ConcurrencyLimiter::acquire`] and its kin.
    ///
    /// # Cancel safety
    /// Dropping it leaves the queue, and hands on what it was granted in the meantime.
    #[must_use = "futures do nothing unless polled"]
    pub struct Acquire<H: Handle> {
        // Taken by the permit.
        handle: Option<H>,
        request: Request,
        // In the semaphore's queue.
        #[pin]
        queued: Option<sync::Acquire<H::Semaphore>>,
        // In the limiter's own.
        #[pin]
        slot: Slot<Want>,
        alarm: Alarm,
        ends: Ends,
        // When the wait began, if anybody wanted to know; see `tell_queued`.
        since: u64,
    }

    impl<H: Handle> PinnedDrop for Acquire<H> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let Some(inner) = this.handle.as_ref().map(|handle| &handle.limiter().inner) else { return };
            match &inner.line {
                _ if this.slot.is_idle() && this.queued.is_none() => return,
                Some(line) => {
                    line.abandon(&inner.semaphore, this.slot.as_ref(), inner.lane(this.request.partition));
                }
                None => this.queued.set(None),
            }
            inner.tell_cancelled(this.request.permits, *this.since);
        }
    }
}

/// What ends the wait if nothing else does.
#[derive(Clone, Copy, Debug)]
struct Ends {
    why: Why,
    /// The last nanosecond of the line at which the discipline lets it be served.
    shed_at: u64,
    /// How long a wait that is.
    allowed: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// The wait limit.
    Limit(Duration),
    /// The deadline of the surrounding work.
    Deadline,
    /// The discipline.
    Shed,
}

impl<H: Handle> Acquire<H> {
    #[inline]
    pub(super) fn new(handle: H, request: Request) -> Self {
        let ends = Ends { why: Why::Deadline, shed_at: u64::MAX, allowed: Duration::MAX };
        let (slot, alarm) = (Slot::new(), Alarm::default());
        Self { handle: Some(handle), request, queued: None, slot, alarm, ends, since: 0 }
    }

    /// Waits at most `limit`, counted from the first poll that finds no permits.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.request = self.request.wait_limit(limit);
        self
    }
}

impl<H: Handle> Future for Acquire<H> {
    type Output = Result<Permit<H>, AcquireError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(limiter) = this.handle.as_ref().map(Handle::limiter) else { return Poll::Pending };
        let fresh = this.queued.is_none() && this.slot.is_idle();
        // All that a ready acquisition does.
        if fresh && !context::can_end() && limiter.take(*this.request) {
            let Some(handle) = this.handle.take() else { return Poll::Pending };
            return Poll::Ready(Ok(acquired(handle, this.request, 0)));
        }
        let handle = this.handle.as_ref();
        let polled = match &limiter.inner.line {
            None => poll_queued(handle, this.queued.as_mut(), this.request, this.alarm, this.ends, cx),
            Some(line) => {
                let slot = this.slot.as_ref();
                poll_line(&limiter.inner, line, slot, this.request, (this.alarm, this.ends), cx)
            }
        };
        let Poll::Ready(outcome) = polled else {
            if fresh {
                *this.since = limiter.inner.tell_queued(this.request.permits);
            }
            return Poll::Pending;
        };
        let Some(handle) = this.handle.take() else { return Poll::Pending };
        let acquired = match outcome {
            Ok(()) => Ok(acquired(handle, this.request, *this.since)),
            Err(kind) => {
                handle.limiter().inner.tell_ended(this.request.permits, Some(&kind), *this.since);
                Err(kind.into())
            }
        };
        // Drops a waker, foreign code: if it panics the permit goes back.
        this.alarm.disarm();
        Poll::Ready(acquired)
    }
}

/// The guard of permits that are taken; which is told of when it is there, so that nothing is lost by it.
#[inline(always)]
fn acquired<H: Handle>(handle: H, request: &Request, since: u64) -> Permit<H> {
    let lane = handle.limiter().inner.lane(request.partition);
    let permit = Permit::new(handle, request.permits, lane);
    permit.limiter().inner.tell_ended(request.permits, None, since);
    permit
}

/// In the semaphore's queue.
#[inline(never)]
fn poll_queued<H: Handle>(
    handle: Option<&H>,
    mut queued: Pin<&mut Option<sync::Acquire<H::Semaphore>>>,
    request: &Request,
    alarm: &mut Alarm,
    ends: &mut Ends,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Kind>> {
    let Some(handle) = handle else { return Poll::Pending };
    let limiter = handle.limiter();
    if queued.is_none() {
        // Before the semaphore, which lets nothing through that wants nothing.
        if let Some(early) = begin(limiter, request) {
            return Poll::Ready(early);
        }
        queued.set(Some(handle.wait(limiter.semaphore_request(request))));
    }
    let Some(mut acquire) = queued.as_mut().as_pin_mut() else { return Poll::Pending };
    let mut acquired = acquire.as_mut().poll(cx);
    if acquired.is_pending() {
        ready!(poll_alarm(&limiter.inner, request, alarm, ends, cx));
        // A permit that was handed over between the two looks is in time.
        acquired = acquire.poll(cx);
    }
    queued.set(None);
    Poll::Ready(match acquired {
        Poll::Ready(Ok(permit)) => {
            // Counted on by the guard that is made of it.
            let _ = permit.into_count();
            Ok(())
        }
        Poll::Ready(Err(error)) => Err(limiter.refused(request.permits, &error)),
        Poll::Pending => Err(ends.kind()),
    })
}

/// Whether it ends before there is a queue to look at.
fn begin(limiter: &ConcurrencyLimiter, request: &Request) -> Option<Result<(), Kind>> {
    if let Err(ended) = context::check(|| limiter.inner.clock().now()) {
        return Some(Err(Kind::Ended(ended)));
    }
    limiter.take(*request).then_some(Ok(()))
}

/// In the limiter's own line.
#[inline(never)]
fn poll_line(
    inner: &Inner,
    line: &Line,
    slot: Pin<&Slot<Want>>,
    request: &Request,
    (alarm, ends): (&mut Alarm, &mut Ends),
    cx: &mut Context<'_>,
) -> Poll<Result<(), Kind>> {
    let lane = inner.lane(request.partition);
    if slot.is_idle() {
        if let Err(ended) = context::check(|| inner.clock().now()) {
            return Poll::Ready(Err(Kind::Ended(ended)));
        }
        if request.permits == 0 {
            return Poll::Ready(Ok(()));
        }
        if line.take(&inner.semaphore, request.permits, lane) {
            return Poll::Ready(Ok(()));
        }
        let wanted = (request.permits, lane);
        match line.enter(&inner.semaphore, slot, wanted, inner.queue.most(), cx.waker()) {
            Entry::Queued { shed_at, allowed } => {
                ends.shed_at = shed_at;
                ends.allowed = Duration::from_nanos(allowed);
            }
            Entry::Admitted => return Poll::Ready(Ok(())),
            Entry::Full(waiting) => {
                return Poll::Ready(Err(Kind::Full { limit: inner.semaphore.capacity(), waiting }));
            }
            Entry::Above(limit) => {
                return Poll::Ready(Err(Kind::Above { wanted: request.permits, limit }));
            }
            Entry::Closed => return Poll::Ready(Err(Kind::Closed)),
        }
    } else if slot.outcome().is_none() {
        line.set_waker(slot, lane, cx.waker());
    }
    if slot.outcome().is_none() {
        ready!(poll_alarm(inner, request, alarm, ends, cx));
        let shed = ends.why == Why::Shed;
        if slot.outcome().is_none() && line.leave(&inner.semaphore, slot, lane, shed) {
            return Poll::Ready(Err(ends.kind()));
        }
    }
    // A permit that was handed over between the two looks is in time.
    Poll::Ready(match Line::end(slot) {
        Some(End::Admitted) => Ok(()),
        Some(End::Above(limit)) => Err(Kind::Above { wanted: request.permits, limit }),
        Some(End::Closed) => Err(Kind::Closed),
        Some(End::Shed) => Err(Kind::Shed { allowed: ends.allowed }),
        None => return Poll::Pending,
    })
}

/// Ready when the wait must end: the first of the wait limit, the deadline of the surrounding work, and what the discipline
/// allows. Each waiter has its own timer, as these three do not end in the order of the queue.
fn poll_alarm(
    inner: &Inner,
    request: &Request,
    alarm: &mut Alarm,
    ends: &mut Ends,
    cx: &mut Context<'_>,
) -> Poll<()> {
    alarm.poll(inner.clock(), cx, |clock| {
        let limit = request.wait_limit.unwrap_or_else(|| inner.queue.wait());
        let now = clock.now();
        let mut end = (Deadline::after(now, limit), Why::Limit(limit));
        let ambient = context::deadline();
        if ambient < end.0 {
            end = (ambient, Why::Deadline);
        }
        // Past the last instant at which it may be served.
        let shed = inner.line.as_ref().and_then(|line| line.epoch().instant(ends.shed_at.saturating_add(1)));
        let shed = shed.filter(|_| ends.shed_at < u64::MAX).map(Deadline::at);
        if let Some(shed) = shed.filter(|shed| *shed <= end.0) {
            end = (shed, Why::Shed);
        }
        ends.why = end.1;
        end.0
    })
}

impl Ends {
    fn kind(&self) -> Kind {
        match self.why {
            Why::Limit(limit) => Kind::Timeout { limit },
            Why::Deadline => Kind::Ended(ContextError::DeadlineExceeded),
            Why::Shed => Kind::Shed { allowed: self.allowed },
        }
    }
}

impl<H: Handle> fmt::Debug for Acquire<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire").field("request", &self.request).finish_non_exhaustive()
    }
}
