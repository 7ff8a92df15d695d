//! Limits by key, in bounded memory.

mod acquire;
mod ahead;
mod bell;
mod builder;
mod error;
mod event;
mod hash;
mod idle;
mod inner;
mod lines;
mod map;
mod map_builder;
mod returns;
mod room;
mod shard;
mod shelf;
mod stats;
mod waiters;

pub use acquire::AcquireKey;
pub use builder::KeyedBuilder;
pub use error::{CreateError, KeyDenied, KeyWaitError, TooManyKeys};
pub use event::{Forgotten, KeyedEvent};
pub use hash::{Seeded, SeededHasher};
pub use idle::Idle;
pub use map::KeyedMap;
pub use map_builder::KeyedMapBuilder;
pub use stats::{KeyState, KeyedMapStats, KeyedStats};

use super::{Algorithm, Gcra, Quota};
use builder::{CAPACITY, Knobs, default_shards};
use inner::{BATCH, Inner};
use shard::Op;
use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A limit for each key: by user, tenant, address, host.
///
/// Keys come by being used and go by being idle. A cheap handle: clones share the keys.
///
/// # Memory
/// There are never more keys than the [capacity](KeyedBuilder::capacity), whatever is asked and in whatever order. A key is
/// *idle* when its state is as good as that of a key that was never seen: then it may be forgotten, and nobody can tell. No
/// task and no timer does that: each new key makes room for itself, wherever an idle key is found, and forgets a second
/// one while it is at it. A refused request and one on a key that stays idle (an unlimited quota) leave no key behind.
///
/// A token bucket's key takes 24 bytes, the key and its padding in the table (32 bytes for a `u64`, 48 for a `String`, which has
/// its text elsewhere), 1 for the table's tag, and 16 for the order in which keys will be idle. Tables and orders double when
/// they grow: 56 to 108 bytes for a `u64` in all; where many keys come and go, twice that at most.
/// [`shrink`](Self::shrink) gives back what is not used.
///
/// # When it is full
/// By [`WhenFull`]. A new key is refused, or costs another key its place, only if no key is idle, within the bound on the work
/// of one operation: keys are looked at in the order in which they would be idle had they not been used since they were
/// last looked at, and no more than 16 of a shard on behalf of one new key. What was looked at is in its right place from then on,
/// so an idle key that is not found at once is found by a later call. (Of two first requests of one key at once, when it is
/// full, the second may be refused while the first is being given the place of an idle key.)
///
/// The key that is evicted is the one, of all shards, that would be idle first: for equal quotas and requests, that was used least
/// recently. Where 16 looks do not find it, it is the first of those 16. A key that somebody waits for stays. When an evicted
/// key comes back it begins with all that a new key has, and no more: with eviction, whoever can invent keys can wash his own
/// record, so bound *who* may invent them, or reject.
///
/// # Deciding
/// A key's `Hash` runs before, and its `Clone` (`ToOwned`) and `Drop` run outside of the shard's lock. `Eq` runs under it, for
/// keys whose hashes are the same: it must not use this limiter, and if it panics nothing has been changed. (So does `Clone` for
/// [`for_each`](Self::for_each) and [`keys`](Self::keys).)
///
/// | operation | |
/// |---|---|
/// | on a key that is there | one hash, one look-up under one shard's lock, which is held for some tens of instructions and costs one read-modify-write; nothing is allocated. Its memory is asked for before the clock is read |
/// | on a new key | two short locks, a clone of the key; when it is full, also of shards where a key may be idle |
/// | [`acquire`](Self::acquire) | as those where the tokens are there; the first who waits for a key allocates its line, the others nothing |
/// | [`set`](Self::set), [`remove_idle`](Self::remove_idle), [`for_each`](Self::for_each) | all keys, in many short holds of the locks |
/// | [`shrink`](Self::shrink) | each shard in one go |
///
/// Now and then a new key makes its shard's table grow, or a refund or removal makes its order be tidied: that moves all of
/// the shard once, a constant share on average. [`preallocated`](KeyedBuilder::preallocated) spares it the growing up to the
/// capacity; clearing up after keys that went remains.
///
/// # Exact
/// As the [`Algorithm`] is, for each key and for as long as it is remembered; forgetting an idle key changes nothing, even for
/// times that come out of order.
///
/// # Examples
/// ```
/// use cofferdam::limit::{Keyed, Quota};
///
/// let by_user = Keyed::<String>::new(Quota::per_minute(60).burst(2));
/// assert!(by_user.try_acquire("ada").is_ok());
/// assert!(by_user.try_acquire("ada").is_ok());
/// let denied = by_user.try_acquire("ada").unwrap_err();
/// assert!(!denied.is_full() && denied.retry_after().unwrap().as_millis() <= 1000);
/// assert!(by_user.try_acquire("bob").is_ok());
///
/// by_user.set_override("ada".into(), Quota::per_minute(600))?;
/// # Ok::<(), cofferdam::limit::TooManyKeys>(())
/// ```
pub struct Keyed<K, A: Algorithm = Gcra, S = Seeded> {
    inner: Arc<Inner<K, A, S>>,
}

/// What becomes of a new key when there are as many as there may be and none is idle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// It is refused. Keys that are known keep being served, and no limit is ever forgotten.
    #[default]
    RejectNew,
    /// The key that would be idle first is forgotten for it. Nobody is refused for want of room, and a limit can be forgotten
    /// by as many other keys as there is room for.
    EvictIdleMost,
}

impl<K: Hash + Eq> Keyed<K> {
    /// With this quota for every key, on the system's clock.
    pub fn new(quota: Quota) -> Self {
        let (algorithm, knobs) = (Gcra::new(quota), Knobs::new(CAPACITY));
        Self { inner: Arc::new(Inner::new(algorithm, Seeded::default(), knobs, default_shards())) }
    }

    /// With other settings. For another algorithm than the token bucket's: [`KeyedBuilder::new`].
    pub fn builder(quota: Quota) -> KeyedBuilder<K, Gcra> {
        KeyedBuilder::new(quota)
    }
}

impl<K, A, S> Keyed<K, A, S>
where
    K: Hash + Eq,
    A: Algorithm,
    S: BuildHasher,
{
    /// Takes a token of this key if it is there now.
    ///
    /// # Errors
    /// It is not; or the key is new and there is no room for it. Either says when to try again.
    #[inline]
    pub fn try_acquire<Q>(&self, key: &Q) -> Result<(), KeyDenied>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        self.inner.apply(key, || self.inner.epoch.nanos(), Op::Take(1))
    }

    /// Takes `n` tokens of this key if they are there now. None at all are always there.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_acquire_many<Q>(&self, key: &Q, n: u64) -> Result<(), KeyDenied>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        self.inner.apply(key, || self.inner.epoch.nanos(), Op::Take(n))
    }

    /// As [`try_acquire_many`](Self::try_acquire_many), at a time that the caller has read from the limiter's clock. Times may come
    /// out of order, and find fewer tokens then, never more.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_acquire_at<Q>(&self, key: &Q, n: u64, now: Instant) -> Result<(), KeyDenied>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        self.inner.apply(key, || self.inner.epoch.nanos_at(now), Op::Take(n))
    }

    /// Waits for a token of this key. One timer serves all who wait for keys of the same shard.
    ///
    /// # Fairness
    /// First come, first served for each key: whoever waits has been charged when he came, so later ones stand behind him, and
    /// a large request is not starved by small ones. A key that somebody waits for is not forgotten.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready gives the token back, granted or not; those who wait behind move up.
    ///
    /// # Errors
    /// The token can never come (the rate is zero), or not before the deadline of the current
    /// [`Context`](crate::sync::Context), or that context has ended; or the key is new and there is no room for it. Found out
    /// before waiting, with nothing taken.
    pub fn acquire<'a, Q>(&'a self, key: &'a Q) -> AcquireKey<'a, K, Q, A, S>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        AcquireKey::new(self, key, 1, None)
    }

    /// Waits for `n` tokens of this key, to be taken all at once.
    ///
    /// # Fairness
    /// # Cancel safety
    /// # Errors
    /// As [`acquire`](Self::acquire); also, `n` is above the burst, then or by a later change of the limits.
    pub fn acquire_many<'a, Q>(&'a self, key: &'a Q, n: u64) -> AcquireKey<'a, K, Q, A, S>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        AcquireKey::new(self, key, n, None)
    }

    /// Waits for a token of this key for at most `limit`, counted from the first poll. If it will not come in that time, this
    /// is known at once, and nobody waits. Waiting exactly that long is allowed.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire); also, the token would come too late.
    pub fn acquire_timeout<'a, Q>(&'a self, key: &'a Q, limit: Duration) -> AcquireKey<'a, K, Q, A, S>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        AcquireKey::new(self, key, 1, Some(limit))
    }

    /// Waits for `n` tokens of this key for at most `limit`; see [`acquire_timeout`](Self::acquire_timeout).
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// As [`acquire_many`](Self::acquire_many) and [`acquire_timeout`](Self::acquire_timeout).
    pub fn acquire_many_timeout<'a, Q>(
        &'a self,
        key: &'a Q,
        n: u64,
        limit: Duration,
    ) -> AcquireKey<'a, K, Q, A, S>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        AcquireKey::new(self, key, n, Some(limit))
    }

    /// Whether `n` tokens of this key are there now, without taking them, and without remembering the key. That there is room
    /// for a new key is not part of the answer.
    ///
    /// # Errors
    /// They are not.
    pub fn peek<Q>(&self, key: &Q, n: u64) -> Result<(), super::Denied>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.peek_at_nanos(key, n, self.inner.epoch.nanos())
    }

    /// As [`peek`](Self::peek), at a time that the caller has read from the limiter's clock.
    ///
    /// # Errors
    /// As [`peek`](Self::peek).
    pub fn peek_at<Q>(&self, key: &Q, n: u64, now: Instant) -> Result<(), super::Denied>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.peek_at_nanos(key, n, self.inner.epoch.nanos_at(now))
    }

    fn peek_at_nanos<Q>(&self, key: &Q, n: u64, now: u64) -> Result<(), super::Denied>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.look(key, now, |algorithm, state, _| algorithm.take(&mut state.clone(), now, n))
            .unwrap_or(Ok(()))
    }

    /// How many tokens of this key can be taken now: of one that is not remembered, as many as of a new one.
    pub fn available<Q>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.available_at_nanos(key, self.inner.epoch.nanos())
    }

    /// As [`available`](Self::available), at a time that the caller has read from the limiter's clock.
    pub fn available_at<Q>(&self, key: &Q, now: Instant) -> u64
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.available_at_nanos(key, self.inner.epoch.nanos_at(now))
    }

    fn available_at_nanos<Q>(&self, key: &Q, now: u64) -> u64
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.look(key, now, |algorithm, state, _| algorithm.available(state, now)).unwrap_or(0)
    }

    fn look<Q, R>(&self, key: &Q, now: u64, look: impl Fn(&A, &A::State, bool) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let (index, hash) = self.inner.find(key);
        let cell = self.inner.cell(index)?;
        let brief = cell.brief().try_look(hash, key, now, &look);
        Some(brief.unwrap_or_else(|| cell.long(|shard| shard.look(hash, key, now, look))))
    }

    /// Whether this key is remembered.
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.look(key, 0, |_, _, known| known).unwrap_or(false)
    }

    /// Puts `n` tokens of this key back that were taken and not used, as far as the algorithm can. A key that is not remembered
    /// has all already.
    pub fn refund<Q>(&self, key: &Q, n: u64)
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let now = self.inner.epoch.nanos();
        let (index, hash) = self.inner.find(key);
        if let Some(cell) = self.inner.cell(index) {
            cell.serve_after(now, |shard| shard.refund(hash, key, now, n));
        }
    }

    /// Leaves this key at most `n` tokens, for instance because a server has said that so many remain. A new key is remembered for
    /// that.
    ///
    /// # Errors
    /// It is new, and there is no room for it.
    pub fn drain_to<Q>(&self, key: &Q, n: u64) -> Result<(), TooManyKeys>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        match self.inner.apply(key, || self.inner.epoch.nanos(), Op::Drain(n)) {
            Err(KeyDenied::TooManyKeys(full)) => Err(full),
            Ok(()) | Err(KeyDenied::Denied(_)) => Ok(()),
        }
    }

    /// Forgets this key, idle or not: it begins anew. Its override stays. False if it was not remembered, or if somebody waits for
    /// its tokens.
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let (index, hash) = self.inner.find(key);
        let gone = self.inner.cell(index).and_then(|cell| cell.change(|shard| shard.remove(hash, key)));
        let was_there = gone.is_some();
        self.inner.room.release(usize::from(was_there));
        gone.into_iter().for_each(|gone| self.inner.tell_gone(gone));
        was_there
    }

    /// Gives this key limits of its own, until they are [removed](Self::remove_override): they are kept whether the key is
    /// remembered or not, and do not count against the capacity. What came in until now came by the old ones and is kept, as
    /// far as the new ones can hold it; a key that is idle begins with all that the new ones allow. The old override comes back, if
    /// there was one.
    ///
    /// # Errors
    /// There are as many overrides as there may be.
    pub fn set_override(&self, key: K, limits: impl Into<A>) -> Result<Option<A>, TooManyKeys> {
        let now = self.inner.epoch.nanos();
        let (index, hash) = self.inner.find(&key);
        let Some(cell) = self.inner.cell(index) else { return Ok(None) };
        let limits = limits.into();
        let full =
            || TooManyKeys::new("overrides of a keyed limiter", self.inner.overrides.capacity(), u64::MAX);
        // The key outlives the lock where it is not kept.
        let mut key = Some(key);
        cell.serve(now);
        cell.serve_after(now, |shard| {
            let limits = match key.as_ref().map(|key| shard.replace_override(hash, key, limits, now)) {
                Some(Ok(old)) => return Ok(Some(old)),
                Some(Err(limits)) => limits,
                None => return Ok(None),
            };
            let place = self.inner.overrides.reserve().ok_or_else(full)?;
            if let Some(key) = key.take() {
                shard.insert_override(hash, key, limits, now);
                place.fill();
            }
            Ok(None)
        })
    }

    /// This key is limited as all are, again. Gives the limits that it had of its own.
    pub fn remove_override<Q>(&self, key: &Q) -> Option<A>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let now = self.inner.epoch.nanos();
        let (index, hash) = self.inner.find(key);
        let cell = self.inner.cell(index)?;
        cell.serve(now);
        let (_key, algorithm) = cell.serve_after(now, |shard| shard.remove_override(hash, key, now))?;
        self.inner.overrides.release(1);
        Some(algorithm)
    }

    /// The limits that this key has of its own.
    pub fn override_of<Q>(&self, key: &Q) -> Option<A>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let (index, hash) = self.inner.find(key);
        self.inner.cell(index)?.long(|shard| shard.override_of(hash, key).cloned())
    }

    /// Changes the limits of all keys that have none of their own, from now on: what has come in until now came by the old ones
    /// and is kept, as far as the new ones can hold it; keys that are idle begin anew.
    ///
    /// Goes through all keys in many short holds of their locks; shards change one after the other, each at one moment. Two
    /// changes at once happen one after the other.
    pub fn set(&self, limits: impl Into<A>) {
        self.inner.set_algorithm(&limits.into());
    }

    /// The limits of keys that have none of their own.
    pub fn algorithm(&self) -> A {
        self.inner.current.lock().clone()
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.inner.room.taken()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most keys that are remembered at a time.
    pub fn capacity(&self) -> usize {
        self.inner.room.capacity()
    }

    /// Changes the capacity. If more keys are there, they stay until they are idle (or are evicted, by that policy), and no new
    /// one comes.
    pub fn set_capacity(&self, keys: usize) {
        self.inner.room.set_capacity(keys);
    }

    /// Forgets every key that is idle now, and says how many those were. Nothing needs it: new keys do it by and by.
    pub fn remove_idle(&self) -> usize {
        self.inner.remove_idle(self.inner.epoch.nanos())
    }

    /// Gives back the memory that no key needs now. Moves all keys, each shard in one hold of its lock.
    pub fn shrink(&self) {
        self.inner.cells().for_each(|cell| cell.change(|shard| shard.shrink()));
    }

    /// Tells `f` of every key that is remembered. Keys that come or go meanwhile may be told of or not; all others are, once. `f`
    /// runs outside of the locks and may use the limiter.
    pub fn for_each(&self, mut f: impl FnMut(K, KeyState))
    where
        K: Clone,
    {
        let now = self.inner.epoch.nanos();
        let mut batch = Vec::with_capacity(BATCH);
        for cell in self.inner.cells() {
            let hashes = cell.long(|shard| shard.hashes());
            for hashes in hashes.chunks(BATCH) {
                cell.long(|shard| {
                    for hash in hashes {
                        shard.entries(*hash, now, |key, algorithm, state, overridden| {
                            let idle_at = algorithm.fresh_at(state);
                            let idle_in = Duration::from_nanos(idle_at.saturating_sub(now));
                            let state = KeyState {
                                available: algorithm.available(state, now),
                                idle_in: (idle_at != u64::MAX).then_some(idle_in),
                                overridden,
                            };
                            batch.push((key.clone(), state));
                        });
                    }
                });
                batch.drain(..).for_each(|(key, state)| f(key, state));
            }
        }
    }

    /// Every key that is remembered; see [`for_each`](Self::for_each).
    pub fn keys(&self) -> Vec<K>
    where
        K: Clone,
    {
        let mut keys = Vec::with_capacity(self.len());
        self.for_each(|key, _| keys.push(key));
        keys
    }

    crate::observe::watchable!(inner, [K, A, S], Self, |inner| Self { inner });

    /// How things stand, and what was done so far. Shards are looked at one after the other.
    pub fn stats(&self) -> KeyedStats {
        self.inner.stats()
    }

    /// The name given to the builder.
    pub fn name(&self) -> Option<&str> {
        self.inner.name.as_deref()
    }
}

impl<K, A: Algorithm, S> Clone for Keyed<K, A, S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K, A: Algorithm, S> fmt::Debug for Keyed<K, A, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Keyed");
        if let Some(name) = &self.inner.name {
            debug.field("name", name);
        }
        debug
            .field("keys", &self.inner.room.taken())
            .field("capacity", &self.inner.room.capacity())
            .field("when_full", &self.inner.when_full)
            .finish_non_exhaustive()
    }
}
