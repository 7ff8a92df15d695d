//! What a telemetry leaves behind when it goes: nothing.

use cofferdam::limit::concurrency::{AdaptiveLimiter, Fixed};
use cofferdam::limit::{ConcurrencyLimiter, Keyed, Quota, Tiered, TokenBucket};
use cofferdam::pool::WorkerPool;
use cofferdam::resilience::{Bulkhead, CircuitBreaker, Fallback, Retry};
use cofferdam::sync::Semaphore;
use cofferdam::telemetry::inspect::{Inspect, Inspection, Inspector, SemaphoreView};
use cofferdam::telemetry::{Logger, Readings, Record, Scope, Source, Telemetry, Watch};
use std::sync::{Arc, Mutex, Weak};

/// A sink, and what shows whether it is still held.
struct Sink(#[allow(dead_code, reason = "held")] Arc<Mutex<Vec<String>>>);

impl Logger for Sink {
    fn log(&self, record: &Record<'_>) {
        self.0.lock().expect("not poisoned").push(record.to_string());
    }
}

fn telemetry() -> (Telemetry, Weak<Mutex<Vec<String>>>) {
    let lines = Arc::default();
    let weak = Arc::downgrade(&lines);
    (Telemetry::builder().logger(Sink(lines)).build().expect("a telemetry"), weak)
}

#[test]
fn what_looked_at_components_goes_with_the_telemetry() {
    let (telemetry, sink) = telemetry();
    let breaker = CircuitBreaker::builder().failure_threshold(1).build().expect("a breaker");
    let bucket = TokenBucket::new(Quota::per_second(1));
    let semaphore = Arc::new(Semaphore::new(1));
    let retry = Retry::builder().build().expect("a retry");
    let fallback = Fallback::value(|| 7);
    let (pool, _workers) = WorkerPool::builder().workers(1).queue(1).observed().build().expect("a pool");
    let bulkhead = Bulkhead::new(1).expect("a bulkhead");
    let concurrency = ConcurrencyLimiter::new(1).expect("a limiter");
    let adaptive = AdaptiveLimiter::new(Fixed(1)).expect("a limiter");
    let tiered = Tiered::builder().build().expect("a limiter");
    let keyed = Keyed::<u64>::new(Quota::per_second(1));
    telemetry.watch("breaker", &breaker).expect("the first");
    telemetry.watch("bucket", &bucket).expect("the first");
    telemetry.watch("semaphore", &semaphore).expect("the first");
    telemetry.watch("retry", &retry).expect("the first");
    telemetry.watch("fallback", &fallback).expect("the first");
    telemetry.watch("pool", &pool).expect("the first");
    telemetry.watch("bulkhead", &bulkhead).expect("the first");
    telemetry.watch("concurrency", &concurrency).expect("the first");
    telemetry.watch("adaptive", &adaptive).expect("the first");
    telemetry.watch("tiered", &tiered).expect("the first");
    telemetry.watch("keyed", &keyed).expect("the first");
    breaker.try_acquire().expect("closed").failure();
    let lines = sink.upgrade().expect("the telemetry has it").lock().expect("not poisoned").clone();
    assert_eq!(lines.len(), 1, "{lines:?}");
    drop(telemetry);
    assert!(sink.upgrade().is_none(), "no component holds what told of it");
    // They go on.
    breaker.reset().expect("legal");
    drop((semaphore.try_acquire().expect("free"), bulkhead.try_acquire().expect("free")));
    drop((concurrency.try_acquire().expect("free"), adaptive.try_acquire().expect("free")));
    bucket.try_acquire().expect("there");
    assert!(retry.observers().panics() == 0 && !retry.observers().is_watched());
}

#[test]
fn one_telemetry_goes_and_the_other_sees_on() {
    let ((first, first_sink), (second, second_sink)) = (telemetry(), telemetry());
    let breaker = CircuitBreaker::builder().failure_threshold(1).build().expect("a breaker");
    first.watch("one", &breaker).expect("the first");
    second.watch("two", &breaker).expect("the first");
    drop(first);
    assert!(first_sink.upgrade().is_none());
    breaker.try_acquire().expect("closed").failure();
    let sink = second_sink.upgrade().expect("it is there");
    assert_eq!(sink.lock().expect("not poisoned").len(), 1);
}

#[test]
fn a_component_that_is_gone_takes_what_looked_at_it() {
    let (telemetry, sink) = telemetry();
    let breaker = CircuitBreaker::new();
    telemetry.watch("one", &breaker).expect("the first");
    let held = sink.strong_count();
    drop(breaker);
    assert_eq!(telemetry.samples(), []);
    assert_eq!(sink.strong_count(), held, "the sink is the telemetry's");
    let mut lent = telemetry.clone();
    lent.set_enabled(false);
    drop(std::mem::take(&mut lent));
    assert!(sink.upgrade().is_some(), "a clone is not the last");
    drop(telemetry);
    assert!(sink.upgrade().is_none());
}

/// A component that lives for a moment, and what shows how many are still known.
struct Brief {
    semaphore: Arc<Semaphore>,
    known: Arc<()>,
}

impl Brief {
    fn new(known: &Arc<()>) -> Self {
        Self { semaphore: Arc::new(Semaphore::new(1)), known: Arc::clone(known) }
    }
}

impl Watch for Brief {
    const COMPONENT: &'static str = "brief";

    fn watch(&self, _: &mut Scope<'_>) -> Box<dyn Source> {
        let (semaphore, known) = (Arc::downgrade(&self.semaphore), Arc::clone(&self.known));
        Box::new(move |_: &mut Readings<'_>| {
            let _known = &known;
            semaphore.strong_count() > 0
        })
    }
}

impl Inspect for Brief {
    const COMPONENT: &'static str = "brief";
    type View = SemaphoreView;

    fn inspect(&self) -> Inspection<SemaphoreView> {
        let (inspection, known) = (self.semaphore.inspect(), Arc::clone(&self.known));
        Inspection::new(move || {
            let _known = &known;
            inspection.look()
        })
    }
}

#[test]
fn components_that_are_gone_are_forgotten_though_nobody_reads() {
    let (known, telemetry, inspector) = (Arc::new(()), Telemetry::new(), Inspector::new());
    let lasting: Vec<_> = (0..200).map(|_| Brief::new(&known)).collect();
    for (number, one) in lasting.iter().enumerate() {
        telemetry.watch(format!("lasting {number}"), one).expect("the first");
        inspector.add(format!("lasting {number}"), one).expect("the first");
    }
    for number in 0..5000 {
        let brief = Brief::new(&known);
        telemetry.watch(number.to_string(), &brief).expect("the first");
        inspector.add(number.to_string(), &brief).expect("the first");
    }
    let count = Arc::strong_count(&known);
    // Three times the lasting: they, the watched and the inspected; and of the latter two as many again that are gone.
    assert!(count < 1200, "{count} are held");
    let (taken, held) = (&lasting[7], Arc::strong_count(&known));
    assert!(telemetry.watch("lasting 7", taken).is_err() && inspector.add("lasting 7", taken).is_err());
    assert_eq!((inspector.look().len(), Arc::strong_count(&known) <= held), (200, true));
}
