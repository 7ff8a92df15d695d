//! Which items of a batch were woken.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | no wake-up is lost: each item that is woken is polled after it | 3 | 3 | the task registers after it looks; wakes the task before the push; `head` stored instead of exchanged |
//! | a wake-up that finds its item queued is not lost either | 3 | 3 | `queued` looked at with a load first; set or cleared `Relaxed`; cleared by a store; cleared after the poll |
//! | what was done before a wake-up is seen in the poll | 3 | 3 | `head` taken or pushed `Relaxed` |
//! | a place that is woken again while it is taken off does not tear the list | 2 | 3 | `next` read after `queued` was cleared; most of the others |
//! | a wake-up that comes as the batch is dropped touches nothing | 2 | 3 | (a waker holds all that it touches: there is nothing to plant) |
//!
//! A wake-up that is lost shows as a deadlock, and then as an abort, since the drop of `Ready` is itself modelled.

use crate::wait::Ready;
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Written by the one who wakes, read in the poll of the item.
struct Note(UnsafeCell<u32>);

// SAFETY: the wake-up orders the accesses; loom watches.
unsafe impl Sync for Note {}
// SAFETY: as above.
unsafe impl Send for Note {}

struct Item {
    done: AtomicBool,
    note: Note,
}

fn items(count: usize) -> Arc<Vec<Item>> {
    let item = || Item { done: AtomicBool::new(false), note: Note(UnsafeCell::new(0)) };
    Arc::new((0..count).map(|_| item()).collect())
}

fn places(ready: &mut Ready, count: usize) -> Vec<Waker> {
    (0..count)
        .map(|_| {
            let index = ready.add();
            ready.waker(index).expect("a place").clone()
        })
        .collect()
}

/// As a batch does: registers, looks, and polls those that were woken; done when each item is.
fn poll_until_done(ready: &mut Ready, items: &[Item]) {
    let mut left = items.len();
    let mut polled = vec![false; items.len()];
    block_on(poll_fn(|cx| {
        ready.take(cx.waker());
        while let Some(index) = ready.next() {
            // Relaxed: only the wake-up orders it.
            if items[index].done.load(Ordering::Relaxed) && !polled[index] {
                polled[index] = true;
                left -= 1;
            }
        }
        if left == 0 { Poll::Ready(()) } else { Poll::Pending }
    }));
}

#[test]
fn no_wake_up_of_two_items_is_lost() {
    loom::model(|| {
        let items = items(2);
        let mut ready = Ready::new();
        let wakers = places(&mut ready, 2);
        let threads: Vec<_> = wakers
            .into_iter()
            .enumerate()
            .map(|(index, waker)| {
                let items = Arc::clone(&items);
                thread::spawn(move || {
                    items[index].done.store(true, Ordering::Relaxed);
                    waker.wake();
                })
            })
            .collect();
        poll_until_done(&mut ready, &items);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Two wake the same item, each having done its part: the poll after the later one sees both.
#[test]
fn a_wake_up_of_an_item_that_is_queued_is_not_lost() {
    loom::model(|| {
        let parts = items(2);
        let mut ready = Ready::new();
        let waker = places(&mut ready, 1).remove(0);
        let threads: Vec<_> = (0..2)
            .map(|part| {
                let (parts, waker) = (Arc::clone(&parts), waker.clone());
                thread::spawn(move || {
                    parts[part].done.store(true, Ordering::Relaxed);
                    waker.wake_by_ref();
                })
            })
            .collect();
        block_on(poll_fn(|cx| {
            ready.take(cx.waker());
            let mut done = false;
            while ready.next().is_some() {
                done = parts.iter().all(|part| part.done.load(Ordering::Relaxed));
            }
            if done { Poll::Ready(()) } else { Poll::Pending }
        }));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn what_was_done_before_a_wake_up_is_seen_in_the_poll() {
    loom::model(|| {
        let items = items(2);
        let mut ready = Ready::new();
        let wakers = places(&mut ready, 2);
        let threads: Vec<_> = wakers
            .into_iter()
            .enumerate()
            .map(|(index, waker)| {
                let items = Arc::clone(&items);
                thread::spawn(move || {
                    // SAFETY: nobody reads before the wake-up; loom says otherwise if not.
                    items[index].note.0.with_mut(|note| unsafe { *note = 7 });
                    waker.wake();
                })
            })
            .collect();
        let mut seen = 0;
        block_on(poll_fn(|cx| {
            ready.take(cx.waker());
            while let Some(index) = ready.next() {
                // SAFETY: it has been woken; loom says otherwise if not.
                items[index].note.0.with(|note| assert_eq!(unsafe { *note }, 7));
                seen += 1;
            }
            if seen == 2 { Poll::Ready(()) } else { Poll::Pending }
        }));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// One place is taken off the list while it is pushed again, on top of another.
#[test]
fn a_place_that_is_woken_while_it_is_taken_off_does_not_tear_the_list() {
    loom::model(|| {
        let items = items(2);
        let mut ready = Ready::new();
        let wakers = places(&mut ready, 2);
        // Place 0 is below place 1 in the stack that is taken.
        wakers[0].wake_by_ref();
        wakers[1].wake_by_ref();
        let thread = {
            let (items, wakers) = (Arc::clone(&items), wakers.clone());
            thread::spawn(move || {
                for (item, waker) in items.iter().zip(&wakers) {
                    item.done.store(true, Ordering::Relaxed);
                    waker.wake_by_ref();
                }
            })
        };
        poll_until_done(&mut ready, &items);
        thread.join().unwrap();
    });
}

#[test]
fn a_wake_up_as_the_batch_is_dropped_touches_nothing() {
    loom::model(|| {
        let mut ready = Ready::new();
        let waker = places(&mut ready, 1).remove(0);
        ready.take(Waker::noop());
        let thread = thread::spawn(move || waker.wake());
        drop(ready);
        thread.join().unwrap();
    });
}
