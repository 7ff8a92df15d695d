//! Which of several futures or streams in one task were woken since the last look.
//!
//! Each place for an item has a waker of its own, so that a wake-up leads to one poll, not to a poll of all. What was woken
//! is kept in a stack, linked through the places themselves: nothing is allocated by a wake-up, and nothing is locked.
//!
//! # State
//!
//! | word | meaning |
//! |---|---|
//! | `head` | the place that was pushed last, or `NONE` |
//! | `queued` of a place | it is in the stack, or in the list that was taken, or its waker is about to push it |
//! | `next` of a place | the one below it; written by the waker that queued it, until it has pushed |
//!
//! | transition | by | when |
//! |---|---|---|
//! | `queued` false to true | swap | its waker is woken; whoever finds false pushes, then wakes the task |
//! | push | compare-exchange of `head` | as above |
//! | take all | swap of `head` to `NONE` | the task looks, having registered its waker before |
//! | `queued` true to false | swap | the task takes the place off the list, having read `next`, before it polls the item |
//!
//! Only whole stacks are taken, so no place can be pushed again between a load and an exchange of `head` by somebody who
//! takes it: there is no ABA problem.
//!
//! No wake-up is lost: one that finds `queued` true comes before the swap to false, and the poll after it sees what was
//! done; one that finds false pushes and then wakes the waker, which was registered before the stack was looked at.

#![forbid(unsafe_code)]

use crate::shim::{AtomicBool, AtomicUsize, AtomicWaker, Ordering};
use std::sync::Arc;
use std::task::{Wake, Waker};

const NONE: usize = usize::MAX;

/// The places, and what the task has taken of those that were woken.
pub(crate) struct Ready {
    shared: Arc<Shared>,
    places: Vec<Entry>,
    /// The first of the list that was taken.
    taken: usize,
}

struct Shared {
    head: AtomicUsize,
    task: AtomicWaker,
}

struct Entry {
    place: Arc<Place>,
    waker: Waker,
}

struct Place {
    shared: Arc<Shared>,
    index: usize,
    queued: AtomicBool,
    next: AtomicUsize,
}

impl Wake for Place {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // ORDERING: Release for what was done before the wake-up, in a read-modify-write also where it finds true: the swap
        // in `Ready::next` acquires it. Acquire, so that `next` is not written before that swap's reader has read it.
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let head = &self.shared.head;
        // Most often nobody else is there: a guess that is tried costs less than a look before the try.
        let mut below = NONE;
        loop {
            self.next.store(below, Ordering::Relaxed);
            // ORDERING: Release for `next`; the swap in `Ready::take` acquires it. Pushes are read-modify-writes, so it
            // acquires those below, too.
            match head.compare_exchange_weak(below, self.index, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => below = now,
            }
        }
        self.shared.task.wake();
    }
}

impl Ready {
    pub(crate) fn new() -> Self {
        let shared = Arc::new(Shared { head: AtomicUsize::new(NONE), task: AtomicWaker::new() });
        Self { shared, places: Vec::new(), taken: NONE }
    }

    /// One more place; its index.
    pub(crate) fn add(&mut self) -> usize {
        let index = self.places.len();
        let place = Arc::new(Place {
            shared: Arc::clone(&self.shared),
            index,
            queued: AtomicBool::new(false),
            next: AtomicUsize::new(NONE),
        });
        self.places.push(Entry { waker: Waker::from(Arc::clone(&place)), place });
        index
    }

    /// Looks who was woken. From now on a wake-up of a place wakes the task.
    pub(crate) fn take(&mut self, task: &Waker) {
        self.shared.task.register(task);
        self.glance();
    }

    /// The same without registering a waker, for a task that is not going to wait before it looks again.
    pub(crate) fn glance(&mut self) {
        if self.taken == NONE && self.shared.head.load(Ordering::Relaxed) != NONE {
            // ORDERING: as in `wake_by_ref`.
            self.taken = self.shared.head.swap(NONE, Ordering::Acquire);
        }
    }

    /// Wakes the task that looked last.
    pub(crate) fn wake_task(&self) {
        self.shared.task.wake();
    }

    /// One of those who were woken when we last looked. Its item is to be polled after this.
    pub(crate) fn next(&mut self) -> Option<usize> {
        let index = self.taken;
        let place = &self.places.get(index)?.place;
        self.taken = place.next.load(Ordering::Relaxed);
        // ORDERING: as in `wake_by_ref`.
        place.queued.swap(false, Ordering::AcqRel);
        Some(index)
    }

    /// The waker of a place.
    pub(crate) fn waker(&self, index: usize) -> Option<&Waker> {
        self.places.get(index).map(|entry| &entry.waker)
    }
}

/// Clones of the wakers may live on: the task's does not with them.
impl Drop for Ready {
    fn drop(&mut self) {
        drop(self.shared.task.take());
    }
}
