//! One load for all who ask, whoever of them goes away.

use super::*;
use cofferdam::sync::Context;
use cofferdam::testkit::{Sim, drop_at_every_await_in_sim, yield_now};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Barrier};

/// A load that ends when it is told to.
fn slow(cache: &Numbers, result: Result<u32, &'static str>) -> Polled<impl Future<Output = Loaded>> {
    Polled::new(cache.get_or_load(&1, move || async move {
        yield_now().await;
        result
    }))
}

// HF2
#[test]
fn any_number_of_callers_share_one_load() {
    let time = ManualClock::new();
    let cache = numbers(&time);
    let loads = AtomicU32::new(0);
    let load = || async {
        loads.fetch_add(1, Ordering::Relaxed);
        yield_now().await;
        Ok(7)
    };
    let mut calls: Vec<_> = (0..50).map(|_| Polled::new(cache.get_or_load(&1, load))).collect();
    assert!(calls.iter_mut().all(|call| call.poll().is_none()));
    // Another key does not wait for it.
    assert_eq!(seen(now(cache.get_or_load(&2, || ok(8)))), (8, Origin::Loaded));
    assert_eq!(seen(calls[0].poll().unwrap()), (7, Origin::Loaded));
    for call in &mut calls[1..] {
        assert_eq!(call.wakes(), 1);
        assert_eq!(seen(call.poll().unwrap()), (7, Origin::Joined));
    }
    assert_eq!(loads.load(Ordering::Relaxed), 1);
}

/// moka-rs/moka#59 panics here.
#[test]
fn if_the_one_who_loads_goes_away_the_next_one_takes_over() {
    let time = ManualClock::new();
    let cache = numbers(&time);
    let mut calls: Vec<_> = (0..4).map(|n| slow(&cache, Ok(n))).collect();
    assert!(calls.iter_mut().all(|call| call.poll().is_none()));
    drop(calls.remove(0));
    assert_eq!(calls.iter().map(Polled::wakes).collect::<Vec<_>>(), [1, 0, 0], "one only");
    // The chosen one goes away before it knows, too.
    drop(calls.remove(0));
    assert_eq!(calls.iter().map(Polled::wakes).collect::<Vec<_>>(), [1, 0]);
    assert!(calls[0].poll().is_none(), "it loads");
    // One that waits goes away: nobody else minds.
    let mut late = slow(&cache, Ok(9));
    assert!(late.poll().is_none());
    drop(late);
    assert_eq!(seen(calls[0].poll().unwrap()), (2, Origin::Loaded));
    assert_eq!(seen(calls[1].poll().unwrap()), (2, Origin::Joined));
    assert_eq!(cache.stats().loads, 1);
}

#[test]
fn if_all_go_away_the_next_caller_loads() {
    let time = ManualClock::new();
    let cache = numbers(&time);
    let mut calls: Vec<_> = (0..3).map(|n| slow(&cache, Ok(n))).collect();
    assert!(calls.iter_mut().all(|call| call.poll().is_none()));
    drop(calls);
    assert_eq!(seen(now(cache.get_or_load(&1, || ok(5)))), (5, Origin::Loaded));
}

#[test]
fn a_panic_is_the_callers_own_and_the_next_one_takes_over() {
    let time = ManualClock::new();
    let cache = numbers(&time);
    let mut first = Polled::new(cache.get_or_load(&1, || async {
        yield_now().await;
        panic!("thrown")
    }));
    let (mut second, mut third) = (slow(&cache, Ok(2)), slow(&cache, Ok(3)));
    assert!(first.poll().is_none() && second.poll().is_none() && third.poll().is_none());
    assert_eq!(crate::support::panic_message(|| drop(first.poll())), "thrown");
    // Though the future that has panicked is still there.
    assert_eq!((second.wakes(), third.wakes()), (1, 0));
    assert!(second.poll().is_none());
    assert_eq!(seen(second.poll().unwrap()), (2, Origin::Loaded));
    assert_eq!(seen(third.poll().unwrap()), (2, Origin::Joined));
    drop(first);
    assert_eq!(cache.get(&1).as_deref(), Some(&2));
}

#[test]
fn an_error_is_told_to_all_and_not_kept() {
    let time = ManualClock::new();
    let cache = numbers(&time);
    let (mut first, mut second) = (slow(&cache, Err("down")), slow(&cache, Ok(2)));
    assert!(first.poll().is_none() && second.poll().is_none());
    assert_eq!(first.poll().unwrap().unwrap_err(), Error::Inner("down"));
    assert_eq!(second.wakes(), 1);
    assert_eq!(second.poll().unwrap().unwrap_err(), Error::Inner("down"));
    assert_eq!(seen(now(cache.get_or_load(&1, || ok(3)))), (3, Origin::Loaded));
}

#[test]
fn an_error_is_kept_where_it_is_asked_for() {
    let time = ManualClock::new();
    let cache: Numbers = Cache::builder(10).keep_errors(ms(20)).clock(time.clock()).build().unwrap();
    assert!(now(cache.get_or_load(&1, down)).is_err());
    time.advance(ms(19));
    assert_eq!(now(cache.get_or_load(&1, || ok(1))).unwrap_err(), Error::Inner("down"));
    assert!(cache.get(&1).is_none() && cache.get_stale(&1).is_none());
    assert_eq!(cache.stats().failure_hits, 1);
    // Asked for anew, it is.
    assert_eq!(seen(now(cache.refresh(&1, || ok(1)))), (1, Origin::Loaded));
    assert!(now(cache.refresh(&2, down)).is_err());
    time.advance(ms(20));
    assert_eq!(seen(now(cache.get_or_load(&2, || ok(2)))), (2, Origin::Loaded));
    // A refusal of a policy is not the operation's.
    let bulkhead = Bulkhead::new(1).unwrap();
    let place = bulkhead.try_acquire().unwrap();
    let stack = Stack::new().layer(cache.at(3)).bulkhead(bulkhead);
    assert!(now(stack.call(|| ok(3))).unwrap_err().is_full());
    drop(place);
    assert_eq!(now(stack.call(|| ok(3))), Ok(3));
}

#[test]
fn that_ones_own_surroundings_end_is_ones_own_affair() {
    let time = ManualClock::new();
    let cache = numbers(&time);
    let context = Context::background().with_clock(time.clock()).with_timeout(ms(5));
    let bulkhead = Bulkhead::builder(1).queue(1).clock(time.clock()).build().unwrap();
    let _place = bulkhead.try_acquire().unwrap();
    let stack = Stack::new().layer(cache.at(1)).bulkhead(bulkhead);
    let mut first = Polled::new(context.scope(stack.call(|| ok(1))));
    let mut second = slow(&cache, Ok(2));
    assert!(first.poll().is_none() && second.poll().is_none());
    time.advance(ms(5));
    assert!(first.poll().unwrap().unwrap_err().is_deadline_exceeded());
    assert_eq!(second.wakes(), 1);
    assert!(second.poll().is_none());
    assert_eq!(seen(second.poll().unwrap()), (2, Origin::Loaded));
}

// S58
#[test]
fn nobody_waits_past_the_deadline_of_the_surrounding_work() {
    let time = ManualClock::new();
    let cache: Numbers = Cache::builder(10).name("users").clock(time.clock()).build().unwrap();
    let mut loads = Polled::new(cache.get_or_load(&1, pending));
    assert!(loads.poll().is_none());
    let context = Context::background().with_clock(time.clock()).with_timeout(ms(5));
    let mut waits = Polled::new(context.scope(cache.get_or_load(&1, || ok(1))));
    assert!(waits.poll().is_none());
    time.advance(ms(5));
    assert_eq!(waits.wakes(), 1);
    assert_eq!(waits.poll().unwrap().unwrap_err().to_string(), "users: deadline exceeded");
    // Nor is anything begun after it; what is there is handed out all the same.
    assert!(now(context.scope(cache.get_or_load(&2, || ok(1)))).unwrap_err().is_deadline_exceeded());
    cache.insert(2, 2);
    assert_eq!(seen(now(context.scope(cache.get_or_load(&2, || ok(1))))), (2, Origin::Hit));
    let cancelled = Context::background().child();
    cancelled.cancel("no longer wanted");
    assert!(now(cancelled.scope(cache.get_or_load(&1, || ok(1)))).unwrap_err().is_cancelled());
    drop(loads);
    assert_eq!((time.armed(), seen(now(cache.get_or_load(&1, || ok(3))))), (0, (3, Origin::Loaded)));
}

#[test]
fn what_was_loaded_before_an_invalidation_is_not_kept() {
    let time = ManualClock::new();
    for all in [false, true] {
        let cache = numbers(&time);
        let (mut first, mut second) = (slow(&cache, Ok(1)), slow(&cache, Ok(2)));
        assert!(first.poll().is_none() && second.poll().is_none());
        if all {
            cache.invalidate_all()
        } else {
            cache.invalidate(&1)
        }
        // Who comes after it does not wait for what came before.
        let mut third = slow(&cache, Ok(3));
        assert!(third.poll().is_none());
        assert_eq!(first.poll().unwrap().as_deref(), Ok(&1));
        assert_eq!(second.poll().unwrap().as_deref(), Ok(&1), "who came before gets what came before");
        assert!(cache.get(&1).is_none());
        assert_eq!(seen(third.poll().unwrap()), (3, Origin::Loaded));
        assert_eq!(cache.get(&1).as_deref(), Some(&3));
    }
}

#[test]
fn of_those_who_share_what_was_invalidated_one_still_takes_over() {
    let time = ManualClock::new();
    let cache = numbers(&time);
    let (mut first, mut second) = (slow(&cache, Ok(1)), slow(&cache, Ok(2)));
    assert!(first.poll().is_none() && second.poll().is_none());
    cache.invalidate(&1);
    drop(first);
    assert!(second.poll().is_none());
    assert_eq!(second.poll().unwrap().as_deref(), Ok(&2));
    assert!(cache.get(&1).is_none());
}

#[test]
fn what_was_written_meanwhile_stands() {
    let time = ManualClock::new();
    let cache = numbers(&time);
    let mut loads = slow(&cache, Ok(1));
    assert!(loads.poll().is_none());
    cache.insert(1, 100);
    assert_eq!(loads.poll().unwrap().as_deref(), Ok(&1));
    assert_eq!(cache.get(&1).as_deref(), Some(&100));
}

#[test]
fn a_refresh_loads_whatever_is_there_and_joins_a_load_that_is_under_way() {
    let time = ManualClock::new();
    let cache = numbers(&time);
    cache.insert(1, 1);
    assert_eq!(seen(now(cache.refresh(&1, || ok(2)))), (2, Origin::Loaded));
    assert_eq!(cache.get(&1).as_deref(), Some(&2));
    let mut refresh = Polled::new(cache.refresh(&1, || async {
        yield_now().await;
        Ok(3)
    }));
    let mut other = Polled::new(cache.refresh(&1, || ok(4)));
    assert!(refresh.poll().is_none() && other.poll().is_none());
    assert_eq!(seen(now(cache.get_or_load(&1, || ok(5)))), (2, Origin::Hit), "fresh as ever");
    assert_eq!(seen(refresh.poll().unwrap()), (3, Origin::Loaded));
    assert_eq!(seen(other.poll().unwrap()), (3, Origin::Joined));
}

#[test]
fn a_waiter_that_moves_to_another_task_is_woken_there() {
    let time = ManualClock::new();
    let cache = numbers(&time);
    let mut loads = slow(&cache, Ok(1));
    assert!(loads.poll().is_none());
    let mut moved = Box::pin(cache.get_or_load(&1, || ok(2)));
    let mut one = Polled::new(std::future::poll_fn(|cx| moved.as_mut().poll(cx)));
    assert!(one.poll().is_none());
    drop(one);
    let mut other = Polled::new(moved);
    assert!(other.poll().is_none());
    assert!(loads.poll().is_some());
    assert_eq!(other.wakes(), 1);
    assert_eq!(seen(other.poll().unwrap()), (1, Origin::Joined));
}

// HF2
#[test]
fn dropped_at_any_await_nobody_is_left_waiting() {
    let points = drop_at_every_await_in_sim(0..150, |sim: &Sim| {
        let builder = Cache::<u64, u64, &str>::builder(100).ttl(ms(3)).stale_while_revalidate(ms(2));
        let cache = builder.clock(sim.clock()).build().unwrap();
        let under_way = Arc::new(std::sync::Mutex::new(BTreeMap::<u64, u32>::new()));
        let call = |key: u64, fails: bool, pause: u64| {
            let (cache, clock, under_way) = (cache.clone(), sim.clock(), Arc::clone(&under_way));
            async move {
                let outcome = cache
                    .get_or_load(&key, || async {
                        struct Leave<'a>(&'a std::sync::Mutex<BTreeMap<u64, u32>>, u64);
                        impl Drop for Leave<'_> {
                            fn drop(&mut self) {
                                *self.0.lock().unwrap().entry(self.1).or_default() -= 1;
                            }
                        }
                        let loads_of_key = {
                            let mut loads = under_way.lock().unwrap();
                            let loads_of_key = loads.entry(key).or_default();
                            *loads_of_key += 1;
                            *loads_of_key
                        };
                        assert_eq!(loads_of_key, 1, "one at a time");
                        let _leave = Leave(&under_way, key);
                        clock.sleep(ms(pause)).await;
                        yield_now().await;
                        if fails { Err("down") } else { Ok(key) }
                    })
                    .await;
                assert!(outcome.is_err() || *outcome.unwrap() == key);
            }
        };
        let others: Vec<_> = (0..6)
            .map(|n| {
                let (first, second) = (
                    call(n % 2, sim.random_below(3) == 0, sim.random_below(4)),
                    call(n % 2, sim.random_below(3) == 0, sim.random_below(4)),
                );
                sim.spawn(format!("other {n}"), async move {
                    first.await;
                    second.await;
                })
            })
            .collect();
        let under_test = call(0, false, sim.random_below(4));
        let check = move |sim: &Sim, _| {
            sim.run(async {
                for other in others {
                    other.await;
                }
            });
            assert_eq!(sim.time().armed(), 0);
            assert!(under_way.lock().unwrap().values().all(|loads| *loads == 0));
            // No load is left behind: who comes now loads at once.
            for key in 0..2 {
                cache.invalidate(&key);
                let loaded = now(cache.get_or_load(&key, || async { Ok(9) })).unwrap();
                assert_eq!((*loaded, loaded.origin()), (9, Origin::Loaded));
            }
        };
        (under_test, check)
    });
    assert!(points > 300, "{points}");
}

#[test]
fn threads_that_race_for_a_key_load_it_once() {
    for round in 0..200 {
        let cache: Numbers = Cache::new(100).unwrap();
        let (loads, start) = (AtomicU32::new(0), Barrier::new(4));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    let load = || async {
                        loads.fetch_add(1, Ordering::Relaxed);
                        yield_now().await;
                        Ok(round)
                    };
                    assert_eq!(*futures_executor::block_on(cache.get_or_load(&1, load)).unwrap(), round);
                });
            }
        });
        assert_eq!(loads.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn a_loader_knows_how() {
    let time = ManualClock::new();
    let asked = RefCell::new(Vec::new());
    let loader = Cache::<String, usize, &str>::builder(10).clock(time.clock()).build().unwrap().loader(
        |key: String| {
            asked.borrow_mut().push(key.clone());
            async move { if key.is_empty() { Err("nothing") } else { Ok(key.len()) } }
        },
    );
    assert_eq!(*now(loader.get("four")).unwrap(), 4);
    assert_eq!(*now(loader.clone().get("four")).unwrap(), 4);
    assert_eq!(now(loader.get("")).unwrap_err(), Error::Inner("nothing"));
    assert_eq!(*now(loader.refresh("four")).unwrap(), 4);
    assert_eq!(*asked.borrow(), ["four", "", "four"]);
    assert_eq!(loader.cache().stats().entries, 1);
}
