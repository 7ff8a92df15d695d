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
    /// Starts an item: puts it into a place and polls it. What it gives is put into `done` if that is ready.
    #[inline]
    pub(super) fn start(&mut self, item: usize, attempt: A, done: impl Done<A>) {
        let at = self.free.pop().unwrap_or_else(|| self.add(item));
        let Some(slot) = self.slots.get_mut(at) else { return };
        let mut slot = slot.as_mut().project();
        *slot.item = item;
        slot.attempt.set(Some(attempt));
        self.poll(at, done);
    }

    #[cold]
    fn add(&mut self, item: usize) -> usize {
        self.slots.push(Box::pin(Slot { item, attempt: None }));
        // So that giving a place back never allocates.
        self.free.reserve(self.slots.len());
        self.ready.add()
    }

    /// Polls one of those who were woken when we last looked; false if none is left.
    #[inline]
    pub(super) fn poll_woken(&mut self, done: impl Done<A>) -> bool {
        let Some(at) = self.ready.next() else { return false };
        self.poll(at, done);
        true
    }

    /// A success and a failure are put there by ways of their own, as [`relay`](crate::resilience::policy::relay) says.
    #[inline]
    fn poll(&mut self, at: usize, mut done: impl Done<A>) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        let mut slot = slot.as_mut().project();
        // Nothing is there where it was the waker of an item that is done.
        let (Some(attempt), Some(waker)) = (slot.attempt.as_mut().as_pin_mut(), self.ready.waker(at)) else {
            return;
        };
        match attempt.poll_attempt(&mut Context::from_waker(waker)) {
            Poll::Pending => {}
            Poll::Ready(Ok(value)) => {
                slot.attempt.set(None);
                self.free.push(at);
                done.put(*slot.item, Ok(value));
            }
            Poll::Ready(Err(error)) => {
                slot.attempt.set(None);
                self.free.push(at);
                done.put(*slot.item, Err(error));
            }
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
