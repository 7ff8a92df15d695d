//! What the gateway itself counts, as metrics beside those of the crate's components. Each door of it (an upstream, the front)
//! is watched as they are: read when it is asked for.

use crate::guard::GuardStats;
use crate::proxy::{Gateway, Upstream};
use crate::runtime::Runtime;
use crate::server::Server;
use crate::tally::Outcome;
use cofferdam::telemetry::{Metric, Readings, Scope, Source, Telemetry, Watch, WatchError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

static REQUESTS: Metric = Metric::counter(
    "gateway_requests",
    "Requests for an upstream that have been answered or abandoned, by what became of them.",
)
.labels(&["outcome"]);
static RUNNING: Metric =
    Metric::gauge("gateway_running", "Requests for an upstream that are being dealt with.");
static ATTEMPTS: Metric = Metric::counter(
    "gateway_attempts",
    "Attempts at an upstream, by why they were made: first, retry or hedge.",
)
.labels(&["kind"]);
static TOKENS: Metric = Metric::gauge(
    "gateway_tokens",
    "Calls that could be made now by the rate of the upstream; none without a rate.",
);
static TOKENS_LIMIT: Metric = Metric::gauge("gateway_tokens_limit", "The most that could be made at once.");
static PAUSED: Metric =
    Metric::gauge("gateway_paused", "1 while the upstream has asked to be left alone, else 0.");
static INJECTED: Metric =
    Metric::counter("gateway_injected", "What chaos has injected: latency, error, hang, panic or cancel.")
        .labels(&["kind"]);

static CONNECTIONS: Metric = Metric::counter("front_connections", "Connections that were accepted.");
static OPEN_CONNECTIONS: Metric = Metric::gauge("front_open_connections", "Connections that are open.");
static MALFORMED: Metric =
    Metric::counter("front_malformed", "Connections that ended because what came was not HTTP.");
static UNROUTED: Metric = Metric::counter("front_unrouted", "Requests that fit no upstream.");
static LOG_DROPPED: Metric =
    Metric::counter("front_log_dropped", "Records of the access log for which there was no room.");

/// The longest wait for a place since it was last asked for, in nanoseconds.
pub(super) type Longest = Arc<AtomicU64>;

/// Watches all there is; gives the longest waits of each upstream.
pub(super) fn watch_all<R: Runtime>(
    telemetry: &Telemetry,
    gateway: &Arc<Gateway<R>>,
    front: &Server,
) -> Result<Vec<Longest>, WatchError> {
    gateway.background.watched(telemetry)?;
    gateway.clients.watched(telemetry)?;
    telemetry.watch("front", &Front(gateway, front))?;
    let doors = gateway.upstreams.iter().map(|upstream| {
        telemetry.watch(upstream.name.as_str(), &Door { gateway, index: upstream.index })?;
        Ok(longest(upstream))
    });
    doors.collect()
}

/// No metric knows it: a histogram is of all time, and of ranges.
fn longest<R>(upstream: &Upstream<R>) -> Longest {
    let longest = Longest::default();
    let seen = Arc::clone(&longest);
    upstream.guard.on_place(move |waited| {
        seen.fetch_max(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    });
    longest
}

struct Door<'a, R> {
    gateway: &'a Arc<Gateway<R>>,
    index: usize,
}

impl<R: Runtime> Watch for Door<'_, R> {
    const COMPONENT: &'static str = "gateway";

    fn watch(&self, _: &mut Scope<'_>) -> Box<dyn Source> {
        let index = self.index;
        while_there(self.gateway, move |gateway, readings| read(&gateway.upstreams[index], readings))
    }
}

fn read<R>(upstream: &Upstream<R>, readings: &mut Readings<'_>) {
    let mut ended = 0;
    for (outcome, _) in Outcome::ALL {
        let count = upstream.counters.of(outcome);
        ended += count;
        readings.counter(&REQUESTS, &[outcome.slug()], count);
    }
    readings.count(&RUNNING, &[], upstream.counters.arrived().saturating_sub(ended));
    let stats = upstream.guard.stats();
    for (kind, count) in attempts(&stats) {
        readings.counter(&ATTEMPTS, &[kind], count);
    }
    let tokens = upstream.guard.tokens();
    if let Some((available, most)) = tokens.levels() {
        readings.count(&TOKENS, &[], available);
        readings.count(&TOKENS_LIMIT, &[], most);
    }
    readings.count(&PAUSED, &[], u64::from(tokens.paused_for.is_some()));
    for (kind, count) in injected(&stats) {
        readings.counter(&INJECTED, &[kind], count);
    }
}

pub(super) fn attempts(stats: &GuardStats) -> [(&'static str, u64); 3] {
    let attempts = &stats.attempts;
    let first = attempts.attempts.saturating_sub(attempts.retries);
    [("first", first), ("retry", attempts.retries), ("hedge", attempts.hedges)]
}

pub(super) fn injected(stats: &GuardStats) -> [(&'static str, u64); 5] {
    let [latency, error, hang, panic, cancel] = stats
        .chaos
        .map_or([0; 5], |chaos| [chaos.latencies, chaos.faults, chaos.hangs, chaos.panics, chaos.cancels]);
    [("latency", latency), ("error", error), ("hang", hang), ("panic", panic), ("cancel", cancel)]
}

struct Front<'a, R>(&'a Arc<Gateway<R>>, &'a Server);

impl<R: Runtime> Watch for Front<'_, R> {
    const COMPONENT: &'static str = "front";

    fn watch(&self, _: &mut Scope<'_>) -> Box<dyn Source> {
        let server = self.1.clone();
        while_there(self.0, move |gateway, readings| {
            readings.counter(&CONNECTIONS, &[], server.connections());
            readings.count(&OPEN_CONNECTIONS, &[], server.open_connections());
            readings.counter(&MALFORMED, &[], server.malformed());
            readings.counter(&UNROUTED, &[], gateway.unrouted.arrived());
            readings.counter(&LOG_DROPPED, &[], gateway.background.live().1);
        })
    }
}

/// Reads for as long as the gateway is there.
fn while_there<R: Runtime>(
    gateway: &Arc<Gateway<R>>,
    read: impl Fn(&Gateway<R>, &mut Readings<'_>) + Send + Sync + 'static,
) -> Box<dyn Source> {
    let gateway = Arc::downgrade(gateway);
    Box::new(move |readings: &mut Readings<'_>| match gateway.upgrade() {
        Some(gateway) => {
            read(&gateway, readings);
            true
        }
        None => false,
    })
}
