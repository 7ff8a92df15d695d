//! Throttle: calls at the rate of a bucket.

use cofferdam::limit::{Quota, TokenBucket};
use cofferdam::resilience::*;
use cofferdam::sync::Context;
use cofferdam::testkit::{ManualClock, Polled, Sim, drop_at_every_await_in_sim};
use cofferdam::time::Backoff;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// One token each 100 ms, two at once.
fn bucket(time: &ManualClock) -> TokenBucket {
    let quota = Quota::every(ms(100)).unwrap().burst(2);
    TokenBucket::builder(quota).clock(time.clock()).build().unwrap()
}

async fn done() -> Result<u8, &'static str> {
    Ok(1)
}

#[test]
fn without_a_wait_limit_it_refuses_at_once_and_says_when() {
    let time = ManualClock::new();
    let throttle = Throttle::builder(bucket(&time)).name("mail").build().unwrap();
    for _ in 0..2 {
        assert_eq!(Polled::new(throttle.call(done)).poll(), Some(Ok(1)));
    }
    let error = Polled::new(throttle.call(done)).poll().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "mail: rate limited, retry after 100ms");
    assert!(error.is_rate_limited() && error.is_retryable() && error.is_temporary());
    time.advance(ms(100));
    assert_eq!(Polled::new(throttle.call(done)).poll(), Some(Ok(1)));
}

#[test]
fn with_a_wait_limit_it_lets_those_wait_that_will_be_in_time() {
    let time = ManualClock::new();
    let throttle = Throttle::builder(bucket(&time)).wait_limit(ms(150)).build().unwrap();
    for _ in 0..2 {
        assert_eq!(Polled::new(throttle.call(done)).poll(), Some(Ok(1)));
    }
    let mut first = Polled::new(throttle.call(done));
    assert!(first.poll().is_none());
    let error = Polled::new(throttle.call(done)).poll().unwrap().unwrap_err();
    assert!(error.is_rate_limited(), "200 ms would be too long, so it does not begin to wait");
    time.advance(ms(100));
    assert_eq!(first.poll(), Some(Ok(1)));
    assert_eq!(time.armed(), 0);
}

// S46
#[test]
fn tokens_are_spent_by_calls_that_fail_and_kept_from_none_that_never_began() {
    let time = ManualClock::new();
    let bucket = bucket(&time);
    let throttle = Throttle::builder(bucket.clone()).wait_limit(ms(500)).build().unwrap();
    assert_eq!(
        Polled::new(throttle.call(|| async { Err::<(), _>("no") })).poll(),
        Some(Err(Error::Inner("no")))
    );
    let mut running = Polled::new(throttle.call(std::future::pending::<Result<(), ()>>));
    assert!(running.poll().is_none());
    drop(running);
    assert_eq!(bucket.available(), 0, "dropped while it ran: spent");
    let mut waiting = Polled::new(throttle.call(done));
    assert!(waiting.poll().is_none());
    drop(waiting);
    time.advance(ms(100));
    assert_eq!((bucket.available(), time.armed()), (1, 0), "dropped while it waited: not spent");
}

// RB9
#[test]
fn retries_pass_the_same_rate() {
    let time = ManualClock::new();
    let stack = Stack::new()
        .retry(Retry::builder().max_attempts(4).backoff(Backoff::ZERO).clock(time.clock()).build().unwrap())
        .throttle(Throttle::builder(bucket(&time)).wait_limit(Duration::MAX).build().unwrap());
    assert_eq!(stack.lint(), []);
    let starts = RefCell::new(Vec::new());
    let mut call = Polled::new(stack.call(|| {
        starts.borrow_mut().push(time.elapsed());
        async { Err::<(), _>("down") }
    }));
    while call.poll().is_none() {
        time.advance_to(time.next_deadline().unwrap());
    }
    assert_eq!(*starts.borrow(), [ms(0), ms(0), ms(100), ms(200)]);
    let lints =
        Stack::new().throttle(Throttle::new(bucket(&time))).retry(Retry::builder().build().unwrap()).lint();
    assert_eq!(lints[0].code(), LintCode::ThrottleOutsideRetry);
}

// S58
#[test]
fn who_has_too_little_time_left_does_not_begin_to_wait() {
    let time = ManualClock::new();
    let bucket = bucket(&time);
    let throttle = Throttle::builder(bucket.clone()).tokens(2).wait_limit(Duration::MAX).build().unwrap();
    assert!(Polled::new(throttle.call(done)).poll().is_some());
    let context = Context::background().with_clock(time.clock()).with_timeout(ms(150));
    let error = Polled::new(context.scope(throttle.call(done))).poll().unwrap().unwrap_err();
    assert_eq!(error.retry_after(), Some(ms(200)));
    // Ended work takes nothing, whether it would have waited or not.
    time.advance(ms(1_000));
    for throttle in [throttle, Throttle::new(bucket.clone())] {
        let error = Polled::new(context.scope(throttle.call(done))).poll().unwrap().unwrap_err();
        assert!(error.is_deadline_exceeded(), "{error}");
        assert_eq!(bucket.available(), 2);
    }
}

#[test]
fn settings_that_limit_nothing_or_everything_are_refused() {
    let time = ManualClock::new();
    let error = Throttle::builder(bucket(&time)).tokens(0).build().unwrap_err();
    assert_eq!(error.to_string(), "throttle: tokens = 0: must be at least 1");
    let error = Throttle::builder(bucket(&time)).tokens(3).build().unwrap_err();
    assert_eq!(error.to_string(), "throttle: tokens = 3: must not be above the bucket's burst");
}

// S32, S33
#[test]
fn what_can_never_be_let_through_says_so_and_nobody_waits_for_it_or_tries_again() {
    let time = ManualClock::new();
    let build = |quota| TokenBucket::builder(quota).clock(time.clock()).build().unwrap();
    // Spent, with nothing to come; and lowered, while it ran, below what a call takes.
    let spent = build(Quota::zero(2));
    assert!(spent.try_acquire_many(2).is_ok());
    let lowered = build(Quota::every(ms(1)).unwrap().burst(2));
    let throttles = |bucket: &TokenBucket, wait_limit| {
        Throttle::builder(bucket.clone()).tokens(2).wait_limit(wait_limit).build().unwrap()
    };
    let all: Vec<_> = [&spent, &lowered]
        .into_iter()
        .flat_map(|bucket| [Duration::ZERO, ms(5), Duration::MAX].map(|limit| throttles(bucket, limit)))
        .collect();
    lowered.set_burst(1);
    for throttle in all {
        let case = format!("{throttle:?}");
        let error = Polled::new(throttle.call(done)).poll().expect(&case).unwrap_err();
        assert_eq!(error.to_string(), "throttle: rate limited, can never be let through", "{case}");
        assert!(error.is_rate_limited() && !error.is_retryable() && !error.is_temporary(), "{case}");
        assert_eq!((error.retry_after(), time.armed()), (None, 0), "{case}");
        let retry = Retry::builder().max_attempts(4).clock(time.clock()).build().unwrap();
        let stack = Stack::new().retry(retry).throttle(throttle);
        let error = Polled::new(stack.call(done)).poll().expect(&case).unwrap_err();
        assert!(error.is_rate_limited() && !error.is_exhausted(), "{case}: one attempt");
    }
    // Not for good if the quota changes: what cannot come can be given.
    lowered.set_burst(2);
    time.advance(ms(2));
    let throttle = throttles(&lowered, Duration::MAX);
    assert_eq!(Polled::new(throttle.call(done)).poll(), Some(Ok(1)));
    // And who waits already learns of it.
    let mut waiting = Polled::new(throttle.call(done));
    assert!(waiting.poll().is_none());
    lowered.set_burst(1);
    let error = waiting.poll().expect("never").unwrap_err();
    assert_eq!((error.is_rate_limited(), error.retry_after(), waiting.wakes()), (true, None, 1));
}

#[test]
fn dropped_at_any_await_a_call_keeps_no_token_that_it_did_not_use() {
    let points = drop_at_every_await_in_sim(0..200, |sim: &Sim| {
        let quota = Quota::every(ms(10)).unwrap().burst(1);
        let bucket = TokenBucket::builder(quota).clock(sim.clock()).build().unwrap();
        let throttle = Throttle::builder(bucket.clone()).wait_limit(Duration::MAX).build().unwrap();
        let begun = Arc::new(AtomicU64::new(0));
        let call = || {
            let (throttle, begun, clock) = (throttle.clone(), Arc::clone(&begun), sim.clock());
            async move {
                throttle
                    .call(|| async {
                        begun.fetch_add(1, Ordering::Relaxed);
                        clock.sleep(ms(3)).await;
                        Ok::<(), ()>(())
                    })
                    .await
                    .unwrap();
            }
        };
        for n in 0..3 {
            sim.spawn(format!("other {n}"), call());
        }
        let under_test = call();
        let clock = sim.clock();
        let check = move |sim: &Sim, _| {
            // The others come through at the bucket's rate, whatever became of this one.
            let start = clock.now();
            while begun.load(Ordering::Relaxed) < 3 {
                sim.advance(ms(1));
                assert!(clock.now() - start <= ms(40), "tokens were lost");
            }
            sim.advance(ms(1_000));
            assert_eq!((bucket.available(), bucket.stats().waiting, sim.time().armed()), (1, 0, 0));
        };
        (under_test, check)
    });
    assert!(points > 400, "{points}");
}

// MT9: a pause is not for good, and says so.
#[test]
fn a_paused_limiter_refuses_for_the_time_being() {
    let time = ManualClock::new();
    let bucket = bucket(&time);
    let throttle = Throttle::new(bucket.clone());
    bucket.pause();
    let error = Polled::new(throttle.call(done)).poll().unwrap().unwrap_err();
    assert!(error.is_rate_limited() && error.is_temporary() && !error.is_retryable());
    assert_eq!(error.retry_after(), None);
    assert_eq!(error.to_string(), "throttle: rate limited, paused until it is resumed");
    bucket.resume();
    bucket.pause_for(Duration::from_secs(3));
    let error = Polled::new(throttle.call(done)).poll().unwrap().unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
}
