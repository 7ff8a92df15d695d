//! What a job carries besides its future: nothing, as mostly; a box of [extras](Extras); or nothing but the time of its
//! submission, which the word holds itself, so that a pool whose tasks are timed need not allocate for each of them.
//!
//! | word | means |
//! |---|---|
//! | null | nothing |
//! | even | the box, which is aligned, and ours. It has a place for the time, too |
//! | odd | no box; the time is above the lowest bit (where a word has 64 bits; elsewhere it is in a box) |

use crate::pool::extras::Extras;
use std::mem::align_of;
use std::ptr::{null_mut, without_provenance_mut};

const _: () = assert!(align_of::<Extras>() > 1);

pub(super) struct Freight(*mut Extras);

impl Freight {
    pub(super) const NONE: Self = Self(null_mut());

    #[inline(always)]
    pub(super) fn new(extras: Option<Box<Extras>>) -> Self {
        Self(extras.map_or_else(null_mut, Box::into_raw))
    }

    #[inline(always)]
    pub(super) fn is_none(&self) -> bool {
        self.0.is_null()
    }

    #[inline(always)]
    fn is_time(&self) -> bool {
        self.0.addr() & 1 != 0
    }

    /// Takes it out: the box, and the time, or 0.
    #[inline(always)]
    pub(super) fn take(&mut self) -> (Option<Box<Extras>>, u64) {
        let word = std::mem::replace(self, Self::NONE);
        if word.is_none() { (None, 0) } else { word.open() }
    }

    #[inline]
    fn open(self) -> (Option<Box<Extras>>, u64) {
        let word = std::mem::ManuallyDrop::new(self).0;
        if word.addr() & 1 != 0 {
            return (None, (word.addr() >> 1) as u64);
        }
        // SAFETY: neither null nor odd, so it is of a box, which is ours, and the word is forgotten.
        let extras = unsafe { Box::from_raw(word) };
        let submitted = extras.submitted;
        (Some(extras), submitted)
    }

    pub(super) fn extras_mut(&mut self) -> Option<&mut Extras> {
        if self.is_none() || self.is_time() {
            return None;
        }
        // SAFETY: of a box, as above, which stays ours.
        Some(unsafe { &mut *self.0 })
    }

    /// Notes the time of submission: not 0, and below 2^63.
    pub(super) fn set_submitted(&mut self, submitted: u64) {
        if let Some(extras) = self.extras_mut() {
            extras.submitted = submitted;
        } else if cfg!(target_pointer_width = "64") {
            *self = Self(without_provenance_mut((submitted as usize) << 1 | 1));
        } else {
            *self = Self::new(Some(Box::new(Extras { submitted, ..Extras::default() })));
        }
    }
}

impl Drop for Freight {
    #[inline]
    fn drop(&mut self) {
        if !self.is_none() {
            drop(self.take());
        }
    }
}

#[cfg(all(test, not(any(cofferdam_loom, cofferdam_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_kept_in_the_word_or_in_the_box() {
        let mut word = Freight::NONE;
        assert!(word.is_none() && word.extras_mut().is_none());
        word.set_submitted(u64::MAX >> 1);
        assert!(!word.is_none());
        if cfg!(target_pointer_width = "64") {
            assert!(word.extras_mut().is_none());
        }
        word.set_submitted(7);
        assert!(matches!(word.take(), (_, 7)));
        assert!(word.is_none());
        let mut boxed = Freight::new(Some(Box::new(Extras { attempts: 3, ..Extras::default() })));
        boxed.set_submitted(9);
        assert_eq!(boxed.extras_mut().map(|extras| extras.attempts), Some(3));
        let (extras, submitted) = boxed.take();
        assert_eq!((extras.map(|extras| extras.attempts), submitted), (Some(3), 9));
        drop(Freight::new(Some(Box::default())));
    }
}
