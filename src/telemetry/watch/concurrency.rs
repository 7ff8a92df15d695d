//! Limits on how much is in flight: fixed, and found out.

use super::{Ends, while_there};
use crate::limit::concurrency::{
    AdaptiveEvent, AdaptiveLimiter, ConcurrencyEvent, ConcurrencyLimiter, LimitReason,
};
use crate::observe::{Attached, Observers};
use crate::shim::{AtomicU64, Ordering};
use crate::telemetry::{Level, Metric, Readings, Scope, Source, Watch};
use std::sync::Arc;

static REQUESTS: Metric = Metric::counter(
    "concurrency_requests",
    "Requests that have ended, by how: acquired, refused, timed_out, shed or cancelled.",
)
.labels(&["outcome"]);
static LIMIT: Metric = Metric::gauge("concurrency_limit", "How much may be in flight.");
static AVAILABLE: Metric = Metric::gauge("concurrency_available", "Free permits.");
static IN_FLIGHT: Metric = Metric::gauge("concurrency_in_flight", "Permits in flight.");
static WAITING: Metric = Metric::gauge("concurrency_waiting", "Requests that wait.");
static WAIT: Metric = Metric::histogram("concurrency_wait", "How long requests waited, by how they ended.")
    .labels(&["outcome"]);

static ADAPTIVE_REQUESTS: Metric = Metric::counter(
    "adaptive_requests",
    "Requests that have ended, by how: acquired, refused, timed_out, shed or cancelled.",
)
.labels(&["outcome"]);
static ADAPTIVE_LIMIT: Metric = Metric::gauge("adaptive_limit", "How much may be in flight now.");
static ADAPTIVE_AVAILABLE: Metric = Metric::gauge("adaptive_available", "How much more could begin now.");
static ADAPTIVE_IN_FLIGHT: Metric = Metric::gauge("adaptive_in_flight", "How much is in flight.");
static ADAPTIVE_WAITING: Metric = Metric::gauge("adaptive_waiting", "Requests that wait.");
static ADAPTIVE_WAIT: Metric =
    Metric::histogram("adaptive_wait", "How long requests waited, by how they ended.").labels(&["outcome"]);
static WINDOWS: Metric = Metric::counter(
    "adaptive_windows",
    "Windows that have ended, by what became of them: taken in, or dropped for too few calls.",
)
.labels(&["outcome"]);
static CHANGES: Metric = Metric::counter(
    "adaptive_limit_changes",
    "Changes of the limit, by why: calm, latency, drops, probe, probe_ended or unspecified.",
)
.labels(&["reason"]);
static PROBING: Metric = Metric::gauge("adaptive_probing", "1 while it is lowered to measure, else 0.");

pub(super) static METRICS: [&Metric; 15] = [
    &REQUESTS,
    &LIMIT,
    &AVAILABLE,
    &IN_FLIGHT,
    &WAITING,
    &WAIT,
    &ADAPTIVE_REQUESTS,
    &ADAPTIVE_LIMIT,
    &ADAPTIVE_AVAILABLE,
    &ADAPTIVE_IN_FLIGHT,
    &ADAPTIVE_WAITING,
    &ADAPTIVE_WAIT,
    &WINDOWS,
    &CHANGES,
    &PROBING,
];

const OUTCOMES: [&str; 5] = ["acquired", "refused", "timed_out", "shed", "cancelled"];

/// Counts requests by their ends, and passes on what is no end of one.
fn count(
    observers: &Observers<ConcurrencyEvent>,
    ends: &Ends<5>,
    other: impl Fn(&ConcurrencyEvent) + Send + Sync + 'static,
) -> Attached {
    let ends = ends.clone();
    observers.attach(move |event: &ConcurrencyEvent| match event {
        ConcurrencyEvent::Acquired { waited, .. } => ends.count(0, *waited),
        ConcurrencyEvent::Refused { waited, .. } => ends.count(1, *waited),
        ConcurrencyEvent::TimedOut { waited, .. } => ends.count(2, *waited),
        ConcurrencyEvent::Shed { waited, .. } => ends.count(3, *waited),
        ConcurrencyEvent::Cancelled { waited, .. } => ends.count(4, *waited),
        other_event => other(other_event),
    })
}

/// Observing it has its requests told of.
impl Watch for ConcurrencyLimiter {
    const COMPONENT: &'static str = "concurrency";

    fn watch(&self, scope: &mut Scope<'_>) -> Box<dyn Source> {
        let (ends, log) = (Ends::new(scope, &WAIT, OUTCOMES), scope.log());
        scope.keep(count(self.observers(), &ends, move |event| match event {
            ConcurrencyEvent::Resized { from, to } => {
                log.write(Level::Info, "resized", &[("from", from), ("to", to)]);
            }
            ConcurrencyEvent::Closed => log.write(Level::Info, "closed", &[]),
            _ => {}
        }));
        while_there(self.weak(), move |limiter, readings| {
            ends.read(&REQUESTS, readings);
            let stats = limiter.stats();
            readings.count(&LIMIT, &[], stats.limit);
            readings.count(&AVAILABLE, &[], stats.available);
            readings.count(&IN_FLIGHT, &[], stats.in_flight);
            readings.count(&WAITING, &[], stats.waiting as u64);
        })
    }

    fn identity(&self) -> usize {
        self.address()
    }
}

/// As of a [`ConcurrencyLimiter`]; besides, it tells of its limit.
impl Watch for AdaptiveLimiter {
    const COMPONENT: &'static str = "adaptive";

    fn watch(&self, scope: &mut Scope<'_>) -> Box<dyn Source> {
        let (ends, log) = (Ends::new(scope, &ADAPTIVE_WAIT, OUTCOMES), scope.log());
        scope.keep(count(self.request_observers(), &ends, |_| {}));
        let changes: Arc<[AtomicU64; LimitReason::ALL.len()]> = Arc::default();
        let counted = Arc::clone(&changes);
        scope.keep(self.observers().attach(move |event: &AdaptiveEvent| {
            let AdaptiveEvent::LimitChanged { from, to, reason, .. } = event else { return };
            if let Some(count) = counted.get(*reason as usize) {
                // Relaxed: it guards no memory.
                count.fetch_add(1, Ordering::Relaxed);
            }
            log.write(Level::Debug, "limit changed", &[("from", from), ("to", to), ("reason", reason)]);
        }));
        while_there(self.weak(), move |limiter: &AdaptiveLimiter, readings: &mut Readings<'_>| {
            ends.read(&ADAPTIVE_REQUESTS, readings);
            for (reason, count) in LimitReason::ALL.iter().zip(&*changes) {
                readings.counter(&CHANGES, &[reason.as_str()], count.load(Ordering::Relaxed));
            }
            let stats = limiter.stats();
            readings.counter(&WINDOWS, &["taken"], stats.updates);
            readings.counter(&WINDOWS, &["dropped"], stats.thin_windows);
            readings.count(&ADAPTIVE_LIMIT, &[], stats.limit);
            readings.count(&ADAPTIVE_AVAILABLE, &[], stats.available);
            readings.count(&ADAPTIVE_IN_FLIGHT, &[], stats.in_flight);
            readings.count(&ADAPTIVE_WAITING, &[], stats.waiting as u64);
            readings.count(&PROBING, &[], u64::from(stats.probing));
        })
    }

    fn identity(&self) -> usize {
        self.address()
    }
}
