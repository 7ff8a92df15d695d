//! Limits by key: of all keys together, as one series for each key would be too many.

use super::{counters, while_there};
use crate::limit::{Algorithm, Keyed};
use crate::telemetry::{Metric, Readings, Scope, Source, Watch};
use std::hash::{BuildHasher, Hash};

static REQUESTS: Metric = Metric::counter(
    "keyed_requests",
    "Requests, by how they went: allowed, denied by the limit of their key, rejected (no room for the key), granted after a \
     wait, or cancelled.",
)
.labels(&["outcome"]);
static KEYS: Metric = Metric::gauge("keyed_keys", "Keys that are remembered.");
static CAPACITY: Metric = Metric::gauge("keyed_capacity", "The most keys that are remembered.");
static OVERRIDES: Metric = Metric::gauge("keyed_overrides", "Keys with a limit of their own.");
static WAITING: Metric = Metric::gauge("keyed_waiting", "Requests that wait, for all keys.");
static INSERTED: Metric = Metric::counter("keyed_inserted", "Keys that came.");
static FORGOTTEN: Metric = Metric::counter(
    "keyed_forgotten",
    "Keys that were forgotten, by why: expired (idle), evicted (for others) or removed (by hand).",
)
.labels(&["why"]);

pub(super) static METRICS: [&Metric; 7] =
    [&REQUESTS, &KEYS, &CAPACITY, &OVERRIDES, &WAITING, &INSERTED, &FORGOTTEN];

impl<K, A, S> Watch for Keyed<K, A, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    A: Algorithm,
    S: BuildHasher + Send + Sync + 'static,
{
    const COMPONENT: &'static str = "keyed";

    fn watch(&self, _: &mut Scope<'_>) -> Box<dyn Source> {
        while_there(self.weak(), read::<K, A, S>)
    }

    fn identity(&self) -> usize {
        self.address()
    }
}

fn read<K, A, S>(keyed: &Keyed<K, A, S>, readings: &mut Readings<'_>)
where
    K: Hash + Eq + Send + Sync + 'static,
    A: Algorithm,
    S: BuildHasher + Send + Sync + 'static,
{
    let stats = keyed.stats();
    let sums = [
        ("allowed", stats.decided.allowed),
        ("denied", stats.decided.denied),
        ("rejected", stats.rejected),
        ("granted", stats.granted),
        ("cancelled", stats.cancelled),
    ];
    counters(readings, &REQUESTS, sums);
    readings.count(&KEYS, &[], stats.keys as u64);
    readings.count(&CAPACITY, &[], stats.capacity as u64);
    readings.count(&OVERRIDES, &[], stats.overrides as u64);
    readings.count(&WAITING, &[], stats.waiting as u64);
    readings.counter(&INSERTED, &[], stats.inserted);
    let sums = [("expired", stats.expired), ("evicted", stats.evicted), ("removed", stats.removed)];
    counters(readings, &FORGOTTEN, sums);
}
