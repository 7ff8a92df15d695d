//! To the `tracing` crate.

use crate::telemetry::{CallOutcome, Level, Logger, Record, Span, Tracer};
use std::fmt;
use tracing::field::Empty;

/// Hands lines of the log to `tracing` as events, and calls as spans.
///
/// Events have the target `cofferdam`, and the fields `component`, `name` and `details`. A call's span is called `call` and
/// has the fields `name`, `outcome` and `error`; it is a child of the span in which the call was first polled.
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingFacade;

impl Logger for TracingFacade {
    fn is_enabled(&self, level: Level) -> bool {
        match level {
            Level::Debug => tracing::enabled!(target: "cofferdam", tracing::Level::DEBUG),
            Level::Info => tracing::enabled!(target: "cofferdam", tracing::Level::INFO),
            Level::Warn => tracing::enabled!(target: "cofferdam", tracing::Level::WARN),
            Level::Error => tracing::enabled!(target: "cofferdam", tracing::Level::ERROR),
        }
    }

    fn log(&self, record: &Record<'_>) {
        let (component, name, message) = (record.component(), record.name(), record.message());
        let details = Details(record);
        match record.level() {
            Level::Debug => tracing::debug!(target: "cofferdam", component, name, %details, "{message}"),
            Level::Info => tracing::info!(target: "cofferdam", component, name, %details, "{message}"),
            Level::Warn => tracing::warn!(target: "cofferdam", component, name, %details, "{message}"),
            Level::Error => tracing::error!(target: "cofferdam", component, name, %details, "{message}"),
        }
    }
}

/// The fields of a line, whose names `tracing` cannot know beforehand.
struct Details<'a>(&'a Record<'a>);

impl fmt::Display for Details<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (field, value)) in self.0.fields().iter().enumerate() {
            let gap = if at == 0 { "" } else { " " };
            write!(f, "{gap}{field}={value}")?;
        }
        Ok(())
    }
}

impl Tracer for TracingFacade {
    fn span(&self, name: &str) -> Box<dyn Span> {
        let span = tracing::info_span!(target: "cofferdam", "call", name, outcome = Empty, error = Empty);
        Box::new(Open(span))
    }
}

struct Open(tracing::Span);

impl Span for Open {
    fn enter(&self) {
        self.0.with_subscriber(|(id, subscriber)| subscriber.enter(id));
    }

    fn exit(&self) {
        self.0.with_subscriber(|(id, subscriber)| subscriber.exit(id));
    }

    fn end(&self, outcome: CallOutcome, error: Option<&dyn fmt::Display>) {
        self.0.record("outcome", outcome.as_str());
        if let Some(error) = error {
            self.0.record("error", tracing::field::display(error));
        }
    }
}
