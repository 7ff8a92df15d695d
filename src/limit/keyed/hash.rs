//! How keys are hashed, and what is made of a hash.

use std::fmt;
use std::hash::{BuildHasher, Hasher};

/// The hash function of keyed limiters unless they are given another: `foldhash`, with a seed drawn for each limiter.
///
/// Fast, and unpredictable to those who cannot watch the process closely; not a cryptographic function. Where strangers choose
/// the keys and have much to gain from collisions, give the builder
/// [`std::hash::RandomState`](std::collections::hash_map::RandomState), at about 10 ns more for a short key.
#[derive(Clone, Default)]
pub struct Seeded(foldhash::fast::RandomState);

/// What [`Seeded`] makes.
#[derive(Clone)]
pub struct SeededHasher(foldhash::fast::FoldHasher<'static>);

impl BuildHasher for Seeded {
    type Hasher = SeededHasher;

    #[inline(always)]
    fn build_hasher(&self) -> SeededHasher {
        SeededHasher(self.0.build_hasher())
    }
}

/// The integers that have a way of their own; signed ones come here by the trait's defaults.
macro_rules! passed_on {
    ($($write:ident: $integer:ty),+) => {
        #[inline(always)]
        fn write(&mut self, bytes: &[u8]) {
            self.0.write(bytes);
        }

        $(#[inline(always)]
        fn $write(&mut self, integer: $integer) {
            self.0.$write(integer);
        })+

        #[inline(always)]
        fn finish(&self) -> u64 {
            self.0.finish()
        }
    };
}

impl Hasher for SeededHasher {
    passed_on!(write_u8: u8, write_u16: u16, write_u32: u32, write_u64: u64, write_u128: u128, write_usize: usize);
}

impl fmt::Debug for Seeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The seed is nobody's business.
        f.debug_struct("Seeded").finish_non_exhaustive()
    }
}

impl fmt::Debug for SeededHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeededHasher").finish_non_exhaustive()
    }
}

/// The part of a hash that is kept with a key: as much as a table of 2^25 places has use for, in half the room. Larger tables
/// work too, and take a few looks more.
///
/// | bits of the hash | used for |
/// |---|---|
/// | 0..25 | kept: the place in the shard's table |
/// | 25..32 | kept: the tag by which the table tells most other keys apart |
/// | 32..64 | the shard, by the low ones of them |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Short(u32);

impl Short {
    #[inline(always)]
    pub(super) fn of(hash: u64) -> Self {
        Self(hash as u32)
    }

    /// A hash for the table, made of what was kept: the place is where it was, and the tag at the top too.
    #[inline(always)]
    pub(super) fn full(self) -> u64 {
        u64::from(self.0) << 32 | u64::from(self.0)
    }
}

/// The bits that choose the shard.
#[inline(always)]
pub(super) fn shard_bits(hash: u64) -> usize {
    (hash >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bit_decides_twice() {
        const PLACE: u64 = (1 << 25) - 1;
        for hash in [0, 1, u64::MAX, 0xdead_beef_0123_4567, 1 << 25, (1 << 25) - 1, 1 << 32] {
            let full = Short::of(hash).full();
            assert_eq!(full & PLACE, hash & PLACE, "the place");
            assert_eq!(full >> 57, hash >> 25 & 0x7f, "the tag");
            assert_eq!(shard_bits(hash) as u64, hash >> 32, "the shard");
            assert_eq!(Short::of(full), Short::of(hash));
        }
    }

    #[test]
    fn every_limiter_has_a_seed_of_its_own_and_keeps_it() {
        let (one, two) = (Seeded::default(), Seeded::default());
        assert_eq!(one.hash_one("a key"), one.clone().hash_one("a key"));
        assert_ne!(one.hash_one("a key"), two.hash_one("a key"));
        for (left, right) in [(one.hash_one(7_u64), one.hash_one(8_u64)), (one.hash_one(-7), one.hash_one(7))]
        {
            assert_ne!(left, right);
        }
    }
}
