//! Semaphores.

use super::while_there;
use crate::shim::{AtomicU64, Ordering};
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
        let counts: Arc<[AtomicU64; 4]> = Arc::default();
        let (counted, log) = (Arc::clone(&counts), scope.log());
        let waits = OUTCOMES.map(|outcome| scope.timing(&WAIT, &[outcome]));
        self.observe(move |event: &SemaphoreEvent| {
            let (at, waited) = match event {
                SemaphoreEvent::Acquired { waited, .. } => (0, waited),
                SemaphoreEvent::Refused { waited, .. } => (1, waited),
                SemaphoreEvent::TimedOut { waited, .. } => (2, waited),
                SemaphoreEvent::Cancelled { waited, .. } => (3, waited),
                SemaphoreEvent::Resized { from, to } => {
                    return log.write(Level::Info, "resized", &[("from", from), ("to", to)]);
                }
                SemaphoreEvent::Closed => return log.write(Level::Info, "closed", &[]),
                SemaphoreEvent::Queued { .. } => return,
            };
            if let (Some(count), Some(wait)) = (counted.get(at), waits.get(at)) {
                // Relaxed: it guards no memory.
                count.fetch_add(1, Ordering::Relaxed);
                wait.record(*waited);
            }
        });
        let semaphore = Arc::downgrade(self);
        while_there(
            move || semaphore.upgrade(),
            move |semaphore, readings| read(semaphore, &counts, readings),
        )
    }

    fn identity(&self) -> usize {
        Arc::as_ptr(self).addr()
    }
}

fn read(semaphore: &Semaphore, counts: &[AtomicU64; 4], readings: &mut Readings<'_>) {
    for (outcome, count) in OUTCOMES.iter().zip(counts) {
        readings.counter(&REQUESTS, &[outcome], count.load(Ordering::Relaxed));
    }
    let stats = semaphore.stats();
    readings.count(&CAPACITY, &[], stats.capacity);
    readings.count(&AVAILABLE, &[], stats.available);
    readings.count(&IN_USE, &[], stats.in_use);
    readings.count(&WAITING, &[], stats.waiting as u64);
}
