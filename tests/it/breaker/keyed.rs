//! A breaker for each key. CB19; S23.

use super::MS;
use cofferdam::resilience::CircuitBreaker;
use cofferdam::resilience::breaker::{BreakerEvent, KeyedBreaker, State};
use cofferdam::testkit::ManualClock;
use futures_executor::block_on;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn keyed(time: &ManualClock, capacity: usize) -> KeyedBreaker<String> {
    let settings = CircuitBreaker::builder().name("hosts").failure_threshold(1).clock(time.clock());
    KeyedBreaker::builder(settings).capacity(capacity).shards(1).build().unwrap()
}

#[test]
fn each_key_has_its_own_and_clones_share_them() {
    let time = ManualClock::new();
    let hosts = keyed(&time, 10);
    assert!(
        block_on(hosts.call("down", || async { Err::<(), _>(1) }))
            .is_err_and(|error| error.inner() == Some(&1))
    );
    let again = hosts.clone();
    let refused = block_on(again.call("down", || async { Ok::<_, i32>(()) })).unwrap_err();
    assert!(refused.is_circuit_open());
    assert_eq!(refused.retry_after(), Some(Duration::from_secs(30)));
    assert_eq!(again.call_sync("up", || Ok::<_, i32>(7)).unwrap(), 7);
    assert!(again.try_acquire("down").is_err_and(|open| open.retry_after().is_some()));
    again.try_acquire("up").unwrap().success();
    assert_eq!(hosts.state("down"), Some(State::Open));
    assert_eq!((hosts.state("up"), hosts.state("never")), (Some(State::Closed), None));
    let mut all = Vec::new();
    hosts.for_each(|key, breaker| all.push((key, breaker.stats().requests)));
    all.sort();
    assert_eq!(all, [("down".into(), 3), ("up".into(), 2)]);
}

#[test]
fn what_has_something_to_remember_is_not_forgotten() {
    let time = ManualClock::new();
    let hosts = keyed(&time, 2);
    hosts.call_sync("down", || Err::<(), _>(1)).unwrap_err();
    let running = hosts.try_acquire("busy").unwrap();
    let full = hosts.call_sync("new", || Ok::<_, i32>(())).unwrap_err();
    assert!(full.rejection().is_some_and(|rejection| rejection.is_full()));
    assert!(full.to_string().contains("hosts: full: all 2 places taken"));
    assert!(hosts.try_acquire("new").is_err_and(|error| error.is_full()));
    running.success();
    hosts.call_sync("new", || Ok::<_, i32>(())).unwrap();
    assert_eq!((hosts.state("down"), hosts.state("busy")), (Some(State::Open), None));
    assert_eq!(hosts.remove("down").map(|breaker| breaker.state()), Some(State::Open));
    assert_eq!(hosts.len(), 1);
}

#[test]
fn settings_change_for_those_that_are_there_and_those_to_come() {
    let time = ManualClock::new();
    let hosts = keyed(&time, 10);
    hosts.call_sync("old", || Ok::<_, i32>(())).unwrap();
    assert!(hosts.set(CircuitBreaker::builder().failure_rate(2.0)).is_err());
    hosts.set(CircuitBreaker::builder().failure_threshold(2).recovery_time(5 * MS)).unwrap();
    for key in ["old", "new"] {
        hosts.call_sync(key, || Err::<(), _>(1)).unwrap_err();
        assert_eq!(hosts.state(key), Some(State::Closed));
        hosts.call_sync(key, || Err::<(), _>(1)).unwrap_err();
        assert_eq!(hosts.state(key), Some(State::Open));
        let breaker = hosts.breaker(key).unwrap();
        assert_eq!(breaker.name(), "hosts");
        assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(5 * MS), "on the same clock");
    }
}

#[test]
fn events_come_with_the_key() {
    let time = ManualClock::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&seen);
    let hosts = KeyedBreaker::<String>::builder(CircuitBreaker::aggressive().clock(time.clock()))
        .observer(move |key: &String, event: &BreakerEvent| {
            if let BreakerEvent::StateChanged { to, .. } = event {
                events.lock().unwrap().push((key.clone(), *to));
            }
        })
        .build()
        .unwrap();
    for key in ["one", "two", "one", "two"] {
        hosts.call_sync(key, || Err::<(), _>(1)).unwrap_err();
    }
    assert_eq!(*seen.lock().unwrap(), [("one".to_owned(), State::Open), ("two".to_owned(), State::Open)]);
}

#[test]
fn idle_ones_are_forgotten_although_there_are_successes_in_their_windows() {
    let time = ManualClock::new();
    let settings = CircuitBreaker::builder().failure_rate(0.5).clock(time.clock());
    let hosts = KeyedBreaker::<u32>::new(settings).unwrap();
    hosts.call_sync(&1, || Ok::<_, i32>(())).unwrap();
    hosts.call_sync(&2, || Err::<(), _>(1)).unwrap_err();
    assert_eq!(hosts.remove_idle(), 1);
    assert_eq!((hosts.state(&1), hosts.state(&2)), (None, Some(State::Closed)));
    assert!(KeyedBreaker::<u32>::new(CircuitBreaker::builder().initial_state(State::HalfOpen)).is_err());
}
