//! All workers of a pool, to be driven by the user.

#![forbid(unsafe_code)]

use super::nudge::Nudge;
use super::worker::Worker;
use crate::shim::{AtomicBool, Ordering};
use crate::task::Spawn;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// The workers of a pool: as many futures as it has workers, which somebody must poll.
///
/// Give them to an executor one by one (it is an iterator of [`Worker`]s, or see [`spawn_on`](Self::spawn_on)), so that
/// they run in parallel; or await it all as one future, a [`Driver`], on the spot: then the tasks take turns on one
/// thread, and may wait concurrently.
///
/// Dropped before they have ended, they end the pool: it is closed, and what is queued is dropped and reported.
#[must_use = "a pool does nothing unless its workers are polled"]
pub struct Workers(pub(super) std::vec::IntoIter<Worker>);

impl Workers {
    /// Gives each worker to an executor.
    pub fn spawn_on(self, spawner: &(impl Spawn + ?Sized)) {
        for worker in self.0 {
            spawner.spawn(Box::pin(worker));
        }
    }
}

impl Iterator for Workers {
    type Item = Worker;

    fn next(&mut self) -> Option<Worker> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Workers {}

impl IntoFuture for Workers {
    type Output = ();
    type IntoFuture = Driver;

    fn into_future(self) -> Driver {
        let outer = Arc::new(Nudge::new());
        Driver { workers: self.0.map(|worker| Driven::new(worker, Arc::clone(&outer))).collect(), outer }
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("left", &self.0.len()).finish()
    }
}

/// All workers of a pool in one future, which polls those of them that were woken. Ends when the pool has.
///
/// # Cancel safety
/// Dropping it drops the workers, with what they run; see [`Worker`].
#[must_use = "futures do nothing unless polled"]
pub struct Driver {
    workers: Vec<Driven>,
    /// The waker of the driver's own task.
    outer: Arc<Nudge>,
}

struct Driven {
    worker: Pin<Box<Worker>>,
    bell: Arc<Bell>,
    waker: Waker,
    done: bool,
}

/// Says which worker was woken.
struct Bell {
    rung: AtomicBool,
    outer: Arc<Nudge>,
}

impl Driven {
    fn new(worker: Worker, outer: Arc<Nudge>) -> Self {
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), outer });
        Self { worker: Box::pin(worker), waker: Waker::from(Arc::clone(&bell)), bell, done: false }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // ORDERING: AcqRel: the driver that takes the bell down sees what it was rung for, also if it was rung before.
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.outer.wake();
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Before the bells are looked at: one that is rung from here on wakes this task.
        self.outer.set(cx.waker());
        let mut all_done = true;
        for driven in &mut self.workers {
            // ORDERING: as in `wake_by_ref`.
            if !driven.done && driven.bell.rung.swap(false, Ordering::AcqRel) {
                driven.done = driven.worker.as_mut().poll(&mut Context::from_waker(&driven.waker)).is_ready();
            }
            all_done &= driven.done;
        }
        if all_done { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.workers.iter().filter(|driven| !driven.done).count();
        f.debug_struct("Driver").field("left", &left).finish()
    }
}
