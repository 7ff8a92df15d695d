//! What the queue carries: a future whose type is forgotten, and the cell it shares with its handle. All pointer code
//! of the pool is in this file.
//!
//! A [`Job`] owns one future. A small one lives inside the job and is moved with it until a worker polls it for the
//! first time; a large one is boxed. A future with a [`Joint`] (the handle's side) lives in a [`Cell`] that both share:
//! one allocation for future, result, waker and state.
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

use super::error::JoinError;
use super::handle::TaskId;
use super::nudge::Nudge;
use super::shared::Shared;
use crate::shim::{AtomicU32, AtomicU64, Ordering, Spin, UnsafeCell};
use crate::sync::Context as WorkContext;
use crate::sync::ring::PushError;
use std::future::Future;
use std::marker::{PhantomData, PhantomPinned};
use std::mem::{ManuallyDrop, MaybeUninit, align_of, size_of};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

/// Words of a future that fit into a job: with the queue's own word a cell of the queue is then 128 bytes, two lines.
const INLINE: usize = 13;

type Data = [MaybeUninit<usize>; INLINE];

/// How a poll of a job ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// With a result, which is in the cell, if there is one.
    Completed,
    /// Its cancellation was asked for while it ran.
    Cancelled,
    /// It had been cancelled in the queue, and that is counted.
    Withdrawn,
}

/// A task as the queue carries it. May be moved until it is first polled.
pub(super) struct Job {
    ops: &'static Ops,
    /// The context in which it runs; boxed, since most have none.
    context: Option<Box<WorkContext>>,
    data: Data,
    _pinned: PhantomPinned,
}

// SAFETY: every constructor asks for a future that is `Send`; results cross by their own bound.
unsafe impl Send for Job {}

/// What can be done with a future whose type is forgotten. Each takes the job of the type it was made for.
struct Ops {
    poll: unsafe fn(NonNull<Job>, &mut Context<'_>) -> Poll<Step>,
    /// Drops the future unless that was done. Says `Withdrawn` if there was none any more.
    discard: unsafe fn(NonNull<Job>) -> Option<Step>,
    /// Tells the handle how it ended: by a result (`None`) or not.
    resolve: unsafe fn(NonNull<Job>, Option<JoinError>),
}

/// A job that is over.
static EMPTY: Ops = Ops { poll: |_, _| Poll::Ready(Step::Withdrawn), discard: |_| None, resolve: |_, _| {} };

/// Submits a task that nobody waits for. A task that is not accepted is given back.
#[inline]
pub(super) fn submit<F>(
    pool: &Shared,
    future: F,
    context: Option<Box<WorkContext>>,
) -> Result<TaskId, PushError<F>>
where
    F: Future<Output = ()> + Send + 'static,
{
    if !const { fits::<F>() } {
        return submit_boxed(pool, future, context);
    }
    let future = ManuallyDrop::new(future);
    let pushed = pool.push_with(|| {
        let mut data: Data = [MaybeUninit::uninit(); INLINE];
        // SAFETY: it fits, in size and alignment; and this is called once at most, and then the push succeeds: the
        // future in its old place is not used again.
        unsafe { data.as_mut_ptr().cast::<F>().write(std::ptr::read(&raw const *future)) };
        Job { ops: const { &Inline::<F>::OPS }, context, data, _pinned: PhantomPinned }
    });
    match pushed {
        Ok(id) => Ok(id),
        Err(PushError::Full(_)) => Err(PushError::Full(ManuallyDrop::into_inner(future))),
        Err(PushError::Closed(_)) => Err(PushError::Closed(ManuallyDrop::into_inner(future))),
    }
}

/// As [`submit`], for a future that is too large for the job.
fn submit_boxed<F>(
    pool: &Shared,
    future: F,
    context: Option<Box<WorkContext>>,
) -> Result<TaskId, PushError<F>>
where
    F: Future<Output = ()> + Send + 'static,
{
    let boxed = NonNull::from(Box::leak(Box::new(future)));
    let mut data: Data = [MaybeUninit::uninit(); INLINE];
    // SAFETY: a pointer fits.
    unsafe { data.as_mut_ptr().cast::<NonNull<F>>().write(boxed) };
    let job = Job { ops: const { &Boxed::<F>::OPS }, context, data, _pinned: PhantomPinned };
    match pool.push_with(|| job) {
        Ok(id) => Ok(id),
        // SAFETY, of both: the job is of this type, and was never polled.
        Err(PushError::Full(job)) => Err(PushError::Full(unsafe { Boxed::take(job()) })),
        Err(PushError::Closed(job)) => Err(PushError::Closed(unsafe { Boxed::take(job()) })),
    }
}

/// Submits a task whose result its [`Joint`] waits for. A task that is not accepted is given back.
#[inline]
pub(super) fn submit_joined<F>(
    pool: &Shared,
    future: F,
    context: Option<Box<WorkContext>>,
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
            withdrawn: NonNull::from(&**pool.books.withdrawn),
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
    let job = Job { ops, context, data, _pinned: PhantomPinned };
    match pool.push_with(|| job) {
        Ok(id) => Ok((joint, id)),
        // SAFETY, of both: as in `submit_boxed`; and the joint is here, so nobody can have claimed the future.
        Err(PushError::Full(job)) => Err(PushError::Full(unsafe { Joined::take(job()) })),
        Err(PushError::Closed(job)) => Err(PushError::Closed(unsafe { Joined::take(job()) })),
    }
}

impl Job {
    /// The place of a job, with none in it.
    pub(super) fn empty() -> Self {
        Self { ops: &EMPTY, context: None, data: [MaybeUninit::uninit(); INLINE], _pinned: PhantomPinned }
    }

    /// Puts a job where one was that is over.
    #[inline(always)]
    pub(super) fn refill(self: Pin<&mut Self>, job: Self) {
        debug_assert!(self.is_empty() && self.context.is_none());
        if self.is_empty() {
            // SAFETY: nothing is pinned in an empty job. It is overwritten, not dropped: that would do nothing.
            unsafe { std::ptr::write(self.get_unchecked_mut(), job) };
        }
    }

    /// The context, which goes its own way from now on.
    #[inline(always)]
    pub(super) fn take_context(self: Pin<&mut Self>) -> Option<Box<WorkContext>> {
        // SAFETY: the context is not pinned.
        unsafe { self.get_unchecked_mut() }.context.take()
    }

    /// Whether there is none, or it is over.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        std::ptr::eq(self.ops, &raw const EMPTY)
    }

    /// Polls the future, and drops it if it is ready. May panic as they do.
    #[inline]
    pub(super) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Step> {
        let poll = self.ops.poll;
        // SAFETY: the operation is the job's own; nothing is moved out of the pin.
        unsafe { poll(NonNull::from(self.get_unchecked_mut()), cx) }
    }

    /// Drops the future unless that was done. May panic as its drop does; it is gone all the same.
    #[inline]
    pub(super) fn discard(self: Pin<&mut Self>) -> Option<Step> {
        let discard = self.ops.discard;
        // SAFETY: as in `poll`.
        unsafe { discard(NonNull::from(self.get_unchecked_mut())) }
    }

    /// The last word: wakes the handle with the result (`None`) or what there is in its place. The future must be gone.
    #[inline]
    pub(super) fn resolve(self: Pin<&mut Self>, error: Option<JoinError>) {
        let resolve = self.ops.resolve;
        if !self.is_empty() {
            // SAFETY: as in `poll`.
            unsafe { resolve(NonNull::from(self.get_unchecked_mut()), error) }
        }
    }
}

impl Drop for Job {
    #[inline]
    fn drop(&mut self) {
        if !self.is_empty() {
            // SAFETY: it is being dropped: nothing moves it any more.
            let mut job = unsafe { Pin::new_unchecked(self) };
            let _ = catch_unwind(AssertUnwindSafe(|| job.as_mut().discard()));
            job.resolve(Some(JoinError::dropped()));
        }
    }
}

const fn fits<F>() -> bool {
    size_of::<F>() <= size_of::<Data>() && align_of::<F>() <= align_of::<Data>()
}

/// The data of `job`.
///
/// # Safety
/// The job is alive and nobody else's, and its data is a `T`.
#[inline(always)]
unsafe fn data<T>(job: NonNull<Job>) -> *mut T {
    // SAFETY: alive, by the caller; no reference is made on the way.
    unsafe { (&raw mut (*job.as_ptr()).data).cast() }
}

/// Makes `job` one that is over.
///
/// # Safety
/// The job is alive and nobody else's.
#[inline(always)]
unsafe fn empty(job: NonNull<Job>) {
    // SAFETY: by the caller.
    unsafe { (*job.as_ptr()).ops = &EMPTY };
}

/// A future inside the job.
struct Inline<F>(PhantomData<F>);

impl<F: Future<Output = ()> + 'static> Inline<F> {
    // SAFETY of each: called for a job of this type only (`Ops`). The job is made empty before the future is dropped, so
    // that a drop that panics is not repeated.
    const OPS: Ops = Ops {
        poll: |job, cx| {
            // SAFETY: as said; the job is pinned, so its data is.
            unsafe {
                let future = data::<F>(job);
                let ready = Pin::new_unchecked(&mut *future).poll(cx);
                ready.map(|()| {
                    empty(job);
                    future.drop_in_place();
                    Step::Completed
                })
            }
        },
        discard: |job| {
            // SAFETY: as said.
            unsafe {
                empty(job);
                data::<F>(job).drop_in_place();
            }
            None
        },
        resolve: |_, _| {},
    };
}

/// A future too large for the job.
struct Boxed<F>(PhantomData<F>);

impl<F: Future<Output = ()> + 'static> Boxed<F> {
    // SAFETY of each: as for `Inline`; the pointer is that of a box that the job owns.
    const OPS: Ops = Ops {
        poll: |job, cx| {
            // SAFETY: as said; a boxed future does not move.
            unsafe {
                let future = (*data::<NonNull<F>>(job)).as_ptr();
                let ready = Pin::new_unchecked(&mut *future).poll(cx);
                ready.map(|()| {
                    empty(job);
                    drop(Box::from_raw(future));
                    Step::Completed
                })
            }
        },
        discard: |job| {
            // SAFETY: as said.
            unsafe {
                empty(job);
                drop(Box::from_raw((*data::<NonNull<F>>(job)).as_ptr()));
            }
            None
        },
        resolve: |_, _| {},
    };

    /// # Safety
    /// The job is of this type and was never polled.
    unsafe fn take(mut job: Job) -> F {
        // SAFETY: by the caller; an empty job does not drop it.
        unsafe {
            let job = NonNull::from(&mut job);
            empty(job);
            *Box::from_raw((*data::<NonNull<F>>(job)).as_ptr())
        }
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
        let head = &self.cell().head;
        // Relaxed: without a handle nobody cancels; a handle that goes now has cancelled before, if at all.
        if head.state.load(Ordering::Relaxed) & JOINT_GONE == 0 {
            // Its lock orders this with the cancellation's wake: it finds the waker, or we find its flag below.
            head.run.set(waker);
            self.flags |= NUDGED;
        }
        // ORDERING: Relaxed suffices for a flag whose setter has been ordered before us by that lock.
        if self.cell().head.state.load(Ordering::Relaxed) & CANCEL != 0 {
            return Poll::Ready(Step::Cancelled);
        }
        Poll::Pending
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
pub(super) struct Joint<T> {
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
    pub(super) fn is_done(&self) -> bool {
        self.head().state.load(Ordering::Acquire) & DONE != 0
    }

    /// The result, or the waker goes into the cell. After a result it must not be polled again.
    #[inline]
    pub(super) fn poll(&mut self, waker: &Waker) -> Poll<Option<Result<T, JoinError>>> {
        let head = self.head();
        // ORDERING: Acquire pairs with the Release of `DONE`: the result.
        let mut state = head.state.load(Ordering::Acquire);
        if state & DONE == 0 && state & WAKER != 0 {
            // SAFETY: while `WAKER` is set nobody writes it (P3).
            if head
                .join
                .with(|known| unsafe { (*known).as_ref().is_some_and(|known| known.will_wake(waker)) })
            {
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
    pub(super) fn cancel(&self) -> bool {
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
