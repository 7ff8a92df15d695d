//! A cache in a stack.

use super::*;
use cofferdam::time::Backoff;
use std::cell::Cell;

#[test]
fn a_hit_goes_no_further() {
    let time = ManualClock::new();
    let cache = numbers(&time);
    let breaker = CircuitBreaker::builder().failure_threshold(1).build().unwrap();
    let bulkhead = Bulkhead::new(1).unwrap();
    let key = Cell::new(Some(1));
    let stack =
        Stack::new().layer(cache.layer(|| key.get())).breaker(breaker.clone()).bulkhead(bulkhead.clone());
    assert_eq!(now(stack.call(|| ok(10))), Ok(10));
    breaker.force_open().unwrap();
    let _place = bulkhead.try_acquire().unwrap();
    assert_eq!(now(stack.call(|| ok(11))), Ok(10));
    key.set(Some(2));
    assert!(now(stack.call(|| ok(11))).unwrap_err().is_circuit_open());
}

// HF2
#[test]
fn a_call_without_a_key_neither_looks_nor_keeps() {
    let time = ManualClock::new();
    let cache = numbers(&time);
    let key = Cell::new(None);
    let stack = Stack::new().layer(cache.layer(|| key.get()));
    assert_eq!(now(stack.call(|| ok(1))), Ok(1));
    assert_eq!((cache.stats().entries, cache.stats().misses), (0, 0));
    key.set(Some(1));
    assert_eq!(now(stack.call(|| ok(2))), Ok(2));
    key.set(None);
    assert_eq!(now(stack.call(|| ok(3))), Ok(3));
    // Anew, and kept.
    let refresh = Stack::new().layer(cache.at(1).refresh());
    assert_eq!(now(refresh.call(|| ok(4))), Ok(4));
    assert_eq!(cache.get(&1).as_deref(), Some(&4));
}

#[test]
fn around_a_retry_all_wait_for_the_run_and_inside_each_attempt_is_shared() {
    let time = ManualClock::new();
    let cache = numbers(&time);
    let calls = AtomicU32::new(0);
    let retry = Retry::builder().max_attempts(3).backoff(Backoff::fixed(ms(5))).clock(time.clock());
    let stack = Stack::new().layer(cache.at(1)).retry(retry.build().unwrap());
    let op = || {
        let n = calls.fetch_add(1, Ordering::Relaxed);
        async move { if n < 2 { Err("down") } else { Ok(n) } }
    };
    let (mut first, mut second) = (Polled::new(stack.call(op)), Polled::new(stack.call(op)));
    assert!(first.poll().is_none() && second.poll().is_none());
    for _ in 0..2 {
        time.advance(ms(5));
        let _ = first.poll().map(|outcome| assert_eq!(outcome, Ok(2)));
    }
    assert_eq!(second.poll(), Some(Ok(2)));
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[test]
fn an_attempt_that_is_ended_passes_its_load_on() {
    let time = ManualClock::new();
    let cache = numbers(&time);
    let stack = Stack::new().timeout(Timeout::attempt(ms(5)).clock(time.clock())).layer(cache.at(1));
    let mut first = Polled::new(stack.call(std::future::pending::<Result<u32, &str>>));
    let mut second = Polled::new(cache.get_or_load(&1, || ok(2)));
    assert!(first.poll().is_none() && second.poll().is_none());
    time.advance(ms(5));
    assert!(first.poll().unwrap().unwrap_err().is_timeout());
    assert_eq!(second.wakes(), 1);
    assert_eq!(seen(second.poll().unwrap()), (2, Origin::Loaded));
}

#[test]
fn an_attempt_that_is_ended_while_it_waits_leaves_the_line() {
    let time = ManualClock::new();
    let cache = numbers(&time);
    let mut loads = Polled::new(cache.get_or_load(&1, std::future::pending));
    assert!(loads.poll().is_none());
    let stack = Stack::new().timeout(Timeout::attempt(ms(5)).clock(time.clock())).layer(cache.at(1));
    let mut waits = Polled::new(stack.call(|| ok(2)));
    assert!(waits.poll().is_none());
    time.advance(ms(5));
    assert!(waits.poll().unwrap().unwrap_err().is_timeout());
    drop(loads);
    assert_eq!(now(stack.call(|| ok(3))), Ok(3));
}
