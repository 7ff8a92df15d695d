//! What is finished and not yet given out.

use std::collections::VecDeque;

/// Outcomes by the place of their item in the input.
pub(crate) trait Finished<R> {
    /// What is given out.
    type Out;

    /// The item at `index` has this outcome, while the first `given` outcomes have been given out.
    fn put(&mut self, index: usize, given: usize, outcome: R);

    /// The next to be given out, if it is there.
    fn take(&mut self) -> Option<Self::Out>;

    /// Whether it is there, and so many are kept.
    #[cfg(feature = "group")]
    fn has(&self, enough: usize) -> bool;
}

/// As they come.
pub(crate) struct AsTheyCome<R>(VecDeque<(usize, R)>);

impl<R> AsTheyCome<R> {
    pub(crate) fn new() -> Self {
        Self(VecDeque::new())
    }

    /// All that are there, in exchange for the memory of `empty`, in which there are none.
    #[cfg(feature = "group")]
    pub(crate) fn swap(&mut self, empty: &mut VecDeque<(usize, R)>) {
        debug_assert!(empty.is_empty());
        std::mem::swap(&mut self.0, empty);
    }
}

impl<R> Finished<R> for AsTheyCome<R> {
    type Out = (usize, R);

    #[inline]
    fn put(&mut self, index: usize, _given: usize, outcome: R) {
        self.0.push_back((index, outcome));
    }

    #[inline]
    fn take(&mut self) -> Option<(usize, R)> {
        self.0.pop_front()
    }

    #[cfg(feature = "group")]
    #[inline]
    fn has(&self, enough: usize) -> bool {
        self.0.len() >= enough.max(1)
    }
}

/// In the order of the input: the first in the queue is the next to be given out.
pub(crate) struct InOrder<R>(VecDeque<Option<R>>);

impl<R> InOrder<R> {
    pub(crate) fn new() -> Self {
        Self(VecDeque::new())
    }
}

impl<R> Finished<R> for InOrder<R> {
    type Out = R;

    #[inline]
    fn put(&mut self, index: usize, given: usize, outcome: R) {
        let at = index - given;
        // Most often it is the next one.
        if self.0.len() == at {
            return self.0.push_back(Some(outcome));
        }
        while self.0.len() <= at {
            self.0.push_back(None);
        }
        if let Some(place) = self.0.get_mut(at) {
            *place = Some(outcome);
        }
    }

    #[inline]
    fn take(&mut self) -> Option<R> {
        if self.0.front()?.is_none() {
            return None;
        }
        self.0.pop_front()?
    }

    #[cfg(feature = "group")]
    #[inline]
    fn has(&self, enough: usize) -> bool {
        self.0.len() >= enough && self.0.front().is_some_and(Option::is_some)
    }
}
