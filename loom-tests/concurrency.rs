//! The concurrency limiter: the line in front of the semaphore against its lock-free paths, and the windows of the adaptive
//! one.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | a release is never lost on somebody who gets in line | 2 | 3 | `release` that looks at the word with a load; `enter` that looks for permits before it counts itself in |
//! | holders exclude each other | 2 | 3 | the same two; `release` of the semaphore with `Relaxed` |
//! | cancel or grant, never both, nothing lost | 3 | 2 | `abandon` that does not give a granted permit back |
//! | a cancelled head lets the next through | 2 | none | `leave` that does not serve those behind |
//! | a growth reaches who gets in line | 2 | 3 | `resize` without `follow_capacity` |
//! | a shrink ends a hopeless wait, whichever is first | 2 | 3 | the capacity read before the lock in `enter` |
//! | partitions add up | 3 | 2 | `abandon` that gives back on account of the first lane |
//! | a close ends every wait | 2 | 3 | `close` that leaves the line to itself |
//! | no window loses or doubles a call | 2 | 2 | `take` with a load and a store in place of the swap; a turn without ownership |
//! | of two turns the later limit stays | 3 | 2 | the limit changed after the window was given back |

use cofferdam_loom::limit::concurrency::{Algorithm, Discipline, Outcome, Request, Sample};
use cofferdam_loom::limit::{AdaptiveLimiter, ConcurrencyLimiter};
use cofferdam_loom::testkit::ManualClock;
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::thread;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

fn bounded(bound: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    builder.check(model);
}

/// First come, first served, in the line of its own.
fn limiter(limit: u32) -> ConcurrencyLimiter {
    let interval = Duration::from_secs(3600);
    let clock = ManualClock::new().clock();
    let builder = ConcurrencyLimiter::builder(limit).discipline(Discipline::AdaptiveLifo { interval });
    builder.clock(clock).build().unwrap()
}

/// A value that only the holder of the permit touches.
struct Guarded(UnsafeCell<u32>);
// SAFETY: that is what the model checks.
unsafe impl Sync for Guarded {}
// SAFETY: as above.
unsafe impl Send for Guarded {}

impl Guarded {
    fn bump(&self) {
        // SAFETY: under the permit; loom reports it if that does not suffice.
        self.0.with_mut(|value| unsafe { *value += 1 });
    }
}

/// S66
#[test]
fn holders_exclude_each_other_and_no_release_is_lost() {
    bounded(Some(3), || {
        let limiter = limiter(1);
        let data = Arc::new(Guarded(UnsafeCell::new(0)));
        let other = {
            let (limiter, data) = (limiter.clone(), data.clone());
            thread::spawn(move || {
                let permit = block_on(limiter.acquire()).unwrap();
                data.bump();
                drop(permit);
            })
        };
        let permit = block_on(limiter.acquire()).unwrap();
        data.bump();
        drop(permit);
        other.join().unwrap();
        // SAFETY: both are done.
        assert_eq!(data.0.with(|value| unsafe { *value }), 2);
        assert_eq!((limiter.available(), limiter.waiting()), (1, 0));
    });
}

/// S66, with the roles the other way round: loom looks for schedules by the last access only.
#[test]
fn a_release_against_getting_in_line() {
    bounded(Some(3), || {
        let limiter = limiter(1);
        let held = limiter.try_acquire_owned().unwrap();
        let other = thread::spawn(move || drop(held));
        drop(block_on(limiter.acquire()).unwrap());
        other.join().unwrap();
        assert_eq!((limiter.available(), limiter.waiting()), (1, 0));
    });
}

/// Polls once, then drops.
fn poll_and_drop(limiter: &ConcurrencyLimiter, request: Request) -> bool {
    let mut future = pin!(limiter.acquire_with(request));
    matches!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(_)))
}

/// S67
#[test]
fn a_cancelled_waiter_loses_nothing() {
    bounded(Some(2), || {
        let limiter = limiter(1);
        let held = limiter.try_acquire_owned().unwrap();
        let waiter = {
            let limiter = limiter.clone();
            thread::spawn(move || drop(block_on(limiter.acquire()).unwrap()))
        };
        let quitter = {
            let limiter = limiter.clone();
            thread::spawn(move || poll_and_drop(&limiter, Request::new(1)))
        };
        drop(held);
        quitter.join().unwrap();
        waiter.join().unwrap();
        assert_eq!((limiter.available(), limiter.waiting()), (1, 0));
    });
}

/// S67: the head wants more than there is; without it the next fits.
#[test]
fn a_cancelled_head_lets_the_next_through() {
    bounded(None, || {
        let limiter = limiter(2);
        let held = limiter.try_acquire_owned().unwrap();
        let mut head = Box::pin(limiter.acquire_with_owned(Request::new(2)));
        assert!(head.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let other = thread::spawn(move || drop(head));
        drop(block_on(limiter.acquire()).unwrap());
        other.join().unwrap();
        drop(held);
        assert_eq!((limiter.available(), limiter.waiting()), (2, 0));
    });
}

/// S69
#[test]
fn a_growth_reaches_who_gets_in_line() {
    bounded(Some(3), || {
        let limiter = limiter(1);
        let held = limiter.try_acquire_owned().unwrap();
        let other = {
            let limiter = limiter.clone();
            thread::spawn(move || limiter.resize(2).unwrap())
        };
        let second = block_on(limiter.acquire()).unwrap();
        other.join().unwrap();
        assert_eq!((limiter.in_flight(), limiter.available()), (2, 0));
        drop((held, second));
        assert_eq!(limiter.available(), 2);
    });
}

/// S69, CL5
#[test]
fn a_shrink_ends_a_hopeless_wait() {
    bounded(Some(3), || {
        let limiter = limiter(2);
        let held = limiter.try_acquire_owned().unwrap();
        let other = {
            let limiter = limiter.clone();
            thread::spawn(move || limiter.resize(1).unwrap())
        };
        // Not done means asleep for ever, which loom reports.
        let error = block_on(limiter.acquire_many(2)).unwrap_err();
        assert!(error.exceeds_limit());
        other.join().unwrap();
        drop(held);
        assert_eq!((limiter.available(), limiter.waiting()), (1, 0));
    });
}

#[test]
fn partitions_add_up() {
    bounded(Some(2), || {
        let clock = ManualClock::new().clock();
        let builder = ConcurrencyLimiter::builder(1).partition("a", 50).partition("b", 50).clock(clock);
        let limiter = builder.build().unwrap();
        let (a, b) = (limiter.partition("a").unwrap(), limiter.partition("b").unwrap());
        let held = limiter.try_acquire_with_owned(Request::new(1).partition(b)).unwrap();
        let other = {
            let limiter = limiter.clone();
            thread::spawn(move || poll_and_drop(&limiter, Request::new(1).partition(b)))
        };
        let release = thread::spawn(move || drop(held));
        drop(block_on(limiter.acquire_with(Request::new(1).partition(a))).unwrap());
        other.join().unwrap();
        release.join().unwrap();
        for partition in [a, b, Default::default()] {
            let stats = limiter.partition_stats(partition);
            assert_eq!((stats.in_flight, stats.waiting), (0, 0));
        }
        assert_eq!(limiter.available(), 1);
    });
}

#[test]
fn a_close_ends_every_wait() {
    bounded(Some(3), || {
        let limiter = limiter(1);
        let held = limiter.try_acquire_owned().unwrap();
        let other = {
            let limiter = limiter.clone();
            thread::spawn(move || limiter.close())
        };
        assert!(block_on(limiter.acquire()).unwrap_err().is_closed());
        other.join().unwrap();
        drop(held);
        assert_eq!(limiter.waiting(), 0);
    });
}

/// Sums up what it is given; its limit is how often it was asked.
struct Sum(Arc<Mutex<(u32, u32)>>);

impl Algorithm for Sum {
    fn limit(&self) -> u32 {
        4
    }

    fn update(&mut self, sample: &Sample) -> u32 {
        // Not loom's: one at a time is what is checked, and a lock would see to it.
        let mut sum = self.0.try_lock().expect("two at the same time");
        sum.0 += sample.successes + sample.drops;
        sum.1 += 1;
        4 + sum.1
    }
}

fn adaptive(sum: &Arc<Mutex<(u32, u32)>>) -> (ManualClock, AdaptiveLimiter) {
    let time = ManualClock::new();
    let builder = AdaptiveLimiter::builder(Sum(sum.clone())).clock(time.clock()).min_samples(1);
    let window = Duration::from_nanos(1);
    (time, builder.window(window).longest_window(window).build().unwrap())
}

/// S78: every call that is recorded is in one window.
#[test]
fn no_window_loses_or_doubles_a_call() {
    bounded(Some(2), || {
        let sum = Arc::default();
        let (time, limiter) = adaptive(&sum);
        let start = time.clock().now();
        let record = move |limiter: &AdaptiveLimiter, at: u64, outcome| {
            let guard = limiter.try_acquire_at(start).unwrap();
            guard.record_at(outcome, start + Duration::from_nanos(at));
        };
        let other = {
            let limiter = limiter.clone();
            thread::spawn(move || record(&limiter, 100, Outcome::Success))
        };
        record(&limiter, 110, Outcome::Success);
        record(&limiter, 120, Outcome::Dropped);
        other.join().unwrap();
        record(&limiter, 1_000_000, Outcome::Success);
        let (calls, updates) = *sum.lock().unwrap();
        assert_eq!(calls, 4);
        assert_eq!((limiter.limit(), limiter.stats().updates), (4 + updates, u64::from(updates)));
        assert_eq!((limiter.stats().in_flight, limiter.stats().available), (0, 4 + updates));
    });
}

/// S78: the limit is that of the last turn.
#[test]
fn of_two_turns_the_later_limit_stays() {
    bounded(Some(2), || {
        let sum = Arc::default();
        let (time, limiter) = adaptive(&sum);
        let start = time.clock().now();
        let threads: Vec<_> = (1..3)
            .map(|at| {
                let limiter = limiter.clone();
                thread::spawn(move || {
                    let guard = limiter.try_acquire_at(start).unwrap();
                    guard.record_at(Outcome::Success, start + Duration::from_nanos(100 * at));
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let (_, updates) = *sum.lock().unwrap();
        assert!(updates >= 1);
        assert_eq!(limiter.limit(), 4 + updates);
    });
}
