//! To OpenTelemetry's own API for metrics.
//!
//! Metrics go straight to its API, which is declared stable, so that units, descriptions, attributes and bounds arrive as they
//! are; by way of the `metrics` facade, bounds and units would be lost. Spans and logs go by way of
//! [`tracing`](super::TracingFacade), for which OpenTelemetry keeps bridges itself.

use crate::telemetry::{Counter, Gauge, Histogram, Metrics, Series, Unit};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use std::fmt;

/// Hands metrics to a [`Meter`] of OpenTelemetry.
///
/// Sums become counters, levels gauges, durations histograms with the bounds of the [`Telemetry`](crate::telemetry::Telemetry).
/// Publish before the reader collects: with [`publish_every`](crate::telemetry::Telemetry::publish_every) at the reader's
/// interval or less.
#[derive(Clone)]
pub struct OpenTelemetry {
    meter: Meter,
}

impl OpenTelemetry {
    /// To this meter.
    pub fn new(meter: Meter) -> Self {
        Self { meter }
    }
}

fn attributes(series: &Series<'_>) -> Vec<KeyValue> {
    series.labels().map(|(label, value)| KeyValue::new(label.to_owned(), value.to_owned())).collect()
}

/// In the Unified Code for Units of Measure.
fn unit(series: &Series<'_>) -> &'static str {
    match series.unit() {
        Unit::Seconds => "s",
        Unit::Bytes => "By",
        Unit::Ratio | Unit::None => "1",
    }
}

impl Metrics for OpenTelemetry {
    fn counter(&self, series: &Series<'_>) -> Box<dyn Counter> {
        let builder = self.meter.u64_counter(series.name().to_owned());
        let instrument = builder.with_description(series.help()).with_unit(unit(series)).build();
        Box::new(Handle { instrument, attributes: attributes(series) })
    }

    fn gauge(&self, series: &Series<'_>) -> Box<dyn Gauge> {
        let builder = self.meter.f64_gauge(series.name().to_owned());
        let instrument = builder.with_description(series.help()).with_unit(unit(series)).build();
        Box::new(Handle { instrument, attributes: attributes(series) })
    }

    fn histogram(&self, series: &Series<'_>) -> Box<dyn Histogram> {
        let builder = self.meter.f64_histogram(series.name().to_owned());
        let builder = builder.with_boundaries(series.bounds().to_vec());
        let instrument = builder.with_description(series.help()).with_unit(unit(series)).build();
        Box::new(Handle { instrument, attributes: attributes(series) })
    }
}

struct Handle<I> {
    instrument: I,
    attributes: Vec<KeyValue>,
}

impl Counter for Handle<opentelemetry::metrics::Counter<u64>> {
    fn add(&self, n: u64) {
        self.instrument.add(n, &self.attributes);
    }
}

impl Gauge for Handle<opentelemetry::metrics::Gauge<f64>> {
    fn set(&self, value: f64) {
        self.instrument.record(value, &self.attributes);
    }
}

impl Histogram for Handle<opentelemetry::metrics::Histogram<f64>> {
    fn record(&self, value: f64) {
        self.instrument.record(value, &self.attributes);
    }
}

impl fmt::Debug for OpenTelemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenTelemetry").finish_non_exhaustive()
    }
}
