//! L8. What components tell, on its way to whoever wants to know: metrics, logs, traces.
//!
//! A [`Telemetry`] watches components by name. What they count is **read** from them when it is asked for, so a count costs
//! nothing until then, is exact, and the numbers of one component fit each other. What they tell of as it happens (durations,
//! changes of state) comes by their [observers](crate::observe), at the cost of one branch where nobody looks.
//!
//! | to | by |
//! |---|---|
//! | whatever you have | the three traits [`Metrics`], [`Logger`] and [`Tracer`] |
//! | a test | a [`Collector`], which is all three |
//! | your own eyes | [`Telemetry::samples`] |

#![forbid(unsafe_code)]

mod builder;
#[cfg(feature = "resilience")]
mod calls;
mod collector;
mod distribution;
mod hub;
mod metric;
mod plug;
mod publish;
mod readings;
mod scope;
mod sink;
mod watch;

pub use builder::TelemetryBuilder;
#[cfg(feature = "resilience")]
pub use calls::{Instrument, Instrumented};
pub use collector::{Collected, Collector, Line, SpanLine};
pub use distribution::{HistogramSnapshot, Timing};
pub use metric::{Metric, MetricKind, Unit};
pub use plug::{
    CallOutcome, Counter, Gauge, Histogram, Label, Level, Logger, Metrics, Record, Series, Span, Tracer,
};
pub use publish::Publisher;
pub use readings::{Readings, Sample, Source, Value};
pub use scope::{LabelValues, Log, Scope, Watch};
#[cfg(feature = "log")]
pub use sink::LogFacade;
#[cfg(feature = "metrics")]
pub use sink::MetricsFacade;
#[cfg(feature = "opentelemetry")]
pub use sink::OpenTelemetry;
#[cfg(feature = "prometheus")]
pub use sink::PrometheusText;
#[cfg(feature = "tracing")]
pub use sink::TracingFacade;

use crate::shim::{Ordering, serial};
use hub::{Hub, Watched};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Watches components; see the [module](self).
///
/// A cheap handle: clones are the same. Watching keeps no component alive: one that is gone is forgotten. With the last handle
/// goes all that looked at components for it, and where it told of them: they are again as if nobody had watched, but that what
/// counts its decisions for it goes on counting.
#[derive(Clone)]
pub struct Telemetry {
    hub: Arc<Hub>,
}

impl Telemetry {
    /// With the default settings, and nowhere to publish to: for [`samples`](Self::samples).
    pub fn new() -> Self {
        TelemetryBuilder::defaults()
    }

    /// With other settings.
    pub fn builder() -> TelemetryBuilder {
        TelemetryBuilder::new()
    }

    /// Watches a component from now on, as `name`: the value of the label `name` of all its series. Once more for the same
    /// component and name is without effect.
    ///
    /// # Errors
    /// Another component of this kind is watched under this name. (One that is gone is not in the way.)
    pub fn watch<C: Watch + ?Sized>(
        &self,
        name: impl Into<Arc<str>>,
        component: &C,
    ) -> Result<(), WatchError> {
        let (name, identity) = (name.into(), component.identity());
        if let Some(earlier) = self.hub.find(C::COMPONENT, &name) {
            let there = earlier.is_there();
            if there && identity != 0 && earlier.identity == identity {
                return Ok(());
            }
            if !there {
                self.hub.forget(&earlier);
            }
        }
        let Some(place) = self.hub.reserve(C::COMPONENT, &name) else {
            return Err(WatchError { component: C::COMPONENT, name });
        };
        let mut scope = Scope {
            hub: &self.hub,
            component: C::COMPONENT,
            name: Arc::clone(&name),
            kept: Vec::new(),
            attached: Vec::new(),
        };
        let source = component.watch(&mut scope);
        let Scope { kept, attached, .. } = scope;
        let component = C::COMPONENT;
        place.fill(Watched { component, name, identity, serial: serial(), source, kept, attached });
        Ok(())
    }

    /// All numbers of all components that are watched, as they are now. The numbers of one component are of one moment.
    pub fn samples(&self) -> Vec<Sample> {
        self.hub.samples()
    }

    /// Tells all [`Metrics`] how sums have grown since the last time, and where levels are. (Durations they are told as they
    /// happen.) To be called before they are looked at; or see [`publish_every`](Self::publish_every).
    ///
    /// False if nothing was told: it is switched off, or another thread is at it.
    pub fn publish(&self) -> bool {
        self.hub.publish()
    }

    /// [Publishes](Self::publish) again and again, first after one interval, for as long as a handle of this telemetry is
    /// left. Give it to your executor.
    pub fn publish_every(&self, interval: Duration) -> Publisher {
        Publisher::new(self, interval)
    }

    /// Switches everything on or off: while it is off nothing is recorded, logged, published or shown. What components
    /// count by themselves goes on being counted.
    pub fn set_enabled(&self, enabled: bool) {
        // Relaxed: it guards no memory.
        self.hub.on.store(enabled, Ordering::Relaxed);
    }

    /// Whether it is on.
    pub fn is_enabled(&self) -> bool {
        self.hub.is_on()
    }

    /// The metrics that components of the crate have, with the features that it was built with.
    pub fn catalogue() -> Vec<&'static Metric> {
        watch::catalogue()
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("prefix", &self.hub.prefix)
            .field("enabled", &self.is_enabled())
            .finish_non_exhaustive()
    }
}

/// A name is taken: by another component of its kind, which is watched under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchError {
    component: &'static str,
    name: Arc<str>,
}

impl WatchError {
    /// The kind of component.
    pub fn component(&self) -> &'static str {
        self.component
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "another {} is watched as \"{}\"", self.component, self.name)
    }
}

impl std::error::Error for WatchError {}
