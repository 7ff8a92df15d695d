//! What may be asked of one upstream: by its own account, by the gateway's limits, and until when it is to be left alone.
//!
//! Three tiers: the upstream as a whole, each route, and each resource (a path without its query). A response that speaks of
//! limits goes into the bucket that it speaks of.

use crate::args::Limits;
use crate::tally::lock;
use cofferdam::ConfigError;
use cofferdam::limit::tiered::{Acquire, Refusal, Request, Tier, TieredStats};
use cofferdam::limit::{Quota, Tiered};
use cofferdam::telemetry::{Telemetry, WatchError};
use cofferdam::time::Clock;
use hyper::{HeaderMap, StatusCode};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Buckets of one upstream, at most.
const BUCKETS: usize = 16_384;
/// The longest that an upstream is believed.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The tiers that are used here, and what the report calls them.
pub(crate) const TIERS: [(Tier, &str); 3] =
    [(Tier::Global, "upstream"), (Tier::Route, "route"), (Tier::Resource, "resource")];

/// The limits towards one upstream.
pub(crate) struct Outbound {
    limiter: Tiered,
    clock: Clock,
    /// How long a call may wait for its turn.
    patience: Duration,
    counts: Counts,
    /// Kept beside the limiter, to check it by.
    pauses: Mutex<HashMap<Arc<str>, Pause>>,
}

#[derive(Default)]
struct Counts {
    admitted: AtomicU64,
    given_back: AtomicU64,
    refused: [AtomicU64; TIERS.len()],
    told: AtomicU64,
    pauses: AtomicU64,
    under_way: AtomicU64,
    unheeded: AtomicU64,
    held_back: AtomicU64,
}

/// When an upstream asked to be left alone, as far as the limiter knew of it all the time.
struct Pause {
    from: Instant,
    until: Instant,
}

/// An admission that has not been used yet.
#[derive(Debug)]
pub(crate) struct Admission {
    since: Instant,
    bucket: Arc<str>,
}

#[derive(Clone, Copy)]
pub(crate) struct OutboundStats {
    /// Calls admitted by all tiers.
    pub(crate) admitted: u64,
    /// Those of them that were not made after all.
    pub(crate) given_back: u64,
    /// Calls refused, by tier.
    pub(crate) refused: [u64; TIERS.len()],
    /// 429s received.
    pub(crate) told: u64,
    /// Times that a bucket was paused.
    pub(crate) pauses: u64,
    /// Calls made in a pause that had been admitted before it.
    pub(crate) under_way: u64,
    /// Calls made in a pause that should not have been.
    pub(crate) unheeded: u64,
    /// Hedges that found no turn, or no place, and were not begun.
    pub(crate) held_back: u64,
    pub(crate) limiter: TieredStats,
}

/// The bucket of the upstream as a whole.
#[derive(Clone, Copy)]
pub(crate) struct Tokens {
    pub(crate) quota: Quota,
    pub(crate) available: u64,
    pub(crate) paused_for: Option<Duration>,
}

impl Tokens {
    /// What can be taken now and at most; `None` without limit.
    pub(crate) fn levels(&self) -> Option<(u64, u64)> {
        let burst = self.quota.burst_size();
        (self.quota != Quota::unlimited()).then_some((self.available.min(burst), burst))
    }
}

impl Outbound {
    pub(crate) fn new(limits: &Limits, clock: &Clock) -> Result<Self, ConfigError> {
        let mut tiers = Tiered::builder()
            .global(limits.upstream_rate)
            .default_route(Quota::unlimited())
            .resource(limits.resource_rate)
            .max_buckets(BUCKETS)
            .max_waiting(limits.in_flight as usize)
            .max_pause(LONGEST_PAUSE)
            .clock(clock.clone());
        for (pattern, quota) in &limits.routes {
            tiers = tiers.route(pattern.as_str(), *quota);
        }
        Ok(Self {
            limiter: tiers.build()?,
            clock: clock.clone(),
            patience: limits.attempt_timeout / 2,
            counts: Counts::default(),
            pauses: Mutex::default(),
        })
    }

    /// The time by which all of this goes.
    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(crate) fn watched(&self, telemetry: &Telemetry, name: &str) -> Result<(), WatchError> {
        telemetry.watch(name, &self.limiter)
    }

    /// How things stand with the upstream as a whole.
    pub(crate) fn tokens(&self) -> Tokens {
        let global = self.limiter.global();
        let paused_until = global.paused_until();
        Tokens {
            quota: global.quota(),
            available: global.available(),
            paused_for: paused_until.map(|until| until.saturating_duration_since(self.now())),
        }
    }

    /// Another rate for the upstream as a whole.
    pub(crate) fn set_rate(&self, quota: Quota) {
        self.limiter.set_quota(Tier::Global, quota);
    }

    /// Waits for a call's turn, if it comes in time.
    pub(crate) fn acquire<'a>(&'a self, request: Request<'a>) -> Acquire<'a> {
        self.limiter.acquire_timeout(request, self.patience)
    }

    /// The tokens are there: they were not there yet at `since`. A pause that has begun since they were granted goes first,
    /// and gets them back.
    pub(crate) fn admit(&self, request: Request<'_>, since: Instant) -> Option<Admission> {
        self.counts.admitted.fetch_add(1, Ordering::Relaxed);
        let bucket = self.limiter.bucket(Tier::Route, request);
        let paused = |bucket: &_| cofferdam::limit::tiered::TierBucket::is_paused(bucket);
        if bucket.as_ref().is_some_and(paused) || self.limiter.global().is_paused() {
            self.give_back(request);
            return None;
        }
        Some(Admission { since, bucket: bucket.map_or_else(|| GLOBAL.into(), |bucket| bucket.name()) })
    }

    /// Takes the tokens of a call that does not wait for its turn.
    pub(crate) fn admit_now(&self, request: Request<'_>) -> Option<Admission> {
        let since = self.now();
        self.limiter.try_acquire(request).ok()?;
        self.admit(request, since)
    }

    /// A hedge is not begun.
    pub(crate) fn hold_back(&self) {
        self.counts.held_back.fetch_add(1, Ordering::Relaxed);
    }

    /// A call that was admitted is not made.
    pub(crate) fn give_back(&self, request: Request<'_>) {
        self.counts.given_back.fetch_add(1, Ordering::Relaxed);
        self.limiter.refund(request);
    }

    pub(crate) fn refuse(&self, refusal: &Refusal) {
        if let Some(index) = TIERS.iter().position(|(tier, _)| *tier == refusal.tier()) {
            self.counts.refused[index].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A call that was admitted goes out.
    pub(crate) fn send(&self, admission: &Admission) {
        let now = self.clock.now();
        let pauses = lock(&self.pauses);
        let all = [pauses.get(&admission.bucket), pauses.get(GLOBAL)];
        let Some(pause) = all.into_iter().flatten().find(|pause| now < pause.until) else { return };
        let before = admission.since <= pause.from;
        let count = if before { &self.counts.under_way } else { &self.counts.unheeded };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Does what a response says about limits.
    pub(crate) fn heed(&self, request: Request<'_>, status: StatusCode, fields: &HeaderMap) {
        let told = status == StatusCode::TOO_MANY_REQUESTS;
        self.counts.told.fetch_add(u64::from(told), Ordering::Relaxed);
        let before = self.clock.now();
        let feedback = self.limiter.heed_headers(request, fields);
        let Some(wait) = feedback.wait() else { return };
        let route = self.limiter.bucket(Tier::Route, request).filter(|_| !feedback.global);
        let bucket = route.map_or_else(|| GLOBAL.into(), |route| route.name());
        let (from, until) = (self.clock.now(), before + wait);
        let mut pauses = lock(&self.pauses);
        pauses.retain(|_, pause| from < pause.until);
        match pauses.get_mut(&bucket) {
            Some(pause) => pause.until = pause.until.max(until),
            None => {
                pauses.insert(bucket, Pause { from, until });
                self.counts.pauses.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn stats(&self) -> OutboundStats {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.counts;
        OutboundStats {
            admitted: load(&counts.admitted),
            given_back: load(&counts.given_back),
            refused: std::array::from_fn(|tier| load(&counts.refused[tier])),
            told: load(&counts.told),
            pauses: load(&counts.pauses),
            under_way: load(&counts.under_way),
            unheeded: load(&counts.unheeded),
            held_back: load(&counts.held_back),
            limiter: self.limiter.stats(),
        }
    }
}

/// What the pause of everything is filed under: no route has this name.
const GLOBAL: &str = "";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::Pace;
    use cofferdam::resilience::{Call, Error, Operation, Policy};
    use cofferdam::testkit::Sim;
    use futures_util::future::join3;
    use hyper::header::{HeaderValue, RETRY_AFTER};

    fn outbound(sim: &Sim, quota: &str) -> Outbound {
        let upstream_rate = quota.parse().unwrap();
        let attempt_timeout = Duration::from_millis(200);
        let limits = Limits { upstream_rate, attempt_timeout, in_flight: 4, ..Limits::none() };
        Outbound::new(&limits, &sim.clock()).unwrap()
    }

    fn request(path: &str) -> Request<'_> {
        Request::new("GET", path).resource(path)
    }

    /// A call that goes out if it is admitted.
    async fn call(outbound: &Outbound, path: &str) -> Result<(), Error<()>> {
        let pace = Pace::new(outbound, request(path));
        let op = || {
            pace.spend(0);
            async { Ok(()) }
        };
        Call::new((&pace).around(Operation::new(op))).await
    }

    fn come_back_in(seconds: &'static str) -> HeaderMap {
        [(RETRY_AFTER, HeaderValue::from_static(seconds))].into_iter().collect()
    }

    #[test]
    fn a_429_pauses_its_route_for_as_long_as_it_says_and_no_other() {
        let sim = Sim::new(1);
        let outbound = outbound(&sim, "unlimited");
        sim.run(async {
            outbound.heed(request("/carts/1"), StatusCode::TOO_MANY_REQUESTS, &come_back_in("2"));
            let refused = call(&outbound, "/carts/2").await.unwrap_err();
            assert!(refused.is_rate_limited());
            assert_eq!(refused.retry_after(), Some(Duration::from_secs(2)));
            assert_eq!(call(&outbound, "/orders/1").await, Ok(()));
            sim.clock().sleep(Duration::from_secs(2)).await;
            assert_eq!(call(&outbound, "/carts/2").await, Ok(()));
        });
        let stats = outbound.stats();
        assert_eq!((stats.told, stats.pauses, stats.refused), (1, 1, [0, 1, 0]));
        assert_eq!((stats.admitted, stats.given_back, stats.under_way, stats.unheeded), (2, 0, 0, 0));
    }

    #[test]
    fn a_call_waits_for_its_turn_but_not_longer_than_half_an_attempt_may_take() {
        let sim = Sim::new(1);
        let outbound = outbound(&sim, "10/s burst 1");
        sim.run(async {
            let began = sim.clock().now();
            let (first, second, third) =
                join3(call(&outbound, "/a"), call(&outbound, "/a"), call(&outbound, "/a")).await;
            assert_eq!((first, second), (Ok(()), Ok(())));
            assert!(third.unwrap_err().is_rate_limited());
            assert_eq!(sim.clock().now() - began, Duration::from_millis(100));
        });
        let stats = outbound.stats();
        assert_eq!((stats.admitted, stats.refused, stats.limiter.granted), (2, [1, 0, 0], 1));
    }

    #[test]
    fn what_does_not_go_out_gives_its_turn_back() {
        let sim = Sim::new(1);
        let outbound = outbound(&sim, "1/h");
        sim.run(async {
            let pace = Pace::new(&outbound, request("/a"));
            let unsent = || async { Err::<(), _>(()) };
            assert_eq!(Call::new((&pace).around(Operation::new(unsent))).await, Err(Error::Inner(())));
            assert_eq!(call(&outbound, "/a").await, Ok(()));
            assert!(call(&outbound, "/a").await.is_err());
        });
        let stats = outbound.stats();
        assert_eq!((stats.admitted, stats.given_back), (2, 1));
    }

    #[test]
    fn calls_in_a_pause_are_told_apart_by_when_they_were_admitted() {
        let sim = Sim::new(1);
        let outbound = outbound(&sim, "unlimited");
        let now = outbound.now();
        let before = outbound.admit(request("/a"), now).unwrap();
        outbound.heed(request("/a"), StatusCode::TOO_MANY_REQUESTS, &come_back_in("1"));
        outbound.send(&before);
        assert!(outbound.admit(request("/a"), now).is_none(), "granted before, and paused since");
        outbound.send(&Admission { since: now + Duration::from_millis(1), bucket: before.bucket });
        let stats = outbound.stats();
        assert_eq!((stats.under_way, stats.unheeded, stats.given_back), (1, 1, 1));
    }
}
