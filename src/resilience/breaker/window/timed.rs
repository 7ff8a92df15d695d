//! The window of the last so many seconds, in parts with fixed edges.
//!
//! Four counters, one for each kind of outcome, only grow. Where a part begins, their values are written down; what a window
//! holds is what they are now less what they were when the oldest of its parts began. So an outcome changes one word, each
//! is counted in one kind and so wholly or not at all, and nothing is ever added up, or cleared as it grows old.
//!
//! # The words
//!
//! | word | bits | what |
//! |---|---|---|
//! | head | 0..56 | index of the present part: time since the epoch, divided by its length |
//! | | 56..64 | number of the window's shape |
//! | a count | 0..38 | outcomes of the kind in the generation; wraps, as only differences are read |
//! | | 38..64 | the low bits of the generation: of another one, there is none |
//! | a start | 0..38 | the count when the part began |
//! | | 38..62 | the low bits of its generation: of another one, the part began with none |
//! | | 62..64 | how often the starts have been gone round, the low bits |
//!
//! So a window holds up to 274 thousand million outcomes of a kind: those of three days with a million of them in each second.
//!
//! # Who writes what
//!
//! An outcome that finds its time past the present part first writes the starts of all parts up to its own (of the last 64,
//! if there are more), then swaps the head. Several may do so at once: each takes the count *before* it makes sure that the
//! head has not moved, so none writes a start that has outcomes of its own part in it. (It may lack some of those that came
//! in just before, which are then counted in the later part.) The head is swapped after all are written.
//!
//! Who reads by the present head must find the starts of its window. So as long as there is anything in that, it moves on by
//! so few parts at once that their starts are in the place of none of them: a pause of some parts' length is made up for in
//! several swaps, until the window is empty or the part is reached.
//!
//! An outcome whose time is before the present part, by a clock that steps back or by having been held up, is counted in the
//! present part.
//!
//! All this is sequentially consistent, so that of two outcomes that change different counts at the same time, one sees both.

use super::{Counts, Kind, Shape, Taken};
use crate::shim::{AtomicU64, Ordering, load_seq_cst_u64};
use crossbeam_utils::CachePadded;
use std::sync::OnceLock;

/// Parts whose starts are known. (A power of two. The models have no time for more than a few.)
const PARTS: usize = if cfg!(cofferdam_loom) { 8 } else { 64 };
/// The most parts of a window: some fewer, so that the head can move on without writing over the starts of its window.
pub(super) const MOST_BUCKETS: u32 = PARTS as u32 - 4;
pub(super) const LONGEST_BUCKET: u64 = (1 << 48) - 1;
/// Failed or not, slow or not.
const KINDS: usize = 4;
const INDEX: u32 = 56;
const GENERATION: u32 = 38;
const COUNT: u64 = (1 << GENERATION) - 1;
const ROUND: u32 = 62;

type Starts = [AtomicU64; KINDS];

pub(super) struct Timed {
    head: CachePadded<AtomicU64>,
    counts: CachePadded<[AtomicU64; KINDS]>,
    starts: OnceLock<Box<[Starts; PARTS]>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Head(u64);

impl Head {
    const fn new(shape: Shape, index: u64) -> Self {
        Self((shape.number() as u64) << INDEX | index)
    }

    const fn index(self) -> u64 {
        self.0 & ((1 << INDEX) - 1)
    }

    const fn is_of(self, shape: Shape) -> bool {
        self.0 >> INDEX == shape.number() as u64
    }

    /// When the part is over.
    const fn end(self, shape: Shape) -> u64 {
        (self.index() + 1).saturating_mul(shape.bucket())
    }
}

/// The generation of a count.
const fn tag(generation: u32) -> u64 {
    (generation as u64) << GENERATION
}

const fn counted(count: u64, generation: u32) -> u64 {
    if count & !COUNT == tag(generation) { count & COUNT } else { 0 }
}

const fn started(start: u64, generation: u32) -> u64 {
    if (start ^ tag(generation)) & (COUNT ^ ((1 << ROUND) - 1)) == 0 { start & COUNT } else { 0 }
}

impl Timed {
    pub(super) fn new() -> Self {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        // Of a shape that no window has: they are numbered from 1.
        Self {
            head: CachePadded::new(AtomicU64::new(0)),
            counts: CachePadded::new(zeros()),
            starts: OnceLock::new(),
        }
    }

    pub(super) fn prepare(&self) {
        let zeros = |_| std::array::from_fn(|_| AtomicU64::new(0));
        self.starts.get_or_init(|| Box::new(std::array::from_fn(zeros)));
    }

    fn load(&self) -> Head {
        Head(load_seq_cst_u64(&self.head))
    }

    pub(super) fn last_number(&self) -> u8 {
        (self.load().0 >> INDEX) as u8
    }

    #[inline]
    fn start(starts: &[Starts; PARTS], index: u64) -> &Starts {
        &starts[index as usize % PARTS]
    }

    /// Makes the part that `now` is in the present one, after `head`; or one on the way to it.
    #[cold]
    #[inline(never)]
    fn rotate(&self, starts: &[Starts; PARTS], shape: Shape, generation: u32, head: Head, now: u64) {
        let index = now / shape.bucket();
        let free = head.index() + PARTS as u64 - u64::from(shape.buckets());
        let far = head.is_of(shape) && index > free;
        let oldest = (head.index() + 1).saturating_sub(u64::from(shape.buckets()));
        let index = if far && self.since(starts, oldest, generation).calls > 0 { free } else { index };
        let least = (index + 1).saturating_sub(PARTS as u64);
        let first = if head.is_of(shape) { least.max(head.index() + 1) } else { least };
        for part in first..=index {
            for (start, count) in Self::start(starts, part).iter().zip(self.counts.iter()) {
                let count = load_seq_cst_u64(count);
                let old = load_seq_cst_u64(start);
                if self.load() != head {
                    return;
                }
                // The low 24 bits of the count's generation stay where they are.
                let by = count & ((1 << ROUND) - 1) | (part / (PARTS as u64)) << ROUND;
                // Fails if somebody else was faster: his is as good.
                let _ = start.compare_exchange(old, by, Ordering::SeqCst, Ordering::Relaxed);
            }
        }
        // Fails if somebody else was faster; if he is not as far, the caller sees it.
        let _ = self.head.compare_exchange(
            head.0,
            Head::new(shape, index).0,
            Ordering::SeqCst,
            Ordering::Relaxed,
        );
    }

    /// What has been counted since the part `oldest` began, which is at most the head's.
    #[inline]
    fn since(&self, starts: &[Starts; PARTS], oldest: u64, generation: u32) -> Counts {
        let mut counts = Counts::default();
        for (kind, (count, start)) in self.counts.iter().zip(Self::start(starts, oldest)).enumerate() {
            // The start first: what is counted later is not less.
            let start = started(load_seq_cst_u64(start), generation);
            let calls = counted(load_seq_cst_u64(count), generation).wrapping_sub(start) & COUNT;
            counts.calls += calls;
            counts.failures += if kind & 1 == 0 { 0 } else { calls };
            counts.slow += if kind & 2 == 0 { 0 } else { calls };
        }
        counts
    }

    /// See [`Windows::take`](super::Windows::take).
    #[inline(always)]
    pub(super) fn take(
        &self,
        shape: Shape,
        generation: u32,
        kind: Kind,
        now: u64,
        still: impl Fn() -> bool,
        is_calm: impl FnMut(u32) -> bool,
    ) -> Taken {
        let Some(starts) = self.starts.get() else { return Taken::Late };
        let count = &self.counts[usize::from(kind.failed) | usize::from(kind.slow) << 1];
        loop {
            let head = self.load();
            let seen = load_seq_cst_u64(count);
            if !still() {
                return Taken::Late;
            }
            if !head.is_of(shape) || now >= head.end(shape) && now != u64::MAX {
                self.rotate(starts, shape, generation, head, now);
                continue;
            }
            let by = tag(generation) | counted(seen, generation).wrapping_add(1) & COUNT;
            if count.compare_exchange(seen, by, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                break;
            }
        }
        self.read_at_head(starts, shape, generation, is_calm)
    }

    #[inline]
    fn read_at_head(
        &self,
        starts: &[Starts; PARTS],
        shape: Shape,
        generation: u32,
        mut is_calm: impl FnMut(u32) -> bool,
    ) -> Taken {
        loop {
            let head = self.load();
            if is_calm(head.index() as u32) {
                return Taken::Calmly;
            }
            let oldest = (head.index() + 1).saturating_sub(u64::from(shape.buckets()));
            let counts = self.since(starts, oldest, generation);
            if self.load() == head {
                return Taken::With(counts);
            }
        }
    }

    pub(super) fn read(&self, shape: Shape, generation: u32, now: u64) -> Counts {
        let Some(starts) = self.starts.get() else { return Counts::default() };
        loop {
            let head = self.load();
            let present = (now / shape.bucket()).max(head.index());
            let oldest = (present + 1).saturating_sub(u64::from(shape.buckets()));
            if !head.is_of(shape) || oldest > head.index() {
                return Counts::default();
            }
            let counts = self.since(starts, oldest, generation);
            if self.load() == head {
                return counts;
            }
        }
    }
}

#[cfg(all(test, not(any(cofferdam_loom, cofferdam_shuttle))))]
mod tests {
    use super::*;

    const FAILED: Kind = Kind { failed: true, slow: false };
    const WELL: Kind = Kind { failed: false, slow: false };

    fn timed() -> Timed {
        let timed = Timed::new();
        timed.prepare();
        timed
    }

    /// S25-S30, against a list of all outcomes.
    #[test]
    fn the_counts_are_those_of_the_parts_whatever_is_asked_in_between() {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..400 {
            let (timed, asked) = (timed(), timed());
            let buckets = random.u32(1..=MOST_BUCKETS);
            let shape = Shape::time(buckets, random.u64(1..50)).numbered(1 + round as u8 % 9);
            let (mut all, mut now, mut generation) = (Vec::new(), 0_u64, 0);
            for _ in 0..300 {
                now += match random.u32(..20) {
                    0 => random.u64(..shape.bucket() * 300),
                    1 => shape.bucket() * 64 * random.u64(..5),
                    2..8 => random.u64(..shape.bucket() * 3),
                    _ => random.u64(..3),
                };
                if random.u32(..40) == 0 {
                    generation += 1;
                    all.clear();
                }
                let kind = Kind { failed: random.bool(), slow: random.u32(..3) == 0 };
                all.push((now / shape.bucket(), kind));
                for _ in 0..random.u32(..3) {
                    let _ = asked.read(shape, generation, now + random.u64(..1_000));
                }
                let taken = timed.take(shape, generation, kind, now, || true, |_| false);
                assert_eq!(asked.take(shape, generation, kind, now, || true, |_| false), taken);
                let expected = |now: u64| {
                    let oldest = (now / shape.bucket() + 1).saturating_sub(buckets.into());
                    let within = || all.iter().filter(|(part, _)| *part >= oldest).map(|(_, kind)| kind);
                    Counts {
                        calls: within().count() as u64,
                        failures: within().filter(|kind| kind.failed).count() as u64,
                        slow: within().filter(|kind| kind.slow).count() as u64,
                    }
                };
                assert_eq!(taken, Taken::With(expected(now)));
                let later = now + random.u64(..shape.bucket() * 80);
                assert_eq!(timed.read(shape, generation, later), expected(later));
            }
        }
    }

    /// S28
    #[test]
    fn an_outcome_is_gone_when_the_window_is_over_at_the_latest() {
        let timed = timed();
        let shape = Shape::time(6, 1_000).numbered(1);
        timed.take(shape, 0, FAILED, 0, || true, |_| false);
        assert_eq!(timed.read(shape, 0, 5_999).failures, 1);
        assert_eq!(timed.read(shape, 0, 6_000), Counts::default());
        timed.take(shape, 0, WELL, 6_000, || true, |_| false);
        assert_eq!(timed.read(shape, 0, 6_000).failures, 0);
    }

    /// S27
    #[test]
    fn a_jump_of_years_is_no_longer_than_one_of_a_window() {
        let timed = timed();
        let shape = Shape::time(10, 1_000).numbered(1);
        for now in [0, 10 * 365 * 24 * 3600 * 1_000_000_000, u64::MAX - 1, u64::MAX] {
            let calls = if now == u64::MAX { 2 } else { 1 };
            let expected = Counts { calls, failures: calls, slow: 0 };
            assert_eq!(timed.take(shape, 0, FAILED, now, || true, |_| false), Taken::With(expected));
        }
    }

    /// Who has loaded the head and not yet the starts, while another moves on.
    #[test]
    fn no_start_that_the_present_head_looks_at_is_written_over() {
        for (buckets, jump) in
            [1, 2, 10, 59, 60].into_iter().flat_map(|b| (1..200).map(move |jump| (b, jump)))
        {
            let timed = timed();
            let shape = Shape::time(buckets, 100).numbered(1);
            for part in 0..100 {
                timed.take(
                    shape,
                    0,
                    if part % 2 == 0 { WELL } else { FAILED },
                    part * 100,
                    || true,
                    |_| false,
                );
            }
            assert!(timed.starts.get().is_some());
            let Some(starts) = timed.starts.get() else { continue };
            let (mut head, now) = (timed.load(), (99 + jump) * 100);
            while head.index() < 99 + jump {
                let held = timed.read_at_head(starts, shape, 0, |_| false);
                timed.rotate(starts, shape, 0, head, now);
                let oldest = (head.index() + 1).saturating_sub(buckets.into());
                assert_eq!(Taken::With(timed.since(starts, oldest, 0)), held, "{buckets} parts, {jump} on");
                head = timed.load();
            }
            assert_eq!(timed.read(shape, 0, now).calls, u64::from(buckets).saturating_sub(jump));
        }
    }

    /// In a window, and from the first outcome of a generation on.
    #[test]
    fn more_outcomes_than_32_bits_hold_are_counted_and_the_count_wraps_unseen() {
        for before in [u64::from(u32::MAX) - 1, COUNT - 1] {
            let timed = timed();
            let shape = Shape::time(2, 1_000).numbered(1);
            timed.take(shape, 5, WELL, 0, || true, |_| false);
            // As many outcomes as nobody waits for.
            let [well, failed, ..] = &*timed.counts;
            well.store(tag(5) | before, Ordering::SeqCst);
            failed.store(tag(5) | 3, Ordering::SeqCst);
            for calls in 1..=3 {
                let all = (before + calls) & COUNT;
                let expected = Counts { calls: all + 3, failures: 3, slow: 0 };
                assert_eq!(timed.take(shape, 5, WELL, 0, || true, |_| false), Taken::With(expected));
            }
            // The part before is in the window, and then only what has come in since.
            timed.take(shape, 5, WELL, 1_000, || true, |_| false);
            let expected = Counts { calls: 2, failures: 0, slow: 0 };
            assert_eq!(timed.take(shape, 5, WELL, 2_000, || true, |_| false), Taken::With(expected));
        }
    }

    #[test]
    fn another_shape_begins_empty() {
        let timed = timed();
        let (one, other) = (Shape::time(10, 1_000).numbered(1), Shape::time(3, 70).numbered(2));
        for now in (0..100_000).step_by(100) {
            timed.take(one, 0, FAILED, now, || true, |_| false);
        }
        assert_eq!(
            timed.take(other, 1, WELL, 100_000, || true, |_| false),
            Taken::With(Counts { calls: 1, ..Counts::default() })
        );
        timed.take(other, 1, FAILED, 100_210, || true, |_| false);
        assert_eq!(timed.read(other, 1, 100_210), Counts { calls: 1, failures: 1, slow: 0 });
    }
}
