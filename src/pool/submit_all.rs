//! Handing many tasks in at once.

#![forbid(unsafe_code)]

use super::error::{Refusal, SubmitAllError};
use super::handle::TaskId;
use super::room::Invitation;
use super::shared::Shared;
use super::submit::{Intake, ManyMode, Plain, Refused, turn};
use crate::task::block_on;
use crate::wait::Slot;
use pin_project_lite::pin_project;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The most tasks that are taken from the iterator before they are handed in.
const BATCH: usize = 64;

pin_project! {
    /// The future of [`submit_all`](super::WorkerPool::submit_all) and [`execute_all`](super::WorkerPool::execute_all).
    ///
    /// # Cancel safety
    /// What was accepted before it is dropped runs on, and cannot be joined any more; up to 64 tasks that were taken from the
    /// iterator and not accepted are dropped with it.
    #[must_use = "futures do nothing unless polled"]
    pub struct SubmitAll<'a, I: Iterator, M: ManyMode<I::Item>> {
        shared: &'a Shared,
        // `None` when it has ended, or was given back.
        futures: Option<I>,
        batch: VecDeque<I::Item>,
        accepted: Vec<M::Accepted>,
        done: bool,
        #[pin]
        slot: Slot<u8>,
    }

    impl<I: Iterator, M: ManyMode<I::Item>> PinnedDrop for SubmitAll<'_, I, M> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if !this.slot.is_idle() {
                this.shared.room.abandon(this.slot.as_ref(), || this.shared.free(0));
            }
        }
    }
}

impl<'a, I: Iterator, M: ManyMode<I::Item>> SubmitAll<'a, I, M> {
    pub(super) fn new(shared: &'a Shared, futures: I) -> Self {
        let (batch, accepted) = (VecDeque::new(), Vec::with_capacity(futures.size_hint().0.min(1 << 16)));
        Self { shared, futures: Some(futures), batch, accepted, done: false, slot: Slot::new() }
    }
}

impl<I: Iterator, M: ManyMode<I::Item>> SubmitAll<'_, I, M> {
    /// Blocks this thread until all are accepted, for threads that run no executor.
    ///
    /// # Errors
    /// As awaiting it.
    pub fn wait(self) -> Result<Vec<M::Accepted>, SubmitAllError<I, M::Accepted>> {
        block_on(self)
    }
}

/// The first of a batch, to which it goes back unless it is accepted: also if that panics, as clocks are foreign code.
struct First<'a, F> {
    future: Option<F>,
    batch: &'a mut VecDeque<F>,
}

impl<F> Drop for First<'_, F> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            self.batch.push_front(future);
        }
    }
}

/// Hands in as much of the batch as there is room for, past those in line, and at most so many.
fn offer<F, M: ManyMode<F>>(
    shared: &Shared,
    batch: &mut VecDeque<F>,
    accepted: &mut Vec<M::Accepted>,
    limit: usize,
) -> Result<(), Refused> {
    let Some(count) = NonZeroUsize::new(batch.len().min(limit)) else { return Ok(()) };
    let from = accepted.len();
    accepted.reserve(count.get());
    // One time for all of them, and before the queue is touched.
    let submitted = shared.stamp();
    let pushed = shared.push_many(count, || {
        let mut job = match batch.pop_front() {
            Some(future) => {
                M::prepare(Intake(shared, &Plain(())), future, |receipt| accepted.push(receipt)).0
            }
            // There are `count` of them. (Another job in its place would have each of them put together elsewhere first.)
            None => std::process::abort(),
        };
        if submitted != 0 {
            job.set_submitted(submitted);
        }
        job
    });
    match pushed {
        Some(pushed) => {
            let (_, TaskId(first)) = pushed?;
            for (id, receipt) in (first..).zip(accepted.iter_mut().skip(from)) {
                M::number(receipt, TaskId(id));
            }
            // Last: a waker may panic.
            shared.call_workers();
        }
        None => {
            for _ in 0..count.get() {
                let Some(future) = batch.pop_front() else { break };
                let mut first = First { future: Some(future), batch };
                match M::offer(Intake(shared, &Plain(())), &mut first.future) {
                    Ok(receipt) => accepted.push(receipt),
                    Err(refused) => return if accepted.len() > from { Ok(()) } else { Err(refused) },
                }
            }
        }
    }
    Ok(())
}

impl<I: Iterator, M: ManyMode<I::Item>> Future for SubmitAll<'_, I, M> {
    type Output = Result<Vec<M::Accepted>, SubmitAllError<I, M::Accepted>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let shared = *this.shared;
        if *this.done {
            return Poll::Pending;
        }
        let reason = loop {
            if !this.slot.is_idle() {
                // One in line, for all of them.
                let overtaken = match ready!(turn(shared, 0, &mut None, this.slot.as_ref(), cx)) {
                    Ok(overtaken) => overtaken,
                    Err(reason) => break reason,
                };
                let mut invitation = Invitation::new(&shared.room, overtaken, || shared.free(0));
                if let Err(reason) = shared.check() {
                    invitation.leave();
                    break reason;
                }
                let share = invitation.share(this.batch.len());
                match offer::<I::Item, M>(shared, this.batch, this.accepted, share) {
                    Err(Refused::Full) => {
                        invitation.give_up();
                        if !shared
                            .room
                            .line_up_again(this.slot.as_ref(), cx.waker(), overtaken, || shared.free(0))
                        {
                            break Refusal::Closed;
                        }
                        continue;
                    }
                    Err(Refused::Closed) => {
                        invitation.leave();
                        break Refusal::Closed;
                    }
                    Ok(()) => invitation.leave(),
                }
            }
            if this.batch.is_empty() {
                // The iterator is the caller's code: nothing of ours is held while it runs.
                this.batch.extend(this.futures.iter_mut().flatten().take(BATCH));
                if this.batch.is_empty() {
                    *this.done = true;
                    return Poll::Ready(Ok(std::mem::take(this.accepted)));
                }
            }
            if let Err(reason) = shared.check() {
                break reason;
            }
            let offered = if shared.room.is_crowded() {
                Err(Refused::Full)
            } else {
                offer::<I::Item, M>(shared, this.batch, this.accepted, BATCH)
            };
            match offered {
                Ok(()) => {}
                Err(Refused::Closed) => break Refusal::Closed,
                Err(Refused::Full) => {
                    if !shared.room.line_up(this.slot.as_ref(), cx.waker(), || shared.free(0)) {
                        break Refusal::Closed;
                    }
                }
            }
        };
        *this.done = true;
        Poll::Ready(Err(SubmitAllError {
            accepted: std::mem::take(this.accepted),
            refused: std::mem::take(this.batch).into(),
            rest: this.futures.take(),
            reason,
            pool: shared.settings.name.clone(),
        }))
    }
}

impl<I: Iterator, M: ManyMode<I::Item>> fmt::Debug for SubmitAll<'_, I, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitAll")
            .field("pool", &self.shared.settings.name)
            .field("accepted", &self.accepted.len())
            .field("waiting", &!self.slot.is_idle())
            .finish_non_exhaustive()
    }
}
