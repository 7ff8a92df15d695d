//! What a keyed limiter tells.

use super::{builder, ms, secs};
use cofferdam::limit::{Forgotten, Keyed, KeyedEvent, Quota, WhenFull};
use cofferdam::testkit::Polled;
use std::sync::{Arc, Mutex};

type Told = Arc<Mutex<Vec<String>>>;

fn take(told: &Told) -> Vec<String> {
    std::mem::take(&mut *told.lock().unwrap())
}

fn text(event: &KeyedEvent<String>) -> String {
    match event {
        KeyedEvent::Allowed { key, tokens, .. } => format!("{key}: allowed {tokens}"),
        KeyedEvent::Denied { key, denied, .. } => format!("{key}: denied {:?}", denied.retry_after()),
        KeyedEvent::Queued { key, tokens, .. } => format!("{key}: queued {tokens}"),
        KeyedEvent::Granted { key, tokens, waited, .. } => format!("{key}: granted {tokens} {waited:?}"),
        KeyedEvent::Cancelled { key, tokens, waited, .. } => format!("{key}: cancelled {tokens} {waited:?}"),
        KeyedEvent::TooManyKeys { key, full, .. } => format!("{key}: no room of {}", full.capacity()),
        KeyedEvent::Forgotten { key, why, .. } => format!("{key}: {why:?}"),
        _ => "something else".to_owned(),
    }
}

/// Those who see everything, and those who see keys alone.
fn observe(limiter: &Keyed<String>) -> (Told, Told) {
    let (all, keys) = (Told::default(), Told::default());
    let (keep, again) = (Arc::clone(&all), limiter.clone());
    limiter.observe(move |event: &KeyedEvent<String>| {
        // No lock is held.
        let _ = (again.stats(), again.peek("a", 1));
        keep.lock().unwrap().push(text(event));
    });
    let keep = Arc::clone(&keys);
    limiter.observe_keys(move |event: &KeyedEvent<String>| keep.lock().unwrap().push(text(event)));
    (all, keys)
}

#[test]
fn decisions_are_told_of_with_their_key() {
    let (_, builder) = builder(Quota::per_second(1).burst(2));
    let limiter = builder.build().unwrap();
    let (all, keys) = observe(&limiter);
    assert!(limiter.try_acquire_many("a", 2).is_ok() && limiter.try_acquire("a").is_err());
    assert!(limiter.try_acquire_many("b", 3).is_err() && limiter.peek("b", 1).is_ok());
    limiter.drain_to("c", 1).unwrap();
    assert_eq!(take(&all), ["a: allowed 2", "a: denied Some(1s)", "b: denied None"]);
    assert_eq!(take(&keys), [""; 0], "nothing has become of keys");
}

#[test]
fn keys_that_go_and_find_no_room_are_told_of() {
    let (time, builder) = builder(Quota::per_second(1).burst(1));
    let limiter = builder.capacity(2).shards(1).build().unwrap();
    let (all, keys) = observe(&limiter);
    for key in ["a", "b", "c"] {
        let _ = limiter.try_acquire(key);
    }
    assert_eq!(take(&all), ["a: allowed 1", "b: allowed 1", "c: no room of 2"]);
    assert!(limiter.remove("a") && !limiter.remove("a"));
    time.advance(secs(1));
    limiter.try_acquire("d").unwrap();
    assert_eq!(take(&all), ["a: Removed", "b: Expired", "d: allowed 1"]);
    time.advance(secs(1));
    assert_eq!(limiter.remove_idle(), 1);
    assert_eq!(take(&all), ["d: Expired"]);
    assert_eq!(take(&keys), ["c: no room of 2", "a: Removed", "b: Expired", "d: Expired"]);
    let stats = limiter.stats();
    assert_eq!((stats.rejected, stats.removed, stats.expired, stats.evicted), (1, 1, 2, 0));
}

#[test]
fn a_key_that_makes_room_before_its_time_is_evicted() {
    let (_, builder) = builder(Quota::per_second(1).burst(1));
    let limiter = builder.capacity(1).shards(1).when_full(WhenFull::EvictIdleMost).build().unwrap();
    let (all, _) = observe(&limiter);
    limiter.try_acquire("a").unwrap();
    limiter.try_acquire("b").unwrap();
    assert_eq!(take(&all), ["a: allowed 1", "a: Evicted", "b: allowed 1"]);
    assert_eq!(limiter.stats().evicted, 1);
    assert_ne!(Forgotten::Evicted, Forgotten::Expired);
}

#[test]
fn waits_are_told_of_with_their_length() {
    let (time, builder) = builder(Quota::per_second(1).burst(1));
    let limiter = builder.build().unwrap();
    let (all, keys) = observe(&limiter);
    time.advance(ms(7));
    Polled::new(limiter.acquire("a")).poll().unwrap().unwrap();
    let (mut granted, mut dropped) = (Polled::new(limiter.acquire("a")), Polled::new(limiter.acquire("a")));
    assert!(granted.poll().is_none() && dropped.poll().is_none() && granted.poll().is_none());
    assert!(Polled::new(limiter.acquire_timeout("a", ms(1))).poll().unwrap().is_err());
    time.advance(ms(400));
    drop(dropped);
    time.advance(ms(600));
    granted.poll().unwrap().unwrap();
    Polled::new(limiter.acquire_many("a", 0)).poll().unwrap().unwrap();
    let wanted = [
        "a: allowed 1",
        "a: queued 1",
        "a: queued 1",
        "a: denied Some(3s)",
        "a: cancelled 1 400ms",
        "a: granted 1 1s",
        "a: allowed 0",
    ];
    assert_eq!(take(&all), wanted);
    assert_eq!(take(&keys), [""; 0]);
}

#[test]
fn an_observer_of_keys_may_come_back_and_panic() {
    let (_, builder) = builder(Quota::per_second(1).burst(1));
    let limiter: Keyed<String> = builder.capacity(1).shards(1).build().unwrap();
    let again = limiter.clone();
    limiter.observe_keys(move |event: &KeyedEvent<String>| {
        if let KeyedEvent::TooManyKeys { .. } = event {
            assert!(again.remove("a"), "that one is told of inside of this");
        }
        panic!("of the observer");
    });
    limiter.try_acquire("a").unwrap();
    assert!(limiter.try_acquire("b").is_err(), "the room comes too late for it");
    assert_eq!((limiter.len(), limiter.observer_panics()), (0, 2));
    limiter.try_acquire("b").unwrap();
}

#[test]
fn keys_need_not_live_for_ever() {
    let text = String::from("a");
    let limiter = Keyed::<&str>::new(Quota::per_second(1));
    limiter.try_acquire(&text.as_str()).unwrap();
    assert!(limiter.contains(&"a"));
}
