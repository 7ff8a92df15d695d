//! Semaphores, breakers and other values by key.

use super::{ms, secs};
use crate::support::allocations;
use cofferdam::limit::{CreateError, Idle, KeyedMap};
use cofferdam::resilience::CircuitBreaker;
use cofferdam::resilience::breaker::State;
use cofferdam::sync::Semaphore;
use cofferdam::testkit::{ManualClock, Polled};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier};

fn map<V: Idle>(capacity: usize) -> (ManualClock, KeyedMap<String, V>) {
    let time = ManualClock::new();
    let map = KeyedMap::builder().capacity(capacity).clock(time.clock()).idle_for(secs(60)).build().unwrap();
    (time, map)
}

/// A value that is idle when it is told to be.
struct Told(AtomicBool);

impl Told {
    fn idle() -> Self {
        Self(true.into())
    }

    fn set(&self, idle: bool) {
        self.0.store(idle, Ordering::Relaxed);
    }
}

impl Idle for Told {
    fn is_idle(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn semaphores_of_tenants_bound_each_tenant() {
    let (_, map) = map::<Semaphore>(100);
    let of = |tenant: &str| map.get_or_create(tenant, || Semaphore::new(2)).unwrap();
    let held: Vec<_> = (0..2).map(|_| of("acme").try_acquire_owned().unwrap()).collect();
    assert!(of("acme").try_acquire_owned().is_err());
    assert!(of("other").try_acquire().is_ok());
    drop(held);
    assert_eq!((of("acme").available(), map.len(), map.stats().created), (2, 2, 2));
}

// S23
#[test]
fn breakers_of_hosts_trip_separately_and_are_not_forgotten_while_they_are_open() {
    let (time, map) = map::<CircuitBreaker>(2);
    let clock = time.clock();
    let new = || CircuitBreaker::builder().failure_threshold(2).clock(clock.clone()).build().unwrap();
    let of = |host: &str| map.get_or_create(host, new);
    for _ in 0..2 {
        of("bad").unwrap().try_acquire().unwrap().failure();
    }
    of("flaky").unwrap().try_acquire().unwrap().failure();
    assert_eq!((of("bad").unwrap().state(), of("flaky").unwrap().state()), (State::Open, State::Closed));
    // Ever so many other hosts, and ever so much time: what is counted is not forgotten.
    for host in 0..50 {
        assert!(of(&format!("host {host}")).is_err_and(|full| full.capacity() == 2));
        time.advance(secs(60));
    }
    assert_eq!(
        (of("bad").unwrap().state(), map.remove_idle(), map.stats().rejected),
        (State::HalfOpen, 0, 50)
    );
    of("flaky").unwrap().try_acquire().unwrap().success();
    assert!(of("good").is_ok(), "the place of one that has nothing counted");
    assert!(map.get("flaky").is_none() && map.get("bad").is_some());
    // A clone of the breaker inside is a handle too.
    let inner = CircuitBreaker::clone(&of("good").unwrap());
    let running = of("good").unwrap().try_acquire_owned().unwrap();
    assert!(of("next").is_err());
    drop(running);
    assert!(of("next").is_err());
    drop(inner);
    assert!(of("next").is_ok());
}

#[test]
fn what_somebody_uses_is_never_forgotten() {
    let (time, map) = map::<Semaphore>(1);
    let of = |tenant: &str| map.get_or_create(tenant, || Semaphore::new(1));
    let handle = of("a").unwrap();
    time.advance(secs(3600));
    assert!(of("b").is_err(), "a handle");
    let weak = Arc::downgrade(&handle);
    let permit = handle.try_acquire_owned().unwrap();
    drop(handle);
    assert!(of("b").is_err(), "a permit");
    assert_eq!(map.remove_idle(), 0);
    drop(permit);
    assert!(of("b").is_err(), "one who can still come");
    drop(weak);
    let closed = of("a").unwrap();
    closed.close();
    drop(closed);
    assert!(of("b").is_err(), "a new one would not be closed");
    let old = map.remove("a").unwrap();
    assert!(old.is_closed() && map.is_empty());
    let waited_for = of("c").unwrap();
    let permit = waited_for.try_acquire().unwrap();
    let mut waiting = Polled::new(waited_for.acquire());
    assert!(waiting.poll().is_none() && !waited_for.is_idle());
    drop(permit);
    drop(waiting.poll().unwrap());
    assert!(waited_for.is_idle());
}

// MT13
#[test]
fn idle_values_are_forgotten_after_their_time_or_for_want_of_room_the_longest_unused_first() {
    let (time, map) = map::<Told>(4);
    let of = |key: &str| map.get_or_create(key, Told::idle);
    for key in ["a", "b", "c"] {
        of(key).unwrap();
        time.advance(secs(10));
    }
    of("a").unwrap();
    of("d").unwrap().set(false);
    time.advance(secs(1));
    of("e").unwrap();
    assert!(map.get("b").is_none(), "the longest unused");
    assert_eq!((map.len(), map.get("c").is_some()), (4, true));
    assert_eq!(map.stats().expired, 1);
    time.advance(secs(59));
    map.set_capacity(100);
    for key in 0..50 {
        let _ = of(&key.to_string());
    }
    assert!(map.get("d").is_some(), "is not idle");
    assert!(map.get("a").is_none(), "not asked for in a minute");
    assert!(map.get("c").is_some() && map.get("e").is_some());
    let busy = map.get("c").unwrap();
    let all = map.len();
    assert_eq!(map.remove_idle(), all - 2, "however short");
    assert_eq!((map.len(), map.get("d").is_some(), map.get("c").is_some()), (2, true, true));
    drop(busy);
    map.shrink();
    assert_eq!(map.get("c").map(|value| value.is_idle()), Some(true));
}

#[test]
fn many_that_are_not_idle_do_not_hide_one_that_is_for_long() {
    let (time, map) = map::<Told>(200);
    for key in 0..200 {
        map.get_or_create(&key.to_string(), Told::idle).unwrap().set(key == 150);
        time.advance(ms(1));
    }
    let refused = (0..).take_while(|_| map.get_or_create("new", Told::idle).is_err()).count();
    assert!((1..=200 / 16 + 1).contains(&refused), "{refused}");
    assert!(map.get("150").is_none());
}

// S84
#[test]
fn of_many_who_ask_at_once_one_makes_it() {
    let map = KeyedMap::<u32, Told>::new();
    for round in 0..50 {
        let (made, barrier) = (AtomicU32::new(0), Barrier::new(8));
        let handles: Vec<Arc<Told>> = std::thread::scope(|scope| {
            let ask = || {
                barrier.wait();
                map.get_or_create(&round, || {
                    made.fetch_add(1, Ordering::Relaxed);
                    std::thread::yield_now();
                    Told::idle()
                })
                .unwrap()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(made.into_inner(), 1);
        assert!(handles.iter().all(|handle| Arc::ptr_eq(handle, &handles[0])));
    }
}

#[test]
fn who_waits_for_a_value_that_could_not_be_made_makes_it() {
    let map = KeyedMap::<u32, Told>::new();
    let (inside, go) = (Barrier::new(2), Barrier::new(2));
    std::thread::scope(|scope| {
        let failing = scope.spawn(|| {
            map.get_or_try_create(&1, || {
                inside.wait();
                go.wait();
                Err("no luck")
            })
            .err()
        });
        inside.wait();
        // Other keys are not held up, whoever makes what.
        for key in 2..100 {
            assert!(map.get_or_create(&key, Told::idle).is_ok());
        }
        assert!(map.remove(&1).is_none(), "there is nothing yet");
        let other = scope.spawn(|| map.get_or_create(&1, Told::idle).is_ok());
        go.wait();
        assert_eq!(failing.join().unwrap(), Some(CreateError::Failed("no luck")));
        assert!(other.join().unwrap());
    });
    let made = catch_unwind(AssertUnwindSafe(|| map.get_or_create(&1000, || panic!("while making"))));
    assert!(made.is_err() && map.get(&1000).is_none());
    assert_eq!((map.len(), map.stats().created), (99, 99), "no place was lost");
    assert!(map.get_or_create(&1000, Told::idle).is_ok());
}

#[test]
fn removing_does_not_touch_handles_and_all_are_told_of() {
    let (_, map) = map::<Semaphore>(100);
    let old = map.get_or_create("a", || Semaphore::new(1)).unwrap();
    let permit = old.try_acquire().unwrap();
    assert!(Arc::ptr_eq(&map.remove("a").unwrap(), &old));
    assert!(map.remove("a").is_none() && map.get("a").is_none());
    let new = map.get_or_create("a", || Semaphore::new(3)).unwrap();
    assert_eq!((old.available(), new.available()), (0, 3));
    drop(permit);
    map.get_or_create("b", || Semaphore::new(2)).unwrap();
    let mut told = Vec::new();
    map.for_each(|key, value| told.push((map.get(&key).is_some(), key, value.capacity())));
    told.sort();
    assert_eq!(told, [(true, "a".into(), 3), (true, "b".into(), 2)]);
    let stats = map.stats();
    assert_eq!((stats.keys, stats.capacity, stats.removed, stats.created), (2, 100, 1, 3));
}

#[test]
fn a_value_that_is_there_is_found_without_allocating_and_is_idle_is_asked_without_the_lock() {
    let (_, map) = map::<Semaphore>(10);
    map.get_or_create("a key", || Semaphore::new(1)).unwrap();
    assert_eq!(allocations(|| (0..100).all(|_| map.get_or_create("a key", || Semaphore::new(1)).is_ok())), 0);

    /// Uses the map when it is asked.
    struct Nosy(KeyedMap<u8, Nosy>);
    thread_local!(static ASKED: Cell<u32> = const { Cell::new(0) });
    impl Idle for Nosy {
        fn is_idle(&self) -> bool {
            ASKED.set(ASKED.get() + 1);
            // Somebody gets it while it is being looked at.
            self.0.get(&1).is_none()
        }
    }
    let map = KeyedMap::<u8, Nosy>::builder().capacity(1).build().unwrap();
    map.get_or_create(&1, || Nosy(map.clone())).unwrap();
    assert!(map.get_or_create(&2, || Nosy(map.clone())).is_err());
    assert!(ASKED.get() > 0 && map.get(&1).is_some());
    map.remove(&1);
}

/// Idle whatever happens, and taken by somebody while it was being asked.
#[test]
fn a_handle_that_was_given_while_a_value_was_looked_at_keeps_it() {
    struct Taken(KeyedMap<u8, Taken>, AtomicBool);
    impl Idle for Taken {
        fn is_idle(&self) -> bool {
            if self.1.swap(false, Ordering::Relaxed) {
                // Taken, used, and given back.
                drop(self.0.get(&1));
            }
            true
        }
    }
    let map = KeyedMap::<u8, Taken>::builder().capacity(1).build().unwrap();
    drop(map.get_or_create(&1, || Taken(map.clone(), true.into())).unwrap());
    assert_eq!(map.remove_idle(), 0, "it may have been used");
    assert_eq!(map.remove_idle(), 1);
}

#[test]
fn the_builder_refuses_what_makes_no_sense_and_errors_say_what_is_wrong() {
    let new = KeyedMap::<u8, Semaphore>::builder;
    let error = new().capacity(0).build().unwrap_err();
    assert_eq!(error.to_string(), "keyed map: capacity = 0: must be at least 1");
    let error = new().shards(5).build().unwrap_err();
    assert_eq!(error.to_string(), "keyed map: shards = 5: must be a power of two, at most 65536");
    let map = new().capacity(1).name("tenants").build().unwrap();
    let _held = map.get_or_create(&1, || Semaphore::new(1)).unwrap();
    let full = map.get_or_try_create(&2, || Ok::<_, std::fmt::Error>(Semaphore::new(1))).unwrap_err();
    assert!(full.is_full());
    assert_eq!(full.to_string(), "keyed map: no room for a new key, all 1 are in use");
    let failed = CreateError::Failed(std::fmt::Error);
    assert!(!failed.is_full() && std::error::Error::source(&failed).is_some());
    let text = format!("{map:?} {:?}", new().idle_for(secs(1)).clone());
    assert!(text.contains("tenants") && text.contains("idle_for: 1s"), "{text}");
    assert_eq!(map.name(), Some("tenants"));
}
