//! Limiters by route.

use super::{counters, while_there};
use crate::limit::Tiered;
use crate::limit::tiered::Tier;
use crate::telemetry::{Metric, Readings, Scope, Source, Unit, Watch};

static REQUESTS: Metric = Metric::counter(
    "tiered_requests",
    "Requests, by how they went: admitted at once; granted, dropped (the queue was full) or cancelled after that.",
)
.labels(&["outcome"]);
static HITS: Metric = Metric::counter(
    "tiered_hits",
    "Requests that were not admitted at once, by the tier that they would have had to wait for the longest.",
)
.labels(&["tier"]);
static QUEUED: Metric = Metric::counter("tiered_queued", "Requests that had to wait.");
static WAITING: Metric = Metric::gauge("tiered_waiting", "Requests that wait.");
static WAITED: Metric =
    Metric::gauge("tiered_wait", "How long those waited who were granted: the average, and the longest.")
        .unit(Unit::Seconds)
        .labels(&["of"]);
static BUCKETS: Metric = Metric::gauge("tiered_buckets", "Buckets in memory below the global one.");
static ACTIVE: Metric = Metric::gauge("tiered_active_buckets", "Those of them that are not full, or paused.");
static EVICTED: Metric = Metric::counter("tiered_evicted", "Buckets that were forgotten.");
static OVERFLOWED: Metric =
    Metric::counter("tiered_overflowed", "Times that a new key had to share an overflow bucket.");

pub(super) static METRICS: [&Metric; 9] =
    [&REQUESTS, &HITS, &QUEUED, &WAITING, &WAITED, &BUCKETS, &ACTIVE, &EVICTED, &OVERFLOWED];

impl Watch for Tiered {
    const COMPONENT: &'static str = "tiered";

    fn watch(&self, _: &mut Scope<'_>) -> Box<dyn Source> {
        while_there(self.weak(), read)
    }

    fn identity(&self) -> usize {
        self.address()
    }
}

fn read(tiered: &Tiered, readings: &mut Readings<'_>) {
    let stats = tiered.stats();
    let sums = [
        ("admitted", stats.admitted),
        ("granted", stats.granted),
        ("dropped", stats.dropped),
        ("cancelled", stats.cancelled),
    ];
    counters(readings, &REQUESTS, sums);
    for (tier, name) in Tier::ALL.iter().zip(["global", "route", "resource", "sub_resource", "user"]) {
        readings.counter(&HITS, &[name], stats.hits(*tier));
    }
    readings.counter(&QUEUED, &[], stats.queued);
    readings.count(&WAITING, &[], stats.waiting as u64);
    readings.gauge(&WAITED, &["average"], stats.average_wait().as_secs_f64());
    readings.gauge(&WAITED, &["longest"], stats.longest_wait.as_secs_f64());
    readings.count(&BUCKETS, &[], stats.buckets as u64);
    readings.count(&ACTIVE, &[], stats.active_buckets as u64);
    readings.counter(&EVICTED, &[], stats.evicted);
    readings.counter(&OVERFLOWED, &[], stats.overflowed);
}
