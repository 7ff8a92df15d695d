//! Telemetry: what is read, published, logged and traced.

mod carriers;
mod catalogue;
mod counted;
mod durations;
mod foreign;
mod inspect;
mod leaving;
mod sinks;

use cofferdam::limit::{Keyed, Quota, TokenBucket};
use cofferdam::pool::WorkerPool;
use cofferdam::resilience::{CircuitBreaker, Rejection, Retry, Stack, Timeout};
use cofferdam::sync::Semaphore;
use cofferdam::telemetry::{
    CallOutcome, Collector, Counter, Gauge, Histogram, LabelValues, Level, Logger, Metric, MetricKind,
    Metrics, Readings, Record, Sample, Scope, Series, Source, Telemetry, Value, Watch,
};
use cofferdam::testkit::{ManualClock, Sim};
use futures_util::FutureExt;
use std::collections::BTreeSet;
use std::future::{pending, ready};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// The sum or level of the series of this name that has these labels.
fn number(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let mut found = samples
        .iter()
        .filter(|sample| sample.name == name)
        .filter(|sample| labels.iter().all(|(label, value)| sample.label(label) == Some(value)));
    let one = found.next()?;
    assert!(found.next().is_none(), "{name} {labels:?} is one series");
    Some(match &one.value {
        Value::Counter(sum) => *sum as f64,
        Value::Gauge(level) => *level,
        Value::Histogram(histogram) => histogram.count() as f64,
        _ => panic!("another kind of value"),
    })
}

fn collected(collector: &Collector) -> Telemetry {
    Telemetry::builder()
        .metrics(collector.clone())
        .logger(collector.clone())
        .tracer(collector.clone())
        .build()
        .expect("a telemetry")
}

#[test]
fn the_numbers_of_a_breaker_are_those_of_its_books() {
    let (telemetry, breaker) =
        (Telemetry::new(), CircuitBreaker::builder().name("shop").failure_threshold(3).build());
    let breaker = breaker.expect("a breaker");
    telemetry.watch("shop", &breaker).expect("the first");
    for _ in 0..5 {
        breaker.try_acquire().expect("closed").success();
    }
    for _ in 0..3 {
        breaker.try_acquire().expect("closed").failure();
    }
    assert!(breaker.try_acquire().is_err(), "open");
    let samples = telemetry.samples();
    let calls = |outcome| {
        number(&samples, "cofferdam_breaker_calls_total", &[("name", "shop"), ("outcome", outcome)])
    };
    assert_eq!([calls("success"), calls("failure"), calls("rejected")], [Some(5.0), Some(3.0), Some(1.0)]);
    assert_eq!(number(&samples, "cofferdam_breaker_state", &[("state", "open")]), Some(1.0));
    assert_eq!(number(&samples, "cofferdam_breaker_state", &[("state", "closed")]), Some(0.0));
    assert_eq!(number(&samples, "cofferdam_breaker_state_changes_total", &[]), Some(1.0));
}

#[test]
fn a_component_is_forgotten_when_it_is_gone() {
    let telemetry = Telemetry::new();
    let (breaker, bucket) = (CircuitBreaker::new(), TokenBucket::new(Quota::per_second(10)));
    telemetry.watch("one", &breaker).expect("the first");
    telemetry.watch("one", &bucket).expect("of another kind");
    drop(breaker);
    let samples = telemetry.samples();
    assert!(samples.iter().all(|sample| sample.name.starts_with("cofferdam_limiter")), "{samples:?}");
    assert!(!samples.is_empty(), "the other one is there");
    drop(bucket);
    assert_eq!(telemetry.samples(), []);
}

#[test]
fn watching_does_not_keep_a_pool_open() {
    let telemetry = Telemetry::new();
    let (pool, mut workers) = WorkerPool::builder().workers(1).queue(4).build().expect("a pool");
    telemetry.watch("pool", &pool).expect("the first");
    pool.try_execute(ready(())).expect("room");
    drop(pool);
    let worker = workers.next().expect("one");
    worker.now_or_never().expect("the last handle is gone, so the worker ends");
    drop(workers);
    assert_eq!(telemetry.samples(), []);
}

#[test]
fn the_same_component_may_be_watched_twice_and_another_may_not_take_its_name() {
    let telemetry = Telemetry::new();
    let (first, second) = (CircuitBreaker::new(), CircuitBreaker::new());
    telemetry.watch("shop", &first).expect("the first");
    telemetry.watch("shop", &first.clone()).expect("the same");
    let error = telemetry.watch("shop", &second).expect_err("the name is taken");
    assert_eq!(error.to_string(), "another breaker is watched as \"shop\"");
    assert_eq!((error.component(), error.name()), ("breaker", "shop"));
    drop(first);
    telemetry.watch("shop", &second).expect("the first one is gone");
    second.try_acquire().expect("closed").success();
    let samples = telemetry.samples();
    let calls = number(&samples, "cofferdam_breaker_calls_total", &[("outcome", "success")]);
    assert_eq!(calls, Some(1.0), "one series, and it is the second's");
}

#[test]
fn whoever_has_the_same_component_watched_while_that_begins_is_not_told_of_another() {
    struct Eager(Telemetry, Mutex<Vec<bool>>);
    impl Watch for Eager {
        const COMPONENT: &'static str = "eager";
        fn watch(&self, _: &mut Scope<'_>) -> Box<dyn Source> {
            let another = Eager(self.0.clone(), Mutex::default());
            let seen = [self.0.watch("it", self).is_ok(), self.0.watch("it", &another).is_ok()];
            self.1.lock().expect("not poisoned").extend(seen);
            Box::new(|_: &mut Readings<'_>| true)
        }
        fn identity(&self) -> usize {
            std::ptr::from_ref(self).addr()
        }
    }
    let eager = Eager(Telemetry::new(), Mutex::default());
    eager.0.watch("it", &eager).expect("the first");
    assert_eq!(*eager.1.lock().expect("not poisoned"), [true, false], "as the same, and as another");
}

#[test]
fn names_are_made_by_one_rule() {
    let telemetry = Telemetry::builder()
        .namespace("shop")
        .subsystem("api")
        .label("region", "north")
        .label("version", "1")
        .build()
        .expect("a telemetry");
    let call = telemetry.instrument("checkout").expect("the first");
    let samples = telemetry.samples();
    let names: BTreeSet<_> = samples.iter().map(|sample| sample.name.as_str()).collect();
    let wanted = [
        "shop_api_call_duration_seconds",
        "shop_api_call_ended_total",
        "shop_api_call_rejections_total",
        "shop_api_call_running",
    ];
    assert_eq!(names, BTreeSet::from(wanted));
    for sample in &samples {
        let labels: Vec<_> = sample.labels.iter().map(|(label, _)| &**label).take(3).collect();
        assert_eq!(labels, ["region", "version", "name"], "in this order, in all");
        assert_eq!(sample.label("name"), Some("checkout"));
    }
    drop(call);
    assert_eq!(Telemetry::builder().namespace("").build().map(|telemetry| telemetry.samples().len()), Ok(0));
}

#[test]
fn keyed_limiters_are_told_of_as_a_whole() {
    let telemetry = Telemetry::new();
    let keyed = Keyed::<u64>::builder(Quota::per_second(1).burst(1)).capacity(2).build().expect("a limiter");
    telemetry.watch("users", &keyed).expect("the first");
    assert!(keyed.try_acquire(&1).is_ok() && keyed.try_acquire(&1).is_err());
    assert!(keyed.try_acquire(&2).is_ok() && keyed.try_acquire(&3).is_err(), "no room for the third");
    let samples = telemetry.samples();
    let of = |outcome| number(&samples, "cofferdam_keyed_requests_total", &[("outcome", outcome)]);
    assert_eq!(["allowed", "denied", "rejected"].map(of), [2.0, 1.0, 1.0].map(Some));
    assert_eq!(number(&samples, "cofferdam_keyed_keys", &[]), Some(2.0));
}

#[test]
fn a_limiter_that_is_watched_counts_and_times_its_waits() {
    let (collector, time) = (Collector::new(), ManualClock::new());
    let telemetry = collected(&collector);
    let bucket =
        TokenBucket::builder(Quota::per_second(1).burst(1)).clock(time.clock()).build().expect("a bucket");
    assert!(bucket.try_acquire().is_ok(), "not counted yet");
    telemetry.watch("rate", &bucket).expect("the first");
    assert!(bucket.try_acquire().is_err());
    let mut waiting = Box::pin(bucket.acquire());
    assert!(waiting.as_mut().now_or_never().is_none());
    time.advance(SECOND);
    waiting.as_mut().now_or_never().expect("granted").expect("granted");
    bucket.pause();
    let samples = telemetry.samples();
    let of = |outcome| number(&samples, "cofferdam_limiter_requests_total", &[("outcome", outcome)]);
    assert_eq!(["allowed", "denied", "granted", "cancelled"].map(of), [0.0, 1.0, 1.0, 0.0].map(Some));
    assert_eq!(number(&samples, "cofferdam_limiter_paused", &[]), Some(1.0));
    assert_eq!(collector.durations("cofferdam_limiter_wait_seconds", &[("outcome", "granted")]), [1.0]);
    assert_eq!(collector.lines()[0].text, "limiter rate: paused pause=until resumed");
}

#[test]
fn a_semaphore_that_is_watched_counts_and_times_its_requests() {
    let (collector, time) = (Collector::new(), ManualClock::new());
    let telemetry = collected(&collector);
    let semaphore = Arc::new(Semaphore::builder(1).clock(time.clock()).build().expect("a semaphore"));
    telemetry.watch("places", &semaphore).expect("the first");
    let held = semaphore.try_acquire().expect("free");
    assert!(semaphore.try_acquire().is_err());
    let mut waiting = Box::pin(semaphore.acquire());
    assert!(waiting.as_mut().now_or_never().is_none());
    let samples = telemetry.samples();
    assert_eq!(number(&samples, "cofferdam_semaphore_waiting", &[]), Some(1.0));
    assert_eq!(number(&samples, "cofferdam_semaphore_in_use", &[]), Some(1.0));
    time.advance(2 * SECOND);
    drop(held);
    drop(waiting.as_mut().now_or_never().expect("granted"));
    let samples = telemetry.samples();
    let of = |outcome| number(&samples, "cofferdam_semaphore_requests_total", &[("outcome", outcome)]);
    assert_eq!(["acquired", "refused", "timed_out", "cancelled"].map(of), [2.0, 1.0, 0.0, 0.0].map(Some));
    assert_eq!(
        collector.durations("cofferdam_semaphore_wait_seconds", &[("outcome", "acquired")]),
        [0.0, 2.0]
    );
}

#[test]
fn the_catalogue_is_consistent() {
    let metrics = Telemetry::catalogue();
    let names: BTreeSet<_> = metrics.iter().map(|metric| metric.name()).collect();
    assert_eq!(names.len(), metrics.len(), "no name twice");
    for metric in metrics {
        let name = metric.name();
        assert!(!name.ends_with("_total"), "{name}: that is added");
        assert!(
            !name.ends_with(metric.measured_in().as_str()) || metric.measured_in().as_str().is_empty(),
            "{name}"
        );
        assert!(name.chars().all(|c| c == '_' || c.is_ascii_lowercase()), "{name}");
        assert!(metric.help().ends_with('.'), "{name}: a sentence");
        assert!(
            metric.kind() != MetricKind::Histogram || metric.full_name("").ends_with("_seconds"),
            "{name}"
        );
    }
}

#[test]
fn settings_that_cannot_be_are_refused_by_name() {
    let builder = Telemetry::builder;
    for (refused, knob) in [
        (builder().namespace("9lives").build(), "namespace"),
        (builder().subsystem("a-b").build(), "subsystem"),
        (builder().label("", "x").build(), "label"),
        (builder().label("name", "x").build(), "label"),
        (builder().label("__x", "x").build(), "label"),
        (builder().label("outcome", "x").build(), "label"),
        (builder().label("x", "1").label("x", "2").build(), "label"),
        (builder().buckets([SECOND, SECOND]).build(), "buckets"),
        (builder().buckets((0..201).map(Duration::from_secs)).build(), "buckets"),
    ] {
        let error = refused.map(drop).expect_err(knob);
        assert_eq!((error.component(), error.knob()), ("telemetry", knob));
    }
    assert!(builder().buckets([]).build().is_ok(), "one range for all");
}

#[test]
fn sums_are_published_as_they_grow_by_handles_that_are_made_once() {
    let collector = Collector::new();
    let telemetry = collected(&collector);
    let breaker = CircuitBreaker::new();
    telemetry.watch("shop", &breaker).expect("the first");
    let name = "cofferdam_breaker_calls_total";
    let labels = [("name", "shop"), ("outcome", "success")];
    breaker.try_acquire().expect("closed").success();
    assert!(telemetry.publish());
    assert_eq!(collector.counter(name, &labels), 1);
    let handles = collector.collected().handles;
    breaker.try_acquire().expect("closed").success();
    assert_eq!(collector.counter(name, &labels), 1, "not before it is published");
    for _ in 0..3 {
        assert!(telemetry.publish());
    }
    assert_eq!(collector.counter(name, &labels), 2);
    assert_eq!(collector.gauge("cofferdam_breaker_state", &[("state", "closed")]), 1.0);
    assert_eq!(collector.collected().handles, handles, "no handle was made twice");
    let series = telemetry.samples().len();
    assert_eq!(handles, series, "one for each series");
}

#[test]
fn a_component_of_the_same_name_goes_on_with_the_sum() {
    let collector = Collector::new();
    let telemetry = collected(&collector);
    let name = "cofferdam_breaker_calls_total";
    for round in 1..=3 {
        let breaker = CircuitBreaker::new();
        telemetry.watch("shop", &breaker).expect("the one before is gone");
        breaker.try_acquire().expect("closed").success();
        telemetry.publish();
        assert_eq!(collector.counter(name, &[("outcome", "success")]), round);
    }
}

#[test]
fn a_publisher_publishes_at_its_interval_until_the_telemetry_is_gone() {
    let sim = Sim::new(1);
    sim.run(async {
        let collector = Collector::new();
        let breaker = CircuitBreaker::new();
        let telemetry =
            Telemetry::builder().metrics(collector.clone()).clock(sim.clock()).build().expect("a telemetry");
        telemetry.watch("shop", &breaker).expect("the first");
        let publisher = sim.spawn("publisher", telemetry.publish_every(10 * SECOND));
        let name = "cofferdam_breaker_calls_total";
        breaker.try_acquire().expect("closed").success();
        sim.clock().sleep(9 * SECOND).await;
        assert_eq!(collector.counter(name, &[]), 0);
        sim.clock().sleep(2 * SECOND).await;
        assert_eq!(collector.counter(name, &[]), 1);
        breaker.try_acquire().expect("closed").success();
        sim.clock().sleep(10 * SECOND).await;
        assert_eq!(collector.counter(name, &[]), 2);
        let now = sim.clock().now();
        drop(telemetry);
        publisher.await;
        assert_eq!(sim.clock().now(), now, "it ends at once");
    });
}

#[test]
fn switched_off_nothing_is_recorded_logged_published_or_shown() {
    let (collector, time) = (Collector::new(), ManualClock::new());
    let telemetry = collected(&collector);
    let breaker =
        CircuitBreaker::builder().failure_threshold(1).clock(time.clock()).build().expect("a breaker");
    telemetry.watch("shop", &breaker).expect("the first");
    let stack = Stack::new().layer(telemetry.instrument("call").expect("the first"));
    assert!(telemetry.is_enabled());
    telemetry.set_enabled(false);
    assert!(!telemetry.is_enabled());
    breaker.try_acquire().expect("closed").failure();
    stack.call(|| ready(Ok::<_, ()>(()))).now_or_never().expect("ready").expect("ok");
    assert!(!telemetry.publish());
    assert_eq!(telemetry.samples(), []);
    let kept = collector.collected();
    assert!(kept.lines.is_empty() && kept.spans.is_empty() && kept.counters.is_empty());
    telemetry.set_enabled(true);
    assert!(telemetry.publish());
    let name = "cofferdam_breaker_calls_total";
    assert_eq!(collector.counter(name, &[("outcome", "failure")]), 1, "counted by the breaker itself");
    assert_eq!(
        number(&telemetry.samples(), "cofferdam_call_ended_total", &[("outcome", "success")]),
        Some(0.0)
    );
}

#[test]
fn a_breaker_logs_its_changes_of_state() {
    let (collector, time) = (Collector::new(), ManualClock::new());
    let telemetry = collected(&collector);
    let breaker =
        CircuitBreaker::builder().failure_threshold(1).clock(time.clock()).build().expect("a breaker");
    telemetry.watch("shop", &breaker).expect("the first");
    breaker.try_acquire().expect("closed").failure();
    breaker.reset().expect("may be reset");
    let lines: Vec<_> = collector.lines().into_iter().map(|line| (line.level, line.text)).collect();
    let opened =
        "breaker shop: state changed from=closed to=open trigger=consecutive failures open_for=30s window=-";
    let closed = "breaker shop: state changed from=open to=closed trigger=reset open_for=- window=-";
    assert_eq!(lines, [(Level::Warn, opened.to_owned()), (Level::Info, closed.to_owned())]);
}

#[test]
fn an_instrumented_call_has_its_true_outcome() {
    let (collector, time) = (Collector::new(), ManualClock::new());
    let telemetry = Telemetry::builder()
        .tracer(collector.clone())
        .metrics(collector.clone())
        .clock(time.clock())
        .build()
        .expect("a telemetry");
    let call = telemetry.instrument("checkout").expect("the first");
    let limit = Timeout::builder(SECOND).clock(time.clock()).build();
    let stack = Stack::new().layer(call.clone()).layer(limit);
    let run = |ends: bool, result: Result<u8, &'static str>| {
        let mut call = Box::pin(stack.call(|| async move {
            if !ends {
                pending::<()>().await;
            }
            result
        }));
        let first = call.as_mut().now_or_never();
        time.advance(2 * SECOND);
        first.or_else(|| call.as_mut().now_or_never())
    };
    assert_eq!(run(true, Ok(1)), Some(Ok(1)));
    assert!(run(true, Err("no")).is_some_and(|outcome| outcome.is_err()));
    assert!(run(false, Ok(1)).is_some_and(|outcome| outcome.is_err_and(|error| error.is_timeout())));
    let rejecting = Stack::new().layer(call.clone());
    let refused = rejecting.call(|| ready(Ok::<u8, &str>(1)));
    drop(refused);
    let mut dropped = Box::pin(rejecting.call(pending::<Result<u8, &str>>));
    assert!(dropped.as_mut().now_or_never().is_none());
    assert_eq!(number(&telemetry.samples(), "cofferdam_call_running", &[]), Some(1.0));
    drop(dropped);

    let samples = telemetry.samples();
    let ended = |outcome| number(&samples, "cofferdam_call_ended_total", &[("outcome", outcome)]);
    assert_eq!(
        ["success", "failure", "rejected", "timed_out", "cancelled"].map(ended),
        [1.0, 1.0, 0.0, 1.0, 1.0].map(Some),
    );
    assert_eq!(number(&samples, "cofferdam_call_running", &[]), Some(0.0));
    assert_eq!(number(&samples, "cofferdam_call_rejections_total", &[("reason", "timed_out")]), Some(1.0));
    let spans = collector.spans();
    let seen: Vec<_> = spans.iter().map(|span| (span.outcome, span.polls)).collect();
    let wanted = [
        (CallOutcome::Success, 1),
        (CallOutcome::Failure, 1),
        (CallOutcome::TimedOut, 2),
        (CallOutcome::Cancelled, 1),
    ];
    assert_eq!(seen, wanted, "one that was never polled has no span");
    assert!(spans.iter().all(|span| span.name == "checkout"));
    assert_eq!(spans[2].error.as_deref(), Some("timeout: attempt not finished within its limit of 1s"));
    let name = "cofferdam_call_duration_seconds";
    assert_eq!(collector.durations(name, &[("outcome", "success")]), [0.0]);
    assert_eq!(collector.durations(name, &[("outcome", "timed_out")]), [2.0]);
}

#[test]
fn inside_a_retry_each_attempt_is_a_call() {
    let collector = Collector::new();
    let telemetry = collected(&collector);
    let (call, attempt) = (telemetry.instrument("call"), telemetry.instrument("attempt"));
    let retry =
        Retry::builder().max_attempts(3).backoff(cofferdam::time::Backoff::ZERO).build().expect("a retry");
    let stack = Stack::new().layer(call.expect("the first")).layer(retry).layer(attempt.expect("the first"));
    let outcome = stack.call(|| ready(Err::<(), _>("no"))).now_or_never().expect("ready");
    assert!(outcome.is_err());
    telemetry.publish();
    let failures =
        |name| collector.counter("cofferdam_call_ended_total", &[("name", name), ("outcome", "failure")]);
    assert_eq!((failures("call"), failures("attempt")), (1, 3));
}

#[test]
fn a_panic_of_a_call_ends_its_span() {
    let collector = Collector::new();
    let telemetry = collected(&collector);
    let stack = Stack::new().layer(telemetry.instrument("call").expect("the first"));
    let call = stack.call(|| async { if true { panic!("of the call") } else { Ok::<(), ()>(()) } });
    assert!(std::panic::AssertUnwindSafe(call).catch_unwind().now_or_never().expect("ready").is_err());
    assert_eq!(collector.spans().len(), 1);
    assert_eq!(collector.spans()[0].outcome, CallOutcome::Cancelled);
    assert_eq!(number(&telemetry.samples(), "cofferdam_call_running", &[]), Some(0.0));
}

#[test]
fn durations_fall_into_ranges_whose_upper_bounds_belong_to_them() {
    let time = ManualClock::new();
    let telemetry =
        Telemetry::builder().buckets([SECOND, 10 * SECOND]).clock(time.clock()).build().expect("a telemetry");
    let stack = Stack::new().layer(telemetry.instrument("call").expect("the first"));
    for seconds in [0, 1, 2, 10, 11] {
        let call = stack.call(|| {
            time.advance(seconds * SECOND);
            ready(Ok::<_, ()>(()))
        });
        call.now_or_never().expect("ready").expect("ok");
    }
    let samples = telemetry.samples();
    let histogram = samples
        .iter()
        .find(|sample| {
            sample.label("outcome") == Some("success") && sample.name.ends_with("duration_seconds")
        })
        .map(|sample| sample.value.clone());
    let Some(Value::Histogram(histogram)) = histogram else { panic!("a histogram") };
    assert_eq!(histogram.bounds(), [1.0, 10.0]);
    assert_eq!(histogram.counts(), [2, 2, 1]);
    assert_eq!((histogram.count(), histogram.sum()), (5, 24.0));
    assert_eq!(histogram.quantile(0.5), Some(10.0));
    assert_eq!(histogram.quantile(0.0), Some(1.0));
    assert_eq!(histogram.quantile(1.0), Some(f64::INFINITY));
}

#[test]
fn without_histograms_there_are_none() {
    let collector = Collector::new();
    let telemetry =
        Telemetry::builder().histograms(false).metrics(collector.clone()).build().expect("a telemetry");
    let stack = Stack::new().layer(telemetry.instrument("call").expect("the first"));
    stack.call(|| ready(Ok::<_, ()>(()))).now_or_never().expect("ready").expect("ok");
    telemetry.publish();
    assert!(telemetry.samples().iter().all(|sample| sample.metric.kind() != MetricKind::Histogram));
    assert!(collector.collected().histograms.is_empty());
    assert_eq!(collector.counter("cofferdam_call_ended_total", &[]), 1);
}

#[test]
fn a_pool_that_is_observed_has_durations() {
    let sim = Sim::new(7);
    sim.run(async {
        let collector = Collector::new();
        let telemetry = collected(&collector);
        let (pool, workers) =
            WorkerPool::builder().workers(1).queue(8).clock(sim.clock()).observed().build().expect("a pool");
        telemetry.watch("pool", &pool).expect("the first");
        workers.for_each(|worker| drop(sim.spawn("worker", worker)));
        let clock = sim.clock();
        for _ in 0..2 {
            let clock = clock.clone();
            pool.try_execute(async move { clock.sleep(3 * SECOND).await }).expect("room");
        }
        let failed = pool
            .try_submit(async {
                if true {
                    panic!("of the task")
                }
            })
            .expect("room");
        assert!(failed.await.is_err());
        telemetry.publish();
        let waits = collector.durations("cofferdam_pool_queue_wait_seconds", &[]);
        assert_eq!(waits, [0.0, 3.0, 6.0]);
        assert_eq!(
            collector.durations("cofferdam_pool_run_seconds", &[("outcome", "completed")]),
            [3.0, 3.0]
        );
        assert_eq!(collector.counter("cofferdam_pool_tasks_total", &[("outcome", "panicked")]), 1);
        assert!(collector.lines().iter().any(|line| line.text.contains("task panicked")));
    });
}

/// A sink that panics, or looks back into the telemetry.
struct Rude {
    telemetry: Arc<Mutex<Option<Telemetry>>>,
    panics: bool,
    calls: Arc<AtomicU64>,
}

impl Rude {
    fn act(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let telemetry = self.telemetry.lock().expect("not poisoned").clone();
        if let Some(telemetry) = telemetry {
            assert!(!telemetry.publish(), "somebody is at it");
            assert!(!telemetry.samples().is_empty());
            telemetry.watch("another", &CircuitBreaker::new()).expect("the first, or the one before is gone");
        }
        assert!(!self.panics, "rude");
    }
}

struct RudeHandle(Arc<Rude>);

impl Counter for RudeHandle {
    fn add(&self, _: u64) {
        self.0.act();
    }
}

impl Gauge for RudeHandle {
    fn set(&self, _: f64) {
        self.0.act();
    }
}

impl Histogram for RudeHandle {
    fn record(&self, _: f64) {
        self.0.act();
    }
}

#[derive(Clone)]
struct RudeMetrics(Arc<Rude>);

impl Metrics for RudeMetrics {
    fn counter(&self, _: &Series<'_>) -> Box<dyn Counter> {
        Box::new(RudeHandle(Arc::clone(&self.0)))
    }

    fn gauge(&self, _: &Series<'_>) -> Box<dyn Gauge> {
        Box::new(RudeHandle(Arc::clone(&self.0)))
    }

    fn histogram(&self, _: &Series<'_>) -> Box<dyn Histogram> {
        Box::new(RudeHandle(Arc::clone(&self.0)))
    }
}

impl Logger for RudeMetrics {
    fn log(&self, _: &Record<'_>) {
        self.0.act();
    }
}

#[test]
fn sinks_may_panic_and_look_back() {
    for panics in [false, true] {
        let (calls, telemetry) = (Arc::default(), Arc::default());
        let rude = Rude { telemetry: Arc::clone(&telemetry), panics, calls: Arc::clone(&calls) };
        let (rude, collector) = (RudeMetrics(Arc::new(rude)), Collector::new());
        let watching = Telemetry::builder()
            .metrics(rude.clone())
            .metrics(collector.clone())
            .logger(rude)
            .logger(collector.clone())
            .build()
            .expect("a telemetry");
        let breaker = CircuitBreaker::builder().failure_threshold(1).build().expect("a breaker");
        watching.watch("shop", &breaker).expect("the first");
        breaker.try_acquire().expect("closed").failure();
        assert_eq!(collector.lines().len(), 1, "the other logger has it");
        *telemetry.lock().expect("not poisoned") = Some(watching.clone());
        assert!(watching.publish());
        assert_eq!(collector.counter("cofferdam_breaker_calls_total", &[("outcome", "failure")]), 1);
        telemetry.lock().expect("not poisoned").take();
        assert!(calls.load(Ordering::Relaxed) > 3);
        assert!(watching.publish(), "the next round is not held up");
    }
}

/// A component whose source panics while it is told to.
struct Odd {
    panics: Arc<AtomicBool>,
}

static ODD: Metric = Metric::gauge("odd_level", "A level.");

impl Watch for Odd {
    const COMPONENT: &'static str = "odd";

    fn watch(&self, _: &mut Scope<'_>) -> Box<dyn Source> {
        let panics = Arc::clone(&self.panics);
        Box::new(move |readings: &mut Readings<'_>| {
            assert!(!panics.load(Ordering::Relaxed), "of the source");
            readings.gauge(&ODD, &[], 7.0);
            true
        })
    }
}

#[test]
fn a_source_that_panics_does_not_keep_others_from_publishing_later() {
    let collector = Collector::new();
    let telemetry = collected(&collector);
    let odd = Odd { panics: Arc::new(AtomicBool::new(true)) };
    telemetry.watch("odd", &odd).expect("the first");
    let publish = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| telemetry.publish()));
    assert!(publish().is_err(), "it is the caller's source");
    odd.panics.store(false, Ordering::Relaxed);
    assert!(publish().is_ok_and(|published| published));
    assert_eq!(collector.gauge("cofferdam_odd_level", &[]), 7.0);
    assert!(telemetry.watch("odd", &odd).is_err(), "one that cannot be told from another");
}

#[test]
fn a_label_of_ones_own_metric_goes_before_one_of_all() {
    static BY_REGION: Metric = Metric::gauge("regional_level", "A level.").labels(&["region"]);
    struct Regional;
    impl Watch for Regional {
        const COMPONENT: &'static str = "regional";
        fn watch(&self, _: &mut Scope<'_>) -> Box<dyn Source> {
            Box::new(|readings: &mut Readings<'_>| {
                readings.gauge(&BY_REGION, &["south"], 1.0);
                true
            })
        }
    }
    let telemetry = Telemetry::builder().label("region", "north").build().expect("a telemetry");
    telemetry.watch("mine", &Regional).expect("the first");
    let samples = telemetry.samples();
    let labels: Vec<_> = samples[0].labels.iter().map(|(label, value)| (&**label, &**value)).collect();
    assert_eq!(labels, [("name", "mine"), ("region", "south")], "no label twice");
}

#[test]
fn labels_from_outside_take_no_more_values_than_they_may() {
    struct Keys(Mutex<Option<LabelValues>>);
    impl Watch for Keys {
        const COMPONENT: &'static str = "keys";
        fn watch(&self, scope: &mut Scope<'_>) -> Box<dyn Source> {
            assert_eq!(scope.name(), "mine");
            *self.0.lock().expect("not poisoned") = Some(scope.label_values());
            Box::new(|_: &mut Readings<'_>| true)
        }
    }
    let telemetry = Telemetry::builder().label_values(2).build().expect("a telemetry");
    let keys = Keys(Mutex::new(None));
    telemetry.watch("mine", &keys).expect("the first");
    let values = keys.0.into_inner().expect("not poisoned").expect("they were made");
    let admitted: Vec<_> = ["a", "b", "c", "a", "d"].map(|key| values.admit(key).to_string()).into();
    assert_eq!(admitted, ["a", "b", "other", "a", "other"]);
}

#[test]
fn a_refusal_by_each_reason_is_counted_under_it() {
    let telemetry = Telemetry::new();
    let call = telemetry.instrument("call").expect("the first");
    let reject = |rejection: Rejection| {
        let stack = Stack::new().layer(call.clone()).layer(Refuses(rejection));
        assert!(stack.call(|| ready(Ok::<_, ()>(()))).now_or_never().expect("ready").is_err());
    };
    let after = Some(SECOND);
    reject(Rejection::circuit_open("p", after));
    reject(Rejection::rate_limited("p", after));
    reject(Rejection::full("p", 1, 0, Duration::ZERO));
    reject(Rejection::new("p", cofferdam::resilience::Reason::Shed));
    reject(Rejection::new("p", cofferdam::resilience::Reason::Cancelled));
    reject(Rejection::new("p", cofferdam::resilience::Reason::DeadlineExceeded));
    reject(Rejection::new("p", cofferdam::resilience::Reason::Closed));
    let samples = telemetry.samples();
    for reason in ["circuit_open", "rate_limited", "full", "shed", "cancelled", "deadline_exceeded", "closed"]
    {
        let rejections = number(&samples, "cofferdam_call_rejections_total", &[("reason", reason)]);
        assert_eq!(rejections, Some(1.0), "{reason}");
    }
    let ended = |outcome| number(&samples, "cofferdam_call_ended_total", &[("outcome", outcome)]);
    assert_eq!((ended("rejected"), ended("cancelled")), (Some(6.0), Some(1.0)));
}

/// Refuses every call.
struct Refuses(Rejection);

impl cofferdam::resilience::Component for Refuses {
    fn describe(&self, layers: &mut Vec<cofferdam::resilience::Layer>) {
        layers.push(cofferdam::resilience::Layer::custom("refuses"));
    }
}

impl<'a, A: cofferdam::resilience::Attempt> cofferdam::resilience::Policy<A> for &'a Refuses {
    type Attempt = Refused<'a, A>;

    fn around(self, inner: A) -> Refused<'a, A> {
        Refused { policy: self, inner }
    }
}

pin_project_lite::pin_project! {
    struct Refused<'a, A> {
        policy: &'a Refuses,
        #[pin]
        inner: A,
    }
}

impl<A: cofferdam::resilience::Attempt> cofferdam::resilience::Attempt for Refused<'_, A> {
    type Ok = A::Ok;
    type Err = A::Err;

    fn poll_attempt(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<A::Ok, cofferdam::resilience::Error<A::Err>>> {
        std::task::Poll::Ready(Err(self.policy.0.into()))
    }

    fn cancel(self: std::pin::Pin<&mut Self>) {
        self.project().inner.cancel();
    }
}
