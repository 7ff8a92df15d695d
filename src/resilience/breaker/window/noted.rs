//! Successes that go into the window of calls, each noted by its thread for itself.
//!
//! A success that nobody has to judge is as good as any other: it does not matter which of them is where between two failures. So
//! a thread only adds one to a number of its own, and whoever wants to know what the window holds, or puts something else into it,
//! first puts in what all threads have noted since.
//!
//! | bits of a number | what |
//! |---|---|
//! | 0..32 | the generation |
//! | 32..64 | successes noted in it; wraps |
//!
//! A number of another generation counts for nothing, so nothing has to be cleared, and a success that is noted late is in no later
//! window. A thread never notes for an earlier generation than before, as it has found that generation in the breaker's word just
//! then. Where several threads share a number, one of them may be held up in between: a success of a generation before the
//! number's is left out, as the window that it was in is gone.

use crate::shim::{AtomicU64, Ordering};
use crate::sync::striped::{Lane, Striped};

/// The sum is this many bits wide.
pub(super) const SUM: u64 = (1 << 31) - 1;
/// A thread that has noted so many sees to it that they are put into the window: there are never so many that the sum goes round.
const MANY: u64 = 1 << 18;
const ONE: u64 = 1 << 32;

/// The last counter of each thread's line.
pub(crate) struct Noted<'a, const N: usize>(pub(crate) &'a Striped<N>);

impl<const N: usize> Clone for Noted<'_, N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<const N: usize> Copy for Noted<'_, N> {}

impl<const N: usize> Noted<'_, N> {
    /// Notes a success of the thread that has this line to itself, and has found the breaker in this generation. True: it is time to
    /// put them into the window.
    #[inline(always)]
    pub(crate) fn add_own(line: &[AtomicU64; N], generation: u32) -> bool {
        let number = &line[N - 1];
        let by = next(number.load(Ordering::Relaxed), generation);
        // ORDERING: nobody else writes it. Release pairs with the Acquire in `sum`: who counts it sees what its thread did before.
        number.store(by, Ordering::Release);
        are_many(by)
    }

    /// As [`add_own`](Self::add_own), for any thread.
    pub(crate) fn add(self, lane: Lane, generation: u32) -> bool {
        let (line, alone) = self.0.line(lane);
        match line {
            Some(line) if alone => Self::add_own(line, generation),
            Some(line) => Self::add_shared(line, generation),
            None => false,
        }
    }

    fn add_shared(line: &[AtomicU64; N], generation: u32) -> bool {
        let number = &line[N - 1];
        let mut seen = number.load(Ordering::Relaxed);
        loop {
            let is_past = (generation.wrapping_sub(seen as u32) as i32) < 0;
            if is_past {
                return false;
            }
            let by = next(seen, generation);
            // ORDERING: Release as above; a read-modify-write keeps the releases of those who noted here before.
            match number.compare_exchange_weak(seen, by, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return are_many(by),
                Err(now) => seen = now,
            }
        }
    }

    /// How many have been noted in this generation, as far as the sum is wide.
    #[inline]
    pub(super) fn sum(self, generation: u32) -> u64 {
        let noted = self.0.lines().iter().map(|line| {
            // ORDERING: Acquire pairs with the Release of those who note: what is counted once is counted ever after, by all who
            // acquire what is done on the strength of it.
            let number = line[N - 1].load(Ordering::Acquire);
            if number as u32 == generation { number >> 32 } else { 0 }
        });
        noted.fold(0, u64::wrapping_add) & SUM
    }
}

#[inline(always)]
const fn next(number: u64, generation: u32) -> u64 {
    if number as u32 == generation { number.wrapping_add(ONE) } else { generation as u64 | ONE }
}

#[inline(always)]
const fn are_many(number: u64) -> bool {
    (number >> 32) & (MANY - 1) == 0
}

#[cfg(all(test, not(any(cofferdam_loom, cofferdam_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_number_goes_round_without_a_trace_in_its_generation() {
        let last = u64::from(u32::MAX) << 32 | 7;
        assert_eq!((next(last, 7), next(last, 8)), (7, 8 | ONE));
        assert!(are_many(next(last, 7)) && !are_many(last) && !are_many(next(last, 8)));
    }
}
