//! A latch that many wait at.

#![forbid(unsafe_code)]

use crate::shim::{AtomicU64, Mutex, MutexGuard, Ordering};
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
    /// A copy of what `inner` says, written under its lock, for those who look without it.
    state: AtomicU64,
    inner: Mutex<Inner>,
}

struct Inner {
    open: bool,
    releases: u64,
    /// Each waiter with how many releases there had been when it joined. The list is in that order, since who joins has
    /// found, under the lock, no release that it did not know.
    waiters: List<u64>,
}

impl Inner {
    /// Whether someone may pass who came after `known` releases.
    fn passes(&self, known: u64) -> bool {
        self.open || self.releases != known
    }
}

impl Gate {
    /// A gate, open or closed.
    pub fn new(open: bool) -> Self {
        let inner = Inner { open, releases: 0, waiters: List::new() };
        Self { state: AtomicU64::new(u64::from(open)), inner: Mutex::new(inner) }
    }

    /// Whether it is open.
    #[inline]
    pub fn is_open(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `publish`: what was done before opening is seen behind the gate.
        self.state.load(Ordering::Acquire) & OPEN != 0
    }

    /// Opens the gate and releases everyone who waits. Says whether it was closed.
    pub fn open(&self) -> bool {
        let mut inner = self.inner.lock();
        if inner.open {
            return false;
        }
        inner.open = true;
        self.release(inner);
        true
    }

    /// Closes the gate. Says whether it was open. Whoever was released before stays released.
    pub fn close(&self) -> bool {
        let mut inner = self.inner.lock();
        let was_open = std::mem::replace(&mut inner.open, false);
        self.publish(&inner);
        was_open
    }

    /// Releases everyone who waits now and leaves the gate as it is: "look again".
    pub fn pulse(&self) {
        self.release(self.inner.lock());
    }

    /// Waits until the gate is open, or has been opened or pulsed since this call.
    ///
    /// To wait for a condition: make this future, look at the condition, then await it. A release in between is not lost.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    #[inline]
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
        self.inner.lock().waiters.len()
    }

    fn publish(&self, inner: &Inner) {
        // ORDERING: Release pairs with the Acquire loads of `is_open`, `wait` and `has_passed`. A store and no
        // read-modify-write, since all writers hold the lock.
        self.state.store(inner.releases * RELEASE + u64::from(inner.open), Ordering::Release);
    }

    /// One more release: ends the wait of all who have joined by now, and of nobody who joins while a batch is being woken.
    fn release(&self, mut inner: MutexGuard<'_, Inner>) {
        inner.releases += 1;
        self.publish(&inner);
        let due = inner.releases;
        let mut held = Some(inner);
        wake_all(|wakes| {
            let mut inner = held.take().unwrap_or_else(|| self.inner.lock());
            while inner.waiters.front().is_some_and(|joined| *joined < due) {
                if !wakes.has_room() {
                    return false;
                }
                inner.waiters.pop_front(Outcome::Granted, wakes);
            }
            true
        });
    }

    #[inline]
    fn has_passed(&self, known: u64) -> bool {
        // ORDERING: Acquire pairs with the Release in `publish`.
        let state = self.state.load(Ordering::Acquire);
        state & OPEN != 0 || state / RELEASE != known
    }

    #[inline(never)]
    fn poll_wait(&self, slot: Pin<&Slot<u64>>, known: u64, cx: &mut Context<'_>) -> Poll<()> {
        let mut waker = Some(cx.waker().clone());
        let mut inner = self.inner.lock();
        if inner.passes(known) {
            drop(inner);
            return Poll::Ready(());
        }
        let replaced = inner.waiters.join(slot, known, &mut waker);
        drop(inner);
        drop((replaced, waker));
        Poll::Pending
    }

    #[inline(never)]
    fn unlink(&self, slot: Pin<&Slot<u64>>) {
        let unlinked = self.inner.lock().waiters.unlink(slot);
        drop(unlinked);
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Gate");
        out.field("open", &self.is_open());
        // Whatever is written to may ask this gate.
        let waiters = self.inner.try_lock().map(|inner| inner.waiters.len());
        if let Some(waiters) = waiters {
            out.field("waiters", &waiters);
        }
        out.finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`Gate::wait`] (with `&Gate`) and of [`Gate::wait_owned`] (with `Arc<Gate>`).
    #[must_use = "futures do nothing unless polled"]
    pub struct GateWait<H: Deref<Target = Gate>> {
        gate: H,
        known: u64,
        #[pin]
        slot: Slot<u64>,
    }

    impl<H: Deref<Target = Gate>> PinnedDrop for GateWait<H> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if !this.slot.is_idle() {
                this.gate.unlink(this.slot.as_ref());
            }
        }
    }
}

impl<H: Deref<Target = Gate>> GateWait<H> {
    #[inline]
    fn new(gate: H) -> Self {
        // ORDERING: Acquire pairs with the Release in `publish`: a condition that is looked at after this is as new as the
        // last release that this knows.
        let known = gate.state.load(Ordering::Acquire) / RELEASE;
        Self { gate, known, slot: Slot::new() }
    }
}

impl<H: Deref<Target = Gate>> Future for GateWait<H> {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.gate.has_passed(*this.known) {
            return Poll::Ready(());
        }
        this.gate.poll_wait(this.slot.as_ref(), *this.known, cx)
    }
}

impl<H: Deref<Target = Gate>> fmt::Debug for GateWait<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateWait").field("gate", &*self.gate).finish_non_exhaustive()
    }
}
