//! Counts of what retries came to.

use crate::resilience::GaveUp;
use crate::shim::{AtomicU64, Ordering};

/// What came of the runs of a [`Retry`](super::Retry) that were more than one attempt that went well; see
/// [`Retry::stats`](super::Retry::stats).
///
/// A run counts when it ends; one that is dropped on the way is in none of these. But where a [quiet time](super::RetryBuilder::reset_after)
/// starts it anew, the retries up to then count at once: such a run may go on for as long as the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryStats {
    /// Attempts after the first ones.
    pub retries: u64,
    /// Runs that succeeded, but not at their first attempt.
    pub recovered: u64,
    /// Runs that ended in an error that is not to be tried again.
    pub aborted: u64,
    /// Runs that gave up since there were no attempts left.
    pub out_of_attempts: u64,
    /// Runs that gave up since the budget had nothing left.
    pub out_of_budget: u64,
    /// Runs that gave up since no time was left: theirs, or that of the surrounding work.
    pub out_of_time: u64,
    /// Runs that gave up since the surrounding work was cancelled.
    pub cancelled: u64,
}

impl RetryStats {
    /// Runs that gave up, for whatever reason.
    pub const fn gave_up(&self) -> u64 {
        self.out_of_attempts + self.out_of_budget + self.out_of_time + self.cancelled
    }
}

/// How many retries have a counter of their own for runs that recovered by them.
const SINGLED_OUT: usize = 4;

/// The counters. Nothing is counted at a first attempt that goes well, and one addition is made by a run that recovers: by
/// which number of retries says both that it did and how many they were.
#[derive(Debug, Default)]
pub(super) struct Counters {
    recovered_by: [AtomicU64; SINGLED_OUT],
    recovered_by_more: AtomicU64,
    /// Retries that no place of `recovered_by` stands for.
    retries: AtomicU64,
    aborted: AtomicU64,
    attempts: AtomicU64,
    budget: AtomicU64,
    time: AtomicU64,
    cancelled: AtomicU64,
}

impl Counters {
    // Relaxed throughout: counts order nothing.
    #[inline]
    pub(super) fn recovered(&self, retries: u32) {
        let retries = u64::from(retries);
        match self.recovered_by.get(retries.wrapping_sub(1) as usize) {
            Some(place) => drop(place.fetch_add(1, Ordering::Relaxed)),
            None => {
                self.recovered_by_more.fetch_add(1, Ordering::Relaxed);
                self.retries.fetch_add(retries, Ordering::Relaxed);
            }
        }
    }

    /// The run starts anew: what it has come to up to now will not be in the count at its end.
    pub(super) fn reset(&self, retries: u32) {
        self.retries.fetch_add(u64::from(retries), Ordering::Relaxed);
    }

    pub(super) fn aborted(&self, retries: u32) {
        self.aborted.fetch_add(1, Ordering::Relaxed);
        self.retries.fetch_add(u64::from(retries), Ordering::Relaxed);
    }

    pub(super) fn gave_up(&self, retries: u32, reason: GaveUp) {
        let place = match reason {
            GaveUp::Attempts => &self.attempts,
            GaveUp::Budget => &self.budget,
            GaveUp::Duration | GaveUp::Deadline => &self.time,
            GaveUp::Cancelled => &self.cancelled,
            GaveUp::NotRetryable => &self.aborted,
        };
        place.fetch_add(1, Ordering::Relaxed);
        self.retries.fetch_add(u64::from(retries), Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> RetryStats {
        let read = |place: &AtomicU64| place.load(Ordering::Relaxed);
        let mut stats = RetryStats {
            retries: read(&self.retries),
            recovered: read(&self.recovered_by_more),
            aborted: read(&self.aborted),
            out_of_attempts: read(&self.attempts),
            out_of_budget: read(&self.budget),
            out_of_time: read(&self.time),
            cancelled: read(&self.cancelled),
        };
        for (place, retries) in self.recovered_by.iter().zip(1..) {
            let runs = read(place);
            stats.recovered += runs;
            stats.retries += runs * retries;
        }
        stats
    }
}
