//! Settings.

use super::event::Tally;
use super::flight::Flights;
use super::set::Times;
use super::store::Store;
use super::{Cache, Inner, Settings};
use crate::ConfigError;
use crate::limit::Seeded;
use crate::observe::Observers;
use crate::time::{Clock, Epoch};
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

/// Builds a [`Cache`]; see [`Cache::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct CacheBuilder<K, V, E> {
    capacity: u64,
    entries: usize,
    shards: usize,
    settings: Settings<K, V>,
    clock: Clock,
    errors: std::marker::PhantomData<fn(E)>,
}

/// Locks of the table of loads under way.
const PARTS: usize = if cfg!(any(cofferdam_loom, cofferdam_shuttle)) { 1 } else { 16 };

impl<K, V, E> CacheBuilder<K, V, E> {
    pub(super) fn new(capacity: u64) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            capacity,
            entries: usize::try_from(capacity).unwrap_or(usize::MAX),
            shards: threads.saturating_mul(4),
            settings: Settings { times: Times::default(), ttl_of: None, weigh: None, name: "cache" },
            clock: Clock::system(),
            errors: std::marker::PhantomData,
        }
    }

    /// How long a value is fresh. [`Duration::MAX`] is for ever. Default: 5 minutes.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.settings.times.set_ttl(ttl);
        self
    }

    /// How long a value is fresh, each for itself; where `ttl_of` says nothing, as [`ttl`](Self::ttl) says. Called when the
    /// value is put in, with no lock held.
    pub fn ttl_of(mut self, ttl_of: impl Fn(&K, &V) -> Option<Duration> + Send + Sync + 'static) -> Self {
        self.settings.ttl_of = Some(Box::new(ttl_of));
        self
    }

    /// For how long after its time a value is still handed out to all but one caller, who loads it anew (RFC 5861, 3).
    /// Default: not at all.
    pub fn stale_while_revalidate(self, window: Duration) -> Self {
        self.settings.times.set_stale_while_revalidate(window);
        self
    }

    /// For how long after its time a value is still handed out where loading it anew fails (RFC 5861, 4). Default: not at
    /// all.
    pub fn stale_if_error(self, window: Duration) -> Self {
        self.settings.times.set_stale_if_error(window);
        self
    }

    /// Keeps errors of the operation for so long, so that what fails is not tried for each call; not refusals of policies, and
    /// not where a value is there that can be handed out instead, fresh or old. Default: errors are not kept.
    pub fn keep_errors(self, ttl: Duration) -> Self {
        self.settings.times.set_keep_errors(ttl);
        self
    }

    /// What a value weighs; the capacity is then in the same unit, and `entries` is about how many values that will be.
    /// A weight of 0 counts as 1. Called when the value is put in, with no lock held. Default: each weighs 1.
    pub fn weigh(mut self, entries: usize, weigh: impl Fn(&K, &V) -> u64 + Send + Sync + 'static) -> Self {
        self.entries = entries;
        self.settings.weigh = Some(Box::new(weigh));
        self
    }

    /// In how many parts with a lock each the entries are kept, at most; each has an equal share of the capacity, and keeps no value
    /// that is heavier than that. Default: four for each thread that the machine runs at once, and fewer where a part
    /// would have less than 32 entries.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// What errors and events call it. Default: "cache".
    pub fn name(mut self, name: &'static str) -> Self {
        self.settings.name = name;
        self
    }

    /// The clock. Default: the system's.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Whether it can be built, so far as that can be said before.
    fn check(&self) -> Result<(), ConfigError> {
        let zero = |knob| Err(ConfigError::new("cache", knob, 0, "must be at least 1"));
        if self.capacity == 0 {
            return zero("capacity");
        }
        if self.entries == 0 {
            return zero("entries");
        }
        if self.shards == 0 {
            return zero("shards");
        }
        self.settings.times.check()
    }

    /// What can be changed while it is in use.
    pub(super) fn changeable(self) -> Result<(u64, Times), ConfigError> {
        self.check()?;
        Ok((self.capacity, self.settings.times))
    }

    /// The cache.
    ///
    /// # Errors
    /// A capacity, shards or entries of 0; a time to live of 0, for values or errors.
    pub fn build(self) -> Result<Cache<K, V, E>, ConfigError>
    where
        K: Hash + Eq,
    {
        self.check()?;
        let Self { capacity, entries, shards, settings, clock, .. } = self;
        let hasher = Seeded::default();
        let Some(store) = Store::new(entries, capacity, shards) else {
            return Err(ConfigError::new("cache", "capacity", capacity, "must be a size that can be kept"));
        };
        Ok(Cache {
            inner: Arc::new(Inner {
                store,
                flights: Flights::new(PARTS),
                hasher,
                epoch: Epoch::new(clock),
                settings,
                tally: Tally::new(),
                observers: Observers::new(),
            }),
        })
    }
}

impl<K, V, E> fmt::Debug for CacheBuilder<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("capacity", &self.capacity)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
