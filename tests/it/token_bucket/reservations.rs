//! Reservations: promised instants, and what cancelling gives back.

use super::{bucket, ms, secs, with_initial};
use cofferdam::limit::{Quota, Rate};
use cofferdam::testkit::Polled;

// RL9
#[test]
fn a_reservation_says_when() {
    let (time, bucket) = with_initial(Quota::per_second(10), 1);
    let start = time.clock().now();
    let now = bucket.reserve(1).unwrap();
    let later = bucket.reserve(3).unwrap();
    assert_eq!((now.due(), later.due()), (start, start + ms(300)));
    assert_eq!(later.delay_from(start + ms(100)), ms(200));
    assert_eq!(later.delay_from(start + ms(400)), ms(0));
    assert_eq!(later.tokens(), 3);
    assert_eq!(later.commit(), start + ms(300));
    now.commit();
    assert_eq!(bucket.tokens(), -3.0);
    assert_eq!(bucket.try_acquire().unwrap_err().retry_after(), Some(ms(400)));
    let at = bucket.reserve_at(1, start + ms(50)).unwrap();
    assert_eq!(at.commit(), start + ms(400));
}

// S37
#[test]
fn cancelling_gives_back_what_nobody_behind_was_promised() {
    for cancel_first in [true, false] {
        let (time, bucket) = bucket(Quota::per_second(1));
        let start = time.clock().now();
        assert!(bucket.try_acquire().is_ok());
        let r = bucket.reserve(1).unwrap();
        let s = bucket.reserve(1).unwrap();
        assert_eq!((r.due(), s.due()), (start + secs(1), start + secs(2)));
        time.advance(ms(500));
        if cancel_first {
            r.cancel();
            assert_eq!(bucket.reserve(1).unwrap().commit(), start + secs(3));
            s.commit();
        } else {
            s.cancel();
            assert_eq!(bucket.reserve(1).unwrap().commit(), start + secs(2));
            r.commit();
        }
    }
}

// S37
#[test]
fn cancelling_a_large_one_gives_back_the_rest() {
    let (time, bucket) = with_initial(Quota::per_second(1).burst(10), 0);
    let start = time.clock().now();
    let large = bucket.reserve(5).unwrap();
    let small = bucket.reserve(2).unwrap();
    large.cancel();
    assert_eq!(bucket.tokens(), -4.0, "three of five: two stand behind");
    small.cancel();
    assert_eq!(bucket.tokens(), -2.0);
    assert_eq!(bucket.reserve(1).unwrap().commit(), start + secs(3));
}

// S37
#[test]
fn dropping_an_unused_reservation_cancels_it() {
    let (_, bucket) = with_initial(Quota::per_second(1).burst(5), 0);
    drop(bucket.reserve(4).unwrap());
    assert_eq!(bucket.tokens(), 0.0);
    bucket.reserve(4).unwrap().commit();
    assert_eq!(bucket.tokens(), -4.0);
    assert_eq!(bucket.stats().cancelled, 1);
}

// S37
#[test]
fn nothing_comes_back_after_the_instant() {
    let (time, bucket) = with_initial(Quota::per_second(1).burst(5), 0);
    let start = time.clock().now();
    let late = bucket.reserve(1).unwrap();
    let exact = bucket.reserve(1).unwrap();
    time.advance(secs(2));
    late.cancel();
    assert_eq!(bucket.tokens(), 0.0);
    exact.cancel_at(start + secs(2));
    assert_eq!(bucket.tokens(), 1.0, "at its very instant it may be cancelled");
    let early = bucket.reserve(3).unwrap();
    early.cancel_at(start + secs(1));
    assert_eq!(bucket.tokens(), 1.0);
}

// S37
#[test]
fn giving_back_never_lifts_above_the_burst() {
    let (time, bucket) = bucket(Quota::per_second(1).burst(3));
    let now = bucket.reserve(3).unwrap();
    let start = time.clock().now();
    // Reserved at once and cancelled at its own instant, when the bucket has been refilled by hand.
    bucket.refund(2);
    now.cancel_at(start);
    assert_eq!(bucket.tokens(), 3.0);
}

// S37: a promise holds its tokens, so nothing may be given back on top of a bucket that is full with them.
#[test]
fn a_refund_does_not_overfill_a_promised_bucket() {
    let (time, bucket) = bucket(Quota::per_second(1));
    let start = time.clock().now();
    assert!(bucket.try_acquire().is_ok());
    let promised = bucket.reserve(1).unwrap().commit();
    assert_eq!(promised, start + secs(1));
    time.advance(ms(500));
    bucket.refund(1);
    time.advance(ms(500));
    assert!(bucket.try_acquire().is_err(), "one at this instant was promised, and one is the burst");
    time.advance(secs(1));
    assert!(bucket.try_acquire().is_ok());
}

// S37, S36
#[test]
fn waiters_behind_a_cancelled_reservation_move_up() {
    let (time, bucket) = with_initial(Quota::per_second(1).burst(5), 0);
    let first = bucket.reserve(3).unwrap();
    let mut waiter = Polled::new(bucket.acquire_many(2));
    assert_eq!(waiter.poll().map(|_| ()), None);
    time.advance(secs(1));
    first.cancel();
    time.advance(ms(999));
    assert_eq!(waiter.wakes(), 0);
    time.advance(ms(1));
    assert_eq!(waiter.wakes(), 1);
    assert!(waiter.poll().unwrap().is_ok());
    assert_eq!(bucket.tokens(), 0.0);
}

// S36, S37: who waits ahead of a promise does not know of it.
#[test]
fn a_promise_behind_does_not_hold_a_waiter_back() {
    let (time, bucket) = with_initial(Quota::per_second(1).burst(3), 2);
    let mut waiter = Polled::new(bucket.acquire_many(3));
    assert!(waiter.poll().is_none());
    let promised = bucket.reserve(1).unwrap();
    assert_eq!(promised.delay_from(time.clock().now()), secs(2));
    bucket.refund(1);
    assert_eq!(waiter.wakes(), 1);
    assert!(waiter.poll().unwrap().is_ok());
    promised.commit();
}

// S37, S36
#[test]
fn a_promise_stands_when_a_waiter_ahead_gives_up() {
    let (time, bucket) = with_initial(Quota::per_second(1), 0);
    let start = time.clock().now();
    let mut ahead = Polled::new(bucket.acquire());
    assert!(ahead.poll().is_none());
    let promised = bucket.reserve(1).unwrap();
    let mut behind = Polled::new(bucket.acquire());
    assert!(behind.poll().is_none());
    assert_eq!(promised.due(), start + secs(2));
    drop(ahead);
    time.advance(ms(2999));
    assert_eq!(behind.wakes(), 0, "before the promise nothing may be squeezed in twice");
    time.advance(ms(1));
    assert_eq!(behind.wakes(), 1);
    promised.commit();
}

// S40
#[test]
fn a_new_rate_leaves_promised_instants() {
    let (time, bucket) = with_initial(Quota::per_second(1).burst(5), 0);
    let start = time.clock().now();
    let promised = bucket.reserve(4).unwrap();
    bucket.set_rate(Rate::per_second(2));
    assert_eq!(bucket.tokens(), -4.0);
    assert_eq!(promised.due(), start + secs(4));
    // At the new rate its tokens are there earlier; cancelled after that, they come back.
    time.advance(secs(3));
    assert_eq!(bucket.tokens(), 2.0);
    promised.cancel();
    assert_eq!(bucket.tokens(), 5.0, "the burst is the most");
}

#[test]
fn a_reservation_past_the_end_of_time_is_refused() {
    let (_, bucket) = with_initial(Quota::every(secs(18_000_000_000)).unwrap().burst(u64::MAX), 0);
    let denied = bucket.reserve(u64::MAX).unwrap_err();
    assert!(denied.retry_after().is_none_or(|after| after > secs(18_000_000_000)));
    assert_eq!(bucket.available(), 0);
    assert!(bucket.tokens() >= -0.000_001);
    assert!(bucket.reserve(1).is_ok());
}
