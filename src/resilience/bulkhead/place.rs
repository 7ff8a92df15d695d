//! A place that is taken.

use super::wait::Wait;
use super::{Bulkhead, BulkheadEvent, Inner};
use crate::limit::ConcurrencyLimiter;
use crate::limit::concurrency::{Handle, Permit};
use crate::resilience::Rejection;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// Room for the places of one call, and whether they are taken. What the call asked for says what is given back, so no more
/// is kept of them.
pub(super) struct Seat<'a> {
    bulkhead: &'a Bulkhead,
    taken: Taken,
}

#[derive(Clone, Copy)]
enum Taken {
    No,
    Yes,
    /// At this time, which somebody wanted to know.
    At(Instant),
}

impl<'a> Seat<'a> {
    #[inline(always)]
    pub(super) fn new(bulkhead: &'a Bulkhead) -> Self {
        Self { bulkhead, taken: Taken::No }
    }

    #[inline(always)]
    pub(super) fn is_taken(&self) -> bool {
        !matches!(self.taken, Taken::No)
    }

    /// Takes it if that can be said at once, and nobody is to be told.
    #[inline(always)]
    pub(super) fn take_now(&mut self) -> bool {
        let Bulkhead { inner, shortcut, request } = self.bulkhead;
        let taken = match shortcut {
            Some(shortcut) => !inner.observers.may_be_watched() && shortcut.take(request),
            None => false,
        };
        if taken {
            self.taken = Taken::Yes;
        }
        taken
    }

    /// Takes it by a permit of what the call asked for.
    pub(super) fn take<H: Handle>(&mut self, permit: Permit<H>, queued: Option<Instant>) {
        self.taken = self.bulkhead.inner.admitted(permit, queued);
    }

    /// Gives it back, if it is taken.
    #[inline(always)]
    pub(super) fn give_back(&mut self) {
        let taken = match std::mem::replace(&mut self.taken, Taken::No) {
            Taken::No => return,
            taken => taken,
        };
        self.bulkhead.give_back(taken);
    }

    /// The bulkhead, for as long as it is borrowed.
    #[inline(always)]
    pub(super) fn bulkhead(&self) -> &'a Bulkhead {
        self.bulkhead
    }

    #[cold]
    #[inline(never)]
    fn leave(&mut self) {
        self.give_back();
    }
}

impl Drop for Seat<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.is_taken() {
            self.leave();
        }
    }
}

impl Bulkhead {
    /// Gives back what was taken.
    #[inline(always)]
    fn give_back(&self, taken: Taken) {
        let Self { inner, shortcut, request } = self;
        match shortcut {
            Some(shortcut) => shortcut.give_back(request),
            None => inner.limiter.give_back(*request),
        }
        if inner.observers.may_be_watched() {
            inner.tell_finished(taken);
        }
    }
}

impl Inner {
    /// Turns the permit of what a call asked for into the knowledge that it was taken.
    fn admitted<H: Handle>(&self, permit: Permit<H>, queued: Option<Instant>) -> Taken {
        let told = self.observers.may_be_watched().then(|| self.tell_admitted(queued));
        permit.hand_over();
        told.map_or(Taken::Yes, Taken::At)
    }

    #[cold]
    fn tell_admitted(&self, queued: Option<Instant>) -> Instant {
        let now = self.limiter.clock().now();
        let waited = queued.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let (name, running) = (self.name, self.limiter.in_flight());
        self.observers.emit(|| BulkheadEvent::Admitted { name, running, waited });
        now
    }

    #[cold]
    fn tell_finished(&self, taken: Taken) {
        let held = match taken {
            Taken::At(since) => Some(self.limiter.clock().now().saturating_duration_since(since)),
            _ => None,
        };
        let (name, running) = (self.name, self.limiter.in_flight());
        self.observers.emit(|| BulkheadEvent::Finished { name, running, held });
    }
}

/// A place in a [`Bulkhead`], given back when this is dropped: on whatever thread, however late.
#[must_use = "a place that is not held is given back at once"]
#[clippy::has_significant_drop]
pub struct Place {
    bulkhead: Bulkhead,
    taken: Taken,
}

impl Place {
    pub(super) fn new<H: Handle>(bulkhead: Bulkhead, permit: Permit<H>, queued: Option<Instant>) -> Self {
        let taken = bulkhead.inner.admitted(permit, queued);
        Self { bulkhead, taken }
    }

    /// How many places of the bulkhead it stands for.
    pub fn places(&self) -> u32 {
        self.bulkhead.request.permits
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.bulkhead.give_back(self.taken);
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("bulkhead", &self.bulkhead.inner.name)
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
        bulkhead: Bulkhead,
        #[pin]
        wait: Wait<ConcurrencyLimiter>,
    }
}

impl AcquirePlace {
    pub(super) fn new(bulkhead: &Bulkhead) -> Self {
        let bulkhead = bulkhead.clone();
        let wait = Wait::new(bulkhead.inner.limiter.acquire_with_owned(bulkhead.request));
        Self { bulkhead, wait }
    }
}

impl Future for AcquirePlace {
    type Output = Result<Place, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (permit, queued) = ready!(this.wait.poll(&this.bulkhead.inner, cx))?;
        Poll::Ready(Ok(Place::new(this.bulkhead.clone(), permit, queued)))
    }
}

impl fmt::Debug for AcquirePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquirePlace").field("bulkhead", &self.bulkhead.inner.name).finish_non_exhaustive()
    }
}
