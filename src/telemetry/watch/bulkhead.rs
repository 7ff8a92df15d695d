//! Bulkheads.

use super::{Ends, while_there};
use crate::resilience::BulkheadEvent;
use crate::resilience::{Bulkhead, Reason, Rejection, Shortage};
use crate::telemetry::{Level, Metric, Readings, Scope, Source, Watch};
use std::time::Duration;

static CALLS: Metric = Metric::counter(
    "bulkhead_calls",
    "Calls, by how they went: admitted; or refused for want of a place (no_place), of room in the queue (queue_full) or of \
     time (too_late), shed, or ended (closed, cancelled, out of time).",
)
.labels(&["outcome"]);
static LIMIT: Metric = Metric::gauge("bulkhead_limit", "Places.");
static RUNNING: Metric = Metric::gauge("bulkhead_running", "Places that are taken.");
static WAITING: Metric = Metric::gauge("bulkhead_waiting", "Calls that wait for a place.");
static WAIT: Metric =
    Metric::histogram("bulkhead_wait", "How long calls waited for a place, by how they went.")
        .labels(&["outcome"]);
static HELD: Metric = Metric::histogram("bulkhead_held", "How long places were held.");

pub(super) static METRICS: [&Metric; 6] = [&CALLS, &LIMIT, &RUNNING, &WAITING, &WAIT, &HELD];

const OUTCOMES: [&str; 6] = ["admitted", "no_place", "queue_full", "too_late", "shed", "ended"];

/// Where a refusal is counted, and how long it took.
fn refused(rejection: &Rejection) -> (usize, Duration) {
    match rejection.reason() {
        Reason::Full { shortage, waited, .. } => match shortage {
            Shortage::Places => (1, waited),
            Shortage::Queue => (2, waited),
            Shortage::Time => (3, waited),
        },
        Reason::Shed => (4, Duration::ZERO),
        _ => (5, Duration::ZERO),
    }
}

/// Observing it has its calls timed.
impl Watch for Bulkhead {
    const COMPONENT: &'static str = "bulkhead";

    fn watch(&self, scope: &mut Scope<'_>) -> Box<dyn Source> {
        let (ends, log) = (Ends::new(scope, &WAIT, OUTCOMES), scope.log());
        let (counted, held_for) = (ends.clone(), scope.timing(&HELD, &[]));
        scope.keep(self.observers().attach(move |event: &BulkheadEvent| match event {
            BulkheadEvent::Admitted { waited, .. } => counted.count(0, *waited),
            BulkheadEvent::Rejected { rejection, .. } => {
                let (at, waited) = refused(rejection);
                counted.count(at, waited);
            }
            BulkheadEvent::Finished { held, .. } => held.iter().for_each(|held| held_for.record(*held)),
            BulkheadEvent::Resized { from, to, .. } => {
                log.write(Level::Info, "resized", &[("from", from), ("to", to)]);
            }
            BulkheadEvent::SettingsChanged { queue, .. } => {
                log.write(Level::Info, "settings changed", &[("queue", queue)]);
            }
            BulkheadEvent::Queued { .. } => {}
        }));
        while_there(self.weak(), move |bulkhead: &Bulkhead, readings: &mut Readings<'_>| {
            ends.read(&CALLS, readings);
            let stats = bulkhead.stats();
            readings.count(&LIMIT, &[], stats.limit);
            readings.count(&RUNNING, &[], stats.running);
            readings.count(&WAITING, &[], stats.waiting as u64);
        })
    }

    fn identity(&self) -> usize {
        self.address()
    }
}
