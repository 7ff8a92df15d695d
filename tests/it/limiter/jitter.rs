//! Waits that are lengthened at random, repeatably.

use super::{ms, secs, waiting};
use cofferdam::limit::{Quota, TokenBucket};
use cofferdam::testkit::ManualClock;
use cofferdam::time::Rng;
use std::time::Duration;

fn jittery(share: f64, seed: u64) -> (ManualClock, TokenBucket) {
    let time = ManualClock::new();
    let quota = Quota::per_second(1).burst(1);
    let builder = TokenBucket::builder(quota).clock(time.clock()).initial(0);
    (time, builder.jitter(share).rng(Rng::with_seed(seed)).build().unwrap())
}

/// When the only waiter is let through.
fn length(share: f64, seed: u64) -> Duration {
    let (time, bucket) = jittery(share, seed);
    let mut waiter = waiting(bucket.acquire());
    while waiter.poll().is_none() {
        time.advance_to(time.next_deadline().unwrap());
    }
    time.elapsed()
}

// RL15
#[test]
fn a_wait_is_lengthened_by_up_to_its_share_and_repeatably_so() {
    let lengths: Vec<_> = (0..200).map(|seed| length(0.5, seed)).collect();
    assert!(lengths.iter().all(|length| (secs(1)..=ms(1500)).contains(length)));
    assert!(
        lengths.iter().any(|length| *length < ms(1100)) && lengths.iter().any(|length| *length > ms(1400))
    );
    assert_eq!(lengths, (0..200).map(|seed| length(0.5, seed)).collect::<Vec<_>>());
    assert_eq!(length(0.0, 7), secs(1));
}

// RL15: what need not wait is not touched.
#[test]
fn tokens_that_are_there_are_had_at_once() {
    let time = ManualClock::new();
    let bucket = TokenBucket::builder(Quota::per_second(1)).clock(time.clock()).jitter(1.0).build().unwrap();
    assert!(cofferdam::testkit::Polled::new(bucket.acquire()).poll().unwrap().is_ok());
    assert_eq!(time.armed(), 0);
}

// RL15, S31
#[test]
fn order_of_charging_and_rate_are_not_touched() {
    let (time, bucket) = jittery(1.0, 3);
    let mut first = waiting(bucket.acquire());
    time.advance(secs(1));
    assert_eq!((first.wakes(), bucket.tokens()), (1, 0.0), "charged at its instant");
    let mut second = waiting(bucket.acquire());
    assert_eq!(bucket.try_acquire().unwrap_err().retry_after(), Some(secs(2)));
    assert!(first.poll().is_none());
    time.advance(secs(1));
    assert!(first.poll().unwrap().is_ok(), "a wait of a second is at most doubled");
    assert_eq!(second.wakes(), 1);
    second.poll();
}

// RL15, S34
#[test]
fn nobody_is_kept_past_his_time_limit() {
    for seed in 0..50 {
        let (time, bucket) = jittery(1.0, seed);
        let mut waiter = waiting(bucket.acquire_timeout(ms(1100)));
        while waiter.poll().is_none() {
            time.advance_to(time.next_deadline().unwrap());
        }
        assert!(time.elapsed() <= ms(1100));
    }
}

// S36
#[test]
fn dropped_while_it_lingers_it_gives_its_tokens_back() {
    let (time, bucket) = jittery(1.0, 3);
    let mut waiter = waiting(bucket.acquire());
    time.advance(secs(1));
    assert!(waiter.poll().is_none());
    drop(waiter);
    assert_eq!((bucket.available(), time.armed()), (1, 0));
    assert_eq!(bucket.stats().cancelled, 1);
}

// ERR10
#[test]
fn a_share_that_is_none_is_refused() {
    for share in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let error = TokenBucket::builder(Quota::per_second(1)).jitter(share).build().unwrap_err();
        assert_eq!((error.knob(), error.rule()), ("jitter", "must be a number from 0 to 1"));
    }
}
