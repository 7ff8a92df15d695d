//! What is no longer fresh: to whom it is handed out, and who loads it anew.

use super::*;
use cofferdam::testkit::{Sim, yield_now};
use std::sync::{Arc, Mutex};

fn lenient(time: &ManualClock, revalidate: u64, error: u64) -> Numbers {
    Cache::builder(100)
        .ttl(ms(10))
        .stale_while_revalidate(ms(revalidate))
        .stale_if_error(ms(error))
        .clock(time.clock())
        .build()
        .unwrap()
}

async fn slowly(n: u32) -> Result<u32, &'static str> {
    yield_now().await;
    Ok(n)
}

// HF2
#[test]
fn while_one_caller_loads_it_anew_all_others_get_the_old_one_at_once() {
    let time = ManualClock::new();
    let cache = lenient(&time, 10, 0);
    cache.insert(1, 1);
    time.advance(ms(10));
    let mut drives = Polled::new(cache.get_or_load(&1, || slowly(2)));
    assert!(drives.poll().is_none());
    assert_eq!(seen(now(cache.get_or_load(&1, || ok(3)))), (1, Origin::Stale));
    assert_eq!(seen(now(cache.get_or_load(&1, || ok(4)))), (1, Origin::Stale));
    assert_eq!(seen(drives.poll().unwrap()), (2, Origin::Loaded));
    assert_eq!(seen(now(cache.get_or_load(&1, || ok(5)))), (2, Origin::Hit));
}

#[test]
fn if_the_caller_who_drives_goes_away_the_next_one_drives() {
    let time = ManualClock::new();
    let cache = lenient(&time, 10, 0);
    cache.insert(1, 1);
    time.advance(ms(10));
    let mut drives = Polled::new(cache.get_or_load(&1, || slowly(2)));
    assert!(drives.poll().is_none());
    drop(drives);
    assert_eq!(seen(now(cache.get_or_load(&1, || ok(3)))), (3, Origin::Loaded));
}

#[test]
fn past_the_window_everybody_waits() {
    let time = ManualClock::new();
    let cache = lenient(&time, 10, 0);
    cache.insert(1, 1);
    time.advance(ms(20));
    let mut loads = Polled::new(cache.get_or_load(&1, || slowly(2)));
    let mut waits = Polled::new(cache.get_or_load(&1, || ok(3)));
    assert!(loads.poll().is_none() && waits.poll().is_none());
    assert!(loads.poll().is_some());
    assert_eq!(seen(waits.poll().unwrap()), (2, Origin::Joined));
}

// HF1
#[test]
fn where_it_cannot_be_had_anew_the_old_one_stands_in_for_a_while() {
    let time = ManualClock::new();
    let cache = lenient(&time, 0, 30);
    cache.insert(1, 1);
    time.advance(ms(39));
    let mut loads = Polled::new(cache.get_or_load(&1, || async {
        yield_now().await;
        Err("down")
    }));
    let mut waits = Polled::new(cache.get_or_load(&1, || ok(3)));
    assert!(loads.poll().is_none() && waits.poll().is_none());
    assert_eq!(seen(loads.poll().unwrap()), (1, Origin::StaleAfterError));
    assert_eq!(seen(waits.poll().unwrap()), (1, Origin::StaleAfterError));
    // It is too old when the load ends, not when it began.
    let mut late = Polled::new(cache.get_or_load(&1, || async {
        yield_now().await;
        Err("down")
    }));
    assert!(late.poll().is_none());
    time.advance(ms(1));
    assert_eq!(late.poll().unwrap().unwrap_err(), Error::Inner("down"));
}

#[test]
fn a_value_that_stands_in_is_not_displaced_by_a_kept_error() {
    let time = ManualClock::new();
    let builder =
        Cache::<u32, u32, &str>::builder(10).ttl(ms(10)).stale_if_error(ms(30)).keep_errors(ms(100));
    let cache = builder.clock(time.clock()).build().unwrap();
    cache.insert(1, 1);
    time.advance(ms(10));
    assert_eq!(seen(now(cache.get_or_load(&1, down))), (1, Origin::StaleAfterError));
    assert_eq!(seen(now(cache.get_or_load(&1, || ok(2)))), (2, Origin::Loaded));
}

/// Errors are kept for much longer than values are good.
fn keeps_errors(time: &ManualClock, revalidate: u64) -> Numbers {
    let builder = Cache::builder(10).ttl(ms(10)).stale_while_revalidate(ms(revalidate));
    builder.keep_errors(ms(1_000)).clock(time.clock()).build().unwrap()
}

#[test]
fn a_refresh_that_fails_does_not_displace_what_is_there() {
    let time = ManualClock::new();
    let cache = keeps_errors(&time, 20);
    cache.insert(1, 1);
    assert_eq!(now(cache.refresh(&1, down)).unwrap_err(), Error::Inner("down"));
    assert_eq!(seen(now(cache.get_or_load(&1, down))), (1, Origin::Hit));
    time.advance(ms(29));
    assert_eq!(now(cache.refresh(&1, down)).unwrap_err(), Error::Inner("down"));
    assert_eq!(seen(now(cache.get_or_load(&1, || ok(2)))), (2, Origin::Loaded), "the error was not kept");
    // What is too old to be handed out is.
    time.advance(ms(30));
    assert_eq!(now(cache.refresh(&1, down)).unwrap_err(), Error::Inner("down"));
    assert_eq!(now(cache.get_or_load(&1, || ok(3))).unwrap_err(), Error::Inner("down"));
}

#[test]
fn nor_does_one_that_fails_in_a_task() {
    let time = ManualClock::new();
    let cache = keeps_errors(&time, 20);
    let tasks = Arc::new(Mutex::new(Vec::new()));
    let queue = Arc::clone(&tasks);
    let loader =
        cache.loader(|_| async { Err("down") }).refresh_on(move |task| queue.lock().unwrap().push(task));
    cache.insert(1, 1);
    time.advance(ms(10));
    for tries in 1..=3 {
        assert_eq!(seen(now(loader.get(&1))), (1, Origin::Stale));
        let task = tasks.lock().unwrap().pop().unwrap();
        now(task);
        assert_eq!(cache.stats().failed_loads, tries);
    }
}

#[test]
fn an_error_that_is_kept_leaves_the_old_value_to_the_fallback() {
    let time = ManualClock::new();
    let builder = Cache::<u32, u32, &str>::builder(10).weigh(10, |_, value| u64::from(*value)).ttl(ms(10));
    let cache = builder.keep_errors(ms(5)).clock(time.clock()).build().unwrap();
    cache.insert(1, 7);
    let stack = Stack::new().fallback(cache.fallback(|| Some(1))).layer(cache.at(1));
    for kept in [10, 0, 5, 0] {
        time.advance(ms(kept));
        assert_eq!(now(stack.call(down)), Ok(7));
        assert_eq!(seen(cache.get_stale(&1).ok_or(Error::Inner("gone"))), (7, Origin::Stale));
    }
    assert_eq!(cache.stats().failed_loads, 2, "each error stood in for one load");
    assert_eq!(cache.stats().weight, 7);
    assert_eq!(cache.remove_expired(), 0);
    time.advance(ms(5));
    assert_eq!((cache.remove_expired(), cache.stats().weight), (1, 0));
}

// HF2
#[test]
fn with_a_spawner_nobody_waits_for_what_is_stale() {
    Sim::for_seeds(0..50, |sim| {
        let cache = lenient(&sim.time(), 10, 0);
        let loads = Arc::new(Mutex::new(Vec::new()));
        let (log, clock) = (Arc::clone(&loads), sim.clock());
        let loader = cache
            .loader(move |key: u32| {
                let (log, clock) = (Arc::clone(&log), clock.clone());
                async move {
                    log.lock().unwrap().push(key);
                    clock.sleep(ms(1)).await;
                    if log.lock().unwrap().len() == 2 { Err("down") } else { Ok(key * 10) }
                }
            })
            .refresh_on(sim.clone());
        cache.insert(1, 1);
        sim.advance(ms(10));
        sim.run(async {
            for _ in 0..3 {
                assert_eq!(seen(loader.get(&1).await), (1, Origin::Stale));
            }
        });
        sim.advance(ms(1));
        assert_eq!(*loads.lock().unwrap(), [1], "once");
        assert_eq!(seen(now(loader.get(&1))), (10, Origin::Hit));
        // One that fails changes nothing, and is tried again.
        sim.advance(ms(10));
        assert_eq!(seen(now(loader.get(&1))), (10, Origin::Stale));
        sim.advance(ms(1));
        assert_eq!(seen(now(loader.get(&1))), (10, Origin::Stale));
        sim.advance(ms(1));
        assert_eq!(seen(now(loader.get(&1))), (10, Origin::Hit));
        assert_eq!(*loads.lock().unwrap(), [1, 1, 1]);
    });
}

#[test]
fn a_task_that_is_never_run_holds_nobody_up() {
    let time = ManualClock::new();
    let cache = lenient(&time, 10, 0);
    let tasks = Arc::new(Mutex::new(Vec::new()));
    let queue = Arc::clone(&tasks);
    let loader = cache
        .loader(|key: u32| async move { Ok(key * 10) })
        .refresh_on(move |task| queue.lock().unwrap().push(task));
    cache.insert(1, 1);
    time.advance(ms(10));
    assert_eq!(seen(now(loader.get(&1))), (1, Origin::Stale));
    time.advance(ms(10));
    let mut waits = Polled::new(loader.get(&1));
    assert!(waits.poll().is_none(), "it is being loaded, as far as is known");
    // The executor goes away.
    tasks.lock().unwrap().clear();
    assert_eq!(seen(waits.poll().unwrap()), (10, Origin::Loaded));
}

// HF1
#[test]
fn a_fallback_hands_out_what_is_there_however_old() {
    let time = ManualClock::new();
    let cache = numbers(&time);
    cache.insert(1, 1);
    time.advance(Duration::from_secs(3_600));
    let stack = Stack::new().fallback(cache.fallback(|| Some(1))).layer(cache.at(1));
    assert_eq!(now(stack.call(down)), Ok(1));
    let other = Stack::new().fallback(cache.fallback(|| Some(2)));
    assert_eq!(now(other.call(down)), Err(Error::Inner("down")));
    let no_key = Stack::new().fallback(cache.fallback(|| None));
    assert_eq!(now(no_key.call(down)), Err(Error::Inner("down")));
    assert_eq!(stack.describe().iter().map(ToString::to_string).collect::<Vec<_>>(), ["fallback", "cache"]);
}
