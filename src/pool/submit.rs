//! Handing tasks in.

#![forbid(unsafe_code)]

use super::error::{Refusal, SubmitError};
use super::extras::Extras;
use super::handle::{JoinHandle, TaskId};
use super::link::Link;
use super::room::Turn;
use super::shared::Shared;
use super::slot::{self, Joint};
use super::wrap::{Parcel, Wrapped};
use crate::sync::ring::PushError;
use crate::time::Sleep;
use crate::wait::Slot;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
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
    use super::Shared;

    /// What may be named in the signature of a public trait.
    #[derive(Debug)]
    pub enum Refused<F> {
        Full(F),
        Closed(F),
    }

    #[derive(Clone, Copy)]
    #[allow(missing_debug_implementations, reason = "not nameable outside")]
    pub struct Intake<'a>(pub(super) &'a Shared);

    pub trait Pack<F> {
        type Accepted;

        /// One attempt, past those in line.
        fn offer(intake: Intake<'_>, future: F) -> Result<Self::Accepted, Refused<F>>;
    }
}

use sealed::{Intake, Refused};

impl<F> From<PushError<F>> for Refused<F> {
    #[inline]
    fn from(error: PushError<F>) -> Self {
        match error {
            PushError::Full(future) => Self::Full(future),
            PushError::Closed(future) => Self::Closed(future),
        }
    }
}

impl<F> sealed::Pack<F> for Joined
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    type Accepted = JoinHandle<F::Output>;

    #[inline]
    fn offer(Intake(shared): Intake<'_>, future: F) -> Result<Self::Accepted, Refused<F>> {
        if !shared.is_plain {
            return offer_carefully(
                shared,
                future,
                None,
                |future, extras| joined(slot::submit_joined(shared, future, extras)),
                |future, extras| joined(slot::submit_joined(shared, future, extras)),
            );
        }
        let (joint, id) = slot::submit_joined(shared, future, shared.extras())?;
        Ok(JoinHandle::new(joint, id))
    }
}

impl<F> sealed::Pack<F> for Detached
where
    F: Future<Output = ()> + Send + 'static,
{
    type Accepted = ();

    #[inline]
    fn offer(Intake(shared): Intake<'_>, future: F) -> Result<(), Refused<F>> {
        if !shared.is_plain {
            return offer_carefully(
                shared,
                future,
                None,
                |future, extras| slot::submit(shared, future, extras).map(|id| ((), id)),
                |future, extras| slot::submit(shared, future, extras).map(|id| ((), id)),
            );
        }
        slot::submit(shared, future, shared.extras())?;
        Ok(())
    }
}

fn joined<T, E>(submitted: Result<(Joint<T>, TaskId), E>) -> Result<(JoinHandle<T>, TaskId), E> {
    submitted.map(|(joint, id)| (JoinHandle::new(joint, id), id))
}

/// One attempt in a pool that does more for a task than to run it: by `wrapped` if it has a wrapper, otherwise by `bare`.
#[cold]
fn offer_carefully<F: Future, A>(
    shared: &Shared,
    future: F,
    link: Option<Arc<Link>>,
    bare: impl FnOnce(F, Option<Box<Extras>>) -> Result<(A, TaskId), PushError<F>>,
    wrapped: impl FnOnce(Wrapped<F>, Option<Box<Extras>>) -> Result<(A, TaskId), PushError<Wrapped<F>>>,
) -> Result<A, Refused<F>> {
    let Some(wrapper) = &shared.settings.wrapper else {
        let extras = shared.extras_with(link);
        return Ok(shared.submit_noted(extras, |extras| bare(future, extras))?);
    };
    let link = link.unwrap_or_else(|| Arc::new(Link::new()));
    let parcel = Parcel::new();
    let task = Wrapped::new(&parcel, wrapper, Arc::clone(&link));
    shared.submit_noted(shared.extras_with(Some(link)), |extras| {
        let mut place = parcel.task.lock();
        match wrapped(task, extras) {
            Ok(accepted) => {
                *place = Some(future);
                Ok(accepted)
            }
            Err(PushError::Full(_)) => Err(Refused::Full(future)),
            Err(PushError::Closed(_)) => Err(Refused::Closed(future)),
        }
    })
}

impl Shared {
    #[cold]
    fn refuse<F>(&self, reason: Refusal, future: F) -> SubmitError<F> {
        SubmitError { future, reason, pool: self.settings.name.clone() }
    }

    #[cold]
    fn refused<F>(&self, refused: Refused<F>) -> SubmitError<F> {
        match refused {
            Refused::Full(future) => {
                self.refuse(Refusal::Full { capacity: self.capacity().unwrap_or(usize::MAX) }, future)
            }
            Refused::Closed(future) => self.refuse(Refusal::Closed, future),
        }
    }

    /// Submits without waiting.
    #[inline]
    pub(super) fn try_submit<F, M: Mode<F>>(&self, future: F) -> Result<M::Accepted, SubmitError<F>> {
        if let Err(reason) = self.check() {
            return Err(self.refuse(reason, future));
        }
        let offered = if self.room.is_crowded() {
            self.offer_between::<F, M>(future)
        } else {
            M::offer(Intake(self), future)
        };
        offered.map_err(|refused| self.refused(refused))
    }

    /// While others wait for room, or have been invited: only into a place that is not theirs.
    #[cold]
    fn offer_between<F, M: Mode<F>>(&self, future: F) -> Result<M::Accepted, Refused<F>> {
        if self.backlog.is_closed() {
            return Err(Refused::Closed(future));
        }
        if !self.room.slip_in(|| self.free()) {
            return Err(Refused::Full(future));
        }
        let offered = M::offer(Intake(self), future);
        self.room.leave(0, || self.free());
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
        // Boxed, so that those who have none do not carry it.
        limit: Option<Box<Limit>>,
        #[pin]
        slot: Slot<u8>,
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

struct Limit {
    limit: Duration,
    sleep: Option<Sleep>,
}

impl<'a, F, M> Submit<'a, F, M> {
    #[inline]
    pub(super) fn new(shared: &'a Shared, future: F, limit: Option<Duration>) -> Self {
        let limit = limit.map(|limit| Box::new(Limit { limit, sleep: None }));
        Self { shared, future: Some(future), limit, slot: Slot::new(), mode: PhantomData }
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
                    if !shared.room.line_up(this.slot.as_ref(), cx.waker(), || shared.free()) {
                        return give_back(shared, this.future, Refusal::Closed);
                    }
                }
                done => return Poll::Ready(done),
            }
        }
        wait::<F, M>(shared, this.future, this.limit, this.slot.as_ref(), cx)
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
    limit: &mut Option<Box<Limit>>,
    slot: Pin<&Slot<u8>>,
    cx: &mut Context<'_>,
) -> Poll<Result<M::Accepted, SubmitError<F>>> {
    let free = || shared.free();
    loop {
        match shared.room.poll(slot, cx.waker()) {
            Turn::Closed => return give_back(shared, future, Refusal::Closed),
            Turn::Invited(overtaken) => {
                let Some(taken) = future.take() else {
                    shared.room.leave(overtaken, free);
                    return Poll::Pending;
                };
                if let Err(reason) = shared.check() {
                    shared.room.leave(overtaken, free);
                    return Poll::Ready(Err(shared.refuse(reason, taken)));
                }
                match M::offer(Intake(shared), taken) {
                    Err(Refused::Full(refused)) => {
                        *future = Some(refused);
                        if !shared.room.line_up_again(slot, cx.waker(), overtaken, free) {
                            return give_back(shared, future, Refusal::Closed);
                        }
                    }
                    other => {
                        shared.room.leave(overtaken, free);
                        *limit = None;
                        return Poll::Ready(other.map_err(|refused| shared.refused(refused)));
                    }
                }
            }
            Turn::Waiting => {
                let reason = if let Err(reason) = shared.check() {
                    reason
                } else {
                    let Some(limit) = limit else { return Poll::Pending };
                    let duration = limit.limit;
                    let sleep = limit.sleep.get_or_insert_with(|| shared.settings.clock.sleep(duration));
                    if Pin::new(sleep).poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    Refusal::TimedOut(duration)
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
            .field("limit", &self.limit.as_ref().map(|limit| limit.limit))
            .finish_non_exhaustive()
    }
}
