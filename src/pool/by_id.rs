//! Tasks by their numbers, and what else a pool notes of them.

#![forbid(unsafe_code)]

use super::WorkerPool;
use super::event::PoolEvent;
use super::handle::TaskId;
#[cfg(feature = "telemetry")]
use super::ledger::Meter;
use super::ledger::{ContextStats, Ledger, LiveTask, TaskRecord, TaskStatus};
use super::reports::Reports;
#[cfg(feature = "telemetry")]
use crate::observe::Attached;
use crate::observe::Observers;
use crate::shim::Arc;
use crate::sync::{Cause, Context};

impl WorkerPool {
    fn ledger(&self) -> Option<&Ledger> {
        self.shared.settings.ledger.as_deref()
    }

    /// Where a task is, if the pool keeps a [history](super::PoolBuilder::history) and the task is still in it.
    ///
    /// A task whose handle has cancelled it in the queue counts as pending until its place in the queue is free.
    pub fn status(&self, task: TaskId) -> Option<TaskStatus> {
        self.record(task).map(|record| record.status)
    }

    /// What the history says of a task.
    pub fn record(&self, task: TaskId) -> Option<TaskRecord> {
        self.ledger()?.record(task)
    }

    /// What the history says of all tasks that have not ended, and of the last that have, in the order of their numbers.
    pub fn history(&self) -> Vec<TaskRecord> {
        self.ledger().map(Ledger::records).unwrap_or_default()
    }

    /// The tasks that have not ended, the oldest first, with their ages; none if the pool keeps no history.
    pub fn live_tasks(&self) -> Vec<LiveTask> {
        self.ledger().map(|ledger| ledger.live(self.shared.settings.clock.now())).unwrap_or_default()
    }

    /// Cancels a task by its number, for this cause, which its handle is told. False if the pool keeps no history, or the
    /// task has ended or was cancelled before.
    ///
    /// It cancels the task's [context](Self::context): a task that waits in the queue is never run, and is dropped when its
    /// turn comes, which for a delayed one is now; one that runs is dropped by its worker in place of the next poll.
    pub fn cancel(&self, task: TaskId, cause: impl Into<Cause>) -> bool {
        let cancelled = self.context(task).is_some_and(|context| context.cancel(cause));
        if let (true, Some(managed)) = (cancelled, self.shared.backlog.managed()) {
            self.shared.heed(managed.hasten(task, None));
        }
        cancelled
    }

    /// The context in which a task runs that has not ended; `None` if the pool keeps no history, or the task has ended.
    pub fn context(&self, task: TaskId) -> Option<Context> {
        self.ledger()?.context(task)
    }

    /// What the contexts of tasks went through. In a pool without a history only `propagated` is counted.
    pub fn context_stats(&self) -> ContextStats {
        let stats = self.ledger().map(Ledger::contexts).unwrap_or_default();
        ContextStats { propagated: self.shared.books.propagations(), ..stats }
    }

    /// Those who observe the pool, if it was built to note anything: with an observer, reports or a history.
    pub fn observers(&self) -> Option<&Observers<PoolEvent>> {
        self.ledger().map(Ledger::observers)
    }

    /// Tells this one of the durations of all tasks from now on, until what comes back is dropped; `None` of a pool that notes nothing.
    #[cfg(feature = "telemetry")]
    pub(crate) fn meter(&self, meter: impl Meter) -> Option<Attached> {
        self.ledger().map(|ledger| ledger.attach(meter))
    }

    /// The reports of ended tasks, if the pool was built [with](super::PoolBuilder::reports) them. Of several readers each
    /// gets a part.
    pub fn reports(&self) -> Option<Reports> {
        let receiver = self.ledger()?.receiver()?;
        Some(Reports::new(receiver, Arc::clone(&self.shared)))
    }
}
