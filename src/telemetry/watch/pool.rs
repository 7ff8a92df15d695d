//! Worker pools.

use super::{counters, while_there};
use crate::pool::{Outcome, PoolEvent, PoolStats, WorkerPool};
use crate::telemetry::{Level, Metric, Readings, Scope, Source, Watch};

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
            let log = scope.log();
            let wait = scope.timing(&WAIT, &[]);
            let (done, undone) = (scope.timing(&RUN, &["completed"]), scope.timing(&RUN, &["other"]));
            let attached = observers.attach(move |event: &PoolEvent| match event {
                PoolEvent::Started { waited, attempt: 1, .. } => wait.record(*waited),
                PoolEvent::Ended(report) => {
                    let run = if report.outcome == Outcome::Completed { &done } else { &undone };
                    if report.attempts > 0 {
                        run.record(report.ran);
                    }
                    if report.outcome == Outcome::Panicked {
                        log.write(Level::Error, "task panicked", &[("task", &report.task)]);
                    }
                }
                PoolEvent::Retrying { task, attempt, .. } => {
                    log.write(
                        Level::Info,
                        "task failed, and is repeated",
                        &[("task", task), ("attempt", attempt)],
                    );
                }
                PoolEvent::DeadLettered { task, .. } => {
                    log.write(Level::Warn, "task failed for good", &[("task", task)]);
                }
                PoolEvent::WorkerStarted { worker } => {
                    log.write(Level::Debug, "worker started", &[("worker", worker)]);
                }
                PoolEvent::WorkerStopped { worker } => {
                    log.write(Level::Debug, "worker stopped", &[("worker", worker)]);
                }
                _ => {}
            });
            scope.keep(attached);
        }
        while_there(self.weak(), read)
    }

    fn identity(&self) -> usize {
        self.address()
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
