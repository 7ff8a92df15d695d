//! The handle's side of a cell; its states and invariants are in [cell](super::cell).

use super::cell::{
    CANCEL, CLAIMED, Cell, DONE, Head, Home, JOB_GONE, JOINT_GONE, NUDGE, Own, TAKEN, WAKER, WITHDRAWN, store,
};
use crate::pool::error::JoinError;
use crate::pool::handle::Delayed;
use crate::pool::nudge::Nudge;
use crate::shim::Ordering;
use std::future::Future;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::task::{Poll, Waker};

/// The handle's side of a cell.
pub(in crate::pool) struct Joint<T> {
    head: NonNull<Head>,
    _result: PhantomData<T>,
}

// SAFETY: what it reaches are the waker, the result and, to drop it, the future, all of which may move between threads.
unsafe impl<T: Send> Send for Joint<T> {}
// SAFETY: through `&self` it only cancels, which is decided by one read-modify-write; result and waker need `&mut`.
unsafe impl<T: Send> Sync for Joint<T> {}

impl<T> Joint<T> {
    #[inline(always)]
    pub(super) fn new<F: Future<Output = T>>(cell: NonNull<Cell<F>>) -> Self {
        Self { head: cell.cast(), _result: PhantomData }
    }

    #[inline(always)]
    fn head(&self) -> &Head {
        // SAFETY: alive until this side leaves (P4).
        unsafe { self.head.as_ref() }
    }

    #[inline(always)]
    fn own(&self, look: impl FnOnce(&Own) -> bool) -> bool {
        // SAFETY: through `&self` (P7).
        self.head().own.with(|own| look(unsafe { &*own }))
    }

    #[inline(always)]
    fn own_mut(&mut self, change: impl FnOnce(&mut Own)) {
        // SAFETY: through `&mut self` (P7).
        self.head().own.with_mut(|own| change(unsafe { &mut *own }));
    }

    /// Whether the task is to be cancelled with the handle.
    #[inline(always)]
    pub(in crate::pool) fn is_tied(&self) -> bool {
        self.own(|own| own.is_tied)
    }

    /// The task is to be cancelled with the handle.
    pub(in crate::pool) fn tie(&mut self) {
        self.own_mut(|own| own.is_tied = true);
    }

    /// The task waits for its time.
    pub(in crate::pool) fn set_delayed(&mut self, delayed: Delayed) {
        drop(self.take_delayed());
        let home = Home { delayed: ManuallyDrop::new(Box::new(delayed)) };
        // SAFETY: through `&mut self` (P7), and there was nothing to drop.
        self.head().home.with_mut(|place| unsafe { place.write(home) });
        self.own_mut(|own| own.is_delayed = true);
    }

    /// Where a delayed task waits.
    pub(in crate::pool) fn delayed(&self) -> Option<&Delayed> {
        let is_delayed = self.own(|own| own.is_delayed);
        is_delayed.then(|| {
            self.head().home.with(|home| {
                // SAFETY: as the handle's own says, through `&self` (P7).
                let delayed = unsafe { &(*home).delayed };
                &***delayed
            })
        })
    }

    /// It is not to be withdrawn any more.
    fn take_delayed(&mut self) -> Option<Box<Delayed>> {
        if !self.own(|own| own.is_delayed) {
            return None;
        }
        self.own_mut(|own| own.is_delayed = false);
        // SAFETY: as the handle's own has said, through `&mut self`, and once (P7).
        Some(self.head().home.with_mut(|home| unsafe { ManuallyDrop::take(&mut (*home).delayed) }))
    }

    /// Counts that the task was withdrawn.
    fn count_withdrawal(&self) {
        // Relaxed: published by `WITHDRAWN`, for the job, and by `DONE`, for us.
        match self.delayed() {
            Some(delayed) => delayed.withdrawn().fetch_add(1, Ordering::Relaxed),
            // SAFETY: the handle's own has said so (P7). The job is in the queue until it sees `WITHDRAWN`, so the counter is
            // alive (P5).
            None => self
                .head()
                .home
                .with(|home| unsafe { (*home).withdrawn.as_ref().fetch_add(1, Ordering::Relaxed) }),
        };
    }

    /// Whether the result is there.
    pub(in crate::pool) fn is_done(&self) -> bool {
        self.head().state.load(Ordering::Acquire) & DONE != 0
    }

    /// The result, or the waker goes into the cell. Pending for ever after a result.
    #[inline]
    pub(in crate::pool) fn poll(&mut self, waker: &Waker) -> Poll<Result<T, JoinError>> {
        let head = self.head();
        if self.own(|own| own.is_taken) {
            return Poll::Pending;
        }
        // ORDERING: Acquire pairs with the Release of `DONE`: the result.
        let mut state = head.state.load(Ordering::Acquire);
        if state & DONE == 0 && state & WAKER != 0 {
            let is_known = head.join.with(|known| {
                // SAFETY: while `WAKER` is set nobody writes it (P3).
                unsafe { (*known).as_ref().is_some_and(|known| known.will_wake(waker)) }
            });
            if is_known {
                return Poll::Pending;
            }
            // ORDERING: Acquire as above; if `DONE` came first the waker stays frozen.
            state = head.state.fetch_and(!WAKER, Ordering::AcqRel);
        }
        if state & DONE == 0 {
            let waker = waker.clone();
            // SAFETY: neither `WAKER` nor, when it was cleared or never set, `DONE` (P3): the other side does not look.
            let old = head.join.with_mut(|known| unsafe { (*known).replace(waker) });
            // ORDERING: Release publishes the waker; Acquire as above.
            state = head.state.fetch_or(WAKER, Ordering::AcqRel);
            drop(old);
        }
        if state & DONE == 0 {
            return Poll::Pending;
        }
        self.own_mut(|own| own.is_taken = true);
        let head = self.head();
        // SAFETY: after `DONE` it is ours, and is given out once: see `is_taken` (P2). The pointer is the whole cell's.
        Poll::Ready(head.guard.with_mut(|_| unsafe {
            self.head.byte_add(head.ops.result).cast::<Result<T, JoinError>>().read()
        }))
    }

    /// Asks for the end of the task; see the table of states. False if it has a result, or was asked before.
    pub(in crate::pool) fn cancel(&self) -> bool {
        let head = self.head();
        // ORDERING: AcqRel: the claim, if it is ours, lets us touch the future, which whoever made this handle ours has
        // published to us; a late Acquire costs nothing here.
        let mut state = head.state.load(Ordering::Acquire);
        loop {
            if state & (DONE | CANCEL) != 0 {
                return false;
            }
            let next = state | CANCEL | CLAIMED;
            match head.state.compare_exchange(state, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        if state & CLAIMED != 0 {
            if state & NUDGE != 0 {
                // SAFETY: written before `NUDGE`, and the cell is alive until this side leaves (P4, P6).
                unsafe { self.head.byte_add(head.ops.nudge).cast::<Nudge>().as_ref() }.wake();
            }
            return true;
        }
        self.count_withdrawal();
        // ORDERING: Release pairs with the Acquire in `Joined::claim`.
        head.state.fetch_or(WITHDRAWN, Ordering::Release);
        // SAFETY: the claim is ours (P1).
        let dropped = catch_unwind(AssertUnwindSafe(|| unsafe { (head.ops.drop_future)(self.head) }));
        // SAFETY: the claim is ours, and we are before `DONE` (P2).
        unsafe { store::<T>(self.head, Err(JoinError::cancelled(None))) };
        // ORDERING: Release publishes the result.
        if head.state.fetch_or(DONE, Ordering::AcqRel) & WAKER != 0 {
            // SAFETY: set when `DONE` was; this side has not left.
            unsafe { head.wake() };
        }
        // A future that panics when dropped is the caller's own affair, as it would be anywhere else.
        if let Err(payload) = dropped {
            std::panic::resume_unwind(payload);
        }
        true
    }
}

impl<T> Drop for Joint<T> {
    #[inline]
    fn drop(&mut self) {
        let taken = self.own(|own| own.is_taken);
        let delayed = self.take_delayed();
        let head = self.head();
        // ORDERING: Acquire pairs with the Release of `JOB_GONE`: the job's last touch comes before the free.
        let mut state = head.state.load(Ordering::Acquire);
        if state & JOB_GONE == 0 {
            let bits = if taken { JOINT_GONE | TAKEN } else { JOINT_GONE };
            // ORDERING: Release hands our touches of the cell to the job, which then frees it.
            state = head.state.fetch_or(bits, Ordering::AcqRel);
        }
        if state & JOB_GONE != 0 {
            // SAFETY: the other side has left (P4).
            unsafe { (head.ops.free)(self.head, taken) };
        }
        // Last: the pool may go with it.
        drop(delayed);
    }
}
