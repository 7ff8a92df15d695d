//! What a limiter by route tells.

use super::{build, ms};
use cofferdam::limit::tiered::{Request, Tier, TieredEvent};
use cofferdam::limit::{Quota, Tiered};
use cofferdam::testkit::{ManualClock, Polled};
use std::sync::{Arc, Mutex};

type Told = Arc<Mutex<Vec<String>>>;

fn take(told: &Told) -> Vec<String> {
    std::mem::take(&mut *told.lock().unwrap())
}

fn text(event: &TieredEvent) -> String {
    match event {
        TieredEvent::Admitted { tokens, .. } => format!("admitted {tokens}"),
        TieredEvent::Refused { refusal, .. } => format!("refused by {} {}", refusal.tier(), refusal.bucket()),
        TieredEvent::QueueFull { refusal, .. } => format!("queue full at {}", refusal.tier()),
        TieredEvent::Queued { refusal, .. } => {
            format!("queued at {} {:?}", refusal.tier(), refusal.retry_after())
        }
        TieredEvent::Granted { tokens, waited, .. } => format!("granted {tokens} {waited:?}"),
        TieredEvent::Cancelled { tokens, waited, .. } => format!("cancelled {tokens} {waited:?}"),
        _ => "something else".to_owned(),
    }
}

fn observed() -> (ManualClock, Tiered, Told) {
    let quota = |burst| Quota::per_second(1).burst(burst);
    let builder =
        Tiered::builder().global(quota(3)).default_route(quota(2)).resource(quota(1)).max_waiting(2);
    let (time, limiter) = build(builder);
    let (told, again) = (Told::default(), limiter.clone());
    let keep = Arc::clone(&told);
    limiter.observe(move |event: &TieredEvent| {
        // No lock is held.
        let _ = (again.stats(), again.peek(Request::new("GET", "/a")));
        keep.lock().unwrap().push(text(event));
    });
    (time, limiter, told)
}

#[test]
fn each_tier_that_refuses_is_named() {
    let (_, limiter, told) = observed();
    let route = Request::new("GET", "/a");
    limiter.try_acquire(route.resource("7")).unwrap();
    assert!(limiter.try_acquire(route.resource("7")).is_err());
    limiter.try_acquire(route).unwrap();
    assert!(limiter.try_acquire(route).is_err() && limiter.peek(route).is_err());
    limiter.try_acquire(Request::new("GET", "/b")).unwrap();
    assert!(limiter.try_acquire(Request::new("GET", "/b")).is_err());
    let told = take(&told);
    assert_eq!([&told[0], &told[2], &told[4]], ["admitted 1"; 3]);
    let refused: Vec<_> = [1, 3, 5].map(|at| told[at].split(' ').nth(2).unwrap().to_owned()).into();
    assert_eq!(refused, [Tier::Resource, Tier::Route, Tier::Global].map(|tier| tier.to_string()));
    assert_eq!(told.len(), 6, "a look is no request");
    let stats = limiter.stats();
    assert_eq!([Tier::Resource, Tier::Route, Tier::Global].map(|tier| stats.hits(tier)), [1, 1, 1]);
}

#[test]
fn waits_are_told_of_with_their_length() {
    let (time, limiter, told) = observed();
    time.advance(ms(7));
    let request = Request::new("GET", "/a").resource("7");
    Polled::new(limiter.acquire(request)).poll().unwrap().unwrap();
    let (mut granted, mut dropped) =
        (Polled::new(limiter.acquire(request)), Polled::new(limiter.acquire(request)));
    assert!(granted.poll().is_none() && dropped.poll().is_none() && granted.poll().is_none());
    assert!(Polled::new(limiter.acquire(request)).poll().unwrap().is_err_and(|error| error.is_full()));
    assert!(Polled::new(limiter.acquire_timeout(request, ms(1))).poll().unwrap().is_err());
    time.advance(ms(400));
    drop(dropped);
    time.advance(ms(600));
    granted.poll().unwrap().unwrap();
    let wanted = [
        "admitted 1",
        "queued at resource Some(1s)",
        "queued at resource Some(2s)",
        "queue full at resource",
        "refused by resource resource 7",
        "cancelled 1 400ms",
        "granted 1 1s",
    ];
    assert_eq!(take(&told), wanted);
    drop(limiter.acquire(request));
    assert_eq!(take(&told), [""; 0], "it was never asked for");
}

#[test]
fn an_observer_may_come_back_and_panic() {
    let (_, limiter, told) = observed();
    let again = limiter.clone();
    limiter.observe(move |event: &TieredEvent| {
        if let TieredEvent::Refused { .. } = event {
            again.reset();
        }
        panic!("of the observer");
    });
    let request = Request::new("GET", "/a").resource("7");
    limiter.try_acquire(request).unwrap();
    assert!(limiter.try_acquire(request).is_err());
    limiter.try_acquire(request).unwrap();
    assert_eq!((take(&told).len(), limiter.observer_panics()), (3, 3));
}
