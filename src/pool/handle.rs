//! What the submitter keeps of a task.

#![forbid(unsafe_code)]

use super::error::JoinError;
use super::shared::Shared;
use super::slot::Joint;
use crate::shim::{Arc, AtomicU64};
use crate::task::block_on;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// The number of a task in its pool: they are taken in in this order, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub(super) u64);

impl TaskId {
    /// The number.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// The claim to a task's result: a future of it.
///
/// Dropping the handle lets the task run on, and its result is dropped; with [`cancel_on_drop`](Self::cancel_on_drop) it
/// cancels the task. After the result has been given out the handle stays pending for ever.
///
/// # Cancel safety
/// Dropping a wait (`(&mut handle).await`) loses nothing.
#[must_use = "dropping the handle detaches the task; use `execute` for tasks whose end is of no interest"]
pub struct JoinHandle<T> {
    joint: Joint<T>,
    id: TaskId,
}

/// A delayed task, whose place in the queue is free at once when it is cancelled.
pub(super) struct Delayed {
    pub(super) pool: Arc<Shared>,
    pub(super) due: u64,
}

impl Delayed {
    /// Where withdrawals are counted.
    pub(super) fn withdrawn(&self) -> &AtomicU64 {
        &self.pool.books.withdrawn
    }
}

impl<T> JoinHandle<T> {
    #[inline]
    pub(super) fn new(joint: Joint<T>, id: TaskId) -> Self {
        Self { joint, id }
    }

    pub(super) fn set_id(&mut self, id: TaskId) {
        self.id = id;
    }

    /// Of a task that waits for its time.
    pub(super) fn delayed(mut self, delayed: Delayed) -> Self {
        self.joint.set_delayed(delayed);
        self
    }

    /// The number of the task.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Whether the task has ended. The result may be waiting here, or was given out already.
    pub fn is_finished(&self) -> bool {
        self.joint.is_done()
    }

    /// Cancels the task.
    ///
    /// One that waits in the queue is never run: its future is dropped here and now, and the handle is ready. (Its place
    /// in the queue is free when its turn comes; that of a delayed task, at once.) One that runs is dropped by its worker in place of the next poll; until
    /// then, if it gets ready, its result stands. Says whether this call made the difference: false, if the task has
    /// ended or was cancelled before.
    pub fn cancel(&self) -> bool {
        let Some(delayed) = self.joint.delayed() else { return self.joint.cancel() };
        // If the future panics as it is dropped, its place is free all the same.
        let cancelled = catch_unwind(AssertUnwindSafe(|| self.joint.cancel()));
        if !matches!(cancelled, Ok(false)) {
            delayed.pool.withdraw(self.id, delayed.due);
        }
        cancelled.unwrap_or_else(|payload| resume_unwind(payload))
    }

    /// Blocks this thread until the task has ended, for threads that run no executor. A worker of the same pool that waits so
    /// is one less to run the task.
    ///
    /// # Errors
    /// As awaiting the handle.
    pub fn wait(self) -> Result<T, JoinError> {
        block_on(self)
    }

    /// The same handle, which now cancels the task when it is dropped.
    pub fn cancel_on_drop(mut self) -> Self {
        self.joint.tie();
        self
    }
}

/// The result does not live in the handle.
impl<T> Unpin for JoinHandle<T> {}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.joint.poll(cx.waker())
    }
}

impl<T> Drop for JoinHandle<T> {
    #[inline]
    fn drop(&mut self) {
        if self.joint.is_tied() {
            self.cancel();
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("id", &self.id).field("finished", &self.is_finished()).finish()
    }
}
