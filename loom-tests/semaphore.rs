//! The semaphore: conservation, order, hand-off, cancellation, resize, close.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | mutual exclusion with data under the permit | 2 | none | release with `Relaxed` instead of `Release` |
//! | a release is never lost on a waiter | 2 | none | `enqueue` without the `fetch_or` before the look |
//! | cancel or grant, never both, nothing lost | 3 | 3 | `abandon` that does not release a granted permit |
//! | a cancelled head lets the next through | 3 | 3 | `leave` without serving those behind |
//! | barging: two releases, two waiters, no sleeper beside a permit | 3 | 3 | `enqueue` without the `fetch_or` before the look |
//! | barging: a release that passes a woken waiter reaches it | 2 | none | `poll_linked` that gets back in line without setting the flag; that does not invite afterwards |
//! | barging: a woken waiter that is dropped passes on | 3 | 3 | `leave` without `disclaim` |
//! | shrink absorbs, grow wakes, sums stay exact | 3 | 3 | `resize` without `hand_over` |
//! | close ends every wait | 3 | 3 | `close` that does not set the flag under the lock |
//! | an exchange of roles: who waits, who gives, who gives up, who closes | 2-3 | 3 or none | `enqueue` without the `fetch_or`; `leave` without serving those behind |
//! | never more free than there is, and nothing granted that is nothing | 2-3 | 3 | `grant` that subtracts after it has granted; requests for all that want zero after a shrink to zero |
//! | a granted waiter polled with another waker | 2 | none | `poll_linked` that misses an outcome set since the look |

//!
//! loom remembers only the *last* access to an atomic when it looks for schedules worth trying: a thread that loads and
//! then stores (or exchanges) hides an earlier load of another thread from the search. Models whose threads differ have a
//! twin in which the spawned threads do what the main one does in the other.

use cofferdam_loom::sync::{Order, Semaphore};
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::thread;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

fn bounded(bound: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    builder.check(model);
}

fn semaphore(capacity: u32, order: Order) -> Arc<Semaphore> {
    Arc::new(Semaphore::builder(capacity).order(order).build().unwrap())
}

/// A value that only the holder of the permit touches.
struct Guarded(UnsafeCell<u32>);
// SAFETY: that is what the models check.
unsafe impl Sync for Guarded {}
// SAFETY: as above.
unsafe impl Send for Guarded {}

impl Guarded {
    fn bump(&self) {
        // SAFETY: under the permit; loom reports it if that does not suffice.
        self.0.with_mut(|value| unsafe { *value += 1 });
    }
}

fn exclusion(order: Order) {
    bounded(None, move || {
        let semaphore = semaphore(1, order);
        let data = Arc::new(Guarded(UnsafeCell::new(0)));
        let other = {
            let (semaphore, data) = (semaphore.clone(), data.clone());
            thread::spawn(move || {
                let permit = block_on(semaphore.acquire()).unwrap();
                data.bump();
                drop(permit);
            })
        };
        let permit = block_on(semaphore.acquire()).unwrap();
        data.bump();
        drop(permit);
        other.join().unwrap();
        // SAFETY: both are done.
        assert_eq!(data.0.with(|value| unsafe { *value }), 2);
        assert_eq!((semaphore.available(), semaphore.waiting()), (1, 0));
    });
}

#[test]
fn holders_exclude_each_other_fifo() {
    exclusion(Order::Fifo);
}

#[test]
fn holders_exclude_each_other_barging() {
    exclusion(Order::Barging);
}

/// Polls once, then drops.
fn poll_and_drop(semaphore: &Semaphore, n: u32) -> bool {
    let mut future = pin!(semaphore.acquire_many(n));
    matches!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(_)))
}

fn cancel(order: Order) {
    bounded(Some(3), move || {
        let semaphore = semaphore(1, order);
        let held = semaphore.try_acquire_owned().unwrap();
        let waiter = {
            let semaphore = semaphore.clone();
            thread::spawn(move || drop(block_on(semaphore.acquire()).unwrap()))
        };
        let quitter = {
            let semaphore = semaphore.clone();
            thread::spawn(move || poll_and_drop(&semaphore, 1))
        };
        drop(held);
        quitter.join().unwrap();
        waiter.join().unwrap();
        assert_eq!((semaphore.available(), semaphore.waiting()), (1, 0));
    });
}

#[test]
fn a_cancelled_waiter_loses_nothing_fifo() {
    cancel(Order::Fifo);
}

#[test]
fn a_cancelled_waiter_loses_nothing_barging() {
    cancel(Order::Barging);
}

fn large_head(order: Order) {
    bounded(Some(3), move || {
        let semaphore = semaphore(2, order);
        let held = semaphore.try_acquire_owned().unwrap();
        let quitter = {
            let semaphore = semaphore.clone();
            thread::spawn(move || poll_and_drop(&semaphore, 2))
        };
        let small = {
            let semaphore = semaphore.clone();
            thread::spawn(move || drop(block_on(semaphore.acquire()).unwrap()))
        };
        quitter.join().unwrap();
        small.join().unwrap();
        drop(held);
        assert_eq!((semaphore.available(), semaphore.waiting()), (2, 0));
    });
}

#[test]
fn a_large_head_that_gives_up_lets_the_next_through() {
    large_head(Order::Fifo);
}

#[test]
fn two_releases_reach_two_waiters_barging() {
    bounded(Some(3), || {
        let semaphore = semaphore(2, Order::Barging);
        let (a, b) = (semaphore.try_acquire_owned().unwrap(), semaphore.try_acquire_owned().unwrap());
        let waiter = {
            let semaphore = semaphore.clone();
            // Holds on to its permit: the other waiter cannot live on this one's release.
            thread::spawn(move || std::mem::forget(block_on(semaphore.acquire()).unwrap()))
        };
        let releaser = thread::spawn(move || drop(a));
        let mut mine = pin!(semaphore.acquire());
        let first = mine.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(b);
        releaser.join().unwrap();
        let permit = match first {
            Poll::Ready(permit) => permit,
            Poll::Pending => block_on(mine),
        };
        std::mem::forget(permit.unwrap());
        waiter.join().unwrap();
        assert_eq!((semaphore.available(), semaphore.waiting()), (0, 0));
    });
}

#[test]
fn a_release_that_passes_a_woken_waiter_reaches_it() {
    bounded(None, || {
        let semaphore = semaphore(1, Order::Barging);
        let held = semaphore.try_acquire_owned().unwrap();
        let waiter = {
            let semaphore = semaphore.clone();
            thread::spawn(move || drop(block_on(semaphore.acquire()).unwrap()))
        };
        drop(held);
        // Barges in, perhaps between the wake-up and the waiter's coming.
        drop(semaphore.try_acquire());
        waiter.join().unwrap();
        assert_eq!((semaphore.available(), semaphore.waiting()), (1, 0));
    });
}

fn resize(order: Order) {
    bounded(Some(3), move || {
        let semaphore = semaphore(2, order);
        let held = semaphore.try_acquire_many_owned(2).unwrap();
        let resizer = {
            let semaphore = semaphore.clone();
            thread::spawn(move || {
                semaphore.resize(1);
                semaphore.resize(3);
            })
        };
        let waiter = {
            let semaphore = semaphore.clone();
            thread::spawn(move || drop(block_on(semaphore.acquire()).unwrap()))
        };
        waiter.join().unwrap();
        resizer.join().unwrap();
        drop(held);
        let stats = semaphore.stats();
        assert_eq!((stats.capacity, stats.available, stats.waiting), (3, 3, 0));
    });
}

#[test]
fn resizing_keeps_the_sums_and_wakes_fifo() {
    resize(Order::Fifo);
}

#[test]
fn resizing_keeps_the_sums_and_wakes_barging() {
    resize(Order::Barging);
}

fn close(order: Order) {
    bounded(Some(3), move || {
        let semaphore = semaphore(1, order);
        let held = semaphore.try_acquire_owned().unwrap();
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let semaphore = semaphore.clone();
                thread::spawn(move || block_on(semaphore.acquire()).is_ok())
            })
            .collect();
        semaphore.close();
        for waiter in waiters {
            assert!(!waiter.join().unwrap());
        }
        drop(held);
        assert_eq!((semaphore.available(), semaphore.waiting()), (1, 0));
    });
}

#[test]
fn close_ends_every_wait_fifo() {
    close(Order::Fifo);
}

#[test]
fn close_ends_every_wait_barging() {
    close(Order::Barging);
}

#[test]
fn a_waiter_may_change_its_waker() {
    bounded(None, || {
        let semaphore = semaphore(1, Order::Fifo);
        let held = semaphore.try_acquire_owned().unwrap();
        let mut mine = Box::pin(semaphore.acquire_owned());
        assert!(mine.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let releaser = thread::spawn(move || drop(held));
        drop(block_on(mine).unwrap());
        releaser.join().unwrap();
        assert_eq!(semaphore.available(), 1);
    });
}

/// Twin of the models in which the main thread gives and a spawned one waits.
fn given_by_a_thread(order: Order, barge: bool) {
    bounded((order == Order::Barging).then_some(3), move || {
        let semaphore = semaphore(1, order);
        let held = semaphore.try_acquire_owned().unwrap();
        let giver = {
            let semaphore = semaphore.clone();
            thread::spawn(move || {
                drop(held);
                if barge {
                    drop(semaphore.try_acquire());
                }
            })
        };
        drop(block_on(semaphore.acquire()).unwrap());
        giver.join().unwrap();
        assert_eq!((semaphore.available(), semaphore.waiting()), (1, 0));
    });
}

#[test]
fn a_thread_gives_and_main_waits_fifo() {
    given_by_a_thread(Order::Fifo, false);
}

#[test]
fn a_thread_gives_and_main_waits_barging() {
    given_by_a_thread(Order::Barging, true);
}

/// Twin of [`cancel`]: main gives up, a thread gives.
fn cancelled_by_main(order: Order) {
    bounded(Some(3), move || {
        let semaphore = semaphore(1, order);
        let held = semaphore.try_acquire_owned().unwrap();
        let giver = thread::spawn(move || drop(held));
        let waiter = {
            let semaphore = semaphore.clone();
            thread::spawn(move || drop(block_on(semaphore.acquire()).unwrap()))
        };
        poll_and_drop(&semaphore, 1);
        giver.join().unwrap();
        waiter.join().unwrap();
        assert_eq!((semaphore.available(), semaphore.waiting()), (1, 0));
    });
}

#[test]
fn main_gives_up_and_loses_nothing_fifo() {
    cancelled_by_main(Order::Fifo);
}

#[test]
fn main_gives_up_and_loses_nothing_barging() {
    cancelled_by_main(Order::Barging);
}

/// Twin of [`close`].
fn closed_by_a_thread(order: Order) {
    bounded(None, move || {
        let semaphore = semaphore(1, order);
        let _held = semaphore.try_acquire_owned().unwrap();
        let closer = {
            let semaphore = semaphore.clone();
            thread::spawn(move || semaphore.close())
        };
        assert!(block_on(semaphore.acquire()).is_err());
        closer.join().unwrap();
        assert_eq!(semaphore.waiting(), 0);
    });
}

#[test]
fn a_thread_closes_and_main_waits_fifo() {
    closed_by_a_thread(Order::Fifo);
}

#[test]
fn a_thread_closes_and_main_waits_barging() {
    closed_by_a_thread(Order::Barging);
}

#[test]
fn there_are_never_more_free_than_there_are() {
    bounded(Some(3), || {
        let semaphore = semaphore(1, Order::Fifo);
        let held = semaphore.try_acquire_owned().unwrap();
        let waiter = {
            let semaphore = semaphore.clone();
            thread::spawn(move || drop(block_on(semaphore.acquire()).unwrap()))
        };
        let giver = thread::spawn(move || drop(held));
        assert!(semaphore.available() <= 1);
        giver.join().unwrap();
        waiter.join().unwrap();
        assert_eq!(semaphore.available(), 1);
    });
}

fn shrunk_to_nothing(order: Order) {
    bounded(Some(3), move || {
        let semaphore = semaphore(1, order);
        let held = semaphore.try_acquire_owned().unwrap();
        let resizer = {
            let semaphore = semaphore.clone();
            thread::spawn(move || {
                semaphore.resize(0);
            })
        };
        let giver = thread::spawn(move || drop(held));
        if let Ok(permit) = block_on(semaphore.acquire_all()) {
            assert_eq!(permit.permits(), 1);
        }
        resizer.join().unwrap();
        giver.join().unwrap();
        let stats = semaphore.stats();
        assert_eq!((stats.in_use, stats.waiting), (0, 0));
    });
}

#[test]
fn a_shrink_to_nothing_grants_nothing_fifo() {
    shrunk_to_nothing(Order::Fifo);
}

#[test]
fn a_shrink_to_nothing_grants_nothing_barging() {
    shrunk_to_nothing(Order::Barging);
}
