//! Policies as `tower` layers around a service that is ready: the service alone, ours, tower's own layers, and those of
//! tower-resilience, in the same composition.

use cofferdam::resilience::{Bulkhead, CircuitBreaker, Retry, Stack, Timeout};
use cofferdam::tower::PolicyLayer;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tower::{BoxError, Layer as _, Service, ServiceBuilder, service_fn};
use tower_resilience_bulkhead::BulkheadLayer;
use tower_resilience_circuitbreaker::CircuitBreakerLayer;
use tower_resilience_retry::RetryLayer;
use tower_resilience_timelimiter::TimeLimiterLayer;

const SECOND: Duration = Duration::from_secs(1);

type Answer = Ready<Result<u64, std::io::Error>>;

fn answer(number: u64) -> Answer {
    ready(Ok(black_box(number)))
}

/// Polled ready, called, and polled to its end, as a server does.
fn bench<S: Service<u64>>(group: &mut BenchmarkGroup<'_, WallTime>, id: &str, mut service: S) {
    group.bench_function(id, |b| {
        b.iter(|| {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(black_box(&mut service).poll_ready(&mut cx).is_ready());
            let Poll::Ready(outcome) = pin!(service.call(black_box(7))).poll(&mut cx) else {
                panic!("not ready")
            };
            assert!(outcome.is_ok());
        });
    });
}

/// Tower's timers want a runtime.
fn in_tokio(benches: impl FnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    benches();
}

#[derive(Clone)]
struct Again(u32);

impl<E> tower::retry::Policy<u64, u64, E> for Again {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut u64, result: &mut Result<u64, E>) -> Option<Self::Future> {
        if result.is_ok() || self.0 == 0 {
            return None;
        }
        self.0 -= 1;
        Some(ready(()))
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}

fn our_retry() -> Retry {
    Retry::builder().max_attempts(3).build().expect("a retry")
}

fn nothing(c: &mut Criterion) {
    let mut group = c.benchmark_group("tower/nothing");
    bench(&mut group, "floor", service_fn(answer));
    bench(&mut group, "cofferdam", PolicyLayer::once(()).layer(service_fn(answer)));
    bench(&mut group, "cofferdam-cloning", PolicyLayer::new(()).layer(service_fn(answer)));
}

fn timeout(c: &mut Criterion) {
    in_tokio(|| {
        let mut group = c.benchmark_group("tower/timeout");
        bench(&mut group, "floor", service_fn(answer));
        bench(&mut group, "cofferdam", PolicyLayer::once(Timeout::attempt(SECOND)).layer(service_fn(answer)));
        bench(&mut group, "tower", tower::timeout::TimeoutLayer::new(SECOND).layer(service_fn(answer)));
        let peer = TimeLimiterLayer::builder().timeout_duration(SECOND).build();
        bench(&mut group, "tower-resilience", peer.layer(service_fn(answer)));
    });
}

fn bulkhead(c: &mut Criterion) {
    in_tokio(|| {
        let mut group = c.benchmark_group("tower/bulkhead");
        bench(&mut group, "floor", service_fn(answer));
        let ours = Bulkhead::new(64).expect("a bulkhead");
        bench(&mut group, "cofferdam", PolicyLayer::once(ours).layer(service_fn(answer)));
        bench(&mut group, "tower", tower::limit::ConcurrencyLimitLayer::new(64).layer(service_fn(answer)));
        let peer = BulkheadLayer::builder().max_concurrent_calls(64).build().expect("a layer");
        bench(&mut group, "tower-resilience", peer.layer(service_fn(answer)));
    });
}

fn breaker(c: &mut Criterion) {
    let mut group = c.benchmark_group("tower/breaker");
    bench(&mut group, "floor", service_fn(answer));
    bench(&mut group, "cofferdam", PolicyLayer::once(CircuitBreaker::new()).layer(service_fn(answer)));
    let peer = CircuitBreakerLayer::builder().consecutive_failures(5).build().expect("a layer");
    bench(&mut group, "tower-resilience", peer.layer(service_fn(answer)));
}

fn retry(c: &mut Criterion) {
    in_tokio(|| {
        let mut group = c.benchmark_group("tower/retry");
        bench(&mut group, "floor", service_fn(answer));
        bench(&mut group, "cofferdam", PolicyLayer::new(our_retry()).layer(service_fn(answer)));
        bench(&mut group, "tower", tower::retry::RetryLayer::new(Again(2)).layer(service_fn(answer)));
        let peer = RetryLayer::<u64, u64, std::io::Error>::builder().max_attempts(3).build();
        bench(&mut group, "tower-resilience", peer.layer(service_fn(answer)));
    });
}

fn full(c: &mut Criterion) {
    in_tokio(|| {
        let mut group = c.benchmark_group("tower/full");
        bench(&mut group, "floor", service_fn(answer));
        let stack = Stack::new()
            .retry(our_retry())
            .breaker(CircuitBreaker::new())
            .bulkhead(Bulkhead::new(64).expect("a bulkhead"))
            .timeout(Timeout::attempt(SECOND));
        bench(&mut group, "cofferdam", PolicyLayer::new(stack).layer(service_fn(answer)));
        let peer = ServiceBuilder::new()
            .layer(tower::retry::RetryLayer::new(Again(2)))
            .concurrency_limit(64)
            .timeout(SECOND)
            .service(service_fn(|number| async move { answer(number).await.map_err(BoxError::from) }));
        bench(&mut group, "tower-without-breaker", peer);
        let peer = ServiceBuilder::new()
            .layer(RetryLayer::builder().max_attempts(3).build())
            .layer(CircuitBreakerLayer::builder().consecutive_failures(5).build().expect("a layer"))
            .layer(BulkheadLayer::builder().max_concurrent_calls(64).build().expect("a layer"))
            .layer(TimeLimiterLayer::builder().timeout_duration(SECOND).build())
            .service(service_fn(answer));
        bench(&mut group, "tower-resilience", peer);
    });
}

criterion_group!(benches, nothing, timeout, bulkhead, breaker, retry, full);
criterion_main!(benches);
