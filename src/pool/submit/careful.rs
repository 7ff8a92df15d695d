//! Handing tasks in where a pool notes them, wraps them, or makes them anew.

#![forbid(unsafe_code)]

use super::sealed::{Arrange, Intake, Pack, Refused};
use super::{Detached, Joined, make, with_delay, with_maker};
use crate::panics::contain;
use crate::pool::extras::Extras;
use crate::pool::handle::{JoinHandle, TaskId};
use crate::pool::link::Link;
use crate::pool::load::Load;
use crate::pool::managed::{Call, Terms};
use crate::pool::retry::{Mute, Retried};
use crate::pool::shared::Shared;
use crate::pool::slot::{self, Door, Job};
use crate::pool::wrap::{Parcel, Wrapped};
use crate::shim::AtomicU64;
use crate::sync::ring::PushError;
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::ptr::NonNull;
use std::sync::Arc;

/// One attempt to submit a task that has a handle.
pub(super) fn joined<T: Arrange, F>(
    intake: Intake<'_, T>,
    future: &mut Option<F>,
    link: Option<Arc<Link>>,
) -> Result<JoinHandle<F::Output>, Refused>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let way = intake.1;
    let (joint, id) = offer(
        intake,
        future,
        link,
        |door, future, extras| slot::submit_joined(door, future, extras).map(|(joint, id)| ((joint, id), id)),
        |door, future, extras| slot::submit_joined(door, future, extras).map(|(joint, id)| ((joint, id), id)),
    )?;
    Ok(with_delay(JoinHandle::new(joint, id), way))
}

/// One attempt to submit a task that has none.
pub(super) fn detached<T: Arrange, F>(intake: Intake<'_, T>, future: &mut Option<F>) -> Result<(), Refused>
where
    F: Future<Output = ()> + Send + 'static,
{
    offer(
        intake,
        future,
        None,
        |door, future, extras| slot::submit(door, future, extras).map(|id| ((), id)),
        |door, future, extras| slot::submit(door, future, extras).map(|id| ((), id)),
    )
}

impl<M, F, T, E> Pack<Retried<M, F, E>> for Joined
where
    M: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: fmt::Display + Send + 'static,
{
    type Accepted = JoinHandle<Result<T, E>>;

    fn offer<W: Arrange>(
        intake: Intake<'_, W>,
        task: &mut Option<Retried<M, F, E>>,
    ) -> Result<Self::Accepted, Refused> {
        let link = task.as_ref().map(|Retried(attempts)| attempts.link());
        inside(task, |Retried(attempts)| attempts, Retried, |attempts| joined(intake, attempts, link))
    }
}

impl<M, F, T, E> Pack<Retried<M, F, E>> for Detached
where
    M: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: fmt::Display + Send + 'static,
{
    type Accepted = TaskId;

    fn offer<W: Arrange>(
        intake: Intake<'_, W>,
        task: &mut Option<Retried<M, F, E>>,
    ) -> Result<TaskId, Refused> {
        let link = task.as_ref().map(|Retried(attempts)| attempts.link());
        inside(
            task,
            |Retried(future)| Mute { future },
            |Mute { future }| Retried(future),
            |mute| {
                offer(
                    intake,
                    mute,
                    link,
                    |door, future, extras| slot::submit_placed(door, future, extras).map(|id| (id, id)),
                    |door, future, extras| slot::submit_placed(door, future, extras).map(|id| (id, id)),
                )
            },
        )
    }
}

/// Offers what is inside a task in its place, where it goes back unless it is accepted: also if that panics.
fn inside<O, I, R>(
    outer: &mut Option<O>,
    open: impl FnOnce(O) -> I,
    close: impl FnOnce(I) -> O,
    offer: impl FnOnce(&mut Option<I>) -> R,
) -> R {
    let inner = outer.take().map(open);
    offer(&mut Opened { inner, outer, close: Some(close) }.inner)
}

/// What was inside a task, and how to close it again.
struct Opened<'a, O, I, C: FnOnce(I) -> O> {
    inner: Option<I>,
    outer: &'a mut Option<O>,
    close: Option<C>,
}

impl<O, I, C: FnOnce(I) -> O> Drop for Opened<'_, O, I, C> {
    fn drop(&mut self) {
        *self.outer = self.inner.take().zip(self.close.take()).map(|(inner, close)| close(inner));
    }
}

/// Takes jobs in and wakes nobody: the ledger's lock may be held.
struct QuietDoor<'a> {
    shared: &'a Shared,
    terms: Option<&'a Terms>,
    /// In a managed pool: read before the locks, as clocks may be the user's.
    now: u64,
    /// Whom the push concerns.
    call: Cell<Option<Call>>,
    /// What is carried with the task that is accepted. One that is not gives it up when no lock is held.
    load: Cell<Option<Load>>,
}

impl Door for QuietDoor<'_> {
    fn push_with<F: FnOnce() -> Job>(&self, job: F) -> Result<TaskId, PushError<F>> {
        let mut job = Some(job);
        let pushed = self.shared.push_quietly(self.terms, self.now, || self.loaded(make(&mut job)));
        let pushed = pushed.map_err(PushError::bare).map(|(id, call)| {
            self.call.set(Some(call));
            id
        });
        with_maker(pushed, job)
    }

    fn withdrawn(&self) -> NonNull<AtomicU64> {
        NonNull::from(&**self.shared.books.withdrawn)
    }
}

impl Drop for QuietDoor<'_> {
    fn drop(&mut self) {
        // Others' code, which must not come between a refused future and its submitter.
        contain(|| drop(self.load.take()));
    }
}

impl<'a> QuietDoor<'a> {
    fn new<T: Arrange>(Intake(shared, way): Intake<'a, T>) -> Self {
        let now = shared.backlog.managed().map_or(0, |managed| managed.epoch().nanos());
        Self { shared, terms: way.terms(), now, call: Cell::new(None), load: Cell::new(shared.load()) }
    }

    /// The job, with what is carried.
    fn loaded(&self, mut job: Job) -> Job {
        if let Some(extras) = job.extras_mut() {
            extras.load = self.load.take();
        }
        job
    }

    /// What goes with a task that speaks to its worker by that link.
    fn extras(&self, link: Option<Arc<Link>>) -> Option<Box<Extras>> {
        let load = self.load.take();
        let has_load = load.is_some();
        self.load.set(load);
        self.shared.extras_with(link, has_load)
    }

    /// Does `push`, which submits a task with these extras by this door; notes it if there is a ledger; and sees to it that
    /// somebody runs it.
    fn submit<A, E>(
        &self,
        extras: Option<Box<Extras>>,
        push: impl FnOnce(&Self, Option<Box<Extras>>) -> Result<(A, TaskId), E>,
    ) -> Result<A, E> {
        // As `extras` found it: one that is not noted then is not noted now.
        let is_noted = extras.as_ref().is_some_and(|extras| extras.times.is_some());
        let accepted = match self.shared.settings.ledger.as_ref().filter(|_| is_noted) {
            None => push(self, extras)?.0,
            Some(ledger) => {
                let noted = extras
                    .as_ref()
                    .and_then(|extras| Some((extras.context.clone()?, extras.times.as_ref()?.submitted)));
                ledger.submit(noted, || push(self, extras), || self.shared.backlog.len())?
            }
        };
        if let Some(call) = self.call.take() {
            self.shared.heed(call);
        }
        Ok(accepted)
    }
}

/// One attempt in a pool that does more for a task than to run it: by `wrapped` if it has a wrapper, otherwise by `bare`.
#[cold]
fn offer<T: Arrange, F: Future, A>(
    intake: Intake<'_, T>,
    future: &mut Option<F>,
    link: Option<Arc<Link>>,
    bare: impl FnOnce(&QuietDoor<'_>, &mut Option<F>, Option<Box<Extras>>) -> Result<(A, TaskId), PushError<()>>,
    wrapped: impl FnOnce(
        &QuietDoor<'_>,
        &mut Option<Wrapped<F>>,
        Option<Box<Extras>>,
    ) -> Result<(A, TaskId), PushError<()>>,
) -> Result<A, Refused> {
    let door = QuietDoor::new(intake);
    let shared = door.shared;
    let Some(wrapper) = &shared.settings.wrapper else {
        return Ok(door.submit(door.extras(link), |door, extras| bare(door, future, extras))?);
    };
    let link = link.unwrap_or_else(|| Arc::new(Link::new()));
    let parcel = Parcel::new();
    let mut task = Some(Wrapped::new(&parcel, wrapper, Arc::clone(&link)));
    door.submit(door.extras(Some(link)), |door, extras| {
        let mut place = parcel.task.lock();
        let accepted = wrapped(door, &mut task, extras)?;
        *place = future.take();
        Ok(accepted)
    })
}
