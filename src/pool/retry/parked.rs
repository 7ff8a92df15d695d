//! How a task is reached that waits for its next attempt.

#![forbid(unsafe_code)]

use crate::panics::contain;
use crate::pool::handle::TaskId;
use crate::pool::shared::Shared;
use crate::shim::{Arc, AtomicBool, Ordering};
use std::sync::Arc as Owned;
use std::task::{Wake, Waker};
use std::time::Instant;

/// Is woken, in place of a worker, by whatever may end the task meanwhile: its handle, its context. The task is then due at
/// once, so that a worker comes and ends it.
///
/// It is made known before the task is in the queue. A wake that comes so early finds no task; it leaves a flag, at which
/// the worker looks when the task is in.
///
/// The queue holds the task, the task's cell this waker, and the waker the pool: a ring, which is open again when the task
/// is taken out, at the latest by who aborts the pool.
pub(in crate::pool) struct Parked {
    pool: Arc<Shared>,
    task: TaskId,
    due: Instant,
    woken: AtomicBool,
}

impl Parked {
    pub(in crate::pool) fn new(pool: &Arc<Shared>, task: TaskId, due: Instant) -> Owned<Self> {
        Owned::new(Self { pool: Arc::clone(pool), task, due, woken: AtomicBool::new(false) })
    }

    pub(in crate::pool) fn waker(self: &Owned<Self>) -> Waker {
        Waker::from(Owned::clone(self))
    }

    /// The task is in the queue now.
    pub(in crate::pool) fn is_in(&self) {
        // ORDERING: Acquire: after the lock of the queue, under which the task went in. A wake that looked there before has
        // raised the flag before it looked.
        if self.woken.load(Ordering::Acquire) {
            self.hasten();
        }
    }

    fn hasten(&self) {
        if let Some(managed) = self.pool.backlog.managed() {
            let call = managed.hasten(self.task, Some(self.due));
            contain(|| self.pool.heed(call));
        }
    }
}

impl Wake for Parked {
    fn wake(self: Owned<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Owned<Self>) {
        // ORDERING: Release: see `is_in`.
        self.woken.store(true, Ordering::Release);
        self.hasten();
    }
}
