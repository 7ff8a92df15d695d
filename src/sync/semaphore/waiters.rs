//! Who waits, for those who look into it.

use super::{Semaphore, SemaphoreStats};
use crate::sync::semaphore::order::Rule;
use std::time::Duration;

impl Semaphore {
    /// What it is doing, and the first `most` of those who wait, in the order in which they will be served: for how many permits,
    /// and for how long if that was noted.
    pub(crate) fn waiters(&self, most: usize) -> (SemaphoreStats, Vec<(u32, Option<Duration>)>) {
        // The clock may be the user's: not under the lock.
        let now = self.epoch.nanos();
        let mut waiters = Vec::with_capacity(most);
        let mut queue = self.queue.lock();
        let stats = self.stats_of(&queue);
        queue.first_waiters(most, &mut waiters);
        drop(queue);
        if self.rule == Rule::Priority {
            // Each class came in its order. As in `first`: at the same key the higher class goes first.
            waiters.sort_by_key(|want| (want.key, u8::MAX - want.class));
        }
        waiters.truncate(most);
        let waited = |since: u64| {
            let since = since.checked_sub(1)?;
            Some(Duration::from_nanos(now.saturating_sub(since)))
        };
        (stats, waiters.into_iter().map(|want| (want.permits, waited(want.since))).collect())
    }
}
