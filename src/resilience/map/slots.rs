//! The items that are running, each in a place that is used again when it is done.

use crate::resilience::{Attempt, Error};
use crate::wait::Places;
use std::task::{Poll, Waker};

pub(super) struct Slots<A> {
    places: Places<A>,
    /// By place, the item's place in the input.
    items: Vec<usize>,
}

type Done<A> = (usize, Result<<A as Attempt>::Ok, Error<<A as Attempt>::Err>>);

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
    /// Starts an item: puts it into a place and polls it. What it gives, if that is ready.
    pub(super) fn start(&mut self, item: usize, attempt: A) -> Option<Done<A>> {
        let at = self.places.insert(attempt);
        match self.items.get_mut(at) {
            Some(place) => *place = item,
            // Places are numbered as they are made.
            None => self.items.push(item),
        }
        self.poll(at)
    }

    /// Polls those who were woken when we last looked until one is done; nothing, if none is left.
    pub(super) fn poll_woken(&mut self) -> Option<Done<A>> {
        while let Some(at) = self.places.next_woken() {
            if let Some(done) = self.poll(at) {
                return Some(done);
            }
        }
        None
    }

    fn poll(&mut self, at: usize) -> Option<Done<A>> {
        let Poll::Ready(result) = self.places.poll(at, |attempt, cx| attempt.poll_attempt(cx))? else {
            return None;
        };
        self.places.remove(at);
        Some((*self.items.get(at)?, result))
    }
}
