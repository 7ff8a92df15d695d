//! The word and the queue: every transition of the state table.

use super::error::Kind;
use super::order::{Order, Priority, Request};
use super::queue::{Queue, Want};
use super::{Semaphore, TryAcquireError};
use crate::shim::Ordering;
use crate::wait::{Outcome, Slot, Wakes};
use std::pin::Pin;
use std::task::{Poll, Waker};

/// Nobody may take permits any more.
pub(super) const CLOSED: u64 = 1;
/// Somebody waits and has not been woken: a release must look at the queue.
pub(super) const QUEUED: u64 = 2;
/// One permit.
const ONE: u64 = 4;

/// In barging order: after how many releases that passed woken waiters the next one is woken too.
const PATIENCE: u64 = 8;
/// One release that passed.
const PASSED: u64 = 1 << 32;

/// Free permits; negative while a shrink below what is in use waits for permits to come back.
#[inline]
pub(super) const fn free(word: u64) -> i64 {
    (word as i64) >> 2
}

#[inline]
pub(super) const fn permits(n: u32) -> u64 {
    ONE * n as u64
}

pub(super) fn clamp(free: i64) -> u32 {
    u32::try_from(free.max(0)).unwrap_or(u32::MAX)
}

impl Semaphore {
    /// The lock-free acquisition: true if the permits are taken.
    #[inline]
    pub(super) fn take_free(&self, n: u32) -> bool {
        // Relaxed: only a guess for the compare-and-swap, which orders.
        let mut word = self.word.load(Ordering::Relaxed);
        while word & self.barred == 0 && free(word) >= i64::from(n) && n != 0 {
            // ORDERING: Acquire pairs with the Release of `release`: see "Memory ordering" of the type.
            match self.word.compare_exchange_weak(
                word,
                word - permits(n),
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    #[inline]
    pub(super) fn try_take(&self, n: u32) -> Result<(), TryAcquireError> {
        if self.take_free(n) { Ok(()) } else { self.try_take_slow(n) }
    }

    /// Says why not, or takes after all where `QUEUED` was left behind by waiters that gave up.
    #[cold]
    fn try_take_slow(&self, n: u32) -> Result<(), TryAcquireError> {
        let queue = self.queue.lock();
        let word = self.word.load(Ordering::Acquire);
        if word & CLOSED != 0 {
            Err(TryAcquireError::CLOSED)
        } else if n == 0 || n > queue.capacity {
            Err(TryAcquireError::weight(n, queue.capacity))
        } else if queue.is_empty() && self.take_locked(&queue, n) {
            Ok(())
        } else {
            Err(TryAcquireError::no_permits(n, clamp(free(word))))
        }
    }

    /// Takes permits under the lock if there are enough, past `QUEUED`: the caller has seen that nobody is ahead.
    /// Clears `QUEUED` where nobody waits.
    fn take_locked(&self, queue: &Queue, n: u32) -> bool {
        let keep = if queue.is_empty() { !QUEUED } else { !0 };
        let mut word = self.word.load(Ordering::Relaxed);
        while word & CLOSED == 0 && free(word) >= i64::from(n) {
            let taken = (word - permits(n)) & keep;
            match self.word.compare_exchange_weak(word, taken, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Gives permits back.
    #[inline]
    pub(super) fn release(&self, n: u32) {
        // ORDERING: Release pairs with the Acquire of whoever takes these permits.
        let old = self.word.fetch_add(permits(n), Ordering::Release);
        if old & QUEUED != 0 {
            self.release_to_waiters(free(old) + i64::from(n));
        }
    }

    #[inline(never)]
    fn release_to_waiters(&self, free: i64) {
        if self.order == Order::Barging {
            // ORDERING: a read-modify-write on both sides (here and in `disclaim`): either the claimant's comes later
            // and it sees our permits, or ours comes later and sees the claim gone.
            let claims = self.claims.fetch_add(PASSED, Ordering::AcqRel);
            let claimed = i64::from(claims as u32);
            if free <= claimed && (claims / PASSED) % PATIENCE != PATIENCE - 1 {
                return;
            }
        }
        self.hand_over();
    }

    /// Gives waiters what they can have. Wakes outside the lock, in batches.
    pub(super) fn hand_over(&self) {
        let mut wakes = Wakes::new();
        loop {
            let mut queue = self.queue.lock();
            let done = self.serve(&mut queue, &mut wakes, true);
            drop(queue);
            wakes.wake();
            if done {
                return;
            }
        }
    }

    /// One batch of handing over. False if the batch is full and there may be more.
    fn serve(&self, queue: &mut Queue, wakes: &mut Wakes, released: bool) -> bool {
        match self.order {
            Order::Barging => self.invite(queue, wakes, released),
            _ => self.grant(queue, wakes),
        }
    }

    /// Strict orders: hands permits to the first in line, and so on.
    fn grant(&self, queue: &mut Queue, wakes: &mut Wakes) -> bool {
        loop {
            let Some((class, want)) = queue.first() else {
                // Relaxed: the flag is read back only under this lock, or by a release that then takes it.
                self.word.fetch_and(!QUEUED, Ordering::Relaxed);
                return true;
            };
            // ORDERING: Acquire: the permits' last holders happen before the waiter that is granted here.
            if free(self.word.load(Ordering::Acquire)) < i64::from(want) {
                return true;
            }
            if !wakes.has_room() {
                return false;
            }
            queue.grant(class, wakes);
            // Nobody else takes while `QUEUED` is set. With nobody left, the flag goes in the same operation.
            let flag = if queue.is_empty() { QUEUED } else { 0 };
            self.word.fetch_sub(permits(want) + flag, Ordering::Acquire);
            if flag != 0 {
                return true;
            }
        }
    }

    /// Barging: wakes waiters, in order, for the free permits that no woken waiter has been told of. After a release
    /// the first is woken in any case if it fits: those who were woken before it may never come.
    fn invite(&self, queue: &mut Queue, wakes: &mut Wakes, released: bool) -> bool {
        let free = free(self.word.load(Ordering::Acquire));
        let mut insist = released;
        loop {
            let Some(want) = queue.first_asleep() else {
                // Relaxed: as in `grant`.
                self.word.fetch_and(!QUEUED, Ordering::Relaxed);
                return true;
            };
            let claimed = i64::from(self.claims.load(Ordering::Acquire) as u32);
            let spare = if insist { free } else { free - claimed };
            if i64::from(want.permits) > spare {
                return true;
            }
            if !wakes.has_room() {
                return false;
            }
            insist = false;
            want.claim = want.permits;
            self.claims.fetch_add(u64::from(want.permits), Ordering::AcqRel);
            queue.invite(wakes);
        }
    }

    /// Barging: a woken waiter has come, or is gone.
    fn disclaim(&self, want: &mut Want) {
        if want.claim > 0 {
            self.claims.fetch_sub(u64::from(std::mem::take(&mut want.claim)), Ordering::AcqRel);
        }
    }

    /// Ends the waits of which `how` says so, in batches.
    pub(super) fn end_waits(&self, how: impl Fn(&Want) -> Option<Outcome>) {
        let mut wakes = Wakes::new();
        loop {
            let mut queue = self.queue.lock();
            let done = queue.settle(&mut wakes, |want| {
                let outcome = how(want)?;
                self.disclaim(want);
                Some(outcome)
            });
            drop(queue);
            wakes.wake();
            if done {
                return;
            }
        }
    }

    /// Ends the waits that a lower capacity makes hopeless.
    pub(super) fn end_hopeless(&self, capacity: u32) {
        self.end_waits(|want| (want.permits > capacity || capacity == 0).then_some(Outcome::Impossible));
    }

    /// Takes the permits or gets in line.
    #[inline]
    pub(super) fn enqueue(
        &self,
        slot: Pin<&Slot<Want>>,
        request: &Request,
        waker: &Waker,
    ) -> Poll<Result<u32, Kind>> {
        // Foreign code, so before the lock: the waker's clone, the clock.
        let waker = waker.clone();
        let (class, key) = self.rank(request.priority);
        let mut queue = self.queue.lock();
        let n = if request.all { queue.capacity } else { request.permits };
        let word = self.word.load(Ordering::Acquire);
        let refused = if word & CLOSED != 0 {
            Kind::Closed
        } else if n == 0 || n > queue.capacity {
            Kind::Weight { wanted: n, capacity: queue.capacity }
        } else {
            // Publish that somebody waits, then look: see "why no wake-up is lost". Where the flag is set already it
            // stays set until we let go of the lock, and publishing again would change nothing.
            if word & QUEUED == 0 {
                self.word.fetch_or(QUEUED, Ordering::AcqRel);
            }
            if !queue.is_behind_others(self.order, key) && self.take_locked(&queue, n) {
                drop(queue);
                return Poll::Ready(Ok(n));
            }
            if queue.len() < request.max_waiting as usize {
                let want = Want { permits: n, all: request.all, class, key, claim: 0 };
                queue.link(slot, want, waker, self.order);
                return Poll::Pending;
            }
            if queue.is_empty() {
                self.word.fetch_and(!QUEUED, Ordering::Relaxed);
            }
            Kind::QueueFull { allowed: request.max_waiting }
        };
        drop(queue);
        drop(waker);
        Poll::Ready(Err(refused))
    }

    /// The class and place in line in [`Order::Priority`]: arrival, later by `ageing` for each class below the highest.
    /// Since all age alike, the order of two requests never changes while they wait.
    fn rank(&self, priority: Priority) -> (u8, u64) {
        match self.order {
            Order::Priority { ageing } => {
                let ageing = u64::try_from(ageing.as_nanos()).unwrap_or(u64::MAX);
                let below = Priority::Critical as u64 - priority as u64;
                (priority as u8, self.epoch.nanos().saturating_add(ageing.saturating_mul(below)))
            }
            _ => (0, 0),
        }
    }

    /// A linked slot is polled again: the task's waker may be another now, and in barging order it may take its chance.
    pub(super) fn poll_linked(&self, slot: Pin<&Slot<Want>>, waker: &Waker) -> Poll<u32> {
        let mut fresh = Some(waker.clone());
        let mut queue = self.queue.lock();
        if self.order != Order::Barging {
            let replaced = queue.set_waker(slot, &mut fresh);
            drop(queue);
            drop((replaced, fresh));
            return Poll::Pending;
        }
        let Some(want) = queue.wanted(slot) else { return Poll::Pending };
        let taken = self.take_locked(&queue, want.permits);
        let replaced = if taken || want.claim > 0 {
            let Some((mut want, old)) = queue.unlink(slot) else { return Poll::Pending };
            self.disclaim(&mut want);
            if let Some(waker) = fresh.take_if(|_| !taken) {
                // Woken, and too late: back to the old place. What was released meanwhile is seen below.
                self.word.fetch_or(QUEUED, Ordering::AcqRel);
                queue.relink(slot, want, waker);
            }
            old
        } else {
            queue.set_waker(slot, &mut fresh)
        };
        let mut wakes = Wakes::new();
        let done = self.invite(&mut queue, &mut wakes, false);
        drop(queue);
        drop((replaced, fresh));
        wakes.wake();
        if !done {
            self.hand_over();
        }
        if taken { Poll::Ready(want.permits) } else { Poll::Pending }
    }

    /// Takes a waiter out of line, and lets those behind it move up.
    pub(super) fn leave(&self, slot: Pin<&Slot<Want>>) {
        let mut queue = self.queue.lock();
        let Some((mut want, waker)) = queue.unlink(slot) else { return };
        self.disclaim(&mut want);
        let mut wakes = Wakes::new();
        // With nobody left, `QUEUED` stays behind; the next release or acquisition that meets it takes it away.
        let done = queue.is_empty() || self.serve(&mut queue, &mut wakes, false);
        drop(queue);
        drop(waker);
        wakes.wake();
        if !done {
            self.hand_over();
        }
    }
}
