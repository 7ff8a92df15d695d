//! A hit in a cache: a floor written by hand, ours, `quick_cache`, `moka`.
//!
//! All hand out an `Arc`, of 10,000 keys that are all there. Those with a time to live read a clock for it.

use cofferdam::resilience::cache::Cache;
use cofferdam::time::Clock;
use cofferdam_benches::{each, now};
use criterion::{Criterion, criterion_group, criterion_main};
use futures_executor::block_on;
use std::cell::Cell;
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const KEYS: u64 = 10_000;
const TTL: Duration = Duration::from_secs(300);

thread_local! {
    static NEXT: Cell<u64> = const { Cell::new(0) };
}

/// One key after the other, far apart.
fn key() -> u64 {
    let next = NEXT.get().wrapping_add(7_919) % KEYS;
    NEXT.set(next);
    next
}

fn ours(ttl: Duration, clock: Clock) -> Cache<u64, u64> {
    let cache = Cache::builder(2 * KEYS).ttl(ttl).clock(clock).build().expect("a cache");
    (0..KEYS).for_each(|key| cache.insert(key, key));
    cache
}

fn hits(criterion: &mut Criterion) {
    for threads in [1, 2] {
        let mut group = criterion.benchmark_group(format!("cache_hit/{threads}"));

        let entries = (0..KEYS).map(|key| (key, (Arc::new(key), now() + TTL)));
        let map: HashMap<u64, (Arc<u64>, Instant), foldhash::fast::RandomState> = entries.collect();
        let map = parking_lot::RwLock::new(map);
        each(&mut group, "floor", threads, || {
            let now = now();
            let found =
                map.read().get(&key()).filter(|(_, until)| now < *until).map(|(value, _)| value.clone());
            black_box(found);
        });

        let cache = ours(TTL, Clock::system());
        each(&mut group, "cofferdam", threads, || drop(black_box(cache.get(&key()))));
        each(&mut group, "cofferdam_get_or_load", threads, || {
            let key = key();
            drop(black_box(block_on(cache.get_or_load(&key, || async move { Ok(key) }))));
        });
        let cache = ours(TTL, Clock::quanta());
        each(&mut group, "cofferdam_quanta", threads, || drop(black_box(cache.get(&key()))));
        let cache = ours(Duration::MAX, Clock::system());
        each(&mut group, "cofferdam_for_ever", threads, || drop(black_box(cache.get(&key()))));

        let cache = quick_cache::sync::Cache::<u64, Arc<u64>>::new(2 * KEYS as usize);
        (0..KEYS).for_each(|key| cache.insert(key, Arc::new(key)));
        each(&mut group, "quick_cache_for_ever", threads, || drop(black_box(cache.get(&key()))));

        let builder = || moka::sync::Cache::<u64, Arc<u64>>::builder().max_capacity(2 * KEYS);
        for (id, cache) in
            [("moka_for_ever", builder().build()), ("moka", builder().time_to_live(TTL).build())]
        {
            (0..KEYS).for_each(|key| cache.insert(key, Arc::new(key)));
            each(&mut group, id, threads, || drop(black_box(cache.get(&key()))));
        }
        let cache =
            moka::future::Cache::<u64, Arc<u64>>::builder().max_capacity(2 * KEYS).time_to_live(TTL).build();
        (0..KEYS).for_each(|key| block_on(cache.insert(key, Arc::new(key))));
        each(&mut group, "moka_get_with", threads, || {
            let key = key();
            drop(black_box(block_on(cache.get_with(key, async move { Arc::new(key) }))));
        });
        group.finish();
    }
}

criterion_group!(benches, hits);
criterion_main!(benches);
