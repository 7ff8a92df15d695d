//! Settings of a telemetry.

use super::hub::{Hub, Outlets};
use super::metric::is_name;
use super::{Label, Logger, Metrics, Telemetry, Tracer};
use crate::ConfigError;
use crate::time::Clock;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Upper bounds that fit what most services do, from a millisecond to ten seconds: those that Prometheus proposes.
const BUCKETS: [Duration; 13] = [
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(10),
];

/// The most ranges that a histogram can have.
const MOST_BUCKETS: usize = 200;

/// The labels that the crate gives values to.
const RESERVED: [&str; 3] = ["name", "le", "quantile"];

/// Builds a [`Telemetry`].
#[must_use = "a builder does nothing until it is built"]
pub struct TelemetryBuilder {
    namespace: String,
    subsystem: String,
    settings: Settings,
    outlets: Outlets,
}

pub(super) struct Settings {
    pub(super) labels: Vec<Label>,
    pub(super) buckets: Vec<Duration>,
    pub(super) histograms: bool,
    pub(super) label_values: usize,
    pub(super) clock: Clock,
}

impl TelemetryBuilder {
    pub(super) fn new() -> Self {
        Self {
            namespace: "cofferdam".to_owned(),
            subsystem: String::new(),
            settings: Settings {
                labels: Vec::new(),
                buckets: BUCKETS.to_vec(),
                histograms: true,
                label_values: 100,
                clock: Clock::system(),
            },
            outlets: Outlets { metrics: Vec::new(), loggers: Vec::new(), tracer: None },
        }
    }

    /// The first part of all names. Default: "cofferdam". Empty: none.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// The second part of all names. Default: none.
    pub fn subsystem(mut self, subsystem: impl Into<String>) -> Self {
        self.subsystem = subsystem.into();
        self
    }

    /// A label that all series have, with one value.
    pub fn label(mut self, label: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.labels.push((Cow::Owned(label.into()), Cow::Owned(value.into())));
        self
    }

    /// The upper bounds of the ranges of all histograms, in rising order. Default: thirteen from half a millisecond to ten seconds.
    pub fn buckets(mut self, bounds: impl IntoIterator<Item = Duration>) -> Self {
        self.settings.buckets = bounds.into_iter().collect();
        self
    }

    /// Whether durations are kept by range. Default: yes.
    pub fn histograms(mut self, kept: bool) -> Self {
        self.settings.histograms = kept;
        self
    }

    /// How many values a label can take whose values come from outside, such as keys; all further ones are
    /// [`other`](super::LabelValues::OTHER). Default: 100 for each component.
    pub fn label_values(mut self, most: usize) -> Self {
        self.settings.label_values = most;
        self
    }

    /// Where metrics are [published](Telemetry::publish) to. There can be several.
    pub fn metrics(mut self, metrics: impl Metrics) -> Self {
        self.outlets.metrics.push(Box::new(metrics));
        self
    }

    /// Where lines of the log go. There can be several.
    pub fn logger(mut self, logger: impl Logger) -> Self {
        self.outlets.loggers.push(Box::new(logger));
        self
    }

    /// What makes the spans of calls. There is one.
    pub fn tracer(mut self, tracer: impl Tracer) -> Self {
        self.outlets.tracer = Some(Box::new(tracer));
        self
    }

    /// The clock by which calls are timed, and [published](Telemetry::publish_every). Default: the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.settings.clock = clock;
        self
    }

    /// The telemetry.
    ///
    /// # Errors
    /// A part of the name or a label that is not made of letters, digits and `_`, or begins with a digit; a label that the
    /// crate uses, or given twice; bounds that do not rise, or more than 200 of them.
    pub fn build(self) -> Result<Telemetry, ConfigError> {
        let Self { namespace, subsystem, settings, outlets } = self;
        let refused = |knob, value: &str, rule| Err(ConfigError::new("telemetry", knob, value, rule));
        let mut prefix = String::new();
        for (knob, part) in [("namespace", &namespace), ("subsystem", &subsystem)] {
            if part.is_empty() {
                continue;
            }
            if !is_name(part) {
                return refused(knob, part, "must be letters, digits and _, and not begin with a digit");
            }
            prefix.push_str(part);
            prefix.push('_');
        }
        for (at, (label, _)) in settings.labels.iter().enumerate() {
            if !is_name(label) {
                return refused("label", label, "must be letters, digits and _, and not begin with a digit");
            }
            let is_taken =
                || Telemetry::catalogue().iter().any(|metric| metric.label_names().contains(&&**label));
            if RESERVED.contains(&&**label) || label.starts_with("__") || is_taken() {
                return refused("label", label, "is given its values by the crate, or by Prometheus");
            }
            if settings.labels.iter().take(at).any(|(other, _)| other == label) {
                return refused("label", label, "must be given once");
            }
        }
        if let Some(pair) = settings.buckets.windows(2).find(|pair| pair.first() >= pair.last()) {
            return refused("buckets", &format!("{pair:?}"), "must rise");
        }
        let buckets = settings.buckets.len();
        if buckets > MOST_BUCKETS {
            return refused("buckets", &buckets.to_string(), "must not be more than 200");
        }
        Ok(Telemetry { hub: Arc::new(Hub::new(settings, prefix, outlets)) })
    }

    /// With the default settings, which nothing is wrong with.
    pub(super) fn defaults() -> Telemetry {
        let Self { settings, outlets, .. } = Self::new();
        Telemetry { hub: Arc::new(Hub::new(settings, "cofferdam_".to_owned(), outlets)) }
    }
}

impl fmt::Debug for TelemetryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryBuilder")
            .field("namespace", &self.namespace)
            .field("subsystem", &self.subsystem)
            .field("labels", &self.settings.labels)
            .field("histograms", &self.settings.histograms)
            .finish_non_exhaustive()
    }
}
