//! Handing tasks in.

#![forbid(unsafe_code)]

use super::error::{Refusal, SubmitError};
use super::handle::JoinHandle;
use super::room::Turn;
use super::shared::Shared;
use super::slot;
use crate::sync::ring::PushError;
use crate::time::Sleep;
use crate::wait::Slot;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A submitted task has a [`JoinHandle`].
#[derive(Debug)]
pub struct Joined(());

/// A submitted task has no handle, and no memory of its own unless its future is large.
#[derive(Debug)]
pub struct Detached(());

/// What the submitter of an `F` gets: [`Joined`] or [`Detached`]. Not to be implemented elsewhere.
pub trait Mode<F>: sealed::Pack<F> {}

impl<F, M: sealed::Pack<F>> Mode<F> for M {}

mod sealed {
    use super::{PushError, Shared};

    pub trait Pack<F> {
        type Accepted;

        fn offer(shared: &Shared, future: F) -> Result<Self::Accepted, PushError<F>>;
    }
}

impl<F> sealed::Pack<F> for Joined
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    type Accepted = JoinHandle<F::Output>;

    #[inline]
    fn offer(shared: &Shared, future: F) -> Result<Self::Accepted, PushError<F>> {
        slot::submit_joined(shared, future, shared.capture()).map(|(joint, id)| JoinHandle::new(joint, id))
    }
}

impl<F> sealed::Pack<F> for Detached
where
    F: Future<Output = ()> + Send + 'static,
{
    type Accepted = ();

    #[inline]
    fn offer(shared: &Shared, future: F) -> Result<(), PushError<F>> {
        slot::submit(shared, future, shared.capture()).map(|_| ())
    }
}

impl Shared {
    #[cold]
    fn refuse<F>(&self, reason: Refusal, future: F) -> SubmitError<F> {
        SubmitError { future, reason, pool: self.settings.name.clone() }
    }

    #[cold]
    fn refused<F>(&self, refused: PushError<F>) -> SubmitError<F> {
        match refused {
            PushError::Full(future) => {
                self.refuse(Refusal::Full { capacity: self.capacity().unwrap_or(usize::MAX) }, future)
            }
            PushError::Closed(future) => self.refuse(Refusal::Closed, future),
        }
    }

    /// Submits without waiting.
    #[inline]
    pub(super) fn try_submit<F, M: Mode<F>>(&self, future: F) -> Result<M::Accepted, SubmitError<F>> {
        if let Err(reason) = self.check() {
            return Err(self.refuse(reason, future));
        }
        let offered =
            if self.room.is_crowded() { self.offer_between::<F, M>(future) } else { M::offer(self, future) };
        offered.map_err(|refused| self.refused(refused))
    }

    /// While others wait for room, or have been invited: only into a place that is not theirs.
    #[cold]
    fn offer_between<F, M: Mode<F>>(&self, future: F) -> Result<M::Accepted, PushError<F>> {
        if self.backlog.is_closed() {
            return Err(PushError::Closed(future));
        }
        if !self.room.slip_in(|| self.free()) {
            return Err(PushError::Full(future));
        }
        let offered = M::offer(self, future);
        self.room.leave(|| self.free());
        offered
    }
}

pin_project! {
    /// The future of the `submit` and `execute` families.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has submitted nothing; its place in line goes to the next.
    #[must_use = "futures do nothing unless polled"]
    pub struct Submit<'a, F, M = Joined> {
        shared: &'a Shared,
        // Taken when it is accepted or given back.
        future: Option<F>,
        limit: Option<Duration>,
        sleep: Option<Sleep>,
        #[pin]
        slot: Slot<()>,
        mode: PhantomData<fn() -> M>,
    }

    impl<F, M> PinnedDrop for Submit<'_, F, M> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if !this.slot.is_idle() {
                this.shared.room.abandon(this.slot.as_ref(), || this.shared.free());
            }
        }
    }
}

impl<'a, F, M> Submit<'a, F, M> {
    #[inline]
    pub(super) fn new(shared: &'a Shared, future: F, limit: Option<Duration>) -> Self {
        Self { shared, future: Some(future), limit, sleep: None, slot: Slot::new(), mode: PhantomData }
    }
}

impl<F, M: Mode<F>> Future for Submit<'_, F, M> {
    type Output = Result<M::Accepted, SubmitError<F>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let shared = *this.shared;
        if this.slot.is_idle() {
            let Some(future) = this.future.take() else { return Poll::Pending };
            match shared.try_submit::<F, M>(future) {
                Err(refused) if refused.is_full() => {
                    *this.future = Some(refused.future);
                    if !shared.room.line_up(this.slot.as_ref(), cx.waker(), false, || shared.free()) {
                        return give_back(shared, this.future, Refusal::Closed);
                    }
                }
                done => return Poll::Ready(done),
            }
        }
        wait::<F, M>(shared, this.future, *this.limit, this.sleep, this.slot.as_ref(), cx)
    }
}

#[cold]
fn give_back<F, T>(
    shared: &Shared,
    future: &mut Option<F>,
    reason: Refusal,
) -> Poll<Result<T, SubmitError<F>>> {
    match future.take() {
        Some(future) => Poll::Ready(Err(shared.refuse(reason, future))),
        None => Poll::Pending,
    }
}

/// In line.
#[inline(never)]
fn wait<F, M: Mode<F>>(
    shared: &Shared,
    future: &mut Option<F>,
    limit: Option<Duration>,
    sleep: &mut Option<Sleep>,
    slot: Pin<&Slot<()>>,
    cx: &mut Context<'_>,
) -> Poll<Result<M::Accepted, SubmitError<F>>> {
    let free = || shared.free();
    loop {
        match shared.room.poll(slot, cx.waker()) {
            Turn::Closed => return give_back(shared, future, Refusal::Closed),
            Turn::Invited => {
                let Some(taken) = future.take() else {
                    shared.room.leave(free);
                    return Poll::Pending;
                };
                if let Err(reason) = shared.check() {
                    shared.room.leave(free);
                    return Poll::Ready(Err(shared.refuse(reason, taken)));
                }
                match M::offer(shared, taken) {
                    Err(PushError::Full(refused)) => {
                        *future = Some(refused);
                        if !shared.room.line_up(slot, cx.waker(), true, free) {
                            return give_back(shared, future, Refusal::Closed);
                        }
                    }
                    other => {
                        shared.room.leave(free);
                        *sleep = None;
                        return Poll::Ready(other.map_err(|refused| shared.refused(refused)));
                    }
                }
            }
            Turn::Waiting => {
                let reason = if let Err(reason) = shared.check() {
                    reason
                } else {
                    let Some(limit) = limit else { return Poll::Pending };
                    let sleep = sleep.get_or_insert_with(|| shared.settings.clock.sleep(limit));
                    if Pin::new(sleep).poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    Refusal::TimedOut(limit)
                };
                // Out of line at once, not when the future is dropped; an invitation that came just now goes to the next.
                shared.room.abandon(slot, free);
                return give_back(shared, future, reason);
            }
        }
    }
}

impl<F, M> fmt::Debug for Submit<'_, F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submit")
            .field("pool", &self.shared.settings.name)
            .field("waiting", &!self.slot.is_idle())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
