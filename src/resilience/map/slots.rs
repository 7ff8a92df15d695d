//! The items that are running, each in a place that is used again when it is done.

use crate::resilience::{Attempt, Error};
use crate::wait::Places;
use std::task::{Poll, Waker};

pub(super) struct Slots<A> {
    places: Places<A>,
    /// By place, the item's place in the input.
    items: Vec<usize>,
}

impl<A> Slots<A> {
    pub(super) fn new() -> Self {
        Self { places: Places::new(), items: Vec::new() }
    }

    pub(super) fn running(&self) -> usize {
        self.places.taken()
    }

    /// Looks who was woken, for [`poll_woken`](Self::poll_woken).
    pub(super) fn look(&mut self, task: &Waker) {
        self.places.look(task);
    }

    /// Drops what is running, one item after the other, and tells which items those were.
    pub(super) fn interrupt(&mut self, mut tell: impl FnMut(usize)) {
        let items = &self.items;
        self.places.clear(|at| {
            if let Some(item) = items.get(at) {
                tell(*item);
            }
        });
    }
}

impl<A: Attempt> Slots<A> {
    /// Starts an item: puts it into a place and polls it. What it gives is put into `done` if that is ready.
    #[inline]
    pub(super) fn start(&mut self, item: usize, attempt: A, done: impl Done<A>) {
        let at = self.places.insert(attempt);
        match self.items.get_mut(at) {
            Some(place) => *place = item,
            // Places are numbered as they are made.
            None => self.items.push(item),
        }
        self.poll(at, done);
    }

    /// Polls one of those who were woken when we last looked; false if none is left.
    #[inline]
    pub(super) fn poll_woken(&mut self, done: impl Done<A>) -> bool {
        let Some(at) = self.places.next_woken() else { return false };
        self.poll(at, done);
        true
    }

    /// A success and a failure are put there by ways of their own, as [`relay`](crate::resilience::policy::relay) says.
    #[inline]
    fn poll(&mut self, at: usize, mut done: impl Done<A>) {
        let Some(item) = self.items.get(at).copied() else { return };
        let polled = self.places.poll(at, |attempt, cx| match attempt.poll_attempt(cx) {
            Poll::Pending => false,
            Poll::Ready(Ok(value)) => {
                done.put(item, Ok(value));
                true
            }
            Poll::Ready(Err(error)) => {
                done.put(item, Err(error));
                true
            }
        });
        if polled == Some(true) {
            self.places.remove(at);
        }
    }
}

/// Where it is put what an item has come out as.
pub(super) trait Done<A: Attempt> {
    fn put(&mut self, item: usize, result: Result<A::Ok, Error<A::Err>>);
}

impl<A: Attempt, F: FnMut(usize, Result<A::Ok, Error<A::Err>>)> Done<A> for F {
    #[inline(always)]
    fn put(&mut self, item: usize, result: Result<A::Ok, Error<A::Err>>) {
        self(item, result);
    }
}
