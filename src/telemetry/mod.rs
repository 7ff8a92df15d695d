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
//! | your own eyes | [`Telemetry::samples`]; [`inspect`] for who waits, who holds, and how it came to that |
//!
//! # What is measured
//! | watched | metrics | what they cost the watched |
//! |---|---|---|
//! | CircuitBreaker | `breaker_calls{outcome}`, `breaker_slow_calls`, `breaker_running`, `breaker_state{state}`, `breaker_state_changes`, `breaker_resets`, `breaker_consecutive_failures`, `breaker_window_failure`, `breaker_window_calls` | nothing |
//! | KeyedBreaker | `keyed_breaker_breakers{state}`, `keyed_breaker_keys`, `keyed_breaker_capacity`, `keyed_breaker_created`, `keyed_breaker_forgotten{why}`, `keyed_breaker_rejected` | nothing; reading goes through all breakers |
//! | Retry | `retry_runs{outcome}`, `retry_retries` | nothing |
//! | Hedge | `hedge_hedges{decision}`, `hedge_wins{winner}` | nothing |
//! | Timeout | `timeout_timed_out` | nothing |
//! | Fallback | `fallback_runs{outcome}` | nothing |
//! | Budget | `budget_requests{outcome}`, `budget_available` | nothing |
//! | Bulkhead | `bulkhead_calls{outcome}`, `bulkhead_limit`, `bulkhead_running`, `bulkhead_waiting`, `bulkhead_wait{outcome}`, `bulkhead_held` | each call is timed |
//! | Cache | `cache_requests{found}`, `cache_loads{outcome}`, `cache_evictions`, `cache_entries`, `cache_loading`, `cache_weight` | nothing |
//! | Registry | `registry_names`, `registry_capacity`, `registry_changes{change}` | nothing |
//! | Limiter | `limiter_requests{outcome}`, `limiter_wait{outcome}`, `limiter_available`, `limiter_capacity`, `limiter_waiting`, `limiter_paused`, `limiter_clock_steps_back` | decisions are counted |
//! | Keyed | `keyed_requests{outcome}`, `keyed_keys`, `keyed_capacity`, `keyed_overrides`, `keyed_waiting`, `keyed_inserted`, `keyed_forgotten{why}` | nothing |
//! | KeyedMap | `keyed_map_keys`, `keyed_map_capacity`, `keyed_map_created`, `keyed_map_forgotten{why}`, `keyed_map_rejected` | nothing |
//! | Tiered | `tiered_requests{outcome}`, `tiered_hits{tier}`, `tiered_queued`, `tiered_waiting`, `tiered_wait{of}`, `tiered_buckets`, `tiered_active_buckets`, `tiered_evicted`, `tiered_overflowed` | nothing; reading goes through all buckets |
//! | AdmissionControl | `admission_calls{outcome}`, `admission_running`, `admission_shedding` | nothing |
//! | ConcurrencyLimiter | `concurrency_requests{outcome}`, `concurrency_limit`, `concurrency_available`, `concurrency_in_flight`, `concurrency_waiting`, `concurrency_wait{outcome}` | each request is told of |
//! | AdaptiveLimiter | `adaptive_requests{outcome}`, `adaptive_limit`, `adaptive_available`, `adaptive_in_flight`, `adaptive_waiting`, `adaptive_wait{outcome}`, `adaptive_windows{outcome}`, `adaptive_limit_changes{reason}`, `adaptive_probing` | likewise |
//! | Semaphore | `semaphore_requests{outcome}`, `semaphore_capacity`, `semaphore_available`, `semaphore_in_use`, `semaphore_waiting`, `semaphore_wait{outcome}` | each acquisition takes the lock |
//! | Sender, Receiver | `channel_values`, `channel_capacity`, `channel_senders`, `channel_receivers` | nothing |
//! | WorkerPool | `pool_tasks{outcome}`, `pool_submitted`, `pool_failed`, `pool_retried`, `pool_workers`, `pool_queued`, `pool_delayed`, `pool_running`, `pool_waiting`, `pool_queue_wait`, `pool_run{outcome}` | nothing; durations, of one that is built to be observed: up to three looks at the clock for each task |
//! | TaskGroup | `group_members{outcome}`, `group_spawned`, `group_running`, `group_unread` | nothing |
//! | calls, by Telemetry::instrument | `call_ended{outcome}`, `call_rejections{reason}`, `call_running`, `call_duration{outcome}` | two looks at the clock for each |
//!
//! Names are made by [one rule](Metric#naming). [`Telemetry::catalogue`] has all of them with what they mean.
//!
//! A group [in place](crate::group::InPlaceGroup), a generator, a merge and other streams are not watched: all that they know is
//! in the one task that drives them, and only that task can ask.

#![doc = include_str!("elsewhere.md")]
#![forbid(unsafe_code)]

mod builder;
#[cfg(feature = "resilience")]
mod calls;
mod collector;
mod distribution;
mod hub;
pub mod inspect;
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
#[cfg(feature = "prometheus")]
pub use sink::PrometheusText;
#[cfg(feature = "opentelemetry")]
pub use sink::{OpenTelemetry, OpenTelemetryCarrier};
#[cfg(feature = "tracing")]
pub use sink::{TracingCarrier, TracingFacade};

use crate::shim::{Ordering, serial};
use hub::{Hub, Watched};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Watches components; see the [module](self).
///
/// A cheap handle: clones are the same. Watching keeps no component alive: one that is gone is forgotten. With the last handle
/// goes all that looked at components for it, and where it told of them: they are again as if nobody had watched, but that what
/// counts its decisions for it goes on counting. (An instrument in a stack keeps the sinks that it was made with, and tells them
/// nothing more.)
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
        let place = match self.hub.reserve(C::COMPONENT, &name, identity) {
            Ok(place) => place,
            Err(is_same) if is_same => return Ok(()),
            Err(_) => return Err(WatchError { component: C::COMPONENT, name }),
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

    /// All numbers of all components that are watched, as they are now. The numbers of one component are of one look at it.
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
