//! The tiered limiter: the count that keeps decisions away from the queue, the queue, and the one timer.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | a resume between the look and the wait is not missed | 2 | 3 | a newcomer counted after his last look at the buckets |
//! | nor is a refund | 2 | 3 | the same; no last look under the queue's mutex |
//! | a grant and giving up: never both, the next is served | 2 | 3 | `abandon` that gives no grant back |
//! | queueing against the firing timer: nobody sleeps on | 2 | 3 | a sleep that is ready when armed, ignored |
//!
//! That all tiers are charged or none is a matter of plain mutexes over several shards, among which random keys are spread;
//! loom needs the same program each time. Real threads test it, in `tests/stress/tiered.rs`.

use cofferdam_loom::limit::tiered::{Request, Tier, WaitError};
use cofferdam_loom::limit::{Quota, Tiered};
use cofferdam_loom::testkit::ManualClock;
use loom::future::block_on;
use loom::thread;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const A: Request<'static> = Request::new("GET", "/a");

fn bounded(bound: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    builder.check(model);
}

/// Few buckets, so that there is one shard: keys are random, schedules must not be.
fn limiter(global: Quota, route: Quota) -> (ManualClock, Tiered) {
    let time = ManualClock::new();
    let builder = Tiered::builder().max_buckets(8).global(global).default_route(route);
    (time.clone(), builder.clock(time.clock()).build().unwrap())
}

type Wait = Pin<Box<dyn Future<Output = Result<(), WaitError>> + Send>>;

fn wait(limiter: &Tiered, request: Request<'static>) -> Wait {
    let limiter = limiter.clone();
    Box::pin(async move { limiter.acquire(request).await })
}

fn poll(wait: &mut Wait) -> Poll<Result<(), WaitError>> {
    wait.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// MT9
#[test]
fn a_resume_between_the_look_and_the_wait_is_not_missed() {
    bounded(Some(3), || {
        let (_time, limiter) = limiter(Quota::per_second(9), Quota::per_second(9));
        limiter.global().pause_for(Duration::from_secs(60));
        let other = {
            let limiter = limiter.clone();
            thread::spawn(move || limiter.global().resume())
        };
        // Not done means asleep for ever, which loom reports.
        block_on(wait(&limiter, A)).unwrap();
        other.join().unwrap();
        assert_eq!(limiter.global().available(), 8);
    });
}

/// MT10, S46
#[test]
fn a_refund_between_the_look_and_the_wait_is_not_missed() {
    bounded(Some(3), || {
        let (time, limiter) = limiter(Quota::per_second(9), Quota::per_second(1));
        assert!(limiter.try_acquire(A).is_ok());
        let other = {
            let limiter = limiter.clone();
            thread::spawn(move || limiter.refund(A))
        };
        block_on(wait(&limiter, A)).unwrap();
        other.join().unwrap();
        assert_eq!((limiter.stats().waiting, time.armed()), (0, 0));
    });
}

/// S36
#[test]
fn a_grant_and_giving_up_are_never_both() {
    bounded(Some(3), || {
        let (time, limiter) = limiter(Quota::per_second(9), Quota::per_second(1));
        assert!(limiter.try_acquire(A).is_ok());
        let mut first = wait(&limiter, A);
        let mut second = wait(&limiter, A);
        assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
        let other = thread::spawn(move || drop(first));
        time.advance(Duration::from_secs(1));
        other.join().unwrap();
        assert!(poll(&mut second).is_ready(), "the token went to nobody");
        assert_eq!(limiter.bucket(Tier::Route, A).unwrap().available(), 0, "the token went to two");
        assert_eq!((limiter.stats().waiting, time.armed()), (0, 0));
    });
}

/// S35
#[test]
fn queueing_against_the_firing_timer() {
    bounded(Some(3), || {
        let (time, limiter) = limiter(Quota::per_second(9), Quota::per_second(1));
        assert!(limiter.try_acquire(A).is_ok());
        let mut first = wait(&limiter, A);
        assert!(poll(&mut first).is_pending());
        let other = {
            let time = time.clone();
            thread::spawn(move || time.advance(Duration::from_secs(2)))
        };
        block_on(wait(&limiter, A)).unwrap();
        other.join().unwrap();
        assert!(poll(&mut first).is_ready());
        assert_eq!((limiter.stats().waiting, time.armed()), (0, 0));
    });
}
