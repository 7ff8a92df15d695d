//! Hot paths for callgrind: `counts NAME` runs one of them a thousand times inside a function that callgrind is told to
//! collect, `counts` lists their names. Single-threaded, so the counts are exact for one compiler and one binary.

use cofferdam::limit::concurrency::{Outcome, Vegas};
use cofferdam::limit::tiered::Request;
use cofferdam::limit::{
    AdaptiveLimiter, AdmissionControl, AllOf, Answer, ConcurrencyLimiter, Fixed, FixedWindow, Joint, Keyed,
    MultiQuota, Quota, Several, SlidingCounter, SlidingWindow, Tiered, TokenBucket,
};
use cofferdam::pool::{PoolBuilder, WorkerPool};
use cofferdam::resilience::breaker::{Builder as BreakerBuilder, Window};
use cofferdam::resilience::{Budget, Bulkhead, CircuitBreaker, Hedge, Retry, Stack, Timeout};
use cofferdam::stream::generator;
use cofferdam::sync::{CancelToken, Gate, Order, Semaphore, channel, oneshot};
use cofferdam::telemetry::{MetricsFacade, Telemetry};
use cofferdam::testkit::ManualClock;
use cofferdam::time::{Backoff, Clock};
use cofferdam::tower::PolicyLayer;
use cofferdam_benches::yield_now;
use futures_util::Stream;
use std::future::{Future, ready};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tower::{Layer as _, Service as _, service_fn};

const SECOND: Duration = Duration::from_secs(1);

/// The function that callgrind collects.
#[inline(never)]
fn measured(mut path: impl FnMut()) {
    for _ in 0..1000 {
        path();
    }
}

#[inline(always)]
fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A hot path with its set-up.
type Path = (&'static str, fn());

const PATHS: &[Path] = &[
    ("semaphore_try_acquire", || {
        let semaphore = Semaphore::new(64);
        measured(|| drop(black_box(&semaphore).try_acquire()));
    }),
    ("semaphore_acquire_ready", || {
        let semaphore = Semaphore::new(64);
        measured(|| drop(poll(black_box(&semaphore).acquire())));
    }),
    ("semaphore_enqueue_cancel", || {
        let semaphore = Semaphore::new(1);
        let _held = semaphore.try_acquire();
        measured(|| assert!(poll(black_box(&semaphore).acquire()).is_pending()));
    }),
    ("semaphore_hand_off", || hand_off(Order::Fifo)),
    ("semaphore_hand_off_barging", || hand_off(Order::Barging)),
    ("channel_send_recv", || {
        let (sender, receiver) = channel::<u64>(128).expect("a channel");
        measured(|| {
            assert!(poll(black_box(&sender).send(1)).is_ready());
            assert!(poll(black_box(&receiver).recv()).is_ready());
        });
    }),
    ("channel_wait_and_wake", || {
        let (sender, receiver) = channel::<u64>(128).expect("a channel");
        measured(|| {
            let mut waiting = pin!(receiver.recv());
            let mut cx = Context::from_waker(Waker::noop());
            assert!(waiting.as_mut().poll(&mut cx).is_pending());
            assert!(sender.try_send(1).is_ok());
            assert!(waiting.as_mut().poll(&mut cx).is_ready());
        });
    }),
    ("oneshot", || {
        measured(|| {
            let (sender, receiver) = oneshot::channel::<u64>();
            assert!(sender.send(1).is_ok());
            assert!(poll(receiver).is_ready());
        });
    }),
    ("generator_item", || item(0)),
    ("generator_item_prefetch_8", || item(8)),
    ("gate_open", || {
        let gate = Gate::new(true);
        measured(|| assert!(poll(black_box(&gate).wait()).is_ready()));
    }),
    ("cancel_token_look", || {
        let token = CancelToken::new();
        measured(|| assert!(!black_box(&token).is_cancelled()));
    }),
    ("bucket_allow_at", || {
        let (bucket, now) = bucket("1000000000/s burst 1000000000");
        measured(|| assert!(black_box(&bucket).try_acquire_at(1, now).is_ok()));
    }),
    ("bucket_deny_at", || {
        let (bucket, now) = bucket("1/h burst 1");
        assert!(bucket.try_acquire_at(1, now).is_ok());
        measured(|| assert!(black_box(&bucket).try_acquire_at(1, now).is_err()));
    }),
    ("bucket_allow_quanta", || {
        let bucket = TokenBucket::builder(ample()).clock(Clock::quanta()).build().expect("a bucket");
        measured(|| assert!(black_box(&bucket).try_acquire().is_ok()));
    }),
    ("bucket_deny_quanta", || {
        let quota = Quota::per_hour(1);
        let bucket = TokenBucket::builder(quota).clock(Clock::quanta()).build().expect("a bucket");
        assert!(bucket.try_acquire().is_ok());
        measured(|| assert!(black_box(&bucket).try_acquire().is_err()));
    }),
    ("fixed_window_allow_at", || {
        let (clock, now) = manual();
        let window = Fixed::new(1_000_000, Duration::from_secs(3600)).expect("a window");
        let window = FixedWindow::builder(window).clock(clock).build().expect("a limiter");
        measured(|| assert!(black_box(&window).try_acquire_at(1, now).is_ok()));
    }),
    ("sliding_window_allow_at", || {
        let (clock, now) = manual();
        let window = SlidingCounter::new(1_000_000, Duration::from_secs(3600)).expect("a window");
        let window = SlidingWindow::builder(window).clock(clock).build().expect("a limiter");
        measured(|| assert!(black_box(&window).try_acquire_at(1, now).is_ok()));
    }),
    ("multi_quota_3_allow_at", || {
        let (clock, now) = manual();
        let quotas = Several::new([ample(); 3]).expect("quotas");
        let limiter = MultiQuota::builder(quotas).clock(clock).build().expect("a limiter");
        measured(|| assert!(black_box(&limiter).try_acquire_at(1, now).is_ok()));
    }),
    ("all_of_3_allow_at", || {
        let (clock, now) = manual();
        let mut joint = Joint::builder();
        for name in ["second", "minute", "everybody"] {
            let bucket = TokenBucket::builder(ample()).clock(clock.clone()).build().expect("a bucket");
            joint = joint.with(name, bucket);
        }
        let limiter = AllOf::of(joint.build().expect("a set"));
        measured(|| assert!(black_box(&limiter).try_acquire_at(1, now).is_ok()));
    }),
    ("tiered_route_at", || tiered(Request::new("GET", "/orders/17"))),
    ("tiered_route_and_resource_at", || tiered(Request::new("GET", "/orders/17").resource("r42"))),
    ("concurrency_try", || {
        let limiter = ConcurrencyLimiter::new(64).expect("a limiter");
        measured(|| drop(black_box(&limiter).try_acquire()));
    }),
    ("concurrency_ready", || {
        let limiter = ConcurrencyLimiter::new(64).expect("a limiter");
        measured(|| drop(poll(black_box(&limiter).acquire())));
    }),
    ("adaptive_success", || {
        let (clock, now) = manual();
        let limiter = AdaptiveLimiter::builder(Vegas::new()).clock(clock).build().expect("a limiter");
        measured(|| {
            let guard = black_box(&limiter).try_acquire_at(now);
            assert!(guard.map(|guard| guard.record_at(Outcome::Success, now)).is_ok());
        });
    }),
    ("admission_accepted", || {
        let (clock, now) = manual();
        let control = AdmissionControl::builder().clock(clock).build().expect("admission control");
        measured(|| {
            let permit = black_box(&control).try_acquire_at(now, 0.5);
            assert!(permit.map(|permit| permit.record_at(Answer::Accepted, now)).is_ok());
        });
    }),
    ("keyed_hit_allow_at", || {
        let (limiter, now) = keyed();
        let mut key = 0_u64;
        measured(|| {
            assert!(black_box(&limiter).try_acquire_at(&key, 1, now).is_ok());
            key = (key + 1) % 1000;
        });
    }),
    ("keyed_hit_allow_quanta", || {
        // None of them idle in the time of a run.
        let quota = Quota::per_second(1000).burst(1_000_000_000);
        let limiter = Keyed::builder(quota).clock(Clock::quanta()).build().expect("a limiter");
        let mut key = 0_u64;
        (0..1000_u64).for_each(|key| assert!(limiter.try_acquire_many(&key, 1_000_000).is_ok()));
        measured(|| {
            assert!(black_box(&limiter).try_acquire(&key).is_ok());
            key = (key + 1) % 1000;
        });
    }),
    ("keyed_hit_allow_at_text", || {
        let (clock, now) = manual();
        let limiter = Keyed::<String>::builder(ample()).clock(clock).build().expect("a limiter");
        let keys: Vec<_> = (0..1000).map(|key| format!("tenant-{key:06}")).collect();
        for key in &keys {
            assert!(limiter.try_acquire_at(key, 1, now).is_ok());
        }
        let mut keys = keys.iter();
        measured(|| {
            let key = keys.next().map_or("", String::as_str);
            assert!(black_box(&limiter).try_acquire_at(key, 1, now).is_ok());
        });
    }),
    ("keyed_new_key_for_idle_at", || {
        // Full, and all idle: each new one takes the place of old ones. By a hash that is the same in every run.
        let (clock, now) = manual();
        let limiter = Keyed::<u64>::builder(ample())
            .capacity(1000)
            .clock(clock)
            .hasher(BuildHasherDefault::<DefaultHasher>::default());
        let limiter = limiter.build().expect("a limiter");
        for key in 0..1000 {
            assert!(limiter.try_acquire_at(&key, 1, now).is_ok());
        }
        let later = now + Duration::from_secs(3600);
        let mut key = 1000_u64;
        measured(|| {
            assert!(black_box(&limiter).try_acquire_at(&key, 1, later).is_ok());
            key += 1;
        });
    }),
    ("breaker_closed_ok", || {
        let breaker = CircuitBreaker::new();
        measured(|| drop(black_box(&breaker).call_sync(|| Ok::<_, ()>(1))));
    }),
    ("breaker_closed_failing", || {
        let breaker = CircuitBreaker::builder().failure_threshold(1_000_000).build().expect("a breaker");
        measured(|| drop(black_box(&breaker).call_sync(|| Err::<(), _>(1))));
    }),
    ("breaker_window_of_calls_ok", || breaker_ok(CircuitBreaker::builder().failure_rate(0.5))),
    ("breaker_window_of_calls_failing", || {
        let window = Window::calls(1000);
        let builder = CircuitBreaker::builder().window(window).failure_rate(1.0).minimum_calls(1000);
        let breaker = builder.clock(manual().0).build().expect("a breaker");
        assert!(breaker.call_sync(|| Ok::<_, ()>(1)).is_ok());
        breaker.metrics_only().expect("closed before");
        measured(|| drop(black_box(&breaker).call_sync(|| Err::<(), _>(1))));
    }),
    ("breaker_window_of_time_ok", || {
        let window = Window::time(Duration::from_secs(10));
        breaker_ok(CircuitBreaker::builder().window(window).failure_rate(0.5));
    }),
    ("breaker_slow_calls_ok", || {
        let builder = CircuitBreaker::builder().slow_call(Duration::from_secs(1)).slow_rate(0.5);
        breaker_ok(builder);
    }),
    ("breaker_open", || {
        let breaker = CircuitBreaker::builder().clock(manual().0).build().expect("a breaker");
        breaker.trip().expect("closed before");
        measured(|| drop(black_box(&breaker).call_sync(|| Ok::<_, ()>(1))));
    }),
    ("retry_first_attempt", || {
        let retry = Retry::builder().max_attempts(3).build().expect("a policy");
        measured(|| assert!(poll(black_box(&retry).call(|| async { Ok::<_, ()>(1) })).is_ready()));
    }),
    ("retry_two_failures", || {
        let retry = Retry::builder().max_attempts(3).backoff(Backoff::ZERO).build().expect("a policy");
        let mut calls = 0_u32;
        measured(|| {
            let op = || {
                calls += 1;
                std::future::ready(if calls.is_multiple_of(3) { Ok(calls) } else { Err(calls) })
            };
            assert!(poll(black_box(&retry).call(op)).is_ready());
        });
    }),
    ("retry_failure_by_quota", || {
        let budget = Budget::quota(1_000).build().expect("a budget");
        let retry = Retry::builder().backoff(Backoff::ZERO).budget(budget).build().expect("a policy");
        let mut calls = 0_u32;
        measured(|| {
            let op = || {
                calls += 1;
                std::future::ready(if calls.is_multiple_of(2) { Ok(calls) } else { Err(calls) })
            };
            assert!(poll(black_box(&retry).call(op)).is_ready());
        });
    }),
    ("hedge_ready", || {
        let hedge = Hedge::after(Duration::from_secs(1)).build().expect("a policy");
        measured(|| assert!(poll(black_box(&hedge).call(|| async { Ok::<_, ()>(1) })).is_ready()));
    }),
    ("timeout_pending_once", || {
        let timeout = Timeout::attempt(Duration::from_secs(1));
        measured(|| {
            let call = black_box(&timeout).call(|| async {
                yield_now().await;
                Ok::<_, ()>(1)
            });
            let mut call = pin!(call);
            let mut cx = Context::from_waker(Waker::noop());
            assert!(call.as_mut().poll(&mut cx).is_pending());
            assert!(call.as_mut().poll(&mut cx).is_ready());
        });
    }),
    ("timeout_ready", || {
        let timeout = Timeout::attempt(Duration::from_secs(1));
        measured(|| assert!(poll(black_box(&timeout).call(|| async { Ok::<_, ()>(1) })).is_ready()));
    }),
    ("stack_ready", || {
        let stack = Stack::new()
            .retry(Retry::builder().max_attempts(3).build().expect("a policy"))
            .breaker(CircuitBreaker::new())
            .bulkhead(Bulkhead::new(64).expect("a bulkhead"))
            .timeout(Timeout::attempt(Duration::from_secs(1)));
        measured(|| assert!(poll(black_box(&stack).call(|| async { Ok::<_, ()>(1) })).is_ready()));
    }),
    ("stack_ready_owned", || {
        let stack = Arc::new(Stack::new().breaker(CircuitBreaker::new()).timeout(Timeout::attempt(SECOND)));
        measured(|| assert!(poll(black_box(&stack).call_owned(|| async { Ok::<_, ()>(1) })).is_ready()));
    }),
    ("tower_once_ready", || {
        let stack = Stack::new().breaker(CircuitBreaker::new()).timeout(Timeout::attempt(SECOND));
        let mut service = PolicyLayer::once(stack).layer(service_fn(|n: u64| ready(Ok::<_, ()>(n))));
        measured(|| assert!(poll(black_box(&mut service).call(1)).is_ready()));
    }),
    ("tower_cloning_ready", || {
        let retry = Retry::builder().max_attempts(3).build().expect("a policy");
        let mut service = PolicyLayer::new(retry).layer(service_fn(|n: u64| ready(Ok::<_, ()>(n))));
        measured(|| assert!(poll(black_box(&mut service).call(1)).is_ready()));
    }),
    ("semaphore_watched", || {
        let (telemetry, semaphore) = (telemetry(), Arc::new(Semaphore::new(64)));
        telemetry.watch("bench", &semaphore).expect("the first");
        measured(|| drop(black_box(&semaphore).try_acquire()));
    }),
    ("bucket_allow_at_watched", || {
        let (telemetry, (bucket, now)) = (telemetry(), bucket("1000000000/s burst 1000000000"));
        telemetry.watch("bench", &bucket).expect("the first");
        measured(|| assert!(black_box(&bucket).try_acquire_at(1, now).is_ok()));
    }),
    ("breaker_closed_ok_watched", || {
        let (telemetry, breaker) = (telemetry(), CircuitBreaker::new());
        telemetry.watch("bench", &breaker).expect("the first");
        measured(|| drop(black_box(&breaker).call_sync(|| Ok::<_, ()>(1))));
    }),
    ("instrument_switched_off", || instrument(false)),
    ("instrument_metrics", || instrument(true)),
    ("pool_observable_execute", || {
        pool_of(WorkerPool::builder().observed(), |pool| drop(pool.try_execute(async {})));
    }),
    ("pool_carrying_execute", || {
        let builder = WorkerPool::builder().carry(|| |poll: &mut dyn FnMut()| poll());
        pool_of(builder, |pool| drop(pool.try_execute(async {})));
    }),
    ("pool_execute_and_run", || pool(|pool| drop(pool.try_execute(async {})))),
    ("pool_submit_and_join", || {
        pool(|pool| {
            let handle = pool.try_submit(async { 1 });
            drop(handle);
        })
    }),
];

/// Never exhausted.
fn ample() -> Quota {
    Quota::per_second(1_000_000_000).burst(1_000_000_000)
}

/// A clock that stands, and its time.
fn manual() -> (Clock, Instant) {
    let clock = ManualClock::new().clock();
    let now = clock.now();
    (clock, now)
}

fn bucket(quota: &str) -> (TokenBucket, Instant) {
    let quota: Quota = quota.parse().expect("a quota");
    let (clock, now) = manual();
    (TokenBucket::builder(quota).clock(clock).build().expect("a bucket"), now)
}

/// A thousand keys that have been used.
fn keyed() -> (Keyed<u64>, Instant) {
    let (clock, now) = manual();
    let limiter = Keyed::builder(ample()).clock(clock).build().expect("a limiter");
    for key in 0..1000 {
        assert!(limiter.try_acquire_at(&key, 1, now).is_ok());
    }
    (limiter, now)
}

fn tiered(request: Request<'_>) {
    let (clock, now) = manual();
    let limiter = Tiered::builder()
        .global(ample())
        .route("GET /orders/{id}", ample())
        .route("POST /orders", ample())
        .route("GET /users/{id}/orders/{order}", ample())
        .resource(ample())
        .clock(clock)
        .build()
        .expect("a limiter");
    // The buckets come with the first request.
    assert!(limiter.try_acquire_at(request, now).is_ok());
    measured(|| assert!(black_box(&limiter).try_acquire_at(black_box(request), now).is_ok()));
}

/// Success after success by the manual clock, with the window full.
fn breaker_ok(builder: BreakerBuilder) {
    let breaker = builder.clock(manual().0).build().expect("a breaker");
    let call = || drop(black_box(&breaker).call_sync(|| Ok::<_, ()>(1)));
    (0..200).for_each(|_| call());
    measured(call);
}

/// With a recorder that does nothing.
fn telemetry() -> Telemetry {
    Telemetry::builder().metrics(MetricsFacade::to(metrics::NoopRecorder)).build().expect("a telemetry")
}

/// A call that is ready, looked at by the manual clock.
fn instrument(on: bool) {
    let builder = Telemetry::builder().metrics(MetricsFacade::to(metrics::NoopRecorder));
    let telemetry = builder.clock(manual().0).build().expect("a telemetry");
    telemetry.set_enabled(on);
    let stack = Stack::new().layer(telemetry.instrument("bench").expect("the first"));
    measured(|| assert!(poll(black_box(&stack).call(|| ready(Ok::<_, ()>(1)))).is_ready()));
}

fn pool(submit: impl Fn(&WorkerPool)) {
    pool_of(WorkerPool::builder(), submit);
}

/// One worker that is polled by hand after each submission.
fn pool_of(builder: PoolBuilder, submit: impl Fn(&WorkerPool)) {
    let (pool, workers) = builder.workers(1).queue(64).build().expect("a pool");
    let mut workers: Vec<_> = workers.map(Box::pin).collect();
    let mut cx = Context::from_waker(Waker::noop());
    measured(|| {
        submit(&pool);
        for worker in &mut workers {
            assert!(worker.as_mut().poll(&mut cx).is_pending());
        }
    });
}

fn hand_off(order: Order) {
    let semaphore = Semaphore::builder(1).order(order).build().expect("a semaphore");
    let semaphore = &semaphore;
    measured(|| {
        let held = semaphore.try_acquire();
        let mut waiter = pin!(semaphore.acquire());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waiter.as_mut().poll(&mut cx).is_pending());
        drop(held);
        assert!(waiter.as_mut().poll(&mut cx).is_ready());
    });
}

/// An item of a producer that never waits for anything but its emits.
fn item(ahead: usize) {
    let numbers = generator(|y| async move {
        for number in 0_u64.. {
            y.emit(black_box(number)).await;
        }
    });
    items(numbers.prefetch(ahead));
}

/// An item of a stream that never waits.
fn items(stream: impl Stream<Item = u64>) {
    let mut stream = pin!(stream);
    let mut cx = Context::from_waker(Waker::noop());
    let mut sum = 0_u64;
    measured(|| {
        if let Poll::Ready(Some(item)) = stream.as_mut().poll_next(&mut cx) {
            sum = sum.wrapping_add(item);
        }
    });
    assert_eq!(black_box(sum), 999 * 500);
}

fn main() {
    let wanted = std::env::args().nth(1);
    for (name, run) in PATHS {
        match &wanted {
            None => println!("{name}"),
            Some(wanted) if wanted == name => run(),
            Some(_) => {}
        }
    }
}
