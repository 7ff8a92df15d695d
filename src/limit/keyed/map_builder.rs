//! Settings of a keyed map.

use super::builder::{CAPACITY, Knobs};
use super::{Idle, KeyedMap, Seeded};
use crate::ConfigError;
use crate::time::Clock;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// Builds a [`KeyedMap`].
///
/// ```
/// use cofferdam::limit::KeyedMap;
/// use cofferdam::sync::Semaphore;
/// use std::time::Duration;
///
/// let by_tenant = KeyedMap::<u64, Semaphore>::builder()
///     .capacity(1_000)
///     .idle_for(Duration::from_secs(60))
///     .build()?;
/// assert_eq!(by_tenant.capacity(), 1_000);
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct KeyedMapBuilder<K, V, S = Seeded> {
    hasher: S,
    knobs: Knobs,
    idle_for: Duration,
    pairs: PhantomData<fn(K, V)>,
}

impl<K, V, S> KeyedMapBuilder<K, V, S> {
    pub(super) const IDLE_FOR: Duration = Duration::from_secs(3600);
}

impl<K, V> KeyedMapBuilder<K, V> {
    pub(super) fn new() -> Self {
        let hasher = Seeded::default();
        Self { hasher, knobs: Knobs::new(CAPACITY), idle_for: Self::IDLE_FOR, pairs: PhantomData }
    }
}

impl<K, V, S> KeyedMapBuilder<K, V, S> {
    /// The most values there are at a time, over all shards; without it, 65,536.
    pub fn capacity(mut self, values: usize) -> Self {
        self.knobs.capacity = values;
        self
    }

    /// After how long without being asked for an idle value is forgotten even where there is room; without it, an hour.
    pub fn idle_for(mut self, life: Duration) -> Self {
        self.idle_for = life;
        self
    }

    /// In how many parts with a lock each the values are kept: a power of two, up to 65,536. Without it, four for each thread that
    /// the machine runs at once, rounded up, at most 256.
    pub fn shards(mut self, shards: usize) -> Self {
        self.knobs.shards = Some(shards);
        self
    }

    /// Where the time comes from; without it, [`Clock::system`].
    pub fn clock(mut self, clock: Clock) -> Self {
        self.knobs.clock = clock;
        self
    }

    /// A name for people, shown by `Debug`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.knobs.name = Some(name.into());
        self
    }

    /// How keys are hashed; without it, by [`Seeded`].
    pub fn hasher<H: BuildHasher>(self, hasher: H) -> KeyedMapBuilder<K, V, H> {
        let Self { knobs, idle_for, pairs, .. } = self;
        KeyedMapBuilder { hasher, knobs, idle_for, pairs }
    }

    /// Builds it.
    ///
    /// # Errors
    /// A capacity of 0; shards that are not a power of two, or too many.
    pub fn build(self) -> Result<KeyedMap<K, V, S>, ConfigError>
    where
        K: Hash + Eq,
        V: Idle,
        S: BuildHasher,
    {
        let shards = self.knobs.shards("keyed map")?;
        Ok(KeyedMap::assemble(self.hasher, self.knobs, self.idle_for, shards))
    }
}

impl<K, V, S: Clone> Clone for KeyedMapBuilder<K, V, S> {
    fn clone(&self) -> Self {
        let Self { hasher, knobs, idle_for, pairs } = self;
        Self { hasher: hasher.clone(), knobs: knobs.clone(), idle_for: *idle_for, pairs: *pairs }
    }
}

impl<K, V, S> fmt::Debug for KeyedMapBuilder<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Knobs { capacity, shards, name, .. } = &self.knobs;
        f.debug_struct("KeyedMapBuilder")
            .field("capacity", capacity)
            .field("idle_for", &self.idle_for)
            .field("shards", shards)
            .field("name", name)
            .finish_non_exhaustive()
    }
}
