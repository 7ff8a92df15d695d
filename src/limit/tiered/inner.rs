//! The buckets, the queue and the alarm, put together.
//!
//! # Nobody is left waiting
//! `waiting` is how many wait, so that a decision where nobody does keeps away from the queue's mutex. A newcomer raises it
//! before his last look at his buckets, under the queue's mutex; whoever makes a bucket fuller (a refund, a resume, another
//! quota) reads it after that. Both touch the bucket under its own mutex, so one comes first: either the newcomer finds the
//! tokens, or the other one finds him counted, and serves. The mutex of the bucket orders the rest; the counter itself may be
//! relaxed.
//!
//! The locks: the queue's, then those of the [shards](super::shards).

use super::engine::Engine;
use super::event::TieredEvent;
use super::queue::Queue;
use crate::limit::alarm::Orders;
use crate::observe::Observers;
use crate::shim::{AtomicUsize, Mutex, MutexGuard, Ordering};
use crate::time::{Epoch, Sleep};
use crate::wait::wake_all;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

pub(super) struct Inner {
    pub(super) engine: Engine,
    pub(super) epoch: Epoch,
    pub(super) name: Option<Arc<str>>,
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
    pub(super) observers: Observers<TieredEvent>,
}

impl Inner {
    pub(super) fn new(engine: Engine, epoch: Epoch, name: Option<Arc<str>>, queue: Queue) -> Self {
        let (waiting, queue, observers) = (AtomicUsize::new(0), Mutex::new(queue), Observers::new());
        Self { engine, epoch, name, waiting, queue, observers }
    }

    /// Whether somebody waits, or is about to.
    #[inline]
    pub(super) fn somebody_waits(&self) -> bool {
        // Relaxed: see above.
        self.waiting.load(Ordering::Relaxed) != 0
    }

    /// Counts a newcomer before he looks at his buckets for the last time.
    pub(super) fn announce(&self) -> Queued<'_> {
        let queue = self.lock();
        // Relaxed: see above.
        self.waiting.store(queue.len() + 1, Ordering::Relaxed);
        Queued { waiting: &self.waiting, queue }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }

    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, Queue>> {
        self.queue.try_lock()
    }

    /// After a bucket has changed: serves those who wait.
    pub(super) fn changed(self: &Arc<Self>, now: u64) {
        if self.somebody_waits() {
            self.serve(now);
        }
    }

    /// Serves everybody who can be served at `now`, and sets the alarm for the next.
    pub(super) fn serve(self: &Arc<Self>, mut now: u64) {
        wake_all(|wakes| {
            let mut queue = self.lock();
            let done = queue.pass(&self.engine, now, wakes);
            self.waiting.store(queue.len(), Ordering::Relaxed);
            if !done {
                return false;
            }
            let due = queue.due();
            let orders = queue.alarm.set(due);
            drop(queue);
            if self.arm(orders) {
                // The time had come already.
                now = self.epoch.nanos();
                return false;
            }
            true
        });
    }

    /// Arms what was decided. True if the time has come already: then the alarm is to be set again.
    pub(super) fn arm(self: &Arc<Self>, orders: Orders) -> bool {
        let Orders { old, arm } = orders;
        drop(old);
        let Some((due, decision)) = arm else { return false };
        let mut sleep = match self.epoch.instant(due) {
            Some(instant) => self.epoch.clock().sleep_until(instant),
            None => Sleep::never(),
        };
        let waker = Waker::from(Arc::clone(self));
        match Pin::new(&mut sleep).poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => {
                let superseded = self.lock().alarm.rest(sleep, decision);
                drop(superseded);
                false
            }
            Poll::Ready(()) => {
                let old = self.lock().alarm.reset();
                drop(old);
                true
            }
        }
    }
}

/// The queue, locked by a newcomer who is counted already.
pub(super) struct Queued<'a> {
    waiting: &'a AtomicUsize,
    pub(super) queue: MutexGuard<'a, Queue>,
}

/// Counts those who wait in the end, the newcomer among them or not.
impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.waiting.store(self.queue.len(), Ordering::Relaxed);
    }
}

/// The waker of the alarm.
impl Wake for Inner {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let old = self.lock().alarm.reset();
        drop(old);
        self.serve(self.epoch.nanos());
    }
}
