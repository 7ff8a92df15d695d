//! The token bucket: decisions without a lock against each other and against everything done under the mutex, and the one
//! timer.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | never above the burst | 3 | none | a store in place of the compare-exchange |
//! | a refund and a decision lose and mint nothing | 2 | none | `freeze` that does not set the slow bit |
//! | no decision on old terms | 2 | 3 | no new generation; word and tag not compared |
//! | no refusal on torn terms | 2 | 3 | the word loaded before the terms; parameters stored with `Relaxed` |
//! | moving the base loses and mints nothing | 2 | none | `freeze` that does not set the slow bit |
//! | no decision from an old base | 2 | 3 | no new generation where only the base has moved; the tag stored before the parameters, or with `Relaxed`; terms loaded with `Relaxed` |
//! | a grant and giving up: never both, the next is served | 2 | none | `abandon` that gives no grant back; that does not serve those behind |
//! | queueing against the firing timer: nobody sleeps on | 2 | 3 | a sleep that is ready when armed, ignored |
//! | of two armings the later decision stays | 2 | none | `rest` that does not look at the decision |
//! | at its end, and not after it, a temporary limit is over for both | 2 | 3 | a word whose span does not end with it |
//! | nobody is let through after a pause has begun | 2 | 3 | the state published in spite of the pause |

use cofferdam_loom::limit::{Quota, Rate, TokenBucket, WaitError};
use cofferdam_loom::testkit::ManualClock;
use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

fn bounded(bound: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    builder.check(model);
}

fn bucket(quota: Quota, initial: u64) -> (ManualClock, TokenBucket) {
    let time = ManualClock::new();
    let bucket = TokenBucket::builder(quota).clock(time.clock()).initial(initial).build().unwrap();
    (time, bucket)
}

type Wait = Pin<Box<dyn Future<Output = Result<(), WaitError>> + Send>>;

fn wait(bucket: &TokenBucket) -> Wait {
    let bucket = bucket.clone();
    Box::pin(async move { bucket.acquire().await })
}

fn poll(wait: &mut Wait) -> Poll<Result<(), WaitError>> {
    wait.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// S35, S41
#[test]
fn never_above_the_burst() {
    bounded(None, || {
        let (time, bucket) = bucket(Quota::per_second(2), 2);
        let now = time.clock().now();
        let others: Vec<_> = (0..2)
            .map(|_| {
                let bucket = bucket.clone();
                thread::spawn(move || bucket.try_acquire_at(1, now).is_ok())
            })
            .collect();
        let mine = bucket.try_acquire_at(1, now).is_ok();
        let admitted = others.into_iter().map(|other| other.join().unwrap()).filter(|ok| *ok).count();
        assert_eq!(admitted + usize::from(mine), 2);
    });
}

/// S46
#[test]
fn a_refund_and_a_decision_lose_and_mint_nothing() {
    bounded(None, || {
        let (time, bucket) = bucket(Quota::per_second(4), 1);
        let now = time.clock().now();
        let other = {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.refund(1))
        };
        let taken = (0..2).filter(|_| bucket.try_acquire_at(1, now).is_ok()).count();
        other.join().unwrap();
        assert!(taken >= 1);
        assert_eq!(taken as u64 + bucket.available(), 2);
    });
}

/// S40: the word looks the same before and after, but for its generation.
#[test]
fn no_decision_on_old_terms() {
    bounded(Some(3), || {
        let (time, bucket) = bucket(Quota::per_second(1).burst(2000), 2000);
        let now = time.clock().now();
        let other = {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.set_rate(Rate::per_second(1000)))
        };
        assert!(bucket.try_acquire_at(1, now).is_ok());
        other.join().unwrap();
        assert_eq!(bucket.available(), 1999);
    });
}

/// S40, RL7: a denial by old or by new terms, and by no mixture of them.
#[test]
fn no_refusal_on_torn_terms() {
    bounded(Some(3), || {
        let (time, bucket) = bucket(Quota::per_second(1).burst(1), 0);
        let now = time.clock().now();
        let other = {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.set_quota(Quota::per_second(1000).burst(3)))
        };
        let denied = bucket.try_acquire_at(1, now).unwrap_err();
        let said = (denied.burst(), denied.retry_after().unwrap());
        assert!(said == (1, Duration::from_secs(1)) || said == (3, Duration::from_millis(1)), "{said:?}");
        other.join().unwrap();
    });
}

/// S31, S41: one decision is past the span of the word.
#[test]
fn moving_the_base_loses_and_mints_nothing() {
    bounded(None, || {
        let (time, bucket) = bucket(Quota::per_second(1_000_000_007).burst(2), 2);
        let now = time.clock().now();
        let later = now + Duration::from_millis(100);
        let other = {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.try_acquire_at(1, later))
        };
        let mine = bucket.try_acquire_at(1, now).is_ok();
        assert!(other.join().unwrap().is_ok());
        // If the later time came first, the earlier one finds nothing; the token is there at the later one.
        assert_eq!(bucket.available_at(later), 1, "mine: {mine}");
        let full = later + Duration::from_nanos(2);
        assert_eq!(bucket.available_at(full), 2);
    });
}

/// S31: the word looks the same before and after the move, but for its generation.
#[test]
fn no_decision_from_an_old_base() {
    bounded(Some(3), || {
        let (time, bucket) = bucket(Quota::per_second(1_000_000_007).burst(2), 2);
        let now = time.clock().now() + Duration::from_millis(60);
        let later = now + Duration::from_millis(40);
        time.advance_to(later);
        let other = {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.refund(0))
        };
        // Taken before the move it is made up for by `later`; after the move it comes too late to be taken.
        let _ = bucket.try_acquire_at(1, now);
        other.join().unwrap();
        assert_eq!(bucket.available_at(later), 2);
    });
}

/// S36
#[test]
fn a_grant_and_giving_up_are_never_both() {
    bounded(None, || {
        let (time, bucket) = bucket(Quota::per_second(1), 0);
        let mut first = wait(&bucket);
        let mut second = wait(&bucket);
        assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
        let other = thread::spawn(move || drop(first));
        time.advance(Duration::from_secs(1));
        other.join().unwrap();
        assert!(poll(&mut second).is_ready(), "the token went to nobody");
        assert_eq!(bucket.available(), 0, "the token went to two");
        assert_eq!((bucket.stats().waiting, time.armed()), (0, 0));
    });
}

/// S35
#[test]
fn queueing_against_the_firing_timer() {
    bounded(Some(3), || {
        let (time, bucket) = bucket(Quota::per_second(1), 0);
        let mut first = wait(&bucket);
        assert!(poll(&mut first).is_pending());
        let other = {
            let time = time.clone();
            thread::spawn(move || time.advance(Duration::from_secs(2)))
        };
        // Not done means asleep for ever, which loom reports.
        block_on(wait(&bucket)).unwrap();
        other.join().unwrap();
        assert!(poll(&mut first).is_ready());
        assert_eq!((bucket.available(), time.armed()), (0, 0));
    });
}

/// S40
#[test]
fn of_two_armings_the_later_decision_stays() {
    bounded(None, || {
        let (time, bucket) = bucket(Quota::per_second(1).burst(1), 0);
        let mut first = wait(&bucket);
        assert!(poll(&mut first).is_pending());
        let other = {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.set_rate(Rate::per_second(2)))
        };
        bucket.set_rate(Rate::per_minute(30));
        other.join().unwrap();
        let due = if bucket.rate() == Rate::per_second(2) { 500 } else { 2000 };
        assert_eq!(time.next_deadline(), Some(time.clock().now() + Duration::from_millis(due)));
        time.advance(Duration::from_millis(due));
        assert!(poll(&mut first).is_ready());
        assert_eq!(time.armed(), 0);
    });
}

/// RL12: the first of two decisions at that instant goes past the end; the other finds it done.
#[test]
fn a_temporary_limit_ends_for_both() {
    bounded(Some(3), || {
        let (time, bucket) = bucket(Quota::per_second(1), 0);
        bucket.set_temporarily(Quota::per_second(1000).burst(3), Duration::from_secs(1));
        let end = time.clock().now() + Duration::from_secs(1);
        let other = {
            let bucket = bucket.clone();
            thread::spawn(move || bucket.try_acquire_at(1, end).is_ok())
        };
        let mine = bucket.try_acquire_at(1, end).is_ok();
        assert_ne!(mine, other.join().unwrap(), "a bucket of one token held three");
    });
}

/// MT9
#[test]
fn nobody_is_let_through_after_a_pause_has_begun() {
    bounded(Some(3), || {
        let (_time, bucket) = bucket(Quota::per_second(2), 2);
        let begun = Arc::new(AtomicBool::new(false));
        let other = {
            let (bucket, begun) = (bucket.clone(), Arc::clone(&begun));
            thread::spawn(move || {
                bucket.pause();
                begun.store(true, Ordering::Release);
            })
        };
        let was = begun.load(Ordering::Acquire);
        assert!(!was || bucket.try_acquire().is_err());
        other.join().unwrap();
        assert!(bucket.try_acquire().is_err());
    });
}
