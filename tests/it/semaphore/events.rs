//! What a semaphore tells.

use cofferdam::sync::{Order, Semaphore, SemaphoreEvent};
use cofferdam::testkit::ManualClock;
use futures_util::FutureExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A semaphore on a clock of its own, and what it told.
fn observed(permits: u32, order: Order) -> (ManualClock, Semaphore, Arc<Mutex<Vec<String>>>) {
    let time = ManualClock::new();
    let semaphore =
        Semaphore::builder(permits).order(order).clock(time.clock()).build().expect("a semaphore");
    let told = Arc::<Mutex<Vec<_>>>::default();
    let seen = Arc::clone(&told);
    semaphore.observe(move |event: &SemaphoreEvent| {
        let text = match event {
            SemaphoreEvent::Acquired { permits, waited, .. } => format!("acquired {permits} {waited:?}"),
            SemaphoreEvent::Queued { permits, waiting, .. } => format!("queued {permits} {waiting}"),
            SemaphoreEvent::Refused { permits, waited, .. } => format!("refused {permits} {waited:?}"),
            SemaphoreEvent::TimedOut { permits, waited, .. } => format!("timed out {permits} {waited:?}"),
            SemaphoreEvent::Cancelled { permits, waited, .. } => format!("cancelled {permits} {waited:?}"),
            SemaphoreEvent::Resized { from, to, .. } => format!("resized {from} {to}"),
            SemaphoreEvent::Closed => "closed".to_owned(),
            _ => "something else".to_owned(),
        };
        seen.lock().expect("not poisoned").push(text);
    });
    (time, semaphore, told)
}

fn told(told: &Mutex<Vec<String>>) -> Vec<String> {
    std::mem::take(&mut told.lock().expect("not poisoned"))
}

const ORDERS: [Order; 4] = [Order::Fifo, Order::Lifo, Order::Barging, Order::Priority { ageing: SECOND }];

#[test]
fn each_request_is_told_of_once_in_every_order() {
    for order in ORDERS {
        let (time, semaphore, events) = observed(2, order);
        let held = semaphore.try_acquire_many(2).expect("free");
        assert!(semaphore.try_acquire().is_err());
        assert_eq!(told(&events), ["acquired 2 0ns", "refused 1 0ns"], "{order:?}");
        let mut waiting = Box::pin(semaphore.acquire());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(told(&events), ["queued 1 1"], "{order:?}");
        time.advance(3 * SECOND);
        drop(held);
        let permit = waiting.as_mut().now_or_never().expect("granted").expect("open");
        assert_eq!(told(&events), ["acquired 1 3s"], "{order:?}");
        drop(permit);
        drop(semaphore.acquire_all().now_or_never().expect("free").expect("open"));
        assert_eq!(told(&events), ["acquired 2 0ns"], "{order:?}");
    }
}

#[test]
fn waits_that_come_to_nothing_are_told_of() {
    for order in ORDERS {
        let (time, semaphore, events) = observed(1, order);
        let held = semaphore.acquire().now_or_never().expect("free").expect("open");
        let mut dropped = Box::pin(semaphore.acquire());
        let mut late = Box::pin(semaphore.acquire_timeout(2 * SECOND));
        assert!(dropped.as_mut().now_or_never().is_none() && late.as_mut().now_or_never().is_none());
        assert_eq!(told(&events), ["acquired 1 0ns", "queued 1 1", "queued 1 2"], "{order:?}");
        time.advance(SECOND);
        drop(dropped);
        assert_eq!(told(&events), ["cancelled 1 1s"], "{order:?}");
        time.advance(SECOND);
        assert!(late.as_mut().now_or_never().expect("over").is_err());
        drop(late);
        assert_eq!(told(&events), ["timed out 1 2s"], "{order:?}");
        let mut closed = Box::pin(semaphore.acquire());
        assert!(closed.as_mut().now_or_never().is_none());
        semaphore.close();
        semaphore.close();
        assert!(closed.as_mut().now_or_never().expect("over").is_err());
        assert!(semaphore.try_acquire().is_err());
        assert_eq!(told(&events), ["queued 1 1", "closed", "refused 1 0ns", "refused 1 0ns"], "{order:?}");
        drop(held);
    }
}

#[test]
fn a_grant_that_is_dropped_unseen_is_a_cancellation() {
    let (_, semaphore, events) = observed(1, Order::Fifo);
    let held = semaphore.try_acquire().expect("free");
    let mut waiting = Box::pin(semaphore.acquire());
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(held);
    assert_eq!(told(&events), ["acquired 1 0ns", "queued 1 1"]);
    drop(waiting);
    assert_eq!(told(&events), ["cancelled 1 0ns"]);
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn changes_of_the_capacity_are_told_of_and_those_of_nothing_are_not() {
    let (_, semaphore, events) = observed(1, Order::Fifo);
    semaphore.resize(1);
    semaphore.resize(3);
    assert!(semaphore.try_acquire_many(4).is_err());
    assert_eq!(told(&events), ["resized 1 3", "refused 4 0ns"]);
}

#[test]
fn an_observer_may_use_the_semaphore() {
    let semaphore = Arc::new(Semaphore::new(2));
    let again = Arc::downgrade(&semaphore);
    let depth = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&depth);
    semaphore.observe(move |event: &SemaphoreEvent| {
        let Some(semaphore) = again.upgrade() else { return };
        assert!(semaphore.stats().capacity == 2);
        if let SemaphoreEvent::Acquired { .. } = event {
            let mut depth = seen.lock().expect("not poisoned");
            *depth += 1;
            if *depth == 1 {
                drop(depth);
                drop(semaphore.try_acquire().expect("the second one"));
            }
        }
    });
    drop(semaphore.try_acquire().expect("free"));
    assert_eq!(*depth.lock().expect("not poisoned"), 2);
    assert_eq!(semaphore.available(), 2);
}

#[test]
fn a_wait_that_began_unobserved_has_no_length() {
    let time = ManualClock::new();
    let semaphore = Semaphore::builder(1).clock(time.clock()).build().expect("a semaphore");
    let held = semaphore.try_acquire().expect("free");
    let mut waiting = Box::pin(semaphore.acquire());
    assert!(waiting.as_mut().now_or_never().is_none());
    let events = Arc::<Mutex<Vec<_>>>::default();
    let seen = Arc::clone(&events);
    semaphore.observe(move |event: &SemaphoreEvent| seen.lock().expect("not poisoned").push(*event));
    time.advance(SECOND);
    drop(held);
    drop(waiting.as_mut().now_or_never().expect("granted"));
    let events = events.lock().expect("not poisoned");
    let zero = matches!(events[..], [SemaphoreEvent::Acquired { permits: 1, waited: Duration::ZERO, .. }]);
    assert!(zero, "{events:?}");
}
