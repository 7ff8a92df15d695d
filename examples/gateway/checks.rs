//! The sums that must come out.

use crate::attempts::AttemptStats;
use crate::load::Seen;
use crate::report::{Report, UpstreamReport};
use crate::screen::grouped;
use crate::tally::Outcome;
use crate::upstreams::ServiceSaw;
use cofferdam::limit::KeyedStats;
use std::ops::RangeInclusive;

/// One sum.
pub(crate) struct Check {
    pub(crate) holds: bool,
    pub(crate) text: String,
}

impl Check {
    fn equal(what: &str, a: u64, other: &str, b: u64) -> Self {
        let sign = if a == b { "=" } else { "/=" };
        Self { holds: a == b, text: format!("{what} {} {sign} {} {other}", grouped(a), grouped(b)) }
    }

    fn none(what: &str, count: u64) -> Self {
        Self { holds: count == 0, text: format!("{what}: {}", grouped(count)) }
    }
}

/// Responses that the clients took for something else than the gateway did.
fn differences((upstream, load): (&UpstreamReport, &Seen)) -> u64 {
    let seen = |from, to| load.statuses.range(from..to).map(|(_, count)| count).sum::<u64>();
    [
        (Outcome::Answered, seen(200, 300)),
        (Outcome::Limited, load.limited),
        (Outcome::Throttled, seen(429, 430).saturating_sub(load.limited)),
        (Outcome::TimedOut, seen(504, 505)),
    ]
    .map(|(outcome, seen)| seen.abs_diff(upstream.outcomes[outcome as usize]))
    .iter()
    .sum()
}

/// How many requests an upstream may have seen: all for which there was a connection, but for those that broke or ended before
/// the answer, of which only the upstream can tell whether they had arrived.
fn may_see(attempts: &AttemptStats) -> RangeInclusive<u64> {
    attempts.answered..=attempts.sent.saturating_sub(attempts.unconnected)
}

impl Report {
    pub(crate) fn checks(&self) -> Vec<Check> {
        let sum = |of: fn(&UpstreamReport) -> u64| self.upstreams.iter().map(of).sum::<u64>();
        let arrived = sum(|upstream| upstream.arrived);
        let ended = sum(|upstream| upstream.outcomes.iter().sum());
        let abandoned = sum(|upstream| upstream.outcomes[Outcome::Abandoned as usize]);
        let limited = sum(|upstream| upstream.outcomes[Outcome::Limited as usize]);
        let let_through = sum(|upstream| upstream.guard.breaker.requests - upstream.guard.breaker.rejected);
        let judged = sum(|upstream| {
            let stats = &upstream.guard.breaker;
            stats.successes + stats.failures + stats.ignored + stats.cancelled + stats.late + stats.unrecorded
        });
        let in_flight = sum(|upstream| u64::from(upstream.guard.in_flight));
        let logged = self.background.recorded + self.background.dropped;

        let mut checks = Vec::new();
        if let Some(load) = &self.load {
            let sent = load.upstreams.iter().map(|seen| seen.sent).sum();
            let received = load.upstreams.iter().map(|seen| seen.received).sum();
            let wrong = load.upstreams.iter().map(|seen| seen.wrong).sum();
            let differences = self.upstreams.iter().zip(&load.upstreams).map(differences).sum();
            checks.push(Check::equal("requests sent", sent, "responses received", received));
            checks.push(Check::equal("requests sent", sent, "arrived at the gateway", arrived));
            checks.push(Check::none("answers that are incomplete or another request's", wrong));
            checks.push(Check::none("outcomes on which clients and gateway differ", differences));
        }
        if let Some(saw) = &self.services_saw {
            checks.push(self.reached(saw));
            let beyond = self.upstreams.iter().zip(saw).map(|(upstream, saw)| {
                // An answer may be lost on its way, but none can come from nowhere.
                upstream.limits.told.saturating_sub(saw.meter.refused)
            });
            checks.push(Check::none("429s received that no service has sent", beyond.sum()));
            checks.extend(
                self.upstreams.iter().zip(saw).filter_map(|(upstream, saw)| self.left_alone(upstream, saw)),
            );
        }
        checks.push(Check::equal("requests arrived", arrived, "outcomes", ended));
        checks.push(Check::equal(
            "allowed by the limiter",
            self.clients.allowed,
            "not limited",
            arrived - limited,
        ));
        let keys = &self.clients.keys;
        let (name, denied) = ("limited by client key", keys.decided.denied + keys.rejected);
        checks.push(Check::equal(name, limited, "denied and rejected by the keyed limiter", denied));
        let KeyedStats { inserted, expired, evicted, removed, keys, .. } = *keys;
        checks.push(Check::equal(
            "client keys that came",
            inserted,
            "there, expired and evicted",
            keys as u64 + expired + evicted + removed,
        ));
        let admitted = sum(|upstream| upstream.limits.admitted);
        let used = sum(|upstream| upstream.guard.attempts.begun() + upstream.limits.given_back);
        let other = "attempts, hedges and given back";
        checks.push(Check::equal("admitted by the tiers", admitted, other, used));
        let started = sum(|upstream| upstream.guard.hedge.started);
        let hedges = sum(|upstream| upstream.guard.attempts.hedges + upstream.limits.held_back);
        checks.push(Check::equal(
            "hedges that were due and paid for",
            started,
            "begun and held back",
            hedges,
        ));
        let begun = sum(|upstream| upstream.guard.attempts.begun());
        let sent = sum(|upstream| upstream.guard.attempts.sent);
        let injected = sum(|upstream| upstream.guard.chaos.map_or(0, |chaos| chaos.faults));
        let unsent = sum(|upstream| upstream.guard.attempts.unsent);
        let (name, other) = ("attempts and hedges", "sent, injected errors, and ended unsent");
        checks.push(Check::equal(name, begun, other, sent + injected + unsent));
        let ends = sum(|upstream| {
            let attempts = &upstream.guard.attempts;
            attempts.answered + attempts.unconnected + attempts.broken + attempts.cut
        });
        checks.push(Check::equal(
            "sent to the upstreams",
            sent,
            "answered, no connection, broken, cut",
            ends,
        ));
        if self.upstreams.iter().any(|upstream| upstream.guard.chaos.is_some()) {
            let came_out = sum(|upstream| upstream.guard.attempts.injected);
            checks.push(Check::equal("errors injected", injected, "that came out of attempts", came_out));
            let held = sum(|upstream| upstream.guard.chaos.map_or(0, |chaos| chaos.hangs + chaos.panics));
            let text =
                format!("hangs and panics injected {} <= {} ended unsent", grouped(held), grouped(unsent));
            checks.push(Check { holds: held <= unsent, text });
        }
        let unheeded = sum(|upstream| upstream.limits.unheeded);
        checks.push(Check::none("calls begun towards an upstream while paused", unheeded));
        checks.push(Check::equal("let through by the breakers", let_through, "outcomes judged", judged));
        checks.push(Check::equal("answers", ended - abandoned, "log records, kept and dropped", logged));
        checks.push(Check::equal(
            "pool tasks accepted",
            self.background.submitted,
            "ended",
            self.background.ended,
        ));
        checks.push(Check::none("permits not given back", in_flight + u64::from(self.open_connections)));
        checks.push(Check::none("tasks not ended", self.live_tasks));
        checks
    }

    /// Each service has seen all that it has answered, and nothing that was not sent to it.
    fn reached(&self, saw: &[ServiceSaw]) -> Check {
        let (mut holds, mut seen, mut least, mut most) = (true, 0, 0, 0);
        for (upstream, saw) in self.upstreams.iter().zip(saw) {
            let may_see = may_see(&upstream.guard.attempts);
            holds &= may_see.contains(&saw.requests);
            seen += saw.requests;
            least += may_see.start();
            most += may_see.end();
        }
        let [seen, least, most] = [seen, least, most].map(grouped);
        Check {
            holds,
            text: format!("answered {least} <= {seen} seen by the services <= {most} sent to them"),
        }
    }

    /// A service that asked to be left alone was, but for the calls that were under way: at most as many as may be at once,
    /// each time.
    fn left_alone(&self, upstream: &UpstreamReport, saw: &ServiceSaw) -> Option<Check> {
        if saw.meter.waits == 0 {
            return None;
        }
        let most = saw.meter.waits * u64::from(self.in_flight);
        let text = format!(
            "{} asked for {} waits; calls that came in one: {}, at most {} under way",
            upstream.name,
            grouped(saw.meter.waits),
            grouped(saw.meter.unheeded),
            grouped(most),
        );
        Some(Check { holds: saw.meter.unheeded <= most, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_that_does_not_come_out_is_seen() {
        assert!(Check::equal("sent", 3, "received", 3).holds);
        let check = Check::equal("sent", 1003, "received", 1002);
        assert!(!check.holds);
        assert_eq!(check.text, "sent 1,003 /= 1,002 received");
        assert!(!Check::none("lost", 1).holds);
    }

    #[test]
    fn an_upstream_sees_what_was_sent_to_it_and_cannot_have_missed_what_it_answered() {
        let clean = AttemptStats { sent: 10, answered: 10, ..AttemptStats::default() };
        assert_eq!(may_see(&clean), 10..=10);
        let lost = AttemptStats { sent: 10, answered: 5, unconnected: 2, broken: 2, cut: 1, ..clean };
        assert_eq!(may_see(&lost), 5..=8);
    }
}
