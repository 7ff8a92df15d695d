//! The waiter kernel, under a small semaphore that uses it as the real faces do.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | what was done before a release is seen after the grant, free or handed over | 2 | 3 | outcome stored or read `Relaxed`; no second look under the lock |
//! | the outcome is the last touch: the slot may go at once | 2 | 3 | outcome stored before the waker is taken |
//! | a release meets a wait that is just beginning | 2 | 3 | the face does not look again under the lock; a release that finds the list empty drops the permit |
//! | hand-over and cancellation are decided once | 2 | 3 | `unlink` empties a slot that has an outcome; the face keeps a grant that was dropped; the waiting bit outlives the last waiter |
//! | a cancelled waiter swallows nothing of the next | 3 | 3 | as above; links not repaired |
//! | the last waker is the one that is woken | 2 | 3 | `set_waker` keeps the old one |
//! | closing meets a wait that is just beginning | 2 | 3 | the face does not look at `closed` under the lock |
//! | closing and releasing end a wait once | 3 | 3 | last batch not woken |
//! | waits beyond one batch end, while the list changes | 2 | 3 | `settle` says done when out of room; back links not repaired |
//! | a panic in a waker keeps nobody from being woken | 1 | - | no drop of `Wakes` |
//! | all operations agree with a vector | 1 | - | tail or back link not repaired, wrong place in the order |
//!
//! loom remembers only the *last* access to an atomic when it looks for schedules worth trying: a thread that loads and
//! then stores (or exchanges) hides an earlier load of another thread from the search. Where it matters, a model here has
//! a twin with the roles of the threads exchanged.

use crate::shim::{AtomicU64, Mutex, Ordering};
use crate::wait::{List, Outcome, Slot, Wakes, wake_all};
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize as Count, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

const WAITING: u64 = 1;
const PERMIT: u64 = 2;

/// Permits above bit 0; bit 0 says that someone is in the list. It changes only under the lock, except for permits while
/// nobody waits.
struct Mini {
    state: AtomicU64,
    waiters: Mutex<Waiters>,
    data: UnsafeCell<u32>,
}

struct Waiters {
    list: List<()>,
    closed: bool,
}

// SAFETY: the cell is touched by the holder of the only permit; loom watches.
unsafe impl Sync for Mini {}
// SAFETY: as above.
unsafe impl Send for Mini {}

impl Mini {
    fn new(permits: u64) -> Self {
        Self {
            state: AtomicU64::new(permits * PERMIT),
            waiters: Mutex::new(Waiters { list: List::new(), closed: false }),
            data: UnsafeCell::new(0),
        }
    }

    /// Takes a free permit, or else, with `or_wait`, says that someone will wait.
    fn take(&self, or_wait: bool) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let next = if state & WAITING == 0 && state >= PERMIT {
                state - PERMIT
            } else if or_wait && state & WAITING == 0 {
                state | WAITING
            } else {
                return false;
            };
            match self.state.compare_exchange(state, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return next & WAITING == 0,
                Err(seen) => state = seen,
            }
        }
    }

    fn release(&self) {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & WAITING == 0 {
            match self.state.compare_exchange(state, state + PERMIT, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(seen) => state = seen,
            }
        }
        let mut wakes = Wakes::new();
        let mut waiters = self.waiters.lock();
        if waiters.list.pop_front(Outcome::Granted, &mut wakes) {
            self.settle_bit(&waiters);
        } else {
            self.state.fetch_add(PERMIT, Ordering::Release);
        }
        drop(waiters);
        wakes.wake();
    }

    /// Clears the bit with the last waiter.
    fn settle_bit(&self, waiters: &Waiters) {
        if waiters.list.is_empty() {
            self.state.fetch_and(!WAITING, Ordering::Relaxed);
        }
    }

    fn close(&self) {
        wake_all(|wakes| {
            let mut waiters = self.waiters.lock();
            waiters.closed = true;
            let done = waiters.list.settle(wakes, |()| Some(Outcome::Closed));
            self.settle_bit(&waiters);
            done
        });
    }

    fn acquire(&self) -> Acquire<'_> {
        Acquire { sem: self, slot: Box::pin(Slot::new()) }
    }

    fn permits(&self) -> u64 {
        self.state.load(Ordering::Relaxed) / PERMIT
    }

    fn touch(&self) {
        // SAFETY: the permit is ours; loom says otherwise if not.
        self.data.with_mut(|data| unsafe { *data += 1 });
    }
}

struct Acquire<'a> {
    sem: &'a Mini,
    slot: Pin<Box<Slot<()>>>,
}

impl Future for Acquire<'_> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let slot = self.slot.as_ref();
        if let Some((outcome, ())) = slot.take() {
            return Poll::Ready(outcome);
        }
        if slot.is_idle() && self.sem.take(false) {
            return Poll::Ready(Outcome::Granted);
        }
        let mut waker = Some(cx.waker().clone());
        let mut waiters = self.sem.waiters.lock();
        if slot.is_idle() {
            if waiters.closed {
                return Poll::Ready(Outcome::Closed);
            }
            if waiters.list.is_empty() && self.sem.take(true) {
                return Poll::Ready(Outcome::Granted);
            }
        }
        let replaced = waiters.list.join(slot, (), &mut waker);
        drop(waiters);
        drop((replaced, waker));
        // Ended since the look at the outcome.
        slot.take().map_or(Poll::Pending, |(outcome, ())| Poll::Ready(outcome))
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        let slot = self.slot.as_ref();
        if slot.is_idle() {
            return;
        }
        let mut waiters = self.sem.waiters.lock();
        let unlinked = waiters.list.unlink(slot);
        if unlinked.is_some() {
            self.sem.settle_bit(&waiters);
        }
        drop(waiters);
        drop(unlinked);
        if let Some((Outcome::Granted, ())) = slot.take() {
            self.sem.release();
        }
    }
}

/// Counts, with nothing for the model to explore.
struct Counter(Count);

impl Wake for Counter {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn counter() -> (std::sync::Arc<Counter>, Waker) {
    let counter = std::sync::Arc::new(Counter(Count::new(0)));
    let waker = Waker::from(std::sync::Arc::clone(&counter));
    (counter, waker)
}

fn poll(acquire: &mut Acquire<'_>, waker: &Waker) -> Option<Outcome> {
    match Pin::new(acquire).poll(&mut Context::from_waker(waker)) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

fn use_permit(sem: &Mini) {
    assert_eq!(block_on(sem.acquire()), Outcome::Granted);
    sem.touch();
    sem.release();
}

#[test]
fn what_was_done_before_a_release_is_seen_after_the_grant() {
    loom::model(|| {
        let sem = Arc::new(Mini::new(1));
        let other = Arc::clone(&sem);
        let thread = thread::spawn(move || use_permit(&other));
        use_permit(&sem);
        thread.join().unwrap();
        assert_eq!(sem.permits(), 1);
    });
}

#[test]
fn a_permit_handed_over_carries_its_data() {
    loom::model(|| {
        let sem = Arc::new(Mini::new(1));
        let (_, waker) = counter();
        assert!(sem.take(false));
        let mut waiting = sem.acquire();
        assert!(poll(&mut waiting, &waker).is_none());
        let other = Arc::clone(&sem);
        let thread = thread::spawn(move || {
            other.touch();
            other.release();
        });
        // Whether the outcome is read with or without the lock having been taken since.
        while waiting.slot.outcome().is_none() {
            thread::yield_now();
        }
        assert_eq!(waiting.slot.as_ref().take().map(|(outcome, ())| outcome), Some(Outcome::Granted));
        sem.touch();
        thread.join().unwrap();
    });
}

#[test]
fn a_release_meets_a_wait_that_is_just_beginning() {
    loom::model(|| {
        let sem = Arc::new(Mini::new(0));
        let other = Arc::clone(&sem);
        let thread = thread::spawn(move || {
            other.touch();
            other.release();
        });
        use_permit(&sem);
        thread.join().unwrap();
        assert_eq!(sem.permits(), 1);
    });
}

/// The twin.
#[test]
fn a_wait_meets_a_release_that_is_just_beginning() {
    loom::model(|| {
        let sem = Arc::new(Mini::new(0));
        let other = Arc::clone(&sem);
        let thread = thread::spawn(move || use_permit(&other));
        sem.touch();
        sem.release();
        thread.join().unwrap();
        assert_eq!(sem.permits(), 1);
    });
}

#[test]
fn a_hand_over_and_a_cancellation_are_decided_once() {
    loom::model(|| {
        let sem = Arc::new(Mini::new(0));
        let (_, waker) = counter();
        let mut waiting = sem.acquire();
        assert!(poll(&mut waiting, &waker).is_none());
        let other = Arc::clone(&sem);
        let thread = thread::spawn(move || other.release());
        drop(waiting);
        thread.join().unwrap();
        assert_eq!(sem.permits(), 1);
        assert!(sem.waiters.lock().list.is_empty());
        assert!(sem.take(false), "the waiting bit has gone");
    });
}

#[test]
fn a_cancelled_waiter_does_not_swallow_what_the_next_one_waits_for() {
    loom::model(|| {
        let sem = Arc::new(Mini::new(0));
        let (_, waker) = counter();
        let mut first = sem.acquire();
        assert!(poll(&mut first, &waker).is_none());
        let (releaser, second) = (Arc::clone(&sem), Arc::clone(&sem));
        let releaser = thread::spawn(move || releaser.release());
        let second = thread::spawn(move || use_permit(&second));
        drop(first);
        second.join().unwrap();
        releaser.join().unwrap();
        assert_eq!(sem.permits(), 1);
    });
}

#[test]
fn a_new_waker_is_the_one_that_is_woken() {
    loom::model(|| {
        let sem = Arc::new(Mini::new(0));
        let ((first, first_waker), (second, second_waker)) = (counter(), counter());
        let mut waiting = sem.acquire();
        assert!(poll(&mut waiting, &first_waker).is_none());
        let other = Arc::clone(&sem);
        let thread = thread::spawn(move || other.release());
        let again = poll(&mut waiting, &second_waker);
        thread.join().unwrap();
        match again {
            Some(outcome) => assert_eq!(outcome, Outcome::Granted),
            None => {
                assert_eq!((first.0.load(SeqCst), second.0.load(SeqCst)), (0, 1));
                assert_eq!(poll(&mut waiting, &second_waker), Some(Outcome::Granted));
            }
        }
        sem.release();
    });
}

#[test]
fn closing_ends_a_wait_that_is_just_beginning() {
    loom::model(|| {
        let sem = Arc::new(Mini::new(0));
        let other = Arc::clone(&sem);
        let thread = thread::spawn(move || other.close());
        assert_eq!(block_on(sem.acquire()), Outcome::Closed);
        thread.join().unwrap();
        assert!(sem.waiters.lock().list.is_empty());
    });
}

/// The twin.
#[test]
fn a_wait_meets_a_closing_that_is_just_beginning() {
    loom::model(|| {
        let sem = Arc::new(Mini::new(0));
        let other = Arc::clone(&sem);
        let thread = thread::spawn(move || block_on(other.acquire()));
        sem.close();
        assert_eq!(thread.join().unwrap(), Outcome::Closed);
        assert!(sem.waiters.lock().list.is_empty());
    });
}

#[test]
fn closing_and_releasing_end_each_wait_once() {
    loom::model(|| {
        let sem = Arc::new(Mini::new(0));
        let (woken, waker) = counter();
        let mut waiting = sem.acquire();
        assert!(poll(&mut waiting, &waker).is_none());
        let (closer, releaser) = (Arc::clone(&sem), Arc::clone(&sem));
        let closer = thread::spawn(move || closer.close());
        let releaser = thread::spawn(move || releaser.release());
        closer.join().unwrap();
        releaser.join().unwrap();
        assert_eq!(woken.0.load(SeqCst), 1);
        let granted = poll(&mut waiting, &waker) == Some(Outcome::Granted);
        assert_eq!(sem.permits(), u64::from(!granted));
    });
}

/// The batch holds two under the checker, so the third is reached in a second round, with the lock let go in between.
#[test]
fn waits_beyond_one_batch_end_although_the_list_changes_between_the_rounds() {
    loom::model(|| {
        let sem = Arc::new(Mini::new(0));
        let (woken, waker) = counter();
        let mut waits = [sem.acquire(), sem.acquire(), sem.acquire()];
        for wait in &mut waits {
            assert!(poll(wait, &waker).is_none());
        }
        let other = Arc::clone(&sem);
        let thread = thread::spawn(move || other.close());
        let [first, second, mut third] = waits;
        drop(second);
        assert!(poll(&mut third, &waker).is_none_or(|outcome| outcome == Outcome::Closed));
        drop(first);
        thread.join().unwrap();
        assert!(third.slot.is_idle() || poll(&mut third, &waker) == Some(Outcome::Closed));
        assert!((1..=3).contains(&woken.0.load(SeqCst)));
        assert!(sem.waiters.lock().list.is_empty());
    });
}

/// Freeing the future as soon as it has its outcome, while the one who gave it is still on the way out.
#[test]
fn a_slot_may_go_the_moment_it_has_its_outcome() {
    loom::model(|| {
        let sem = Arc::new(Mini::new(0));
        let (_, waker) = counter();
        let other = Arc::clone(&sem);
        let mut waiting = sem.acquire();
        assert!(poll(&mut waiting, &waker).is_none());
        let thread = thread::spawn(move || other.release());
        while waiting.slot.outcome().is_none() {
            thread::yield_now();
        }
        assert_eq!(poll(&mut waiting, &waker), Some(Outcome::Granted));
        drop(waiting);
        thread.join().unwrap();
        assert_eq!(sem.permits(), 0);
    });
}

/// No threads: the rest of a batch is woken while a panic unwinds, and a second panic does not abort the process.
#[test]
fn a_panicking_waker_keeps_nobody_of_its_batch_from_being_woken() {
    struct Panics(Count);
    impl Wake for Panics {
        fn wake(self: std::sync::Arc<Self>) {
            panic!("waker {}", self.0.fetch_add(1, SeqCst));
        }
    }
    let panics = std::sync::Arc::new(Panics(Count::new(0)));
    let waker = Waker::from(std::sync::Arc::clone(&panics));
    let unwound = std::panic::catch_unwind(|| {
        let mut wakes = Wakes::new();
        while wakes.has_room() {
            wakes.push(waker.clone());
        }
        wakes.wake();
    });
    assert_eq!(unwound.unwrap_err().downcast_ref::<String>().map(String::as_str), Some("waker 0"));
    assert_eq!(panics.0.load(SeqCst), 2, "a batch is two under the checker");
}

/// One thread: every operation of the list against a vector, many steps.
#[test]
fn the_list_agrees_with_a_vector() {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 200_000;
    builder.check(|| {
        let mut random = fastrand::Rng::with_seed(7);
        let (_, waker) = counter();
        let mut slots: Vec<Pin<Box<Slot<u32>>>> = (0..12).map(|_| Box::pin(Slot::new())).collect();
        let mut list = List::new();
        let mut other = List::new();
        // Index of the slot and what it wants, in order.
        let mut expected: Vec<(usize, u32)> = Vec::new();
        let mut moved: Vec<(usize, u32)> = Vec::new();
        for step in 0..3000_u32 {
            let at = random.usize(..slots.len());
            let slot = slots[at].as_ref();
            let idle = !expected.iter().chain(&moved).any(|(index, _)| *index == at);
            let mut wakes = Wakes::new();
            match random.u8(..8) {
                0 if idle => {
                    list.push_back(slot, step, waker.clone());
                    expected.push((at, step));
                }
                1 if idle => {
                    list.push_front(slot, step, waker.clone());
                    expected.insert(0, (at, step));
                }
                2 => {
                    if let Some(place) = moved.iter().position(|(index, _)| *index == at) {
                        let (_, want) = moved.remove(place);
                        let mut fresh = Some(waker.clone());
                        assert!(other.move_back(slot, &mut list, &mut fresh, |a, b| a <= b).is_none());
                        assert!(fresh.is_none(), "it had given its waker away");
                        let place = expected.iter().position(|(_, value)| *value > want);
                        expected.insert(place.unwrap_or(expected.len()), (at, want));
                    }
                }
                3 => {
                    let popped = list.pop_front_with(Outcome::Granted, &mut wakes, |value| *value += 1);
                    assert_eq!(popped, !expected.is_empty());
                    if popped {
                        let (index, value) = expected.remove(0);
                        assert_eq!(slots[index].as_ref().take(), Some((Outcome::Granted, value + 1)));
                    }
                }
                4 => {
                    let place = expected.iter().position(|(index, _)| *index == at);
                    let unlinked =
                        if moved.iter().any(|(index, _)| *index == at) { None } else { list.unlink(slot) };
                    assert_eq!(unlinked.map(|(value, _)| value), place.map(|place| expected.remove(place).1));
                }
                5 => {
                    assert_eq!(list.move_front(&mut other, &mut wakes), !expected.is_empty());
                    if !expected.is_empty() {
                        moved.push(expected.remove(0));
                    }
                }
                6 => {
                    let done =
                        list.settle(&mut wakes, |value| (*value % 3 == 0).then_some(Outcome::Impossible));
                    let due: Vec<_> = expected.iter().copied().filter(|(_, value)| value % 3 == 0).collect();
                    // A batch of two; a waiter that was woken before (and moved back) has no waker left.
                    assert!(done || due.len() >= 2);
                    for (index, value) in due {
                        if slots[index].outcome().is_some() {
                            assert_eq!(slots[index].as_ref().take(), Some((Outcome::Impossible, value)));
                            expected.retain(|(other, _)| *other != index);
                        }
                    }
                    assert!(!done || expected.iter().all(|(_, value)| value % 3 != 0));
                }
                _ => {
                    while other.pop_front(Outcome::Closed, &mut wakes) {
                        let (index, value) = moved.remove(0);
                        assert_eq!(slots[index].as_ref().take(), Some((Outcome::Closed, value)));
                    }
                }
            }
            wakes.wake();
            let mut seen = Vec::new();
            list.for_each(|value| seen.push(*value));
            assert!(seen.iter().eq(expected.iter().map(|(_, value)| value)), "step {step}");
            assert_eq!(
                (list.len(), list.front()),
                (expected.len(), expected.first().map(|(_, value)| value))
            );
            assert_eq!(other.len(), moved.len());
        }
        let mut wakes = Wakes::new();
        while list.pop_front(Outcome::Closed, &mut wakes) || other.pop_front(Outcome::Closed, &mut wakes) {}
        slots.clear();
    });
}
