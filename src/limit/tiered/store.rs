//! A bounded map in the order of use: what is idle the longest goes first, and nothing that is active goes.
//!
//! Making room looks at the few that are idle the longest. Of those an active one is moved to the front of the line, so
//! that the next look finds others: the work for each newcomer is bounded, and still every entry comes to be looked at.

use super::key::BuildThrough;
use std::collections::HashMap;
use std::hash::Hash;

/// Entries that a newcomer looks at to find room.
const LOOKS: usize = 16;

#[derive(Debug)]
pub(super) struct Store<K, V> {
    index: HashMap<K, usize, BuildThrough>,
    slots: Vec<Slot<K, V>>,
    free: Vec<usize>,
    newest: Option<usize>,
    oldest: Option<usize>,
    most: usize,
    pub(super) evicted: u64,
    /// The latest time at which something was evicted, as it did not matter any more.
    forgotten: u64,
}

#[derive(Debug)]
struct Slot<K, V> {
    /// `None` of a slot that is free.
    entry: Option<(K, V)>,
    used: u64,
    newer: Option<usize>,
    older: Option<usize>,
}

impl<K: Copy + Eq + Hash, V> Store<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            index: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            newest: None,
            oldest: None,
            most,
            evicted: 0,
            forgotten: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.index.contains_key(key)
    }

    /// Where an entry is, which is used now. Good until the next insertion that does not keep it.
    pub(super) fn find(&mut self, key: &K, now: u64) -> Option<usize> {
        let at = *self.index.get(key)?;
        if self.newest != Some(at) {
            self.unlink(at);
            self.link_newest(at);
        }
        if let Some(slot) = self.slots.get_mut(at) {
            slot.used = slot.used.max(now);
        }
        Some(at)
    }

    pub(super) fn get(&self, at: usize) -> Option<&V> {
        self.slots.get(at)?.entry.as_ref().map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut V> {
        self.slots.get_mut(at)?.entry.as_mut().map(|(_, value)| value)
    }

    /// Adds an entry that is not there, and gives its place; `None` if all that may be looked at are active. `active`
    /// tells whether an entry that was idle for so long still matters; `keep` names places that must stay. `make` is told the
    /// time, but none before the last eviction: what is gone did not matter then, and may have mattered before.
    pub(super) fn insert(
        &mut self,
        key: K,
        now: u64,
        keep: impl Fn(usize) -> bool,
        active: impl Fn(&V, u64) -> bool,
        make: impl FnOnce(u64) -> V,
    ) -> Option<usize> {
        if self.len() >= self.most && !self.make_room(now, keep, active) {
            return None;
        }
        let slot =
            Slot { entry: Some((key, make(self.no_earlier(now)))), used: now, newer: None, older: None };
        let at = match self.free.pop() {
            Some(at) => {
                *self.slots.get_mut(at)? = slot;
                at
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.index.insert(key, at);
        self.link_newest(at);
        Some(at)
    }

    fn make_room(
        &mut self,
        now: u64,
        keep: impl Fn(usize) -> bool,
        active: impl Fn(&V, u64) -> bool,
    ) -> bool {
        for _ in 0..LOOKS.min(self.len()) {
            let Some(at) = self.oldest else { return false };
            let idle = self.idle(at, now);
            if !keep(at) && !self.get(at).is_some_and(|value| active(value, idle)) {
                self.remove_at(at);
                self.evicted += 1;
                self.forget(now, true);
                return true;
            }
            // Another chance; how long it has been idle stays.
            self.unlink(at);
            self.link_newest(at);
        }
        false
    }

    fn idle(&self, at: usize, now: u64) -> u64 {
        self.slots.get(at).map_or(0, |slot| now.saturating_sub(slot.used))
    }

    /// Removes a few of those that have been idle for `life` and are not active, if they are the next to go.
    pub(super) fn expire(&mut self, now: u64, life: u64, few: usize, active: impl Fn(&V, u64) -> bool) {
        for _ in 0..few {
            let Some(at) = self.oldest else { return };
            let idle = self.idle(at, now);
            if idle < life || self.get(at).is_some_and(|value| active(value, idle)) {
                return;
            }
            self.remove_at(at);
            self.evicted += 1;
            self.forget(now, true);
        }
    }

    /// Keeps in mind when something was evicted, if anything was.
    pub(super) fn forget(&mut self, now: u64, any: bool) {
        if any {
            self.forgotten = self.forgotten.max(now);
        }
    }

    /// The time, but none before the last eviction.
    pub(super) fn no_earlier(&self, now: u64) -> u64 {
        now.max(self.forgotten)
    }

    /// Nothing that was there matters.
    pub(super) fn reset_forgotten(&mut self) {
        self.forgotten = 0;
    }

    /// Removes all of which `gone` is true of entry and idle time.
    pub(super) fn sweep(&mut self, now: u64, mut gone: impl FnMut(&K, &V, u64) -> bool) -> Vec<(K, V)> {
        let mut removed = Vec::new();
        for at in 0..self.slots.len() {
            let idle = self.idle(at, now);
            let entry = self.slots.get(at).and_then(|slot| slot.entry.as_ref());
            if entry.is_some_and(|(key, value)| gone(key, value, idle)) {
                removed.extend(self.remove_at(at));
            }
        }
        removed
    }

    fn remove_at(&mut self, at: usize) -> Option<(K, V)> {
        self.unlink(at);
        let entry = self.slots.get_mut(at)?.entry.take()?;
        self.index.remove(&entry.0);
        self.free.push(at);
        Some(entry)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.slots.iter().filter_map(|slot| slot.entry.as_ref())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.slots.iter_mut().filter_map(|slot| slot.entry.as_mut()).map(|(key, value)| (&*key, value))
    }

    fn link_newest(&mut self, at: usize) {
        let older = self.newest.replace(at);
        if let Some(slot) = self.slots.get_mut(at) {
            (slot.newer, slot.older) = (None, older);
        }
        match older.and_then(|older| self.slots.get_mut(older)) {
            Some(older) => older.newer = Some(at),
            None => self.oldest = Some(at),
        }
    }

    fn unlink(&mut self, at: usize) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        let (newer, older) = (slot.newer.take(), slot.older.take());
        match newer.and_then(|newer| self.slots.get_mut(newer)) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
        match older.and_then(|older| self.slots.get_mut(older)) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
    }
}
