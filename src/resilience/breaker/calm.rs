//! Which successes need not be judged.
//!
//! Judging an outcome costs more than counting it. A success that was not slow adds a call to the window, and no failure and
//! no slow call; where it pushes out an older one, it takes away a failure or a slow call at most. So no number rises but that
//! of the calls, and no share rises. What such a success can bring about is only that
//!
//! * there are [enough calls](super::Builder::minimum_calls) now for a rate to be judged, or
//! * the window is judged for the first time by other rules, or
//! * it is judged for the first time in a new part of a window of time: the old outcomes that have left it may all have been
//!   successes.
//!
//! The window is *calm* once an outcome was judged with enough calls in it and reached no rule: from then on no such success
//! can open the breaker, until one of the three things above changes. (There are never fewer calls than before in one
//! generation of a window of calls, or in one part of a window of time.) Failures and slow calls are always judged.
//!
//! # The word
//!
//! | bits | what |
//! |---|---|
//! | 0..32 | the low bits of the part, of a window of time; else 0 |
//! | 32..48 | the low bits of the generation |
//! | 48..62 | the low bits of the number of the settings: how often others have been posted |
//! | 62 | whether it is a window of calls, and by those settings nobody looks at how long calls take or at when they end |
//! | 63 | 1; a word of 0 is never calm |
//!
//! So it need not be taken back: it says of what it was said. (A new generation, new settings, and an outcome that is judged
//! with too few calls set it to 0 all the same: the bits would repeat after 16 thousand changes, or after an hour of parts of a
//! microsecond, if nobody said anything in between.)
//!
//! # Why nothing is missed
//!
//! Say that T has said that it is calm, by a certain number, and that S is not judged since it has read this number and this word.
//! T has looked at the number of the settings (acquiring) before it swapped the head of the window, and has judged by the rules
//! after that: these or later ones. (A success looks before it is noted. If it finds itself in the window already, it swaps nothing:
//! the swap of who put it in takes the place of its own, as he has counted it and so acquired what it had seen.)
//!
//! * What T has judged are all outcomes before its swap, but for those successes that others have only noted.
//! * A failure or slow call that goes in after T's swap has acquired what T released. It is judged after it is in the window, so by
//!   T's rules or later ones. (One that is judged at a glance has loaded the head before the rules, and goes
//!   in only if the head is the same: no swap was in between.)
//! * All others are successes, wherever they go in: S, too. By these rules they bring nothing about, for the reason above: there
//!   were enough calls at T's swap already.
//! * While other settings are posted some outcomes are judged by a mixture. After that the number is another, and the next
//!   outcome is judged whatever it is, with all that has been noted before it.
//!
//! Of a window of time each kind of outcome has a word of its own, and all is sequentially consistent. T looks at the number
//! before it reads the counts, and an outcome that is judged does so after it is counted: if T did not read it, it comes after
//! T's look, too, and is judged by T's rules or later ones. S looks at the head and at this word after it is counted. Who moves the
//! head on later reads it.

use super::window::Counts;
use super::word::Word;
use crate::shim::{AtomicU64, Ordering};

/// See [the module](self).
pub(super) struct Calm(AtomicU64);

/// Of which settings, generation and part it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stage(u64);

impl Stage {
    /// Of none.
    pub(super) const NONE: Self = Self(0);

    #[inline]
    pub(super) const fn new(posting: u64, word: Word, part: u32) -> Self {
        Self(1 << 63 | (posting & 0x3fff) << 48 | (word.generation() as u64 & 0xffff) << 32 | part as u64)
    }

    /// Of a window of calls, where nobody looks at the time.
    #[inline]
    pub(super) const fn without_time(self) -> Self {
        Self(self.0 | 1 << 62)
    }
}

impl Calm {
    pub(super) fn none() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Relaxed: see the module for what orders it.
    #[inline]
    pub(super) fn is(&self, stage: Stage) -> bool {
        self.0.load(Ordering::Relaxed) == stage.0
    }

    /// An outcome at this stage was judged with `counts` in the window, and reached no rule.
    #[inline]
    pub(super) fn say(&self, stage: Stage, counts: Counts, minimum: u32) {
        let by = if counts.calls >= u64::from(minimum) { stage } else { Stage::NONE };
        // (Failures say it again and again: the others look at this word.)
        if !self.is(by) {
            self.0.store(by.0, Ordering::Relaxed);
        }
    }

    pub(super) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}
