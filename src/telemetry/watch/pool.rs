//! Worker pools.

use super::{counters, while_there};
use crate::pool::{Meter, Outcome, PoolEvent, PoolStats, WorkerPool};
use crate::telemetry::{Level, Log, Metric, Readings, Scope, Source, Timing, Watch};
use std::time::Duration;

static TASKS: Metric = Metric::counter(
    "pool_tasks",
    "Tasks that have ended, by how: completed, panicked, cancelled, timed_out, expired, dropped or handed_back.",
)
.labels(&["outcome"]);
static SUBMITTED: Metric = Metric::counter("pool_submitted", "Tasks that were accepted.");
static FAILED: Metric =
    Metric::counter("pool_failed", "Tasks that ended with an error for good, among those completed.");
static RETRIED: Metric = Metric::counter("pool_retried", "Attempts that failed and were repeated.");
static WORKERS: Metric = Metric::gauge("pool_workers", "Workers.");
static QUEUED: Metric = Metric::gauge("pool_queued", "Tasks in the queue, those included that are not due.");
static DELAYED: Metric = Metric::gauge("pool_delayed", "Tasks in the queue that are not due.");
static RUNNING: Metric = Metric::gauge("pool_running", "Tasks that workers have begun and not ended.");
static WAITING: Metric = Metric::gauge("pool_waiting", "Submitters that wait for room.");
static WAIT: Metric = Metric::histogram("pool_queue_wait", "From the acceptance of a task to its beginning.");
static RUN: Metric =
    Metric::histogram("pool_run", "How long tasks ran, by how they ended.").labels(&["outcome"]);

pub(super) static METRICS: [&Metric; 11] =
    [&TASKS, &SUBMITTED, &FAILED, &RETRIED, &WORKERS, &QUEUED, &DELAYED, &RUNNING, &WAITING, &WAIT, &RUN];

/// Durations and lines of the log come from a pool that was built to be observed
/// ([`PoolBuilder::observed`](crate::pool::PoolBuilder::observed)); numbers, of any.
impl Watch for WorkerPool {
    const COMPONENT: &'static str = "pool";

    fn watch(&self, scope: &mut Scope<'_>) -> Box<dyn Source> {
        if let Some(observers) = self.observers() {
            scope.keep_log(|log| observers.attach(move |event: &PoolEvent| tell(&log, event)));
        }
        if scope.has_histograms() {
            let [wait, done, undone] = [scope.timing(&WAIT, &[]), of(scope, "completed"), of(scope, "other")];
            self.meter(Durations { wait, done, undone })
                .into_iter()
                .for_each(|attached| scope.keep(attached));
        }
        while_there(self.weak(), read)
    }

    fn identity(&self) -> usize {
        self.address()
    }
}

fn of(scope: &mut Scope<'_>, outcome: &str) -> Timing {
    scope.timing(&RUN, &[outcome])
}

struct Durations {
    wait: Timing,
    done: Timing,
    undone: Timing,
}

impl Meter for Durations {
    fn waited(&self, waited: Duration) {
        self.wait.record(waited);
    }

    fn ran(&self, outcome: Outcome, ran: Duration) {
        let run = if outcome == Outcome::Completed { &self.done } else { &self.undone };
        run.record(ran);
    }
}

fn tell(log: &Log, event: &PoolEvent) {
    match event {
        PoolEvent::Ended(report) if report.outcome == Outcome::Panicked => {
            log.write(Level::Error, "task panicked", &[("task", &report.task)]);
        }
        PoolEvent::Retrying { task, attempt, .. } => {
            log.write(Level::Info, "task failed, and is repeated", &[("task", task), ("attempt", attempt)]);
        }
        PoolEvent::DeadLettered { task, .. } => {
            log.write(Level::Warn, "task failed for good", &[("task", task)]);
        }
        PoolEvent::WorkerStarted { worker } => {
            log.write(Level::Debug, "worker started", &[("worker", worker)])
        }
        PoolEvent::WorkerStopped { worker } => {
            log.write(Level::Debug, "worker stopped", &[("worker", worker)])
        }
        _ => {}
    }
}

fn read((stats, ..): &(PoolStats, bool, Option<usize>), readings: &mut Readings<'_>) {
    let sums = [
        ("completed", stats.completed),
        ("panicked", stats.panicked),
        ("cancelled", stats.cancelled),
        ("timed_out", stats.timed_out),
        ("expired", stats.expired),
        ("dropped", stats.dropped),
        ("handed_back", stats.handed_back),
    ];
    counters(readings, &TASKS, sums);
    readings.counter(&SUBMITTED, &[], stats.submitted);
    readings.counter(&FAILED, &[], stats.failed);
    readings.counter(&RETRIED, &[], stats.retried);
    readings.count(&WORKERS, &[], stats.workers as u64);
    readings.count(&QUEUED, &[], stats.queued);
    readings.count(&DELAYED, &[], stats.delayed);
    readings.count(&RUNNING, &[], stats.running);
    readings.count(&WAITING, &[], stats.waiting as u64);
}
