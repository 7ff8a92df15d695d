//! Many threads on few and on many keys: no key gets more than its burst while time stands still, and no place is lost.

use crate::{ROUNDS, THREADS, on_threads};
use cofferdam::limit::{Keyed, KeyedMap, Quota, WhenFull};
use cofferdam::sync::Semaphore;
use cofferdam::testkit::ManualClock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[test]
fn keys_share_nothing_and_their_places_are_all_accounted_for() {
    let time = ManualClock::new();
    let builder = Keyed::<u64>::builder("1/h burst 500".parse().unwrap()).capacity(64).shards(4);
    let limiter = builder.clock(time.clock()).build().unwrap();
    let taken: Vec<_> = (0..100).map(|_| AtomicU64::new(0)).collect();
    on_threads(|index, rng| {
        for _ in 0..ROUNDS {
            let key = rng.u64(0..100);
            match limiter.try_acquire(&key) {
                Ok(()) => drop(taken[key as usize].fetch_add(1, Ordering::Relaxed)),
                Err(denied) => drop(denied.retry_after()),
            }
            if index == 0 && rng.u32(0..64) == 0 {
                limiter.set(limiter.algorithm());
                limiter.shrink();
            }
        }
    });
    let stats = limiter.stats();
    assert_eq!((limiter.len(), stats.keys, stats.evicted, stats.expired), (64, 64, 0, 0));
    for (key, taken) in taken.iter().enumerate() {
        let key = key as u64;
        let left = limiter.available(&key);
        assert_eq!(taken.load(Ordering::Relaxed) + left, 500, "key {key}");
    }
    time.advance(Duration::from_secs(3600 * 500));
    assert_eq!((limiter.remove_idle(), limiter.len()), (64, 0));
}

#[test]
fn eviction_under_pressure_keeps_the_bound() {
    let quota: Quota = "1/h burst 3".parse().unwrap();
    let builder = Keyed::<u64>::builder(quota).capacity(100).when_full(WhenFull::EvictIdleMost);
    let limiter = builder.clock(ManualClock::new().clock()).build().unwrap();
    on_threads(|_, rng| {
        for _ in 0..ROUNDS {
            let _ = limiter.try_acquire(&rng.u64(..));
            assert!(limiter.len() <= 100);
        }
    });
    let stats = limiter.stats();
    assert_eq!(stats.inserted, stats.evicted + limiter.keys().len() as u64);
    assert!(limiter.len() > 100 - THREADS);
}

#[test]
fn a_permit_is_one_s_however_often_its_semaphore_is_forgotten() {
    let map = KeyedMap::<u64, Semaphore>::builder().capacity(4).shards(2).build().unwrap();
    let inside: Vec<_> = (0..8).map(|_| AtomicU64::new(0)).collect();
    on_threads(|_, rng| {
        for _ in 0..ROUNDS / 4 {
            let key = rng.u64(0..8);
            let Ok(semaphore) = map.get_or_create(&key, || Semaphore::new(1)) else { continue };
            if let Ok(permit) = semaphore.try_acquire_owned() {
                drop(semaphore);
                let count = &inside[key as usize];
                assert_eq!(count.fetch_add(1, Ordering::Relaxed), 0, "two inside for {key}");
                if rng.u32(0..16) == 0 {
                    map.remove_idle();
                }
                count.fetch_sub(1, Ordering::Relaxed);
                drop(permit);
            }
            assert!(map.len() <= 4);
        }
    });
    map.remove_idle();
    assert!(map.is_empty() && map.stats().expired > 0);
}
