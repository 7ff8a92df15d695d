//! Every component is watched, every metric is there, and the tables of the documentation say so.

use super::number;
use cofferdam::group::TaskGroup;
use cofferdam::limit::concurrency::{AdaptiveLimiter, ConcurrencyLimiter, Fixed};
use cofferdam::limit::{AdmissionControl, Keyed, KeyedMap, Quota, Tiered, TokenBucket};
use cofferdam::pool::WorkerPool;
use cofferdam::resilience::breaker::{KeyedBreaker, Window};
use cofferdam::resilience::registry::Registry;
use cofferdam::resilience::{Budget, Bulkhead, Cache, CircuitBreaker, Fallback, Hedge, Retry, Timeout};
use cofferdam::sync::{Semaphore, channel};
use cofferdam::task::BoxTask;
use cofferdam::telemetry::{Metric, Sample, Telemetry, Watch};
use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const ELSEWHERE: &str = include_str!("../../../src/telemetry/elsewhere.md");
const MODULE: &str = include_str!("../../../src/telemetry/mod.rs");

/// Watches one of everything.
struct World {
    telemetry: Telemetry,
    all: Vec<Box<dyn Any>>,
    components: BTreeSet<&'static str>,
}

impl World {
    fn watch<C: Watch + 'static>(&mut self, component: C) {
        self.telemetry.watch("one", &component).expect("one of its kind");
        self.telemetry.watch("one", &component).expect("it is the same");
        self.components.insert(C::COMPONENT);
        self.all.push(Box::new(component));
    }

    fn new() -> Self {
        let mut world = Self { telemetry: Telemetry::new(), all: Vec::new(), components: BTreeSet::new() };
        let quota = Quota::per_second(1);
        let window = Window::calls(8);
        world.watch(CircuitBreaker::builder().window(window).build().expect("a breaker"));
        world.watch(KeyedBreaker::<u64>::new(CircuitBreaker::builder()).expect("breakers"));
        world.watch(TokenBucket::new(quota));
        world.watch(Keyed::<u64>::new(quota));
        world.watch(KeyedMap::<u64, Semaphore>::new());
        world.watch(Tiered::builder().build().expect("a limiter"));
        world.watch(AdmissionControl::new());
        world.watch(ConcurrencyLimiter::new(1).expect("a limiter"));
        world.watch(AdaptiveLimiter::new(Fixed(1)).expect("a limiter"));
        world.watch(Arc::new(Semaphore::new(1)));
        world.watch(Bulkhead::new(1).expect("a bulkhead"));
        world.watch(Cache::<u64, u64, ()>::new(8).expect("a cache"));
        world.watch(Retry::builder().build().expect("a retry"));
        world.watch(Hedge::after(Duration::from_secs(1)).build().expect("a hedge"));
        world.watch(Timeout::total(Duration::from_secs(1)));
        world.watch(Fallback::value(7));
        world.watch(Budget::quota(10).build().expect("a budget"));
        world.watch(Registry::new(|_| Ok::<_, std::io::Error>(7)));
        world.watch(TaskGroup::<u8>::new(|_: BoxTask| ()));
        let (sender, receiver) = channel::<u8>(4).expect("a channel");
        world.watch(sender);
        world.all.push(Box::new(receiver));
        let (pool, workers) = WorkerPool::builder().workers(1).queue(1).observed().build().expect("a pool");
        world.watch(pool);
        world.all.push(Box::new(workers));
        world.all.push(Box::new(world.telemetry.instrument("one").expect("the first")));
        world.components.insert("call");
        world
    }
}

fn label(metric: &Metric) -> String {
    match metric.label_names() {
        [] => metric.name().to_owned(),
        labels => format!("{}{{{}}}", metric.name(), labels.join(",")),
    }
}

#[test]
fn every_metric_of_the_catalogue_is_shown_by_a_component_that_is_watched() {
    let world = World::new();
    let shown: BTreeSet<_> = world.telemetry.samples().iter().map(|sample| sample.metric.name()).collect();
    let known: BTreeSet<_> = Telemetry::catalogue().iter().map(|metric| metric.name()).collect();
    assert_eq!(shown, known);
    for name in known {
        let of_one = world
            .components
            .iter()
            .any(|component| name.strip_prefix(component).is_some_and(|rest| rest.starts_with('_')));
        assert!(of_one, "{name}: its component comes first");
    }
}

#[test]
fn the_table_of_the_module_has_every_metric_with_its_labels() {
    let rows = MODULE.lines().skip_while(|line| !line.contains("# What is measured"));
    let rows =
        rows.take_while(|line| line.starts_with("//!")).filter(|line| line.starts_with("//! |")).skip(2);
    let cells = rows.filter_map(|row| row.split('|').nth(2));
    let told: BTreeSet<String> = cells.flat_map(ticked).map(str::to_owned).collect();
    let known: BTreeSet<String> = Telemetry::catalogue().into_iter().map(label).collect();
    assert_eq!(told, known);
}

/// What stands between backticks.
fn ticked(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Whether there is such a series, as `name{label="value",label}`.
fn is_there(samples: &[Sample], series: &str) -> bool {
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let mut found = samples.iter().filter(|sample| sample.name == name);
    let labels: Vec<_> = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()).collect();
    found.any(|sample| {
        labels.iter().all(|label| match label.split_once('=') {
            None => sample.label(label).is_some(),
            Some((label, value)) => sample.label(label) == Some(value.trim_matches('"')),
        })
    })
}

#[test]
fn every_name_elsewhere_has_one_here_that_is_there() {
    let samples = World::new().telemetry.samples();
    let (mut rows, mut none) = ([0; 3], Vec::new());
    let mut library = usize::MAX;
    for row in ELSEWHERE.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---")) {
        if let Some(at) =
            ["| of ion |", "| of nova |", "| of goflow |"].iter().position(|of| row.starts_with(of))
        {
            library = at;
            continue;
        }
        let mut cells = row.split('|').skip(1);
        let (theirs, ours) = (cells.next().expect("a name"), cells.next().expect("what it is here"));
        rows[library] += 1;
        if ours.trim() == "none" {
            none.push(ticked(theirs)[0]);
        } else {
            assert_eq!(ticked(ours).len(), 1, "{row}");
        }
    }
    let named: Vec<_> =
        ELSEWHERE.lines().flat_map(ticked).filter(|name| name.starts_with("cofferdam_")).collect();
    for name in named {
        assert!(is_there(&samples, name), "{name} is not there");
    }
    assert!(!is_there(&samples, "cofferdam_breaker_calls_total{outcome=\"none\"}"), "or this shows nothing");
    assert_eq!(rows, [28, 5, 23], "names of ion, nova and goflow");
    let without = [
        "goflow_stream_operations_total{operation}",
        "goflow_stream_items_processed_total{operation}",
        "goflow_stream_errors_total{operation}",
        "goflow_backpressure_events_total{strategy}",
        "goflow_writer_flushes_total",
        "goflow_writer_bytes_written_total",
    ];
    assert_eq!(none, without);
}

#[test]
fn what_is_watched_is_not_kept() {
    let world = World::new();
    assert!(!world.telemetry.samples().is_empty());
    drop(world.all);
    assert_eq!(world.telemetry.samples(), []);
}

#[test]
fn resets_of_a_breaker_are_counted() {
    let (telemetry, breaker) = (Telemetry::new(), CircuitBreaker::new());
    telemetry.watch("shop", &breaker).expect("the first");
    breaker.trip().expect("legal");
    breaker.reset().expect("legal");
    breaker.try_acquire().expect("closed").failure();
    breaker.reset().expect("legal");
    breaker.force_open().and_then(|()| breaker.trip()).expect_err("by hand");
    assert_eq!(number(&telemetry.samples(), "cofferdam_breaker_resets_total", &[]), Some(2.0));
}
