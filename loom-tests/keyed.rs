//! Limits and values by key: the bound on the keys of all shards, looks at shards without their locks, one making of a value, and
//! the timer of a shard.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | never more keys than the capacity, and none is refused with room to spare | 2 | none | `reserve` by a load and a store |
//! | a place inherited from an idle key is nobody else's | 2 | none | `inherit` that gives the place back as well |
//! | one key inserted by two is one key, and neither is told that there is no room | 2 | none | no second look-up before the insertion; a place taken without the lock |
//! | of two who ask one makes the value | 2 | 3 | no look-up after finding no room; a place taken without the lock |
//! | a value that was used while it was looked at is kept | 2 | 3 | `settle` that does not look at `hand_outs` |
//! | queueing against the firing timer: nobody sleeps on | 2 | 3 | a sleep that is ready when armed, ignored |
//! | giving up against being granted: the next is served | 2 | 3 | `abandon` that gives no grant back |

use cofferdam_loom::limit::{Gcra, Idle, KeyWaitError, Keyed, KeyedMap, Quota, WhenFull};
use cofferdam_loom::testkit::ManualClock;
use loom::future::block_on;
use loom::thread;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The same in every execution: bit 32 of a key is its shard.
#[derive(Clone, Default)]
struct Plain(u64);

impl BuildHasher for Plain {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl Hasher for Plain {
    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

const OTHER_SHARD: u64 = 1 << 32;

type Limiter = Keyed<u64, Gcra, Plain>;

fn bounded(bound: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    builder.check(model);
}

fn limiter(capacity: usize, shards: usize, when_full: WhenFull) -> (ManualClock, Limiter) {
    let time = ManualClock::new();
    let builder = Keyed::builder(Quota::per_second(1)).capacity(capacity).shards(shards);
    let builder = builder.when_full(when_full).clock(time.clock()).hasher(Plain::default());
    (time, builder.build().unwrap())
}

/// S44
#[test]
fn never_more_keys_than_the_capacity() {
    bounded(None, || {
        let (_, limiter) = limiter(1, 2, WhenFull::RejectNew);
        let other = {
            let limiter = limiter.clone();
            thread::spawn(move || limiter.try_acquire(&OTHER_SHARD).is_ok())
        };
        let mine = limiter.try_acquire(&0).is_ok();
        let theirs = other.join().unwrap();
        assert_eq!(u8::from(mine) + u8::from(theirs), 1, "one of them");
        assert_eq!(limiter.keys().len(), 1);
    });
}

/// S44
#[test]
fn the_place_of_an_idle_key_is_for_one() {
    bounded(None, || {
        let (time, limiter) = limiter(1, 2, WhenFull::RejectNew);
        assert!(limiter.try_acquire(&0).is_ok());
        time.advance(Duration::from_secs(1));
        let other = {
            let limiter = limiter.clone();
            thread::spawn(move || limiter.try_acquire(&1).is_ok())
        };
        let mine = limiter.try_acquire(&OTHER_SHARD).is_ok();
        let theirs = other.join().unwrap();
        assert_eq!(u8::from(mine) + u8::from(theirs), 1, "one of them");
        assert_eq!((limiter.keys().len(), limiter.len(), limiter.contains(&0)), (1, 1, false));
    });
}

#[test]
fn one_key_inserted_by_two_is_one() {
    for capacity in [1, 2] {
        bounded(None, move || {
            let (_, limiter) = limiter(capacity, 1, WhenFull::RejectNew);
            let other = {
                let limiter = limiter.clone();
                thread::spawn(move || limiter.try_acquire(&7))
            };
            let both = [limiter.try_acquire(&7), other.join().unwrap()];
            assert_eq!(both.iter().filter(|one| one.is_ok()).count(), 1, "one token");
            assert!(!both.iter().any(|one| one.is_err_and(|denied| denied.is_full())));
            assert_eq!((limiter.keys().len(), limiter.len()), (1, 1));
        });
    }
}

/// Idle until it is used.
struct Value(AtomicBool);

impl Idle for Value {
    fn is_idle(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

fn map() -> KeyedMap<u64, Value, Plain> {
    let map = KeyedMap::builder().capacity(1).shards(1).hasher(Plain::default());
    map.clock(ManualClock::new().clock()).build().unwrap()
}

/// S84
#[test]
fn of_two_who_ask_one_makes_the_value() {
    bounded(Some(3), || {
        let (map, made) = (map(), Arc::new(AtomicU32::new(0)));
        let ask = |map: &KeyedMap<u64, Value, Plain>, made: &AtomicU32| {
            map.get_or_create(&1, || {
                made.fetch_add(1, Ordering::Relaxed);
                Value(false.into())
            })
        };
        let other = {
            let (map, made) = (map.clone(), Arc::clone(&made));
            thread::spawn(move || ask(&map, &made).unwrap())
        };
        let mine = ask(&map, &made).unwrap();
        assert!(Arc::ptr_eq(&mine, &other.join().unwrap()));
        assert_eq!(made.load(Ordering::Relaxed), 1);
    });
}

/// S23
#[test]
fn a_value_that_was_used_while_it_was_looked_at_is_kept() {
    bounded(Some(3), || {
        let map = map();
        drop(map.get_or_create(&1, || Value(false.into())));
        let other = {
            let map = map.clone();
            thread::spawn(move || {
                let Some(value) = map.get(&1) else { return };
                value.0.store(true, Ordering::Relaxed);
                drop(value);
                assert!(map.get(&1).is_some());
            })
        };
        map.remove_idle();
        other.join().unwrap();
    });
}

type Wait = Pin<Box<dyn Future<Output = Result<(), KeyWaitError>> + Send>>;

fn wait(limiter: &Limiter) -> Wait {
    let limiter = limiter.clone();
    Box::pin(async move { limiter.acquire(&0).await })
}

fn poll(wait: &mut Wait) -> Poll<Result<(), KeyWaitError>> {
    wait.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// S35
#[test]
fn queueing_against_the_firing_timer() {
    bounded(Some(3), || {
        let (time, limiter) = limiter(1, 1, WhenFull::RejectNew);
        limiter.drain_to(&0, 0).unwrap();
        let mut first = wait(&limiter);
        assert!(poll(&mut first).is_pending());
        let other = {
            let time = time.clone();
            thread::spawn(move || time.advance(Duration::from_secs(2)))
        };
        // Not done means asleep for ever, which loom reports.
        block_on(wait(&limiter)).unwrap();
        other.join().unwrap();
        assert!(poll(&mut first).is_ready());
        assert_eq!((limiter.available(&0), time.armed()), (0, 0));
    });
}

/// S39
#[test]
fn giving_up_against_being_granted() {
    bounded(Some(3), || {
        let (time, limiter) = limiter(1, 1, WhenFull::RejectNew);
        limiter.drain_to(&0, 0).unwrap();
        let (mut first, mut second) = (wait(&limiter), wait(&limiter));
        assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
        let other = {
            let time = time.clone();
            thread::spawn(move || time.advance(Duration::from_secs(1)))
        };
        drop(first);
        other.join().unwrap();
        assert!(poll(&mut second).is_ready(), "the token is the second one's");
        assert_eq!((limiter.available(&0), time.armed(), limiter.stats().waiting), (0, 0, 0));
    });
}
