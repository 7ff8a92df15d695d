//! The items that are running, each in a place that is used again when it is done.

use super::ready::Ready;
use crate::resilience::{Attempt, Error};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

pin_project! {
    struct Slot<A> {
        // The item's place in the input.
        item: usize,
        #[pin]
        attempt: Option<A>,
    }
}

/// Grows to as many places as have been needed at once.
pub(super) struct Slots<A> {
    slots: Vec<Pin<Box<Slot<A>>>>,
    free: Vec<usize>,
    ready: Ready,
}

type Done<A> = (usize, Result<<A as Attempt>::Ok, Error<<A as Attempt>::Err>>);

impl<A> Slots<A> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), ready: Ready::new() }
    }

    pub(super) fn running(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Looks who was woken, for [`poll_woken`](Self::poll_woken).
    pub(super) fn look(&mut self, task: &Waker) {
        self.ready.take(task);
    }

    /// Drops what is running, one item after the other, and tells which items those were.
    pub(super) fn interrupt(&mut self, mut tell: impl FnMut(usize)) {
        for (at, slot) in self.slots.iter_mut().enumerate() {
            let mut slot = slot.as_mut().project();
            if slot.attempt.is_some() {
                slot.attempt.set(None);
                self.free.push(at);
                tell(*slot.item);
            }
        }
    }
}

impl<A: Attempt> Slots<A> {
    /// Starts an item: puts it into a place and polls it. What it gives, if that is ready.
    pub(super) fn start(&mut self, item: usize, attempt: A) -> Option<Done<A>> {
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Box::pin(Slot { item, attempt: None }));
            // So that giving a place back never allocates.
            self.free.reserve(self.slots.len());
            self.ready.add()
        });
        let mut slot = self.slots.get_mut(at)?.as_mut().project();
        *slot.item = item;
        slot.attempt.set(Some(attempt));
        self.poll(at)
    }

    /// Polls those who were woken when we last looked until one is done; nothing, if none is left.
    pub(super) fn poll_woken(&mut self) -> Option<Done<A>> {
        while let Some(at) = self.ready.next() {
            if let Some(done) = self.poll(at) {
                return Some(done);
            }
        }
        None
    }

    fn poll(&mut self, at: usize) -> Option<Done<A>> {
        let mut slot = self.slots.get_mut(at)?.as_mut().project();
        // Nothing is there where it was the waker of an item that is done.
        let attempt = slot.attempt.as_mut().as_pin_mut()?;
        let waker = self.ready.waker(at)?;
        let Poll::Ready(result) = attempt.poll_attempt(&mut Context::from_waker(waker)) else { return None };
        slot.attempt.set(None);
        self.free.push(at);
        Some((*slot.item, result))
    }
}
