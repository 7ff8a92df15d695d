//! What a cache tells and counts.

use crate::sync::striped::Striped;

pub(super) const HITS: usize = 0;
pub(super) const STALE: usize = 1;
pub(super) const FAILURE_HITS: usize = 2;
/// But for those that joined.
pub(super) const MISSES: usize = 3;
pub(super) const JOINED: usize = 4;
/// That went well. None of these is a part of another, so that what is made of two by subtraction never goes back.
pub(super) const LOADED: usize = 5;
pub(super) const FAILED: usize = 6;
pub(super) const EVICTED: usize = 7;

pub(super) type Tally = Striped<8>;

/// Something an observer of a [`Cache`](super::Cache) may want to know. Delivered outside the cache's locks, by the thread
/// that caused it.
///
/// `key` is a hash of the key, the same for one cache as long as it lives, and of no meaning elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheEvent {
    /// A value was there, and fresh.
    #[non_exhaustive]
    Hit {
        /// The cache.
        name: &'static str,
        /// The key's hash.
        key: u64,
    },
    /// A value was handed out that was no longer fresh.
    #[non_exhaustive]
    StaleHit {
        /// The cache.
        name: &'static str,
        /// The key's hash.
        key: u64,
    },
    /// A value was not there, or too old; it is being loaded by whoever asked.
    #[non_exhaustive]
    Miss {
        /// The cache.
        name: &'static str,
        /// The key's hash.
        key: u64,
    },
    /// A caller waits for a load of somebody else.
    #[non_exhaustive]
    Coalesced {
        /// The cache.
        name: &'static str,
        /// The key's hash.
        key: u64,
    },
    /// A value was put in, by a load or by hand.
    #[non_exhaustive]
    Stored {
        /// The cache.
        name: &'static str,
        /// The key's hash.
        key: u64,
    },
    /// A load failed.
    #[non_exhaustive]
    LoadFailed {
        /// The cache.
        name: &'static str,
        /// The key's hash.
        key: u64,
    },
    /// Entries had to make room.
    #[non_exhaustive]
    Evicted {
        /// The cache.
        name: &'static str,
        /// How many.
        entries: usize,
    },
}

/// What a [`Cache`](super::Cache) holds, and has counted since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Entries it holds, outdated ones included.
    pub entries: usize,
    /// What they weigh together.
    pub weight: u64,
    /// Fresh values that were handed out.
    pub hits: u64,
    /// Values that were handed out though they were no longer fresh.
    pub stale_hits: u64,
    /// Errors of earlier loads that were handed out.
    pub failure_hits: u64,
    /// Values that were asked for and not there, or too old.
    pub misses: u64,
    /// Of the misses, those that waited for somebody else's load.
    pub coalesced: u64,
    /// Loads under way, but for those whose key was written or invalidated since they began.
    pub loading: usize,
    /// Loads that have come to an end, failed ones included.
    pub loads: u64,
    /// Loads that have failed.
    pub failed_loads: u64,
    /// Entries that had to make room for others, and values that were too heavy to be kept at all.
    pub evictions: u64,
}
