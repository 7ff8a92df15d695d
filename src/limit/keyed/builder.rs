//! Settings of a keyed limiter.

use super::inner::Inner;
use super::{Keyed, Seeded, WhenFull};
use crate::ConfigError;
use crate::limit::Algorithm;
use crate::time::Clock;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::sync::Arc;

/// Keys without a setting.
pub(super) const CAPACITY: usize = 65_536;

/// Builds a [`Keyed`] limiter.
///
/// ```
/// use cofferdam::limit::{Keyed, Quota, WhenFull};
///
/// let by_tenant = Keyed::<String>::builder(Quota::per_second(50))
///     .capacity(10_000)
///     .when_full(WhenFull::EvictIdleMost)
///     .name("tenants")
///     .build()?;
/// assert!(by_tenant.try_acquire("acme").is_ok());
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct KeyedBuilder<K, A, S = Seeded> {
    algorithm: A,
    hasher: S,
    knobs: Knobs,
    keys: PhantomData<fn(K)>,
}

#[derive(Clone, Debug)]
pub(super) struct Knobs {
    pub(super) capacity: usize,
    pub(super) overrides: Option<usize>,
    pub(super) shards: Option<usize>,
    pub(super) preallocated: bool,
    pub(super) when_full: WhenFull,
    pub(super) clock: Clock,
    pub(super) name: Option<Arc<str>>,
}

impl Knobs {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            overrides: None,
            shards: None,
            preallocated: false,
            when_full: WhenFull::default(),
            clock: Clock::system(),
            name: None,
        }
    }

    /// The most shards.
    const MOST: usize = 1 << 16;

    /// How many shards there are to be.
    pub(super) fn shards(&self, component: &'static str) -> Result<usize, ConfigError> {
        if self.capacity == 0 {
            return Err(ConfigError::new(component, "capacity", 0, "must be at least 1"));
        }
        let Some(shards) = self.shards else { return Ok(default_shards()) };
        if !shards.is_power_of_two() || shards > Self::MOST {
            return Err(ConfigError::new(
                component,
                "shards",
                shards,
                "must be a power of two, at most 65536",
            ));
        }
        Ok(shards)
    }

    /// Keys in each shard for which there is room from the start.
    pub(super) fn share(&self, shards: usize) -> usize {
        // A sixteenth more than the share: few shards will have more.
        if self.preallocated { self.capacity.div_ceil(shards).saturating_mul(17) / 16 + 1 } else { 0 }
    }
}

/// Four for each thread that can run at once, so that two threads seldom meet.
pub(super) fn default_shards() -> usize {
    let parallel = std::thread::available_parallelism().map_or(4, usize::from);
    (4 * parallel).next_power_of_two().min(256)
}

impl<K, A: Algorithm> KeyedBuilder<K, A> {
    /// Of limiters that decide by `algorithm`.
    pub fn new(algorithm: impl Into<A>) -> Self {
        Self {
            algorithm: algorithm.into(),
            hasher: Seeded::default(),
            knobs: Knobs::new(CAPACITY),
            keys: PhantomData,
        }
    }
}

impl<K, A: Algorithm, S> KeyedBuilder<K, A, S> {
    /// The most keys that are remembered at a time, over all shards; without it, 65,536.
    pub fn capacity(mut self, keys: usize) -> Self {
        self.knobs.capacity = keys;
        self
    }

    /// The most keys with an [override](Keyed::set_override) at a time; without it, as many as the capacity.
    pub fn overrides(mut self, most: usize) -> Self {
        self.knobs.overrides = Some(most);
        self
    }

    /// What becomes of a new key when there are as many as there may be, and none is idle; without it,
    /// [`WhenFull::RejectNew`].
    pub fn when_full(mut self, policy: WhenFull) -> Self {
        self.knobs.when_full = policy;
        self
    }

    /// In how many parts with a lock each the keys are kept: a power of two, up to 65,536. Without it, four for each thread that
    /// the machine runs at once, rounded up, at most 256.
    pub fn shards(mut self, shards: usize) -> Self {
        self.knobs.shards = Some(shards);
        self
    }

    /// Allocates at the start what the capacity will need, so that no operation has to wait for a table to grow.
    pub fn preallocated(mut self) -> Self {
        self.knobs.preallocated = true;
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
    pub fn hasher<H: BuildHasher>(self, hasher: H) -> KeyedBuilder<K, A, H> {
        let Self { algorithm, knobs, keys, .. } = self;
        KeyedBuilder { algorithm, hasher, knobs, keys }
    }

    /// Builds it.
    ///
    /// # Errors
    /// A capacity of 0; shards that are not a power of two, or too many.
    pub fn build(self) -> Result<Keyed<K, A, S>, ConfigError>
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        let Self { algorithm, hasher, knobs, .. } = self;
        let shards = knobs.shards("keyed limiter")?;
        Ok(Keyed { inner: Arc::new(Inner::new(algorithm, hasher, knobs, shards)) })
    }
}

impl<K, A: Clone, S: Clone> Clone for KeyedBuilder<K, A, S> {
    fn clone(&self) -> Self {
        Self {
            algorithm: self.algorithm.clone(),
            hasher: self.hasher.clone(),
            knobs: self.knobs.clone(),
            keys: PhantomData,
        }
    }
}

impl<K, A: fmt::Debug, S> fmt::Debug for KeyedBuilder<K, A, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Knobs { capacity, when_full, shards, name, .. } = &self.knobs;
        f.debug_struct("KeyedBuilder")
            .field("algorithm", &self.algorithm)
            .field("capacity", capacity)
            .field("when_full", when_full)
            .field("shards", shards)
            .field("name", name)
            .finish_non_exhaustive()
    }
}
