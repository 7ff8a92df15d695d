//! Semaphores.

use super::{Ends, while_there};
use crate::sync::{Semaphore, SemaphoreEvent};
use crate::telemetry::{Level, Metric, Readings, Scope, Source, Watch};
use std::sync::Arc;

static REQUESTS: Metric = Metric::counter(
    "semaphore_requests",
    "Requests that have ended, by how: acquired, refused, timed_out or cancelled.",
)
.labels(&["outcome"]);
static CAPACITY: Metric = Metric::gauge("semaphore_capacity", "Permits in all.");
static AVAILABLE: Metric = Metric::gauge("semaphore_available", "Free permits.");
static IN_USE: Metric = Metric::gauge("semaphore_in_use", "Permits in use.");
static WAITING: Metric = Metric::gauge("semaphore_waiting", "Requests that wait.");
static WAIT: Metric =
    Metric::histogram("semaphore_wait", "How long requests waited, by how they ended.").labels(&["outcome"]);

pub(super) static METRICS: [&Metric; 6] = [&REQUESTS, &CAPACITY, &AVAILABLE, &IN_USE, &WAITING, &WAIT];

const OUTCOMES: [&str; 4] = ["acquired", "refused", "timed_out", "cancelled"];

/// Observing it costs each of its acquisitions a lock.
impl Watch for Arc<Semaphore> {
    const COMPONENT: &'static str = "semaphore";

    fn watch(&self, scope: &mut Scope<'_>) -> Box<dyn Source> {
        let (ends, log) = (Ends::new(scope, &WAIT, OUTCOMES), scope.log());
        let counted = ends.clone();
        scope.keep(self.attach(move |event: &SemaphoreEvent| match event {
            SemaphoreEvent::Acquired { waited, .. } => counted.count(0, *waited),
            SemaphoreEvent::Refused { waited, .. } => counted.count(1, *waited),
            SemaphoreEvent::TimedOut { waited, .. } => counted.count(2, *waited),
            SemaphoreEvent::Cancelled { waited, .. } => counted.count(3, *waited),
            SemaphoreEvent::Resized { from, to } => {
                log.write(Level::Info, "resized", &[("from", from), ("to", to)]);
            }
            SemaphoreEvent::Closed => log.write(Level::Info, "closed", &[]),
            SemaphoreEvent::Queued { .. } => {}
        }));
        let semaphore = Arc::downgrade(self);
        while_there(
            move || semaphore.upgrade(),
            move |semaphore: &Arc<Semaphore>, readings: &mut Readings<'_>| {
                ends.read(&REQUESTS, readings);
                let stats = semaphore.stats();
                readings.count(&CAPACITY, &[], stats.capacity);
                readings.count(&AVAILABLE, &[], stats.available);
                readings.count(&IN_USE, &[], stats.in_use);
                readings.count(&WAITING, &[], stats.waiting as u64);
            },
        )
    }

    fn identity(&self) -> usize {
        Arc::as_ptr(self).addr()
    }
}
