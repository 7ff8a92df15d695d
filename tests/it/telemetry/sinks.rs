//! The sinks: what arrives at the facades, at OpenTelemetry's SDK, and in Prometheus' text.

use cofferdam::resilience::{CircuitBreaker, Stack};
use cofferdam::telemetry::{
    Instrument, LogFacade, MetricsFacade, OpenTelemetry, PrometheusText, Telemetry, TracingFacade,
};
use cofferdam::testkit::ManualClock;
use futures_util::FutureExt;
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use std::collections::BTreeMap;
use std::future::{Future, pending, ready};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A breaker that has opened, and a call of two seconds that went well.
fn work(telemetry: &Telemetry, time: &ManualClock) -> (CircuitBreaker, Instrument) {
    let breaker =
        CircuitBreaker::builder().failure_threshold(1).clock(time.clock()).build().expect("a breaker");
    telemetry.watch("shop", &breaker).expect("the first");
    breaker.try_acquire().expect("closed").failure();
    let instrument = telemetry.instrument("call").expect("the first");
    let stack = Stack::new().layer(instrument.clone());
    let call = stack.call(|| {
        time.advance(2 * SECOND);
        ready(Ok::<_, ()>(()))
    });
    call.now_or_never().expect("ready").expect("ok");
    (breaker, instrument)
}

/// Notes what is registered, described and recorded.
#[derive(Clone, Default)]
struct Recorder {
    notes: Arc<Mutex<BTreeMap<String, Vec<f64>>>>,
    described: Arc<Mutex<Vec<String>>>,
    registered: Arc<AtomicU64>,
}

struct Note {
    notes: Arc<Mutex<BTreeMap<String, Vec<f64>>>>,
    key: String,
}

impl Note {
    fn note(&self, value: f64) {
        self.notes.lock().expect("not poisoned").entry(self.key.clone()).or_default().push(value);
    }
}

impl metrics::CounterFn for Note {
    fn increment(&self, value: u64) {
        self.note(value as f64);
    }

    fn absolute(&self, _: u64) {
        panic!("sums are told as they grow");
    }
}

impl metrics::GaugeFn for Note {
    fn increment(&self, _: f64) {
        panic!("levels are told as they are");
    }

    fn decrement(&self, _: f64) {
        panic!("levels are told as they are");
    }

    fn set(&self, value: f64) {
        self.note(value);
    }
}

impl metrics::HistogramFn for Note {
    fn record(&self, value: f64) {
        self.note(value);
    }
}

impl Recorder {
    fn handle(&self, key: &metrics::Key) -> Arc<Note> {
        self.registered.fetch_add(1, Ordering::Relaxed);
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let key = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::new(Note { notes: Arc::clone(&self.notes), key })
    }

    fn describe(&self, key: &metrics::KeyName, unit: Option<metrics::Unit>, description: &str) {
        let line = format!("{} {unit:?} {description}", key.as_str());
        self.described.lock().expect("not poisoned").push(line);
    }

    fn values(&self, key: &str) -> Vec<f64> {
        self.notes.lock().expect("not poisoned").get(key).cloned().unwrap_or_default()
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(
        &self,
        key: metrics::KeyName,
        unit: Option<metrics::Unit>,
        text: metrics::SharedString,
    ) {
        self.describe(&key, unit, &text);
    }

    fn describe_gauge(
        &self,
        key: metrics::KeyName,
        unit: Option<metrics::Unit>,
        text: metrics::SharedString,
    ) {
        self.describe(&key, unit, &text);
    }

    fn describe_histogram(
        &self,
        key: metrics::KeyName,
        unit: Option<metrics::Unit>,
        text: metrics::SharedString,
    ) {
        self.describe(&key, unit, &text);
    }

    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        metrics::Counter::from_arc(self.handle(key))
    }

    fn register_gauge(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::from_arc(self.handle(key))
    }

    fn register_histogram(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::from_arc(self.handle(key))
    }
}

#[test]
fn the_metrics_facade_gets_each_series_registered_once() {
    let (recorder, time) = (Recorder::default(), ManualClock::new());
    let telemetry = Telemetry::builder()
        .metrics(MetricsFacade::to(recorder.clone()))
        .clock(time.clock())
        .build()
        .expect("a telemetry");
    let (breaker, _call) = work(&telemetry, &time);
    telemetry.publish();
    let registered = recorder.registered.load(Ordering::Relaxed);
    assert!(breaker.try_acquire().is_err());
    telemetry.publish();
    let failures = recorder.values("cofferdam_breaker_calls_total{name=shop,outcome=failure}");
    assert_eq!(failures, [1.0], "once, though it was published twice");
    assert_eq!(recorder.values("cofferdam_breaker_calls_total{name=shop,outcome=rejected}"), [1.0]);
    assert_eq!(recorder.values("cofferdam_breaker_state{name=shop,state=open}"), [1.0, 1.0]);
    let durations = recorder.values("cofferdam_call_duration_seconds{name=call,outcome=success}");
    assert_eq!(durations, [2.0]);
    assert_eq!(recorder.registered.load(Ordering::Relaxed), registered);
    let described = recorder.described.lock().expect("not poisoned");
    let wanted = "cofferdam_call_duration_seconds Some(Seconds) How long calls took, by how they ended.";
    assert!(described.iter().any(|line| line == wanted), "{described:?}");
}

#[test]
fn the_metrics_facade_of_the_process_is_that_which_is_installed() {
    let (recorder, time) = (Recorder::default(), ManualClock::new());
    metrics::with_local_recorder(&recorder, || {
        let telemetry = Telemetry::builder()
            .metrics(MetricsFacade::new())
            .clock(time.clock())
            .build()
            .expect("a telemetry");
        let _watched = work(&telemetry, &time);
        telemetry.publish();
    });
    assert_eq!(recorder.values("cofferdam_breaker_calls_total{name=shop,outcome=failure}"), [1.0]);
}

#[test]
fn opentelemetry_gets_sums_levels_and_durations_with_units_and_bounds() {
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone()).with_interval(3600 * SECOND).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    let time = ManualClock::new();
    let telemetry = Telemetry::builder()
        .metrics(OpenTelemetry::new(provider.meter("cofferdam")))
        .buckets([SECOND, 5 * SECOND])
        .clock(time.clock())
        .build()
        .expect("a telemetry");
    let (breaker, _call) = work(&telemetry, &time);
    telemetry.publish();
    assert!(breaker.try_acquire().is_err());
    telemetry.publish();
    provider.force_flush().expect("flushed");
    let mut seen = BTreeMap::new();
    for resource in exporter.get_finished_metrics().expect("finished") {
        for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
            let numbers: Vec<(String, f64)> = match metric.data() {
                AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                    assert!(sum.is_monotonic());
                    sum.data_points()
                        .map(|point| (labels(point.attributes()), point.value() as f64))
                        .collect()
                }
                AggregatedMetrics::F64(MetricData::Gauge(gauge)) => {
                    gauge.data_points().map(|point| (labels(point.attributes()), point.value())).collect()
                }
                AggregatedMetrics::F64(MetricData::Histogram(histogram)) => histogram
                    .data_points()
                    .map(|point| {
                        assert_eq!(point.bounds().collect::<Vec<_>>(), [1.0, 5.0]);
                        assert_eq!(point.bucket_counts().collect::<Vec<_>>(), [0, 1, 0]);
                        (labels(point.attributes()), point.sum())
                    })
                    .collect(),
                _ => panic!("{}: another kind of data", metric.name()),
            };
            seen.insert((metric.name().to_owned(), metric.unit().to_owned()), numbers);
        }
    }
    let of =
        |name: &str, unit: &str| seen.get(&(name.to_owned(), unit.to_owned())).cloned().unwrap_or_default();
    let calls = of("cofferdam_breaker_calls_total", "1");
    assert!(calls.contains(&("name=shop,outcome=failure".to_owned(), 1.0)), "{calls:?}");
    assert!(calls.contains(&("name=shop,outcome=rejected".to_owned(), 1.0)), "{calls:?}");
    let states = of("cofferdam_breaker_state", "1");
    assert!(states.contains(&("name=shop,state=open".to_owned(), 1.0)), "{states:?}");
    let durations = of("cofferdam_call_duration_seconds", "s");
    assert_eq!(durations, [("name=call,outcome=success".to_owned(), 2.0)]);
}

fn labels<'a>(attributes: impl Iterator<Item = &'a opentelemetry::KeyValue>) -> String {
    let mut labels: Vec<_> = attributes.map(|label| format!("{}={}", label.key, label.value)).collect();
    labels.sort();
    labels.join(",")
}

#[test]
fn prometheus_gets_text_with_each_family_once() {
    let time = ManualClock::new();
    let telemetry = Telemetry::builder()
        .label("quote", "a \"b\" \\c\nd")
        .buckets([SECOND, 5 * SECOND])
        .clock(time.clock())
        .build()
        .expect("a telemetry");
    let (_watched, other) = (work(&telemetry, &time), CircuitBreaker::new());
    telemetry.watch("other", &other).expect("the first");
    let text = PrometheusText::new(&telemetry).render();
    let quote = "quote=\"a \\\"b\\\" \\\\c\\nd\"";
    for line in [
        "# HELP cofferdam_breaker_slow_calls_total Calls that took longer than a call may.".to_owned(),
        "# TYPE cofferdam_breaker_slow_calls_total counter".to_owned(),
        "# TYPE cofferdam_breaker_state gauge".to_owned(),
        "# TYPE cofferdam_call_duration_seconds histogram".to_owned(),
        format!("cofferdam_breaker_calls_total{{{quote},name=\"shop\",outcome=\"failure\"}} 1"),
        format!("cofferdam_breaker_calls_total{{{quote},name=\"other\",outcome=\"failure\"}} 0"),
        format!("cofferdam_call_duration_seconds_sum{{{quote},name=\"call\",outcome=\"success\"}} 2.0"),
        format!("cofferdam_call_duration_seconds_count{{{quote},name=\"call\",outcome=\"success\"}} 1"),
        format!(
            "cofferdam_call_duration_seconds_bucket{{{quote},name=\"call\",outcome=\"success\",le=\"1\"}} 0"
        ),
        format!(
            "cofferdam_call_duration_seconds_bucket{{{quote},name=\"call\",outcome=\"success\",le=\"5\"}} 1"
        ),
        format!(
            "cofferdam_call_duration_seconds_bucket{{{quote},name=\"call\",outcome=\"success\",le=\"+Inf\"}} 1"
        ),
    ] {
        assert_eq!(text.lines().filter(|found| *found == line).count(), 1, "{line}\nin\n{text}");
    }
    let families: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let mut once = families.clone();
    once.dedup();
    assert_eq!(families, once);
    let open = PrometheusText::new(&telemetry).render_openmetrics();
    assert!(
        open.ends_with("# EOF\n") && open.contains("# UNIT cofferdam_call_duration_seconds seconds\n"),
        "{open}"
    );
    assert!(open.contains("# TYPE cofferdam_breaker_slow_calls counter\n"), "{open}");
}

/// Notes events, and what spans are given.
#[derive(Clone, Default)]
struct Subscriber {
    lines: Arc<Mutex<Vec<String>>>,
    spans: Arc<AtomicU64>,
}

impl Subscriber {
    fn note(&self, line: String) {
        self.lines.lock().expect("not poisoned").push(line);
    }
}

struct Fields(String);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!(" {}={value:?}", field.name()));
    }
}

impl tracing::Subscriber for Subscriber {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "cofferdam" && *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        let id = self.spans.fetch_add(1, Ordering::Relaxed) + 1;
        let mut fields = Fields(String::new());
        span.record(&mut fields);
        self.note(format!("new {id} {}{}", span.metadata().name(), fields.0));
        tracing::span::Id::from_u64(id)
    }

    fn record(&self, span: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        let mut fields = Fields(String::new());
        values.record(&mut fields);
        self.note(format!("record {}{}", span.into_u64(), fields.0));
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.note(format!("{}{}", event.metadata().level(), fields.0));
    }

    fn enter(&self, span: &tracing::span::Id) {
        self.note(format!("enter {}", span.into_u64()));
    }

    fn exit(&self, span: &tracing::span::Id) {
        self.note(format!("exit {}", span.into_u64()));
    }

    fn try_close(&self, span: tracing::span::Id) -> bool {
        self.note(format!("close {}", span.into_u64()));
        true
    }
}

#[test]
fn tracing_gets_lines_as_events_and_calls_as_spans() {
    let (subscriber, time) = (Subscriber::default(), ManualClock::new());
    tracing::subscriber::with_default(subscriber.clone(), || {
        let telemetry = Telemetry::builder()
            .logger(TracingFacade)
            .tracer(TracingFacade)
            .clock(time.clock())
            .build()
            .expect("a telemetry");
        let _watched = work(&telemetry, &time);
        let stack = Stack::new().layer(telemetry.instrument("another").expect("the first"));
        let mut dropped = Box::pin(stack.call(pending::<Result<(), ()>>));
        let polled = dropped.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Pending));
        drop(dropped);
    });
    let lines = subscriber.lines.lock().expect("not poisoned");
    let opened = "WARN component=\"breaker\" name=\"shop\" details=from=closed to=open trigger=consecutive failures \
                  open_for=30s window=- message=state changed";
    let mut first = lines[0].split_whitespace().collect::<Vec<_>>();
    let mut wanted = opened.split_whitespace().collect::<Vec<_>>();
    first.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(first, wanted);
    assert_eq!(
        lines[1..],
        [
            "new 1 call name=\"call\"",
            "enter 1",
            "exit 1",
            "record 1 outcome=\"success\"",
            "close 1",
            "new 2 call name=\"another\"",
            "enter 2",
            "exit 2",
            "record 2 outcome=\"cancelled\"",
            "close 2",
        ]
    );
}

/// The logger of the process.
struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {} {}", record.level(), record.target(), record.args());
        self.0.lock().expect("not poisoned").push(line);
    }

    fn flush(&self) {}
}

#[test]
fn the_log_facade_gets_whole_lines() {
    log::set_logger(&LINES).expect("the only one");
    log::set_max_level(log::LevelFilter::Info);
    let time = ManualClock::new();
    let telemetry = Telemetry::builder().logger(LogFacade).clock(time.clock()).build().expect("a telemetry");
    let (breaker, _call) = work(&telemetry, &time);
    assert!(breaker.try_acquire().is_err(), "which is told of at a level that nobody wants");
    let lines = LINES.0.lock().expect("not poisoned");
    let opened = "WARN cofferdam::breaker breaker shop: state changed from=closed to=open \
                  trigger=consecutive failures open_for=30s window=-";
    assert_eq!(*lines, [opened]);
}
