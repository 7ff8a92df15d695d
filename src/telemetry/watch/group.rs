//! Task groups. (A group in place has no state of its own to read: it lives in the task that drives it, and is borrowed by it.)

use super::{counters, while_there};
use crate::group::{GroupStats, TaskGroup};
use crate::telemetry::{Metric, Readings, Scope, Source, Watch};

static MEMBERS: Metric = Metric::counter(
    "group_members",
    "Members that have ended, by how: completed, panicked, cancelled, timed_out or dropped.",
)
.labels(&["outcome"]);
static SPAWNED: Metric = Metric::counter("group_spawned", "Members that were taken in.");
static RUNNING: Metric = Metric::gauge("group_running", "Members that have not ended.");
static UNREAD: Metric = Metric::gauge("group_unread", "Outcomes that nobody has asked for yet.");

pub(super) static METRICS: [&Metric; 4] = [&MEMBERS, &SPAWNED, &RUNNING, &UNREAD];

impl<T: Send + 'static> Watch for TaskGroup<T> {
    const COMPONENT: &'static str = "group";

    fn watch(&self, _: &mut Scope<'_>) -> Box<dyn Source> {
        while_there(self.weak(), |stats: &GroupStats, readings: &mut Readings<'_>| {
            let outcomes = [
                ("completed", stats.completed as u64),
                ("panicked", stats.panicked as u64),
                ("cancelled", stats.cancelled as u64),
                ("timed_out", stats.timed_out as u64),
                ("dropped", stats.dropped as u64),
            ];
            counters(readings, &MEMBERS, outcomes);
            readings.counter(&SPAWNED, &[], stats.spawned as u64);
            readings.count(&RUNNING, &[], stats.running as u64);
            readings.count(&UNREAD, &[], stats.unread as u64);
        })
    }

    fn identity(&self) -> usize {
        self.address()
    }
}
