//! The word and the queue: every transition of the state table.

use super::error::Kind;
use super::order::{Priority, Request, Rule};
use super::permit::Permit;
use super::queue::{Queue, Want};
use super::{AcquireError, Semaphore, TryAcquireError};
use crate::shim::{MutexGuard, Ordering};
use crate::wait::{Outcome, Slot, Wakes, wake_all, wake_and_go_on};
use std::pin::Pin;
use std::task::{Poll, Waker};

/// Nobody may take permits any more.
pub(super) const CLOSED: u64 = 1;
/// Somebody waits and has not been woken: a release must look at the queue.
pub(super) const QUEUED: u64 = 2;
/// One waiter that was woken to compete and has not come.
const INVITED: u64 = 4;
const INVITED_MAX: u64 = (1 << 21) - 1;
/// Somebody observes: bars the way in passing, so that all that happens is told of.
pub(super) const WATCHED: u64 = 1 << 23;
/// One permit.
const ONE: u64 = 1 << 24;

/// In barging order: after how many releases that passed woken waiters the next one is woken too.
const PATIENCE: u32 = 8;

/// Free permits; negative while a shrink below what is in use waits for permits to come back.
#[inline]
pub(super) const fn free(word: u64) -> i64 {
    (word as i64) >> 24
}

#[inline]
const fn invited(word: u64) -> u64 {
    (word / INVITED) & INVITED_MAX
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
    pub(crate) fn take_free(&self, n: u32) -> bool {
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

    /// Whether `n` permits are not to be had since too few are free, where that can be said without the lock: nobody waits, and it
    /// is not closed. Then the capacity (beside a change of that, the old one or the new).
    #[inline]
    #[allow(dead_code, reason = "asked by bulkheads")]
    pub(crate) fn lacks(&self, n: u32) -> Option<u32> {
        // ORDERING: Acquire pairs with the change of the word in `resize` and `forget`: who sees it sees the capacity.
        let word = self.word.load(Ordering::Acquire);
        // None but the free: no waiter is linked, and none is on his way.
        let quiet = word & (ONE - 1) == 0;
        let capacity = self.capacity.load(Ordering::Relaxed);
        (quiet && free(word) < i64::from(n) && n <= capacity).then_some(capacity)
    }

    /// Under the lock, before the word is changed.
    pub(super) fn set_capacity(&self, queue: &mut Queue, capacity: u32) {
        queue.set_capacity(capacity);
        self.capacity.store(capacity, Ordering::Relaxed);
    }

    /// The time of its waits.
    #[allow(dead_code, reason = "used by the rooms behind features")]
    pub(crate) fn epoch(&self) -> &crate::time::Epoch {
        &self.epoch
    }

    #[inline]
    pub(crate) fn try_take(&self, n: u32) -> Result<(), TryAcquireError> {
        if self.take_free(n) { Ok(()) } else { self.try_take_slow(|_| n).map(drop) }
    }

    #[inline]
    pub(super) fn try_take_all(&self) -> Result<u32, TryAcquireError> {
        self.try_take_slow(|capacity| capacity)
    }

    /// Says why not, or takes after all where `QUEUED` was left behind by waiters that gave up.
    #[cold]
    fn try_take_slow(&self, wanted: impl FnOnce(u32) -> u32) -> Result<u32, TryAcquireError> {
        let (n, result) = self.try_take_locked(wanted);
        self.tell_tried(n, &result);
        result
    }

    /// What was wanted, and whether it was there.
    fn try_take_locked(&self, wanted: impl FnOnce(u32) -> u32) -> (u32, Result<u32, TryAcquireError>) {
        let queue = self.queue.lock();
        let n = wanted(queue.capacity);
        let word = self.word.load(Ordering::Acquire);
        let result = if word & CLOSED != 0 {
            Err(TryAcquireError::CLOSED)
        } else if n == 0 || n > queue.most() {
            Err(TryAcquireError::weight(n, queue.capacity))
        } else if (self.rule == Rule::Barging || queue.is_empty()) && self.take_locked(&queue, n, 0) {
            Ok(n)
        } else {
            Err(TryAcquireError::no_permits(n, clamp(free(word))))
        };
        (n, result)
    }

    /// Takes permits under the lock if there are enough, past `QUEUED`: the caller has seen that nobody is ahead.
    /// Clears `QUEUED` where nobody is asleep; takes `invitation` off the word together with the permits.
    #[inline]
    fn take_locked(&self, queue: &Queue, n: u32, invitation: u64) -> bool {
        let keep = if queue.nobody_asleep() { !QUEUED } else { !0 };
        let mut word = self.word.load(Ordering::Relaxed);
        while word & CLOSED == 0 && free(word) >= i64::from(n) {
            let taken = (word - permits(n) - invitation) & keep;
            // ORDERING: as in `take_free`.
            match self.word.compare_exchange_weak(word, taken, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Gives permits back.
    #[inline]
    pub(crate) fn release(&self, n: u32) {
        // ORDERING: Release pairs with the Acquire of whoever takes these permits.
        let old = self.word.fetch_add(permits(n), Ordering::Release);
        if old & QUEUED != 0 {
            self.release_to_waiters(old, n);
        }
    }

    #[inline(never)]
    fn release_to_waiters(&self, old: u64, n: u32) {
        // Those who are on their way will find what is free. (None is ever on its way in a strict order.)
        let invited = invited(old);
        if invited > 0 && free(old) + i64::from(n) <= invited as i64 {
            // Not one read-modify-write: that two releases now and then count as one only delays a courtesy.
            let passed = self.passed.load(Ordering::Relaxed).wrapping_add(1);
            self.passed.store(passed, Ordering::Relaxed);
            if passed % PATIENCE != 0 {
                return;
            }
        }
        self.hand_over();
    }

    /// Gives waiters what they can have. Wakes outside the lock, in batches.
    pub(super) fn hand_over(&self) {
        wake_all(|wakes| self.serve(&mut self.queue.lock(), wakes, true));
    }

    /// One batch of handing over. False if the batch is full and there may be more.
    #[inline]
    fn serve(&self, queue: &mut Queue, wakes: &mut Wakes, released: bool) -> bool {
        match self.rule {
            Rule::Barging => self.invite(queue, wakes, released),
            _ => self.grant(queue, wakes),
        }
    }

    /// Strict orders: hands permits to the first in line, and so on.
    fn grant(&self, queue: &mut Queue, wakes: &mut Wakes) -> bool {
        loop {
            let Some((class, want)) = queue.first(self.rule) else {
                // Relaxed: the flag is read back only under this lock, or by a release that then takes it.
                self.word.fetch_and(!QUEUED, Ordering::Relaxed);
                return true;
            };
            // ORDERING: Acquire: the permits' last holders happen before the waiter that is granted here.
            let word = self.word.load(Ordering::Acquire);
            // Once closed, whoever still waits is about to be told so.
            if free(word) < i64::from(want) || word & CLOSED != 0 {
                return true;
            }
            if !wakes.has_room() {
                return false;
            }
            // Nobody else takes while `QUEUED` is set. With nobody left, the flag goes in the same operation. Before the
            // grant: its waiter may give the permits back at once, and there are never more free than there are.
            let last = queue.len() == 1;
            self.word.fetch_sub(permits(want) + if last { QUEUED } else { 0 }, Ordering::Acquire);
            queue.grant(class, wakes);
            if last {
                return true;
            }
        }
    }

    /// Barging: wakes waiters, in order, for the free permits that no woken waiter has been told of. After a release
    /// the first is woken in any case if it fits: those who were woken before it may never come.
    fn invite(&self, queue: &mut Queue, wakes: &mut Wakes, released: bool) -> bool {
        let mut word = self.word.load(Ordering::Acquire);
        let mut insist = released;
        loop {
            let Some(want) = queue.first_asleep() else {
                if word & QUEUED != 0 {
                    // Relaxed: as in `grant`.
                    self.word.fetch_and(!QUEUED, Ordering::Relaxed);
                }
                return true;
            };
            let spare = if insist { free(word) } else { free(word) - queue.claimed() as i64 };
            if i64::from(want) > spare || invited(word) == INVITED_MAX {
                return true;
            }
            if !wakes.has_room() {
                return false;
            }
            insist = false;
            queue.invite(wakes);
            // With nobody asleep any more, the flag goes in the same operation.
            let last = queue.first_asleep().is_none();
            let change = INVITED - if last { word & QUEUED } else { 0 };
            word = self.word.fetch_add(change, Ordering::AcqRel).wrapping_add(change);
            if last {
                return true;
            }
        }
    }

    /// Ends all waits.
    pub(super) fn end_waits(&self) {
        wake_all(|wakes| self.settle(&mut self.queue.lock(), wakes, |_| Some(Outcome::Closed)));
    }

    /// After a change of the capacity: ends the waits that it makes hopeless, then gives the others what they can have.
    pub(super) fn follow_capacity(&self) {
        let mut settled = false;
        wake_all(|wakes| {
            let queue = &mut *self.queue.lock();
            // As it is by now: it may have been changed once more, and this is asked of later comers too.
            let most = queue.most();
            if !settled {
                settled =
                    self.settle(queue, wakes, |want| (want.permits > most).then_some(Outcome::Impossible));
            }
            settled && self.serve(queue, wakes, true)
        });
    }

    /// One batch of ending the waits of which `how` says so. False if the batch is full and there may be more.
    fn settle(&self, queue: &mut Queue, wakes: &mut Wakes, how: impl Fn(&Want) -> Option<Outcome>) -> bool {
        let (done, invitations) = queue.settle(wakes, how);
        self.word.fetch_sub(INVITED * invitations, Ordering::AcqRel);
        done
    }

    /// Takes the permits or gets in line.
    #[inline]
    pub(super) fn enqueue(
        &self,
        slot: Pin<&Slot<Want>>,
        request: &Request,
        waker: &Waker,
    ) -> Poll<Result<u32, AcquireError>> {
        let polled = if self.rule == Rule::Priority {
            self.enqueue_ranked(slot, request, waker)
        } else {
            self.enqueue_at(slot, request, waker, (0, 0))
        };
        self.tell_entered(request, &polled);
        polled
    }

    /// Kept apart, so that the other orders do not carry the clock and the classes with them.
    #[inline(never)]
    fn enqueue_ranked(
        &self,
        slot: Pin<&Slot<Want>>,
        request: &Request,
        waker: &Waker,
    ) -> Poll<Result<u32, AcquireError>> {
        self.enqueue_at(slot, request, waker, self.rank(request.priority))
    }

    #[inline(always)]
    fn enqueue_at(
        &self,
        slot: Pin<&Slot<Want>>,
        request: &Request,
        waker: &Waker,
        (class, key): (u8, u64),
    ) -> Poll<Result<u32, AcquireError>> {
        // Foreign code, so before the lock: the waker's clone (and the clock, by now).
        let (waker, since) = (waker.clone(), self.wait_began());
        let mut queue = self.queue.lock();
        let n = if request.all { queue.capacity } else { request.permits };
        let word = self.word.load(Ordering::Acquire);
        if word & CLOSED != 0 || n == 0 || n > queue.most() {
            return Poll::Ready(Err(self.refuse(queue, waker, n, request)));
        }
        // Publish that somebody waits, then look: see "why no wake-up is lost". Where the flag is set already it
        // stays set until we let go of the lock, and publishing again would change nothing.
        if word & QUEUED == 0 {
            self.word.fetch_or(QUEUED, Ordering::AcqRel);
        }
        if !queue.is_behind_others(self.rule, class, key) && self.take_locked(&queue, n, 0) {
            drop(queue);
            let taken = Permit::new(self, n);
            drop(waker);
            return Poll::Ready(Ok(taken.into_count()));
        }
        if queue.len() >= request.max_waiting as usize {
            return Poll::Ready(Err(self.refuse(queue, waker, n, request)));
        }
        let want = Want { permits: n, all: request.all, class, key, invited: false, since };
        queue.link(slot, want, waker, self.rule);
        Poll::Pending
    }

    #[cold]
    fn refuse(&self, queue: MutexGuard<'_, Queue>, waker: Waker, n: u32, request: &Request) -> AcquireError {
        // Relaxed: `CLOSED` is set under this lock, and `QUEUED` read back only under it.
        let word = self.word.load(Ordering::Relaxed);
        let kind = if word & CLOSED != 0 {
            Kind::Closed
        } else if n == 0 || n > queue.most() {
            Kind::Weight { wanted: n, capacity: queue.capacity }
        } else {
            Kind::QueueFull { allowed: request.max_waiting }
        };
        if queue.is_empty() {
            self.word.fetch_and(!QUEUED, Ordering::Relaxed);
        }
        drop(queue);
        drop(waker);
        AcquireError::new(&self.name, kind)
    }

    /// The class and place in line in [`Order::Priority`]: arrival, later by `ageing` for each class below the highest.
    /// Since all age alike, the order of two requests never changes while they wait.
    fn rank(&self, priority: Priority) -> (u8, u64) {
        let below = Priority::Critical as u64 - priority as u64;
        (priority as u8, self.epoch.nanos().saturating_add(self.ageing.saturating_mul(below)))
    }

    /// A linked slot is polled again: the task's waker may be another now, and in barging order it may take its chance.
    pub(super) fn poll_linked(&self, slot: Pin<&Slot<Want>>, waker: &Waker) -> Poll<u32> {
        let mut fresh = Some(waker.clone());
        let mut queue = self.queue.lock();
        if self.rule != Rule::Barging {
            let replaced = queue.set_waker(slot, &mut fresh);
            drop(queue);
            drop((replaced, fresh));
            return Poll::Pending;
        }
        let Some(want) = queue.wanted(slot) else { return Poll::Pending };
        let invitation = if want.invited { INVITED } else { 0 };
        if self.take_locked(&queue, want.permits, invitation) {
            let replaced = queue.unlink(slot);
            let wakes = self.look_behind(queue);
            // Goes back if a waker panics.
            let taken = Permit::new(self, want.permits);
            if let Some((wakes, done)) = wakes {
                self.wake_and_go_on(wakes, done);
            }
            drop((replaced, fresh));
            self.tell_ended(Outcome::Granted, &want);
            return Poll::Ready(taken.into_count());
        }
        let replaced = if want.invited {
            // Woken, and too late: back to the old place. What was released meanwhile is seen below.
            let flag = QUEUED & !self.word.load(Ordering::Relaxed);
            self.word.fetch_sub(INVITED - flag, Ordering::AcqRel);
            queue.back_in_line(slot, &mut fresh)
        } else {
            queue.set_waker(slot, &mut fresh)
        };
        if let Some((wakes, done)) = self.look_behind(queue) {
            self.wake_and_go_on(wakes, done);
        }
        drop((replaced, fresh));
        Poll::Pending
    }

    /// Barging: a waiter has come, and taken permits or not; whoever is to be woken then.
    #[inline]
    fn look_behind(&self, mut queue: MutexGuard<'_, Queue>) -> Option<(Wakes, bool)> {
        let want = queue.first_asleep()?;
        // Relaxed: whoever is woken for what is seen here looks again.
        let spare = free(self.word.load(Ordering::Relaxed)) - queue.claimed() as i64;
        if i64::from(want) > spare {
            return None;
        }
        let mut wakes = Wakes::new();
        let done = self.invite(&mut queue, &mut wakes, false);
        Some((wakes, done))
    }

    /// Takes a waiter out of line, since its time is over or it is dropped, and lets those behind it move up. False if its
    /// wait had ended.
    #[inline]
    pub(super) fn leave(&self, slot: Pin<&Slot<Want>>, timed_out: bool) -> bool {
        let mut queue = self.queue.lock();
        let Some((want, waker)) = queue.unlink(slot) else { return false };
        if want.invited {
            self.word.fetch_sub(INVITED, Ordering::AcqRel);
        }
        if queue.is_empty() {
            // `QUEUED` stays behind; the next release or acquisition that meets it takes it away.
            drop(queue);
        } else {
            self.move_up(queue);
        }
        drop(waker);
        self.tell_left(&want, timed_out);
        true
    }

    #[inline(never)]
    fn move_up(&self, mut queue: MutexGuard<'_, Queue>) {
        let mut wakes = Wakes::new();
        let done = self.serve(&mut queue, &mut wakes, false);
        drop(queue);
        self.wake_and_go_on(wakes, done);
    }

    /// Wakes what was collected under the lock, and hands over more if that batch was not all.
    fn wake_and_go_on(&self, wakes: Wakes, done: bool) {
        wake_and_go_on(wakes, done, |wakes| self.serve(&mut self.queue.lock(), wakes, false));
    }
}
