//! Who waits on one side of the channel, and how they are woken.

use super::linger::Linger;
use crate::shim::{AtomicUsize, Mutex, Ordering, PATIENCE, load_seq_cst};
use crate::wait::{List, Outcome, Slot, Wakes, wake_all};
use std::pin::Pin;
use std::task::Waker;

/// Somebody is in the list. Set and cleared under its lock.
const WAITING: usize = 0b01;
/// Somebody was woken who has not yet acted on it. Set under the lock, cleared by whoever acts.
const ON_THE_WAY: usize = 0b10;
/// The rest is the position of the ring at the last wake-up.
const POSITION_SHIFT: u32 = 2;

/// The sleepers of one side: senders that wait for room, or receivers that wait for a value.
///
/// # Wake-ups
///
/// An operation that makes work for this side (a push for receivers, a pop for senders) calls [`notify`](Self::notify),
/// which wakes one sleeper, unless one is already on its way. Who was woken acts: it takes what there is and, if
/// there is more and others sleep, wakes the next. A burst of work so costs its maker one wake-up, and sleepers
/// are woken one by another for as long as there is work.
///
/// Whoever was woken owes this chain one link. The debt is paid in [`enter`](Self::enter) (there was nothing left) or in
/// [`leave`](Self::leave) (it took something, or its future was dropped).
///
/// A future may be woken and never polled. Its debt stays unpaid, so the others must not wait for it for ever: after
/// [`PATIENCE`] more operations the next sleeper is woken all the same; and so it is by an operation of the
/// other side that is about to wait itself ([`nudge`](Self::nudge)).
///
/// # Why no wake-up is lost
///
/// The maker of work claims a position of the ring and *then* loads the state; the sleeper sets `WAITING` and *then*
/// looks at the ring; whoever acts clears `ON_THE_WAY` and *then* looks at the ring. All are `SeqCst`, the writes
/// read-modify-writes, so one of the two sees the other (see "Sleepers" in `ring.rs`).
pub(super) struct Waiters {
    state: AtomicUsize,
    list: Mutex<List<()>>,
    linger: Linger,
}

impl Waiters {
    pub(super) fn new() -> Self {
        Self { state: AtomicUsize::new(0), list: Mutex::new(List::new()), linger: Linger::new() }
    }

    /// There is work, made at position `at` of the ring.
    #[inline]
    pub(super) fn notify(&self, at: usize) {
        // ORDERING: pairs with the read-modify-writes of `enter` and `settle`; see "Why no wake-up is lost".
        let state = load_seq_cst(&self.state);
        if state & WAITING != 0 {
            self.notify_waiting(state, at);
        }
    }

    #[inline(never)]
    fn notify_waiting(&self, state: usize, at: usize) {
        let since = (at << POSITION_SHIFT).wrapping_sub(state & !(WAITING | ON_THE_WAY)) >> POSITION_SHIFT;
        if state & ON_THE_WAY == 0 || since >= PATIENCE {
            self.wake_one(at);
        }
    }

    /// There is as much work as there can be and one sleeper on its way is not enough for it.
    #[inline]
    pub(super) fn nudge(&self) {
        // ORDERING: as in `notify`; but whoever put the work there has already looked, so nothing depends on it.
        let state = load_seq_cst(&self.state);
        if state & WAITING != 0 {
            self.wake_one(state >> POSITION_SHIFT);
        }
    }

    #[inline(never)]
    fn wake_one(&self, at: usize) {
        let mut wakes = Wakes::new();
        let mut list = self.list.lock();
        let others = match list.len() {
            0 => return,
            1 => 0,
            _ => WAITING | ON_THE_WAY | at << POSITION_SHIFT,
        };
        // Before the outcome is given, so that the one who acts on it finds the bit that it must clear.
        // Relaxed: the lock and the outcome carry it. (Late readers take the lock in vain, no more.)
        self.state.store(others, Ordering::Relaxed);
        list.pop_front(Outcome::Granted, &mut wakes);
        drop(list);
        wakes.wake();
    }

    /// Wakes everybody, for ever.
    pub(super) fn close(&self) {
        wake_all(|wakes| {
            let mut list = self.list.lock();
            let done = list.settle(wakes, |()| Some(Outcome::Closed));
            self.clear_if_empty(&list);
            done
        });
    }

    /// Puts a future to sleep that has found no work. False if there is work after all (`idle` says that there is none);
    /// then it tries again. `owing` says whether it owes the next link of the chain, before and after.
    pub(super) fn enter(
        &self,
        slot: Pin<&Slot<()>>,
        waker: &Waker,
        owing: &mut bool,
        idle: impl Fn() -> bool,
    ) -> bool {
        if let Some((outcome, ())) = slot.take() {
            *owing |= outcome == Outcome::Granted;
        }
        if !slot.is_idle() {
            // Polled again by somebody else than us. Any work made since it was linked has looked for sleepers.
            let mut fresh = Some(waker.clone());
            let replaced = self.list.lock().set_waker(slot, &mut fresh);
            drop((fresh, replaced));
            // It may have been woken before the lock was ours, and with the old waker.
            return slot.outcome().is_none();
        }
        if self.linger.until(|| !idle()) {
            return false;
        }
        let waker = waker.clone();
        let mut list = self.list.lock();
        if *owing {
            // ORDERING: SeqCst, before `idle` looks at the ring: what those have made who relied on us is seen there.
            self.state.fetch_and(!ON_THE_WAY, Ordering::SeqCst);
        }
        // ORDERING: SeqCst, before `idle` looks at the ring; pairs with the load in `notify`.
        self.state.fetch_or(WAITING, Ordering::SeqCst);
        if idle() {
            if *owing {
                // It has waited already.
                list.push_front(slot, (), waker);
            } else {
                list.push_back(slot, (), waker);
            }
            *owing = false;
            return true;
        }
        self.clear_if_empty(&list);
        drop(list);
        drop(waker);
        false
    }

    /// Ends a future that may sleep, may have been woken, or may never have waited. `work` gives the position of the ring
    /// if there is work for somebody else.
    #[inline]
    pub(super) fn leave(&self, slot: Pin<&Slot<()>>, owing: bool, work: impl FnOnce() -> Option<usize>) {
        if owing || !slot.is_idle() {
            self.leave_waiting(slot, owing, work);
        }
    }

    #[inline(never)]
    fn leave_waiting(&self, slot: Pin<&Slot<()>>, mut owing: bool, work: impl FnOnce() -> Option<usize>) {
        if !slot.is_idle() && slot.outcome().is_none() {
            let mut list = self.list.lock();
            let waker = list.unlink(slot);
            self.clear_if_empty(&list);
            drop(list);
            drop(waker);
        }
        if let Some((outcome, ())) = slot.take() {
            owing |= outcome == Outcome::Granted;
        }
        if owing {
            self.settle(work);
        }
    }

    /// Pays the debt of one who was woken.
    fn settle(&self, work: impl FnOnce() -> Option<usize>) {
        // Relaxed: what our own wake-up has set is seen, and if that is gone, another one has taken it over.
        if self.state.load(Ordering::Relaxed) == 0 {
            return;
        }
        // ORDERING: SeqCst, before `work` looks at the ring; pairs with the load in `notify`.
        let state = self.state.fetch_and(!ON_THE_WAY, Ordering::SeqCst);
        if state & WAITING != 0 {
            if let Some(at) = work() {
                self.wake_one(at);
            }
        }
    }

    /// The flag follows the list, under its lock.
    fn clear_if_empty(&self, list: &List<()>) {
        if list.is_empty() {
            // Relaxed: who reads the old value takes the lock in vain, no more.
            self.state.fetch_and(!WAITING, Ordering::Relaxed);
        }
    }
}
