//! Policies as `tower` layers: the contract of `tower::Service` on both sides.

mod keys;
mod respond;
mod strict;

use cofferdam::resilience::breaker::State;
use cofferdam::resilience::*;
use cofferdam::testkit::{ManualClock, Polled, Sim, drop_at_every_await_in_sim, yield_now};
use cofferdam::time::{Backoff, Clock};
use cofferdam::tower::{Moved, PolicyLayer, Requests};
use futures_executor::block_on;
use std::future::{pending, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::task::{Context, Poll};
use std::time::Duration;
use strict::{Never, Seen, Strict, poll_ready};
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer as _, Service, ServiceBuilder, ServiceExt, service_fn};

/// Not `Clone`.
#[derive(Debug, PartialEq)]
struct Letter(u32);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn retry(attempts: u32, clock: &Clock) -> Retry {
    Retry::builder().max_attempts(attempts).backoff(Backoff::ZERO).clock(clock.clone()).build().unwrap()
}

fn attempt_timeout(limit: u64, clock: &Clock) -> Timeout {
    Timeout::attempt(ms(limit)).clock(clock.clone())
}

// --- readiness ---

// S24
#[test]
fn an_open_breaker_refuses_at_once_and_does_not_ask_the_inner_service() {
    let breaker = CircuitBreaker::new();
    breaker.force_open().unwrap();
    let never = Never::default();
    let polls = never.polls();
    let mut once = PolicyLayer::once(breaker.clone()).layer(never.clone());
    let mut each = PolicyLayer::new(breaker.clone()).layer(never);
    assert!(poll_ready(&mut once).is_ready());
    assert!(poll_ready(&mut each).is_ready());
    let refused = Polled::new(once.call(1)).poll().expect("refused at once").unwrap_err();
    assert!(refused.is_circuit_open());
    assert!(Polled::new(each.call(1)).poll().expect("refused at once").unwrap_err().is_circuit_open());
    assert_eq!(polls.load(Relaxed), 0);

    // Closed, it waits for it, or the test shows nothing.
    breaker.reset().unwrap();
    let mut waiting = Polled::new(once.call(1));
    assert!(waiting.poll().is_none());
    assert_eq!(polls.load(Relaxed), 1);
}

// S24: the peers clone a service after it was polled ready, and call the clone.
#[test]
fn the_instance_that_was_polled_ready_is_the_one_that_is_called() {
    Sim::for_seeds(0..50, |sim| {
        let (clock, seen) = (sim.clock(), Arc::new(Seen::default()));
        let random = fastrand::Rng::with_seed(sim.seed());
        let random = Arc::new(std::sync::Mutex::new(random));
        let inner = {
            let clock = clock.clone();
            service_fn(move |n: u32| {
                let sleep = clock.sleep(ms(random.lock().unwrap().u64(0..12)));
                async move {
                    sleep.await;
                    if n % 3 == 0 { Err("a third fails") } else { Ok(n) }
                }
            })
        };
        // A limit that hands out readiness, and makes instances wait for it.
        let inner = Strict::new(ConcurrencyLimitLayer::new(2).layer(inner), &seen);
        let breaker = CircuitBreaker::builder().failure_threshold(1000).clock(clock.clone()).build().unwrap();
        let stack = Stack::new()
            .retry(retry(4, &clock))
            .breaker(breaker)
            .bulkhead(Bulkhead::builder(3).queue(50).clock(clock.clone()).build().unwrap())
            .timeout(attempt_timeout(9, &clock));
        let service = PolicyLayer::new(stack).layer(inner.clone());
        let once = PolicyLayer::once(attempt_timeout(9, &clock)).layer(inner);
        let tasks: Vec<_> = (0..20)
            .map(|n| {
                let (service, once) = (service.clone(), once.clone());
                sim.spawn(format!("client {n}"), async move {
                    if n % 4 == 0 { once.oneshot(n).await.is_ok() } else { service.oneshot(n).await.is_ok() }
                })
            })
            .collect();
        drop((service, once));
        sim.run(async {
            for task in tasks {
                task.await;
            }
        });
        // `Strict` panics at a call of what is not ready. Many calls were made, and no instance is left.
        assert!(seen.calls() > 20, "{}", seen.calls());
        assert_eq!(seen.living(), 0);
    });
}

// S24: a slot that was reserved and not used is a deadlock of everybody else.
#[test]
fn a_service_that_is_ready_and_never_called_holds_nothing_back() {
    let inner = ConcurrencyLimitLayer::new(1).layer(service_fn(|n: u32| ready(Ok::<_, ()>(n))));
    let bulkhead = Bulkhead::new(1).unwrap();
    let layer = PolicyLayer::once(Stack::new().bulkhead(bulkhead.clone()));
    let mut idle: Vec<_> = (0..3).map(|_| layer.layer(inner.clone())).collect();
    let mut busy = idle[0].clone();
    assert!(idle.iter_mut().all(|service| poll_ready(service).is_ready()));
    assert_eq!(bulkhead.stats().running, 0);
    assert_eq!(Polled::new(busy.call(1)).poll(), Some(Ok(1)));
    idle.pop();
    assert_eq!(Polled::new(busy.call(2)).poll(), Some(Ok(2)));
    // Nor does a call that is dropped before it begins.
    drop(busy.call(3));
    assert_eq!(Polled::new(idle[1].call(4)).poll(), Some(Ok(4)));
}

#[test]
fn a_service_that_was_made_ready_before_it_was_wrapped_is_used_first() {
    // It holds the only slot: a clone would wait for ever, and so would whoever waited for the original to be dropped.
    let mut inner = ConcurrencyLimitLayer::new(1).layer(service_fn(|n: u32| ready(Ok::<_, ()>(n))));
    assert!(poll_ready(&mut inner).is_ready());
    let mut service = PolicyLayer::once(Stack::new()).layer(inner);
    assert_eq!(Polled::new(service.call(1)).poll(), Some(Ok(1)));
    assert_eq!(Polled::new(service.call(2)).poll(), Some(Ok(2)));
}

#[test]
fn waiting_for_readiness_is_within_the_timeout_of_the_attempt_and_its_place_is_given_up() {
    let time = ManualClock::new();
    let clock = time.clock();
    let limit = ConcurrencyLimitLayer::new(1);
    let mut inner = limit.layer(service_fn(|n: u32| ready(Ok::<_, ()>(n))));
    let stack = Stack::new()
        .retry(
            Retry::builder()
                .max_attempts(2)
                .backoff(Backoff::fixed(ms(100)))
                .clock(clock.clone())
                .build()
                .unwrap(),
        )
        .timeout(attempt_timeout(10, &clock));
    let mut service = PolicyLayer::new(stack).layer(inner.clone());
    // Somebody else has the slot.
    assert!(poll_ready(&mut inner).is_ready());
    let mut call = Polled::new(service.call(7));
    assert!(call.poll().is_none());
    time.advance(ms(10));
    assert!(call.poll().is_none(), "asleep until the second attempt");
    // While the retry sleeps it is not in the line for the slot: the next one gets it.
    let mut next = service.inner().clone();
    drop(inner);
    assert!(poll_ready(&mut next).is_ready());
    drop(next);
    time.advance(ms(100));
    assert_eq!(call.poll(), Some(Ok(7)));
}

#[test]
fn what_failed_to_get_ready_is_not_used_again_and_counts_as_a_failed_attempt() {
    let seen = Arc::new(Seen::default());
    let failures = Arc::new(AtomicU32::new(2));
    let inner = Strict::new(strict::Flaky::new(&failures), &seen);
    let breaker = CircuitBreaker::builder().failure_threshold(100).build().unwrap();
    let stack = Stack::new().retry(retry(3, &Clock::system())).breaker(breaker.clone());
    let mut service = PolicyLayer::new(stack).layer(inner);
    assert_eq!(block_on(service.call(5)), Ok(5));
    assert_eq!((breaker.stats().failures, breaker.stats().successes), (2, 1));
    assert_eq!(seen.calls(), 1);

    failures.store(1, Relaxed);
    let mut once = PolicyLayer::once(breaker).layer(service.into_inner());
    assert_eq!(block_on(once.call(5)), Err(Error::Inner("not ready")));
    assert_eq!(block_on(once.call(5)), Ok(5));
}

// --- requests ---

#[test]
fn a_request_that_cannot_be_cloned_is_sent_once() {
    let stack = Stack::new().timeout(Timeout::total(ms(1000))).breaker(CircuitBreaker::new());
    let mut service =
        PolicyLayer::once(stack).layer(service_fn(|letter: Letter| async move { Err::<(), _>(letter) }));
    assert_eq!(block_on(service.call(Letter(3))), Err(Error::Inner(Letter(3))));

    // A policy that says that it makes one attempt and makes two.
    struct Liar;
    impl Single for Liar {}
    impl<A: Attempt> Policy<A> for &Liar {
        type Attempt = Twice<A>;

        fn around(self, inner: A) -> Twice<A> {
            Twice { inner: Box::pin(inner) }
        }
    }
    struct Twice<A> {
        inner: Pin<Box<A>>,
    }
    impl<A: Attempt> Attempt for Twice<A> {
        type Ok = A::Ok;
        type Err = A::Err;

        fn poll_attempt(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Result<A::Ok, Error<A::Err>>> {
            let first = std::task::ready!(self.inner.as_mut().poll_attempt(cx));
            if first.is_ok() { Poll::Ready(first) } else { self.inner.as_mut().poll_attempt(cx) }
        }

        fn cancel(mut self: Pin<&mut Self>) {
            self.inner.as_mut().cancel();
        }
    }
    let mut service =
        PolicyLayer::once(Liar).layer(service_fn(|letter: Letter| async move { Err::<(), _>(letter) }));
    assert!(block_on(service.call(Letter(3))).unwrap_err().is_closed());
}

#[test]
fn each_attempt_sends_a_clone_of_the_request_on_a_clone_of_the_service() {
    #[derive(Debug)]
    struct Counted(Arc<AtomicU32>);
    impl Clone for Counted {
        fn clone(&self) -> Self {
            self.0.fetch_add(1, Relaxed);
            Self(Arc::clone(&self.0))
        }
    }
    let (seen, clones) = (Arc::new(Seen::default()), Arc::new(AtomicU32::new(0)));
    let inner = Strict::new(service_fn(|_: Counted| ready(Err::<(), _>("failed"))), &seen);
    let mut service = PolicyLayer::new(retry(3, &Clock::system())).layer(inner.clone());
    let error = block_on(service.call(Counted(Arc::clone(&clones)))).unwrap_err();
    assert_eq!((error.exhausted().unwrap().attempts(), clones.load(Relaxed), seen.calls()), (3, 3, 3));

    // Moved, neither is copied but for the service that stays.
    let before = seen.clones();
    let mut service = PolicyLayer::once(CircuitBreaker::new()).layer(inner);
    assert_eq!(block_on(service.call(Counted(Arc::clone(&clones)))), Err(Error::Inner("failed")));
    assert_eq!((clones.load(Relaxed), seen.clones() - before), (3, 1));
}

// --- clones ---

// S78, S23: TR#365, tower#794.
#[test]
fn clones_and_all_services_of_a_layer_share_the_limits() {
    let layer = PolicyLayer::once(Stack::new().bulkhead(Bulkhead::new(3).unwrap()));
    let forever = service_fn(|(): ()| pending::<Result<(), ()>>());
    let mut one = layer.layer(forever);
    let (mut other, mut third) = (one.clone(), layer.clone().layer(forever));
    let calls = [one.call(()), other.call(()), third.call(())];
    let mut calls = calls.map(Polled::new);
    assert!(calls.iter_mut().all(|call| call.poll().is_none()));
    for service in [&mut one, &mut other, &mut third] {
        assert!(Polled::new(service.call(())).poll().unwrap().unwrap_err().is_full());
    }
    drop(calls);
    assert!(Polled::new(other.call(())).poll().is_none());

    let breaker = CircuitBreaker::builder().failure_threshold(1).build().unwrap();
    let mut one = PolicyLayer::once(breaker).layer(service_fn(|(): ()| ready(Err::<(), _>("down"))));
    let mut other = one.clone();
    assert_eq!(block_on(one.call(())), Err(Error::Inner("down")));
    assert!(block_on(other.call(())).unwrap_err().is_circuit_open());
}

// tower#794: `RateLimit` cannot be cloned, and under a server each connection has one of its own.
#[test]
fn a_rate_limit_is_one_for_all_clones() {
    let time = ManualClock::new();
    let quota: cofferdam::limit::Quota = "3/s".parse().unwrap();
    let bucket = cofferdam::limit::TokenBucket::builder(quota).clock(time.clock()).build().unwrap();
    let service = PolicyLayer::once(Throttle::new(bucket)).layer(service_fn(|(): ()| ready(Ok::<_, ()>(()))));
    let passed = |wanted| (0..wanted).filter(|_| block_on(service.clone().oneshot(())).is_ok()).count();
    assert_eq!(passed(10), 3);
    time.advance(ms(1000));
    assert_eq!(passed(10), 3);
}

// --- cancellation and panics ---

#[test]
fn a_call_that_is_dropped_at_any_await_gives_everything_back() {
    let points = drop_at_every_await_in_sim(0..60, |sim: &Sim| {
        let (clock, seen) = (sim.clock(), Arc::new(Seen::default()));
        let bulkhead = Bulkhead::builder(2).queue(9).clock(clock.clone()).build().unwrap();
        let breaker = CircuitBreaker::builder().failure_threshold(1000).clock(clock.clone()).build().unwrap();
        let stack = Stack::new()
            .timeout(Timeout::total(ms(60)).clock(clock.clone()))
            .retry(retry(3, &clock))
            .breaker(breaker.clone())
            .bulkhead(bulkhead.clone())
            .timeout(attempt_timeout(8, &clock));
        let policy = Arc::new(stack);
        let inner = {
            let clock = clock.clone();
            service_fn(move |n: u64| {
                let sleep = clock.sleep(ms(n));
                async move {
                    sleep.await;
                    yield_now().await;
                    Err::<(), ()>(())
                }
            })
        };
        let slots = Arc::new(tokio::sync::Semaphore::new(1));
        let limited = tower::limit::ConcurrencyLimit::with_semaphore(inner, Arc::clone(&slots));
        let service = PolicyLayer::new(Arc::clone(&policy)).layer(Strict::new(limited, &seen));
        for n in 0..2 {
            sim.spawn(format!("other {n}"), service.clone().oneshot(sim.random_below(12)));
        }
        let under_test = service.clone().oneshot(5);
        drop(service);
        let check = move |sim: &Sim, _| {
            sim.advance(ms(10_000));
            let (places, calls) = (bulkhead.stats(), breaker.stats());
            assert_eq!((places.running, places.waiting, sim.time().armed()), (0, 0, 0));
            assert_eq!((calls.running, slots.available_permits()), (0, 1));
            // Nobody holds a service or the policies any more.
            assert_eq!((seen.living(), Arc::strong_count(&policy)), (0, 1));
        };
        (under_test, check)
    });
    assert!(points > 60 * 6, "{points}");
}

#[test]
fn a_panic_of_the_inner_service_gives_everything_back() {
    let bulkhead = Bulkhead::new(1).unwrap();
    let stack = Arc::new(Stack::new().bulkhead(bulkhead.clone()));
    let mut service = PolicyLayer::once(Arc::clone(&stack)).layer(service_fn(|how: u8| {
        assert!(how != 1, "in call");
        async move {
            assert!(how != 2, "in the future");
            Ok::<_, ()>(how)
        }
    }));
    for how in [1, 2] {
        let call = Polled::new(service.call(how));
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let mut call = call;
            call.poll()
        }));
        assert!(panic.is_err());
        assert_eq!((bulkhead.stats().running, Arc::strong_count(&stack)), (0, 2));
    }
    assert_eq!(block_on(service.call(0)), Ok(0));
}

// --- among other services ---

// tower#547, PR#434: with `Buffer` and a semaphore in a clone, "poll_ready must be called first", and idle clones deadlock.
#[test]
fn it_works_inside_and_outside_of_a_buffer() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let stack = || Stack::new().bulkhead(Bulkhead::builder(2).queue(100).build().unwrap());
        let inner = Strict::new(
            service_fn(|n: u32| async move {
                yield_now().await;
                Ok::<_, std::io::Error>(n)
            }),
            &Arc::default(),
        );
        let inside = ServiceBuilder::new()
            .buffer(2)
            .concurrency_limit(2)
            .layer(PolicyLayer::once(stack()))
            .service(inner.clone());
        let outside = ServiceBuilder::new()
            .layer(PolicyLayer::once(stack()))
            .buffer(2)
            .concurrency_limit(2)
            .service(inner);
        // Ready, and never called.
        let mut idle: Vec<_> = (0..5).map(|_| outside.clone()).collect();
        for service in &mut idle {
            assert!(poll_ready(service).is_ready());
        }
        let calls = (0..40).map(|n| {
            let (inside, outside) = (inside.clone(), outside.clone());
            async move { (inside.oneshot(n).await.unwrap(), outside.oneshot(n).await.unwrap()) }
        });
        for (n, got) in (0..).zip(futures_util::future::join_all(calls).await) {
            assert_eq!(got, (n, n));
        }
    });
}

#[test]
fn layers_compose_in_the_order_in_which_they_are_written() {
    let time = ManualClock::new();
    let clock = time.clock();
    // The same stack, as one layer and as three.
    let breaker = || CircuitBreaker::builder().failure_threshold(100).clock(clock.clone()).build().unwrap();
    let (in_one, in_three) = (breaker(), breaker());
    let failing = service_fn(|(): ()| ready(Err::<(), _>("down")));
    let stack =
        Stack::new().retry(retry(3, &clock)).breaker(in_one.clone()).timeout(attempt_timeout(5, &clock));
    let mut one = PolicyLayer::new(stack).layer(failing);
    let mut three = ServiceBuilder::new()
        .layer(PolicyLayer::new(retry(3, &clock)))
        .layer(PolicyLayer::once(in_three.clone()))
        .layer(PolicyLayer::once(attempt_timeout(5, &clock)))
        .service(failing);
    assert_eq!(block_on(one.call(())).unwrap_err().exhausted().unwrap().attempts(), 3);
    let error = block_on(three.call(())).unwrap_err();
    assert_eq!(error.exhausted().unwrap().attempts(), 3);
    // Each layer wraps the error of the one inside.
    assert_eq!(error.into_inner(), Some(Error::Inner(Error::Inner("down"))));
    assert_eq!((in_one.stats().failures, in_three.stats().failures), (3, 3));
    assert_eq!(in_one.state(), State::Closed);
}

/// What servers and clients ask of a service.
#[test]
fn services_and_their_futures_can_be_spawned_and_shared() {
    fn served<R, S>(service: S)
    where
        S: Service<R, Future: Send + 'static> + Clone + Send + Sync + 'static,
    {
        drop(service);
    }
    type Boxed = Box<dyn std::error::Error + Send + Sync>;
    let inner = service_fn(|text: String| async move {
        yield_now().await;
        if text.is_empty() { Err(Boxed::from("nothing")) } else { Ok(text) }
    });
    let clock = Clock::system();
    let stack = Stack::new()
        .timeout(Timeout::total(ms(1)))
        .retry(retry(2, &clock))
        .breaker(CircuitBreaker::new())
        .bulkhead(Bulkhead::new(1).unwrap())
        .layer(Some(attempt_timeout(1, &clock)));
    served(PolicyLayer::new(stack.clone()).layer(inner));
    served(PolicyLayer::new(Arc::new(stack)).layer(inner));
    served(PolicyLayer::once(Bulkhead::new(1).unwrap()).layer(inner));
    // Boxed as others box theirs.
    let boxed = tower::util::BoxCloneService::new(PolicyLayer::once(CircuitBreaker::new()).layer(inner));
    assert_eq!(block_on(boxed.oneshot("text".into())).ok().as_deref(), Some("text"));
}

/// The mode is a type: this one asks nothing of the request.
#[test]
fn a_moved_request_needs_no_clone() {
    fn is_mode<M: Requests<S, R>, S: Service<R>, R>(_: &S) {}
    is_mode::<Moved, _, Letter>(&service_fn(|letter: Letter| ready(Ok::<_, ()>(letter))));
}

#[test]
fn nothing_begins_before_the_first_poll() {
    let begun = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&begun);
    let mut service = PolicyLayer::once(Stack::new()).layer(service_fn(move |(): ()| {
        flag.store(true, Relaxed);
        ready(Ok::<_, ()>(()))
    }));
    let call = service.call(());
    assert!(!begun.load(Relaxed));
    assert_eq!(block_on(call), Ok(()));
    assert!(begun.load(Relaxed));
}
