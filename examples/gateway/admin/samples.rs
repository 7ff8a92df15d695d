//! What the gateway did, second by second, for the last five minutes: kept here, so that whoever opens the page sees what was.

use super::metrics::Longest;
use crate::histogram::Histogram;
use crate::proxy::{Gateway, Upstream};
use crate::tally::{Outcomes, lock};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(super) const PERIOD: Duration = Duration::from_secs(1);
const KEPT: usize = 300;

pub(super) struct Samples {
    longest: Vec<Longest>,
    kept: Mutex<Kept>,
}

struct Kept {
    /// The number of the next one; the first is 1.
    next: u64,
    samples: VecDeque<Value>,
    /// When the last was taken, and the sums at that time.
    at: Duration,
    before: Vec<Sums>,
    done: u64,
}

/// What only grows, of one upstream.
#[derive(Clone, Default)]
struct Sums {
    outcomes: Outcomes,
    waited: Histogram,
    retries: u64,
    hedges: u64,
    injected: u64,
    granted: u64,
    turn_wait: Duration,
}

impl Samples {
    pub(super) fn new<R>(gateway: &Gateway<R>, longest: Vec<Longest>) -> Self {
        let before = vec![Sums::default(); gateway.upstreams.len()];
        let kept = Kept { next: 1, samples: VecDeque::new(), at: Duration::ZERO, before, done: 0 };
        Self { longest, kept: Mutex::new(kept) }
    }

    /// One more.
    pub(super) fn take<R>(&self, gateway: &Gateway<R>, at: Duration) {
        let mut kept = lock(&self.kept);
        let mut all = Histogram::default();
        let mut upstreams = Vec::new();
        for ((upstream, longest), before) in gateway.upstreams.iter().zip(&self.longest).zip(&mut kept.before)
        {
            let sums = Sums::of(gateway, upstream);
            let recent = sums.waited.since(&before.waited);
            all.merge(&recent);
            let longest = Duration::from_nanos(longest.swap(0, Ordering::Relaxed));
            upstreams.push(sums.sample(before, &recent, upstream, longest));
            *before = sums;
        }
        let (pool, _) = gateway.background.live();
        let sample = json!({
            "n": kept.next,
            "at": at.as_secs_f64(),
            "seconds": at.saturating_sub(kept.at).as_secs_f64(),
            "latency": quantiles(&all),
            "upstreams": upstreams,
            "pool": {
                "queued": pool.queued, "running": pool.running, "ended": pool.ended().saturating_sub(kept.done),
            },
        });
        (kept.at, kept.done) = (at, pool.ended());
        kept.push(sample);
    }

    /// Those with a number above `since`.
    pub(super) fn newer(&self, since: u64) -> Vec<Value> {
        let kept = lock(&self.kept);
        let newer = kept.next.saturating_sub(1).saturating_sub(since);
        let newer = usize::try_from(newer).unwrap_or(KEPT).min(kept.samples.len());
        kept.samples.range(kept.samples.len() - newer..).cloned().collect()
    }
}

impl Kept {
    fn push(&mut self, sample: Value) {
        self.next += 1;
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }
}

impl Sums {
    fn of<R>(gateway: &Gateway<R>, upstream: &Upstream<R>) -> Self {
        let (stats, limiter) = (upstream.guard.stats(), upstream.guard.limits().limiter);
        Self {
            outcomes: upstream.counters.outcomes(),
            waited: gateway.background.summary(upstream.index).waited,
            retries: stats.attempts.retries,
            hedges: stats.attempts.hedges,
            injected: super::metrics::injected(&stats).iter().map(|(_, count)| count).sum(),
            granted: limiter.granted,
            turn_wait: limiter.total_wait,
        }
    }

    fn sample<R>(
        &self,
        before: &Self,
        recent: &Histogram,
        upstream: &Upstream<R>,
        longest: Duration,
    ) -> Value {
        let outcomes: Vec<_> =
            self.outcomes.iter().zip(&before.outcomes).map(|(now, then)| now.saturating_sub(*then)).collect();
        let (places, tokens) = (upstream.guard.places(), upstream.guard.tokens());
        let granted = self.granted.saturating_sub(before.granted);
        let turn_wait = self.turn_wait.saturating_sub(before.turn_wait).as_secs_f64() / granted.max(1) as f64;
        json!({
            "outcomes": outcomes,
            "latency": quantiles(recent),
            "circuit": upstream.guard.circuit().word,
            "in_flight": places.running,
            "in_flight_limit": places.limit,
            "queued": places.waiting,
            "longest_wait": longest.as_secs_f64(),
            "turns_waiting": upstream.guard.limits().limiter.waiting,
            "turn_wait": turn_wait,
            "tokens": tokens.levels().map(|(available, _)| available),
            "tokens_limit": tokens.levels().map(|(_, most)| most),
            "retries": self.retries.saturating_sub(before.retries),
            "hedges": self.hedges.saturating_sub(before.hedges),
            "injected": self.injected.saturating_sub(before.injected),
        })
    }
}

/// The median and the 95th and 99th percentile, in seconds; of nothing, `null`.
pub(super) fn quantiles(histogram: &Histogram) -> Value {
    let of = |per_mille| histogram.percentile(per_mille).map(|latency| latency.as_secs_f64());
    json!([of(500), of(950), of(990)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_given_from_a_number_on() {
        let kept =
            Kept { next: 1, samples: VecDeque::new(), at: Duration::ZERO, before: Vec::new(), done: 0 };
        let samples = Samples { longest: Vec::new(), kept: Mutex::new(kept) };
        let numbers = |since| samples.newer(since).iter().map(|n| n.as_u64().unwrap()).collect::<Vec<_>>();
        assert!(numbers(0).is_empty());
        for n in 1..=KEPT as u64 + 5 {
            lock(&samples.kept).push(json!(n));
        }
        assert_eq!(numbers(0).len(), KEPT);
        assert_eq!(numbers(0)[0], 6);
        assert_eq!(numbers(303), [304, 305]);
        assert!(numbers(305).is_empty() && numbers(9_999).is_empty(), "of an earlier gateway, say");
    }

    #[test]
    fn percentiles_of_nothing_are_none() {
        assert_eq!(quantiles(&Histogram::default()), json!([null, null, null]));
        let mut one = Histogram::default();
        one.record(Duration::from_millis(250));
        assert_eq!(quantiles(&one), json!([0.25, 0.25, 0.25]));
    }
}
