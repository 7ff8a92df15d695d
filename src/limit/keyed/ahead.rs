//! Where the entry of a key will be looked for, told to the processor ahead of time.
//!
//! In a large table a look is two cache misses, one after the other, as the tags say where the entry is. But most entries are where
//! their hash would have them, so both lines can be named at once, from the hash alone. They are asked for before the clock is
//! read and the lock taken, and arrive meanwhile. It is a hint, looked at without the lock: where it is outdated, or another
//! version of `hashbrown` lays its tables out otherwise, the entry is found all the same.

use super::hash::Short;
use crate::shim::{AtomicUsize, Ordering};
use crate::wait::{PREFETCHES, prefetch};

/// Where a table is: the address of its tags, and how many there are. The entries are before the tags, the first one last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ground {
    pub(super) tags: usize,
    pub(super) buckets: usize,
}

impl Ground {
    /// Of no table.
    pub(super) const NONE: Self = Self { tags: 0, buckets: 1 };
}

/// The [`Ground`] of a table, to be read without its lock.
pub(super) struct Ahead {
    tags: AtomicUsize,
    mask: AtomicUsize,
}

impl Ahead {
    pub(super) fn new() -> Self {
        Self { tags: AtomicUsize::new(0), mask: AtomicUsize::new(0) }
    }

    /// Relaxed, here and below: nothing is read through it, and the two need not belong together.
    pub(super) fn set(&self, ground: Ground) {
        if PREFETCHES {
            self.tags.store(ground.tags, Ordering::Relaxed);
            self.mask.store(ground.buckets.wrapping_sub(1), Ordering::Relaxed);
        }
    }

    #[cfg(test)]
    pub(super) fn ground(&self) -> Ground {
        let buckets = self.mask.load(Ordering::Relaxed).wrapping_add(1);
        Ground { tags: self.tags.load(Ordering::Relaxed), buckets }
    }

    /// Asks for what a look at an entry of `size` bytes will touch.
    #[inline(always)]
    pub(super) fn fetch(&self, hash: Short, size: usize) {
        if PREFETCHES {
            let (tags, mask) = (self.tags.load(Ordering::Relaxed), self.mask.load(Ordering::Relaxed));
            let bucket = hash.full() as usize & mask;
            prefetch(tags.wrapping_add(bucket));
            prefetch(tags.wrapping_sub(bucket.wrapping_add(1).wrapping_mul(size)));
        }
    }
}
