//! Handing tasks in.

#![forbid(unsafe_code)]

mod careful;
mod limit;
mod turn;

use super::error::{Refusal, SubmitError};
use super::handle::{Delayed, JoinHandle, TaskId};
use super::managed::Terms;
use super::room::Invitation;
use super::shared::Shared;
use super::slot::{self, Door, Job};
use crate::shim::{Arc, AtomicU64};
use crate::sync::ring::PushError;
use crate::task::block_on;
use crate::wait::{Aside, Slot};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// A submitted task has a [`JoinHandle`].
#[derive(Debug)]
pub struct Joined(());

/// A submitted task has no handle, and no memory of its own unless its future is large.
#[derive(Debug)]
pub struct Detached(());

/// What the submitter of an `F` gets: [`Joined`] or [`Detached`]. Not to be implemented elsewhere.
pub trait Mode<F>: sealed::Pack<F> {}

impl<F, M: sealed::Pack<F>> Mode<F> for M {}

/// A task is submitted as the pool has it.
#[derive(Clone, Copy, Debug)]
pub struct Plain(pub(super) ());

/// A task is submitted with options of its own; see [`WorkerPool::task`](super::WorkerPool::task).
#[derive(Clone)]
pub struct Arranged {
    pub(super) terms: Terms,
    pub(super) fault: Option<Fault>,
    /// As an instant: the end of the wait for room.
    pub(super) expires: Option<Instant>,
    /// The pool, if the task is to wait for its time.
    pub(super) pool: Option<Arc<Shared>>,
}

impl fmt::Debug for Arranged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arranged")
            .field("terms", &self.terms)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}

/// How a task is submitted: [`Plain`] or [`Arranged`]. Not to be implemented elsewhere.
pub trait Way: sealed::Arrange {}

impl<T: sealed::Arrange> Way for T {}

/// What the pool cannot do.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    Unmanaged,
    NoSuchQueue(Box<str>),
    Expired,
}

mod sealed {
    use super::{Job, Shared, TaskId, Terms};
    use std::time::Instant;

    /// What may be named in the signature of a public trait.
    #[derive(Debug)]
    pub enum Refused {
        Full,
        Closed,
    }

    #[allow(missing_debug_implementations, reason = "not nameable outside")]
    pub struct Intake<'a, T>(pub(in crate::pool) &'a Shared, pub(in crate::pool) &'a T);

    /// As above.
    #[allow(missing_debug_implementations, reason = "not nameable outside")]
    pub struct Prepared(pub(in crate::pool) Job);

    pub trait Arrange {
        /// The number of the queue.
        fn lane(&self) -> u16;
        /// `None` for the pool's own.
        fn terms(&self) -> Option<&Terms>;
        /// When the wait for room is in vain.
        fn expires(&self) -> Option<Instant>;
        /// What the handle of a delayed task has to know.
        fn delay(&self) -> Option<Delay>;
        /// Why the pool cannot take it in.
        fn refusal(&self, intake: Intake<'_, ()>) -> Option<Because>;
    }

    /// As above.
    #[allow(missing_debug_implementations, reason = "not nameable outside")]
    pub struct Delay(pub(super) super::Delayed);

    /// As above.
    #[derive(Debug)]
    pub struct Because(pub(super) super::Refusal);

    pub trait Pack<F> {
        type Accepted;

        /// One attempt, past those in line. The future, which must be there, is taken if, and only if, it is accepted.
        fn offer<T: Arrange>(
            intake: Intake<'_, T>,
            future: &mut Option<F>,
        ) -> Result<Self::Accepted, Refused>;
    }

    /// Tasks that can be taken in several at a time.
    pub trait PackMany<F>: Pack<F> {
        /// A job that is taken in for certain. What its submitter gets, once it has its [`number`](Self::number), goes to
        /// `accepted`.
        fn prepare(
            intake: Intake<'_, super::Plain>,
            future: F,
            accepted: impl FnOnce(Self::Accepted),
        ) -> Prepared;

        fn number(accepted: &mut Self::Accepted, id: TaskId);
    }
}

use limit::Limit;
use sealed::{Arrange, Because, Delay};
pub(super) use sealed::{Intake, PackMany, Prepared, Refused};
pub(super) use turn::turn;

impl Arrange for Plain {
    #[inline(always)]
    fn lane(&self) -> u16 {
        0
    }

    #[inline(always)]
    fn terms(&self) -> Option<&Terms> {
        None
    }

    #[inline(always)]
    fn expires(&self) -> Option<Instant> {
        None
    }

    #[inline(always)]
    fn delay(&self) -> Option<Delay> {
        None
    }

    #[inline(always)]
    fn refusal(&self, _intake: Intake<'_, ()>) -> Option<Because> {
        None
    }
}

impl Arranged {
    /// On these terms, which the pool is known to keep.
    pub(super) fn on(terms: Terms) -> Self {
        Self { terms, fault: None, expires: None, pool: None }
    }
}

impl Arrange for Arranged {
    fn lane(&self) -> u16 {
        self.terms.lane
    }

    fn terms(&self) -> Option<&Terms> {
        Some(&self.terms)
    }

    fn expires(&self) -> Option<Instant> {
        self.expires
    }

    fn delay(&self) -> Option<Delay> {
        let pool = Arc::clone(self.pool.as_ref()?);
        Some(Delay(Delayed { pool, due: self.terms.due }))
    }

    fn refusal(&self, Intake(shared, ()): Intake<'_, ()>) -> Option<Because> {
        let now = || shared.backlog.managed().map_or(0, |managed| managed.epoch().nanos());
        Some(Because(match &self.fault {
            Some(Fault::Unmanaged) => Refusal::Unmanaged,
            Some(Fault::NoSuchQueue(name)) => Refusal::NoSuchQueue(name.clone()),
            Some(Fault::Expired) => Refusal::Expired,
            None if self.terms.expires != u64::MAX && self.terms.expires <= now() => Refusal::Expired,
            None => return None,
        }))
    }
}

impl<T: Arrange> Door for Intake<'_, T> {
    #[inline(always)]
    fn push_with<F: FnOnce() -> Job>(&self, job: F) -> Result<TaskId, PushError<F>> {
        match self.0.stamp() {
            0 => self.push(job),
            submitted => self.push_timed(job, submitted),
        }
    }

    #[inline(always)]
    fn withdrawn(&self) -> NonNull<AtomicU64> {
        NonNull::from(&**self.0.books.withdrawn)
    }
}

impl<T: Arrange> Intake<'_, T> {
    #[inline(always)]
    fn push<F: FnOnce() -> Job>(&self, job: F) -> Result<TaskId, PushError<F>> {
        match (self.1.terms(), self.0.backlog.managed()) {
            (Some(terms), Some(managed)) => self.0.push_on(managed, *terms, job),
            _ => self.0.push_with(job),
        }
    }

    #[inline(never)]
    fn push_timed<F: FnOnce() -> Job>(&self, job: F, submitted: u64) -> Result<TaskId, PushError<F>> {
        let mut job = Some(job);
        let pushed = self.push(|| {
            let mut job = make(&mut job);
            job.set_submitted(submitted);
            job
        });
        with_maker(pushed.map_err(PushError::bare), job)
    }
}

/// The job of one who makes it, once.
fn make<F: FnOnce() -> Job>(job: &mut Option<F>) -> Job {
    job.take().map_or_else(Job::empty, |job| job())
}

/// What has come of a push, with the maker of the job if that was refused.
fn with_maker<F>(pushed: Result<TaskId, PushError<()>>, job: Option<F>) -> Result<TaskId, PushError<F>> {
    match (pushed, job) {
        (Ok(id), _) => Ok(id),
        (Err(PushError::Full(())), Some(job)) => Err(PushError::Full(job)),
        (Err(PushError::Closed(())), Some(job)) => Err(PushError::Closed(job)),
        // It is made only where it is accepted.
        (Err(_), None) => Ok(TaskId(0)),
    }
}

impl From<PushError<()>> for Refused {
    #[inline]
    fn from(error: PushError<()>) -> Self {
        match error {
            PushError::Full(()) => Self::Full,
            PushError::Closed(()) => Self::Closed,
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
    fn offer<T: Arrange>(intake: Intake<'_, T>, future: &mut Option<F>) -> Result<Self::Accepted, Refused> {
        if !intake.0.is_plain() {
            return careful::joined(intake, future, None);
        }
        let (joint, id) = slot::submit_joined(&intake, future, intake.0.extras())?;
        Ok(with_delay(JoinHandle::new(joint, id), intake.1))
    }
}

impl<F> sealed::Pack<F> for Detached
where
    F: Future<Output = ()> + Send + 'static,
{
    type Accepted = ();

    #[inline]
    fn offer<T: Arrange>(intake: Intake<'_, T>, future: &mut Option<F>) -> Result<(), Refused> {
        if !intake.0.is_plain() {
            return careful::detached(intake, future);
        }
        slot::submit(&intake, future, intake.0.extras())?;
        Ok(())
    }
}

/// As [`Mode`], of many tasks at once; see [`WorkerPool::submit_all`](super::WorkerPool::submit_all). Not to be implemented
/// elsewhere.
pub trait ManyMode<F>: Mode<F> + PackMany<F> {}

impl<F, M: Mode<F> + PackMany<F>> ManyMode<F> for M {}

impl<F> PackMany<F> for Joined
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    #[inline(always)]
    fn prepare(intake: Intake<'_, Plain>, future: F, accepted: impl FnOnce(Self::Accepted)) -> Prepared {
        let extras = intake.0.extras();
        let job = slot::joined(&intake, future, extras, |joint| accepted(JoinHandle::new(joint, TaskId(0))));
        Prepared(job)
    }

    #[inline]
    fn number(accepted: &mut Self::Accepted, id: TaskId) {
        accepted.set_id(id);
    }
}

impl<F> PackMany<F> for Detached
where
    F: Future<Output = ()> + Send + 'static,
{
    #[inline(always)]
    fn prepare(intake: Intake<'_, Plain>, future: F, accepted: impl FnOnce(())) -> Prepared {
        accepted(());
        Prepared(slot::detached(future, intake.0.extras()))
    }

    #[inline]
    fn number((): &mut (), _: TaskId) {}
}

/// The handle of a task, which knows it if the task is delayed.
#[inline(always)]
fn with_delay<T>(handle: JoinHandle<T>, way: &impl Arrange) -> JoinHandle<T> {
    match way.delay() {
        None => handle,
        Some(Delay(delayed)) => handle.delayed(delayed),
    }
}

impl Shared {
    #[cold]
    pub(super) fn refuse<F>(&self, reason: Refusal, future: F) -> SubmitError<F> {
        SubmitError::new(future, reason, &self.settings.name)
    }

    #[cold]
    fn refusal(&self, refused: &Refused, lane: u16) -> Refusal {
        match refused {
            Refused::Full => Refusal::Full { capacity: self.capacity(lane).unwrap_or(usize::MAX) },
            Refused::Closed => Refusal::Closed,
        }
    }

    /// Submits without waiting.
    #[inline]
    pub(super) fn try_submit<F, M: Mode<F>, T: Way>(
        &self,
        future: F,
        way: &T,
    ) -> Result<M::Accepted, SubmitError<F>> {
        let mut future = Some(future);
        self.offer::<F, M, T>(&mut future, way).map_err(|reason| match future {
            Some(future) => self.refuse(reason, future),
            // No offer is so bad as to keep what it refuses.
            None => std::process::abort(),
        })
    }

    /// One attempt, which respects those in line. The future, which must be there, is taken if, and only if, it is accepted.
    #[inline(always)]
    fn offer<F, M: Mode<F>, T: Way>(&self, future: &mut Option<F>, way: &T) -> Result<M::Accepted, Refusal> {
        self.admissible(way)?;
        let offered = if self.room(way.lane()).is_crowded() {
            self.offer_between::<F, M, T>(future, way)
        } else {
            M::offer(Intake(self, way), future)
        };
        offered.map_err(|refused| self.refusal(&refused, way.lane()))
    }

    /// Whether a submission may have any effect now.
    #[inline]
    fn admissible(&self, way: &impl Way) -> Result<(), Refusal> {
        self.check()?;
        way.refusal(Intake(self, &())).map_or(Ok(()), |Because(refusal)| Err(refusal))
    }

    /// While others wait for room, or have been invited: only into a place that is not theirs.
    #[cold]
    fn offer_between<F, M: Mode<F>, T: Way>(
        &self,
        future: &mut Option<F>,
        way: &T,
    ) -> Result<M::Accepted, Refused> {
        if self.backlog.is_closed() {
            return Err(Refused::Closed);
        }
        let lane = way.lane();
        if !self.room(lane).slip_in(|| self.free(lane)) {
            return Err(Refused::Full);
        }
        let invitation = Invitation::new(self.room(lane), 0, || self.free(lane));
        let offered = M::offer(Intake(self, way), future);
        invitation.leave();
        offered
    }
}

pin_project! {
    /// The future of the `submit` and `execute` families.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has submitted nothing; its place in line goes to the next.
    #[must_use = "futures do nothing unless polled"]
    pub struct Submit<'a, F, M = Joined, T: Way = Plain> {
        shared: &'a Shared,
        way: T,
        // Taken when it is accepted or given back.
        future: Option<F>,
        // Boxed, so that those who have none do not carry it.
        limit: Aside<Box<Limit>>,
        #[pin]
        slot: Slot<u8>,
        mode: PhantomData<fn() -> M>,
    }

    impl<F, M, T: Way> PinnedDrop for Submit<'_, F, M, T> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if !this.slot.is_idle() {
                let lane = this.way.lane();
                this.shared.room(lane).abandon(this.slot.as_ref(), || this.shared.free(lane));
            }
        }
    }
}

impl<'a, F, M, T: Way> Submit<'a, F, M, T> {
    #[inline]
    pub(super) fn new(shared: &'a Shared, future: F, limit: Option<Duration>, way: T) -> Self {
        let expires = way.expires();
        let mut aside = Aside::none();
        if limit.is_some() || expires.is_some() {
            *aside = Some(Box::new(Limit::new(limit, expires)));
        }
        Self { shared, way, future: Some(future), limit: aside, slot: Slot::new(), mode: PhantomData }
    }
}

impl<F, M: Mode<F>, T: Way> Submit<'_, F, M, T> {
    /// Blocks this thread until the task is accepted, for threads that run no executor.
    ///
    /// # Errors
    /// As awaiting it.
    pub fn wait(self) -> Result<M::Accepted, SubmitError<F>> {
        block_on(self)
    }
}

impl<F, M: Mode<F>, T: Way> Future for Submit<'_, F, M, T> {
    type Output = Result<M::Accepted, SubmitError<F>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let shared = *this.shared;
        if this.slot.is_idle() {
            if this.future.is_none() {
                return Poll::Pending;
            }
            match shared.offer::<F, M, T>(this.future, this.way) {
                Ok(accepted) => return Poll::Ready(Ok(accepted)),
                Err(Refusal::Full { .. }) => {
                    let lane = this.way.lane();
                    let room = shared.room(lane);
                    if !room.line_up(this.slot.as_ref(), cx.waker(), || shared.free(lane)) {
                        return give_back(shared, this.future, Refusal::Closed);
                    }
                }
                Err(reason) => return give_back(shared, this.future, reason),
            }
        }
        wait::<F, M, T>(shared, this.way, this.future, this.limit, this.slot.as_ref(), cx)
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

/// In line, with a task.
#[inline(never)]
fn wait<F, M: Mode<F>, T: Way>(
    shared: &Shared,
    way: &T,
    future: &mut Option<F>,
    limit: &mut Option<Box<Limit>>,
    slot: Pin<&Slot<u8>>,
    cx: &mut Context<'_>,
) -> Poll<Result<M::Accepted, SubmitError<F>>> {
    let (room, lane) = (shared.room(way.lane()), way.lane());
    let free = || shared.free(lane);
    loop {
        let overtaken = match ready!(turn(shared, lane, limit, slot, cx)) {
            Ok(overtaken) => overtaken,
            Err(reason) => return give_back(shared, future, reason),
        };
        let invitation = Invitation::new(room, overtaken, free);
        if future.is_none() {
            invitation.leave();
            return Poll::Pending;
        }
        if let Err(reason) = shared.admissible(way) {
            invitation.leave();
            return give_back(shared, future, reason);
        }
        match M::offer(Intake(shared, way), future) {
            Err(Refused::Full) => {
                invitation.give_up();
                if !room.line_up_again(slot, cx.waker(), overtaken, free) {
                    return give_back(shared, future, Refusal::Closed);
                }
            }
            offered => {
                invitation.leave();
                *limit = None;
                return match offered {
                    Ok(accepted) => Poll::Ready(Ok(accepted)),
                    Err(refused) => give_back(shared, future, shared.refusal(&refused, lane)),
                };
            }
        }
    }
}

impl<F, M, T: Way> fmt::Debug for Submit<'_, F, M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submit")
            .field("pool", &self.shared.settings.name)
            .field("waiting", &!self.slot.is_idle())
            .field("limit", &self.limit.as_ref().and_then(|limit| limit.duration()))
            .finish_non_exhaustive()
    }
}
