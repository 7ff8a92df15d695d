//! How many keys there are, which are forgotten, and what that costs.

use super::{builder, keyed, ms, secs};
use crate::support::{allocations, kept_bytes};
use cofferdam::limit::{Keyed, Quota, WhenFull};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

/// A token a second, one at once.
fn one() -> Quota {
    Quota::per_second(1)
}

// S44, MT13
#[test]
fn a_key_can_be_forgotten_exactly_when_its_state_is_a_fresh_one() {
    let (time, limiter) = keyed::<u64>(Quota::per_second(10).burst(10));
    assert_eq!(limiter.try_acquire_many(&1, 3), Ok(()));
    time.advance(ms(300) - Duration::from_nanos(1));
    assert_eq!(limiter.remove_idle(), 0);
    time.advance(Duration::from_nanos(1));
    assert_eq!((limiter.remove_idle(), limiter.len(), limiter.stats().expired), (1, 0, 1));
}

#[test]
fn new_keys_clear_away_idle_ones_without_any_task() {
    let (time, builder) = builder::<u64>(one());
    let limiter = builder.shards(1).build().unwrap();
    for key in 0..1000 {
        assert_eq!(limiter.try_acquire(&key), Ok(()));
    }
    time.advance(secs(1));
    for key in 1000..2000 {
        assert_eq!(limiter.try_acquire(&key), Ok(()));
    }
    assert_eq!(limiter.len(), 1000, "each new one forgot up to two");
    assert_eq!(limiter.stats().expired, 1000);
}

#[test]
fn a_new_key_is_refused_when_all_places_are_in_use_and_told_when_one_may_be_free() {
    let (time, builder) = builder::<u64>(one());
    let limiter = builder.capacity(3).build().unwrap();
    for key in 0..3 {
        assert_eq!(limiter.try_acquire(&key), Ok(()));
        time.advance(ms(100));
    }
    let full = limiter.try_acquire(&9).unwrap_err();
    assert!(full.is_full() && full.denied().is_none() && !full.is_never());
    assert_eq!(full.retry_after(), Some(ms(700)));
    assert!(limiter.drain_to(&9, 0).is_err());
    assert!(limiter.try_acquire(&0).unwrap_err().denied().is_some(), "known keys are served");
    assert_eq!((limiter.peek(&9, 1), limiter.available(&9)), (Ok(()), 1));
    time.advance(ms(700));
    assert_eq!(limiter.try_acquire(&9), Ok(()), "the idle one's place, in whichever shard");
    assert_eq!((limiter.len(), limiter.contains(&0)), (3, false));
    let stats = limiter.stats();
    assert_eq!((stats.rejected, stats.evicted, stats.expired), (2, 0, 1));
}

#[test]
fn a_refund_makes_a_key_idle_earlier() {
    let (_, builder) = builder::<u64>(Quota::per_hour(1).burst(4));
    let limiter = builder.capacity(2).build().unwrap();
    assert_eq!((limiter.try_acquire_many(&1, 4), limiter.try_acquire(&2)), (Ok(()), Ok(())));
    assert!(limiter.try_acquire(&3).unwrap_err().is_full());
    limiter.refund(&1, 4);
    assert_eq!(limiter.try_acquire(&3), Ok(()));
    assert!(!limiter.contains(&1));
    // However often, the order stays small.
    let (_, bytes) = kept_bytes(|| {
        for _ in 0..10_000 {
            assert_eq!(limiter.try_acquire(&2), Ok(()));
            limiter.refund(&2, 1);
        }
    });
    assert!(bytes < 10_000, "{bytes} bytes of records of one key");
}

#[test]
fn removing_makes_room_at_once_and_leaves_nothing_behind() {
    let (_, builder) = builder::<u64>(one());
    let limiter = builder.capacity(2).shards(1).build().unwrap();
    let (_, bytes) = kept_bytes(|| {
        for key in 0..10_000 {
            assert_eq!(limiter.try_acquire(&key), Ok(()));
            assert!(limiter.remove(&key));
        }
    });
    assert_eq!(limiter.len(), 0);
    assert!(bytes < 10_000, "{bytes} bytes of records of keys that are gone");
}

#[test]
fn the_idle_most_is_evicted_and_comes_back_as_a_new_key() {
    let (time, builder) = builder::<u64>(Quota::per_second(1).burst(10));
    let limiter = builder.capacity(8).when_full(WhenFull::EvictIdleMost).build().unwrap();
    for key in 0..8 {
        assert_eq!(limiter.try_acquire_many(&key, 5), Ok(()));
    }
    // Used since: an access does not touch the order, which is put right when the eviction looks.
    for key in 0..4 {
        assert_eq!(limiter.try_acquire_many(&key, 2), Ok(()));
    }
    assert_eq!(limiter.try_acquire(&6), Ok(()));
    time.advance(ms(1));
    for new in 100..103 {
        assert_eq!(limiter.try_acquire_many(&new, 10), Ok(()));
        assert_eq!(limiter.len(), 8);
    }
    let stay: Vec<_> = (0..8).filter(|key| limiter.contains(key)).collect();
    assert_eq!(stay, [0, 1, 2, 3, 6], "4, 5 and 7 would have been idle first");
    let stats = limiter.stats();
    assert_eq!((stats.evicted, stats.expired, stats.rejected), (3, 0, 0));
    assert_eq!(limiter.try_acquire_many(&4, 11).unwrap_err().retry_after(), None);
    assert_eq!(limiter.try_acquire_many(&4, 10), Ok(()), "what a new key has");
    assert!(limiter.try_acquire(&4).is_err(), "and no more");
}

#[test]
fn sixteen_looks_do_not_settle_it_the_first_of_them_goes_and_the_work_is_kept() {
    let (time, builder) = builder::<u64>(Quota::per_second(1).burst(100));
    let limiter = builder.capacity(1000).shards(1).when_full(WhenFull::EvictIdleMost).build().unwrap();
    for key in 0..1000 {
        assert_eq!(limiter.try_acquire(&key), Ok(()));
        time.advance(Duration::from_nanos(1));
    }
    // All but the last are used again, so that every record before its own is too early.
    for key in 0..1000 {
        assert_eq!(limiter.try_acquire_many(&key, if key == 999 { 1 } else { 50 }), Ok(()));
    }
    time.advance(ms(1));
    let mut new = 1000;
    while limiter.contains(&999) {
        assert_eq!(limiter.try_acquire_many(&new, 100), Ok(()));
        new += 1;
        assert!(
            new < 1000 + 1000_u64.div_ceil(15) + 1,
            "sixteen records of a thousand are put right each time"
        );
    }
    assert!(new > 1001, "or the test shows nothing");
    assert_eq!((limiter.len(), limiter.stats().evicted), (1000, new - 1000));
    // Now that all have been looked at, the order is exact: of equals any, but none that was used later.
    time.advance(ms(1));
    for key in 0..1000 {
        let _ = limiter.try_acquire_many(&key, if key % 2 == 0 { 10 } else { 0 });
    }
    for new in 5000..5010 {
        assert_eq!(limiter.try_acquire_many(&new, 100), Ok(()));
    }
    let gone = (0..1000_u64).filter(|key| !limiter.contains(key)).count();
    assert_eq!(gone as u64, new - 1000 + 10);
}

#[test]
fn an_idle_key_behind_many_that_are_not_is_found_in_a_few_calls() {
    let (time, builder) = builder::<u64>(Quota::per_second(1).burst(100));
    let limiter = builder.capacity(100).shards(1).build().unwrap();
    for key in 0..100 {
        assert_eq!(limiter.try_acquire(&key), Ok(()));
        time.advance(Duration::from_nanos(1));
    }
    for key in 0..99 {
        assert_eq!(limiter.try_acquire_many(&key, 50), Ok(()));
    }
    time.advance(secs(1));
    let refused = (0..).take_while(|_| limiter.try_acquire(&500).is_err()).count();
    assert!((1..=100 / 16).contains(&refused), "{refused}");
    assert!(!limiter.contains(&99));
}

#[test]
fn a_hash_that_is_always_the_same_costs_time_but_neither_room_nor_keys() {
    #[derive(Default)]
    struct Same;
    impl Hasher for Same {
        fn write(&mut self, _: &[u8]) {}

        fn finish(&self) -> u64 {
            7
        }
    }
    let (time, builder) = builder::<u64>(one());
    let limiter = builder.capacity(100).hasher(BuildHasherDefault::<Same>::default()).build().unwrap();
    for key in 0..100 {
        assert_eq!(limiter.try_acquire(&key), Ok(()), "the bound is on all shards together");
    }
    assert!(limiter.try_acquire(&100).unwrap_err().is_full());
    assert_eq!(limiter.keys().len(), 100);
    assert!((0..100).all(|key| limiter.try_acquire(&key).is_err_and(|denied| !denied.is_full())));
    time.advance(secs(1));
    assert_eq!(limiter.try_acquire(&100), Ok(()));
    // Two went for it.
    assert_eq!((limiter.remove_idle(), limiter.len()), (98, 1));
}

#[test]
fn the_capacity_can_change() {
    let (time, builder) = builder::<u64>(one());
    let limiter = builder.capacity(10).when_full(WhenFull::EvictIdleMost).build().unwrap();
    for key in 0..10 {
        assert_eq!(limiter.try_acquire(&key), Ok(()));
    }
    limiter.set_capacity(8);
    assert_eq!((limiter.len(), limiter.capacity()), (10, 8), "those that are there stay");
    assert_eq!(limiter.try_acquire(&10), Ok(()));
    assert_eq!((limiter.len(), limiter.stats().evicted), (8, 3));
    limiter.set_capacity(20);
    time.advance(ms(1));
    assert!((20..32).all(|key| limiter.try_acquire(&key).is_ok()));
    assert_eq!((limiter.len(), limiter.stats().evicted), (20, 3));
}

#[test]
fn forgetting_an_idle_key_is_not_noticed_even_by_a_time_before_it() {
    let (time, builder) = builder::<u64>(Quota::per_second(1).burst(2));
    let limiter = builder.shards(1).build().unwrap();
    let start = time.clock().now();
    assert_eq!(limiter.try_acquire_at(&1, 2, start), Ok(()));
    time.advance(secs(2));
    assert_eq!(limiter.remove_idle(), 1);
    let denied = limiter.try_acquire_at(&1, 2, start + secs(1)).unwrap_err();
    assert_eq!(denied.retry_after(), Some(secs(1)), "as if it were still remembered");
    assert_eq!(limiter.available_at(&1, start + secs(1)), 1);
    assert_eq!(limiter.try_acquire_at(&1, 2, start + secs(2)), Ok(()));
    // A time far ahead is one caller's mistake, and no other key's.
    assert_eq!(limiter.try_acquire_at(&2, 1, start + secs(1_000_000)), Ok(()));
    assert_eq!(limiter.try_acquire_at(&3, 2, start + secs(4)), Ok(()));
}

#[test]
fn the_memory_is_allocated_once_if_so_wished_and_given_back_if_so_wished() {
    let (time, builder) = builder::<u64>(one());
    let limiter = builder.clone().capacity(10_000).shards(4).preallocated().build().unwrap();
    let grown = allocations(|| (0..10_000).for_each(|key| assert_eq!(limiter.try_acquire(&key), Ok(()))));
    assert_eq!(grown, 0);
    let (limiter, small) = kept_bytes(|| builder.capacity(10_000).shards(4).build().unwrap());
    let (_, bytes) = kept_bytes(|| {
        (0..10_000).for_each(|key| assert_eq!(limiter.try_acquire(&key), Ok(())));
    });
    assert!((10_000 * 49..10_000 * 108).contains(&bytes), "{bytes}");
    time.advance(secs(1));
    limiter.remove_idle();
    let (_, given_back) = kept_bytes(|| limiter.shrink());
    assert!(given_back + bytes < 1000 && small < 10_000, "{given_back} of {bytes}, {small}");
    assert_eq!(limiter.try_acquire(&1), Ok(()));
}

// S44: the rule's own test.
#[test]
fn a_million_random_keys_stay_within_the_bound_and_each_within_its_limit() {
    for when_full in [WhenFull::RejectNew, WhenFull::EvictIdleMost] {
        let (time, builder) = builder::<u64>(Quota::per_second(1).burst(3));
        let ((), bytes) = kept_bytes(|| {
            let limiter = builder.capacity(10_000).when_full(when_full).build().unwrap();
            million(&time, &limiter, when_full);
        });
        assert!(bytes < 1000, "{bytes} left");
    }
}

fn million(time: &cofferdam::testkit::ManualClock, limiter: &Keyed<u64>, when_full: WhenFull) {
    let mut random = fastrand::Rng::with_seed(3);
    // For each key: since when it is as it is, and what it got. Half of the requests are of a few thousand known keys.
    let mut got: HashMap<u64, (std::time::Instant, u64)> = HashMap::new();
    let (mut most, mut bytes, mut full) = (0, 0, 0);
    for round in 0..1_000_000_u32 {
        let key = if random.bool() { random.u64(0..5_000) } else { random.u64(..) };
        if round % 16 == 0 {
            time.advance(ms(1));
        }
        let now = time.clock().now();
        let known = key < 5_000 && limiter.contains(&key);
        let (result, kept) = kept_bytes(|| limiter.try_acquire(&key));
        bytes += kept;
        most = most.max(bytes);
        full += u64::from(result.is_err_and(|denied| denied.is_full()));
        if key < 5_000 && result.is_ok() {
            let (since, count) = got.entry(key).or_insert((now, 0));
            if !known {
                (*since, *count) = (now, 0);
            }
            *count += 1;
            let may = 3 + (now - *since).as_millis() as u64 / 1000;
            assert!(*count <= may, "key {key} got {count} where {may} are allowed");
        }
        assert!(limiter.len() <= 10_000);
    }
    assert!(most < 10_000 * 215 + 20_000, "{most} bytes at most");
    let stats = limiter.stats();
    assert_eq!(stats.rejected, full);
    match when_full {
        WhenFull::RejectNew => assert!(stats.evicted == 0 && stats.rejected > 100_000, "{stats:?}"),
        _ => assert!(stats.evicted > 100_000 && stats.rejected == 0, "{stats:?}"),
    }
    let came = stats.inserted;
    assert_eq!(came, stats.expired + stats.evicted + stats.removed + limiter.len() as u64);
}
