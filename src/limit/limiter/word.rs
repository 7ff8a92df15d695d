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

/// A word that is not slow, as an algorithm steps from it to the next.
#[derive(Clone, Copy, Debug)]
pub struct Packed {
    /// State and generation.
    word: u64,
    /// The generation of the parameters that were read with it, and no state.
    tag: u64,
}

impl Packed {
    /// The bits of the state.
    #[inline(always)]
    pub(in crate::limit) const fn state(self) -> u64 {
        self.word & STATE
    }

    /// The same generation with another state.
    #[inline(always)]
    pub(in crate::limit) const fn with(self, state: u64) -> Step {
        Step::Next(self.word & !STATE | state & STATE)
    }

    /// The word itself, and what a state of 0 would be as a word: for a state that is one number, the two are compared and
    /// added to without taking the word apart, which is shorter by all that packing takes. Words of different generations
    /// never meet in the end, as only the word that was read is replaced.
    #[inline(always)]
    pub(in crate::limit) const fn whole(self) -> (u64, u64) {
        (self.word, self.tag)
    }
}

/// What an algorithm makes of a packed state.
#[derive(Debug)]
pub enum Step {
    /// Let through, and nothing changed.
    Free,
    /// Let through, with this word.
    Next(u64),
    Denied(Denied),
    /// The word does not say: ask under the mutex.
    #[allow(dead_code, reason = "for algorithms whose refusals take a longer look")]
    Slow,
}

/// The word and the parameters by which it is read, on one cache line.
///
/// The parameters are written only while the word is slow, and after them the tag, which is their generation. A reader
/// loads the tag, then the parameters, and the word last. Parameters of a later generation than the tag it would know by
/// the word, which has been slow since before they were written; earlier ones are behind the tag. So if word and tag agree,
/// all three belong together, also for a later word of the same generation, and there is nothing to prove again.
/// A reader asleep between tag and word for exactly 128 generations would be deceived; one decision would then be made on
/// old parameters.
#[repr(align(64))]
pub(super) struct Word {
    word: AtomicU64,
    /// Nanoseconds from the epoch to the base.
    base: AtomicU64,
    /// For how many nanoseconds from the base the word holds: as long as its bits last, and no temporary limit ends.
    span: AtomicU64,
    /// The generation of the parameters, where it stands in the word.
    tag: AtomicU64,
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
            tag: zero(),
            params: [zero(), zero(), zero(), zero()],
        }
    }

    /// Takes `n` tokens at `nanos` after the epoch, if they are there. Lock-free: it repeats only when another decision
    /// has gone through.
    #[inline(always)]
    pub(super) fn take<A: Engine>(&self, nanos: u64, n: u64) -> Verdict {
        let Terms { tag, base, span, params } = self.terms();
        // A time before the base wraps round to a large one.
        let since = nanos.wrapping_sub(base);
        // Relaxed, as all that it is read by has been read. Last, so that there is little time for others between it and the
        // exchange.
        let mut word = self.word.load(Ordering::Relaxed);
        if since > span {
            return Verdict::Slow;
        }
        loop {
            // Slow, or of another generation.
            if (word ^ tag) & !STATE != 0 {
                return Verdict::Slow;
            }
            match A::step(&params, Packed { word, tag }, since, n) {
                Step::Free => return Verdict::Taken,
                Step::Next(taken) => {
                    // Relaxed: nothing but this word is handed over. A success continues the release sequence of `publish`.
                    match self.word.compare_exchange_weak(word, taken, Ordering::Relaxed, Ordering::Relaxed) {
                        Ok(_) => return Verdict::Taken,
                        Err(other) => word = other,
                    }
                }
                Step::Denied(denied) => return Verdict::Denied(denied),
                Step::Slow => return Verdict::Slow,
            }
        }
    }

    #[inline(always)]
    fn terms(&self) -> Terms {
        // ORDERING: each Acquire pairs with the Release store of the same cell in `publish`. Whoever sees a tag sees its
        // parameters; whoever sees later parameters sees the slow bit that went before them.
        let load = |cell: &AtomicU64| cell.load(Ordering::Acquire);
        let tag = load(&self.tag);
        let [a, b, c, d] = &self.params;
        Terms {
            tag,
            base: load(&self.base),
            span: load(&self.span),
            params: [load(a), load(b), load(c), load(d)],
        }
    }
}

/// By what a word is read.
struct Terms {
    tag: u64,
    base: u64,
    span: u64,
    params: Params,
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

    /// Takes `n` tokens at `nanos` if they are there and `others` say so, who are asked while no lock-free decision can go
    /// through. `None` if the word does not say. Decided as [`Word::take`] does, so nothing is unpacked, and nothing published:
    /// the word stays of its generation.
    #[inline]
    pub(super) fn take_if<A: Algorithm>(
        &self,
        word: &Word,
        nanos: u64,
        n: u64,
        others: &mut dyn FnMut() -> bool,
    ) -> Option<bool> {
        // Relaxed: the span is the mutex holder's.
        let since = nanos.wrapping_sub(self.base);
        if self.wide || since > word.span.load(Ordering::Relaxed) {
            return None;
        }
        // Relaxed, here and below: as in `freeze` and `publish`.
        let held = word.word.fetch_or(SLOW, Ordering::Relaxed) & !SLOW;
        let packed = Packed { word: held, tag: self.generation << WORD_BITS };
        let (taken, next) = match A::step(&self.params, packed, since, n) {
            Step::Free => (Some(others()), held),
            Step::Next(next) if others() => (Some(true), next),
            Step::Next(_) | Step::Denied(_) => (Some(false), held),
            Step::Slow => (None, held),
        };
        word.word.store(next, Ordering::Relaxed);
        taken
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
        // While several changes are gone past that were due, one may end before the present.
        if span < SHORTEST_SPAN || until <= now {
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
            // ORDERING: Release pairs with the Acquire loads in `terms`: these come after the slow bit, and the tag last.
            self.params = algorithm.params(self.base);
            word.base.store(self.base, Ordering::Release);
            let left = until.saturating_sub(self.base).saturating_sub(1);
            word.span.store(span.min(left), Ordering::Release);
            for (cell, param) in word.params.iter().zip(self.params) {
                cell.store(param, Ordering::Release);
            }
            word.tag.store(self.generation << WORD_BITS, Ordering::Release);
        }
        // Relaxed: a reader has read all else before the word. No decision can be lost: none goes through a slow word.
        word.word.store(self.generation << WORD_BITS | bits, Ordering::Relaxed);
    }
}
