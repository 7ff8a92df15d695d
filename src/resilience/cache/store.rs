//! The entries, in bounded memory.

use super::entry::Stored;
use super::hashed::{AsIs, Hashed, Probe};
use crate::shim::Mutex;
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use std::borrow::Borrow;
use std::sync::Arc;

/// What had to make room: dropped by whoever put something in, outside the locks.
pub(super) type Evicted<K, V, E> = Vec<(Hashed<K>, Stored<V, E>)>;

#[derive(Clone)]
struct ByWeight;

impl<K, V, E> Weighter<Hashed<K>, Stored<V, E>> for ByWeight {
    #[inline]
    fn weight(&self, _: &Hashed<K>, stored: &Stored<V, E>) -> u64 {
        stored.weight()
    }
}

/// Collects what is evicted.
struct Collect<K, V, E> {
    /// What a smaller capacity has evicted, of all shards.
    shrunk: Arc<Mutex<Evicted<K, V, E>>>,
}

impl<K, V, E> Clone for Collect<K, V, E> {
    fn clone(&self) -> Self {
        Self { shrunk: Arc::clone(&self.shrunk) }
    }
}

impl<K, V, E> Lifecycle<Hashed<K>, Stored<V, E>> for Collect<K, V, E> {
    type RequestState = Evicted<K, V, E>;

    #[inline]
    fn begin_request(&self) -> Evicted<K, V, E> {
        Vec::new()
    }

    fn on_evict(&self, evicted: &mut Evicted<K, V, E>, key: Hashed<K>, stored: Stored<V, E>) {
        evicted.push((key, stored));
    }

    /// Under the lock of a shard whose capacity has been changed: whoever puts something in takes what it has evicted itself.
    fn end_request(&self, mut evicted: Evicted<K, V, E>) {
        if !evicted.is_empty() {
            self.shrunk.lock().append(&mut evicted);
        }
    }
}

type Entries<K, V, E> = Cache<Hashed<K>, Stored<V, E>, ByWeight, AsIs, Collect<K, V, E>>;

/// The hashes are the caller's: the key's own `Hash` is never run in here.
pub(super) struct Store<K, V, E> {
    cache: Entries<K, V, E>,
    shrunk: Arc<Mutex<Evicted<K, V, E>>>,
}

/// Fewest entries of a shard: below that, shards that fill up unevenly cost more hits than their locks save time.
const FEWEST: usize = 32;

impl<K: Eq, V, E> Store<K, V, E> {
    /// For about so many entries, of so much weight together.
    pub(super) fn new(entries: usize, capacity: u64, shards: usize) -> Option<Self> {
        let mut shards = shards.next_power_of_two();
        while shards > 1 && (entries / shards < FEWEST || capacity / (shards as u64) < FEWEST as u64) {
            shards /= 2;
        }
        // A whole number for each shard, so that they are together not above the capacity.
        let capacity = capacity / shards as u64 * shards as u64;
        let options = OptionsBuilder::new()
            .estimated_items_capacity(entries)
            .weight_capacity(capacity)
            .shards(shards)
            .build()
            .ok()?;
        let shrunk = Arc::default();
        let collect = Collect { shrunk: Arc::clone(&shrunk) };
        Some(Self { cache: Cache::with_options(options, ByWeight, AsIs, collect), shrunk })
    }

    /// Counts as a use.
    #[inline]
    pub(super) fn get<Q>(&self, hash: u64, key: &Q) -> Option<Stored<V, E>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        self.cache.get(&Probe::<Q>::new(hash, key))
    }

    /// Does not count as a use.
    pub(super) fn peek<Q>(&self, hash: u64, key: &Q) -> Option<Stored<V, E>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        self.cache.peek(&Probe::<Q>::new(hash, key))
    }

    /// Of a key that was looked up before: an `Eq` that panics did so there, where that harms nobody but the caller.
    #[must_use = "dropped outside the locks"]
    pub(super) fn insert(&self, hash: u64, key: K, stored: Stored<V, E>) -> Evicted<K, V, E> {
        self.cache.insert_with_lifecycle(Hashed::new(hash, key), stored)
    }

    pub(super) fn remove<Q>(&self, hash: u64, key: &Q) -> Option<(Hashed<K>, Stored<V, E>)>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        // Looked up first, as for `insert`.
        let known = self.cache.contains_key(&Probe::<Q>::new(hash, key));
        if known { self.cache.remove(&Probe::<Q, true>::new(hash, key)) } else { None }
    }

    /// All entries, one hold of a lock each.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Hashed<K>, Stored<V, E>)>
    where
        K: Clone,
    {
        self.cache.iter()
    }

    /// Takes all entries out, one hold of a lock each.
    pub(super) fn drain(&self) -> impl Iterator<Item = (Hashed<K>, Stored<V, E>)> {
        self.cache.drain()
    }

    pub(super) fn len(&self) -> usize {
        self.cache.len()
    }

    pub(super) fn weight(&self) -> u64 {
        self.cache.weight()
    }

    pub(super) fn capacity(&self) -> u64 {
        self.cache.capacity()
    }

    /// Changes the capacity, to a whole number for each shard that is there. What has to go for it is handed back.
    #[must_use = "dropped outside the locks"]
    pub(super) fn set_capacity(&self, capacity: u64) -> Evicted<K, V, E> {
        let shards = self.cache.num_shards() as u64;
        self.cache.set_capacity((capacity / shards).max(1) * shards);
        std::mem::take(&mut *self.shrunk.lock())
    }
}
