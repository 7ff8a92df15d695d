//! The cell that a job shares with its handle.
//!
//! # States of a cell
//!
//! One word of bits, which are set and, but for `WAKER`, never cleared.
//!
//! | bit | name | set by | meaning |
//! |---|---|---|---|
//! | 0 | `CLAIMED` | the job at its first poll or its end, or a cancellation, whoever is first | the body is the claimant's: the future to poll and drop, then the result |
//! | 1 | `CANCEL` | a cancellation | the future must not be polled again |
//! | 2 | `WITHDRAWN` | a cancellation that claimed | the task ended in the queue; the job is an empty shell |
//! | 3 | `WAKER` | the handle | its waker is in the cell; both sides may read it, nobody may write it |
//! | 4 | `DONE` | the claimant | the result is in the body and is the handle's |
//! | 5 | `JOB_GONE` | the job | the job will not touch the cell again |
//! | 6 | `JOINT_GONE` | the handle | likewise |
//! | 7 | `TAKEN` | the handle, with `JOINT_GONE` | the result has been moved out |
//! | 8 | `NUDGE` | the job, when it is first pending | the worker's waker is in the cell |
//!
//! | from | by | to |
//! |---|---|---|
//! | queued: none | first poll | running: `CLAIMED` |
//! | queued: none | cancel | `CLAIMED CANCEL`, then (counted) `WITHDRAWN`, then (future dropped, result stored) `DONE` |
//! | running | pending | `NUDGE`; a `CANCEL` that came before is seen at that moment. Nothing, if the future has woken its own task: a `CANCEL` is seen at the next poll |
//! | running | cancel | `CANCEL`; with `NUDGE` the worker is woken, and sees it before it polls again |
//! | running | result, panic, `CANCEL` seen, limit, shutdown | `DONE` and `JOB_GONE`, at once if there is no `WAKER` |
//! | any | handle dropped | `JOINT_GONE`, and `TAKEN` if it has the result |
//!
//! # Layout
//!
//! The head, then the body, which holds the future and then, in its place, the result; then what is needed only if the task is
//! pending. A small task has all that it needs on one line of the cache, which crosses to the worker and comes back with the
//! result.
//!
//! # Invariants, named by the `SAFETY` comments
//!
//! * **P1** The body is touched by who set `CLAIMED`, until `DONE`; before that, by nobody. The future is dropped exactly
//!   once, in place, and never moved after its first poll; then the result is written, exactly once.
//! * **P2** The result belongs to the handle after `DONE`. Whoever frees the cell drops it unless it was `TAKEN`.
//! * **P3** The waker is written by the handle only while `WAKER` and `DONE` are both clear.
//! * **P4** A cell is freed by the side that leaves last: the one whose `_GONE` finds the other's. Until then there are no
//!   references to it but to its head and its nudge.
//! * **P5** The counter of withdrawn tasks outlives the job. A withdrawal counts between `CLAIMED` and `WITHDRAWN`, and a
//!   job whose claim fails waits for `WITHDRAWN` before it lets go of anything.
//! * **P6** The nudge is written by the job before `NUDGE`, and is dropped by whoever frees the cell if that is set.
//! * **P7** What is the handle's own is read through `&` and written through `&mut` of it, before it has left; the job does not
//!   look. The home is a delayed task's if, and only if, the handle's own says so.

use super::freight::Freight;
use super::joint::Joint;
use super::stock::{Memory, room};
use super::{Data, Door, INLINE, Job, Ops, Step, data, empty};
use crate::panics::contain;
use crate::pool::error::JoinError;
use crate::pool::extras::Extras;
use crate::pool::handle::{Delayed, TaskId};
use crate::pool::nudge::Nudge;
use crate::shim::{AtomicU32, AtomicU64, Ordering, Spin, UnsafeCell};
use crate::sync::ring::PushError;
use crate::wait::is_overheard;
use std::future::Future;
use std::marker::PhantomPinned;
use std::mem::{ManuallyDrop, MaybeUninit, offset_of, size_of};
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

/// Submits a task whose result its [`Joint`] waits for. It is taken if, and only if, it is accepted.
#[inline]
pub(in crate::pool) fn submit_joined<F>(
    pool: &impl Door,
    future: &mut Option<F>,
    extras: Option<Box<Extras>>,
) -> Result<(Joint<F::Output>, TaskId), PushError<()>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    // It is there.
    let Some(taken) = future.take() else { return Err(PushError::Closed(())) };
    let mut sending = Sending { cell: Cell::of(pool, taken), from: future, is_sent: false };
    let (cell, is_sent) = (sending.cell, &mut sending.is_sent);
    let pushed = pool.push_with(|| {
        *is_sent = true;
        Joined::job(cell, extras)
    });
    let id = pushed.map_err(PushError::bare)?;
    std::mem::forget(sending);
    Ok((Joint::new(cell), id))
}

/// The handle's side of a cell while its job is pushed. Dropped by a refusal, or a panic: of a clock before there is a job, or of a
/// waker after that.
struct Sending<'a, F: Future> {
    cell: NonNull<Cell<F>>,
    from: &'a mut Option<F>,
    is_sent: bool,
}

impl<F: Future> Drop for Sending<'_, F> {
    #[cold]
    fn drop(&mut self) {
        if self.is_sent {
            // This side leaves the cell.
            drop(Joint::new(self.cell));
        } else {
            // SAFETY: no job was made, so that the cell is ours alone; and once.
            *self.from = Some(unsafe { take_back(self.cell) });
        }
    }
}

/// A task whose result its [`Joint`] waits for, as a job to be queued.
#[inline(always)]
pub(in crate::pool) fn joined<F>(
    pool: &impl Door,
    future: F,
    extras: Option<Box<Extras>>,
    handle: impl FnOnce(Joint<F::Output>),
) -> Job
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let cell = Cell::of(pool, future);
    handle(Joint::new(cell));
    Joined::job(cell, extras)
}

/// The future of a cell that nobody else has come to know. Ends the cell.
///
/// # Safety
/// So it is.
#[cold]
unsafe fn take_back<F: Future>(cell: NonNull<Cell<F>>) -> F {
    let _memory = Memory(cell);
    // SAFETY: ours alone, by the caller. The rest of the cell has nothing to drop yet.
    unsafe { ManuallyDrop::take(&mut (*cell.as_ptr()).body.future) }
}

pub(super) const CLAIMED: u32 = 1;
pub(super) const CANCEL: u32 = 1 << 1;
pub(super) const WITHDRAWN: u32 = 1 << 2;
pub(super) const WAKER: u32 = 1 << 3;
pub(super) const DONE: u32 = 1 << 4;
pub(super) const JOB_GONE: u32 = 1 << 5;
pub(super) const JOINT_GONE: u32 = 1 << 6;
pub(super) const TAKEN: u32 = 1 << 7;
pub(super) const NUDGE: u32 = 1 << 8;

/// What both sides share. The head is first, so that the handle, which does not know `F`, can point to it.
#[repr(C)]
pub(super) struct Cell<F: Future> {
    head: Head,
    body: Body<F>,
    nudge: MaybeUninit<Nudge>,
}

pub(super) struct Head {
    pub(super) state: AtomicU32,
    pub(super) own: UnsafeCell<Own>,
    pub(super) ops: &'static CellOps,
    pub(super) home: UnsafeCell<Home>,
    pub(super) join: UnsafeCell<Option<Waker>>,
    /// Stands for the body and the nudge, which are reached by their addresses: so that a checker sees who does.
    pub(super) guard: UnsafeCell<()>,
}

/// What the handle knows. It is here, and a handle so is two words, which are returned in registers.
#[derive(Default)]
pub(super) struct Own {
    /// The result was given out.
    pub(super) is_taken: bool,
    /// The task is to be cancelled with the handle.
    pub(super) is_tied: bool,
    pub(super) is_delayed: bool,
}

/// What the handle needs to withdraw the task.
pub(super) union Home {
    /// Where that is counted.
    pub(super) withdrawn: NonNull<AtomicU64>,
    pub(super) delayed: ManuallyDrop<Box<Delayed>>,
}

/// The future, and then its result.
union Body<F: Future> {
    future: ManuallyDrop<F>,
    result: ManuallyDrop<Result<F::Output, JoinError>>,
}

/// For the side that does not know the future's type.
pub(super) struct CellOps {
    /// Where in the cell the result is.
    pub(super) result: usize,
    /// Where in the cell the worker's waker is.
    pub(super) nudge: usize,
    pub(super) drop_future: unsafe fn(NonNull<Head>),
    /// Also drops the result unless it was taken.
    pub(super) free: unsafe fn(NonNull<Head>, taken: bool),
}

/// A task of a pointer and a number has one line for all that it needs.
#[cfg(not(any(cofferdam_loom, cofferdam_shuttle)))]
const _: () = assert!(offset_of!(Cell<std::future::Ready<u64>>, nudge) <= super::stock::LINE);

impl<F: Future> Cell<F> {
    /// A cell with a future in it. The pool outlives the job (P5).
    #[inline(always)]
    fn of(pool: &impl Door, future: F) -> NonNull<Self> {
        let room = room::<Self>();
        let cell = room.as_ptr();
        // SAFETY: there is room for a cell, which is nobody else's. Its parts are written one by one, because together they
        // would be put together elsewhere first.
        unsafe {
            (&raw mut (*cell).head).write(Head {
                state: AtomicU32::new(0),
                own: UnsafeCell::new(Own::default()),
                ops: const { &Self::OPS },
                home: UnsafeCell::new(Home { withdrawn: pool.withdrawn() }),
                join: UnsafeCell::new(None),
                guard: UnsafeCell::new(()),
            });
            (&raw mut (*cell).body.future).write(ManuallyDrop::new(future));
        }
        room
    }

    const OPS: CellOps = CellOps {
        result: offset_of!(Self, body),
        nudge: offset_of!(Self, nudge),
        drop_future: |head| {
            // SAFETY: the caller has a pointer to a cell of this type, and its claim (P1).
            unsafe { drop_future(head.cast::<Self>()) }
        },
        free: |head, taken| {
            // SAFETY: the caller has a pointer to a cell of this type, and is the last (P4).
            unsafe { free(head.cast::<Self>(), taken) }
        },
    };
}

/// # Safety
/// The claim is the caller's, the future has not been dropped, and this is the only attempt (P1).
#[inline]
unsafe fn drop_future<F: Future>(cell: NonNull<Cell<F>>) {
    // SAFETY: the cell is alive, and the body ours.
    unsafe { head(cell) }
        .guard
        .with_mut(|_| unsafe { ManuallyDrop::drop(&mut (*cell.as_ptr()).body.future) });
}

/// Ends a cell.
///
/// # Safety
/// Both sides have left it (P4), and the result is in it, or was taken out of it.
#[inline]
unsafe fn free<F: Future>(cell: NonNull<Cell<F>>, taken: bool) {
    // Given back also if the drop of the result panics.
    let _memory = Memory(cell);
    let cell = cell.as_ptr();
    // SAFETY: by the caller; each part is dropped once, the nudge if it was ever written (P6).
    unsafe {
        let nudged = (*cell).head.state.load(Ordering::Relaxed) & NUDGE != 0;
        // The executor's code, which must not come between us and the result.
        if let Some(waker) = (*cell).head.join.with_mut(|waker| (*waker).take()) {
            contain(|| drop(waker));
        }
        // Not a field is used after this, but the memory is still ours.
        (&raw mut (*cell).head).drop_in_place();
        if nudged {
            (*cell).nudge.assume_init_drop();
        }
        if !taken {
            ManuallyDrop::drop(&mut (*cell).body.result);
        }
    }
}

/// # Safety
/// The cell is alive for as long as the caller uses its head.
#[inline(always)]
unsafe fn head<'a, F: Future>(cell: NonNull<Cell<F>>) -> &'a Head {
    // SAFETY: alive, by the caller; only the head is referred to, whose parts are shared.
    unsafe { &(*cell.as_ptr()).head }
}

/// Writes the result, in the place of the future, which is gone.
///
/// # Safety
/// `T` is the result of the cell's future; the claim is the caller's, and the handle does not have the result yet (P1, P2).
#[inline]
pub(super) unsafe fn store<T>(cell: NonNull<Head>, result: Result<T, JoinError>) {
    // SAFETY: by the caller.
    unsafe {
        let head = cell.as_ref();
        let place = cell.byte_add(head.ops.result).cast::<Result<T, JoinError>>();
        head.guard.with_mut(|_| place.write(result));
    }
}

impl Head {
    /// Wakes the handle's waker, which `DONE` has frozen.
    ///
    /// # Safety
    /// `WAKER` was set when `DONE` was, and the cell cannot be freed meanwhile.
    pub(super) unsafe fn wake(&self) {
        // SAFETY: nobody writes it now (P3).
        self.join.with(|waker| unsafe {
            if let Some(waker) = &*waker {
                // The executor's code, in our worker's poll.
                contain(|| waker.wake_by_ref());
            }
        });
    }
}

/// A value that is dropped, if it comes to that in a panic, without a second one.
struct Held<T>(ManuallyDrop<T>);

impl<T> Held<T> {
    #[inline(always)]
    fn release(mut self) -> T {
        // SAFETY: once, because nothing drops it any more.
        let value = unsafe { ManuallyDrop::take(&mut self.0) };
        std::mem::forget(self);
        value
    }
}

impl<T> Drop for Held<T> {
    #[cold]
    fn drop(&mut self) {
        // SAFETY: once, here.
        contain(|| unsafe { ManuallyDrop::drop(&mut self.0) });
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
        movable: true,
        wide: false,
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

    /// The job of a new cell.
    #[inline(always)]
    fn job(cell: NonNull<Cell<F>>, extras: Option<Box<Extras>>) -> Job {
        const { assert!(size_of::<Self>() <= size_of::<Data>()) };
        let mut data: Data = [MaybeUninit::uninit(); INLINE];
        // SAFETY: a pointer and a byte fit.
        unsafe { data.as_mut_ptr().cast::<Self>().write(Self { cell, flags: 0 }) };
        Job { ops: const { &Self::OPS }, freight: Freight::new(extras), data, _pinned: PhantomPinned }
    }

    #[inline(always)]
    fn head(&self) -> &Head {
        // SAFETY: alive until this side leaves (P4).
        unsafe { head(self.cell) }
    }

    /// Takes the future for this side, at most once.
    #[inline]
    fn claim(&mut self) -> bool {
        // ORDERING: the two claims are ordered by the word itself. Acquire pairs with the Release of `WITHDRAWN`.
        if self.head().state.fetch_or(CLAIMED, Ordering::AcqRel) & CLAIMED == 0 {
            self.flags |= BEGUN;
            return true;
        }
        let mut spin = Spin::new();
        // ORDERING: as above. The canceller is between two instructions (P5).
        while self.head().state.load(Ordering::Acquire) & WITHDRAWN == 0 {
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
        self.flags & LOST == 0 && self.head().state.load(Ordering::Relaxed) & CANCEL == 0
    }

    #[inline]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        if self.flags & BEGUN == 0 {
            if !self.claim() {
                return Poll::Ready(Step::Withdrawn);
            }
        // Relaxed: a flag with nothing behind it.
        } else if self.head().state.load(Ordering::Relaxed) & CANCEL != 0 {
            return Poll::Ready(Step::Cancelled);
        }
        let body = &self.head().guard;
        // SAFETY: the body is ours (P1), and the future stays there until it is dropped there.
        let polled = body
            .with_mut(|_| unsafe { Pin::new_unchecked(&mut *(*self.cell.as_ptr()).body.future).poll(cx) });
        match polled {
            Poll::Ready(output) => {
                // If the future panics when it is dropped, that is the result.
                let output = Held(ManuallyDrop::new(output));
                self.flags |= GONE;
                // SAFETY: ours, and once: `GONE` says so (P1). Then its place is the result's (P2).
                unsafe {
                    drop_future(self.cell);
                    store(self.cell.cast(), Ok(output.release()));
                }
                Poll::Ready(Step::Completed)
            }
            // It is polled again in any case, and a cancellation is seen then.
            Poll::Pending if is_overheard(cx.waker()) => Poll::Pending,
            Poll::Pending => self.pending(cx.waker()),
        }
    }

    fn pending(&mut self, waker: &Waker) -> Poll<Step> {
        if self.reach(waker) { Poll::Pending } else { Poll::Ready(Step::Cancelled) }
    }

    /// From here on a cancellation wakes `waker`. False if it has been asked for before.
    fn reach(&mut self, waker: &Waker) -> bool {
        // Relaxed: without a handle nobody cancels; a handle that goes now has cancelled before, if at all.
        let mut state = self.head().state.load(Ordering::Relaxed);
        if state & JOINT_GONE == 0 {
            let nudge = self.cell.as_ptr();
            if self.flags & NUDGED == 0 {
                // First, as it is the executor's code: if it panics there is no nudge.
                let fresh = Nudge::with(waker.clone());
                // SAFETY: nobody looks at it before `NUDGE` (P6).
                self.head().guard.with_mut(|_| unsafe { (*nudge).nudge.write(fresh) });
                self.flags |= NUDGED;
                // ORDERING: Release publishes the nudge; Acquire for the same in a cancellation. Either that finds it, or we
                // find its flag.
                state = self.head().state.fetch_or(NUDGE, Ordering::AcqRel);
            } else {
                // Its lock orders this with the cancellation's wake: that finds the waker, or we find its flag below.
                // SAFETY: written before (P6).
                unsafe { (*nudge).nudge.assume_init_ref() }.set(waker);
                // Relaxed: a flag whose setter has been ordered before us by that lock.
                state = self.head().state.load(Ordering::Relaxed);
            }
        }
        state & CANCEL == 0
    }

    fn discard(&mut self) -> Option<Step> {
        if self.flags & BEGUN == 0 {
            self.claim();
        }
        if self.flags & GONE == 0 {
            self.flags |= GONE;
            // SAFETY: ours, and once (P1).
            unsafe { drop_future(self.cell) };
        }
        (self.flags & LOST != 0).then_some(Step::Withdrawn)
    }

    /// The last use of the cell by this side.
    #[inline]
    fn resolve(&mut self, error: Option<Box<JoinError>>) {
        let head = self.head();
        if self.flags & LOST == 0 {
            if let Some(error) = error {
                // SAFETY: we have the claim, the future is gone and left no result, and `DONE` is set below (P1, P2).
                unsafe { store::<F::Output>(self.cell.cast(), Err(*error)) };
            }
            if self.flags & NUDGED != 0 {
                // SAFETY: written before (P6).
                let nudge = unsafe { (*self.cell.as_ptr()).nudge.assume_init_ref() };
                // The executor's code, which must not come between the result and the handle.
                contain(|| drop(nudge.take()));
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
        let state = self.head().state.fetch_or(JOB_GONE, Ordering::AcqRel);
        if state & JOINT_GONE != 0 {
            // A result that nobody took is dropped here, in our worker's poll.
            let cell = self.cell;
            // SAFETY: the other side has left (P4), and the job is over: its result is there.
            contain(|| unsafe { free(cell, state & TAKEN != 0) });
        }
    }
}
