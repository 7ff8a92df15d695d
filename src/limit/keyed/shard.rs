//! One shard of a keyed limiter: decides, forgets what is idle, and changes from one algorithm to the next.

use super::hash::Short;
use super::shelf::{Entry, Record, Search, Shelf};
use crate::limit::{Algorithm, Denied};
use hashbrown::HashTable;
use std::borrow::Borrow;

/// Marks of an entry. Else they are the shard's `parity`, if the state is one of the shard's present algorithm.
const OVERRIDDEN: u16 = 2;

pub(super) struct Shard<K, A: Algorithm> {
    pub(super) shelf: Shelf<K, A::State>,
    algorithm: A,
    /// Marks of the entries whose state is of `algorithm`: 0 or 1.
    parity: u16,
    /// While there are others.
    past: Option<Box<Past<A>>>,
    /// From when on all that was forgotten as idle was idle. A new state is not older than that: a time before it, of a slow
    /// thread or a clock that was put back, must not find what the forgotten state would not have had then.
    horizon: u64,
    overrides: HashTable<Override<K, A>>,
    pub(super) tally: Tally,
}

/// What the entries were under whose mark is the other one.
struct Past<A> {
    algorithm: A,
    /// When that ended.
    until: u64,
    /// Entries to be looked at.
    waiting: Vec<Record>,
}

struct Override<K, A> {
    hash: Short,
    key: K,
    algorithm: A,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) allowed: u64,
    pub(super) denied: u64,
    pub(super) inserted: u64,
    pub(super) expired: u64,
    pub(super) evicted: u64,
    pub(super) removed: u64,
}

/// What is done to a key that is not there.
pub(super) enum Tried<R> {
    /// Nothing has to be remembered.
    Done(R),
    /// It has to be inserted.
    Absent,
}

impl<K: Eq, A: Algorithm> Shard<K, A> {
    pub(super) fn new(algorithm: A, capacity: usize) -> Self {
        Self {
            shelf: Shelf::new(capacity),
            algorithm,
            parity: 0,
            past: None,
            horizon: 0,
            overrides: HashTable::new(),
            tally: Tally::default(),
        }
    }

    /// The state of a key that is there, with its algorithm.
    #[inline(always)]
    pub(super) fn with<Q, R>(
        &mut self,
        hash: Short,
        key: &Q,
        f: impl FnOnce(&A, &mut A::State) -> R,
    ) -> Option<R>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        let Self { shelf, algorithm, parity, past, overrides, .. } = self;
        let entry = shelf.get_mut(hash, key)?;
        let algorithm = if entry.marks == *parity {
            algorithm
        } else {
            settled(entry, algorithm, *parity, past.as_deref(), overrides)
        };
        Some(f(algorithm, &mut entry.value))
    }

    /// The state that a key would begin with.
    fn fresh<Q>(&self, hash: Short, key: &Q, now: u64) -> (&A, A::State, u16)
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        let (algorithm, marks) = match self.override_of(hash, key) {
            Some(algorithm) => (algorithm, OVERRIDDEN),
            None => (&self.algorithm, self.parity),
        };
        (algorithm, algorithm.fresh(now.max(self.horizon)), marks)
    }

    /// Looks at a key, whether it is there or not.
    pub(super) fn look<Q, R>(
        &mut self,
        hash: Short,
        key: &Q,
        now: u64,
        look: impl Fn(&A, &A::State, bool) -> R,
    ) -> R
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        let known = self.with(hash, key, |algorithm, state| look(algorithm, state, true));
        known.unwrap_or_else(|| {
            let (algorithm, state, _) = self.fresh(hash, key, now);
            look(algorithm, &state, false)
        })
    }

    /// Changes the state of a key, unless it would have to be inserted. `change` leaves the state alone where it refuses.
    #[inline(always)]
    pub(super) fn change<Q>(
        &mut self,
        hash: Short,
        key: &Q,
        now: u64,
        change: impl Fn(&A, &mut A::State) -> Result<(), Denied>,
    ) -> Tried<Result<(), Denied>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        match self.with(hash, key, &change) {
            Some(result) => Tried::Done(self.counted(result)),
            None => self.try_on_fresh(hash, key, now, change),
        }
    }

    #[inline(always)]
    fn counted(&mut self, result: Result<(), Denied>) -> Result<(), Denied> {
        if result.is_ok() {
            self.tally.allowed += 1;
        } else {
            self.tally.denied += 1;
        }
        result
    }

    #[cold]
    fn try_on_fresh<Q>(
        &mut self,
        hash: Short,
        key: &Q,
        now: u64,
        change: impl Fn(&A, &mut A::State) -> Result<(), Denied>,
    ) -> Tried<Result<(), Denied>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        let (algorithm, mut state, _) = self.fresh(hash, key, now);
        let result = change(algorithm, &mut state);
        if result.is_ok() && algorithm.fresh_at(&state) > now {
            return Tried::Absent;
        }
        Tried::Done(self.counted(result))
    }

    /// As [`change`](Self::change), inserting the key where that has to be. The flag says whether it was.
    pub(super) fn change_or_insert<Q>(
        &mut self,
        hash: Short,
        key: &Q,
        owned: &mut Option<K>,
        now: u64,
        change: impl Fn(&A, &mut A::State) -> Result<(), Denied>,
    ) -> (Result<(), Denied>, bool)
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        if let Tried::Done(result) = self.change(hash, key, now, &change) {
            return (result, false);
        }
        let (algorithm, mut state, marks) = self.fresh(hash, key, now);
        let result = change(algorithm, &mut state);
        let at = algorithm.fresh_at(&state);
        let Some(owned) = owned.take() else { return (result, false) };
        self.shelf.insert(hash, owned, state, marks, at);
        self.tally.inserted += 1;
        (self.counted(result), true)
    }

    /// Makes a key idle earlier, if it is there.
    pub(super) fn refund<Q>(&mut self, hash: Short, key: &Q, now: u64, n: u64)
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        let moved = self.with(hash, key, |algorithm, state| {
            let before = algorithm.fresh_at(state);
            algorithm.refund(state, now, n);
            let after = algorithm.fresh_at(state);
            (after < before).then_some(after)
        });
        if let Some(at) = moved.flatten() {
            self.shelf.renew(hash, key, at);
        }
    }

    /// Forgets a key that is found.
    pub(super) fn forget(&mut self, search: &mut Search) -> Option<Entry<K, A::State>> {
        let Self { shelf, algorithm, parity, past, overrides, .. } = self;
        if past.is_some() && shelf.first() > search.until {
            carry_some(shelf, algorithm, *parity, past, overrides, search.steps);
        }
        let record = shelf.first_idle(search, |entry| idle_at(entry, algorithm, overrides))?;
        self.take(record, search.now)
    }

    /// Forgets the key of a record.
    pub(super) fn take(&mut self, record: Record, now: u64) -> Option<Entry<K, A::State>> {
        let entry = self.shelf.take(record)?;
        let at = idle_at(&entry, &self.algorithm, &self.overrides);
        if at <= now {
            self.horizon = at.max(self.horizon);
            self.tally.expired += 1;
        } else {
            self.tally.evicted += 1;
        }
        Some(entry)
    }

    /// Forgets a key, idle or not.
    pub(super) fn remove<Q>(&mut self, hash: Short, key: &Q) -> Option<Entry<K, A::State>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        let entry = self.shelf.remove(hash, key)?;
        self.tally.removed += 1;
        Some(entry)
    }

    /// No key is idle before this.
    pub(super) fn earliest(&self) -> u64 {
        if self.past.is_some() { 0 } else { self.shelf.first() }
    }

    /// Begins with another algorithm: from `now` on, entries are carried over as they are used, and by
    /// [`carry_some`](Self::carry_some). All of the last change must have been.
    pub(super) fn begin(&mut self, algorithm: A, now: u64) {
        let past = Past {
            algorithm: std::mem::replace(&mut self.algorithm, algorithm),
            until: now,
            waiting: self.shelf.upset(),
        };
        self.past = Some(Box::new(past));
        self.parity ^= 1;
    }

    /// Carries over so many entries. False if there are none left.
    pub(super) fn carry_some(&mut self, most: usize) -> bool {
        let Self { shelf, algorithm, parity, past, overrides, .. } = self;
        carry_some(shelf, algorithm, *parity, past, overrides, most);
        past.is_some()
    }

    /// What is not in the order of the shelf.
    pub(super) fn waiting(&self) -> &[Record] {
        self.past.as_ref().map_or(&[], |past| &past.waiting)
    }

    /// How an entry stands.
    pub(super) fn entries(&mut self, hash: Short, mut look: impl FnMut(&K, &A, &A::State, bool)) {
        let Self { shelf, algorithm, parity, past, overrides, .. } = self;
        for entry in shelf.with_hash(hash) {
            let overridden = entry.marks == OVERRIDDEN;
            match past {
                Some(past) if !overridden && entry.marks != *parity => {
                    let state = carried(&past.algorithm, algorithm, &entry.value, past.until);
                    look(&entry.key, algorithm, &state, false);
                }
                _ => look(&entry.key, of_entry(entry, algorithm, overrides), &entry.value, overridden),
            }
        }
    }

    pub(super) fn override_of<Q>(&self, hash: Short, key: &Q) -> Option<&A>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        if self.overrides.is_empty() {
            return None;
        }
        find(&self.overrides, hash, key).map(|found| &found.algorithm)
    }

    /// Sets the algorithm of a key that has one of its own; gives it back if it has none.
    pub(super) fn replace_override(&mut self, hash: Short, key: &K, algorithm: A, now: u64) -> Result<A, A> {
        let same = |found: &Override<K, A>| found.hash == hash && found.key == *key;
        match self.overrides.find_mut(hash.full(), same) {
            Some(found) => {
                let old = std::mem::replace(&mut found.algorithm, algorithm.clone());
                self.move_over(hash, key, &old, &algorithm, OVERRIDDEN, now);
                Ok(old)
            }
            None => Err(algorithm),
        }
    }

    /// Gives a key that has none an algorithm of its own.
    pub(super) fn insert_override(&mut self, hash: Short, key: K, algorithm: A, now: u64) {
        let old = self.algorithm.clone();
        self.move_over(hash, &key, &old, &algorithm, OVERRIDDEN, now);
        let entry = Override { hash, key, algorithm };
        self.overrides.insert_unique(hash.full(), entry, |entry| entry.hash.full());
    }

    /// Back to the algorithm of all. Gives its own, and its key.
    pub(super) fn remove_override<Q>(&mut self, hash: Short, key: &Q, now: u64) -> Option<(K, A)>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        let same = |found: &Override<K, A>| found.hash == hash && found.key.borrow() == key;
        let (found, _) = self.overrides.find_entry(hash.full(), same).ok()?.remove();
        let (algorithm, parity) = (self.algorithm.clone(), self.parity);
        self.move_over(hash, key, &found.algorithm, &algorithm, parity, now);
        Some((found.key, found.algorithm))
    }

    /// Carries the state of a key from one algorithm to another, if there is one.
    fn move_over<Q>(&mut self, hash: Short, key: &Q, old: &A, new: &A, marks: u16, now: u64)
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        let Self { shelf, algorithm, parity, past, .. } = self;
        let Some(entry) = shelf.get_mut(hash, key) else { return };
        if let Some(past) = past.as_ref().filter(|_| entry.marks != OVERRIDDEN && entry.marks != *parity) {
            entry.value = carried(&past.algorithm, algorithm, &entry.value, past.until);
        }
        entry.value = carried(old, new, &entry.value, now);
        entry.marks = marks;
        let at = new.fresh_at(&entry.value);
        shelf.renew(hash, key, at);
    }

    /// Gives back memory.
    pub(super) fn shrink(&mut self) {
        self.shelf.shrink();
        self.overrides.shrink_to_fit(|entry| entry.hash.full());
    }
}

fn find<'a, K, A, Q>(
    overrides: &'a HashTable<Override<K, A>>,
    hash: Short,
    key: &Q,
) -> Option<&'a Override<K, A>>
where
    K: Borrow<Q>,
    Q: ?Sized + Eq,
{
    overrides.find(hash.full(), |found| found.hash == hash && found.key.borrow() == key)
}

/// The algorithm of an entry whose state is of the shard's present algorithm, or of its own.
fn of_entry<'a, K: Eq, A: Algorithm>(
    entry: &Entry<K, A::State>,
    algorithm: &'a A,
    overrides: &'a HashTable<Override<K, A>>,
) -> &'a A {
    if entry.marks != OVERRIDDEN {
        return algorithm;
    }
    // An entry is marked as long as its override is there.
    find(overrides, entry.hash(), &entry.key).map_or(algorithm, |found| &found.algorithm)
}

/// The state under other limits. One that is idle is no other than that of a key that was never seen, or it would matter whether
/// it had been forgotten.
fn carried<A: Algorithm>(old: &A, new: &A, state: &A::State, now: u64) -> A::State {
    if old.fresh_at(state) <= now { new.fresh(now) } else { old.carry(new, state, now) }
}

fn idle_at<K: Eq, A: Algorithm>(
    entry: &Entry<K, A::State>,
    algorithm: &A,
    overrides: &HashTable<Override<K, A>>,
) -> u64 {
    of_entry(entry, algorithm, overrides).fresh_at(&entry.value)
}

/// Brings an entry up to date whose marks are not the shard's, and says what algorithm it has.
#[cold]
fn settled<'a, K: Eq, A: Algorithm>(
    entry: &mut Entry<K, A::State>,
    algorithm: &'a A,
    parity: u16,
    past: Option<&Past<A>>,
    overrides: &'a HashTable<Override<K, A>>,
) -> &'a A {
    if entry.marks != OVERRIDDEN {
        if let Some(past) = past {
            entry.value = carried(&past.algorithm, algorithm, &entry.value, past.until);
        }
        entry.marks = parity;
    }
    of_entry(entry, algorithm, overrides)
}

fn carry_some<K: Eq, A: Algorithm>(
    shelf: &mut Shelf<K, A::State>,
    algorithm: &A,
    parity: u16,
    past: &mut Option<Box<Past<A>>>,
    overrides: &HashTable<Override<K, A>>,
    most: usize,
) {
    let Some(before) = past else { return };
    for _ in 0..most {
        let Some(record) = before.waiting.pop() else {
            *past = None;
            return;
        };
        shelf.restore(record, |entry| {
            let algorithm = if entry.marks == parity {
                algorithm
            } else {
                settled(entry, algorithm, parity, Some(before), overrides)
            };
            algorithm.fresh_at(&entry.value)
        });
    }
}
