//! A cache that knows how its values are loaded.

use super::lookup::{GetOrLoad, How, Turn};
use super::{Cache, Cached};
use crate::resilience::{Error, Once};
use crate::task::Spawn;
use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

/// A [`Cache`] that knows how its values are loaded, made by [`Cache::loader`].
///
/// ```
/// use cofferdam::resilience::Cache;
///
/// # fn main() -> Result<(), cofferdam::ConfigError> {
/// # futures_executor::block_on(async {
/// let squares = Cache::<u64, u64>::new(100)?.loader(|n| async move { Ok(n * n) });
/// assert_eq!(*squares.get(&12).await.unwrap(), 144);
/// assert_eq!(squares.cache().stats().entries, 1);
/// # Ok(())
/// # })
/// # }
/// ```
///
/// # Who loads
/// The caller who finds a value missing. One that is [stale](super::CacheBuilder::stale_while_revalidate) is loaded anew by one
/// caller, who waits for it; with [`refresh_on`](Self::refresh_on), by a task, and nobody waits.
///
/// Clones are cheap and share everything.
pub struct Loader<K, V, E, L> {
    cache: Cache<K, V, E>,
    load: Arc<L>,
    background: Option<Background<K, V, E>>,
}

type Background<K, V, E> = Arc<dyn Fn(Turn<K, V, E>) + Send + Sync>;

impl<K, V, E, L> Loader<K, V, E, L> {
    pub(super) fn new(cache: Cache<K, V, E>, load: L) -> Self {
        Self { cache, load: Arc::new(load), background: None }
    }

    /// Loads what is stale in tasks of this spawner, at most one for each key. If such a load fails the value stays what it
    /// is, and the next who finds it stale tries again. A task that is dropped unfinished is passed on or given up as a caller is.
    #[must_use]
    pub fn refresh_on<Fut>(self, spawner: impl Spawn + 'static) -> Self
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        V: Send + Sync + 'static,
        E: Clone + Send + Sync + 'static,
        L: Fn(K) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
    {
        let load = Arc::clone(&self.load);
        let background = move |turn: Turn<K, V, E>| {
            let load = Arc::clone(&load);
            spawner.spawn(Box::pin(async move {
                let Some(key) = turn.key().cloned() else { return };
                let result = load(key).await;
                // There is nobody here whom it could be told.
                let _ = turn.complete(result.map_err(Error::Inner), None);
            }));
        };
        Self { background: Some(Arc::new(background)), ..self }
    }

    /// The cache.
    pub fn cache(&self) -> &Cache<K, V, E> {
        &self.cache
    }

    /// The value of this key, loaded if it is not there, or too old.
    ///
    /// # Cancel safety
    /// As [`Cache::get_or_load`].
    ///
    /// # Errors
    /// As [`Cache::get_or_load`].
    pub fn get<'a, Q, Fut>(
        &'a self,
        key: &'a Q,
    ) -> impl Future<Output = Result<Cached<V>, Error<E>>> + use<'a, K, V, E, L, Q, Fut>
    where
        K: Hash + Eq + Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
        E: Clone,
        L: Fn(K) -> Fut,
        Fut: Future<Output = Result<V, E>>,
    {
        let how = How { refresh: false, background: self.background.as_deref() };
        GetOrLoad::new(&self.cache, key, how, Once::new(move || (self.load)(key.to_owned())))
    }

    /// Loads the value of this key anew, whatever is there; or waits for whoever is doing so already.
    ///
    /// # Cancel safety
    /// As [`Cache::get_or_load`].
    ///
    /// # Errors
    /// As [`Cache::get_or_load`].
    pub fn refresh<'a, Q, Fut>(
        &'a self,
        key: &'a Q,
    ) -> impl Future<Output = Result<Cached<V>, Error<E>>> + use<'a, K, V, E, L, Q, Fut>
    where
        K: Hash + Eq + Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
        E: Clone,
        L: Fn(K) -> Fut,
        Fut: Future<Output = Result<V, E>>,
    {
        self.cache.refresh(key, move || (self.load)(key.to_owned()))
    }
}

impl<K, V, E, L> Clone for Loader<K, V, E, L> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), load: Arc::clone(&self.load), background: self.background.clone() }
    }
}

impl<K, V, E, L> fmt::Debug for Loader<K, V, E, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader")
            .field("cache", &self.cache)
            .field("in_background", &self.background.is_some())
            .finish_non_exhaustive()
    }
}
