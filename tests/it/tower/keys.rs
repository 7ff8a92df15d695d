//! Policies by request: limits and breakers by key.

use super::{attempt_timeout, ms, retry};
use cofferdam::limit::{Keyed, Quota, Rate};
use cofferdam::resilience::{CircuitBreaker, KeyThrottle, Stack};
use cofferdam::testkit::{ManualClock, Polled, Sim, drop_at_every_await_in_sim};
use cofferdam::time::Clock;
use cofferdam::tower::PolicyLayer;
use futures_executor::block_on;
use std::collections::BTreeMap;
use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use tower::{Layer as _, Service, service_fn};

type Request = (&'static str, u32);

fn keyed(quota: Quota, clock: &Clock) -> Keyed<String> {
    Keyed::builder(quota).clock(clock.clone()).build().unwrap()
}

#[test]
fn a_limit_by_key_is_of_the_request() {
    let time = ManualClock::new();
    let limiter = keyed(Quota::new(Rate::per_second(1), 2), &time.clock());
    let layer = PolicyLayer::once_by_request(move |(user, _): &Request| {
        Arc::new(KeyThrottle::new(limiter.clone(), (*user).to_owned()).name("by user"))
    });
    let service = layer.layer(service_fn(|request: Request| ready(Ok::<_, ()>(request))));
    let call = |request| block_on(service.clone().call(request));
    assert_eq!(call(("ada", 1)), Ok(("ada", 1)));
    assert!(call(("ada", 2)).is_ok());
    let refused = call(("ada", 3)).unwrap_err();
    assert!(refused.is_rate_limited());
    assert_eq!((refused.retry_after(), refused.rejection().unwrap().policy()), (Some(ms(1000)), "by user"));
    assert!(call(("bob", 4)).is_ok(), "the other key has its own");
    time.advance(ms(1000));
    assert!(call(("ada", 5)).is_ok());
}

#[test]
fn a_breaker_by_key_opens_for_that_key() {
    let breakers: BTreeMap<_, _> = ["a", "b"]
        .map(|host| (host, Arc::new(CircuitBreaker::builder().failure_threshold(2).build().unwrap())))
        .into();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let layer = PolicyLayer::by_request(move |(host, _): &Request| {
        Arc::new(Stack::new().retry(retry(2, &Clock::system())).layer(Arc::clone(&breakers[host])))
    });
    let mut service = layer.layer(service_fn(move |(host, n): Request| {
        counted.fetch_add(1, Relaxed);
        ready(if host == "a" { Err("down") } else { Ok(n) })
    }));
    assert!(block_on(service.call(("a", 1))).unwrap_err().is_exhausted());
    assert!(block_on(service.call(("a", 2))).unwrap_err().is_circuit_open());
    assert_eq!(block_on(service.call(("b", 3))), Ok(3));
    assert_eq!(calls.load(Relaxed), 3);
}

#[test]
fn a_call_may_wait_for_the_tokens_of_its_key() {
    let time = ManualClock::new();
    let limiter = keyed(Quota::new(Rate::per_second(10), 1), &time.clock());
    let policy = KeyThrottle::new(limiter.clone(), "ada".to_owned()).wait_limit(ms(150)).tokens(1);
    let stack = Arc::new(Stack::new().layer(policy));
    let call = || Polled::new(stack.call_owned(|| ready(Ok::<_, ()>(()))));
    assert_eq!(call().poll(), Some(Ok(())));
    let mut waiting = call();
    assert_eq!(waiting.poll(), None);
    // Another would wait for 200 ms: told at once.
    assert_eq!(call().poll().unwrap().unwrap_err().retry_after(), Some(ms(200)));
    time.advance(ms(100));
    assert_eq!(waiting.poll(), Some(Ok(())));
    assert_eq!(stack.describe()[0].to_string(), "throttle");
}

#[test]
fn each_attempt_takes_a_token_of_its_key() {
    let time = ManualClock::new();
    let limiter = keyed(Quota::new(Rate::per_second(1), 10), &time.clock());
    let stack = Stack::new()
        .retry(retry(3, &time.clock()))
        .timeout(attempt_timeout(10, &time.clock()))
        .layer(KeyThrottle::new(limiter.clone(), "ada".to_owned()));
    assert!(block_on(stack.call(|| ready(Err::<(), _>("down")))).unwrap_err().is_exhausted());
    assert_eq!(limiter.available("ada"), 7);
    // Also after one that was ended.
    let mut call = Polled::new(stack.call(pending::<Result<(), ()>>));
    while call.poll().is_none() {
        time.advance(ms(10));
    }
    assert_eq!(limiter.available("ada"), 4);
}

#[test]
fn no_room_for_a_new_key_is_a_rate_limit() {
    let time = ManualClock::new();
    let limiter: Keyed<u32> =
        Keyed::builder(Quota::new(Rate::per_second(1), 1)).capacity(1).clock(time.clock()).build().unwrap();
    let ok = || ready(Ok::<_, ()>(()));
    let stack = |key| Stack::new().layer(KeyThrottle::new(limiter.clone(), key));
    assert_eq!(block_on(stack(1).call(ok)), Ok(()));
    let refused = block_on(stack(2).call(ok)).unwrap_err();
    assert!(refused.is_rate_limited() && refused.retry_after().is_some());
    // None at all can never be let through.
    let refused =
        block_on(Stack::new().layer(KeyThrottle::new(limiter.clone(), 1).tokens(5)).call(ok)).unwrap_err();
    assert!(refused.is_rate_limited() && !refused.is_temporary());
}

#[test]
fn a_wait_that_is_dropped_gives_the_tokens_of_its_key_back() {
    let points = drop_at_every_await_in_sim(0..30, |sim: &Sim| {
        let clock = sim.clock();
        let limiter = keyed(Quota::new(Rate::per_second(10), 1), &clock);
        let policy = KeyThrottle::new(limiter.clone(), "ada".to_owned()).wait_limit(ms(1000));
        let layer = PolicyLayer::once_by_request(move |(): &()| Arc::new(policy.clone()));
        let service = layer.layer(service_fn(|(): ()| ready(Ok::<_, ()>(()))));
        limiter.try_acquire("ada").unwrap();
        let started = clock.now();
        let (mut mine, mut theirs) = (service.clone(), service);
        let under_test = mine.call(());
        let other = sim.spawn("other", async move {
            theirs.call(()).await.unwrap();
            clock.now() - started
        });
        let check = move |sim: &Sim, _| {
            // As if the other had been alone: it came first, or was moved up.
            assert_eq!(sim.run(other), ms(100));
            assert_eq!(limiter.stats().waiting, 0);
        };
        (under_test, check)
    });
    assert!(points >= 30 * 2, "{points}");
}
