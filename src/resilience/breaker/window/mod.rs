//! Windows over the outcomes of calls: the last so many of them, or those of the last so many seconds.
//!
//! Both take an outcome without a lock and answer with the counts of the window it is part of. Both
//! belong to a *generation* of the breaker: the first outcome of a later one finds the window empty, and an outcome of a
//! generation that has passed is refused. Nothing has to be cleared for that.
//!
//! # How an outcome is kept out of a later generation
//!
//! The breaker's word gets a generation first, the window's own words take it over from there: whoever writes generation
//! `g` into a window has seen it in the breaker's word. So one who loads a word of the window (acquiring), *then* looks at
//! the breaker's word (`still`) and finds his own generation there, knows that the window's word is not of a later one.
//! And if it becomes so before his compare-and-swap, that fails.

mod calls;
mod noted;
mod timed;
mod words;

use crate::sync::striped::Lane;
use calls::{Calls, Failure};
pub(crate) use noted::Noted;
use timed::Timed;
use words::Size;

/// The most calls in a window of calls.
pub(crate) const MOST_CALLS: u32 = words::MOST;
/// Calls in a block of them.
#[cfg(cofferdam_loom)]
#[allow(dead_code, reason = "for the models of this room")]
pub(crate) const BLOCK: u32 = words::BLOCK;
/// The most parts of a window of time.
pub(crate) const MOST_BUCKETS: u32 = timed::MOST_BUCKETS;
/// The longest part of a window of time, in nanoseconds.
pub(crate) const LONGEST_BUCKET: u64 = timed::LONGEST_BUCKET;

/// How a call ended, as far as windows tell calls apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) failed: bool,
    pub(crate) slow: bool,
}

/// What a window holds: all of it at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    pub(crate) slow: u64,
}

/// What became of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Its generation has passed: nothing.
    Late,
    /// It is in the window, which was calm.
    Calmly,
    /// It is in the window, which then holds this.
    With(Counts),
}

/// What kind of window, packed.
///
/// | bits | calls | time |
/// |---|---|---|
/// | 0..2 | 1 | 2 |
/// | 2..8 | of 14 bits: how many calls | in how many parts |
/// | 8..16 | | number of the shape: tells it from the one before |
/// | 16..64 | the size of its ring | length of a part in nanoseconds |
///
/// 0: no window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape(pub(crate) u64);

const CALLS: u64 = 1;
const TIME: u64 = 2;

impl Shape {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) const fn calls(calls: u32) -> Self {
        Self(CALLS | (calls as u64) << 2 | (Size::new(calls).ring as u64) << 16)
    }

    /// `bucket` nanoseconds each.
    pub(crate) const fn time(buckets: u32, bucket: u64) -> Self {
        Self(TIME | (buckets as u64) << 2 | bucket << 16)
    }

    /// The same under another number.
    pub(crate) const fn numbered(self, number: u8) -> Self {
        if self.is_time() { Self(self.0 & !0xff00 | (number as u64) << 8) } else { self }
    }

    pub(crate) const fn number(self) -> u8 {
        if self.is_time() { (self.0 >> 8) as u8 } else { 0 }
    }

    #[inline]
    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(crate) const fn is_calls(self) -> bool {
        self.0 & 0b11 == CALLS
    }

    #[inline]
    pub(crate) const fn is_time(self) -> bool {
        self.0 & 0b11 == TIME
    }

    /// Of a window of calls.
    #[inline]
    const fn size(self) -> Size {
        Size { most: (self.0 >> 2) as u32 & 0x3fff, ring: (self.0 >> 16) as u32 }
    }

    const fn buckets(self) -> u32 {
        (self.0 >> 2) as u32 & 0x3f
    }

    const fn bucket(self) -> u64 {
        self.0 >> 16
    }
}

/// The windows of a breaker. It uses one at a time, as its shape says.
pub(crate) struct Windows {
    calls: Calls,
    timed: Timed,
}

impl Windows {
    /// For the generations after `generation`.
    pub(crate) fn new(generation: u32) -> Self {
        Self { calls: Calls::new(generation), timed: Timed::new() }
    }

    /// Provides the memory for a shape. Allocates where none of that size has been used before.
    pub(crate) fn prepare(&self, shape: Shape) {
        if shape.is_calls() {
            self.calls.prepare(shape.size());
        } else if shape.is_time() {
            self.timed.prepare();
        }
    }

    /// A generation has begun. (Its outcomes would find out for themselves; but the window of calls keeps too few bits of
    /// its generation to tell it from one thousands of generations ago.)
    pub(crate) fn begin(&self, shape: Shape, generation: u32) {
        self.calls.begin(shape.is_calls().then(|| shape.size()), generation);
    }

    /// Number of the shape of the window of time that an outcome last went into.
    pub(crate) fn last_number(&self) -> u8 {
        self.timed.last_number()
    }

    /// Takes an outcome of `generation` at the time `now` (asked only by a window of time), unless `still` says that the generation
    /// has passed. A success in a calm window of calls is only [noted](Noted), by the thread's lane.
    ///
    /// `is_calm` is asked of each part of a window of time that is found to be the present one, and else of 0. If it says yes,
    /// nobody wants to know what the window holds. It is asked before what the window holds is looked at.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "what is known of an outcome, in registers")]
    pub(crate) fn take<const N: usize>(
        &self,
        noted: (Noted<'_, N>, Lane),
        shape: Shape,
        generation: u32,
        kind: Kind,
        now: impl FnOnce() -> u64,
        still: impl Fn() -> bool,
        mut is_calm: impl FnMut(u32) -> bool,
    ) -> Taken {
        if shape.is_calls() {
            self.calls.take(noted, shape.size(), generation, kind, still, || is_calm(0))
        } else {
            self.timed.take(shape, generation, kind, now(), still, is_calm)
        }
    }

    /// A failure that is to go into a window of calls, in two steps: this one, for who then finds that nothing would come of it if the
    /// window held so much, and [`put`](Self::put). `None`: it does not go that way.
    #[inline(always)]
    pub(crate) fn failure<const N: usize>(
        &self,
        noted: Noted<'_, N>,
        shape: Shape,
        generation: u32,
        still: impl Fn() -> bool,
    ) -> Option<Failure> {
        self.calls.failure(noted, shape.size(), generation, still)
    }

    /// Puts it in, if nobody else has come in between. False: nothing is done.
    #[inline(always)]
    pub(crate) fn put(&self, failure: &Failure) -> bool {
        self.calls.put_failure(failure)
    }

    /// What the window of `generation` holds at `now`, unless `still` says that the generation has passed. Changes nothing that it
    /// holds.
    pub(crate) fn read<const N: usize>(
        &self,
        noted: Noted<'_, N>,
        shape: Shape,
        generation: u32,
        now: u64,
        still: impl Fn() -> bool,
    ) -> Counts {
        if shape.is_calls() {
            self.calls.read(noted, shape.size(), generation, still)
        } else if shape.is_time() {
            self.timed.read(shape, generation, now)
        } else {
            Counts::default()
        }
    }
}
