//! How each component of the crate is watched: which numbers it has, and what it tells of.
//!
//! Each file is one component: its metrics, as a table of `static`s, and where they come from.

#[cfg(feature = "limit")]
mod admission;
#[cfg(feature = "resilience")]
mod attempts;
#[cfg(feature = "resilience")]
mod breaker;
#[cfg(feature = "resilience")]
mod budget;
#[cfg(feature = "resilience")]
mod bulkhead;
#[cfg(feature = "limit")]
mod by_key;
#[cfg(feature = "resilience")]
mod cache;
mod channel;
#[cfg(feature = "limit")]
mod concurrency;
#[cfg(feature = "group")]
mod group;
#[cfg(feature = "limit")]
mod keyed;
#[cfg(feature = "limit")]
mod limiter;
#[cfg(feature = "pool")]
mod pool;
mod semaphore;
#[cfg(feature = "limit")]
mod tiered;

use super::{Metric, Readings, Scope, Source, Timing};
use crate::shim::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// The metrics of the crate's components, for tables.
pub(super) fn catalogue() -> Vec<&'static Metric> {
    let all: &[&[&Metric]] = &[
        #[cfg(feature = "limit")]
        &admission::METRICS,
        #[cfg(feature = "resilience")]
        &attempts::METRICS,
        #[cfg(feature = "resilience")]
        &breaker::METRICS,
        #[cfg(feature = "resilience")]
        &budget::METRICS,
        #[cfg(feature = "resilience")]
        &bulkhead::METRICS,
        #[cfg(feature = "limit")]
        &by_key::METRICS,
        #[cfg(feature = "resilience")]
        &by_key::OF_POLICIES,
        #[cfg(feature = "resilience")]
        &cache::METRICS,
        &channel::METRICS,
        #[cfg(feature = "limit")]
        &concurrency::METRICS,
        #[cfg(feature = "group")]
        &group::METRICS,
        #[cfg(feature = "resilience")]
        &super::calls::METRICS,
        #[cfg(feature = "limit")]
        &keyed::METRICS,
        #[cfg(feature = "limit")]
        &limiter::METRICS,
        #[cfg(feature = "pool")]
        &pool::METRICS,
        &semaphore::METRICS,
        #[cfg(feature = "limit")]
        &tiered::METRICS,
    ];
    all.iter().flat_map(|some| some.iter().copied()).collect()
}

/// Reads a component for as long as it is there.
pub(super) fn while_there<C>(
    weak: impl Fn() -> Option<C> + Send + Sync + 'static,
    read: impl Fn(&C, &mut Readings<'_>) + Send + Sync + 'static,
) -> Box<dyn Source> {
    Box::new(move |readings: &mut Readings<'_>| match weak() {
        Some(component) => {
            read(&component, readings);
            true
        }
        None => false,
    })
}

/// Sums that differ in one label.
#[allow(dead_code, reason = "used by the rooms behind features")]
pub(super) fn counters<const N: usize>(
    readings: &mut Readings<'_>,
    metric: &'static Metric,
    sums: [(&str, u64); N],
) {
    for (label, sum) in sums {
        readings.counter(metric, &[label], sum);
    }
}

/// Ends of requests, as observers are told of them: counted by how, and how long they took to come.
#[derive(Clone)]
pub(super) struct Ends<const N: usize> {
    outcomes: [&'static str; N],
    counts: Arc<[AtomicU64; N]>,
    waits: [Timing; N],
}

impl<const N: usize> Ends<N> {
    /// Timed by `wait`, whose label is the outcome.
    pub(super) fn new(scope: &mut Scope<'_>, wait: &'static Metric, outcomes: [&'static str; N]) -> Self {
        let waits = outcomes.map(|outcome| scope.timing(wait, &[outcome]));
        Self { outcomes, counts: Arc::new(std::array::from_fn(|_| AtomicU64::new(0))), waits }
    }

    /// One more, that ended in the outcome of this place.
    pub(super) fn count(&self, at: usize, waited: Duration) {
        if let (Some(count), Some(wait)) = (self.counts.get(at), self.waits.get(at)) {
            // Relaxed: it guards no memory.
            count.fetch_add(1, Ordering::Relaxed);
            wait.record(waited);
        }
    }

    /// Says them by a metric whose label is the outcome.
    pub(super) fn read(&self, metric: &'static Metric, readings: &mut Readings<'_>) {
        for (outcome, count) in self.outcomes.iter().zip(&*self.counts) {
            readings.counter(metric, &[outcome], count.load(Ordering::Relaxed));
        }
    }
}

#[cfg(all(test, feature = "resilience", feature = "pool", not(any(cofferdam_loom, cofferdam_shuttle))))]
mod tests {
    use crate::pool::WorkerPool;
    use crate::resilience::{CircuitBreaker, Fallback, Retry};
    use crate::telemetry::{Collector, Telemetry};

    #[test]
    fn events_are_made_for_a_log_and_not_for_metrics() -> Result<(), Box<dyn std::error::Error>> {
        let builder = || Telemetry::builder().metrics(Collector::new());
        for (telemetry, logs) in
            [(builder().build()?, false), (builder().logger(Collector::new()).build()?, true)]
        {
            let (breaker, fallback) = (CircuitBreaker::new(), Fallback::value(7));
            let retry = Retry::builder().build()?;
            let (pool, _workers) = WorkerPool::builder().workers(1).queue(1).observed().build()?;
            telemetry.watch("it", &breaker)?;
            telemetry.watch("it", &fallback)?;
            telemetry.watch("it", &retry)?;
            telemetry.watch("it", &pool)?;
            let observed = [
                breaker.observers().is_watched(),
                fallback.observers().is_watched(),
                retry.observers().is_watched(),
                pool.observers().is_some_and(|observers| observers.is_watched()),
            ];
            assert_eq!(observed, [logs; 4]);
        }
        Ok(())
    }
}
