//! No schedule admits more than burst and refill allow, or loses what was not used.

use crate::{ROUNDS, on_threads};
use cofferdam::limit::{Quota, TokenBucket};
use cofferdam::testkit::ManualClock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[test]
fn threads_racing_at_standing_time_share_exactly_the_burst() {
    let time = ManualClock::new();
    let quota: Quota = "7/s burst 1000".parse().unwrap();
    let bucket = TokenBucket::builder(quota).clock(time.clock()).build().unwrap();
    let mut refilled = 1000;
    for _ in 0..20 {
        let taken = AtomicU64::new(0);
        on_threads(|_, rng| {
            for _ in 0..ROUNDS / 20 {
                let n = rng.u64(1..4);
                if bucket.try_acquire_many(n).is_ok() {
                    taken.fetch_add(n, Ordering::Relaxed);
                }
            }
        });
        while bucket.try_acquire().is_ok() {
            taken.fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(taken.into_inner(), refilled);
        time.advance(Duration::from_secs(10));
        refilled = 70;
    }
}

#[test]
fn reservations_given_back_and_changes_of_rate_mint_nothing() {
    let time = ManualClock::new();
    let slow: Quota = "11/s burst 500".parse().unwrap();
    let fast: Quota = "777/s burst 500".parse().unwrap();
    let bucket = TokenBucket::builder(slow).clock(time.clock()).build().unwrap();
    let taken = AtomicU64::new(0);
    on_threads(|index, rng| {
        for round in 0..ROUNDS / 10 {
            if index == 0 {
                // Time stands still, so neither rate earns anything.
                bucket.set_quota(if round % 2 == 0 { fast } else { slow });
            } else if rng.bool() {
                drop(bucket.reserve(1));
            } else if bucket.try_acquire().is_ok() {
                taken.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    while bucket.try_acquire().is_ok() {
        taken.fetch_add(1, Ordering::Relaxed);
    }
    // Settling at a change of rate may round a part of a token away, never up.
    let taken = taken.into_inner();
    assert!(taken <= 500, "{taken} admitted, the burst is 500");
}
