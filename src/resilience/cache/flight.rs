//! One load for any number of callers.
//!
//! # State machine of a flight
//!
//! A flight is one load of one key, and the callers who wait for it. One of them leads: it runs the load. Two locks,
//! always in this order: that of the part of the table in which the key is, and the flight's own.
//!
//! | state | in the table | leader | waiters | next |
//! |---|---|---|---|---|
//! | loading | yes | one | any number | a caller comes: joins, under both locks |
//! | | | | | the leader is dropped and somebody waits: *loading*, led by the first who waits, under both locks |
//! | | | | | the leader is dropped and nobody waits: *gone*, taken out of the table under both locks |
//! | | | | | the load ends: *ended*, taken out of the table under its lock together with the storing of the value |
//! | | | | | the key is invalidated or written: *void*, taken out of the table under its lock |
//! | void | no | one | those who came before | as *loading*, but nobody joins and nothing is stored |
//! | ended, gone | no | none | those who came before have been told | none |
//!
//! **Nobody waits without a leader.** A caller joins only under the lock of the table, where it finds only flights that
//! are led; a leader that goes away hands over under the same lock, or takes the flight out of the table, so that the next
//! caller makes a new one. A waiter that was chosen and is dropped before it knows hands over in turn.
//!
//! **At most one load of a key that is not void.** A flight is made only under the lock of the table, when there is none.
//!
//! **What is older than an invalidation is not stored.** Both happen under the lock of the table, and the load is stored
//! only if its flight is still there.

use crate::shim::Mutex;
use crate::wait::{List, Outcome, Slot, Wakes, wake_all};
use crossbeam_utils::CachePadded;
use hashbrown::HashTable;
use std::borrow::Borrow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;

/// One load, and those who wait for it.
pub(super) struct Flight<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    line: List<()>,
    /// Shared, so that the user's values are neither cloned nor dropped under the lock.
    outcome: Option<Arc<T>>,
}

/// How a wait ended.
pub(super) enum End<T> {
    /// The leader is gone, and this waiter is the new one.
    Lead,
    Done(Arc<T>),
}

impl<T> Flight<T> {
    fn new() -> Self {
        Self { state: Mutex::new(State { line: List::new(), outcome: None }) }
    }

    fn join(&self, slot: Pin<&Slot<()>>, waker: Waker) {
        self.state.lock().line.push_back(slot, (), waker);
    }

    /// A waiter was polled again, perhaps by another task.
    pub(super) fn follow(&self, slot: Pin<&Slot<()>>, waker: &Waker) {
        let mut fresh = Some(waker.clone());
        let old = self.state.lock().line.set_waker(slot, &mut fresh);
        drop((old, fresh));
    }

    /// Takes a waiter out of line. False if its wait has ended already.
    pub(super) fn leave(&self, slot: Pin<&Slot<()>>) -> bool {
        let left = self.state.lock().line.unlink(slot);
        left.is_some()
    }

    /// How the wait ended, if it has.
    pub(super) fn end(&self, slot: Pin<&Slot<()>>) -> Option<End<T>> {
        match slot.take()?.0 {
            Outcome::Granted => Some(End::Lead),
            _ => {
                let outcome = self.state.lock().outcome.clone();
                outcome.map(End::Done)
            }
        }
    }

    /// Lets the first who waits lead. False if nobody waits.
    fn hand_over(&self, wakes: &mut Wakes) -> bool {
        self.state.lock().line.pop_front(Outcome::Granted, wakes)
    }

    /// Tells all who wait.
    pub(super) fn finish(&self, outcome: Arc<T>) {
        self.state.lock().outcome = Some(outcome);
        wake_all(|wakes| self.state.lock().line.settle(wakes, |()| Some(Outcome::Closed)));
    }
}

/// The flights of all keys.
pub(super) struct Flights<K, T> {
    parts: Box<[Locked<K, T>]>,
}

type Locked<K, T> = CachePadded<Mutex<Part<K, T>>>;

/// Those of some keys.
pub(super) struct Part<K, T> {
    seats: HashTable<Seat<K, T>>,
}

/// A flight in the table, with its key: dropped by whoever took it out, outside the lock.
pub(super) struct Seat<K, T> {
    hash: u64,
    flight: Arc<Flight<T>>,
    key: K,
}

impl<K, T> Flights<K, T> {
    pub(super) fn new(parts: usize) -> Self {
        let part = |_| CachePadded::new(Mutex::new(Part { seats: HashTable::new() }));
        Self { parts: (0..parts.max(1)).map(part).collect() }
    }

    /// The part that a hash belongs to.
    pub(super) fn part(&self, hash: u64) -> Option<&Mutex<Part<K, T>>> {
        // Of the middle of the hash: the table uses both ends.
        let at = (hash >> 32) as usize % self.parts.len().max(1);
        self.parts.get(at).map(|part| &**part)
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &Mutex<Part<K, T>>> {
        self.parts.iter().map(|part| &**part)
    }

    /// The leader of this flight is gone: another takes over, or the flight is over.
    pub(super) fn abandon(&self, hash: u64, flight: &Arc<Flight<T>>) {
        let Some(part) = self.part(hash) else { return };
        let mut wakes = Wakes::new();
        let mut part = part.lock();
        let seat = if flight.hand_over(&mut wakes) { None } else { part.take(hash, flight) };
        drop(part);
        // Woken even if the drop of the key panics: by the drop of the wakers.
        drop(seat);
        wakes.wake();
    }
}

impl<K, T> Part<K, T> {
    /// How many flights there are.
    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    /// The flight of a key. Runs the key's `Eq`, where the hashes are the same.
    pub(super) fn find<Q>(&self, hash: u64, key: &Q) -> Option<&Arc<Flight<T>>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        self.seats.find(hash, |seat| seat.hash == hash && seat.key.borrow() == key).map(|seat| &seat.flight)
    }

    /// Makes one, of a key that has none.
    pub(super) fn begin(&mut self, hash: u64, key: K) -> Arc<Flight<T>> {
        let flight = Arc::new(Flight::new());
        let seat = Seat { hash, flight: Arc::clone(&flight), key };
        self.seats.insert_unique(hash, seat, |seat| seat.hash);
        flight
    }

    /// Waits for a flight that was found under this lock.
    pub(super) fn join(flight: &Flight<T>, slot: Pin<&Slot<()>>, waker: Waker) {
        flight.join(slot, waker);
    }

    /// Takes this flight out, if it is still in.
    pub(super) fn take(&mut self, hash: u64, flight: &Arc<Flight<T>>) -> Option<Seat<K, T>> {
        let found = self.seats.find_entry(hash, |seat| Arc::ptr_eq(&seat.flight, flight)).ok()?;
        Some(found.remove().0)
    }

    /// Takes the flight of a key out: what it loads will not be stored.
    pub(super) fn void<Q>(&mut self, hash: u64, key: &Q) -> Option<Seat<K, T>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        let same = |seat: &Seat<K, T>| seat.hash == hash && seat.key.borrow() == key;
        Some(self.seats.find_entry(hash, same).ok()?.remove().0)
    }

    /// Takes all flights out.
    pub(super) fn void_all(&mut self) -> HashTable<Seat<K, T>> {
        std::mem::take(&mut self.seats)
    }
}
