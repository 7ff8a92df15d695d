//! What is promised to allocate nothing allocates nothing.

use crate::support::allocations;
use cofferdam::limit::concurrency::{AdaptiveEvent, ConcurrencyEvent, Discipline, Statistic, Vegas};
use cofferdam::limit::tiered::{Request, ResourceTiers, TieredEvent};
use cofferdam::limit::{
    AdaptiveLimiter, AdmissionControl, Algorithm, ConcurrencyLimiter, Fixed, Keyed, KeyedEvent, Leaky,
    Limiter, Quota, Rate, Several, SlidingCounter, SlidingLog, Spacing, Tiered, TokenBucket, WarmUp,
};
use cofferdam::observe::Observers;
use cofferdam::pool::{PoolBuilder, PoolEvent, Priority, WorkerPool};
use cofferdam::resilience::{
    AdaptiveBulkhead, Admission, Bulkhead, Cache, Chaos, CircuitBreaker, Fallback, Hedge, Latencies, Retry,
    Stack, Throttle, Timeout,
};
use cofferdam::sync::{CancelToken, Context, Gate, Semaphore, channel, oneshot};
use cofferdam::telemetry::{MetricsFacade, Telemetry};
use cofferdam::testkit::{ManualClock, Polled};
use cofferdam::time::{Backoff, Clock, Deadline};
use futures_util::FutureExt;
use std::future::{Future, IntoFuture};
use std::hint::black_box;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

#[test]
fn the_allocator_counts_this_thread_and_no_other() {
    assert_eq!(allocations(|| ()), 0);
    assert_eq!(allocations(|| black_box(Box::new(7))), 1);
    let mut grown = Vec::with_capacity(1);
    grown.push(1_u64);
    assert_eq!(allocations(|| grown.push(2)), 1);
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (done, is_done) = std::sync::mpsc::sync_channel::<()>(1);
    let other = std::thread::spawn(move || {
        wait.recv().unwrap();
        for number in 0..1000 {
            black_box(Box::new(number));
        }
        done.send(()).unwrap();
    });
    go.send(()).unwrap();
    let elsewhere = allocations(|| is_done.recv().unwrap());
    assert!(elsewhere < 100, "{elsewhere} allocations of another thread were counted");
    other.join().unwrap();
}

// S85
#[test]
fn an_event_that_nobody_watches_is_neither_built_nor_allocated() {
    let observers = Observers::<Vec<u8>>::new();
    let mut built = 0;
    let count = allocations(|| {
        for _ in 0..1000 {
            observers.emit(|| {
                built += 1;
                vec![0; 100]
            });
        }
    });
    assert_eq!((count, built), (0, 0));
    // The same with someone there does both, or the test shows nothing.
    observers.add(|event: &Vec<u8>| assert_eq!(event.len(), 100));
    assert!(allocations(|| observers.emit(|| vec![0; 100])) > 0);
}

#[test]
fn time_and_deadlines_allocate_nothing() {
    let clock = Clock::system();
    let count = allocations(|| {
        let now = clock.now();
        let deadline = Deadline::after(now, Duration::from_secs(1)).min(Deadline::NEVER);
        black_box((deadline.remaining(clock.now()), clock.wall(), clock.clone()));
    });
    assert_eq!(count, 0);
}

#[test]
fn a_timeout_around_what_is_ready_allocates_nothing() {
    let clock = Clock::system();
    let count = allocations(|| {
        for number in 0..100 {
            let timeout = clock.timeout(Duration::from_secs(1), std::future::ready(number));
            assert_eq!(FutureExt::now_or_never(timeout), Some(Ok(number)));
        }
    });
    assert_eq!(count, 0);
}

// Waiters live in their futures.
#[test]
fn a_semaphore_allocates_nothing_when_it_is_free_and_nothing_when_it_is_not() {
    let semaphore = Arc::new(Semaphore::new(2));
    let free = allocations(|| {
        for _ in 0..100 {
            drop(semaphore.try_acquire());
            drop(semaphore.try_acquire_many_owned(2));
            drop(FutureExt::now_or_never(semaphore.acquire()));
        }
    });
    assert_eq!(free, 0);

    let held = semaphore.try_acquire_many(2).expect("free");
    let mut waits: Vec<_> = (0..40).map(|_| Polled::new(semaphore.acquire())).collect();
    let waiting = allocations(|| waits.iter_mut().all(|wait| wait.poll().is_none()));
    assert_eq!(waiting, 0);
    let handing_over = allocations(|| {
        drop(held);
        // Each grant frees its permit at once, for the next.
        for wait in &mut waits {
            drop(wait.poll().expect("its turn").expect("open"));
        }
    });
    assert_eq!(handing_over, 0);
    let abandoned = semaphore.try_acquire_many(2).expect("free");
    let mut wait = Polled::new(semaphore.acquire());
    assert!(wait.poll().is_none());
    assert_eq!(allocations(|| drop(wait)), 0);
    drop(abandoned);
}

#[test]
fn gates_tokens_and_contexts_are_looked_at_for_nothing() {
    let (gate, token, context) =
        (Gate::new(true), CancelToken::new(), Context::background().with_value(1_u8));
    let count = allocations(|| {
        for _ in 0..100 {
            assert_eq!(FutureExt::now_or_never(gate.wait()), Some(()));
            black_box((token.is_cancelled(), token.check().is_ok(), token.clone()));
            black_box((Context::current(), context.value::<u8>(), context.clone(), context.check().is_ok()));
            assert_eq!(FutureExt::now_or_never(context.scope(std::future::ready(2))), Some(2));
        }
    });
    assert_eq!(count, 0);
}

// S85
#[test]
fn policies_allocate_nothing_for_a_call_that_goes_well() {
    let breaker = CircuitBreaker::builder().build().expect("valid");
    let stack = Stack::new()
        .timeout(Timeout::total(Duration::from_secs(1)))
        .retry(Retry::builder().build().expect("valid"))
        .breaker(breaker)
        .throttle(Throttle::new(TokenBucket::new(Quota::per(1_000, Duration::from_secs(1)).expect("valid"))))
        .bulkhead(Bulkhead::new(1).expect("valid"));
    let call = || FutureExt::now_or_never(stack.call(|| async { Ok::<_, ()>(1) }));
    assert_eq!(call(), Some(Ok(1)));
    assert_eq!(allocations(|| (0..100).all(|_| call() == Some(Ok(1)))), 0);
}

// S85
#[test]
fn a_retry_without_a_sleep_a_hedge_that_is_ready_and_a_budget_allocate_nothing() {
    let retry = Retry::builder().backoff(Backoff::ZERO).build().expect("valid");
    let calls = std::cell::Cell::new(0_u32);
    let twice_in_vain = || {
        calls.set(calls.get() + 1);
        std::future::ready(if calls.get() % 3 == 0 { Ok(()) } else { Err(calls.get()) })
    };
    let retried =
        allocations(|| (0..100).all(|_| FutureExt::now_or_never(retry.call(twice_in_vain)) == Some(Ok(()))));
    assert_eq!((retried, calls.get()), (0, 300));
    assert_eq!(allocations(|| retry.call_sync(|| Ok::<_, ()>(1)) == Ok(1)), 0);
    let stack = Stack::new()
        .timeout(Timeout::builder_by(|_: &Context| Duration::from_secs(1)).build())
        .hedge(Hedge::after(Duration::from_millis(5)).build().expect("valid"))
        .timeout(Timeout::attempt(Duration::from_secs(1)));
    let call = || FutureExt::now_or_never(stack.call(|| async { Ok::<_, ()>(1) }));
    assert_eq!(allocations(|| (0..100).all(|_| call() == Some(Ok(1)))), 0);
    let latencies = Latencies::builder(0.9).min_samples(1).build().expect("valid");
    latencies.record(Duration::from_millis(1));
    let count = allocations(|| {
        for micros in 0..10_000 {
            latencies.record(Duration::from_micros(micros));
            black_box(latencies.quantile());
        }
    });
    assert_eq!(count, 0, "memory is bounded");
}

#[test]
fn owned_calls_and_tower_services_allocate_nothing_for_a_call_that_goes_well() {
    use cofferdam::tower::PolicyLayer;
    use tower::{Layer as _, Service as _};

    let single = || {
        Stack::new()
            .timeout(Timeout::total(Duration::from_secs(1)))
            .breaker(CircuitBreaker::new())
            .bulkhead(Bulkhead::new(1).expect("valid"))
    };
    let stack = Arc::new(single().retry(Retry::builder().build().expect("valid")));
    let inner = tower::service_fn(|n: u32| std::future::ready(Ok::<_, ()>(n)));
    let mut once = PolicyLayer::once(single()).layer(inner);
    let mut each = PolicyLayer::new(Arc::clone(&stack)).layer(inner);
    let mut call = || {
        let owned = FutureExt::now_or_never(stack.call_owned(|| std::future::ready(Ok::<_, ()>(1))));
        let once = FutureExt::now_or_never(once.call(1));
        (owned, once, FutureExt::now_or_never(each.call(1))) == (Some(Ok(1)), Some(Ok(1)), Some(Ok(1)))
    };
    assert!(call());
    assert_eq!(allocations(|| assert!((0..100).all(|_| call()))), 0);
}

#[test]
fn fallback_and_chaos_allocate_nothing_for_a_call_that_goes_well_and_a_cache_nothing_for_a_hit() {
    let cache = Cache::<u64, u64, ()>::new(1_000).expect("valid");
    let bulkhead = Bulkhead::builder(1).queue(1).build().expect("valid");
    let chaos = Chaos::builder().fault(0.0, || ()).latency(|| 0.0, Duration::ZERO).build();
    let stack = Stack::new().fallback(Fallback::value(7)).bulkhead(bulkhead).layer(chaos);
    let call = || FutureExt::now_or_never(stack.call(|| async { Ok::<u64, ()>(1) }));
    assert_eq!(call(), Some(Ok(1)));
    assert_eq!(allocations(|| (0..100).all(|_| call() == Some(Ok(1)))), 0);
    // What a fallback allocates is up to it.
    let fails = || FutureExt::now_or_never(stack.call(|| async { Err::<u64, ()>(()) }));
    assert_eq!(allocations(|| (0..100).all(|_| fails() == Some(Ok(7)))), 0);
    let kept = Stack::new().layer(cache.at(1)).layer(&stack);
    let hit = || FutureExt::now_or_never(kept.call(|| async { Ok::<u64, ()>(1) }));
    assert_eq!(hit(), Some(Ok(1)));
    let got = || FutureExt::now_or_never(cache.get_or_load(&1, || async { Ok(2) }));
    let hits = || {
        (0..100).all(|_| {
            hit() == Some(Ok(1))
                && got().is_some_and(|got| got.is_ok())
                && cache.get(&1).as_deref() == Some(&1)
        })
    };
    assert_eq!(allocations(|| assert!(hits())), 0);
}

#[test]
fn a_channel_allocates_when_it_is_made_and_never_after() {
    let (sender, receiver) = channel::<u64>(16).expect("valid");
    let mut values = Vec::with_capacity(16);
    let count = allocations(|| {
        for round in 0..100 {
            for value in 0..16 {
                assert!(FutureExt::now_or_never(sender.send(round + value)).is_some_and(|sent| sent.is_ok()));
            }
            assert!(sender.try_send(0).is_err());
            assert!(FutureExt::now_or_never(receiver.recv()).is_some_and(|value| value.is_ok()));
            values.clear();
            values.extend(receiver.drain());
        }
    });
    assert_eq!((count, values.len()), (0, 15));
    // Who waits waits inside its own future.
    let mut waits: Vec<_> = (0..20).map(|_| Polled::new(receiver.recv())).collect();
    let count = allocations(|| {
        assert!(waits.iter_mut().all(|wait| wait.poll().is_none()));
        for (value, wait) in waits.iter_mut().enumerate() {
            assert!(sender.try_send(value as u64).is_ok());
            assert!(wait.poll().is_some_and(|value| value.is_ok()));
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn a_managed_pool_allocates_nothing_once_its_lists_have_grown() {
    let (pool, workers) = WorkerPool::builder().workers(2).queue(64).managed().build().expect("valid");
    let mut workers = Polled::new(workers.into_future());
    let mut round = || {
        for priority in [Priority::Low, Priority::Normal, Priority::High, Priority::Critical] {
            for _ in 0..16 {
                let task = pool.task(async {}).priority(priority).timeout(Duration::from_secs(1));
                assert!(task.try_execute().is_ok());
            }
        }
        assert!(workers.poll().is_none());
        assert_eq!(pool.stats().queued, 0);
    };
    round();
    assert_eq!(allocations(round), 0);
}

#[test]
fn a_oneshot_allocates_once() {
    let count = allocations(|| {
        let (sender, mut receiver) = oneshot::channel::<u64>();
        assert!(sender.send(1).is_ok());
        assert_eq!(receiver.try_recv(), Ok(1));
    });
    assert_eq!(count, 1);
}

#[test]
fn a_token_bucket_decides_without_allocating() {
    let time = ManualClock::new();
    let quota = Quota::new(Rate::per_second(100), 10);
    let bucket = TokenBucket::builder(quota).clock(time.clock()).build().expect("valid");
    let count = allocations(|| {
        for _ in 0..100 {
            while bucket.try_acquire().is_ok() {}
            black_box((bucket.peek(3).is_ok(), bucket.available(), bucket.stats()));
            time.advance(Duration::from_millis(50));
            assert!(FutureExt::now_or_never(bucket.acquire()).is_some_and(|taken| taken.is_ok()));
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn every_limiter_decides_without_allocating() {
    fn decides<A: Algorithm>(algorithm: A) {
        let time = ManualClock::new();
        let limiter: Limiter<A> = Limiter::builder(algorithm).clock(time.clock()).build().expect("valid");
        let round = || {
            for _ in 0..50 {
                while limiter.try_acquire().is_ok() {}
                black_box((limiter.peek(3).is_ok(), limiter.available(), limiter.stats()));
                time.advance(Duration::from_secs(2));
                assert!(FutureExt::now_or_never(limiter.acquire()).is_some_and(|taken| taken.is_ok()));
            }
        };
        // A log first grows to what it holds.
        round();
        assert_eq!(allocations(round), 0, "{limiter:?}");
    }
    let second = Duration::from_secs(1);
    decides(Fixed::new(10, second).expect("valid"));
    decides(SlidingCounter::new(10, second).expect("valid"));
    decides(SlidingLog::new(10, second).expect("valid"));
    decides(Leaky::new(10, Rate::per_second(10)));
    decides(Spacing::new(Rate::per_second(10)));
    decides(WarmUp::new(Rate::per_second(10), second).expect("valid"));
    decides(Several::new((5..9).map(Quota::per_second)).expect("valid"));
}

#[test]
fn admission_control_allocates_nothing_whatever_it_decides() {
    let time = ManualClock::new();
    let control = AdmissionControl::builder().clock(time.clock()).max(0.5).build().expect("valid");
    let admission = Admission::new(control.clone());
    let stack = Stack::new().admission(admission);
    let calls = || {
        allocations(|| {
            for call in 0..100 {
                black_box((control.probability(), control.stats()));
                black_box(FutureExt::now_or_never(stack.call(|| async { Ok::<_, ()>(1) })));
                match (control.try_acquire(), call % 4) {
                    (Ok(permit), 0) => permit.accepted(),
                    (Ok(permit), 1) => permit.ignore(),
                    (Ok(permit), 2) => drop(permit),
                    (Ok(permit), _) => permit.rejected(),
                    (Err(refused), _) => {
                        black_box(refused);
                    }
                }
                time.advance(Duration::from_millis(100));
            }
        })
    };
    calls();
    assert_eq!(calls(), 0, "admitting all");
    for _ in 0..1000 {
        if let Ok(permit) = control.try_acquire_owned() {
            permit.rejected();
        }
    }
    let before = control.stats().shed;
    assert_eq!(calls(), 0, "turning half of them away");
    assert!(control.stats().shed > before + 50);
}

#[test]
fn a_keyed_limiter_allocates_for_new_keys_and_for_the_first_who_waits() {
    let time = ManualClock::new();
    let limiter = Keyed::<String>::builder(Quota::per_second(100).burst(10)).clock(time.clock()).build();
    let limiter = limiter.expect("valid");
    assert!(limiter.try_acquire("a key").is_ok());
    let count = allocations(|| {
        for _ in 0..100 {
            while limiter.try_acquire("a key").is_ok() {}
            black_box((limiter.peek("a key", 3).is_ok(), limiter.available("another"), limiter.stats()));
            limiter.refund("a key", 1);
            time.advance(Duration::from_millis(50));
            assert!(FutureExt::now_or_never(limiter.acquire("a key")).is_some_and(|taken| taken.is_ok()));
        }
    });
    assert!(count <= 10, "{count}: the order grows a few times");
    while limiter.try_acquire("a key").is_ok() {}
    let mut waits: Vec<_> = (0..40).map(|_| Polled::new(limiter.acquire("a key"))).collect();
    assert!(waits[0].poll().is_none());
    let waiting = allocations(|| waits.iter_mut().all(|wait| wait.poll().is_none()));
    assert_eq!(waiting, 0);
}

#[test]
fn a_circuit_breaker_allocates_only_when_its_state_changes() {
    let time = ManualClock::new();
    let breaker = CircuitBreaker::builder()
        .failure_threshold(u32::MAX >> 6)
        .clock(time.clock())
        .build()
        .expect("valid");
    let calls = |answer: Result<u64, u64>| {
        allocations(|| {
            for _ in 0..100 {
                black_box(breaker.call_sync(|| answer).is_ok());
                black_box(FutureExt::now_or_never(breaker.call(|| std::future::ready(answer))));
                drop(breaker.try_acquire());
                black_box(breaker.state());
            }
        })
    };
    calls(Ok(1));
    assert_eq!((calls(Ok(1)), calls(Err(1))), (0, 0), "closed");
    breaker.trip().expect("closed before");
    assert_eq!(calls(Ok(1)), 0, "open");
    time.advance(Duration::from_secs(30));
    breaker.poll_transition();
    // (A success would close it.)
    let trials =
        allocations(|| (0..100).for_each(|_| drop(breaker.try_acquire().map(|trial| trial.ignore()))));
    let held: Vec<_> = (0..3).map(|_| breaker.try_acquire()).collect();
    assert_eq!((trials, calls(Ok(1))), (0, 0), "half-open");
    drop(held);
}

#[test]
fn the_windows_of_a_circuit_breaker_are_allocated_with_it() {
    use cofferdam::resilience::breaker::Window;
    let time = ManualClock::new();
    let windows = [Window::calls(20), Window::calls(5000), Window::time(Duration::from_secs(1))];
    for window in windows {
        let breaker = CircuitBreaker::builder()
            .window(window)
            .failure_rate(1.0)
            .slow_call(Duration::from_secs(5))
            .slow_rate(1.0)
            .clock(time.clock())
            .build()
            .expect("valid");
        let calls = || {
            allocations(|| {
                for n in 0..1000 {
                    let answer = if n % 3 == 0 { Err(n) } else { Ok(n) };
                    black_box(breaker.call_sync(|| answer).is_ok());
                    time.advance(Duration::from_millis(30));
                }
            })
        };
        calls();
        assert_eq!(calls(), 0, "{window}");
    }
}

#[test]
fn a_concurrency_limiter_allocates_when_it_is_made_and_never_after() {
    let time = ManualClock::new();
    let delay = Discipline::AdaptiveLifo { interval: Duration::from_millis(100) };
    for discipline in [Discipline::default(), delay] {
        let builder = ConcurrencyLimiter::builder(4).discipline(discipline).clock(time.clock());
        let limiter = builder.build().expect("valid");
        let held = limiter.try_acquire_many(4).expect("free");
        let mut waits: Vec<_> = (0..20).map(|_| Polled::new(limiter.acquire())).collect();
        let mut held = Some(held);
        let count = allocations(|| {
            // (A wait without a limit has a timer that never ends: no allocation.)
            assert!(waits.iter_mut().all(|wait| wait.poll().is_none()));
            held = None;
            for wait in &mut waits {
                assert!(wait.poll().is_some_and(|permit| permit.is_ok()));
            }
            for _ in 0..100 {
                drop(black_box(limiter.try_acquire_many(2)));
                assert!(FutureExt::now_or_never(limiter.acquire()).is_some_and(|permit| permit.is_ok()));
                black_box((limiter.stats(), limiter.try_acquire_many(5).is_err()));
            }
        });
        assert_eq!((count, held.is_none()), (0, true), "{discipline:?}");
    }
}

// S85: a sample is a few additions, and the step of the algorithm is made in place.
#[test]
fn an_adaptive_limit_learns_without_allocating() {
    for statistic in [Statistic::Average, Statistic::Percentile(90)] {
        let time = ManualClock::new();
        let builder = AdaptiveLimiter::builder(Vegas::new()).clock(time.clock()).statistic(statistic);
        let limiter = builder.min_samples(5).build().expect("valid");
        let bulkhead = AdaptiveBulkhead::new(limiter.clone());
        let count = allocations(|| {
            for round in 0..2000 {
                let guard = limiter.try_acquire().expect("free");
                time.advance(Duration::from_millis(100));
                if round % 50 == 0 {
                    guard.dropped()
                } else {
                    guard.success()
                }
                assert!(FutureExt::now_or_never(bulkhead.call(|| async { Ok::<_, ()>(1) })).is_some());
            }
        });
        assert_eq!(count, 0, "{statistic:?}");
        assert!(limiter.stats().updates > 100);
    }
}

// What an observer is shown is made on the stack, unless it has a key that is made on the heap.
#[test]
fn limiters_that_are_observed_do_not_allocate_for_it() {
    let time = ManualClock::new();
    let fixed = ConcurrencyLimiter::builder(2).clock(time.clock()).build().expect("valid");
    let found =
        AdaptiveLimiter::builder(Vegas::new()).clock(time.clock()).min_samples(5).build().expect("valid");
    let by_key =
        Keyed::<u64>::builder(Quota::per_second(1).burst(1)).clock(time.clock()).build().expect("valid");
    let by_route = Tiered::builder().clock(time.clock()).build().expect("valid");
    let seen = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = || {
        let seen = Arc::clone(&seen);
        move || drop(seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    };
    let (one, two, three, four, five) = (count(), count(), count(), count(), count());
    fixed.observe(move |_: &ConcurrencyEvent| one());
    found.observe(move |_: &AdaptiveEvent| two());
    found.observe_requests(move |_: &ConcurrencyEvent| three());
    by_key.observe(move |_: &KeyedEvent<u64>| four());
    by_route.observe(move |_: &TieredEvent| five());
    let request = Request::new("GET", "/users/42");
    let round = || {
        let held = fixed.try_acquire_many(2).expect("free");
        black_box(fixed.try_acquire().is_err());
        assert!(FutureExt::now_or_never(fixed.acquire()).is_none(), "and dropped");
        let mut wait = std::pin::pin!(fixed.acquire());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(wait.as_mut().poll(&mut context).is_pending());
        drop(held);
        assert!(wait.poll(&mut context).is_ready());
        let guard = found.try_acquire().expect("free");
        time.advance(Duration::from_secs(1));
        guard.success();
        black_box((by_key.try_acquire(&1).is_ok(), by_key.try_acquire(&1).is_err()));
        while by_route.try_acquire(request).is_ok() {}
    };
    round();
    let before = seen.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(allocations(|| (0..50).for_each(|_| round())), 0);
    assert!(seen.load(std::sync::atomic::Ordering::Relaxed) > before + 50 * 8, "all of them are told of");
}

#[test]
fn a_tiered_limiter_decides_on_known_keys_without_allocating() {
    let time = ManualClock::new();
    let limiter = Tiered::builder()
        .major_parameters(["guild", "channel"])
        .resource_tiers(ResourceTiers::Each)
        .route("POST /channels/{channel}/messages", Quota::per_second(10))
        .clock(time.clock())
        .build()
        .expect("valid");
    let requests = [
        Request::new("post", "/channels/7//messages?a=b").majors(&[("guild", "1")]).user("u"),
        Request::new("GET", "/users/42").resource("r").sub_resource("s").user("u"),
    ];
    let round = || {
        for request in requests {
            while limiter.try_acquire(request).is_ok() {}
            black_box(limiter.peek(request).is_ok());
            time.advance(Duration::from_millis(200));
            assert!(FutureExt::now_or_never(limiter.acquire(request)).is_some_and(|taken| taken.is_ok()));
        }
    };
    round();
    assert_eq!(allocations(|| (0..50).for_each(|_| round())), 0);
    // The same where a server has named the bucket.
    limiter.heed_fields(requests[0], [("X-RateLimit-Bucket", "abc")]);
    round();
    assert_eq!(allocations(|| (0..50).for_each(|_| round())), 0);
}

// S85
#[test]
fn calls_through_the_presets_for_callers_who_wait_allocate_nothing_when_they_go_well() {
    use cofferdam::resilience::presets;

    let client = presets::standard_client("inventory").build().expect("valid");
    let hedged = presets::hedged_client("search").build().expect("valid");
    let server = presets::server("orders").build().expect("valid");
    let well = || std::future::ready(Ok::<_, ()>(1));
    let call = || {
        let answers = [
            FutureExt::now_or_never(client.call(well)),
            FutureExt::now_or_never(hedged.call(well)),
            FutureExt::now_or_never(server.call(well)),
        ];
        answers.into_iter().all(|answer| answer == Some(Ok(1)))
    };
    assert!(call());
    assert_eq!(allocations(|| assert!((0..100).all(|_| call()))), 0);
}

// What a pool notes of a task, or does for it, is paid only where it was asked for.
// S85
#[test]
fn what_is_watched_allocates_nothing_more_while_it_goes_well() {
    let telemetry = Telemetry::builder().metrics(MetricsFacade::to(metrics::NoopRecorder)).build().unwrap();
    let (breaker, retry) = (CircuitBreaker::new(), Retry::builder().max_attempts(3).build().unwrap());
    let (semaphore, limiter) = (Arc::new(Semaphore::new(1)), TokenBucket::of(Quota::per_second(1_000_000)));
    let open = CircuitBreaker::new();
    open.trip().unwrap();
    telemetry.watch("breaker", &breaker).unwrap();
    telemetry.watch("open", &open).unwrap();
    telemetry.watch("retry", &retry).unwrap();
    telemetry.watch("semaphore", &semaphore).unwrap();
    telemetry.watch("limiter", &limiter).unwrap();
    let instrument = telemetry.instrument("calls").unwrap();
    let stack = Stack::new().layer(instrument).layer(retry).layer(breaker);
    let all = || {
        let call = stack.call(|| std::future::ready(Ok::<_, ()>(1)));
        assert!(call.now_or_never().unwrap().is_ok());
        assert!(open.call_sync(|| Ok::<_, ()>(1)).is_err());
        drop(semaphore.try_acquire());
        assert!(limiter.try_acquire().is_ok());
    };
    all();
    assert_eq!(allocations(|| (0..100).for_each(|_| all())), 0);
    telemetry.set_enabled(false);
    assert_eq!(allocations(|| (0..100).for_each(|_| all())), 0);
}

#[test]
fn a_pool_allocates_for_its_tasks_what_it_says() {
    fn per_task(set: impl FnOnce(PoolBuilder) -> PoolBuilder) -> (u64, u64) {
        per_task_watched(set, None)
    }
    fn per_task_watched(set: impl FnOnce(PoolBuilder) -> PoolBuilder, by: Option<&Telemetry>) -> (u64, u64) {
        let (pool, workers) = set(WorkerPool::builder().workers(1).queue(4)).build().unwrap();
        if let Some(telemetry) = by {
            telemetry.watch("it", &pool).unwrap();
        }
        let mut workers = Polled::new(workers.into_future());
        let mut run = |joined: bool| {
            if joined {
                let handle = pool.try_submit(async { 7 }).unwrap();
                assert!(workers.poll().is_none());
                assert_eq!(handle.now_or_never().unwrap().unwrap(), 7);
            } else {
                pool.try_execute(async {}).unwrap();
                assert!(workers.poll().is_none());
            }
        };
        for turn in 0..200 {
            run(turn % 2 == 0);
        }
        let mut count = |joined| {
            let count = allocations(|| (0..100).for_each(|_| run(joined)));
            assert_eq!(count % 100, 0, "{count}: the same for each");
            count / 100
        };
        (count(false), count(true))
    }
    assert_eq!(per_task(|builder| builder), (0, 0));
    assert_eq!(per_task(PoolBuilder::managed), (0, 0));
    assert_eq!(per_task(|builder| builder.carry_only(&[])), (0, 0));
    assert_eq!(per_task(|builder| builder.dead_letters(9)), (0, 0));
    assert_eq!(per_task(|builder| builder.reports(4)), (1, 1));
    assert_eq!(per_task(|builder| builder.observer(|_: &PoolEvent| {})), (1, 1));
    // Nobody observes.
    assert_eq!(per_task(PoolBuilder::observed), (0, 0));
    // Metrics alone.
    let telemetry = Telemetry::builder().metrics(MetricsFacade::to(metrics::NoopRecorder)).build().unwrap();
    assert_eq!(per_task_watched(PoolBuilder::observed, Some(&telemetry)), (0, 0));
    assert_eq!(per_task(|builder| builder.history(4)), (2, 2));
    assert_eq!(per_task(|builder| builder.wrap(|task| task)), (5, 5));
    // What is carried, and where it is kept.
    assert_eq!(per_task(|builder| builder.carry(|| |poll: &mut dyn FnMut()| poll())), (1, 1));
    let place = || {
        let place = std::thread::current().id();
        move |poll: &mut dyn FnMut()| drop((place, poll()))
    };
    assert_eq!(per_task(|builder| builder.carry(place)), (2, 2));
}

// The memory of tasks is recycled, up to futures of 256 bytes, handle included.
#[test]
fn a_pool_allocates_nothing_for_a_task_of_256_bytes() {
    fn task<const N: usize>() -> impl Future<Output = u64> + Send {
        let data = [1_u8; N];
        std::future::poll_fn(move |_| Poll::Ready(data.iter().map(|&byte| u64::from(byte)).sum()))
    }
    fn per_task<const N: usize>() -> (u64, u64, u64) {
        assert_eq!(size_of_val(&task::<N>()), N);
        let (pool, workers) = WorkerPool::builder().workers(1).queue(100).build().unwrap();
        let mut workers = Polled::new(workers.into_future());
        let mut handles = Vec::with_capacity(50);
        let mut round = |kind: u8| {
            match kind {
                0 => (0..50).for_each(|_| handles.push(pool.try_submit(task::<N>()).unwrap())),
                1 => (0..50).for_each(|_| pool.try_execute(task::<N>().map(drop)).unwrap()),
                _ => {
                    let tasks = (0..50).map(|_| task::<N>());
                    handles = pool.submit_all(tasks).now_or_never().unwrap().unwrap();
                }
            }
            while pool.stats().queued > 0 {
                assert!(workers.poll().is_none());
            }
            for handle in handles.drain(..) {
                assert_eq!(handle.now_or_never().unwrap().unwrap(), N as u64);
            }
        };
        (0..9).for_each(|turn| round(turn % 3));
        let mut count = |kind| allocations(|| round(kind));
        (count(0), count(1), count(2))
    }
    // A batch has a buffer, and a list of handles.
    assert_eq!(per_task::<8>(), (0, 0, 2));
    assert_eq!(per_task::<200>(), (0, 0, 2));
    assert_eq!(per_task::<256>(), (0, 0, 2));
    assert_eq!(per_task::<400>(), (50, 50, 52));
}
