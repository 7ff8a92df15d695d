//! What one key gets, and what is asked and told of it.

use super::{builder, keyed, ms, secs};
use crate::support::allocations;
use cofferdam::limit::{Algorithm, Gcra, Keyed, KeyedBuilder, Quota, WhenFull};
use std::collections::BTreeMap;
use std::net::IpAddr;

// MT16
#[test]
fn each_key_has_its_own_limit() {
    let (time, limiter) = keyed::<String>(Quota::per_second(10).burst(2));
    for key in ["ada", "bob"] {
        assert_eq!((limiter.try_acquire(key), limiter.try_acquire(key)), (Ok(()), Ok(())));
        let denied = limiter.try_acquire(key).unwrap_err();
        assert_eq!(
            (denied.retry_after(), denied.is_full(), denied.is_never()),
            (Some(ms(100)), false, false)
        );
        assert_eq!(denied.denied().map(|denied| denied.limiter()), Some("token bucket"));
    }
    time.advance(ms(100));
    assert_eq!(limiter.try_acquire("ada"), Ok(()));
    assert!(limiter.try_acquire("ada").is_err());
    assert_eq!((limiter.available("bob"), limiter.available("eve")), (1, 2));
    let never = limiter.try_acquire_many("eve", 3).unwrap_err();
    assert!(never.is_never() && never.denied().unwrap().exceeds_burst());
    let clone = limiter.clone();
    assert_eq!(clone.try_acquire("bob"), Ok(()));
    assert_eq!(limiter.available("bob"), 0, "clones share the keys");
    let stats = limiter.stats();
    assert_eq!((stats.decided.allowed, stats.decided.denied, stats.inserted, stats.keys), (6, 4, 2, 2));
}

#[test]
fn keys_of_many_kinds_are_looked_up_in_the_form_that_is_at_hand() {
    let (_, texts) = keyed::<String>(Quota::per_second(1));
    assert_eq!(texts.try_acquire("text"), Ok(()));
    assert!(texts.try_acquire(&String::from("text")).is_err(), "the same key");
    let (_, addresses) = keyed::<IpAddr>(Quota::per_second(1));
    let address: IpAddr = "10.0.0.1".parse().unwrap();
    assert_eq!(addresses.try_acquire(&address), Ok(()));
    assert!(addresses.contains(&address));
    let (_, pairs) = keyed::<(u32, &'static str)>(Quota::per_second(1));
    assert_eq!((pairs.try_acquire(&(1, "read")), pairs.try_acquire(&(1, "write"))), (Ok(()), Ok(())));
    assert!(pairs.try_acquire(&(1, "read")).is_err());
    let (_, bytes) = keyed::<Vec<u8>>(Quota::per_second(1));
    assert_eq!(bytes.try_acquire(&b"key"[..]), Ok(()));
}

#[test]
fn a_key_that_is_there_is_used_without_allocating() {
    let (_, limiter) = keyed::<String>(Quota::per_second(1).burst(50));
    assert_eq!(limiter.try_acquire("a key"), Ok(()));
    let count = allocations(|| {
        for _ in 0..100 {
            let _ = limiter.try_acquire("a key");
            let _ = limiter.peek("another", 3);
            limiter.available("a key");
        }
    });
    assert_eq!(count, 0);
    assert!(allocations(|| limiter.try_acquire("one more")) > 0, "or the test shows nothing");
}

#[test]
fn what_need_not_be_remembered_is_not() {
    let (_, limiter) = keyed::<u64>(Quota::per_second(1).burst(3));
    assert_eq!(limiter.try_acquire_many(&1, 0), Ok(()));
    assert!(limiter.try_acquire_many(&1, 4).is_err());
    assert_eq!((limiter.peek(&1, 3).is_ok(), limiter.peek(&1, 4).is_err()), (true, true));
    limiter.refund(&1, 1);
    assert_eq!(limiter.drain_to(&1, 3), Ok(()));
    assert!(!limiter.remove(&1) && limiter.is_empty() && !limiter.contains(&1));
    let (_, unlimited) = keyed::<u64>(Quota::unlimited());
    assert_eq!((unlimited.try_acquire_many(&1, 1 << 40), unlimited.len()), (Ok(()), 0));
}

#[test]
fn peeking_and_asking_change_nothing() {
    let (time, limiter) = keyed::<u64>(Quota::per_second(10).burst(5));
    assert_eq!(limiter.try_acquire_many(&7, 4), Ok(()));
    for _ in 0..10 {
        assert_eq!(limiter.peek(&7, 1), Ok(()));
        let denied = limiter.peek(&7, 2).unwrap_err();
        assert_eq!(denied.retry_after(), Some(ms(100)));
    }
    let later = time.clock().now() + ms(200);
    assert_eq!((limiter.available_at(&7, later), limiter.peek_at(&7, 3, later)), (3, Ok(())));
    assert_eq!((limiter.available(&7), limiter.stats().decided.denied), (1, 0));
}

#[test]
fn refunds_and_drains_are_the_key_s_own() {
    let (time, limiter) = keyed::<u64>(Quota::per_second(10).burst(5));
    assert_eq!((limiter.try_acquire_many(&1, 5), limiter.try_acquire_many(&2, 5)), (Ok(()), Ok(())));
    limiter.refund(&1, 2);
    assert_eq!((limiter.available(&1), limiter.available(&2)), (2, 0));
    limiter.refund(&1, 100);
    assert_eq!(limiter.available(&1), 5, "never above the burst");
    assert_eq!(limiter.drain_to(&3, 1), Ok(()));
    assert_eq!((limiter.available(&3), limiter.contains(&3)), (1, true));
    time.advance(ms(100));
    assert_eq!((limiter.available(&2), limiter.available(&3)), (1, 2));
}

#[test]
fn a_removed_key_begins_anew_and_keeps_its_override() {
    let (_, limiter) = keyed::<String>(Quota::per_second(1));
    limiter.set_override("a".into(), Quota::per_second(1).burst(3)).unwrap();
    assert_eq!(limiter.try_acquire_many("a", 3), Ok(()));
    assert!(limiter.remove("a"));
    assert_eq!((limiter.len(), limiter.available("a")), (0, 3));
    assert_eq!(limiter.stats().removed, 1);
}

#[test]
fn an_override_is_one_key_s_and_outlives_its_state() {
    let (time, builder) = builder::<String>(Quota::per_second(10).burst(1));
    let limiter = builder.overrides(1).shards(1).build().unwrap();
    assert_eq!((limiter.try_acquire("vip"), limiter.try_acquire("other")), (Ok(()), Ok(())));
    let twice = Quota::per_second(20).burst(4);
    assert_eq!(limiter.set_override("vip".into(), twice), Ok(None));
    assert_eq!(limiter.override_of("vip"), Some(Gcra::new(twice)));
    assert_eq!((limiter.available("vip"), limiter.available("other")), (0, 0), "nothing is given");
    time.advance(ms(100));
    assert_eq!((limiter.available("vip"), limiter.available("other")), (2, 1), "each at its own rate");
    let full = limiter.set_override("other".into(), twice).unwrap_err();
    assert_eq!((full.capacity(), full.retry_after()), (1, None));
    assert_eq!(
        limiter.set_override("vip".into(), Quota::per_second(20).burst(6)),
        Ok(Some(Gcra::new(twice)))
    );

    time.advance(secs(10));
    assert_eq!(limiter.remove_idle(), 2);
    assert_eq!((limiter.len(), limiter.stats().overrides, limiter.available("vip")), (0, 1, 6));
    assert_eq!(limiter.try_acquire_many("vip", 6), Ok(()));
    time.advance(ms(50));
    assert_eq!(limiter.available("vip"), 1);
    assert_eq!(limiter.remove_override("vip"), Some(Gcra::new(Quota::per_second(20).burst(6))));
    assert_eq!((limiter.remove_override("vip"), limiter.available("vip")), (None, 1));
    time.advance(ms(100));
    assert_eq!((limiter.available("vip"), limiter.stats().overrides), (1, 0), "as all others");
}

#[test]
fn a_change_for_all_settles_each_key_first_and_leaves_overrides() {
    let (time, limiter) = keyed::<u64>(Quota::per_second(10).burst(10));
    limiter.set_override(0, Quota::per_second(1).burst(10)).unwrap();
    for key in 0..1000 {
        assert_eq!(limiter.try_acquire_many(&key, 10), Ok(()));
    }
    time.advance(ms(250));
    limiter.set(Quota::per_second(100).burst(10));
    assert_eq!(limiter.algorithm(), Gcra::new(Quota::per_second(100).burst(10)));
    for key in 1..1000 {
        assert_eq!(limiter.available(&key), 2, "two and a half came at the old rate");
    }
    time.advance(ms(5));
    for key in 1..1000 {
        assert_eq!(limiter.available(&key), 3, "the half was kept");
    }
    assert_eq!(limiter.available(&0), 0, "a quarter");
    // The order in which keys are idle is that of the new limits.
    time.advance(ms(70));
    assert_eq!((limiter.remove_idle(), limiter.len()), (999, 1));
    // Twice: the mark is the first one's again.
    assert_eq!(limiter.try_acquire_many(&5, 10), Ok(()));
    limiter.set(Quota::per_second(1).burst(10));
    limiter.set(Quota::per_second(2).burst(4));
    time.advance(secs(1));
    assert_eq!((limiter.available(&5), limiter.available(&6)), (2, 4));
}

#[test]
fn all_keys_are_told_of_once_and_the_limiter_may_be_used_meanwhile() {
    let (_, builder) = builder::<u64>(Quota::per_second(10).burst(10));
    let limiter = builder.shards(2).build().unwrap();
    limiter.set_override(3, Quota::per_second(0).burst(9)).unwrap();
    for key in 0..500 {
        assert_eq!(limiter.try_acquire_many(&key, 1 + key % 9), Ok(()));
    }
    // Outdated records in the order must not make a key come twice.
    limiter.refund(&100, 1);
    let mut told = BTreeMap::new();
    limiter.for_each(|key, state| {
        assert!(limiter.contains(&key));
        assert_eq!(state.available, limiter.available(&key));
        assert_eq!(state.overridden, key == 3);
        let idle_in = (key != 3).then(|| ms(100 * (10 - state.available)));
        assert_eq!(state.idle_in, idle_in);
        assert!(told.insert(key, state).is_none(), "twice");
    });
    assert_eq!(told.len(), 500);
    let mut keys = limiter.keys();
    keys.sort_unstable();
    assert_eq!(keys, (0..500).collect::<Vec<_>>());
}

#[test]
fn another_algorithm_and_another_hash_function_can_be_named() {
    let limiter: Keyed<String, Gcra, std::collections::hash_map::RandomState> =
        KeyedBuilder::new(Quota::per_second(1)).hasher(Default::default()).name("siphash").build().unwrap();
    assert_eq!(limiter.try_acquire("a"), Ok(()));
    assert!(limiter.try_acquire("a").is_err());
    let text = format!("{limiter:?}");
    assert!(text.contains("siphash") && text.contains("keys: 1"), "{text}");
    assert_eq!(limiter.name(), Some("siphash"));
    assert_eq!(Gcra::NAME, "token bucket");
}

#[test]
fn the_builder_refuses_what_makes_no_sense() {
    let build = |builder: KeyedBuilder<u64, Gcra>| builder.build().unwrap_err().to_string();
    let new = || Keyed::<u64>::builder(Quota::per_second(1));
    assert_eq!(build(new().capacity(0)), "keyed limiter: capacity = 0: must be at least 1");
    let rule = "must be a power of two, at most 65536";
    assert_eq!(build(new().shards(3)), format!("keyed limiter: shards = 3: {rule}"));
    assert_eq!(build(new().shards(0)), format!("keyed limiter: shards = 0: {rule}"));
    assert_eq!(build(new().shards(1 << 17)), format!("keyed limiter: shards = 131072: {rule}"));
    let text = format!("{:?}", new().capacity(5).when_full(WhenFull::EvictIdleMost).clone());
    assert!(text.contains("capacity: 5") && text.contains("EvictIdleMost"), "{text}");
    assert_eq!(Keyed::<u64>::new(Quota::per_second(1)).capacity(), 65_536);
}
