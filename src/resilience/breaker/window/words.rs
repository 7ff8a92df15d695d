//! What the window of [calls](super::calls) is made of.
//!
//! | word | bits | what |
//! |---|---|---|
//! | head | 0..12 | which outcomes of the block failed, the first in bit 0 |
//! | | 12..24 | which were slow |
//! | | 24..28 | how many there are, up to 12 |
//! | | 28..52 | number of the block: grows with each, through all generations; wraps |
//! | | 52..64 | the low bits of the generation |
//! | a block's outcomes | 0..24 | as in the head |
//! | | 32..56 | number of the block |
//! | a block's start | 0..14 | failures in the window when the block began |
//! | | 14..28 | slow calls |
//! | | 28..42 | calls |
//! | | 42..64 | the low bits of the number of the block |
//! | what was before a block | 0..31 | how many of the noted successes were in the window before it began; wraps |
//! | | 31..42 | how many blocks before it are in the ring, all that may be looked at being many; in place of the others are successes |
//! | | 42..64 | the low bits of the number of the block |
//! | leap | 0..24 | by how many noted successes |
//! | | 24..64 | the bits 24..64 of the head from which |

use super::noted::SUM;
use super::{Counts, Kind};
use crate::shim::AtomicU64;

/// Outcomes in a block.
pub(super) const BLOCK: u32 = 12;
/// The numbers of blocks, and the bits of the head.
pub(super) const ONLY_FAILED: u32 = (1 << BLOCK) - 1;
pub(super) const NUMBERS: u32 = (1 << 24) - 1;
/// What 14 bits hold.
pub(super) const MOST: u32 = (1 << 14) - 1;
/// Rings of 2, 4, 8, ... blocks: the largest for `MOST` calls.
pub(super) const SIZES: usize = 11;

/// How many calls a window holds, with the ring for so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) most: u32,
    pub(super) ring: u32,
}

impl Size {
    /// The ring has the blocks that may be looked at, the head's, and one to spare.
    pub(super) const fn new(most: u32) -> Self {
        let blocks = most.div_ceil(BLOCK) + 2;
        Self { most, ring: blocks.next_power_of_two().trailing_zeros() - 1 }
    }
}

/// Blocks that may be looked at are fewer than 11 bits hold.
pub(super) const MANY_BLOCKS: u64 = (1 << 11) - 1;

pub(super) struct Block {
    pub(super) outcomes: AtomicU64,
    pub(super) start: AtomicU64,
    pub(super) before: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head(pub(super) u64);

impl Head {
    pub(super) const COUNT: u32 = 24;
    pub(super) const NUMBER: u32 = 28;
    pub(super) const GENERATION: u32 = 52;

    pub(super) const fn new(generation: u32, block: u32) -> Self {
        Self((generation as u64) << Self::GENERATION | (block as u64) << Self::NUMBER)
    }

    /// Of the same generation, another block.
    pub(super) const fn begin(self, block: u32) -> Self {
        Self(self.0 & u64::MAX << Self::GENERATION | (block as u64) << Self::NUMBER)
    }

    /// The number of the block so many after this one.
    pub(super) const fn after(self, blocks: u32) -> u32 {
        self.block().wrapping_add(blocks) & NUMBERS
    }

    pub(super) const fn is_of(self, generation: u32) -> bool {
        self.0 >> Self::GENERATION == (generation & 0xfff) as u64
    }

    pub(super) const fn block(self) -> u32 {
        (self.0 >> Self::NUMBER) as u32 & NUMBERS
    }

    pub(super) const fn count(self) -> u32 {
        (self.0 >> Self::COUNT) as u32 & 0xf
    }

    pub(super) const fn outcomes(self) -> u32 {
        self.0 as u32 & 0xff_ffff
    }

    /// Outcomes that there is room for.
    pub(super) const fn room(self) -> u64 {
        (BLOCK - self.count()) as u64
    }

    /// How many of its outcomes were noted successes.
    pub(super) const fn well(self) -> u32 {
        let outcomes = self.outcomes();
        self.count() - ((outcomes | outcomes >> BLOCK) & ONLY_FAILED).count_ones()
    }

    /// With so many noted successes more, for which there is room.
    pub(super) const fn with_well(self, well: u64) -> Self {
        Self(self.0 + (well << Self::COUNT))
    }

    pub(super) const fn with(self, kind: Kind) -> Self {
        let bits = kind.failed as u64 | (kind.slow as u64) << BLOCK;
        Self((self.0 | bits << self.count()) + (1 << Self::COUNT))
    }
}

/// The number of a block as its start has it.
pub(super) const fn tag(block: u32) -> u64 {
    (block as u64) << 42
}

/// Where a start has the slow calls, and the calls.
pub(super) const SLOW: u32 = 14;
pub(super) const CALLS: u32 = 28;

pub(super) const fn start(block: u32, counts: Counts) -> u64 {
    counts.failures | counts.slow << SLOW | counts.calls << CALLS | tag(block)
}

/// What was before a block. With 31 bits of `noted`.
pub(super) const fn before(block: u32, noted: u64, blocks: u64) -> u64 {
    noted & SUM | blocks << 31 | tag(block)
}

pub(super) fn started_with(start: u64) -> Counts {
    let field = |from| start >> from & u64::from(MOST);
    Counts { failures: field(0), slow: field(SLOW), calls: field(CALLS) }
}

/// The bits that are set in each of the four quarters.
pub(super) const fn ones(quarters: u64) -> u64 {
    pub(super) const ALL: u64 = u64::MAX;
    let pairs = quarters - (quarters >> 1 & (ALL / 3));
    let fours = (pairs & (ALL / 5)) + (pairs >> 2 & (ALL / 5));
    let bytes = (fours + (fours >> 4)) & (ALL / 17);
    (bytes + (bytes >> 8)) & 0x00ff_00ff_00ff_00ff
}
