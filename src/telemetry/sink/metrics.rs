//! To the `metrics` crate.

use crate::telemetry::{Counter, Gauge, Histogram, Metrics, Series, Unit};
use metrics::{Key, KeyName, Label, Level, Metadata, Recorder, SharedString};
use std::fmt;
use std::sync::Arc;

/// Hands metrics to the `metrics` facade: to the recorder that is installed for the process, or to one of your own. Each
/// series is registered and described once, and its handle kept.
///
/// A series that is first published before the process has its recorder stays without one.
#[derive(Clone, Default)]
pub struct MetricsFacade {
    recorder: Option<Arc<dyn Recorder + Send + Sync>>,
}

impl MetricsFacade {
    /// To the recorder that is installed for the process.
    pub fn new() -> Self {
        Self::default()
    }

    /// To this one.
    pub fn to(recorder: impl Recorder + Send + Sync + 'static) -> Self {
        Self { recorder: Some(Arc::new(recorder)) }
    }

    fn with<R>(&self, series: &Series<'_>, f: impl FnOnce(&dyn Recorder, Key, Described) -> R) -> R {
        let labels: Vec<_> =
            series.labels().map(|(label, value)| Label::new(label.to_owned(), value.to_owned())).collect();
        let name = series.name().to_owned();
        let unit = match series.unit() {
            Unit::Seconds => Some(metrics::Unit::Seconds),
            Unit::Bytes => Some(metrics::Unit::Bytes),
            Unit::None | Unit::Ratio => None,
        };
        let described = Described {
            name: KeyName::from(name.clone()),
            unit,
            help: SharedString::const_str(series.help()),
        };
        let key = Key::from_parts(name, labels);
        match &self.recorder {
            Some(recorder) => f(&**recorder, key, described),
            None => metrics::with_recorder(|recorder| f(recorder, key, described)),
        }
    }
}

struct Described {
    name: KeyName,
    unit: Option<metrics::Unit>,
    help: SharedString,
}

const METADATA: Metadata<'_> = Metadata::new("cofferdam", Level::INFO, Some("cofferdam"));

impl Metrics for MetricsFacade {
    fn counter(&self, series: &Series<'_>) -> Box<dyn Counter> {
        self.with(series, |recorder, key, Described { name, unit, help }| {
            recorder.describe_counter(name, unit, help);
            Box::new(Handle(recorder.register_counter(&key, &METADATA)))
        })
    }

    fn gauge(&self, series: &Series<'_>) -> Box<dyn Gauge> {
        self.with(series, |recorder, key, Described { name, unit, help }| {
            recorder.describe_gauge(name, unit, help);
            Box::new(Handle(recorder.register_gauge(&key, &METADATA)))
        })
    }

    fn histogram(&self, series: &Series<'_>) -> Box<dyn Histogram> {
        self.with(series, |recorder, key, Described { name, unit, help }| {
            recorder.describe_histogram(name, unit, help);
            Box::new(Handle(recorder.register_histogram(&key, &METADATA)))
        })
    }
}

struct Handle<H>(H);

impl Counter for Handle<metrics::Counter> {
    fn add(&self, n: u64) {
        self.0.increment(n);
    }
}

impl Gauge for Handle<metrics::Gauge> {
    fn set(&self, value: f64) {
        self.0.set(value);
    }
}

impl Histogram for Handle<metrics::Histogram> {
    fn record(&self, value: f64) {
        self.0.record(value);
    }
}

impl fmt::Debug for MetricsFacade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsFacade").field("own_recorder", &self.recorder.is_some()).finish()
    }
}
