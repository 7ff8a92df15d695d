//! The keys of one shard: a table of them, and the order in which they will be idle.

use super::ahead::Ground;
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

    pub(super) fn id(&self) -> Id {
        Id { hash: self.hash, stamp: self.stamp }
    }
}

/// Of one entry of the shelf, until it is [renewed](Shelf::renew).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) hash: Short,
    stamp: u16,
}

/// Says that a key will be idle at `at`, or later if it was used since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Record {
    pub(super) at: u64,
    pub(super) id: Id,
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
/// Every entry has one *current* record, the one with its stamp (none while it cannot become idle). Using a key touches its entry only: its record then says an
/// instant that is too early, and is corrected when it comes up. What makes a key idle *earlier* must renew the record; then,
/// and when an entry is removed, an *outdated* record stays behind, which is dropped when it comes up, or when there are too
/// many. So no record is later than the truth, and the first record that proves true belongs to the key that is idle
/// first.
///
/// A stamp has 16 bits; no two entries have both hash and stamp in common. An outdated record that is taken for a current one,
/// since its stamp has come round again, is checked against the entry like any other, and only makes it be looked at twice.
#[repr(C)]
pub(super) struct Shelf<K, T> {
    entries: HashTable<Entry<K, T>>,
    order: BinaryHeap<Reverse<Record>>,
    stamp: u16,
    ground: Ground,
}

impl<K, T> Shelf<K, T> {
    /// The size of an entry.
    pub(super) const SIZE: usize = size_of::<Entry<K, T>>();

    /// With room for so many before the table grows.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: HashTable::with_capacity(capacity),
            order: BinaryHeap::with_capacity(capacity),
            stamp: 0,
            ground: Ground::NONE,
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
        let id = self.next_id(hash);
        let entry = Entry { hash, stamp: id.stamp, marks, value, key };
        // No foreign code: the hash was kept.
        let bucket = self.entries.insert_unique(hash.full(), entry, |entry| entry.hash.full()).bucket_index();
        self.survey(bucket);
        self.order.push(Reverse(Record { at, id }));
    }

    /// Where the table is, seen from an entry.
    fn survey(&mut self, bucket: usize) {
        if let Some(entry) = self.entries.get_bucket(bucket) {
            let tags = std::ptr::from_ref(entry).addr().wrapping_add((bucket + 1) * Self::SIZE);
            self.ground = Ground { tags, buckets: self.entries.num_buckets() };
        }
    }

    /// Where the table is, or was.
    pub(super) fn ground(&self) -> Ground {
        self.ground
    }

    /// One that no entry has.
    fn next_id(&mut self, hash: Short) -> Id {
        loop {
            self.stamp = self.stamp.wrapping_add(1);
            let id = Id { hash, stamp: self.stamp };
            if find(&self.entries, id).is_none() {
                return id;
            }
        }
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

    /// A new record, and a new id, for an entry that is idle at `at`, earlier than its present record says, if it has one.
    pub(super) fn renew(&mut self, id: Id, at: u64) {
        let new = self.next_id(id.hash);
        if let Some(entry) = self.of(id) {
            entry.stamp = new.stamp;
            self.order.push(Reverse(Record { at, id: new }));
            self.tidy();
        }
    }

    /// The instant of the first record: no key is idle before it. `u64::MAX` if there is none.
    pub(super) fn first(&self) -> u64 {
        self.order.peek().map_or(u64::MAX, |Reverse(record)| record.at)
    }

    /// A key that is idle at `now`, or else the one that will be first, if it will by `until`. `idle_at` says when one will; those
    /// that cannot lose their record.
    pub(super) fn first_idle(
        &mut self,
        search: &mut Search,
        idle_at: impl Fn(&Entry<K, T>) -> Option<u64>,
    ) -> Option<Record> {
        while let Some(mut top) = self.order.peek_mut() {
            let Reverse(record) = *top;
            if record.at > search.until {
                return None;
            }
            search.steps = search.steps.checked_sub(1)?;
            let Some(at) = find(&self.entries, record.id).and_then(&idle_at) else {
                PeekMut::pop(top);
                continue;
            };
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
            if top.0.id == record.id {
                *top = Reverse(Record { at: at.max(top.0.at.saturating_add(1)), ..record });
            }
        }
    }

    /// Removes an entry.
    pub(super) fn take(&mut self, id: Id) -> Option<Entry<K, T>> {
        if self.order.peek().is_some_and(|Reverse(top)| top.id == id) {
            self.order.pop();
        }
        let (entry, _) = self.entries.find_entry(id.full(), |entry| entry.id() == id).ok()?.remove();
        self.tidy();
        Some(entry)
    }

    pub(super) fn of(&mut self, id: Id) -> Option<&mut Entry<K, T>> {
        self.entries.find_mut(id.full(), |entry| entry.id() == id)
    }

    /// Takes the order away, for its entries to be looked at anew, one by one: each with [`restore`](Self::restore).
    pub(super) fn upset(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.order).into_iter().map(|Reverse(record)| record).collect()
    }

    /// Puts an entry back into the order, if the record that was taken away is its current one, and if it can become idle.
    pub(super) fn restore(&mut self, record: Record, look: impl FnOnce(&mut Entry<K, T>) -> Option<u64>) {
        if let Some(at) = self.of(record.id).and_then(look) {
            self.order.push(Reverse(Record { at, ..record }));
        }
    }

    /// The hashes of all keys in the order, and `more`, sorted.
    pub(super) fn hashes(&self, more: impl Iterator<Item = Id>) -> Vec<Short> {
        let all = self.order.iter().map(|Reverse(record)| record.id).chain(more);
        let mut hashes: Vec<_> = all.map(|id| id.hash).collect();
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
        order.retain(|Reverse(record)| find(entries, record.id).is_some());
        order.shrink_to_fit();
        entries.shrink_to_fit(|entry| entry.hash.full());
        if let Some(bucket) = self.entries.iter_buckets().next() {
            self.survey(bucket);
        }
    }

    /// Drops outdated records once there are more of them than entries: a constant share of the work that made them.
    fn tidy(&mut self) {
        const SPARE: usize = 64;
        let Self { entries, order, .. } = self;
        if order.len() > 2 * entries.len() + SPARE {
            order.retain(|Reverse(record)| find(entries, record.id).is_some());
        }
    }
}

fn find<K, T>(entries: &HashTable<Entry<K, T>>, id: Id) -> Option<&Entry<K, T>> {
    entries.find(id.full(), |entry| entry.id() == id)
}

impl Id {
    /// A hash for a table.
    pub(super) fn full(self) -> u64 {
        self.hash.full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the processor is told of is where the entries are.
    fn is_there<K, T>(shelf: &Shelf<K, T>) {
        let Ground { tags, buckets } = shelf.ground();
        assert_eq!(buckets, shelf.entries.num_buckets());
        for bucket in shelf.entries.iter_buckets() {
            let entry = std::ptr::from_ref(shelf.entries.get_bucket(bucket).expect("one of them"));
            assert_eq!(entry.addr(), tags - (bucket + 1) * Shelf::<K, T>::SIZE);
        }
    }

    #[test]
    fn the_ground_moves_with_the_table() {
        let mut shelf = Shelf::new(0);
        assert_eq!(shelf.ground(), Ground::NONE);
        let mut grown = 0;
        for key in 0..1000_u32 {
            let before = shelf.ground();
            shelf.insert(Short::of(u64::from(key) * 0x9e37_79b9), key, u128::from(key), 0, 0);
            grown += u32::from(shelf.ground() != before);
            is_there(&shelf);
        }
        assert!((5..20).contains(&grown), "{grown}");
        for key in 10..1000_u32 {
            shelf.remove(Short::of(u64::from(key) * 0x9e37_79b9), &key);
        }
        let before = shelf.ground();
        shelf.shrink();
        assert_ne!(shelf.ground(), before);
        is_there(&shelf);
    }
}
