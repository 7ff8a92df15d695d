//! Those who wait for room in the queue.
//!
//! First come, first served: while anybody waits, whoever comes later lines up behind. A waiter is not given a place but
//! invited to take one. Between the invitation and the moment at which its executor polls it, newcomers may take the
//! places, so as not to stand still for it; then it goes back to the head of the line. Who has been overtaken so often
//! ([`PATIENCE`]) has its place kept the next time. (Submissions that were already on their way can still get in between;
//! their number is bounded by the number of submitters.) Who hands in many is one in line for all of them, and takes as many
//! places, when it is its turn, as no one else is invited to.
//!
//! A worker that has made room lets the waiting in once for a number of tasks, and at the latest when it lets go of its
//! thread, because each invitation wakes somebody. If it lets go of its thread because its task gives way (has woken itself in
//! its poll), then it is back soon, and that counts as one task more.

#![forbid(unsafe_code)]

use crate::panics::contain;
use crate::shim::{AtomicUsize, Mutex, MutexGuard, Ordering, load_seq_cst};
use crate::wait::{List, Outcome, Slot, Wakes, wake_all};
use crossbeam_utils::CachePadded;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::task::Waker;

/// How often an invited waiter may find its place taken.
const PATIENCE: u8 = if cfg!(any(cofferdam_loom, cofferdam_shuttle)) { 1 } else { 4 };

#[derive(Default)]
pub(super) struct Room {
    /// 1 while anybody waits, or has a place that is kept. Written under the lock.
    crowded: CachePadded<AtomicUsize>,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    /// Each with how often it was overtaken.
    waiting: List<u8>,
    invited: usize,
    /// Of those invited, how many have their place kept.
    kept: usize,
    closed: bool,
}

/// What became of someone in line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Waiting,
    /// It may take a place now, and must then [`leave`](Room::leave). It was overtaken so often.
    Invited(u8),
    Closed,
}

/// An invitation that is being followed. It is left also by who panics: wakers and clocks are foreign code.
pub(super) struct Invitation<'a, F: Fn() -> usize> {
    room: &'a Room,
    overtaken: u8,
    /// Places besides its own that no one else is invited to for as long.
    more: usize,
    free: F,
}

impl<'a, F: Fn() -> usize> Invitation<'a, F> {
    pub(super) fn new(room: &'a Room, overtaken: u8, free: F) -> Self {
        Self { room, overtaken, more: 0, free }
    }

    /// How many places it may take, of `wanted`, and at least one: those that no one else is invited to, nor will be while
    /// this is followed.
    pub(super) fn share(&mut self, wanted: usize) -> usize {
        let mut line = self.room.line.lock();
        let more = (self.free)().saturating_sub(line.invited).min(wanted.saturating_sub(1));
        line.invited += more;
        self.more += more;
        self.more + 1
    }

    /// See [`Room::leave`].
    pub(super) fn leave(self) {
        let this = ManuallyDrop::new(self);
        this.room.leave(this.overtaken, this.more, &this.free);
    }

    /// It goes to [`Room::line_up_again`], which leaves it.
    pub(super) fn give_up(self) {
        let this = ManuallyDrop::new(self);
        if this.more > 0 {
            this.room.line.lock().invited -= this.more;
        }
    }
}

impl<F: Fn() -> usize> Drop for Invitation<'_, F> {
    #[cold]
    fn drop(&mut self) {
        contain(|| self.room.leave(self.overtaken, self.more, &self.free));
    }
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

    /// Without waiting: an invitation, if nobody waits and there is more room than is kept.
    pub(super) fn slip_in(&self, free: impl Fn() -> usize) -> bool {
        let mut line = self.line.lock();
        if !line.waiting.is_empty() || free() <= line.kept {
            return false;
        }
        line.invited += 1;
        true
    }

    /// Lines up at the end. `free` is the number of free places. False, if nobody is let in any more.
    #[must_use]
    pub(super) fn line_up(&self, slot: Pin<&Slot<u8>>, waker: &Waker, free: impl Fn() -> usize) -> bool {
        let waker = waker.clone();
        let mut line = self.line.lock();
        if line.closed {
            return false;
        }
        line.waiting.push_back(slot, 0, waker);
        self.announce(line, free);
        true
    }

    /// Lines up again, at the head: someone who was invited in vain. As [`line_up`](Self::line_up).
    #[must_use]
    pub(super) fn line_up_again(
        &self,
        slot: Pin<&Slot<u8>>,
        waker: &Waker,
        overtaken: u8,
        free: impl Fn() -> usize,
    ) -> bool {
        let waker = waker.clone();
        let mut line = self.line.lock();
        line.uninvite(overtaken);
        if line.closed {
            self.serve(line, free);
            return false;
        }
        line.waiting.push_front(slot, (overtaken + 1).min(PATIENCE), waker);
        self.announce(line, free);
        true
    }

    fn announce<'a>(&'a self, line: MutexGuard<'a, Line>, free: impl Fn() -> usize) {
        // ORDERING: SeqCst, before the look at the queue in `serve`; a worker pops, which is one too, and looks here
        // afterwards. One of us sees the other.
        self.crowded.swap(1, Ordering::SeqCst);
        self.serve(line, free);
    }

    /// Where someone in line stands; the waker is brought up to date.
    pub(super) fn poll(&self, slot: Pin<&Slot<u8>>, waker: &Waker) -> Turn {
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
            Some((Outcome::Granted, overtaken)) => Turn::Invited(overtaken),
            Some(_) => Turn::Closed,
        }
    }

    /// Somebody goes: `slot` is in line, invited but not polled since, or neither.
    pub(super) fn abandon(&self, slot: Pin<&Slot<u8>>, free: impl Fn() -> usize) {
        let mut line = self.line.lock();
        let waker = line.waiting.unlink(slot).and_then(|(_, waker)| waker);
        if let Some((Outcome::Granted, overtaken)) = slot.take() {
            line.uninvite(overtaken);
        }
        self.serve(line, free);
        drop(waker);
    }

    /// Someone who was invited, to so many places more than one, has taken what it takes.
    fn leave(&self, overtaken: u8, more: usize, free: impl Fn() -> usize) {
        let mut line = self.line.lock();
        line.invited -= more;
        line.uninvite(overtaken);
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
            let done = line.waiting.settle(wakes, |_| Some(Outcome::Closed));
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
        if line.waiting.is_empty() && line.kept == 0 {
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
            let mut overtaken = 0;
            line.waiting.pop_front_with(Outcome::Granted, wakes, |times| overtaken = *times);
            line.invited += 1;
            line.kept += usize::from(overtaken == PATIENCE);
        }
        true
    }
}

impl Line {
    fn uninvite(&mut self, overtaken: u8) {
        self.invited -= 1;
        self.kept -= usize::from(overtaken == PATIENCE);
    }
}
