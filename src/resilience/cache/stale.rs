//! What a cache still has, in place of an error.

use super::Cache;
use crate::resilience::Error;
use crate::resilience::fallback::Recover;
use std::fmt;
use std::future::{Ready, ready};
use std::hash::Hash;

/// Falls back to what a cache has, however old: see [`Cache::fallback`].
pub struct Stale<K, V, C, F> {
    cache: Cache<K, V, C>,
    key: F,
}

impl<K, V, C, F> Stale<K, V, C, F> {
    pub(super) fn new(cache: Cache<K, V, C>, key: F) -> Self {
        Self { cache, key }
    }
}

/// The errors of the call need not be those of the cache.
impl<K, V, C, F, E> Recover<V, E> for Stale<K, V, C, F>
where
    K: Hash + Eq,
    V: Clone,
    F: Fn() -> Option<K>,
{
    type Future = Ready<Result<V, Error<E>>>;

    fn recover(&self, _: &Error<E>) -> Option<Self::Future> {
        let cached = self.cache.get_stale(&(self.key)()?)?;
        Some(ready(Ok(cached.into_value())))
    }
}

impl<K, V, C, F: Clone> Clone for Stale<K, V, C, F> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), key: self.key.clone() }
    }
}

impl<K, V, C, F> fmt::Debug for Stale<K, V, C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stale").field("cache", &self.cache).finish_non_exhaustive()
    }
}
