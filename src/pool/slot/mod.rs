//! What the queue carries: a future whose type is forgotten, and the cell it shares with its handle. All pointer code
//! of the pool is in this room.
//!
//! A [`Job`] owns one future. A small one lives inside the job and is moved with it until a worker polls it for the
//! first time; a large one has a place of its own. A future with a [`Joint`] (the handle's side) lives in a [cell] that both share:
//! one place for future, result, waker and state. Places are recycled, see [stock]. The invariants P1 to P5 that the `SAFETY` comments name are in [cell].

mod cell;
mod freight;
mod joint;
mod magazine;
mod stock;

pub(super) use cell::{joined, submit_joined};
pub(super) use joint::Joint;

use self::freight::Freight;
use self::stock::{Placed, place};
use super::error::JoinError;
use super::extras::Extras;
use super::handle::TaskId;
use crate::panics::contain;
use crate::shim::AtomicU64;
use crate::sync::ring::{Popped, PushError};
use std::future::Future;
use std::marker::{PhantomData, PhantomPinned};
use std::mem::{ManuallyDrop, MaybeUninit, align_of, size_of};
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

/// Words of a future that fit into a job: with the queue's own word a cell of the queue is then 128 bytes, two lines.
const INLINE: usize = 13;

type Data = [MaybeUninit<usize>; INLINE];

/// The words of a small future: they are on the first line of a cell of the queue, and alone are moved.
const PART: usize = 5;

type Part = [MaybeUninit<usize>; PART];
type Rest = [MaybeUninit<usize>; INLINE - PART];

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
#[repr(C)]
pub(super) struct Job {
    ops: &'static Ops,
    /// What else there is to it.
    freight: Freight,
    data: Data,
    _pinned: PhantomPinned,
}

// SAFETY: every constructor asks for a future that is `Send`; results cross by their own bound.
unsafe impl Send for Job {}

/// What can be done with a future whose type is forgotten. Each takes the job of the type it was made for.
struct Ops {
    /// Whether the job may be moved: the future was not polled, or is elsewhere.
    movable: bool,
    /// Whether the data is more than a [`Part`].
    wide: bool,
    /// Claims the future for the job, as its first poll would. False if it was withdrawn before.
    begin: unsafe fn(NonNull<Job>) -> bool,
    /// Makes the waker known to the handle, for a cancellation. False if that has been asked for already. `None` if the
    /// future is inside the job, which thus cannot be moved any more.
    park: Option<unsafe fn(NonNull<Job>, &Waker) -> bool>,
    poll: unsafe fn(NonNull<Job>, &mut Context<'_>) -> Poll<Step>,
    /// Drops the future unless that was done. Says `Withdrawn` if there was none any more.
    discard: unsafe fn(NonNull<Job>) -> Option<Step>,
    /// Tells the handle how it ended: by a result (`None`) or not.
    /// The error is boxed, so that the way of every task does not move it along.
    resolve: unsafe fn(NonNull<Job>, Option<Box<JoinError>>),
}

/// A job that is over.
static EMPTY: Ops = Ops {
    movable: true,
    wide: true,
    begin: |_| false,
    park: None,
    poll: |_, _| Poll::Ready(Step::Withdrawn),
    discard: |_| None,
    resolve: |_, _| {},
};

/// Where jobs go.
pub(super) trait Door {
    /// Adds a job and sees to it that somebody runs it; `job` is called if, and only if, that succeeds.
    fn push_with<F: FnOnce() -> Job>(&self, job: F) -> Result<TaskId, PushError<F>>;

    /// The counter of tasks cancelled in the queue, which outlives the jobs behind this door (P5).
    fn withdrawn(&self) -> NonNull<AtomicU64>;
}

/// Submits a task that nobody waits for. It is taken if, and only if, it is accepted.
#[inline]
pub(super) fn submit<F>(
    pool: &impl Door,
    future: &mut Option<F>,
    extras: Option<Box<Extras>>,
) -> Result<TaskId, PushError<()>>
where
    F: Future<Output = ()> + Send + 'static,
{
    if !const { fits::<F>() } {
        return submit_placed(pool, future, extras);
    }
    // It goes from where it is into its cell of the queue: a small task costs hardly more than it is moved.
    let pushed = pool.push_with(|| match future.take() {
        // SAFETY: it fits.
        Some(future) => unsafe { Inline::job(future, extras) },
        // It is there.
        None => Job::empty(),
    });
    pushed.map_err(PushError::bare)
}

/// A task that nobody waits for, as a job to be queued.
#[inline(always)]
pub(super) fn detached<F>(future: F, extras: Option<Box<Extras>>) -> Job
where
    F: Future<Output = ()> + Send + 'static,
{
    if const { fits::<F>() } {
        // SAFETY: as it says.
        unsafe { Inline::job(future, extras) }
    } else {
        Apart::job(place(future), extras)
    }
}

/// As [`submit`], for a future that is too large for the job, or is to be put back into the queue after it was polled.
pub(super) fn submit_placed<F>(
    pool: &impl Door,
    future: &mut Option<F>,
    extras: Option<Box<Extras>>,
) -> Result<TaskId, PushError<()>>
where
    F: Future<Output = ()> + Send + 'static,
{
    // It is there.
    let Some(taken) = future.take() else { return Err(PushError::Closed(())) };
    let unsent = Unsent { placed: place(taken), from: future };
    let pushed = pool.push_with(|| Apart::job(unsent.send(), extras));
    pushed.map_err(PushError::bare)
}

/// A future that was put into a place of its own, and goes back where it was taken from unless a job is made of it: also if the push
/// panics, as clocks are foreign code.
struct Unsent<'a, F> {
    placed: NonNull<F>,
    from: &'a mut Option<F>,
}

impl<F> Unsent<'_, F> {
    /// For the job.
    #[inline(always)]
    fn send(self) -> NonNull<F> {
        ManuallyDrop::new(self).placed
    }
}

impl<F> Drop for Unsent<'_, F> {
    #[cold]
    fn drop(&mut self) {
        // SAFETY: the place is nobody else's until a job is made of it, which forgets this; and once.
        *self.from = Some(unsafe { Placed::from_raw(self.placed) }.into_inner());
    }
}

impl Job {
    /// The place of a job, with none in it.
    pub(super) fn empty() -> Self {
        Self {
            ops: &EMPTY,
            freight: Freight::NONE,
            data: [MaybeUninit::uninit(); INLINE],
            _pinned: PhantomPinned,
        }
    }

    /// Puts a job where one was that is over.
    #[inline(always)]
    pub(super) fn refill(self: Pin<&mut Self>, job: Self) {
        debug_assert!(self.is_empty() && self.freight.is_none());
        if self.is_empty() {
            // SAFETY: nothing is pinned in an empty job. It is overwritten, not dropped: that would do nothing.
            unsafe { std::ptr::write(self.get_unchecked_mut(), job) };
        }
    }

    /// As [`refill`](Self::refill), from the queue's own memory: of a small job only the part that is in use.
    #[inline(always)]
    pub(super) fn refill_from(self: Pin<&mut Self>, popped: Popped<'_, Self>) {
        debug_assert!(self.is_empty() && self.freight.is_none());
        if self.is_empty() {
            let from = popped.into_raw();
            // SAFETY: nothing is pinned in an empty job. It is overwritten, not dropped: that would do nothing. What is
            // there now is ours, and its data is no larger than its operations say.
            unsafe {
                let to: *mut Self = self.get_unchecked_mut();
                let ops = (*from).ops;
                (*to).ops = ops;
                (&raw mut (*to).freight).write((&raw const (*from).freight).read());
                let (from, to) =
                    ((&raw const (*from).data).cast::<Part>(), (&raw mut (*to).data).cast::<Part>());
                to.write(from.read());
                if ops.wide {
                    to.add(1).cast::<Rest>().write(from.add(1).cast::<Rest>().read());
                }
            }
        }
    }

    /// What else there was to it, which goes its own way from now on.
    #[inline(always)]
    pub(super) fn take_extras(self: Pin<&mut Self>) -> Option<Box<Extras>> {
        // SAFETY: they are not pinned.
        unsafe { self.get_unchecked_mut() }.freight.take().0
    }

    /// Whether there is more to it than its future.
    #[inline(always)]
    pub(super) fn has_freight(&self) -> bool {
        !self.freight.is_none()
    }

    /// As [`take_extras`](Self::take_extras), with the [time](Self::set_submitted) of its submission; 0 if that was not noted.
    #[inline(always)]
    pub(super) fn take_freight(self: Pin<&mut Self>) -> (Option<Box<Extras>>, u64) {
        // SAFETY: as above.
        unsafe { self.get_unchecked_mut() }.freight.take()
    }

    /// Notes the time of its submission: not 0, and below 2^63.
    pub(super) fn set_submitted(&mut self, submitted: u64) {
        self.freight.set_submitted(submitted);
    }

    /// What else there is to it.
    pub(super) fn extras_mut(&mut self) -> Option<&mut Extras> {
        self.freight.extras_mut()
    }

    /// Gives what else there is to it back to the job.
    pub(super) fn set_extras(&mut self, extras: Option<Box<Extras>>) {
        self.freight = Freight::new(extras);
    }

    /// Takes a job out of its place that was polled: its future is not inside it. `None` if it is, or if the cancellation
    /// of the task has been asked for; if that happens later, `waker` is woken.
    pub(super) fn park(mut self: Pin<&mut Self>, waker: &Waker) -> Option<Self> {
        let park = self.ops.park?;
        // SAFETY: as in `poll`.
        if !unsafe { park(NonNull::from(self.as_mut().get_unchecked_mut()), waker) } {
            return None;
        }
        // SAFETY: what is pinned is elsewhere: this kind of job has nothing but a pointer to it.
        Some(unsafe { std::mem::replace(self.get_unchecked_mut(), Self::empty()) })
    }

    /// Takes a job out of its place that still has its task, which can no longer be withdrawn then. `None` if it was before, or
    /// if the future was polled in that place.
    pub(super) fn lift(mut self: Pin<&mut Self>) -> Option<Self> {
        if !self.ops.movable || !self.as_mut().begin() {
            return None;
        }
        // SAFETY: it may be moved, as its operations say.
        Some(unsafe { std::mem::replace(self.get_unchecked_mut(), Self::empty()) })
    }

    /// Whether there still is a task, or it was withdrawn in the queue. If there is, it can no longer be withdrawn.
    pub(super) fn begin(self: Pin<&mut Self>) -> bool {
        let begin = self.ops.begin;
        // SAFETY: as in `poll`.
        unsafe { begin(NonNull::from(self.get_unchecked_mut())) }
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
    pub(super) fn resolve(self: Pin<&mut Self>, error: Option<Box<JoinError>>) {
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
            contain(|| job.as_mut().discard());
            job.resolve(Some(Box::new(JoinError::dropped())));
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
    /// # Safety
    /// The future [`fits`].
    #[inline(always)]
    unsafe fn job(future: F, extras: Option<Box<Extras>>) -> Job {
        let mut data: Data = [MaybeUninit::uninit(); INLINE];
        // SAFETY: it fits, by the caller, in size and alignment.
        unsafe { data.as_mut_ptr().cast::<F>().write(future) };
        Job { ops: const { &Self::OPS }, freight: Freight::new(extras), data, _pinned: PhantomPinned }
    }

    // SAFETY of each: called for a job of this type only (`Ops`). The job is made empty before the future is dropped, so
    // that a drop that panics is not repeated.
    const OPS: Ops = Ops { movable: true, ..Self::POLLED };

    /// After the first poll, which may have panicked.
    const POLLED: Ops = Ops {
        movable: false,
        wide: size_of::<F>() > size_of::<Part>(),
        begin: |_| true,
        park: None,
        poll: |job, cx| {
            // SAFETY: as said; the job is pinned, so its data is.
            unsafe {
                let future = data::<F>(job);
                (*job.as_ptr()).ops = const { &Self::POLLED };
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
struct Apart<F>(PhantomData<F>);

impl<F: Future<Output = ()> + 'static> Apart<F> {
    /// The job of a future in its place.
    #[inline(always)]
    fn job(placed: NonNull<F>, extras: Option<Box<Extras>>) -> Job {
        let mut data: Data = [MaybeUninit::uninit(); INLINE];
        // SAFETY: a pointer fits.
        unsafe { data.as_mut_ptr().cast::<NonNull<F>>().write(placed) };
        Job { ops: const { &Self::OPS }, freight: Freight::new(extras), data, _pinned: PhantomPinned }
    }

    // SAFETY of each: as for `Inline`; the pointer is that of a place that the job owns.
    const OPS: Ops = Ops {
        movable: true,
        wide: false,
        begin: |_| true,
        park: Some(|_, _| true),
        poll: |job, cx| {
            // SAFETY: as said; a future with a place of its own does not move.
            unsafe {
                let mut future = *data::<NonNull<F>>(job);
                let ready = Pin::new_unchecked(future.as_mut()).poll(cx);
                ready.map(|()| {
                    empty(job);
                    drop(Placed::from_raw(future));
                    Step::Completed
                })
            }
        },
        discard: |job| {
            // SAFETY: as said.
            unsafe {
                empty(job);
                drop(Placed::from_raw(*data::<NonNull<F>>(job)));
            }
            None
        },
        resolve: |_, _| {},
    };
}
