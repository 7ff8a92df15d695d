//! Rate limiters by key: floors, ours, and the peers, on one key, a thousand, and a million, all of them there already.
//!
//! The keys come in an order of chance, the same for everybody. The floor is what one would write: 64 locked maps of plain numbers.
//! `floor_frozen` is a map that nobody can add to, without locks: less than any limiter by key can do.

use cofferdam::limit::{Keyed, Quota};
use cofferdam_benches::{Floor, Of, on_threads};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use governor::clock::{MonotonicClock, QuantaClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use trypema::local::LocalRateLimiterProvider;
use trypema::{BucketSize, RateLimit, RateLimitDecision, RateLimiterBuilder, WindowSize};

type Fold = foldhash::fast::FixedState;

/// A thousand a second, and far more at once than any run takes.
const RATE: u32 = 1000;
/// What each key has taken at the start, so that none is idle in the minutes of a run.
const TAKEN: u32 = 1_000_000;

/// Keys in an order of chance.
struct Chance {
    state: u64,
    keys: u64,
}

impl Chance {
    fn of(keys: u64, thread: u64) -> Self {
        Self { state: 0x9e37_79b9_7f4a_7c15 ^ thread, keys }
    }

    /// Below the number of keys.
    #[inline]
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((self.state >> 32) * self.keys) >> 32
    }
}

fn each(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: &str,
    keys: u64,
    threads: usize,
    decide: impl Fn(u64) -> bool + Sync,
) {
    assert!(decide(0) && decide(keys - 1), "{id} allows");
    group.bench_function(id, |bencher| {
        if threads == 1 {
            let mut chance = Chance::of(keys, 0);
            bencher.iter(|| black_box(decide(chance.next())));
        } else {
            let begun = AtomicU64::new(0);
            bencher.iter_custom(|iters| {
                on_threads(threads, iters, |share| {
                    // Each thread begins elsewhere.
                    let mut chance = Chance::of(keys, begun.fetch_add(1, Ordering::Relaxed));
                    for _ in 0..share {
                        black_box(decide(chance.next()));
                    }
                })
            });
        }
    });
}

/// 64 locked maps.
struct Shards<K> {
    maps: Vec<Mutex<HashMap<K, u64, Fold>>>,
    hasher: Fold,
}

impl<K: Hash + Eq> Shards<K> {
    fn new(keys: impl Iterator<Item = K>) -> Self {
        let this = Self {
            maps: (0..64).map(|_| Mutex::new(HashMap::with_hasher(Fold::default()))).collect(),
            hasher: Fold::with_seed(1),
        };
        for key in keys {
            this.map(&key).lock().expect("not poisoned").insert(key, 0);
        }
        this
    }

    #[inline]
    fn map(&self, key: &K) -> &Mutex<HashMap<K, u64, Fold>> {
        &self.maps[(self.hasher.hash_one(key) >> 58) as usize]
    }

    #[inline]
    fn take(&self, key: &K, now: u64) -> bool {
        let mut map = self.map(key).lock().expect("not poisoned");
        let Some(tat) = map.get_mut(key) else { return false };
        let next = (*tat).max(now) + 1;
        if next > now + (1 << 50) {
            return false;
        }
        *tat = next;
        true
    }
}

fn cofferdam<K: Hash + Eq + Clone>(keys: &[K], of: Of) -> Keyed<K> {
    let quota = Quota::per_second(RATE.into()).burst(1 << 40);
    let builder = Keyed::builder(quota).capacity(2 * keys.len()).clock(of.clock());
    let limiter = builder.build().expect("a limiter");
    for key in keys {
        assert!(limiter.try_acquire_many(key, TAKEN.into()).is_ok());
    }
    limiter
}

type Governor<K, C, S> = governor::RateLimiter<
    K,
    DashMapStateStore<K, S>,
    C,
    NoOpMiddleware<<C as governor::clock::Clock>::Instant>,
>;

fn governor<K, C, S>(keys: &[K], clock: C) -> Governor<K, C, S>
where
    K: Hash + Eq + Clone,
    C: governor::clock::Clock,
    S: BuildHasher + Default + Clone,
{
    let rate = NonZeroU32::new(RATE).expect("not zero");
    let quota = governor::Quota::per_second(rate).allow_burst(NonZeroU32::MAX);
    let limiter = governor::RateLimiter::dashmap_with_clock_and_hasher(quota, clock, S::default());
    let taken = NonZeroU32::new(TAKEN).expect("not zero");
    for key in keys {
        assert!(limiter.check_key_n(key, taken).is_ok_and(|checked| checked.is_ok()));
    }
    limiter
}

fn governors<C>(group: &mut BenchmarkGroup<'_, WallTime>, keys: &[u64], threads: usize, clock: C)
where
    C: governor::clock::Clock + Clone + Sync,
    C::Instant: Sync,
{
    let many = keys.len() as u64;
    let peer = governor::<_, _, RandomState>(keys, clock.clone());
    each(group, "governor", many, threads, |key| peer.check_key(&key).is_ok());
    drop(peer);
    let peer = governor::<_, _, Fold>(keys, clock);
    each(group, "governor_foldhash", many, threads, |key| peer.check_key(&key).is_ok());
}

/// Numbers as keys.
fn numbers(criterion: &mut Criterion) {
    for many in sizes() {
        let keys: Vec<u64> = (0..many).collect();
        for of in Of::BOTH {
            for threads in [1, 2] {
                let mut group =
                    criterion.benchmark_group(format!("keyed/{many}/{}/threads_{threads}", of.name()));
                let nanos = of.start();
                let shards = Shards::new(keys.iter().copied());
                each(&mut group, "floor", many, threads, |key| shards.take(&key, nanos.read()));
                drop(shards);
                let frozen: HashMap<u64, Floor, Fold> =
                    keys.iter().map(|key| (*key, Floor::new(true))).collect();
                each(&mut group, "floor_frozen", many, threads, |key| {
                    frozen.get(&key).is_some_and(|floor| floor.take(nanos.read()))
                });
                drop(frozen);
                let ours = cofferdam(&keys, of);
                each(&mut group, "cofferdam", many, threads, |key| ours.try_acquire(&key).is_ok());
                drop(ours);
                match of {
                    Of::Std => governors(&mut group, &keys, threads, MonotonicClock),
                    Of::Quanta => governors(&mut group, &keys, threads, QuantaClock::default()),
                }
                group.finish();
            }
        }
    }
}

/// Text as keys, which is all that trypema takes. Its limit is a best effort: threads can overshoot it.
fn texts(criterion: &mut Criterion) {
    for many in sizes() {
        let keys: Vec<String> = (0..many).map(|key| format!("user-{key}")).collect();
        let text = |key: u64| &keys[key as usize];
        for threads in [1, 2] {
            let mut group = criterion.benchmark_group(format!("keyed_text/{many}/std/threads_{threads}"));
            let nanos = Of::Std.start();
            let shards = Shards::new(keys.iter().cloned());
            each(&mut group, "floor", many, threads, |key| shards.take(text(key), nanos.read()));
            drop(shards);
            let ours = cofferdam(&keys, Of::Std);
            each(&mut group, "cofferdam", many, threads, |key| ours.try_acquire(text(key).as_str()).is_ok());
            drop(ours);
            let peer = governor::<_, _, RandomState>(&keys, MonotonicClock);
            each(&mut group, "governor", many, threads, |key| peer.check_key(text(key)).is_ok());
            drop(peer);
            let peer = LocalRateLimiterProvider::builder()
                .window_size(WindowSize::seconds_or_panic(1))
                .bucket_size(BucketSize::milliseconds_or_panic(100))
                .disable_cleanup()
                .build()
                .expect("a limiter");
            let rate = RateLimit::per_second_or_panic(1e12);
            for key in &keys {
                assert!(matches!(peer.absolute().inc(key, &rate, 1), RateLimitDecision::Allowed));
            }
            each(&mut group, "trypema", many, threads, |key| {
                matches!(peer.absolute().inc(text(key), &rate, 1), RateLimitDecision::Allowed)
            });
            group.finish();
        }
    }
}

/// How many keys: as a test, fewer.
fn sizes() -> [u64; 3] {
    let tested = std::env::args().any(|argument| argument == "--test");
    [1, 1000, if tested { 10_000 } else { 1_000_000 }]
}

criterion_group!(benches, numbers, texts);
criterion_main!(benches);
