//! Other settings for a cache that is in use.

use super::{Cache, CacheBuilder, nanos};
use crate::ConfigError;
use crate::shim::{AtomicU64, Ordering};
use std::fmt;
use std::hash::Hash;
use std::time::Duration;

/// How long a value is good unless told otherwise.
const TTL: Duration = Duration::from_secs(5 * 60);

/// For how long what is kept is handed out, in nanoseconds; `u64::MAX` is for ever.
///
/// Relaxed throughout: each is read for itself, and whoever reads it while it is changed may read the old one or the new.
pub(super) struct Times {
    ttl: AtomicU64,
    stale_while_revalidate: AtomicU64,
    stale_if_error: AtomicU64,
    /// One more, so that 0 is "not at all", and a time of 0 can be told from that.
    keep_errors: AtomicU64,
}

impl Default for Times {
    fn default() -> Self {
        let none = || AtomicU64::new(0);
        Self {
            ttl: AtomicU64::new(nanos(TTL)),
            stale_while_revalidate: none(),
            stale_if_error: none(),
            keep_errors: none(),
        }
    }
}

impl Times {
    #[inline]
    pub(super) fn ttl(&self) -> u64 {
        self.ttl.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn stale_while_revalidate(&self) -> u64 {
        self.stale_while_revalidate.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn stale_if_error(&self) -> u64 {
        self.stale_if_error.load(Ordering::Relaxed)
    }

    pub(super) fn keep_errors(&self) -> Option<u64> {
        self.keep_errors.load(Ordering::Relaxed).checked_sub(1)
    }

    pub(super) fn set_ttl(&self, ttl: Duration) {
        self.ttl.store(nanos(ttl), Ordering::Relaxed);
    }

    pub(super) fn set_stale_while_revalidate(&self, window: Duration) {
        self.stale_while_revalidate.store(nanos(window), Ordering::Relaxed);
    }

    pub(super) fn set_stale_if_error(&self, window: Duration) {
        self.stale_if_error.store(nanos(window), Ordering::Relaxed);
    }

    pub(super) fn set_keep_errors(&self, ttl: Duration) {
        self.keep_errors.store(nanos(ttl).saturating_add(1), Ordering::Relaxed);
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let no_time = |knob| Err(ConfigError::new("cache", knob, "0s", "must be above zero"));
        if self.ttl() == 0 {
            return no_time("ttl");
        }
        if self.keep_errors() == Some(0) {
            return no_time("keep_errors");
        }
        Ok(())
    }

    fn follow(&self, others: &Self) {
        let all = |times: &Self| {
            [&times.ttl, &times.stale_while_revalidate, &times.stale_if_error, &times.keep_errors]
                .map(|time| time.load(Ordering::Relaxed))
        };
        let [ttl, while_revalidate, if_error, keep_errors] = all(others);
        self.ttl.store(ttl, Ordering::Relaxed);
        self.stale_while_revalidate.store(while_revalidate, Ordering::Relaxed);
        self.stale_if_error.store(if_error, Ordering::Relaxed);
        self.keep_errors.store(keep_errors, Ordering::Relaxed);
    }
}

impl fmt::Debug for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Times")
            .field("ttl", &Duration::from_nanos(self.ttl()))
            .field("stale_while_revalidate", &Duration::from_nanos(self.stale_while_revalidate()))
            .field("stale_if_error", &Duration::from_nanos(self.stale_if_error()))
            .field("keep_errors", &self.keep_errors().map(Duration::from_nanos))
            .finish()
    }
}

impl<K: Hash + Eq, V, E> Cache<K, V, E> {
    /// Puts the capacity and the times of `settings` in force. The rest stays as it is: the functions, the number of shards, the
    /// name and the clock.
    ///
    /// A time to live is that of values which are put in from now on: those that are there keep theirs. How long a value is
    /// handed out after that, and whether errors are kept, is asked each time, and is as the new settings say at once. A
    /// smaller capacity evicts what has to go before this returns. Each shard has a whole number of it, so it may be a little less
    /// than was asked for.
    ///
    /// ```
    /// use cofferdam::resilience::Cache;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), cofferdam::ConfigError> {
    /// let names: Cache<u64, String> = Cache::new(10_000)?;
    /// names.set(Cache::builder(5_000).ttl(Duration::from_secs(60)))?;
    /// assert!(names.capacity() <= 5_000);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`build`](CacheBuilder::build): then nothing has changed.
    pub fn set(&self, settings: CacheBuilder<K, V, E>) -> Result<(), ConfigError> {
        let inner = &*self.inner;
        let (capacity, times) = settings.changeable()?;
        inner.settings.times.follow(&times);
        let evicted = inner.store.set_capacity(capacity);
        inner.evicted(&evicted, None);
        Ok(())
    }
}
