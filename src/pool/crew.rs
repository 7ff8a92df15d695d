//! Workers without work, and who wakes them.
//!
//! Waking a worker costs a hundred times what a small task does, so it is done one at a time. A producer wakes a sleeper
//! only if no other is on its way; a worker that was woken and found work wakes the next, if there is more work. Only
//! when work piles up before a worker that is on its way has got there is another one woken.
//!
//! | bits of the word | meaning |
//! |---|---|
//! | 0..16 | sleeping: workers in the list |
//! | 16.. | searching: workers that were woken and have neither found work nor gone back to sleep |
//!
//! It is written under the lock, by read-modify-writes, so that it agrees with the list.
//!
//! # Why no task is left beside a sleeper
//!
//! *A task in the queue has a worker that is awake and will look, or a searcher.* A worker announces itself as a sleeper
//! (a read-modify-write of the word) and then looks at the queue once more; a producer pushes (a read-modify-write of
//! the tail) and then looks at the word. So one of them sees the other. A producer that leaves the waking to a searcher
//! has seen it before it stopped searching, and a searcher stops searching first and looks at the queue afterwards.

#![forbid(unsafe_code)]

use crate::shim::{AtomicUsize, Mutex, Ordering, load_seq_cst};
use crate::wait::{List, Outcome, Slot, Wakes, wake_all};
use crossbeam_utils::CachePadded;
use std::pin::Pin;
use std::task::Waker;

const SLEEPING: usize = 1;
const SEARCHING: usize = 1 << 16;
const SLEEPERS: usize = SEARCHING - 1;

/// The most workers that fit into the word.
pub(super) const MAX_WORKERS: usize = SLEEPERS;

/// Tasks in the queue, for each searcher, beyond which another worker is woken.
const PILE: usize = 32;

#[derive(Default)]
pub(super) struct Crew {
    word: CachePadded<AtomicUsize>,
    sleepers: Mutex<List<()>>,
}

/// What became of a worker in the list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    Asleep,
    /// Woken: it is searching now.
    Woken,
}

impl Crew {
    /// After a push: wakes a worker, if that is called for. `queued` is asked only if somebody is on the way already.
    #[inline]
    pub(super) fn work_added(&self, queued: impl FnOnce() -> usize) {
        let word = load_seq_cst(&self.word);
        if word & SLEEPERS != 0 {
            let queued = if word < SEARCHING { 0 } else { queued() };
            if Self::calls_for_more(word, queued) {
                self.rouse(queued);
            }
        }
    }

    #[inline]
    fn calls_for_more(word: usize, queued: usize) -> bool {
        let searching = word / SEARCHING;
        searching == 0 || queued > searching * PILE
    }

    #[inline(never)]
    fn rouse(&self, queued: usize) {
        let mut wakes = Wakes::new();
        let mut sleepers = self.sleepers.lock();
        // Relaxed: written under the lock that we hold.
        let word = self.word.load(Ordering::Relaxed);
        if Self::calls_for_more(word, queued) && sleepers.pop_front(Outcome::Granted, &mut wakes) {
            // ORDERING: SeqCst as every write of the word, see above.
            self.word.fetch_add(SEARCHING - SLEEPING, Ordering::SeqCst);
        }
        drop(sleepers);
        wakes.wake();
    }

    /// A searcher has found work or gives up. If it was the last one and there is more to do, it wakes the next.
    pub(super) fn stop_searching(&self, is_work: impl Fn() -> bool) {
        // ORDERING: SeqCst: before the look at the queue, see above.
        let word = self.word.fetch_sub(SEARCHING, Ordering::SeqCst) - SEARCHING;
        if word & SLEEPERS != 0 && word < SEARCHING && is_work() {
            self.rouse(0);
        }
    }

    /// Puts a worker to sleep. It must look at the queue once more, and [`get_up`](Self::get_up) if there is work.
    pub(super) fn lie_down(&self, slot: Pin<&Slot<()>>, waker: &Waker, searching: bool) {
        let waker = waker.clone();
        let mut sleepers = self.sleepers.lock();
        // At the front: who slept last is warm.
        sleepers.push_front(slot, (), waker);
        // ORDERING: SeqCst: before the look at the queue, see above.
        if searching {
            self.word.fetch_sub(SEARCHING - SLEEPING, Ordering::SeqCst);
        } else {
            self.word.fetch_add(SLEEPING, Ordering::SeqCst);
        }
    }

    /// Takes a worker out of the list, unless it was woken meanwhile.
    pub(super) fn get_up(&self, slot: Pin<&Slot<()>>) -> Rest {
        let mut sleepers = self.sleepers.lock();
        if let Some((_, waker)) = sleepers.unlink(slot) {
            // ORDERING: SeqCst as every write of the word.
            self.word.fetch_sub(SLEEPING, Ordering::SeqCst);
            drop(sleepers);
            drop(waker);
            return Rest::Asleep;
        }
        drop(sleepers);
        slot.take();
        Rest::Woken
    }

    /// A worker in the list goes to its end: to be woken after all others. Nothing, if it was woken meanwhile.
    pub(super) fn stand_back(&self, slot: Pin<&Slot<()>>) {
        let mut sleepers = self.sleepers.lock();
        if let Some(((), Some(waker))) = sleepers.unlink(slot) {
            sleepers.push_back(slot, (), waker);
        }
    }

    /// Whether a worker in the list was woken; if not, its waker is brought up to date.
    pub(super) fn poll(&self, slot: Pin<&Slot<()>>, waker: &Waker) -> Rest {
        if slot.outcome().is_none() {
            // Cloned outside the lock: it is the executor's code.
            let mut fresh = Some(waker.clone());
            let mut sleepers = self.sleepers.lock();
            if slot.outcome().is_none() {
                let old = sleepers.set_waker(slot, &mut fresh);
                drop(sleepers);
                drop((old, fresh));
                return Rest::Asleep;
            }
        }
        slot.take();
        Rest::Woken
    }

    /// Wakes all sleepers.
    pub(super) fn wake_all(&self) {
        wake_all(|wakes| {
            let mut sleepers = self.sleepers.lock();
            while wakes.has_room() {
                if !sleepers.pop_front(Outcome::Granted, wakes) {
                    return true;
                }
                // ORDERING: SeqCst as every write of the word.
                self.word.fetch_add(SEARCHING - SLEEPING, Ordering::SeqCst);
            }
            false
        });
    }
}
