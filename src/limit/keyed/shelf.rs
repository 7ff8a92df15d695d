//! The keys of one shard: a table of them, and the order in which they will be idle.

use super::hash::Short;
use hashbrown::HashTable;
use std::borrow::Borrow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// A key and what is remembered for it, in the table itself: 32 bytes for a 64-bit key with the state of a token bucket.
pub(super) struct Entry<K, T> {
    hash: Short,
    /// That of its record in the order.
    stamp: u16,
    /// Of the shelf's owner.
    pub(super) marks: u16,
    pub(super) value: T,
    pub(super) key: K,
}

impl<K, T> Entry<K, T> {
    pub(super) fn hash(&self) -> Short {
        self.hash
    }

    /// By which [`Shelf::take`] finds it.
    pub(super) fn record(&self) -> Record {
        Record { at: 0, hash: self.hash, stamp: self.stamp }
    }
}

/// Says that a key will be idle at `at`, or later if it was used since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Record {
    pub(super) at: u64,
    hash: Short,
    stamp: u16,
}

/// What is looked for in the orders of the shards, and how far.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) now: u64,
    /// At least `now`.
    pub(super) until: u64,
    /// Records that may still be looked at.
    pub(super) steps: usize,
    /// Of those that were looked at and put right, the first.
    pub(super) nearest: Option<Record>,
}

impl Search {
    /// For what is idle at `now`.
    pub(super) fn idle(now: u64, steps: usize) -> Self {
        Self { now, until: now, steps, nearest: None }
    }
}

/// # The order
/// Every entry has one *current* record, the one with its stamp. Using a key touches its entry only: its record then says an
/// instant that is too early, and is corrected when it comes up. What makes a key idle *earlier* must renew the record; then,
/// and when an entry is removed, an *outdated* record stays behind, which is dropped when it comes up, or when there are too
/// many. So no record is later than the truth, and the first record that proves true belongs to the key that is idle
/// first.
///
/// A stamp has 16 bits. An outdated record that is taken for a current one, since both hash and stamp have come round again,
/// is checked against its entry like any other, and only makes that entry be looked at twice.
pub(super) struct Shelf<K, T> {
    entries: HashTable<Entry<K, T>>,
    order: BinaryHeap<Reverse<Record>>,
    stamp: u16,
}

impl<K, T> Shelf<K, T> {
    /// With room for so many before the table grows.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: HashTable::with_capacity(capacity),
            order: BinaryHeap::with_capacity(capacity),
            stamp: 0,
        }
    }

    /// Runs the key's `Eq`, where the hashes are the same.
    #[inline(always)]
    pub(super) fn get_mut<Q>(&mut self, hash: Short, key: &Q) -> Option<&mut Entry<K, T>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        self.entries.find_mut(hash.full(), |entry| entry.hash == hash && entry.key.borrow() == key)
    }

    /// Of a key that is not there.
    pub(super) fn insert(&mut self, hash: Short, key: K, value: T, marks: u16, at: u64) {
        let stamp = self.next_stamp();
        let entry = Entry { hash, stamp, marks, value, key };
        // No foreign code: the hash was kept.
        self.entries.insert_unique(hash.full(), entry, |entry| entry.hash.full());
        self.order.push(Reverse(Record { at, hash, stamp }));
    }

    fn next_stamp(&mut self) -> u16 {
        self.stamp = self.stamp.wrapping_add(1);
        self.stamp
    }

    pub(super) fn remove<Q>(&mut self, hash: Short, key: &Q) -> Option<Entry<K, T>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        let same = |entry: &Entry<K, T>| entry.hash == hash && entry.key.borrow() == key;
        let (entry, _) = self.entries.find_entry(hash.full(), same).ok()?.remove();
        self.tidy();
        Some(entry)
    }

    /// A new record for a key that is idle at `at`, earlier than the present one says.
    pub(super) fn renew<Q>(&mut self, hash: Short, key: &Q, at: u64)
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        let stamp = self.next_stamp();
        if let Some(entry) = self.get_mut(hash, key) {
            entry.stamp = stamp;
            self.order.push(Reverse(Record { at, hash, stamp }));
            self.tidy();
        }
    }

    /// The instant of the first record: no key is idle before it. `u64::MAX` if there is none.
    pub(super) fn first(&self) -> u64 {
        self.order.peek().map_or(u64::MAX, |Reverse(record)| record.at)
    }

    /// A key that is idle at `now`, or else the one that will be first, if it will by `until`. `idle_at` says when one will.
    pub(super) fn first_idle(
        &mut self,
        search: &mut Search,
        idle_at: impl Fn(&Entry<K, T>) -> u64,
    ) -> Option<Record> {
        while let Some(mut top) = self.order.peek_mut() {
            let Reverse(record) = *top;
            if record.at > search.until {
                return None;
            }
            search.steps = search.steps.checked_sub(1)?;
            let Some(entry) = find(&self.entries, record) else {
                PeekMut::pop(top);
                continue;
            };
            let at = idle_at(entry);
            if at <= record.at || at <= search.now {
                return Some(record);
            }
            let record = Record { at, ..record };
            *top = Reverse(record);
            search.nearest = search.nearest.filter(|nearest| nearest.at <= at).or(Some(record));
        }
        None
    }

    /// Puts off the first record, if it is this one: at least behind all that are as early as it is.
    pub(super) fn postpone(&mut self, record: Record, at: u64) {
        if let Some(mut top) = self.order.peek_mut() {
            if top.0.is_for(record) {
                *top = Reverse(Record { at: at.max(top.0.at.saturating_add(1)), ..record });
            }
        }
    }

    /// Removes the entry of a current record.
    pub(super) fn take(&mut self, record: Record) -> Option<Entry<K, T>> {
        if self.order.peek().is_some_and(|Reverse(top)| top.is_for(record)) {
            self.order.pop();
        }
        let current = |entry: &Entry<K, T>| record.is_of(entry);
        let (entry, _) = self.entries.find_entry(record.hash.full(), current).ok()?.remove();
        self.tidy();
        Some(entry)
    }

    /// The entry of a current record.
    pub(super) fn of_record(&mut self, record: Record) -> Option<&mut Entry<K, T>> {
        self.entries.find_mut(record.hash.full(), |entry| record.is_of(entry))
    }

    /// Takes the order away, for its entries to be looked at anew, one by one: each with [`restore`](Self::restore).
    pub(super) fn upset(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.order).into_iter().map(|Reverse(record)| record).collect()
    }

    /// Puts an entry back into the order, if the record that was taken away is its current one.
    pub(super) fn restore(&mut self, record: Record, look: impl FnOnce(&mut Entry<K, T>) -> u64) {
        if let Some(entry) = self.of_record(record) {
            let at = look(entry);
            self.order.push(Reverse(Record { at, ..record }));
        }
    }

    /// The hashes of all keys, sorted; with those of `more`.
    pub(super) fn hashes(&self, more: &[Record]) -> Vec<Short> {
        let all = self.order.iter().map(|Reverse(record)| record).chain(more);
        let mut hashes: Vec<_> = all.map(|record| record.hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    }

    /// The entries with this hash: one, as a rule.
    pub(super) fn with_hash(&self, hash: Short) -> impl Iterator<Item = &Entry<K, T>> {
        self.entries.iter_hash(hash.full()).filter(move |entry| entry.hash == hash)
    }

    /// As [`with_hash`](Self::with_hash).
    pub(super) fn with_hash_mut(&mut self, hash: Short) -> impl Iterator<Item = &mut Entry<K, T>> {
        self.entries.iter_hash_mut(hash.full()).filter(move |entry| entry.hash == hash)
    }

    /// Gives back memory.
    pub(super) fn shrink(&mut self) {
        let Self { entries, order, .. } = self;
        order.retain(|Reverse(record)| find(entries, *record).is_some());
        order.shrink_to_fit();
        entries.shrink_to_fit(|entry| entry.hash.full());
    }

    /// Drops outdated records once there are more of them than entries: a constant share of the work that made them.
    fn tidy(&mut self) {
        const SPARE: usize = 64;
        let Self { entries, order, .. } = self;
        if order.len() > 2 * entries.len() + SPARE {
            order.retain(|Reverse(record)| find(entries, *record).is_some());
        }
    }
}

fn find<K, T>(entries: &HashTable<Entry<K, T>>, record: Record) -> Option<&Entry<K, T>> {
    entries.find(record.hash.full(), |entry| record.is_of(entry))
}

impl Record {
    fn is_of<K, T>(self, entry: &Entry<K, T>) -> bool {
        entry.hash == self.hash && entry.stamp == self.stamp
    }

    fn is_for(self, other: Self) -> bool {
        self.hash == other.hash && self.stamp == other.stamp
    }
}
