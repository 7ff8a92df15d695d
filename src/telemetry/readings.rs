//! The state of a component as numbers.

use super::distribution::HistogramSnapshot;
use super::{Label, Metric};
use std::fmt;

/// Something whose state can be read as numbers, for as long as it is there.
pub trait Source: Send + Sync + 'static {
    /// Says the numbers: all of one look at the component, so that they fit each other. False if it is gone: it is then
    /// forgotten.
    fn read(&self, readings: &mut Readings<'_>) -> bool;
}

impl<F: Fn(&mut Readings<'_>) -> bool + Send + Sync + 'static> Source for F {
    fn read(&self, readings: &mut Readings<'_>) -> bool {
        self(readings)
    }
}

/// A number of a metric.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A sum.
    Counter(u64),
    /// A level.
    Gauge(f64),
    /// Values by range.
    Histogram(HistogramSnapshot),
}

/// What a [`Source`] says its numbers to.
pub struct Readings<'a> {
    pub(super) out: &'a mut dyn FnMut(&'static Metric, &[&str], Value),
}

impl Readings<'_> {
    /// A sum, with the values of the metric's own labels.
    pub fn counter(&mut self, metric: &'static Metric, labels: &[&str], value: u64) {
        (self.out)(metric, labels, Value::Counter(value));
    }

    /// A level, likewise.
    pub fn gauge(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        (self.out)(metric, labels, Value::Gauge(value));
    }

    /// A level that is a number of things.
    pub fn count(&mut self, metric: &'static Metric, labels: &[&str], value: impl TryInto<u64>) {
        self.gauge(metric, labels, value.try_into().map_or(f64::MAX, |value| value as f64));
    }
}

impl fmt::Debug for Readings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readings").finish_non_exhaustive()
    }
}

/// One number, as it was read.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// What was measured.
    pub metric: &'static Metric,
    /// The whole name.
    pub name: String,
    /// All labels with their values.
    pub labels: Vec<Label>,
    /// The number.
    pub value: Value,
}

impl Sample {
    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| &**value)
    }
}
