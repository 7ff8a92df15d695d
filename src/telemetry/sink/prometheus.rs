//! As text for Prometheus, by the encoder of `prometheus-client`.

use crate::telemetry::{HistogramSnapshot, MetricKind, Sample, Telemetry, Unit, Value};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{self, Registry};
use std::collections::BTreeMap;
use std::fmt;

/// The numbers of a [`Telemetry`] as text for Prometheus to scrape: all that your server's handler of `/metrics` needs. They
/// are read as they are asked for; nothing has to be published.
///
/// It is also a [`Collector`], to be registered beside metrics of your own in a [`Registry`] of `prometheus-client`.
///
/// ```
/// use cofferdam::resilience::CircuitBreaker;
/// use cofferdam::telemetry::{PrometheusText, Telemetry};
///
/// let (telemetry, breaker) = (Telemetry::new(), CircuitBreaker::new());
/// telemetry.watch("checkout", &breaker)?;
/// let text = PrometheusText::new(&telemetry);
/// assert!(text.render().contains("cofferdam_breaker_running{name=\"checkout\"} 0"));
/// # Ok::<(), cofferdam::telemetry::WatchError>(())
/// ```
#[derive(Clone, Debug)]
pub struct PrometheusText {
    telemetry: Telemetry,
}

impl PrometheusText {
    /// Of this telemetry.
    pub fn new(telemetry: &Telemetry) -> Self {
        Self { telemetry: telemetry.clone() }
    }

    /// The media type of [`render`](Self::render).
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// The media type of [`render_openmetrics`](Self::render_openmetrics).
    pub const OPENMETRICS_CONTENT_TYPE: &'static str =
        "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// All numbers in the text format of Prometheus, version 0.0.4.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = prometheus_client::encoding::prometheus_text::encode(&mut text, &self.registry());
        text
    }

    /// All numbers in the text format of OpenMetrics, version 1.0.
    pub fn render_openmetrics(&self) -> String {
        let mut text = String::new();
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry());
        text
    }

    fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        registry
    }
}

impl Collector for PrometheusText {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // The samples of one metric belong together, whichever components they are of.
        let mut by_name: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        for sample in self.telemetry.samples() {
            by_name.entry(sample.name.clone()).or_default().push(sample);
        }
        for samples in by_name.values() {
            let Some(Sample { metric, name, .. }) = samples.first() else { continue };
            let (kind, mut bare) = match metric.kind() {
                MetricKind::Counter => (MetricType::Counter, name.strip_suffix("_total").unwrap_or(name)),
                MetricKind::Gauge => (MetricType::Gauge, name.as_str()),
                MetricKind::Histogram => (MetricType::Histogram, name.as_str()),
            };
            // The encoder adds the unit again.
            let unit = match metric.measured_in() {
                Unit::None => None,
                Unit::Seconds => Some(registry::Unit::Seconds),
                Unit::Bytes => Some(registry::Unit::Bytes),
                Unit::Ratio => Some(registry::Unit::Ratios),
            };
            if let Some(without) = bare.strip_suffix(metric.measured_in().as_str()) {
                bare = without.strip_suffix('_').unwrap_or(without);
            }
            let unit = unit.map(|unit| match unit {
                // In the singular, as all names are.
                registry::Unit::Ratios => registry::Unit::Other("ratio".to_owned()),
                unit => unit,
            });
            let mut family = encoder.encode_descriptor(bare, metric.help(), unit.as_ref(), kind)?;
            for sample in samples {
                encode(family.encode_family(&Labels(sample))?, &sample.value)?;
            }
        }
        Ok(())
    }
}

fn encode(mut encoder: MetricEncoder<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::Counter(sum) => encoder.encode_counter::<NoLabelSet, _, u64>(sum, None),
        Value::Gauge(level) => encoder.encode_gauge(level),
        Value::Histogram(histogram) => {
            let buckets = buckets(histogram);
            encoder.encode_histogram::<NoLabelSet>(histogram.sum(), histogram.count(), &buckets, None)
        }
    }
}

/// By upper bound, how many there are in each range.
fn buckets(histogram: &HistogramSnapshot) -> Vec<(f64, u64)> {
    let bounds = histogram.bounds().iter().copied().chain([f64::INFINITY]);
    bounds.zip(histogram.counts().iter().copied()).collect()
}

struct Labels<'a>(&'a Sample);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0
            .labels
            .iter()
            .try_for_each(|(label, value)| (&**label, &**value).encode(encoder.encode_label()))
    }
}
