//! The cell that a job shares with its handle.
//!
//! # States of a cell
//!
//! One word of bits, which are set and, but for `WAKER`, never cleared.
//!
//! | bit | name | set by | meaning |
//! |---|---|---|---|
//! | 0 | `CLAIMED` | the job at its first poll or its end, or a cancellation, whoever is first | the future is the claimant's to poll and drop |
//! | 1 | `CANCEL` | a cancellation | the future must not be polled again |
//! | 2 | `WITHDRAWN` | a cancellation that claimed | the task ended in the queue; the job is an empty shell |
//! | 3 | `WAKER` | the handle | its waker is in the cell; both sides may read it, nobody may write it |
//! | 4 | `DONE` | the claimant | the result is in the cell and is the handle's |
//! | 5 | `JOB_GONE` | the job | the job will not touch the cell again |
//! | 6 | `JOINT_GONE` | the handle | likewise |
//!
//! | from | by | to |
//! |---|---|---|
//! | queued: none | first poll | running: `CLAIMED` |
//! | queued: none | cancel | `CLAIMED CANCEL`, then (counted) `WITHDRAWN`, then (future dropped, result stored) `DONE` |
//! | running | cancel | `CANCEL`; the worker is woken and sees it before it polls again |
//! | running | result, panic, `CANCEL` seen, limit, shutdown | `DONE` and `JOB_GONE`, at once if there is no `WAKER` |
//! | any | handle dropped | `JOINT_GONE` |
//!
//! # Invariants, named by the `SAFETY` comments
//!
//! * **P1** The future in a cell is touched only by who set `CLAIMED`; before that, by nobody. It is dropped exactly
//!   once, in place, and never moved after its first poll.
//! * **P2** The result is written by the claimant before `DONE` and belongs to the handle after it; to whoever frees
//!   the cell, if the handle did not take it.
//! * **P3** The waker is written by the handle only while `WAKER` and `DONE` are both clear.
//! * **P4** A cell is freed by the side that leaves last: the one whose `_GONE` finds the other's.
//! * **P5** The counter of withdrawn tasks outlives the job. A withdrawal counts between `CLAIMED` and `WITHDRAWN`, and a
//!   job whose claim fails waits for `WITHDRAWN` before it lets go of anything.

use super::{Data, Door, INLINE, Job, Ops, Step, data, empty};
use crate::pool::error::JoinError;
use crate::pool::extras::Extras;
use crate::pool::handle::TaskId;
use crate::pool::nudge::Nudge;
use crate::shim::{AtomicU32, AtomicU64, Ordering, Spin, UnsafeCell};
use crate::sync::ring::PushError;
use std::future::Future;
use std::marker::{PhantomData, PhantomPinned};
use std::mem::{ManuallyDrop, MaybeUninit, size_of};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

/// Submits a task whose result its [`Joint`] waits for. A task that is not accepted is given back.
#[inline]
pub(in crate::pool) fn submit_joined<F>(
    pool: &impl Door,
    future: F,
    extras: Option<Box<Extras>>,
) -> Result<(Joint<F::Output>, TaskId), PushError<F>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let cell = NonNull::from(Box::leak(Box::new(Cell::<F> {
        head: Head {
            state: AtomicU32::new(0),
            ops: const { &Cell::<F>::OPS },
            // The pool outlives its jobs (P5).
            withdrawn: pool.withdrawn(),
            join: UnsafeCell::new(None),
            result: UnsafeCell::new(None),
            run: Nudge::new(),
        },
        future: UnsafeCell::new(ManuallyDrop::new(future)),
    })));
    let mut data: Data = [MaybeUninit::uninit(); INLINE];
    const { assert!(size_of::<Joined<F>>() <= size_of::<Data>()) };
    // SAFETY: a pointer and a byte fit.
    unsafe { data.as_mut_ptr().cast::<Joined<F>>().write(Joined { cell, flags: 0 }) };
    let joint = Joint { head: cell.cast(), _result: PhantomData };
    let ops = const { &Joined::<F>::OPS };
    let job = Job { ops, extras, data, _pinned: PhantomPinned };
    match pool.push_with(|| job) {
        Ok(id) => Ok((joint, id)),
        // SAFETY: the job is of this type and was never polled; and the joint is here, so nobody has claimed the future.
        Err(PushError::Full(job)) => Err(PushError::Full(unsafe { Joined::take(job()) })),
        // SAFETY: as said above.
        Err(PushError::Closed(job)) => Err(PushError::Closed(unsafe { Joined::take(job()) })),
    }
}

const CLAIMED: u32 = 1;
const CANCEL: u32 = 1 << 1;
const WITHDRAWN: u32 = 1 << 2;
const WAKER: u32 = 1 << 3;
const DONE: u32 = 1 << 4;
const JOB_GONE: u32 = 1 << 5;
const JOINT_GONE: u32 = 1 << 6;

/// What both sides share. The head is first, so that the handle, which does not know `F`, can point to it.
#[repr(C)]
struct Cell<F: Future> {
    head: Head<F::Output>,
    future: UnsafeCell<ManuallyDrop<F>>,
}

struct Head<T> {
    state: AtomicU32,
    ops: &'static CellOps,
    withdrawn: NonNull<AtomicU64>,
    join: UnsafeCell<Option<Waker>>,
    result: UnsafeCell<Option<Result<T, JoinError>>>,
    /// Wakes the worker that has the task, for a cancellation.
    run: Nudge,
}

/// For the side that does not know the future's type.
struct CellOps {
    drop_future: unsafe fn(NonNull<()>),
    free: unsafe fn(NonNull<()>),
}

/// Small cells come from the allocator's quick lists, which end at some 120 bytes.
#[cfg(not(any(cofferdam_loom, cofferdam_shuttle)))]
const _: () = assert!(size_of::<Cell<std::future::Ready<u64>>>() <= 104);

impl<F: Future> Cell<F> {
    const OPS: CellOps = CellOps {
        drop_future: |cell| {
            // SAFETY: the caller has a pointer to a cell of this type and its claim (P1).
            unsafe { Self::drop_future(cell.cast::<Self>().as_ref()) }
        },
        // SAFETY: the caller has a pointer to a leaked box of this type and is the last (P4).
        free: |cell| unsafe { drop(Box::from_raw(cell.cast::<Self>().as_ptr())) },
    };

    /// # Safety
    /// The claim is the caller's (P1), and this is the only call.
    unsafe fn drop_future(&self) {
        // SAFETY: by the caller.
        self.future.with_mut(|future| unsafe { ManuallyDrop::drop(&mut *future) });
    }
}

impl<T> Head<T> {
    /// Gives the result to the handle.
    ///
    /// # Safety
    /// The claim is the caller's, and the handle does not have the result yet (P2).
    unsafe fn store(&self, result: Result<T, JoinError>) {
        // SAFETY: by the caller.
        let old = self.result.with_mut(|cell| unsafe { (*cell).replace(result) });
        if old.is_some() {
            // A result whose future panicked when it was dropped.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(old)));
        }
    }

    /// Wakes the handle's waker, which `DONE` has frozen.
    ///
    /// # Safety
    /// `WAKER` was set when `DONE` was, and the cell cannot be freed meanwhile.
    unsafe fn wake(&self) {
        // SAFETY: nobody writes it now (P3).
        self.join.with(|waker| unsafe {
            if let Some(waker) = &*waker {
                // The executor's code, in our worker's poll.
                let _ = catch_unwind(AssertUnwindSafe(|| waker.wake_by_ref()));
            }
        });
    }
}

/// The future has been polled, or ended; the claim is the job's.
const BEGUN: u8 = 1;
/// The future is gone.
const GONE: u8 = 1 << 1;
/// The claim was lost to a cancellation.
const LOST: u8 = 1 << 2;
/// The worker's waker is in the cell.
const NUDGED: u8 = 1 << 3;

/// The data of a job whose future lives in a cell.
struct Joined<F: Future> {
    cell: NonNull<Cell<F>>,
    flags: u8,
}

impl<F> Joined<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    // SAFETY of each: called for a job of this type only (`Ops`); the job has not left its cell.
    const OPS: Ops = Ops {
        // SAFETY: as said.
        begin: |job| unsafe { (*data::<Self>(job)).begin() },
        // SAFETY: as said.
        park: Some(|job, waker| unsafe { (*data::<Self>(job)).reach(waker) }),
        // SAFETY: as said.
        poll: |job, cx| unsafe { (*data::<Self>(job)).poll(cx) },
        // SAFETY: as said.
        discard: |job| unsafe { (*data::<Self>(job)).discard() },
        resolve: |job, error| {
            // SAFETY: as said; the job leaves its cell, so it must not be used again.
            unsafe {
                empty(job);
                (*data::<Self>(job)).resolve(error);
            }
        },
    };

    /// # Safety
    /// The job is of this type and was never polled, and nobody else can have claimed its future.
    unsafe fn take(mut job: Job) -> F {
        // SAFETY: by the caller, also that the claim is ours (P1). The joint stays behind and frees the cell, or we do.
        unsafe {
            let job = NonNull::from(&mut job);
            empty(job);
            let joined = &mut *data::<Self>(job);
            joined.claim();
            let future = joined.cell().future.with_mut(|future| ManuallyDrop::take(&mut *future));
            joined.flags |= GONE;
            joined.resolve(Some(JoinError::dropped()));
            future
        }
    }

    fn cell(&self) -> &Cell<F> {
        // SAFETY: alive until this side leaves (P4).
        unsafe { self.cell.as_ref() }
    }

    /// Takes the future for this side, at most once.
    #[inline]
    fn claim(&mut self) -> bool {
        // ORDERING: the two claims are ordered by the word itself. Acquire pairs with the Release of `WITHDRAWN`.
        if self.cell().head.state.fetch_or(CLAIMED, Ordering::AcqRel) & CLAIMED == 0 {
            self.flags |= BEGUN;
            return true;
        }
        let mut spin = Spin::new();
        // ORDERING: as above. The canceller is between two instructions (P5).
        while self.cell().head.state.load(Ordering::Acquire) & WITHDRAWN == 0 {
            spin.blocked();
        }
        self.flags |= BEGUN | GONE | LOST;
        false
    }

    fn begin(&mut self) -> bool {
        if self.flags & BEGUN == 0 {
            return self.claim();
        }
        // Relaxed: a flag with nothing behind it.
        self.flags & LOST == 0 && self.cell().head.state.load(Ordering::Relaxed) & CANCEL == 0
    }

    #[inline]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        if self.flags & BEGUN == 0 {
            if !self.claim() {
                return Poll::Ready(Step::Withdrawn);
            }
        // Relaxed: a flag with nothing behind it.
        } else if self.cell().head.state.load(Ordering::Relaxed) & CANCEL != 0 {
            return Poll::Ready(Step::Cancelled);
        }
        // SAFETY: ours (P1), and it stays in the cell until it is dropped there.
        let polled =
            self.cell().future.with_mut(|future| unsafe { Pin::new_unchecked(&mut **future).poll(cx) });
        match polled {
            Poll::Ready(output) => {
                // SAFETY: we have the claim (P2).
                unsafe { self.cell().head.store(Ok(output)) };
                self.flags |= GONE;
                // SAFETY: ours, and once: `GONE` says so (P1).
                unsafe { self.cell().drop_future() };
                Poll::Ready(Step::Completed)
            }
            Poll::Pending => self.pending(cx.waker()),
        }
    }

    fn pending(&mut self, waker: &Waker) -> Poll<Step> {
        if self.reach(waker) { Poll::Pending } else { Poll::Ready(Step::Cancelled) }
    }

    /// From here on a cancellation wakes `waker`. False if it has been asked for before.
    fn reach(&mut self, waker: &Waker) -> bool {
        let head = &self.cell().head;
        // Relaxed: without a handle nobody cancels; a handle that goes now has cancelled before, if at all.
        if head.state.load(Ordering::Relaxed) & JOINT_GONE == 0 {
            // Its lock orders this with the cancellation's wake: it finds the waker, or we find its flag below.
            head.run.set(waker);
            self.flags |= NUDGED;
        }
        // ORDERING: Relaxed suffices for a flag whose setter has been ordered before us by that lock.
        self.cell().head.state.load(Ordering::Relaxed) & CANCEL == 0
    }

    fn discard(&mut self) -> Option<Step> {
        if self.flags & BEGUN == 0 {
            self.claim();
        }
        if self.flags & GONE == 0 {
            self.flags |= GONE;
            // SAFETY: ours, and once (P1).
            unsafe { self.cell().drop_future() };
        }
        (self.flags & LOST != 0).then_some(Step::Withdrawn)
    }

    /// The last use of the cell by this side.
    #[inline]
    fn resolve(&mut self, error: Option<JoinError>) {
        let head = &self.cell().head;
        if self.flags & LOST == 0 {
            if let Some(error) = error {
                // SAFETY: we have the claim, and `DONE` is set below (P2).
                unsafe { head.store(Err(error)) };
            }
            if self.flags & NUDGED != 0 {
                drop(head.run.take());
            }
            // ORDERING: Acquire, here and below, pairs with the Release of the handle's bits: its waker and its leaving.
            let mut state = head.state.load(Ordering::Acquire);
            while state & (WAKER | JOINT_GONE) == 0 {
                // ORDERING: Release publishes the result to the handle, which reads `DONE` with Acquire.
                match head.state.compare_exchange(
                    state,
                    state | DONE | JOB_GONE,
                    Ordering::Release,
                    Ordering::Acquire,
                ) {
                    // The handle may have freed the cell by now.
                    Ok(_) => return,
                    Err(now) => state = now,
                }
            }
            if state & JOINT_GONE == 0 {
                // ORDERING: as above. Without `JOB_GONE` the handle leaves the cell to us.
                state = head.state.fetch_or(DONE, Ordering::AcqRel);
                if state & WAKER != 0 && state & JOINT_GONE == 0 {
                    // SAFETY: set together, and not freed without us (P4).
                    unsafe { head.wake() };
                }
            }
        }
        // ORDERING: Release hands our touches of the cell to the handle if that frees it, Acquire takes over its.
        if self.cell().head.state.fetch_or(JOB_GONE, Ordering::AcqRel) & JOINT_GONE != 0 {
            // A result that nobody took is dropped here, in our worker's poll.
            let cell = self.cell;
            // SAFETY: the other side has left (P4), and the job is over.
            let _ = catch_unwind(AssertUnwindSafe(|| unsafe { drop(Box::from_raw(cell.as_ptr())) }));
        }
    }
}

/// The handle's side of a cell.
pub(in crate::pool) struct Joint<T> {
    head: NonNull<Head<T>>,
    _result: PhantomData<T>,
}

// SAFETY: what it reaches are the waker, the result and, to drop it, the future, all of which may move between threads.
unsafe impl<T: Send> Send for Joint<T> {}
// SAFETY: through `&self` it only cancels, which is decided by one read-modify-write; result and waker need `&mut`.
unsafe impl<T: Send> Sync for Joint<T> {}

impl<T> Joint<T> {
    fn head(&self) -> &Head<T> {
        // SAFETY: alive until this side leaves (P4).
        unsafe { self.head.as_ref() }
    }

    /// Whether the result is there.
    pub(in crate::pool) fn is_done(&self) -> bool {
        self.head().state.load(Ordering::Acquire) & DONE != 0
    }

    /// The result, or the waker goes into the cell. After a result it must not be polled again.
    #[inline]
    pub(in crate::pool) fn poll(&mut self, waker: &Waker) -> Poll<Option<Result<T, JoinError>>> {
        let head = self.head();
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
        // SAFETY: after `DONE` it is ours (P2).
        Poll::Ready(self.head().result.with_mut(|result| unsafe { (*result).take() }))
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
            head.run.wake();
            return true;
        }
        // SAFETY: the job is in the queue until it sees `WITHDRAWN`, so the counter is alive (P5).
        // Relaxed: published by the Release below, for the job, and by `DONE`, for us.
        unsafe { head.withdrawn.as_ref() }.fetch_add(1, Ordering::Relaxed);
        // ORDERING: Release pairs with the Acquire in `Joined::claim`.
        head.state.fetch_or(WITHDRAWN, Ordering::Release);
        // SAFETY: the claim is ours (P1).
        let dropped = catch_unwind(AssertUnwindSafe(|| unsafe { (head.ops.drop_future)(self.head.cast()) }));
        // SAFETY: the claim is ours, and we are before `DONE` (P2).
        unsafe { head.store(Err(JoinError::cancelled(None))) };
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
        let head = self.head();
        // ORDERING: Acquire pairs with the Release of `JOB_GONE`: the job's last touch comes before the free.
        let mut state = head.state.load(Ordering::Acquire);
        if state & JOB_GONE == 0 {
            // ORDERING: Release hands our touches of the cell to the job, which then frees it.
            state = head.state.fetch_or(JOINT_GONE, Ordering::AcqRel);
        }
        if state & JOB_GONE != 0 {
            // SAFETY: the other side has left (P4).
            unsafe { (head.ops.free)(self.head.cast()) };
        }
    }
}
