//! A cache as a policy.

use super::Cache;
use super::lookup::{How, Lookup};
use crate::resilience::{Attempt, Component, Error, Fork, Kind, Layer, Policy, Single};
use pin_project_lite::pin_project;
use std::fmt;
use std::hash::Hash;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Keeps the results of what is inside it, under a key that is found when the call begins: see [`Cache::layer`].
///
/// Each caller gets a clone of the value.
pub struct CacheLayer<K, V, E, F> {
    cache: Cache<K, V, E>,
    key: F,
    refresh: bool,
}

impl<K, V, E, F> CacheLayer<K, V, E, F> {
    pub(super) fn new(cache: Cache<K, V, E>, key: F) -> Self {
        Self { cache, key, refresh: false }
    }

    /// Calls through this layer load anew, whatever is there, and what they load is kept: for a request that says "no cache".
    #[must_use]
    pub fn refresh(self) -> Self {
        Self { refresh: true, ..self }
    }
}

impl<K, V, E, F: Clone> Clone for CacheLayer<K, V, E, F> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), key: self.key.clone(), refresh: self.refresh }
    }
}

impl<K, V, E, F> fmt::Debug for CacheLayer<K, V, E, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheLayer")
            .field("cache", &self.cache)
            .field("refresh", &self.refresh)
            .finish_non_exhaustive()
    }
}

impl<K, V, E, F> Component for CacheLayer<K, V, E, F> {
    fn describe(&self, layers: &mut Vec<Layer>) {
        layers.push(Layer::new(Kind::Cache, self.cache.inner.settings.name));
    }
}

impl<K, V, E, F> Single for CacheLayer<K, V, E, F> {}

impl<'a, A, K, V, E, F> Policy<A> for &'a CacheLayer<K, V, E, F>
where
    A: Attempt<Ok = V, Err = E>,
    V: Clone,
    E: Clone,
    K: Hash + Eq + Clone,
    F: Fn() -> Option<K>,
{
    type Attempt = CacheAttempt<'a, A, K, V, E, F>;

    #[inline]
    fn around(self, inner: A) -> CacheAttempt<'a, A, K, V, E, F> {
        CacheAttempt { policy: self, key: Key::Unasked, inner, lookup: Lookup::new() }
    }
}

/// The key of a call.
enum Key<K> {
    Unasked,
    /// The cache is not used.
    None,
    Is(K),
}

pin_project! {
    /// What is inside a [`CacheLayer`].
    pub struct CacheAttempt<'a, A, K, V, E, F> {
        policy: &'a CacheLayer<K, V, E, F>,
        key: Key<K>,
        // Before the turn: what loads is dropped before the next caller does.
        #[pin]
        inner: A,
        #[pin]
        lookup: Lookup<K, V, E>,
    }
}

impl<A, K, V, E, F> Attempt for CacheAttempt<'_, A, K, V, E, F>
where
    A: Attempt<Ok = V, Err = E>,
    V: Clone,
    E: Clone,
    K: Hash + Eq + Clone,
    F: Fn() -> Option<K>,
{
    type Ok = V;
    type Err = E;

    #[inline]
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<V, Error<E>>> {
        let this = self.project();
        let CacheLayer { cache, key, refresh } = *this.policy;
        if let Key::Unasked = this.key {
            *this.key = key().map_or(Key::None, Key::Is);
        }
        let outcome = match this.key {
            Key::Is(key) => {
                let how = How { refresh: *refresh, background: None };
                ready!(this.lookup.poll(cache, key, how, this.inner, cx)).map(super::Cached::into_value)
            }
            Key::Unasked | Key::None => ready!(this.inner.poll_attempt(cx)),
        };
        *this.key = Key::Unasked;
        Poll::Ready(outcome)
    }

    fn cancel(self: Pin<&mut Self>) {
        let this = self.project();
        this.inner.cancel();
        this.lookup.reset();
        *this.key = Key::Unasked;
    }
}

/// A second attempt for the same key waits for the first, as any other caller does.
impl<A, K, V, E, F> Fork for CacheAttempt<'_, A, K, V, E, F>
where
    A: Fork<Ok = V, Err = E>,
    V: Clone,
    E: Clone,
    K: Hash + Eq + Clone,
    F: Fn() -> Option<K>,
{
    fn fork(&self) -> Option<Self> {
        let inner = self.inner.fork()?;
        Some(Self { policy: self.policy, key: Key::Unasked, inner, lookup: Lookup::new() })
    }
}

impl<A: fmt::Debug, K, V, E, F> fmt::Debug for CacheAttempt<'_, A, K, V, E, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheAttempt")
            .field("inner", &self.inner)
            .field("lookup", &self.lookup)
            .finish_non_exhaustive()
    }
}
