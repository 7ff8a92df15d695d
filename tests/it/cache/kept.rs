//! What is kept, for how long, and how much of it.

use super::*;
use cofferdam::resilience::cache::CacheEvent;
use std::sync::{Arc, Mutex};

// HF2
#[test]
fn a_value_is_good_for_its_time_and_not_a_moment_longer() {
    let time = ManualClock::new();
    let cache = numbers(&time);
    assert_eq!(seen(now(cache.get_or_load(&1, || ok(10)))), (10, Origin::Loaded));
    time.advance(ms(99));
    assert_eq!(seen(now(cache.get_or_load(&1, || ok(11)))), (10, Origin::Hit));
    assert_eq!(cache.get(&1).as_deref(), Some(&10));
    time.advance(ms(1));
    assert!(cache.get(&1).is_none());
    assert_eq!(seen(now(cache.get_or_load(&1, || ok(11)))), (11, Origin::Loaded));
}

// HF2
#[test]
fn unless_told_otherwise_that_is_five_minutes() {
    let time = ManualClock::new();
    let cache: Numbers = Cache::builder(10).clock(time.clock()).build().unwrap();
    cache.insert(1, 10);
    time.advance(Duration::from_secs(300) - ms(1));
    assert!(cache.get(&1).is_some());
    time.advance(ms(1));
    assert!(cache.get(&1).is_none());
}

#[test]
fn each_value_may_have_a_time_of_its_own() {
    let time = ManualClock::new();
    let cache: Numbers = Cache::builder(10)
        .ttl(ms(10))
        .ttl_of(|key: &u32, value: &u32| match (*key, *value) {
            (1, ttl) => Some(ms(ttl.into())),
            (2, _) => Some(Duration::MAX),
            _ => None,
        })
        .clock(time.clock())
        .build()
        .unwrap();
    for key in 1..=4 {
        now(cache.get_or_load(&key, || ok(50))).unwrap();
    }
    cache.insert_for(5, 50, ms(20));
    cache.insert(6, 50);
    cache.insert_for(6, 51, Duration::ZERO);
    let there = || (1..=6).filter(|key| cache.get(key).is_some()).collect::<Vec<_>>();
    assert_eq!(there(), [1, 2, 3, 4, 5], "one without a time is not there at all");
    time.advance(ms(10));
    assert_eq!(there(), [1, 2, 5]);
    time.advance(ms(10));
    assert_eq!(there(), [1, 2]);
    time.advance(Duration::from_secs(1_000_000_000));
    assert_eq!(there(), [2]);
}

#[test]
fn what_is_written_and_forgotten_by_hand() {
    let time = ManualClock::new();
    let cache = numbers(&time);
    for key in 0..10 {
        cache.insert(key, key * 10);
    }
    cache.insert(3, 33);
    cache.invalidate(&4);
    cache.invalidate(&400);
    assert_eq!((cache.get(&3).as_deref(), cache.get(&4).as_deref()), (Some(&33), None));
    let mut all = Vec::new();
    cache.for_each(|key, value| {
        assert_eq!(cache.get(&key).as_deref(), Some(&*value), "the cache may be used");
        all.push((key, *value));
    });
    all.sort_unstable();
    let expected: Vec<_> =
        (0..10).filter(|key| *key != 4).map(|k| (k, if k == 3 { 33 } else { k * 10 })).collect();
    assert_eq!(all, expected);
    // Seen at once (moka-rs/moka#155 was not).
    cache.invalidate_all();
    assert!((0..10).all(|key| cache.get(&key).is_none()));
    cache.insert(1, 1);
    assert_eq!((cache.get(&1).as_deref(), cache.stats().entries), (Some(&1), 1));
}

#[test]
fn what_is_too_old_stays_until_it_is_cleaned_up() {
    let time = ManualClock::new();
    let cache: Numbers =
        Cache::builder(100).ttl(ms(10)).stale_if_error(ms(10)).clock(time.clock()).build().unwrap();
    cache.insert(1, 1);
    time.advance(ms(10));
    cache.insert(2, 2);
    assert_eq!(cache.remove_expired(), 0, "it may still stand in");
    time.advance(ms(10));
    cache.insert(3, 3);
    assert_eq!((cache.stats().entries, cache.remove_expired(), cache.stats().entries), (3, 1, 2));
    assert_eq!((cache.get_stale(&1).is_some(), cache.get_stale(&2).is_some()), (false, true));
    let mut all = Vec::new();
    cache.for_each(|key, value| all.push((key, value.is_stale())));
    all.sort_unstable();
    assert_eq!(all, [(2, true), (3, false)]);
}

// HF2
#[test]
fn there_are_never_more_than_the_capacity() {
    for capacity in [1, 2, 7, 50, 1_000, 1_001] {
        let cache: Numbers = Cache::new(capacity).unwrap();
        assert!(cache.capacity() <= capacity && cache.capacity() * 32 >= capacity * 31, "{capacity}");
        for key in 0..5_000 {
            cache.insert(key, key);
            assert!(cache.stats().entries as u64 <= capacity);
        }
        let stats = cache.stats();
        assert_eq!(stats.evictions, 5_000 - stats.entries as u64, "{stats:?}");
        assert!(stats.entries > 0);
    }
}

#[test]
fn nor_more_weight() {
    let cache: Numbers =
        Cache::builder(1_000).weigh(100, |_, value| u64::from(*value)).shards(1).build().unwrap();
    for key in 0..500 {
        cache.insert(key, 1 + key % 40);
        let stats = cache.stats();
        assert!(stats.weight <= 1_000, "{stats:?}");
    }
    assert!(cache.stats().weight > 800 && cache.stats().evictions > 0, "{:?}", cache.stats());
    // One that is too heavy for all of it is not kept, and nothing else goes for it.
    let before = cache.stats().entries;
    cache.insert(1_000, 1_001);
    assert_eq!((cache.get(&1_000).is_none(), cache.stats().entries), (true, before));
    let loaded = now(cache.get_or_load(&1_001, || ok(1_001))).unwrap();
    assert_eq!((*loaded, cache.get(&1_001).is_none()), (1_001, true));
    // And it takes an older one of its key along, which is no longer true.
    cache.insert(7, 1);
    cache.insert(7, 2_000);
    assert!(cache.get(&7).is_none());
}

#[test]
fn a_scan_does_not_sweep_out_what_is_in_use() {
    let cache: Numbers = Cache::builder(1_000).shards(1).build().unwrap();
    for round in 0..5 {
        for key in 0..200 {
            now(cache.get_or_load(&key, || ok(round))).unwrap();
        }
    }
    for key in 1_000..11_000 {
        cache.insert(key, 0);
    }
    let kept = (0..200).filter(|key| cache.get(key).is_some()).count();
    assert!(kept > 190, "{kept} of 200");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let build = |builder: cache::CacheBuilder<u32, u32, &str>| builder.build().unwrap_err().to_string();
    assert_eq!(build(Cache::builder(0)), "cache: capacity = 0: must be at least 1");
    assert_eq!(build(Cache::builder(1).shards(0)), "cache: shards = 0: must be at least 1");
    assert_eq!(build(Cache::builder(1).weigh(0, |_, _| 1)), "cache: entries = 0: must be at least 1");
    assert_eq!(build(Cache::builder(1).ttl(Duration::ZERO)), "cache: ttl = 0s: must be above zero");
    let none = Cache::builder(1).keep_errors(Duration::ZERO);
    assert_eq!(build(none), "cache: keep_errors = 0s: must be above zero");
}

/// A value whose drop uses the cache that it was in.
struct Reentrant(Arc<Mutex<Option<Cache<u32, Reentrant>>>>);

impl Drop for Reentrant {
    fn drop(&mut self) {
        let cache = self.0.lock().unwrap().clone();
        if let Some(cache) = cache {
            cache.get(&1);
            cache.invalidate(&1_000);
        }
    }
}

#[test]
fn values_are_dropped_outside_the_locks() {
    let cache: Cache<u32, Reentrant> = Cache::builder(2).shards(1).build().unwrap();
    let home = Arc::new(Mutex::new(Some(cache.clone())));
    let value = || Reentrant(Arc::clone(&home));
    cache.insert(1, value());
    cache.insert(1, value());
    for key in 2..10 {
        cache.insert(key, value());
        now(cache.get_or_load(&(key + 100), || async { Ok(value()) })).unwrap();
        drop(now(cache.refresh(&(key + 100), || async { Ok(value()) })).unwrap());
    }
    cache.insert_for(3, value(), Duration::ZERO);
    cache.invalidate_all();
    // The cycle ends here.
    home.lock().unwrap().take();
}

/// Its `Eq` panics while it is told to.
#[derive(Clone, Debug)]
struct Touchy<'a>(u32, &'a AtomicU32);

impl PartialEq for Touchy<'_> {
    fn eq(&self, other: &Self) -> bool {
        assert_eq!(self.1.load(Ordering::Relaxed), 0, "touched");
        self.0 == other.0
    }
}

impl Eq for Touchy<'_> {}

impl std::hash::Hash for Touchy<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[test]
fn a_key_whose_eq_panics_harms_nobody_else() {
    let touchy = &AtomicU32::new(0);
    let key = &Touchy(1, touchy);
    let cache: Cache<Touchy<'_>, u32, &str> = Cache::builder(10).shards(1).build().unwrap();
    let panics = |f: &dyn Fn()| {
        touchy.store(1, Ordering::Relaxed);
        assert!(crate::support::panic_message(f).contains("touched"));
        touchy.store(0, Ordering::Relaxed);
        assert_eq!(cache.get(key).as_deref(), Some(&1));
    };
    cache.insert(key.clone(), 1);
    panics(&|| drop(cache.get(key)));
    panics(&|| drop(cache.get_stale(key)));
    panics(&|| cache.insert(key.clone(), 2));
    panics(&|| cache.insert_for(key.clone(), 2, Duration::ZERO));
    panics(&|| cache.invalidate(key));
    panics(&|| drop(now(cache.get_or_load(key, || ok(2)))));
    panics(&|| drop(now(cache.refresh(key, || ok(2)))));
    let mut loads = Polled::new(cache.refresh(key, || async {
        cofferdam::testkit::yield_now().await;
        Ok(2)
    }));
    let mut waits = Polled::new(cache.refresh(key, || ok(3)));
    assert!(loads.poll().is_none() && waits.poll().is_none());
    touchy.store(1, Ordering::Relaxed);
    assert!(crate::support::panic_message(|| drop(loads.poll())).contains("touched"));
    touchy.store(0, Ordering::Relaxed);
    assert_eq!(*waits.poll().unwrap().unwrap(), 3, "who waits takes over");
}

/// Its `Hash` and `Eq` panic when they have been asked so often: 0 is never.
#[derive(Clone, Debug)]
struct Fuse<'a>(u32, &'a AtomicU32);

impl Fuse<'_> {
    fn burn(&self) {
        let left = self.1.load(Ordering::Relaxed);
        self.1.store(left.saturating_sub(1), Ordering::Relaxed);
        assert_ne!(left, 1, "burnt");
    }
}

impl PartialEq for Fuse<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.burn();
        self.0 == other.0
    }
}

impl Eq for Fuse<'_> {}

impl std::hash::Hash for Fuse<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.burn();
        self.0.hash(state);
    }
}

/// Whenever it panics, in the midst of a change or not, what is asked later finds a whole cache.
#[test]
fn a_key_that_panics_in_the_midst_of_a_change_takes_no_shard_with_it() {
    for burns in 1..30 {
        let fuse = &AtomicU32::new(0);
        let cache: Cache<Fuse<'_>, u32, &str> = Cache::builder(32).shards(1).build().unwrap();
        let acts: [&dyn Fn(); 4] = [
            &|| cache.insert(Fuse(1_000, fuse), 5),
            &|| cache.insert(Fuse(40, fuse), 5),
            &|| cache.invalidate(&Fuse(39, fuse)),
            &|| drop(now(cache.get_or_load(&Fuse(2_000, fuse), || ok(5)))),
        ];
        for (at, act) in acts.iter().enumerate() {
            // Full, and with some that were used, so that room is made by moving others about.
            for key in 0..64 {
                cache.insert(Fuse(key, fuse), key);
                cache.get(&Fuse(key / 2, fuse));
            }
            fuse.store(burns, Ordering::Relaxed);
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
            fuse.store(0, Ordering::Relaxed);
            cache.insert(Fuse(7, fuse), 7);
            assert_eq!(cache.get(&Fuse(7, fuse)).as_deref(), Some(&7), "act {at}, burns {burns}");
            assert!(cache.stats().entries <= 32);
        }
    }
}

#[test]
fn what_is_replaced_has_not_made_room() {
    let cache: Numbers = Cache::builder(40)
        .weigh(4, |_, value| u64::from(*value))
        .keep_errors(ms(10))
        .shards(1)
        .build()
        .unwrap();
    cache.insert(1, 1);
    cache.insert(1, 2);
    now(cache.refresh(&1, || ok(3))).unwrap();
    assert_eq!(cache.stats().evictions, 0);
    // Too heavy to be kept, and the end of what was there.
    cache.insert(1, 41);
    assert_eq!((cache.stats().evictions, cache.stats().entries), (1, 0));
    // An error that is kept takes room, too.
    for key in 0..41 {
        now(cache.get_or_load(&key, down)).unwrap_err();
    }
    assert_eq!((cache.stats().evictions, cache.stats().weight), (2, 40));
}

#[test]
fn it_counts_and_tells_what_it_does() {
    let time = ManualClock::new();
    let cache: Numbers = Cache::builder(1)
        .ttl(ms(10))
        .stale_while_revalidate(ms(10))
        .name("users")
        .clock(time.clock())
        .build()
        .unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&log);
    cache.observe(move |event: &CacheEvent| {
        events.lock().unwrap().push(match event {
            CacheEvent::Hit { .. } => "hit",
            CacheEvent::StaleHit { .. } => "stale",
            CacheEvent::Miss { name, .. } if *name == "users" => "miss",
            CacheEvent::Coalesced { .. } => "coalesced",
            CacheEvent::Stored { .. } => "stored",
            CacheEvent::LoadFailed { .. } => "failed",
            CacheEvent::Evicted { entries: 1, .. } => "evicted",
            _ => "?",
        });
    });
    assert!(now(cache.get_or_load(&1, down)).is_err());
    let mut first = Polled::new(cache.get_or_load(&1, || async {
        cofferdam::testkit::yield_now().await;
        Ok(1)
    }));
    let mut second = Polled::new(cache.get_or_load(&1, || ok(2)));
    assert!(first.poll().is_none() && second.poll().is_none());
    assert_eq!(seen(first.poll().unwrap()), (1, Origin::Loaded));
    assert_eq!(seen(second.poll().unwrap()), (1, Origin::Joined));
    now(cache.get_or_load(&1, down)).unwrap();
    time.advance(ms(10));
    let mut loads = Polled::new(cache.get_or_load(&1, std::future::pending));
    assert!(loads.poll().is_none());
    now(cache.get_or_load(&1, down)).unwrap();
    cache.insert(2, 2);
    let events = log.lock().unwrap().clone();
    let expected =
        ["miss", "failed", "miss", "coalesced", "stored", "hit", "miss", "stale", "stored", "evicted"];
    assert_eq!(events, expected);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.stale_hits, stats.misses, stats.coalesced), (1, 1, 4, 1));
    assert_eq!((stats.loads, stats.failed_loads, stats.evictions, stats.entries), (2, 1, 1, 1));
}
