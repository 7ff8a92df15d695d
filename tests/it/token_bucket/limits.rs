//! Decisions at once: what is admitted, what is denied, and what changes of the quota do.

use super::{bucket, ms, secs, with_initial};
use cofferdam::limit::{Quota, Rate, TokenBucket};
use cofferdam::testkit::ManualClock;
use std::time::Duration;

/// Asks every `step` from now on until `span` is over; how many were admitted.
fn greedy(time: &ManualClock, bucket: &TokenBucket, step: Duration, span: Duration) -> u64 {
    let end = time.elapsed() + span;
    let mut admitted = 0;
    loop {
        while bucket.try_acquire().is_ok() {
            admitted += 1;
        }
        if time.elapsed() >= end {
            return admitted;
        }
        time.advance(step.min(end - time.elapsed()));
    }
}

// S31
#[test]
fn exactly_burst_plus_rate_times_time_is_admitted() {
    let (time, bucket) = bucket(Quota::per(11, ms(7)).unwrap().burst(5));
    let admitted = greedy(&time, &bucket, Duration::from_nanos(500), secs(5));
    assert_eq!(admitted, 5 + 5000 * 11 / 7);
}

// S31
#[test]
fn tiny_rates_are_not_cut_to_whole_numbers() {
    // One in 10^10 seconds, of which a rounded interval would make "always" or "never".
    let (time, bucket) = bucket(Quota::every(secs(10_000_000_000)).unwrap());
    assert!(bucket.try_acquire().is_ok());
    assert_eq!(bucket.try_acquire().unwrap_err().retry_after(), Some(secs(10_000_000_000)));
    time.advance(secs(9_999_999_999));
    assert!(bucket.try_acquire().is_err());
    time.advance(secs(1));
    assert!(bucket.try_acquire().is_ok());
    assert!(bucket.try_acquire().is_err());
}

// S32
#[test]
fn rates_at_the_edges_admit_burst_and_then_their_due() {
    const YEAR: u64 = 365 * 86_400;
    // Tokens, period, burst; over a span, this many beyond the burst.
    let cases = [
        (1, secs(YEAR), 1, secs(3 * YEAR), 3),
        (1, secs(YEAR), 1000, secs(3 * YEAR), 3),
        (1, secs(1), 2, secs(10), 10),
        (1_000_000_000, secs(1), 100, Duration::from_nanos(1000), 1000),
        (3_000_000_000, secs(1), 300, Duration::from_nanos(1001), 3003),
        (u64::from(u32::MAX), secs(1), 400, Duration::from_nanos(1_000), 4294),
        (
            u64::from(u32::MAX),
            Duration::from_nanos(1),
            7_000_000_000,
            Duration::from_nanos(1),
            u64::from(u32::MAX),
        ),
        (u64::MAX, Duration::from_nanos(1), u64::MAX, Duration::from_nanos(0), 0),
        (777_777, secs(86_400), 777_777, secs(86_400), 777_777),
        (u64::MAX, Duration::from_nanos(u64::MAX - 1), 9, Duration::from_nanos(50), 50),
    ];
    for (tokens, period, burst, span, more) in cases {
        let quota = Quota::per(tokens, period).unwrap().burst(burst);
        let (time, bucket) = bucket(quota);
        assert_eq!(bucket.available(), burst, "{quota}");
        assert!(bucket.try_acquire_many(burst).is_ok(), "{quota}");
        assert!(bucket.try_acquire().is_err(), "{quota}");
        let mut admitted = 0;
        for part in 0..12 {
            // In parts, so that the burst is never the limit.
            let (from, to) = (span * part / 12, span * (part + 1) / 12);
            time.advance(to - from);
            let there = bucket.available();
            assert!(there == 0 || bucket.try_acquire_many(there).is_ok(), "{quota}");
            assert!(bucket.try_acquire().is_err(), "{quota}");
            admitted += there;
        }
        assert_eq!(admitted, more, "{quota}");
    }
}

// S32
#[test]
fn of_a_rate_of_zero_the_burst_is_all_there_ever_is() {
    let (time, bucket) = bucket(Quota::zero(2));
    assert!(bucket.try_acquire_many(2).is_ok());
    time.advance(secs(1_000_000_000));
    let denied = bucket.try_acquire().unwrap_err();
    assert!(denied.is_never() && !denied.exceeds_burst());
    assert_eq!(denied.retry_after(), None);
    assert_eq!(denied.to_string(), "token bucket: 1 wanted, a burst of 2 is spent and the rate is zero");
    assert!(bucket.reserve(1).unwrap_err().is_never());
    bucket.refund(1);
    assert!(bucket.try_acquire().is_ok(), "what comes back can be taken");
    assert!(bucket.try_acquire().is_err());
}

// S32
#[test]
fn without_limit_everything_is_admitted() {
    let (_, bucket) = bucket(Quota::unlimited());
    for n in [0, 1, 1000, u64::MAX] {
        assert!(bucket.try_acquire_many(n).is_ok());
        assert!(bucket.peek(n).is_ok());
    }
    assert_eq!(bucket.available(), u64::MAX);
    assert_eq!(bucket.reserve(u64::MAX).unwrap().commit(), bucket.reserve(1).unwrap().commit());
    assert_eq!(bucket.tokens(), f64::INFINITY);
}

// S33
#[test]
fn none_at_all_is_always_there_and_costs_nothing() {
    let (_, bucket) = with_initial(Quota::per_second(1).burst(3), 0);
    let owed = bucket.reserve(3).unwrap();
    assert!(bucket.try_acquire_many(0).is_ok());
    assert!(bucket.peek(0).is_ok());
    assert_eq!(bucket.tokens(), -3.0);
    drop(owed);
    assert_eq!(bucket.tokens(), 0.0);
}

// S33
#[test]
fn more_than_the_burst_is_refused_at_once_and_changes_nothing() {
    for quota in [Quota::per_second(1).burst(3), Quota::per(777_777, secs(86_400 * 365)).unwrap().burst(3)] {
        let (_, bucket) = bucket(quota);
        for n in [4, u64::MAX] {
            let tried = bucket.try_acquire_many(n).unwrap_err();
            assert!(tried.exceeds_burst() && tried.is_never());
            assert_eq!(tried.retry_after(), None);
            assert_eq!((tried.wanted(), tried.burst()), (n, 3));
            assert_eq!(tried, bucket.peek(n).unwrap_err());
            assert_eq!(tried, bucket.reserve(n).unwrap_err());
        }
        assert!(bucket.try_acquire_many(3).is_ok());
        assert!(bucket.try_acquire().is_err());
    }
    let (_, bucket) = bucket(Quota::per_second(1).burst(3));
    let text = bucket.try_acquire_many(4).unwrap_err().to_string();
    assert_eq!(text, "token bucket: 4 wanted at once, above the burst of 3");
}

// S33
#[test]
fn a_burst_of_zero_admits_nothing() {
    let (time, bucket) = bucket(Quota::per_second(10).burst(0));
    time.advance(secs(100));
    assert!(bucket.try_acquire().unwrap_err().exceeds_burst());
    assert!(bucket.try_acquire_many(0).is_ok());
}

// RL7
#[test]
fn a_denial_says_when_and_is_right_to_the_nanosecond() {
    for quota in [Quota::per(7, ms(3)).unwrap().burst(4), Quota::per(777_777, secs(86_400)).unwrap()] {
        let (time, bucket) = with_initial(quota, 1);
        for n in [2, 4, 3] {
            let denied = bucket.try_acquire_many(n).unwrap_err();
            let after = denied.retry_after().unwrap();
            assert!(!denied.is_never());
            time.advance(after - Duration::from_nanos(1));
            assert!(bucket.try_acquire_many(n).is_err(), "{quota}");
            time.advance(Duration::from_nanos(1));
            assert!(bucket.try_acquire_many(n).is_ok(), "{quota}");
        }
    }
    let (_, bucket) = with_initial(Quota::per_second(10), 0);
    let text = bucket.try_acquire_many(3).unwrap_err().to_string();
    assert_eq!(text, "token bucket: 3 wanted of a burst of 10: to be had in 300ms");
}

// RL2, RL14
#[test]
fn a_bucket_starts_full_or_as_told_and_says_what_it_has() {
    let (time, bucket) = with_initial(Quota::per_second(10), 4);
    assert_eq!((bucket.available(), bucket.tokens(), bucket.burst()), (4, 4.0, 10));
    assert_eq!((bucket.rate(), bucket.quota()), (Rate::per_second(10), Quota::per_second(10)));
    time.advance(ms(150));
    assert_eq!((bucket.available(), bucket.tokens()), (5, 5.5));
    let later = time.clock().now() + secs(9);
    assert_eq!(bucket.available_at(later), 10);
    assert!(bucket.peek_at(10, later).is_ok() && bucket.peek(6).is_err());
    assert_eq!(bucket.available(), 5, "looking takes nothing");
    let error = TokenBucket::builder(Quota::per_second(10)).initial(11).build().unwrap_err();
    assert_eq!(error.to_string(), "token bucket: initial = 11: must not be above what can be had at once");
}

// S39
#[test]
fn idling_saves_up_the_burst_and_no_more_even_out_of_debt() {
    let (time, bucket) = with_initial(Quota::per_second(10).burst(10), 0);
    let _ = bucket.reserve(5).unwrap().commit();
    assert_eq!(bucket.tokens(), -5.0);
    time.advance(ms(400));
    assert_eq!(bucket.tokens(), -1.0, "debt is repaid at the rate");
    time.advance(secs(3600));
    assert_eq!(greedy(&time, &bucket, ms(1), Duration::ZERO), 10);
}

// S40
#[test]
fn a_new_rate_counts_from_now_on() {
    let (time, bucket) = with_initial(Quota::per_second(20), 0);
    time.advance(ms(25));
    bucket.set_rate(Rate::per_second(40));
    assert_eq!(bucket.tokens(), 0.5);
    assert_eq!(bucket.burst(), 20, "the burst stays");
    assert_eq!(bucket.try_acquire().unwrap_err().retry_after(), Some(Duration::from_micros(12_500)));
    time.advance(Duration::from_micros(12_499));
    assert!(bucket.try_acquire().is_err());
    time.advance(Duration::from_micros(1));
    assert!(bucket.try_acquire().is_ok());
}

// S40
#[test]
fn a_new_burst_keeps_the_tokens_it_can_hold() {
    let (time, bucket) = with_initial(Quota::per_second(10), 8);
    bucket.set_burst(20);
    assert_eq!(bucket.available(), 8, "a larger bucket is not fuller");
    time.advance(secs(60));
    assert_eq!(bucket.available(), 20);
    bucket.set_burst(3);
    assert_eq!(bucket.available(), 3);
    bucket.set_burst(10);
    assert_eq!(bucket.available(), 3);
    assert!(bucket.try_acquire_many(11).unwrap_err().exceeds_burst());
}

// S40
#[test]
fn any_quota_follows_any_other() {
    let wide = Quota::per(777_777, secs(86_400)).unwrap();
    let (time, bucket) = bucket(Quota::per_second(10));
    assert!(bucket.try_acquire_many(4).is_ok());
    bucket.set_quota(wide);
    assert_eq!(bucket.available(), 6);
    time.advance(secs(86_400));
    assert_eq!(bucket.available(), 777_777);
    bucket.set_quota(Quota::zero(5));
    time.advance(secs(100));
    assert!(bucket.try_acquire_many(5).is_ok() && bucket.try_acquire().unwrap_err().is_never());
    bucket.set_quota(Quota::per_second(10));
    assert_eq!(bucket.available(), 0);
    time.advance(ms(100));
    assert!(bucket.try_acquire().is_ok() && bucket.try_acquire().is_err());
    bucket.set_quota(Quota::unlimited());
    assert!(bucket.try_acquire_many(1 << 40).is_ok());
    bucket.set_quota(Quota::per_second(3));
    assert_eq!(bucket.available(), 3, "after no limit it is full");
    assert_eq!(bucket.quota(), Quota::per_second(3));
}

// S41
#[test]
fn a_clock_that_goes_back_admits_nobody_twice() {
    for quota in [Quota::per_second(10), Quota::per(777_777, secs(86_400)).unwrap().burst(777_777)] {
        let (time, bucket) = bucket(quota);
        let start = time.clock().now();
        time.advance(secs(1));
        assert!(bucket.try_acquire_many(bucket.burst()).is_ok());
        time.set(start);
        assert!(bucket.try_acquire().is_err());
        assert!(bucket.try_acquire().is_err());
        time.set(start + secs(1));
        assert!(bucket.try_acquire().is_err(), "no second is earned twice");
        time.advance(secs(1));
        let earned = if quota == Quota::per_second(10) { 10 } else { 9 };
        assert_eq!(bucket.available(), earned);
    }
}

// S41
#[test]
fn times_that_come_out_of_order_mint_nothing() {
    let (time, bucket) = bucket(Quota::per_second(1_000_000_007).burst(10));
    let start = time.clock().now();
    let mut admitted = 0;
    // Far enough apart that the word's base is moved back and forth.
    for round in 0..50u32 {
        for at in [ms(40) * round, ms(13) * round, ms(40) * round, Duration::ZERO] {
            while bucket.try_acquire_at(1, start + at).is_ok() {
                admitted += 1;
            }
        }
    }
    assert_eq!(admitted, 10 * 50, "ten at each new instant, none at an old one");
}

// RL13
#[test]
fn draining_leaves_at_most_what_is_said() {
    let (time, bucket) = bucket(Quota::per_second(10));
    bucket.drain_to(20);
    assert_eq!(bucket.available(), 10);
    bucket.drain_to(3);
    assert_eq!(bucket.tokens(), 3.0);
    bucket.drain_to(5);
    assert_eq!(bucket.tokens(), 3.0, "draining never fills");
    bucket.drain_to(0);
    assert_eq!(bucket.tokens(), 0.0);
    time.advance(ms(100));
    assert_eq!(bucket.available(), 1);
}

// S46
#[test]
fn a_refund_is_explicit_and_never_lifts_above_the_burst() {
    let (time, bucket) = bucket(Quota::per_second(10));
    assert!(bucket.try_acquire_many(6).is_ok());
    bucket.refund(2);
    assert_eq!(bucket.available(), 6);
    bucket.refund(u64::MAX);
    assert_eq!(bucket.available(), 10);
    time.advance(secs(5));
    bucket.refund(5);
    assert_eq!(bucket.available(), 10);
}

#[test]
fn decisions_are_counted_when_asked_for() {
    let (_, silent) = bucket(Quota::per_second(1));
    assert!(silent.try_acquire().is_ok());
    assert_eq!(silent.stats().decided, None);
    let time = ManualClock::new();
    let bucket = TokenBucket::builder(Quota::per_second(2)).clock(time.clock()).counted().build().unwrap();
    let decided: Vec<bool> = (0..5).map(|_| bucket.try_acquire().is_ok()).collect();
    assert_eq!(decided, [true, true, false, false, false]);
    let counted = bucket.stats().decided.unwrap();
    assert_eq!((counted.allowed, counted.denied), (2, 3));
}

#[test]
fn debug_names_it_and_its_quota() {
    let bucket = TokenBucket::builder(Quota::per_minute(5)).name("mailer").build().unwrap();
    assert_eq!(
        format!("{bucket:?}"),
        r#"Limiter { name: "mailer", algorithm: Gcra(5/min), waiting: 0, .. }"#
    );
}
