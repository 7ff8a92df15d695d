//! Caches.

use super::{counters, while_there};
use crate::resilience::Cache;
use crate::telemetry::{Metric, Readings, Scope, Source, Watch};
use std::hash::Hash;

static REQUESTS: Metric = Metric::counter(
    "cache_requests",
    "Requests, by what they found: hit, stale, failure (of an earlier load), coalesced (somebody else's load) or miss.",
)
.labels(&["found"]);
static LOADS: Metric =
    Metric::counter("cache_loads", "Loads that have ended, by how: ok or failed.").labels(&["outcome"]);
static EVICTIONS: Metric = Metric::counter("cache_evictions", "Entries that had to make room for others.");
static ENTRIES: Metric = Metric::gauge("cache_entries", "Entries, outdated ones included.");
static LOADING: Metric = Metric::gauge("cache_loading", "Loads under way.");
static WEIGHT: Metric = Metric::gauge("cache_weight", "What the entries weigh together.");

pub(super) static METRICS: [&Metric; 6] = [&REQUESTS, &LOADS, &LOADING, &EVICTIONS, &ENTRIES, &WEIGHT];

impl<K, V, E> Watch for Cache<K, V, E>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    const COMPONENT: &'static str = "cache";

    fn watch(&self, _: &mut Scope<'_>) -> Box<dyn Source> {
        while_there(self.weak(), read::<K, V, E>)
    }

    fn identity(&self) -> usize {
        self.address()
    }
}

fn read<K, V, E>(cache: &Cache<K, V, E>, readings: &mut Readings<'_>)
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    let stats = cache.stats();
    let sums = [
        ("hit", stats.hits),
        ("stale", stats.stale_hits),
        ("failure", stats.failure_hits),
        ("coalesced", stats.coalesced),
        ("miss", stats.misses.saturating_sub(stats.coalesced)),
    ];
    counters(readings, &REQUESTS, sums);
    readings.counter(&LOADS, &["ok"], stats.loads.saturating_sub(stats.failed_loads));
    readings.counter(&LOADS, &["failed"], stats.failed_loads);
    readings.count(&LOADING, &[], stats.loading as u64);
    readings.counter(&EVICTIONS, &[], stats.evictions);
    readings.count(&ENTRIES, &[], stats.entries as u64);
    readings.count(&WEIGHT, &[], stats.weight);
}
