//! Requests that lock the same shards in any order end, and each is charged in all of its tiers or in none.

use crate::{ROUNDS, on_threads};
use cofferdam::limit::tiered::{Request, ResourceTiers, Tier};
use cofferdam::limit::{Quota, Tiered};
use cofferdam::testkit::{ManualClock, Polled};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const KEYS: usize = 40;

#[test]
fn what_each_tier_was_charged_is_what_was_admitted() {
    let time = ManualClock::new();
    let limiter = Tiered::builder()
        .global(Quota::zero(ROUNDS as u64))
        .default_route(Quota::zero(1_000_000))
        .resource(Quota::zero(60))
        .user(Quota::zero(60))
        .resource_tiers(ResourceTiers::Each)
        // Enough for the most shards.
        .max_buckets(10_000)
        .clock(time.clock())
        .build()
        .unwrap();
    let names: Vec<_> = (0..KEYS).map(|key| format!("/k{key}")).collect();
    let admitted = AtomicU64::new(0);
    on_threads(|_, rng| {
        for _ in 0..ROUNDS {
            let [path, resource, user] = [(); 3].map(|()| names[rng.usize(0..KEYS)].as_str());
            let request = Request::new("GET", path).resource(resource).user(user);
            if limiter.try_acquire(request).is_ok() {
                if rng.u8(0..4) == 0 {
                    limiter.refund(request);
                } else {
                    admitted.fetch_add(1, Ordering::Relaxed);
                }
            }
            if rng.u16(..) == 0 {
                limiter.set_quota(Tier::Resource, Quota::zero(60));
            }
        }
    });
    let admitted = admitted.into_inner();
    let charged = |tier, full: u64, request: fn(&str) -> Request<'_>| {
        let each = names.iter().map(|name| full - limiter.bucket(tier, request(name)).unwrap().available());
        each.sum::<u64>()
    };
    assert_eq!(charged(Tier::Route, 1_000_000, |name| Request::new("GET", name)), admitted);
    assert_eq!(charged(Tier::Resource, 60, |name| Request::new("GET", "/").resource(name)), admitted);
    assert_eq!(charged(Tier::User, 60, |name| Request::new("GET", "/").user(name)), admitted);
    assert_eq!(ROUNDS as u64 - limiter.global().available(), admitted);
    assert!(admitted > 0);
}

// Waiters that come, go and are served while the time moves and the limits change.
#[test]
fn nobody_is_left_waiting() {
    let time = ManualClock::new();
    let limiter = Tiered::builder()
        .global(Quota::per_second(1000).burst(3))
        .default_route(Quota::per_second(400).burst(2))
        .max_waiting(usize::MAX)
        .clock(time.clock())
        .build()
        .unwrap();
    let served = AtomicU64::new(0);
    on_threads(|index, rng| {
        for round in 0..ROUNDS / 30 {
            let path = ["/a", "/b", "/c"][rng.usize(0..3)];
            let request = Request::new("GET", path);
            match rng.u8(0..8) {
                0 => drop(Polled::new(limiter.acquire(request)).poll()),
                1 => limiter.bucket(Tier::Route, request).unwrap().pause_for(Duration::from_millis(2)),
                2 => limiter.bucket(Tier::Route, request).unwrap().resume(),
                3 => drop(limiter.heed_fields(request, [("X-RateLimit-Bucket", "x")])),
                _ if index == 0 || round % 3 == 0 => time.advance(Duration::from_millis(3)),
                _ => {
                    let mut wait = Polled::new(limiter.acquire(request));
                    let mut polls = 0;
                    while wait.poll().is_none() {
                        time.advance(Duration::from_millis(1));
                        polls += 1;
                        assert!(polls < 100_000, "asleep for ever");
                    }
                    served.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    });
    assert!(served.into_inner() > 0);
    assert_eq!((limiter.stats().waiting, time.armed()), (0, 0));
}
