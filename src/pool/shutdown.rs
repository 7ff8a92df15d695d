//! Waiting for the end of a pool.

#![forbid(unsafe_code)]

use super::shared::Shared;
use super::stats::ShutdownReport;
use crate::shim::Arc;
use crate::task::block_on;
use crate::time::Sleep;
use crate::wait::Slot;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

pin_project! {
    /// The future of [`WorkerPool::drain`](super::WorkerPool::drain) and
    /// [`WorkerPool::shutdown`](super::WorkerPool::shutdown).
    ///
    /// It does not borrow the pool, nor does it count as a handle on it.
    #[must_use = "futures do nothing unless polled"]
    pub struct Shutdown {
        shared: Arc<Shared>,
        limit: Option<Duration>,
        sleep: Option<Sleep>,
        #[pin]
        slot: Slot<()>,
    }

    impl PinnedDrop for Shutdown {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if !this.slot.is_idle() {
                let unlinked = this.shared.end.lock().waiting.unlink(this.slot.as_ref());
                drop(unlinked);
            }
        }
    }
}

impl Shutdown {
    pub(super) fn new(shared: Arc<Shared>, limit: Option<Duration>) -> Self {
        Self { shared, limit, sleep: None, slot: Slot::new() }
    }
}

impl Shutdown {
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Blocks this thread until the pool has ended, for threads that run no executor.
    pub fn wait(self) -> ShutdownReport {
        block_on(self)
    }
}

impl Future for Shutdown {
    type Output = ShutdownReport;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ShutdownReport> {
        let this = self.project();
        this.shared.close();
        // In line before the limit is looked at: the abort may be what ends it all.
        if let Some(report) = enlist(this.shared, this.slot.as_ref(), cx) {
            return Poll::Ready(report);
        }
        let Some(limit) = *this.limit else { return Poll::Pending };
        if !limit.is_zero() {
            let sleep = this.sleep.get_or_insert_with(|| this.shared.settings.clock.sleep(limit));
            if Pin::new(sleep).poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        *this.limit = None;
        *this.sleep = None;
        this.shared.abort(None);
        match enlist(this.shared, this.slot.as_ref(), cx) {
            Some(report) => Poll::Ready(report),
            None => Poll::Pending,
        }
    }
}

/// The report, or a place among those who wait for it.
fn enlist(shared: &Shared, slot: Pin<&Slot<()>>, cx: &Context<'_>) -> Option<ShutdownReport> {
    // Cloned and dropped outside the lock: both are the executor's code.
    let waker = cx.waker().clone();
    let mut end = shared.end.lock();
    if let Some(report) = end.report {
        let unlinked = end.waiting.unlink(slot);
        drop(end);
        slot.take();
        drop((unlinked, waker));
        return Some(report);
    }
    if slot.is_idle() {
        end.waiting.push_back(slot, (), waker);
        return None;
    }
    let mut fresh = Some(waker);
    let old = end.waiting.set_waker(slot, &mut fresh);
    drop(end);
    drop((old, fresh));
    None
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown")
            .field("pool", &self.shared.settings.name)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
