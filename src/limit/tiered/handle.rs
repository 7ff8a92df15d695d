//! One bucket of a limiter, to be looked at and acted on.

use super::bucket::{Bucket, nanos};
use super::routes::Names;
use super::shards::Place;
use super::{Tier, Tiered};
use crate::limit::Quota;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A bucket of a [`Tiered`] limiter: of a tier and a request. Should the limiter forget the bucket in between, as it is idle
/// and full, the next use of the handle makes it anew.
pub struct TierBucket<'a> {
    pub(super) limiter: &'a Tiered,
    pub(super) tier: Tier,
    /// `None` is the global bucket.
    pub(super) place: Option<Place>,
    pub(super) names: Names,
}

impl TierBucket<'_> {
    fn with<R>(&self, with: impl FnOnce(&mut Bucket, u64) -> R) -> Option<R> {
        let inner = &self.limiter.inner;
        let now = inner.epoch.nanos();
        inner.engine.shards.with(self.place.as_ref(), now, &self.names, |bucket| with(bucket, now))
    }

    /// As `with`, for what others may wait for.
    fn change(&self, change: impl FnOnce(&mut Bucket, u64)) {
        self.with(change);
        let inner = &self.limiter.inner;
        inner.changed(inner.epoch.nanos());
    }

    /// The tier.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Its name, as [`Refusal::bucket`](super::Refusal::bucket) says it.
    pub fn name(&self) -> Arc<str> {
        self.with(|bucket, _| Arc::clone(&bucket.name)).unwrap_or_else(|| Arc::from(""))
    }

    /// What it admits: the configured quota, or less where its server has said so.
    pub fn quota(&self) -> Quota {
        self.with(|bucket, _| bucket.quota()).unwrap_or(Quota::unlimited())
    }

    /// Tokens in it. While it is paused they are not to be had.
    pub fn available(&self) -> u64 {
        self.with(|bucket, now| bucket.available(now)).unwrap_or_default()
    }

    /// Whether it admits nothing for now.
    pub fn is_paused(&self) -> bool {
        self.paused_until().is_some()
    }

    /// Until when it admits nothing; `None` if it does. A pause past the end of time is told as the longest that fits.
    pub fn paused_until(&self) -> Option<Instant> {
        let until =
            self.with(|bucket, now| bucket.is_paused(now).then_some(bucket.paused_until)).flatten()?;
        let epoch = &self.limiter.inner.epoch;
        epoch.instant(until).or_else(|| epoch.instant(epoch.nanos()))
    }

    /// Admits nothing for so long. It never makes a pause shorter; [`resume`](Self::resume) does.
    pub fn pause_for(&self, pause: Duration) {
        self.change(|bucket, now| bucket.pause_until(now.saturating_add(nanos(pause))));
    }

    /// Admits nothing until then. It never makes a pause shorter; [`resume`](Self::resume) does.
    pub fn pause_until(&self, until: Instant) {
        let until = self.limiter.inner.epoch.nanos_at(until);
        self.change(|bucket, _| bucket.pause_until(until));
    }

    /// Ends a pause, and the pace that a server's remainder had set. Whoever waits is served as far as there are tokens.
    pub fn resume(&self) {
        self.change(|bucket, _| bucket.resume());
    }

    /// Leaves at most so many tokens.
    pub fn drain_to(&self, tokens: u64) {
        self.change(|bucket, now| bucket.drain_to(now, tokens));
    }

    /// Full and as configured, whatever was taken, paused or said by its server. Whoever waits is served.
    pub fn reset(&self) {
        self.change(|bucket, now| bucket.reset(now));
    }
}

impl fmt::Debug for TierBucket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TierBucket").field("tier", &self.tier).finish_non_exhaustive()
    }
}
