//! The window of the last `n` calls, exactly.
//!
//! Outcomes come in blocks of twelve. The block that is being filled is the *head*, one word that changes by compare-and-swap. A
//! block that is full goes into a ring, from where its outcomes leave the window one by one, at the pace at which the head fills.
//! Besides, the ring has for each block what the window held when the block began. So the counts are those, and what has come in
//! since, and without what has left since: two or three loads and some bit counting, however large the window.
//!
//! Successes that were not slow are only [noted](super::noted) by their threads. Everybody else (a failure, a slow call, a success
//! that is to be judged, a reader) first puts into the head what has been noted and is not in the window yet, and then goes in
//! himself: so the order in the window is an order in which the calls may have ended.
//!
//! # Who writes what
//!
//! How many noted successes are in the window follows from the head and from what was before its block: all in the block that
//! neither failed nor were slow are such. So whoever puts some in takes them off the noted ones by the same swap, and nobody puts
//! them in twice. (The sum of the noted ones is looked at after the head: so it is not less than what is in the window.)
//!
//! One who finds the block full first writes the block's outcomes, and the start of the next one and what was before it, into the
//! ring, then swaps the head for the next block. All of them follow from the head, so whoever does it writes the same; and he does it
//! only where the head is unchanged after he has loaded what he replaces, so that one who was held up does not write over a later
//! round. The head is swapped after all are written: who sees a block sees its start, and all blocks before it.
//!
//! The first of a generation leaves the present block as it is and begins the one *after the next*, which starts empty: the next may
//! be begun at the same time by an outcome of the generation that ends, with another start.
//!
//! If more successes have been noted than the window holds, nothing else stays in it: the head *leaps* to a third block, before which
//! there is nothing but successes. By how many is agreed upon first, as all must write the same: the first who says so of this head
//! is right.
//!
//! What is loaded from the ring may be of a later round, if others have gone round in between: its number says so, and the
//! outcome begins anew.
//!
//! (Numbers of starts repeat after 4 million blocks, of blocks after 16 million, which are 50 and 200 million outcomes: a thread
//! would have to be held up between two instructions for just so many, and a few, to do harm.)

use super::noted::{Noted, SUM};
use super::words::{
    BLOCK, Block, CALLS, Head, MANY_BLOCKS, MOST, ONLY_FAILED, SIZES, SLOW, Size, before, ones, start,
    started_with, tag,
};
use super::{Counts, Kind, Taken};
use crate::shim::{AtomicU64, Ordering};
use crate::sync::striped::Lane;
use crossbeam_utils::CachePadded;
use std::num::NonZeroU64;
use std::sync::OnceLock;

/// So many more noted than put in, and it is worth while to leap.
const LEAP: u64 = 2 * BLOCK as u64;
/// So many blocks after that of the head from which.
const LANDS: u32 = 3;
const LONGEST_LEAP: u64 = (1 << 24) - 1;

pub(super) struct Calls {
    head: CachePadded<AtomicU64>,
    leap: AtomicU64,
    rings: [OnceLock<Box<[Block]>>; SIZES],
}

/// A failure that is about to go in.
pub(crate) struct Failure {
    from: Head,
    by: Head,
    /// The window holds no more with it, by what can be said at a glance.
    pub(crate) most: Counts,
}

impl Calls {
    /// For the generations after `generation`.
    pub(super) fn new(generation: u32) -> Self {
        let head = CachePadded::new(AtomicU64::new(Head::new(generation, 0).0));
        // No head has so many outcomes.
        let leap = AtomicU64::new(u64::MAX);
        Self { head, leap, rings: std::array::from_fn(|_| OnceLock::new()) }
    }

    pub(super) fn prepare(&self, size: Size) {
        if let Some(ring) = self.rings.get(size.ring as usize) {
            // Numbers that no block has that will be looked at.
            let none = || AtomicU64::new(u64::MAX);
            let block = |_| Block { outcomes: none(), start: none(), before: none() };
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
        // ORDERING: Acquire (twice) pairs with the Release: who has loaded the word of a later round sees the head moved on.
        let mut old = word.load(Ordering::Acquire);
        while old != by && self.load() == head {
            // If somebody was faster, he most likely wrote the same. But he may have been held up since long ago, on behalf of a head
            // that was then followed by another block than he thought: what he wrote is of no use to anybody, and this is once more.
            match word.compare_exchange(old, by, Ordering::Release, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }

    /// The outcomes of the block so many before the head's; `None` if the head has moved on too far.
    #[inline]
    fn outcomes(ring: &[Block], head: Head, back: u32, blocks: u64) -> Option<u32> {
        if back == 0 {
            return Some(head.outcomes());
        }
        if u64::from(back) > blocks {
            return Some(0);
        }
        let number = head.after(back.wrapping_neg());
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
        let block = Self::block(ring, head.block())?;
        // ORDERING: as in `outcomes`.
        let start = block.start.load(Ordering::Acquire);
        if start & tag(u32::MAX) != tag(head.block()) {
            return None;
        }
        let (held, come) = ((start >> CALLS) as u32 & MOST, head.count());
        let left = (held + come).saturating_sub(most);
        let mut leaving = 0_u64;
        if left > 0 {
            // The oldest call of the window when the block began is so many blocks back, and there at so many.
            let back = held.div_ceil(BLOCK);
            let at = back * BLOCK - held;
            let (_, blocks) = Self::before(block, head)?;
            let near = Self::outcomes(ring, head, back, blocks)?;
            let next = if at + left > BLOCK { Self::outcomes(ring, head, back - 1, blocks)? } else { 0 };
            let mask = (1 << left) - 1;
            let failed = (near & ONLY_FAILED | (next & ONLY_FAILED) << BLOCK) >> at & mask;
            let slow = (near >> BLOCK | next & !ONLY_FAILED) >> at & mask;
            leaving = u64::from(failed) | u64::from(slow) << 16;
        }
        let come_in = u64::from(head.outcomes() & ONLY_FAILED) | u64::from(head.outcomes() >> BLOCK) << 16;
        let ones = ones(come_in | leaving << 32);
        let quarter = |n: u32| ones >> (16 * n) & 0xff;
        // Failures and slow calls side by side: none of them is less than what leaves, or more than there are calls.
        let pair = |first, second| first | second << SLOW;
        let bad = (start & pair(u64::from(MOST), u64::from(MOST))) + pair(quarter(0), quarter(1));
        let bad = bad - pair(quarter(2), quarter(3));
        NonZeroU64::new(bad | u64::from((held + come).min(most)) << CALLS | tag(1))
    }

    /// As many calls as the window holds with this head, and no fewer failures and slow calls than that: as if so many outcomes of
    /// the block were such, and none had left since it began.
    #[inline(always)]
    fn at_most(block: &Block, most: u32, head: Head, bad: u64) -> Option<Counts> {
        // ORDERING: as in `held`.
        let start = block.start.load(Ordering::Acquire);
        let began = started_with(start);
        let calls = (began.calls + u64::from(head.count())).min(u64::from(most));
        let counts = Counts { calls, failures: began.failures + bad, slow: began.slow + bad };
        (start & tag(u32::MAX) == tag(head.block())).then_some(counts)
    }

    /// How many noted successes were in the window before the block of this head, and how many blocks are in the ring; `None` if the
    /// head has moved on too far.
    #[inline(always)]
    fn before(block: &Block, head: Head) -> Option<(u64, u64)> {
        // ORDERING: as in `outcomes`.
        let before = block.before.load(Ordering::Acquire);
        (before & tag(u32::MAX) == tag(head.block())).then_some((before & SUM, before >> 31 & MANY_BLOCKS))
    }

    /// How many of the successes that have been noted, `sum` in all, are not in the window with this head, if so many were in it
    /// before its block.
    #[inline(always)]
    fn waiting(sum: u64, before: u64, head: Head) -> u64 {
        sum.wrapping_sub(before).wrapping_sub(head.well().into()) & SUM
    }

    /// Writes how a block begins, on behalf of `head`.
    fn put_start(&self, ring: &[Block], number: u32, start: u64, before: u64, head: Head) -> Option<()> {
        let block = Self::block(ring, number)?;
        self.put(&block.start, start, head);
        self.put(&block.before, before, head);
        Some(())
    }

    /// The head of a generation that begins.
    #[cold]
    #[inline(never)]
    fn first(&self, ring: &[Block], head: Head, generation: u32) -> Option<Head> {
        let block = head.after(2);
        self.put_start(ring, block, start(block, Counts::default()), before(block, 0, 0), head)?;
        Some(Head::new(generation, block))
    }

    /// The head after one whose block is full.
    #[inline]
    fn next(&self, ring: &[Block], most: u32, head: Head) -> Option<Head> {
        let held = Self::held(ring, most, head)?.get();
        let full = Self::block(ring, head.block())?;
        let (noted, blocks) = Self::before(full, head)?;
        let outcomes = u64::from(head.block()) << 32 | u64::from(head.outcomes());
        self.put(&full.outcomes, outcomes, head);
        let block = head.after(1);
        let before = before(block, noted + u64::from(head.well()), (blocks + 1).min(MANY_BLOCKS));
        self.put_start(ring, block, held & !tag(u32::MAX) | tag(block), before, head)?;
        Some(head.begin(block))
    }

    /// The head after more successes than the window holds.
    #[cold]
    #[inline(never)]
    fn leap(&self, ring: &[Block], most: u32, head: Head, generation: u32, waiting: u64) -> Option<Head> {
        let (noted, _) = Self::before(Self::block(ring, head.block())?, head)?;
        let by = self.agree(head, waiting.min(LONGEST_LEAP))?;
        let block = head.after(LANDS);
        let counts = Counts { calls: most.into(), failures: 0, slow: 0 };
        let before = before(block, noted + u64::from(head.well()) + by, 0);
        self.put_start(ring, block, start(block, counts), before, head)?;
        Some(Head::new(generation, block))
    }

    /// By how many to leap from this head: what the first one says. `None` if the head has moved on.
    fn agree(&self, head: Head, by: u64) -> Option<u64> {
        let from = head.0 >> Head::COUNT;
        // ORDERING: Acquire pairs with the Release below: whoever leaps by as many has seen as many noted.
        let seen = self.leap.load(Ordering::Acquire);
        let agreed = if seen >> 24 != from && self.load() == head {
            let by = from << 24 | by;
            match self.leap.compare_exchange(seen, by, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => by,
                Err(now) => now,
            }
        } else {
            seen
        };
        (agreed >> 24 == from).then_some(agreed & LONGEST_LEAP)
    }

    /// One step on the way to where so many noted ones, and then the outcome, are in the window; whether it is the last.
    #[inline]
    fn step(
        &self,
        sum: u64,
        ring: &[Block],
        most: u32,
        head: Head,
        generation: u32,
        outcome: Option<Kind>,
    ) -> Option<(Head, bool)> {
        if !head.is_of(generation) {
            return Some((self.first(ring, head, generation)?, false));
        }
        let (before, _) = Self::before(Self::block(ring, head.block())?, head)?;
        let waiting = Self::waiting(sum, before, head);
        let all = waiting + u64::from(outcome.is_some());
        if all == 0 {
            return Some((head, true));
        }
        if waiting >= LEAP.max(most.into()) {
            return Some((self.leap(ring, most, head, generation, waiting)?, false));
        }
        let by = if head.room() == 0 { self.next(ring, most, head)? } else { head };
        let is_last = all <= by.room();
        let by = by.with_well(waiting.min(by.room()));
        Some((outcome.filter(|_| is_last).map_or(by, |kind| by.with(kind)), is_last))
    }

    /// Puts in what has been noted, and then the outcome, if there is one: what the window holds with them. `None` if `still` says
    /// no.
    ///
    /// Who has nothing to put in writes nothing. What he has noted himself is in this head, then; whoever put it in has counted it, and
    /// so acquired what was before it.
    #[inline]
    fn put_in<const N: usize>(
        &self,
        noted: Noted<'_, N>,
        size: Size,
        generation: u32,
        outcome: Option<Kind>,
        still: impl Fn(Head) -> bool,
    ) -> Option<Counts> {
        // The head of his last step, as long as nobody else comes in between, and the sum of the time when he began: it is not less
        // than what is in the window with that, and all that was noted before him. (The lines are those of busy threads.)
        let mut own = None;
        loop {
            let head = own.map_or_else(|| self.load(), |(head, _)| head);
            // Both after the head: see the module above.
            if !still(head) {
                return None;
            }
            let sum = own.take().map_or_else(|| noted.sum(generation), |(_, sum)| sum);
            let ring = self.ring(size)?;
            let Some((by, is_last)) = self.step(sum, ring, size.most, head, generation, outcome) else {
                continue;
            };
            let counts = if is_last { Self::counts(ring, size.most, by) } else { None };
            if is_last && counts.is_none() {
                continue;
            }
            if is_last && by == head {
                return counts;
            }
            if self.swap(head, by) {
                if is_last {
                    return counts;
                }
                // (A leap may be one by more than he has counted.)
                own = (by.block() != head.after(LANDS)).then_some((by, sum));
            }
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
    pub(super) fn take<const N: usize>(
        &self,
        (noted, lane): (Noted<'_, N>, Lane),
        size: Size,
        generation: u32,
        kind: Kind,
        still: impl Fn() -> bool,
        is_calm: impl FnOnce() -> bool,
    ) -> Taken {
        if kind.failed || kind.slow {
            // (Never calm; but it is asked.)
            is_calm();
            let counts = self.put_in(noted, size, generation, Some(kind), |_| still());
            return counts.map_or(Taken::Late, Taken::With);
        }
        if !still() {
            return Taken::Late;
        }
        let calm = is_calm();
        if !noted.add(lane, generation) && calm {
            return Taken::Calmly;
        }
        match self.put_in(noted, size, generation, None, |_| still()) {
            Some(counts) if !calm => Taken::With(counts),
            _ if calm => Taken::Calmly,
            _ => Taken::Late,
        }
    }

    /// See [`Windows::failure`](super::Windows::failure).
    #[inline(always)]
    pub(super) fn failure<const N: usize>(
        &self,
        noted: Noted<'_, N>,
        size: Size,
        generation: u32,
        still: impl Fn() -> bool,
    ) -> Option<Failure> {
        let ring = self.ring(size)?;
        let head = self.load();
        let block = Self::block(ring, head.block())?;
        let (before, _) = Self::before(block, head).filter(|_| head.is_of(generation))?;
        let waiting = Self::waiting(noted.sum(generation), before, head);
        let (from, by) = if waiting < head.room() {
            (head, head.with_well(waiting))
        } else if !still() {
            return None;
        } else {
            self.overflow(ring, size.most, head, waiting)
        };
        if by.room() == 0 {
            return None;
        }
        let bad = if from.block() == by.block() { from.count() } else { 0 };
        let by = by.with(Kind { failed: true, slow: false });
        let most = Self::at_most(Self::block(ring, by.block())?, size.most, by, u64::from(bad) + 1)?;
        Some(Failure { from, by, most })
    }

    /// See [`Windows::put`](super::Windows::put).
    #[inline(always)]
    pub(super) fn put_failure(&self, failure: &Failure) -> bool {
        self.swap(failure.from, failure.by)
    }

    /// Fills the block with some of those that are waiting: the head then, and the one after it, with the rest of them. If that does
    /// not go, the second is the first.
    #[inline(never)]
    fn overflow(&self, ring: &[Block], most: u32, head: Head, waiting: u64) -> (Head, Head) {
        let (full, rest) = (head.with_well(head.room()), waiting - head.room());
        let filled = rest < BLOCK.into() && (head == full || self.swap(head, full));
        let next = if filled { self.next(ring, most, full) } else { None };
        (full, next.map_or(full, |next| next.with_well(rest)))
    }

    /// Nothing, before the first outcome of a generation.
    pub(super) fn read<const N: usize>(
        &self,
        noted: Noted<'_, N>,
        size: Size,
        generation: u32,
        still: impl Fn() -> bool,
    ) -> Counts {
        let still = |head: Head| head.is_of(generation) && still();
        self.put_in(noted, size, generation, None, still).unwrap_or_default()
    }
}

#[cfg(all(test, not(any(cofferdam_loom, cofferdam_shuttle))))]
mod tests {
    use super::*;
    use crate::sync::striped::Striped;
    use std::collections::VecDeque;

    const WELL: Kind = Kind { failed: false, slow: false };
    const BAD: Kind = Kind { failed: true, slow: false };

    /// The window as one would write it down.
    struct Plain {
        most: usize,
        held: VecDeque<Kind>,
    }

    impl Plain {
        fn push(&mut self, kind: Kind) {
            self.held.push_back(kind);
            if self.held.len() > self.most {
                self.held.pop_front();
            }
        }

        fn counts(&self) -> Counts {
            let count = |of: fn(&Kind) -> bool| self.held.iter().filter(|kind| of(kind)).count() as u64;
            let calls = self.held.len() as u64;
            Counts { calls, failures: count(|kind| kind.failed), slow: count(|kind| kind.slow) }
        }
    }

    /// S29
    #[test]
    fn the_counts_are_those_of_a_naive_recount_for_every_size() {
        for most in (1..40).chain([99, 100, 101, 1000]) {
            let (calls, size, lines) =
                (Calls::new(u32::MAX), Size::new(most), Striped::<1>::with_lines(2, 2));
            let noted = Noted(&lines);
            calls.prepare(size);
            let mut plain = Plain { most: most as usize, held: VecDeque::new() };
            let mut random = fastrand::Rng::with_seed(u64::from(most));
            let mut generation = 0;
            for n in 0..3_000 {
                if random.u32(..1_200) == 0 {
                    generation += 1;
                    plain.held.clear();
                    if random.bool() {
                        calls.begin(Some(size), generation);
                        assert_eq!(calls.read(noted, size, generation, || true), Counts::default());
                    }
                }
                // Some of one thread only, and some that share.
                let lane = Lane([0, 1, 64, 65, 77][random.usize(..5)]);
                let kind = Kind { failed: random.u32(..4) == 0, slow: random.u32(..3) == 0 };
                // Now and then nothing but successes for a while: fewer than it holds, or more.
                if random.u32(..10) == 0 {
                    for _ in 0..random.u32(..3 * most) {
                        plain.push(WELL);
                        assert!(!noted.add(lane, generation), "so many are not noted here");
                    }
                }
                plain.push(kind);
                let expected = plain.counts();
                let below = random.bool();
                if kind.failed && !kind.slow && below {
                    if let Some(failure) = calls.failure(noted, size, generation, || true) {
                        assert!(calls.put_failure(&failure), "nobody came in between");
                        let most = failure.most;
                        assert_eq!(most.calls, expected.calls, "{n} of {most:?}");
                        assert!(
                            most.failures >= expected.failures && most.slow >= expected.slow,
                            "{most:?} {expected:?}"
                        );
                        continue;
                    }
                }
                let calm = random.u32(..4) == 0;
                let taken = calls.take((noted, lane), size, generation, kind, || true, || calm);
                if calm && kind == WELL {
                    assert_eq!(taken, Taken::Calmly);
                } else {
                    assert_eq!((taken, most, n), (Taken::With(expected), most, n));
                    assert_eq!(calls.read(noted, size, generation, || true), expected);
                }
            }
        }
    }

    /// S29
    #[test]
    fn more_successes_than_a_sum_holds_go_in_if_they_are_put_in_in_time() {
        let (calls, size, lines) = (Calls::new(u32::MAX), Size::new(100), Striped::<1>::with_lines(1, 1));
        let (noted, lane) = (Noted(&lines), Lane(0));
        calls.prepare(size);
        let fail = || calls.take((noted, lane), size, 0, BAD, || true, || false);
        let held = |calls, failures| Counts { calls, failures, slow: 0 };
        assert_eq!(fail(), Taken::With(held(1, 1)));
        let mut all = 0_u64;
        while all < 5 << 31 {
            // As if so many had been noted, up to the last before it is time.
            let many = (1 << 18) - 2;
            let number = &lines.lines()[0][0];
            number.store(number.load(Ordering::Relaxed).wrapping_add(many << 32), Ordering::Relaxed);
            assert!(!noted.add(lane, 0));
            assert!(noted.add(lane, 0), "now it is");
            all += many + 2;
            assert_eq!(calls.read(noted, size, 0, || true), held(100, 0));
            if all & (1 << 25) == 0 {
                assert_eq!((fail(), fail()), (Taken::With(held(100, 1)), Taken::With(held(100, 2))));
            }
        }
    }

    /// S9: the head has but the low bits of its generation.
    #[test]
    fn who_was_held_up_for_thousands_of_generations_puts_nothing_in() {
        let (calls, size, lines) = (Calls::new(u32::MAX), Size::new(100), Striped::<1>::with_lines(2, 1));
        let noted = Noted(&lines);
        calls.prepare(size);
        let note = |lane, many, generation| assert!((0..many).all(|_| !noted.add(Lane(lane), generation)));
        note(0, BLOCK + 3, 0);
        let generation = 1 << 12;
        calls.begin(Some(size), generation);
        note(1, 2, generation);
        let held = Counts { calls: 3, failures: 1, slow: 0 };
        let taken = calls.take((noted, Lane(1)), size, generation, BAD, || true, || false);
        assert_eq!(taken, Taken::With(held));
        assert!(calls.failure(noted, size, 0, || false).is_none());
        assert_eq!(calls.read(noted, size, generation, || true), held);
        assert_eq!(calls.read(noted, size, 0, || false), Counts::default());
        assert_eq!(calls.read(noted, size, generation, || true), held);
    }

    #[test]
    fn the_largest_window_has_a_ring() {
        assert_eq!(Size::new(1).ring, 1);
        assert_eq!(Size::new(MOST).ring as usize, SIZES - 1);
    }
}
