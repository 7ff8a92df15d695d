//! The window of the last `n` calls, exactly.
//!
//! Outcomes come in blocks of twelve. The block that is being filled is the *head*, one word that every outcome changes by
//! one compare-and-swap. A block that is full goes into a ring, from where its outcomes leave the window one by one, at the
//! pace at which the head fills. Besides, the ring has for each block what the window held when the block began. So the
//! counts are those, and what has come in since, and without what has left since: two or three loads and some bit
//! counting, however large the window.
//!
//! # The words
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
//!
//! # Who writes what
//!
//! An outcome that finds the block full first writes the block's outcomes and the start of the next one into the ring, then
//! swaps the head for the next block with itself as first. Both follow from the head, so whoever does it writes the same;
//! and he does it only where the head is unchanged after he has loaded what he replaces, so that one who was held up does
//! not write over a later round. The head is swapped after both are written: who sees a block sees its start, and all blocks
//! before it.
//!
//! The first outcome of a generation leaves the present block as it is and begins the one *after the next*, which starts
//! empty: the next may be begun at the same time by an outcome of the generation that ends, with another start.
//!
//! What is loaded from the ring may be of a later round, if others have gone round in between: its number says so, and the
//! outcome begins anew.
//!
//! (Numbers of starts repeat after 4 million blocks, of blocks after 16 million, which are 50 and 200 million outcomes: a thread
//! would have to be held up between two instructions for just so many, and a few, to do harm.)

use super::{Counts, Kind, Taken};
use crate::shim::{AtomicU64, Ordering};
use crossbeam_utils::CachePadded;
use std::num::NonZeroU64;
use std::sync::OnceLock;

/// Outcomes in a block.
pub(super) const BLOCK: u32 = 12;
/// The numbers of blocks, and the bits of the head.
const ONLY_FAILED: u32 = (1 << BLOCK) - 1;
const NUMBERS: u32 = (1 << 24) - 1;
const COUNTS: u64 = 0xf << Head::COUNT;
const GENERATIONS: u64 = u64::MAX << Head::GENERATION;
/// What 14 bits hold.
pub(super) const MOST: u32 = (1 << 14) - 1;
/// Rings of 2, 4, 8, ... blocks: the largest for `MOST` calls.
const SIZES: usize = 11;

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

const WELL: Kind = Kind { failed: false, slow: false };

pub(super) struct Calls {
    head: CachePadded<AtomicU64>,
    rings: [OnceLock<Box<[Block]>>; SIZES],
}

struct Block {
    outcomes: AtomicU64,
    start: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head(u64);

impl Head {
    const COUNT: u32 = 24;
    const NUMBER: u32 = 28;
    const GENERATION: u32 = 52;

    const fn new(generation: u32, block: u32) -> Self {
        Self((generation as u64) << Self::GENERATION | (block as u64) << Self::NUMBER)
    }

    /// The number of the block so many after this one.
    const fn after(self, blocks: u32) -> u32 {
        self.block().wrapping_add(blocks) & NUMBERS
    }

    const fn is_of(self, generation: u32) -> bool {
        self.0 >> Self::GENERATION == (generation & 0xfff) as u64
    }

    const fn block(self) -> u32 {
        (self.0 >> Self::NUMBER) as u32 & NUMBERS
    }

    /// Whether the next outcome of the generation goes into this block.
    const fn has_room(self, generation: u32) -> bool {
        let others = (self.0 ^ (generation as u64) << Self::GENERATION) & GENERATIONS;
        others | self.0 & COUNTS < (BLOCK as u64) << Self::COUNT
    }

    const fn count(self) -> u32 {
        (self.0 >> Self::COUNT) as u32 & 0xf
    }

    const fn outcomes(self) -> u32 {
        self.0 as u32 & 0xff_ffff
    }

    const fn with(self, kind: Kind) -> Self {
        let bits = kind.failed as u64 | (kind.slow as u64) << BLOCK;
        Self((self.0 | bits << self.count()) + (1 << Self::COUNT))
    }
}

/// The number of a block as its start has it.
const fn tag(block: u32) -> u64 {
    (block as u64) << 42
}

const fn start(block: u32, counts: Counts) -> u64 {
    counts.failures | counts.slow << 14 | counts.calls << 28 | tag(block)
}

fn started_with(start: u64) -> Counts {
    let field = |from| start >> from & u64::from(MOST);
    Counts { failures: field(0), slow: field(14), calls: field(28) }
}

/// The bits that are set in each of the four quarters.
const fn ones(quarters: u64) -> u64 {
    const ALL: u64 = u64::MAX;
    let pairs = quarters - (quarters >> 1 & (ALL / 3));
    let fours = (pairs & (ALL / 5)) + (pairs >> 2 & (ALL / 5));
    let bytes = (fours + (fours >> 4)) & (ALL / 17);
    (bytes + (bytes >> 8)) & 0x00ff_00ff_00ff_00ff
}

impl Calls {
    /// For the generations after `generation`.
    pub(super) fn new(generation: u32) -> Self {
        let head = CachePadded::new(AtomicU64::new(Head::new(generation, 0).0));
        Self { head, rings: std::array::from_fn(|_| OnceLock::new()) }
    }

    pub(super) fn prepare(&self, size: Size) {
        if let Some(ring) = self.rings.get(size.ring as usize) {
            // Numbers that no block has that will be looked at.
            let block = |_| Block { outcomes: AtomicU64::new(u64::MAX), start: AtomicU64::new(u64::MAX) };
            ring.get_or_init(|| (0..2_usize << size.ring).map(block).collect());
        }
    }

    #[inline]
    fn ring(&self, size: Size) -> Option<&[Block]> {
        self.rings.get(size.ring as usize)?.get().map(|ring| &**ring)
    }

    #[inline]
    fn block(ring: &[Block], number: u32) -> Option<&Block> {
        ring.get(number as usize & (ring.len() - 1))
    }

    fn load(&self) -> Head {
        // ORDERING: Acquire pairs with the Release of the swap: the ring up to this block, and the breaker's word.
        Head(self.head.load(Ordering::Acquire))
    }

    fn swap(&self, head: Head, by: Head) -> bool {
        // ORDERING: Release for the ring; AcqRel, as one who sees this swap sees all before it.
        self.head.compare_exchange(head.0, by.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Replaces a word of the ring, on behalf of `head`, unless that has moved on.
    fn put(&self, word: &AtomicU64, by: u64, head: Head) {
        // ORDERING: Acquire pairs with the Release below: who has loaded the word of a later round sees the head moved on.
        let old = word.load(Ordering::Acquire);
        if old != by && self.load() == head {
            // Fails if somebody else was faster. Relaxed: seen by way of the head, but for the line above.
            let _ = word.compare_exchange(old, by, Ordering::Release, Ordering::Relaxed);
        }
    }

    /// The outcomes of a block; `None` if the head has moved on too far.
    #[inline]
    fn outcomes(ring: &[Block], head: Head, number: u32) -> Option<u32> {
        if number == head.block() {
            return Some(head.outcomes());
        }
        // ORDERING: Acquire only so that what follows a stale answer finds the head moved on.
        let outcomes = Self::block(ring, number)?.outcomes.load(Ordering::Acquire);
        (outcomes >> 32 == u64::from(number)).then_some(outcomes as u32)
    }

    /// What the window holds with this head; `None` if that has moved on too far.
    #[inline(always)]
    fn counts(ring: &[Block], most: u32, head: Head) -> Option<Counts> {
        // As the start of a block that follows has it: what comes back in one word comes back in a register.
        let held = Self::held(ring, most, head)?;
        Some(started_with(held.get()))
    }

    /// As [`counts`](Self::counts), in the bits of a block's start, with a number that is not 0.
    #[inline(never)]
    fn held(ring: &[Block], most: u32, head: Head) -> Option<NonZeroU64> {
        // ORDERING: as in `outcomes`.
        let start = Self::block(ring, head.block())?.start.load(Ordering::Acquire);
        if start & tag(u32::MAX) != tag(head.block()) {
            return None;
        }
        let start = started_with(start);
        let (held, come) = (start.calls as u32, head.count());
        let left = (held + come).saturating_sub(most);
        let mut leaving = 0_u64;
        if left > 0 {
            // The oldest call of the window when the block began is so many blocks back, and there at so many.
            let back = held.div_ceil(BLOCK);
            let at = back * BLOCK - held;
            let first = head.after(back.wrapping_neg());
            let near = Self::outcomes(ring, head, first)?;
            let next = if at + left > BLOCK {
                Self::outcomes(ring, head, head.after(1_u32.wrapping_sub(back)))?
            } else {
                0
            };
            let mask = (1 << left) - 1;
            let failed = (near & ONLY_FAILED | (next & ONLY_FAILED) << BLOCK) >> at & mask;
            let slow = (near >> BLOCK | next & !ONLY_FAILED) >> at & mask;
            leaving = u64::from(failed) | u64::from(slow) << 16;
        }
        let come_in = u64::from(head.outcomes() & ONLY_FAILED) | u64::from(head.outcomes() >> BLOCK) << 16;
        let ones = ones(come_in | leaving << 32);
        let quarter = |n: u32| ones >> (16 * n) & 0xff;
        let counts = Counts {
            calls: u64::from((held + come).min(most)),
            failures: start.failures + quarter(0) - quarter(2),
            slow: start.slow + quarter(1) - quarter(3),
        };
        NonZeroU64::new(self::start(1, counts))
    }

    /// As many calls as the window holds with this head, and no fewer failures and slow calls than that: as if all in the block
    /// were such, and none had left since it began.
    #[inline(always)]
    fn at_most(ring: &[Block], most: u32, head: Head) -> Option<Counts> {
        // ORDERING: as in `held`.
        let start = Self::block(ring, head.block())?.start.load(Ordering::Acquire);
        let (began, come) = (started_with(start), u64::from(head.count()));
        let calls = (began.calls + come).min(u64::from(most));
        let counts = Counts { calls, failures: began.failures + come, slow: began.slow + come };
        (start & tag(u32::MAX) == tag(head.block())).then_some(counts)
    }

    /// The head of a generation that begins.
    #[cold]
    #[inline(never)]
    fn first(&self, ring: &[Block], head: Head, generation: u32) -> Option<Head> {
        let block = head.after(2);
        self.put(&Self::block(ring, block)?.start, start(block, Counts::default()), head);
        Some(Head::new(generation, block))
    }

    /// The head after one whose block is full.
    #[inline]
    fn next(&self, ring: &[Block], most: u32, head: Head, generation: u32) -> Option<Head> {
        let counts = Self::counts(ring, most, head)?;
        let outcomes = u64::from(head.block()) << 32 | u64::from(head.outcomes());
        self.put(&Self::block(ring, head.block())?.outcomes, outcomes, head);
        let block = head.after(1);
        self.put(&Self::block(ring, block)?.start, start(block, counts), head);
        Some(Head::new(generation, block))
    }

    /// The head with room for the next outcome.
    #[inline(always)]
    fn room(&self, ring: &[Block], most: u32, head: Head, generation: u32) -> Option<Head> {
        if head.has_room(generation) { Some(head) } else { self.other(ring, most, head, generation) }
    }

    /// The head after one that has no room.
    #[inline(never)]
    fn other(&self, ring: &[Block], most: u32, head: Head, generation: u32) -> Option<Head> {
        if head.is_of(generation) {
            self.next(ring, most, head, generation)
        } else {
            self.first(ring, head, generation)
        }
    }

    /// Without a size, if this window is not the one in use: then only the generation is noted.
    pub(super) fn begin(&self, size: Option<Size>, generation: u32) {
        let ring = size.and_then(|size| self.ring(size));
        loop {
            let head = self.load();
            if head.is_of(generation) {
                return;
            }
            let first = match ring {
                Some(ring) => self.first(ring, head, generation),
                None => Some(Head::new(generation, head.after(2))),
            };
            if first.is_some_and(|first| self.swap(head, first)) {
                return;
            }
        }
    }

    /// See [`Windows::take`](super::Windows::take).
    #[inline(always)]
    pub(super) fn take(
        &self,
        size: Size,
        generation: u32,
        kind: Kind,
        still: impl Fn() -> bool,
        mut is_calm: impl FnMut(u32) -> bool,
    ) -> Taken {
        loop {
            let head = self.load();
            // After the head: see there.
            if !still() {
                return Taken::Late;
            }
            let calm = is_calm(0);
            let Some(ring) = self.ring(size) else { return Taken::Late };
            let Some(by) = self.room(ring, size.most, head, generation).map(|room| room.with(kind)) else {
                continue;
            };
            let counts = if calm {
                None
            } else {
                match Self::counts(ring, size.most, by) {
                    counts @ Some(_) => counts,
                    None => continue,
                }
            };
            if self.swap(head, by) {
                return counts.map_or(Taken::Calmly, Taken::With);
            }
        }
    }

    /// See [`Windows::take_calmly`](super::Windows::take_calmly).
    #[inline(always)]
    pub(super) fn take_calmly(&self, generation: u32, is_calm: impl FnOnce() -> bool) -> bool {
        let head = self.load();
        head.has_room(generation) && is_calm() && self.swap(head, head.with(WELL))
    }

    /// See [`Windows::take_failure_below`](super::Windows::take_failure_below).
    #[inline(always)]
    pub(super) fn take_failure_below(
        &self,
        size: Size,
        generation: u32,
        is_below: impl FnOnce(Counts) -> bool,
    ) -> bool {
        let head = self.load();
        if !head.has_room(generation) {
            return false;
        }
        let by = head.with(Kind { failed: true, slow: false });
        let most = self.ring(size).and_then(|ring| Self::at_most(ring, size.most, by));
        most.is_some_and(is_below) && self.swap(head, by)
    }

    /// See [`Windows::begin_block_calmly`](super::Windows::begin_block_calmly).
    #[inline]
    pub(super) fn begin_block_calmly(
        &self,
        size: Size,
        generation: u32,
        is_calm: impl FnOnce() -> bool,
    ) -> bool {
        let head = self.load();
        if !is_calm() {
            return false;
        }
        let room = self.ring(size).and_then(|ring| self.room(ring, size.most, head, generation));
        room.is_some_and(|room| self.swap(head, room.with(WELL)))
    }

    pub(super) fn read(&self, size: Size, generation: u32) -> Counts {
        let Some(ring) = self.ring(size) else { return Counts::default() };
        loop {
            let head = self.load();
            if !head.is_of(generation) {
                return Counts::default();
            }
            if let Some(counts) = Self::counts(ring, size.most, head) {
                return counts;
            }
        }
    }
}

#[cfg(all(test, not(any(cofferdam_loom, cofferdam_shuttle))))]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// S29
    #[test]
    fn the_counts_are_those_of_a_naive_recount_for_every_size() {
        for most in (1..40).chain([99, 100, 101, 1000]) {
            let (calls, size) = (Calls::new(u32::MAX), Size::new(most));
            calls.prepare(size);
            let mut plain = VecDeque::new();
            let mut random = fastrand::Rng::with_seed(u64::from(most));
            let mut generation = 0;
            for n in 0..3_000 {
                if random.u32(..1_200) == 0 {
                    generation += 1;
                    plain.clear();
                    if random.bool() {
                        calls.begin(Some(size), generation);
                        assert_eq!(calls.read(size, generation), Counts::default());
                    }
                }
                let kind = Kind { failed: random.u32(..4) == 0, slow: random.u32(..3) == 0 };
                plain.push_back(kind);
                if plain.len() > most as usize {
                    plain.pop_front();
                }
                let below = random.bool();
                let mut most_of = None;
                if kind.failed && !kind.slow && below {
                    let is_below = |most| {
                        most_of = Some(most);
                        true
                    };
                    let taken = calls.take_failure_below(size, generation, is_below);
                    assert_eq!(taken, most_of.is_some(), "nobody came in between");
                    if let Some(most) = most_of {
                        let held = calls.read(size, generation);
                        assert_eq!(most.calls, held.calls, "{n} of {most:?}");
                        assert!(
                            most.failures >= held.failures && most.slow >= held.slow,
                            "{most:?} {held:?}"
                        );
                        continue;
                    }
                }
                let calm = random.u32(..4) == 0;
                let well = !kind.failed && !kind.slow;
                let taken = if calm
                    && well
                    && (calls.take_calmly(generation, || true)
                        || calls.begin_block_calmly(size, generation, || true))
                {
                    Taken::Calmly
                } else {
                    calls.take(size, generation, kind, || true, |_| calm)
                };
                if calm {
                    assert_eq!(taken, Taken::Calmly);
                } else if most < 200 || n % 97 == 0 {
                    let count = |of: fn(&Kind) -> bool| plain.iter().filter(|kind| of(kind)).count() as u64;
                    let expected = Counts {
                        calls: plain.len() as u64,
                        failures: count(|kind| kind.failed),
                        slow: count(|kind| kind.slow),
                    };
                    assert_eq!((taken, most, n), (Taken::With(expected), most, n));
                    assert_eq!(calls.read(size, generation), expected);
                }
            }
        }
    }

    #[test]
    fn the_largest_window_has_a_ring() {
        assert_eq!(Size::new(1).ring, 1);
        assert_eq!(Size::new(MOST).ring as usize, SIZES - 1);
    }
}
