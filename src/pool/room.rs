//! Those who wait for room in the queue.
//!
//! First come, first served: while anybody waits, whoever comes later lines up behind. A waiter is not given a place but
//! invited to take one; the place is kept for it (nobody else can, while the room is `crowded`), and passed on if it does
//! not come. Submitters that found the room free a moment ago may still slip in: then an invited one finds the queue
//! full, and goes back to the head of the line.
//!
//! A worker that has made room lets the waiting in once for a number of tasks, and at the latest when it lets go of its
//! thread, because each invitation wakes somebody.

#![forbid(unsafe_code)]

use crate::shim::{AtomicUsize, Mutex, MutexGuard, Ordering, load_seq_cst};
use crate::wait::{List, Outcome, Slot, Wakes, wake_all};
use crossbeam_utils::CachePadded;
use std::pin::Pin;
use std::task::Waker;

#[derive(Default)]
pub(super) struct Room {
    /// 1 while anybody waits or is invited. Written under the lock.
    crowded: CachePadded<AtomicUsize>,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    waiting: List<()>,
    invited: usize,
    closed: bool,
}

/// What became of someone in line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Waiting,
    /// It may take a place now, and must then [`leave`](Room::leave).
    Invited,
    Closed,
}

impl Room {
    /// Whether a newcomer has to line up.
    #[inline]
    pub(super) fn is_crowded(&self) -> bool {
        // ORDERING: after a pop, see `line_up`.
        load_seq_cst(&self.crowded) != 0
    }

    pub(super) fn waiting(&self) -> usize {
        self.line.lock().waiting.len()
    }

    pub(super) fn try_waiting(&self) -> Option<usize> {
        self.line.try_lock().map(|line| line.waiting.len())
    }

    /// Without waiting: an invitation, if there is more room than people in line.
    pub(super) fn slip_in(&self, free: impl Fn() -> usize) -> bool {
        let mut line = self.line.lock();
        if !line.waiting.is_empty() || free() <= line.invited {
            return false;
        }
        line.invited += 1;
        // ORDERING: as in `line_up`.
        self.crowded.swap(1, Ordering::SeqCst);
        true
    }

    /// Lines up, at the end or (who was invited in vain) at the head. `free` is the number of free places. False, if
    /// nobody is let in any more.
    #[must_use]
    pub(super) fn line_up(
        &self,
        slot: Pin<&Slot<()>>,
        waker: &Waker,
        at_head: bool,
        free: impl Fn() -> usize,
    ) -> bool {
        let waker = waker.clone();
        let mut line = self.line.lock();
        if at_head {
            line.invited -= 1;
        }
        if line.closed {
            self.clear(&line);
            return false;
        }
        if at_head {
            line.waiting.push_front(slot, (), waker);
        } else {
            line.waiting.push_back(slot, (), waker);
        }
        // ORDERING: SeqCst, before the look at the queue in `invite`; a worker pops, which is one too, and looks here
        // afterwards. One of us sees the other.
        self.crowded.swap(1, Ordering::SeqCst);
        self.serve(line, free);
        true
    }

    /// Where someone in line stands; the waker is brought up to date.
    pub(super) fn poll(&self, slot: Pin<&Slot<()>>, waker: &Waker) -> Turn {
        if slot.outcome().is_none() {
            // Cloned outside the lock: it is the executor's code.
            let mut fresh = Some(waker.clone());
            let mut line = self.line.lock();
            let old = line.waiting.set_waker(slot, &mut fresh);
            drop(line);
            drop((old, fresh));
        }
        match slot.take() {
            None => Turn::Waiting,
            Some((Outcome::Granted, ())) => Turn::Invited,
            Some(_) => Turn::Closed,
        }
    }

    /// Somebody goes: `slot` is in line, invited but not polled since, or neither.
    pub(super) fn abandon(&self, slot: Pin<&Slot<()>>, free: impl Fn() -> usize) {
        let mut line = self.line.lock();
        let waker = line.waiting.unlink(slot).and_then(|((), waker)| waker);
        if let Some((Outcome::Granted, ())) = slot.take() {
            line.invited -= 1;
        }
        self.serve(line, free);
        drop(waker);
    }

    /// Someone who was invited has taken a place, or needs none.
    pub(super) fn leave(&self, free: impl Fn() -> usize) {
        let mut line = self.line.lock();
        line.invited -= 1;
        self.serve(line, free);
    }

    /// There is more room, or may be.
    #[inline(never)]
    pub(super) fn admit(&self, free: impl Fn() -> usize) {
        self.serve(self.line.lock(), free);
    }

    /// Nobody will be let in any more.
    pub(super) fn close(&self) {
        wake_all(|wakes| {
            let mut line = self.line.lock();
            line.closed = true;
            let done = line.waiting.settle(wakes, |()| Some(Outcome::Closed));
            self.clear(&line);
            done
        });
    }

    /// Invites whom there is room for, and lets go of the lock to wake them.
    fn serve<'a>(&'a self, mut line: MutexGuard<'a, Line>, free: impl Fn() -> usize) {
        let mut wakes = Wakes::new();
        loop {
            let done = self.invite(&mut line, &mut wakes, &free);
            self.clear(&line);
            drop(line);
            wakes.wake();
            if done {
                return;
            }
            line = self.line.lock();
        }
    }

    fn clear(&self, line: &Line) {
        if line.waiting.is_empty() && line.invited == 0 {
            // Relaxed: who still sees it set takes the lock.
            self.crowded.store(0, Ordering::Relaxed);
        }
    }

    /// Invites from the head of the line, one for each free place that is not promised. False if the batch of wakers is
    /// full.
    fn invite(&self, line: &mut Line, wakes: &mut Wakes, free: impl Fn() -> usize) -> bool {
        while !line.waiting.is_empty() && free() > line.invited {
            if !wakes.has_room() {
                return false;
            }
            line.waiting.pop_front(Outcome::Granted, wakes);
            line.invited += 1;
        }
        true
    }
}
