//! The steps of a task that has more to it than its future, and of tasks that end without a result.

#![forbid(unsafe_code)]

use super::{End, Hand};
use crate::panics::{contain, forget};
use crate::pool::error::{Ending, JoinError};
use crate::pool::event::{Outcome, PoolEvent};
use crate::pool::extras::Extras;
use crate::pool::handle::TaskId;
use crate::pool::load::amid;
use crate::pool::retry::Parked;
use crate::pool::shared::{Shared, within};
use crate::pool::slot::{Job, Step};
use crate::sync::{Context as WorkContext, ContextError};
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A longer delay of a task that goes back into the queue is this one: a century.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

impl Hand {
    /// The job is pending: lets those in line know of free places, unless the job has woken itself and not for too long: then it
    /// is back soon, and each who is told costs the executor as much as the job has.
    #[inline]
    pub(super) fn tell_unless_back_soon(self: Pin<&mut Self>, shared: &Shared) {
        let this = self.project();
        if *this.may_yield {
            *this.untold += 1;
            if *this.untold < shared.batch {
                return;
            }
        }
        *this.untold = 0;
        shared.admit();
    }

    /// Puts the job back into the queue, unless there is an end to it meanwhile.
    fn put_back(self: Pin<&mut Self>, shared: &Shared, delay: Duration) -> Option<JoinError> {
        let this = self.project();
        let (mut job, task) = (this.job, this.task);
        let (Some(managed), Some(extras)) = (shared.backlog.managed(), &mut task.extras) else {
            return Some(JoinError::cancelled(None));
        };
        let now = shared.settings.clock.now();
        let due = now.checked_add(delay.min(LONGEST)).unwrap_or(now);
        let parked = Parked::new(this.pool, task.id, due);
        let waker = parked.waker();
        if let (true, Some(context)) = (shared.heeds, &extras.context) {
            let watch = task.watch.take().unwrap_or_else(|| Box::pin(context.run(pending())));
            let watch = extras.watch.insert(watch);
            if let Poll::Ready(Err(error)) = watch.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Some(JoinError::cancelled(Some(error)));
            }
        }
        let Some(mut back) = job.as_mut().park(&waker) else { return Some(JoinError::cancelled(None)) };
        shared.books.retried(*this.index);
        if let Some(ledger) = shared.settings.ledger.as_ref().filter(|_| extras.times.is_some()) {
            contain(|| ledger.retrying(task.id, extras, delay, now));
        }
        back.set_extras(task.extras.take());
        // It was begun in time; from then on only its end counts.
        let mut ticket = task.ticket;
        ticket.terms.expires = ticket.terms.deadline;
        match managed.readmit(back, task.id, &ticket, (!delay.is_zero()).then_some(due)) {
            Ok(call) => {
                parked.is_in();
                task.ticket.came_back = true;
                task.clear(shared);
                contain(|| shared.heed(call));
                None
            }
            Err(back) => {
                job.as_mut().refill(back);
                task.extras = job.take_extras();
                Some(JoinError::dropped())
            }
        }
    }

    /// The job has no result, or there is more to it than its future.
    #[cold]
    pub(super) fn finish_with(mut self: Pin<&mut Self>, shared: &Shared, end: End) {
        let (mut shell, error) = match end {
            End::Again(delay) => match self.as_mut().put_back(shared, delay) {
                Some(error) => (false, Some(Box::new(error))),
                None => return,
            },
            End::Step(Step::Completed) => (false, None),
            End::Step(Step::Cancelled) => (false, Some(Box::new(JoinError::cancelled(None)))),
            End::Step(Step::Withdrawn) => (true, None),
            End::Error(error) => (false, Some(error)),
            End::Cut => {
                shared.books.interrupted(self.index);
                (false, Some(Box::new(JoinError::cancelled(shared.reason()))))
            }
        };
        let this = self.project();
        let mut job = this.job;
        if error.is_some() {
            let context = this.task.context().or(shared.settings.base.as_ref());
            let load = this.task.extras.as_ref().and_then(|extras| extras.load.as_ref());
            match catch_unwind(AssertUnwindSafe(|| within(context, || amid(load, || job.as_mut().discard()))))
            {
                // It was withdrawn while nobody looked.
                Ok(Some(_)) => shell = true,
                Ok(None) => {}
                Err(payload) => {
                    shared.panicked(this.task.id, &*payload);
                    forget(payload);
                }
            }
        }
        let ending = error.as_deref().map(JoinError::ending);
        if this.watch.is_running() {
            // Of one that can fail otherwise the ledger knows.
            this.watch.end(shared, Outcome::of(ending));
        }
        if let Some(extras) = &mut this.task.extras {
            let ending = if shell { Some(Ending::Cancelled) } else { ending };
            shared.note_end(this.task.id, extras, ending);
            if let Some(link) = &extras.link {
                if ending.is_none() && link.failure().is_some() {
                    shared.books.failed(*this.index);
                }
                contain(|| {
                    shared.bury(this.task.id, extras.attempts, link, &this.task.ticket, error.as_deref())
                });
            }
        }
        if shell {
            shared.books.shell(*this.index);
        } else {
            shared.books.ended(*this.index, ending);
        }
        job.resolve(error);
    }
}

/// A task that has more to it than its future is taken up.
#[cold]
pub(super) fn begin_with(
    shared: &Shared,
    job: Pin<&mut Job>,
    task: TaskId,
    extras: &mut Extras,
    worker: usize,
) {
    if extras.propagated && extras.attempts == 0 {
        shared.books.propagated();
    }
    let ledger = shared.settings.ledger.as_ref().filter(|_| extras.times.is_some());
    if ledger.is_none() && extras.load.is_none() {
        extras.attempts += 1;
        return;
    }
    // Who is told that it begins is not told so of one that was cancelled before.
    contain(|| {
        let is_over = |context: &WorkContext| shared.heeds && context.check().is_err();
        if !extras.context.as_ref().is_some_and(is_over) && job.begin() {
            extras.attempts += 1;
            if let Some(ledger) = ledger {
                ledger.started(task, extras, worker, shared.settings.clock.now());
            }
        }
    });
    if let Some(load) = extras.load.as_mut().filter(|_| extras.attempts > 0) {
        load.begin(task);
    }
}

/// A task's context has ended. If it is the pool's own that has, then so does the pool.
#[cold]
pub(super) fn cancelled(shared: &Shared, error: ContextError) -> End {
    let Some(Err(error)) = shared.settings.base.as_ref().map(WorkContext::check) else {
        return End::Error(Box::new(JoinError::cancelled(Some(error))));
    };
    contain(|| shared.abort(Some(error)));
    End::Cut
}

#[cold]
pub(super) fn tell_started(shared: &Shared, worker: usize) {
    if let Some(ledger) = &shared.settings.ledger {
        contain(|| ledger.tell(|| PoolEvent::WorkerStarted { worker }));
    }
}

#[cold]
pub(super) fn tell_stopped(shared: &Shared, worker: usize) {
    if let Some(ledger) = &shared.settings.ledger {
        contain(|| ledger.tell(|| PoolEvent::WorkerStopped { worker }));
    }
}
