//! Ready-made sinks, each behind the feature that is called as what it hands on to.

#[cfg(any(feature = "opentelemetry", feature = "tracing"))]
mod carriers;
#[cfg(feature = "log")]
mod log;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "opentelemetry")]
mod opentelemetry;
#[cfg(feature = "prometheus")]
mod prometheus;
#[cfg(feature = "tracing")]
mod tracing;

#[cfg(feature = "opentelemetry")]
pub use carriers::OpenTelemetryCarrier;
#[cfg(feature = "tracing")]
pub use carriers::TracingCarrier;
#[cfg(feature = "log")]
pub use log::LogFacade;
#[cfg(feature = "metrics")]
pub use metrics::MetricsFacade;
#[cfg(feature = "opentelemetry")]
pub use opentelemetry::OpenTelemetry;
#[cfg(feature = "prometheus")]
pub use prometheus::PrometheusText;
#[cfg(feature = "tracing")]
pub use tracing::TracingFacade;
