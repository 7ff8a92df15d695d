//! The entries, in bounded memory.

use super::entry::Stored;
use crate::limit::Seeded;
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use std::borrow::Borrow;
use std::hash::Hash;

/// What had to make room: dropped by whoever put something in, outside the locks.
pub(super) type Evicted<K, V, E> = Vec<(K, Stored<V, E>)>;

#[derive(Clone)]
struct ByWeight;

impl<K, V, E> Weighter<K, Stored<V, E>> for ByWeight {
    #[inline]
    fn weight(&self, _: &K, stored: &Stored<V, E>) -> u64 {
        stored.weight()
    }
}

/// Collects what is evicted.
#[derive(Clone)]
struct Collect;

impl<K, V, E> Lifecycle<K, Stored<V, E>> for Collect {
    type RequestState = Evicted<K, V, E>;

    #[inline]
    fn begin_request(&self) -> Evicted<K, V, E> {
        Vec::new()
    }

    fn on_evict(&self, evicted: &mut Evicted<K, V, E>, key: K, stored: Stored<V, E>) {
        evicted.push((key, stored));
    }
}

pub(super) struct Store<K, V, E>(Cache<K, Stored<V, E>, ByWeight, Seeded, Collect>);

/// Fewest entries of a shard: below that, shards that fill up unevenly cost more hits than their locks save time.
const FEWEST: usize = 32;

impl<K: Hash + Eq, V, E> Store<K, V, E> {
    /// For about so many entries, of so much weight together.
    pub(super) fn new(entries: usize, capacity: u64, shards: usize, hasher: Seeded) -> Option<Self> {
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
        Some(Self(Cache::with_options(options, ByWeight, hasher, Collect)))
    }

    /// Counts as a use.
    #[inline]
    pub(super) fn get<Q>(&self, key: &Q) -> Option<Stored<V, E>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.0.get(key)
    }

    /// Does not count as a use.
    pub(super) fn peek<Q>(&self, key: &Q) -> Option<Stored<V, E>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.0.peek(key)
    }

    /// Of a key that was looked up before: an `Eq` that panics did so there, where it poisons no lock.
    #[must_use = "dropped outside the locks"]
    pub(super) fn insert(&self, key: K, stored: Stored<V, E>) -> Evicted<K, V, E> {
        self.0.insert_with_lifecycle(key, stored)
    }

    pub(super) fn remove<Q>(&self, key: &Q) -> Option<(K, Stored<V, E>)>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        // Looked up first, as for `insert`.
        if self.0.contains_key(key) { self.0.remove(key) } else { None }
    }

    /// All entries, one hold of a lock each.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, Stored<V, E>)>
    where
        K: Clone,
    {
        self.0.iter()
    }

    /// Takes all entries out, one hold of a lock each.
    pub(super) fn drain(&self) -> impl Iterator<Item = (K, Stored<V, E>)> {
        self.0.drain()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn weight(&self) -> u64 {
        self.0.weight()
    }

    pub(super) fn capacity(&self) -> u64 {
        self.0.capacity()
    }
}
