//! Everything in memory, for tests.

use super::{CallOutcome, Counter, Gauge, Histogram, Level, Logger, Metrics, Record, Series, Span, Tracer};
use crate::shim::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Keeps what it is told, for tests: it is [`Metrics`], [`Logger`] and [`Tracer`] in one. Clones are the same collector.
///
/// ```
/// use cofferdam::telemetry::{Collector, Telemetry};
///
/// let collector = Collector::new();
/// let telemetry = Telemetry::builder().metrics(collector.clone()).logger(collector.clone()).build()?;
/// telemetry.publish();
/// assert_eq!(collector.counter("cofferdam_breaker_calls_total", &[("name", "checkout")]), 0);
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
#[derive(Clone, Default)]
pub struct Collector {
    kept: Arc<Mutex<Collected>>,
}

/// What a [`Collector`] was told.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Collected {
    /// Sums, by name and labels.
    pub counters: BTreeMap<(String, Labels), u64>,
    /// Levels.
    pub gauges: BTreeMap<(String, Labels), f64>,
    /// Values, in the order in which they came.
    pub histograms: BTreeMap<(String, Labels), Vec<f64>>,
    /// How many handles were made.
    pub handles: usize,
    /// Lines of the log.
    pub lines: Vec<Line>,
    /// Spans that have ended.
    pub spans: Vec<SpanLine>,
}

type Labels = Vec<(String, String)>;

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// The whole of it.
    pub text: String,
}

/// A span that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpanLine {
    /// Its name.
    pub name: String,
    /// How the call ended.
    pub outcome: CallOutcome,
    /// By what error or refusal.
    pub error: Option<String>,
    /// How often the call was polled inside it.
    pub polls: usize,
}

impl Collector {
    /// With nothing in it yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy of all of it.
    pub fn collected(&self) -> Collected {
        self.kept.lock().clone()
    }

    /// A sum: of all series of this name that have these labels, and maybe others.
    pub fn counter(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        select(&self.kept.lock().counters, name, labels).sum()
    }

    /// A level: likewise added up.
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        select(&self.kept.lock().gauges, name, labels).sum()
    }

    /// The values of the series of this name that have these labels, and maybe others.
    pub fn durations(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let kept = self.kept.lock();
        let found = kept.histograms.iter().filter(|(key, _)| has(key, name, labels));
        found.flat_map(|(_, values)| values.iter().copied()).collect()
    }

    /// The lines of the log.
    pub fn lines(&self) -> Vec<Line> {
        self.kept.lock().lines.clone()
    }

    /// The spans that have ended.
    pub fn spans(&self) -> Vec<SpanLine> {
        self.kept.lock().spans.clone()
    }

    fn handle(&self, series: &Series<'_>) -> Handle {
        let labels = series.labels().map(|(label, value)| (label.to_owned(), value.to_owned())).collect();
        self.kept.lock().handles += 1;
        Handle { kept: Arc::clone(&self.kept), key: (series.name().to_owned(), labels) }
    }
}

fn has(key: &(String, Labels), name: &str, labels: &[(&str, &str)]) -> bool {
    let labelled = |wanted: &(&str, &str)| {
        key.1.iter().any(|(label, value)| (label.as_str(), value.as_str()) == *wanted)
    };
    key.0 == name && labels.iter().all(labelled)
}

fn select<'a, T: Copy>(
    all: &'a BTreeMap<(String, Labels), T>,
    name: &'a str,
    labels: &'a [(&str, &str)],
) -> impl Iterator<Item = T> + 'a {
    all.iter().filter(move |(key, _)| has(key, name, labels)).map(|(_, value)| *value)
}

struct Handle {
    kept: Arc<Mutex<Collected>>,
    key: (String, Labels),
}

impl Counter for Handle {
    fn add(&self, n: u64) {
        *self.kept.lock().counters.entry(self.key.clone()).or_default() += n;
    }
}

impl Gauge for Handle {
    fn set(&self, value: f64) {
        self.kept.lock().gauges.insert(self.key.clone(), value);
    }
}

impl Histogram for Handle {
    fn record(&self, value: f64) {
        self.kept.lock().histograms.entry(self.key.clone()).or_default().push(value);
    }
}

impl Metrics for Collector {
    fn counter(&self, series: &Series<'_>) -> Box<dyn Counter> {
        Box::new(self.handle(series))
    }

    fn gauge(&self, series: &Series<'_>) -> Box<dyn Gauge> {
        Box::new(self.handle(series))
    }

    fn histogram(&self, series: &Series<'_>) -> Box<dyn Histogram> {
        Box::new(self.handle(series))
    }
}

impl Logger for Collector {
    fn log(&self, record: &Record<'_>) {
        let line = Line { level: record.level(), text: record.to_string() };
        self.kept.lock().lines.push(line);
    }
}

impl Tracer for Collector {
    fn span(&self, name: &str) -> Box<dyn Span> {
        let line = SpanLine { name: name.to_owned(), outcome: CallOutcome::Cancelled, error: None, polls: 0 };
        Box::new(Open { kept: Arc::clone(&self.kept), line: Mutex::new(Some(line)) })
    }
}

/// A span that has not ended.
struct Open {
    kept: Arc<Mutex<Collected>>,
    line: Mutex<Option<SpanLine>>,
}

impl Open {
    fn close(&self, outcome: CallOutcome, error: Option<String>) {
        let line = self.line.lock().take();
        if let Some(line) = line {
            self.kept.lock().spans.push(SpanLine { outcome, error, ..line });
        }
    }
}

impl Span for Open {
    fn enter(&self) {
        if let Some(line) = &mut *self.line.lock() {
            line.polls += 1;
        }
    }

    fn end(&self, outcome: CallOutcome, error: Option<&dyn fmt::Display>) {
        self.close(outcome, error.map(|error| error.to_string()));
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.close(CallOutcome::Cancelled, None);
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}
