//! What a pool tells about its tasks and workers.

#![forbid(unsafe_code)]

use super::error::Ending;
use super::handle::TaskId;
use std::fmt;
use std::time::Duration;

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It came to its own end. For a task that may be repeated that means: with a result that is no error.
    Completed,
    /// It may be repeated, and ended with an error for good: the last one.
    Failed,
    /// It panicked.
    Panicked,
    /// It was cancelled: by its handle, by its number, with its context, by the pool's wrapper, or while it ran when the
    /// time to shut down was over.
    Cancelled,
    /// It ran longer than it may.
    TimedOut,
    /// It was too old when its turn came, and was never run.
    Expired,
    /// The pool came to its end first.
    Dropped,
    /// The pool came to its end before it was begun, and it was given to who asked for what was left; see
    /// [`Shutdown::hand_back`](super::Shutdown::hand_back).
    HandedBack,
}

impl Outcome {
    pub(super) fn of(ending: Option<Ending>) -> Self {
        match ending {
            None => Self::Completed,
            Some(Ending::Panicked) => Self::Panicked,
            Some(Ending::Cancelled) => Self::Cancelled,
            Some(Ending::TimedOut) => Self::TimedOut,
            Some(Ending::Expired) => Self::Expired,
            Some(Ending::Dropped) => Self::Dropped,
            Some(Ending::HandedBack) => Self::HandedBack,
        }
    }

    /// The outcome in one lower-case word, for logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed out",
            Self::Expired => "expired",
            Self::Dropped => "dropped",
            Self::HandedBack => "handed back",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The end of one task, told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskReport {
    /// The task.
    pub task: TaskId,
    /// How it ended.
    pub outcome: Outcome,
    /// How often it was begun: 0 if it never ran, more than 1 if it was repeated.
    pub attempts: u32,
    /// From its acceptance until a worker first took it up, or until its end if none did.
    pub waited: Duration,
    /// How long workers had it, all attempts together.
    pub ran: Duration,
    /// The index of the worker that had it last; `None` if none had.
    pub worker: Option<usize>,
}

/// Something happened in a pool.
///
/// Observers see the events of one pool in one order, which agrees with the order in which they happened: a task is
/// `Submitted`, then `Started`, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolEvent {
    /// A task was accepted.
    Submitted {
        /// The task.
        task: TaskId,
        /// Tasks in the queue just then, this one included if no worker has taken it up yet.
        queued: usize,
    },
    /// A worker has taken a task up.
    Started {
        /// The task.
        task: TaskId,
        /// 1 at the first time, more if the task is repeated.
        attempt: u32,
        /// From its acceptance, or from the end of the attempt before, until now.
        waited: Duration,
        /// The index of the worker.
        worker: usize,
    },
    /// An attempt failed, and the task went back into the queue.
    Retrying {
        /// The task.
        task: TaskId,
        /// The attempt that failed, counted from 1.
        attempt: u32,
        /// How long the task now waits before it may be taken up again.
        delay: Duration,
    },
    /// A task has ended.
    Ended(TaskReport),
    /// A task that failed for good was put among the dead letters.
    DeadLettered {
        /// The task.
        task: TaskId,
        /// The oldest dead letter, which had to make place for it.
        displaced: Option<TaskId>,
    },
    /// A worker was polled for the first time.
    WorkerStarted {
        /// The index of the worker.
        worker: usize,
    },
    /// A worker has ended, or was dropped.
    WorkerStopped {
        /// The index of the worker.
        worker: usize,
    },
}
