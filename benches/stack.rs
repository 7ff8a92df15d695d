//! Policies around a future that is ready, or nearly: a floor written by hand, ours, and the peers.

use async_io::Timer;
use backon::{BackoffBuilder as _, ConstantBuilder, Retryable as _};
use cofferdam::resilience::{Bulkhead, CircuitBreaker, Hedge, Latencies, Retry, Stack, Timeout};
use cofferdam::time::Backoff;
use cofferdam_benches::yield_now;
use criterion::{Criterion, criterion_group, criterion_main};
use layered::{Execute, Service as _, Stack as _};
use seatbelt::{RecoveryInfo, ResilienceContext};
use std::future::{Future, ready};
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tower::{Service, ServiceBuilder, service_fn};

const SECOND: Duration = Duration::from_secs(1);

/// Runs a call as a caller does: who looks at the value, and not at the place in memory where a whole result is.
fn run<T, E>(future: impl Future<Output = Result<T, E>>) -> Option<T> {
    finish(future).ok()
}

/// Polls until it is ready. What is pending has woken itself.
fn finish<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Failed;

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("failed")
    }
}

impl std::error::Error for Failed {}

/// An operation that fails so many times out of each three.
fn failing(failures: u64) -> impl Fn() -> std::future::Ready<Result<u64, Failed>> {
    let calls = AtomicU64::new(0);
    move || {
        let n = calls.load(Ordering::Relaxed);
        calls.store(n + 1, Ordering::Relaxed);
        ready(if n % 3 < failures { Err(Failed) } else { Ok(n) })
    }
}

#[derive(Clone)]
struct Again(u32);

impl tower::retry::Policy<(), u64, Failed> for Again {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, (): &mut (), result: &mut Result<u64, Failed>) -> Option<Self::Future> {
        if result.is_ok() || self.0 == 0 {
            return None;
        }
        self.0 -= 1;
        Some(ready(()))
    }

    fn clone_request(&mut self, (): &()) -> Option<()> {
        Some(())
    }
}

fn tower_call<S: Service<()>>(service: &mut S) -> Option<S::Response> {
    let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(ready.is_ready());
    run(service.call(()))
}

type Answer = Result<u64, Failed>;

/// What the policies of seatbelt have in common.
fn seatbelt_context() -> ResilienceContext<(), Answer> {
    ResilienceContext::new(tick::Clock::new_tokio())
}

fn seatbelt_recovery(answer: &Answer) -> RecoveryInfo {
    if answer.is_ok() { RecoveryInfo::never() } else { RecoveryInfo::retry() }
}

fn seatbelt_retry() -> seatbelt::retry::RetryLayer<(), Answer> {
    seatbelt::retry::Retry::layer("retry", &seatbelt_context())
        .clone_input()
        .recovery_with(|answer: &Answer, _| seatbelt_recovery(answer))
        .max_retry_attempts(2)
        .base_delay(Duration::ZERO)
        .use_jitter(false)
}

fn seatbelt_timeout() -> seatbelt::timeout::TimeoutLayer<(), Answer> {
    seatbelt::timeout::Timeout::layer("timeout", &seatbelt_context())
        .timeout_error(|_| Failed)
        .timeout(SECOND)
}

fn retry_group(c: &mut Criterion, name: &str, failures: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    let mut group = c.benchmark_group(name);
    let op = failing(failures);
    group.bench_function("floor", |b| {
        b.iter(|| {
            run(async {
                let mut left = 3_u32;
                loop {
                    left -= 1;
                    match black_box(&op)().await {
                        Err(_) if left > 0 => {}
                        outcome => break outcome,
                    }
                }
            })
        });
    });
    let op = failing(failures);
    let retry = Retry::builder().max_attempts(3).backoff(Backoff::ZERO).build().expect("a retry");
    group.bench_function("cofferdam", |b| b.iter(|| run(black_box(&retry).call(|| black_box(&op)()))));
    let op = failing(failures);
    let backoff = ConstantBuilder::default().with_delay(Duration::ZERO).with_max_times(2);
    group.bench_function("backon", |b| {
        b.iter(|| run((|| black_box(&op)()).retry(black_box(backoff).build()).sleep(|_| ready(()))));
    });
    // Its sleeps, even of nothing, wait for the timer of tokio, which nobody drives here.
    if failures == 0 {
        let op = failing(failures);
        group.bench_function("tokio-retry", |b| {
            b.iter(|| {
                let delays = tokio_retry::strategy::FixedInterval::new(Duration::ZERO).take(2);
                run(tokio_retry::Retry::start(black_box(delays), || black_box(&op)()))
            });
        });
    }
    let op = Arc::new(failing(failures));
    let mut service = tower::retry::Retry::new(Again(2), service_fn(move |()| black_box(&*op)()));
    group.bench_function("tower", |b| b.iter(|| tower_call(black_box(&mut service))));
    let op = failing(failures);
    let service = (seatbelt_retry(), Execute::new(move |()| black_box(&op)())).into_service();
    group.bench_function("seatbelt", |b| b.iter(|| run(black_box(&service).execute(()))));
}

fn retry_first_ok(c: &mut Criterion) {
    retry_group(c, "stack/retry_first_ok", 0);
}

fn retry_two_failures(c: &mut Criterion) {
    retry_group(c, "stack/retry_two_failures", 2);
}

fn timeout_group<F>(c: &mut Criterion, name: &str, op: fn() -> F)
where
    F: Future<Output = Answer> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    let mut group = c.benchmark_group(name);
    group.bench_function("floor", |b| b.iter(|| run(black_box(op)())));
    let timeout = Timeout::attempt(SECOND);
    group.bench_function("cofferdam", |b| b.iter(|| run(black_box(&timeout).call(black_box(op)))));
    group.bench_function("tokio", |b| b.iter(|| run(tokio::time::timeout(SECOND, black_box(op)()))));
    let mut service = tower::timeout::Timeout::new(service_fn(move |()| black_box(op)()), SECOND);
    group.bench_function("tower", |b| b.iter(|| tower_call(black_box(&mut service))));
    let service = (seatbelt_timeout(), Execute::new(move |()| black_box(op)())).into_service();
    group.bench_function("seatbelt", |b| b.iter(|| run(black_box(&service).execute(()))));
    group.bench_function("async-io", |b| {
        b.iter(|| {
            finish(futures_util::future::select(pin!(black_box(op)()), Timer::after(SECOND)));
        });
    });
}

fn timeout_ready(c: &mut Criterion) {
    timeout_group(c, "stack/timeout_ready", || ready(Ok(7)));
}

fn timeout_pending_once(c: &mut Criterion) {
    timeout_group(c, "stack/timeout_pending_once", || async {
        yield_now().await;
        Ok(7)
    });
}

/// What a call pays that is not hedged. tower's hedge boxes each, records it, and needs a runtime.
fn hedge_ready(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    let mut group = c.benchmark_group("stack/hedge_ready");
    let op = failing(0);
    group.bench_function("floor", |b| b.iter(|| run(black_box(&op)())));
    let hedge = Hedge::after(SECOND).build().expect("a hedge");
    group.bench_function("cofferdam", |b| b.iter(|| run(black_box(&hedge).call(|| black_box(&op)()))));
    let latencies = Latencies::builder(0.95).build().expect("latencies");
    let hedge = Hedge::after_quantile(latencies).build().expect("a hedge");
    group.bench_function("cofferdam-quantile", |b| {
        b.iter(|| run(black_box(&hedge).call(|| black_box(&op)())));
    });
    let op = Arc::new(failing(0));
    let service = service_fn(move |()| black_box(&*op)());
    let mut service = tower::hedge::Hedge::new(service, Always, 10, 0.95, SECOND);
    group.bench_function("tower", |b| b.iter(|| tower_call(black_box(&mut service))));
}

#[derive(Clone)]
struct Always;

impl tower::hedge::Policy<()> for Always {
    fn clone_request(&self, (): &()) -> Option<()> {
        Some(())
    }

    fn can_retry(&self, (): &()) -> bool {
        true
    }
}

fn full_ready(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    let mut group = c.benchmark_group("stack/full_ready");
    let op = failing(0);

    // Take a place, look at the breaker, tell it, give the place back.
    let (places, breaker) = (AtomicU64::new(64), AtomicU64::new(0));
    group.bench_function("floor", |b| {
        b.iter(|| {
            let (places, breaker) = (black_box(&places), black_box(&breaker));
            let mut free = places.load(Ordering::Relaxed);
            while let Err(now) =
                places.compare_exchange_weak(free, free - 1, Ordering::Acquire, Ordering::Relaxed)
            {
                free = now;
            }
            assert!(breaker.load(Ordering::Acquire) < u64::MAX);
            let outcome = run(black_box(&op)());
            breaker.fetch_add(1, Ordering::Relaxed);
            places.fetch_add(1, Ordering::Release);
            outcome
        });
    });

    let stack = Stack::new()
        .retry(Retry::builder().max_attempts(3).build().expect("a retry"))
        .breaker(CircuitBreaker::new())
        .bulkhead(Bulkhead::new(64).expect("a bulkhead"))
        .timeout(Timeout::attempt(SECOND));
    assert_eq!(stack.lint(), []);
    group.bench_function("cofferdam", |b| b.iter(|| run(black_box(&stack).call(|| black_box(&op)()))));

    let places = tokio::sync::Semaphore::new(64);
    let breaker = recloser::AsyncRecloser::from(recloser::Recloser::default());
    let backoff = ConstantBuilder::default().with_delay(Duration::ZERO).with_max_times(2);
    group.bench_function("by-hand", |b| {
        b.iter(|| {
            let attempt = || async {
                let _place = places.acquire().await.map_err(|_| Failed)?;
                let timed = async {
                    match tokio::time::timeout(SECOND, black_box(&op)()).await {
                        Ok(outcome) => outcome,
                        Err(_) => Err(Failed),
                    }
                };
                breaker.call(timed).await.map_err(|_| Failed)
            };
            run(attempt.retry(black_box(backoff).build()).sleep(|_| ready(())))
        });
    });

    let shared = Arc::new(failing(0));
    let mut service = ServiceBuilder::new()
        .retry(AgainBoxed(2))
        .concurrency_limit(64)
        .timeout(SECOND)
        .service(service_fn(move |()| black_box(&*shared)()));
    group.bench_function("tower-without-breaker", |b| {
        b.iter(|| tower_call(black_box(&mut service)));
    });

    // It has no bulkhead.
    let op = failing(0);
    let breaker = seatbelt::breaker::Breaker::layer("breaker", &seatbelt_context())
        .recovery_with(|answer: &Answer, _| seatbelt_recovery(answer))
        .rejected_input_error(|(), _| Failed);
    let op = Execute::new(move |()| black_box(&op)());
    let service = (seatbelt_retry(), breaker, seatbelt_timeout(), op).into_service();
    group.bench_function("seatbelt-without-bulkhead", |b| b.iter(|| run(black_box(&service).execute(()))));
}

#[derive(Clone)]
struct AgainBoxed(u32);

impl tower::retry::Policy<(), u64, tower::BoxError> for AgainBoxed {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, (): &mut (), result: &mut Result<u64, tower::BoxError>) -> Option<Self::Future> {
        if result.is_ok() || self.0 == 0 {
            return None;
        }
        self.0 -= 1;
        Some(ready(()))
    }

    fn clone_request(&mut self, (): &()) -> Option<()> {
        Some(())
    }
}

criterion_group!(
    benches,
    retry_first_ok,
    retry_two_failures,
    timeout_ready,
    timeout_pending_once,
    hedge_ready,
    full_ready
);
criterion_main!(benches);
