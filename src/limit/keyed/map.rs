//! A value for each key, made when it is first asked for, in bounded memory.

use super::builder::{CAPACITY, Knobs, default_shards};
use super::hash::{Short, shard_bits};
use super::inner::first_and_next;
use super::map_builder::KeyedMapBuilder;
use super::room::{Place, Room};
use super::shelf::{Entry, Id, Search, Shelf};
use super::{CreateError, Idle, KeyedMapStats, Seeded, TooManyKeys};
use crate::shim::{AtomicU64, Mutex, Ordering};
use crate::time::Epoch;
use crossbeam_utils::CachePadded;
use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

/// A value for each key: a semaphore for each tenant, a circuit breaker for each host.
///
/// [`get_or_create`](Self::get_or_create) hands out an [`Arc`] of the key's value; if several ask at once for one that is not
/// there, one of them makes it and all get the same. A cheap handle: clones share the values.
///
/// # Memory
/// There are never more values than the [capacity](KeyedMapBuilder::capacity). A value is forgotten only when nobody has a handle
/// of it (nor a [`Weak`](std::sync::Weak) one) *and* it says that it is [idle](Idle): a breaker that is open and a semaphore with a permit out are
/// kept. Of those, each new key forgets some that were not asked for in [an hour](KeyedMapBuilder::idle_for), and when there is no more
/// room, one that was not asked for in the longest time, as far as 16 looks find one. If there is none, the new key is
/// refused. There is no task and no timer.
///
/// Settings of a value that were changed by hand are forgotten with it. To keep a value, keep a handle.
///
/// # Locks
/// A key that is there costs one hash and one short lock of one shard. The key's `Eq` runs under that lock and must not use this
/// map; `Hash`, `Clone` and `Drop`, the making of values, and [`Idle`] do not. But who asks for a value while it is being made waits,
/// thread and all, until it is: make values fast, and do not ask for a key in the making of its own value.
///
/// # Examples
/// ```
/// use cofferdam::limit::KeyedMap;
/// use cofferdam::sync::Semaphore;
///
/// let by_tenant = KeyedMap::<String, Semaphore>::new();
/// let acme = by_tenant.get_or_create("acme", || Semaphore::new(2))?;
/// let _permit = acme.try_acquire_owned();
/// assert_eq!(by_tenant.get("acme").unwrap().available(), 1);
/// # Ok::<(), cofferdam::limit::TooManyKeys>(())
/// ```
pub struct KeyedMap<K, V, S = Seeded> {
    inner: Arc<Inner<K, V, S>>,
}

struct Inner<K, V, S> {
    shards: Box<[CachePadded<Cell<K, V>>]>,
    hasher: S,
    epoch: Epoch,
    room: Room,
    idle_for: u64,
    name: Option<Arc<str>>,
    rejected: AtomicU64,
}

struct Cell<K, V> {
    /// No value of it can be forgotten for its age before this. Stored under the lock.
    earliest: AtomicU64,
    shard: Mutex<Shard<K, V>>,
}

struct Shard<K, V> {
    shelf: Shelf<K, Seat<V>>,
    created: u64,
    expired: u64,
    removed: u64,
}

struct Seat<V> {
    /// When it was last handed out.
    used: u64,
    /// How often: tells whether it was while nobody looked.
    hand_outs: u64,
    value: Value<V>,
}

enum Value<V> {
    /// Whoever makes it holds this.
    Making(Arc<Mutex<()>>),
    Made(Arc<V>),
}

/// Whose turn it is to make a value.
enum Turn {
    Ours,
    Theirs,
    NoRoom,
}

/// A value that may be forgotten if it is idle: to find out, the lock is let go.
struct Candidate<V> {
    id: Id,
    hand_outs: u64,
    value: Arc<V>,
}

impl<V> Seat<V> {
    fn hand_out(&mut self, now: u64) -> Result<Arc<V>, Arc<Mutex<()>>> {
        match &self.value {
            Value::Made(value) => {
                self.used = now.max(self.used);
                self.hand_outs = self.hand_outs.wrapping_add(1);
                Ok(Arc::clone(value))
            }
            Value::Making(making) => Err(Arc::clone(making)),
        }
    }

    /// Under the lock, by which alone handles come into being if there are none.
    fn is_held(&mut self) -> bool {
        match &mut self.value {
            Value::Made(value) => Arc::get_mut(value).is_none(),
            Value::Making(_) => true,
        }
    }
}

impl<K: Eq, V> Cell<K, V> {
    fn change<R>(&self, change: impl FnOnce(&mut Shard<K, V>) -> R) -> R {
        let mut shard = self.shard.lock();
        let result = change(&mut shard);
        // Relaxed: it says where to look, and what is there is seen under the lock.
        self.earliest.store(shard.shelf.first(), Ordering::Relaxed);
        result
    }

    fn earliest(&self) -> u64 {
        self.earliest.load(Ordering::Relaxed)
    }

    /// The value that was asked for the longest ago, as far as is found, if nobody has a handle of it. It comes up again when
    /// all others have, or after `idle_for`.
    fn candidate(&self, search: &mut Search, idle_for: u64) -> Option<Candidate<V>> {
        self.change(|shard| {
            // Behind all that are not held, which were asked for by now at the latest.
            let again = search.now.saturating_add(idle_for).saturating_add(1);
            let due = |entry: &Entry<K, Seat<V>>| match &entry.value.value {
                Value::Made(value) if Arc::strong_count(value) == 1 => {
                    Some(entry.value.used.saturating_add(idle_for))
                }
                _ => Some(again),
            };
            let record = shard.shelf.first_idle(search, due)?;
            shard.shelf.postpone(record, again);
            let seat = &mut shard.shelf.of(record.id)?.value;
            if seat.is_held() {
                return None;
            }
            let value = match &seat.value {
                Value::Made(value) => Arc::clone(value),
                Value::Making(_) => return None,
            };
            Some(Candidate { id: record.id, hand_outs: seat.hand_outs, value })
        })
    }

    /// Forgets the candidate if it is idle.
    fn settle(&self, candidate: Candidate<V>) -> Option<Entry<K, Seat<V>>>
    where
        V: Idle,
    {
        let Candidate { id, hand_outs, value } = candidate;
        if !value.is_idle() {
            return None;
        }
        self.change(|shard| {
            let seat = &mut shard.shelf.of(id)?.value;
            // Who had it meanwhile may have used it. If the seat is still its own, this handle is not the last.
            if seat.hand_outs != hand_outs {
                return None;
            }
            drop(value);
            if seat.is_held() {
                return None;
            }
            shard.expired += 1;
            shard.shelf.take(id)
        })
    }
}

/// Looks at values on behalf of one new key.
const STEPS: usize = 16;

/// What one hold of a lock does for those who go through all keys.
const BATCH: usize = 64;

impl<K, V> KeyedMap<K, V>
where
    K: Hash + Eq,
    V: Idle,
{
    /// For at most 65,536 values, on the system's clock.
    pub fn new() -> Self {
        Self::assemble(
            Seeded::default(),
            Knobs::new(CAPACITY),
            KeyedMapBuilder::<K, V>::IDLE_FOR,
            default_shards(),
        )
    }

    /// With other settings.
    pub fn builder() -> KeyedMapBuilder<K, V> {
        KeyedMapBuilder::new()
    }
}

impl<K, V> Default for KeyedMap<K, V>
where
    K: Hash + Eq,
    V: Idle,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V, S> KeyedMap<K, V, S> {
    crate::observe::watchable!(inner, [K, V, S], Self, |inner| Self { inner });

    pub(super) fn assemble(hasher: S, knobs: Knobs, idle_for: Duration, shards: usize) -> Self {
        let share = knobs.share(shards);
        let shard = |_| {
            let shard = Shard { shelf: Shelf::new(share), created: 0, expired: 0, removed: 0 };
            CachePadded::new(Cell { earliest: AtomicU64::new(u64::MAX), shard: Mutex::new(shard) })
        };
        let Knobs { capacity, clock, name, .. } = knobs;
        let inner = Inner {
            shards: (0..shards).map(shard).collect(),
            hasher,
            epoch: Epoch::new(clock),
            room: Room::new(capacity),
            idle_for: u64::try_from(idle_for.as_nanos()).unwrap_or(u64::MAX),
            name,
            rejected: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }
}

impl<K, V, S> KeyedMap<K, V, S>
where
    K: Hash + Eq,
    V: Idle,
    S: BuildHasher,
{
    fn find<Q: ?Sized + Hash>(&self, key: &Q) -> (usize, Short) {
        let hash = self.inner.hasher.hash_one(key);
        (shard_bits(hash) & self.inner.shards.len().wrapping_sub(1), Short::of(hash))
    }

    /// The value of this key, if it is there; if it is being made, when it is.
    pub fn get<Q>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let (index, hash) = self.find(key);
        let cell = self.inner.shards.get(index)?;
        self.get_in(cell, hash, key)
    }

    fn get_in<Q>(&self, cell: &Cell<K, V>, hash: Short, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let now = self.inner.epoch.nanos();
        loop {
            let found = cell.shard.lock().shelf.get_mut(hash, key).map(|entry| entry.value.hand_out(now));
            match found? {
                Ok(value) => return Some(value),
                Err(making) => drop(making.lock()),
            }
        }
    }

    /// The value of this key; if it is not there, what `make` makes. Of several who ask for it at once one makes it.
    ///
    /// # Errors
    /// The key is new, and there is no room for it.
    pub fn get_or_create<Q>(&self, key: &Q, make: impl FnOnce() -> V) -> Result<Arc<V>, TooManyKeys>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        enum Never {}
        match self.get_or_try_create(key, || Ok::<_, Never>(make())) {
            Ok(value) => Ok(value),
            Err(CreateError::TooManyKeys(full)) => Err(full),
            Err(CreateError::Failed(never)) => match never {},
        }
    }

    /// As [`get_or_create`](Self::get_or_create), where making it can fail. Then, and if it panics, the key is not kept, and the next of
    /// those who wait for the value makes it.
    ///
    /// # Errors
    /// As [`get_or_create`](Self::get_or_create); also that of `make`.
    pub fn get_or_try_create<Q, E>(
        &self,
        key: &Q,
        make: impl FnOnce() -> Result<V, E>,
    ) -> Result<Arc<V>, CreateError<E>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        let (index, hash) = self.find(key);
        // There is one: the index is one of `find`.
        let Some(cell) = self.inner.shards.get(index) else {
            return make().map(Arc::new).map_err(CreateError::Failed);
        };
        let mut place = None;
        loop {
            if let Some(value) = self.get_in(cell, hash, key) {
                return Ok(value);
            }
            let mut owned = Some(key.to_owned());
            let now = self.inner.epoch.nanos();
            self.clear_away(cell, now);
            let making = Arc::new(Mutex::new(()));
            let turn = making.lock();
            let turned = cell.change(|shard| {
                if shard.shelf.get_mut(hash, key).is_some() {
                    return Turn::Theirs;
                }
                // Taken under the lock where there is room, so that others find either the key or its place.
                let place = place.take().or_else(|| self.inner.room.reserve());
                let (Some(place), Some(owned)) = (place, owned.take()) else { return Turn::NoRoom };
                let value = Value::Making(Arc::clone(&making));
                let due = now.saturating_add(self.inner.idle_for);
                shard.shelf.insert(hash, owned, Seat { used: now, hand_outs: 0, value }, 0, due);
                place.fill();
                Turn::Ours
            });
            match turned {
                Turn::Ours => {}
                Turn::Theirs => continue,
                Turn::NoRoom => {
                    drop(turn);
                    match self.place(now) {
                        Ok(found) => place = Some(found),
                        Err(full) => {
                            // Perhaps because somebody else has come with this very key.
                            if let Some(value) = self.get_in(cell, hash, key) {
                                return Ok(value);
                            }
                            // Relaxed: a statistic.
                            self.inner.rejected.fetch_add(1, Ordering::Relaxed);
                            return Err(CreateError::TooManyKeys(full));
                        }
                    }
                    continue;
                }
            }
            let unmade = Unmade { map: self, cell, hash, key };
            let made = Arc::new(make().map_err(CreateError::Failed)?);
            std::mem::forget(unmade);
            let kept = Arc::clone(&made);
            let old = cell.change(|shard| {
                shard.created += 1;
                let seat = &mut shard.shelf.get_mut(hash, key)?.value;
                seat.hand_outs = 1;
                Some(std::mem::replace(&mut seat.value, Value::Made(kept)))
            });
            drop((old, turn));
            return Ok(made);
        }
    }

    /// Forgets values that were not asked for in a long time, as far as a few looks find them.
    fn clear_away(&self, cell: &Cell<K, V>, now: u64) {
        let mut search = Search::idle(now, STEPS);
        while cell.earliest() <= now && search.steps > 0 {
            let Some(candidate) = cell.candidate(&mut search, self.inner.idle_for) else { continue };
            let gone = cell.settle(candidate);
            self.inner.room.release(usize::from(gone.is_some()));
        }
    }

    /// The place of an idle value, for a new key.
    fn place(&self, now: u64) -> Result<Place<'_>, TooManyKeys> {
        let Inner { room, idle_for, shards, .. } = &*self.inner;
        for _ in 0..STEPS {
            if let Some(place) = room.reserve() {
                return Ok(place);
            }
            let Some((cell, next)) = first_and_next(shards.iter(), |cell| cell.earliest()) else { break };
            let mut search = Search { until: next.max(now), ..Search::idle(now, STEPS) };
            let Some(candidate) = cell.candidate(&mut search, *idle_for) else { continue };
            if let Some(gone) = cell.settle(candidate) {
                let place = room.inherit();
                drop(gone);
                if let Some(place) = place {
                    return Ok(place);
                }
            }
        }
        // Room is made when somebody is done, and nobody knows when that is.
        Err(TooManyKeys::new("keyed map", room.capacity(), u64::MAX))
    }

    /// Takes this key's value out of the map, idle or not: handles go on as they are, and who asks next gets a new one. Nothing if it
    /// is not there, or is being made.
    pub fn remove<Q>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let (index, hash) = self.find(key);
        let gone = self.inner.shards.get(index)?.change(|shard| {
            let entry = shard.shelf.get_mut(hash, key)?;
            if matches!(entry.value.value, Value::Making(_)) {
                return None;
            }
            shard.removed += 1;
            shard.shelf.remove(hash, key)
        })?;
        self.inner.room.release(1);
        match gone.value.value {
            Value::Made(value) => Some(value),
            Value::Making(_) => None,
        }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.inner.room.taken()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most values there are at a time.
    pub fn capacity(&self) -> usize {
        self.inner.room.capacity()
    }

    /// Changes the capacity. If more values are there, they stay until they are idle, and no new one comes.
    pub fn set_capacity(&self, values: usize) {
        self.inner.room.set_capacity(values);
    }

    /// Forgets every value that is idle now, however short, and of which nobody has a handle; says how many those were.
    pub fn remove_idle(&self) -> usize {
        let mut all = 0;
        for cell in &self.inner.shards {
            let hashes = cell.shard.lock().shelf.hashes(std::iter::empty());
            for hash in hashes {
                let mut candidates = Vec::new();
                cell.change(|shard| {
                    for entry in shard.shelf.with_hash_mut(hash) {
                        let (id, seat) = (entry.id(), &mut entry.value);
                        if seat.is_held() {
                            continue;
                        }
                        if let Value::Made(value) = &seat.value {
                            candidates.push(Candidate {
                                id,
                                hand_outs: seat.hand_outs,
                                value: Arc::clone(value),
                            });
                        }
                    }
                });
                let gone: Vec<_> =
                    candidates.into_iter().filter_map(|candidate| cell.settle(candidate)).collect();
                self.inner.room.release(gone.len());
                all += gone.len();
            }
        }
        all
    }

    /// Tells `f` of every value. Those that come or go meanwhile may be told of or not; all others are, once. `f` runs outside of the
    /// locks and may use the map; `K`'s `Clone` runs under them.
    pub fn for_each(&self, mut f: impl FnMut(K, Arc<V>))
    where
        K: Clone,
    {
        let mut batch = Vec::with_capacity(BATCH);
        for cell in &self.inner.shards {
            let hashes = cell.shard.lock().shelf.hashes(std::iter::empty());
            for hashes in hashes.chunks(BATCH) {
                {
                    let mut shard = cell.shard.lock();
                    for hash in hashes {
                        for entry in shard.shelf.with_hash_mut(*hash) {
                            if let Value::Made(value) = &entry.value.value {
                                // Handed out, as far as forgetting is concerned: but not asked for.
                                let value = Arc::clone(value);
                                entry.value.hand_outs = entry.value.hand_outs.wrapping_add(1);
                                batch.push((entry.key.clone(), value));
                            }
                        }
                    }
                }
                batch.drain(..).for_each(|(key, value)| f(key, value));
            }
        }
    }

    /// How things stand, and what was done so far. Shards are looked at one after the other.
    pub fn stats(&self) -> KeyedMapStats {
        let mut stats = KeyedMapStats {
            keys: self.len(),
            capacity: self.capacity(),
            rejected: self.inner.rejected.load(Ordering::Relaxed),
            ..KeyedMapStats::default()
        };
        for cell in &self.inner.shards {
            let shard = cell.shard.lock();
            stats.created += shard.created;
            stats.expired += shard.expired;
            stats.removed += shard.removed;
        }
        stats
    }

    /// Gives back the memory that no key needs now. Moves all keys, each shard in one hold of its lock.
    pub fn shrink(&self) {
        self.inner.shards.iter().for_each(|cell| cell.shard.lock().shelf.shrink());
    }

    /// The name given to the builder.
    pub fn name(&self) -> Option<&str> {
        self.inner.name.as_deref()
    }
}

/// Takes the key of a value out again that was not made.
struct Unmade<'a, K, V, S, Q>
where
    K: Hash + Eq + Borrow<Q>,
    V: Idle,
    S: BuildHasher,
    Q: ?Sized + Hash + Eq,
{
    map: &'a KeyedMap<K, V, S>,
    cell: &'a Cell<K, V>,
    hash: Short,
    key: &'a Q,
}

impl<K, V, S, Q> Drop for Unmade<'_, K, V, S, Q>
where
    K: Hash + Eq + Borrow<Q>,
    V: Idle,
    S: BuildHasher,
    Q: ?Sized + Hash + Eq,
{
    fn drop(&mut self) {
        let gone = self.cell.change(|shard| shard.shelf.remove(self.hash, self.key));
        self.map.inner.room.release(usize::from(gone.is_some()));
    }
}

impl<K, V, S> Clone for KeyedMap<K, V, S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K, V, S> fmt::Debug for KeyedMap<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("KeyedMap");
        if let Some(name) = &self.inner.name {
            debug.field("name", name);
        }
        debug
            .field("keys", &self.inner.room.taken())
            .field("capacity", &self.inner.room.capacity())
            .finish_non_exhaustive()
    }
}
