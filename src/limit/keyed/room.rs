//! How many keys there are, over all shards, and how many there may be.

use crate::shim::{AtomicUsize, Ordering};

/// The bound on the keys of all shards together. A place is taken *before* its key goes into a shard, and given back after the
/// key has left it, so there are never more keys than the capacity was when the last one came, whatever the hash function
/// does to the shards.
pub(super) struct Room {
    taken: AtomicUsize,
    capacity: AtomicUsize,
}

impl Room {
    pub(super) fn new(capacity: usize) -> Self {
        Self { taken: AtomicUsize::new(0), capacity: AtomicUsize::new(capacity) }
    }

    /// Relaxed, here and below: the numbers guard no memory, and read-modify-writes of one word are in one order anyway.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity.load(Ordering::Relaxed)
    }

    /// Those that are there stay, above it or not.
    pub(super) fn set_capacity(&self, capacity: usize) {
        self.capacity.store(capacity, Ordering::Relaxed);
    }

    /// A place, if there is one.
    pub(super) fn reserve(&self) -> Option<Place<'_>> {
        let mut taken = self.taken();
        while taken < self.capacity() {
            match self.taken.compare_exchange(taken, taken + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(Place { room: self }),
                Err(now) => taken = now,
            }
        }
        None
    }

    /// The place of a key that was removed, for the next one: nobody else can get it in between. `None`, and it is given
    /// back, if there are more keys than there should be.
    pub(super) fn inherit(&self) -> Option<Place<'_>> {
        let place = Place { room: self };
        (self.taken() <= self.capacity()).then_some(place)
    }

    /// Gives back the places of keys that were removed.
    pub(super) fn release(&self, places: usize) {
        self.taken.fetch_sub(places, Ordering::Relaxed);
    }
}

/// A place for one key: given back when dropped.
#[must_use = "dropped, it is given back"]
pub(super) struct Place<'a> {
    room: &'a Room,
}

impl Place<'_> {
    /// The key is in: [`Room::release`] gives its place back.
    pub(super) fn fill(self) {
        std::mem::forget(self);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.room.release(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_back_unless_it_is_filled() {
        let room = Room::new(2);
        let (one, two) = (room.reserve().expect("free"), room.reserve().expect("free"));
        assert!(room.reserve().is_none());
        drop(one);
        two.fill();
        assert_eq!(room.taken(), 1);
        room.set_capacity(1);
        assert!(room.reserve().is_none(), "the capacity is what it is now");
        room.inherit().expect("not above it").fill();
        room.set_capacity(0);
        assert!(room.inherit().is_none(), "and its place is gone");
        assert_eq!(room.taken(), 0);
    }
}
