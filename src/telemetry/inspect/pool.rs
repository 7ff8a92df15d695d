//! Worker pools, and what their tasks are about.

use super::{Inspect, Inspection, View};
use crate::pool::{LiveTask, WorkerPool};
use std::fmt;
use std::time::Duration;

/// Of the tasks that have not ended, so many are listed.
const LISTED: usize = 64;

/// A [`WorkerPool`] at one moment.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PoolView {
    /// Workers.
    pub workers: usize,
    /// Places in its queue; `None` for no bound.
    pub capacity: Option<usize>,
    /// Tasks in the queue, those included that are not due.
    pub queued: u64,
    /// Of those queued, how many are not due.
    pub delayed: u64,
    /// Tasks that workers have begun and not ended.
    pub running: u64,
    /// Submitters that wait for room.
    pub waiting: usize,
    /// Tasks that were accepted.
    pub submitted: u64,
    /// Tasks that have ended, in whatever way.
    pub ended: u64,
    /// Those of them that panicked.
    pub panicked: u64,
    /// Tasks that failed for good and are kept.
    pub dead_letters: usize,
    /// Whether it takes in no more tasks.
    pub closed: bool,
    /// How long the task has waited that has waited longest, of those that are due. Of a pool that is managed or keeps a history;
    /// `None` of others, and if nothing waits.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::written::perhaps"))]
    pub oldest: Option<Duration>,
    /// The 64 oldest of the tasks that have not ended, the oldest first. Of a pool that keeps a
    /// [history](crate::pool::PoolBuilder::history).
    pub tasks: Vec<TaskView>,
}

/// A task that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TaskView {
    /// Its number.
    pub task: u64,
    /// "pending", "running" or "retrying".
    pub status: &'static str,
    /// How often it was begun.
    pub attempts: u32,
    /// How long ago it was accepted.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::written::seconds"))]
    pub age: Duration,
    /// How long it has been so.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::written::seconds"))]
    pub lasted: Duration,
}

impl From<LiveTask> for TaskView {
    fn from(task: LiveTask) -> Self {
        Self {
            task: task.task.number(),
            status: task.status.as_str(),
            attempts: task.attempts,
            age: task.age,
            lasted: task.lasted,
        }
    }
}

impl fmt::Display for TaskView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {} {} for {:?}", self.task, self.status, self.lasted)
    }
}

impl Inspect for WorkerPool {
    const COMPONENT: &'static str = "pool";
    type View = PoolView;

    fn inspect(&self) -> Inspection<PoolView> {
        let weak = self.weak_view(LISTED);
        Inspection::new(move || {
            let seen = weak()?;
            let stats = seen.stats;
            Some(PoolView {
                workers: stats.workers,
                capacity: seen.capacity,
                queued: stats.queued,
                delayed: stats.delayed,
                running: stats.running,
                waiting: stats.waiting,
                submitted: stats.submitted,
                ended: stats.ended(),
                panicked: stats.panicked,
                dead_letters: seen.dead_letters,
                closed: seen.closed,
                oldest: seen.oldest,
                tasks: seen.tasks.into_iter().map(TaskView::from).collect(),
            })
        })
    }
}

impl From<PoolView> for View {
    fn from(view: PoolView) -> Self {
        Self::Pool(view)
    }
}
