//! What became of the last tasks, by their numbers.

#![forbid(unsafe_code)]

use crate::pool::event::{Outcome, TaskReport};
use crate::pool::handle::TaskId;
use crate::sync::Context;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskStatus {
    /// In the queue, not begun yet.
    Pending,
    /// A worker has it.
    Running,
    /// In the queue again after an attempt that failed.
    Retrying,
    /// It has ended.
    Ended(Outcome),
}

impl TaskStatus {
    /// The status in one lower-case word, for logs and labels: of a task that has ended, its outcome.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Ended(outcome) => outcome.as_str(),
        }
    }

    /// Whether the task has ended.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Ended(_))
    }
}

/// What the pool's history says of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskRecord {
    /// The task.
    pub task: TaskId,
    /// Where it is.
    pub status: TaskStatus,
    /// How often it was begun.
    pub attempts: u32,
    /// The report of its end, once it has ended.
    pub report: Option<TaskReport>,
}

/// A task of a pool that keeps a history, and that has not ended; see [`WorkerPool::live_tasks`](crate::pool::WorkerPool::live_tasks).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveTask {
    /// The task.
    pub task: TaskId,
    /// Where it is.
    pub status: TaskStatus,
    /// How often it was begun.
    pub attempts: u32,
    /// How long ago it was accepted.
    pub age: Duration,
    /// How long it has been where it is.
    pub lasted: Duration,
}

/// What the contexts of a pool's tasks went through; see [`WorkerPool::context_stats`](crate::pool::WorkerPool::context_stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContextStats {
    /// Contexts of tasks that have not ended.
    pub active: usize,
    /// Contexts of tasks that have ended and were cancelled, by number or with the submitter's context.
    pub cancelled: u64,
    /// Contexts of tasks that ended because a deadline passed or the task's own limit was over.
    pub timed_out: u64,
    /// Tasks that were begun with values of their submitter's context.
    pub propagated: u64,
    /// Contexts of tasks that have ended.
    pub ended: u64,
    /// The mean time from a task's acceptance to its end.
    pub average: Duration,
    /// The longest time from a task's acceptance to its end.
    pub longest: Duration,
}

/// The tasks that have not ended, and the last ones that have.
pub(super) struct History {
    capacity: usize,
    live: HashMap<TaskId, Live>,
    /// Numbers of the tasks in `ended`, the oldest first.
    order: VecDeque<TaskId>,
    ended: HashMap<TaskId, TaskReport>,
    contexts: ContextStats,
    /// Of all that have ended, for the mean.
    total: Duration,
}

/// How a task's context had ended when the task did.
#[derive(Clone, Copy)]
pub(super) enum ContextEnd {
    None,
    Cancelled,
    TimedOut,
}

struct Live {
    context: Context,
    status: TaskStatus,
    attempts: u32,
    accepted: Instant,
    /// When it came where it is.
    turned: Instant,
}

impl History {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            live: HashMap::new(),
            order: VecDeque::new(),
            ended: HashMap::new(),
            contexts: ContextStats::default(),
            total: Duration::ZERO,
        }
    }

    pub(super) fn submitted(&mut self, task: TaskId, context: Context, now: Instant) {
        let status = TaskStatus::Pending;
        self.live.insert(task, Live { context, status, attempts: 0, accepted: now, turned: now });
    }

    pub(super) fn moved(&mut self, task: TaskId, status: TaskStatus, attempts: u32, now: Instant) {
        if let Some(live) = self.live.get_mut(&task) {
            live.status = status;
            live.attempts = attempts;
            live.turned = now;
        }
    }

    /// Gives back the context, to be dropped outside the lock.
    #[must_use]
    pub(super) fn ended(&mut self, report: TaskReport, age: Duration, end: ContextEnd) -> Option<Context> {
        let live = self.live.remove(&report.task)?;
        let contexts = &mut self.contexts;
        contexts.ended += 1;
        match end {
            ContextEnd::None => {}
            ContextEnd::Cancelled => contexts.cancelled += 1,
            ContextEnd::TimedOut => contexts.timed_out += 1,
        }
        contexts.longest = contexts.longest.max(age);
        self.total = self.total.saturating_add(age);
        if self.order.len() >= self.capacity {
            if let Some(oldest) = self.order.pop_front() {
                self.ended.remove(&oldest);
            }
        }
        if self.capacity > 0 {
            self.order.push_back(report.task);
            self.ended.insert(report.task, report);
        }
        Some(live.context)
    }

    pub(super) fn record(&self, task: TaskId) -> Option<TaskRecord> {
        match self.live.get(&task) {
            Some(live) => Some(live.record(task)),
            None => self.ended.get(&task).copied().map(ended),
        }
    }

    /// The context of a task that has not ended.
    pub(super) fn context(&self, task: TaskId) -> Option<Context> {
        self.live.get(&task).map(|live| live.context.clone())
    }

    pub(super) fn records(&self) -> Vec<TaskRecord> {
        let live = self.live.iter().map(|(task, live)| live.record(*task));
        let mut all: Vec<_> = live.chain(self.ended.values().copied().map(ended)).collect();
        all.sort_unstable_by_key(|record| record.task);
        all
    }

    /// Those that have not ended, as they are at `now`, in no order.
    pub(super) fn live(&self, now: Instant) -> Vec<LiveTask> {
        let ago = |at| now.saturating_duration_since(at);
        let live = self.live.iter().map(|(task, live)| LiveTask {
            task: *task,
            status: live.status,
            attempts: live.attempts,
            age: ago(live.accepted),
            lasted: ago(live.turned),
        });
        live.collect()
    }

    pub(super) fn contexts(&self) -> ContextStats {
        let nanos = self.total.as_nanos().checked_div(u128::from(self.contexts.ended)).unwrap_or(0);
        ContextStats {
            active: self.live.len(),
            average: Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)),
            ..self.contexts
        }
    }
}

impl Live {
    fn record(&self, task: TaskId) -> TaskRecord {
        TaskRecord { task, status: self.status, attempts: self.attempts, report: None }
    }
}

fn ended(report: TaskReport) -> TaskRecord {
    TaskRecord {
        task: report.task,
        status: TaskStatus::Ended(report.outcome),
        attempts: report.attempts,
        report: Some(report),
    }
}
