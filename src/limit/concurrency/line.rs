//! The line in front of the semaphore, for the disciplines that the semaphore does not have.
//!
//! The semaphore goes on to account for the permits, and nobody ever waits in it: who finds none waits here. One word says
//! how many do, so that while it is zero neither an acquisition nor a release takes the lock.
//!
//! Why no wake-up is lost: a waiter counts itself into the word with a read-modify-write and then looks for permits; a
//! release gives its permits back and then looks at the word, with a read-modify-write as well. Those two are ordered. If
//! the release's is first, the waiter sees the permits; if the waiter's is first, the release sees the waiter and goes for
//! the lock, which the waiter holds until it is in line.

use super::lane::{Lanes, Rule, Verdict, Want};
use crate::shim::{AtomicU32, AtomicU64, AtomicUsize, Mutex, Ordering};
use crate::sync::Semaphore;
use crate::time::{Clock, Epoch};
use crate::wait::{Outcome, Slot, Wakes, wake_all, wake_and_go_on};
use std::pin::Pin;
use std::task::Waker;

pub(super) struct Line {
    /// How many are in line, or about to be.
    crowd: AtomicUsize,
    lanes: Mutex<Lanes>,
    /// Permits in flight by lane; empty where there is one lane.
    used: Box<[AtomicU32]>,
    rule: Rule,
    epoch: Epoch,
    shed: AtomicU64,
}

/// How getting in line came out.
pub(super) enum Entry {
    Admitted,
    /// In line, to be served at `shed_at` at the latest, in nanoseconds of the line, when it will have waited for `allowed`.
    Queued {
        shed_at: u64,
        allowed: u64,
    },
    /// So many wait already.
    Full(usize),
    /// The semaphore has fewer permits in all.
    Above(u32),
    Closed,
}

/// How a wait ended.
pub(super) enum End {
    Admitted,
    Shed,
    Above(u32),
    Closed,
}

/// Permits that go back if foreign code panics before they are anybody's.
struct Taken<'a> {
    line: &'a Line,
    semaphore: &'a Semaphore,
    permits: u32,
    lane: usize,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.line.release(self.semaphore, self.permits, self.lane);
    }
}

impl Line {
    pub(super) fn new(rule: Rule, shares: &[u32], clock: Clock) -> Self {
        let lanes = if shares.len() < 2 { 0 } else { shares.len() };
        Self {
            crowd: AtomicUsize::new(0),
            lanes: Mutex::new(Lanes::new(rule, shares.iter().copied())),
            used: (0..lanes).map(|_| AtomicU32::new(0)).collect(),
            rule,
            epoch: Epoch::new(clock),
            shed: AtomicU64::new(0),
        }
    }

    /// The lock-free acquisition: true if the permits are taken.
    #[inline]
    pub(super) fn take(&self, semaphore: &Semaphore, n: u32, lane: usize) -> bool {
        // Relaxed: who comes while somebody gets in line may be before or behind him.
        if self.crowd.load(Ordering::Relaxed) != 0 || !semaphore.take_free(n) {
            return false;
        }
        self.count(n, lane);
        true
    }

    /// As [`take`](Self::take), under the lock: whoever is only about to get in line, or is refused there, is nobody yet.
    #[cold]
    pub(super) fn take_locked(&self, semaphore: &Semaphore, n: u32, lane: usize) -> bool {
        let lanes = self.lanes.lock();
        let taken = lanes.len() == 0 && semaphore.take_free(n);
        if taken {
            self.count(n, lane);
        }
        taken
    }

    // Relaxed, as all accesses to it: it decides who is next, never whether there are permits.
    fn count(&self, n: u32, lane: usize) {
        if let Some(used) = self.used.get(lane) {
            used.fetch_add(n, Ordering::Relaxed);
        }
    }

    fn uncount(&self, n: u32, lane: usize) {
        if let Some(used) = self.used.get(lane) {
            used.fetch_sub(n, Ordering::Relaxed);
        }
    }

    /// Permits come back.
    #[inline]
    pub(super) fn release(&self, semaphore: &Semaphore, n: u32, lane: usize) {
        self.uncount(n, lane);
        semaphore.release(n);
        // ORDERING: Release and Acquire, against the `fetch_add` of `enter`: see the top of the file. A load would not do:
        // it could be done before the release is seen.
        if self.crowd.fetch_add(0, Ordering::AcqRel) != 0 {
            self.hand_over(semaphore);
        }
    }

    /// Read only where it decides something: by the rule, or which of two partitions has been waiting for longer.
    fn now(&self) -> u64 {
        if self.rule.is_timed() || !self.used.is_empty() { self.epoch.nanos() } else { 0 }
    }

    /// Gives those in line what they can have.
    pub(super) fn hand_over(&self, semaphore: &Semaphore) {
        let now = self.now();
        wake_all(|wakes| self.serve(&mut self.lanes.lock(), semaphore, now, wakes));
    }

    /// One batch of handing over. False if the batch is full and there may be more.
    fn serve(&self, lanes: &mut Lanes, semaphore: &Semaphore, now: u64, wakes: &mut Wakes) -> bool {
        let (shed, done) = lanes.shed(now, wakes);
        self.leave_crowd(shed);
        self.count_shed(shed);
        if !done {
            return false;
        }
        let used = |lane| self.used.get(lane).map_or(0, |used: &AtomicU32| used.load(Ordering::Relaxed));
        while let Some(next) = lanes.next(now, used) {
            if !wakes.has_room() {
                return false;
            }
            // Once closed, whoever still waits is about to be told so.
            if !semaphore.take_free(next.permits) {
                break;
            }
            self.count(next.permits, next.lane);
            self.leave_crowd(1);
            lanes.grant(next, wakes);
        }
        true
    }

    fn leave_crowd(&self, n: usize) {
        if n > 0 {
            // ORDERING: Release: who sees the place empty sees that its permits are taken, or at least comes after that.
            self.crowd.fetch_sub(n, Ordering::AcqRel);
        }
    }

    fn count_shed(&self, n: usize) {
        if n > 0 {
            // Relaxed: a statistic.
            self.shed.fetch_add(n as u64, Ordering::Relaxed);
        }
    }

    /// Takes the permits or gets in line.
    pub(super) fn enter(
        &self,
        semaphore: &Semaphore,
        slot: Pin<&Slot<Want>>,
        (n, lane): (u32, usize),
        most: u32,
        waker: &Waker,
    ) -> Entry {
        // Foreign code, so before the lock: the waker's clone and the clock.
        let waker = waker.clone();
        let now = self.now();
        let mut lanes = self.lanes.lock();
        // ORDERING: Acquire and Release, against `release`: see the top of the file.
        self.crowd.fetch_add(1, Ordering::AcqRel);
        let refusal = if semaphore.is_closed() {
            Some(Entry::Closed)
        } else if lanes.len() == 0 && semaphore.take_free(n) {
            self.count(n, lane);
            Some(Entry::Admitted)
        } else {
            // Under the lock, as `follow_capacity` has it: of a shrink either this sees it, or it sees the waiter. The lock of
            // the semaphore is a leaf.
            (n > semaphore.most()).then(|| Entry::Above(semaphore.capacity()))
        };
        if let Some(entry) = refusal {
            self.leave_crowd(1);
            drop(lanes);
            let taken =
                matches!(entry, Entry::Admitted).then(|| Taken { line: self, semaphore, permits: n, lane });
            drop(waker);
            std::mem::forget(taken);
            return entry;
        }
        let mut wakes = Wakes::new();
        let mut done = true;
        if lanes.len() >= most as usize {
            // Places of those who are only still to be told are free.
            done = self.serve(&mut lanes, semaphore, now, &mut wakes);
        }
        let waiting = lanes.len();
        // Dropped last, when all are awake.
        let mut unused = None;
        let entry = if waiting >= most as usize {
            self.leave_crowd(1);
            drop(lanes);
            unused = Some(waker);
            Entry::Full(waiting)
        } else {
            let shed_at = lanes.link(slot, lane, n, now, waker);
            // It may be the first to be served: of another partition, or as the newest.
            done = done && self.serve(&mut lanes, semaphore, now, &mut wakes);
            drop(lanes);
            Entry::Queued { shed_at, allowed: shed_at.saturating_sub(now) }
        };
        wake_and_go_on(wakes, done, |wakes| self.serve(&mut self.lanes.lock(), semaphore, now, wakes));
        drop(unused);
        entry
    }

    /// A waiter is polled again by a task whose waker may be another now.
    pub(super) fn set_waker(&self, slot: Pin<&Slot<Want>>, lane: usize, waker: &Waker) {
        let mut fresh = Some(waker.clone());
        let mut lanes = self.lanes.lock();
        let replaced = lanes.set_waker(slot, lane, &mut fresh);
        drop(lanes);
        drop((replaced, fresh));
    }

    /// Takes a waiter out of line and lets those behind it move up. False if its wait had ended.
    pub(super) fn leave(
        &self,
        semaphore: &Semaphore,
        slot: Pin<&Slot<Want>>,
        lane: usize,
        shed: bool,
    ) -> bool {
        let now = self.now();
        let mut lanes = self.lanes.lock();
        let Some(waker) = lanes.unlink(slot, lane) else { return false };
        self.leave_crowd(1);
        self.count_shed(usize::from(shed));
        let mut wakes = Wakes::new();
        let done = self.serve(&mut lanes, semaphore, now, &mut wakes);
        drop(lanes);
        wake_and_go_on(wakes, done, |wakes| self.serve(&mut self.lanes.lock(), semaphore, now, wakes));
        drop(waker);
        true
    }

    /// The outcome of a wait, if it has ended.
    pub(super) fn end(slot: Pin<&Slot<Want>>) -> Option<End> {
        let (outcome, want) = slot.take()?;
        Some(match (outcome, want.verdict) {
            (Outcome::Granted, _) => End::Admitted,
            (Outcome::Impossible, Verdict::Above(limit)) => End::Above(limit),
            (Outcome::Impossible, _) => End::Shed,
            (Outcome::Closed, _) => End::Closed,
        })
    }

    /// The future goes while it is in line, or after it was served and before it knew.
    #[inline(never)]
    pub(super) fn abandon(&self, semaphore: &Semaphore, slot: Pin<&Slot<Want>>, lane: usize) {
        if slot.outcome().is_none() && self.leave(semaphore, slot, lane, false) {
            return;
        }
        if let Some((Outcome::Granted, want)) = slot.take() {
            self.release(semaphore, want.permits, want.lane);
        }
    }

    /// After a change of the capacity: ends the waits that it makes hopeless, then serves the others.
    pub(super) fn follow_capacity(&self, semaphore: &Semaphore) {
        let mut settled = false;
        let now = self.now();
        wake_all(|wakes| {
            let lanes = &mut *self.lanes.lock();
            if !settled {
                // As it is by now: it may have been changed once more.
                let (most, capacity) = (semaphore.most(), semaphore.capacity());
                let (ended, done) = lanes.settle(wakes, |want| {
                    (want.permits > most).then(|| {
                        want.verdict = Verdict::Above(capacity);
                        Outcome::Impossible
                    })
                });
                self.leave_crowd(ended);
                settled = done;
            }
            settled && self.serve(lanes, semaphore, now, wakes)
        });
    }

    /// Ends all waits; the semaphore is closed already.
    pub(super) fn close(&self) {
        wake_all(|wakes| {
            let (ended, done) = self.lanes.lock().settle(wakes, |_| Some(Outcome::Closed));
            self.leave_crowd(ended);
            done
        });
    }

    pub(super) fn waiting(&self) -> usize {
        self.lanes.lock().len()
    }

    /// Permits in flight, waiting and share of one partition.
    pub(super) fn lane(&self, lane: usize) -> (u32, usize, u32) {
        let used = self.used.get(lane).map_or(0, |used| used.load(Ordering::Relaxed));
        let lanes = self.lanes.lock();
        (used, lanes.len_of(lane), lanes.share_of(lane))
    }

    pub(super) fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    pub(super) fn epoch(&self) -> &Epoch {
        &self.epoch
    }
}
