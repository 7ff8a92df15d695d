//! The state as one atomic word, and the decision that needs no lock.

use crate::limit::Denied;
use crate::limit::gcra::{NAME, Terms};
use crate::shim::{AtomicU64, Ordering};

/// | bits | what |
/// |---|---|
/// | 63 | slow: the state is behind the mutex, being changed or too large for the word |
/// | 56..63 | generation, counted up whenever the terms or the base change |
/// | 0..56 | theoretical arrival time, in units since the base |
const SLOW: u64 = 1 << 63;
const GENERATION: u32 = 56;
const TAT: u64 = (1 << GENERATION) - 1;

/// Terms whose word would run out sooner than this, in nanoseconds, stay behind the mutex.
const SHORTEST_SPAN: u64 = 1_000_000;

/// The word and the terms by which it is read, on one cache line.
///
/// The terms are written only while the word is slow, each time followed by a new generation. A reader loads the word,
/// then the terms, then proves by a compare-exchange (or, to refuse, by a second load) that the word is still what it was:
/// so it has read terms that belong together and to the word. A reader asleep for exactly 128 generations that finds the
/// very same arrival time again would be deceived; one decision would then be made on old terms.
#[repr(align(64))]
pub(super) struct Fast {
    word: AtomicU64,
    /// Nanoseconds from the epoch to the base.
    base: AtomicU64,
    /// For how many nanoseconds from the base the word holds every state of a bucket that is not in debt.
    span: AtomicU64,
    limit: AtomicU64,
    cost: AtomicU64,
    /// The cost of a whole burst.
    depth: AtomicU64,
    burst: AtomicU64,
}

pub(super) enum Verdict {
    Taken,
    Denied(Denied),
    /// The word does not say: ask under the mutex.
    Slow,
}

impl Fast {
    /// Slow until the first [`publish`](Published::publish).
    pub(super) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            word: AtomicU64::new(SLOW),
            base: zero(),
            span: zero(),
            limit: zero(),
            cost: zero(),
            depth: zero(),
            burst: zero(),
        }
    }

    /// Takes `n` tokens at `nanos` after the epoch, if they are there. Lock-free: it repeats only when another decision
    /// has gone through.
    #[inline(always)]
    pub(super) fn take(&self, nanos: u64, n: u64) -> Verdict {
        loop {
            // ORDERING: Acquire pairs with the Release in `publish`: the terms below are those of this word or later.
            let word = self.word.load(Ordering::Acquire);
            // ORDERING: Acquire pairs with the Release stores of `publish`: whoever sees later terms also sees the slow
            // bit that went before them, and fails at the compare-exchange or the second load.
            let base = self.base.load(Ordering::Acquire);
            let span = self.span.load(Ordering::Acquire);
            let limit = self.limit.load(Ordering::Acquire);
            let cost = self.cost.load(Ordering::Acquire);
            let depth = self.depth.load(Ordering::Acquire);
            // A time before the base wraps round to a large one.
            let since = nanos.wrapping_sub(base);
            if word & SLOW != 0 || since > span {
                return Verdict::Slow;
            }
            let price =
                if n == 1 { cost } else { n.checked_mul(cost).map_or(TAT + 1, |all| all.min(TAT + 1)) };
            if price == 0 {
                // Without limit, or nothing wanted.
                return Verdict::Taken;
            }
            // No overflow where the terms belong together (`span`); where they do not, the result is thrown away.
            let now = since.wrapping_mul(limit);
            let top = now.wrapping_add(depth);
            let tat = word & TAT;
            let next = tat.max(now).wrapping_add(price);
            if next > top {
                let burst = self.burst.load(Ordering::Acquire);
                // Relaxed: ordered behind the terms by their Acquire.
                if self.word.load(Ordering::Relaxed) == word {
                    return Verdict::Denied(Denied::short(NAME, n, burst, next.wrapping_sub(top), limit));
                }
                continue;
            }
            // Relaxed: nothing but this word is handed over, and later terms are refused as said above. A success
            // continues the release sequence of `publish`.
            let taken = word.wrapping_add(next.wrapping_sub(tat));
            if self.word.compare_exchange(word, taken, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return Verdict::Taken;
            }
        }
    }

    /// The arrival time, in units from the epoch, and its terms, if the word says so.
    pub(super) fn read(&self) -> Option<(u128, Terms)> {
        loop {
            // ORDERING: as in `take`.
            let word = self.word.load(Ordering::Acquire);
            if word & SLOW != 0 {
                return None;
            }
            let base = self.base.load(Ordering::Acquire);
            let limit = self.limit.load(Ordering::Acquire);
            let cost = self.cost.load(Ordering::Acquire);
            let burst = self.burst.load(Ordering::Acquire);
            if self.word.load(Ordering::Relaxed) == word {
                let terms = Terms { limit, cost, burst };
                return Some((terms.at(base) + u128::from(word & TAT), terms));
            }
        }
    }
}

/// What the holder of the mutex knows of the word.
pub(super) struct Published {
    terms: Terms,
    /// Of those terms; 0 if they do not fit the word.
    span: u64,
    base: u64,
    generation: u64,
    /// The terms and the base in [`Fast`] are others.
    stale: bool,
    /// The word is slow also when nobody holds the mutex, which then has the arrival time.
    wide: bool,
}

impl Published {
    pub(super) fn new(terms: Terms) -> Self {
        Self { terms, span: span(terms), base: 0, generation: 0, stale: true, wide: true }
    }

    /// Makes the word slow and hands out the arrival time in units from the epoch, or `None` if the mutex has it already.
    /// No lock-free decision goes through from here to [`publish`](Self::publish).
    pub(super) fn freeze(&self, fast: &Fast) -> Option<u128> {
        if self.wide {
            return None;
        }
        // Relaxed: a read-modify-write sees the last decision, and the stores of `publish` are released behind it.
        let word = fast.word.fetch_or(SLOW, Ordering::Relaxed);
        Some(self.terms.at(self.base) + u128::from(word & TAT))
    }

    /// Puts the arrival time back into the word, with new terms and a new base where that is due. Where it does not fit
    /// the mutex keeps it, exact, and decisions take the mutex until it fits again.
    pub(super) fn publish(&mut self, fast: &Fast, terms: Terms, tat: u128, nanos: u64) {
        if self.terms != terms {
            self.terms = terms;
            self.span = span(terms);
            self.stale = true;
        }
        self.wide = true;
        if self.span == 0 {
            return;
        }
        // Well before the end of the span, so that the next decisions do not run into it; and back, if the time went back.
        if self.stale || nanos.wrapping_sub(self.base) > self.span / 4 * 3 {
            // Somewhat in the past: others may come with a time that they read a little earlier.
            self.base = nanos.saturating_sub(self.span / 8);
            self.stale = true;
        }
        // An arrival time before the base is a full bucket there: all that matters to later times.
        let tat = tat.saturating_sub(terms.at(self.base));
        if tat > u128::from(TAT) {
            return;
        }
        self.wide = false;
        if self.stale {
            self.stale = false;
            self.generation = (self.generation + 1) % (1 << (63 - GENERATION));
            // ORDERING: Release pairs with the Acquire loads in `take`: these come after the slow bit.
            fast.base.store(self.base, Ordering::Release);
            fast.span.store(self.span, Ordering::Release);
            fast.limit.store(terms.limit, Ordering::Release);
            fast.cost.store(terms.cost, Ordering::Release);
            fast.depth.store(terms.depth() as u64, Ordering::Release);
            fast.burst.store(terms.burst, Ordering::Release);
        }
        // ORDERING: Release pairs with the Acquire in `take`. No decision can be lost: none goes through a slow word.
        fast.word.store(self.generation << GENERATION | tat as u64, Ordering::Release);
    }
}

/// For how many nanoseconds a word can count in these terms, with a full burst on top; 0 if that is too few to bother.
fn span(terms: Terms) -> u64 {
    let room = u128::from(TAT);
    let (cost, depth) = (u128::from(terms.cost), terms.depth());
    if cost > room / 2 || depth > room / 2 {
        return 0;
    }
    let span = (room - depth).checked_div(u128::from(terms.limit)).map_or(u64::MAX, |span| span as u64);
    if span < SHORTEST_SPAN { 0 } else { span }
}
