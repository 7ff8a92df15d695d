//! A breaker for each key.

use super::config::Config;
use super::{BreakerEvent, Builder, CircuitBreaker, Open, OwnedGuard, State};
use crate::ConfigError;
use crate::limit::{KeyedMap, KeyedMapBuilder, KeyedMapStats, TooManyKeys};
use crate::resilience::{Error, Rejection};
use crate::shim::{Mutex, MutexGuard};
use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

/// A circuit breaker for each key, a host or a tenant, all with the same settings, in bounded memory. Clones share them.
///
/// A breaker is made when its key is first asked for, and forgotten when it has not been asked for in a while and has nothing to
/// remember: closed, with no call running and no failure or slow call counted. (Successes in its window are forgotten with it.)
/// See [`KeyedMap`] for how many there are and what happens when there are too many.
///
/// ```
/// use cofferdam::resilience::CircuitBreaker;
/// use cofferdam::resilience::breaker::{KeyedBreaker, State};
///
/// # async fn fetch(host: &str) -> Result<String, std::io::Error> {
/// #     if host == "down" { Err(std::io::ErrorKind::ConnectionRefused.into()) } else { Ok(String::new()) }
/// # }
/// # futures_executor::block_on(async {
/// let by_host = KeyedBreaker::<String>::new(CircuitBreaker::quick_failover())?;
/// for _ in 0..3 {
///     assert!(by_host.call("down", || fetch("down")).await.is_err());
/// }
/// assert!(by_host.call("down", || fetch("down")).await.is_err_and(|error| error.is_circuit_open()));
/// assert!(by_host.call("up", || fetch("up")).await.is_ok());
/// assert_eq!(by_host.state("down"), Some(State::Open));
/// # Ok::<(), cofferdam::ConfigError>(())
/// # }).unwrap();
/// ```
///
/// # When not to use it
/// For a fixed and small set of callees make a breaker each: that costs no look-up.
pub struct KeyedBreaker<K> {
    inner: Arc<Inner<K>>,
}

struct Inner<K> {
    map: KeyedMap<K, CircuitBreaker>,
    name: &'static str,
    settings: Mutex<Settings>,
    watch: Option<Watch<K>>,
}

/// Has a breaker's events told with the key.
type Watch<K> = Arc<dyn Fn(K, &CircuitBreaker) + Send + Sync>;

#[derive(Clone)]
struct Settings {
    builder: Builder,
    config: Config,
    /// How often they were changed.
    revision: u64,
}

impl Settings {
    fn new(builder: Builder, revision: u64) -> Result<Self, ConfigError> {
        let config = builder.clone().config()?;
        Ok(Self { builder, config, revision })
    }
}

impl<K> KeyedBreaker<K>
where
    K: Hash + Eq,
{
    /// For at most 65,536 keys.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn new(settings: Builder) -> Result<Self, ConfigError> {
        Self::builder(settings).build()
    }

    /// With another bound.
    pub fn builder(settings: Builder) -> KeyedBreakerBuilder<K> {
        let map = KeyedMap::builder().clock(settings.source_of_time());
        KeyedBreakerBuilder { settings, map, watch: None }
    }

    /// The breaker of this key. While it is held, it is not forgotten.
    ///
    /// # Errors
    /// The key is new, and there is no room for it.
    pub fn breaker<Q>(&self, key: &Q) -> Result<CircuitBreaker, TooManyKeys>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        let mut made = None;
        let breaker = self.inner.map.get_or_create(key, || {
            let Settings { builder, config, revision } = self.settings().clone();
            made = Some(revision);
            let breaker = builder.build_checked(config);
            if let Some(watch) = &self.inner.watch {
                watch(key.to_owned(), &breaker);
            }
            breaker
        })?;
        if let Some(revision) = made {
            // Who changed the settings after that may not have found the breaker yet.
            self.catch_up(&breaker, revision);
        }
        Ok((*breaker).clone())
    }

    /// Brings a breaker that has got the settings of `revision` up to the present ones. Of several who change them at once, each
    /// looks after it has: so the last to come to a breaker leaves it with the last settings.
    fn catch_up(&self, breaker: &CircuitBreaker, mut revision: u64) {
        loop {
            let settings = self.settings();
            if settings.revision == revision {
                return;
            }
            revision = settings.revision;
            let config = settings.config.clone();
            drop(settings);
            breaker.machine.set(config);
        }
    }

    /// Lets a call through, or not, now. Tell the guard how the call ended.
    ///
    /// # Errors
    /// Not let through: [`KeyedOpen`].
    pub fn try_acquire<Q>(&self, key: &Q) -> Result<OwnedGuard, KeyedOpen>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        self.breaker(key).map_err(KeyedOpen::TooManyKeys)?.try_acquire_owned().map_err(KeyedOpen::Open)
    }

    /// As [`CircuitBreaker::call`], by the breaker of this key.
    ///
    /// # Cancel safety
    /// As there.
    ///
    /// # Errors
    /// As there; and if the key is new and there is no room for it, a [rejection](Error::rejection) that
    /// [is "full"](Rejection::is_full).
    pub async fn call<Q, T, E, F, Fut>(&self, key: &Q, op: F) -> Result<T, Error<E>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let breaker = self.breaker(key).map_err(|full| Error::Rejected(self.full(full)))?;
        breaker.call(op).await
    }

    /// As [`call`](Self::call), for an operation that blocks.
    ///
    /// # Errors
    /// As there.
    pub fn call_sync<Q, T, E>(&self, key: &Q, op: impl FnOnce() -> Result<T, E>) -> Result<T, Error<E>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        self.breaker(key).map_err(|full| Error::Rejected(self.full(full)))?.call_sync(op)
    }

    fn full(&self, full: TooManyKeys) -> Rejection {
        let limit = u32::try_from(full.capacity()).unwrap_or(u32::MAX);
        Rejection::full(self.inner.name, limit, 0, Duration::ZERO)
    }

    /// What the breaker of this key is doing; `None` if there is none, which is as good as closed.
    pub fn state<Q>(&self, key: &Q) -> Option<State>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.inner.map.get(key).map(|breaker| breaker.state())
    }

    /// Shows each breaker that there is, with its key. No lock is held meanwhile.
    pub fn for_each(&self, mut f: impl FnMut(K, &CircuitBreaker))
    where
        K: Clone,
    {
        self.inner.map.for_each(|key, breaker| f(key, &breaker));
    }

    /// Forgets the breaker of this key, whatever it is doing. Who holds it keeps it; who asks for the key again gets a new one.
    pub fn remove<Q>(&self, key: &Q) -> Option<CircuitBreaker>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.inner.map.remove(key).map(|breaker| (*breaker).clone())
    }

    /// Other settings for all breakers, those that are there and those to come; see [`CircuitBreaker::set`]. What was set for one of
    /// them alone is lost.
    ///
    /// # Errors
    /// As [`Builder::build`]; then nothing has changed.
    pub fn set(&self, settings: Builder) -> Result<(), ConfigError>
    where
        K: Clone,
    {
        let mut new = Settings::new(settings, 0)?;
        let config = new.config.clone();
        let mut settings = self.settings();
        // What `CircuitBreaker::set` leaves alone stays for new breakers, too.
        new.builder = settings.builder.clone().with_knobs_of(new.builder);
        let revision = settings.revision.wrapping_add(1);
        new.revision = revision;
        let old = std::mem::replace(&mut *settings, new);
        drop(settings);
        drop(old);
        self.inner.map.for_each(|_, breaker| {
            breaker.machine.set(config.clone());
            self.catch_up(&breaker, revision);
        });
        Ok(())
    }

    /// How many breakers there are and have been.
    pub fn stats(&self) -> KeyedMapStats {
        self.inner.map.stats()
    }

    /// How many breakers there are.
    pub fn len(&self) -> usize {
        self.inner.map.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.inner.map.is_empty()
    }

    /// Forgets all that have nothing to remember, and says how many.
    pub fn remove_idle(&self) -> usize {
        self.inner.map.remove_idle()
    }
}

impl<K> KeyedBreaker<K> {
    /// The name of each of them.
    pub fn name(&self) -> &'static str {
        self.inner.name
    }

    crate::observe::watchable!(inner, [K], Self, |inner| Self { inner });

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.inner.settings.lock()
    }
}

impl<K> Clone for KeyedBreaker<K> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K> fmt::Debug for KeyedBreaker<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBreaker").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// Builds a [`KeyedBreaker`]; see [`KeyedBreaker::builder`].
#[must_use = "a builder does nothing until `build`"]
pub struct KeyedBreakerBuilder<K> {
    settings: Builder,
    map: KeyedMapBuilder<K, CircuitBreaker>,
    watch: Option<Watch<K>>,
}

impl<K> KeyedBreakerBuilder<K> {
    /// The most breakers there are at a time. Default: 65,536.
    pub fn capacity(mut self, breakers: usize) -> Self {
        self.map = self.map.capacity(breakers);
        self
    }

    /// After how long without being asked for a breaker with nothing to remember is forgotten even where there is room. Default:
    /// an hour.
    pub fn idle_for(mut self, life: Duration) -> Self {
        self.map = self.map.idle_for(life);
        self
    }

    /// As [`KeyedMapBuilder::shards`].
    pub fn shards(mut self, shards: usize) -> Self {
        self.map = self.map.shards(shards);
        self
    }

    /// Wants to know of the events of all breakers, with their keys. In place of the one before.
    pub fn observer(mut self, observer: impl Fn(&K, &BreakerEvent) + Send + Sync + 'static) -> Self
    where
        K: Send + Sync + 'static,
    {
        let observer = Arc::new(observer);
        self.watch = Some(Arc::new(move |key: K, breaker: &CircuitBreaker| {
            let observer = Arc::clone(&observer);
            breaker.observe(move |event: &BreakerEvent| observer(&key, event));
        }));
        self
    }

    /// The breakers.
    ///
    /// # Errors
    /// As [`Builder::build`] and [`KeyedMapBuilder::build`].
    pub fn build(self) -> Result<KeyedBreaker<K>, ConfigError>
    where
        K: Hash + Eq,
    {
        let Self { settings, map, watch } = self;
        settings.check_initial_state()?;
        let (name, settings) = (settings.name_given(), Settings::new(settings, 0)?);
        let inner = Inner { map: map.build()?, name, settings: Mutex::new(settings), watch };
        Ok(KeyedBreaker { inner: Arc::new(inner) })
    }
}

impl<K> Clone for KeyedBreakerBuilder<K> {
    fn clone(&self) -> Self {
        let Self { settings, map, watch } = self;
        Self { settings: settings.clone(), map: map.clone(), watch: watch.clone() }
    }
}

impl<K> fmt::Debug for KeyedBreakerBuilder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBreakerBuilder")
            .field("settings", &self.settings)
            .field("map", &self.map)
            .finish_non_exhaustive()
    }
}

/// Why a call was not let through by the breaker of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyedOpen {
    /// The key's breaker refused it.
    Open(Open),
    /// The key is new, and there is no room for it.
    TooManyKeys(TooManyKeys),
}

impl KeyedOpen {
    /// When to try again, where that is known.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Open(open) => open.retry_after(),
            Self::TooManyKeys(full) => full.retry_after(),
        }
    }

    /// Whether there was no room for the key.
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::TooManyKeys(_))
    }
}

impl fmt::Display for KeyedOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(open) => open.fmt(f),
            Self::TooManyKeys(full) => full.fmt(f),
        }
    }
}

impl std::error::Error for KeyedOpen {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(open) => Some(open),
            Self::TooManyKeys(full) => Some(full),
        }
    }
}
