//! Each component on its hot path, looked at by nobody, by metrics and by `tracing`.

use cofferdam::limit::tiered::Request;
use cofferdam::limit::{AdmissionControl, Answer, Keyed, Quota, Tiered, TokenBucket};
use cofferdam::pool::{PoolBuilder, WorkerPool};
use cofferdam::resilience::{Bulkhead, Cache, CircuitBreaker, Fallback, Hedge, Retry, Stack, Timeout};
use cofferdam::sync::Semaphore;
use cofferdam::telemetry::{MetricsFacade, Telemetry, TracingCarrier, TracingFacade, Watch};
use cofferdam::testkit::ManualClock;
use cofferdam::time::{Backoff, Clock};
use metrics::{CounterFn, GaugeFn, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use std::future::{Future, ready};
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// One way to be looked at, and what is then done again and again.
pub(crate) struct Contender {
    /// The component.
    pub(crate) component: &'static str,
    /// Who looks.
    pub(crate) by: &'static str,
    /// The hot path.
    pub(crate) path: Box<dyn FnMut()>,
}

/// Who looks, apart from nobody.
const LOOKERS: [&str; 2] = ["metrics", "tracing"];

fn telemetry(by: &str) -> Telemetry {
    let builder = Telemetry::builder();
    let builder = match by {
        "metrics" => builder.metrics(MetricsFacade::to(Counting)),
        _ => builder.logger(TracingFacade).tracer(TracingFacade),
    };
    builder.build().expect("a telemetry")
}

/// The same component once more for each who looks.
fn add<C: Watch + 'static>(
    all: &mut Vec<Contender>,
    component: &'static str,
    make: impl Fn() -> C,
    path: impl Fn(&C) + Copy + 'static,
) {
    let alone = make();
    all.push(Contender { component, by: "nobody", path: Box::new(move || path(black_box(&alone))) });
    for by in LOOKERS {
        let (telemetry, watched) = (telemetry(by), make());
        telemetry.watch("bench", &watched).expect("the first");
        let path = Box::new(move || {
            path(black_box(&watched));
            // It must not be dropped meanwhile.
            black_box(&telemetry);
        });
        all.push(Contender { component, by, path });
    }
}

/// All of them; those of one component in a row, the one that nobody looks at first.
pub(crate) fn contenders() -> Vec<Contender> {
    let mut all = Vec::new();
    let (clock, now) = manual();
    add(&mut all, "semaphore", || Arc::new(Semaphore::new(64)), |semaphore| drop(semaphore.try_acquire()));
    limits(&mut all, &clock, now);
    add(&mut all, "breaker", CircuitBreaker::new, |breaker| {
        let _ = black_box(breaker.call_sync(|| Ok::<_, ()>(1)));
    });
    let open = || {
        let breaker = CircuitBreaker::new();
        breaker.trip().expect("closed before");
        breaker
    };
    add(&mut all, "breaker_open", open, |breaker| {
        let _ = black_box(breaker.call_sync(|| Ok::<_, ()>(1)));
    });
    let retry = || Retry::builder().max_attempts(3).backoff(Backoff::ZERO).build().expect("a policy");
    add(&mut all, "retry", retry, |retry| poll(retry.call(|| ready(Ok::<_, ()>(1)))));
    add(&mut all, "retry_in_vain", retry, |retry| poll(retry.call(|| ready(Err::<(), _>(1)))));
    let timeout = || Timeout::attempt(Duration::from_secs(1));
    add(&mut all, "timeout", timeout, |timeout| poll(timeout.call(|| ready(Ok::<_, ()>(1)))));
    let hedge = || Hedge::after(Duration::from_secs(1)).build().expect("a policy");
    add(&mut all, "hedge", hedge, |hedge| poll(hedge.call(|| ready(Ok::<_, ()>(1)))));
    add(
        &mut all,
        "fallback",
        || Fallback::value(7),
        |fallback| {
            poll(fallback.call(|| ready(Ok::<i32, ()>(1))));
        },
    );
    add(
        &mut all,
        "fallback_used",
        || Fallback::value(7),
        |fallback| {
            poll(fallback.call(|| ready(Err::<i32, ()>(()))));
        },
    );
    let cache = || {
        let cache = Cache::<u64, u64, ()>::new(64).expect("a cache");
        poll(cache.get_or_load(&1, || ready(Ok(1))));
        cache
    };
    add(&mut all, "cache_hit", cache, |cache| poll(cache.get_or_load(&1, || ready(Ok(1)))));
    calls(&mut all);
    pools(&mut all);
    all
}

fn limits(all: &mut Vec<Contender>, clock: &Clock, now: Instant) {
    let bucket = || TokenBucket::builder(ample()).clock(clock.clone()).build().expect("a bucket");
    add(all, "limiter", bucket, move |bucket| assert!(bucket.try_acquire_at(1, now).is_ok()));
    let keyed = || Keyed::<u64>::builder(ample()).clock(clock.clone()).build().expect("a limiter");
    add(all, "keyed", keyed, move |keyed| assert!(keyed.try_acquire_at(&7, 1, now).is_ok()));
    let tiered = || {
        let builder = Tiered::builder().global(ample()).route("GET /orders/{id}", ample());
        builder.clock(clock.clone()).build().expect("a limiter")
    };
    let request = Request::new("GET", "/orders/17");
    add(all, "tiered", tiered, move |tiered| assert!(tiered.try_acquire_at(request, now).is_ok()));
    let admission = || AdmissionControl::builder().clock(clock.clone()).build().expect("admission control");
    add(all, "admission", admission, move |control| {
        let permit = control.try_acquire_at(now, 0.5);
        assert!(permit.map(|permit| permit.record_at(Answer::Accepted, now)).is_ok());
    });
}

/// A stack, and the same with an instrument around it.
fn calls(all: &mut Vec<Contender>) {
    let timeout = Timeout::attempt(Duration::from_secs(1));
    let bulkhead = Bulkhead::new(64).expect("a bulkhead");
    let alone = Stack::new().layer(timeout.clone()).layer(bulkhead.clone());
    let path = Box::new(move || poll(black_box(&alone).call(|| ready(Ok::<_, ()>(1)))));
    all.push(Contender { component: "stack", by: "nobody", path });
    for by in ["switched_off", "metrics", "metrics_quanta", "tracing"] {
        let telemetry = match by {
            "metrics_quanta" => {
                let builder = Telemetry::builder().metrics(MetricsFacade::to(Counting));
                builder.clock(Clock::quanta()).build().expect("a telemetry")
            }
            _ => telemetry(by),
        };
        telemetry.set_enabled(by != "switched_off");
        let instrument = telemetry.instrument("bench").expect("the first");
        let stack = Stack::new().layer(instrument).layer(timeout.clone()).layer(bulkhead.clone());
        let path = Box::new(move || {
            poll(black_box(&stack).call(|| ready(Ok::<_, ()>(1))));
            black_box(&telemetry);
        });
        all.push(Contender { component: "stack", by, path });
    }
}

/// A task, submitted and run by a worker that is polled by hand.
fn pools(all: &mut Vec<Contender>) {
    fn add(
        all: &mut Vec<Contender>,
        by: &'static str,
        set: impl FnOnce(PoolBuilder) -> PoolBuilder,
        telemetry: Option<Telemetry>,
    ) {
        let (pool, workers) = set(WorkerPool::builder().workers(1).queue(64)).build().expect("a pool");
        if let Some(telemetry) = &telemetry {
            telemetry.watch("bench", &pool).expect("the first");
        }
        let mut workers: Vec<_> = workers.map(Box::pin).collect();
        let path = Box::new(move || {
            pool.try_execute(async {}).expect("room");
            for worker in &mut workers {
                let polled = worker.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(polled.is_pending());
            }
            black_box(&telemetry);
        });
        all.push(Contender { component: "pool", by, path });
    }
    add(all, "nobody", |builder| builder, None);
    add(all, "could_be_observed", PoolBuilder::observed, None);
    // Of any pool: its numbers.
    add(all, "metrics_numbers", |builder| builder, Some(telemetry("metrics")));
    for by in LOOKERS {
        add(all, by, PoolBuilder::observed, Some(telemetry(by)));
    }
    add(all, "carried_closure", |builder| builder.carry(|| |poll: &mut dyn FnMut()| poll()), None);
    add(all, "carried_span", |builder| builder.carry(TracingCarrier::new()), None);
    add(all, "span_of_its_own", |builder| builder.carry(TracingCarrier::with_span()), None);
}

fn poll<F: Future>(future: F) {
    let polled = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(black_box(polled), Poll::Ready(_)));
}

fn ample() -> Quota {
    Quota::per_second(1_000_000_000).burst(1_000_000_000)
}

/// A clock that stands, and its time.
fn manual() -> (Clock, Instant) {
    let clock = ManualClock::new().clock();
    let now = clock.now();
    (clock, now)
}

/// A recorder whose metrics are one atomic each.
struct Counting;

#[derive(Default)]
struct Sum(AtomicU64);

impl CounterFn for Sum {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl GaugeFn for Sum {
    fn increment(&self, _: f64) {}

    fn decrement(&self, _: f64) {}

    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

impl HistogramFn for Sum {
    fn record(&self, value: f64) {
        self.0.fetch_add((value * 1e9) as u64, Ordering::Relaxed);
    }
}

impl Recorder for Counting {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> metrics::Counter {
        metrics::Counter::from_arc(Arc::new(Sum::default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::from_arc(Arc::new(Sum::default()))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::from_arc(Arc::new(Sum::default()))
    }
}

/// A subscriber that wants everything at the level `INFO`, and does nothing with it.
struct Nothing;

impl tracing::Subscriber for Nothing {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::INFO)
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Installs that subscriber.
pub(crate) fn subscribe() {
    tracing::subscriber::set_global_default(Nothing).expect("the first");
}
