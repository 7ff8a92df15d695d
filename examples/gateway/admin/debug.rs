//! All numbers that the page shows, as JSON: times in seconds, rates in things a second, sums since the gateway began.

use super::health;
use super::metrics::{attempts, injected};
use super::{Desk, samples};
use crate::limits::TIERS;
use crate::proxy::{Gateway, Upstream};
use crate::runtime::Runtime;
use crate::tally::{Change, Outcome};
use serde_json::{Map, Value, json};

/// Clients that are listed.
const BUSIEST: usize = 8;

impl<R: Runtime> Desk<R> {
    pub(super) async fn debug(&self, since: u64) -> Value {
        let gateway = &self.gateway;
        let upstreams: Vec<_> = gateway.upstreams.iter().map(|one| upstream(gateway, one)).collect();
        let outcomes: Vec<_> = Outcome::ALL
            .iter()
            .map(|(outcome, text)| json!({ "id": outcome.slug(), "text": text }))
            .collect();
        json!({
            "runtime": R::NAME,
            "uptime": self.uptime().as_secs_f64(),
            "address": self.front.address().to_string(),
            "health": health::readiness(&self.health, gateway, &self.front).await.1,
            "connections": {
                "open": self.front.open_connections(),
                "accepted": self.front.connections(),
                "malformed": self.front.malformed(),
            },
            "unrouted": gateway.unrouted.arrived(),
            "outcomes": outcomes,
            "upstreams": upstreams,
            "clients": clients(gateway),
            "pool": pool(gateway),
            "waiting": waiting(gateway),
            // Of the crate's own making: who is inside and since when, how the circuits came to be as they are.
            "components": self.inspector.look(),
            "samples": self.samples.newer(since),
        })
    }
}

/// What may be changed of an upstream.
pub(super) fn knobs<R>(upstream: &Upstream<R>) -> Value {
    json!({
        "upstream": upstream.name,
        "circuit": upstream.guard.circuit().word,
        "chaos": upstream.guard.plan(),
        "rate": upstream.guard.tokens().quota.to_string(),
    })
}

fn counts<const N: usize>(counts: [(&str, u64); N]) -> Value {
    Value::Object(counts.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect())
}

fn upstream<R: Runtime>(gateway: &Gateway<R>, upstream: &Upstream<R>) -> Value {
    let guard = &upstream.guard;
    let (stats, places, tokens, limits) = (guard.stats(), guard.places(), guard.tokens(), guard.limits());
    let (changes, history) = guard.history();
    let history: Vec<_> = history.iter().map(change).collect();
    let breaker = &stats.breaker;
    let refused: Map<_, _> = TIERS
        .iter()
        .zip(limits.refused)
        .map(|((_, name), count)| ((*name).to_owned(), json!(count)))
        .collect();
    let slugs = Outcome::ALL.map(|(outcome, _)| (outcome.slug(), upstream.counters.of(outcome)));
    json!({
        "name": upstream.name,
        "prefix": upstream.prefix,
        "address": upstream.connections.authority(),
        "policies": guard.describe(),
        "arrived": upstream.counters.arrived(),
        "outcomes": counts(slugs),
        "latency": samples::quantiles(&gateway.background.summary(upstream.index).waited),
        "circuit": {
            "state": guard.circuit().word,
            "changes": changes,
            "history": history,
            "consecutive_failures": breaker.consecutive_failures,
            "successes": breaker.successes,
            "failures": breaker.failures,
            "rejected": breaker.rejected,
            "slow": breaker.slow,
        },
        "in_flight": {
            "running": places.running,
            "limit": places.limit,
            "queued": places.waiting,
            "refused": places.refused_no_place + places.refused_queue_full + places.refused_too_late + places.shed,
        },
        "attempts": counts(attempts(&stats)),
        "sent": stats.attempts.sent,
        "hedges_won": stats.hedge.won,
        "beyond_budget": stats.beyond_budget,
        "chaos": { "plan": guard.plan(), "injected": counts(injected(&stats)) },
        "rate": {
            "quota": tokens.quota.to_string(),
            "tokens": tokens.levels().map(|(available, _)| available),
            "limit": tokens.levels().map(|(_, most)| most),
            "paused_for": tokens.paused_for.map(|time| time.as_secs_f64()),
            "admitted": limits.admitted,
            "refused": refused,
            "pauses": limits.pauses,
            "waiting": limits.limiter.waiting,
        },
    })
}

fn change(change: &Change) -> Value {
    json!({ "at": change.at.as_secs_f64(), "state": change.state, "why": change.why })
}

fn clients<R: Runtime>(gateway: &Gateway<R>) -> Value {
    let (clients, stats) = (&gateway.clients, gateway.clients.stats());
    let busiest: Vec<_> = clients
        .busiest(BUSIEST)
        .iter()
        .map(|(name, available)| json!({ "name": name, "tokens": available }))
        .collect();
    json!({
        "quota": clients.quota().to_string(),
        "known": stats.keys.keys,
        "capacity": stats.keys.capacity,
        "allowed": stats.keys.decided.allowed,
        "denied": stats.keys.decided.denied,
        "no_room": stats.keys.rejected,
        "busiest": busiest,
    })
}

fn pool<R: Runtime>(gateway: &Gateway<R>) -> Value {
    let (stats, dropped) = gateway.background.live();
    json!({
        "workers": stats.workers,
        "queued": stats.queued,
        "running": stats.running,
        "submitted": stats.submitted,
        "completed": stats.completed,
        "panicked": stats.panicked,
        "log_dropped": dropped,
    })
}

/// Who waits, and for what.
fn waiting<R: Runtime>(gateway: &Gateway<R>) -> Value {
    let mut all = Vec::new();
    for upstream in &gateway.upstreams {
        let (turns, places) = (upstream.guard.limits().limiter.waiting, upstream.guard.places().waiting);
        for (what, count) in [("a turn by the rate", turns), ("a place among those in flight", places)] {
            if count > 0 {
                all.push(json!({ "upstream": upstream.name, "for": what, "count": count }));
            }
        }
    }
    Value::Array(all)
}
