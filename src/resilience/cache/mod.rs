//! Results that are kept for a while, and loaded once for all who ask.
//!
//! # What it is made of
//!
//! The entries are in a `quick_cache`, the loads under way in a table of our own. Why not otherwise:
//!
//! | | scan resistance | memory | clock | executor | dependencies it adds |
//! |---|---|---|---|---|---|
//! | `quick_cache` 0.6 | S3-FIFO with hot, cold and ghost entries | entries or weight, exact | has none: times are in the entries, read by our [`Clock`] | has none: each operation is one short lock | `equivalent` |
//! | `moka` 0.12 | TinyLFU | entries or weight, trimmed by housekeeping in later calls | its own, which cannot be replaced: no virtual time | any, with its own locks for single flight | a dozen crates, `crossbeam-epoch` and `parking_lot` among them |
//! | [`KeyedMap`](crate::limit::KeyedMap) | none: what was not used in the longest time goes first | entries | ours | any | none |
//!
//! A `KeyedMap` hands out state that must not be lost while somebody uses it, and refuses a new key rather than that; a
//! cache may forget everything at any time, so its bound can be kept at once, and its weights can differ. Single flight,
//! times and staleness are ours in any case: none of the two peers lets another caller take over a load that is dropped,
//! follows virtual time, and hands out stale values.
//!
//! # Who loads, and where
//!
//! Nothing is spawned unless a [`Loader`] was [told to](Loader::refresh_on). A value that is missing is loaded by the
//! caller who finds it missing, inside that caller's future; so is one that is stale, by one caller, while all others get
//! the stale one. With a [`Loader`] that has a spawner nobody waits for a stale value's successor.

mod builder;
mod entry;
mod event;
mod flight;
mod hashed;
mod layer;
mod loader;
mod lookup;
mod set;
mod stale;
mod store;

pub use builder::CacheBuilder;
pub use entry::{Cached, Origin};
pub use event::{CacheEvent, CacheStats};
pub use layer::{CacheAttempt, CacheLayer};
pub use loader::Loader;
pub use lookup::GetOrLoad;
pub use stale::Stale;

use super::{Error, Fallback, Once};
use crate::ConfigError;
use crate::limit::Seeded;
use crate::observe::{Observe, Observers};
use crate::sync::striped::lane;
use crate::time::{Clock, Epoch};
use entry::{Entry, Failure, Stored};
use event::Tally;
use flight::Flights;
use lookup::How;
use set::Times;
use std::borrow::Borrow;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;
use store::{Evicted, Store};

/// Keeps results for a while, by key, in bounded memory; however many ask at once for one that is not there, it is loaded
/// once.
///
/// ```
/// use cofferdam::resilience::Cache;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), cofferdam::ConfigError> {
/// # futures_executor::block_on(async {
/// let names: Cache<u64, String, &'static str> = Cache::builder(10_000).ttl(Duration::from_secs(60)).build()?;
/// let name = names.get_or_load(&7, || async { Ok("Ada".to_owned()) }).await.unwrap();
/// assert_eq!(*name, "Ada");
/// let again = names.get_or_load(&7, || async { Err("is not asked") }).await.unwrap();
/// assert_eq!(*again, "Ada");
/// assert_eq!((names.stats().hits, names.stats().loads), (1, 1));
/// # Ok(())
/// # })
/// # }
/// ```
///
/// # Time
/// A value is fresh for its [time to live](CacheBuilder::ttl), 5 minutes unless told otherwise. After that it may still be
/// handed out [while one caller loads it anew](CacheBuilder::stale_while_revalidate), or [if that
/// fails](CacheBuilder::stale_if_error); see [`Origin`]. There is no task and no timer: what is too old stays until it is replaced, evicted,
/// or [cleaned up](Self::remove_expired), within the capacity.
///
/// # One load for all
/// Callers who ask while a value is being loaded wait for that load. If it fails they get its error, a clone: give the cache an error type
/// that is cheap to clone (an `Arc` of one that is not). If the caller who loads is dropped, or panics, or its own surroundings are
/// cancelled or out of time, the next who waits loads it, with what that caller has brought along. Who waits does not wait past the
/// deadline of the current [`Context`](crate::sync::Context).
///
/// A value that is [invalidated](Self::invalidate) or [written](Self::insert) while it is being loaded: those who came before get what is loaded,
/// but it is not kept, and who comes after does not wait for it.
///
/// # Deadlocks
/// A load makes progress when the future of the caller who runs it is polled. One that is kept and not polled any more (in a
/// `select!` that has moved on, say) keeps those who wait until it is dropped; a deadline, a [`Timeout`](super::Timeout) around the
/// call, or a [`Loader`] that loads in tasks ends that. A load that asks for its own key waits for itself.
///
/// # Errors
/// Are not kept unless [asked for](CacheBuilder::keep_errors).
///
/// # In a stack
/// By [`layer`](Self::layer), for keys that follow from the surroundings, or [`at`](Self::at), for one key. Outside everything but
/// the fallback: a hit spends no tokens, takes no place, and is no success of the callee.
///
/// # Locks
/// A hit is one hash and a shared lock of one shard; a miss also takes a lock of a part of the table of loads. A key's `Hash` is run
/// before all locks. Its `Eq` and `Drop` run under them, and must not use the cache; so does `Clone` in [`for_each`](Self::for_each) and
/// [`remove_expired`](Self::remove_expired). Nothing of the values does, nor the functions given to the builder. A panic of a key's
/// `Hash` or `Eq` is the caller's own and harms nobody else. (An `Eq` that says at first whether two keys are the same, and panics
/// when it is asked again in the middle of a change, counts as saying that they are not.)
///
/// # When to use something else
/// Where a value must not be older than the last write: no cache can do that. For state that is shared, not copied from elsewhere
/// (a semaphore for each tenant): a [`KeyedMap`](crate::limit::KeyedMap).
///
/// Clones are cheap and share everything.
pub struct Cache<K, V, E = Infallible> {
    inner: Arc<Inner<K, V, E>>,
}

/// What comes of a load.
type Outcome<V, E> = Result<Arc<Entry<V>>, Error<E>>;

pub(super) struct Inner<K, V, E> {
    store: Store<K, V, E>,
    flights: Flights<K, Outcome<V, E>>,
    hasher: Seeded,
    epoch: Epoch,
    settings: Settings<K, V>,
    tally: Tally,
    observers: Observers<CacheEvent>,
}

/// The functions are the user's, and never called under a lock.
struct Settings<K, V> {
    times: Times,
    ttl_of: Option<Box<Ask<K, V, Option<Duration>>>>,
    weigh: Option<Box<Ask<K, V, u64>>>,
    name: &'static str,
}

type Ask<K, V, R> = dyn Fn(&K, &V) -> R + Send + Sync;

/// What is found for a key.
enum Found<V, E> {
    Fresh(Arc<Entry<V>>),
    /// To be handed out to all but one.
    Stale(Arc<Entry<V>>),
    /// To be handed out if it cannot be had anew.
    Old(Arc<Entry<V>>),
    Failed(Arc<Failure<V, E>>),
    Missing,
}

impl<K: Hash + Eq, V, E> Cache<K, V, E> {
    /// For at most so many entries, each for 5 minutes.
    ///
    /// # Errors
    /// A capacity of 0.
    pub fn new(entries: u64) -> Result<Self, ConfigError> {
        Self::builder(entries).build()
    }
}

impl<K, V, E> Cache<K, V, E> {
    /// For at most so many entries, or so much [weight](CacheBuilder::weigh), with other than default settings.
    pub fn builder(capacity: u64) -> CacheBuilder<K, V, E> {
        CacheBuilder::new(capacity)
    }
}

impl<K: Hash + Eq, V, E> Cache<K, V, E> {
    /// The value of this key, if it is there and fresh.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<Cached<V>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        match self.inner.find(self.inner.hash(key), key, None) {
            Found::Fresh(entry) => Some(self.inner.hit(entry, key)),
            _ => {
                self.inner.tally.add::<{ event::MISSES }>(lane());
                None
            }
        }
    }

    /// The value of this key, however old. Counts neither as a hit nor as a miss.
    pub fn get_stale<Q>(&self, key: &Q) -> Option<Cached<V>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let stored = self.inner.store.peek(self.inner.hash(key), key)?;
        let entry = Arc::clone(stored.entry()?);
        let is_fresh = self.inner.is_fresh(&entry, None);
        Some(Cached { entry, origin: if is_fresh { Origin::Hit } else { Origin::Stale } })
    }

    /// The value of this key; if it is not there, or too old, what `load` comes to. Of several who ask for it at once one runs its
    /// `load`.
    ///
    /// # Cancel safety
    /// Dropping the future drops the load if it is this one that runs; another caller who waits for it takes over.
    ///
    /// # Errors
    /// That of the load, this one or the one that was waited for; the surrounding work is cancelled or out of time.
    #[inline]
    pub fn get_or_load<'a, Q, F, Fut>(
        &'a self,
        key: &'a Q,
        load: F,
    ) -> GetOrLoad<'a, K, V, E, Q, Once<F, Fut>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
        E: Clone,
    {
        GetOrLoad::new(self, key, How::default(), Once::new(load))
    }

    /// Loads the value of this key anew, whatever is there; or waits for whoever is doing so already.
    ///
    /// # Cancel safety
    /// As [`get_or_load`](Self::get_or_load).
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load).
    pub fn refresh<'a, Q, F, Fut>(&'a self, key: &'a Q, load: F) -> GetOrLoad<'a, K, V, E, Q, Once<F, Fut>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
        E: Clone,
    {
        GetOrLoad::new(self, key, How { refresh: true, ..How::default() }, Once::new(load))
    }

    /// Loads by key, always in the same way.
    pub fn loader<L, Fut>(&self, load: L) -> Loader<K, V, E, L>
    where
        L: Fn(K) -> Fut,
        Fut: Future<Output = Result<V, E>>,
    {
        Loader::new(self.clone(), load)
    }

    /// A policy that keeps the results of what is inside it. `key` says under which key, when the call begins; `None` is not to use the
    /// cache for this call, neither to look nor to keep.
    ///
    /// ```
    /// use cofferdam::resilience::{Cache, Stack};
    /// use cofferdam::sync::Context;
    ///
    /// #[derive(Clone, PartialEq, Eq, Hash)]
    /// struct Path(&'static str);
    ///
    /// # fn main() -> Result<(), cofferdam::ConfigError> {
    /// # futures_executor::block_on(async {
    /// let pages: Cache<Path, String, std::fmt::Error> = Cache::new(1_000)?;
    /// let of_request = || Context::current().value::<Path>().map(|path| (*path).clone());
    /// let stack = Stack::new().layer(pages.layer(of_request));
    /// let request = Context::background().with_value(Path("/index"));
    /// let page = request.scope(stack.call(|| async { Ok("hello".to_owned()) })).await;
    /// assert_eq!(page.unwrap(), "hello");
    /// assert_eq!(*pages.get(&Path("/index")).unwrap(), "hello");
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn layer<F: Fn() -> Option<K>>(&self, key: F) -> CacheLayer<K, V, E, F> {
        CacheLayer::new(self.clone(), key)
    }

    /// As [`layer`](Self::layer), for one key.
    ///
    /// ```
    /// use cofferdam::resilience::{Cache, Stack, Timeout};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), cofferdam::ConfigError> {
    /// # futures_executor::block_on(async {
    /// let users: Cache<u64, String, std::fmt::Error> = Cache::new(1_000)?;
    /// let stack = Stack::new().timeout(Timeout::total(Duration::from_secs(1)));
    /// let user = Stack::new().layer(users.at(7)).layer(&stack).call(|| async { Ok("Ada".to_owned()) }).await;
    /// assert_eq!(user.unwrap(), "Ada");
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn at(&self, key: K) -> CacheLayer<K, V, E, impl Fn() -> Option<K> + use<K, V, E>>
    where
        K: Clone,
    {
        self.layer(move || Some(key.clone()))
    }

    /// A fallback to what the cache has for the key of the call, however old; the error stands where it has nothing. `key` is
    /// asked when the call has failed.
    ///
    /// ```
    /// use cofferdam::resilience::Cache;
    ///
    /// # fn main() -> Result<(), cofferdam::ConfigError> {
    /// # futures_executor::block_on(async {
    /// let rates: Cache<&str, f64> = Cache::new(100)?;
    /// rates.insert("EUR", 1.08);
    /// let fallback = rates.fallback(|| Some("EUR"));
    /// assert_eq!(fallback.call(|| async { Err("bank closed") }).await, Ok(1.08));
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn fallback<F: Fn() -> Option<K>>(&self, key: F) -> Fallback<Stale<K, V, E, F>> {
        Fallback::new(Stale::new(self.clone(), key))
    }

    /// Puts a value in, for as long as the settings say. The load of this key that is under way, if any, is not kept.
    pub fn insert(&self, key: K, value: V) {
        self.put(key, value, None);
    }

    /// As [`insert`](Self::insert), fresh for `ttl`; one of zero removes the key's value.
    pub fn insert_for(&self, key: K, value: V, ttl: Duration) {
        self.put(key, value, Some(ttl));
    }

    fn put(&self, key: K, value: V, ttl: Option<Duration>) {
        if ttl == Some(Duration::ZERO) {
            return self.invalidate(&key);
        }
        let inner = &*self.inner;
        let hash = inner.hash(&key);
        let stored = Stored::Value(Arc::new(inner.entry(&key, value, ttl)));
        let Some(part) = inner.flights.part(hash) else { return };
        let mut part = part.lock();
        let void = part.void(hash, &key);
        let old = inner.store.peek(hash, &key);
        let evicted = inner.store.insert(hash, key, stored);
        drop(part);
        inner.stored(hash);
        inner.evicted(&evicted, old.as_ref());
        drop((void, old, evicted));
    }

    /// Forgets this key's value, and does not keep what is being loaded for it now. Says nothing of whether it was there.
    pub fn invalidate<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let hash = self.inner.hash(key);
        let Some(part) = self.inner.flights.part(hash) else { return };
        let mut part = part.lock();
        let void = part.void(hash, key);
        let old = self.inner.store.remove(hash, key);
        drop(part);
        drop((void, old));
    }

    /// Forgets all values, and does not keep what is being loaded now. Those that are put in meanwhile may be forgotten or not.
    pub fn invalidate_all(&self) {
        for part in self.inner.flights.parts() {
            let void = part.lock().void_all();
            drop(void);
        }
        self.inner.store.drain().for_each(drop);
    }

    /// Forgets what is too old to be handed out at all, and says how many entries that were. Never necessary: the capacity bounds them, too.
    pub fn remove_expired(&self) -> usize
    where
        K: Clone,
    {
        let inner = &*self.inner;
        let now = inner.epoch.nanos();
        let mut gone = 0;
        for (key, stored) in inner.store.iter() {
            if !matches!(inner.judge(&stored, Some(now)), Found::Missing) {
                continue;
            }
            let (hash, key) = (key.hash_of(), key.into_key());
            let Some(part) = inner.flights.part(hash) else { continue };
            let part = part.lock();
            // Somebody may have put another one in.
            let outdated = inner.store.peek(hash, &key);
            let expired = outdated
                .as_ref()
                .is_some_and(|outdated| matches!(inner.judge(outdated, Some(now)), Found::Missing));
            let old = if expired { inner.store.remove(hash, &key) } else { None };
            drop(part);
            gone += usize::from(old.is_some());
            drop((old, outdated));
        }
        gone
    }

    /// Tells `f` of every value that is there, fresh or stale. Those that come or go meanwhile may be told of or not. `f` runs outside
    /// of the locks.
    pub fn for_each(&self, mut f: impl FnMut(K, Cached<V>))
    where
        K: Clone,
    {
        for (key, stored) in self.inner.store.iter() {
            let found = self.inner.judge(&stored, None);
            let key = key.into_key();
            drop(stored);
            match found {
                Found::Fresh(entry) => f(key, Cached { entry, origin: Origin::Hit }),
                Found::Stale(entry) | Found::Old(entry) => f(key, Cached { entry, origin: Origin::Stale }),
                Found::Failed(_) | Found::Missing => {}
            }
        }
    }

    crate::observe::watchable!(inner, [K, V, E], Self, |inner| Self { inner });

    /// How things stand, and what was counted.
    pub fn stats(&self) -> CacheStats {
        let Inner { store, tally, .. } = &*self.inner;
        let (coalesced, failed_loads) = (tally.sum::<{ event::JOINED }>(), tally.sum::<{ event::FAILED }>());
        CacheStats {
            entries: store.len(),
            loading: self.inner.flights.parts().map(|part| part.lock().len()).sum(),
            weight: store.weight(),
            hits: tally.sum::<{ event::HITS }>(),
            stale_hits: tally.sum::<{ event::STALE }>(),
            failure_hits: tally.sum::<{ event::FAILURE_HITS }>(),
            misses: tally.sum::<{ event::MISSES }>() + coalesced,
            coalesced,
            loads: tally.sum::<{ event::LOADED }>() + failed_loads,
            failed_loads,
            evictions: tally.sum::<{ event::EVICTED }>(),
        }
    }

    /// The most that its entries weigh together: what the builder was given, or up to a 32nd less, where it is divided among shards.
    pub fn capacity(&self) -> u64 {
        self.inner.store.capacity()
    }

    /// Shows all further events to `observer`, of all clones.
    pub fn observe(&self, observer: impl Observe<CacheEvent>) {
        self.inner.observers.add(observer);
    }

    /// What errors and events call it.
    pub fn name(&self) -> &'static str {
        self.inner.settings.name
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl<K: Hash + Eq, V, E> Inner<K, V, E> {
    fn hash<Q: ?Sized + Hash>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }

    fn clock(&self) -> &Clock {
        self.epoch.clock()
    }

    /// Without `now` the clock is read if it has to be.
    #[inline]
    fn is_fresh(&self, entry: &Entry<V>, now: Option<u64>) -> bool {
        entry.fresh_until == u64::MAX || now.unwrap_or_else(|| self.epoch.nanos()) < entry.fresh_until
    }

    #[inline]
    fn find<Q>(&self, hash: u64, key: &Q, now: Option<u64>) -> Found<V, E>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        match self.store.get(hash, key) {
            None => Found::Missing,
            Some(Stored::Value(entry)) if self.is_fresh(&entry, now) => Found::Fresh(entry),
            Some(stored) => self.judge(&stored, now),
        }
    }

    fn judge(&self, stored: &Stored<V, E>, now: Option<u64>) -> Found<V, E> {
        let entry = match stored {
            Stored::Value(entry) if self.is_fresh(entry, now) => return Found::Fresh(Arc::clone(entry)),
            Stored::Value(entry) => entry,
            Stored::Failure(failure) => {
                let now = now.unwrap_or_else(|| self.epoch.nanos());
                return if now < failure.until { Found::Failed(Arc::clone(failure)) } else { Found::Missing };
            }
        };
        let now = now.unwrap_or_else(|| self.epoch.nanos());
        let within = |window: u64| now < entry.fresh_until.saturating_add(window);
        match &self.settings.times {
            times if within(times.stale_while_revalidate()) => Found::Stale(Arc::clone(entry)),
            times if within(times.stale_if_error()) => Found::Old(Arc::clone(entry)),
            _ => Found::Missing,
        }
    }

    /// Whether this entry may still stand in for a load that has failed.
    fn may_stand_in(&self, entry: &Entry<V>, now: u64) -> bool {
        let times = &self.settings.times;
        let window = times.stale_while_revalidate().max(times.stale_if_error());
        entry.fresh_until == u64::MAX || now < entry.fresh_until.saturating_add(window)
    }

    /// Runs the functions of the settings.
    fn entry(&self, key: &K, value: V, ttl: Option<Duration>) -> Entry<V> {
        let Settings { times, ttl_of, weigh, .. } = &self.settings;
        let own = ttl.or_else(|| ttl_of.as_ref().and_then(|ttl_of| ttl_of(key, &value)));
        let weight = weigh.as_ref().map_or(1, |weigh| weigh(key, &value)).max(1);
        let loaded_at = self.clock().now();
        let life = own.map_or_else(|| times.ttl(), nanos);
        let fresh_until = self.epoch.nanos_at(loaded_at).saturating_add(life);
        Entry { value, loaded_at, fresh_until, weight }
    }

    #[inline]
    fn hit<Q: ?Sized + Hash>(&self, entry: Arc<Entry<V>>, key: &Q) -> Cached<V> {
        self.tally.add::<{ event::HITS }>(lane());
        let name = self.settings.name;
        self.observers.emit(|| CacheEvent::Hit { name, key: self.hash(key) });
        Cached { entry, origin: Origin::Hit }
    }

    /// Tells of a value that was put in, outside the locks.
    fn stored(&self, key: u64) {
        let name = self.settings.name;
        self.observers.emit(|| CacheEvent::Stored { name, key });
    }

    /// Tells of what had to make room, outside the locks. What was replaced by another one of its key had not.
    fn evicted(&self, gone: &Evicted<K, V, E>, replaced: Option<&Stored<V, E>>) {
        let made_room = |gone: &Stored<V, E>| !replaced.is_some_and(|replaced| replaced.is_same(gone));
        let (name, entries) = (self.settings.name, gone.iter().filter(|(_, gone)| made_room(gone)).count());
        for _ in 0..entries {
            self.tally.add::<{ event::EVICTED }>(lane());
        }
        if entries > 0 {
            self.observers.emit(|| CacheEvent::Evicted { name, entries });
        }
    }
}

impl<K, V, E> Clone for Cache<K, V, E> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K, V> fmt::Debug for Settings<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("name", &self.name)
            .field("times", &self.times)
            .finish_non_exhaustive()
    }
}

/// Of the settings only: whatever is written to may use the cache.
impl<K, V, E> fmt::Debug for Cache<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cache").field(&self.inner.settings).finish()
    }
}
