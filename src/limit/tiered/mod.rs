//! Several limits at once, as a client of an API needs them: all in all, by route, and by resource; and what the server says.

mod acquire;
mod aliases;
mod bucket;
mod builder;
mod engine;
mod event;
mod handle;
mod inner;
mod key;
mod path;
mod queue;
mod quotas;
mod refusal;
mod request;
mod route;
mod routes;
mod shards;
mod stats;
mod store;
mod tier;
mod trie;

pub use acquire::Acquire;
pub use builder::TieredBuilder;
pub use event::TieredEvent;
pub use handle::TierBucket;
pub use refusal::{Refusal, WaitError};
pub use request::Request;
pub use route::Route;
pub use routes::ResourceTiers;
pub use stats::TieredStats;
pub use tier::Tier;

use super::{Feedback, Quota};
use crate::ConfigError;
use inner::Inner;
use routes::Names;
use shards::{Purpose, Shards};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tier::Plan;

/// Admits a request only if all of its tiers do: everything, its route, and its resource, sub-resource or user.
///
/// A cheap handle: clones share the buckets.
///
/// # All or none
/// A request is charged in all of its tiers or in none. A refusal names the tier with the longest wait. Each bucket is exact
/// by itself: over any time `t` it admits at most `burst + rate * t`, in integers from end to end.
///
/// # Tiers
/// | tier | bucket | without settings |
/// |---|---|---|
/// | [`Global`](Tier::Global) | one | 100 a second, 100 at once |
/// | [`Route`](Tier::Route) | of each pattern; else of method and path in normal form: numbers, UUIDs and long hexadecimal are one placeholder, empty segments and the query fall away, percent-encoding stays as it is | 50, 50 |
/// | [`Resource`](Tier::Resource), [`SubResource`](Tier::SubResource), [`User`](Tier::User) | of each; one tier or one each, see [`ResourceTiers`] | 20, 20 |
///
/// A route's bucket is split by its [major parameters](TieredBuilder::major_parameters), and shared with other routes of which
/// the server says that they are in the same bucket. That one goes by the slower of the routes' quotas.
///
/// # What the server says
/// [`heed`](Self::heed) takes the [`Feedback`] of a response to the bucket of the request's route, or to the global one if the
/// server says so: the limit caps its quota, at most what remains is left in it, and it is paused as long as the server wants.
/// Nothing that a server says makes a pause shorter; [`resume`](TierBucket::resume) does.
///
/// # Waiting
/// [`acquire`](Self::acquire) waits in one queue, of bounded length, by priority and arrival. Nobody overtakes who wants a
/// token that somebody ahead waits for; whoever wants others may pass. Who has waited for one bucket and then finds another
/// one empty keeps the first, for no longer than he has waited, so that nobody starves between two. One timer serves the whole
/// queue, and each waiter is woken once.
///
/// # Memory
/// At most [`max_buckets`](TieredBuilder::max_buckets). A new key takes the place of the bucket that has been idle the longest
/// among those that have nothing to remember (full, not paused); a bucket that does is never forgotten. Where all that are
/// looked at do, the new key shares one overflow bucket for each tier and shard of the map, of the tier's quota; a
/// pause of it also holds for keys that find room meanwhile. Keys are kept
/// as keyed hashes, so nobody outside can aim at another's bucket.
///
/// # Deciding
/// Locks the shards of the request's buckets and then the global one, each for a few instructions; the queue's mutex only
/// where somebody waits. Nothing is allocated for a key that is known.
///
/// # When not to use it
/// For one limit, a [`TokenBucket`](super::TokenBucket) decides without a lock.
///
/// # Examples
/// ```
/// use cofferdam::limit::tiered::{Request, Tier};
/// use cofferdam::limit::{Feedback, Quota, Tiered};
///
/// # futures_executor::block_on(async {
/// let limiter = Tiered::builder()
///     .global(Quota::per_second(3))
///     .route("GET /orders/{id}", Quota::per_second(2))
///     .build()?;
/// let request = Request::new("GET", "/orders/17").user("ann");
/// limiter.acquire(request).await?;
/// limiter.acquire(request).await?;
/// let refusal = limiter.try_acquire(request).unwrap_err();
/// assert_eq!((refusal.tier(), refusal.bucket()), (Tier::Route, "GET /orders/{id}"));
/// assert_eq!(limiter.global().available(), 1);
///
/// // Of a response:
/// let fields = [("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset-After", "4")];
/// limiter.heed_fields(request, fields);
/// assert!(limiter.bucket(Tier::Route, request).unwrap().is_paused());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Tiered {
    inner: Arc<Inner>,
}

impl Tiered {
    /// A limiter with other settings than the defaults.
    pub fn builder() -> TieredBuilder {
        TieredBuilder::new()
    }

    /// Takes what the request costs in each of its tiers, if it is there now.
    ///
    /// # Errors
    /// It is not, and nothing was taken: the refusal says where, and from when on it would be.
    pub fn try_acquire(&self, request: Request<'_>) -> Result<(), Refusal> {
        self.decide(&request, self.inner.epoch.nanos(), Purpose::Take)
    }

    /// As [`try_acquire`](Self::try_acquire), at a time that the caller has read from the limiter's clock. Times may come out
    /// of order; an earlier one finds fewer tokens, never more.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_at(&self, request: Request<'_>, now: Instant) -> Result<(), Refusal> {
        self.decide(&request, self.inner.epoch.nanos_at(now), Purpose::Take)
    }

    /// Whether the request would be admitted now, without taking or counting anything.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn peek(&self, request: Request<'_>) -> Result<(), Refusal> {
        self.decide(&request, self.inner.epoch.nanos(), Purpose::Peek)
    }

    fn decide(&self, request: &Request<'_>, now: u64, purpose: Purpose) -> Result<(), Refusal> {
        if purpose == Purpose::Take && self.inner.observers.may_be_watched() {
            return self.decide_and_tell(request, now);
        }
        self.decide_untold(request, now, purpose)
    }

    #[cold]
    #[inline(never)]
    fn decide_and_tell(&self, request: &Request<'_>, now: u64) -> Result<(), Refusal> {
        let decision = self.decide_untold(request, now, Purpose::Take);
        self.inner.tell_decided(request.tokens, &decision);
        decision
    }

    #[inline]
    fn decide_untold(&self, request: &Request<'_>, now: u64, purpose: Purpose) -> Result<(), Refusal> {
        if request.tokens == 0 {
            Ok(())
        } else if self.inner.somebody_waits() {
            self.inner.take_behind(request, now, purpose)
        } else {
            self.inner.take(request, now, purpose)
        }
    }

    /// Waits until the request is admitted in all of its tiers.
    ///
    /// # Fairness
    /// By [priority](Request::priority), which waiting [ages](TieredBuilder::ageing), then first come, first served, for
    /// each bucket; see the type.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready gives the tokens back, granted or not; those who wait behind move up.
    ///
    /// # Errors
    /// The tokens can never come (more than a burst; the rate is zero), or not before the deadline of the current
    /// [`Context`](crate::sync::Context), or that context has ended, or the queue is full. As a rule that is found out before
    /// waiting. A wait ends early if a pause or another quota makes it hopeless, and at the deadline if others were ahead.
    pub fn acquire<'a>(&'a self, request: Request<'a>) -> Acquire<'a> {
        Acquire::new(self, request, None)
    }

    /// As [`acquire`](Self::acquire), for at most `limit`, counted from the first poll. Waiting exactly that long is allowed.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire); also, the tokens would come too late.
    pub fn acquire_timeout<'a>(&'a self, request: Request<'a>, limit: Duration) -> Acquire<'a> {
        Acquire::new(self, request, Some(limit))
    }

    /// Gives back what an admitted request took, as it was not made after all. It never lifts a bucket above its burst;
    /// whoever waits is served by it first.
    pub fn refund(&self, request: Request<'_>) {
        let (inner, now) = (&self.inner, self.inner.epoch.nanos());
        let ticket = inner.engine.routes.ticket(&request);
        let (places, _) = inner.engine.places(&ticket, now);
        inner.engine.shards.refund(&Shards::charged(places, 0, ticket.tokens), now);
        inner.changed(now);
    }

    /// Does what a server has said of a request, within the limiter's [longest pause](TieredBuilder::max_pause).
    pub fn heed(&self, request: Request<'_>, feedback: &Feedback) {
        if feedback.is_empty() {
            return;
        }
        let now = self.inner.epoch.nanos();
        self.inner.engine.heed(&request, feedback, now);
        self.inner.changed(now);
    }

    /// Reads the fields of a response as [`Feedback::read`] does, by the limiter's clock and within its
    /// [longest pause](TieredBuilder::max_pause), and does what they say. Gives back what that was.
    pub fn heed_fields<'f>(
        &self,
        request: Request<'_>,
        fields: impl IntoIterator<Item = (&'f str, &'f str)>,
    ) -> Feedback {
        let wall = self.inner.epoch.clock().wall();
        let feedback = Feedback::read_within(self.inner.engine.max_wait, fields, wall);
        self.heed(request, &feedback);
        feedback
    }

    /// As [`heed_fields`](Self::heed_fields), of the `http` crate's map.
    #[cfg(feature = "http")]
    pub fn heed_headers(&self, request: Request<'_>, headers: &http::HeaderMap) -> Feedback {
        let wall = self.inner.epoch.clock().wall();
        let feedback = Feedback::read_headers_within(self.inner.engine.max_wait, headers, wall);
        self.heed(request, &feedback);
        feedback
    }

    /// The global bucket.
    pub fn global(&self) -> TierBucket<'_> {
        let names = Names::new(&self.inner.engine.routes, &Request::new("", ""));
        TierBucket { limiter: self, tier: Tier::Global, place: None, names }
    }

    /// The bucket of a tier that a request is charged in; made by the first use, so that this warms it up. `None` if the
    /// request has no such tier.
    pub fn bucket(&self, tier: Tier, request: Request<'_>) -> Option<TierBucket<'_>> {
        let Some(at) = tier.index().checked_sub(1) else { return Some(self.global()) };
        let engine = &self.inner.engine;
        let now = self.inner.epoch.nanos();
        let (places, shared) = engine.places(&engine.routes.ticket(&request), now);
        let place = places.get(at).copied().flatten()?;
        let names = Names::new(&engine.routes, &request).shared(shared);
        let bucket = TierBucket { limiter: self, tier, place: Some(place), names };
        engine.shards.with(bucket.place.as_ref(), now, &bucket.names, |_| ());
        Some(bucket)
    }

    /// As [`bucket`](Self::bucket), but only if it is in memory.
    pub fn find(&self, tier: Tier, request: Request<'_>) -> Option<TierBucket<'_>> {
        let Some(at) = tier.index().checked_sub(1) else { return Some(self.global()) };
        let engine = &self.inner.engine;
        let (places, _) = engine.places(&engine.routes.ticket(&request), self.inner.epoch.nanos());
        let place = places.get(at).copied().flatten()?;
        if engine.shards.is_known(&place) { self.bucket(tier, request) } else { None }
    }

    /// What a route is called: its pattern, or method and path in normal form.
    pub fn route_name(&self, method: &str, path: &str) -> Arc<str> {
        self.inner.engine.routes.name(&Request::new(method, path))
    }

    /// The quota of a tier's buckets that have none of their own.
    pub fn quota(&self, tier: Tier) -> Quota {
        self.inner.engine.shards.quota(Plan::Default(tier))
    }

    /// Changes that quota, also of the buckets that are there: what has come in until now came at the old rate and is kept, up
    /// to the new burst. Whoever waits is planned anew.
    pub fn set_quota(&self, tier: Tier, quota: Quota) {
        self.set(Plan::Default(tier), quota);
    }

    /// As [`set_quota`](Self::set_quota), of a route with a quota of its own.
    ///
    /// # Errors
    /// There is no route with this very pattern.
    pub fn set_route_quota(&self, pattern: &str, quota: Quota) -> Result<(), ConfigError> {
        let Some(id) = self.inner.engine.routes.id_of(pattern) else {
            let pattern = format_args!("{pattern:?}");
            let rule = "must be the pattern of a route that the limiter was built with";
            return Err(ConfigError::new("tiered limiter", "route", pattern, rule));
        };
        self.set(Plan::Route(id), quota);
        Ok(())
    }

    fn set(&self, plan: Plan, quota: Quota) {
        let now = self.inner.epoch.nanos();
        // Who is due was so at the old rate.
        self.inner.changed(now);
        self.inner.engine.set_quota(plan, quota, now);
        self.inner.changed(now);
    }

    /// Forgets all that was taken, paused and said by servers: every bucket is full and as configured.
    pub fn reset(&self) {
        let now = self.inner.epoch.nanos();
        self.inner.engine.aliases.clear(now);
        self.inner.engine.shards.reset(now);
        self.inner.changed(now);
    }

    /// Forgets buckets that have been idle for their [life](TieredBuilder::bucket_life) and have nothing to remember. New
    /// buckets do so by the way, two each; call it where no new ones come. Says how many it were.
    pub fn sweep(&self) -> usize {
        self.inner.engine.shards.sweep(self.inner.epoch.nanos())
    }

    /// The name given to the builder.
    pub fn name(&self) -> Option<&str> {
        self.inner.name.as_deref()
    }

    crate::observe::watchable!(inner, [], Self, |inner| Self { inner });

    /// What it has done so far. Goes through all buckets, a shard at a time.
    pub fn stats(&self) -> TieredStats {
        let tally = self.inner.engine.shards.tally(self.inner.epoch.nanos());
        let queue = self.inner.lock();
        let (waiting, waits) = (queue.len(), queue.waits);
        drop(queue);
        TieredStats {
            requests: tally.admitted + tally.refused.iter().sum::<u64>(),
            admitted: tally.admitted,
            hits: tally.refused,
            waiting,
            queued: waits.queued,
            dropped: waits.dropped,
            granted: waits.granted,
            cancelled: waits.cancelled,
            total_wait: Duration::from_nanos(u64::try_from(waits.total).unwrap_or(u64::MAX)),
            longest_wait: Duration::from_nanos(waits.longest),
            buckets: tally.buckets,
            active_buckets: tally.active,
            evicted: tally.evicted,
            overflowed: tally.overflowed,
        }
    }
}

impl fmt::Debug for Tiered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Tiered");
        if let Some(name) = &self.inner.name {
            debug.field("name", name);
        }
        if let Some(queue) = self.inner.try_lock() {
            debug.field("waiting", &queue.len());
        }
        debug.finish_non_exhaustive()
    }
}
