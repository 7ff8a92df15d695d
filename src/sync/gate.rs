//! A latch that many wait at.

#![forbid(unsafe_code)]

use crate::shim::{AtomicU64, Mutex, Ordering};
use crate::wait::{List, Outcome, Slot, wake_all};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

const OPEN: u64 = 1;
const RELEASE: u64 = 2;

/// A gate that is open or closed. Everyone who [`wait`](Self::wait)s passes while it is open, and waits while it is
/// closed.
///
/// For pausing and resuming, "ready" and "drained" signals, a start shot. To end work for good and say why, use a
/// [`CancelToken`](super::CancelToken); to let a number through, a [`Semaphore`](super::Semaphore).
///
/// Passing an open gate is one load; nothing on this path takes a lock. Waiting allocates nothing. Everyone who waits is
/// released at once, woken in the order of arrival, outside the lock. A release is never missed: it counts for all
/// whose future had been *made* by then, polled or not, even if the gate is closed again before they look.
///
/// ```
/// use cofferdam::sync::Gate;
///
/// # futures_executor::block_on(async {
/// let gate = Gate::new(false);
/// let waiting = gate.wait();
/// gate.open();
/// gate.close();
/// waiting.await;
/// assert!(!gate.is_open());
/// # });
/// ```
pub struct Gate {
    /// | bits | meaning |
    /// |---|---|
    /// | 0 | open |
    /// | 1..64 | how many releases ([`open`](Gate::open) of a closed gate, [`pulse`](Gate::pulse)) there have been |
    ///
    /// Written under the lock.
    state: AtomicU64,
    /// Each waiter with how many releases there had been when it joined. The list is in that order, since who joins
    /// under the lock has found no release that it did not know.
    waiters: Mutex<List<u64>>,
}

impl Gate {
    /// A gate, open or closed.
    pub fn new(open: bool) -> Self {
        Self { state: AtomicU64::new(if open { OPEN } else { 0 }), waiters: Mutex::new(List::new()) }
    }

    /// Whether it is open.
    #[inline]
    pub fn is_open(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `change`: what was done before opening is seen behind the gate.
        self.state.load(Ordering::Acquire) & OPEN != 0
    }

    /// Opens the gate and releases everyone who waits. Says whether it was closed.
    pub fn open(&self) -> bool {
        let closed = self
            .change(|state| if state & OPEN == 0 { (state | OPEN).wrapping_add(RELEASE) } else { state })
            & OPEN
            == 0;
        if closed {
            self.release();
        }
        closed
    }

    /// Closes the gate. Says whether it was open. Whoever was released before stays released.
    pub fn close(&self) -> bool {
        self.change(|state| state & !OPEN) & OPEN != 0
    }

    /// Releases everyone who waits now and leaves the gate as it is: "look again".
    pub fn pulse(&self) {
        self.change(|state| state.wrapping_add(RELEASE));
        self.release();
    }

    /// Waits until the gate is open, or has been opened or pulsed since this call.
    ///
    /// To wait for a condition: make this future, look at the condition, then await it. A release in between is not lost.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub fn wait(&self) -> GateWait<&Self> {
        GateWait::new(self)
    }

    /// As [`wait`](Self::wait), in a future that owns its gate.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub fn wait_owned(self: &Arc<Self>) -> GateWait<Arc<Self>> {
        GateWait::new(Arc::clone(self))
    }

    /// How many are waiting. A hint: it may be old by the time it is read.
    pub fn waiters(&self) -> usize {
        self.waiters.lock().len()
    }

    /// The state before the change.
    fn change(&self, to: impl FnOnce(u64) -> u64) -> u64 {
        let waiters = self.waiters.lock();
        // Relaxed: written only under this lock.
        let before = self.state.load(Ordering::Relaxed);
        // ORDERING: Release pairs with the Acquire loads of `is_open` and `GateWait`.
        self.state.store(to(before), Ordering::Release);
        drop(waiters);
        before
    }

    /// Ends the wait of all that have been released by now, and of nobody who joins while a batch is being woken.
    fn release(&self) {
        let mut due = None;
        wake_all(|wakes| {
            let mut waiters = self.waiters.lock();
            // Relaxed: written only under this lock.
            let due = *due.get_or_insert_with(|| self.state.load(Ordering::Relaxed) / RELEASE);
            while waiters.front().is_some_and(|joined| *joined < due) {
                if !wakes.has_room() {
                    return false;
                }
                waiters.pop_front(Outcome::Granted, wakes);
            }
            true
        });
    }

    fn poll_wait(&self, slot: Pin<&Slot<u64>>, made: u64, cx: &mut Context<'_>) -> Poll<()> {
        let passes = |state: u64| state & OPEN != 0 || state / RELEASE != made;
        // ORDERING: Acquire pairs with the Release in `change`.
        if passes(self.state.load(Ordering::Acquire)) {
            return Poll::Ready(());
        }
        let mut waker = Some(cx.waker().clone());
        let mut waiters = self.waiters.lock();
        // Relaxed: written only under this lock, and what was done before the writing is seen by way of it.
        if passes(self.state.load(Ordering::Relaxed)) {
            drop(waiters);
            return Poll::Ready(());
        }
        let replaced = waiters.join(slot, made, &mut waker);
        drop(waiters);
        drop((replaced, waker));
        Poll::Pending
    }

    fn unlink(&self, slot: Pin<&Slot<u64>>) {
        if !slot.is_idle() {
            let unlinked = self.waiters.lock().unlink(slot);
            drop(unlinked);
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Gate");
        out.field("open", &self.is_open());
        if let Some(waiters) = self.waiters.try_lock() {
            out.field("waiters", &waiters.len());
        }
        out.finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`Gate::wait`] (with `&Gate`) and of [`Gate::wait_owned`] (with `Arc<Gate>`).
    #[must_use = "futures do nothing unless polled"]
    pub struct GateWait<H: Deref<Target = Gate>> {
        gate: H,
        made: u64,
        #[pin]
        slot: Slot<u64>,
    }

    impl<H: Deref<Target = Gate>> PinnedDrop for GateWait<H> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            this.gate.unlink(this.slot.as_ref());
        }
    }
}

impl<H: Deref<Target = Gate>> GateWait<H> {
    fn new(gate: H) -> Self {
        // ORDERING: Acquire, so that a condition looked at after this is not older than the last release.
        let made = gate.state.load(Ordering::Acquire) / RELEASE;
        Self { gate, made, slot: Slot::new() }
    }
}

impl<H: Deref<Target = Gate>> Future for GateWait<H> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.gate.poll_wait(this.slot.as_ref(), *this.made, cx)
    }
}

impl<H: Deref<Target = Gate>> fmt::Debug for GateWait<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateWait").field("gate", &*self.gate).finish_non_exhaustive()
    }
}
