//! The shards, the room for keys, and how a new key gets its place.

use super::ahead::Ahead;
use super::builder::Knobs;
use super::error::{KeyDenied, TooManyKeys};
use super::event::Watch;
use super::hash::{Short, shard_bits};
use super::room::{Place, Room};
use super::shard::{Gone, Op, Shard, Tried};
use super::shelf::{Record, Search, Shelf};
use super::{KeyedStats, WhenFull};
use crate::limit::{Algorithm, Decided};
use crate::shim::{AtomicU64, Mutex, Ordering};
use crate::time::Epoch;
use crate::wait::{Latch, Panicked, Turn};
use crossbeam_utils::CachePadded;
use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// Records that are looked at on behalf of one new key, in each shard that may have an idle one, and once more to evict one. Each key that was used since it came
/// into the order costs one look.
const STEPS: usize = 16;

/// Idle keys that make room for one new key even where there is room: more than one, so that the memory goes down again.
const AT_ONCE: usize = 2;

/// How often a new key tries for a place that others take.
const ROUNDS: usize = 4;

pub(super) struct Inner<K, A: Algorithm, S> {
    shards: Box<[CachePadded<Cell<K, A>>]>,
    hasher: S,
    pub(super) epoch: Epoch,
    pub(super) room: Room,
    /// For keys with an override.
    pub(super) overrides: Room,
    pub(super) when_full: WhenFull,
    pub(super) name: Option<Arc<str>>,
    rejected: AtomicU64,
    pub(super) watch: Watch<K>,
    /// What new keys are limited by, or will be in a moment.
    pub(super) current: Mutex<A>,
    /// Held by who changes it, until all keys have been changed.
    changing: Mutex<()>,
}

/// A shard, and what can be known of it without its lock.
#[repr(C)]
pub(super) struct Cell<K, A: Algorithm> {
    shard: Latch<Shard<K, A>>,
    /// No key of it is idle before this. Stored under the lock.
    earliest: AtomicU64,
    /// Stored under the lock.
    ahead: Ahead,
}

impl<K: Eq, A: Algorithm> Cell<K, A> {
    /// For one look at one key, that changes nothing but its state, and to nothing that is idle earlier: others spin meanwhile.
    #[inline(always)]
    pub(super) fn brief(&self) -> Turn<'_, Shard<K, A>> {
        self.shard.brief()
    }

    /// For what changes nothing that makes a key idle earlier.
    pub(super) fn long<R>(&self, f: impl FnOnce(&mut Shard<K, A>) -> R) -> R {
        self.shard.long(f)
    }

    /// Changes the shard under its lock. What has to be dropped comes out by the result.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut Shard<K, A>) -> R) -> R {
        self.shard.long(|shard| {
            let result = change(shard);
            // Relaxed: it says where to look, and what is there is seen under the lock.
            self.earliest.store(shard.earliest(), Ordering::Relaxed);
            self.ahead.set(shard.shelf.ground());
            result
        })
    }

    /// As [`change`](Self::change), for what may change a line: then serves those who are due for it.
    pub(super) fn serve_after<R>(&self, now: u64, change: impl FnOnce(&mut Shard<K, A>) -> R) -> R {
        let (result, bell) = self.change(|shard| (change(shard), shard.ringer()));
        if let Some(bell) = bell {
            bell.serve(now);
        }
        result
    }

    /// Serves those who wait and are due.
    pub(super) fn serve(&self, now: u64) {
        let bell = self.long(|shard| shard.ringer());
        if let Some(bell) = bell {
            bell.serve(now);
        }
    }

    /// Has the processor fetch what a look at a key will touch.
    #[inline(always)]
    fn fetch(&self, hash: Short) {
        self.ahead.fetch(hash, Shelf::<K, A::State>::SIZE);
    }

    fn earliest(&self) -> u64 {
        self.earliest.load(Ordering::Relaxed)
    }
}

impl<K, A: Algorithm, S> Inner<K, A, S> {
    /// The index is one of [`find`](Self::find), so there is one.
    #[inline(always)]
    pub(super) fn cell(&self, index: usize) -> Option<&Cell<K, A>> {
        self.shards.get(index).map(|cell| &**cell)
    }

    pub(super) fn cells(&self) -> impl Iterator<Item = &Cell<K, A>> {
        self.shards.iter().map(|cell| &**cell)
    }
}

impl<K, A, S> Inner<K, A, S>
where
    K: Hash + Eq,
    A: Algorithm,
    S: BuildHasher,
{
    /// Of so many shards: a power of two.
    pub(super) fn new(algorithm: A, hasher: S, knobs: Knobs, shards: usize) -> Self {
        let share = knobs.share(shards);
        let Knobs { capacity, overrides, when_full, clock, name, .. } = knobs;
        let shard = |_| {
            let shard = Latch::new(Shard::new(algorithm.clone(), share));
            CachePadded::new(Cell { shard, earliest: AtomicU64::new(u64::MAX), ahead: Ahead::new() })
        };
        Self {
            shards: (0..shards).map(shard).collect(),
            current: Mutex::new(algorithm),
            hasher,
            epoch: Epoch::new(clock),
            room: Room::new(capacity),
            overrides: Room::new(overrides.unwrap_or(capacity)),
            when_full,
            name,
            rejected: AtomicU64::new(0),
            watch: Watch::new(),
            changing: Mutex::new(()),
        }
    }

    /// The shard of a key. The user's `Hash` runs here, before any lock.
    #[inline(always)]
    pub(super) fn find<Q: ?Sized + Hash>(&self, key: &Q) -> (usize, Short) {
        let hash = self.hasher.hash_one(key);
        (shard_bits(hash) & self.shards.len().wrapping_sub(1), Short::of(hash))
    }

    /// Has the processor fetch what a look at a key will touch.
    #[inline(always)]
    pub(super) fn fetch(&self, (index, hash): (usize, Short)) {
        if let Some(cell) = self.cell(index) {
            cell.fetch(hash);
        }
    }

    /// Changes a key's state at a time that is read when it has been begun to fetch that state, inserting the key if that makes a
    /// difference.
    #[inline(always)]
    pub(super) fn apply<Q>(&self, key: &Q, now: impl FnOnce() -> u64, op: Op) -> Result<(), KeyDenied>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        let place = self.find(key);
        let Some(cell) = self.cell(place.0) else { return Ok(()) };
        cell.fetch(place.1);
        if self.is_watched() {
            return self.apply_and_tell(cell, key, place, now(), op);
        }
        self.apply_to(cell, key, place, now(), op)
    }

    #[cold]
    #[inline(never)]
    fn apply_and_tell<Q>(
        &self,
        cell: &Cell<K, A>,
        key: &Q,
        place: (usize, Short),
        now: u64,
        op: Op,
    ) -> Result<(), KeyDenied>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        let result = self.apply_to(cell, key, place, now, op);
        self.tell_decided(key, op, result);
        result
    }

    /// As [`apply`](Self::apply), where the key is. It is not told of: it may not be the end of it.
    #[inline(always)]
    pub(super) fn apply_at<Q>(
        &self,
        key: &Q,
        place: (usize, Short),
        now: u64,
        op: Op,
    ) -> Result<(), KeyDenied>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        let Some(cell) = self.cell(place.0) else { return Ok(()) };
        self.apply_to(cell, key, place, now, op)
    }

    #[inline(always)]
    fn apply_to<Q>(
        &self,
        cell: &Cell<K, A>,
        key: &Q,
        (index, hash): (usize, Short),
        now: u64,
        op: Op,
    ) -> Result<(), KeyDenied>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        let tried = cell.brief().try_change(hash, key, now, op);
        match tried {
            Tried::Done(result) => result.map_err(KeyDenied::Denied),
            Tried::Absent => self.insert(key, index, hash, now, op),
            Tried::InLine => self.stand_behind(key, index, hash, now, op),
        }
    }

    /// Of a key that somebody waits for.
    #[cold]
    fn stand_behind<Q>(&self, key: &Q, index: usize, hash: Short, now: u64, op: Op) -> Result<(), KeyDenied>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        let Some(cell) = self.cell(index) else { return Ok(()) };
        match cell.long(|shard| shard.change(hash, key, now, op)) {
            Some(result) => result.map_err(KeyDenied::Denied),
            // It was forgotten meanwhile.
            None => self.insert(key, index, hash, now, op),
        }
    }

    /// The key is cloned and the place found without this shard's lock, which is why all is looked at again.
    #[cold]
    fn insert<Q>(&self, key: &Q, index: usize, hash: Short, now: u64, op: Op) -> Result<(), KeyDenied>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        let mut owned = Some(key.to_owned());
        let mut place = None;
        let Some(cell) = self.cell(index) else { return Ok(()) };
        loop {
            let (result, gone) = cell.change(|shard| {
                let mut search = Search::idle(now, STEPS);
                let gone: [_; AT_ONCE] = std::array::from_fn(|_| shard.forget(&mut search));
                self.room.release(gone.iter().flatten().count());
                // Taken under the lock where there is room, so that others find either the key or its place.
                let place = || place.take().or_else(|| self.room.reserve());
                (shard.change_or_insert(hash, key, &mut owned, now, op, place), gone)
            });
            self.tell_all_gone(gone);
            if let Some(result) = result {
                return result.map_err(KeyDenied::Denied);
            }
            match self.place(index, now) {
                Ok(found) => place = Some(found),
                // Perhaps because somebody else has inserted this very key.
                Err(full) => {
                    if let Some(result) = cell.long(|shard| shard.change(hash, key, now, op)) {
                        return result.map_err(KeyDenied::Denied);
                    }
                    // Relaxed: a statistic.
                    self.rejected.fetch_add(1, Ordering::Relaxed);
                    self.tell_full(owned, full);
                    return Err(full.into());
                }
            }
        }
    }

    /// A place for a new key.
    fn place(&self, index: usize, now: u64) -> Result<Place<'_>, TooManyKeys> {
        for _ in 0..ROUNDS {
            if let Some(place) = self.room.reserve().or_else(|| self.place_of_idle(index, now)) {
                return Ok(place);
            }
            if self.when_full == WhenFull::RejectNew {
                break;
            }
            if let Some(place) = self.place_of_first(now) {
                return Ok(place);
            }
        }
        let earliest = self.cells().map(Cell::earliest).min().unwrap_or(u64::MAX);
        let after = if earliest == u64::MAX { u64::MAX } else { earliest.saturating_sub(now) };
        Err(TooManyKeys::new("keyed limiter", self.room.capacity(), after))
    }

    /// That of an idle key, in whichever shard: where none can be, the lock is not taken.
    fn place_of_idle(&self, index: usize, now: u64) -> Option<Place<'_>> {
        let (before, after) = self.shards.split_at_checked(index).unwrap_or((&self.shards, &[]));
        let may = after.iter().chain(before).filter(|cell| cell.earliest() <= now);
        let forget = |cell: &CachePadded<Cell<K, A>>| {
            let mut search = Search::idle(now, STEPS);
            cell.change(|shard| shard.forget(&mut search))
        };
        self.inherit(may.filter_map(forget).next())
    }

    /// That of the key that will be idle first, over all shards; as far as so many steps find it, else the first of those that
    /// were looked at.
    fn place_of_first(&self, now: u64) -> Option<Place<'_>> {
        let mut search = Search::idle(now, STEPS);
        let mut nearest: Option<(&Cell<K, A>, Record)> = None;
        // Each round takes a step, unless others have been at the same shard.
        for _ in 0..2 * STEPS {
            let (cell, next) = first_and_next(self.cells(), Cell::earliest)?;
            search.until = next.max(now);
            if let Some(entry) = cell.change(|shard| shard.forget(&mut search)) {
                return self.inherit(Some(entry));
            }
            if let Some(record) = search.nearest.take() {
                nearest = nearest.filter(|(_, nearest)| nearest.at <= record.at).or(Some((cell, record)));
            }
            if search.steps == 0 {
                break;
            }
        }
        let (cell, record) = nearest?;
        self.inherit(cell.change(|shard| shard.take(record.id, now)))
    }

    fn inherit(&self, gone: Option<Gone<K, A::State>>) -> Option<Place<'_>> {
        gone.and_then(|gone| {
            let place = self.room.inherit();
            self.tell_gone(gone);
            place
        })
    }

    /// Forgets all that is idle at `now`.
    pub(super) fn remove_idle(&self, now: u64) -> usize {
        let mut all = 0;
        for cell in self.cells() {
            while cell.earliest() <= now {
                let (gone, more) = cell.change(|shard| {
                    let mut search = Search::idle(now, BATCH);
                    let gone: Vec<_> = std::iter::from_fn(|| shard.forget(&mut search)).collect();
                    (gone, search.steps == 0)
                });
                self.room.release(gone.len());
                all += gone.len();
                gone.into_iter().for_each(|gone| self.tell_gone(gone));
                if !more {
                    break;
                }
            }
        }
        all
    }

    /// Changes the algorithm of all keys that have none of their own.
    pub(super) fn set_algorithm(&self, algorithm: &A) {
        // Who is due was so by the old limits.
        self.serve();
        let turn = self.changing.lock();
        let old = std::mem::replace(&mut *self.current.lock(), algorithm.clone());
        for cell in self.cells() {
            let now = self.epoch.nanos();
            cell.change(|shard| shard.begin(algorithm.clone(), now));
            while cell.change(|shard| shard.carry_some(BATCH)) {}
        }
        drop((turn, old));
        // Wakers are foreign: not before the lock is let go of.
        self.serve();
    }

    /// Serves those of all shards who wait and are due.
    fn serve(&self) {
        let now = self.epoch.nanos();
        let mut panicked = Panicked::default();
        for cell in self.cells() {
            panicked.catch(|| cell.serve(now));
        }
        panicked.resume();
    }

    pub(super) fn stats(&self) -> KeyedStats {
        let mut stats = KeyedStats {
            keys: self.room.taken(),
            capacity: self.room.capacity(),
            overrides: self.overrides.taken(),
            rejected: self.rejected.load(Ordering::Relaxed),
            ..KeyedStats::default()
        };
        for cell in self.cells() {
            let tally = cell.long(|shard| {
                for counts in shard.lines.counts() {
                    stats.waiting += counts.waiting;
                    stats.granted += counts.granted;
                    stats.cancelled += counts.cancelled;
                }
                shard.tally
            });
            let Decided { allowed, denied } = &mut stats.decided;
            *allowed += tally.allowed;
            *denied += tally.denied;
            stats.inserted += tally.inserted;
            stats.expired += tally.expired;
            stats.evicted += tally.evicted;
            stats.removed += tally.removed;
            stats.granted += tally.granted;
            stats.cancelled += tally.cancelled;
        }
        stats
    }
}

/// What one hold of a lock does for those who go through all keys.
pub(super) const BATCH: usize = 64;

/// The one that is earliest, and how early the others are.
pub(super) fn first_and_next<T: Copy>(
    all: impl Iterator<Item = T>,
    earliest: impl Fn(T) -> u64,
) -> Option<(T, u64)> {
    let (mut first, mut next) = (None, u64::MAX);
    for one in all {
        let at = earliest(one);
        match first {
            Some((_, before)) if before <= at => next = next.min(at),
            Some((_, before)) => {
                next = before;
                first = Some((one, at));
            }
            None => first = Some((one, at)),
        }
    }
    first.map(|(one, _)| (one, next))
}

#[cfg(test)]
mod tests {
    use crate::limit::{Keyed, Quota};
    use crate::wait::PREFETCHES;

    #[test]
    fn what_is_fetched_ahead_is_the_table_of_the_moment() {
        let limiter = Keyed::builder(Quota::per_second(1).burst(9)).shards(2).build().expect("a limiter");
        let check = |limiter: &Keyed<u64>| {
            for cell in limiter.inner.cells().filter(|_| PREFETCHES) {
                assert_eq!(cell.ahead.ground(), cell.long(|shard| shard.shelf.ground()));
            }
        };
        for key in 0..500_u64 {
            assert!(limiter.try_acquire(&key).is_ok());
            check(&limiter);
        }
        for key in 10..500_u64 {
            assert!(limiter.remove(&key));
        }
        limiter.shrink();
        check(&limiter);
    }
}
