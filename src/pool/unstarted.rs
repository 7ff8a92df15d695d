//! Tasks that a pool gives back.

#![forbid(unsafe_code)]

use super::error::JoinError;
use super::event::Outcome;
use super::handle::TaskId;
use super::load::{Load, amid};
use super::shared::{Shared, within};
use super::shutdown::Shutdown;
use super::slot::{Job, Step};
use super::stats::ShutdownReport;
use crate::panics::contain;
use crate::shim::Arc;
use crate::sync::Context as WorkContext;
use crate::task::block_on;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A task that a pool had accepted and never begun: a future that is the task, to be run elsewhere. Its handle, if it has one,
/// gets the result, and can cancel it; the context in which it was submitted goes with it, and so
/// does what was [carried](super::PoolBuilder::carry). Limits that the pool had set do not.
///
/// A task without a handle that panics does so where it is polled; one with a handle tells that.
///
/// Dropping it drops the task, which its handle is told ([`JoinError::is_dropped`]).
#[must_use = "futures do nothing unless polled"]
pub struct UnstartedTask {
    job: Pin<Box<Job>>,
    context: Option<WorkContext>,
    /// Until its end.
    load: Option<Load>,
    id: TaskId,
}

impl UnstartedTask {
    pub(super) fn new(job: Job, context: Option<WorkContext>, load: Option<Load>, id: TaskId) -> Self {
        Self { job: Box::pin(job), context, load, id }
    }

    /// The number that it had in its pool.
    pub fn id(&self) -> TaskId {
        self.id
    }
}

impl Future for UnstartedTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { job, context, load, id } = &mut *self;
        if job.is_empty() {
            return Poll::Ready(());
        }
        let context = context.as_ref();
        if let Some(load) = load.as_mut().filter(|load| !load.has_begun()) {
            // Not if it was cancelled before.
            if job.as_mut().begin() {
                load.begin(*id);
            }
        }
        let polled = catch_unwind(AssertUnwindSafe(|| {
            within(context, || amid(load.as_ref(), || job.as_mut().poll(cx)))
        }));
        let error = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Step::Completed)) => None,
            Ok(Poll::Ready(Step::Cancelled | Step::Withdrawn)) => Some(Ok(JoinError::cancelled(None))),
            Err(payload) => Some(Err(payload)),
        };
        if error.is_some() {
            contain(|| within(context, || amid(load.as_ref(), || job.as_mut().discard())));
        }
        if let Some(load) = load.take() {
            let outcome = match &error {
                None => Outcome::Completed,
                Some(Ok(_)) => Outcome::Cancelled,
                Some(Err(_)) => Outcome::Panicked,
            };
            let attempts = u32::from(load.has_begun());
            load.end(*id, attempts, outcome);
        }
        match error {
            None => job.as_mut().resolve(None),
            Some(Ok(cancelled)) => job.as_mut().resolve(Some(Box::new(cancelled))),
            // What has no handle is empty now.
            Some(Err(payload)) if job.is_empty() => resume_unwind(payload),
            Some(Err(payload)) => job.as_mut().resolve(Some(Box::new(JoinError::panicked(payload)))),
        }
        Poll::Ready(())
    }
}

impl Drop for UnstartedTask {
    fn drop(&mut self) {
        let Self { job, context, load, id } = self;
        contain(|| within(context.as_ref(), || amid(load.as_ref(), || job.as_mut().discard())));
        if let Some(load) = load.take() {
            let attempts = u32::from(load.has_begun());
            load.end(*id, attempts, Outcome::Dropped);
        }
    }
}

impl fmt::Debug for UnstartedTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnstartedTask").field("id", &self.id).finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`Shutdown::hand_back`].
    #[must_use = "futures do nothing unless polled"]
    pub struct HandBack {
        #[pin]
        shutdown: Shutdown,
        shared: Arc<Shared>,
        is_keeper: bool,
    }

    impl PinnedDrop for HandBack {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if std::mem::take(this.is_keeper) {
                for task in resign(this.shared) {
                    contain(|| drop(task));
                }
            }
        }
    }
}

/// What was left, for one who does not ask any more.
fn resign(shared: &Shared) -> Vec<UnstartedTask> {
    let mut end = shared.end.lock();
    end.keepers -= 1;
    // Another one may be waiting for them, but if the pool is over nobody else will take them.
    if end.keepers == 0 || end.report.is_some() { std::mem::take(&mut end.unstarted) } else { Vec::new() }
}

impl Shutdown {
    /// The same shutdown, which gives back what was accepted and never begun, in place of dropping it: with the report come
    /// the tasks, in the order in which they would have been begun. Tasks of [`retry_task`](super::WorkerPool::retry_task), and
    /// those in a wrapper, cannot be without their pool and are dropped as ever.
    ///
    /// If several ask, the first to be ready gets them all.
    ///
    /// ```
    /// use cofferdam::pool::WorkerPool;
    /// use std::time::Duration;
    ///
    /// # futures_executor::block_on(async {
    /// let (pool, _workers) = WorkerPool::builder().workers(1).queue(10).build().unwrap();
    /// let handle = pool.submit(async { 7 }).await.unwrap();
    /// let (report, left) = pool.shutdown(Duration::ZERO).hand_back().await;
    /// assert_eq!(report.stats.handed_back, 1);
    /// for task in left {
    ///     task.await; // or give it to another pool
    /// }
    /// assert_eq!(handle.await.unwrap(), 7);
    /// # });
    /// ```
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it gives up waiting; what was put aside for it is dropped, and the handles are told.
    pub fn hand_back(self) -> HandBack {
        HandBack { shared: self.shared(), shutdown: self, is_keeper: false }
    }
}

impl HandBack {
    /// Blocks this thread until the pool has ended, for threads that run no executor.
    pub fn wait(self) -> (ShutdownReport, Vec<UnstartedTask>) {
        block_on(self)
    }
}

impl Future for HandBack {
    type Output = (ShutdownReport, Vec<UnstartedTask>);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if !std::mem::replace(this.is_keeper, true) {
            this.shared.end.lock().keepers += 1;
        }
        let Poll::Ready(report) = this.shutdown.poll(cx) else { return Poll::Pending };
        *this.is_keeper = false;
        let mut left = resign(this.shared);
        if this.shared.backlog.managed().is_none() {
            // The abort and the workers have swept side by side.
            left.sort_by_key(UnstartedTask::id);
        }
        Poll::Ready((report, left))
    }
}

impl fmt::Debug for HandBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HandBack").field(&self.shutdown).finish()
    }
}
