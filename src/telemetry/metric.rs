//! What a metric is, and how it is named.

use std::fmt;

/// What kind of numbers a metric has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MetricKind {
    /// A sum that only grows.
    Counter,
    /// A level that goes up and down.
    Gauge,
    /// How many values fell into each of several ranges, and their sum.
    Histogram,
}

impl fmt::Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

/// In what a metric is measured. Base units only, as Prometheus and OpenTelemetry ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// In nothing: a number of things.
    None,
    /// In seconds.
    Seconds,
    /// In bytes.
    Bytes,
    /// A share of one.
    Ratio,
}

impl Unit {
    /// As the suffix of a name; empty for none.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Ratio => "ratio",
        }
    }
}

/// What is measured: its name, what that means, and the labels that its series differ in.
///
/// # Naming
/// `<namespace>_<subsystem>_<component>_<what>_<unit>`, and `_total` for a counter: [`full_name`](Self::full_name). The
/// name of a metric is `<component>_<what>`; the rest is added, so that one rule holds for all. Each series has the
/// labels that are the same for all of a [`Telemetry`](super::Telemetry), then `name`, which is what the component is
/// watched as, then the metric's own.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Metric {
    name: &'static str,
    help: &'static str,
    kind: MetricKind,
    unit: Unit,
    labels: &'static [&'static str],
}

impl Metric {
    /// A sum that only grows. Without `_total` in its name.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricKind::Counter, unit: Unit::None, labels: &[] }
    }

    /// A level.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricKind::Gauge, unit: Unit::None, labels: &[] }
    }

    /// Durations, in ranges.
    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricKind::Histogram, unit: Unit::Seconds, labels: &[] }
    }

    /// In this unit. Without it in its name.
    pub const fn unit(mut self, unit: Unit) -> Self {
        self.unit = unit;
        self
    }

    /// With series that differ in these labels.
    pub const fn labels(mut self, labels: &'static [&'static str]) -> Self {
        self.labels = labels;
        self
    }

    /// `<component>_<what>`.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What it means, in one sentence.
    pub const fn help(&self) -> &'static str {
        self.help
    }

    /// What kind it is.
    pub const fn kind(&self) -> MetricKind {
        self.kind
    }

    /// What it is measured in.
    pub const fn measured_in(&self) -> Unit {
        self.unit
    }

    /// The names of its own labels.
    pub const fn label_names(&self) -> &'static [&'static str] {
        self.labels
    }

    /// The name behind a prefix, which is empty or ends in `_`; with the unit, and `_total` for a counter.
    ///
    /// ```
    /// use cofferdam::telemetry::Metric;
    ///
    /// let metric = Metric::counter("mill_turns", "Turns of the mill.");
    /// assert_eq!(metric.full_name("shop_"), "shop_mill_turns_total");
    /// ```
    pub fn full_name(&self, prefix: &str) -> String {
        let unit = self.unit.as_str();
        let gap = if unit.is_empty() { "" } else { "_" };
        let total = if self.kind == MetricKind::Counter { "_total" } else { "" };
        format!("{prefix}{}{gap}{unit}{total}", self.name)
    }
}

/// Whether it can be (a part of) the name of a metric or label everywhere.
pub(super) fn is_name(text: &str) -> bool {
    let letters = |c: char| c == '_' || c.is_ascii_alphanumeric();
    text.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic()) && text.chars().all(letters)
}
