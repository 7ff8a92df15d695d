//! Calls that own their policies.

use cofferdam::resilience::*;
use cofferdam::testkit::{ManualClock, Polled, Sim, drop_at_every_await_in_sim, yield_now};
use cofferdam::time::Backoff;
use futures_executor::block_on;
use std::future::{pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A policy whose attempts look at it while they are dropped, and which shows that it has been dropped.
#[derive(Debug)]
struct Watched {
    log: Arc<std::sync::Mutex<Vec<&'static str>>>,
    text: Box<str>,
}

impl Watched {
    fn new() -> (Arc<Self>, Arc<std::sync::Mutex<Vec<&'static str>>>) {
        let log = Arc::default();
        (Arc::new(Self { log: Arc::clone(&log), text: "alive".into() }), log)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.text = "dead".into();
        self.log.lock().unwrap().push("policy");
    }
}

impl Single for Watched {}

impl Component for Watched {
    fn describe(&self, layers: &mut Vec<Layer>) {
        layers.push(Layer::custom("watched"));
    }
}

impl<'a, A: Attempt> Policy<A> for &'a Watched {
    type Attempt = Watching<'a, A>;

    fn around(self, inner: A) -> Watching<'a, A> {
        Watching { policy: self, inner: Box::pin(inner) }
    }
}

struct Watching<'a, A> {
    policy: &'a Watched,
    inner: Pin<Box<A>>,
}

impl<A: Attempt> Attempt for Watching<'_, A> {
    type Ok = A::Ok;
    type Err = A::Err;

    fn poll_attempt(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<A::Ok, Error<A::Err>>> {
        assert_eq!(&*self.policy.text, "alive");
        self.inner.as_mut().poll_attempt(cx)
    }

    fn cancel(mut self: Pin<&mut Self>) {
        self.inner.as_mut().cancel();
    }
}

impl<A> Drop for Watching<'_, A> {
    fn drop(&mut self) {
        assert_eq!(&*self.policy.text, "alive");
        self.policy.log.lock().unwrap().push("attempt");
    }
}

#[test]
fn a_call_outlives_all_other_owners_of_its_policies() {
    let (policy, log) = Watched::new();
    let stack = Arc::new(Stack::new().layer(policy));
    let call = stack.call_owned(|| async {
        yield_now().await;
        Ok::<_, ()>(7)
    });
    drop(stack);
    let spawned = std::thread::spawn(move || block_on(call));
    assert_eq!(spawned.join().unwrap(), Ok(7));
    assert_eq!(*log.lock().unwrap(), ["attempt", "policy"]);
}

#[test]
fn the_attempt_is_dropped_before_the_policies_wherever_it_is() {
    for polls in 0..3 {
        let (policy, log) = Watched::new();
        let stack = Arc::new(Stack::new().layer(policy));
        let mut call = Polled::new(stack.call_once_owned(pending::<Result<(), ()>>));
        drop(stack);
        assert!((0..polls).all(|_| call.poll().is_none()));
        assert!(log.lock().unwrap().is_empty());
        // Moved, as it is not pinned inside of `Polled`'s box.
        let moved = vec![call];
        drop(moved);
        assert_eq!(*log.lock().unwrap(), ["attempt", "policy"]);
    }
}

#[test]
fn the_policies_are_given_back_also_when_the_operations_drop_panics() {
    struct PanicsWhenDropped;
    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let (policy, log) = Watched::new();
    let stack = Arc::new(Stack::new().layer(policy));
    let bomb = PanicsWhenDropped;
    let call = stack.call_once_owned(move || {
        let bomb = bomb;
        async move {
            let _bomb = bomb;
            Ok::<_, ()>(())
        }
    });
    drop(stack);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(call))).is_err());
    assert_eq!(*log.lock().unwrap(), ["attempt", "policy"]);
}

#[test]
fn an_owned_call_does_what_a_borrowed_one_does() {
    let time = ManualClock::new();
    let clock = time.clock();
    let retry = Retry::builder()
        .max_attempts(3)
        .backoff(Backoff::fixed(ms(10)))
        .clock(clock.clone())
        .build()
        .unwrap();
    let stack = Stack::new()
        .timeout(Timeout::total(ms(100)).clock(clock.clone()))
        .retry(retry)
        .breaker(CircuitBreaker::builder().failure_threshold(2).clock(clock).build().unwrap());
    let stack = Arc::new(stack);
    let attempts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&attempts);
    let mut call = Polled::new(stack.call_owned(move || ready(Err::<(), _>(counted.fetch_add(1, Relaxed)))));
    assert!(call.poll().is_none());
    time.advance(ms(10));
    let outcome = loop {
        match call.poll() {
            Some(outcome) => break outcome,
            None => time.advance(ms(10)),
        }
    };
    let error = outcome.unwrap_err();
    assert!(error.is_circuit_open() && error.is_exhausted());
    assert_eq!((error.into_inner(), attempts.load(Relaxed)), (Some(1), 2));
    assert!(block_on(stack.call(|| ready(Ok::<_, ()>(())))).unwrap_err().is_circuit_open());
}

#[test]
fn an_owned_call_is_as_long_as_its_operation() {
    fn is_static<T: 'static>(t: T) -> T {
        t
    }
    let stack = Arc::new(Stack::new().timeout(Timeout::total(ms(1000))));
    let text = String::from("borrowed");
    let borrowed = text.as_str();
    assert_eq!(block_on(stack.call_once_owned(|| async { Ok::<_, ()>(borrowed.len()) })), Ok(8));
    assert_eq!(
        block_on(is_static(stack.call_once_owned(move || async move { Ok::<_, ()>(text.len()) }))),
        Ok(8)
    );
}

#[test]
fn a_call_that_is_dropped_at_any_await_gives_everything_back() {
    let points = drop_at_every_await_in_sim(0..60, |sim: &Sim| {
        let clock = sim.clock();
        let bulkhead = Bulkhead::builder(1).queue(9).wait_limit(ms(30)).clock(clock.clone()).build().unwrap();
        let retry = Retry::builder()
            .max_attempts(3)
            .backoff(Backoff::fixed(ms(3)))
            .clock(clock.clone())
            .build()
            .unwrap();
        let stack = Stack::new()
            .timeout(Timeout::total(ms(60)).clock(clock.clone()))
            .retry(retry)
            .bulkhead(bulkhead.clone())
            .timeout(Timeout::attempt(ms(7)).clock(clock.clone()));
        let stack = Arc::new(stack);
        let call = |length: u64| {
            let clock = clock.clone();
            stack.call_owned(move || {
                let sleep = clock.sleep(ms(length));
                async move {
                    sleep.await;
                    Err::<(), ()>(())
                }
            })
        };
        for n in 0..2 {
            sim.spawn(format!("other {n}"), call(sim.random_below(9)));
        }
        let under_test = call(4);
        let check = move |sim: &Sim, _| {
            sim.advance(ms(10_000));
            let stats = bulkhead.stats();
            assert_eq!((stats.running, stats.waiting, sim.time().armed()), (0, 0, 0));
            assert_eq!(Arc::strong_count(&stack), 1);
        };
        (under_test, check)
    });
    assert!(points > 60 * 5, "{points}");
}

#[test]
fn its_debug_is_of_the_policies() {
    let stack = Arc::new(Stack::new().timeout(Timeout::total(ms(1))));
    let call = stack.call_owned(|| ready(Ok::<_, ()>(())));
    let text = format!("{call:?}");
    assert!(text.starts_with("OwnedCall(Owned(Stack(["), "{text}");
}
