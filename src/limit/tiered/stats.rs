//! What a limiter has done.

use super::Tier;
use super::tier::TIERS;
use std::time::Duration;

/// What a [`Tiered`](super::Tiered) has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TieredStats {
    /// Requests decided: admitted at once, or not.
    pub requests: u64,
    /// Requests admitted at once.
    pub admitted: u64,
    pub(super) hits: [u64; TIERS],
    /// Requests waiting now.
    pub waiting: usize,
    /// Requests that had to wait.
    pub queued: u64,
    /// Requests that could not even wait: the queue was full.
    pub dropped: u64,
    /// Requests that waited and got their tokens.
    pub granted: u64,
    /// Waits and grants that were given up before use.
    pub cancelled: u64,
    /// How long those waited who were granted, together.
    pub total_wait: Duration,
    /// The longest of their waits.
    pub longest_wait: Duration,
    /// Buckets in memory below the global one.
    pub buckets: usize,
    /// Those of them that are not full, or paused.
    pub active_buckets: usize,
    /// Buckets that were forgotten, for their age or for others.
    pub evicted: u64,
    /// Times that a new key found all others active, and shared an overflow bucket.
    pub overflowed: u64,
}

impl TieredStats {
    /// Requests that a tier did not admit at once: the one that it would take the longest to be admitted by.
    pub fn hits(&self, tier: Tier) -> u64 {
        self.hits.get(tier.index()).copied().unwrap_or_default()
    }

    /// How long those waited who were granted, on average.
    pub fn average_wait(&self) -> Duration {
        let nanos = self.total_wait.as_nanos().checked_div(u128::from(self.granted)).unwrap_or_default();
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}
