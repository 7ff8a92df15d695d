//! Three small traits for those who have a way of their own to log, measure and trace.

use super::{Metric, Unit};
use std::borrow::Cow;
use std::fmt;

/// A label and its value.
pub type Label = (Cow<'static, str>, Cow<'static, str>);

/// One line of numbers: a metric with values for its labels, as a sink gets to know it, once.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    pub(super) metric: &'static Metric,
    pub(super) name: &'a str,
    pub(super) labels: &'a [Label],
    pub(super) bounds: &'a [f64],
}

impl<'a> Series<'a> {
    /// What is measured.
    pub fn metric(&self) -> &'static Metric {
        self.metric
    }

    /// The whole name: `cofferdam_breaker_calls_total`.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// What it means.
    pub fn help(&self) -> &'static str {
        self.metric.help()
    }

    /// What it is measured in.
    pub fn unit(&self) -> Unit {
        self.metric.measured_in()
    }

    /// All its labels with their values.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = (&'a str, &'a str)> + use<'a> {
        self.labels.iter().map(|(label, value)| (&**label, &**value))
    }

    /// Of a histogram, the upper bounds of its ranges, in rising order; the last range has none.
    pub fn bounds(&self) -> &'a [f64] {
        self.bounds
    }
}

/// Takes metrics: makes a handle for each series, once, and is then told by it. If it panics over one, that series has none.
pub trait Metrics: Send + Sync + 'static {
    /// For a sum.
    fn counter(&self, series: &Series<'_>) -> Box<dyn Counter>;

    /// For a level.
    fn gauge(&self, series: &Series<'_>) -> Box<dyn Gauge>;

    /// For values by range.
    fn histogram(&self, series: &Series<'_>) -> Box<dyn Histogram>;
}

/// The handle of a sum.
pub trait Counter: Send + Sync {
    /// It has grown by `n`.
    fn add(&self, n: u64);
}

/// The handle of a level.
pub trait Gauge: Send + Sync {
    /// It is this now.
    fn set(&self, value: f64);
}

/// The handle of a histogram.
pub trait Histogram: Send + Sync {
    /// There was this value, in the unit of the series.
    fn record(&self, value: f64);
}

/// How much a line of a log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For whoever looks into something.
    Debug,
    /// Good to know.
    Info,
    /// Something to look at.
    Warn,
    /// Something is broken.
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        })
    }
}

/// A line of a log.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub(super) level: Level,
    pub(super) component: &'static str,
    pub(super) name: &'a str,
    pub(super) message: &'static str,
    pub(super) fields: &'a [(&'static str, &'a dyn fmt::Display)],
}

impl<'a> Record<'a> {
    /// How much it matters.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The kind of component: "breaker".
    pub fn component(&self) -> &'static str {
        self.component
    }

    /// What the component is watched as.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// What happened, always in the same words.
    pub fn message(&self) -> &'static str {
        self.message
    }

    /// With what.
    pub fn fields(&self) -> &'a [(&'static str, &'a dyn fmt::Display)] {
        self.fields
    }
}

/// The whole line but its level: `breaker checkout: state changed from=closed to=open`.
impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.component, self.name, self.message)?;
        self.fields.iter().try_for_each(|(field, value)| write!(f, " {field}={value}"))
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({} {self})", self.level)
    }
}

/// Takes lines of a log.
pub trait Logger: Send + Sync + 'static {
    /// Whether such lines are wanted. Where nobody wants one it is not made.
    fn is_enabled(&self, level: Level) -> bool {
        let _ = level;
        true
    }

    /// Takes one.
    fn log(&self, record: &Record<'_>);
}

/// Makes a span for each call.
pub trait Tracer: Send + Sync + 'static {
    /// A call begins under this name.
    fn span(&self, name: &str) -> Box<dyn Span>;
}

/// One call, as a trace shows it. Dropped without having [ended](Self::end), it was cancelled.
pub trait Span: Send + Sync {
    /// The call is about to be polled on this thread.
    fn enter(&self) {}

    /// It was.
    fn exit(&self) {}

    /// The call has ended: how, and by what error or refusal, if by one.
    fn end(&self, outcome: CallOutcome, error: Option<&dyn fmt::Display>);
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CallOutcome {
    /// With a value.
    Success,
    /// With the operation's own error.
    Failure,
    /// A policy refused it.
    Rejected,
    /// Its time was over.
    TimedOut,
    /// It was dropped, or the work around it was cancelled.
    Cancelled,
}

impl CallOutcome {
    /// All of them, in order.
    #[allow(dead_code, reason = "used where there are policies")]
    pub(super) const ALL: [Self; 5] =
        [Self::Success, Self::Failure, Self::Rejected, Self::TimedOut, Self::Cancelled];

    /// In one word, for labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Rejected => "rejected",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for CallOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
