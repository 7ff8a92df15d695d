//! One shard of a keyed limiter: decides, forgets what is idle, and changes from one algorithm to the next.

use super::bell::Ring;
use super::event::Forgotten;
use super::hash::Short;
use super::lines::{Lines, state};
use super::room::Place;
use super::shelf::{Entry, Id, Record, Search, Shelf};
use crate::limit::limiter::line::Line;
use crate::limit::{Algorithm, Denied};
use hashbrown::HashTable;
use std::borrow::Borrow;
use std::sync::Arc;

/// Marks of an entry with limits of its own. Else they are the shard's `parity`, if the state is one of the shard's present
/// algorithm.
const OVERRIDDEN: u16 = 2;
/// Besides: somebody waits, and the state is in the line.
pub(super) const IN_LINE: u16 = 4;

/// In this order: what each decision writes, what each reads, and the rest, so that two threads pass one line to and fro.
#[repr(C)]
pub(super) struct Shard<K, A: Algorithm> {
    /// Marks of the entries whose state is of `algorithm`: 0 or 1.
    pub(super) parity: u16,
    pub(super) tally: Tally,
    pub(super) algorithm: A,
    pub(super) shelf: Shelf<K, A::State>,
    pub(super) lines: Lines<A>,
    /// Serves the lines, once there has been one.
    pub(super) bell: Option<Arc<dyn Ring>>,
    /// While there are others.
    pub(super) past: Option<Box<Past<A>>>,
    /// From when on all that was forgotten as idle was idle. A new state is not older than that: a time before it, of a slow
    /// thread or a clock that was put back, must not find what the forgotten state would not have had then.
    horizon: u64,
    pub(super) overrides: HashTable<Override<K, A>>,
}

/// What the entries were under whose mark is the other one.
pub(super) struct Past<A> {
    algorithm: A,
    /// When that ended.
    until: u64,
    /// Entries to be looked at.
    waiting: Vec<Record>,
}

/// An entry that was forgotten.
pub(super) struct Gone<K, T> {
    pub(super) entry: Entry<K, T>,
    pub(super) why: Forgotten,
}

pub(super) struct Override<K, A> {
    hash: Short,
    key: K,
    algorithm: A,
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Tally {
    pub(super) allowed: u64,
    pub(super) denied: u64,
    pub(super) inserted: u64,
    pub(super) expired: u64,
    pub(super) evicted: u64,
    pub(super) removed: u64,
    /// Of lines that have ended.
    pub(super) granted: u64,
    pub(super) cancelled: u64,
}

/// What changes a key's state.
#[derive(Clone, Copy)]
pub(super) enum Op {
    Take(u64),
    /// As `Take`, of one that may wait: if it is denied, that is counted when it is known to be its end.
    Ask(u64),
    Drain(u64),
}

/// A key that is there: its state, or its line.
pub(super) enum Found<'a, A: Algorithm> {
    State(&'a A, &'a mut A::State),
    Line(&'a mut A::Line),
}

/// How an operation ended that is done where that takes a few instructions.
pub(super) enum Tried {
    Done(Result<(), Denied>),
    /// The key would have to be inserted.
    Absent,
    /// Somebody waits for the key.
    InLine,
}

impl Op {
    #[inline(always)]
    fn on<A: Algorithm>(self, found: Found<'_, A>, now: u64) -> Result<(), Denied> {
        match (found, self) {
            (Found::State(algorithm, state), Self::Take(n) | Self::Ask(n)) => algorithm.take(state, now, n),
            (Found::State(algorithm, state), Self::Drain(n)) => {
                algorithm.drain_to(state, now, n);
                Ok(())
            }
            (Found::Line(line), Self::Take(n) | Self::Ask(n)) => line.take(now, n),
            (Found::Line(line), Self::Drain(n)) => {
                line.drain_to(n, now);
                Ok(())
            }
        }
    }
}

impl<K: Eq, A: Algorithm> Shard<K, A> {
    pub(super) fn new(algorithm: A, capacity: usize) -> Self {
        Self {
            parity: 0,
            tally: Tally::default(),
            algorithm,
            shelf: Shelf::new(capacity),
            lines: Lines::new(),
            bell: None,
            past: None,
            horizon: 0,
            overrides: HashTable::new(),
        }
    }

    /// What is remembered of a key that is there.
    #[inline(always)]
    pub(super) fn with<Q, R>(&mut self, hash: Short, key: &Q, f: impl FnOnce(Found<'_, A>) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        let Self { shelf, lines, algorithm, parity, past, overrides, .. } = self;
        let entry = shelf.get_mut(hash, key)?;
        // Called at two places, so that the compiler sees at the first which it is.
        Some(if entry.marks == *parity {
            f(Found::State(algorithm, &mut entry.value))
        } else {
            f(settled(entry, lines, algorithm, *parity, past.as_deref(), overrides))
        })
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
        let known = self.with(hash, key, |found| match found {
            Found::State(algorithm, state) => look(algorithm, state, true),
            Found::Line(line) => {
                let state = state::<A>(line, now);
                look(line.algorithm(), &state, true)
            }
        });
        known.unwrap_or_else(|| {
            let (algorithm, state, _) = self.fresh(hash, key, now);
            look(algorithm, &state, false)
        })
    }

    /// As [`look`](Self::look), unless that takes long, as somebody waits for the key.
    pub(super) fn try_look<Q, R>(
        &mut self,
        hash: Short,
        key: &Q,
        now: u64,
        look: impl Fn(&A, &A::State, bool) -> R,
    ) -> Option<R>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        let in_line = self.shelf.get_mut(hash, key).is_some_and(|entry| entry.marks & IN_LINE != 0);
        (!in_line).then(|| self.look(hash, key, now, look))
    }

    /// Changes the state of a key, unless that takes long. An operation that is refused leaves it alone.
    #[inline(always)]
    pub(super) fn try_change<Q>(&mut self, hash: Short, key: &Q, now: u64, op: Op) -> Tried
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        let Some(entry) = self.shelf.get_mut(hash, key) else {
            return self.try_on_fresh(hash, key, now, op).map_or(Tried::Absent, Tried::Done);
        };
        if entry.marks == self.parity {
            let result = op.on(Found::State(&self.algorithm, &mut entry.value), now);
            return Tried::Done(self.counted(op, result));
        }
        if entry.marks & IN_LINE != 0 {
            return Tried::InLine;
        }
        self.change(hash, key, now, op).map_or(Tried::Absent, Tried::Done)
    }

    /// As [`try_change`](Self::try_change), however long it takes. `None` if the key would have to be inserted.
    #[cold]
    pub(super) fn change<Q>(&mut self, hash: Short, key: &Q, now: u64, op: Op) -> Option<Result<(), Denied>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        match self.with(hash, key, |found| op.on(found, now)) {
            Some(result) => Some(self.counted(op, result)),
            None => self.try_on_fresh(hash, key, now, op),
        }
    }

    #[inline(always)]
    fn counted(&mut self, op: Op, result: Result<(), Denied>) -> Result<(), Denied> {
        match (op, &result) {
            (Op::Take(_) | Op::Ask(_), Ok(())) => self.tally.allowed += 1,
            (Op::Take(_), Err(_)) => self.tally.denied += 1,
            (Op::Ask(_), Err(_)) | (Op::Drain(_), _) => {}
        }
        result
    }

    #[cold]
    fn try_on_fresh<Q>(&mut self, hash: Short, key: &Q, now: u64, op: Op) -> Option<Result<(), Denied>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        let (algorithm, mut state, _) = self.fresh(hash, key, now);
        let result = op.on(Found::State(algorithm, &mut state), now);
        if result.is_ok() && algorithm.fresh_at(&state) > now {
            return None;
        }
        Some(self.counted(op, result))
    }

    /// As [`change`](Self::change), inserting the key where that has to be. `None` if there is no place for it.
    pub(super) fn change_or_insert<'p, Q>(
        &mut self,
        hash: Short,
        key: &Q,
        owned: &mut Option<K>,
        now: u64,
        op: Op,
        place: impl FnOnce() -> Option<Place<'p>>,
    ) -> Option<Result<(), Denied>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        if let Some(result) = self.change(hash, key, now, op) {
            return Some(result);
        }
        let (place, owned) = (place()?, owned.take()?);
        let (algorithm, mut state, marks) = self.fresh(hash, key, now);
        let result = op.on(Found::State(algorithm, &mut state), now);
        let at = algorithm.fresh_at(&state);
        self.shelf.insert(hash, owned, state, marks, at);
        place.fill();
        self.tally.inserted += 1;
        Some(self.counted(op, result))
    }

    /// A key is idle earlier now, or its line has changed.
    pub(super) fn moved<Q>(&mut self, hash: Short, key: &Q, at: u64)
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        match self.shelf.get_mut(hash, key).map(|entry| (entry.id(), entry.marks & IN_LINE)) {
            Some((id, 0)) => self.shelf.renew(id, at),
            Some((id, _)) => self.lines.hurry(id),
            None => {}
        }
    }

    /// Forgets a key that is found.
    pub(super) fn forget(&mut self, search: &mut Search) -> Option<Gone<K, A::State>> {
        let Self { shelf, algorithm, parity, past, overrides, .. } = self;
        if past.is_some() && shelf.first() > search.until {
            carry_some(shelf, algorithm, *parity, past, overrides, search.steps);
        }
        let record = shelf.first_idle(search, |entry| idle_at(entry, algorithm, overrides))?;
        self.take(record.id, search.now)
    }

    /// Forgets a key that nobody waits for.
    pub(super) fn take(&mut self, id: Id, now: u64) -> Option<Gone<K, A::State>> {
        let at = idle_at(self.shelf.of(id)?, &self.algorithm, &self.overrides)?;
        let entry = self.shelf.take(id)?;
        let why = if at <= now {
            self.horizon = at.max(self.horizon);
            self.tally.expired += 1;
            Forgotten::Expired
        } else {
            self.tally.evicted += 1;
            Forgotten::Evicted
        };
        Some(Gone { entry, why })
    }

    /// Forgets a key, idle or not, unless somebody waits.
    pub(super) fn remove<Q>(&mut self, hash: Short, key: &Q) -> Option<Gone<K, A::State>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        let entry = self.shelf.get_mut(hash, key).filter(|entry| entry.marks & IN_LINE == 0)?;
        let id = entry.id();
        self.tally.removed += 1;
        Some(Gone { entry: self.shelf.take(id)?, why: Forgotten::Removed })
    }

    /// No key is idle before this.
    pub(super) fn earliest(&self) -> u64 {
        if self.past.is_some() { 0 } else { self.shelf.first() }
    }

    /// Begins with another algorithm: from `now` on, entries are carried over as they are used, and by
    /// [`carry_some`](Self::carry_some); lines at once. All of the last change must have been.
    pub(super) fn begin(&mut self, algorithm: A, now: u64) {
        let past = Past {
            algorithm: std::mem::replace(&mut self.algorithm, algorithm),
            until: now,
            waiting: self.shelf.upset(),
        };
        self.past = Some(Box::new(past));
        self.parity ^= 1;
        for id in self.lines.ids() {
            if let Some(entry) = self.shelf.of(id).filter(|entry| entry.marks & OVERRIDDEN == 0) {
                entry.marks = self.parity | IN_LINE;
                self.lines.retime(id, &self.algorithm, now);
            }
        }
    }

    /// Carries over so many entries. False if there are none left.
    pub(super) fn carry_some(&mut self, most: usize) -> bool {
        let Self { shelf, algorithm, parity, past, overrides, .. } = self;
        carry_some(shelf, algorithm, *parity, past, overrides, most);
        past.is_some()
    }

    /// The hashes of all keys.
    pub(super) fn hashes(&self) -> Vec<Short> {
        let waiting = self.past.iter().flat_map(|past| &past.waiting).map(|record| record.id);
        self.shelf.hashes(waiting.chain(self.lines.ids()))
    }

    /// How the entries with a hash stand.
    pub(super) fn entries(&mut self, hash: Short, now: u64, mut look: impl FnMut(&K, &A, &A::State, bool)) {
        let Self { shelf, lines, algorithm, parity, past, overrides, .. } = self;
        for entry in shelf.with_hash(hash) {
            let overridden = entry.marks & OVERRIDDEN != 0;
            match (lines.get(entry.id()).filter(|_| entry.marks & IN_LINE != 0), &past) {
                (Some(line), _) => {
                    let state = state::<A>(line, now);
                    look(&entry.key, line.algorithm(), &state, overridden);
                }
                (None, Some(past)) if !overridden && entry.marks != *parity => {
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
        let Self { shelf, lines, algorithm, parity, past, .. } = self;
        let Some(entry) = shelf.get_mut(hash, key) else { return };
        let id = entry.id();
        if entry.marks & IN_LINE != 0 {
            entry.marks = marks | IN_LINE;
            return lines.retime(id, new, now);
        }
        if let Some(past) = past.as_ref().filter(|_| entry.marks != OVERRIDDEN && entry.marks != *parity) {
            entry.value = carried(&past.algorithm, algorithm, &entry.value, past.until);
        }
        entry.value = carried(old, new, &entry.value, now);
        entry.marks = marks;
        let at = new.fresh_at(&entry.value);
        shelf.renew(id, at);
    }

    /// Gives back memory.
    pub(super) fn shrink(&mut self) {
        self.shelf.shrink();
        self.lines.shrink();
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
pub(super) fn of_entry<'a, K: Eq, A: Algorithm>(
    entry: &Entry<K, A::State>,
    algorithm: &'a A,
    overrides: &'a HashTable<Override<K, A>>,
) -> &'a A {
    if entry.marks & OVERRIDDEN == 0 {
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

/// When an entry is idle; `None` while somebody waits.
fn idle_at<K: Eq, A: Algorithm>(
    entry: &Entry<K, A::State>,
    algorithm: &A,
    overrides: &HashTable<Override<K, A>>,
) -> Option<u64> {
    let in_line = entry.marks & IN_LINE != 0;
    (!in_line).then(|| of_entry(entry, algorithm, overrides).fresh_at(&entry.value))
}

/// Brings an entry up to date whose marks are not the shard's, and says what is remembered of it.
#[cold]
pub(super) fn settled<'a, K: Eq, A: Algorithm>(
    entry: &'a mut Entry<K, A::State>,
    lines: &'a mut Lines<A>,
    algorithm: &'a A,
    parity: u16,
    past: Option<&Past<A>>,
    overrides: &'a HashTable<Override<K, A>>,
) -> Found<'a, A> {
    if entry.marks & IN_LINE != 0 {
        if let Some(line) = lines.get(entry.id()) {
            return Found::Line(line);
        }
    }
    carry(entry, algorithm, parity, past);
    let algorithm = of_entry(entry, algorithm, overrides);
    Found::State(algorithm, &mut entry.value)
}

fn carry<K, A: Algorithm>(
    entry: &mut Entry<K, A::State>,
    algorithm: &A,
    parity: u16,
    past: Option<&Past<A>>,
) {
    if entry.marks & OVERRIDDEN != 0 || entry.marks == parity {
        return;
    }
    if let Some(past) = past {
        entry.value = carried(&past.algorithm, algorithm, &entry.value, past.until);
    }
    entry.marks = parity;
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
            if entry.marks & IN_LINE == 0 {
                carry(entry, algorithm, parity, Some(before));
            }
            idle_at(entry, algorithm, overrides)
        });
    }
}
