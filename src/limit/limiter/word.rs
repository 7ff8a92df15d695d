//! The state of a limiter as one atomic word, and the decision that needs no lock.

use super::Engine;
use crate::limit::{Algorithm, Denied};
use crate::shim::{AtomicU64, Ordering};

/// | bits | what |
/// |---|---|
/// | 63 | slow: the state is behind the mutex, being changed or not such as fits the word |
/// | 56..63 | generation, counted up whenever the parameters, the base or the span change |
/// | 0..56 | the state, as the algorithm packs it relative to the base |
const SLOW: u64 = 1 << 63;
const STATE: u64 = (1 << WORD_BITS) - 1;

/// How many bits an algorithm has for its state.
pub(in crate::limit) const WORD_BITS: u32 = 56;

/// What an algorithm must know to read a packed state.
pub(in crate::limit) type Params = [u64; 4];

/// Words that would run out sooner than this, in nanoseconds, are not used.
const SHORTEST_SPAN: u64 = 1_000_000;

/// What an algorithm makes of a packed state.
#[derive(Debug)]
pub enum Step {
    /// Let through, and nothing changed.
    Free,
    /// Let through, with this state.
    Next(u64),
    Denied(Denied),
    /// The word does not say: ask under the mutex.
    #[allow(dead_code, reason = "for algorithms whose refusals take a longer look")]
    Slow,
}

/// The word and the parameters by which it is read, on one cache line.
///
/// The parameters are written only while the word is slow, each time followed by a new generation. A reader loads the word,
/// then the parameters, then proves by a compare-exchange (or, to refuse, by a second load) that the word is still what it
/// was: so it has read parameters that belong together and to the word. A reader asleep for exactly 128 generations that
/// finds the very same state again would be deceived; one decision would then be made on old parameters.
#[repr(align(64))]
pub(super) struct Word {
    word: AtomicU64,
    /// Nanoseconds from the epoch to the base.
    base: AtomicU64,
    /// For how many nanoseconds from the base the word holds: as long as its bits last, and no temporary limit ends.
    span: AtomicU64,
    params: [AtomicU64; 4],
}

pub(super) enum Verdict {
    Taken,
    Denied(Denied),
    /// The word does not say: ask under the mutex.
    Slow,
}

impl Word {
    /// Slow until the first [`publish`](Published::publish).
    pub(super) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            word: AtomicU64::new(SLOW),
            base: zero(),
            span: zero(),
            params: [zero(), zero(), zero(), zero()],
        }
    }

    /// Takes `n` tokens at `nanos` after the epoch, if they are there. Lock-free: it repeats only when another decision
    /// has gone through.
    #[inline(always)]
    pub(super) fn take<A: Engine>(&self, nanos: u64, n: u64) -> Verdict {
        // ORDERING: Acquire pairs with the Release in `publish`: the parameters below are those of this word or later. So do the
        // two below by which it may have to start over.
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let (base, span, params) = self.terms();
            // A time before the base wraps round to a large one.
            let since = nanos.wrapping_sub(base);
            if word & SLOW != 0 || since > span {
                return Verdict::Slow;
            }
            match A::step(&params, word & STATE, since, n) {
                Step::Free => return Verdict::Taken,
                Step::Next(state) => {
                    // Relaxed: nothing but this word is handed over, and later parameters are refused as said above. A
                    // success continues the release sequence of `publish`.
                    let taken = word & !STATE | state & STATE;
                    match self.word.compare_exchange_weak(word, taken, Ordering::Relaxed, Ordering::Acquire) {
                        Ok(_) => return Verdict::Taken,
                        Err(other) => word = other,
                    }
                }
                Step::Denied(denied) => {
                    // Behind the parameters by their Acquire.
                    let again = self.word.load(Ordering::Acquire);
                    if again == word {
                        return Verdict::Denied(denied);
                    }
                    word = again;
                }
                Step::Slow => return Verdict::Slow,
            }
        }
    }

    #[inline(always)]
    fn terms(&self) -> (u64, u64, Params) {
        // ORDERING: Acquire pairs with the Release stores of `publish`: whoever sees later parameters also sees the slow
        // bit that went before them, and fails at the compare-exchange or the second load.
        let base = self.base.load(Ordering::Acquire);
        let span = self.span.load(Ordering::Acquire);
        let [a, b, c, d] = &self.params;
        let load = |param: &AtomicU64| param.load(Ordering::Acquire);
        (base, span, [load(a), load(b), load(c), load(d)])
    }
}

/// What the holder of the mutex knows of the word.
pub(super) struct Published {
    params: Params,
    /// Of those parameters; 0 if they do not fit the word.
    span: u64,
    /// The word ends before this, whatever its span.
    until: u64,
    base: u64,
    generation: u64,
    /// What is in [`Word`] is something else.
    stale: bool,
    /// The word is slow also when nobody holds the mutex, which then has the state.
    wide: bool,
}

/// What is to be published: the state, unless nobody may decide without the mutex.
pub(super) struct Publication<'a, A: Algorithm> {
    pub(super) algorithm: &'a A,
    pub(super) state: Option<&'a A::State>,
    pub(super) now: u64,
    pub(super) until: u64,
}

impl Published {
    pub(super) fn new() -> Self {
        Self {
            params: [u64::MAX; 4],
            span: 0,
            until: u64::MAX,
            base: 0,
            generation: 0,
            stale: true,
            wide: true,
        }
    }

    /// Makes the word slow and hands out the state, or `None` if the mutex has it already. No lock-free decision goes
    /// through from here to [`publish`](Self::publish).
    pub(super) fn freeze<A: Algorithm>(&self, word: &Word, algorithm: &A) -> Option<A::State> {
        if self.wide {
            return None;
        }
        // Relaxed: a read-modify-write sees the last decision, and the stores of `publish` are released behind it.
        let word = word.word.fetch_or(SLOW, Ordering::Relaxed);
        Some(algorithm.decode(word & STATE, self.base))
    }

    /// The state, without keeping anybody from deciding; `None` if the mutex has it.
    pub(super) fn read<A: Algorithm>(&self, word: &Word, algorithm: &A) -> Option<A::State> {
        // Relaxed: the parameters are the mutex holder's; any moment of the state will do.
        let word = word.word.load(Ordering::Relaxed);
        (!self.wide).then(|| algorithm.decode(word & STATE, self.base))
    }

    /// Puts the state back into the word, with new parameters and a new base where that is due. Where it does not fit, the
    /// mutex keeps it, exact, and decisions take the mutex until it fits again.
    pub(super) fn publish<A: Algorithm>(&mut self, word: &Word, what: &Publication<'_, A>) {
        let Publication { algorithm, state, now, until } = *what;
        self.wide = true;
        let Some(state) = state else { return };
        let params = algorithm.params(self.base);
        if (params, until) != (self.params, self.until) {
            // A long division, spared where nothing has changed.
            (self.params, self.until, self.span) = (params, until, algorithm.span());
            self.stale = true;
        }
        let span = self.span;
        if span < SHORTEST_SPAN {
            return;
        }
        // Well before the end of the span, so that the next decisions do not run into it; and back, if the time went back.
        if self.stale || now.wrapping_sub(self.base) > span / 4 * 3 {
            // Somewhat in the past: others may come with a time that they read a little earlier.
            self.base = now.saturating_sub(span / 8);
            self.stale = true;
        }
        let Some(bits) = algorithm.encode(state, self.base).filter(|bits| *bits <= STATE) else { return };
        self.wide = false;
        if std::mem::take(&mut self.stale) {
            self.generation = (self.generation + 1) % (1 << (63 - WORD_BITS));
            // ORDERING: Release pairs with the Acquire loads in `take`: these come after the slow bit.
            self.params = algorithm.params(self.base);
            word.base.store(self.base, Ordering::Release);
            let left = until.saturating_sub(self.base).saturating_sub(1);
            word.span.store(span.min(left), Ordering::Release);
            for (cell, param) in word.params.iter().zip(self.params) {
                cell.store(param, Ordering::Release);
            }
        }
        // ORDERING: Release pairs with the Acquire in `take`. No decision can be lost: none goes through a slow word.
        word.word.store(self.generation << WORD_BITS | bits, Ordering::Release);
    }
}
