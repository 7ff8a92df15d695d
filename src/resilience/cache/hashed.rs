//! Keys that bring their hash along.
//!
//! The store hashes keys again when it makes room, in the middle of a change and under a lock. A key's own `Hash` may panic, and
//! would leave a lock that nobody can take any more. So it is run once, before all locks, and the store is given keys whose
//! hash is a number.

use crate::panics::contain;
use quick_cache::Equivalent;
use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, Hasher};

/// A key that is in the store.
#[derive(Clone)]
pub(super) struct Hashed<K> {
    hash: u64,
    key: K,
}

impl<K> Hashed<K> {
    pub(super) fn new(hash: u64, key: K) -> Self {
        Self { hash, key }
    }

    pub(super) fn hash_of(&self) -> u64 {
        self.hash
    }

    pub(super) fn into_key(self) -> K {
        self.key
    }
}

impl<K> Borrow<K> for Hashed<K> {
    fn borrow(&self) -> &K {
        &self.key
    }
}

impl<K> Hash for Hashed<K> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Is asked in the middle of a change, after the same question was answered by a look-up: see [`Probe`].
impl<K: Eq> PartialEq for Hashed<K> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && same(&self.key, &other.key)
    }
}

impl<K: Eq> Eq for Hashed<K> {}

/// Whether two keys are the same. One that panics when it is asked has said already that it does not: it is another one, and
/// takes no lock with it.
#[inline]
fn same<Q: ?Sized + Eq>(one: &Q, other: &Q) -> bool {
    contain(|| one == other).unwrap_or(false)
}

/// A key that is looked for. `KNOWN`: in the middle of a change, where nothing may get out of its `Eq`.
pub(super) struct Probe<'a, Q: ?Sized, const KNOWN: bool = false> {
    hash: u64,
    key: &'a Q,
}

impl<'a, Q: ?Sized, const KNOWN: bool> Probe<'a, Q, KNOWN> {
    #[inline]
    pub(super) fn new(hash: u64, key: &'a Q) -> Self {
        Self { hash, key }
    }
}

impl<Q: ?Sized, const KNOWN: bool> Hash for Probe<'_, Q, KNOWN> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<K: Borrow<Q>, Q: ?Sized + Eq, const KNOWN: bool> Equivalent<Hashed<K>> for Probe<'_, Q, KNOWN> {
    #[inline]
    fn equivalent(&self, other: &Hashed<K>) -> bool {
        let there = other.key.borrow();
        self.hash == other.hash && if KNOWN { same(self.key, there) } else { self.key == there }
    }
}

/// The hash of what is one already.
#[derive(Clone, Copy)]
pub(super) struct AsIs;

#[derive(Default)]
pub(super) struct Given(u64);

impl BuildHasher for AsIs {
    type Hasher = Given;

    #[inline]
    fn build_hasher(&self) -> Given {
        Given::default()
    }
}

impl Hasher for Given {
    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    /// Never used: what is hashed here is a number.
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
